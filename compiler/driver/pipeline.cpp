// Every graph pass, in order: read this first. Differentiation isn't here: sema asks for gradients while it builds a
// step, since optimizers and blocks around them use the result.
#include "compiler/driver/pipeline.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>
#include <stdexcept>

#include "compiler/passes/passes.h"

namespace nnlc::driver {

namespace {

struct Timing {
  int runs = 0;
  double seconds = 0;
};
std::map<std::string, Timing>& timings() {
  static std::map<std::string, Timing> t;
  return t;
}

/// A graph that is wrong after a pass is a bug of that pass.
void verify_after(const char* what, const graph::Graph& g, const Options& options) {
#ifdef NDEBUG
  if (!options.verify_each) return;
#else
  (void)options;
#endif
  if (std::string wrong = graph::verify(g); !wrong.empty())
    throw std::logic_error(fmt::format("after the pass `{}`: {}\n{}", what, wrong, graph::print(g)));
}

bool run_pass(const Pass& pass, graph::Graph& g, const Options& options) {
  const auto start = std::chrono::steady_clock::now();
  const bool changed = pass.run(g);
  if (options.time_passes) {
    Timing& t = timings()[pass.name];
    ++t.runs;
    t.seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
  verify_after(pass.name, g, options);
  return changed;
}

}  // namespace

const std::vector<Pass>& graph_passes() {
  static const std::vector<Pass> passes = {
      {"simplify", passes::simplify, "algebra, folding of constants, movements that undo one another"},
      {"cse", passes::cse, "equal nodes become one"},
      {"merge-sums", passes::merge_sums, "sums of many equal terms become one term over their operands"},
      {"dce", passes::dce, "drop nodes nobody reads"},
  };
  return passes;
}

void optimize(graph::Graph& g, const Options& options, const SourceManager* sources) {
  verify_after("sema", g, options);
  // Each pass only removes or merges, so this ends by itself; the bound is for a pass that doesn't keep to that.
  for (int round = 0; round < 8; ++round) {
    bool changed = false;
    for (const Pass& pass : graph_passes()) {
      bool disabled = false;
      for (const std::string& name : options.disabled_passes) disabled |= name == pass.name;
      if (disabled) continue;
      changed |= run_pass(pass, g, options);
      if (options.print_ir_after == pass.name || options.print_ir_after == "all")
        std::fputs(fmt::format("# after {}, round {}\n{}", pass.name, round + 1, graph::print(g, sources)).c_str(),
                   stderr);
    }
    if (!changed) break;
  }
}

std::string run_passes(graph::Graph& g, const std::vector<std::string>& names, const Options& options) {
  std::vector<const Pass*> chosen;
  for (const std::string& name : names) {
    auto pass =
        std::find_if(graph_passes().begin(), graph_passes().end(), [&](const Pass& p) { return p.name == name; });
    if (pass == graph_passes().end()) return name;
    chosen.push_back(&*pass);
  }
  for (const Pass* pass : chosen) run_pass(*pass, g, options);
  return {};
}

std::string pass_times() {
  std::string out;
  for (const Pass& pass : graph_passes())
    out += fmt::format("{:>12} {:5} runs {:9.3f} ms\n", pass.name, timings()[pass.name].runs,
                       timings()[pass.name].seconds * 1e3);
  return out;
}

}  // namespace nnlc::driver
