// `if`: on what is known when compiling, on host values, and on host values inside tensor code.
#include <fmt/format.h>

#include <algorithm>

#include "compiler/ops/op.h"
#include "compiler/sema/builtins.h"
#include "compiler/sema/statements.h"

namespace nnlc::sema {

using Kind = host::Type::Kind;

namespace {

struct Branch {
  host::Block* block;
  Value value;
};

/// Everything that lives in steps gets a register, inside its own branch.
Value settle(Evaluator& ev, const Value& v, Span span) {
  if (v.get<TensorValue>()) return ev.from_reg(ev.reg_of(v, span), ev.type_of(v), span);
  if (auto s = v.ptr<SequenceValue>()) {
    auto out = std::make_shared<SequenceValue>();
    out->is_list = s->is_list;
    for (auto& i : s->items) out->items.push_back(settle(ev, i, span));
    return Value(out, v.span);
  }
  if (auto r = v.ptr<RecordValue>()) {
    auto out = std::make_shared<RecordValue>();
    out->names = r->names;
    for (auto& i : r->items) out->items.push_back(settle(ev, i, span));
    return Value(out, v.span);
  }
  return v;
}

bool same_static(const Value& a, const Value& b) {
  if (a.data.index() != b.data.index()) return false;
  if (auto* x = a.get<graph::Dim>()) return *x == *b.get<graph::Dim>();
  if (auto* x = a.get<double>()) return *x == *b.get<double>();
  if (auto* x = a.get<bool>()) return *x == *b.get<bool>();
  if (auto* x = a.get<std::string>()) return *x == *b.get<std::string>();
  if (a.is_none()) return true;
  if (auto x = a.ptr<LayerInstance>()) return x == b.ptr<LayerInstance>();
  if (auto x = a.ptr<DatasetValue>()) return x == b.ptr<DatasetValue>();
  return false;
}

/// One value from the values of two branches; nullopt: their types differ.
std::optional<Value> merge(Evaluator& ev, const Branch& a, const Branch& b, Span span) {
  if (a.value.is_poison() || b.value.is_poison()) return Value(Poison{});
  if (same_static(a.value, b.value)) return a.value;
  auto sa = a.value.ptr<SequenceValue>(), sb = b.value.ptr<SequenceValue>();
  if (sa && sb && sa->is_list == sb->is_list && sa->items.size() == sb->items.size()) {
    std::vector<Value> items;
    for (size_t i = 0; i < sa->items.size(); ++i) {
      auto m = merge(ev, {a.block, sa->items[i]}, {b.block, sb->items[i]}, span);
      if (!m) return std::nullopt;
      items.push_back(*m);
    }
    return sequence_value(std::move(items), sa->is_list, span);
  }
  auto ra = a.value.ptr<RecordValue>(), rb = b.value.ptr<RecordValue>();
  if (ra && rb && ra->names == rb->names) {
    auto out = std::make_shared<RecordValue>();
    out->names = ra->names;
    for (size_t i = 0; i < ra->items.size(); ++i) {
      auto m = merge(ev, {a.block, ra->items[i]}, {b.block, rb->items[i]}, span);
      if (!m) return std::nullopt;
      out->items.push_back(*m);
    }
    return Value(out, span);
  }
  host::Type ta = ev.type_of(a.value), tb = ev.type_of(b.value);
  host::Type t = ta;
  if (ta.kind == Kind::integer && tb.kind == Kind::floating) t = tb;
  bool widened = ta.kind == Kind::floating && tb.kind == Kind::integer;
  if (!(t == tb) && !widened) return std::nullopt;
  if (t.kind == Kind::none) return std::nullopt;
  host::Reg dst = ev.new_reg(t);
  auto copy = [&](const Branch& x, const host::Type& from) {
    ev.impl->blocks.push_back(x.block);
    host::Reg r = ev.reg_of(x.value, span);
    host::Instr& i = ev.emit_pure(from.kind == t.kind ? host::Op::copy : host::Op::unary, span);
    if (from.kind != t.kind) i.name = "float";
    i.dst = dst;
    i.args = {r};
    ev.impl->blocks.pop_back();
  };
  copy(a, ta);
  copy(b, tb);
  return ev.from_reg(dst, t, span);
}

Value branch_error(Evaluator& ev, const ast::IfExpr& e, const Value& a, const Value& b) {
  ev.error(Code::BranchTypes, e.span, fmt::format("the branches of this `if` give {} and {}", describe(a), describe(b)))
      .note("which branch is taken is known only when the program runs");
  return Poison{};
}

/// What the evaluation of one branch left behind.
struct Outcome {
  host::Block block;
  Value value;
  std::optional<Value> returned;
  std::map<host::Reg, graph::Node*> newest;  ///< what it writes back
  std::vector<Value> vars;
};

/// No gradient leaves nodes that were made since `begin` where the branch isn't taken (0 * inf would be NaN): what they
/// read from outside is read through a gate.
void gate(Evaluator& ev, const RuntimeValue& condition, bool branch, size_t begin) {
  graph::Graph& g = ev.graph();
  const std::vector<graph::Node*> made(g.order().begin() + static_cast<std::ptrdiff_t>(begin), g.order().end());
  g.order().resize(begin);
  std::set<const graph::Node*> inside;
  for (graph::Node* n : made) {
    if (n->op->name == "input")
      g.order().push_back(n);
    else
      inside.insert(n);
  }
  std::map<graph::Node*, graph::Node*> gates;
  graph::Node* mask = nullptr;
  for (graph::Node* n : made) {
    if (!inside.count(n)) continue;
    for (graph::Node*& x : n->operands) {
      if (inside.count(x) || !graph::is_float(x->type.dtype) || x->op->name == "constant") continue;
      graph::Node*& through = gates[x];
      if (!through) {
        if (!mask) {
          mask = ev.scalar_node(condition, graph::DType::boolean);
          if (!branch) mask = graph::unary(g, "not", mask, n->span);
        }
        through = graph::select(g, graph::broadcast_to(g, mask, x->type.shape, n->span), x,
                                graph::stop_gradient(g, x, n->span), n->span);
      }
      x = through;
    }
  }
  for (graph::Node* n : made)
    if (inside.count(n)) g.order().push_back(n);
}

/// What is written back: in each branch its own value, or the one from before.
void choose_states(Evaluator& ev, const RuntimeValue& condition, const std::map<host::Reg, graph::Node*>& before,
                   const std::map<host::Reg, graph::Node*>& yes, const std::map<host::Reg, graph::Node*>& no,
                   Span span) {
  Evaluator::Impl::StepState& state = ev.impl->state(ev);
  std::set<host::Reg> regs;
  for (auto* side : {&yes, &no})
    for (auto& [reg, node] : *side) regs.insert(reg);
  for (host::Reg reg : regs) {
    auto value = [&](const std::map<host::Reg, graph::Node*>& side) -> graph::Node* {
      if (auto n = side.find(reg); n != side.end()) return n->second;
      return nullptr;
    };
    graph::Node *a = value(yes), *b = value(no);
    if (a == b) {
      state.newest[reg] = a;
      continue;
    }
    graph::Node* old = value(before);
    if (!old) {
      graph::Node*& input = state.inputs[reg];
      if (!input) {
        input = state.step->graph.add_input((a ? a : b)->type, fmt::format("r{}", reg), span);
        state.step->inputs.push_back(reg);
      }
      old = input;
    }
    graph::Graph& g = ev.graph();
    graph::Node* mask = ev.scalar_node(condition, graph::DType::boolean);
    state.newest[reg] =
        graph::select(g, graph::broadcast_to(g, mask, old->type.shape, span), a ? a : old, b ? b : old, span);
  }
}

/// One value of two, by a host condition; nullopt: their types differ.
std::optional<Value> choose(Evaluator& ev, const RuntimeValue& condition, const Value& a, const Value& b, Span span) {
  if (a.is_poison() || b.is_poison()) return Value(Poison{});
  if (same_static(a, b)) return a;
  auto sa = a.ptr<SequenceValue>(), sb = b.ptr<SequenceValue>();
  if (sa && sb && sa->is_list == sb->is_list && sa->items.size() == sb->items.size()) {
    std::vector<Value> items;
    for (size_t i = 0; i < sa->items.size(); ++i) {
      auto one = choose(ev, condition, sa->items[i], sb->items[i], span);
      if (!one) return std::nullopt;
      items.push_back(*one);
    }
    return sequence_value(std::move(items), sa->is_list, span);
  }
  auto ra = a.ptr<RecordValue>(), rb = b.ptr<RecordValue>();
  if (ra && rb && ra->names == rb->names) {
    auto out = std::make_shared<RecordValue>();
    out->names = ra->names;
    for (size_t i = 0; i < ra->items.size(); ++i) {
      auto one = choose(ev, condition, ra->items[i], rb->items[i], span);
      if (!one) return std::nullopt;
      out->items.push_back(*one);
    }
    return Value(out, span);
  }
  auto *ta = a.get<TensorValue>(), *tb = b.get<TensorValue>();
  if (ta || tb) {
    // A number beside a scalar becomes one; anything else must have one type.
    if (ta && tb ? ta->type != tb->type : (ta ? ta : tb)->type.rank() != 0) return std::nullopt;
    graph::Node* mask = ev.scalar_node(condition, graph::DType::boolean);
    std::vector<ArgValue> args;
    args.push_back({"", {}, Value(ev.tensor(mask), span), span});
    args.push_back({"", {}, a, span});
    args.push_back({"", {}, b, span});
    return ev.call(Value(find_builtin("where")), std::move(args), nullptr, span, span);
  }
  host::Instr& branch = ev.emit_pure(host::Op::if_, span);
  branch.args = {condition.reg};
  return merge(ev, {&branch.then_block, a}, {&branch.else_block, b}, span);
}

/// A condition on a host value within tensor code. A step is one graph, so both branches are in it, and what they give,
/// assign and return is chosen. The one that isn't taken leaves no trace: its host code doesn't run, its checks aren't
/// made, no gradient comes from it.
Value eval_if_in_tensor_code(Evaluator& ev, const ast::IfExpr& e, const RuntimeValue& condition,
                             const std::shared_ptr<Scope>& scope) {
  auto& im = *ev.impl;
  ReturnTarget* target = im.returns.empty() ? nullptr : im.returns.back();
  std::vector<const ast::Block*> parts{&e.then_block};
  if (e.else_block) parts.push_back(&*e.else_block);
  std::vector<Scope::Entry*> vars;
  for (const std::string& name : assigned_names(parts))
    if (Scope::Entry* entry = scope->find(name); entry && entry->is_var && entry->slot == host::kNoReg &&
                                                 !entry->param &&
                                                 std::find(vars.begin(), vars.end(), entry) == vars.end())
      vars.push_back(entry);
  std::vector<Value> vars_before;
  for (auto* entry : vars) vars_before.push_back(entry->value);
  ev.graph();
  const auto before = im.state(ev).newest;
  Outcome out[2];
  if (target) ++target->choices;
  for (int i : {0, 1}) {
    Outcome& o = out[i];
    const ast::Block* body = i == 0 ? &e.then_block : e.else_block ? &*e.else_block : nullptr;
    o.value = NoneValue{};
    if (body) {
      im.blocks.push_back(&o.block);
      im.guards.push_back({condition.reg, i == 0});
      const size_t begin = ev.graph().nodes().size();
      o.value = eval_block_in(ev, *body, std::make_shared<Scope>(scope), true);
      gate(ev, condition, i == 0, begin);
      im.guards.pop_back();
      im.blocks.pop_back();
    }
    if (im.flow == Flow::return_ && target) {
      o.returned = target->value ? *target->value : Value(NoneValue{}, e.span);
      target->value.reset();
    } else if (im.flow == Flow::break_ || im.flow == Flow::continue_) {
      ev.unsupported(Code::NotSupportedYet, e.span,
                     "a loop of tensor code can't be left by a condition that is known only when the program runs")
          .help("the loop is unrolled: choose its values with `if` or `where` instead");
    }
    im.flow = Flow::go;
    o.newest = im.state(ev).newest;
    im.state(ev).newest = before;
    for (size_t k = 0; k < vars.size(); ++k) {
      o.vars.push_back(vars[k]->value);
      vars[k]->value = vars_before[k];
    }
  }
  if (target) --target->choices;
  if (!out[0].block.empty() || !out[1].block.empty()) {
    host::Instr& branch = ev.emit_pure(host::Op::if_, e.span);
    branch.args = {condition.reg};
    branch.then_block = std::move(out[0].block);
    branch.else_block = std::move(out[1].block);
  }
  const bool both = out[0].returned && out[1].returned;
  if (!both && (out[0].returned || out[1].returned)) {
    // One side leaves: what follows is the other side's.
    const bool side = out[0].returned.has_value();
    Outcome &gone = out[side ? 0 : 1], &stays = out[side ? 1 : 0];
    if (target->choices > 0) {
      ev.unsupported(Code::NotSupportedYet, e.span,
                     "a `return` below two conditions that are known only when the program runs, in tensor code")
          .help("join the conditions with `and`, or let the `if` give the value");
      return Poison{};
    }
    im.state(ev).newest = stays.newest;
    for (size_t k = 0; k < vars.size(); ++k) vars[k]->value = stays.vars[k];
    target->left_by_choice.push_back({condition, side, *gone.returned, before, gone.newest, ev.graph().nodes().size()});
    im.guards.push_back({condition.reg, !side});
    return stays.value;
  }
  choose_states(ev, condition, before, out[0].newest, out[1].newest, e.span);
  for (size_t k = 0; k < vars.size(); ++k) {
    auto v = choose(ev, condition, out[0].vars[k], out[1].vars[k], e.span);
    if (!v)
      ev.error(Code::BranchTypes, e.span,
               fmt::format("after this `if` a var is {} or {}", describe(out[0].vars[k]), describe(out[1].vars[k])))
          .label(vars[k]->span, "declared here")
          .note("which branch is taken is known only when the program runs");
    vars[k]->value = v ? *v : Value(Poison{});
  }
  const Value &a = both ? *out[0].returned : out[0].value, &b = both ? *out[1].returned : out[1].value;
  // A branch without a value is there for what it assigns.
  std::optional<Value> v;
  if (a.is_none() || b.is_none())
    v.emplace(NoneValue{}, e.span);
  else
    v = choose(ev, condition, a, b, e.span);
  if (!v) v = branch_error(ev, e, a, b);
  if (both) {
    target->value = *v;
    im.flow = Flow::return_;
  }
  return *v;
}

}  // namespace

Value join_returns(Evaluator& ev, ReturnTarget& target, Value v, Span span) {
  while (!target.left_by_choice.empty()) {
    ReturnTarget::Choice c = std::move(target.left_by_choice.back());
    target.left_by_choice.pop_back();
    gate(ev, c.condition, !c.branch, c.begin);
    ev.impl->guards.pop_back();
    const auto rest = ev.impl->state(ev).newest;
    choose_states(ev, c.condition, c.before, c.branch ? c.newest : rest, c.branch ? rest : c.newest, span);
    auto joined = choose(ev, c.condition, c.branch ? c.value : v, c.branch ? v : c.value, span);
    if (!joined) {
      ev.error(Code::BranchTypes, span,
               fmt::format("the function gives {} at its end, but an early `return` gives {}", describe(v),
                           describe(c.value)));
      return Poison{};
    }
    v = *joined;
  }
  return v;
}

Value eval_if(Evaluator& ev, const ast::IfExpr& e, const std::shared_ptr<Scope>& scope, bool want) {
  Value c = eval_condition(ev, *e.condition, scope);
  if (c.is_poison()) return c;
  if (auto* b = c.get<bool>()) {
    if (*b) return eval_block_in(ev, e.then_block, std::make_shared<Scope>(scope), want);
    if (e.else_block) return eval_block_in(ev, *e.else_block, std::make_shared<Scope>(scope), want);
    return Value(NoneValue{}, e.span);
  }
  auto* t = c.get<TensorValue>();
  auto* r = c.get<RuntimeValue>();
  if ((t && t->type.dtype != graph::DType::boolean) || (r && r->type.kind != Kind::boolean) || (!t && !r)) {
    ev.error(Code::ConditionType, e.condition->span, fmt::format("a condition is a bool, but this is {}", describe(c)))
        .help("compare it: `x > 0`");
    return Poison{};
  }
  if (ev.context.tensor_code) {
    if (ev.context.dry && !r) return Poison{};
    if (t) {
      ev.error(Code::TensorCondition, e.condition->span, "tensor code can't branch on the value of a tensor")
          .help("`where(mask, a, b)` chooses element by element");
      return Poison{};
    }
    return eval_if_in_tensor_code(ev, e, *r, scope);
  }
  c = ev.to_host(c, e.condition->span);
  if (c.is_poison()) return c;
  std::vector<const ast::Block*> blocks{&e.then_block};
  if (e.else_block) blocks.push_back(&*e.else_block);
  prepare_slots(ev, blocks, scope, e.span);
  auto& im = *ev.impl;
  host::Reg condition = ev.reg_of(c, e.condition->span);
  ev.flush();
  host::Instr& branch = ev.emit(host::Op::if_, e.span);
  branch.args = {condition};
  Value values[2] = {NoneValue{}, NoneValue{}};
  bool dead[2] = {false, false};
  for (int i : {0, 1}) {
    const ast::Block* block = i == 0 ? &e.then_block : e.else_block ? &*e.else_block : nullptr;
    if (!block) break;
    ev.begin_block(i == 0 ? branch.then_block : branch.else_block);
    ++im.runtime_depth;
    Value v = eval_block_in(ev, *block, std::make_shared<Scope>(scope), want);
    if (want && im.flow == Flow::go) values[i] = settle(ev, v, block->span);
    --im.runtime_depth;
    ev.end_block();
    dead[i] = im.flow == Flow::dead;
    im.flow = Flow::go;
  }
  if (dead[0] && dead[1]) {
    im.flow = Flow::dead;
    return NoneValue{};
  }
  if (!want) return NoneValue{};
  if (dead[0]) return values[1];
  if (dead[1]) return values[0];
  if (values[0].is_none() || values[1].is_none()) return NoneValue{};
  auto m = merge(ev, {&branch.then_block, values[0]}, {&branch.else_block, values[1]}, e.span);
  return m ? *m : branch_error(ev, e, values[0], values[1]);
}

}  // namespace nnlc::sema
