// From kernels to a step: order, updates in place, memory of temporaries, barriers.
#pragma once
#include <vector>

#include "compiler/graph/graph.h"
#include "compiler/loop/kernel.h"

namespace nnlc::loop {

/// A kernel and the graph value behind each of its args.
struct BuiltGroup {
  Kernel kernel;
  std::vector<const graph::Node*> args;
  std::vector<const graph::Node*> nodes;  ///< what it computes
};

Plan make_plan(const graph::Graph& g, std::vector<BuiltGroup> kernels);

}  // namespace nnlc::loop
