// Numbers that the table's generated tests can't know: other people's answers, and corners.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "compiler/ops/build.h"
#include "compiler/ops/evaluate.h"
#include "runtime/half.h"
#include "runtime/philox.h"

using namespace nnlc::graph;

namespace {
const double kNan = std::numeric_limits<double>::quiet_NaN(), kInf = std::numeric_limits<double>::infinity();

RefTensor floats(std::vector<double> v, DType t = DType::f64) {
  RefTensor r = make_ref({t, {static_cast<int64_t>(v.size())}});
  r.f = std::move(v);
  return r;
}
RefTensor ints(std::vector<int64_t> v, DType t = DType::i64) {
  RefTensor r = make_ref({t, {static_cast<int64_t>(v.size())}});
  r.i = std::move(v);
  return r;
}
RefTensor apply(std::string_view op, const std::vector<RefTensor>& in, Attrs attrs = {}) {
  Graph g;
  std::vector<Node*> operands;
  for (const RefTensor& t : in) operands.push_back(g.add_input(t.type, "", {}));
  g.outputs.push_back({make(g, op, operands, std::move(attrs), {}), nullptr});
  return evaluate(g, in)[0];
}
}  // namespace

TEST_CASE("Philox4x32-10 gives the known answers of Random123") {
  CHECK(nnl::philox4x32_10({0, 0, 0, 0}, 0, 0) == nnl::PhiloxWords{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  uint32_t f = 0xffffffff;
  CHECK(nnl::philox4x32_10({f, f, f, f}, f, f) == nnl::PhiloxWords{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(nnl::philox4x32_10({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0xa4093822, 0x299f31d0) ==
        nnl::PhiloxWords{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("draws have the moments of their distributions") {
  double sum = 0, squares = 0, normal = 0, normal_squares = 0;
  constexpr int n = 20000;
  for (int i = 0; i < n; ++i) {
    double u = nnl::random_uniform(1, 2, i), z = nnl::random_normal(1, 2, i);
    CHECK((u >= 0 && u < 1));
    sum += u, squares += u * u, normal += z, normal_squares += z * z;
  }
  CHECK(sum / n == doctest::Approx(0.5).epsilon(0.02));
  CHECK(squares / n == doctest::Approx(1.0 / 3).epsilon(0.02));
  CHECK(std::fabs(normal / n) < 0.03);
  CHECK(normal_squares / n == doctest::Approx(1).epsilon(0.04));
}

TEST_CASE("16-bit floats") {
  for (uint32_t h = 0; h < 65536; ++h) {
    uint16_t bits = static_cast<uint16_t>(h);
    float f16 = nnl::f16_to_f32(bits), bf16 = nnl::bf16_to_f32(bits);
    if (f16 == f16 && nnl::f32_to_f16(f16) != bits) FAIL("f16 ", h);
    if (bf16 == bf16 && nnl::f32_to_bf16(bf16) != bits) FAIL("bf16 ", h);
  }
  CHECK(std::isnan(nnl::f16_to_f32(nnl::f32_to_f16(NAN))));
  CHECK(std::isnan(nnl::bf16_to_f32(nnl::f32_to_bf16(NAN))));
  CHECK(nnl::f32_to_f16(65519.0f) == 0x7bff);
  CHECK(nnl::f32_to_f16(65520.0f) == 0x7c00);
  CHECK(nnl::f32_to_f16(2049.0f) == nnl::f32_to_f16(2048.0f));  // a tie, to even
  CHECK(nnl::f32_to_f16(0x1p-25f) == 0);
  CHECK(nnl::f32_to_f16(-0x1.8p-25f) == 0x8001);
  // Once, not twice: just above a tie that f32 can't tell from it.
  CHECK(nnl::f64_to_f16(2049.0 + 1e-9) == nnl::f32_to_f16(2050.0f));
  CHECK(nnl::f64_to_bf16(1 + 0x1p-8 + 1e-12) == nnl::f32_to_bf16(1 + 0x1p-7f));
  CHECK(nnl::f64_to_bf16(1e300) == 0x7f80);
}

TEST_CASE("ints as in Python") {
  RefTensor a = ints({7, -7, 7, -7, 5}), b = ints({2, 2, -2, -2, 0});
  CHECK(apply("div", {a, b}).i == std::vector<int64_t>{3, -4, -4, 3, 0});
  CHECK(apply("rem", {a, b}).i == std::vector<int64_t>{1, 1, -1, -1, 0});
  CHECK(apply("pow", {ints({2, -3, 2, -1}), ints({10, 3, -1, -3})}).i == std::vector<int64_t>{1024, -27, 0, -1});
  CHECK(apply("rem", {floats({5.5, -5.5}), floats({2, 2})}).f == std::vector<double>{1.5, 0.5});
  CHECK(apply("add", {ints({200, 255}, DType::u8), ints({100, 1}, DType::u8)}).i == std::vector<int64_t>{44, 0});
  CHECK(apply("div", {ints({INT64_MIN}), ints({-1})}).i == std::vector<int64_t>{INT64_MIN});
}

TEST_CASE("NaN, ties and rounding") {
  CHECK(std::isnan(apply("max", {floats({kNan}), floats({1})}).f[0]));
  CHECK(std::isnan(apply("min", {floats({1}), floats({kNan})}).f[0]));
  CHECK(std::isnan(apply("reduce_max", {floats({1, kNan, 3})}, {{"axes", IntList{0}}}).f[0]));
  CHECK(apply("argmax", {floats({1, kNan, 3})}, {{"axis", int64_t{0}}}).i[0] == 1);
  CHECK(apply("argmax", {floats({3, 1, 3})}, {{"axis", int64_t{0}}}).i[0] == 0);
  CHECK(apply("argmin", {floats({3, 1, 1})}, {{"axis", int64_t{0}}}).i[0] == 1);
  CHECK(apply("round", {floats({0.5, 1.5, 2.5, -0.5})}).f == std::vector<double>{0, 2, 2, 0});
  CHECK(apply("argsort", {ints({2, 1, 2, 1})}, {{"axis", int64_t{0}}, {"descending", true}}).i ==
        std::vector<int64_t>{0, 2, 1, 3});
  CHECK(apply("argsort", {floats({kNan, 1, kInf})}, {{"axis", int64_t{0}}, {"descending", false}}).i ==
        std::vector<int64_t>{1, 2, 0});
  CHECK(apply("cast", {floats({1e30, -1e30, kNan, -1.7})}, {{"dtype", DType::i64}}).i ==
        std::vector<int64_t>{INT64_MAX, INT64_MIN, 0, -1});
  CHECK(apply("reduce_sum", {floats({})}, {{"axes", IntList{0}}}).f == std::vector<double>{0});
  CHECK(apply("add", {floats({1}, DType::f32), floats({1e-9}, DType::f32)}).f[0] == 1);
}

TEST_CASE("type rules refuse in words") {
  auto refusal = [](std::string_view op, std::vector<TensorType> types, Attrs attrs = {}) {
    Graph g;
    std::vector<Node*> operands;
    for (const TensorType& t : types) operands.push_back(g.add_input(t, "", {}));
    std::string error;
    CHECK(!try_make(g, op, operands, std::move(attrs), {}, error));
    return error;
  };
  TensorType f{DType::f32, {2, 3}}, i{DType::i32, {2, 3}}, b{DType::boolean, {2, 3}};
  CHECK(refusal("add", {f, i}) == "operands differ, f32[2, 3] and i32[2, 3]");
  CHECK(refusal("exp", {i}) == "needs floats, not i32[2, 3]");
  CHECK(refusal("lt", {b, b}) == "needs numbers, not bool[2, 3]");
  CHECK(refusal("reshape", {f}, {{"shape", Shape{4}}}) == "f32[2, 3] has 6 elements, [4] 4");
  CHECK(refusal("contract", {f, f}, {{"a", "mk"}, {"b", "kn"}, {"out", "mn"}}) == "sizes of k differ, 3 and 2");
  CHECK(refusal("contract", {f, f}, {{"a", "mk"}, {"b", "mj"}, {"out", "m"}}) ==
        "the label k stands in one operand only");
  CHECK(refusal("slice", {f}, {{"starts", Shape{1, 0}}, {"sizes", Shape{2, 3}}, {"strides", IntList{1, 1}}}) ==
        "the slice leaves axis 0 of f32[2, 3]");
  CHECK(refusal("window", {f},
                {{"axis", int64_t{1}}, {"size", int64_t{4}}, {"stride", int64_t{1}}, {"dilation", int64_t{1}}}) ==
        "the window is longer than axis 1 of f32[2, 3]");
}
