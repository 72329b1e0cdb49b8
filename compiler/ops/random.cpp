// Random draws from a counter-based generator: what is drawn depends on key, step and element alone (runtime/philox.h).
#include "runtime/philox.h"

#include "compiler/ops/detail.h"

namespace nnlc::graph {
using namespace detail;

static TypeResult type(Types in, const Attrs& attrs) {
  const std::string& kind = std::get<std::string>(attrs.at("kind"));
  DType dtype = std::get<DType>(attrs.at("dtype"));
  if (kind != "uniform" && kind != "normal" && kind != "bits") return TypeResult::fail("there is no kind " + kind);
  if (in[0] != TensorType{DType::i64, {}}) return TypeResult::fail("the step is " + in[0].str() + ", not i64[]");
  if (kind == "bits" ? dtype != DType::i64 : dtype != DType::f32 && dtype != DType::f64)
    return TypeResult::fail(kind + " draws can't be " + std::string(name(dtype)));
  return TensorType{dtype, shape_of(attrs, "shape")};
}

static void reference(const Node& n, Refs in, RefTensor& out) {
  uint64_t key = static_cast<uint64_t>(n.int_attr("key")), step = static_cast<uint64_t>(in[0]->i[0]);
  const std::string& kind = n.str_attr("kind");
  for (size_t k = 0; k < size_of(out); ++k) {
    if (kind == "uniform")
      out.f[k] = nnl::random_uniform(key, step, k);
    else if (kind == "normal")
      out.f[k] = static_cast<float>(nnl::random_normal(key, step, k));
    else
      out.i[k] = nnl::random_bits(key, step, k);
  }
}

const OpDef random_op{
    .name = "random",
    .op_class = OpClass::random,
    .operands = {"step"},
    .attributes = {"dtype", "key", "kind", "shape"},
    .type = type,
    .no_gradient = "it doesn't depend on its operand continuously",
    .reference = reference,
    .doc = "draws of Philox4x32-10, keyed by place, step and element",
    .samples = {{{i64({})}, {{"dtype", DType::f32}, {"key", int64_t{7}}, {"kind", "uniform"}, {"shape", Shape{2, 5}}}},
                {{i64({})}, {{"dtype", DType::f32}, {"key", int64_t{-7}}, {"kind", "normal"}, {"shape", Shape{7}}}},
                {{i64({})}, {{"dtype", DType::i64}, {"key", int64_t{7}}, {"kind", "bits"}, {"shape", Shape{3}}}}}};

}  // namespace nnlc::graph
