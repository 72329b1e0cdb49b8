// The tensor graph: a list of values in SSA form. A node has one op, operands, attributes, one result type and a
// source span. What an op means is in ops/ (one file each); what a machine does with it is not known here.
#pragma once
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "compiler/graph/types.h"
#include "compiler/support/diagnostics.h"

namespace nnlc::graph {

struct OpDef;  // ops/op.h
class Graph;

using IntList = std::vector<int64_t>;
/// An attribute's value. Shapes are dims so that a graph may be symbolic.
using Attr = std::variant<int64_t, double, bool, std::string, IntList, Shape, DType>;
using Attrs = std::map<std::string, Attr>;

struct Node {
  const OpDef* op = nullptr;
  std::vector<Node*> operands;
  Attrs attrs;
  TensorType type;
  Span span;
  Span site;                           ///< the user's line, where `span` lies inside the library
  const OpDef* gradient_of = nullptr;  ///< of nodes that differentiation made: the op whose gradient they compute
  std::string name;                    ///< of `parameter` and `input` nodes; otherwise a hint or empty
  int id = 0;                          ///< position of creation: unique in its graph, deterministic

  int64_t int_attr(const std::string& k) const { return std::get<int64_t>(attrs.at(k)); }
  double float_attr(const std::string& k) const { return std::get<double>(attrs.at(k)); }
  bool bool_attr(const std::string& k) const { return std::get<bool>(attrs.at(k)); }
  const std::string& str_attr(const std::string& k) const { return std::get<std::string>(attrs.at(k)); }
  const IntList& ints_attr(const std::string& k) const { return std::get<IntList>(attrs.at(k)); }
  const Shape& shape_attr(const std::string& k) const { return std::get<Shape>(attrs.at(k)); }
  DType dtype_attr(const std::string& k) const { return std::get<DType>(attrs.at(k)); }
};

/// One result of a graph. If `updates` is set, the result is written back over that input when the graph has run
/// (a parameter after a step, optimizer state): the executor gives both the same buffer.
struct Output {
  Node* value = nullptr;
  Node* updates = nullptr;
};

class Graph {
 public:
  std::string name;
  std::function<void(Node&)> mark;  ///< says of what is added where it comes from: Node::site, Node::gradient_of
  std::vector<Node*> inputs;        ///< `input` nodes in the order of the call
  std::vector<Output> outputs;

  Node* add(const OpDef& op, std::vector<Node*> operands, Attrs attrs, TensorType type, Span span);
  Node* add_input(TensorType type, std::string name, Span span);
  /// In an order in which operands stand before their users (the order of creation unless a pass reordered).
  const std::vector<Node*>& nodes() const { return order_; }
  std::vector<Node*>& order() { return order_; }
  /// Replaces every use of `from`, also among the outputs.
  void replace_uses(Node* from, Node* to);
  /// Keeps only what the outputs reach, and the inputs.
  void drop_dead();
  /// A copy with symbols replaced by sizes; `mapping` (optional) receives old node -> new node.
  Graph clone(const std::map<std::string, Dim>& sizes = {}, std::map<const Node*, Node*>* mapping = nullptr) const;

  Graph() = default;
  Graph(Graph&&) = default;
  Graph& operator=(Graph&&) = default;

 private:
  std::deque<Node> storage_;
  std::vector<Node*> order_;
};

/// The text form; parse(print(g)) prints the same bytes.
std::string print(const Graph& g, const SourceManager* sources = nullptr);
/// Reads the text form. On an error: a diagnostic, and nullopt.
std::optional<Graph> parse(const SourceManager& sources, uint32_t file, Diagnostics& diags);
/// Checks operands, attributes, order and recomputes every type; an empty string if all is well, else what is
/// wrong and at which node.
std::string verify(const Graph& g);
/// A hash of what the graph computes: ops, attributes, types and wiring; no names, spans or order of creation.
uint64_t structural_hash(const Graph& g);

}  // namespace nnlc::graph
