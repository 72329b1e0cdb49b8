// Elementwise functions. Each also takes host numbers: static ones are folded in double, run-time ones become host
// instructions.
#include <cmath>
#include <limits>
#include <numbers>

#include "compiler/sema/tensor_support.h"

namespace nnlc::sema {
namespace {

using K = host::Type::Kind;

/// What a function does with a static number.
double fold(std::string_view f, double x) {
  if (f == "exp") return std::exp(x);
  if (f == "expm1") return std::expm1(x);
  if (f == "log") return std::log(x);
  if (f == "log1p") return std::log1p(x);
  if (f == "log2") return std::log2(x);
  if (f == "log10") return std::log10(x);
  if (f == "sqrt") return std::sqrt(x);
  if (f == "rsqrt") return 1 / std::sqrt(x);
  if (f == "sin") return std::sin(x);
  if (f == "cos") return std::cos(x);
  if (f == "tan") return std::tan(x);
  if (f == "tanh") return std::tanh(x);
  if (f == "sigmoid") return x >= 0 ? 1 / (1 + std::exp(-x)) : std::exp(x) / (1 + std::exp(x));
  if (f == "erf") return std::erf(x);
  if (f == "erfc") return std::erfc(x);
  if (f == "abs") return std::fabs(x);
  if (f == "sign") return std::isnan(x) ? x : static_cast<double>((x > 0) - (x < 0));
  if (f == "floor") return std::floor(x);
  if (f == "ceil") return std::ceil(x);
  if (f == "round") return std::nearbyint(x);
  if (f == "trunc") return std::trunc(x);
  if (f == "frac") return x - std::trunc(x);
  if (f == "sinh") return std::sinh(x);
  if (f == "cosh") return std::cosh(x);
  if (f == "reciprocal") return 1 / x;
  return x * x;  // square
}

/// Host numbers are rounded to ints.
bool rounds(std::string_view f) { return f == "floor" || f == "ceil" || f == "round" || f == "trunc"; }

Node* trunc_node(Evaluator& ev, Node* x, Span s) {
  graph::Graph& g = ev.graph();
  return graph::select(g, graph::binary(g, "le", like(ev, x, 0), x, s), graph::unary(g, "floor", x, s),
                       graph::unary(g, "ceil", x, s), s);
}

Node* float_function(Evaluator& ev, std::string_view f, Node* x, Span s) {
  graph::Graph& g = ev.graph();
  auto scaled_log = [&](double base) {
    return graph::binary(g, "mul", graph::unary(g, "log", x, s), like(ev, x, 1 / std::log(base)), s);
  };
  if (f == "log2") return scaled_log(2);
  if (f == "log10") return scaled_log(10);
  if (f == "tan") return graph::binary(g, "div", graph::unary(g, "sin", x, s), graph::unary(g, "cos", x, s), s);
  if (f == "sigmoid") return sigmoid_node(ev, x, s);
  if (f == "erfc") return graph::binary(g, "sub", like(ev, x, 1), graph::unary(g, "erf", x, s), s);
  if (f == "trunc") return trunc_node(ev, x, s);
  if (f == "frac") return graph::binary(g, "sub", x, trunc_node(ev, x, s), s);
  if (f == "reciprocal") return graph::binary(g, "div", like(ev, x, 1), x, s);
  if (f == "sinh" || f == "cosh") {
    Node* half = like(ev, x, 0.5);
    Node* negative = graph::unary(g, "neg", x, s);
    if (f == "cosh")
      return graph::binary(
          g, "mul", half, graph::binary(g, "add", graph::unary(g, "exp", x, s), graph::unary(g, "exp", negative, s), s),
          s);
    return graph::binary(
        g, "mul", half,
        graph::binary(g, "sub", graph::unary(g, "expm1", x, s), graph::unary(g, "expm1", negative, s), s), s);
  }
  return graph::unary(g, f, x, s);
}

Value host_function(BuiltinCall& c, const ArgValue& a) {
  const std::string_view f = c.builtin.name;
  const bool keeps_int = f == "abs" || f == "sign" || f == "square";
  if (const Dim* d = a.value.get<Dim>()) {
    if (!d->is_constant()) return {};  // known once the sizes are
    if (keeps_int) {
      const int64_t i = d->value();
      if (f == "sign") return Value(Dim((i > 0) - (i < 0)), c.span);
      if (f == "square") return c.ev.binary(ast::BinaryOp::mul, a.value, a.value, c.span, a.span, a.span);
      return i < 0 ? c.ev.unary(ast::UnaryOp::neg, a.value, c.span) : Value(*d, c.span);
    }
  }
  if (const auto x = static_number(a.value)) {
    if ((f == "log" || f == "log2" || f == "log10") && *x <= 0) {
      c.ev.error(Code::ArgumentOutOfRange, a.span, std::string(f) + " of a number that isn't positive");
      return {};
    }
    if ((f == "sqrt" || f == "rsqrt") && *x < 0) {
      c.ev.error(Code::ArgumentOutOfRange, a.span, std::string(f) + " of a negative number");
      return {};
    }
    const double y = fold(f, *x);
    if (!rounds(f)) return Value(y, c.span);
    if (!(std::fabs(y) < 9.2e18)) {
      c.ev.error(Code::IntOverflow, a.span, std::string(f) + " of this number doesn't fit into 64 bits");
      return {};
    }
    return Value(Dim(static_cast<int64_t>(y)), c.span);
  }
  const auto* r = a.value.get<RuntimeValue>();
  if (!r || r->type.kind == K::boolean) {
    c.ev.error(Code::NotATensor, a.span, std::string(f) + " needs numbers, not " + describe(a.value));
    return {};
  }
  using B = ast::BinaryOp;
  auto binary = [&](B op, const Value& l, const Value& m) { return c.ev.binary(op, l, m, c.span, a.span, a.span); };
  auto call = [&](std::string_view name, const Value& v, K kind) {
    host::Type t;
    t.kind = kind;
    const host::Reg from = c.ev.reg_of(v, c.span), dst = c.ev.new_reg(t);
    host::Instr& i = c.ev.emit_pure(name == "int" ? host::Op::unary : host::Op::call, c.span);
    i.name = std::string(name);
    i.args = {from};
    i.dst = dst;
    return Value(RuntimeValue{dst, t}, c.span);
  };
  const Value &x = a.value, one(1.0, c.span);
  if (rounds(f)) return r->type.kind == K::integer ? x : call(f == "trunc" ? "int" : f, x, K::integer);
  if (f == "square") return binary(B::mul, x, x);
  if (f == "reciprocal") return binary(B::div, one, x);
  if (f == "rsqrt") return binary(B::div, one, call("sqrt", x, K::floating));
  if (f == "expm1") return binary(B::sub, call("exp", x, K::floating), one);
  if (f == "log1p") return call("log", binary(B::add, x, one), K::floating);
  if (f == "frac")
    return r->type.kind == K::integer ? Value(0.0, c.span) : binary(B::sub, x, call("int", x, K::integer));
  if (f == "sinh" || f == "cosh") {
    const Value up = call("exp", x, K::floating), down = binary(B::div, one, up);
    return binary(B::mul, Value(0.5, c.span), binary(f == "sinh" ? B::sub : B::add, up, down));
  }
  if (f == "erf" || f == "erfc") {
    c.ev.unsupported(Code::NotATensor, a.span,
                     std::string(f) + " of a number that is known only when the program runs is not supported yet")
        .help("`item(" + std::string(f) + "(f64(x)))`");
    return {};
  }
  return call(f, x, keeps_int ? r->type.kind : K::floating);
}

Value elementwise_function(BuiltinCall& c) {
  const ArgValue& a = c.arg("x");
  if (a.value.is_poison()) return {};
  const std::string f(c.builtin.name);
  if (is_host_number(a.value)) return host_function(c, a);
  auto x = c.tensor("x");
  if (!x) return {};
  if (!need_number(c.ev, *x, a.span, f)) return {};
  graph::Graph& g = c.ev.graph();
  Node* n = c.ev.node(*x);
  const bool is_float = graph::is_float(x->type.dtype);
  if (f == "square") return Value(c.ev.tensor(graph::binary(g, "mul", n, n, c.span), c.span), c.span);
  // Ints are whole already; abs and sign are for both.
  if (!is_float && (f == "floor" || f == "ceil" || f == "round" || f == "trunc"))
    return Value(c.ev.tensor(n, c.span), c.span);
  if (f != "abs" && f != "sign" && !need_float(c.ev, *x, a.span, f)) return {};
  TensorValue r = c.ev.tensor(is_float ? float_function(c.ev, f, n, c.span) : graph::unary(g, f, n, c.span), c.span);
  if (f == "sigmoid") {
    r.from_sigmoid = true;
    r.kind = ValueKind::probabilities;
    r.kind_at = c.ev.user_span(c.span);
    r.logits = std::make_shared<const TensorValue>(*x);
  } else if (f == "log" && x->kind == ValueKind::probabilities) {
    r.kind = ValueKind::log_probabilities;
    r.kind_at = c.ev.user_span(c.span);
  } else if (f == "exp" && x->kind == ValueKind::log_probabilities) {
    r.kind = ValueKind::probabilities;
    r.kind_at = c.ev.user_span(c.span);
    r.logits = std::make_shared<const TensorValue>(*x);
  }
  return Value(std::move(r), c.span);
}

/// Several arguments by name, as operands of one op.
std::optional<Operands> operands(BuiltinCall& c, std::initializer_list<std::string_view> names) {
  std::vector<Value> values;
  std::vector<Span> spans;
  for (std::string_view n : names) {
    values.push_back(c.arg(n).value);
    spans.push_back(c.arg(n).span);
  }
  return elementwise(c.ev, values, spans, c.span, std::string(c.builtin.name));
}

Value made(BuiltinCall& c, Node* n) { return Value(c.ev.tensor(n, c.span), c.span); }

bool numbers(BuiltinCall& c, const Operands& o, std::initializer_list<std::string_view> names) {
  size_t i = 0;
  for (std::string_view n : names)
    if (!need_number(c.ev, o.values[i++], c.arg(n).span, std::string(c.builtin.name))) return false;
  return true;
}

Value extremum(BuiltinCall& c) {
  const ArgValue &a = c.arg("a"), &b = c.arg("b");
  const bool largest = c.builtin.name == "maximum";
  if (is_host_number(a.value) && is_host_number(b.value)) {
    const auto x = static_number(a.value), y = static_number(b.value);
    if (x && y) return largest == (*x > *y) ? a.value : b.value;
  }
  auto o = operands(c, {"a", "b"});
  if (!o || !numbers(c, *o, {"a", "b"})) return {};
  return made(c, graph::binary(c.ev.graph(), largest ? "max" : "min", o->nodes[0], o->nodes[1], c.span));
}

Value arithmetic(BuiltinCall& c) {
  using B = ast::BinaryOp;
  static const std::vector<std::pair<std::string_view, B>> kOps = {{"pow", B::pow},
                                                                   {"add", B::add},
                                                                   {"sub", B::sub},
                                                                   {"mul", B::mul},
                                                                   {"div", B::div},
                                                                   {"remainder", B::mod},
                                                                   {"eq", B::eq},
                                                                   {"ne", B::ne},
                                                                   {"lt", B::lt},
                                                                   {"le", B::le},
                                                                   {"gt", B::gt},
                                                                   {"ge", B::ge},
                                                                   {"logical_and", B::and_},
                                                                   {"logical_or", B::or_},
                                                                   {"matmul", B::matmul}};
  for (auto& [name, op] : kOps)
    if (name == c.builtin.name)
      return c.ev.binary(op, c.arg("a").value, c.arg("b").value, c.span, c.arg("a").span, c.arg("b").span);
  return {};
}

Value logical_not(BuiltinCall& c) { return c.ev.unary(ast::UnaryOp::not_, c.arg("x").value, c.span); }

Value logical_xor(BuiltinCall& c) {
  auto o = operands(c, {"a", "b"});
  if (!o) return {};
  for (size_t i = 0; i < 2; ++i)
    if (o->values[i].type.dtype != DType::boolean) {
      c.ev.error(Code::BadOperands, c.span, "logical_xor needs bool tensors")
          .label(c.arg(i ? "b" : "a").span, "is " + type_text(o->values[i]));
      return {};
    }
  graph::Graph& g = c.ev.graph();
  return made(c, graph::unary(g, "not", graph::binary(g, "eq", o->nodes[0], o->nodes[1], c.span), c.span));
}

Value where(BuiltinCall& c) {
  const ArgValue& m = c.arg("mask");
  if (m.value.is_poison()) return {};
  if (const bool* b = m.value.get<bool>()) return c.arg(*b ? "a" : "b").value;
  auto mask = c.ev.to_tensor(m.value, std::nullopt, m.span);
  if (!mask) return {};
  if (mask->type.dtype != DType::boolean) {
    c.ev.error(Code::DTypeMismatch, m.span, "where chooses by a bool tensor, but this is " + type_text(*mask))
        .help("compare: `where(x > 0, a, b)`");
    return {};
  }
  const ArgValue &a = c.arg("a"), &b = c.arg("b");
  auto values = unify(c.ev, {a.value, b.value}, {a.span, b.span}, c.span, "where");
  if (!values) return {};
  auto shape = c.ev.broadcast_shape({&*mask, &(*values)[0], &(*values)[1]}, {m.span, a.span, b.span}, c.span, "where");
  if (!shape) return {};
  graph::Graph& g = c.ev.graph();
  auto wide = [&](const TensorValue& t) { return graph::broadcast_to(g, c.ev.node(t), *shape, c.span); };
  TensorValue r = c.ev.tensor(graph::select(g, wide(*mask), wide((*values)[0]), wide((*values)[1]), c.span), c.span);
  r.classes = (*values)[0].classes;
  r.may_be_missing = (*values)[0].may_be_missing || (*values)[1].may_be_missing;
  return Value(std::move(r), c.span);
}

Value clamp(BuiltinCall& c) {
  const ArgValue &x = c.arg("x"), &lo = c.arg("min"), &hi = c.arg("max");
  if (x.value.is_poison()) return {};
  if (!c.given("min") && !c.given("max")) {
    c.ev.error(Code::ArgumentOutOfRange, c.span, "clamp needs `min`, `max` or both");
    return {};
  }
  if (c.given("min") && c.given("max"))
    if (auto l = static_number(lo.value), h = static_number(hi.value); l && h && *l > *h) {
      c.ev.error(Code::ArgumentOutOfRange, c.span, "clamp: `min` is above `max`")
          .label(lo.span, "min")
          .label(hi.span, "max");
      return {};
    }
  std::vector<Value> values = {x.value};
  std::vector<Span> spans = {x.span};
  if (c.given("min")) values.push_back(lo.value), spans.push_back(lo.span);
  if (c.given("max")) values.push_back(hi.value), spans.push_back(hi.span);
  bool all_static = true;
  for (const Value& v : values) all_static &= static_number(v).has_value();
  if (all_static) {
    Value r = x.value;
    if (c.given("min") && *static_number(r) < *static_number(lo.value)) r = lo.value;
    if (c.given("max") && *static_number(r) > *static_number(hi.value)) r = hi.value;
    return r;
  }
  auto o = elementwise(c.ev, values, spans, c.span, "clamp");
  if (!o || !need_number(c.ev, o->values[0], x.span, "clamp")) return {};
  graph::Graph& g = c.ev.graph();
  Node* n = o->nodes[0];
  size_t i = 1;
  if (c.given("min")) n = graph::binary(g, "max", n, o->nodes[i++], c.span);
  if (c.given("max")) n = graph::binary(g, "min", n, o->nodes[i], c.span);
  return made(c, n);
}

Value lerp(BuiltinCall& c) {
  auto o = operands(c, {"a", "b", "weight"});
  if (!o || !need_float(c.ev, o->values[0], c.arg("a").span, "lerp")) return {};
  graph::Graph& g = c.ev.graph();
  Node* d = graph::binary(g, "sub", o->nodes[1], o->nodes[0], c.span);
  return made(c, graph::binary(g, "add", o->nodes[0], graph::binary(g, "mul", o->nodes[2], d, c.span), c.span));
}

Value classify(BuiltinCall& c) {
  auto x = c.tensor("x");
  if (!x || !need_number(c.ev, *x, c.arg("x").span, std::string(c.builtin.name))) return {};
  graph::Graph& g = c.ev.graph();
  Node* n = c.ev.node(*x);
  const bool is_float = graph::is_float(x->type.dtype);
  if (!is_float) return made(c, fill(c.ev, c.builtin.name == "isfinite", {DType::boolean, x->type.shape}, c.span));
  if (c.builtin.name == "isnan") return made(c, graph::unary(g, "not", graph::binary(g, "eq", n, n, c.span), c.span));
  Node* magnitude = graph::unary(g, "abs", n, c.span);
  Node* infinite = like(c.ev, n, std::numeric_limits<double>::infinity());
  return made(c, graph::binary(g, c.builtin.name == "isinf" ? "eq" : "lt", magnitude, infinite, c.span));
}

Value isclose(BuiltinCall& c) {
  auto o = operands(c, {"a", "b"});
  auto rtol = c.number("rtol"), atol = c.number("atol");
  if (!o || !rtol || !atol) return {};
  graph::Graph& g = c.ev.graph();
  Node *a = o->nodes[0], *b = o->nodes[1];
  Node* close = nullptr;
  if (!graph::is_float(a->type.dtype)) {
    close = graph::binary(g, "eq", a, b, c.span);
  } else {
    Node* difference = graph::unary(g, "abs", graph::binary(g, "sub", a, b, c.span), c.span);
    Node* allowed =
        graph::binary(g, "add", like(c.ev, a, *atol),
                      graph::binary(g, "mul", like(c.ev, a, *rtol), graph::unary(g, "abs", b, c.span), c.span), c.span);
    Node* finite = graph::binary(g, "lt", graph::unary(g, "abs", b, c.span),
                                 like(c.ev, b, std::numeric_limits<double>::infinity()), c.span);
    close = graph::binary(g, "or", graph::binary(g, "eq", a, b, c.span),
                          graph::binary(g, "and", finite, graph::binary(g, "le", difference, allowed, c.span), c.span),
                          c.span);
  }
  if (c.builtin.name == "isclose") return made(c, close);
  Node* bad = graph::cast(g, graph::unary(g, "not", close, c.span), DType::i64, c.span);
  if (bad->type.rank() != 0) bad = graph::reduce(g, "sum", bad, all_axes(bad->type.rank()), c.span);
  return made(c, graph::binary(g, "eq", bad, fill(c.ev, 0, {DType::i64, {}}, c.span), c.span));
}

Value stop_gradient(BuiltinCall& c) {
  if (is_host_number(c.arg("x").value)) return c.arg("x").value;
  auto x = c.tensor("x");
  if (!x) return {};
  TensorValue r = *x;
  const TensorValue cut = c.ev.tensor(graph::stop_gradient(c.ev.graph(), c.ev.node(*x), c.span), c.span);
  r.cell = cut.cell;
  r.logits = nullptr;
  return Value(std::move(r), c.span);
}

Value floor_divide(BuiltinCall& c) {
  return c.ev.binary(ast::BinaryOp::floordiv, c.arg("a").value, c.arg("b").value, c.span, c.arg("a").span,
                     c.arg("b").span);
}

}  // namespace

std::vector<Builtin> math_builtins() {
  return {
      {"exp", "x", elementwise_function, "e to the power of each element"},
      {"expm1", "x", elementwise_function, "exp(x) - 1, exact near 0"},
      {"log", "x", elementwise_function, "the natural logarithm"},
      {"log1p", "x", elementwise_function, "log(1 + x), exact near 0"},
      {"log2", "x", elementwise_function, "the logarithm to base 2"},
      {"log10", "x", elementwise_function, "the logarithm to base 10"},
      {"sqrt", "x", elementwise_function, "the square root"},
      {"rsqrt", "x", elementwise_function, "1 / sqrt(x)"},
      {"sin", "x", elementwise_function, "the sine"},
      {"cos", "x", elementwise_function, "the cosine"},
      {"tan", "x", elementwise_function, "the tangent"},
      {"sinh", "x", elementwise_function, "the hyperbolic sine"},
      {"cosh", "x", elementwise_function, "the hyperbolic cosine"},
      {"tanh", "x", elementwise_function, "the hyperbolic tangent"},
      {"sigmoid", "x", elementwise_function, "1 / (1 + exp(-x)): probabilities that remember their logits"},
      {"erf", "x", elementwise_function, "the error function"},
      {"erfc", "x", elementwise_function, "1 - erf(x)"},
      {"abs", "x", elementwise_function, "the magnitude"},
      {"sign", "x", elementwise_function, "-1, 0 or 1"},
      {"floor", "x", elementwise_function, "rounds down"},
      {"ceil", "x", elementwise_function, "rounds up"},
      {"round", "x", elementwise_function, "rounds to the nearest, half to even"},
      {"trunc", "x", elementwise_function, "rounds towards 0"},
      {"frac", "x", elementwise_function, "what trunc cuts off"},
      {"square", "x", elementwise_function, "x * x"},
      {"reciprocal", "x", elementwise_function, "1 / x"},
      {"pow", "a, b", arithmetic, "a ** b"},
      {"add", "a, b", arithmetic, "a + b"},
      {"sub", "a, b", arithmetic, "a - b"},
      {"mul", "a, b", arithmetic, "a * b"},
      {"div", "a, b", arithmetic, "a / b"},
      {"remainder", "a, b", arithmetic, "a % b"},
      {"floor_divide", "a, b", floor_divide, "a // b"},
      {"eq", "a, b", arithmetic, "a == b"},
      {"ne", "a, b", arithmetic, "a != b"},
      {"lt", "a, b", arithmetic, "a < b"},
      {"le", "a, b", arithmetic, "a <= b"},
      {"gt", "a, b", arithmetic, "a > b"},
      {"ge", "a, b", arithmetic, "a >= b"},
      {"matmul", "a, b", arithmetic, "a @ b"},
      {"logical_and", "a, b", arithmetic, "a and b"},
      {"logical_or", "a, b", arithmetic, "a or b"},
      {"logical_xor", "a, b", logical_xor, "true where exactly one is"},
      {"logical_not", "x", logical_not, "not x"},
      {"maximum", "a, b", extremum, "the larger of each two elements"},
      {"minimum", "a, b", extremum, "the smaller of each two elements"},
      {"where", "mask, a, b", where, "a where the mask is true, else b"},
      {"clamp", "x, min = None, max = None", clamp, "x, limited to min..max"},
      {"clip", "x, min = None, max = None", clamp, "clamp"},
      {"lerp", "a, b, weight", lerp, "a + weight * (b - a)"},
      {"isnan", "x", classify, "true where x is not a number"},
      {"isinf", "x", classify, "true where x is infinite"},
      {"isfinite", "x", classify, "true where x is neither infinite nor nan"},
      {"isclose", "a, b, rtol = 1e-5, atol = 1e-8", isclose, "where |a - b| <= atol + rtol * |b|"},
      {"allclose", "a, b, rtol = 1e-5, atol = 1e-8", isclose, "true if isclose holds everywhere"},
      {"stop_gradient", "x", stop_gradient, "x, through which no gradient flows"},
      {"detach", "x", stop_gradient, "stop_gradient"},
  };
}

}  // namespace nnlc::sema
