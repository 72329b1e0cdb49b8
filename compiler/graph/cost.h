// What a graph costs to compute, from its shapes alone.
#pragma once
#include "compiler/graph/graph.h"

namespace nnlc::graph {

/// Floating point operations of a node: 2 for each multiplication with its addition of a contraction, 1 for each
/// element of an elementwise op's result and of what a reduction reads; 0 for values that are no floats, and for what
/// only moves.
Dim flops(const Node& n);
Dim flops(const Graph& g);

}  // namespace nnlc::graph
