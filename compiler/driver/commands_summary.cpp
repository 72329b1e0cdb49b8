// nnlc summary: the layers of a program as a tree, with what they give, hold and cost; then its training steps.
#include <fmt/format.h>

#include <algorithm>
#include <iostream>

#include "compiler/driver/pipeline.h"
#include "compiler/driver/session.h"
#include "compiler/graph/cost.h"
#include "compiler/report/numbers.h"
#include "compiler/report/steps.h"

namespace nnlc::driver {

namespace {

using report::pad;
using sema::LayerInfo;
using sema::LayerRow;

/// The lines of a tree in front of each row: rows stand with a parent before what it holds.
std::vector<std::string> branches(const std::vector<LayerRow>& rows) {
  std::vector<std::string> out(rows.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    std::string lead;
    for (int depth = rows[0].depth + 1; depth <= rows[i].depth; ++depth) {
      // Whether the ancestor at this depth has a later sibling.
      bool more = false;
      for (size_t k = i + 1; k < rows.size() && rows[k].depth >= depth; ++k) more |= rows[k].depth == depth;
      const bool own = depth == rows[i].depth;
      lead += own ? (more ? "├─ " : "└─ ") : (more ? "│  " : "   ");
    }
    out[i] = lead;
  }
  return out;
}

void print_layer(const std::vector<LayerRow>& rows) {
  const std::vector<std::string> lead = branches(rows);
  std::vector<std::vector<std::string>> cells{{"layer", "output", "parameters", "FLOPs"}};
  int64_t trained = 0, frozen = 0, state = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    // What a layer holds: its own and that of the layers in it.
    int64_t held = 0;
    for (size_t k = i; k < rows.size() && (k == i || rows[k].depth > rows[i].depth); ++k)
      held += rows[k].trained + rows[k].frozen;
    trained += rows[i].trained;
    frozen += rows[i].frozen;
    state += rows[i].state;
    const bool called = !rows[i].output.empty();
    const std::string name =
        rows[i].name == rows[i].class_name ? rows[i].name : rows[i].name + ": " + rows[i].class_name;
    cells.push_back({lead[i] + name, called ? rows[i].output : "not called", report::grouped(held),
                     called ? report::work(rows[i].flops) : ""});
  }
  std::vector<size_t> widths(4, 0);
  for (auto& row : cells)
    for (size_t c = 0; c < 4; ++c) widths[c] = std::max(widths[c], report::width(row[c]));
  for (auto& row : cells) {
    std::string line = pad(row[0], widths[0]) + "  " + pad(row[1], widths[1]) + "  " + pad(row[2], widths[2], true) +
                       "  " + pad(row[3], widths[3], true);
    line.erase(line.find_last_not_of(' ') + 1);
    std::cout << line << '\n';
  }
  std::cout << fmt::format("{} parameters", report::grouped(trained + frozen));
  if (frozen) std::cout << fmt::format(": {} trained, {} frozen", report::grouped(trained), report::grouped(frozen));
  if (state) std::cout << fmt::format("; {} of state", report::plural(state, "element"));
  std::cout << "\n\n";
}

/// The rows of the layer that was asked for, by variable, class or path ("net.head"); empty: there is none.
std::vector<LayerRow> narrowed(const LayerInfo& layer, const std::string& only) {
  if (only.empty() || only == layer.name || only == layer.class_name) return layer.rows;
  std::vector<std::string> path;
  for (size_t i = 0; i < layer.rows.size(); ++i) {
    const auto depth = static_cast<size_t>(layer.rows[i].depth);
    path.resize(depth);
    path.push_back(layer.rows[i].name);
    const std::string below = fmt::format("{}", fmt::join(path.begin() + (depth ? 1 : 0), path.end(), "."));
    if (only != below && only != layer.name + "." + below) continue;
    size_t end = i + 1;
    while (end < layer.rows.size() && layer.rows[end].depth > layer.rows[i].depth) ++end;
    return {layer.rows.begin() + static_cast<std::ptrdiff_t>(i), layer.rows.begin() + static_cast<std::ptrdiff_t>(end)};
  }
  return {};
}

int print_training_steps(const Options& options) {
  Session session(options);
  if (auto wrong = session.prepare(options.files[0])) return *wrong;
  auto program = session.compile();
  // What there is to say was said when the layers were listed.
  if (!program) return kDone;
  auto backend = make_backend(options);
  if (!backend) return kFailed;
  for (const report::StepInfo& s : report::list_steps(*program, session.sources)) {
    if (s.kind != report::StepInfo::Kind::training) continue;
    graph::Graph& g = program->steps[static_cast<size_t>(s.step)].graph;
    optimize(g, options, &session.sources);
    const graph::Dim flops = graph::flops(g);
    std::cout << s.title << (s.when.empty() ? "" : ", " + s.when) << '\n';
    std::cout << fmt::format("  {} FLOPs: forward, backward and update\n", report::work(flops));
    std::cout << fmt::format("  parameters {}, gradients {}, optimizer state {}", report::bytes(s.parameter_bytes),
                             report::bytes(s.trained_bytes), report::bytes(s.state_bytes));
    if (auto plan = backend->plan(g.clone())) {
      std::cout << fmt::format("\n  arena {}: activations, and the gradients that outlive their kernel",
                               report::bytes(plan->arena_bytes));
    }
    std::cout << "\n\n";
  }
  return kDone;
}

}  // namespace

int summary_command(const Options& options) {
  Session session(options);
  if (auto wrong = session.prepare(options.files[0])) return *wrong;
  auto layers = sema::list_layers(session.sources, session.file, session.compile_options, session.diags);
  if (int status = session.finish(); status != kDone) return status;
  bool shown = false;
  std::vector<std::string> names;
  for (const LayerInfo& layer : layers) {
    names.push_back(layer.name);
    names.push_back(layer.class_name);
    for (const LayerRow& row : layer.rows) names.push_back(row.name);
    const std::vector<LayerRow> rows = narrowed(layer, options.filter);
    if (rows.empty()) continue;
    print_layer(rows);
    shown = true;
  }
  if (!shown && !options.filter.empty()) {
    std::cerr << fmt::format("nnlc: {} has no layer `{}`", options.files[0], options.filter);
    if (auto near = nearest(options.filter, names)) std::cerr << fmt::format(": did you mean `{}`?", *near);
    std::cerr << '\n';
    return kBadUsage;
  }
  if (!shown) std::cout << fmt::format("{} makes no layers\n\n", options.files[0]);
  return options.filter.empty() ? print_training_steps(options) : kDone;
}

}  // namespace nnlc::driver
