// Training: minimize, grad, optimizers and their schedules.
//
// A minimize block is traced into the pending step like any other tensor code; the gradients of its loss are appended
// to the same graph, then each parameter's update, traced from the optimizer's own declaration. So forward, backward
// and update are one compiled step. The order is fixed: gradients from zero, division by the accumulated weight,
// clip_value, clip_norm, update.
#include <fmt/format.h>
#include <algorithm>
#include <cmath>
#include <utility>

#include "compiler/passes/passes.h"
#include "compiler/sema/impl.h"
#include "compiler/sema/training_support.h"

namespace nnlc::sema {
namespace {

using graph::DType;
using graph::Node;
using graph::TensorType;

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
    ev.error(Code::LossNotScalar, span,
             fmt::format("the block of {} must give a loss, but gives {}", what, describe(*first)))
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

/// The number of elements (or the sum of weights) that the loss's outermost mean divided by; 1 if it is no mean. A mean
/// is a sum over a count at one place (`mean(…)`), or in a loss of the library; `sum(x) / 4.0` of a program is none.
Node* loss_weight(Evaluator& ev, Node* loss, Span span) {
  auto is = [](Node* n, std::string_view op) { return graph::find_op(op) == n->op; };
  Node* n = loss;
  while (is(n, "reshape") || is(n, "cast")) n = n->operands[0];
  const DType t = loss->type.dtype;
  if (!is(n, "div") || !is(n->operands[0], "reduce_sum")) return scalar(ev, 1, t, span);
  const bool library = n->span.valid() && ev.sources.file(n->span.file).is_library;
  if (!library && !(n->span == n->operands[0]->span)) return scalar(ev, 1, t, span);
  return graph::cast(ev.graph(), n->operands[1], t, span);
}

struct MinimizeOptions {
  std::optional<double> clip_norm, clip_value;
  int64_t accumulate = 1;
  bool check = true;
};

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

/// Once for each parameter, in one message for those of one layer.
void warn_unreached(Evaluator& ev, const std::vector<ParamCell*>& params, Span span) {
  std::vector<std::pair<const LayerInstance*, std::vector<const ParamCell*>>> groups;
  for (ParamCell* p : params) {
    if (std::exchange(p->used_in_loss, true)) continue;
    const LayerInstance* owner = nullptr;
    for (auto& layer : ev.impl->instances)
      for (auto& [name, cell] : layer->params)
        if (cell.get() == p && !owner) owner = layer.get();
    if (groups.empty() || groups.back().first != owner) groups.push_back({owner, {}});
    groups.back().second.push_back(p);
  }
  for (auto& [owner, cells] : groups) {
    std::string names;
    for (size_t i = 0; i < cells.size(); i++)
      names += (i == 0 ? "`" : i + 1 == cells.size() ? " and `" : ", `") + cells[i]->path + "`";
    const bool one = cells.size() == 1;
    const bool in_library = ev.sources.file(cells[0]->span.file).is_library;
    ev.warning(Code::UnreachedParameter, span,
               fmt::format("no path leads from the parameter{} {} to this loss: {} not trained", one ? "" : "s", names,
                           one ? "it is" : "they are"))
        .label(in_library && owner ? owner->span : cells[0]->span, in_library ? "made here" : "declared here")
        .help("freeze it, or leave it out of the optimizer, if that is meant");
  }
}

/// Differentiates in the pending graph; warns once of each parameter that the loss doesn't reach.
std::vector<Node*> gradients(Evaluator& ev, Node* loss, const std::vector<Node*>& wrt,
                             const std::vector<std::shared_ptr<ParamCell>>& params, Span span) {
  std::vector<Node*> grads = passes::differentiate(ev.graph(), loss, wrt, ev.diags);
  std::vector<ParamCell*> unreached;
  for (size_t i = 0; i < params.size(); i++) {
    if (grads[i])
      params[i]->used_in_loss = true;
    else
      unreached.push_back(params[i].get());
  }
  warn_unreached(ev, unreached, span);
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

bool read_options(Evaluator& ev, const ast::BlockCallExpr& e, const std::shared_ptr<Scope>& scope, Value& optimizer,
                  MinimizeOptions& o) {
  bool ok = true;
  bool have = false;
  for (auto& a : e.args) {
    if (!a.name) {
      if (have) {
        ev.error(Code::MinimizeArguments, a.span, "minimize takes one optimizer")
            .help("one optimizer can hold several networks: `Adam([encoder, decoder])`");
        ok = false;
        continue;
      }
      optimizer = ev.eval(*a.value, scope);
      have = true;
      continue;
    }
    Value v = ev.eval(*a.value, scope);
    if (v.is_poison()) {
      ok = false;
      continue;
    }
    const std::string& n = a.name->text;
    auto number = static_number(v);
    auto positive = [&](std::optional<double>& into) {
      if (number && *number > 0 && std::isfinite(*number)) {
        into = *number;
        return;
      }
      ev.error(Code::MinimizeArguments, a.span,
               fmt::format("{} must be a number above 0 that is known when compiling", n));
      ok = false;
    };
    if (n == "clip_norm")
      positive(o.clip_norm);
    else if (n == "clip_value")
      positive(o.clip_value);
    else if (n == "accumulate") {
      auto* d = v.get<graph::Dim>();
      if (d && d->is_constant() && d->value() >= 1)
        o.accumulate = d->value();
      else {
        ev.error(Code::MinimizeArguments, a.span,
                 "accumulate must be an int of at least 1 that is known when compiling");
        ok = false;
      }
    } else if (n == "check") {
      if (auto* b = v.get<bool>())
        o.check = *b;
      else {
        ev.error(Code::MinimizeArguments, a.span, "check is true or false");
        ok = false;
      }
    } else {
      std::vector<std::string> names = {"clip_norm", "clip_value", "accumulate", "check"};
      auto d = ev.error(Code::UnknownArgument, a.name->span, fmt::format("minimize has no option `{}`", n));
      if (auto near = nearest(n, names))
        d.help(fmt::format("did you mean `{}`?", *near));
      else
        d.help("its options are clip_norm, clip_value, accumulate and check");
      ok = false;
    }
  }
  if (!have) {
    ev.error(Code::MinimizeArguments, e.name_span, "minimize needs an optimizer")
        .help("`minimize(opt) { … }` with `let opt = Adam(net)`");
    return false;
  }
  return ok;
}

/// An open accumulation window: belongs to one minimize statement.
void accumulate_step(Evaluator& ev, OptimizerInstance& opt, const ast::BlockCallExpr& e,
                     const std::vector<std::shared_ptr<ParamCell>>& params, const std::vector<Node*>& grads,
                     Node* weight, const std::function<void()>& check, const MinimizeOptions& o) {
  Span span = e.name_span;
  graph::Graph& g = ev.graph();
  Accumulation& window = opt.windows[&e];
  TensorType weight_type = weight->type;
  auto sum_of = [&window](const std::shared_ptr<ParamCell>& p) {
    for (auto& [cell, reg] : window.sums)
      if (cell == p) return reg;
    return host::kNoReg;
  };
  if (window.count == host::kNoReg) {
    window.count = ev.new_reg(int_type());
    window.weight = ev.new_reg(tensor_type(weight_type));
    ev.in_step(opt.init_step, [&] {
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
    if (sum_of(params[i]) == host::kNoReg) {
      window.sums.emplace_back(params[i], ev.new_reg(tensor_type(params[i]->type)));
      ev.in_step(opt.init_step, [&] {
        ev.write_back(window.sums.back().second,
                      ev.tensor(graph::constant(ev.graph(), 0, params[i]->type, span), span));
      });
    }
    const host::Reg reg = sum_of(params[i]);
    Node* sum = ev.node(ev.read_persistent(reg, params[i]->type, span));
    ev.write_back(reg, ev.tensor(graph::binary(g, "add", sum, times_scalar(ev, grads[i], weight, span), span), span));
  }
  Node* total = ev.node(ev.read_persistent(window.weight, weight_type, span));
  ev.write_back(window.weight, ev.tensor(graph::binary(g, "add", total, weight, span), span));
  check();
  if (ev.context.dry) return;
  ev.flush();

  // Also called when the loop ends, so nothing of this call is captured by reference.
  OptimizerInstance* optimizer = &opt;
  Evaluator* evaluator = &ev;
  const ast::BlockCallExpr* site = &e;
  auto binary = [evaluator, span](const char* op, host::Reg a, int64_t b, const host::Type& type) {
    Evaluator& ev = *evaluator;
    host::Reg rhs = ev.reg_of(Value(graph::Dim(b)), span);
    host::Reg dst = ev.new_reg(type);
    host::Instr& i = ev.emit(host::Op::binary, span);
    i.name = op;
    i.dst = dst;
    i.args = {a, rhs};
    return dst;
  };
  host::Type bool_type{.kind = host::Type::Kind::boolean, .tensor = {}, .classes = 0, .items = {}, .names = {}};
  // Divides, clips, updates and empties the window, where `condition` holds.
  auto close = [=](host::Reg condition) {
    Evaluator& ev = *evaluator;
    Accumulation& window = optimizer->windows[site];
    host::Instr& branch = ev.emit(host::Op::if_, span);
    branch.args = {condition};
    ev.begin_block(branch.then_block);
    {
      prepare_rates(ev, *optimizer, span);
      Context saved = ev.context;
      ev.context.tensor_code = true;
      Node* total = ev.node(ev.read_persistent(window.weight, weight_type, span));
      const auto trained = trained_params(*optimizer);
      std::vector<std::shared_ptr<ParamCell>> reached;
      std::vector<Node*> mean;
      for (auto& [p, reg] : window.sums) {
        if (std::find(trained.begin(), trained.end(), p) != trained.end()) {
          Node* sum = ev.node(ev.read_persistent(reg, p->type, span));
          Node* d = graph::cast(ev.graph(), total, p->type.dtype, span);
          mean.push_back(
              graph::binary(ev.graph(), "div", sum, graph::broadcast_to(ev.graph(), d, p->type.shape, span), span));
          reached.push_back(p);
        }
        ev.write_back(reg, ev.tensor(graph::constant(ev.graph(), 0, p->type, span), span));
      }
      ev.write_back(window.weight, ev.tensor(graph::constant(ev.graph(), 0, weight_type, span), span));
      clip(ev, mean, o, span);
      apply_updates(ev, *optimizer, reached, mean, span);
      ev.context = saved;
      ev.flush();
      host::Reg zero = ev.reg_of(Value(graph::Dim(0)), span);
      host::Instr& i = ev.emit(host::Op::copy, span);
      i.dst = window.count;
      i.args = {zero};
    }
    ev.end_block();
  };
  const host::Reg counted = binary("+", window.count, 1, int_type());
  host::Instr& count = ev.emit(host::Op::copy, span);
  count.dst = window.count;
  count.args = {counted};
  close(binary(">=", window.count, o.accumulate, bool_type));
  if (!ev.loop_end_actions.empty()) {
    // The window also closes where the innermost loop ends; registered once for all variants of the loop's body.
    if (std::find(window.loops.begin(), window.loops.end(), ev.loop_end_actions.size()) == window.loops.end()) {
      window.loops.push_back(ev.loop_end_actions.size());
      size_t depth = ev.loop_end_actions.size();
      ev.loop_end_actions.back().push_back([=] {
        optimizer->windows[site].loops.erase(
            std::remove(optimizer->windows[site].loops.begin(), optimizer->windows[site].loops.end(), depth),
            optimizer->windows[site].loops.end());
        for_each_freezing(*evaluator, span, [&] {
          close(binary(">", optimizer->windows[site].count, 0, bool_type));
          return Value(NoneValue{});
        });
      });
    }
  } else {
    close(binary(">", window.count, 0, bool_type));
  }
}

/// The tensors that the block gives, with the names that they have there; the loss first.
std::vector<std::pair<std::string, std::shared_ptr<TensorCell>>> results_of(const ast::Block& body,
                                                                            const Value& result) {
  std::vector<std::pair<std::string, std::shared_ptr<TensorCell>>> out;
  auto add = [&](std::string name, const Value& v) {
    if (auto* t = v.get<TensorValue>(); t && t->cell) out.emplace_back(std::move(name), t->cell);
  };
  auto tuple = result.ptr<SequenceValue>();
  if (!tuple) {
    add("loss", result);
    return out;
  }
  const ast::TupleExpr* written = nullptr;
  if (auto* last = body.stmts.empty() ? nullptr : ast::dyn<ast::ExprStmt>(body.stmts.back().get()))
    written = ast::dyn<ast::TupleExpr>(last->value.get());
  for (size_t i = 0; i < tuple->items.size(); i++) {
    auto* name = written && i < written->items.size() ? ast::dyn<ast::NameExpr>(written->items[i].get()) : nullptr;
    add(i == 0 ? "loss" : name ? name->name : fmt::format("result{}", i), tuple->items[i]);
  }
  return out;
}

}  // namespace

namespace {

/// The window of `accumulate` belongs to one statement: another that updates the same optimizer while it is open would
/// use half of a gradient. Statements in branches may take turns, so there the window is looked at when they run.
bool check_windows(Evaluator& ev, OptimizerInstance& opt, const ast::BlockCallExpr& e, const MinimizeOptions& o) {
  auto& loops = ev.impl->minimize_sites;
  if (ev.context.dry || loops.empty()) return true;
  const LoopTarget* loop = ev.impl->loops.empty() ? nullptr : ev.impl->loops.back();
  const bool conditional = loop && ev.impl->runtime_depth > loop->runtime_depth;
  for (size_t i = 0; i < loops.size(); ++i)
    for (auto& s : loops[i]) {
      const bool mine_is_open = o.accumulate > 1 && i + 1 == loops.size();
      if (s.optimizer != &opt || s.statement == &e || (!s.accumulates && !mine_is_open)) continue;
      if (!conditional && !s.conditional) {
        ev.error(Code::MinimizeArguments, e.name_span,
                 "this updates an optimizer whose gradients another `minimize` is accumulating")
            .label(s.statement->name_span, s.accumulates ? "its window is open until the loop ends"
                                                         : "this one would be run inside of the open window")
            .help("one `minimize` can hold both: the sum of the losses, or a tuple");
        return false;
      }
      if (!s.accumulates || opt.windows[s.statement].count == host::kNoReg) continue;
      host::Type truth{.kind = host::Type::Kind::boolean, .tensor = {}, .classes = 0, .items = {}, .names = {}};
      ev.flush();
      host::Reg none = ev.reg_of(Value(graph::Dim(0)), e.name_span), closed = ev.new_reg(truth);
      host::Reg text =
          ev.reg_of(Value(std::string("another `minimize` is accumulating gradients for this optimizer")), e.name_span);
      host::Instr& compare = ev.emit(host::Op::binary, e.name_span);
      compare.name = "==";
      compare.dst = closed;
      compare.args = {opt.windows[s.statement].count, none};
      ev.emit(host::Op::assert_, e.name_span).args = {closed, text};
    }
  auto& mine = loops.back();
  if (std::none_of(mine.begin(), mine.end(), [&](auto& s) { return s.statement == &e && s.optimizer == &opt; }))
    mine.push_back({&opt, &e, o.accumulate > 1, conditional});
  return true;
}

}  // namespace

Value Evaluator::eval_minimize(const ast::BlockCallExpr& e, const std::shared_ptr<Scope>& scope) {
  Span span = e.name_span;
  if (context.tensor_code) {
    error(Code::HostEffectInTensorCode, span, "minimize stands inside tensor code")
        .help("call it at top level, in a loop, or in a fn called from there");
    return Poison{};
  }
  if (!impl->freezing_known && !impl->freeze_units.empty() && !context.dry)
    return for_each_freezing(*this, span, [&] { return eval_minimize(e, scope); });
  Value optimizer;
  MinimizeOptions o;
  bool ok = read_options(*this, e, scope, optimizer, o);
  auto opt = optimizer.ptr<OptimizerInstance>();
  if (ok && !opt && !optimizer.is_poison()) {
    auto d = error(Code::MinimizeArguments, e.args.empty() ? span : e.args[0].span,
                   fmt::format("minimize takes an optimizer, but this is {}", describe(optimizer)));
    d.help("make one first: `let opt = Adam(net)`, then `minimize(opt) { … }`");
  }
  if (!ok || !opt || !check_windows(*this, *opt, e, o)) return Poison{};

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
      size_t before = diags.error_count();
      {
        DryRun trial(*this);
        context.training = true;
        eval_block(e.body, std::make_shared<Scope>(scope));
      }
      if (diags.error_count() > before) return Poison{};
      params = trained_params(*opt);
      for (auto& p : params)
        if (p->reg == host::kNoReg) {
          error(Code::GradTarget, span, fmt::format("the sizes of the parameter `{}` are not known yet", p->path))
              .label(p->span, "this layer")
              .help("nothing calls the layer before or in this block: write its sizes instead of `_`, or call it");
          return Poison{};
        }
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
    if (!context.dry) impl->minimized.push_back({span, results_of(e.body, result), o.accumulate > 1, "minimize"});
  }
  return result;
}

Value Evaluator::eval_grad(const ast::BlockCallExpr& e, const std::shared_ptr<Scope>& scope) {
  Span span = e.name_span;
  if (e.args.empty()) {
    error(Code::GradTarget, span, "grad needs what to differentiate by").help("`grad(net) { … }` or `grad(x) { … }`");
    return Poison{};
  }
  if (!impl->freezing_known && !impl->freeze_units.empty() && !context.dry && !context.tensor_code)
    return for_each_freezing(*this, span, [&] { return eval_grad(e, scope); });
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
        error(Code::GradTarget, a.span,
              fmt::format("grad differentiates by float tensors, but this is {}", x->type.str()))
            .help("cast it: `f32(…)`");
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
      } else if (x->param && x->param->reg != host::kNoReg) {
        leaves.back()[x->param->reg] = leaf;  // a parameter by its path: `grad(net.fc.weight)`
      } else {
        error(Code::GradTarget, a.span, "grad differentiates by a layer or by a variable, and this is neither")
            .help("give the value a name with `let`, and use the name in the block");
        return Poison{};
      }
    } else if (v.ptr<LayerInstance>() || v.ptr<SequenceValue>()) {
      t.is_layer = true;
      t.params = params_of(v);
      t.like = v;
      if (!std::all_of(t.params.begin(), t.params.end(), [](auto& p) { return p->reg != host::kNoReg; })) {
        error(Code::GradTarget, a.span, "the sizes of this layer are not known yet")
            .help("call it once before, or write its sizes instead of `_`");
        return Poison{};
      }
      t.nodes = make_leaves(*this, t.params, span);
    } else {
      error(Code::GradTarget, a.span,
            fmt::format("grad differentiates by layers and tensors, but this is {}", describe(v)));
      return Poison{};
    }
    targets.push_back(std::move(t));
  }
  Value result = eval_block(e.body, inner);
  const TensorValue* loss = find_loss(*this, result, span, "grad");
  if (!loss) return Poison{};
  std::vector<Node*> wrt;
  std::vector<std::shared_ptr<ParamCell>> cells;  // per gradient; null: a tensor's
  for (auto& t : targets) {
    wrt.insert(wrt.end(), t.nodes.begin(), t.nodes.end());
    if (t.is_layer)
      cells.insert(cells.end(), t.params.begin(), t.params.end());
    else
      cells.emplace_back();
  }
  size_t errors = diags.error_count();
  std::vector<Node*> grads = passes::differentiate(graph(), node(*loss), wrt, diags);
  if (diags.error_count() > errors) return Poison{};
  // Frozen and unreached: zero.
  for (size_t i = 0; i < grads.size(); i++) {
    const bool frozen = cells[i] && cells[i]->frozen;
    if (!grads[i] && cells[i] && !frozen) warn_unreached(*this, {cells[i].get()}, span);
    if (cells[i]) cells[i]->used_in_loss = true;
    if (!grads[i] || frozen) grads[i] = graph::constant(graph(), 0, wrt[i]->type, span);
  }
  std::vector<Value> parts;
  size_t k = 0;
  for (auto& t : targets) {
    if (t.is_layer) {
      auto g = std::make_shared<GradientValue>();
      g->params = t.params;
      g->results = results_of(e.body, result);
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

}  // namespace nnlc::sema
