// Vector functions against libm in double precision, in units of the last place.
//
// The f32 patterns are sampled with a prime stride; NNLC_TEST_STRIDE=1 tries all 2^32 (an hour or so).
#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "compiler/codegen/cpu/vector_math.h"
#include "tests/codegen_cpu/support.h"

using namespace nnlc::codegen::cpu;

namespace {

constexpr int64_t kBlock = 4096;

using Emit1 = llvm::Value* (*)(Builder&, llvm::Value*);

void emit_map(Jit& jit, IrModule& ir, const char* name, Emit1 f, bool f64, int lanes) {
  Builder b(*ir.module, jit.target());
  auto* p = b.getPtrTy();
  llvm::Type* t = f64 ? b.getDoubleTy() : b.getFloatTy();
  b.begin_function(name, {p, p, b.getInt64Ty()});
  b.vectors(b.i64(0), b.arg(2), lanes, [&](llvm::Value* i, llvm::Value* mask) {
    auto* x = lanes == 1 ? b.load(t, b.at(t, b.arg(0), i)) : b.load(t, lanes, b.at(t, b.arg(0), i), mask);
    b.store(f(b, x), b.at(t, b.arg(1), i), mask);
  });
  b.CreateRetVoid();
}
void emit_pow_map(Jit& jit, IrModule& ir, const char* name, bool f64, int lanes) {
  Builder b(*ir.module, jit.target());
  auto* p = b.getPtrTy();
  llvm::Type* t = f64 ? b.getDoubleTy() : b.getFloatTy();
  b.begin_function(name, {p, p, p, b.getInt64Ty()});
  b.vectors(b.i64(0), b.arg(3), lanes, [&](llvm::Value* i, llvm::Value* mask) {
    auto* x = b.load(t, lanes, b.at(t, b.arg(0), i), mask);
    auto* y = b.load(t, lanes, b.at(t, b.arg(1), i), mask);
    b.store(emit_pow(b, x, y), b.at(t, b.arg(2), i), mask);
  });
  b.CreateRetVoid();
}

// Distance in units of the f32 nearest to `want`; infinite if only one is NaN, or an infinity is missed.
double ulps(float got, double want) {
  if (std::isnan(want) || std::isnan(got)) return std::isnan(want) == std::isnan(got) ? 0 : INFINITY;
  float nearest = static_cast<float>(want);
  if (got == nearest)
    return std::signbit(got) == std::signbit(nearest) ? std::fabs(want - nearest) > 0 ? 0.5 : 0 : INFINITY;
  if (std::isinf(nearest) || std::isinf(got)) {  // the border of overflow is a rounding question
    double at_border = std::fabs(std::isinf(nearest) ? double{got} : want);
    return at_border > 0x1.fffffcp127 ? 1 : INFINITY;
  }
  int exponent = std::max(std::ilogb(want), -126);
  return std::fabs(double{got} - want) / std::ldexp(1.0, exponent - 23);
}

struct Function {
  const char* name;
  Emit1 emit;
  double (*reference)(double);
};
const Function kFunctions[] = {
    {"exp", emit_exp, std::exp},
    {"expm1", emit_expm1, std::expm1},
    {"log", emit_log, std::log},
    {"log1p", emit_log1p, std::log1p},
    {"tanh", emit_tanh, std::tanh},
    {"erf", emit_erf, std::erf},
    {"sin", emit_sin, std::sin},
    {"cos", emit_cos, std::cos},
    {"rsqrt", emit_rsqrt, [](double x) { return 1 / std::sqrt(x); }},
};

int64_t stride() {
  const char* s = std::getenv("NNLC_TEST_STRIDE");
  return s && std::atoll(s) > 0 ? std::atoll(s) : 10007;
}

const float kSpecial[] = {0.0f,       -0.0f,      1.0f,      -1.0f,           INFINITY,      -INFINITY,
                          NAN,        1e-45f,     -1e-45f,   1.17549435e-38f, 3.4028235e38f, -3.4028235e38f,
                          0.5f,       2.0f,       88.72284f, 88.7f,           -87.3f,        -103.97f,
                          -104.5f,    0.625f,     0.95f,     1e-8f,           131072.0f,     131073.0f,
                          3.1415927f, 1.5707964f, 1e22f};

}  // namespace

TEST_CASE("f32 functions over the whole range") {
  for (auto& level : runnable_levels()) {
    Jit jit(uncached(level));
    for (const Function& f : kFunctions) {
      IrModule ir = jit.new_module(f.name);
      emit_map(jit, ir, "f", f.emit, false, jit.target().f32_lanes());
      auto run = reinterpret_cast<void (*)(const float*, float*, int64_t)>(jit.compile(std::move(ir), "f"));
      std::vector<float> x, y(kBlock);
      double worst = 0, worst_x = 0;
      auto flush = [&] {
        run(x.data(), y.data(), static_cast<int64_t>(x.size()));
        for (size_t i = 0; i < x.size(); i++)
          if (double e = ulps(y[i], f.reference(x[i])); e > worst) {
            worst = e;
            worst_x = x[i];
          }
        x.clear();
      };
      for (float s : kSpecial) x.push_back(s);
      flush();
      for (int64_t p = 0; p < int64_t{1} << 32; p += stride()) {
        x.push_back(std::bit_cast<float>(static_cast<uint32_t>(p)));
        if (x.size() == kBlock) flush();
      }
      for (int i = 0; i < 200000; i++) {  // where values usually are
        x.push_back(static_cast<float>((i - 100000) * 1.1e-4));
        if (x.size() == kBlock) flush();
      }
      flush();
      CAPTURE(level);
      std::string name = f.name;  // doctest would print a pointer
      CAPTURE(name);
      CAPTURE(worst_x);
      if (std::getenv("NNLC_TEST_VERBOSE")) MESSAGE("worst " << worst);
      CHECK(worst <= 1.5);
    }
  }
}

TEST_CASE("f32 pow") {
  for (auto& level : runnable_levels()) {
    CAPTURE(level);
    Jit jit(uncached(level));
    IrModule ir = jit.new_module("pow");
    emit_pow_map(jit, ir, "f", false, jit.target().f32_lanes());
    auto run = reinterpret_cast<void (*)(const float*, const float*, float*, int64_t)>(jit.compile(std::move(ir), "f"));
    std::vector<float> x, y, special(std::begin(kSpecial), std::end(kSpecial));
    for (float v : {3.0f, -3.0f, 2.5f, -2.5f, -2.0f, 16777216.0f, 16777215.0f, -16777215.0f, 3e9f, -0.5f, 0.99999994f})
      special.push_back(v);
    for (float a : special)
      for (float e : special) {
        x.push_back(a);
        y.push_back(e);
      }
    uint64_t state = 1;
    auto next = [&] {
      return static_cast<uint32_t>((state = state * 6364136223846793005u + 1442695040888963407u) >> 32);
    };
    for (int i = 0; i < 100000; i++) {
      x.push_back(std::bit_cast<float>(next()));
      y.push_back(std::bit_cast<float>(next()));
      x.push_back(static_cast<float>(next() * 0x1p-28));  // moderate ones, and results over the whole range
      y.push_back(static_cast<float>((next() * 0x1p-31 - 1) * 40));
      x.push_back(std::bit_cast<float>(next() >> 1));
      y.push_back(static_cast<float>(static_cast<int>(next() % 9) - 4));
    }
    std::vector<float> z(x.size());
    run(x.data(), y.data(), z.data(), static_cast<int64_t>(x.size()));
    double worst = 0;
    size_t at = 0;
    for (size_t i = 0; i < x.size(); i++)
      if (double e = ulps(z[i], std::pow(double{x[i]}, double{y[i]})); e > worst) {
        worst = e;
        at = i;
      }
    CAPTURE(x[at]);
    CAPTURE(y[at]);
    CAPTURE(z[at]);
    CHECK(worst <= 1);
  }
}

TEST_CASE("scalars and short or long vectors agree with whole registers") {
  Jit jit(uncached("native"));
  for (const Function& f : kFunctions) {
    std::vector<std::vector<float>> results;
    for (int lanes : {1, 2, 4, 8, 16, 32}) {
      IrModule ir = jit.new_module(f.name);
      emit_map(jit, ir, "f", f.emit, false, lanes);
      auto run = reinterpret_cast<void (*)(const float*, float*, int64_t)>(jit.compile(std::move(ir), "f"));
      std::vector<float> x, y(96);
      for (int i = 0; i < 95; i++) x.push_back(static_cast<float>(std::pow(1.4, i - 40)) * (i % 3 ? 1.0f : -1.0f));
      x.push_back(200000.0f);
      run(x.data(), y.data(), 96);
      results.push_back(y);
    }
    for (auto& r : results)
      for (size_t i = 0; i < r.size(); i++)
        CHECK(std::bit_cast<uint32_t>(std::fabs(r[i])) == std::bit_cast<uint32_t>(std::fabs(results[0][i])));
  }
}

TEST_CASE("f64 functions") {
  for (auto& level : runnable_levels()) {
    CAPTURE(level);
    Jit jit(uncached(level));
    for (const Function& f : kFunctions) {
      std::string name = f.name;
      CAPTURE(name);
      IrModule ir = jit.new_module(f.name);
      emit_map(jit, ir, "f", f.emit, true, jit.target().f64_lanes());
      auto run = reinterpret_cast<void (*)(const double*, double*, int64_t)>(jit.compile(std::move(ir), "f"));
      std::vector<double> x;
      for (float s : kSpecial) x.push_back(s);
      for (int i = 0; i < 20000; i++) x.push_back((i - 10000) * 1.7e-3);
      for (int i = 0; i < 2000; i++) x.push_back(std::ldexp(1.37, i - 1000) * (i % 2 ? -1 : 1));
      std::vector<double> y(x.size());
      run(x.data(), y.data(), static_cast<int64_t>(x.size()));
      double worst = 0;
      for (size_t i = 0; i < x.size(); i++) {
        double want = f.reference(x[i]);
        if (std::isnan(want) || std::isinf(want)) {
          bool same = std::isnan(want) ? std::isnan(y[i]) : y[i] == want;
          CHECK(same);
          continue;
        }
        int exponent = want == 0 ? -1022 : std::max(std::ilogb(want), -1022);
        worst = std::max(worst, std::fabs(y[i] - want) / std::ldexp(1.0, exponent - 52));
      }
      CHECK(worst <= 2);
    }
  }
}
