// nnlc diff A B: where two programs, or two files of weights, differ. Like diff, it exits with 1 if they do.
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <iostream>

#include "compiler/driver/pipeline.h"
#include "compiler/driver/session.h"
#include "compiler/exec/value.h"
#include "compiler/graph/compare.h"
#include "compiler/ops/op.h"
#include "compiler/report/numbers.h"
#include "runtime/safetensors.h"

namespace nnlc::driver {

namespace {

using nnl::SafetensorsEntry;
using nnl::SafetensorsFile;

/// What two lists of named things have in common, in the order of the first, and what only one has.
template <class T, class Name>
void pair_up(const std::vector<T>& a, const std::vector<T>& b, Name name,
             std::vector<std::pair<const T*, const T*>>& both, std::vector<const T*>& only_a,
             std::vector<const T*>& only_b) {
  for (const T& x : a) {
    auto y = std::find_if(b.begin(), b.end(), [&](const T& t) { return name(t) == name(x); });
    if (y == b.end())
      only_a.push_back(&x);
    else
      both.emplace_back(&x, &*y);
  }
  for (const T& y : b)
    if (std::none_of(a.begin(), a.end(), [&](const T& t) { return name(t) == name(y); })) only_b.push_back(&y);
}

std::string type_of(const SafetensorsEntry& e) { return fmt::format("{}[{}]", e.dtype_text, fmt::join(e.shape, ", ")); }

/// A failure is printed; nullptr then.
std::shared_ptr<SafetensorsFile> open_weights(const std::string& path) {
  auto file = SafetensorsFile::open(path);
  if (file) return *file;
  std::cerr << fmt::format("nnlc: {}\n", file.error().message);
  return nullptr;
}

bool read_weights(const SafetensorsFile& file, const SafetensorsEntry& e, nnl::Tensor& out) {
  if (e.dtype < 0) {
    std::cerr << fmt::format("nnlc: {}: `{}` has the type {}, which nnlc can't read\n", file.path(), e.name,
                             e.dtype_text);
    return false;
  }
  out = nnl::Tensor::empty(e.dtype, e.shape);
  if (auto error = file.read(e, out.data())) {
    std::cerr << fmt::format("nnlc: {}\n", error->message);
    return false;
  }
  return true;
}

int diff_weights(const std::string& path_a, const std::string& path_b) {
  const auto a = open_weights(path_a), b = open_weights(path_b);
  if (!a || !b) return kFailed;
  std::vector<std::pair<const SafetensorsEntry*, const SafetensorsEntry*>> both;
  std::vector<const SafetensorsEntry*> only_a, only_b;
  pair_up(
      a->entries(), b->entries(), [](const SafetensorsEntry& e) { return e.name; }, both, only_a, only_b);
  for (auto* e : only_a) std::cout << fmt::format("only in {}: {} {}\n", path_a, e->name, type_of(*e));
  for (auto* e : only_b) std::cout << fmt::format("only in {}: {} {}\n", path_b, e->name, type_of(*e));
  size_t differ = only_a.size() + only_b.size(), same = 0;
  for (auto [x, y] : both) {
    if (type_of(*x) != type_of(*y)) {
      std::cout << fmt::format("{}: {} against {}\n", x->name, type_of(*x), type_of(*y));
      ++differ;
      continue;
    }
    nnl::Tensor p, q;
    if (!read_weights(*a, *x, p) || !read_weights(*b, *y, q)) return kFailed;
    if (std::memcmp(p.data(), q.data(), static_cast<size_t>(p.bytes())) == 0) {
      ++same;
      continue;
    }
    int64_t others = 0;
    double largest = 0, size = 0;
    for (int64_t i = 0; i < p.count(); ++i) {
      const double u = exec::element(p, i), v = exec::element(q, i);
      size = std::max(size, std::fabs(u));
      if (u == v || (std::isnan(u) && std::isnan(v))) continue;
      ++others;
      // NaN on one side alone is the largest difference there is.
      const double d = std::isnan(u - v) ? INFINITY : std::fabs(u - v);
      largest = std::max(largest, d);
    }
    if (others == 0) {
      ++same;  // zeros of other signs, NaNs of other bits
      continue;
    }
    ++differ;
    std::cout << fmt::format("{} {}: {} of {} elements differ, by up to {:.3g} (the largest is {:.3g})\n", x->name,
                             type_of(*x), report::grouped(others), report::grouped(p.count()), largest, size);
  }
  std::cout << fmt::format("{} the same, {} not\n", report::plural(static_cast<int64_t>(same), "tensor"),
                           report::grouped(static_cast<int64_t>(differ)));
  return differ ? kWrongProgram : kDone;
}

/// A node as a reader finds it: its op, its type, and the line that it comes from.
std::string describe(const graph::Node& n, const SourceManager& sources) {
  std::string out = fmt::format("{} {}", n.op->name, n.type.str());
  for (auto& [key, value] : n.attrs) {
    if (auto* d = std::get_if<double>(&value)) out += fmt::format(", {} {}", key, *d);
    if (auto* i = std::get_if<int64_t>(&value); i && n.op->name != "random") out += fmt::format(", {} {}", key, *i);
  }
  if (n.op->name == "constant" && n.type.rank() == 0) {
    const auto& bits = n.ints_attr("values");
    if (bits.size() == 1)
      out += graph::is_float(n.type.dtype) ? fmt::format(" of {}", std::bit_cast<double>(bits[0]))
                                           : fmt::format(" of {}", bits[0]);
  }
  if (n.op->name == "input") out += " `" + n.name + "`";
  if (n.site.valid()) {
    const Span line = n.site;
    out += fmt::format("  {}  `{}`", sources.describe(line), std::string(sources.text(line)).substr(0, 60));
  }
  return out;
}

/// The differences of two graphs, as far as they are worth reading. False: there are none.
bool print_difference(const graph::Graph& a, const graph::Graph& b, const Session& sa, const Session& sb) {
  constexpr size_t kShown = 6;
  if (graph::structural_hash(a) == graph::structural_hash(b)) return false;
  const graph::Difference d = graph::compare(a, b);
  auto show = [&](const std::vector<const graph::Node*>& nodes, const char* sign, const SourceManager& sources) {
    for (size_t i = 0; i < nodes.size() && i < kShown; ++i)
      std::cout << fmt::format("  {} {}\n", sign, describe(*nodes[i], sources));
    if (nodes.size() > kShown) std::cout << fmt::format("  {} and {} more\n", sign, nodes.size() - kShown);
  };
  show(d.only_a, "-", sa.sources);
  show(d.only_b, "+", sb.sources);
  if (d.only_a.empty() && d.only_b.empty())
    std::cout << "  the same ops, but other results or another order of inputs\n";
  return true;
}

int diff_programs(const Options& options) {
  std::unique_ptr<host::Program> programs[2];
  std::vector<sema::LayerInfo> layers[2];
  std::unique_ptr<Session> sessions[2];
  for (int i : {0, 1}) {
    sessions[i] = std::make_unique<Session>(options);
    Session& s = *sessions[i];
    if (auto wrong = s.prepare(options.files[static_cast<size_t>(i)])) return *wrong;
    layers[i] = sema::list_layers(s.sources, s.file, s.compile_options, s.diags);
    if (int status = s.finish(); status != kDone) return status;
    s.diags.truncate(0);
    programs[i] = s.compile();
    if (int status = s.finish(); status != kDone || !programs[i]) return status;
    for (auto& l : layers[i])
      if (l.forward) optimize(*l.forward, options, &s.sources);
    for (auto& step : programs[i]->steps) optimize(step.graph, options, &s.sources);
  }
  bool differ = false;
  std::vector<std::pair<const sema::LayerInfo*, const sema::LayerInfo*>> both;
  std::vector<const sema::LayerInfo*> only_a, only_b;
  auto name = [](const sema::LayerInfo& l) { return l.name; };
  pair_up(layers[0], layers[1], name, both, only_a, only_b);
  if (both.empty() && layers[0].size() == 1 && layers[1].size() == 1) {
    // One layer each: meant to be compared, whatever their names are.
    both.emplace_back(layers[0].data(), layers[1].data());
    only_a.clear();
    only_b.clear();
  }
  for (auto* l : only_a) std::cout << fmt::format("only in {}: the layer {}\n", options.files[0], l->name);
  for (auto* l : only_b) std::cout << fmt::format("only in {}: the layer {}\n", options.files[1], l->name);
  differ |= !only_a.empty() || !only_b.empty();
  for (auto [x, y] : both) {
    const std::string title = x->name == y->name ? x->name : x->name + " and " + y->name;
    std::vector<std::pair<const sema::LayerInfo::Param*, const sema::LayerInfo::Param*>> params;
    std::vector<const sema::LayerInfo::Param*> gone, added;
    pair_up(
        x->params, y->params, [](const sema::LayerInfo::Param& p) { return p.path; }, params, gone, added);
    std::string lines;
    for (auto* p : gone) lines += fmt::format("  - {} {}\n", p->path, p->type.str());
    for (auto* p : added) lines += fmt::format("  + {} {}\n", p->path, p->type.str());
    for (auto [p, q] : params)
      if (!(p->type == q->type)) lines += fmt::format("  {}: {} against {}\n", p->path, p->type.str(), q->type.str());
    const bool graphs =
        x->forward && y->forward && graph::structural_hash(*x->forward) != graph::structural_hash(*y->forward);
    if (lines.empty() && !graphs) {
      std::cout << fmt::format("layer {}: the same graph, the same parameters\n", title);
      continue;
    }
    differ = true;
    std::cout << fmt::format("layer {}: {}\n{}", title, !graphs ? "the same graph, other parameters" : "another graph",
                             lines);
    if (graphs) print_difference(*x->forward, *y->forward, *sessions[0], *sessions[1]);
  }
  // Steps are compared in their order: the host programs around them are plain text, for which there is diff.
  const size_t n = std::min(programs[0]->steps.size(), programs[1]->steps.size());
  for (size_t i = 0; i < n; ++i) {
    const host::Step &p = programs[0]->steps[i], &q = programs[1]->steps[i];
    if (graph::structural_hash(p.graph) == graph::structural_hash(q.graph)) continue;
    std::cout << fmt::format("step {}: {} against {}\n", i, p.title, q.title);
    differ |= print_difference(p.graph, q.graph, *sessions[0], *sessions[1]);
  }
  if (programs[0]->steps.size() != programs[1]->steps.size()) {
    std::cout << fmt::format("{} compilations against {}\n", programs[0]->steps.size(), programs[1]->steps.size());
    differ = true;
  }
  if (programs[0]->seed != programs[1]->seed) {
    std::cout << fmt::format("seed {} against {}\n", programs[0]->seed, programs[1]->seed);
    differ = true;
  }
  if (!differ) std::cout << "all compilations compute the same\n";
  return differ ? kWrongProgram : kDone;
}

}  // namespace

int diff_command(const Options& options) {
  auto weights = [](const std::string& path) { return path.ends_with(".safetensors"); };
  const bool a = weights(options.files[0]), b = weights(options.files[1]);
  if (a != b) {
    std::cerr << "nnlc: diff compares two programs or two .safetensors files\n";
    return kBadUsage;
  }
  return a ? diff_weights(options.files[0], options.files[1]) : diff_programs(options);
}

}  // namespace nnlc::driver
