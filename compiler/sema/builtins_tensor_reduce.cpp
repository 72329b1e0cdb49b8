// Reductions, softmax and its kin, sorting, accuracy.
#include <algorithm>
#include <cmath>
#include <limits>

#include "compiler/sema/tensor_support.h"

namespace nnlc::sema {
namespace {

Value made(BuiltinCall& c, Node* n) { return Value(c.ev.tensor(n, c.span), c.span); }

/// x, its axes and `keep`, as every reduction takes them.
struct Reduction {
  TensorValue x;
  Node* node = nullptr;
  IntList axes;
  bool keep = false;
};
std::optional<Reduction> reduction(BuiltinCall& c) {
  Reduction r;
  auto x = c.tensor("x");
  if (!x) return std::nullopt;
  auto axes = c.axes("axis", x->type.rank());
  auto keep = c.boolean("keep");
  if (!axes || !keep) return std::nullopt;
  r.x = std::move(*x);
  r.axes = std::move(*axes);
  std::sort(r.axes.begin(), r.axes.end());
  if (std::adjacent_find(r.axes.begin(), r.axes.end()) != r.axes.end()) {
    c.ev.error(Code::AxisOutOfRange, c.arg("axis").span, "an axis is named twice");
    return std::nullopt;
  }
  r.keep = *keep;
  r.node = c.ev.node(r.x);
  return r;
}
Node* reduced(BuiltinCall& c, const Reduction& r, std::string_view op, Node* x) {
  return r.axes.empty() ? x : graph::reduce(c.ev.graph(), op, x, r.axes, c.span);
}
Value finish(BuiltinCall& c, const Reduction& r, Node* n) {
  return made(c, r.keep ? keep_axes(c.ev, n, r.x.type.shape, r.axes, c.span) : n);
}
/// How many elements one result is made of, as a number; 1 while sizes are symbols.
double count_of(const Reduction& r) {
  Dim n(1);
  for (int64_t a : r.axes) n = n * r.x.type.shape[static_cast<size_t>(a)];
  return n.is_constant() ? static_cast<double>(n.value()) : 1;
}
Node* divided(BuiltinCall& c, Node* x, double by) {
  return graph::binary(c.ev.graph(), "div", x, fill(c.ev, by, x->type, c.span), c.span);
}

/// mean, sum, max, min, prod of numbers: a list, or max(a, b).
std::optional<Value> over_host(BuiltinCall& c) {
  const std::string_view f = c.builtin.name;
  std::vector<std::pair<Value, Span>> items;
  const bool extremum = f == "max" || f == "min";
  const ArgValue& x = c.arg("x");
  // In host code a tensor of rank 0 is a number that waits to be read back.
  auto number = [&](const Value& v, Span at) {
    auto* t = v.get<TensorValue>();
    return extremum && t && t->type.rank() == 0 && !c.ev.context.tensor_code ? c.ev.to_host(v, at) : v;
  };
  const Value first = c.given("axis") ? number(x.value, x.span) : x.value;
  if (const SequenceValue* s = sequence(first)) {
    for (const Value& v : s->items) items.push_back({number(v, x.span), x.span});
    if (items.empty() && (extremum || f == "mean")) {
      c.ev.error(Code::ArgumentOutOfRange, x.span, std::string(f) + " of an empty list");
      return Value();
    }
  } else if (is_host_number(first)) {
    items.push_back({first, x.span});
    if (extremum)
      for (std::string_view more : {"axis", "keep"})
        if (c.given(more)) items.push_back({number(c.arg(more).value, c.arg(more).span), c.arg(more).span});
  } else {
    return std::nullopt;
  }
  auto binary = [&](ast::BinaryOp op, const Value& a, const Value& b) {
    return c.ev.binary(op, a, b, c.span, c.span, c.span);
  };
  if (extremum) {
    Value best = items[0].first;
    for (size_t i = 1; i < items.size(); ++i) {
      const Value& v = items[i].first;
      if (best.is_poison() || v.is_poison()) return Value();
      if (best.get<TensorValue>() || v.get<TensorValue>()) {
        c.ev.error(Code::NotATensor, c.span, std::string(f) + "(a, b) is for numbers")
            .help(f == "max" ? "`maximum(a, b)` takes tensors" : "`minimum(a, b)` takes tensors");
        return Value();
      }
      const Value less = binary(ast::BinaryOp::lt, f == "max" ? best : v, f == "max" ? v : best);
      if (less.is_poison()) return Value();
      if (const bool* known = less.get<bool>()) {
        if (*known) best = v;
        continue;
      }
      // Known when it runs: a host function of two numbers.
      const bool is_float = !is_int_value(best) || !is_int_value(v);
      host::Type t;
      t.kind = is_float ? host::Type::Kind::floating : host::Type::Kind::integer;
      const host::Reg ra = c.ev.reg_of(best, c.span), rb = c.ev.reg_of(v, c.span), dst = c.ev.new_reg(t);
      host::Instr& instr = c.ev.emit_pure(host::Op::call, c.span);
      instr.name = std::string(f);
      instr.args = {ra, rb};
      instr.dst = dst;
      best = Value(RuntimeValue{dst, t}, c.span);
    }
    return best;
  }
  const bool product = f == "prod";
  Value total = Value(Dim(product ? 1 : 0), c.span);
  for (auto& [v, at] : items) {
    if (!is_host_number(v) && !v.get<TensorValue>()) {
      if (!v.is_poison())
        c.ev.error(Code::BadOperands, at, std::string(f) + " needs numbers, but the list holds " + describe(v));
      return Value();
    }
    const Value number = v.get<bool>() ? Value(Dim(*v.get<bool>() ? 1 : 0), c.span) : v;
    total = binary(product ? ast::BinaryOp::mul : ast::BinaryOp::add, total, number);
    if (total.is_poison()) return Value();
  }
  if (f == "mean")
    total = binary(ast::BinaryOp::div, binary(ast::BinaryOp::mul, total, Value(1.0, c.span)),
                   Value(static_cast<double>(items.size()), c.span));
  return total;
}

bool is_tensor_pair(BuiltinCall& c) {
  if (!c.arg("axis").value.get<TensorValue>()) return false;
  const bool is_max = c.builtin.name == "max";
  c.ev.error(Code::NotATensor, c.span, std::string(c.builtin.name) + " of two tensors isn't a reduction")
      .help(is_max ? "`maximum(a, b)` takes the larger of each two elements"
                   : "`minimum(a, b)` takes the smaller of each two elements");
  return true;
}

Value simple(BuiltinCall& c) {
  const std::string f(c.builtin.name);
  if (c.arg("x").value.is_poison()) return {};
  if (auto v = over_host(c)) return *v;
  if ((f == "max" || f == "min") && is_tensor_pair(c)) return {};
  auto r = reduction(c);
  if (!r) return {};
  graph::Graph& g = c.ev.graph();
  const Span at = c.arg("x").span;
  if (r->x.classes && (f == "sum" || f == "prod" || f == "mean")) {
    need_number(c.ev, r->x, at, f);
    return {};
  }
  Node* n = r->node;
  if (f == "mean") {
    if (!graph::is_float(r->x.type.dtype)) {
      c.ev.error(Code::NeedsFloat, at, "mean needs floats, but this is " + type_text(r->x))
          .help("`mean(f32(" + source_text(c.ev, at, "x") + "))`, or `sum`, which counts");
      return {};
    }
    return finish(c, *r, divided(c, reduced(c, *r, "sum", n), count_of(*r)));
  }
  if ((f == "sum" || f == "prod") && !graph::is_float(n->type.dtype) && n->type.dtype != DType::i64)
    n = graph::cast(g, n, DType::i64, c.span);
  if (f == "max" || f == "min") {
    for (int64_t a : r->axes)
      if (r->x.type.shape[static_cast<size_t>(a)] == Dim(0)) {
        c.ev.error(Code::BadSize, c.span, f + " over an axis of size 0").label(at, "is " + type_text(r->x));
        return {};
      }
    if (n->type.dtype == DType::boolean) {
      c.ev.error(Code::DTypeMismatch, at, f + " is for numbers, but this is " + type_text(r->x))
          .help(f == "max" ? "`any(x)`" : "`all(x)`");
      return {};
    }
  }
  Value v = finish(c, *r, reduced(c, *r, f, n));
  if ((f == "max" || f == "min") && v.get<TensorValue>()) {
    v.get<TensorValue>()->classes = r->x.classes;
    v.get<TensorValue>()->may_be_missing = r->x.may_be_missing;
  }
  return v;
}

Value any_all(BuiltinCall& c) {
  const bool any = c.builtin.name == "any";
  if (const SequenceValue* s = sequence(c.arg("x").value)) {
    Value r(!any, c.span);
    for (const Value& v : s->items)
      r = c.ev.binary(any ? ast::BinaryOp::or_ : ast::BinaryOp::and_, r, v, c.span, c.arg("x").span, c.arg("x").span);
    return r;
  }
  auto r = reduction(c);
  if (!r) return {};
  if (r->x.type.dtype != DType::boolean) {
    c.ev.error(Code::DTypeMismatch, c.arg("x").span,
               std::string(c.builtin.name) + " needs bools, but this is " + type_text(r->x))
        .help("compare: `x != 0`");
    return {};
  }
  graph::Graph& g = c.ev.graph();
  Node* x = any ? r->node : graph::unary(g, "not", r->node, c.span);
  Node* count = reduced(c, *r, "sum", graph::cast(g, x, DType::i64, c.span));
  Node* none = graph::binary(g, "eq", count, like(c.ev, count, 0), c.span);
  return finish(c, *r, any ? graph::unary(g, "not", none, c.span) : none);
}

Value arg_extremum(BuiltinCall& c) {
  auto x = c.tensor("x");
  auto keep = c.boolean("keep");
  if (!x || !keep) return {};
  const std::string f(c.builtin.name);
  if (!need_number(c.ev, *x, c.arg("x").span, f)) return {};
  Node* n = c.ev.node(*x);
  int64_t axis = 0;
  const bool flat = !c.given("axis");
  if (flat) {
    n = reshape_node(c.ev, n, {graph::element_count(x->type.shape)}, c.span);
  } else {
    auto a = c.axis("axis", x->type.rank());
    if (!a) return {};
    axis = *a;
  }
  const Dim classes = n->type.shape[static_cast<size_t>(axis)];
  if (classes == Dim(0)) {
    c.ev.error(Code::BadSize, c.span, f + " over an axis of size 0");
    return {};
  }
  Node* place = graph::cast(c.ev.graph(), argmax_node(c.ev, n, axis, f == "argmax", c.span), DType::i32, c.span);
  if (*keep) {
    if (flat)
      place = graph::reshape(c.ev.graph(), place, Shape(x->type.rank(), Dim(1)), c.span);
    else
      place = keep_axes(c.ev, place, x->type.shape, {axis}, c.span);
  }
  TensorValue r = c.ev.tensor(place, c.span);
  r.classes = classes;
  return Value(std::move(r), c.span);
}

/// The variance's node with the axes removed; two passes, so that a large mean costs no precision.
Node* variance(BuiltinCall& c, const Reduction& r, double correction) {
  graph::Graph& g = c.ev.graph();
  Node* m = divided(c, reduced(c, r, "sum", r.node), count_of(r));
  Node* d = r.axes.empty()
                ? graph::binary(g, "sub", r.node, m, c.span)
                : graph::binary(g, "sub", r.node, broadcast_reduced(c.ev, m, r.x.type.shape, r.axes, c.span), c.span);
  Node* total = reduced(c, r, "sum", graph::binary(g, "mul", d, d, c.span));
  return divided(c, total, std::max(0.0, count_of(r) - correction));
}

Value var_std(BuiltinCall& c) {
  auto r = reduction(c);
  auto correction = c.number("correction");
  if (!r || !correction || !need_float(c.ev, r->x, c.arg("x").span, std::string(c.builtin.name))) return {};
  if (c.given("unbiased")) {
    c.ev.error(Code::ArgumentOutOfRange, c.arg("unbiased").span, "`unbiased` is written as `correction`")
        .help("`correction = 1` is unbiased (the default), `correction = 0` divides by the number of elements");
    return {};
  }
  Node* v = variance(c, *r, *correction);
  if (c.builtin.name == "std") v = graph::unary(c.ev.graph(), "sqrt", v, c.span);
  return finish(c, *r, v);
}

Value norm(BuiltinCall& c) {
  auto r = reduction(c);
  if (!r || !need_float(c.ev, r->x, c.arg("x").span, "norm")) return {};
  double p = 2;
  if (const auto* s = c.arg("p").value.get<std::string>()) {
    if (*s != "fro") {
      c.ev.error(Code::ArgumentOutOfRange, c.arg("p").span, "norm has no kind \"" + *s + "\"")
          .help("a number, or \"fro\"");
      return {};
    }
  } else {
    auto number = c.number("p");
    if (!number) return {};
    p = *number;
  }
  if (p < 0) {
    c.ev.error(Code::ArgumentOutOfRange, c.arg("p").span, "norm needs p >= 0");
    return {};
  }
  graph::Graph& g = c.ev.graph();
  Node* x = r->node;
  Node* n = nullptr;
  auto with_zero_gradient_at_zero = [&](Node* s, auto root) {
    // The root's slope at 0 is infinite; PyTorch's gradient there is 0.
    Node* zero = graph::binary(g, "eq", s, like(c.ev, s, 0), c.span);
    return graph::select(g, zero, like(c.ev, s, 0), root(graph::select(g, zero, like(c.ev, s, 1), s, c.span)), c.span);
  };
  if (p == 2) {
    n = with_zero_gradient_at_zero(reduced(c, *r, "sum", graph::binary(g, "mul", x, x, c.span)),
                                   [&](Node* s) { return graph::unary(g, "sqrt", s, c.span); });
  } else if (p == 1) {
    n = reduced(c, *r, "sum", graph::unary(g, "abs", x, c.span));
  } else if (p == 0) {
    Node* nonzero = graph::unary(g, "not", graph::binary(g, "eq", x, like(c.ev, x, 0), c.span), c.span);
    n = reduced(c, *r, "sum", graph::cast(g, nonzero, x->type.dtype, c.span));
  } else if (std::isinf(p)) {
    for (int64_t a : r->axes)
      if (r->x.type.shape[static_cast<size_t>(a)] == Dim(0)) {
        c.ev.error(Code::BadSize, c.span, "norm over an axis of size 0")
            .label(c.arg("x").span, "is " + type_text(r->x));
        return {};
      }
    n = reduced(c, *r, "max", graph::unary(g, "abs", x, c.span));
  } else {
    Node* s =
        reduced(c, *r, "sum", graph::binary(g, "pow", graph::unary(g, "abs", x, c.span), like(c.ev, x, p), c.span));
    n = with_zero_gradient_at_zero(s,
                                   [&](Node* v) { return graph::binary(g, "pow", v, like(c.ev, v, 1 / p), c.span); });
  }
  return finish(c, *r, n);
}

Value l2_normalize(BuiltinCall& c) {
  auto x = c.tensor("x");
  auto p = c.number("p"), eps = c.number("eps");
  if (!x || !p || !eps || !need_float(c.ev, *x, c.arg("x").span, "l2_normalize")) return {};
  auto axis = c.axis("axis", x->type.rank());
  if (!axis) return {};
  graph::Graph& g = c.ev.graph();
  Node* n = c.ev.node(*x);
  Node* s = nullptr;
  if (*p == 2) {
    s = graph::reduce(g, "sum", graph::binary(g, "mul", n, n, c.span), {*axis}, c.span);
    s = graph::unary(g, "sqrt", graph::binary(g, "max", s, like(c.ev, s, *eps * *eps), c.span), c.span);
  } else if (*p == 1) {
    s = graph::reduce(g, "sum", graph::unary(g, "abs", n, c.span), {*axis}, c.span);
    s = graph::binary(g, "max", s, like(c.ev, s, *eps), c.span);
  } else {
    c.ev.unsupported(Code::ArgumentOutOfRange, c.arg("p").span, "l2_normalize with this p is not supported yet")
        .help("p = 1 and p = 2 are");
    return {};
  }
  return made(c, graph::binary(g, "div", n, broadcast_reduced(c.ev, s, x->type.shape, {*axis}, c.span), c.span));
}

/// False with a diagnostic where one of the axes has no element, so that there is no largest one.
bool not_empty(BuiltinCall& c, const TensorValue& x, const IntList& axes) {
  for (int64_t a : axes)
    if (x.type.shape[static_cast<size_t>(a)] == Dim(0)) {
      c.ev.error(Code::BadSize, c.span, std::string(c.builtin.name) + " over an axis of size 0")
          .label(c.arg("x").span, "is " + type_text(x));
      return false;
    }
  return true;
}

Value logsumexp(BuiltinCall& c) {
  auto r = reduction(c);
  if (!r || !need_float(c.ev, r->x, c.arg("x").span, "logsumexp") || !not_empty(c, r->x, r->axes)) return {};
  if (r->axes.empty()) return made(c, r->node);
  graph::Graph& g = c.ev.graph();
  Node* m = graph::stop_gradient(g, reduced(c, *r, "max", r->node), c.span);
  // Where all elements are -inf, subtracting it would give nan.
  Node* finite = graph::binary(g, "lt", graph::unary(g, "abs", m, c.span),
                               like(c.ev, m, std::numeric_limits<double>::infinity()), c.span);
  m = graph::select(g, finite, m, like(c.ev, m, 0), c.span);
  Node* e = graph::unary(
      g, "exp", graph::binary(g, "sub", r->node, broadcast_reduced(c.ev, m, r->x.type.shape, r->axes, c.span), c.span),
      c.span);
  return finish(c, *r, graph::binary(g, "add", graph::unary(g, "log", reduced(c, *r, "sum", e), c.span), m, c.span));
}

Value softmax(BuiltinCall& c) {
  auto x = c.tensor("x");
  const std::string f(c.builtin.name);
  if (!x || !need_float(c.ev, *x, c.arg("x").span, f)) return {};
  if (x->type.rank() == 0) {
    c.ev.error(Code::RankMismatch, c.arg("x").span, f + " of a scalar")
        .help("a tensor with an axis of classes is needed, for example [N, 10]");
    return {};
  }
  auto axis = c.axis("axis", x->type.rank());
  if (!axis || !not_empty(c, *x, {*axis})) return {};
  if (x->kind == ValueKind::probabilities || x->kind == ValueKind::log_probabilities) {
    const bool twice = x->kind == ValueKind::probabilities;
    DiagnosticBuilder b =
        c.ev.error(Code::WrongKind, c.span, f + " of " + (twice ? "probabilities" : "log-probabilities"));
    b.label(x->kind_at, twice ? "gives probabilities" : "gives log-probabilities");
    if (f == "log_softmax" && twice)
      b.help("`log(p)` gives log-probabilities; or leave the softmax out and apply log_softmax to the logits");
    else if (f == "softmax" && !twice)
      b.help("`exp(x)` turns log-probabilities into probabilities");
    else
      b.help("leave one of them out");
    return {};
  }
  Node* n = c.ev.node(*x);
  TensorValue r = c.ev.tensor(
      f == "softmax" ? softmax_node(c.ev, n, *axis, c.span) : log_softmax_node(c.ev, n, *axis, c.span), c.span);
  r.kind = f == "softmax" ? ValueKind::probabilities : ValueKind::log_probabilities;
  r.kind_at = c.ev.user_span(c.span);
  if (f == "softmax") r.logits = std::make_shared<const TensorValue>(*x);
  return Value(std::move(r), c.span);
}

Value cumsum(BuiltinCall& c) {
  auto x = c.tensor("x");
  if (!x || (x->classes && !need_number(c.ev, *x, c.arg("x").span, "cumsum"))) return {};
  auto axis = c.axis("axis", x->type.rank());
  if (!axis) return {};
  Node* n = c.ev.node(*x);
  if (!graph::is_float(n->type.dtype) && n->type.dtype != DType::i64)
    n = graph::cast(c.ev.graph(), n, DType::i64, c.span);
  return made(c, graph::cumsum(c.ev.graph(), n, *axis, c.span));
}

Value sorting(BuiltinCall& c) {
  auto x = c.tensor("x");
  auto descending = c.boolean("descending");
  if (!x || !descending || !need_number(c.ev, *x, c.arg("x").span, std::string(c.builtin.name))) return {};
  auto axis = c.axis("axis", x->type.rank());
  if (!axis) return {};
  Node* n = c.ev.node(*x);
  Node* places = graph::argsort(c.ev.graph(), n, *axis, *descending, c.span);
  if (c.builtin.name == "argsort") return made(c, places);
  return list_of({made(c, graph::gather_along(c.ev.graph(), n, places, *axis, c.span)), made(c, places)}, c.span,
                 false);
}

Value topk(BuiltinCall& c) {
  auto x = c.tensor("x");
  auto k = c.dim("k");
  auto largest = c.boolean("largest");
  if (!x || !k || !largest || !need_number(c.ev, *x, c.arg("x").span, "topk")) return {};
  auto axis = c.axis("axis", x->type.rank());
  if (!axis) return {};
  const Dim& size = x->type.shape[static_cast<size_t>(*axis)];
  if (k->is_constant() && (k->value() < 1 || (size.is_constant() && k->value() > size.value()))) {
    c.ev.error(Code::ArgumentOutOfRange, c.arg("k").span, "topk can't take " + k->str() + " of " + size.str())
        .label(c.arg("x").span, "is " + type_text(*x));
    return {};
  }
  graph::Graph& g = c.ev.graph();
  Node* n = c.ev.node(*x);
  Node* places = graph::argsort(g, n, *axis, *largest, c.span);
  Shape starts(x->type.rank(), Dim(0)), sizes = x->type.shape;
  sizes[static_cast<size_t>(*axis)] = *k;
  places = graph::slice(g, places, starts, sizes, IntList(x->type.rank(), 1), c.span);
  return list_of({made(c, graph::gather_along(g, n, places, *axis, c.span)), made(c, places)}, c.span, false);
}

Value accuracy(BuiltinCall& c) {
  auto x = c.tensor("logits");
  auto y = c.tensor("label");
  if (!x || !y) return {};
  const Span xs = c.arg("logits").span, ys = c.arg("label").span;
  if (x->type.rank() < 2 || !graph::is_float(x->type.dtype)) {
    c.ev.error(Code::OperandShapes, c.span, "accuracy takes scores [N, C] and labels class(C)[N]")
        .label(xs, "is " + type_text(*x))
        .label(ys, "is " + type_text(*y));
    return {};
  }
  const Dim& classes = x->type.shape[1];
  if (!y->classes) {
    DiagnosticBuilder b = c.ev.error(Code::ClassMismatch, ys, "accuracy needs labels, but this is " + type_text(*y));
    if (graph::is_int(y->type.dtype))
      b.help("`cast(" + source_text(c.ev, ys, "y") + ", class(" + classes.str() + "))` makes labels of ints");
    return {};
  }
  if (Dim::never_equal(classes, *y->classes)) {
    c.ev.error(Code::ClassMismatch, c.span,
               "accuracy: " + classes.str() + " scores a row, but labels of " + y->classes->str() + " classes")
        .label(xs, "is " + type_text(*x))
        .label(ys, "is " + type_text(*y));
    return {};
  }
  Shape wanted = x->type.shape;
  wanted.erase(wanted.begin() + 1);
  if (!(wanted == y->type.shape)) {
    c.ev.error(Code::OperandShapes, c.span,
               "accuracy: the labels of " + graph::str(x->type.shape) + " have the shape " + graph::str(wanted) +
                   ", not " + graph::str(y->type.shape))
        .label(xs, "is " + type_text(*x))
        .label(ys, "is " + type_text(*y));
    return {};
  }
  graph::Graph& g = c.ev.graph();
  Node* best = graph::cast(g, argmax_node(c.ev, c.ev.node(*x), 1, true, c.span), DType::i32, c.span);
  Node* hits = graph::cast(g, graph::binary(g, "eq", best, c.ev.node(*y), c.span), DType::f32, c.span);
  const Dim n = graph::element_count(y->type.shape);
  Node* total = graph::reduce(g, "sum", hits, all_axes(y->type.rank()), c.span);
  return made(c, divided(c, total, n.is_constant() ? static_cast<double>(n.value()) : 1));
}

}  // namespace

std::vector<Builtin> reduce_builtins() {
  return {
      {"sum", "x, axis = None, keep = false", simple,
       "the sum over axes (all, unless given); of ints and bools an i64"},
      {"mean", "x, axis = None, keep = false", simple, "the mean over axes; of floats"},
      {"prod", "x, axis = None, keep = false", simple, "the product over axes"},
      {"max", "x, axis = None, keep = false", simple, "the largest value over axes; of host numbers max(a, b)"},
      {"min", "x, axis = None, keep = false", simple, "the smallest value over axes; of host numbers min(a, b)"},
      {"amax", "x, axis = None, keep = false",
       [](BuiltinCall& c) {
         return c.ev.apply(Value(find_builtin("max")), {c.arg("x").value, c.arg("axis").value, c.arg("keep").value},
                           c.span);
       },
       "max"},
      {"amin", "x, axis = None, keep = false",
       [](BuiltinCall& c) {
         return c.ev.apply(Value(find_builtin("min")), {c.arg("x").value, c.arg("axis").value, c.arg("keep").value},
                           c.span);
       },
       "min"},
      {"any", "x, axis = None, keep = false", any_all, "true if any element is"},
      {"all", "x, axis = None, keep = false", any_all, "true if all elements are"},
      {"argmax", "x, axis = None, keep = false", arg_extremum,
       "the place of the largest value, as class(size of the axis)"},
      {"argmin", "x, axis = None, keep = false", arg_extremum, "the place of the smallest value"},
      {"var", "x, axis = None, correction = 1, keep = false, unbiased = None", var_std, "the variance, unbiased"},
      {"std", "x, axis = None, correction = 1, keep = false, unbiased = None", var_std,
       "the standard deviation, unbiased"},
      {"norm", "x, p = 2, axis = None, keep = false", norm, "the p-norm over axes"},
      {"l2_normalize", "x, p = 2, axis = 1, eps = 1e-12", l2_normalize,
       "x divided by its norm along an axis (F.normalize)"},
      {"logsumexp", "x, axis = None, keep = false", logsumexp, "log(sum(exp(x))) without overflow"},
      {"softmax", "x, axis = -1", softmax, "probabilities along an axis; they remember their logits"},
      {"log_softmax", "x, axis = -1", softmax, "log-probabilities along an axis"},
      {"cumsum", "x, axis", cumsum, "sums of the first 1, 2, … elements along an axis"},
      {"sort", "x, axis = -1, descending = false", sorting, "(values, places) in order along an axis; stable"},
      {"argsort", "x, axis = -1, descending = false", sorting, "the places that sort x along an axis"},
      {"topk", "x, k, axis = -1, largest = true", topk, "(values, places) of the k largest along an axis"},
      {"accuracy", "logits, label", accuracy, "the fraction of rows whose largest score is the label's"},
  };
}

}  // namespace nnlc::sema
