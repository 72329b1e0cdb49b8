// Values that come from nowhere: the inputs of a graph, constants, indices.
#include <bit>

#include "compiler/ops/detail.h"

namespace nnlc::graph {
using namespace detail;

namespace {

TypeResult input_type(Types, const Attrs&) { return TypeResult::fail("an input's type is given, not inferred"); }

TypeResult constant_type(Types, const Attrs& attrs) {
  const Shape& shape = shape_of(attrs, "shape");
  if (!is_constant(shape)) return TypeResult::fail("a constant can't have the shape " + str(shape));
  if (element_count(shape) != Dim(static_cast<int64_t>(ints_of(attrs, "values").size())))
    return TypeResult::fail(std::to_string(ints_of(attrs, "values").size()) + " values for the shape " + str(shape));
  return TensorType{std::get<DType>(attrs.at("dtype")), shape};
}
void constant_reference(const Node& n, Refs, RefTensor& out) {
  const IntList& values = n.ints_attr("values");
  for (size_t k = 0; k < values.size(); ++k) {
    if (holds_floats(out))
      out.f[k] = constant_value(n, k);
    else
      out.i[k] = values[k];
  }
}

TypeResult iota_type(Types, const Attrs& attrs) {
  TensorType t{std::get<DType>(attrs.at("dtype")), shape_of(attrs, "shape")};
  if (!valid_axis(int_of(attrs, "axis"), t.rank())) return TypeResult::fail(no_axis(int_of(attrs, "axis"), t));
  if (t.dtype == DType::boolean) return TypeResult::fail("indices can't be bool");
  return t;
}
void iota_reference(const Node& n, Refs, RefTensor& out) {
  AxisView v(n.type, n.int_attr("axis"));
  for (int64_t o = 0; o < v.outer; ++o)
    for (int64_t i = 0; i < v.n; ++i)
      for (int64_t r = 0; r < v.inner; ++r) {
        if (holds_floats(out))
          out.f[v.at(o, i, r)] = static_cast<double>(i);
        else
          out.i[v.at(o, i, r)] = i;
      }
}

}  // namespace

double constant_value(const Node& c, size_t element) {
  int64_t v = c.ints_attr("values")[element];
  return is_float(c.type.dtype) ? std::bit_cast<double>(v) : static_cast<double>(v);
}
int64_t constant_int_value(const Node& c, size_t element) {
  int64_t v = c.ints_attr("values")[element];
  return is_float(c.type.dtype) ? to_int(std::bit_cast<double>(v)) : v;
}

const OpDef input_op{.name = "input",
                     .op_class = OpClass::source,
                     .operands = {},
                     .attributes = {},
                     .type = input_type,
                     .no_gradient = "it has no operands",
                     .doc = "a value given when the graph is run"};
const OpDef constant_op{
    .name = "constant",
    .op_class = OpClass::source,
    .operands = {},
    .attributes = {"dtype", "shape", "values"},
    .type = constant_type,
    .no_gradient = "it has no operands",
    .reference = constant_reference,
    .doc = "values known when the graph is made, in row-major order",
    .samples = {{{}, {{"dtype", DType::i32}, {"shape", Shape{2, 2}}, {"values", IntList{1, -2, 3, 4}}}},
                {{}, {{"dtype", DType::boolean}, {"shape", Shape{}}, {"values", IntList{1}}}}}};
const OpDef iota_op{.name = "iota",
                    .op_class = OpClass::source,
                    .operands = {},
                    .attributes = {"axis", "dtype", "shape"},
                    .type = iota_type,
                    .no_gradient = "it has no operands",
                    .reference = iota_reference,
                    .doc = "each element is its index along one axis",
                    .samples = {{{}, {{"axis", int64_t{1}}, {"dtype", DType::f32}, {"shape", Shape{2, 3, 2}}}},
                                {{}, {{"axis", int64_t{0}}, {"dtype", DType::i64}, {"shape", Shape{5}}}}}};

}  // namespace nnlc::graph
