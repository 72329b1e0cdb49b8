// The graph passes, in the order in which they run.
#pragma once
#include <string>
#include <vector>

#include "compiler/driver/options.h"
#include "compiler/graph/graph.h"

namespace nnlc::driver {

struct Pass {
  const char* name;              ///< of --print-ir-after and --disable-pass
  bool (*run)(graph::Graph& g);  ///< true: g changed
  const char* what;
};
const std::vector<Pass>& graph_passes();

/// Runs every pass until none changes the graph. Debug builds and --verify-each verify after each one; a graph that is
/// wrong then is a bug of the pass: std::logic_error names it.
void optimize(graph::Graph& g, const Options& options, const SourceManager* sources);
/// Runs the passes of these names once each. The name of one that there isn't: returned, and nothing was run.
std::string run_passes(graph::Graph& g, const std::vector<std::string>& names, const Options& options);
/// What --time-passes says at the end.
std::string pass_times();

}  // namespace nnlc::driver
