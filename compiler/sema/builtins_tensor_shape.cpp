// Views and rearrangements.
#include <algorithm>
#include <set>

#include "compiler/sema/tensor_support.h"

namespace nnlc::sema {
namespace {

Value made(BuiltinCall& c, Node* n) { return Value(c.ev.tensor(n, c.span), c.span); }

/// Sizes or axes written as arguments, `view(x, 2, 3)`, or as one list.
std::optional<Shape> rest_dims(BuiltinCall& c) {
  std::vector<std::pair<Value, Span>> items;
  if (c.rest.size() == 1)
    if (const SequenceValue* s = sequence(c.rest[0].value)) {
      for (const Value& v : s->items) items.push_back({v, c.rest[0].span});
      if (items.empty()) return Shape{};
    }
  if (items.empty())
    for (const ArgValue& a : c.rest) items.push_back({a.value, a.span});
  Shape dims;
  for (auto& [v, at] : items) {
    if (v.is_poison()) return std::nullopt;
    const Dim* d = v.get<Dim>();
    if (!d) {
      DiagnosticBuilder b =
          c.ev.error(Code::BadSize, at, std::string(c.builtin.name) + " takes static ints, but this is " + describe(v));
      if (v.get<RuntimeValue>()) {
        b.at("is known only when the program runs");
        b.note("sizes have to be known when the program is compiled");
      }
      return std::nullopt;
    }
    dims.push_back(*d);
  }
  return dims;
}

std::optional<IntList> rest_axes(BuiltinCall& c, size_t rank) {
  auto dims = rest_dims(c);
  if (!dims) return std::nullopt;
  IntList axes;
  for (const Dim& d : *dims) {
    int64_t a = d.is_constant() ? d.value() : static_cast<int64_t>(rank);
    if (a < -static_cast<int64_t>(rank) || a >= static_cast<int64_t>(rank)) {
      c.ev.error(Code::AxisOutOfRange, c.span,
                 std::string(c.builtin.name) + ": there is no axis " + d.str() + " in a tensor of rank " +
                     std::to_string(rank));
      return std::nullopt;
    }
    axes.push_back(a < 0 ? a + static_cast<int64_t>(rank) : a);
  }
  return axes;
}

/// The -1 of view and reshape, and the count of elements. With symbols, what can't be proved waits until they are
/// known.
std::optional<Shape> resolve_shape(BuiltinCall& c, const TensorValue& x, Shape dims) {
  const std::string f(c.builtin.name);
  const Dim total = graph::element_count(x.type.shape);
  std::optional<size_t> open;
  Dim known(1);
  for (size_t i = 0; i < dims.size(); ++i) {
    if (dims[i] == Dim(-1)) {
      if (open) {
        c.ev.error(Code::ElementCountMismatch, c.span, f + ": only one size can be -1");
        return std::nullopt;
      }
      open = i;
      continue;
    }
    if (dims[i].is_constant() && dims[i].value() < 0) {
      c.ev.error(Code::BadSize, c.span, f + ": a size can't be " + dims[i].str());
      return std::nullopt;
    }
    known = known * dims[i];
  }
  auto mismatch = [&](const std::string& what) {
    DiagnosticBuilder b = c.ev.error(Code::ElementCountMismatch, c.span, what);
    b.label(c.arg("x").span, "is " + type_text(x));
  };
  if (open) {
    if (auto q = Dim::exact_div(total, known)) {
      dims[*open] = *q;
    } else if (total.is_constant() && known.is_constant()) {
      mismatch(f + ": " + total.str() + " elements can't be divided by " + known.str());
      return std::nullopt;
    } else {
      dims[*open] = Dim::floor_div(total, known);
    }
    return dims;
  }
  if (known == total) return dims;
  if (Dim::never_equal(known, total) || (known.is_constant() && total.is_constant()) || !c.ev.context.dry) {
    mismatch(f + ": " + graph::str(x.type.shape) + " has " + total.str() + " elements, " + graph::str(dims) + " has " +
             known.str());
    return std::nullopt;
  }
  return dims;
}

Value view(BuiltinCall& c) {
  auto x = c.tensor("x");
  if (!x) return {};
  if (c.rest.empty()) {
    c.ev.error(Code::BadSize, c.span, std::string(c.builtin.name) + " needs the new sizes")
        .help("`" + std::string(c.builtin.name) + "(x, N, -1)`");
    return {};
  }
  auto dims = rest_dims(c);
  if (!dims) return {};
  auto shape = resolve_shape(c, *x, *dims);
  if (!shape) return {};
  const bool proved = graph::element_count(*shape) == graph::element_count(x->type.shape);
  if (c.builtin.name == "view" && proved && !view_strides(*x, *shape)) {
    std::string args;
    for (const Dim& d : *dims) args += (args.empty() ? "" : ", ") + d.str();
    DiagnosticBuilder b = c.ev.error(
        Code::ViewWouldCopy, c.span,
        "view to " + graph::str(*shape) + " would have to copy: " + graph::str(x->type.shape) + " isn't contiguous");
    const std::string& by = x->layout.broken_name;
    b.label(x->layout.broken_by, by == "slicing"  ? "this slice leaves gaps between the elements"
                                 : by == "expand" ? "`expand` shows elements more than once here"
                                                  : "`" + by + "` changed the order of the elements here");
    b.help("`reshape(" + args + ")` copies where it must");
    if (c.callee_span.valid() && c.ev.sources.text(c.callee_span) == "view") b.fix(c.callee_span, "reshape");
    return {};
  }
  return Value(reshape_value(c.ev, *x, *shape, c.span), c.span);
}

Value reshape_to_flat(BuiltinCall& c) {
  auto x = c.tensor("x");
  if (!x) return {};
  const size_t rank = x->type.rank();
  if (rank == 0) return Value(reshape_value(c.ev, *x, {Dim(1)}, c.span), c.span);
  auto first = c.axis("start_axis", rank), last = c.axis("end_axis", rank);
  if (!first || !last) return {};
  if (*first > *last) {
    c.ev.error(Code::AxisOutOfRange, c.span, "flatten: the first axis comes after the last");
    return {};
  }
  Shape s;
  Dim merged(1);
  for (size_t i = 0; i < rank; ++i) {
    const auto a = static_cast<int64_t>(i);
    if (a < *first || a > *last) {
      s.push_back(x->type.shape[i]);
    } else {
      merged = merged * x->type.shape[i];
      if (a == *last) s.push_back(merged);
    }
  }
  return Value(reshape_value(c.ev, *x, s, c.span), c.span);
}

Value unflatten(BuiltinCall& c) {
  auto x = c.tensor("x");
  if (!x) return {};
  auto axis = c.axis("axis", x->type.rank());
  auto sizes = c.shape("sizes");
  if (!axis || !sizes) return {};
  TensorValue part;
  part.type = {x->type.dtype, {x->type.shape[static_cast<size_t>(*axis)]}};
  auto inner = resolve_shape(c, part, *sizes);
  if (!inner) return {};
  Shape s = x->type.shape;
  s.erase(s.begin() + *axis);
  s.insert(s.begin() + *axis, inner->begin(), inner->end());
  return Value(reshape_value(c.ev, *x, s, c.span), c.span);
}

Value permute(BuiltinCall& c) {
  auto x = c.tensor("x");
  if (!x) return {};
  auto axes = rest_axes(c, x->type.rank());
  if (!axes) return {};
  IntList sorted = *axes;
  std::sort(sorted.begin(), sorted.end());
  if (sorted != all_axes(x->type.rank())) {
    c.ev.error(Code::AxisOutOfRange, c.span,
               "permute needs each of the " + std::to_string(x->type.rank()) + " axes once")
        .label(c.arg("x").span, "is " + type_text(*x));
    return {};
  }
  return Value(permute_value(c.ev, *x, *axes, c.span, "permute"), c.span);
}

Value transpose(BuiltinCall& c) {
  auto x = c.tensor("x");
  if (!x) return {};
  const size_t rank = x->type.rank();
  int64_t a = 0, b = 1;
  if (!c.given("axis0") && !c.given("axis1")) {
    if (rank != 2) {
      c.ev.error(Code::RankMismatch, c.span, "transpose without axes is for rank 2, but this is " + type_text(*x))
          .help("name the two axes: `transpose(x, -2, -1)`");
      return {};
    }
  } else {
    auto first = c.axis("axis0", rank), second = c.axis("axis1", rank);
    if (!first || !second) return {};
    a = *first;
    b = *second;
  }
  IntList perm = all_axes(rank);
  std::swap(perm[static_cast<size_t>(a)], perm[static_cast<size_t>(b)]);
  return Value(permute_value(c.ev, *x, perm, c.span, "transpose"), c.span);
}

Value moveaxis(BuiltinCall& c) {
  auto x = c.tensor("x");
  if (!x) return {};
  auto from = c.axis("source", x->type.rank()), to = c.axis("destination", x->type.rank());
  if (!from || !to) return {};
  IntList perm = all_axes(x->type.rank());
  perm.erase(perm.begin() + *from);
  perm.insert(perm.begin() + *to, *from);
  return Value(permute_value(c.ev, *x, perm, c.span, std::string(c.builtin.name)), c.span);
}

Value unsqueeze(BuiltinCall& c) {
  auto x = c.tensor("x");
  if (!x) return {};
  auto axis = c.axis("axis", x->type.rank() + 1);
  if (!axis) return {};
  Shape s = x->type.shape;
  s.insert(s.begin() + *axis, Dim(1));
  return Value(reshape_value(c.ev, *x, s, c.span), c.span);
}

Value squeeze(BuiltinCall& c) {
  auto x = c.tensor("x");
  if (!x) return {};
  const Shape& old = x->type.shape;
  Shape s;
  if (!c.given("axis")) {
    for (const Dim& d : old)
      if (!(d == Dim(1))) s.push_back(d);
  } else {
    auto axes = c.axes("axis", old.size());
    if (!axes) return {};
    for (size_t i = 0; i < old.size(); ++i) {
      const bool named = std::find(axes->begin(), axes->end(), static_cast<int64_t>(i)) != axes->end();
      if (named && !(old[i] == Dim(1))) {
        if (!old[i].is_constant() && !Dim::never_equal(old[i], Dim(1))) return {};  // decided when the size is known
        c.ev.error(Code::BadSize, c.span,
                   "squeeze: axis " + std::to_string(i) + " has size " + old[i].str() + ", not 1")
            .label(c.arg("x").span, "is " + type_text(*x));
        return {};
      }
      if (!named) s.push_back(old[i]);
    }
  }
  return Value(reshape_value(c.ev, *x, s, c.span), c.span);
}

Value expand(BuiltinCall& c) {
  auto x = c.tensor("x");
  if (!x) return {};
  auto dims = rest_dims(c);
  if (!dims) return {};
  const Shape& old = x->type.shape;
  if (dims->size() < old.size()) {
    c.ev.error(Code::RankMismatch, c.span, "expand needs a size for each axis")
        .label(c.arg("x").span, "is " + type_text(*x))
        .help("-1 keeps a size");
    return {};
  }
  const size_t lead = dims->size() - old.size();
  Shape s = *dims;
  const std::vector<Dim> from = strides_of(*x);
  std::vector<Dim> strides(s.size(), Dim(0));
  IntList axes;
  for (size_t i = 0; i < s.size(); ++i) {
    if (i < lead) {
      if (s[i] == Dim(-1)) {
        c.ev.error(Code::BadSize, c.span, "expand: a new axis needs a size, not -1");
        return {};
      }
      continue;
    }
    const Dim& was = old[i - lead];
    axes.push_back(static_cast<int64_t>(i));
    if (s[i] == Dim(-1)) s[i] = was;
    if (s[i] == was) {
      strides[i] = from[i - lead];
    } else if (!(was == Dim(1))) {
      c.ev.error(Code::BadSize, c.span,
                 "expand: axis " + std::to_string(i - lead) + " has size " + was.str() + ", only size 1 can become " +
                     s[i].str())
          .label(c.arg("x").span, "is " + type_text(*x));
      return {};
    }
  }
  Node* n = graph::broadcast(c.ev.graph(), c.ev.node(*x), s, axes, c.span);
  return Value(view_result(c.ev, *x, n, std::move(strides), c.span, "expand"), c.span);
}

Value expand_as(BuiltinCall& c) {
  auto x = c.tensor("x");
  auto y = c.tensor("other");
  if (!x || !y) return {};
  auto s = c.ev.broadcast_shape({&*x, &*y}, {c.arg("x").span, c.arg("other").span}, c.span, "expand_as");
  if (!s) return {};
  if (!(*s == y->type.shape)) {
    c.ev.error(Code::OperandShapes, c.span,
               "expand_as: " + graph::str(x->type.shape) + " doesn't fit into " + graph::str(y->type.shape));
    return {};
  }
  return Value(carry(c.ev, *x, graph::broadcast_to(c.ev.graph(), c.ev.node(*x), *s, c.span), c.span), c.span);
}

Value repeat(BuiltinCall& c) {
  auto x = c.tensor("x");
  if (!x) return {};
  auto dims = rest_dims(c);
  if (!dims) return {};
  if (dims->size() < x->type.rank()) {
    c.ev.error(Code::RankMismatch, c.span, "repeat needs a count for each axis")
        .label(c.arg("x").span, "is " + type_text(*x));
    return {};
  }
  // [a, b] repeated r, s times is [r, a, s, b] seen as [r a, s b].
  Shape old = x->type.shape;
  old.insert(old.begin(), dims->size() - old.size(), Dim(1));
  Shape wide, result;
  IntList axes;
  for (size_t i = 0; i < old.size(); ++i) {
    if ((*dims)[i].is_constant() && (*dims)[i].value() < 0) {
      c.ev.error(Code::BadSize, c.span, "repeat: a count can't be " + (*dims)[i].str());
      return {};
    }
    wide.push_back((*dims)[i]);
    wide.push_back(old[i]);
    axes.push_back(static_cast<int64_t>(2 * i + 1));
    result.push_back((*dims)[i] * old[i]);
  }
  Node* n = reshape_node(c.ev, c.ev.node(*x), old, c.span);
  n = graph::broadcast(c.ev.graph(), n, wide, axes, c.span);
  return Value(carry(c.ev, *x, reshape_node(c.ev, n, result, c.span), c.span), c.span);
}

Value flip(BuiltinCall& c) {
  auto x = c.tensor("x");
  if (!x) return {};
  auto axes = c.axes("axis", x->type.rank());
  if (!axes) return {};
  std::vector<Dim> strides = strides_of(*x);
  for (int64_t a : *axes) strides[static_cast<size_t>(a)] = Dim(0) - strides[static_cast<size_t>(a)];
  std::sort(axes->begin(), axes->end());
  Node* n = graph::flip(c.ev.graph(), c.ev.node(*x), *axes, c.span);
  return Value(view_result(c.ev, *x, n, std::move(strides), c.span, "flip"), c.span);
}

Node* cut(BuiltinCall& c, Node* n, int64_t axis, const Dim& start, const Dim& size) {
  Shape starts(n->type.rank(), Dim(0)), sizes = n->type.shape;
  starts[static_cast<size_t>(axis)] = start;
  sizes[static_cast<size_t>(axis)] = size;
  return graph::slice(c.ev.graph(), n, starts, sizes, IntList(n->type.rank(), 1), c.span);
}

TensorValue cut_view(BuiltinCall& c, const TensorValue& x, int64_t axis, const Dim& start, const Dim& size) {
  return view_result(c.ev, x, cut(c, c.ev.node(x), axis, start, size), strides_of(x), c.span,
                     std::string(c.builtin.name));
}

Value roll(BuiltinCall& c) {
  auto x = c.tensor("x");
  auto shift = c.integer("shifts");
  if (!x || !shift) return {};
  Node* n = c.ev.node(*x);
  const Shape original = x->type.shape;
  int64_t axis = 0;
  if (!c.given("axis")) {
    n = reshape_node(c.ev, n, {graph::element_count(original)}, c.span);
  } else {
    auto a = c.axis("axis", x->type.rank());
    if (!a) return {};
    axis = *a;
  }
  const Dim size = n->type.shape[static_cast<size_t>(axis)];
  if (!size.is_constant()) return Value(carry(c.ev, *x, open_tensor(c.ev, x->type, c.span), c.span), c.span);
  const int64_t s = size.value() == 0 ? 0 : ((*shift % size.value()) + size.value()) % size.value();
  if (s != 0)
    n = graph::concat(c.ev.graph(),
                      {cut(c, n, axis, Dim(size.value() - s), Dim(s)), cut(c, n, axis, Dim(0), Dim(size.value() - s))},
                      axis, c.span);
  return Value(carry(c.ev, *x, reshape_node(c.ev, n, original, c.span), c.span), c.span);
}

/// The tensors of a list argument, of one element type.
std::optional<std::vector<TensorValue>> tensor_list(BuiltinCall& c, std::string_view name) {
  const ArgValue& a = c.arg(name);
  if (a.value.is_poison()) return std::nullopt;
  const SequenceValue* s = sequence(a.value);
  const std::string f(c.builtin.name);
  if (!s) {
    auto* r = a.value.get<RuntimeValue>();
    if (r && r->type.kind == host::Type::Kind::list)
      c.ev.error(Code::NotStatic, a.span,
                 f + " makes a tensor of a known size, but this list's length isn't known when compiling")
          .help("a comprehension over a static range, `[… for i in 0..n]`, has a known length");
    else
      c.ev.error(Code::NotATensor, a.span, f + " takes a list of tensors, but this is " + describe(a.value))
          .help("`" + f + "([a, b], axis = 0)`");
    return std::nullopt;
  }
  if (s->items.empty()) {
    c.ev.error(Code::BadSize, a.span, f + " of an empty list");
    return std::nullopt;
  }
  return unify(c.ev, s->items, std::vector<Span>(s->items.size(), a.span), c.span, f);
}

Value concat(BuiltinCall& c) {
  auto xs = tensor_list(c, "tensors");
  if (!xs) return {};
  const size_t rank = (*xs)[0].type.rank();
  if (rank == 0) {
    c.ev.error(Code::RankMismatch, c.span, "concat needs tensors with an axis")
        .help("`stack` joins scalars along a new axis");
    return {};
  }
  auto axis = c.axis("axis", rank);
  if (!axis) return {};
  std::vector<Node*> nodes;
  for (const TensorValue& t : *xs) {
    bool fits = t.type.rank() == rank;
    for (size_t i = 0; fits && i < rank; ++i)
      fits = static_cast<int64_t>(i) == *axis || t.type.shape[i] == (*xs)[0].type.shape[i];
    if (!fits) {
      c.ev.error(Code::OperandShapes, c.span,
                 "concat along axis " + std::to_string(*axis) + ": " + graph::str((*xs)[0].type.shape) + " and " +
                     graph::str(t.type.shape) + " differ elsewhere");
      return {};
    }
    nodes.push_back(c.ev.node(t));
  }
  TensorValue r = c.ev.tensor(graph::concat(c.ev.graph(), nodes, *axis, c.span), c.span);
  r.classes = (*xs)[0].classes;
  return Value(std::move(r), c.span);
}

Value stack(BuiltinCall& c) {
  auto xs = tensor_list(c, "tensors");
  if (!xs) return {};
  auto axis = c.axis("axis", (*xs)[0].type.rank() + 1);
  if (!axis) return {};
  std::vector<Node*> nodes;
  for (const TensorValue& t : *xs) {
    if (!(t.type.shape == (*xs)[0].type.shape)) {
      c.ev.error(
          Code::OperandShapes, c.span,
          "stack needs equal shapes, but has " + graph::str((*xs)[0].type.shape) + " and " + graph::str(t.type.shape));
      return {};
    }
    Shape s = t.type.shape;
    s.insert(s.begin() + *axis, Dim(1));
    nodes.push_back(graph::reshape(c.ev.graph(), c.ev.node(t), s, c.span));
  }
  TensorValue r = c.ev.tensor(graph::concat(c.ev.graph(), nodes, *axis, c.span), c.span);
  r.classes = (*xs)[0].classes;
  return Value(std::move(r), c.span);
}

Value split(BuiltinCall& c) {
  auto x = c.tensor("x");
  if (!x) return {};
  auto axis = c.axis("axis", x->type.rank());
  if (!axis) return {};
  const Dim& size = x->type.shape[static_cast<size_t>(*axis)];
  std::vector<Dim> sizes;
  if (sequence(c.arg("size").value)) {
    auto s = c.shape("size");
    if (!s) return {};
    sizes = *s;
    Dim total(0);
    for (const Dim& d : sizes) total = total + d;
    if (!(total == size)) {
      c.ev.error(Code::BadSize, c.arg("size").span,
                 "split: the parts add up to " + total.str() + ", but the axis has size " + size.str())
          .label(c.arg("x").span, "is " + type_text(*x));
      return {};
    }
  } else {
    auto part = c.dim("size");
    if (!part) return {};
    if (part->is_constant() && part->value() < 1) {
      c.ev.error(Code::BadSize, c.arg("size").span, "split needs parts of at least 1");
      return {};
    }
    if (auto n = Dim::exact_div(size, *part); n && n->is_constant()) {
      sizes.assign(static_cast<size_t>(n->value()), *part);
    } else if (size.is_constant() && part->is_constant()) {
      for (int64_t at = 0; at < size.value(); at += part->value())
        sizes.push_back(Dim(std::min(part->value(), size.value() - at)));
    } else {
      c.ev.error(
          Code::BadSize, c.span,
          "split: how many parts of " + part->str() + " there are in " + size.str() + " isn't known when compiling");
      return {};
    }
  }
  std::vector<Value> parts;
  Dim at(0);
  for (const Dim& d : sizes) {
    parts.push_back(Value(cut_view(c, *x, *axis, at, d), c.span));
    at = at + d;
  }
  return list_of(std::move(parts), c.span);
}

Value chunk(BuiltinCall& c) {
  auto x = c.tensor("x");
  auto n = c.integer("chunks");
  if (!x || !n) return {};
  auto axis = c.axis("axis", x->type.rank());
  if (!axis) return {};
  if (*n < 1) {
    c.ev.error(Code::ArgumentOutOfRange, c.arg("chunks").span, "chunk needs at least 1 part");
    return {};
  }
  const Dim& size = x->type.shape[static_cast<size_t>(*axis)];
  std::vector<Value> parts;
  if (size.is_constant()) {
    const int64_t each = std::max<int64_t>(1, (size.value() + *n - 1) / *n);
    for (int64_t at = 0; at < size.value(); at += each)
      parts.push_back(Value(cut_view(c, *x, *axis, Dim(at), Dim(std::min(each, size.value() - at))), c.span));
  } else {
    const Dim each = Dim::floor_div(size, Dim(*n));
    for (int64_t i = 0; i < *n; ++i) parts.push_back(Value(cut_view(c, *x, *axis, Dim(i) * each, each), c.span));
  }
  return list_of(std::move(parts), c.span);
}

Value unbind(BuiltinCall& c) {
  auto x = c.tensor("x");
  if (!x) return {};
  auto axis = c.axis("axis", x->type.rank());
  if (!axis) return {};
  const Dim& size = x->type.shape[static_cast<size_t>(*axis)];
  if (!size.is_constant()) {
    c.ev.error(Code::BadSize, c.span, "unbind along an axis whose size isn't known: " + size.str());
    return {};
  }
  Shape s = x->type.shape;
  s.erase(s.begin() + *axis);
  std::vector<Value> parts;
  for (int64_t i = 0; i < size.value(); ++i)
    parts.push_back(Value(reshape_value(c.ev, cut_view(c, *x, *axis, Dim(i), Dim(1)), s, c.span), c.span));
  return list_of(std::move(parts), c.span);
}

Value narrow(BuiltinCall& c) {
  auto x = c.tensor("x");
  if (!x) return {};
  auto axis = c.axis("axis", x->type.rank());
  auto start = c.dim("start"), length = c.dim("length");
  if (!axis || !start || !length) return {};
  const Dim& size = x->type.shape[static_cast<size_t>(*axis)];
  const Dim end = *start + *length;
  if ((start->is_constant() && start->value() < 0) ||
      (end.is_constant() && size.is_constant() && end.value() > size.value())) {
    c.ev.error(Code::IndexOutOfRange, c.span,
               "narrow: " + start->str() + " to " + end.str() + " is outside of an axis of size " + size.str())
        .label(c.arg("x").span, "is " + type_text(*x));
    return {};
  }
  return Value(cut_view(c, *x, *axis, *start, *length), c.span);
}

/// An axis extended by its own elements: mirrored without the edge, the edge again, or from the other end.
Node* pad_from_inside(BuiltinCall& c, const std::string& mode, Node* x, size_t axis, const Dim& low, const Dim& high) {
  if (low == Dim(0) && high == Dim(0)) return x;
  graph::Graph& g = c.ev.graph();
  const Dim size = x->type.shape[axis];
  if (!size.is_constant() || !low.is_constant() || !high.is_constant()) {
    TensorType open = x->type;
    open.shape[axis] = size + low + high;
    return open_tensor(c.ev, open, c.span);
  }
  const int64_t n = size.value(), most = mode == "reflect" ? n - 1 : mode == "circular" ? n : INT64_MAX;
  if (low.value() > most || high.value() > most || n == 0) {
    c.ev.error(Code::BadSize, c.arg("padding").span,
               "pad: mode \"" + mode + "\" takes at most " + std::to_string(std::max<int64_t>(most, 0)) +
                   " elements of axis " + std::to_string(axis) + ", which has size " + size.str());
    return nullptr;
  }
  auto piece = [&](int64_t begin, int64_t count) {
    return cut(c, x, static_cast<int64_t>(axis), Dim(begin), Dim(count));
  };
  auto end = [&](int64_t count, bool before) -> Node* {
    if (mode == "circular") return piece(before ? n - count : 0, count);
    if (mode == "reflect")
      return graph::flip(g, piece(before ? 1 : n - 1 - count, count), {static_cast<int64_t>(axis)}, c.span);
    Shape wide = x->type.shape;
    wide[axis] = Dim(count);
    return graph::broadcast(g, piece(before ? 0 : n - 1, 1), wide, all_axes(wide.size()), c.span);
  };
  std::vector<Node*> parts;
  if (low.value() > 0) parts.push_back(end(low.value(), true));
  parts.push_back(x);
  if (high.value() > 0) parts.push_back(end(high.value(), false));
  return graph::concat(g, parts, static_cast<int64_t>(axis), c.span);
}

Value pad(BuiltinCall& c) {
  auto x = c.tensor("x");
  auto value = c.number("value");
  auto mode = c.text("mode");
  if (!x || !value || !mode) return {};
  if (*mode != "constant" && *mode != "reflect" && *mode != "replicate" && *mode != "circular") {
    c.ev.error(Code::ArgumentOutOfRange, c.arg("mode").span,
               "pad: the mode is \"constant\", \"reflect\", \"replicate\" or \"circular\", not \"" + *mode + "\"");
    return {};
  }
  const ArgValue& p = c.arg("padding");
  const SequenceValue* s = sequence(p.value);
  Shape low(x->type.rank(), Dim(0)), high = low;
  if (!s) {
    c.ev.error(Code::BadSize, p.span, "pad takes a list of sizes")
        .help("pairs of (before, after), from the last axis on: `pad(x, [1, 1])`");
    return {};
  }
  if (s->items.size() % 2 != 0 || s->items.size() > 2 * x->type.rank()) {
    c.ev.error(Code::BadSize, p.span,
               "pad takes pairs of (before, after), from the last axis on, but has " + std::to_string(s->items.size()) +
                   " sizes for rank " + std::to_string(x->type.rank()));
    return {};
  }
  for (size_t i = 0; i < s->items.size(); ++i) {
    const Dim* d = s->items[i].get<Dim>();
    if (!d || (d->is_constant() && d->value() < 0)) {
      if (!s->items[i].is_poison())
        c.ev.error(Code::BadSize, p.span, "pad takes static ints that are at least 0")
            .help("a slice cuts: `x[:, 1:-1]`");
      return {};
    }
    (i % 2 ? high : low)[x->type.rank() - 1 - i / 2] = *d;
  }
  if (*mode != "constant") {
    Node* n = c.ev.node(*x);
    for (size_t axis = 0; axis < low.size() && n; ++axis) n = pad_from_inside(c, *mode, n, axis, low[axis], high[axis]);
    return n ? Value(carry(c.ev, *x, n, c.span), c.span) : Value();
  }
  if (!graph::is_float(x->type.dtype) && c.arg("value").value.get<double>()) {
    c.ev.error(Code::LiteralDoesNotFit, c.arg("value").span, "a float doesn't become an element of " + type_text(*x));
    return {};
  }
  return made(c, graph::pad(c.ev.graph(), c.ev.node(*x), low, high, *value, c.span));
}

Value triangle(BuiltinCall& c) {
  auto x = c.tensor("x");
  auto diagonal = c.integer("diagonal");
  if (!x || !diagonal) return {};
  const size_t rank = x->type.rank();
  if (rank < 2) {
    c.ev.error(Code::RankMismatch, c.arg("x").span,
               std::string(c.builtin.name) + " needs at least two axes, but this is " + type_text(*x));
    return {};
  }
  graph::Graph& g = c.ev.graph();
  const TensorType places{DType::i64, x->type.shape};
  Node* row = graph::iota(g, places, static_cast<int64_t>(rank) - 2, c.span);
  Node* column = graph::iota(g, places, static_cast<int64_t>(rank) - 1, c.span);
  Node* limit = graph::binary(g, "add", row, like(c.ev, row, static_cast<double>(*diagonal)), c.span);
  Node* keep = c.builtin.name == "tril" ? graph::binary(g, "le", column, limit, c.span)
                                        : graph::binary(g, "le", limit, column, c.span);
  Node* n = c.ev.node(*x);
  return made(c, graph::select(g, keep, n, like(c.ev, n, 0), c.span));
}

Value contiguous(BuiltinCall& c) {
  auto x = c.tensor("x");
  if (!x) return {};
  c.ev.error(Code::ViewWouldCopy, c.span, "there is no contiguous(): tensors are values")
      .help("`reshape` copies where it must, `view` is proved copy-free");
  return {};
}

}  // namespace

std::vector<Builtin> shape_builtins() {
  return {
      {"view", "x, *dims", view,
       "x with its elements re-divided over other sizes, proved not to copy; one size may be -1"},
      {"reshape", "x, *dims", view, "as view, but copies where it must"},
      {"flatten", "x, start_axis = 0, end_axis = -1", reshape_to_flat, "the axes from start to end as one"},
      {"unflatten", "x, axis, sizes", unflatten, "one axis divided into several"},
      {"permute", "x, *axes", permute, "the axes in another order; never copies"},
      {"transpose", "x, axis0 = None, axis1 = None", transpose, "two axes exchanged; never copies"},
      {"moveaxis", "x, source, destination", moveaxis, "one axis moved to another place"},
      {"movedim", "x, source, destination", moveaxis, "moveaxis"},
      {"unsqueeze", "x, axis", unsqueeze, "a new axis of size 1"},
      {"squeeze", "x, axis = None", squeeze, "without the axes of size 1, or the named ones"},
      {"expand", "x, *dims", expand, "axes of size 1 seen as larger; never copies; -1 keeps a size"},
      {"expand_as", "x, other", expand_as, "x expanded to the shape of the other"},
      {"repeat", "x, *counts", repeat, "x repeated along each axis"},
      {"tile", "x, *counts", repeat, "repeat"},
      {"flip", "x, axis = None", flip, "reversed along axes"},
      {"roll", "x, shifts, axis = None", roll, "shifted cyclically"},
      {"concat", "tensors, axis = 0", concat, "joined along an axis"},
      {"cat", "tensors, axis = 0", concat, "concat"},
      {"stack", "tensors, axis = 0", stack, "joined along a new axis"},
      {"split", "x, size, axis = 0", split, "a list of parts of this size, or of these sizes"},
      {"chunk", "x, chunks, axis = 0", chunk, "a list of this many parts"},
      {"unbind", "x, axis = 0", unbind, "a list of the slices along an axis"},
      {"narrow", "x, axis, start, length", narrow, "a slice of an axis"},
      {"pad", "x, padding, mode = \"constant\", value = 0", pad,
       "padded: pairs of (before, after), from the last axis on"},
      {"tril", "x, diagonal = 0", triangle, "zero above the diagonal"},
      {"triu", "x, diagonal = 0", triangle, "zero below the diagonal"},
      {"contiguous", "x", contiguous, "not needed: tensors are values"},
  };
}

}  // namespace nnlc::sema
