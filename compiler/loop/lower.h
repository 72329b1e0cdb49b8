// Graph to kernels.
#pragma once
#include "compiler/graph/graph.h"
#include "compiler/loop/kernel.h"

namespace nnlc::loop {

/// A verified graph with constant shapes, after the graph passes. The graph is changed (operands are brought into the
/// order a contraction needs) and of no further use to the caller.
Plan lower(graph::Graph& g);

}  // namespace nnlc::loop
