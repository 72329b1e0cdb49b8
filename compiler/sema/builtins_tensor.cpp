// Making tensors, casts, members, and the table of all tensor builtins.
#include <cmath>
#include <limits>

#include "compiler/sema/tensor_support.h"

namespace nnlc::sema {
namespace {

Value made_as(BuiltinCall& c, Node* n, const std::optional<DTypeArg>& t) {
  TensorValue r = c.ev.tensor(n, c.span);
  if (t) {
    r.classes = t->classes;
    r.may_be_missing = t->missing;
  }
  return Value(std::move(r), c.span);
}

/// `dtype =` if given and right; false: it was reported.
bool dtype_option(BuiltinCall& c, std::optional<DTypeArg>& out) {
  if (!c.given("dtype")) return true;
  out = dtype_arg(c, "dtype");
  return out.has_value();
}

std::optional<Shape> shape_argument(BuiltinCall& c) {
  const ArgValue& a = c.arg("shape");
  if (const Dim* d = a.value.get<Dim>()) {
    if (d->is_constant() && d->value() < 0) {
      c.ev.error(Code::BadSize, a.span, "a size can't be " + d->str());
      return std::nullopt;
    }
    return Shape{*d};
  }
  auto s = c.shape("shape");
  if (!s) return std::nullopt;
  for (const Dim& d : *s)
    if (d.is_constant() && d.value() < 0) {
      c.ev.error(Code::BadSize, a.span, "a size can't be " + d.str());
      return std::nullopt;
    }
  return s;
}

Value zeros_ones(BuiltinCall& c) {
  std::optional<DTypeArg> t;
  auto shape = shape_argument(c);
  if (!shape || !dtype_option(c, t)) return {};
  return made_as(c, fill(c.ev, c.builtin.name == "ones", {t ? t->dtype : DType::f32, *shape}, c.span), t);
}

Value filled(BuiltinCall& c, const Shape& shape, const std::optional<DTypeArg>& t) {
  const ArgValue& a = c.arg("value");
  auto v = c.ev.to_tensor(a.value, t ? std::optional(t->dtype) : std::nullopt, a.span);
  if (!v) return {};
  if (v->type.rank() != 0) {
    c.ev.error(Code::RankMismatch, a.span,
               std::string(c.builtin.name) + " takes one number, but this is " + type_text(*v));
    return {};
  }
  Node* n = c.ev.node(*v);
  if (t && n->type.dtype != t->dtype) n = graph::cast(c.ev.graph(), n, t->dtype, c.span);
  return made_as(c, graph::broadcast_to(c.ev.graph(), n, shape, c.span), t);
}

Value full(BuiltinCall& c) {
  std::optional<DTypeArg> t;
  auto shape = shape_argument(c);
  if (!shape || !dtype_option(c, t)) return {};
  return filled(c, *shape, t);
}

Value alike(BuiltinCall& c) {
  std::optional<DTypeArg> t;
  auto x = c.tensor("x");
  if (!x || !dtype_option(c, t)) return {};
  if (!t) t = DTypeArg{x->type.dtype, x->classes, x->may_be_missing};
  if (c.builtin.name == "full_like") return filled(c, x->type.shape, t);
  return made_as(c, fill(c.ev, c.builtin.name == "ones_like", {t->dtype, x->type.shape}, c.span), t);
}

Value arange(BuiltinCall& c) {
  std::optional<DTypeArg> t;
  if (!dtype_option(c, t)) return {};
  Value start = c.arg("start").value, end = c.arg("end").value, step = c.arg("step").value;
  if (!c.given("end")) {
    end = start;
    start = Value(Dim(0));
  }
  for (const Value* v : {&start, &end, &step}) {
    if (v->is_poison()) return {};
    if (!v->get<Dim>() && !v->get<double>()) {
      c.ev.error(Code::BadSize, c.span, "arange needs static numbers, but has " + describe(*v))
          .note("sizes have to be known when the program is compiled");
      return {};
    }
  }
  graph::Graph& g = c.ev.graph();
  const bool ints = start.get<Dim>() && end.get<Dim>() && step.get<Dim>();
  const auto step_number = static_number(step);
  if (!step_number || *step_number == 0) {
    c.ev.error(Code::ArgumentOutOfRange, c.arg("step").span, "arange needs a step that isn't 0");
    return {};
  }
  Dim count(0);
  if (ints) {
    const Dim distance = *end.get<Dim>() - *start.get<Dim>();
    const int64_t s = static_cast<int64_t>(*step_number);
    count = s > 0 ? Dim::floor_div(distance + Dim(s - 1), Dim(s))
                  : Dim::floor_div(Dim(0) - distance + Dim(-s - 1), Dim(-s));
  } else {
    const auto a = static_number(start), b = static_number(end);
    if (!a || !b) return {};
    count = Dim(static_cast<int64_t>(std::ceil((*b - *a) / *step_number)));
  }
  if (count.is_constant() && count.value() < 0) {
    c.ev.error(Code::ArgumentOutOfRange, c.span, "arange would be empty: the end lies on the other side of the start");
    return {};
  }
  const DType dtype = t ? t->dtype : ints ? DType::i64 : DType::f32;
  if (dtype == DType::boolean || (!ints && !graph::is_float(dtype))) {
    c.ev.error(Code::LiteralDoesNotFit, c.span, "arange of these numbers can't be " + std::string(graph::name(dtype)));
    return {};
  }
  const TensorType type{dtype, {count}};
  Node* n = graph::iota(g, type, 0, c.span);
  const auto first = static_number(start);
  if (*step_number != 1) n = graph::binary(g, "mul", n, fill(c.ev, *step_number, type, c.span), c.span);
  if (first && *first != 0) n = graph::binary(g, "add", n, fill(c.ev, *first, type, c.span), c.span);
  return made_as(c, n, t);
}

Value linspace(BuiltinCall& c) {
  std::optional<DTypeArg> t;
  auto start = c.number("start"), end = c.number("end");
  auto steps = c.integer("steps");
  if (!start || !end || !steps || !dtype_option(c, t)) return {};
  if (*steps < 0 || *steps > (1 << 24)) {
    c.ev.error(Code::BadSize, c.arg("steps").span, "linspace can't have " + std::to_string(*steps) + " steps");
    return {};
  }
  const DType dtype = t ? t->dtype : DType::f32;
  if (!graph::is_float(dtype)) {
    c.ev.error(Code::NeedsFloat, c.arg("dtype").span, "linspace is of floats");
    return {};
  }
  std::vector<double> values(static_cast<size_t>(*steps));
  const double step = *steps > 1 ? (*end - *start) / static_cast<double>(*steps - 1) : 0;
  // From both ends, so that the last value is exactly `end`.
  for (int64_t i = 0; i < *steps; ++i)
    values[static_cast<size_t>(i)] = i < *steps / 2 || *steps == 1 ? *start + step * static_cast<double>(i)
                                                                   : *end - step * static_cast<double>(*steps - 1 - i);
  return made_as(c, graph::constant_array(c.ev.graph(), values, {dtype, {Dim(*steps)}}, c.span), t);
}

Value eye(BuiltinCall& c) {
  std::optional<DTypeArg> t;
  auto n = c.dim("n");
  if (!n || !dtype_option(c, t)) return {};
  Dim m = *n;
  if (c.given("m")) {
    auto d = c.dim("m");
    if (!d) return {};
    m = *d;
  }
  const TensorType places{DType::i64, {*n, m}};
  graph::Graph& g = c.ev.graph();
  Node* same = graph::binary(g, "eq", graph::iota(g, places, 0, c.span), graph::iota(g, places, 1, c.span), c.span);
  return made_as(c, graph::cast(g, same, t ? t->dtype : DType::f32, c.span), t);
}

// ---- tensor([[1.0, 2.0], [3.0, 4.0]])

struct Literal {
  BuiltinCall& c;
  std::vector<double> numbers;
  std::vector<int64_t> ints;
  std::vector<Value> leaves;
  bool any_float = false, any_int = false, any_bool = false, all_static = true;
  std::vector<int64_t> shape;

  static std::string place(const std::vector<int64_t>& at) {
    if (at.empty()) return "the list";
    std::string s = at.size() == 1 ? "row " : "the list at [";
    for (size_t i = 0; i < at.size(); ++i) s += (i ? ", " : "") + std::to_string(at[i]);
    return at.size() == 1 ? s : s + "]";
  }

  bool walk(const Value& v, size_t depth, std::vector<int64_t>& at, Span span) {
    if (v.is_poison()) return false;
    const Span here = v.span.valid() ? v.span : span;
    if (const SequenceValue* s = sequence(v)) {
      const auto n = static_cast<int64_t>(s->items.size());
      if (shape.size() == depth) {
        if (!leaves.empty()) return ragged("a number and a list stand side by side", here);
        shape.push_back(n);
      } else if (shape[depth] != n) {
        return ragged(place(at) + " has " + std::to_string(n) + (n == 1 ? " element" : " elements") +
                          ", the first has " + std::to_string(shape[depth]),
                      here);
      }
      at.push_back(0);
      for (int64_t i = 0; i < n; ++i) {
        at.back() = i;
        if (!walk(s->items[static_cast<size_t>(i)], depth + 1, at, here)) return false;
      }
      at.pop_back();
      return true;
    }
    if (depth != shape.size()) return ragged("a number and a list stand side by side", here);
    const auto* run_time = v.get<RuntimeValue>();
    if (v.get<double>())
      any_float = true;
    else if (v.get<bool>())
      any_bool = true;
    else if (v.get<Dim>())
      any_int = true;
    else if (run_time && is_host_number(v)) {
      (run_time->type.kind == host::Type::Kind::floating  ? any_float
       : run_time->type.kind == host::Type::Kind::boolean ? any_bool
                                                          : any_int) = true;
    } else if (const auto* t = v.get<TensorValue>()) {
      (graph::is_float(t->type.dtype) ? any_float : t->type.dtype == DType::boolean ? any_bool : any_int) = true;
    } else {
      c.ev.error(Code::NotATensor, here, "tensor takes numbers, but this is " + describe(v));
      return false;
    }
    all_static &= static_number(v).has_value() || v.get<bool>();
    leaves.push_back(v);
    return true;
  }
  bool ragged(const std::string& what, Span at) {
    c.ev.error(Code::RaggedList, at.valid() ? at : c.span, "the rows of the list differ: " + what);
    return false;
  }
};

Value tensor(BuiltinCall& c) {
  std::optional<DTypeArg> t;
  if (!dtype_option(c, t)) return {};
  const ArgValue& a = c.arg("data");
  if (const auto* x = a.value.get<TensorValue>()) return t ? cast_value(c.ev, Value(*x), *t, a.span, c.span) : a.value;
  Literal l{c, {}, {}, {}, false, false, false, true, {}};
  std::vector<int64_t> at;
  if (!l.walk(a.value, 0, at, a.span)) return {};
  if (l.any_bool && (l.any_float || l.any_int)) {
    c.ev.error(Code::DTypeMismatch, a.span, "bools and numbers are mixed in one tensor");
    return {};
  }
  const DType natural = l.any_bool ? DType::boolean : l.any_int && !l.any_float ? DType::i64 : DType::f32;
  const DType dtype = t ? t->dtype : natural;
  if (l.any_float && !graph::is_float(dtype)) {
    c.ev.error(Code::LiteralDoesNotFit, a.span, "floats don't become elements of " + std::string(graph::name(dtype)))
        .help("`cast(tensor([…]), …)` truncates");
    return {};
  }
  Shape shape;
  for (int64_t d : l.shape) shape.push_back(Dim(d));
  graph::Graph& g = c.ev.graph();
  if (l.all_static) {
    std::vector<double> values;
    for (const Value& v : l.leaves) {
      const double number = v.get<bool>() ? *v.get<bool>() : *static_number(v);
      if (t && t->classes && t->classes->is_constant() &&
          (number < (t->missing ? -1 : 0) || number >= static_cast<double>(t->classes->value()))) {
        c.ev.error(Code::ClassMismatch, v.span.valid() ? v.span : a.span,
                   std::to_string(static_cast<int64_t>(number)) + " isn't a label of class(" + t->classes->str() + ")");
        return {};
      }
      if (graph::is_int(dtype) && !c.ev.to_tensor(v, dtype, v.span.valid() ? v.span : a.span)) return {};
      values.push_back(number);
    }
    // Ints beyond 2^53 don't fit into the doubles of the array: they are put together one by one.
    bool exact = true;
    for (double d : values) exact &= std::fabs(d) < 9007199254740992.0 || graph::is_float(dtype);
    if (exact) {
      TensorValue r = c.ev.tensor(graph::constant_array(g, values, {dtype, shape}, c.span), c.span);
      r.is_literal = !t;
      if (!t) r.literal = std::make_shared<const std::vector<double>>(std::move(values));
      if (t) {
        r.classes = t->classes;
        r.may_be_missing = t->missing;
      }
      return Value(std::move(r), c.span);
    }
  }
  std::vector<Node*> parts;
  for (const Value& v : l.leaves) {
    auto leaf = c.ev.to_tensor(v, dtype, v.span.valid() ? v.span : a.span);
    if (!leaf) return {};
    if (leaf->type.rank() != 0) {
      c.ev.error(Code::RankMismatch, a.span, "tensor takes numbers, but the list holds " + type_text(*leaf))
          .help("`stack([…])` joins tensors");
      return {};
    }
    Node* n = c.ev.node(*leaf);
    if (n->type.dtype != dtype) n = graph::cast(g, n, dtype, c.span);
    parts.push_back(graph::reshape(g, n, {Dim(1)}, c.span));
  }
  if (parts.empty()) return made_as(c, fill(c.ev, 0, {dtype, shape}, c.span), t);
  return made_as(c, graph::reshape(g, graph::concat(g, parts, 0, c.span), shape, c.span), t);
}

// ---- casts

Value named_cast(BuiltinCall& c) {
  const ArgValue& a = c.arg("x");
  if (c.builtin.name == "bool") {  // `bool(n)` of a host value stays a host value
    if (const bool* b = a.value.get<bool>()) return Value(*b, c.span);
    if (auto n = static_number(a.value)) return Value(*n != 0, c.span);
    if (const auto* r = a.value.get<RuntimeValue>(); r && is_host_number(a.value))
      return r->type.kind == host::Type::Kind::boolean
                 ? a.value
                 : c.ev.binary(ast::BinaryOp::ne, a.value, Value(Dim(0)), c.span, a.span, a.span);
  }
  return cast_value(c.ev, a.value, {*graph::dtype_from_name(c.builtin.name), std::nullopt, false}, a.span, c.span);
}

Value cast(BuiltinCall& c) {
  const ArgValue& a = c.arg("x");
  if (!c.given("dtype")) {
    if (!c.arg("dtype").value.is_poison())
      c.ev.error(Code::DTypeMismatch, c.span, "cast needs the new element type").help("`cast(x, bf16)`");
    return {};
  }
  auto t = dtype_arg(c, "dtype");
  if (!t) return {};
  if (c.given("missing")) t->missing = true;
  if (const SequenceValue* s = sequence(a.value); s && s->is_list)
    return c.ev.call(
        Value(find_builtin("tensor")),
        {ArgValue{"", {}, a.value, a.span}, ArgValue{"dtype", {}, c.arg("dtype").value, c.arg("dtype").span}}, nullptr,
        c.span, c.callee_span);
  // Labels made of ints that are written down are checked here.
  if (t->classes && t->classes->is_constant())
    if (const auto* x = a.value.get<TensorValue>(); x && x->literal && graph::is_int(x->type.dtype))
      for (double v : *x->literal)
        if (v < (t->missing ? -1 : 0) || v >= static_cast<double>(t->classes->value())) {
          c.ev.error(Code::ClassMismatch, a.span,
                     std::to_string(static_cast<int64_t>(v)) + " isn't a label of class(" + t->classes->str() + ")");
          return {};
        }
  const Value made = cast_value(c.ev, a.value, *t, a.span, c.span);
  const auto *labels = made.get<TensorValue>(), *ints = a.value.get<TensorValue>();
  if (labels && ints && labels->classes && labels->classes->is_constant() && !ints->classes && !ints->literal)
    c.ev.check_when_run(*ints, {"label", t->missing ? -1 : 0, labels->classes->value() - 1, {}, c.span});
  return made;
}

/// `class(C)` where a value is expected: an element type as an argument.
Value class_type(BuiltinCall& c) {
  auto d = c.dim("classes");
  if (!d) return {};
  if (d->is_constant() && d->value() < 1) {
    c.ev.error(Code::ClassMismatch, c.arg("classes").span, "class(C) needs at least one class");
    return {};
  }
  auto r = std::make_shared<RecordValue>();
  r->names = {"class", "missing"};
  r->items = {Value(*d), c.arg("missing").value};
  return Value(std::move(r), c.span);
}

Value member_function(BuiltinCall& c) {
  auto x = c.tensor("x");
  if (!x) return {};
  const std::string f(c.builtin.name);
  if (f == "shape" || f == "size") {
    if (f == "size" && c.given("axis")) {
      auto a = c.axis("axis", x->type.rank());
      return a ? Value(x->type.shape[static_cast<size_t>(*a)], c.span) : Value();
    }
    return *tensor_member(c.ev, *x, {"shape", c.span});
  }
  return *tensor_member(c.ev, *x, {f, c.span});
}

}  // namespace

std::optional<Value> tensor_member(Evaluator& ev, const TensorValue& x, const ast::Name& name) {
  const std::string& n = name.text;
  if (n == "shape") {
    std::vector<Value> sizes;
    for (const Dim& d : x.type.shape) sizes.push_back(Value(d, name.span));
    return list_of(std::move(sizes), name.span);
  }
  if (n == "ndim" || n == "rank") return Value(Dim(static_cast<int64_t>(x.type.rank())), name.span);
  if (n == "numel") return Value(graph::element_count(x.type.shape), name.span);
  if (n == "dtype") return Value(std::string(graph::name(x.type.dtype)), name.span);
  if (n == "T") {
    if (x.type.rank() != 2) {
      ev.error(Code::RankMismatch, name.span, "`.T` is for rank 2, but this is " + type_text(x))
          .help("`transpose(x, -2, -1)` exchanges two axes, `permute` orders all");
      return Value();
    }
    return Value(permute_value(ev, x, {1, 0}, name.span, ".T"), name.span);
  }
  if (n == "mT") {
    if (x.type.rank() < 2) {
      ev.error(Code::RankMismatch, name.span, "`.mT` needs at least rank 2, but this is " + type_text(x));
      return Value();
    }
    IntList perm = all_axes(x.type.rank());
    std::swap(perm[perm.size() - 1], perm[perm.size() - 2]);
    return Value(permute_value(ev, x, perm, name.span, ".mT"), name.span);
  }
  return std::nullopt;
}

const std::vector<Builtin> kTensorBuiltins = [] {
  std::vector<Builtin> all = {
      {"tensor", "data, dtype = None", tensor, "a tensor of a list: floats give f32, ints i64, bools bool"},
      {"zeros", "shape, dtype = None", zeros_ones, "zeros of a shape"},
      {"ones", "shape, dtype = None", zeros_ones, "ones of a shape"},
      {"full", "shape, value, dtype = None", full, "one number at every place of a shape"},
      {"zeros_like", "x, dtype = None", alike, "zeros of x's type"},
      {"ones_like", "x, dtype = None", alike, "ones of x's type"},
      {"full_like", "x, value, dtype = None", alike, "one number at every place of x's type"},
      {"arange", "start, end = None, step = 1, dtype = None", arange, "start, start + step, … below end"},
      {"linspace", "start, end, steps, dtype = None", linspace, "evenly spaced numbers, both ends among them"},
      {"eye", "n, m = None, dtype = None", eye, "ones on the diagonal of [n, m]"},
      {"cast", "x, dtype = None, missing = None", cast, "x as another element type, or as class(C)"},
      {"class", "classes, missing = None", class_type, "the element type class(C), for cast and dtype"},
      {"bool", "x", named_cast, "x as bool: false where it is 0"},
      {"u8", "x", named_cast, "x as u8"},
      {"i8", "x", named_cast, "x as i8"},
      {"i16", "x", named_cast, "x as i16"},
      {"i32", "x", named_cast, "x as i32"},
      {"i64", "x", named_cast, "x as i64; of labels, their numbers"},
      {"f16", "x", named_cast, "x as f16"},
      {"bf16", "x", named_cast, "x as bf16"},
      {"f32", "x", named_cast, "x as f32"},
      {"f64", "x", named_cast, "x as f64"},
      {"shape", "x", member_function, "the sizes, as a list of static ints"},
      {"size", "x, axis = None", member_function, "the sizes, or one of them"},
      {"ndim", "x", member_function, "the number of axes"},
      {"numel", "x", member_function, "the number of elements"},
      {"item", "x",
       [](BuiltinCall& c) {
         auto x = c.tensor("x");
         if (!x) return Value();
         for (const Dim& d : x->type.shape)
           if (!(d == Dim(1))) {
             c.ev.error(Code::RankMismatch, c.arg("x").span, "item reads one number, but this is " + type_text(*x));
             return Value();
           }
         return c.ev.to_host(Value(reshape_value(c.ev, *x, {}, c.span), c.span), c.span);
       },
       "the one number of a tensor, as a host value"},
  };
  for (auto part : {math_builtins(), reduce_builtins(), shape_builtins(), random_builtins(), einsum_builtins(),
                    index_builtins(), intrinsic_builtins(), scan_builtins(), convolution_builtins()})
    all.insert(all.end(), part.begin(), part.end());
  return all;
}();

}  // namespace nnlc::sema
