// The op table: what is known of each primitive op, in one place. Each op's file defines one `const OpDef`;
// op_list.def lists them. Builders (ops/build.h) make nodes; passes and backends read the table.
#pragma once
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "compiler/graph/graph.h"

namespace nnlc::graph {

/// Result of a type rule: a type, or what is wrong in words ("inner sizes differ, 784 and 10").
struct TypeResult {
  std::optional<TensorType> type;
  std::string error;
  TypeResult(TensorType t) : type(std::move(t)) {}  // NOLINT
  static TypeResult fail(std::string message) {
    TypeResult r;
    r.error = std::move(message);
    return r;
  }

 private:
  TypeResult() = default;
};

/// What a vjp rule sees: the node, the adjoint of its result, and where to put the adjoints of its operands.
class Vjp {
 public:
  Graph& graph() { return *graph_; }
  const Node& node() const { return *node_; }
  Node* in(size_t i) const { return node_->operands[i]; }
  Node* out() const { return node_; }
  Node* dy() const { return dy_; }
  bool wants(size_t i) const { return wants_[i]; }
  /// Adds to operand i's adjoint; g must have the operand's type (broadcasts are explicit ops, so no summing here).
  void grad(size_t i, Node* g);

  Graph* graph_;
  Node* node_;
  Node* dy_;
  std::vector<bool> wants_;
  std::vector<Node*> grads_;
};

/// A dense row-major array in the reference evaluator: every element type is held as double (i64 as int64_t too,
/// so that large integers stay exact).
struct RefTensor {
  TensorType type;
  std::vector<double> f;   ///< float types
  std::vector<int64_t> i;  ///< int and bool types
};

/// Operand types and attributes with which the tests try an op; float operands are drawn from [low, high], ints from
/// [int_low, int_high].
struct OpSample {
  std::vector<TensorType> in;
  Attrs attrs;
  double low = -2, high = 2;
  int64_t int_low = 0, int_high = 1;
};

enum class OpClass { source, elementwise, movement, reduction, contraction, indexing, random, control };

struct OpDef {
  std::string_view name;
  OpClass op_class;
  std::vector<std::string_view> operands;    ///< their names; a last one ending in "..." repeats
  std::vector<std::string_view> attributes;  ///< every node has exactly these
  /// Shape rule: from operand types and attributes.
  TypeResult (*type)(std::span<const TensorType> in, const Attrs& attrs);
  /// Gradient; null only with `no_gradient` saying why ("result is an index").
  void (*vjp)(Vjp& v) = nullptr;
  std::string_view no_gradient = {};
  /// Meaning, in plain loops.
  void (*reference)(const Node& n, std::span<const RefTensor* const> in, RefTensor& out) = nullptr;
  std::string_view doc;                ///< one line, for `nnlc doc` and the reference page
  std::vector<OpSample> samples = {};  ///< what tests/ops runs
};

const std::vector<const OpDef*>& all_ops();
const OpDef* find_op(std::string_view name);

/// An attribute's kind follows from its name: "shape starts sizes low high" and a `size` other than window's are Shapes
/// (a single dim is a Shape of length 1), "axes perm strides dilations values" int lists, "dtype" a DType, "kind a b
/// out" strings, "value" a double, "descending" a bool, all others ints. Returns an Attr of that kind.
Attr attr_kind(const OpDef& op, std::string_view attribute);
/// What is wrong with operands or attributes, before the type rule can run; empty: nothing.
std::string check_form(const OpDef& op, size_t n_operands, const Attrs& attrs);

}  // namespace nnlc::graph
