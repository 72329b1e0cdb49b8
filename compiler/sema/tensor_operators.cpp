// Operators with a tensor on at least one side: element types, classes, broadcasting, powers, and the matrix product.
#include <cmath>

#include "compiler/sema/tensor_support.h"

namespace nnlc::sema {
namespace {

using ast::BinaryOp;

/// x ** n for small n by products, as in PyTorch: exact for ints and with a gradient at 0.
Node* power_by_products(Evaluator& ev, Node* x, int64_t n, Span span) {
  Node* result = nullptr;
  Node* base = x;
  for (; n > 0; n >>= 1) {
    if (n & 1) result = result ? graph::binary(ev.graph(), "mul", result, base, span) : base;
    if (n > 1) base = graph::binary(ev.graph(), "mul", base, base, span);
  }
  return result ? result : like(ev, x, 1);
}

Value tensor_power(Evaluator& ev, const TensorValue& x, const Value& exponent, Span span, Span x_span, Span e_span) {
  graph::Graph& g = ev.graph();
  const bool is_float = graph::is_float(x.type.dtype);
  if (const auto e = static_number(exponent)) {
    const double p = *e;
    if (!is_float && exponent.get<double>()) {
      ev.error(Code::LiteralDoesNotFit, e_span, "a float is no exponent for " + type_text(x))
          .help("`f32(" + source_text(ev, x_span, "x") + ")` converts the tensor");
      return {};
    }
    if (!is_float && p < 0) {
      ev.error(Code::NeedsFloat, span, "an int tensor to a negative power isn't ints")
          .help("`f32(" + source_text(ev, x_span, "x") + ") ** …`");
      return {};
    }
    Node* n = ev.node(x);
    if (p == std::floor(p) && p >= 0 && p <= (is_float ? 4 : 64))
      return Value(ev.tensor(power_by_products(ev, n, static_cast<int64_t>(p), span), span), span);
    if (p == 0.5) return Value(ev.tensor(graph::unary(g, "sqrt", n, span), span), span);
    if (p == -0.5) return Value(ev.tensor(graph::unary(g, "rsqrt", n, span), span), span);
    if (p == -1) return Value(ev.tensor(graph::binary(g, "div", like(ev, n, 1), n, span), span), span);
  }
  auto o = elementwise(ev, {Value(x), exponent}, {x_span, e_span}, span, "`**`");
  if (!o) return {};
  if (!need_float(ev, x, x_span, "`**` with an exponent that isn't a small number")) return {};
  return Value(ev.tensor(graph::binary(g, "pow", o->nodes[0], o->nodes[1], span), span), span);
}

}  // namespace

Value tensor_binary(Evaluator& ev, BinaryOp op, const Value& a, const Value& b, Span span, Span a_span, Span b_span) {
  graph::Graph& g = ev.graph();
  const std::string what = std::string("`") + ast::spelling(op) + "`";
  const auto *ta = a.get<TensorValue>(), *tb = b.get<TensorValue>();
  if (!(ta || is_host_number(a)) || !(tb || is_host_number(b))) {
    const bool none = a.is_none() || b.is_none();
    if (none && (op == BinaryOp::eq || op == BinaryOp::ne)) return Value(op == BinaryOp::ne, span);
    DiagnosticBuilder d =
        ev.error(Code::BadOperands, span, what + " doesn't work on " + describe(a) + " and " + describe(b));
    d.label(a_span, "is " + describe(a)).label(b_span, "is " + describe(b));
    if (sequence(a) || sequence(b)) d.help("`tensor([…])` makes a tensor of a list");
    return {};
  }
  if (op == BinaryOp::matmul) {
    if (!ta || !tb) {
      ev.error(Code::BadOperands, span, "`@` is for two tensors, not " + describe(a) + " and " + describe(b))
          .help("`*` multiplies by a number");
      return {};
    }
    return matmul_value(ev, *ta, *tb, span, a_span, b_span, "matmul");
  }
  const bool logical = op == BinaryOp::and_ || op == BinaryOp::or_;
  const bool comparison = op >= BinaryOp::eq && op <= BinaryOp::ge;
  if (logical) {
    for (auto [t, at] : {std::pair{ta, a_span}, std::pair{tb, b_span}})
      if (t && t->type.dtype != DType::boolean) {
        ev.error(Code::BadOperands, span, what + " needs bool tensors")
            .label(at, "is " + type_text(*t))
            .help("compare first: `x > 0 and y > 0`");
        return {};
      }
  } else if (!comparison) {
    if (ta && !need_number(ev, *ta, a_span, what)) return {};
    if (tb && !need_number(ev, *tb, b_span, what)) return {};
    if (op == BinaryOp::div || op == BinaryOp::floordiv || op == BinaryOp::mod)
      if (auto zero = static_number(b); zero && *zero == 0) {
        ev.error(Code::DivisionByZero, span, "division by zero").label(b_span, "is 0");
        return {};
      }
    if (op == BinaryOp::pow && ta) return tensor_power(ev, *ta, b, span, a_span, b_span);
    if (op == BinaryOp::div || op == BinaryOp::pow)
      for (auto [t, at] : {std::pair{ta, a_span}, std::pair{tb, b_span}})
        if (t && !need_float(ev, *t, at, what)) return {};
  } else {
    // A label is compared with the number of a class; one that no label can have is a mistake.
    const TensorValue* labels = ta && ta->classes ? ta : tb && tb->classes ? tb : nullptr;
    const Value& other = labels == ta ? b : a;
    if (const Dim* d = other.get<Dim>(); labels && d && d->is_constant() && labels->classes->is_constant())
      if (d->value() >= labels->classes->value() || d->value() < (labels->may_be_missing ? -1 : 0)) {
        ev.error(Code::ClassMismatch, span, "no value of " + type_text(*labels) + " is " + d->str())
            .label(labels == ta ? a_span : b_span, "is " + type_text(*labels));
        return {};
      }
    // What is left of `not`, and of bools compared with bools.
    if (op != BinaryOp::eq && op != BinaryOp::ne)
      for (auto [t, at] : {std::pair{ta, a_span}, std::pair{tb, b_span}})
        if (t && t->type.dtype == DType::boolean) {
          ev.error(Code::BadOperands, span, what + " is for numbers")
              .label(at, "is " + type_text(*t))
              .help("`==` and `!=` compare bools");
          return {};
        }
  }
  auto o = elementwise(ev, {a, b}, {a_span, b_span}, span, what);
  if (!o) return {};
  Node *x = o->nodes[0], *y = o->nodes[1];
  auto made = [&](Node* n) { return Value(ev.tensor(n, span), span); };
  switch (op) {
    case BinaryOp::add:
      return made(graph::binary(g, "add", x, y, span));
    case BinaryOp::sub:
      return made(graph::binary(g, "sub", x, y, span));
    case BinaryOp::mul:
      return made(graph::binary(g, "mul", x, y, span));
    case BinaryOp::div:
      return made(graph::binary(g, "div", x, y, span));
    case BinaryOp::floordiv: {
      Node* q = graph::binary(g, "div", x, y, span);
      return made(graph::is_float(x->type.dtype) ? graph::unary(g, "floor", q, span) : q);
    }
    case BinaryOp::mod:
      return made(graph::binary(g, "rem", x, y, span));
    case BinaryOp::pow:
      return made(graph::binary(g, "pow", x, y, span));
    case BinaryOp::eq:
      return made(graph::binary(g, "eq", x, y, span));
    case BinaryOp::ne:
      return made(graph::unary(g, "not", graph::binary(g, "eq", x, y, span), span));
    case BinaryOp::lt:
      return made(graph::binary(g, "lt", x, y, span));
    case BinaryOp::le:
      return made(graph::binary(g, "le", x, y, span));
    case BinaryOp::gt:
      return made(graph::binary(g, "lt", y, x, span));
    case BinaryOp::ge:
      return made(graph::binary(g, "le", y, x, span));
    case BinaryOp::and_:
      return made(graph::binary(g, "and", x, y, span));
    case BinaryOp::or_:
      return made(graph::binary(g, "or", x, y, span));
    case BinaryOp::matmul:
      break;
  }
  return {};
}

Value matmul_value(Evaluator& ev, const TensorValue& a, const TensorValue& b, Span span, Span a_span, Span b_span,
                   const std::string& what) {
  for (auto [t, at] : {std::pair{&a, a_span}, std::pair{&b, b_span}}) {
    if (!need_number(ev, *t, at, what)) return {};
    if (t->type.rank() == 0) {
      ev.error(Code::RankMismatch, span, what + ": a scalar has no matrix product")
          .label(at, "is " + type_text(*t))
          .help("`*` multiplies by a scalar");
      return {};
    }
  }
  if (!unify(ev, {Value(a), Value(b)}, {a_span, b_span}, span, what)) return {};
  const Shape &sa = a.type.shape, &sb = b.type.shape;
  const size_t ra = sa.size(), rb = sb.size();
  const Dim& inner_a = sa[ra - 1];
  const Dim& inner_b = sb[rb == 1 ? 0 : rb - 2];
  if (ev.may_be_equal(inner_a, inner_b)) return {};
  if (!(inner_a == inner_b)) {
    DiagnosticBuilder d = ev.error(Code::InnerSizeMismatch, span,
                                   what + ": inner sizes differ, " + inner_a.str() + " and " + inner_b.str());
    d.label(a_span, "is " + type_text(a)).label(b_span, "is " + type_text(b));
    const std::string ta = source_text(ev, a_span, "a"), tb = source_text(ev, b_span, "b");
    if (rb == 2 && inner_a == sb[1])
      d.help("transpose the right side: `@ " + tb + ".T`");
    else if (ra == 2 && sa[0] == inner_b)
      d.help("transpose the left side: `" + ta + ".T @`");
    else if (rb >= 2 && sb[rb - 1] == (ra >= 2 ? sa[ra - 2] : inner_a) && sb[rb - 2] == inner_a)
      d.help("exchange the two sides");
    return {};
  }
  // Leading axes broadcast; an axis of size 1 that is expanded is dropped from its operand instead.
  Shape la(sa.begin(), sa.begin() + static_cast<std::ptrdiff_t>(ra >= 2 ? ra - 2 : 0));
  Shape lb(sb.begin(), sb.begin() + static_cast<std::ptrdiff_t>(rb >= 2 ? rb - 2 : 0));
  Shape lead;
  if (!la.empty() && !lb.empty()) {
    // The language's broadcasting, on the leading axes: the longer side has the result's shape.
    const Shape &longer = la.size() >= lb.size() ? la : lb, &shorter = la.size() >= lb.size() ? lb : la;
    lead = longer;
    for (size_t i = 0; i < shorter.size(); ++i) {
      Dim& d = lead[longer.size() - shorter.size() + i];
      if (shorter[i] == d || shorter[i] == Dim(1)) continue;
      if (d == Dim(1) && la.size() == lb.size()) {
        d = shorter[i];
        continue;
      }
      ev.error(Code::BroadcastMismatch, span,
               what + ": leading axes differ, " + graph::str(la) + " and " + graph::str(lb))
          .label(a_span, "is " + type_text(a))
          .label(b_span, "is " + type_text(b));
      return {};
    }
  } else {
    lead = la.empty() ? lb : la;
  }
  std::string labels_a, labels_b, out;
  Shape kept_a, kept_b;
  auto add_lead = [&](const Shape& own, std::string& labels, Shape& kept) {
    for (size_t i = 0; i < own.size(); ++i) {
      const size_t at = lead.size() - own.size() + i;
      if (own[i] == Dim(1) && !(lead[at] == Dim(1))) continue;
      labels += static_cast<char>('A' + at);
      kept.push_back(own[i]);
    }
  };
  add_lead(la, labels_a, kept_a);
  add_lead(lb, labels_b, kept_b);
  for (size_t i = 0; i < lead.size(); ++i) out += static_cast<char>('A' + i);
  if (ra >= 2) {
    labels_a += 'm';
    kept_a.push_back(sa[ra - 2]);
    out += 'm';
  }
  labels_a += 'k';
  kept_a.push_back(inner_a);
  labels_b += 'k';
  kept_b.push_back(inner_b);
  if (rb >= 2) {
    labels_b += 'n';
    kept_b.push_back(sb[rb - 1]);
    out += 'n';
  }
  Node* na = reshape_node(ev, ev.node(a), kept_a, span);
  Node* nb = reshape_node(ev, ev.node(b), kept_b, span);
  return Value(ev.tensor(graph::contract(ev.graph(), na, nb, labels_a, labels_b, out, span), span), span);
}

}  // namespace nnlc::sema
