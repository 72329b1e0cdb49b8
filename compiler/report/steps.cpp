#include "compiler/report/steps.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "compiler/graph/cost.h"
#include "compiler/report/numbers.h"

namespace nnlc::report {

namespace {

using host::BatchLoop;
using host::Reg;

int64_t count(const graph::TensorType& t) {
  const graph::Dim n = graph::element_count(t.shape);
  return n.is_constant() ? n.value() : 0;
}
int64_t size_of(const graph::TensorType& t) { return count(t) * static_cast<int64_t>(graph::size_bytes(t.dtype)); }

/// Which batches a step is run on.
struct Surroundings {
  const BatchLoop* loop = nullptr;
  int64_t rows = 0;
};

class Lister {
 public:
  Lister(const host::Program& program, const SourceManager& sources) : program_(program), sources_(sources) {
    for (const host::Persistent& p : program.persistents) persistents_[p.reg] = &p;
  }
  std::vector<StepInfo> run() {
    block(program_.body, {});
    return std::move(out_);
  }

 private:
  void block(const host::Block& b, const Surroundings& around) {
    for (const auto& i : b) {
      if (i->op == host::Op::run_step) {
        const bool known = std::any_of(out_.begin(), out_.end(), [&](auto& s) { return s.step == i->step; });
        if (!known) out_.push_back(describe(i->step, around));
      }
      // The condition of a loop stands before its body.
      block(i->op == host::Op::loop_while ? i->else_block : i->then_block, around);
      block(i->op == host::Op::loop_while ? i->then_block : i->else_block, around);
      if (i->batches)
        for (const BatchLoop::Variant& v : i->batches->variants) block(v.body, {i->batches.get(), v.rows});
    }
  }

  StepInfo describe(int index, const Surroundings& around) {
    const host::Step& step = program_.steps[static_cast<size_t>(index)];
    StepInfo s;
    s.step = index;
    const std::string place = sources_.describe(step.span);
    std::set<Reg> updated;
    for (const graph::Output& o : step.graph.outputs)
      for (size_t k = 0; o.updates && k < step.graph.inputs.size(); ++k)
        if (step.graph.inputs[k] == o.updates) updated.insert(step.inputs[k]);
    for (size_t k = 0; k < step.inputs.size(); ++k) {
      const Reg r = step.inputs[k];
      const graph::TensorType& type = step.graph.inputs[k]->type;
      if (auto p = persistents_.find(r); p != persistents_.end()) {
        s.parameters += count(type);
        s.parameter_bytes += size_of(type);
        if (updated.count(r) && p->second->learned) s.trained_bytes += size_of(type);
        continue;
      }
      if (updated.count(r) && type.rank() > 0) {
        s.state_bytes += size_of(type);
        continue;
      }
      if (around.loop)
        for (size_t f = 0; f < around.loop->fields.size(); ++f)
          if (around.loop->fields[f] == r)
            s.inputs.push_back(fmt::format("{} {}", around.loop->dataset->fields()[f].name, type.str()));
    }
    if (step.title != place) {
      s.kind = StepInfo::Kind::initial;
      s.title = step.title;
    } else if (s.trained_bytes > 0) {
      s.kind = StepInfo::Kind::training;
      s.title = "training step at " + place;
    } else {
      s.title = "step at " + place;
    }
    if (around.loop) {
      const BatchLoop& loop = *around.loop;
      s.rows = around.rows;
      const int64_t passes = around.rows == loop.batch_size ? loop.dataset->size() / loop.batch_size : 1;
      s.when = fmt::format("batches of {}: {} of each pass over {}", plural(around.rows, "row"), grouped(passes),
                           loop.dataset->name());
    }
    s.flops = graph::flops(step.graph);
    return s;
  }

  const host::Program& program_;
  const SourceManager& sources_;
  std::map<Reg, const host::Persistent*> persistents_;
  std::vector<StepInfo> out_;
};

/// "mnist.nnl:10"
std::string line_of(Span s, const SourceManager& sources) {
  return s.valid() ? fmt::format("{}:{}", sources.file(s.file).path, sources.position(s.file, s.begin).line) : "";
}

/// The source text of a span, if it is short enough to be read at a glance.
std::string excerpt(Span s, const SourceManager& sources) {
  constexpr size_t kMost = 48;
  std::string text(sources.text(s));
  if (const size_t end = text.find('\n'); end != std::string::npos) text = text.substr(0, end) + "…";
  if (width(text) <= kMost) return text;
  size_t cut = kMost - 1;
  while (cut > 0 && (static_cast<unsigned char>(text[cut]) & 0xC0) == 0x80) --cut;
  return text.substr(0, cut) + "…";
}

/// A launch that computes nothing: it reads values and stores them elsewhere.
bool only_moves(const loop::Kernel& k, const loop::Launch& l) {
  static constexpr std::string_view kMovement[] = {"reshape", "permute", "broadcast", "slice",         "dynamic_slice",
                                                   "pad",     "concat",  "flip",      "stop_gradient", "window"};
  const bool reads =
      std::any_of(k.exprs.begin(), k.exprs.end(), [](const loop::Expr& e) { return e.fn == loop::Fn::load; });
  if (k.kind != loop::Kernel::Kind::nest || !k.reductions.empty() || !reads) return false;
  return std::all_of(l.parts.begin(), l.parts.end(), [](const loop::Part& p) {
    return std::find(std::begin(kMovement), std::end(kMovement), p.op) != std::end(kMovement);
  });
}

std::string times(const std::vector<int64_t>& sizes) { return fmt::format("{}", fmt::join(sizes, " x ")); }

std::string head(const loop::Kernel& k, const loop::Launch& l) {
  if (k.kind == loop::Kernel::Kind::library) return k.routine.op;
  if (k.kind == loop::Kernel::Kind::gemm) {
    int64_t batch = k.gemm.batch;
    for (auto& o : k.gemm.outer) batch *= o.size;
    return fmt::format("matrix product [{}, {}] @ [{}, {}]{}", k.gemm.m, k.gemm.k, k.gemm.k, k.gemm.n,
                       batch > 1 ? fmt::format(", {} times", batch) : "");
  }
  std::vector<int64_t> outer, inner;
  for (const loop::Axis& a : k.axes) (a.outer ? outer : inner).push_back(a.size);
  if (only_moves(k, l)) return fmt::format("copy of {}", outer.empty() ? "one element" : times(outer));
  if (k.reductions.empty()) {
    outer.insert(outer.end(), inner.begin(), inner.end());
    return outer.empty() ? "one element" : fmt::format("elementwise over {}", times(outer));
  }
  return fmt::format("{} over {}{}", plural(static_cast<int64_t>(k.reductions.size()), "reduction"), times(inner),
                     outer.empty() ? "" : fmt::format(", for {} rows", times(outer)));
}

}  // namespace

std::vector<StepInfo> list_steps(const host::Program& program, const SourceManager& sources) {
  return Lister(program, sources).run();
}

std::vector<std::string> describe_launches(const loop::Plan& plan, const SourceManager& sources) {
  std::vector<std::string> out;
  for (const loop::Launch& l : plan.launches) {
    std::string text = head(plan.kernels[static_cast<size_t>(l.kernel)], l) + "\n";
    // The ops of one place of the program together, in the order in which places first occur.
    struct Place {
      Span site;
      bool backward;
      std::vector<std::pair<std::string_view, int>> ops;
      std::vector<std::string> library;
    };
    std::vector<Place> places;
    for (const loop::Part& p : l.parts) {
      const bool backward = !p.gradient_of.empty();
      auto at = std::find_if(places.begin(), places.end(),
                             [&](const Place& x) { return x.site == p.site && x.backward == backward; });
      if (at == places.end()) at = places.insert(at, {p.site, backward, {}, {}});
      auto op = std::find_if(at->ops.begin(), at->ops.end(), [&](auto& o) { return o.first == p.op; });
      if (op == at->ops.end())
        at->ops.emplace_back(p.op, 1);
      else
        ++op->second;
      if (p.span == p.site || !p.span.valid()) continue;
      std::string place = line_of(p.span, sources);
      if (std::find(at->library.begin(), at->library.end(), place) == at->library.end())
        at->library.push_back(std::move(place));
    }
    if (l.parts.empty()) text += "    a value that is overwritten while it is still needed\n";
    for (const Place& p : places) {
      std::string ops;
      for (auto& [op, n] : p.ops)
        ops += fmt::format("{}{}{}", ops.empty() ? "" : ", ", op, n > 1 ? fmt::format(" ({})", n) : "");
      const std::string what = p.site.valid()
                                   ? fmt::format("{}  `{}`", line_of(p.site, sources), excerpt(p.site, sources))
                                   : std::string("made by the compiler");
      text += fmt::format("    {}{}: {}", p.backward ? "gradient of " : "", what, ops);
      if (!p.library.empty()) text += fmt::format("  ({})", fmt::join(p.library, ", "));
      text += '\n';
    }
    out.push_back(std::move(text));
  }
  return out;
}

std::vector<std::string> describe_copies(const loop::Plan& plan, const SourceManager& sources) {
  std::vector<std::string> out;
  for (size_t i = 0; i < plan.launches.size(); ++i) {
    const loop::Launch& l = plan.launches[i];
    const loop::Kernel& k = plan.kernels[static_cast<size_t>(l.kernel)];
    if (!only_moves(k, l)) continue;
    int64_t size = 0;
    for (const loop::Arg& a : k.args)
      if (a.written) size += a.elements * static_cast<int64_t>(graph::size_bytes(a.type));
    std::string why = "a value that is given out twice, or overwritten while it is still needed";
    if (!l.parts.empty()) why.clear();
    for (const loop::Part& p : l.parts)
      why += fmt::format("{}`{}` at {}{}", why.empty() ? "" : ", ", p.op, line_of(p.site, sources),
                         p.gradient_of.empty() ? "" : " (gradient)");
    if (!l.parts.empty()) why += ": what reads it needs its elements in this order";
    out.push_back(fmt::format("kernel {} copies {}: {}", i + 1, bytes(size), why));
  }
  return out;
}

std::vector<int64_t> live_bytes(const loop::Plan& plan) {
  std::vector<int64_t> out(plan.launches.size(), 0);
  for (size_t b = 0; b < plan.buffers.size(); ++b) {
    if (plan.buffers[b].kind != loop::Buffer::Kind::temp) continue;
    size_t first = plan.launches.size(), last = 0;
    for (size_t i = 0; i < plan.launches.size(); ++i)
      for (int used : plan.launches[i].buffers)
        if (used == static_cast<int>(b)) {
          first = std::min(first, i);
          last = i;
        }
    const int64_t size = plan.buffers[b].elements * static_cast<int64_t>(graph::size_bytes(plan.buffers[b].type));
    for (size_t i = first; i <= last && i < out.size(); ++i) out[i] += size;
  }
  return out;
}

std::string describe_memory(const loop::Plan& plan) {
  struct Row {
    int64_t offset, size;
    size_t first, last;
    std::string text;
  };
  std::vector<Row> rows;
  for (size_t b = 0; b < plan.buffers.size(); ++b) {
    const loop::Buffer& buffer = plan.buffers[b];
    if (buffer.kind != loop::Buffer::Kind::temp) continue;
    Row r{buffer.offset, buffer.elements * static_cast<int64_t>(graph::size_bytes(buffer.type)), plan.launches.size(),
          0, fmt::format("{}[{}] {}", graph::name(buffer.type), fmt::join(buffer.shape, ", "), buffer.note)};
    for (size_t i = 0; i < plan.launches.size(); ++i)
      for (int used : plan.launches[i].buffers)
        if (used == static_cast<int>(b)) {
          r.first = std::min(r.first, i);
          r.last = i;
        }
    if (r.first < plan.launches.size()) rows.push_back(std::move(r));
  }
  std::stable_sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) { return a.offset < b.offset; });
  std::string out;
  for (const Row& r : rows)
    out += fmt::format("    {:>12}  {:>12}  kernels {:>3} to {:>3}  {}\n", grouped(r.offset), bytes(r.size),
                       r.first + 1, r.last + 1, r.text);
  return out;
}

}  // namespace nnlc::report
