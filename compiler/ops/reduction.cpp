// Sums and extrema over axes (which are removed), the places of extrema, and running sums.
#include <limits>

#include "compiler/ops/detail.h"

namespace nnlc::graph {
using namespace detail;

namespace {

TypeResult reduce_type(Types in, const Attrs& attrs) {
  const IntList& axes = ints_of(attrs, "axes");
  if (in[0].dtype == DType::boolean) return TypeResult::fail("needs numbers, not " + in[0].str());
  if (!ascending_axes(axes, in[0].rank())) return TypeResult::fail("the axes don't fit " + in[0].str());
  TensorType t{in[0].dtype, {}};
  for (size_t i = 0, a = 0; i < in[0].rank(); ++i) {
    if (a < axes.size() && axes[a] == static_cast<int64_t>(i))
      ++a;
    else
      t.shape.push_back(in[0].shape[i]);
  }
  return t;
}
TypeResult extremum_type(Types in, const Attrs& attrs) {
  TypeResult r = reduce_type(in, attrs);
  if (r.type)
    for (int64_t a : ints_of(attrs, "axes"))
      if (in[0].shape[a] == Dim(0))
        return TypeResult::fail("axis " + std::to_string(a) + " of " + in[0].str() + " is empty");
  return r;
}

double larger(double a, double b) { return std::isnan(a) || a > b ? a : b; }
double smaller(double a, double b) { return std::isnan(a) || a < b ? a : b; }

/// Folds each group of elements, in row-major order, starting with `f0` or `i0`.
template <class F, class I>
void fold(const Node& n, const RefTensor& x, RefTensor& out, double f0, int64_t i0, F f, I i) {
  std::vector<int64_t> out_strides = strides_of(sizes(n.type.shape)), step(x.type.rank(), 0);
  std::vector<bool> removed(x.type.rank(), false);
  for (int64_t a : n.ints_attr("axes")) removed[a] = true;
  for (size_t axis = 0, kept = 0; axis < step.size(); ++axis)
    if (!removed[axis]) step[axis] = out_strides[kept++];
  std::fill(out.f.begin(), out.f.end(), f0);
  std::fill(out.i.begin(), out.i.end(), i0);
  for_each_index(sizes(x.type.shape), [&](auto& index, size_t k) {
    int64_t to = 0;
    for (size_t axis = 0; axis < step.size(); ++axis) to += index[axis] * step[axis];
    if (holds_floats(out))
      out.f[to] = f(out.f[to], x.f[k]);
    else
      out.i[to] = i(out.i[to], x.i[k]);
  });
}
constexpr double kInf = std::numeric_limits<double>::infinity();
using U = uint64_t;  // ints wrap around

void sum_reference(const Node& n, Refs in, RefTensor& out) {
  fold(
      n, *in[0], out, 0, 0, [](double a, double b) { return a + b; },
      [](int64_t a, int64_t b) { return static_cast<int64_t>(U(a) + U(b)); });
}
void prod_reference(const Node& n, Refs in, RefTensor& out) {
  fold(
      n, *in[0], out, 1, 1, [](double a, double b) { return a * b; },
      [](int64_t a, int64_t b) { return static_cast<int64_t>(U(a) * U(b)); });
}
void max_reference(const Node& n, Refs in, RefTensor& out) {
  fold(n, *in[0], out, -kInf, INT64_MIN, larger, [](int64_t a, int64_t b) { return a > b ? a : b; });
}
void min_reference(const Node& n, Refs in, RefTensor& out) {
  fold(n, *in[0], out, kInf, INT64_MAX, smaller, [](int64_t a, int64_t b) { return a < b ? a : b; });
}

/// Puts the reduced axes back by broadcasting.
Node* expand(Vjp& v, Node* reduced) {
  const Shape& shape = v.in(0)->type.shape;
  const IntList& removed = v.node().ints_attr("axes");
  IntList kept;
  for (size_t i = 0, a = 0; i < shape.size(); ++i) {
    if (a < removed.size() && removed[a] == static_cast<int64_t>(i))
      ++a;
    else
      kept.push_back(static_cast<int64_t>(i));
  }
  if (removed.empty()) return reduced;
  return broadcast(v.graph(), reduced, shape, kept, v.out()->span);
}
void sum_vjp(Vjp& v) { v.grad(0, expand(v, v.dy())); }
/// Equal largest elements share the gradient evenly (as torch.amax).
void extremum_vjp(Vjp& v) {
  Graph& g = v.graph();
  Span at = v.out()->span;
  Node *x = v.in(0), *is_extreme = binary(g, "eq", x, expand(v, v.out()), at);
  Node* ones = cast(g, is_extreme, x->type.dtype, at);
  Node* share = div(g, v.dy(), reduce(g, "sum", ones, v.node().ints_attr("axes"), at));
  v.grad(0, select(g, is_extreme, expand(v, share), zeros(g, x), at));
}
/// y / x, except in groups that hold a zero: with one, only that element has a gradient, the product of the others;
/// with more, none has. (Second derivatives in groups with two zeros are therefore 0.)
void prod_vjp(Vjp& v) {
  Graph& g = v.graph();
  Span at = v.out()->span;
  const IntList& axes = v.node().ints_attr("axes");
  Node *x = v.in(0), *zero = zeros(g, x), *one = filled(g, x, 1);
  Node* is_zero = binary(g, "eq", x, zero, at);
  Node* safe = select(g, is_zero, one, x, at);
  Node* n_zeros = expand(v, reduce(g, "sum", cast(g, is_zero, x->type.dtype, at), axes, at));
  Node* others = div(g, expand(v, reduce(g, "prod", safe, axes, at)), safe);
  Node* alone = binary(g, "eq", n_zeros, cast(g, is_zero, x->type.dtype, at), at);
  v.grad(0, mul(g, expand(v, v.dy()), select(g, alone, others, zero, at)));
}

// --- places of extrema

TypeResult arg_type(Types in, const Attrs& attrs) {
  int64_t axis = int_of(attrs, "axis");
  if (in[0].dtype == DType::boolean) return TypeResult::fail("needs numbers, not " + in[0].str());
  if (!valid_axis(axis, in[0].rank())) return TypeResult::fail(no_axis(axis, in[0]));
  if (in[0].shape[axis] == Dim(0))
    return TypeResult::fail("axis " + std::to_string(axis) + " of " + in[0].str() + " is empty");
  TensorType t{DType::i64, in[0].shape};
  t.shape.erase(t.shape.begin() + axis);
  return t;
}
/// The first of equals; the first NaN, if there is one.
template <bool kLargest>
void arg_reference(const Node& n, Refs in, RefTensor& out) {
  const RefTensor& x = *in[0];
  AxisView v(x.type, n.int_attr("axis"));
  auto beats = [&](size_t a, size_t b) {
    if (!holds_floats(x)) return kLargest ? x.i[a] > x.i[b] : x.i[a] < x.i[b];
    if (std::isnan(x.f[b])) return false;
    return std::isnan(x.f[a]) || (kLargest ? x.f[a] > x.f[b] : x.f[a] < x.f[b]);
  };
  for (int64_t o = 0; o < v.outer; ++o)
    for (int64_t r = 0; r < v.inner; ++r) {
      int64_t best = 0;
      for (int64_t i = 1; i < v.n; ++i)
        if (beats(v.at(o, i, r), v.at(o, best, r))) best = i;
      out.i[o * v.inner + r] = best;
    }
}

// --- cumsum

TypeResult cumsum_type(Types in, const Attrs& attrs) {
  if (in[0].dtype == DType::boolean) return TypeResult::fail("needs numbers, not " + in[0].str());
  if (!valid_axis(int_of(attrs, "axis"), in[0].rank())) return TypeResult::fail(no_axis(int_of(attrs, "axis"), in[0]));
  return in[0];
}
void cumsum_reference(const Node& n, Refs in, RefTensor& out) {
  AxisView v(n.type, n.int_attr("axis"));
  for (int64_t o = 0; o < v.outer; ++o)
    for (int64_t r = 0; r < v.inner; ++r) {
      double f = 0;
      U sum = 0;
      for (int64_t i = 0; i < v.n; ++i) {
        size_t k = v.at(o, i, r);
        if (holds_floats(out))
          out.f[k] = f += in[0]->f[k];
        else
          out.i[k] = static_cast<int64_t>(sum += U(in[0]->i[k]));
      }
    }
}
void cumsum_vjp(Vjp& v) {  // the running sum from the other end
  int64_t axis = v.node().int_attr("axis");
  Span at = v.out()->span;
  Node* reversed = cumsum(v.graph(), flip(v.graph(), v.dy(), {axis}, at), axis, at);
  v.grad(0, flip(v.graph(), reversed, {axis}, at));
}

const std::vector<OpSample> kReduceSamples = {
    {{f64({2, 3, 4})}, {{"axes", IntList{1}}}},
    {{f64({2, 3, 2})}, {{"axes", IntList{0, 2}}}},
    {{f64({5})}, {{"axes", IntList{0}}}},
    {{i64({3, 2})}, {{"axes", IntList{0}}}, 0, 0, -5, 5},
};

}  // namespace

const OpDef reduce_sum_op{.name = "reduce_sum",
                          .op_class = OpClass::reduction,
                          .operands = {"x"},
                          .attributes = {"axes"},
                          .type = reduce_type,
                          .vjp = sum_vjp,
                          .no_gradient = {},
                          .reference = sum_reference,
                          .doc = "the sum, 0 over nothing; f16 and bf16 accumulate in f32",
                          .samples = kReduceSamples};
const OpDef reduce_max_op{.name = "reduce_max",
                          .op_class = OpClass::reduction,
                          .operands = {"x"},
                          .attributes = {"axes"},
                          .type = extremum_type,
                          .vjp = extremum_vjp,
                          .no_gradient = {},
                          .reference = max_reference,
                          .doc = "the largest, NaN if there is one; equal ones share the gradient",
                          .samples = kReduceSamples};
const OpDef reduce_min_op{.name = "reduce_min",
                          .op_class = OpClass::reduction,
                          .operands = {"x"},
                          .attributes = {"axes"},
                          .type = extremum_type,
                          .vjp = extremum_vjp,
                          .no_gradient = {},
                          .reference = min_reference,
                          .doc = "the smallest, NaN if there is one; equal ones share the gradient",
                          .samples = kReduceSamples};
const OpDef reduce_prod_op{.name = "reduce_prod",
                           .op_class = OpClass::reduction,
                           .operands = {"x"},
                           .attributes = {"axes"},
                           .type = reduce_type,
                           .vjp = prod_vjp,
                           .no_gradient = {},
                           .reference = prod_reference,
                           .doc = "the product, 1 over nothing",
                           .samples = kReduceSamples};
const OpDef argmax_op{
    .name = "argmax",
    .op_class = OpClass::reduction,
    .operands = {"x"},
    .attributes = {"axis"},
    .type = arg_type,
    .no_gradient = "its result is an index",
    .reference = arg_reference<true>,
    .doc = "the place of the largest along an axis: the first of equals, the first NaN",
    .samples = {{{f64({2, 3, 2})}, {{"axis", int64_t{1}}}}, {{i64({6})}, {{"axis", int64_t{0}}}, 0, 0, -2, 2}}};
const OpDef argmin_op{
    .name = "argmin",
    .op_class = OpClass::reduction,
    .operands = {"x"},
    .attributes = {"axis"},
    .type = arg_type,
    .no_gradient = "its result is an index",
    .reference = arg_reference<false>,
    .doc = "the place of the smallest along an axis: the first of equals, the first NaN",
    .samples = {{{f64({2, 3, 2})}, {{"axis", int64_t{1}}}}, {{i64({6})}, {{"axis", int64_t{0}}}, 0, 0, -2, 2}}};
const OpDef cumsum_op{.name = "cumsum",
                      .op_class = OpClass::reduction,
                      .operands = {"x"},
                      .attributes = {"axis"},
                      .type = cumsum_type,
                      .vjp = cumsum_vjp,
                      .no_gradient = {},
                      .reference = cumsum_reference,
                      .doc = "the running sum along an axis",
                      .samples = {{{f64({2, 3, 2})}, {{"axis", int64_t{1}}}}, {{f64({4})}, {{"axis", int64_t{0}}}}}};

}  // namespace nnlc::graph
