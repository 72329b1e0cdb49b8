// Optimizers: made from their declarations in NNL, stepped by tracing `update` for each parameter into the pending
// step.
#include <fmt/format.h>
#include <algorithm>
#include <cmath>

#include "compiler/sema/impl.h"
#include "compiler/sema/training_support.h"

namespace nnlc::sema {

using graph::DType;
using graph::Node;
using graph::TensorType;

bool is_callable(const Value& v) { return v.get<FunctionValue>() || v.get<LambdaValue>() || v.get<BoundBuiltin>(); }

host::Type int_type() {
  return {.kind = host::Type::Kind::integer, .tensor = {}, .classes = 0, .items = {}, .names = {}};
}
host::Type float_type() {
  return {.kind = host::Type::Kind::floating, .tensor = {}, .classes = 0, .items = {}, .names = {}};
}
host::Type tensor_type(TensorType t) {
  return {.kind = host::Type::Kind::tensor, .tensor = std::move(t), .classes = 0, .items = {}, .names = {}};
}

Node* scalar(Evaluator& ev, double v, DType t, Span span) { return graph::constant(ev.graph(), v, {t, {}}, span); }

Node* square_norm(Evaluator& ev, const std::vector<Node*>& grads, Span span) {
  graph::Graph& g = ev.graph();
  DType t = DType::f32;
  for (Node* n : grads)
    if (n->type.dtype == DType::f64) t = DType::f64;
  Node* total = nullptr;
  for (Node* n : grads) {
    Node* wide = n->type.dtype == t ? n : graph::cast(g, n, t, span);
    Node* square = graph::binary(g, "mul", wide, wide, span);
    graph::IntList axes;
    for (size_t i = 0; i < square->type.rank(); i++) axes.push_back(static_cast<int64_t>(i));
    Node* sum = axes.empty() ? square : graph::reduce(g, "sum", square, axes, span);
    total = total ? graph::binary(g, "add", total, sum, span) : sum;
  }
  return total ? total : scalar(ev, 0, t, span);
}

Node* times_scalar(Evaluator& ev, Node* x, Node* factor, Span span) {
  graph::Graph& g = ev.graph();
  Node* f = factor->type.dtype == x->type.dtype ? factor : graph::cast(g, factor, x->type.dtype, span);
  return graph::binary(g, "mul", x, graph::broadcast_to(g, f, x->type.shape, span), span);
}

void clip_by_norm(Evaluator& ev, std::vector<Node*>& grads, double limit, Span span) {
  if (grads.empty()) return;
  graph::Graph& g = ev.graph();
  Node* norm = graph::unary(g, "sqrt", square_norm(ev, grads, span), span);
  DType t = norm->type.dtype;
  Node* factor = graph::binary(g, "div", scalar(ev, limit, t, span),
                               graph::binary(g, "add", norm, scalar(ev, 1e-6, t, span), span), span);
  factor = graph::binary(g, "min", factor, scalar(ev, 1, t, span), span);
  for (Node*& n : grads) n = times_scalar(ev, n, factor, span);
}

void clip_by_value(Evaluator& ev, std::vector<Node*>& grads, double limit, Span span) {
  graph::Graph& g = ev.graph();
  for (Node*& n : grads) {
    auto bound = [&](double v) {
      return graph::broadcast_to(g, scalar(ev, v, n->type.dtype, span), n->type.shape, span);
    };
    n = graph::binary(g, "min", graph::binary(g, "max", n, bound(-limit), span), bound(limit), span);
  }
}

std::vector<std::shared_ptr<ParamCell>> trained_params(const OptimizerInstance& opt) {
  std::vector<std::shared_ptr<ParamCell>> out;
  for (auto& group : opt.groups)
    for (auto& p : group.params)
      if (!p->frozen && p->learned) out.push_back(p);
  return out;
}

namespace {

/// The type of a state: that of its initial value, or the parameter's where that is one number for all elements.
TensorType state_type(Evaluator& ev, const ast::OptimizerStmt::State& state, const ParamCell& param,
                      const std::shared_ptr<Scope>& hyper, const ast::OptimizerStmt& decl, Span span) {
  DryRun trial(ev);
  auto scope = std::make_shared<Scope>(hyper);
  scope->define(decl.update_params[0].name.text, ev.read_persistent(param.reg, param.type, span), span).used = true;
  ev.frames.push_back({decl.name.text, span});
  auto t = ev.to_tensor(ev.eval(*state.value, scope), param.type.dtype, state.span);
  ev.frames.pop_back();
  return t && t->type.rank() > 0 ? t->type : param.type;
}

/// Evaluates the optimizer's `update` for one parameter and records what is to be written back.
void update_parameter(Evaluator& ev, OptimizerInstance& opt, OptimizerGroup& group, size_t index,
                      const TensorValue& gradient, const Value& step, Span span) {
  const ast::OptimizerStmt& decl = *opt.klass->decl;
  const std::shared_ptr<ParamCell>& param = group.params[index];
  if (group.state.size() < group.params.size()) group.state.resize(group.params.size());
  auto& states = group.state[index];
  bool first = states.empty() && !decl.states.empty();
  auto scope = std::make_shared<Scope>(opt.klass->scope);
  for (auto& [name, value] : group.hyper) scope->define(name, value, value.span);
  if (first) {
    const size_t errors = ev.diags.error_count();
    for (auto& state : decl.states) states.emplace_back(host::kNoReg, state_type(ev, state, *param, scope, decl, span));
    if (ev.diags.error_count() > errors) return;
  }
  scope->define("step", step, span).used = true;
  const std::string& p_name = decl.update_params[0].name.text;
  const std::string& g_name = decl.update_params[1].name.text;
  auto body = std::make_shared<Scope>(scope);
  auto define_var = [&](const std::string& name, Value v) {
    auto& e = body->define(name, std::move(v), span);
    e.is_var = true;
  };
  TensorValue old = ev.read_persistent(param->reg, param->type, span);
  define_var(p_name, old);
  define_var(g_name, gradient);
  std::vector<TensorValue> old_states;
  for (size_t i = 0; i < decl.states.size(); i++) {
    if (states[i].first == host::kNoReg) states[i].first = ev.new_reg(tensor_type(states[i].second));
    old_states.push_back(ev.read_persistent(states[i].first, states[i].second, span));
    define_var(decl.states[i].name.text, old_states.back());
    body->find_here(decl.states[i].name.text)->used = false;
  }
  ev.frames.push_back({decl.name.text + ".update", span});
  ev.eval_block(decl.update, body);

  auto finish = [&](const std::string& name, const TensorValue& before, host::Reg reg, const TensorType& type) {
    Value& now = body->find_here(name)->value;
    const TensorValue* t = now.get<TensorValue>();
    if (!t) {
      if (!now.is_poison())
        ev.error(Code::OptimizerUpdateType, span,
                 fmt::format("{}: `{}` must stay a tensor, but update assigns {}", decl.name.text, name, describe(now)))
            .label(decl.name.span, "the optimizer");
      return false;
    }
    if (t->cell == before.cell) return false;
    if (t->type != type) {
      ev.error(Code::OptimizerUpdateType, span,
               fmt::format("{}: `{}` is {}, but update assigns {}", decl.name.text, name, type.str(), t->type.str()))
          .label(decl.name.span, "the optimizer");
      return false;
    }
    ev.write_back(reg, *t);
    return true;
  };
  finish(p_name, old, param->reg, param->type);
  for (size_t i = 0; i < decl.states.size(); i++) {
    const std::string& name = decl.states[i].name.text;
    bool used = body->find_here(name)->used;
    used |= finish(name, old_states[i], states[i].first, states[i].second);
    if (!first || !used) continue;
    // The initial value is computed where the optimizer was made, in the step reserved there.
    ev.in_step(opt.init_step, [&] {
      auto init = std::make_shared<Scope>(scope);
      init->define(p_name, ev.read_persistent(param->reg, param->type, span), span).used = true;
      Value v = ev.eval(*decl.states[i].value, init);
      if (auto t = ev.to_tensor(v, param->type.dtype, decl.states[i].span)) {
        TensorValue full = *t;
        if (full.type.rank() == 0 && param->type.rank() != 0)
          full = ev.tensor(graph::broadcast_to(ev.graph(), ev.node(full), states[i].second.shape, span), span);
        if (full.type != states[i].second)
          ev.error(
              Code::OptimizerUpdateType, decl.states[i].span,
              fmt::format("the state `{}` is {}, but starts as {}", name, states[i].second.str(), full.type.str()));
        else
          ev.write_back(states[i].first, full);
      }
    });
  }
  ev.frames.pop_back();
}

}  // namespace

void prepare_rates(Evaluator& ev, OptimizerInstance& opt, Span span) {
  for (auto& group : opt.groups) {
    if (group.schedule.is_none()) continue;
    Value rate = ev.apply(group.schedule, {Value(RuntimeValue{opt.updates, int_type()}, span)}, span);
    if (rate.is_poison()) continue;
    rate = ev.to_host(rate, span);
    bool number = static_number(rate).has_value();
    if (auto* r = rate.get<RuntimeValue>())
      number = r->type.kind == host::Type::Kind::integer || r->type.kind == host::Type::Kind::floating;
    if (!number) {
      ev.error(Code::ScheduleResult, span,
               fmt::format("a schedule must give a number, but this one gives {}", describe(rate)))
          .label(group.schedule.span, "the schedule");
      continue;
    }
    if (ev.context.dry) continue;
    host::Reg from = ev.reg_of(rate, span);
    ev.flush();  // a pending step may read the rate before it
    host::Instr& i = ev.emit(host::Op::copy, span);
    i.dst = group.lr;
    i.args = {from};
  }
}

void apply_updates(Evaluator& ev, OptimizerInstance& opt, const std::vector<std::shared_ptr<ParamCell>>& params,
                   const std::vector<Node*>& grads, Span span) {
  // step = updates + 1, as a register of its own: the counter itself changes below, before the pending step runs.
  // Parameters that are or were frozen have a counter of their own.
  host::Reg one = ev.reg_of(Value(graph::Dim(1)), span);
  std::map<host::Reg, host::Reg> steps;
  auto step_of = [&](host::Reg counter) {
    auto [at, is_new] = steps.try_emplace(counter, host::kNoReg);
    if (is_new) {
      at->second = ev.new_reg(int_type());
      host::Instr& add = ev.emit_pure(host::Op::binary, span);
      add.name = "+";
      add.dst = at->second;
      add.args = {counter, one};
    }
    return at->second;
  };
  step_of(opt.updates);
  const size_t errors = ev.diags.error_count();
  for (auto& group : opt.groups)
    for (size_t i = 0; i < group.params.size(); i++) {
      if (ev.diags.error_count() != errors) return;  // the same of each parameter
      auto at = std::find(params.begin(), params.end(), group.params[i]);
      if (at == params.end()) continue;
      Node* g = grads[at - params.begin()];
      if (!g) continue;
      host::Reg counter = opt.updates;
      for (auto& [cell, own] : opt.own_updates)
        if (cell == group.params[i]) counter = own;
      update_parameter(ev, opt, group, i, ev.tensor(g, span), Value(RuntimeValue{step_of(counter), int_type()}, span),
                       span);
    }
  for (auto& [counter, step] : steps) {
    host::Instr& count = ev.emit_pure(host::Op::copy, span);
    count.dst = counter;
    count.args = {step};
  }
}

// ---------------------------------------------------------------- making an optimizer

namespace {

bool bind_hyper(Evaluator& ev, const OptimizerClass& klass, const std::vector<ArgValue>& args, size_t first_positional,
                Span span, const std::vector<std::pair<std::string, Value>>* base, OptimizerGroup& group) {
  const ast::OptimizerStmt& decl = *klass.decl;
  std::vector<const ArgValue*> given(decl.params.size(), nullptr);
  bool ok = true;
  size_t next = 0;
  for (size_t i = first_positional; i < args.size(); i++) {
    const ArgValue& a = args[i];
    if (a.name.empty()) {
      if (next >= decl.params.size()) {
        ev.error(Code::TooManyArguments, a.span,
                 fmt::format("{} takes {} hyper-parameters", decl.name.text, decl.params.size()));
        return false;
      }
      given[next++] = &a;
      continue;
    }
    auto at = std::find_if(decl.params.begin(), decl.params.end(), [&](auto& p) { return p.name.text == a.name; });
    if (at == decl.params.end()) {
      std::vector<std::string> names;
      for (auto& p : decl.params) names.push_back(p.name.text);
      auto d = ev.error(Code::UnknownArgument, a.name_span.valid() ? a.name_span : a.span,
                        fmt::format("{} has no hyper-parameter `{}`", decl.name.text, a.name));
      if (a.name == "learning_rate")
        d.help("it is called `lr`");
      else if (auto near = nearest(a.name, names))
        d.help(fmt::format("did you mean `{}`?", *near));
      ok = false;
      continue;
    }
    given[at - decl.params.begin()] = &a;
  }
  auto scope = std::make_shared<Scope>(klass.scope);
  for (size_t i = 0; i < decl.params.size(); i++) {
    const ast::Param& p = decl.params[i];
    Value v;
    Span at = span;
    if (given[i]) {
      v = given[i]->value;
      at = given[i]->span;
    } else if (base) {
      v = (*base)[i].second;
    } else if (p.default_value) {
      v = ev.eval(*p.default_value, scope);
    } else {
      ev.error(Code::MissingArgument, span, fmt::format("{} needs `{}`", decl.name.text, p.name.text))
          .label(p.span, "declared here");
      ok = false;
      v = Poison{};
    }
    if (v.is_poison()) {
      ok = false;
    }
    bool is_rate = p.name.text == "lr";
    if (is_rate && is_callable(v)) {
      group.schedule = v;
      v = Value(0.0, at);
    } else if (!v.is_poison() && p.type && given[i]) {
      Evaluator::DimBindings dims;
      if (!ev.match_type(*p.type, v, dims, klass.scope, at, fmt::format("`{}` of {}", p.name.text, decl.name.text)))
        ok = false;
    }
    if (auto n = static_number(v); is_rate && n && !(*n >= 0 && std::isfinite(*n))) {
      ev.error(Code::HyperparameterRange, at,
               fmt::format("{}: a rate can't be negative, and `lr` is {}", decl.name.text, *n));
      ok = false;
    }
    // An int given for a float is a float from here on, so that `1 / momentum` is no int division.
    if (p.type && p.type->name && p.type->name->text == "float")
      if (auto n = static_number(v)) v = Value(*n, at);
    group.hyper.emplace_back(p.name.text, v);
    scope->define(p.name.text, v, at).used = true;
  }
  if (!ok) return false;
  for (auto& r : decl.requires_) {
    Value c = ev.eval(*r.condition, scope);
    auto* holds = c.get<bool>();
    if (c.is_poison() || (holds && *holds)) continue;
    std::string message = fmt::format("{} needs {}", decl.name.text, ev.sources.text(r.condition->span));
    if (r.message) {
      Value m = ev.eval(*r.message, scope);
      if (auto* s = m.get<std::string>()) message = fmt::format("{}: {}", decl.name.text, *s);
    }
    Span at = span;  // the argument that the rule speaks of
    for (auto& a : args)
      if (!a.name.empty() && ev.sources.text(r.condition->span).find(a.name) != std::string_view::npos) {
        at = a.span;
        break;
      }
    ev.error(Code::HyperparameterRange, at, message).label(r.condition->span, "the rule");
    ok = false;
  }
  return ok;
}

}  // namespace

Value Evaluator::make_optimizer(const std::shared_ptr<OptimizerClass>& klass, std::vector<ArgValue> args, Span span) {
  const ast::OptimizerStmt& decl = *klass->decl;
  if (context.tensor_code) {
    error(Code::HostEffectInTensorCode, span, "an optimizer can't be made inside tensor code");
    return Poison{};
  }
  if (decl.update_params.size() != 2) {
    error(Code::OptimizerDeclaration, decl.name.span,
          fmt::format("update of {} takes the parameter and its gradient", decl.name.text))
        .help("`update(param, grad) { … }`");
    return Poison{};
  }
  for (auto& a : args)
    if (a.value.is_poison()) return Poison{};
  auto opt = std::make_shared<OptimizerInstance>();
  opt->klass = klass;
  opt->span = span;
  std::vector<Value> held;
  auto groups_arg = std::find_if(args.begin(), args.end(), [](auto& a) { return a.name == "groups"; });
  if (groups_arg != args.end()) {
    auto list = groups_arg->value.ptr<SequenceValue>();
    Span at = groups_arg->span;
    if (!list || list->items.empty()) {
      error(Code::OptimizerGroups, at, "groups is a list of records")
          .help("`groups = [{params: net.head, lr: 1e-3}, …]`");
      return Poison{};
    }
    args.erase(groups_arg);
    OptimizerGroup base;
    if (!bind_hyper(*this, *klass, args, 0, span, nullptr, base)) return Poison{};
    for (auto& item : list->items) {
      auto rec = item.ptr<RecordValue>();
      const Value* p = rec ? rec->find("params") : nullptr;
      if (!p) {
        error(Code::OptimizerGroups, item.span.valid() ? item.span : at, "each group is a record with `params`")
            .help("`{params: net.head, lr: 1e-3}`");
        return Poison{};
      }
      OptimizerGroup group;
      group.schedule = base.schedule;
      group.params = params_of(*p);
      held.push_back(*p);
      std::vector<ArgValue> own;
      for (size_t i = 0; i < rec->names.size(); i++)
        if (rec->names[i] != "params")
          own.push_back({rec->names[i], rec->items[i].span, rec->items[i], rec->items[i].span, nullptr});
      if (std::any_of(own.begin(), own.end(), [](auto& a) { return a.name == "lr"; })) group.schedule = NoneValue{};
      if (!bind_hyper(*this, *klass, own, 0, span, &base.hyper, group)) return Poison{};
      opt->groups.push_back(std::move(group));
    }
  } else {
    if (args.empty() || !args[0].name.empty()) {
      error(Code::MissingArgument, span, fmt::format("{} needs the layers to train first", decl.name.text))
          .help(fmt::format("`{}(net, …)`", decl.name.text));
      return Poison{};
    }
    OptimizerGroup group;
    Value what = args[0].value;
    if (!what.ptr<LayerInstance>() && !what.ptr<SequenceValue>() && !what.get<TensorValue>()) {
      error(Code::OptimizerGroups, args[0].span,
            fmt::format("{} trains layers, but this is {}", decl.name.text, describe(what)))
          .help("an optimizer's first argument is a layer, a list of layers or a parameter");
      return Poison{};
    }
    group.params = params_of(what);
    held.push_back(what);
    if (!bind_hyper(*this, *klass, args, 1, span, nullptr, group)) return Poison{};
    opt->groups.push_back(std::move(group));
  }
  // An optimizer holds the parameters that its layers have now.
  std::function<void(const Value&)> use = [&](const Value& v) {
    if (auto layer = v.ptr<LayerInstance>()) {
      if (!layer->used) layer->used_at = span;
      layer->used = true;
      for (auto& [n, m] : layer->members) use(m);
    } else if (auto s = v.ptr<SequenceValue>()) {
      for (auto& i : s->items) use(i);
    }
  };
  for (auto& v : held) use(v);
  std::vector<std::shared_ptr<ParamCell>> seen;
  for (auto& g : opt->groups)
    for (auto& p : g.params) {
      if (std::find(seen.begin(), seen.end(), p) != seen.end()) {
        error(Code::OptimizerGroups, span, fmt::format("the parameter `{}` stands in two groups", p->path));
        return Poison{};
      }
      seen.push_back(p);
    }
  if (seen.empty()) {
    error(Code::OptimizerGroups, span,
          fmt::format("there is nothing to train: no parameter was found for {}", decl.name.text));
    return Poison{};
  }
  if (context.dry) return Value(opt, span);
  opt->updates = new_reg(int_type());
  host::Instr& zero = emit(host::Op::constant, span);
  zero.dst = opt->updates;
  zero.value = int64_t{0};
  for (auto& g : opt->groups) {
    g.lr = new_reg(float_type());
    for (auto& [name, value] : g.hyper) {
      if (name != "lr") continue;
      host::Reg from = reg_of(value, span);
      host::Instr& i = emit(host::Op::copy, span);
      i.dst = g.lr;
      i.args = {from};
      value = Value(RuntimeValue{g.lr, float_type()}, value.span);
    }
  }
  std::vector<std::shared_ptr<ParamCell>> apart;
  for (auto& p : seen)
    if (p->frozen) apart.push_back(p);
  count_apart(*this, *opt, apart, span);
  for (auto& u : impl->freeze_units) count_apart(*this, *opt, u.cells, span);
  impl->optimizers.push_back(opt);
  opt->init_block = &emit(host::Op::scope, span);
  opt->init_step = reserve_step(fmt::format("state of {}", decl.name.text), span);
  return Value(opt, span);
}

// ---------------------------------------------------------------- members

namespace {

bool below(const std::string& path, const std::string& prefix) {
  return path.size() > prefix.size() && path.compare(0, prefix.size(), prefix) == 0 && path[prefix.size()] == '.';
}

}  // namespace

std::optional<Value> Evaluator::training_member(const Value& object, const ast::Name& name) {
  if (auto opt = object.ptr<OptimizerInstance>()) {
    if (name.text == "update") return Value(BoundBuiltin{&kUpdate, std::make_shared<Value>(object)}, name.span);
    if (name.text == "lr") {
      if (opt->groups.size() > 1) {
        error(Code::OptimizerGroups, name.span, "this optimizer has several groups, each with its own rate")
            .help("`opt.groups[0].lr`");
        return Value(Poison{});
      }
      return Value(RuntimeValue{opt->groups[0].lr, float_type()}, name.span);
    }
    if (name.text == "groups") {
      auto list = std::make_shared<SequenceValue>();
      list->is_list = true;
      for (auto& g : opt->groups) {
        auto one = std::make_shared<OptimizerInstance>();
        one->klass = opt->klass;
        one->groups = {g};
        one->updates = opt->updates;
        one->span = opt->span;
        list->items.emplace_back(one, name.span);
      }
      return Value(list, name.span);
    }
    return std::nullopt;
  }
  if (auto g = object.ptr<GradientValue>()) {
    std::string path = g->prefix.empty() ? name.text : g->prefix + "." + name.text;
    auto narrowed = std::make_shared<GradientValue>();
    narrowed->prefix = path;
    narrowed->results = g->results;
    for (size_t i = 0; i < g->params.size(); i++) {
      const std::string& p = g->params[i]->path;
      if (p == path) return Value(g->gradients[i], name.span);
      if (!below(p, path)) continue;
      narrowed->params.push_back(g->params[i]);
      narrowed->gradients.push_back(g->gradients[i]);
    }
    if (narrowed->params.empty()) return std::nullopt;
    return Value(narrowed, name.span);
  }
  return std::nullopt;
}

std::optional<Value> gradient_arithmetic(Evaluator& ev, ast::BinaryOp op, const Value& a, const Value* b, Span span) {
  auto g = a.ptr<GradientValue>();
  auto h = b ? b->ptr<GradientValue>() : nullptr;
  if (!g && !h) return std::nullopt;
  auto out = std::make_shared<GradientValue>(g ? *g : *h);
  if (g && h && g->params != h->params) {
    ev.error(Code::GradTarget, span, "these gradients belong to different parameters");
    return Value(Poison{});
  }
  for (size_t i = 0; i < out->gradients.size(); i++) {
    Value x = g ? Value(g->gradients[i], span) : a;
    Value y = h ? Value(h->gradients[i], span) : b ? *b : Value(graph::Dim(-1), span);
    Value r = ev.binary(b ? op : ast::BinaryOp::mul, x, y, span, a.span, b ? b->span : span);
    auto* t = r.get<TensorValue>();
    if (!t || t->type != out->gradients[i].type) {
      if (!r.is_poison()) ev.error(Code::GradTarget, span, "gradients can be added, subtracted and scaled by numbers");
      return Value(Poison{});
    }
    out->gradients[i] = *t;
  }
  return Value(out, span);
}

bool Evaluator::training_assign(const Value& object, const ast::Name& member, Value v, Span span) {
  auto opt = object.ptr<OptimizerInstance>();
  if (!opt) return false;
  if (member.text != "lr") {
    error(Code::AssignTarget, span, fmt::format("`{}` of an optimizer can't be set", member.text))
        .help("its rate `lr` can");
    return true;
  }
  if (opt->groups.size() > 1) {
    error(Code::OptimizerGroups, span, "this optimizer has several groups, each with its own rate")
        .help("`opt.groups[0].lr = …`");
    return true;
  }
  if (!opt->groups[0].schedule.is_none()) {
    error(Code::AssignTarget, span, "the rate follows a schedule, so it can't be set")
        .label(opt->groups[0].schedule.span, "the schedule");
    return true;
  }
  v = to_host(v, span);
  if (v.is_poison()) return true;
  auto n = static_number(v);
  auto* r = v.get<RuntimeValue>();
  bool number = n || (r && (r->type.kind == host::Type::Kind::floating || r->type.kind == host::Type::Kind::integer));
  if (!number || (n && *n < 0)) {
    error(Code::HyperparameterRange, span,
          number ? std::string("a rate can't be negative")
                 : fmt::format("a rate is a number, but this is {}", describe(v)));
    return true;
  }
  host::Reg from = reg_of(n ? Value(*n, span) : v, span);
  flush();  // a pending step may read the rate before it
  host::Instr& i = emit(host::Op::copy, span);
  i.dst = opt->groups[0].lr;
  i.args = {from};
  return true;
}

}  // namespace nnlc::sema
