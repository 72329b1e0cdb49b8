// Where two graphs compute something else.
#pragma once
#include <utility>
#include <vector>

#include "compiler/graph/graph.h"

namespace nnlc::graph {

/// The nodes of each graph that compute what no node of the other does, in order. Inputs are known by their place. A
/// node that differs only because an operand does isn't among them. Both empty: what the outputs are may still differ.
struct Difference {
  std::vector<const Node*> only_a, only_b;
};
Difference compare(const Graph& a, const Graph& b);

}  // namespace nnlc::graph
