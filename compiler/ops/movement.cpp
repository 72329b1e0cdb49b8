// Ops that only say where an element comes from: reshape, permute, broadcast, slices, pad, concat, flip, window. None
// copies by itself: what reads them computes the place.
#include <algorithm>

#include "compiler/ops/detail.h"

namespace nnlc::graph {
using namespace detail;

namespace {

// --- reshape

TypeResult reshape_type(Types in, const Attrs& attrs) {
  const Shape& shape = shape_of(attrs, "shape");
  if (element_count(in[0].shape) != element_count(shape))
    return TypeResult::fail(in[0].str() + " has " + element_count(in[0].shape).str() + " elements, " + str(shape) +
                            " " + element_count(shape).str());
  return TensorType{in[0].dtype, shape};
}
void in_order_reference(const Node&, Refs in, RefTensor& out) {
  for (size_t k = 0; k < detail::size_of(out); ++k) copy_element(out, k, *in[0], k);
}
void reshape_vjp(Vjp& v) { v.grad(0, reshape(v.graph(), v.dy(), v.in(0)->type.shape, v.out()->span)); }

// --- permute: result axis i is operand axis perm[i]

TypeResult permute_type(Types in, const Attrs& attrs) {
  const IntList& perm = ints_of(attrs, "perm");
  std::vector<bool> seen(in[0].rank(), false);
  TensorType t{in[0].dtype, {}};
  if (perm.size() != in[0].rank()) return TypeResult::fail("the permutation doesn't fit " + in[0].str());
  for (int64_t p : perm) {
    if (!valid_axis(p, in[0].rank()) || seen[p]) return TypeResult::fail("the permutation doesn't fit " + in[0].str());
    seen[p] = true;
    t.shape.push_back(in[0].shape[p]);
  }
  return t;
}
void permute_reference(const Node& n, Refs in, RefTensor& out) {
  std::vector<int64_t> strides = strides_of(sizes(in[0]->type.shape));
  const IntList& perm = n.ints_attr("perm");
  for_each_index(sizes(n.type.shape), [&](auto& index, size_t k) {
    int64_t from = 0;
    for (size_t i = 0; i < index.size(); ++i) from += index[i] * strides[perm[i]];
    copy_element(out, k, *in[0], from);
  });
}
void permute_vjp(Vjp& v) {
  const IntList& perm = v.node().ints_attr("perm");
  IntList inverse(perm.size());
  for (size_t i = 0; i < perm.size(); ++i) inverse[perm[i]] = static_cast<int64_t>(i);
  v.grad(0, permute(v.graph(), v.dy(), inverse, v.out()->span));
}

// --- broadcast

TypeResult broadcast_type(Types in, const Attrs& attrs) {
  const Shape& shape = shape_of(attrs, "shape");
  const IntList& axes = ints_of(attrs, "axes");
  if (axes.size() != in[0].rank() || !ascending_axes(axes, shape.size()))
    return TypeResult::fail("the axes don't lead from " + in[0].str() + " to " + str(shape));
  for (size_t i = 0; i < axes.size(); ++i)
    if (in[0].shape[i] != shape[axes[i]] && in[0].shape[i] != Dim(1))
      return TypeResult::fail(in[0].str() + " can't be expanded to " + str(shape));
  return TensorType{in[0].dtype, shape};
}
void broadcast_reference(const Node& n, Refs in, RefTensor& out) {
  std::vector<int64_t> strides = strides_of(sizes(in[0]->type.shape));
  const IntList& axes = n.ints_attr("axes");
  for_each_index(sizes(n.type.shape), [&](auto& index, size_t k) {
    int64_t from = 0;
    for (size_t i = 0; i < axes.size(); ++i)
      if (in[0]->type.shape[i] != Dim(1)) from += index[axes[i]] * strides[i];
    copy_element(out, k, *in[0], from);
  });
}
void broadcast_vjp(Vjp& v) {  // sums over the axes that are new or were expanded
  const TensorType &from = v.in(0)->type, &to = v.node().type;
  const IntList& axes = v.node().ints_attr("axes");
  std::vector<bool> kept(to.rank(), false);
  for (size_t i = 0; i < axes.size(); ++i) kept[axes[i]] = from.shape[i] == to.shape[axes[i]];
  IntList summed;
  for (size_t i = 0; i < kept.size(); ++i)
    if (!kept[i]) summed.push_back(static_cast<int64_t>(i));
  Node* d = summed.empty() ? v.dy() : reduce(v.graph(), "sum", v.dy(), summed, v.out()->span);
  v.grad(0, d->type == from ? d : reshape(v.graph(), d, from.shape, v.out()->span));
}

// --- slice

TypeResult slice_type(Types in, const Attrs& attrs) {
  const Shape &starts = shape_of(attrs, "starts"), &extent = shape_of(attrs, "sizes");
  const IntList& strides = ints_of(attrs, "strides");
  size_t rank = in[0].rank();
  if (starts.size() != rank || extent.size() != rank || strides.size() != rank)
    return TypeResult::fail("starts, sizes and strides don't fit " + in[0].str());
  for (size_t i = 0; i < rank; ++i) {
    if (strides[i] < 1) return TypeResult::fail("a stride is " + std::to_string(strides[i]));
    Dim last = starts[i] + (extent[i] - Dim(1)) * Dim(strides[i]);
    bool is_empty = extent[i] == Dim(0);
    if (negative(starts[i]) || negative(extent[i]) || (!is_empty && negative(in[0].shape[i] - Dim(1) - last)) ||
        negative(in[0].shape[i] - starts[i]))
      return TypeResult::fail("the slice leaves axis " + std::to_string(i) + " of " + in[0].str());
  }
  return TensorType{in[0].dtype, extent};
}
void slice_reference(const Node& n, Refs in, RefTensor& out) {
  std::vector<int64_t> strides = strides_of(sizes(in[0]->type.shape)), starts = sizes(n.shape_attr("starts"));
  const IntList& steps = n.ints_attr("strides");
  for_each_index(sizes(n.type.shape), [&](auto& index, size_t k) {
    int64_t from = 0;
    for (size_t i = 0; i < index.size(); ++i) from += (starts[i] + index[i] * steps[i]) * strides[i];
    copy_element(out, k, *in[0], from);
  });
}
void slice_vjp(Vjp& v) {
  const IntList& steps = v.node().ints_attr("strides");
  const Shape& from = v.in(0)->type.shape;
  Node* d = v.dy();
  for (size_t i = 0; i < steps.size(); ++i) d = dilate(v.graph(), d, i, steps[i], v.out()->span);
  Shape low = v.node().shape_attr("starts"), high(from.size());
  for (size_t i = 0; i < from.size(); ++i) high[i] = from[i] - low[i] - d->type.shape[i];
  v.grad(0, pad(v.graph(), d, low, high, 0, v.out()->span));
}

// --- dynamic_slice

TypeResult dynamic_slice_type(Types in, const Attrs& attrs) {
  int64_t axis = int_of(attrs, "axis");
  const Shape& extent = shape_of(attrs, "size");
  if (!valid_axis(axis, in[0].rank())) return TypeResult::fail(no_axis(axis, in[0]));
  if (in[1] != TensorType{DType::i64, {}}) return TypeResult::fail("the start is " + in[1].str() + ", not i64[]");
  if (extent.size() != 1 || negative(extent[0]) || negative(in[0].shape[axis] - extent[0]))
    return TypeResult::fail("a slice of " + str(extent) + " doesn't fit axis " + std::to_string(axis) + " of " +
                            in[0].str());
  TensorType t = in[0];
  t.shape[axis] = extent[0];
  return t;
}
void dynamic_slice_reference(const Node& n, Refs in, RefTensor& out) {
  AxisView from(in[0]->type, n.int_attr("axis")), to(n.type, n.int_attr("axis"));
  int64_t start = std::clamp<int64_t>(in[1]->i[0], 0, from.n - to.n);
  for (int64_t o = 0; o < to.outer; ++o)
    for (int64_t i = 0; i < to.n; ++i)
      for (int64_t r = 0; r < to.inner; ++r) copy_element(out, to.at(o, i, r), *in[0], from.at(o, start + i, r));
}
void dynamic_slice_vjp(Vjp& v) {  // adds dy at the places start, start + 1, ...
  if (!v.wants(0)) return;
  Graph& g = v.graph();
  Span at = v.out()->span;
  int64_t axis = v.node().int_attr("axis");
  Dim length = v.in(0)->type.shape[axis], extent = v.node().shape_attr("size")[0];
  Node* start = binary(g, "max", v.in(1), constant_int(g, 0, v.in(1)->type, at), at);
  start = binary(g, "min", start, graph::size_of(g, length - extent, at), at);
  Node* index = iota(g, {DType::i64, {extent}}, 0, at);
  index = binary(g, "add", index, broadcast_to(g, start, {extent}, at), at);
  v.grad(0, scatter_add(g, index, v.dy(), axis, length, at));
}

// --- pad

TypeResult pad_type(Types in, const Attrs& attrs) {
  const Shape &low = shape_of(attrs, "low"), &high = shape_of(attrs, "high");
  TensorType t = in[0];
  if (low.size() != t.rank() || high.size() != t.rank()) return TypeResult::fail("low and high don't fit " + t.str());
  for (size_t i = 0; i < t.rank(); ++i) {
    if (negative(low[i]) || negative(high[i])) return TypeResult::fail("a width is negative");
    t.shape[i] = t.shape[i] + low[i] + high[i];
  }
  return t;
}
void pad_reference(const Node& n, Refs in, RefTensor& out) {
  double value = n.float_attr("value");
  std::vector<int64_t> from = sizes(in[0]->type.shape), strides = strides_of(from), low = sizes(n.shape_attr("low"));
  for_each_index(sizes(n.type.shape), [&](auto& index, size_t k) {
    int64_t place = 0;
    bool inside = true;
    for (size_t i = 0; i < index.size(); ++i) {
      int64_t j = index[i] - low[i];
      inside &= j >= 0 && j < from[i];
      place += j * strides[i];
    }
    if (inside)
      copy_element(out, k, *in[0], place);
    else if (holds_floats(out))
      out.f[k] = value;
    else
      out.i[k] = to_int(value);
  });
}
void pad_vjp(Vjp& v) {
  const Shape& from = v.in(0)->type.shape;
  v.grad(0, slice(v.graph(), v.dy(), v.node().shape_attr("low"), from, IntList(from.size(), 1), v.out()->span));
}

// --- concat

TypeResult concat_type(Types in, const Attrs& attrs) {
  int64_t axis = int_of(attrs, "axis");
  TensorType t = in[0];
  if (!valid_axis(axis, t.rank())) return TypeResult::fail(no_axis(axis, t));
  for (size_t k = 1; k < in.size(); ++k) {
    TensorType with = in[k];
    if (with.rank() == t.rank()) with.shape[axis] = t.shape[axis];
    if (with != t) return TypeResult::fail("operands differ, " + in[0].str() + " and " + in[k].str());
    t.shape[axis] = t.shape[axis] + in[k].shape[axis];
  }
  return t;
}
void concat_reference(const Node& n, Refs in, RefTensor& out) {
  int64_t axis = n.int_attr("axis"), begin = 0;
  AxisView to(n.type, axis);
  for (const RefTensor* x : in) {
    AxisView from(x->type, axis);
    for (int64_t o = 0; o < from.outer; ++o)
      for (int64_t i = 0; i < from.n; ++i)
        for (int64_t r = 0; r < from.inner; ++r) copy_element(out, to.at(o, begin + i, r), *x, from.at(o, i, r));
    begin += from.n;
  }
}
void concat_vjp(Vjp& v) {
  int64_t axis = v.node().int_attr("axis");
  size_t rank = v.node().type.rank();
  Shape starts(rank, Dim(0));
  for (size_t k = 0; k < v.node().operands.size(); ++k) {
    const Shape& part = v.in(k)->type.shape;
    if (v.wants(k)) v.grad(k, slice(v.graph(), v.dy(), starts, part, IntList(rank, 1), v.out()->span));
    starts[axis] = starts[axis] + part[axis];
  }
}

// --- flip

TypeResult flip_type(Types in, const Attrs& attrs) {
  if (!ascending_axes(ints_of(attrs, "axes"), in[0].rank()))
    return TypeResult::fail("the axes don't fit " + in[0].str());
  return in[0];
}
void flip_reference(const Node& n, Refs in, RefTensor& out) {
  std::vector<int64_t> extent = sizes(n.type.shape), strides = strides_of(extent);
  std::vector<bool> reversed(extent.size(), false);
  for (int64_t a : n.ints_attr("axes")) reversed[a] = true;
  for_each_index(extent, [&](auto& index, size_t k) {
    int64_t from = 0;
    for (size_t i = 0; i < index.size(); ++i) from += (reversed[i] ? extent[i] - 1 - index[i] : index[i]) * strides[i];
    copy_element(out, k, *in[0], from);
  });
}
void flip_vjp(Vjp& v) { v.grad(0, flip(v.graph(), v.dy(), v.node().ints_attr("axes"), v.out()->span)); }

// --- window

TypeResult window_type(Types in, const Attrs& attrs) {
  int64_t axis = int_of(attrs, "axis"), size = int_of(attrs, "size"), stride = int_of(attrs, "stride"),
          dilation = int_of(attrs, "dilation");
  TensorType t = in[0];
  if (!valid_axis(axis, t.rank())) return TypeResult::fail(no_axis(axis, t));
  if (size < 1 || stride < 1 || dilation < 1) return TypeResult::fail("size, stride and dilation must be positive");
  Dim room = t.shape[axis] - Dim(size - 1) * Dim(dilation) - Dim(1);
  if (negative(room))
    return TypeResult::fail("the window is longer than axis " + std::to_string(axis) + " of " + t.str());
  t.shape[axis] = Dim::floor_div(room, Dim(stride)) + Dim(1);
  t.shape.push_back(Dim(size));
  return t;
}
void window_reference(const Node& n, Refs in, RefTensor& out) {
  int64_t axis = n.int_attr("axis"), stride = n.int_attr("stride"), dilation = n.int_attr("dilation");
  std::vector<int64_t> strides = strides_of(sizes(in[0]->type.shape));
  for_each_index(sizes(n.type.shape), [&](auto& index, size_t k) {
    int64_t from = 0;
    for (size_t i = 0; i + 1 < index.size(); ++i)
      from += (static_cast<int64_t>(i) == axis ? index[i] * stride + index.back() * dilation : index[i]) * strides[i];
    copy_element(out, k, *in[0], from);
  });
}
void window_vjp(Vjp& v) {
  // Tap k of the windows read the places k * dilation + o * stride: the sum over the taps of dy spread out to these.
  Graph& g = v.graph();
  Span at = v.out()->span;
  size_t axis = static_cast<size_t>(v.node().int_attr("axis"));
  int64_t size = v.node().int_attr("size"), stride = v.node().int_attr("stride"),
          dilation = v.node().int_attr("dilation");
  const Shape& from = v.in(0)->type.shape;
  Shape one_tap = v.node().type.shape, squeezed = one_tap;
  one_tap.back() = Dim(1);
  squeezed.pop_back();
  Node* sum = nullptr;
  for (int64_t k = 0; k < size; ++k) {
    Shape starts(one_tap.size(), Dim(0));
    starts.back() = Dim(k);
    Node* tap = slice(g, v.dy(), starts, one_tap, IntList(one_tap.size(), 1), at);
    tap = dilate(g, reshape(g, tap, squeezed, at), axis, stride, at);
    Shape low(from.size(), Dim(0)), high = low;
    low[axis] = Dim(k * dilation);
    high[axis] = from[axis] - low[axis] - tap->type.shape[axis];
    tap = pad(g, tap, low, high, 0, at);
    sum = sum ? binary(g, "add", sum, tap, at) : tap;
  }
  v.grad(0, sum);
}

}  // namespace

Node* dilate(Graph& g, Node* x, size_t axis, int64_t stride, Span span) {
  if (stride == 1 || x->type.shape[axis] == Dim(0)) return x;
  Shape split = x->type.shape, joined = x->type.shape;
  Dim n = split[axis];
  split.insert(split.begin() + static_cast<int64_t>(axis) + 1, Dim(1));
  Shape none(split.size(), Dim(0)), high = none;
  high[axis + 1] = Dim(stride - 1);
  joined[axis] = n * Dim(stride);
  Node* d = reshape(g, pad(g, reshape(g, x, split, span), none, high, 0, span), joined, span);
  Shape wanted = joined;
  wanted[axis] = (n - Dim(1)) * Dim(stride) + Dim(1);
  return slice(g, d, Shape(joined.size(), Dim(0)), wanted, IntList(joined.size(), 1), span);
}
const OpDef reshape_op{.name = "reshape",
                       .op_class = OpClass::movement,
                       .operands = {"x"},
                       .attributes = {"shape"},
                       .type = reshape_type,
                       .vjp = reshape_vjp,
                       .no_gradient = {},
                       .reference = in_order_reference,
                       .doc = "the same elements in row-major order, another shape",
                       .samples = {{{f64({2, 6})}, {{"shape", Shape{3, 4}}}}, {{f64({1, 1})}, {{"shape", Shape{}}}}}};
const OpDef permute_op{
    .name = "permute",
    .op_class = OpClass::movement,
    .operands = {"x"},
    .attributes = {"perm"},
    .type = permute_type,
    .vjp = permute_vjp,
    .no_gradient = {},
    .reference = permute_reference,
    .doc = "result axis i is operand axis perm[i]",
    .samples = {{{f64({2, 3, 4})}, {{"perm", IntList{2, 0, 1}}}}, {{f64({2, 3})}, {{"perm", IntList{1, 0}}}}}};
const OpDef broadcast_op{.name = "broadcast",
                         .op_class = OpClass::movement,
                         .operands = {"x"},
                         .attributes = {"axes", "shape"},
                         .type = broadcast_type,
                         .vjp = broadcast_vjp,
                         .no_gradient = {},
                         .reference = broadcast_reference,
                         .doc = "operand axis i becomes result axis axes[i], expanded if its size is 1",
                         .samples = {{{f64({3})}, {{"axes", IntList{1}}, {"shape", Shape{2, 3}}}},
                                     {{f64({2, 1, 3})}, {{"axes", IntList{0, 1, 3}}, {"shape", Shape{2, 4, 2, 3}}}},
                                     {{f64({})}, {{"axes", IntList{}}, {"shape", Shape{2, 2}}}}}};
const OpDef slice_op{
    .name = "slice",
    .op_class = OpClass::movement,
    .operands = {"x"},
    .attributes = {"sizes", "starts", "strides"},
    .type = slice_type,
    .vjp = slice_vjp,
    .no_gradient = {},
    .reference = slice_reference,
    .doc = "elements starts + i * strides along each axis",
    .samples = {{{f64({4, 5})}, {{"starts", Shape{1, 2}}, {"sizes", Shape{2, 3}}, {"strides", IntList{1, 1}}}},
                {{f64({7, 5})}, {{"starts", Shape{1, 0}}, {"sizes", Shape{3, 2}}, {"strides", IntList{2, 3}}}}}};
const OpDef dynamic_slice_op{
    .name = "dynamic_slice",
    .op_class = OpClass::movement,
    .operands = {"x", "start"},
    .attributes = {"axis", "size"},
    .type = dynamic_slice_type,
    .vjp = dynamic_slice_vjp,
    .no_gradient = {},
    .reference = dynamic_slice_reference,
    .doc = "`size` elements along an axis from a place known when run, clamped into range",
    .samples = {{{f64({5, 3}), i64({})}, {{"axis", int64_t{0}}, {"size", Shape{2}}}, -2, 2, 1, 4},
                {{f64({2, 4}), i64({})}, {{"axis", int64_t{1}}, {"size", Shape{3}}}, -2, 2, -5, -5}}};
const OpDef pad_op{.name = "pad",
                   .op_class = OpClass::movement,
                   .operands = {"x"},
                   .attributes = {"high", "low", "value"},
                   .type = pad_type,
                   .vjp = pad_vjp,
                   .no_gradient = {},
                   .reference = pad_reference,
                   .doc = "a value before and behind each axis",
                   .samples = {{{f64({2, 3})}, {{"low", Shape{1, 0}}, {"high", Shape{0, 2}}, {"value", 0.5}}},
                               {{i64({3})}, {{"low", Shape{0}}, {"high", Shape{2}}, {"value", -1.0}}}}};
const OpDef concat_op{.name = "concat",
                      .op_class = OpClass::movement,
                      .operands = {"x..."},
                      .attributes = {"axis"},
                      .type = concat_type,
                      .vjp = concat_vjp,
                      .no_gradient = {},
                      .reference = concat_reference,
                      .doc = "operands one behind another along an axis",
                      .samples = {{{f64({2, 3}), f64({2, 1}), f64({2, 2})}, {{"axis", int64_t{1}}}},
                                  {{f64({2})}, {{"axis", int64_t{0}}}}}};
const OpDef flip_op{.name = "flip",
                    .op_class = OpClass::movement,
                    .operands = {"x"},
                    .attributes = {"axes"},
                    .type = flip_type,
                    .vjp = flip_vjp,
                    .no_gradient = {},
                    .reference = flip_reference,
                    .doc = "axes read backwards",
                    .samples = {{{f64({2, 3, 2})}, {{"axes", IntList{0, 1}}}}, {{f64({4})}, {{"axes", IntList{0}}}}}};
const OpDef window_op{
    .name = "window",
    .op_class = OpClass::movement,
    .operands = {"x"},
    .attributes = {"axis", "dilation", "size", "stride"},
    .type = window_type,
    .vjp = window_vjp,
    .no_gradient = {},
    .reference = window_reference,
    .doc = "overlapping pieces of an axis; the place within a piece becomes the last axis",
    .samples = {
        {{f64({2, 7, 2})},
         {{"axis", int64_t{1}}, {"dilation", int64_t{2}}, {"size", int64_t{3}}, {"stride", int64_t{1}}}},
        {{f64({8})}, {{"axis", int64_t{0}}, {"dilation", int64_t{1}}, {"size", int64_t{3}}, {"stride", int64_t{2}}}}}};

}  // namespace nnlc::graph
