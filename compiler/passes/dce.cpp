// Drops nodes that no output reads.
// Why: differentiation leaves adjoints that nobody asked for, and simplification what it has replaced.
// Keeps: order, inputs (they are the graph's signature).
#include "compiler/passes/passes.h"

namespace nnlc::passes {

bool dce(graph::Graph& g) {
  size_t before = g.nodes().size();
  g.drop_dead();
  return g.nodes().size() != before;
}

void settle(graph::Graph& g) {
  for (int round = 0; round < 4; ++round) {
    bool changed = simplify(g);
    changed |= cse(g);
    changed |= merge_sums(g);
    changed |= dce(g);
    if (!changed) break;
  }
}

}  // namespace nnlc::passes
