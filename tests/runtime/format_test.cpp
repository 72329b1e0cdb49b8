// Numbers, format specifications, and tensors against texts that PyTorch 1.13 printed.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "runtime/format.h"
#include "runtime/half.h"
#include "runtime/tensor.h"

using namespace nnl;

TEST_CASE("floats: the shortest form that reads back") {
  const std::pair<double, const char*> cases[] = {{0.1, "0.1"},
                                                  {1.0, "1.0"},
                                                  {-0.0, "-0.0"},
                                                  {0.1 + 0.2, "0.30000000000000004"},
                                                  {1e-4, "0.0001"},
                                                  {1e-5, "1e-05"},
                                                  {1e15, "1000000000000000.0"},
                                                  {1e16, "1e+16"},
                                                  {1.5e300, "1.5e+300"},
                                                  {5e-324, "5e-324"},
                                                  {12345.678, "12345.678"},
                                                  {INFINITY, "inf"},
                                                  {-INFINITY, "-inf"},
                                                  {NAN, "nan"}};
  for (auto [v, text] : cases) CHECK(format_float(v) == text);
  CHECK(format_float(0.1f) == "0.1");
  CHECK(format_float(2.3025851f) == "2.3025851");
  CHECK(format_float(16777216.0f) == "16777216.0");
  uint64_t state = 1;
  for (int i = 0; i < 20000; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    double v;
    std::memcpy(&v, &state, sizeof v);
    if (std::isfinite(v)) REQUIRE(std::strtod(format_float(v).c_str(), nullptr) == v);
  }
}

TEST_CASE("format specifications") {
  CHECK(format_value(".2%", 0.98765) == "98.77%");
  CHECK(format_value("%", 0.5) == "50.000000%");
  CHECK(format_value(".0%", int64_t{1}) == "100%");
  CHECK(format_value("8.1%", 0.5) == "   50.0%");
  CHECK(format_value("", 1.0) == "1.0");
  CHECK(format_value(">6", 1.0) == "   1.0");
  CHECK(format_value(".3f", 3.14159) == "3.142");
  CHECK(format_value("08.2f", -3.14159) == "-0003.14");
  CHECK(format_value("+.1e", 31415.9) == "+3.1e+04");
  CHECK(format_value(".4", 3.14159) == "3.142");
  CHECK(format_value("*^11.1f", 3.14159) == "****3.1****");
  CHECK(format_value("06.1f", -INFINITY) == "  -inf");
  CHECK(format_value("5", int64_t{42}) == "   42");
  CHECK(format_value("<5", int64_t{42}) == "42   ");
  CHECK(format_value("#06x", int64_t{255}) == "0x00ff");
  CHECK(format_value("b", int64_t{-5}) == "-101");
  CHECK(format_value("d", std::numeric_limits<int64_t>::min()) == "-9223372036854775808");
  CHECK(format_value(".1f", int64_t{2}) == "2.0");
  CHECK(format_value("c", int64_t{0x1F600}) == "😀");
  CHECK(format_value("é^7", int64_t{65}) == "éé65ééé");
  CHECK(format_value("^8.3", std::string_view("naïve")) == "  naï   ");
  CHECK(format_value("7", true) == "true   ");
  CHECK(format_value("d", true) == "1");
}

TEST_CASE("wrong specifications say what is wrong") {
  CHECK(!format_spec_error("", SpecKind::integer));
  CHECK(!format_spec_error("_>+#012.3f", SpecKind::floating));
  CHECK(*format_spec_error("d", SpecKind::floating) == "`d` is for ints, and this is a float");
  CHECK(*format_spec_error("d", SpecKind::text) == "`d` is for numbers, and this is a str");
  CHECK(*format_spec_error("s", SpecKind::integer) == "`s` is for strs, and this is an int");
  CHECK(*format_spec_error(".3", SpecKind::integer) == "a precision is for floats and strs, and this is an int");
  CHECK(*format_spec_error("05", SpecKind::text) == "a sign, `#` or `0` is for numbers, and this is a str");
  CHECK(*format_spec_error(".f", SpecKind::floating) == "a number is missing after `.`");
  CHECK(*format_spec_error("q", SpecKind::floating) == "`q` is no type of a format");
  CHECK(*format_spec_error("5d ", SpecKind::integer) == "`5d ` is no format specification");
  CHECK(*format_spec_error("999999999999", SpecKind::integer) != "");
  CHECK(*format_spec_error("{w}", SpecKind::integer) == "a width or precision that is computed is not supported yet");
}

namespace {
std::string floats(std::vector<float> v, std::vector<int64_t> shape) { return format_tensor(v.data(), NNL_F32, shape); }
std::string range(int64_t n, std::vector<int64_t> shape) {
  std::vector<int64_t> v(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) v[static_cast<size_t>(i)] = i;
  return format_tensor(v.data(), NNL_I64, shape);
}
}  // namespace

TEST_CASE("tensors in PyTorch's layout") {
  CHECK(floats({2.5f}, {}) == "tensor(2.5000)");
  CHECK(floats({0, 0, 0}, {3}) == "tensor([0., 0., 0.])");
  CHECK(floats({1, 2, NAN, -INFINITY}, {4}) == "tensor([1., 2., nan, -inf])");
  CHECK(floats({1e-5f, 1, 2.5f}, {3}) == "tensor([1.0000e-05, 1.0000e+00, 2.5000e+00])");
  CHECK(floats({1, 10000}, {2}) == "tensor([1.0000e+00, 1.0000e+04])");
  CHECK(floats({1.5f, -2.25f, 100, 0}, {2, 2}) == "tensor([[  1.5000,  -2.2500],\n        [100.0000,   0.0000]])");
  std::vector<float> sevenths(24);
  for (int i = 0; i < 24; ++i) sevenths[static_cast<size_t>(i)] = static_cast<float>(i) / 7;
  CHECK(floats(sevenths, {2, 3, 4}) ==
        "tensor([[[0.0000, 0.1429, 0.2857, 0.4286],\n         [0.5714, 0.7143, 0.8571, 1.0000],\n         [1.1429, "
        "1.2857, 1.4286, 1.5714]],\n\n"
        "        [[1.7143, 1.8571, 2.0000, 2.1429],\n         [2.2857, 2.4286, 2.5714, 2.7143],\n         [2.8571, "
        "3.0000, 3.1429, 3.2857]]])");
  CHECK(range(40, {40}) ==
        "tensor([ 0,  1,  2,  3,  4,  5,  6,  7,  8,  9, 10, 11, 12, 13, 14, 15, 16, 17,\n"
        "        18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35,\n        36, 37, 38, 39])");
  CHECK(range(1001, {1001}) == "tensor([   0,    1,    2,  ...,  998,  999, 1000])");
  CHECK(range(1200, {8, 150}) ==
        "tensor([[   0,    1,    2,  ...,  147,  148,  149],\n        [ 150,  151,  152,  ...,  297,  298,  299],\n"
        "        [ 300,  301,  302,  ...,  447,  448,  449],\n        ...,\n        [ 750,  751,  752,  ...,  897,  "
        "898,  899],\n"
        "        [ 900,  901,  902,  ..., 1047, 1048, 1049],\n        [1050, 1051, 1052,  ..., 1197, 1198, 1199]])");
  const uint8_t bools[] = {1, 0};
  CHECK(format_tensor(bools, NNL_BOOL, {2}) == "tensor([ True, False])");
  CHECK(format_tensor(bools, NNL_U8, {2}) == "tensor([1, 0], dtype=u8)");
  const uint16_t halves[] = {f32_to_f16(0.1f), f32_to_f16(0.2f)};
  CHECK(format_tensor(halves, NNL_F16, {2}) == "tensor([0.1000, 0.2000], dtype=f16)");
  const std::vector<double> thirds(14, 1.0 / 3);
  CHECK(format_tensor(thirds.data(), NNL_F64, {14}) ==
        "tensor([0.3333, 0.3333, 0.3333, 0.3333, 0.3333, 0.3333, 0.3333, 0.3333, 0.3333,\n        0.3333, 0.3333, "
        "0.3333, 0.3333, 0.3333], dtype=f64)");
  CHECK(format_tensor(nullptr, NNL_F32, {0, 3}) == "tensor([], size=(0, 3))");
  CHECK(format_tensor(nullptr, NNL_I64, {0}) == "tensor([], dtype=i64)");
}

TEST_CASE("tensors share buffers until somebody copies") {
  Tensor a = Tensor::zeros(NNL_F32, {2, 3});
  CHECK(reinterpret_cast<uintptr_t>(a.data()) % 64 == 0);
  CHECK(a.unique());
  Tensor b = a;
  CHECK(!a.unique());
  CHECK(a.shares(b));
  b = a.copy();
  b.as<float>()[0] = 1;
  CHECK(a.as<float>()[0] == 0);
  CHECK(a.reshaped({6}).shares(a));
  CHECK(Tensor::scalar(NNL_I32, int32_t{7}).as<int32_t>()[0] == 7);
  CHECK(Tensor::zeros(NNL_F64, {0, 5}).bytes() == 0);
  CHECK_THROWS_AS(Tensor::empty(NNL_F32, {INT64_MAX / 2, 16}), std::bad_alloc);
}
