// Sorting along an axis. Both ops are stable; NaN counts as the largest.
#include <algorithm>
#include <numeric>

#include "compiler/ops/detail.h"

namespace nnlc::graph {
using namespace detail;

static TypeResult sort_type(Types in, const Attrs& attrs) {
  if (!valid_axis(int_of(attrs, "axis"), in[0].rank())) return TypeResult::fail(no_axis(int_of(attrs, "axis"), in[0]));
  return in[0];
}
static TypeResult argsort_type(Types in, const Attrs& attrs) {
  TypeResult r = sort_type(in, attrs);
  if (r.type) r.type->dtype = DType::i64;
  return r;
}

/// Calls f(line's AxisView, o, r, order) for each line along the axis.
template <class F>
static void for_each_line(const Node& n, const RefTensor& x, F f) {
  AxisView v(x.type, n.int_attr("axis"));
  bool descending = n.bool_attr("descending");
  std::vector<int64_t> order(v.n);
  for (int64_t o = 0; o < v.outer; ++o)
    for (int64_t r = 0; r < v.inner; ++r) {
      auto before = [&](int64_t a, int64_t b) {
        if (descending) std::swap(a, b);
        size_t i = v.at(o, a, r), j = v.at(o, b, r);
        if (!holds_floats(x)) return x.i[i] < x.i[j];
        return std::isnan(x.f[j]) ? !std::isnan(x.f[i]) : x.f[i] < x.f[j];
      };
      std::iota(order.begin(), order.end(), 0);
      std::stable_sort(order.begin(), order.end(), before);
      f(v, o, r, order);
    }
}
static void sort_reference(const Node& n, Refs in, RefTensor& out) {
  for_each_line(n, *in[0], [&](const AxisView& v, int64_t o, int64_t r, const std::vector<int64_t>& order) {
    for (int64_t i = 0; i < v.n; ++i) copy_element(out, v.at(o, i, r), *in[0], v.at(o, order[i], r));
  });
}
static void argsort_reference(const Node& n, Refs in, RefTensor& out) {
  for_each_line(n, *in[0], [&](const AxisView& v, int64_t o, int64_t r, const std::vector<int64_t>& order) {
    for (int64_t i = 0; i < v.n; ++i) out.i[v.at(o, i, r)] = order[i];
  });
}
static void sort_vjp(Vjp& v) {  // back to the places that the elements came from
  int64_t axis = v.node().int_attr("axis");
  Span at = v.out()->span;
  Node* order = argsort(v.graph(), v.in(0), axis, v.node().bool_attr("descending"), at);
  v.grad(0, scatter_add_along(v.graph(), order, v.dy(), axis, v.in(0)->type.shape, at));
}

const OpDef sort_op{.name = "sort",
                    .op_class = OpClass::indexing,
                    .operands = {"x"},
                    .attributes = {"axis", "descending"},
                    .type = sort_type,
                    .vjp = sort_vjp,
                    .no_gradient = {},
                    .reference = sort_reference,
                    .doc = "sorted along an axis",
                    .samples = {{{f64({2, 5})}, {{"axis", int64_t{1}}, {"descending", false}}},
                                {{f64({5, 2})}, {{"axis", int64_t{0}}, {"descending", true}}}}};
const OpDef argsort_op{.name = "argsort",
                       .op_class = OpClass::indexing,
                       .operands = {"x"},
                       .attributes = {"axis", "descending"},
                       .type = argsort_type,
                       .no_gradient = "its result is an index",
                       .reference = argsort_reference,
                       .doc = "the places from which a sort takes its elements",
                       .samples = {{{f64({2, 5})}, {{"axis", int64_t{1}}, {"descending", false}}},
                                   {{i64({9})}, {{"axis", int64_t{0}}, {"descending", true}}, 0, 0, 0, 3}}};

}  // namespace nnlc::graph
