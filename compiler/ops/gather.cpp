// Reading and adding at places that are data. An index outside its axis is clamped into it, so that none reads or
// writes out of bounds; labels and vocabularies are checked where they are read from files.
#include "compiler/ops/detail.h"

namespace nnlc::graph {
using namespace detail;

namespace {

bool is_index(const TensorType& t) { return is_int(t.dtype); }

// --- gather: the index's shape in place of the table's axis

TypeResult gather_type(Types in, const Attrs& attrs) {
  int64_t axis = int_of(attrs, "axis");
  if (!valid_axis(axis, in[0].rank())) return TypeResult::fail(no_axis(axis, in[0]));
  if (!is_index(in[1])) return TypeResult::fail("the index is " + in[1].str() + ", not ints");
  TensorType t = in[0];
  t.shape.erase(t.shape.begin() + axis);
  t.shape.insert(t.shape.begin() + axis, in[1].shape.begin(), in[1].shape.end());
  return t;
}
void gather_reference(const Node& n, Refs in, RefTensor& out) {
  AxisView table(in[0]->type, n.int_attr("axis"));
  const std::vector<int64_t>& index = in[1]->i;
  int64_t n_index = static_cast<int64_t>(index.size());
  for (int64_t o = 0; o < table.outer; ++o)
    for (int64_t j = 0; j < n_index; ++j)
      for (int64_t r = 0; r < table.inner; ++r) {
        size_t to = static_cast<size_t>((o * n_index + j) * table.inner + r);
        if (table.n == 0)
          set_zero(out, to);
        else
          copy_element(out, to, *in[0], table.at(o, clamp_index(index[j], table.n), r));
      }
}
void gather_vjp(Vjp& v) {
  if (!v.wants(0)) return;
  int64_t axis = v.node().int_attr("axis");
  v.grad(0, scatter_add(v.graph(), v.in(1), v.dy(), axis, v.in(0)->type.shape[axis], v.out()->span));
}

// --- scatter_add

TypeResult scatter_add_type(Types in, const Attrs& attrs) {
  int64_t axis = int_of(attrs, "axis");
  const Shape& extent = shape_of(attrs, "size");
  if (!is_index(in[0])) return TypeResult::fail("the index is " + in[0].str() + ", not ints");
  if (in[1].dtype == DType::boolean) return TypeResult::fail("needs numbers, not " + in[1].str());
  if (extent.size() != 1 || negative(extent[0])) return TypeResult::fail("the size is " + str(extent));
  TensorType t = in[1];
  size_t n_axes = in[0].rank();
  if (axis < 0 || static_cast<size_t>(axis) + n_axes > t.rank() ||
      !std::equal(in[0].shape.begin(), in[0].shape.end(), t.shape.begin() + axis))
    return TypeResult::fail("the index " + in[0].str() + " doesn't fit the updates " + in[1].str() + " at axis " +
                            std::to_string(axis));
  t.shape.erase(t.shape.begin() + axis, t.shape.begin() + axis + static_cast<int64_t>(n_axes));
  t.shape.insert(t.shape.begin() + axis, extent[0]);
  return t;
}
void add_element(RefTensor& to, size_t k, const RefTensor& from, size_t j) {
  if (holds_floats(to))
    to.f[k] += from.f[j];
  else
    to.i[k] = static_cast<int64_t>(static_cast<uint64_t>(to.i[k]) + static_cast<uint64_t>(from.i[j]));
}
void scatter_add_reference(const Node& n, Refs in, RefTensor& out) {
  AxisView table(n.type, n.int_attr("axis"));
  const std::vector<int64_t>& index = in[0]->i;
  int64_t n_index = static_cast<int64_t>(index.size());
  for (size_t k = 0; k < detail::size_of(out); ++k) set_zero(out, k);
  if (table.n == 0) return;
  for (int64_t o = 0; o < table.outer; ++o)
    for (int64_t j = 0; j < n_index; ++j)
      for (int64_t r = 0; r < table.inner; ++r)
        add_element(out, table.at(o, clamp_index(index[j], table.n), r), *in[1],
                    static_cast<size_t>((o * n_index + j) * table.inner + r));
}
void scatter_add_vjp(Vjp& v) {
  if (v.wants(1)) v.grad(1, gather(v.graph(), v.dy(), v.in(0), v.node().int_attr("axis"), v.out()->span));
}

// --- gather_along: same rank, an index for each element of the result

TypeResult gather_along_type(Types in, const Attrs& attrs) {
  int64_t axis = int_of(attrs, "axis");
  if (!valid_axis(axis, in[0].rank())) return TypeResult::fail(no_axis(axis, in[0]));
  if (!is_index(in[1])) return TypeResult::fail("the index is " + in[1].str() + ", not ints");
  if (in[1].rank() != in[0].rank()) return TypeResult::fail("ranks differ, " + in[0].str() + " and " + in[1].str());
  for (size_t i = 0; i < in[0].rank(); ++i)
    if (static_cast<int64_t>(i) != axis && negative(in[0].shape[i] - in[1].shape[i]))
      return TypeResult::fail("the index " + in[1].str() + " is larger than " + in[0].str());
  return TensorType{in[0].dtype, in[1].shape};
}
/// Calls f(place in the tensor of `whole`, k) for each element k of the index.
template <class F>
void for_each_place(const TensorType& whole, const RefTensor& index, int64_t axis, F f) {
  std::vector<int64_t> extent = sizes(whole.shape), strides = strides_of(extent);
  if (extent[axis] == 0) return;
  for_each_index(sizes(index.type.shape), [&](auto& at, size_t k) {
    int64_t place = 0;
    for (size_t i = 0; i < at.size(); ++i)
      place += (static_cast<int64_t>(i) == axis ? clamp_index(index.i[k], extent[i]) : at[i]) * strides[i];
    f(static_cast<size_t>(place), k);
  });
}
void gather_along_reference(const Node& n, Refs in, RefTensor& out) {
  for (size_t k = 0; k < detail::size_of(out); ++k) set_zero(out, k);
  for_each_place(in[0]->type, *in[1], n.int_attr("axis"),
                 [&](size_t place, size_t k) { copy_element(out, k, *in[0], place); });
}
void gather_along_vjp(Vjp& v) {
  if (!v.wants(0)) return;
  v.grad(0,
         scatter_add_along(v.graph(), v.in(1), v.dy(), v.node().int_attr("axis"), v.in(0)->type.shape, v.out()->span));
}

TypeResult scatter_add_along_type(Types in, const Attrs& attrs) {
  TensorType whole{in[1].dtype, shape_of(attrs, "shape")};
  if (in[0].shape != in[1].shape || in[1].dtype == DType::boolean)
    return TypeResult::fail("the index " + in[0].str() + " doesn't fit the updates " + in[1].str());
  TensorType index = in[0];
  TensorType both[] = {whole, index};
  TypeResult r = gather_along_type(both, attrs);
  return r.type ? TypeResult(whole) : r;
}
void scatter_add_along_reference(const Node& n, Refs in, RefTensor& out) {
  for (size_t k = 0; k < detail::size_of(out); ++k) set_zero(out, k);
  for_each_place(n.type, *in[0], n.int_attr("axis"),
                 [&](size_t place, size_t k) { add_element(out, place, *in[1], k); });
}
void scatter_add_along_vjp(Vjp& v) {
  if (v.wants(1)) v.grad(1, gather_along(v.graph(), v.dy(), v.in(0), v.node().int_attr("axis"), v.out()->span));
}

// --- stop_gradient

TypeResult same_type(Types in, const Attrs&) { return in[0]; }
void copy_reference(const Node&, Refs in, RefTensor& out) {
  for (size_t k = 0; k < detail::size_of(out); ++k) copy_element(out, k, *in[0], k);
}
void no_flow(Vjp&) {}

}  // namespace

const OpDef gather_op{.name = "gather",
                      .op_class = OpClass::indexing,
                      .operands = {"table", "index"},
                      .attributes = {"axis"},
                      .type = gather_type,
                      .vjp = gather_vjp,
                      .no_gradient = {},
                      .reference = gather_reference,
                      .doc = "entries of a table along an axis, with the index's shape in the axis's place",
                      .samples = {{{f64({4, 3}), i64({2, 3})}, {{"axis", int64_t{0}}}, -2, 2, 0, 3},
                                  {{f64({2, 4, 2}), i64({5})}, {{"axis", int64_t{1}}}, -2, 2, -1, 4},
                                  {{f64({4, 3}), i64({})}, {{"axis", int64_t{0}}}, -2, 2, 0, 3}}};
const OpDef scatter_add_op{
    .name = "scatter_add",
    .op_class = OpClass::indexing,
    .operands = {"index", "updates"},
    .attributes = {"axis", "size"},
    .type = scatter_add_type,
    .vjp = scatter_add_vjp,
    .no_gradient = {},
    .reference = scatter_add_reference,
    .doc = "zeros to which updates are added at indices of an axis, in order: the adjoint of gather",
    .samples = {{{i64({2, 3}), f64({2, 3, 2})}, {{"axis", int64_t{0}}, {"size", Shape{4}}}, -2, 2, 0, 3},
                {{i64({5}), f64({2, 5, 2})}, {{"axis", int64_t{1}}, {"size", Shape{3}}}, -2, 2, -1, 3}}};
const OpDef gather_along_op{
    .name = "gather_along",
    .op_class = OpClass::indexing,
    .operands = {"x", "index"},
    .attributes = {"axis"},
    .type = gather_along_type,
    .vjp = gather_along_vjp,
    .no_gradient = {},
    .reference = gather_along_reference,
    .doc = "for each element of the index, the element of x at that index along the axis (torch.gather)",
    .samples = {{{f64({3, 4}), i64({3, 2})}, {{"axis", int64_t{1}}}, -2, 2, 0, 3},
                {{f64({3, 4}), i64({3, 1})}, {{"axis", int64_t{1}}}, -2, 2, -1, 4},
                {{f64({3, 4}), i64({5, 3})}, {{"axis", int64_t{0}}}, -2, 2, 0, 2}}};
const OpDef scatter_add_along_op{
    .name = "scatter_add_along",
    .op_class = OpClass::indexing,
    .operands = {"index", "updates"},
    .attributes = {"axis", "shape"},
    .type = scatter_add_along_type,
    .vjp = scatter_add_along_vjp,
    .no_gradient = {},
    .reference = scatter_add_along_reference,
    .doc = "zeros to which each update is added at its index along the axis: the adjoint of gather_along",
    .samples = {{{i64({3, 2}), f64({3, 2})}, {{"axis", int64_t{1}}, {"shape", Shape{3, 4}}}, -2, 2, 0, 3},
                {{i64({1, 4}), f64({1, 4})}, {{"axis", int64_t{0}}, {"shape", Shape{3, 4}}}, -2, 2, -1, 3},
                {{i64({5, 3}), f64({5, 3})}, {{"axis", int64_t{0}}, {"shape", Shape{3, 4}}}, -2, 2, 0, 2}}};
const OpDef stop_gradient_op{.name = "stop_gradient",
                             .op_class = OpClass::control,
                             .operands = {"x"},
                             .attributes = {},
                             .type = same_type,
                             .vjp = no_flow,
                             .no_gradient = {},
                             .reference = copy_reference,
                             .doc = "the operand, as a constant for gradients",
                             .samples = {{{i64({2, 3})}, {}, 0, 0, -4, 4}}};

}  // namespace nnlc::graph
