// The pending step and host code: where tensor nodes and instructions go.
//
// Tensor code is appended to the graph of the pending step; `flush` ends it by placing a run_step instruction. A value
// of an ended step that turns out to be needed later becomes an output of that step, however long ago it ended.
#include <fmt/format.h>

#include "compiler/sema/impl.h"
#include "compiler/sema/training.h"

namespace nnlc::sema {

using graph::DType;
using graph::Node;
using host::Op;
using host::Reg;
using Kind = host::Type::Kind;

uint64_t mix(uint64_t h, uint64_t v) {
  // splitmix64's finaliser over the running hash.
  uint64_t z = h + 0x9E3779B97F4A7C15u + v * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

uint64_t hash_text(std::string_view s) {
  uint64_t h = 1469598103934665603u;
  for (unsigned char c : s) h = (h ^ c) * 1099511628211u;
  return h;
}

Evaluator::Impl::StepState& Evaluator::Impl::state(Evaluator& ev) {
  if (current < 0) {
    host::Step* step = nullptr;
    if (ev.context.dry) {
      current = kScratch + scratch_count++;
      step = &scratch.emplace_back();
    } else {
      current = static_cast<int>(ev.program->steps.size());
      step = &ev.program->steps.emplace_back();
      step->span = statement;
      step->title = ev.sources.describe(statement);
    }
    step->graph.mark = [&ev](Node& n) { n.site = ev.user_span(n.span); };
    steps[current].step = step;
  }
  return steps[current];
}

DryRun::DryRun(Evaluator& ev) : ev_(ev), context_(ev.context) {
  auto& im = *ev.impl;
  current_ = im.current;
  reserved_ = im.reserved;
  runtime_depth_ = im.runtime_depth;
  flow_ = im.flow;
  returns_ = std::move(im.returns);
  loops_ = std::move(im.loops);
  ordinals_ = im.draw_ordinals;
  leaves_ = std::move(ev.leaves);
  calls_ = im.layer_calls;
  im.layer_calls = nullptr;
  ev.leaves.clear();
  im.returns.clear();
  im.loops.clear();
  im.current = -1;
  im.reserved = false;
  im.flow = Flow::go;
  im.blocks.push_back(&im.scratch_blocks.emplace_back());
  ev.context.dry = true;
  ev.context.tensor_code = true;
}

DryRun::~DryRun() {
  auto& im = *ev_.impl;
  ev_.context = context_;
  im.current = current_;
  im.reserved = reserved_;
  im.runtime_depth = runtime_depth_;
  im.flow = flow_;
  im.returns = std::move(returns_);
  im.loops = std::move(loops_);
  im.draw_ordinals = std::move(ordinals_);
  ev_.leaves = std::move(leaves_);
  im.layer_calls = calls_;
  im.blocks.pop_back();
}

graph::Graph& Evaluator::graph() { return impl->state(*this).step->graph; }

TensorValue Evaluator::tensor(Node* n, Span) {
  TensorValue t;
  t.type = n->type;
  t.cell = std::make_shared<TensorCell>();
  impl->state(*this);
  t.cell->step = impl->current;
  t.cell->node = n;
  return t;
}

Node* Evaluator::node(const TensorValue& t) {
  Impl::StepState& s = impl->state(*this);
  if (!t.cell) return graph::constant(s.step->graph, 0, t.type);
  if (t.cell->node && t.cell->step == impl->current) return t.cell->node;
  if (t.cell->reg == host::kNoReg && context.dry) {
    // A check only: the value's type is all that matters.
    return s.step->graph.add_input(t.type, "", {});
  }
  if (t.cell->reg == host::kNoReg) {
    auto from = impl->steps.find(t.cell->step);
    if (from == impl->steps.end() || t.cell->step >= Impl::kScratch) return s.step->graph.add_input(t.type, "", {});
    host::Type type = host_type(Kind::tensor);
    type.tensor = t.type;
    t.cell->reg = new_reg(type);
    from->second.step->graph.outputs.push_back({t.cell->node, nullptr});
    from->second.step->outputs.push_back(t.cell->reg);
  }
  Node*& input = s.inputs[t.cell->reg];
  if (!input) {
    input = s.step->graph.add_input(t.type, fmt::format("r{}", t.cell->reg), {});
    s.step->inputs.push_back(t.cell->reg);
  }
  return input;
}

Node* Evaluator::scalar_node(const RuntimeValue& v, DType dtype) {
  Impl::StepState& s = impl->state(*this);
  Node*& input = s.scalars[{v.reg, dtype}];
  if (!input) {
    input = s.step->graph.add_input({dtype, {}}, fmt::format("r{}", v.reg), {});
    s.step->inputs.push_back(v.reg);
  }
  return input;
}

Node* Evaluator::draw_counter(Span site) {
  Impl::StepState& s = impl->state(*this);
  if (!impl->first_draw.valid()) impl->first_draw = user_span(site);
  if (context.dry || impl->initialising) return graph::constant_int(s.step->graph, 0, {DType::i64, {}}, site);
  if (impl->map_counter != host::kNoReg)
    return scalar_node(RuntimeValue{impl->map_counter, host_type(Kind::integer)}, DType::i64);
  Span at = impl->statement.valid() ? impl->statement : user_span(site);
  Reg& reg = impl->draw_counters[{at.file, at.begin, ""}];
  host::Type type = host_type(Kind::tensor);
  type.tensor = {DType::i64, {}};
  if (reg == host::kNoReg || reg == 0) {
    Reg zero = new_reg(host_type(Kind::integer));
    auto c = std::make_unique<host::Instr>();
    c->op = Op::constant;
    c->dst = zero;
    c->value = int64_t{0};
    impl->prologue.push_back(std::move(c));
    reg = new_reg(type);
    auto make = std::make_unique<host::Instr>();
    make->op = Op::call;
    make->name = "tensor_from_list";
    make->args = {zero};
    make->texts = {"i64"};
    make->dst = reg;
    impl->prologue.push_back(std::move(make));
  }
  Node*& now = s.counters[reg];
  if (!now) {
    TensorValue t = read_persistent(reg, type.tensor, site);
    now = node(t);
    Node* one = graph::constant_int(s.step->graph, 1, type.tensor, site);
    write_back(reg, tensor(graph::binary(s.step->graph, "add", now, one, site)));
  }
  return now;
}

uint64_t Evaluator::draw_key(Span site) {
  if (!impl->first_draw.valid()) impl->first_draw = user_span(site);
  int ordinal = impl->draw_ordinals[context.random_path]++;
  return mix(mix(mix(program->seed, 0x6E6E6C), hash_text(context.random_path)), static_cast<uint64_t>(ordinal));
}

void Evaluator::flush() {
  if (impl->current < 0 || context.dry || impl->reserved) return;
  int step = impl->current;
  impl->current = -1;
  auto i = std::make_unique<host::Instr>();
  i->op = Op::run_step;
  i->span = impl->steps[step].step->span;
  i->step = step;
  impl->blocks.back()->push_back(std::move(i));
  emit_checks(step);
}

namespace {

void emit_check(Evaluator& ev, host::Block& block, Reg low, Reg high, const Evaluator::RangeCheck& check) {
  auto i = std::make_unique<host::Instr>();
  i->op = Op::call;
  i->span = ev.user_span(check.span);
  i->name = "check_range";
  i->args = {low, high};
  i->texts = {check.what, std::to_string(check.low), std::to_string(check.high)};
  i->texts.insert(i->texts.end(), check.details.begin(), check.details.end());
  block.push_back(std::move(i));
}

}  // namespace

void Evaluator::emit_checks(int step) {
  std::vector<Impl::PendingCheck> waiting = std::move(impl->checks);
  impl->checks.clear();
  for (Impl::PendingCheck& c : waiting) {
    if (c.low.cell->step != step) {
      impl->checks.push_back(std::move(c));
      continue;
    }
    const Reg low = reg_of(Value(c.low), c.check.span), high = reg_of(Value(c.high), c.check.span);
    host::Block* block = impl->blocks.back();
    for (auto [condition, branch] : c.when) {
      auto i = std::make_unique<host::Instr>();
      i->op = Op::if_;
      i->span = user_span(c.check.span);
      i->args = {condition};
      host::Instr& placed = *i;
      block->push_back(std::move(i));
      block = branch ? &placed.then_block : &placed.else_block;
    }
    emit_check(*this, *block, low, high, c.check);
  }
}

void Evaluator::check_when_run(const RuntimeValue& number, const RangeCheck& check) {
  if (context.dry) return;
  emit_check(*this, *impl->blocks.back(), number.reg, number.reg, check);
}

void Evaluator::check_when_run(const TensorValue& ints, const RangeCheck& check) {
  if (context.dry || impl->reserved || graph::element_count(ints.type.shape) == graph::Dim(0)) return;
  graph::Graph& g = graph();
  Node* n = node(ints);
  if (n->type.dtype != DType::i64) n = graph::cast(g, n, DType::i64, check.span);
  graph::IntList axes(n->type.rank());
  for (size_t a = 0; a < axes.size(); ++a) axes[a] = static_cast<int64_t>(a);
  Node* low = axes.empty() ? n : graph::reduce(g, "min", n, axes, check.span);
  Node* high = axes.empty() ? n : graph::reduce(g, "max", n, axes, check.span);
  impl->checks.push_back({tensor(low, check.span), tensor(high, check.span), check, impl->guards});
}

int Evaluator::reserve_step(std::string title, Span span) {
  if (!context.dry) flush();
  int index = static_cast<int>(program->steps.size());
  host::Step& step = program->steps.emplace_back();
  step.title = std::move(title);
  step.span = span;
  step.graph.mark = [this](Node& n) { n.site = user_span(n.span); };
  impl->steps[index].step = &step;
  auto i = std::make_unique<host::Instr>();
  i->op = Op::run_step;
  i->span = span;
  i->step = index;
  impl->blocks.back()->push_back(std::move(i));
  return index;
}

void Evaluator::in_step(int step, const std::function<void()>& body) {
  int current = impl->current;
  bool reserved = impl->reserved, initialising = impl->initialising;
  Context saved = context;
  auto open = std::move(leaves);
  leaves.clear();
  impl->current = step;
  impl->reserved = true;
  impl->initialising = true;
  context.dry = false;
  context.tensor_code = true;
  body();
  context = saved;
  leaves = std::move(open);
  impl->current = current;
  impl->reserved = reserved;
  impl->initialising = initialising;
}

Reg Evaluator::new_reg(host::Type type) {
  program->registers.push_back(std::move(type));
  return static_cast<Reg>(program->registers.size()) - 1;
}

host::Instr& Evaluator::emit(Op op, Span span) {
  auto i = std::make_unique<host::Instr>();
  i->op = op;
  i->span = user_span(span);
  host::Block& block = *impl->blocks.back();
  block.push_back(std::move(i));
  return *block.back();
}

host::Instr& Evaluator::emit_pure(Op op, Span span) { return emit(op, span); }

host::Instr& emit_call(Evaluator& ev, std::string name, std::vector<Reg> args, Reg dst, Span span) {
  host::Instr& i = ev.emit_pure(Op::call, span);
  i.name = std::move(name);
  i.args = std::move(args);
  i.dst = dst;
  return i;
}

void Evaluator::begin_block(host::Block& b) {
  flush();
  impl->blocks.push_back(&b);
}

void Evaluator::end_block() {
  flush();
  impl->blocks.pop_back();
}

void Evaluator::write_back(Reg reg, const TensorValue& value) {
  ++impl->effects;
  Node* n = node(value);
  Impl::StepState& s = impl->state(*this);
  if (!s.newest.count(reg)) s.written.push_back(reg);
  s.newest[reg] = n;
}

TensorValue Evaluator::read_persistent(Reg reg, const graph::TensorType& type, Span span) {
  for (auto open = leaves.rbegin(); open != leaves.rend(); ++open)
    if (auto found = open->find(reg); found != open->end()) return found->second;
  Impl::StepState& s = impl->state(*this);
  if (auto n = s.newest.find(reg); n != s.newest.end()) return tensor(n->second, span);
  Node*& input = s.inputs[reg];
  if (!input) {
    input = s.step->graph.add_input(type, fmt::format("r{}", reg), span);
    s.step->inputs.push_back(reg);
  }
  return tensor(input, span);
}

// ---------------------------------------------------------------- host values

host::Type Evaluator::type_of(const Value& v) {
  if (v.get<graph::Dim>()) return host_type(Kind::integer);
  if (v.get<double>()) return host_type(Kind::floating);
  if (v.get<bool>()) return host_type(Kind::boolean);
  if (v.get<std::string>()) return host_type(Kind::str);
  if (auto* r = v.get<RuntimeValue>()) return r->type;
  if (v.get<RangeValue>()) {
    host::Type t = host_type(Kind::list);
    t.items.push_back(host_type(Kind::integer));
    return t;
  }
  if (auto* t = v.get<TensorValue>()) {
    host::Type type = host_type(Kind::tensor);
    type.tensor = t->type;
    if (t->classes && t->classes->is_constant()) type.classes = t->classes->value();
    return type;
  }
  if (auto s = v.ptr<SequenceValue>()) {
    host::Type type = host_type(s->is_list ? Kind::list : Kind::tuple);
    for (const Value& item : s->items) {
      host::Type t = type_of(item);
      if (!s->is_list || type.items.empty())
        type.items.push_back(t);
      else if (type.items[0].kind == Kind::integer && t.kind == Kind::floating)
        type.items[0] = t;
    }
    return type;
  }
  if (auto r = v.ptr<RecordValue>()) {
    host::Type type = host_type(Kind::record);
    for (size_t i = 0; i < r->items.size(); ++i) {
      type.names.push_back(r->names[i]);
      type.items.push_back(type_of(r->items[i]));
    }
    return type;
  }
  return host_type(Kind::none);
}

Reg Evaluator::reg_of(const Value& v, Span span) {
  if (auto* r = v.get<RuntimeValue>()) return r->reg;
  if (auto* t = v.get<TensorValue>()) {
    if (!t->cell) return new_reg(type_of(v));
    if (t->cell->reg != host::kNoReg) return t->cell->reg;
    if (context.dry || t->cell->step >= Impl::kScratch) return new_reg(type_of(v));
    if (t->cell->step == impl->current) flush();
    auto& from = impl->steps[t->cell->step];
    t->cell->reg = new_reg(type_of(v));
    from.step->graph.outputs.push_back({t->cell->node, nullptr});
    from.step->outputs.push_back(t->cell->reg);
    return t->cell->reg;
  }
  auto constant = [&](auto value, Kind kind) {
    Reg dst = new_reg(host_type(kind));
    host::Instr& i = emit_pure(Op::constant, span);
    i.value = value;
    i.dst = dst;
    return dst;
  };
  if (auto* d = v.get<graph::Dim>()) return constant(d->is_constant() ? d->value() : int64_t{1}, Kind::integer);
  if (auto* d = v.get<double>()) return constant(*d, Kind::floating);
  if (auto* b = v.get<bool>()) return constant(*b, Kind::boolean);
  if (auto* s = v.get<std::string>()) return constant(*s, Kind::str);
  if (v.is_none() || v.is_poison()) return constant(std::monostate{}, Kind::none);
  if (auto* r = v.get<RangeValue>()) {
    Reg lo = r->is_static ? reg_of(Value(r->lo), span) : r->lo_reg;
    Reg hi = r->is_static ? reg_of(Value(r->hi), span) : r->hi_reg;
    Reg dst = new_reg(type_of(v));
    emit_call(*this, "range_list", {lo, hi}, dst, span);
    return dst;
  }
  if (auto s = v.ptr<SequenceValue>()) {
    std::vector<Reg> args;
    host::Type type = type_of(v);
    for (const Value& item : s->items) {
      Reg r = reg_of(item, span);
      if (s->is_list && !type.items.empty() && type.items[0].kind == Kind::floating &&
          type_of(item).kind == Kind::integer) {
        Reg f = new_reg(host_type(Kind::floating));
        host::Instr& i = emit_pure(Op::unary, span);
        i.name = "float";
        i.args = {r};
        i.dst = f;
        r = f;
      }
      args.push_back(r);
    }
    Reg dst = new_reg(type);
    emit_call(*this, s->is_list ? "list_new" : "tuple_new", std::move(args), dst, span);
    return dst;
  }
  if (auto r = v.ptr<RecordValue>()) {
    std::vector<Reg> args;
    for (const Value& item : r->items) args.push_back(reg_of(item, span));
    Reg dst = new_reg(type_of(v));
    emit_call(*this, "record_new", std::move(args), dst, span).texts = r->names;
    return dst;
  }
  error(Code::HostValueNeeded, v.span.valid() ? v.span : span,
        fmt::format("{} can't be a value at run time", describe(v)));
  return new_reg(host_type(Kind::none));
}

Value runtime_value(Reg reg, host::Type type, Span span) { return Value(RuntimeValue{reg, std::move(type)}, span); }

Value Evaluator::from_reg(Reg reg, const host::Type& type, Span span) {
  switch (type.kind) {
    case Kind::none:
      return Value(NoneValue{}, span);
    case Kind::tensor: {
      TensorValue t;
      t.type = type.tensor;
      if (type.classes > 0) t.classes = graph::Dim(type.classes);
      t.cell = std::make_shared<TensorCell>();
      t.cell->reg = reg;
      return Value(t, span);
    }
    case Kind::tuple: {
      std::vector<Value> items;
      for (size_t i = 0; i < type.items.size(); ++i) {
        Reg r = new_reg(type.items[i]);
        emit_call(*this, "tuple_get", {reg}, r, span).texts = {std::to_string(i)};
        items.push_back(from_reg(r, type.items[i], span));
      }
      return sequence_value(std::move(items), false, span);
    }
    case Kind::record: {
      auto record = std::make_shared<RecordValue>();
      for (size_t i = 0; i < type.items.size(); ++i) {
        Reg r = new_reg(type.items[i]);
        emit_call(*this, "record_get", {reg}, r, span).texts = {type.names[i]};
        record->names.push_back(type.names[i]);
        record->items.push_back(from_reg(r, type.items[i], span));
      }
      return Value(record, span);
    }
    default:
      return runtime_value(reg, type, span);
  }
}

Value Evaluator::to_host(const Value& v, Span span) {
  auto* t = v.get<TensorValue>();
  if (!t) return v;
  if (t->type.rank() != 0) {
    error(Code::HostValueNeeded, span, fmt::format("a single number is needed here, but this is {}", t->type.str()))
        .help("reduce it, for example with `mean(…)`, or take one element: `x[0]`");
    return Poison{};
  }
  if (context.tensor_code && !context.dry) {
    error(Code::TensorCondition, span, "the value of a tensor isn't known while the step is compiled")
        .help("`where(mask, a, b)` chooses element by element");
    return Poison{};
  }
  Kind kind = t->type.dtype == DType::boolean ? Kind::boolean
              : graph::is_int(t->type.dtype)  ? Kind::integer
                                              : Kind::floating;
  Reg from = reg_of(v, span);
  Reg dst = new_reg(host_type(kind));
  host::Instr& i = emit_pure(Op::unary, span);
  i.name = "item";
  i.args = {from};
  i.dst = dst;
  return runtime_value(dst, host_type(kind), v.span.valid() ? v.span : span);
}

}  // namespace nnlc::sema
