// Which op was the first to give a value that isn't finite. The step whose check failed is run again from the same
// bits, compiled once more by the same backend with every value among its results; then one walks back from the checked
// value through those that aren't finite, to where finite operands gave one that isn't.
#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>
#include <set>

#include "compiler/exec/impl.h"
#include "compiler/ops/evaluate.h"

namespace nnlc::exec {

namespace {

using graph::Node;
using graph::RefTensor;
using host::Instr;

bool finite(const RefTensor& t) {
  return std::all_of(t.f.begin(), t.f.end(), [](double v) { return std::isfinite(v); });
}
int64_t elements(const RefTensor& t) { return static_cast<int64_t>(t.f.empty() ? t.i.size() : t.f.size()); }
double at(const RefTensor& t, int64_t i) {
  return t.f.empty() ? static_cast<double>(t.i[static_cast<size_t>(i)]) : t.f[static_cast<size_t>(i)];
}
std::string text(double v, graph::DType type) {
  if (std::isnan(v)) return "NaN";
  if (std::isinf(v)) return v > 0 ? "inf" : "-inf";
  return type == graph::DType::f64 ? fmt::format("{}", v) : fmt::format("{}", static_cast<float>(v));
}
/// "-0.5 to 3", or the one value that all have; what isn't finite is named behind.
std::string range(const RefTensor& t) {
  double low = INFINITY, high = -INFINITY;
  int64_t strange = 0;
  for (int64_t i = 0; i < elements(t); ++i) {
    const double v = at(t, i);
    if (!std::isfinite(v)) {
      ++strange;
      continue;
    }
    low = std::min(low, v);
    high = std::max(high, v);
  }
  std::string out;
  if (low <= high)
    out = low == high ? text(low, t.type.dtype) : text(low, t.type.dtype) + " to " + text(high, t.type.dtype);
  if (strange)
    out += fmt::format("{}{} that {} finite", out.empty() ? "" : ", and ", strange, strange == 1 ? "isn't" : "aren't");
  return out;
}
bool varies(const RefTensor& t) {
  for (int64_t i = 1; i < elements(t); ++i)
    if (!(at(t, i) == at(t, 0))) return true;
  return false;
}
std::string index_text(int64_t flat, const std::vector<int64_t>& sizes) {
  std::vector<int64_t> index(sizes.size());
  for (size_t d = sizes.size(); d-- > 0;) {
    index[d] = flat % sizes[d];
    flat /= sizes[d];
  }
  return fmt::format("[{}]", fmt::join(index, ", "));
}
/// "3", "3 and 17", "3, 17, 20 and 5 more".
std::string list_text(const std::vector<int64_t>& numbers) {
  constexpr size_t kShown = 5;
  std::string out;
  const size_t shown = numbers.size() <= kShown ? numbers.size() : kShown - 1;
  for (size_t i = 0; i < shown; ++i)
    out += fmt::format("{}{}", i == 0 ? "" : i + 1 == numbers.size() ? " and " : ", ", numbers[i]);
  if (shown < numbers.size()) out += fmt::format(" and {} more", numbers.size() - shown);
  return out;
}

/// What usually mends an op that isn't finite, or nothing.
std::string advice(std::string_view op) {
  if (op == "log")
    return "a logarithm of 0 is -inf, of less NaN: keep its operand above 0, for example `log(x + 1e-8)`";
  if (op == "div" || op == "rem") return "keep the divisor away from 0, for example `a / (b + 1e-8)`";
  if (op == "sqrt" || op == "rsqrt")
    return "sqrt has no finite slope at 0, and is NaN below: for example `sqrt(x + 1e-8)`";
  if (op == "exp" || op == "expm1")
    return "exp of more than 88 overflows f32: `softmax`, `logsumexp` and the losses on logits avoid that";
  if (op == "pow") return "a power of 0 with an exponent below 0, or a root of a negative number, isn't finite";
  return {};
}

/// All values of one run of a step.
class Values {
 public:
  Values(const graph::Graph& source, const std::vector<const Node*>& roots, const std::vector<const void*>& inputs,
         codegen::Backend& backend);
  const RefTensor& of(const Node* n);

 private:
  std::map<const Node*, RefTensor> known_;
};

Values::Values(const graph::Graph& source, const std::vector<const Node*>& roots,
               const std::vector<const void*>& inputs, codegen::Backend& backend) {
  for (size_t k = 0; k < inputs.size(); ++k)
    known_[source.inputs[k]] = graph::load_ref(source.inputs[k]->type, inputs[k]);
  std::map<const Node*, Node*> copies;
  graph::Graph g = source.clone({}, &copies);
  g.outputs.clear();
  std::set<const Node*> needed(roots.begin(), roots.end());
  for (auto n = source.nodes().rbegin(); n != source.nodes().rend(); ++n)
    if (needed.count(*n)) needed.insert((*n)->operands.begin(), (*n)->operands.end());
  std::vector<const Node*> shown;
  for (const Node* n : source.nodes()) {
    // What only moves values is had from its operand.
    const auto kind = n->op->op_class;
    if (!needed.count(n) || kind == graph::OpClass::source || kind == graph::OpClass::movement) continue;
    shown.push_back(n);
    g.outputs.push_back({copies.at(n), nullptr});
  }
  g.drop_dead();
  std::vector<void*> buffers;
  for (const void* p : inputs) buffers.push_back(const_cast<void*>(p));
  std::vector<Tensor> results;
  for (const Node* n : shown) {
    results.push_back(Tensor::empty(static_cast<int>(n->type.dtype), graph::sizes(n->type.shape)));
    buffers.push_back(results.back().data());
  }
  backend.compile(std::move(g))->run(buffers.data());
  for (size_t i = 0; i < shown.size(); ++i) known_[shown[i]] = graph::load_ref(shown[i]->type, results[i].data());
}

const RefTensor& Values::of(const Node* n) {
  if (auto it = known_.find(n); it != known_.end()) return it->second;
  std::vector<const RefTensor*> in;
  for (const Node* o : n->operands) in.push_back(&of(o));
  return known_[n] = graph::evaluate_node(*n, in);
}

/// The first node, in the graph's order, that made something infinite or NaN of finite operands, among those through
/// which it reached `root`. If there is none, the first that made it of constants that aren't finite (a mask of -inf),
/// or the input that brought it.
const Node* find_culprit(const graph::Graph& g, const Node* root, Values& values) {
  std::set<const Node*> chain{root};
  const Node *culprit = nullptr, *input = nullptr, *of_constant = nullptr;
  for (auto it = g.nodes().rbegin(); it != g.nodes().rend(); ++it) {
    const Node* n = *it;
    if (!chain.count(n) || finite(values.of(n))) continue;
    if (n->op->name == "input") {
      input = n;
      continue;
    }
    bool from_operand = false, from_constant = false;
    for (const Node* o : n->operands) {
      if (finite(values.of(o))) continue;
      chain.insert(o);
      from_operand = true;
      const Node* base = o;
      while (base->op->op_class == graph::OpClass::movement) base = base->operands[0];
      from_constant |= base->op->name == "constant";
    }
    if (!from_operand && n->op->op_class != graph::OpClass::source)
      culprit = n;
    else if (from_constant && n->op->op_class != graph::OpClass::movement)
      of_constant = n;
  }
  return culprit ? culprit : input ? input : of_constant;
}

/// What a user calls a register: `hidden.weight`, the field `x` of the data.
struct Origin {
  std::string name;
  const Trace::Batch* batch = nullptr;
};

class Examination {
 public:
  Examination(Machine::Impl& m, Failure& f) : m_(m), f_(f) {}
  void run(host::Reg checked, Span statement);

 private:
  std::optional<size_t> last_run(size_t before, const std::function<bool(const host::Step&, size_t)>& wanted) const;
  std::vector<const void*> prepare(size_t event);
  Origin origin(host::Reg r, size_t before) const;
  void describe(const Node* n, Values& values, const host::Step& step, size_t event, Span statement,
                const std::string& updated);
  void rows(const RefTensor& t, const host::Step& step, size_t event, std::string_view what);

  Machine::Impl& m_;
  Failure& f_;
};

/// The last event before `before` that ran a step with an output that is wanted.
std::optional<size_t> Examination::last_run(size_t before,
                                            const std::function<bool(const host::Step&, size_t)>& wanted) const {
  for (size_t e = before; e-- > 0;) {
    const Trace::Event& event = m_.trace.events[e];
    if (event.kind != Trace::Event::Kind::instr || event.instr->op != host::Op::run_step) continue;
    const host::Step& step = m_.program.steps[static_cast<size_t>(event.instr->step)];
    for (size_t o = 0; o < step.outputs.size(); ++o)
      if (wanted(step, o)) return e;
  }
  return std::nullopt;
}

/// Sets registers up for the run of a step at that event; its inputs.
std::vector<const void*> Examination::prepare(size_t event) {
  m_.replay(event);
  const int index = m_.trace.events[event].instr->step;
  CompiledStep& c = m_.compiled(index);
  m_.bind_inputs(c, m_.program.steps[static_cast<size_t>(index)]);
  std::vector<const void*> inputs;
  for (size_t k = 0; k < c.inputs.size(); ++k) inputs.push_back(c.buffers[k]->read());
  return inputs;
}

Origin Examination::origin(host::Reg r, size_t before) const {
  for (const host::Persistent& p : m_.program.persistents)
    if (p.reg == r) return {fmt::format("the {} `{}`", p.learned ? "parameter" : "state", p.path), nullptr};
  for (auto& [input, name] : m_.options.inputs)
    if (input == r) return {fmt::format("the input `{}`", name), nullptr};
  for (size_t e = before; e-- > 0;) {
    const Trace::Event& event = m_.trace.events[e];
    if (event.kind != Trace::Event::Kind::batch) continue;
    const Trace::Batch& batch = m_.trace.batches[event.index];
    const host::BatchLoop& loop = *batch.loop->batches;
    for (size_t f = 0; f < loop.fields.size(); ++f)
      if (loop.fields[f] == r)
        return {
            fmt::format("the field `{}` of the data set `{}`", loop.dataset->fields()[f].name, loop.dataset->name()),
            &batch};
  }
  return {};
}

/// Where in the batch, if `t` has an axis of its rows; else which elements.
void Examination::rows(const RefTensor& t, const host::Step& step, size_t event, std::string_view what) {
  const std::vector<int64_t> sizes = graph::sizes(t.type.shape);
  std::vector<int64_t> bad;
  for (int64_t i = 0; i < elements(t); ++i)
    if (!std::isfinite(at(t, i))) bad.push_back(i);
  if (bad.empty() || sizes.empty()) return;
  const Trace::Batch* batch = nullptr;
  for (host::Reg r : step.inputs)
    if (const Origin o = origin(r, event); o.batch) batch = o.batch;
  if (batch) {
    const host::BatchLoop& loop = *batch->loop->batches;
    const int64_t begin = batch->number * loop.batch_size;
    const int64_t n = std::min(loop.batch_size, loop.dataset->size() - begin);
    if (sizes[0] == n) {
      std::vector<int64_t> in_batch, in_data;
      for (int64_t i : bad) {
        const int64_t row = i / (elements(t) / n);
        if (!in_batch.empty() && in_batch.back() == row) continue;
        in_batch.push_back(row);
        in_data.push_back((*batch->order)[static_cast<size_t>(begin + row)]);
      }
      const bool one = in_batch.size() == 1;
      f_.notes.push_back(fmt::format("{} isn't finite in row{} {} of the batch of {}: record{} {} of `{}`", what,
                                     one ? "" : "s", list_text(in_batch), n, one ? "" : "s", list_text(in_data),
                                     loop.dataset->name()));
      return;
    }
  }
  f_.notes.push_back(fmt::format("{} isn't finite in {} of {} elements, the first at {}", what, bad.size(), elements(t),
                                 index_text(bad[0], sizes)));
}

/// `updated`: the parameter that the step before made not finite, if it was that one.
void Examination::describe(const Node* n, Values& values, const host::Step& step, size_t event, Span statement,
                           const std::string& updated) {
  const RefTensor& out = values.of(n);
  int64_t first = 0;
  while (std::isfinite(at(out, first))) ++first;
  const std::string value = text(at(out, first), n->type.dtype);
  const bool backward = n->gradient_of != nullptr;
  const std::string op = fmt::format("`{}`", n->op->name);
  const Span site = n->site.valid() ? n->site : statement;
  f_.span = site;
  if (!updated.empty()) {
    f_.message += fmt::format(": {} isn't finite since the update before", updated);
    f_.label = fmt::format("{} of the optimizer gives {}", op, value);
  } else if (backward) {
    f_.message += fmt::format(": the gradient of `{}` is the first value that isn't finite", n->gradient_of->name);
    f_.label = fmt::format("its gradient gives {}{}", value,
                           n->op == n->gradient_of ? std::string() : fmt::format(", at its {}", op));
  } else if (site == statement) {
    // The sum of squares that the check itself makes.
    f_.message += fmt::format(": {} of the gradients is the first value that isn't finite", op);
    f_.label = fmt::format("gives {}", value);
  } else {
    f_.message += fmt::format(": {} is the first op to give a value that isn't finite", op);
    f_.label = fmt::format("gives {}", value);
  }
  if (n->span.valid() && !(n->span == site)) f_.labels.insert(f_.labels.begin(), {n->span, "inside the library, here"});
  std::erase_if(f_.labels, [&](const Label& l) { return l.span == site && l.span == n->span; });
  rows(out, step, event, "its result");
  std::vector<std::string> taken;
  const bool alike = n->op->op_class == graph::OpClass::elementwise;
  for (size_t k = 0; k < n->operands.size(); ++k) {
    const Node* o = n->operands[k];
    const RefTensor& in = values.of(o);
    if (elements(in) == 0) continue;
    const std::string name = k < n->op->operands.size() ? std::string(n->op->operands[k]) : std::to_string(k);
    std::string line = n->operands.size() == 1 ? "its operand" : fmt::format("its operand `{}`", name);
    line += fmt::format(" ({}) holds {}", o->type.str(), range(in));
    if (alike && elements(in) == elements(out) && varies(in))
      line += fmt::format("; where it fails first, {}", text(at(in, first), o->type.dtype));
    f_.notes.push_back(std::move(line));
  }
  // In a gradient, the op that it belongs to is what the user wrote.
  if (const std::string help = advice(backward ? n->gradient_of->name : n->op->name); updated.empty() && !help.empty())
    f_.helps.push_back(help);
}

void Examination::run(host::Reg checked, Span statement) {
  auto gives = [](host::Reg r) { return [r](const host::Step& s, size_t o) { return s.outputs[o] == r; }; };
  host::Reg looked_at = checked;
  std::optional<size_t> event = last_run(m_.trace.events.size(), gives(looked_at));
  std::string updated;
  while (event) {
    const std::vector<const void*> inputs = prepare(*event);
    const int index = m_.trace.events[*event].instr->step;
    const host::Step& step = m_.program.steps[static_cast<size_t>(index)];
    const graph::Graph& g = m_.compiled(index).source;
    const Node* root = nullptr;
    for (size_t o = 0; o < step.outputs.size(); ++o)
      if (step.outputs[o] == looked_at) root = g.outputs[o].value;
    if (!root) break;
    Values values(g, {root}, inputs, m_.backend);
    if (finite(values.of(root))) {
      f_.notes.push_back("run again op by op, the step gives finite values: rounding in its fused kernels differs");
      return;
    }
    const Node* culprit = find_culprit(g, root, values);
    if (!culprit) {
      // Nothing computed it: it is a constant.
      const Node* base = root;
      while (base->op->op_class == graph::OpClass::movement) base = base->operands[0];
      f_.message += ": a constant isn't finite";
      f_.span = base->site.valid() ? base->site : statement;
      f_.label = fmt::format("holds {}", range(values.of(base)));
      rows(values.of(base), step, *event, "it");
      return;
    }
    if (culprit->op->name != "input") {
      describe(culprit, values, step, *event, statement, updated);
      return;
    }
    // It came from outside: of data that is the end; a value that an earlier step wrote is looked for there.
    size_t k = 0;
    while (g.inputs[k] != culprit) ++k;
    const host::Reg from = step.inputs[k];
    const Origin where = origin(from, *event);
    const auto earlier = where.batch ? std::nullopt : last_run(*event, gives(from));
    if (!earlier) {
      const std::string what =
          where.name.empty() ? fmt::format("a value that the block uses, {},", culprit->type.str()) : where.name;
      f_.message += fmt::format(": {} isn't finite", what);
      rows(values.of(culprit), step, *event, where.name.empty() ? "it" : where.name);
      return;
    }
    updated = where.name.empty() ? "a value of the step" : where.name;
    looked_at = from;
    event = earlier;
  }
}

}  // namespace

void Machine::Impl::explain_not_finite(Failure& f, host::Reg checked) {
  const Span statement = f.span;
  if (!options.rewind) {  // nothing comes after it
    Examination(*this, f).run(checked, statement);
    return;
  }
  struct Kept {
    Machine::Impl& m;
    std::vector<Value> regs = m.regs;
    ~Kept() {
      m.regs = std::move(regs);
      m.trace.regs.clear();
      m.replaying = false;
    }
  } const kept{*this};
  trace.regs = regs;
  const std::string remark = options.rewind(trace.regs);
  Examination(*this, f).run(checked, statement);
  if (!remark.empty()) f.notes.push_back(remark);
}

}  // namespace nnlc::exec
