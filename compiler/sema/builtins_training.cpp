// Builtins of training: what the standard library's losses, schedules and optimizers need beyond NNL itself.
#include <fmt/format.h>
#include <algorithm>
#include <cmath>

#include "compiler/sema/builtins.h"
#include "compiler/sema/impl.h"
#include "compiler/sema/tensor_support.h"
#include "compiler/sema/training_support.h"

namespace nnlc::sema {

using graph::Node;

namespace {

Value update_call(BuiltinCall& c) {
  Evaluator& ev = c.ev;
  if (!ev.impl->freezing_known && !ev.impl->freeze_units.empty() && !ev.context.dry && !ev.context.tensor_code)
    return for_each_freezing(ev, c.span, [&] { return update_call(c); });
  auto opt = c.arg("self").value.ptr<OptimizerInstance>();
  auto g = c.arg("gradients").value.ptr<GradientValue>();
  if (c.arg("gradients").value.is_poison()) return Poison{};
  if (!g) {
    ev.error(Code::GradTarget, c.arg("gradients").span,
             fmt::format("update takes the gradients that grad(net) gives, but this is {}",
                         describe(c.arg("gradients").value)));
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
  if (params.empty())
    ev.error(Code::GradTarget, c.span, "the optimizer holds none of the parameters of these gradients");
  else
    apply_updates(ev, *opt, params, used, c.span);
  ev.context = saved;
  if (!ev.context.dry) ev.impl->minimized.push_back({c.span, g->results, false, "update"});
  return NoneValue{};
}
}  // namespace

extern const Builtin kUpdate{"update", "self, gradients", update_call, "One update with the given gradients."};

namespace {

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
  const auto& x = c.arg("a");
  const auto& y = c.arg("b");
  if (a->type.shape == b->type.shape) {
    auto exact = c.boolean("same_type");
    if (!exact || !*exact || (a->type.dtype == b->type.dtype && graph::is_float(a->type.dtype))) return NoneValue{};
    auto d = c.ev.error(Code::DTypeMismatch, c.span,
                        fmt::format("{} takes floats of one type, but the input is {} and the target is {}", *what,
                                    type_text(*a), type_text(*b)));
    if (x.value.span.valid()) d.label(x.value.span, fmt::format("is {}", type_text(*a)));
    if (y.value.span.valid()) d.label(y.value.span, fmt::format("is {}", type_text(*b)));
    const graph::DType to = graph::is_float(a->type.dtype) ? a->type.dtype : graph::DType::f32;
    d.help(fmt::format("`{}(…)` converts", graph::name(to)));
    return Poison{};
  }
  auto d = c.ev.error(Code::LossShapes, c.span,
                      fmt::format("{}: the input is {}, but the target is {}", *what, type_text(*a), type_text(*b)));
  if (x.value.span.valid()) d.label(x.value.span, fmt::format("the input is {}", graph::str(a->type.shape)));
  if (y.value.span.valid()) d.label(y.value.span, fmt::format("the target is {}", graph::str(b->type.shape)));
  auto ends_in_one = [](const graph::Shape& s, const graph::Shape& t) {
    return s.size() == t.size() + 1 && s.back() == graph::Dim(1) && std::equal(t.begin(), t.end(), s.begin());
  };
  if (b->classes)
    d.help("labels are for `cross_entropy`; `one_hot(labels, dtype = f32)` makes vectors of them");
  else if (ends_in_one(a->type.shape, b->type.shape))
    d.help("losses never broadcast: drop the last axis of the input with `squeeze(…, -1)`");
  else if (ends_in_one(b->type.shape, a->type.shape))
    d.help("losses never broadcast: drop the last axis of the target with `squeeze(…, -1)`");
  else
    d.help("losses never broadcast: give both the same shape");
  return Poison{};
}

Value check_log_probabilities(BuiltinCall& c) {
  auto x = c.tensor("input");
  auto what = c.text("what");
  if (!x || !what) return Poison{};
  if (x->kind != ValueKind::probabilities) return NoneValue{};
  c.ev.error(Code::WrongKind, c.span, fmt::format("{} takes log-probabilities, but its input is probabilities", *what))
      .label(x->kind_at, "gives probabilities")
      .help("`log_softmax` in the place of softmax gives what it takes; `cross_entropy` takes the logits");
  return Poison{};
}

Value check_labels(BuiltinCall& c) {
  auto x = c.tensor("input"), y = c.tensor("target");
  auto what = c.text("what");
  if (!x || !y || !what) return Poison{};
  Evaluator& ev = c.ev;
  Span xs = c.arg("input").value.span, ys = c.arg("target").value.span;
  if (x->type.rank() == 0 || !graph::is_float(x->type.dtype)) {
    ev.error(Code::LossShapes, c.span, fmt::format("{} takes logits [N, C], but the input is {}", *what, x->type.str()))
        .label(xs, "the input");
    return Poison{};
  }
  if (graph::is_float(y->type.dtype)) {
    if (x->type.shape == y->type.shape) return NoneValue{};
    auto d = ev.error(Code::LossShapes, c.span,
                      fmt::format("{}: the input is {}, but the target is {}", *what, x->type.str(), y->type.str()));
    d.label(ys, "a float target holds probabilities, of the input's own shape")
        .help("labels are `class(C)`: cast them, `cast(i64(y), class(C))`");
    return Poison{};
  }
  graph::Dim classes = x->type.rank() == 1 ? x->type.shape[0] : x->type.shape[1];
  graph::Shape want = x->type.shape;
  want.erase(want.begin() + (x->type.rank() == 1 ? 0 : 1));
  if (y->classes && !(*y->classes == classes)) {
    ev.error(
          Code::HeadAndLabels, c.span,
          fmt::format("{}: the input has {} classes, but the labels have {}", *what, classes.str(), y->classes->str()))
        .label(xs, fmt::format("is {}", x->type.str()))
        .label(ys, fmt::format("is class({}){}", y->classes->str(), graph::str(y->type.shape)))
        .help(fmt::format("make the last layer give {} features", y->classes->str()));
    return Poison{};
  }
  if (y->type.shape != want) {
    auto d = ev.error(Code::LossShapes, c.span,
                      fmt::format("{}: for logits {} the labels must be {}, but they are {}", *what,
                                  graph::str(x->type.shape), graph::str(want), graph::str(y->type.shape)));
    d.label(ys, fmt::format("is {}", graph::str(y->type.shape)));
    if (y->type.shape == x->type.shape)
      d.help("these look like one-hot labels: use the class indices, or floats that are probabilities");
    return Poison{};
  }
  if (!y->classes && y->adapts && classes.is_constant()) {
    const Dim* ignored = c.given("ignore_index") ? c.arg("ignore_index").value.get<Dim>() : nullptr;
    y->adapts->narrow(classes.value(),
                      ignored && ignored->is_constant() ? std::optional(ignored->value()) : std::nullopt);
    return NoneValue{};
  }
  if (!y->classes) {
    ev.error(
          Code::HeadAndLabels, c.span,
          fmt::format("{} takes labels of type class({}), but the target is {}", *what, classes.str(), y->type.str()))
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

}  // namespace

const std::vector<Builtin> kTrainingBuiltins = {
    {"partial", "function, *args", partial, "The function with its first arguments fixed."},
    {"clip_norm", "gradients, max_norm", clip_norm_call,
     "Scales gradients so that their joint norm is at most max_norm."},
    {"check_same_shape", "a, b, what, same_type = true", check_same_shape, ""},
    {"check_labels", "input, target, what, ignore_index = None", check_labels, ""},
    {"check_log_probabilities", "input, what", check_log_probabilities, ""},
    {"is_float_tensor", "x", is_float_tensor, ""},
};

}  // namespace nnlc::sema
