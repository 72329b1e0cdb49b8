// Training: minimize, grad, optimizers and their schedules.
//
// A minimize block is traced into the pending step like any other tensor code; the gradients of its loss are appended to
// the same graph, then each parameter's update, traced from the optimizer's own declaration. So forward, backward and
// update are one compiled step. The order is fixed: gradients from zero, division by the accumulated weight, clip_value, clip_norm, update.
#include "compiler/sema/training.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include "compiler/passes/passes.h"
#include "compiler/sema/builtins.h"
#include "compiler/sema/evaluator.h"

namespace nnlc::sema {
namespace {

using graph::DType;
using graph::Node;
using graph::TensorType;

std::optional<double> static_number(const Value& v) {
  if (auto* d = v.get<double>()) return *d;
  if (auto* n = v.get<graph::Dim>(); n && n->is_constant()) return static_cast<double>(n->value());
  return std::nullopt;
}

bool is_callable(const Value& v) {
  return v.get<FunctionValue>() || v.get<LambdaValue>() || v.get<BoundBuiltin>();
}

host::Type int_type() { return {.kind = host::Type::Kind::integer, .tensor = {}, .classes = 0, .items = {}, .names = {}}; }
host::Type float_type() { return {.kind = host::Type::Kind::floating, .tensor = {}, .classes = 0, .items = {}, .names = {}}; }
host::Type tensor_type(TensorType t) {
  return {.kind = host::Type::Kind::tensor, .tensor = std::move(t), .classes = 0, .items = {}, .names = {}};
}

/// A node of its own with x's value: gradients pass through it, and stop at it when it is what is differentiated.
Node* leaf_of(Evaluator& ev, const TensorValue& t, Span span) {
  return graph::make(ev.graph(), "reshape", {ev.node(t)}, {{"shape", t.type.shape}}, span);
}

/// The context inside a differentiated block, and back again.
class TrainingMode {
 public:
  explicit TrainingMode(Evaluator& ev) : ev_(ev), saved_(ev.context) {
    ev.context.tensor_code = true;
    ev.context.training = true;
    ev.leaves.emplace_back();
  }
  ~TrainingMode() {
    ev_.leaves.pop_back();
    ev_.context = saved_;
  }
  TrainingMode(const TrainingMode&) = delete;
  TrainingMode& operator=(const TrainingMode&) = delete;

 private:
  Evaluator& ev_;
  Context saved_;
};

/// The loss among what the block gave: the value itself, or the first of a tuple.
const TensorValue* find_loss(Evaluator& ev, const Value& v, Span span, std::string_view what) {
  const Value* first = &v;
  if (auto s = v.ptr<SequenceValue>(); s && !s->items.empty()) first = &s->items[0];
  if (first->is_poison()) return nullptr;
  const TensorValue* t = first->get<TensorValue>();
  if (!t) {
    ev.error(Code::LossNotScalar, span, fmt::format("the block of {} must give a loss, but gives {}", what, describe(*first)))
        .help("end the block with a scalar tensor, for example `mean(…)` or a loss function");
    return nullptr;
  }
  if (t->type.rank() != 0 || !graph::is_float(t->type.dtype)) {
    auto d = ev.error(Code::LossNotScalar, first->span.valid() ? first->span : span,
                      fmt::format("{} needs a scalar loss, but the block gives {}", what, t->type.str()));
    if (t->type.rank() != 0) d.help("reduce it: `mean(…)` or `sum(…)`");
    return nullptr;
  }
  return t;
}

Node* scalar(Evaluator& ev, double v, DType t, Span span) { return graph::constant(ev.graph(), v, {t, {}}, span); }

/// The number of elements (or the sum of weights) that the loss's outermost mean divided by; 1 if it is no mean.
Node* loss_weight(Evaluator& ev, Node* loss, Span span) {
  auto is = [](Node* n, std::string_view op) { return graph::find_op(op) == n->op; };
  Node* n = loss;
  while (is(n, "reshape") || is(n, "cast")) n = n->operands[0];
  DType t = loss->type.dtype;
  if (is(n, "div") && is(n->operands[0], "sum")) return graph::cast(ev.graph(), n->operands[1], t, span);
  if (is(n, "mul"))
    for (int i : {0, 1})
      if (is(n->operands[i], "sum") && is(n->operands[1 - i], "constant"))
        return graph::binary(ev.graph(), "div", scalar(ev, 1, t, span), graph::cast(ev.graph(), n->operands[1 - i], t, span), span);
  return scalar(ev, 1, t, span);
}

/// Sum of the squares of all gradients, f32 (or f64 where a gradient is), in the order of the parameters.
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

/// factor min(1, c / (norm + 1e-6)) on every gradient.
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
    auto bound = [&](double v) { return graph::broadcast_to(g, scalar(ev, v, n->type.dtype, span), n->type.shape, span); };
    n = graph::binary(g, "min", graph::binary(g, "max", n, bound(-limit), span), bound(limit), span);
  }
}

struct MinimizeOptions {
  std::optional<double> clip_norm, clip_value;
  int64_t accumulate = 1;
  bool check = true;
};

std::vector<std::shared_ptr<ParamCell>> trained_params(const OptimizerInstance& opt) {
  std::vector<std::shared_ptr<ParamCell>> out;
  for (auto& group : opt.groups)
    for (auto& p : group.params)
      if (!p->frozen && p->learned) out.push_back(p);
  return out;
}

/// Evaluates the optimizer's `update` for one parameter and records what is to be written back.
void update_parameter(Evaluator& ev, OptimizerInstance& opt, OptimizerGroup& group, size_t index, const TensorValue& gradient,
                      const Value& step, Span span) {
  const ast::OptimizerStmt& decl = *opt.klass->decl;
  const std::shared_ptr<ParamCell>& param = group.params[index];
  if (group.state.size() < group.params.size()) group.state.resize(group.params.size());
  auto& states = group.state[index];
  bool first = states.empty() && !decl.states.empty();
  if (first)
    for (size_t i = 0; i < decl.states.size(); i++) states.push_back({host::kNoReg, param->type});

  auto scope = std::make_shared<Scope>(opt.klass->scope);
  for (auto& [name, value] : group.hyper) scope->define(name, value, value.span);
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
        ev.error(Code::OptimizerUpdateType, span, fmt::format("{}: `{}` must stay a tensor, but update assigns {}", decl.name.text, name, describe(now)));
      return false;
    }
    if (t->cell == before.cell) return false;
    if (t->type != type) {
      ev.error(Code::OptimizerUpdateType, span,
               fmt::format("{}: `{}` is {}, but update assigns {}", decl.name.text, name, type.str(), t->type.str()));
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
          full = ev.tensor(graph::broadcast_to(ev.graph(), ev.node(full), param->type.shape, span), span);
        if (full.type != states[i].second)
          ev.error(Code::OptimizerUpdateType, decl.states[i].span,
                   fmt::format("the state `{}` has the type of its parameter, {}, but starts as {}", name, states[i].second.str(), full.type.str()));
        else
          ev.write_back(states[i].first, full);
      }
    });
  }
  ev.frames.pop_back();
}

/// Makes the rate of this update known in `group.lr`: evaluates a schedule with the number of updates already made.
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
      ev.error(Code::ScheduleResult, span, fmt::format("a schedule must give a number, but this one gives {}", describe(rate)))
          .label(group.schedule.span, "the schedule");
      continue;
    }
    if (ev.context.dry) continue;
    host::Reg from = ev.reg_of(rate, span);
    host::Instr& i = ev.emit(host::Op::copy, span);
    i.dst = group.lr;
    i.args = {from};
  }
}

/// One update of all trained parameters with the given gradients (null: the loss doesn't reach it; it is left alone).
/// Counts the update.
void apply_updates(Evaluator& ev, OptimizerInstance& opt, const std::vector<std::shared_ptr<ParamCell>>& params,
                   const std::vector<Node*>& grads, Span span) {
  // step = updates + 1, as a register of its own: the counter itself changes below, before the pending step runs.
  host::Reg one = ev.reg_of(Value(graph::Dim(1)), span);
  host::Reg step = ev.new_reg(int_type());
  host::Instr& add = ev.emit_pure(host::Op::binary, span);
  add.name = "+";
  add.dst = step;
  add.args = {opt.updates, one};
  for (auto& group : opt.groups)
    for (size_t i = 0; i < group.params.size(); i++) {
      auto at = std::find(params.begin(), params.end(), group.params[i]);
      if (at == params.end()) continue;
      Node* g = grads[at - params.begin()];
      if (!g) continue;
      update_parameter(ev, opt, group, i, ev.tensor(g, span), Value(RuntimeValue{step, int_type()}, span), span);
    }
  host::Instr& count = ev.emit_pure(host::Op::copy, span);
  count.dst = opt.updates;
  count.args = {step};
}

void clip(Evaluator& ev, std::vector<Node*>& grads, const MinimizeOptions& o, Span span) {
  std::vector<Node*> present;
  for (Node* n : grads)
    if (n) present.push_back(n);
  if (o.clip_value) clip_by_value(ev, present, *o.clip_value, span);
  if (o.clip_norm) clip_by_norm(ev, present, *o.clip_norm, span);
  size_t k = 0;
  for (Node*& n : grads)
    if (n) n = present[k++];
}

/// Differentiates in the pending graph; warns once of each parameter that the loss doesn't reach.
std::vector<Node*> gradients(Evaluator& ev, Node* loss, const std::vector<Node*>& wrt, const std::vector<std::shared_ptr<ParamCell>>& params, Span span) {
  std::vector<Node*> grads = passes::differentiate(ev.graph(), loss, wrt, ev.diags);
  for (size_t i = 0; i < params.size(); i++) {
    if (grads[i] || params[i]->used_in_loss) {
      params[i]->used_in_loss = true;
      continue;
    }
    params[i]->used_in_loss = true;
    ev.warning(Code::UnreachedParameter, span, fmt::format("no path leads from the parameter `{}` to this loss: it is not trained", params[i]->path))
        .label(params[i]->span, "the parameter")
        .help("freeze it, or leave it out of the optimizer, if that is meant");
  }
  return grads;
}

std::vector<Node*> make_leaves(Evaluator& ev, const std::vector<std::shared_ptr<ParamCell>>& params, Span span) {
  std::vector<Node*> nodes;
  for (auto& p : params) {
    Node* leaf = leaf_of(ev, ev.read_persistent(p->reg, p->type, span), span);
    ev.leaves.back()[p->reg] = ev.tensor(leaf, span);
    nodes.push_back(leaf);
  }
  return nodes;
}

bool read_options(Evaluator& ev, const ast::BlockCallExpr& e, const std::shared_ptr<Scope>& scope, Value& optimizer, MinimizeOptions& o) {
  bool ok = true;
  bool have = false;
  for (auto& a : e.args) {
    if (!a.name) {
      if (have) {
        ev.error(Code::MinimizeArguments, a.span, "minimize takes one optimizer").help("one optimizer can hold several networks: `Adam([encoder, decoder])`");
        ok = false;
        continue;
      }
      optimizer = ev.eval(*a.value, scope);
      have = true;
      continue;
    }
    Value v = ev.eval(*a.value, scope);
    if (v.is_poison()) { ok = false; continue; }
    const std::string& n = a.name->text;
    auto number = static_number(v);
    auto positive = [&](std::optional<double>& into) {
      if (number && *number > 0 && std::isfinite(*number)) { into = *number; return; }
      ev.error(Code::MinimizeArguments, a.span, fmt::format("{} must be a number above 0 that is known when compiling", n));
      ok = false;
    };
    if (n == "clip_norm") positive(o.clip_norm);
    else if (n == "clip_value") positive(o.clip_value);
    else if (n == "accumulate") {
      auto* d = v.get<graph::Dim>();
      if (d && d->is_constant() && d->value() >= 1) o.accumulate = d->value();
      else { ev.error(Code::MinimizeArguments, a.span, "accumulate must be an int of at least 1 that is known when compiling"); ok = false; }
    } else if (n == "check") {
      if (auto* b = v.get<bool>()) o.check = *b;
      else { ev.error(Code::MinimizeArguments, a.span, "check is true or false"); ok = false; }
    } else {
      std::vector<std::string> names = {"clip_norm", "clip_value", "accumulate", "check"};
      auto d = ev.error(Code::UnknownArgument, a.name->span, fmt::format("minimize has no option `{}`", n));
      if (auto near = nearest(n, names)) d.help(fmt::format("did you mean `{}`?", *near));
      else d.help("its options are clip_norm, clip_value, accumulate and check");
      ok = false;
    }
  }
  if (!have) {
    ev.error(Code::MinimizeArguments, e.name_span, "minimize needs an optimizer").help("`minimize(opt) { … }` with `let opt = Adam(net)`");
    return false;
  }
  return ok;
}

/// An open accumulation window: belongs to one minimize statement.
void accumulate_step(Evaluator& ev, OptimizerInstance& opt, const ast::BlockCallExpr& e, const std::vector<std::shared_ptr<ParamCell>>& params,
                     const std::vector<Node*>& grads, Node* weight, const std::function<void()>& check, const MinimizeOptions& o) {
  Span span = e.name_span;
  graph::Graph& g = ev.graph();
  Accumulation& window = opt.windows[&e];
  TensorType weight_type = weight->type;
  if (window.count == host::kNoReg) {
    window.count = ev.new_reg(int_type());
    window.weight = ev.new_reg(tensor_type(weight_type));
    for (auto& p : params) window.sums.push_back(ev.new_reg(tensor_type(p->type)));
    ev.in_step(opt.init_step, [&] {
      for (size_t i = 0; i < params.size(); i++) ev.write_back(window.sums[i], ev.tensor(graph::constant(ev.graph(), 0, params[i]->type, span), span));
      ev.write_back(window.weight, ev.tensor(graph::constant(ev.graph(), 0, weight_type, span), span));
    });
    auto zero = std::make_unique<host::Instr>();
    zero->op = host::Op::constant;
    zero->span = span;
    zero->dst = window.count;
    zero->value = int64_t{0};
    if (opt.init_block) opt.init_block->then_block.push_back(std::move(zero));
  }
  for (size_t i = 0; i < params.size(); i++) {
    if (!grads[i]) continue;
    Node* sum = ev.node(ev.read_persistent(window.sums[i], params[i]->type, span));
    ev.write_back(window.sums[i], ev.tensor(graph::binary(g, "add", sum, times_scalar(ev, grads[i], weight, span), span), span));
  }
  Node* total = ev.node(ev.read_persistent(window.weight, weight_type, span));
  ev.write_back(window.weight, ev.tensor(graph::binary(g, "add", total, weight, span), span));
  check();
  if (ev.context.dry) return;
  ev.flush();

  auto binary = [&](const char* op, host::Reg a, int64_t b, const host::Type& type) {
    host::Reg rhs = ev.reg_of(Value(graph::Dim(b)), span);
    host::Reg dst = ev.new_reg(type);
    host::Instr& i = ev.emit(host::Op::binary, span);
    i.name = op;
    i.dst = dst;
    i.args = {a, rhs};
    return dst;
  };
  auto copy = [&](host::Reg dst, host::Reg src) {
    host::Instr& i = ev.emit(host::Op::copy, span);
    i.dst = dst;
    i.args = {src};
  };
  host::Type bool_type{.kind = host::Type::Kind::boolean, .tensor = {}, .classes = 0, .items = {}, .names = {}};
  std::vector<bool> reached;
  for (Node* n : grads) reached.push_back(n != nullptr);
  OptimizerInstance* optimizer = &opt;
  Evaluator* evaluator = &ev;
  // Divides, clips, updates and empties the window, where `condition` holds.
  auto close = [=](host::Reg condition) {
    Evaluator& ev = *evaluator;
    Accumulation& window = optimizer->windows[&e];
    host::Instr& branch = ev.emit(host::Op::if_, span);
    branch.args = {condition};
    ev.begin_block(branch.then_block);
    {
      prepare_rates(ev, *optimizer, span);
      Context saved = ev.context;
      ev.context.tensor_code = true;
      Node* total = ev.node(ev.read_persistent(window.weight, weight_type, span));
      std::vector<Node*> mean;
      for (size_t i = 0; i < params.size(); i++) {
        if (!reached[i]) { mean.push_back(nullptr); continue; }
        Node* sum = ev.node(ev.read_persistent(window.sums[i], params[i]->type, span));
        Node* d = graph::cast(ev.graph(), total, params[i]->type.dtype, span);
        mean.push_back(graph::binary(ev.graph(), "div", sum, graph::broadcast_to(ev.graph(), d, params[i]->type.shape, span), span));
        ev.write_back(window.sums[i], ev.tensor(graph::constant(ev.graph(), 0, params[i]->type, span), span));
      }
      ev.write_back(window.weight, ev.tensor(graph::constant(ev.graph(), 0, weight_type, span), span));
      clip(ev, mean, o, span);
      apply_updates(ev, *optimizer, params, mean, span);
      ev.context = saved;
      ev.flush();
      host::Reg zero = ev.reg_of(Value(graph::Dim(0)), span);
      host::Instr& i = ev.emit(host::Op::copy, span);
      i.dst = window.count;
      i.args = {zero};
    }
    ev.end_block();
  };
  copy(window.count, binary("+", window.count, 1, int_type()));
  close(binary(">=", window.count, o.accumulate, bool_type));
  if (!ev.loop_end_actions.empty()) {
    // The window also closes where the innermost loop ends; registered once for all variants of the loop's body.
    if (std::find(window.loops.begin(), window.loops.end(), ev.loop_end_actions.size()) == window.loops.end()) {
      window.loops.push_back(ev.loop_end_actions.size());
      size_t depth = ev.loop_end_actions.size();
      ev.loop_end_actions.back().push_back([=] {
        optimizer->windows[&e].loops.erase(std::remove(optimizer->windows[&e].loops.begin(), optimizer->windows[&e].loops.end(), depth),
                                           optimizer->windows[&e].loops.end());
        close(binary(">", optimizer->windows[&e].count, 0, bool_type));
      });
    }
  } else {
    close(binary(">", window.count, 0, bool_type));
  }
}

}  // namespace

Value Evaluator::eval_minimize(const ast::BlockCallExpr& e, const std::shared_ptr<Scope>& scope) {
  Span span = e.name_span;
  if (context.tensor_code) {
    error(Code::HostEffectInTensorCode, span, "minimize stands inside tensor code").help("call it at top level, in a loop, or in a fn called from there");
    return Poison{};
  }
  Value optimizer;
  MinimizeOptions o;
  bool ok = read_options(*this, e, scope, optimizer, o);
  auto opt = optimizer.ptr<OptimizerInstance>();
  if (ok && !opt && !optimizer.is_poison()) {
    auto d = error(Code::MinimizeArguments, e.args.empty() ? span : e.args[0].span, fmt::format("minimize takes an optimizer, but this is {}", describe(optimizer)));
    d.help("make one first: `let opt = Adam(net)`, then `minimize(opt) { … }`");
  }
  if (!ok || !opt) return Poison{};

  if (o.accumulate == 1) prepare_rates(*this, *opt, span);
  Value result;
  {
    TrainingMode mode(*this);
    auto params = trained_params(*opt);
    // Parameters whose sizes follow from the first use have no type yet: the body's first trace finds them.
    std::vector<Node*> wrt;
    if (std::all_of(params.begin(), params.end(), [](auto& p) { return p->reg != host::kNoReg; })) {
      wrt = make_leaves(*this, params, span);
    } else {
      size_t before = diags.all().size();
      bool dry = context.dry;
      context.dry = true;
      Value tried = eval_block(e.body, std::make_shared<Scope>(scope));
      context.dry = dry;
      if (tried.is_poison() || diags.all().size() > before) return Poison{};
      params = trained_params(*opt);
      wrt = make_leaves(*this, params, span);
    }
    result = eval_block(e.body, std::make_shared<Scope>(scope));
    const TensorValue* loss = find_loss(*this, result, span, "minimize");
    if (!loss) return Poison{};
    Node* loss_node = node(*loss);
    size_t errors = diags.error_count();
    std::vector<Node*> grads = gradients(*this, loss_node, wrt, params, span);
    if (diags.error_count() > errors) return Poison{};
    std::vector<Node*> present;
    for (Node* n : grads)
      if (n) present.push_back(n);
    TensorValue norm = tensor(o.check ? square_norm(*this, present, span) : loss_node, span);
    leaves.back().clear();  // the update reads the parameters themselves
    auto check = [&] {
      if (!o.check || context.dry) return;
      bool saved = context.tensor_code;
      context.tensor_code = false;
      host::Reg a = reg_of(Value(*loss), span), b = reg_of(Value(norm), span);
      host::Instr& i = emit(host::Op::check_finite, span);
      i.args = {a, b};
      context.tensor_code = saved;
    };
    if (o.accumulate > 1) {
      bool saved = context.tensor_code;
      Node* weight = loss_weight(*this, loss_node, span);
      context.tensor_code = false;
      accumulate_step(*this, *opt, e, params, grads, weight, check, o);
      context.tensor_code = saved;
    } else {
      clip(*this, grads, o, span);
      apply_updates(*this, *opt, params, grads, span);
      check();
    }
  }
  return result;
}

Value Evaluator::eval_grad(const ast::BlockCallExpr& e, const std::shared_ptr<Scope>& scope) {
  Span span = e.name_span;
  if (e.args.empty()) {
    error(Code::GradTarget, span, "grad needs what to differentiate by").help("`grad(net) { … }` or `grad(x) { … }`");
    return Poison{};
  }
  TrainingMode mode(*this);
  auto inner = std::make_shared<Scope>(scope);
  struct Target {
    std::vector<std::shared_ptr<ParamCell>> params;  // of a layer
    std::vector<Node*> nodes;
    bool is_layer = false;
    Value like;
  };
  std::vector<Target> targets;
  for (auto& a : e.args) {
    if (a.name) {
      error(Code::UnknownArgument, a.name->span, fmt::format("grad has no option `{}`", a.name->text));
      return Poison{};
    }
    Value v = eval(*a.value, scope);
    if (v.is_poison()) return Poison{};
    Target t;
    if (auto* x = v.get<TensorValue>()) {
      if (!graph::is_float(x->type.dtype)) {
        error(Code::GradTarget, a.span, fmt::format("grad differentiates by float tensors, but this is {}", x->type.str())).help("cast it: `f32(…)`");
        return Poison{};
      }
      TensorValue leaf = *x;
      Node* n = leaf_of(*this, *x, a.span);
      leaf.cell = tensor(n, a.span).cell;
      leaf.is_literal = false;
      t.nodes.push_back(n);
      t.like = *x;
      if (auto* name = ast::dyn<ast::NameExpr>(a.value.get())) {
        inner->define(name->name, Value(leaf, a.span), a.span).used = true;
      } else if (x->cell->reg != host::kNoReg) {
        leaves.back()[x->cell->reg] = leaf;  // a parameter by its path: `grad(net.fc.weight)`
      } else {
        error(Code::GradTarget, a.span, "grad differentiates by a layer or by a variable, and this is neither")
            .help("give the value a name with `let`, and use the name in the block");
        return Poison{};
      }
    } else if (v.ptr<LayerInstance>() || v.ptr<SequenceValue>()) {
      t.is_layer = true;
      t.params = params_of(v);
      t.like = v;
      std::erase_if(t.params, [](auto& p) { return p->frozen || !p->learned; });
      if (!std::all_of(t.params.begin(), t.params.end(), [](auto& p) { return p->reg != host::kNoReg; })) {
        error(Code::GradTarget, a.span, "the sizes of this layer are not known yet").help("call it once before, or write its sizes instead of `_`");
        return Poison{};
      }
      t.nodes = make_leaves(*this, t.params, span);
    } else {
      error(Code::GradTarget, a.span, fmt::format("grad differentiates by layers and tensors, but this is {}", describe(v)));
      return Poison{};
    }
    targets.push_back(std::move(t));
  }
  Value result = eval_block(e.body, inner);
  const TensorValue* loss = find_loss(*this, result, span, "grad");
  if (!loss) return Poison{};
  std::vector<Node*> wrt;
  std::vector<std::shared_ptr<ParamCell>> all_params;
  for (auto& t : targets) wrt.insert(wrt.end(), t.nodes.begin(), t.nodes.end());
  size_t errors = diags.error_count();
  std::vector<Node*> grads = passes::differentiate(graph(), node(*loss), wrt, diags);
  if (diags.error_count() > errors) return Poison{};
  // Frozen and unreached: zero.
  for (size_t i = 0; i < grads.size(); i++)
    if (!grads[i]) grads[i] = graph::constant(graph(), 0, wrt[i]->type, span);
  std::vector<Value> parts;
  size_t k = 0;
  for (auto& t : targets) {
    if (t.is_layer) {
      auto g = std::make_shared<GradientValue>();
      g->params = t.params;
      for (size_t i = 0; i < t.params.size(); i++) g->gradients.push_back(tensor(grads[k++], span));
      parts.emplace_back(g, span);
    } else {
      parts.emplace_back(tensor(grads[k++], span), span);
    }
  }
  auto pair = std::make_shared<SequenceValue>();
  pair->items.push_back(result);
  if (parts.size() == 1) {
    pair->items.push_back(parts[0]);
  } else {
    auto tuple = std::make_shared<SequenceValue>();
    tuple->items = parts;
    pair->items.emplace_back(tuple, span);
  }
  return Value(pair, span);
}

// ---------------------------------------------------------------- making an optimizer

namespace {

bool bind_hyper(Evaluator& ev, const OptimizerClass& klass, const std::vector<ArgValue>& args, size_t first_positional, Span span,
                const std::vector<std::pair<std::string, Value>>* base, OptimizerGroup& group) {
  const ast::OptimizerStmt& decl = *klass.decl;
  std::vector<const ArgValue*> given(decl.params.size(), nullptr);
  bool ok = true;
  size_t next = 0;
  for (size_t i = first_positional; i < args.size(); i++) {
    const ArgValue& a = args[i];
    if (a.name.empty()) {
      if (next >= decl.params.size()) {
        ev.error(Code::TooManyArguments, a.span, fmt::format("{} takes {} hyper-parameters", decl.name.text, decl.params.size()));
        return false;
      }
      given[next++] = &a;
      continue;
    }
    auto at = std::find_if(decl.params.begin(), decl.params.end(), [&](auto& p) { return p.name.text == a.name; });
    if (at == decl.params.end()) {
      std::vector<std::string> names;
      for (auto& p : decl.params) names.push_back(p.name.text);
      auto d = ev.error(Code::UnknownArgument, a.name_span.valid() ? a.name_span : a.span, fmt::format("{} has no hyper-parameter `{}`", decl.name.text, a.name));
      if (a.name == "learning_rate") d.help("it is called `lr`");
      else if (auto near = nearest(a.name, names)) d.help(fmt::format("did you mean `{}`?", *near));
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
      ev.error(Code::MissingArgument, span, fmt::format("{} needs `{}`", decl.name.text, p.name.text)).label(p.span, "declared here");
      ok = false;
      v = Poison{};
    }
    if (v.is_poison()) { ok = false; }
    bool is_rate = p.name.text == "lr";
    if (is_rate && is_callable(v)) {
      group.schedule = v;
      v = Value(0.0, at);
    } else if (!v.is_poison() && p.type && given[i]) {
      Evaluator::DimBindings dims;
      if (!ev.match_type(*p.type, v, dims, klass.scope, at, fmt::format("`{}` of {}", p.name.text, decl.name.text))) ok = false;
    }
    if (auto n = static_number(v); is_rate && n && !(*n >= 0 && std::isfinite(*n))) {
      ev.error(Code::HyperparameterRange, at, fmt::format("{}: a rate can't be negative, and `lr` is {}", decl.name.text, *n));
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
      if (!a.name.empty() && ev.sources.text(r.condition->span).find(a.name) != std::string_view::npos) { at = a.span; break; }
    ev.error(Code::HyperparameterRange, at, message).label(r.span, "the rule");
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
    error(Code::OptimizerDeclaration, decl.name.span, fmt::format("update of {} takes the parameter and its gradient", decl.name.text)).help("`update(param, grad) { … }`");
    return Poison{};
  }
  for (auto& a : args)
    if (a.value.is_poison()) return Poison{};
  auto opt = std::make_shared<OptimizerInstance>();
  opt->klass = klass;
  opt->span = span;
  auto groups_arg = std::find_if(args.begin(), args.end(), [](auto& a) { return a.name == "groups"; });
  if (groups_arg != args.end()) {
    auto list = groups_arg->value.ptr<SequenceValue>();
    Span at = groups_arg->span;
    if (!list || list->items.empty()) {
      error(Code::OptimizerGroups, at, "groups is a list of records").help("`groups = [{params: net.head, lr: 1e-3}, …]`");
      return Poison{};
    }
    args.erase(groups_arg);
    OptimizerGroup base;
    if (!bind_hyper(*this, *klass, args, 0, span, nullptr, base)) return Poison{};
    for (auto& item : list->items) {
      auto rec = item.ptr<RecordValue>();
      const Value* p = rec ? rec->find("params") : nullptr;
      if (!p) {
        error(Code::OptimizerGroups, item.span.valid() ? item.span : at, "each group is a record with `params`").help("`{params: net.head, lr: 1e-3}`");
        return Poison{};
      }
      OptimizerGroup group;
      group.schedule = base.schedule;
      group.params = params_of(*p);
      std::vector<ArgValue> own;
      for (size_t i = 0; i < rec->names.size(); i++)
        if (rec->names[i] != "params") own.push_back({rec->names[i], rec->items[i].span, rec->items[i], rec->items[i].span, nullptr});
      if (std::any_of(own.begin(), own.end(), [](auto& a) { return a.name == "lr"; })) group.schedule = NoneValue{};
      if (!bind_hyper(*this, *klass, own, 0, span, &base.hyper, group)) return Poison{};
      opt->groups.push_back(std::move(group));
    }
  } else {
    if (args.empty() || !args[0].name.empty()) {
      error(Code::MissingArgument, span, fmt::format("{} needs the layers to train first", decl.name.text)).help(fmt::format("`{}(net, …)`", decl.name.text));
      return Poison{};
    }
    OptimizerGroup group;
    Value what = args[0].value;
    if (!what.ptr<LayerInstance>() && !what.ptr<SequenceValue>() && !what.get<TensorValue>()) {
      error(Code::OptimizerGroups, args[0].span, fmt::format("{} trains layers, but this is {}", decl.name.text, describe(what)))
          .help("an optimizer's first argument is a layer, a list of layers or a parameter");
      return Poison{};
    }
    group.params = params_of(what);
    if (!bind_hyper(*this, *klass, args, 1, span, nullptr, group)) return Poison{};
    opt->groups.push_back(std::move(group));
  }
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
    error(Code::OptimizerGroups, span, fmt::format("there is nothing to train: no parameter was found for {}", decl.name.text));
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
  opt->init_block = &emit(host::Op::scope, span);
  opt->init_step = reserve_step(fmt::format("state of {}", decl.name.text), span);
  return Value(opt, span);
}

// ---------------------------------------------------------------- members

namespace {

Value update_call(BuiltinCall& c) {
  Evaluator& ev = c.ev;
  auto opt = c.arg("self").value.ptr<OptimizerInstance>();
  auto g = c.arg("gradients").value.ptr<GradientValue>();
  if (c.arg("gradients").value.is_poison()) return Poison{};
  if (!g) {
    ev.error(Code::GradTarget, c.arg("gradients").span, fmt::format("update takes the gradients that grad(net) gives, but this is {}", describe(c.arg("gradients").value)));
    return Poison{};
  }
  if (ev.context.tensor_code) {
    ev.error(Code::HostEffectInTensorCode, c.span, "an optimizer can't update inside tensor code");
    return Poison{};
  }
  prepare_rates(ev, *opt, c.span);
  Context saved = ev.context;
  ev.context.tensor_code = true;
  std::vector<Node*> nodes;
  for (auto& t : g->gradients) nodes.push_back(ev.node(t));
  std::vector<std::shared_ptr<ParamCell>> params;
  std::vector<Node*> used;
  auto held = trained_params(*opt);
  for (size_t i = 0; i < g->params.size(); i++)
    if (std::find(held.begin(), held.end(), g->params[i]) != held.end()) {
      params.push_back(g->params[i]);
      used.push_back(nodes[i]);
    }
  if (params.empty()) ev.error(Code::GradTarget, c.span, "the optimizer holds none of the parameters of these gradients");
  else apply_updates(ev, *opt, params, used, c.span);
  ev.context = saved;
  return NoneValue{};
}
const Builtin kUpdate{"update", "self, gradients", update_call, "One update with the given gradients."};

/// partial(f, a, b): f with its first arguments fixed.
Value partial_apply(BuiltinCall& c) {
  auto fixed = c.arg("self").value.ptr<SequenceValue>();
  std::vector<Value> args(fixed->items.begin() + 1, fixed->items.end());
  for (auto& a : c.rest) args.push_back(a.value);
  return c.ev.apply(fixed->items[0], std::move(args), c.span);
}
const Builtin kPartialApply{"partial_apply", "self, *args", partial_apply, ""};

Value partial(BuiltinCall& c) {
  auto seq = std::make_shared<SequenceValue>();
  seq->items.push_back(c.arg("function").value);
  for (auto& a : c.rest) seq->items.push_back(a.value);
  return Value(BoundBuiltin{&kPartialApply, std::make_shared<Value>(Value(seq, c.span))}, c.span);
}

Value clip_norm_call(BuiltinCall& c) {
  Evaluator& ev = c.ev;
  auto limit = c.number("max_norm");
  if (!limit || !(*limit > 0)) {
    if (limit) ev.error(Code::HyperparameterRange, c.arg("max_norm").span, "clip_norm: the norm must be above 0");
    return Poison{};
  }
  const Value& v = c.arg("gradients").value;
  if (auto g = v.ptr<GradientValue>()) {
    std::vector<Node*> nodes;
    for (auto& t : g->gradients) nodes.push_back(ev.node(t));
    clip_by_norm(ev, nodes, *limit, c.span);
    auto out = std::make_shared<GradientValue>(*g);
    for (size_t i = 0; i < nodes.size(); i++) out->gradients[i] = ev.tensor(nodes[i], c.span);
    return Value(out, c.span);
  }
  auto t = c.tensor("gradients");
  if (!t) return Poison{};
  std::vector<Node*> nodes{ev.node(*t)};
  clip_by_norm(ev, nodes, *limit, c.span);
  return Value(ev.tensor(nodes[0], c.span), c.span);
}

Value check_same_shape(BuiltinCall& c) {
  auto a = c.tensor("a"), b = c.tensor("b");
  auto what = c.text("what");
  if (!a || !b || !what) return Poison{};
  if (a->type.shape == b->type.shape) return NoneValue{};
  // A size that is only known later is checked when it is known.
  const auto& x = c.arg("a");
  const auto& y = c.arg("b");
  auto d = c.ev.error(Code::LossShapes, c.span, fmt::format("{}: the input is {}, but the target is {}", *what, a->type.str(), b->type.str()));
  if (x.value.span.valid()) d.label(x.value.span, fmt::format("the input is {}", graph::str(a->type.shape)));
  if (y.value.span.valid()) d.label(y.value.span, fmt::format("the target is {}", graph::str(b->type.shape)));
  auto ends_in_one = [](const graph::Shape& s, const graph::Shape& t) {
    return s.size() == t.size() + 1 && s.back() == graph::Dim(1) && std::equal(t.begin(), t.end(), s.begin());
  };
  if (ends_in_one(a->type.shape, b->type.shape)) d.help("losses never broadcast: drop the last axis of the input with `squeeze(…, -1)`");
  else if (ends_in_one(b->type.shape, a->type.shape)) d.help("losses never broadcast: drop the last axis of the target with `squeeze(…, -1)`");
  else d.help("losses never broadcast: give both the same shape");
  return Poison{};
}

Value check_labels(BuiltinCall& c) {
  auto x = c.tensor("input"), y = c.tensor("target");
  auto what = c.text("what");
  if (!x || !y || !what) return Poison{};
  Evaluator& ev = c.ev;
  Span xs = c.arg("input").value.span, ys = c.arg("target").value.span;
  if (x->type.rank() == 0 || !graph::is_float(x->type.dtype)) {
    ev.error(Code::LossShapes, c.span, fmt::format("{} takes logits [N, C], but the input is {}", *what, x->type.str())).label(xs, "the input");
    return Poison{};
  }
  if (graph::is_float(y->type.dtype)) {
    if (x->type.shape == y->type.shape) return NoneValue{};
    auto d = ev.error(Code::LossShapes, c.span, fmt::format("{}: the input is {}, but the target is {}", *what, x->type.str(), y->type.str()));
    d.label(ys, "a float target holds probabilities, of the input's own shape").help("labels are `class(C)`: cast them, `cast(i64(y), class(C))`");
    return Poison{};
  }
  graph::Dim classes = x->type.rank() == 1 ? x->type.shape[0] : x->type.shape[1];
  graph::Shape want = x->type.shape;
  want.erase(want.begin() + (x->type.rank() == 1 ? 0 : 1));
  if (y->classes && !(*y->classes == classes)) {
    ev.error(Code::HeadAndLabels, c.span, fmt::format("{}: the input has {} classes, but the labels have {}", *what, classes.str(), y->classes->str()))
        .label(xs, fmt::format("is {}", x->type.str()))
        .label(ys, fmt::format("is class({}){}", y->classes->str(), graph::str(y->type.shape)))
        .help(fmt::format("make the last layer give {} features", y->classes->str()));
    return Poison{};
  }
  if (y->type.shape != want) {
    auto d = ev.error(Code::LossShapes, c.span, fmt::format("{}: for logits {} the labels must be {}, but they are {}", *what, graph::str(x->type.shape),
                                                            graph::str(want), graph::str(y->type.shape)));
    d.label(ys, fmt::format("is {}", graph::str(y->type.shape)));
    if (y->type.shape == x->type.shape) d.help("these look like one-hot labels: use the class indices, or floats that are probabilities");
    return Poison{};
  }
  if (!y->classes) {
    ev.error(Code::HeadAndLabels, c.span, fmt::format("{} takes labels of type class({}), but the target is {}", *what, classes.str(), y->type.str()))
        .label(ys, fmt::format("is {}", y->type.str()))
        .help(fmt::format("cast them, which checks their range: `cast(labels, class({}))`", classes.str()));
    return Poison{};
  }
  return NoneValue{};
}

Value is_float_tensor(BuiltinCall& c) {
  auto t = c.tensor("x");
  return Value(t && graph::is_float(t->type.dtype), c.span);
}

bool below(const std::string& path, const std::string& prefix) {
  return path.size() > prefix.size() && path.compare(0, prefix.size(), prefix) == 0 && path[prefix.size()] == '.';
}

}  // namespace

const std::vector<Builtin> kTrainingBuiltins = {
    {"partial", "function, *args", partial, "The function with its first arguments fixed."},
    {"clip_norm", "gradients, max_norm", clip_norm_call, "Scales gradients so that their joint norm is at most max_norm."},
    {"check_same_shape", "a, b, what", check_same_shape, ""},
    {"check_labels", "input, target, what", check_labels, ""},
    {"is_float_tensor", "x", is_float_tensor, ""},
};

std::optional<Value> Evaluator::training_member(const Value& object, const ast::Name& name) {
  if (auto opt = object.ptr<OptimizerInstance>()) {
    if (name.text == "update") return Value(BoundBuiltin{&kUpdate, std::make_shared<Value>(object)}, name.span);
    if (name.text == "lr") {
      if (opt->groups.size() > 1) {
        error(Code::OptimizerGroups, name.span, "this optimizer has several groups, each with its own rate").help("`opt.groups[0].lr`");
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
    error(Code::AssignTarget, span, fmt::format("`{}` of an optimizer can't be set", member.text)).help("its rate `lr` can");
    return true;
  }
  if (opt->groups.size() > 1) {
    error(Code::OptimizerGroups, span, "this optimizer has several groups, each with its own rate").help("`opt.groups[0].lr = …`");
    return true;
  }
  if (!opt->groups[0].schedule.is_none()) {
    error(Code::AssignTarget, span, "the rate follows a schedule, so it can't be set").label(opt->groups[0].schedule.span, "the schedule");
    return true;
  }
  v = to_host(v, span);
  if (v.is_poison()) return true;
  auto n = static_number(v);
  auto* r = v.get<RuntimeValue>();
  bool number = n || (r && (r->type.kind == host::Type::Kind::floating || r->type.kind == host::Type::Kind::integer));
  if (!number || (n && *n < 0)) {
    error(Code::HyperparameterRange, span, number ? std::string("a rate can't be negative") : fmt::format("a rate is a number, but this is {}", describe(v)));
    return true;
  }
  host::Reg from = reg_of(n ? Value(*n, span) : v, span);
  host::Instr& i = emit(host::Op::copy, span);
  i.dst = opt->groups[0].lr;
  i.args = {from};
  return true;
}

}  // namespace nnlc::sema
