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

/// A value whose memory is that of others, one behind another: they are computed where they stand in it.
struct Assembled {
  const graph::Node* whole;
  std::vector<const graph::Node*> parts;
};

Plan make_plan(const graph::Graph& g, std::vector<BuiltGroup> kernels, const std::vector<Assembled>& assembled);

}  // namespace nnlc::loop
