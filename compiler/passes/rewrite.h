// What the rules of `simplify` share. Not for other passes.
#pragma once
#include <optional>
#include <unordered_map>

#include "compiler/ops/build.h"

namespace nnlc::passes {

/// A rule looks at a node whose operands are simplified already, and gives a node that is equal to it, or null.
class Rewriter {
 public:
  /// `late`: also rules that trade an op that others match for plain elementwise work.
  Rewriter(graph::Graph& g, bool late) : g(g), late_(late) {}
  /// One sweep over the graph.
  bool sweep();

  graph::Node* algebra(graph::Node* n);   // simplify.cpp
  graph::Node* movement(graph::Node* n);  // simplify_movement.cpp
  graph::Node* fold(graph::Node* n);      // simplify.cpp
  graph::Node* sink_broadcasts(graph::Node* n);
  graph::Node* scatter_as_select(graph::Node* n);

  static bool is(const graph::Node* n, std::string_view op) { return n->op->name == op; }
  /// If every element of the node is the same constant: a rank-0 constant node that holds it.
  static const graph::Node* uniform(const graph::Node* n);
  static std::optional<double> uniform_value(const graph::Node* n);
  bool used_once(const graph::Node* n) const {
    auto it = uses_.find(n);
    return it != uses_.end() && it->second == 1;
  }

  graph::Graph& g;

 private:
  bool late_;
  std::unordered_map<const graph::Node*, int> uses_;
};

}  // namespace nnlc::passes
