// Builders: nodes with inferred types.
#include "compiler/ops/build.h"

#include <bit>
#include <stdexcept>

#include "compiler/ops/detail.h"

namespace nnlc::graph {

Node* try_make(Graph& g, std::string_view op, std::vector<Node*> operands, Attrs attrs, Span span, std::string& error) {
  const OpDef* def = find_op(op);
  if (!def) {
    error = "there is no op " + std::string(op);
    return nullptr;
  }
  error = check_form(*def, operands.size(), attrs);
  if (!error.empty()) return nullptr;
  std::vector<TensorType> types;
  types.reserve(operands.size());
  for (const Node* n : operands) types.push_back(n->type);
  TypeResult r = def->type(types, attrs);
  if (!r.type) {
    error = r.error;
    return nullptr;
  }
  return g.add(*def, std::move(operands), std::move(attrs), std::move(*r.type), span);
}

Node* make(Graph& g, std::string_view op, std::vector<Node*> operands, Attrs attrs, Span span) {
  std::string error;
  Node* n = try_make(g, op, std::move(operands), std::move(attrs), span, error);
  if (!n) {
    // Whoever builds has checked: this is a bug of the compiler, and there is no graph to go on with.
    throw std::logic_error("op " + std::string(op) + ": " + error);
  }
  return n;
}

Node* unary(Graph& g, std::string_view op, Node* x, Span span) { return make(g, op, {x}, {}, span); }
Node* binary(Graph& g, std::string_view op, Node* a, Node* b, Span span) { return make(g, op, {a, b}, {}, span); }
Node* select(Graph& g, Node* mask, Node* a, Node* b, Span span) { return make(g, "select", {mask, a, b}, {}, span); }

Node* cast(Graph& g, Node* x, DType to, Span span) {
  return x->type.dtype == to ? x : make(g, "cast", {x}, {{"dtype", to}}, span);
}

static Node* scalar(Graph& g, int64_t bits, const TensorType& type, Span span) {
  Node* c = make(g, "constant", {}, {{"dtype", type.dtype}, {"shape", Shape{}}, {"values", IntList{bits}}}, span);
  return broadcast_to(g, c, type.shape, span);
}
static int64_t element_bits(double value, DType dtype) {
  if (is_float(dtype)) return std::bit_cast<int64_t>(detail::round_to(dtype, value));
  return detail::wrap_to(dtype, detail::to_int(value));
}
Node* constant(Graph& g, double value, TensorType type, Span span) {
  return scalar(g, element_bits(value, type.dtype), type, span);
}
Node* constant_int(Graph& g, int64_t value, TensorType type, Span span) {
  if (is_float(type.dtype)) return constant(g, static_cast<double>(value), std::move(type), span);
  return scalar(g, detail::wrap_to(type.dtype, value), type, span);
}
Node* constant_array(Graph& g, const std::vector<double>& values, TensorType type, Span span) {
  IntList bits;
  bits.reserve(values.size());
  for (double v : values) bits.push_back(element_bits(v, type.dtype));
  return make(g, "constant", {}, {{"dtype", type.dtype}, {"shape", type.shape}, {"values", std::move(bits)}}, span);
}
Node* size_of(Graph& g, const Dim& d, Span span) {
  if (d.is_constant()) return constant_int(g, d.value(), {DType::i64, {}}, span);
  return reduce(g, "sum", constant_int(g, 1, {DType::i64, {d}}, span), {0}, span);
}

Node* iota(Graph& g, TensorType type, int64_t axis, Span span) {
  return make(g, "iota", {}, {{"axis", axis}, {"dtype", type.dtype}, {"shape", type.shape}}, span);
}
Node* random(Graph& g, std::string kind, uint64_t key, Node* step, TensorType type, Span span) {
  Attrs attrs = {
      {"dtype", type.dtype}, {"key", static_cast<int64_t>(key)}, {"kind", std::move(kind)}, {"shape", type.shape}};
  return make(g, "random", {step}, std::move(attrs), span);
}

Node* reshape(Graph& g, Node* x, Shape shape, Span span) {
  return x->type.shape == shape ? x : make(g, "reshape", {x}, {{"shape", std::move(shape)}}, span);
}
Node* permute(Graph& g, Node* x, IntList perm, Span span) {
  return make(g, "permute", {x}, {{"perm", std::move(perm)}}, span);
}
Node* broadcast(Graph& g, Node* x, Shape shape, IntList axes, Span span) {
  return make(g, "broadcast", {x}, {{"axes", std::move(axes)}, {"shape", std::move(shape)}}, span);
}
Node* broadcast_to(Graph& g, Node* x, const Shape& shape, Span span) {
  if (x->type.shape == shape) return x;
  IntList axes;
  for (size_t i = 0; i < x->type.rank(); ++i) axes.push_back(static_cast<int64_t>(shape.size() - x->type.rank() + i));
  return broadcast(g, x, shape, std::move(axes), span);
}
Node* slice(Graph& g, Node* x, Shape starts, Shape sizes, IntList strides, Span span) {
  bool whole = sizes == x->type.shape;
  for (size_t i = 0; whole && i < strides.size(); ++i) whole = strides[i] == 1 && starts[i] == Dim(0);
  if (whole) return x;
  return make(g, "slice", {x},
              {{"sizes", std::move(sizes)}, {"starts", std::move(starts)}, {"strides", std::move(strides)}}, span);
}
Node* dynamic_slice(Graph& g, Node* x, Node* start, int64_t axis, Dim size, Span span) {
  return make(g, "dynamic_slice", {x, start}, {{"axis", axis}, {"size", Shape{std::move(size)}}}, span);
}
Node* pad(Graph& g, Node* x, Shape low, Shape high, double value, Span span) {
  bool none = true;
  for (const Shape* s : {&low, &high})
    for (const Dim& d : *s) none &= d == Dim(0);
  if (none) return x;
  return make(g, "pad", {x}, {{"high", std::move(high)}, {"low", std::move(low)}, {"value", value}}, span);
}
Node* concat(Graph& g, std::vector<Node*> xs, int64_t axis, Span span) {
  return make(g, "concat", std::move(xs), {{"axis", axis}}, span);
}
Node* flip(Graph& g, Node* x, IntList axes, Span span) {
  return make(g, "flip", {x}, {{"axes", std::move(axes)}}, span);
}
Node* window(Graph& g, Node* x, int64_t axis, int64_t size, int64_t stride, int64_t dilation, Span span) {
  return make(g, "window", {x}, {{"axis", axis}, {"dilation", dilation}, {"size", size}, {"stride", stride}}, span);
}

Node* reduce(Graph& g, std::string_view op, Node* x, IntList axes, Span span) {
  return make(g, "reduce_" + std::string(op), {x}, {{"axes", std::move(axes)}}, span);
}
Node* arg_reduce(Graph& g, std::string_view op, Node* x, int64_t axis, Span span) {
  return make(g, op, {x}, {{"axis", axis}}, span);
}
Node* cumsum(Graph& g, Node* x, int64_t axis, Span span) { return make(g, "cumsum", {x}, {{"axis", axis}}, span); }
Node* sort(Graph& g, Node* x, int64_t axis, bool descending, Span span) {
  return make(g, "sort", {x}, {{"axis", axis}, {"descending", descending}}, span);
}
Node* argsort(Graph& g, Node* x, int64_t axis, bool descending, Span span) {
  return make(g, "argsort", {x}, {{"axis", axis}, {"descending", descending}}, span);
}

Node* contract(Graph& g, Node* a, Node* b, std::string la, std::string lb, std::string lo, Span span) {
  return make(g, "contract", {a, b}, {{"a", std::move(la)}, {"b", std::move(lb)}, {"out", std::move(lo)}}, span);
}
Node* gather(Graph& g, Node* table, Node* index, int64_t axis, Span span) {
  return make(g, "gather", {table, index}, {{"axis", axis}}, span);
}
Node* scatter_add(Graph& g, Node* index, Node* updates, int64_t axis, Dim size, Span span) {
  return make(g, "scatter_add", {index, updates}, {{"axis", axis}, {"size", Shape{std::move(size)}}}, span);
}
Node* gather_along(Graph& g, Node* x, Node* index, int64_t axis, Span span) {
  return make(g, "gather_along", {x, index}, {{"axis", axis}}, span);
}
Node* scatter_add_along(Graph& g, Node* index, Node* updates, int64_t axis, Shape shape, Span span) {
  return make(g, "scatter_add_along", {index, updates}, {{"axis", axis}, {"shape", std::move(shape)}}, span);
}
Node* stop_gradient(Graph& g, Node* x, Span span) { return make(g, "stop_gradient", {x}, {}, span); }

}  // namespace nnlc::graph
