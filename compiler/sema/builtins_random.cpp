// Random tensors: Philox, keyed by seed, path, ordinal of the call and step (rule 33).
#include <cmath>
#include <limits>

#include "compiler/sema/tensor_support.h"

namespace nnlc::sema {
namespace {

Node* draw(BuiltinCall& c, const std::string& kind, const TensorType& type) {
  // Half precision has too few numbers between 0 and 1 to draw from: f32 is drawn and rounded.
  if (type.dtype == DType::f16 || type.dtype == DType::bf16)
    return graph::cast(c.ev.graph(), draw(c, kind, {DType::f32, type.shape}), type.dtype, c.span);
  const uint64_t key = c.ev.draw_key(c.span);
  return graph::random(c.ev.graph(), kind, key, c.ev.draw_counter(c.span), type, c.span);
}

Value made(BuiltinCall& c, Node* n) { return Value(c.ev.tensor(n, c.span), c.span); }

std::optional<DType> float_dtype(BuiltinCall& c, DType otherwise) {
  if (!c.given("dtype")) return otherwise;
  auto t = dtype_arg(c, "dtype");
  if (!t) return std::nullopt;
  if (!graph::is_float(t->dtype)) {
    c.ev.error(Code::NeedsFloat, c.arg("dtype").span, std::string(c.builtin.name) + " draws floats")
        .help("`randint` draws ints");
    return std::nullopt;
  }
  return t->dtype;
}

std::optional<Shape> sizes(BuiltinCall& c, std::string_view name) {
  const ArgValue& a = c.arg(name);
  std::optional<Shape> s;
  if (const Dim* d = a.value.get<Dim>())
    s = Shape{*d};
  else
    s = c.shape(name);
  if (s)
    for (const Dim& d : *s)
      if (d.is_constant() && d.value() < 0) {
        c.ev.error(Code::BadSize, a.span, "a size can't be " + d.str());
        return std::nullopt;
      }
  return s;
}

Value rand_randn(BuiltinCall& c) {
  auto shape = sizes(c, "shape");
  auto t = float_dtype(c, DType::f32);
  if (!shape || !t) return {};
  return made(c, draw(c, c.builtin.name == "rand" ? "uniform" : "normal", {*t, *shape}));
}

Value rand_like(BuiltinCall& c) {
  auto x = c.tensor("x");
  if (!x) return {};
  if (!c.given("dtype") && !need_float(c.ev, *x, c.arg("x").span, std::string(c.builtin.name))) return {};
  auto t = float_dtype(c, x->type.dtype);
  if (!t) return {};
  return made(c, draw(c, c.builtin.name == "rand_like" ? "uniform" : "normal", {*t, x->type.shape}));
}

Value randint(BuiltinCall& c) {
  // randint(low, high, shape), or randint(high, shape).
  const bool two = !c.given("shape");
  int64_t low = 0, high = 0;
  auto shape = sizes(c, two ? "high" : "shape");
  if (!shape) return {};
  auto first = c.integer("low");
  if (!first) return {};
  if (two) {
    high = *first;
  } else {
    auto second = c.integer("high");
    if (!second) return {};
    low = *first;
    high = *second;
  }
  if (high <= low || high - low > (int64_t{1} << 32)) {
    c.ev.error(Code::ArgumentOutOfRange, c.span,
               "randint draws from low <= n < high, but " + std::to_string(low) + " to " + std::to_string(high) +
                   " is empty or too wide");
    return {};
  }
  DTypeArg t{DType::i64, std::nullopt, false};
  if (c.given("dtype")) {
    auto d = dtype_arg(c, "dtype");
    if (!d) return {};
    t = *d;
  }
  if (t.classes && t.classes->is_constant() && (low < 0 || high > t.classes->value())) {
    c.ev.error(Code::ClassMismatch, c.span, "these ints aren't all labels of class(" + t.classes->str() + ")");
    return {};
  }
  graph::Graph& g = c.ev.graph();
  Node* word = draw(c, "bits", {DType::i64, *shape});
  Node* n = graph::binary(g, "rem", word, like(c.ev, word, static_cast<double>(high - low)), c.span);
  if (low != 0) n = graph::binary(g, "add", n, like(c.ev, n, static_cast<double>(low)), c.span);
  TensorValue r = c.ev.tensor(graph::cast(g, n, t.dtype, c.span), c.span);
  r.classes = t.classes;
  return Value(std::move(r), c.span);
}

Value bernoulli(BuiltinCall& c) {
  auto x = c.tensor("p");
  if (!x || !need_float(c.ev, *x, c.arg("p").span, "bernoulli")) return {};
  graph::Graph& g = c.ev.graph();
  Node* p = c.ev.node(*x);
  return made(c, graph::cast(g, graph::binary(g, "lt", draw(c, "uniform", p->type), p, c.span), p->type.dtype, c.span));
}

Value randperm(BuiltinCall& c) {
  auto n = c.dim("n");
  if (!n) return {};
  return made(c, graph::argsort(c.ev.graph(), draw(c, "bits", {DType::i64, {*n}}), 0, false, c.span));
}

/// `samples` draws from each row, with replacement: the place of the largest log p + Gumbel noise.
Value multinomial(BuiltinCall& c) {
  auto x = c.tensor("probabilities");
  auto n = c.dim("samples");
  auto replacement = c.boolean("replacement");
  if (!x || !n || !replacement || !need_float(c.ev, *x, c.arg("probabilities").span, "multinomial")) return {};
  if (x->type.rank() < 1 || x->type.rank() > 2) {
    c.ev.error(Code::RankMismatch, c.arg("probabilities").span,
               "multinomial takes weights [C] or [N, C], but this is " + type_text(*x));
    return {};
  }
  if (x->kind == ValueKind::log_probabilities) {
    c.ev.error(Code::WrongKind, c.arg("probabilities").span,
               "multinomial takes probabilities, and is given log-probabilities")
        .help("`exp(x)`");
    return {};
  }
  if (!*replacement && !(*n == Dim(1))) {
    // The n largest of one draw of noise are a sample without replacement.
    if (!n->is_constant()) return {};
  }
  graph::Graph& g = c.ev.graph();
  const Shape& rows = x->type.shape;
  if (rows.back() == Dim(0)) {
    c.ev.error(Code::BadSize, c.arg("probabilities").span,
               "multinomial has nothing to draw from: this is " + type_text(*x));
    return {};
  }
  const Dim classes = rows.back();
  const int64_t class_axis = static_cast<int64_t>(rows.size());
  Shape shape(rows.begin(), rows.end() - 1);
  shape.push_back(*replacement ? *n : Dim(1));
  shape.push_back(classes);
  IntList axes = all_axes(rows.size());
  axes.back() = class_axis;
  Node* p = graph::broadcast(g, c.ev.node(*x), shape, axes, c.span);
  Node* u = draw(c, "uniform", p->type);
  // -log(-log(u)), with u kept above 0.
  u = graph::binary(g, "max", u, like(c.ev, u, 1e-30), c.span);
  Node* noise = graph::unary(
      g, "neg", graph::unary(g, "log", graph::unary(g, "neg", graph::unary(g, "log", u, c.span), c.span), c.span),
      c.span);
  Node* score = graph::binary(g, "add", graph::unary(g, "log", p, c.span), noise, c.span);
  Node* picked = nullptr;
  if (*replacement || *n == Dim(1)) {
    picked = graph::arg_reduce(g, "argmax", score, class_axis, c.span);
  } else {
    Shape starts(shape.size(), Dim(0)), part = shape;
    part.back() = *n;
    picked = graph::slice(g, graph::argsort(g, score, class_axis, true, c.span), starts, part, IntList(shape.size(), 1),
                          c.span);
    part.erase(part.end() - 2);
    picked = graph::reshape(g, picked, part, c.span);
  }
  TensorValue r = c.ev.tensor(graph::cast(g, picked, DType::i32, c.span), c.span);
  r.classes = classes;
  return Value(std::move(r), c.span);
}

}  // namespace

std::vector<Builtin> random_builtins() {
  return {
      {"rand", "shape, dtype = None", rand_randn, "uniform in 0 <= x < 1"},
      {"randn", "shape, dtype = None", rand_randn, "normal, mean 0 and deviation 1"},
      {"rand_like", "x, dtype = None", rand_like, "uniform, of x's shape"},
      {"randn_like", "x, dtype = None", rand_like, "normal, of x's shape"},
      {"randint", "low, high, shape = None, dtype = None", randint,
       "ints in low <= n < high; randint(high, shape) starts at 0"},
      {"randperm", "n", randperm, "0 to n - 1 in random order"},
      {"bernoulli", "p", bernoulli, "1 with probability p, else 0"},
      {"multinomial", "probabilities, samples = 1, replacement = false", multinomial,
       "places drawn by weight from each row"},
  };
}

}  // namespace nnlc::sema
