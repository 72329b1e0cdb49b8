// Checked operands, constants and stable compositions for the tensor builtins.
#include "compiler/sema/tensor_support.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "compiler/sema/impl.h"

namespace nnlc::sema {

std::string source_text(const Evaluator& ev, Span span, const std::string& fallback) {
  if (!span.valid()) return fallback;
  std::string_view s = ev.sources.text(span);
  return s.empty() || s.size() > 30 || s.find('\n') != std::string_view::npos ? fallback : std::string(s);
}

std::string type_text(const TensorValue& t) { return describe(Value(t)); }

std::optional<double> static_number(const Value& v) {
  if (const Dim* d = v.get<Dim>(); d && d->is_constant()) return static_cast<double>(d->value());
  if (const double* f = v.get<double>()) return *f;
  return std::nullopt;
}

bool is_host_number(const Value& v) {
  if (v.get<Dim>() || v.get<double>() || v.get<bool>()) return true;
  const auto* r = v.get<RuntimeValue>();
  return r && (r->type.kind == host::Type::Kind::integer || r->type.kind == host::Type::Kind::floating ||
               r->type.kind == host::Type::Kind::boolean);
}

bool is_int_value(const Value& v) {
  const auto* r = v.get<RuntimeValue>();
  return v.get<Dim>() || (r && r->type.kind == host::Type::Kind::integer);
}

Node* fill(Evaluator& ev, double value, const TensorType& type, Span span) {
  if (graph::is_float(type.dtype)) return graph::constant(ev.graph(), value, type, span);
  return graph::constant_int(ev.graph(), static_cast<int64_t>(value), type, span);
}

Node* open_tensor(Evaluator& ev, const TensorType& type, Span span) { return fill(ev, 0, type, span); }

const SequenceValue* sequence(const Value& v) {
  auto* p = v.get<std::shared_ptr<SequenceValue>>();
  return p ? p->get() : nullptr;
}

Value list_of(std::vector<Value> items, Span span, bool is_list) {
  auto s = std::make_shared<SequenceValue>();
  s->is_list = is_list;
  s->items = std::move(items);
  return Value(std::move(s), span);
}

IntList all_axes(size_t rank) {
  IntList r(rank);
  std::iota(r.begin(), r.end(), 0);
  return r;
}

// ---- host numbers as tensors

namespace {

struct IntRange {
  int64_t lo, hi;
};
IntRange int_range(DType t) {
  switch (t) {
    case DType::u8:
      return {0, 255};
    case DType::i8:
      return {-128, 127};
    case DType::i16:
      return {-32768, 32767};
    case DType::i32:
      return {std::numeric_limits<int32_t>::min(), std::numeric_limits<int32_t>::max()};
    default:
      return {std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max()};
  }
}
std::string dtype_name(DType t) { return std::string(graph::name(t)); }

}  // namespace

std::optional<TensorValue> Evaluator::to_tensor(const Value& v, std::optional<DType> like, Span span) {
  if (v.is_poison()) return std::nullopt;
  if (const auto* t = v.get<TensorValue>()) return *t;
  auto scalar = [&](Node* n) {
    TensorValue t = tensor(n, span);
    t.is_literal = true;
    return t;
  };
  if (const Dim* d = v.get<Dim>()) {
    DType t = like.value_or(DType::i64);
    if (t == DType::boolean) {
      error(Code::LiteralDoesNotFit, span, "an int can't be an element of a bool tensor")
          .help("`true` and `false` can");
      return std::nullopt;
    }
    if (!d->is_constant()) return scalar(fill(*this, 1, {t, {}}, span));  // only in checks with symbolic sizes
    int64_t i = d->value();
    if (graph::is_int(t) && (i < int_range(t).lo || i > int_range(t).hi)) {
      error(Code::LiteralDoesNotFit, span, std::to_string(i) + " doesn't fit into " + dtype_name(t))
          .note(dtype_name(t) + " holds " + std::to_string(int_range(t).lo) + " to " + std::to_string(int_range(t).hi));
      return std::nullopt;
    }
    if (graph::is_float(t)) return scalar(graph::constant(graph(), static_cast<double>(i), {t, {}}, span));
    return scalar(graph::constant_int(graph(), i, {t, {}}, span));
  }
  if (const double* f = v.get<double>()) {
    DType t = like.value_or(DType::f32);
    if (!graph::is_float(t)) {
      error(Code::LiteralDoesNotFit, span, "a float doesn't become an element of " + dtype_name(t))
          .help("cast the tensor, `f32(x)`, or the number, `int(" + source_text(*this, span, "number") + ")`");
      return std::nullopt;
    }
    return scalar(graph::constant(graph(), *f, {t, {}}, span));
  }
  if (const bool* b = v.get<bool>()) {
    if (like && *like != DType::boolean) {
      error(Code::LiteralDoesNotFit, span, "a bool doesn't become an element of " + dtype_name(*like))
          .help("write 1 or 0, or `where(mask, a, b)`");
      return std::nullopt;
    }
    return scalar(graph::constant_int(graph(), *b ? 1 : 0, {DType::boolean, {}}, span));
  }
  if (const auto* r = v.get<RuntimeValue>()) {
    using K = host::Type::Kind;
    if (r->type.kind == K::integer) {
      DType t = like.value_or(DType::i64);
      if (t != DType::boolean) return tensor(scalar_node(*r, t), span);
    } else if (r->type.kind == K::floating) {
      DType t = like.value_or(DType::f32);
      if (graph::is_float(t)) return tensor(scalar_node(*r, t), span);
    } else if (r->type.kind == K::boolean) {
      DType t = like.value_or(DType::boolean);
      if (t == DType::boolean) return tensor(scalar_node(*r, t), span);
    } else if (r->type.kind == K::tensor) {
      if (const Value made = from_reg(r->reg, r->type, span); made.get<TensorValue>()) return *made.get<TensorValue>();
    } else {
      error(Code::NotATensor, span, "a tensor or a number is needed here, not " + describe(v));
      return std::nullopt;
    }
    error(Code::LiteralDoesNotFit, span,
          describe(v) + " doesn't become an element of " + dtype_name(like.value_or(DType::f32)))
        .help("cast the tensor: `f32(x)`");
    return std::nullopt;
  }
  DiagnosticBuilder b = error(Code::NotATensor, span, "a tensor or a number is needed here, not " + describe(v));
  if (sequence(v)) b.help("`tensor([…])` makes a tensor of a list");
  return std::nullopt;
}

std::optional<std::vector<TensorValue>> unify(Evaluator& ev, const std::vector<Value>& values,
                                              const std::vector<Span>& spans, Span span, const std::string& what) {
  const TensorValue* leader = nullptr;
  size_t leader_at = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    if (values[i].is_poison()) return std::nullopt;
    if (const auto* t = values[i].get<TensorValue>(); t && !leader) {
      leader = t;
      leader_at = i;
    }
  }
  std::optional<DType> dtype;
  if (leader) {
    dtype = leader->type.dtype;
  } else {
    for (const Value& v : values)
      if (const auto* r = v.get<RuntimeValue>(); v.get<double>() || (r && r->type.kind == host::Type::Kind::floating))
        dtype = DType::f32;
  }
  std::vector<TensorValue> out;
  for (size_t i = 0; i < values.size(); ++i) {
    if (const auto* t = values[i].get<TensorValue>()) {
      if (leader && (t->type.dtype != leader->type.dtype || t->classes.has_value() != leader->classes.has_value())) {
        DiagnosticBuilder b =
            ev.error(Code::DTypeMismatch, span,
                     what + ": element types differ, " + type_text(*leader) + " and " + type_text(*t));
        b.label(spans[leader_at], "is " + type_text(*leader)).label(spans[i], "is " + type_text(*t));
        // The narrower meaning is converted: ints and bools to floats, labels to plain ints.
        const bool first = t->classes        ? false
                           : leader->classes ? true
                                             : graph::is_float(t->type.dtype) && !graph::is_float(leader->type.dtype);
        const TensorValue& to = first ? *t : *leader;
        const Span from = first ? spans[leader_at] : spans[i];
        b.help("`" + std::string(graph::name(to.type.dtype)) + "(" + source_text(ev, from, "x") + ")` converts");
        return std::nullopt;
      }
      if (leader && t->classes && leader->classes && Dim::never_equal(*t->classes, *leader->classes)) {
        ev.error(Code::ClassMismatch, span,
                 what + ": " + type_text(*leader) + " and " + type_text(*t) + " have different numbers of classes")
            .label(spans[leader_at], "is " + type_text(*leader))
            .label(spans[i], "is " + type_text(*t));
        return std::nullopt;
      }
      out.push_back(*t);
      continue;
    }
    auto t = ev.to_tensor(values[i], dtype, spans[i]);
    if (!t) return std::nullopt;
    out.push_back(std::move(*t));
  }
  return out;
}

std::optional<Operands> elementwise(Evaluator& ev, const std::vector<Value>& values, const std::vector<Span>& spans,
                                    Span span, const std::string& what) {
  auto tensors = unify(ev, values, spans, span, what);
  if (!tensors) return std::nullopt;
  Operands o;
  o.values = std::move(*tensors);
  std::vector<const TensorValue*> pointers;
  for (const TensorValue& t : o.values) pointers.push_back(&t);
  auto shape = ev.broadcast_shape(pointers, spans, span, what);
  if (!shape) return std::nullopt;
  o.shape = std::move(*shape);
  for (const TensorValue& t : o.values) o.nodes.push_back(graph::broadcast_to(ev.graph(), ev.node(t), o.shape, span));
  return o;
}

bool need_float(Evaluator& ev, const TensorValue& x, Span at, const std::string& what) {
  if (graph::is_float(x.type.dtype)) return true;
  DiagnosticBuilder b = ev.error(Code::NeedsFloat, at, what + " needs floats, but this is " + type_text(x));
  b.help("`f32(" + source_text(ev, at, "x") + ")` converts it");
  if (what == "`/`") b.help("`//` divides ints, rounding down");
  return false;
}

bool need_number(Evaluator& ev, const TensorValue& x, Span at, const std::string& what) {
  if (!x.classes && x.type.dtype != DType::boolean) return true;
  if (x.classes)
    ev.error(Code::ClassMismatch, at, what + " is for numbers, but this is " + type_text(x))
        .help("`i64(" + source_text(ev, at, "x") + ")` gives the numbers of the labels");
  else
    ev.error(Code::DTypeMismatch, at, what + " is for numbers, but this is " + type_text(x))
        .help("`f32(" + source_text(ev, at, "x") + ")` gives 1 for true and 0 for false");
  return false;
}

// ---- the language's broadcasting (rule 27)

bool Evaluator::may_be_equal(const Dim& a, const Dim& b) const {
  return impl->open_sizes && !(a == b) && a.is_constant() != b.is_constant();
}

std::optional<Shape> Evaluator::broadcast_shape(const std::vector<const TensorValue*>& xs,
                                                const std::vector<Span>& spans, Span span, const std::string& what) {
  size_t rank = 0;
  for (const TensorValue* x : xs) rank = std::max(rank, x->type.rank());
  auto span_of = [&](size_t i) { return i < spans.size() ? spans[i] : Span{}; };
  // What PyTorch would have made, for the message.
  auto silent_result = [&]() -> std::optional<Shape> {
    Shape r(rank, Dim(1));
    for (const TensorValue* x : xs)
      for (size_t a = 0; a < x->type.rank(); ++a) {
        Dim& d = r[rank - x->type.rank() + a];
        const Dim& s = x->type.shape[a];
        if (d == Dim(1))
          d = s;
        else if (!(s == Dim(1)) && !(s == d))
          return std::nullopt;
      }
    return r;
  };
  auto shape_text = [](const TensorValue& t) { return graph::str(t.type.shape); };
  Shape result(rank, Dim(1));
  std::vector<size_t> from(rank, 0);  // which operand gave each size
  bool first = true;
  for (size_t i = 0; i < xs.size(); ++i) {
    if (xs[i]->type.rank() != rank) continue;
    for (size_t a = 0; a < rank; ++a) {
      const Dim& s = xs[i]->type.shape[a];
      if (first || (result[a] == Dim(1) && !(s == Dim(1)))) {
        result[a] = s;
        from[a] = i;
      } else if (!(s == result[a]) && !(s == Dim(1))) {
        if (may_be_equal(s, result[a])) return std::nullopt;
        error(Code::BroadcastMismatch, span,
              what + ": sizes differ along axis " + std::to_string(a) + ", " + result[a].str() + " and " + s.str())
            .label(span_of(from[a]), "is " + type_text(*xs[from[a]]))
            .label(span_of(i), "is " + type_text(*xs[i]));
        return std::nullopt;
      }
    }
    first = false;
  }
  for (size_t i = 0; i < xs.size(); ++i) {
    const Shape& s = xs[i]->type.shape;
    if (s.size() == rank) continue;
    for (size_t a = 0; a < s.size(); ++a) {
      const size_t at = rank - s.size() + a;
      if (s[a] == result[at] || s[a] == Dim(1)) continue;
      if (may_be_equal(s[a], result[at])) return std::nullopt;
      size_t big = from[at];
      for (size_t j = 0; j < xs.size(); ++j)
        if (xs[j]->type.rank() == rank) {
          big = j;
          break;
        }
      DiagnosticBuilder b = error(Code::BroadcastMismatch, span,
                                  what + ": " + shape_text(*xs[i]) + " doesn't fit into " + graph::str(result));
      b.label(span_of(big), "is " + type_text(*xs[big])).label(span_of(i), "is " + type_text(*xs[i]));
      if (auto silent = silent_result()) b.note("expanding both would make " + graph::str(*silent));
      const std::string name = source_text(*this, span_of(i), "x");
      // The axis that makes it fit, if one new axis does.
      if (s.size() + 1 == rank) {
        for (size_t axis = 0; axis <= s.size(); ++axis) {
          Shape wide = s;
          wide.insert(wide.begin() + static_cast<std::ptrdiff_t>(axis), Dim(1));
          bool fits = true;
          for (size_t k = 0; k < rank; ++k) fits &= wide[k] == result[k] || wide[k] == Dim(1);
          if (fits) {
            b.help("`unsqueeze(" + name + ", " + std::to_string(axis) + ")` makes it " + graph::str(wide));
            break;
          }
        }
        if (xs[big]->type.rank() == s.size() + 1 && result.back() == Dim(1))
          b.help("or take the axis of size 1 from the other: `squeeze(" + source_text(*this, span_of(big), "x") +
                 ", -1)`");
      }
      return std::nullopt;
    }
  }
  return result;
}

// ---- compositions

Node* reshape_node(Evaluator& ev, Node* x, Shape shape, Span span) {
  if (x->type.shape == shape) return x;
  if (!(graph::element_count(x->type.shape) == graph::element_count(shape)))
    return open_tensor(ev, {x->type.dtype, shape}, span);
  return graph::reshape(ev.graph(), x, std::move(shape), span);
}

Node* keep_axes(Evaluator& ev, Node* reduced, const Shape& original, const IntList& axes, Span span) {
  Shape s = original;
  for (int64_t a : axes) s[static_cast<size_t>(a)] = Dim(1);
  return graph::reshape(ev.graph(), reduced, std::move(s), span);
}

Node* broadcast_reduced(Evaluator& ev, Node* reduced, const Shape& original, const IntList& axes, Span span) {
  IntList kept;
  for (int64_t a = 0; a < static_cast<int64_t>(original.size()); ++a)
    if (std::find(axes.begin(), axes.end(), a) == axes.end()) kept.push_back(a);
  return graph::broadcast(ev.graph(), reduced, original, kept, span);
}

Node* sigmoid_node(Evaluator& ev, Node* x, Span span) {
  // exp of a number that is never positive: no overflow, and full precision where the result is small.
  graph::Graph& g = ev.graph();
  Node* zero = like(ev, x, 0);
  Node* one = like(ev, x, 1);
  Node* positive = graph::binary(g, "le", zero, x, span);
  Node* e = graph::unary(g, "exp", graph::select(g, positive, graph::unary(g, "neg", x, span), x, span), span);
  return graph::binary(g, "div", graph::select(g, positive, one, e, span), graph::binary(g, "add", one, e, span), span);
}

Node* log_softmax_node(Evaluator& ev, Node* x, int64_t axis, Span span) {
  graph::Graph& g = ev.graph();
  const Shape shape = x->type.shape;
  Node* m = graph::stop_gradient(g, graph::reduce(g, "max", x, {axis}, span), span);
  Node* shifted = graph::binary(g, "sub", x, broadcast_reduced(ev, m, shape, {axis}, span), span);
  Node* total = graph::reduce(g, "sum", graph::unary(g, "exp", shifted, span), {axis}, span);
  return graph::binary(g, "sub", shifted,
                       broadcast_reduced(ev, graph::unary(g, "log", total, span), shape, {axis}, span), span);
}

Node* softmax_node(Evaluator& ev, Node* x, int64_t axis, Span span) {
  graph::Graph& g = ev.graph();
  const Shape shape = x->type.shape;
  Node* m = graph::stop_gradient(g, graph::reduce(g, "max", x, {axis}, span), span);
  Node* e =
      graph::unary(g, "exp", graph::binary(g, "sub", x, broadcast_reduced(ev, m, shape, {axis}, span), span), span);
  Node* total = graph::reduce(g, "sum", e, {axis}, span);
  return graph::binary(g, "div", e, broadcast_reduced(ev, total, shape, {axis}, span), span);
}

Node* argmax_node(Evaluator& ev, Node* x, int64_t axis, bool largest, Span span) {
  return graph::arg_reduce(ev.graph(), largest ? "argmax" : "argmin", x, axis, span);
}

// ---- element types as arguments

std::optional<DTypeArg> dtype_arg(BuiltinCall& call, std::string_view name) {
  const ArgValue& a = call.arg(name);
  if (a.value.is_none() || a.value.is_poison()) return std::nullopt;
  std::string text;
  if (const auto* b = a.value.get<const Builtin*>())
    text = std::string((*b)->name);
  else if (const auto* s = a.value.get<std::string>())
    text = *s;
  if (auto t = graph::dtype_from_name(text)) return DTypeArg{*t, std::nullopt, false};
  if (const auto* r = a.value.get<std::shared_ptr<RecordValue>>())
    if (const Value* c = (*r)->find("class"); c && c->get<Dim>()) {
      DTypeArg d{DType::i32, *c->get<Dim>(), false};
      if (const Value* m = (*r)->find("missing")) d.missing = !m->is_none();
      return d;
    }
  DiagnosticBuilder b = call.ev.error(Code::DTypeMismatch, a.span,
                                      "`" + std::string(name) + "` is an element type, not " + describe(a.value));
  if (a.value.get<Dim>())
    b.help("sizes stand in a list: `" + std::string(call.builtin.name) + "([2, 3])`");
  else if (text == "float" || text == "double" || text == "int" || text == "long" || text == "half")
    b.help(text == "float" ? "`f32`" : text == "double" ? "`f64`" : text == "half" ? "`f16`" : "`i32` or `i64`");
  else
    b.help("one of bool, u8, i8, i16, i32, i64, f16, bf16, f32, f64, or class(C)");
  return std::nullopt;
}

Value cast_value(Evaluator& ev, const Value& x, const DTypeArg& to, Span at, Span span) {
  if (x.is_poison()) return {};
  graph::Graph& g = ev.graph();
  Node* n = nullptr;
  if (const Dim* d = x.get<Dim>(); d && d->is_constant()) {
    const int64_t i = d->value();
    n = graph::is_float(to.dtype)
            ? graph::constant(g, static_cast<double>(i), {to.dtype, {}}, span)
            : graph::constant_int(g, to.dtype == DType::boolean ? i != 0 : i, {to.dtype, {}}, span);
  } else if (const double* f = x.get<double>()) {
    if (graph::is_float(to.dtype)) {
      n = graph::constant(g, *f, {to.dtype, {}}, span);
    } else if (!(std::fabs(*f) < 9.2e18)) {
      ev.error(Code::LiteralDoesNotFit, at, "this float doesn't fit into " + dtype_name(to.dtype));
      return {};
    } else {
      n = graph::constant_int(g, to.dtype == DType::boolean ? *f != 0 : static_cast<int64_t>(*f), {to.dtype, {}}, span);
    }
    // A literal below a cast is of the cast's type from the start (rule 25).
  } else if (const SequenceValue* s = sequence(x); s && s->is_list) {
    ev.error(Code::NotATensor, at, "a cast takes a tensor or a number, not " + describe(x))
        .help("`tensor([…], dtype = " + dtype_name(to.dtype) + ")`");
    return {};
  } else {
    auto t = ev.to_tensor(x, std::nullopt, at);
    if (!t) return {};
    Node* source = ev.node(*t);
    if (to.classes && !graph::is_int(t->type.dtype)) {
      ev.error(Code::ClassMismatch, at, "labels are made of ints, but this is " + type_text(*t))
          .help("`i64(" + source_text(ev, at, "x") + ")` truncates it first");
      return {};
    }
    if (to.classes && t->classes && Dim::never_equal(*t->classes, *to.classes) && t->classes->is_constant() &&
        to.classes->is_constant() && t->classes->value() > to.classes->value()) {
      ev.error(Code::ClassMismatch, at, type_text(*t) + " holds labels that class(" + to.classes->str() + ") can't");
      return {};
    }
    if (t->literal) {
      std::vector<double> values = *t->literal;
      if (!graph::is_float(to.dtype))
        for (double& v : values) v = to.dtype == DType::boolean ? v != 0 : std::trunc(v);
      n = graph::constant_array(g, values, {to.dtype, t->type.shape}, span);
    } else {
      n = source->type.dtype == to.dtype ? source : graph::cast(g, source, to.dtype, span);
    }
    TensorValue r = ev.tensor(n, span);
    r.classes = to.classes;
    r.may_be_missing = to.missing || (to.classes && t->may_be_missing);
    if (graph::is_float(to.dtype) && graph::is_float(t->type.dtype)) {
      r.kind = t->kind;
      r.kind_at = t->kind_at;
      if (t->logits) {
        TensorValue l = ev.tensor(graph::cast(g, ev.node(*t->logits), to.dtype, span), span);
        r.logits = std::make_shared<const TensorValue>(std::move(l));
      }
    }
    return Value(std::move(r), span);
  }
  TensorValue r = ev.tensor(n, span);
  r.classes = to.classes;
  r.may_be_missing = to.missing;
  r.is_literal = !to.classes;
  return Value(std::move(r), span);
}

}  // namespace nnlc::sema
