// Builders: one function an op, and a few compositions. Types must be right (sema has checked what the user wrote;
// a builder that gets wrong types is a bug and stops with an internal error naming the op).
// Operands of elementwise ops have EQUAL shapes: broadcasting is an explicit `broadcast` node.
#pragma once
#include "compiler/ops/op.h"

namespace nnlc::graph {

/// Makes a node of any op, inferring its type; throws nothing, aborts on a type error (InternalError).
Node* make(Graph& g, std::string_view op, std::vector<Node*> operands, Attrs attrs, Span span);
/// The same, but a type error is returned in `error` and the result is null.
Node* try_make(Graph& g, std::string_view op, std::vector<Node*> operands, Attrs attrs, Span span, std::string& error);

/// Names of elementwise ops as in the table: neg abs sign exp expm1 log log1p sqrt rsqrt sin cos tanh erf floor ceil
/// round not | add sub mul div pow max min rem | eq lt le (bool results) and or | select (mask, a, b) | cast.
/// div on ints is floor division, rem is Python's %.
Node* unary(Graph& g, std::string_view op, Node* x, Span span = {});
Node* binary(Graph& g, std::string_view op, Node* a, Node* b, Span span = {});
Node* select(Graph& g, Node* mask, Node* a, Node* b, Span span = {});
Node* cast(Graph& g, Node* x, DType to, Span span = {});
/// A rank-0 constant broadcast to `shape`.
Node* constant(Graph& g, double value, TensorType type, Span span = {});
Node* constant_int(Graph& g, int64_t value, TensorType type, Span span = {});
/// A dense constant: `values` in row-major order (attr "values": see ops/constant.cpp).
Node* constant_array(Graph& g, const std::vector<double>& values, TensorType type, Span span = {});
/// A constant's elements (attr "values": one int64_t an element, for float types the bits of a double).
double constant_value(const Node& constant, size_t element = 0);
int64_t constant_int_value(const Node& constant, size_t element = 0);
/// The i64[] value of a dim: a constant, or where it has symbols a sum over ones.
Node* size_of(Graph& g, const Dim& d, Span span = {});
/// iota {shape, axis, dtype}: the index along `axis`.
Node* iota(Graph& g, TensorType type, int64_t axis, Span span = {});
/// random {kind = "uniform"|"normal"|"bits", key (int: hash of seed, path and ordinal), shape, dtype}, operand `step`
/// (i64[]). uniform: [0, 1); element i of step s is word i % 4 of Philox4x32-10 with counter (i / 4 low, i / 4 high, s
/// low, s high) and key (key low, key high). uniform f32 = (word >> 8) * 2^-24. normal: Box-Muller over the words of a
/// pair (2j, 2j + 1): with u = ((word 2j >> 8) + 1) * 2^-24 and v = (word 2j+1 >> 8) * 2^-24, sqrt(-2 ln u) times cos(2
/// pi v) and sin(2 pi v). uniform and normal: f32, or f64 (of the same draw). bits: i64, the word. See
/// runtime/philox.h.
Node* random(Graph& g, std::string kind, uint64_t key, Node* step, TensorType type, Span span = {});

Node* reshape(Graph& g, Node* x, Shape shape, Span span = {});
Node* permute(Graph& g, Node* x, IntList perm, Span span = {});
/// broadcast {shape, axes}: operand axis i becomes result axis axes[i]; its size must be equal or 1.
Node* broadcast(Graph& g, Node* x, Shape shape, IntList axes, Span span = {});
/// Right-aligned broadcast to `shape` (a no-op if it has that shape already).
Node* broadcast_to(Graph& g, Node* x, const Shape& shape, Span span = {});
/// slice {starts: Shape, sizes: Shape, strides: ints (positive)}
Node* slice(Graph& g, Node* x, Shape starts, Shape sizes, IntList strides, Span span = {});
/// dynamic_slice(x, start: i64[]) {axis, size}: start is clamped into range. For slices with run-time bounds.
Node* dynamic_slice(Graph& g, Node* x, Node* start, int64_t axis, Dim size, Span span = {});
/// pad {low: Shape, high: Shape, value: float}
Node* pad(Graph& g, Node* x, Shape low, Shape high, double value, Span span = {});
Node* concat(Graph& g, std::vector<Node*> xs, int64_t axis, Span span = {});
Node* flip(Graph& g, Node* x, IntList axes, Span span = {});
/// window {axis, size, stride, dilation}: x[.., L, ..] -> [.., (L - (size - 1) * dilation - 1) // stride + 1, .., size]
/// (the window's own axis is appended last). An overlapping view; its gradient adds.
Node* window(Graph& g, Node* x, int64_t axis, int64_t size, int64_t stride, int64_t dilation, Span span = {});

/// op: sum max min prod; the table's names are reduce_sum reduce_max reduce_min reduce_prod. {axes} (ascending) are
/// removed. argmax argmin {axis}: i64, the first of equals.
Node* reduce(Graph& g, std::string_view op, Node* x, IntList axes, Span span = {});
Node* arg_reduce(Graph& g, std::string_view op, Node* x, int64_t axis, Span span = {});
Node* cumsum(Graph& g, Node* x, int64_t axis, Span span = {});
/// sort {axis, descending} and argsort likewise (stable); topk is a slice of these.
Node* sort(Graph& g, Node* x, int64_t axis, bool descending, Span span = {});
Node* argsort(Graph& g, Node* x, int64_t axis, bool descending, Span span = {});

/// contract {a, b, out}: an einsum of two operands by axis labels, e.g. ("mk", "kn", "mn"). Labels in both operands and
/// not in `out` are summed; labels in all three are batch axes. No label twice in one operand.
Node* contract(Graph& g, Node* a, Node* b, std::string la, std::string lb, std::string lo, Span span = {});
/// convolution(x [N, G * C, L..], weight [G * O, C, K..]) {strides, dilations, groups = G} -> [N, G * O, M..] with
/// M = (L - (K - 1) * dilation - 1) // stride + 1. Without padding (`pad` does that). As in PyTorch a correlation: the
/// weight isn't flipped.
Node* convolution(Graph& g, Node* x, Node* weight, IntList strides, IntList dilations, int64_t groups, Span span = {});
/// The same as a contraction over windows of x, which is what the lowering does.
Node* convolution_as_contraction(Graph& g, const Node& convolution);
/// Zeros between the elements of an axis: n becomes (n - 1) * stride + 1.
Node* dilate(Graph& g, Node* x, size_t axis, int64_t stride, Span span = {});
/// gather(table, index) {axis}: the result has index's shape in place of table's axis (torch.index_select with an index
/// of any rank).
Node* gather(Graph& g, Node* table, Node* index, int64_t axis, Span span = {});
/// Indices outside the table are clamped into it, here and in the ops below, so that no index reads or writes out of
/// bounds. scatter_add(index, updates) {axis, size}: zeros with `size` at `axis`; the adjoint of gather.
Node* scatter_add(Graph& g, Node* index, Node* updates, int64_t axis, Dim size, Span span = {});
/// gather_along(x, index) {axis}: torch.gather: same rank, index's sizes. scatter_add_along is its adjoint {shape}.
Node* gather_along(Graph& g, Node* x, Node* index, int64_t axis, Span span = {});
/// scatter_add_along(index, updates) {axis, shape}: zeros of `shape`, to which each update is added at its index.
Node* scatter_add_along(Graph& g, Node* index, Node* updates, int64_t axis, Shape shape, Span span = {});
/// stop_gradient(x): x, with no gradient.
Node* stop_gradient(Graph& g, Node* x, Span span = {});

}  // namespace nnlc::graph
