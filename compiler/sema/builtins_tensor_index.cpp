// Picking and adding by index tensors.
#include <algorithm>

#include "compiler/sema/tensor_support.h"

namespace nnlc::sema {
namespace {

Value made(BuiltinCall& c, Node* n) { return Value(c.ev.tensor(n, c.span), c.span); }

/// The argument `index`: ints, with labels that stay inside the axis.
std::optional<TensorValue> index_argument(BuiltinCall& c, const TensorValue& x, int64_t axis) {
  auto index = c.tensor("index");
  if (!index) return std::nullopt;
  const Span at = c.arg("index").span;
  if (!graph::is_int(index->type.dtype)) {
    c.ev.error(Code::BadIndex, at,
               std::string(c.builtin.name) + ": an index holds ints, but this is " + type_text(*index));
    return std::nullopt;
  }
  const Dim& size = x.type.shape[static_cast<size_t>(axis)];
  if (index->classes && index->classes->is_constant() && size.is_constant() && index->classes->value() > size.value()) {
    c.ev.error(Code::ClassMismatch, at,
               type_text(*index) + " reaches beyond axis " + std::to_string(axis) + ", which has size " + size.str())
        .label(c.arg("x").span, "is " + type_text(x));
    return std::nullopt;
  }
  if ((index->classes && !index->may_be_missing) || !size.is_constant()) return index;
  if (!index->literal) {
    c.ev.check_when_run(*index, {"index", 0, size.value() - 1, {std::to_string(axis)}, at});
    return index;
  }
  for (double v : *index->literal)
    if (v < 0 || v >= static_cast<double>(size.value())) {
      c.ev.error(Code::IndexOutOfRange, at,
                 std::string(c.builtin.name) + ": index " + std::to_string(static_cast<int64_t>(v)) +
                     " is outside of axis " + std::to_string(axis) + ", which has size " + size.str())
          .label(c.arg("x").span, "is " + type_text(x));
      return std::nullopt;
    }
  return index;
}

Value gather(BuiltinCall& c) {
  auto x = c.tensor("x");
  if (!x) return {};
  auto axis = c.axis("axis", x->type.rank());
  if (!axis) return {};
  auto index = index_argument(c, *x, *axis);
  if (!index) return {};
  bool fits = index->type.rank() == x->type.rank();
  for (size_t i = 0; fits && i < x->type.rank(); ++i) {
    const Dim room = x->type.shape[i] - index->type.shape[i];
    fits = static_cast<int64_t>(i) == *axis || !room.is_constant() || room.value() >= 0;
  }
  if (!fits) {
    DiagnosticBuilder b =
        c.ev.error(Code::OperandShapes, c.span,
                   "gather: the index " + graph::str(index->type.shape) + " doesn't fit " + graph::str(x->type.shape));
    b.label(c.arg("x").span, "is " + type_text(*x)).label(c.arg("index").span, "is " + type_text(*index));
    if (index->type.rank() + 1 == x->type.rank())
      b.help("an index for each element: `gather(x, " + std::to_string(*axis) + ", unsqueeze(index, " +
             std::to_string(*axis) + "))`");
    else if (index->type.rank() == 1)
      b.help("`index_select(x, axis, index)` picks whole slices");
    return {};
  }
  return Value(
      carry(c.ev, *x, graph::gather_along(c.ev.graph(), c.ev.node(*x), c.ev.node(*index), *axis, c.span), c.span),
      c.span);
}

Value index_select(BuiltinCall& c) {
  auto x = c.tensor("x");
  if (!x) return {};
  auto axis = c.axis("axis", x->type.rank());
  if (!axis) return {};
  auto index = index_argument(c, *x, *axis);
  if (!index) return {};
  return Value(carry(c.ev, *x, graph::gather(c.ev.graph(), c.ev.node(*x), c.ev.node(*index), *axis, c.span), c.span),
               c.span);
}

Value scatter_add(BuiltinCall& c) {
  auto x = c.tensor("x");
  auto src = c.tensor("src");
  if (!x || !src || !need_number(c.ev, *x, c.arg("x").span, "scatter_add")) return {};
  auto axis = c.axis("axis", x->type.rank());
  if (!axis) return {};
  auto index = index_argument(c, *x, *axis);
  if (!index || !unify(c.ev, {Value(*x), Value(*src)}, {c.arg("x").span, c.arg("src").span}, c.span, "scatter_add"))
    return {};
  bool fits = index->type.rank() == x->type.rank() && index->type.shape == src->type.shape;
  for (size_t i = 0; fits && i < x->type.rank(); ++i) {
    const Dim room = x->type.shape[i] - index->type.shape[i];
    fits = static_cast<int64_t>(i) == *axis || !room.is_constant() || room.value() >= 0;
  }
  if (!fits) {
    c.ev.error(Code::OperandShapes, c.span,
               "scatter_add: the index has the shape of `src`, which fits into x but for the axis")
        .label(c.arg("x").span, "is " + type_text(*x))
        .label(c.arg("index").span, "is " + type_text(*index))
        .label(c.arg("src").span, "is " + type_text(*src));
    return {};
  }
  graph::Graph& g = c.ev.graph();
  Node* added = graph::scatter_add_along(g, c.ev.node(*index), c.ev.node(*src), *axis, x->type.shape, c.span);
  return made(c, graph::binary(g, "add", c.ev.node(*x), added, c.span));
}

Value index_add(BuiltinCall& c) {
  auto x = c.tensor("x");
  auto src = c.tensor("src");
  if (!x || !src || !need_number(c.ev, *x, c.arg("x").span, "index_add")) return {};
  auto axis = c.axis("axis", x->type.rank());
  if (!axis) return {};
  auto index = index_argument(c, *x, *axis);
  if (!index || !unify(c.ev, {Value(*x), Value(*src)}, {c.arg("x").span, c.arg("src").span}, c.span, "index_add"))
    return {};
  Shape wanted = x->type.shape;
  if (index->type.rank() == 1) wanted[static_cast<size_t>(*axis)] = index->type.shape[0];
  if (index->type.rank() != 1 || !(wanted == src->type.shape)) {
    c.ev.error(Code::OperandShapes, c.span, "index_add: `src` has one slice of x for each element of the index")
        .label(c.arg("x").span, "is " + type_text(*x))
        .label(c.arg("index").span, "is " + type_text(*index))
        .label(c.arg("src").span, "is " + type_text(*src));
    return {};
  }
  graph::Graph& g = c.ev.graph();
  Node* added = graph::scatter_add(g, c.ev.node(*index), c.ev.node(*src), *axis,
                                   x->type.shape[static_cast<size_t>(*axis)], c.span);
  return made(c, graph::binary(g, "add", c.ev.node(*x), added, c.span));
}

Value one_hot(BuiltinCall& c) {
  auto x = c.tensor("x");
  if (!x) return {};
  const Span at = c.arg("x").span;
  if (!graph::is_int(x->type.dtype)) {
    c.ev.error(Code::DTypeMismatch, at, "one_hot needs labels or ints, but this is " + type_text(*x));
    return {};
  }
  Dim classes;
  if (c.given("classes")) {
    auto d = c.dim("classes");
    if (!d) return {};
    classes = *d;
    if (classes.is_constant() && classes.value() < 1) {
      c.ev.error(Code::ArgumentOutOfRange, c.arg("classes").span, "one_hot needs at least one class");
      return {};
    }
    if (x->classes && x->classes->is_constant() && classes.is_constant() && x->classes->value() > classes.value()) {
      c.ev.error(Code::ClassMismatch, c.span,
                 "one_hot to " + classes.str() + " classes, but the labels have " + x->classes->str())
          .label(at, "is " + type_text(*x));
      return {};
    }
  } else if (x->classes) {
    classes = *x->classes;
  } else {
    c.ev.error(Code::ArgumentOutOfRange, c.span, "one_hot of ints needs the number of classes")
        .help("`one_hot(x, 10)`");
    return {};
  }
  DType dtype = DType::i64;
  if (c.given("dtype")) {
    auto t = dtype_arg(c, "dtype");
    if (!t) return {};
    dtype = t->dtype;
  }
  graph::Graph& g = c.ev.graph();
  Shape shape = x->type.shape;
  shape.push_back(classes);
  Node* labels = graph::broadcast(g, c.ev.node(*x), shape, all_axes(x->type.rank()), c.span);
  Node* places = graph::iota(g, {x->type.dtype, shape}, static_cast<int64_t>(shape.size()) - 1, c.span);
  return made(c, graph::cast(g, graph::binary(g, "eq", labels, places, c.span), dtype, c.span));
}

}  // namespace

std::vector<Builtin> index_builtins() {
  return {
      {"gather", "x, axis, index", gather, "one element of x for each index along an axis"},
      {"take_along_axis", "x, axis, index", gather, "gather"},
      {"index_select", "x, axis, index", index_select, "whole slices of x by index"},
      {"scatter_add", "x, axis, index, src", scatter_add,
       "x with each element of src added at its index along an axis"},
      {"index_add", "x, axis, index, src", index_add, "x with whole slices added at the index"},
      {"one_hot", "x, classes = None, dtype = None", one_hot, "labels as rows with a single 1"},
  };
}

}  // namespace nnlc::sema
