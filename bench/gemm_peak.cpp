// Speed of generated contraction kernels, in per cent of what a loop of independent FMAs reaches on this machine.
//
//   gemm_peak [threads] [avx512|avx2|generic]     all shapes, then the vector functions
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "compiler/codegen/cpu/gemm.h"
#include "compiler/codegen/cpu/vector_math.h"
#include "runtime/team.h"

using namespace nnlc::codegen;
using namespace nnlc::codegen::cpu;

namespace {

bool cpu_time = false;  // with one thread: what other processes take away doesn't count

double now_s() {
  timespec t;
  clock_gettime(cpu_time ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

// Seconds per call: best of several batches, each long enough for the clock.
template <class F>
double best_s(F&& f) {
  f();
  int n = 1;
  for (;; n *= 2) {
    double t0 = now_s();
    for (int i = 0; i < n; i++) f();
    if (now_s() - t0 > 2e-3) break;
  }
  double best = 1e9;
  for (int batch = 0; batch < 15; batch++) {
    double t0 = now_s();
    for (int i = 0; i < n; i++) f();
    best = std::min(best, (now_s() - t0) / n);
  }
  return best;
}

struct Memory {
  void* p;
  explicit Memory(int64_t bytes) : p(std::aligned_alloc(4096, (bytes + 8191) / 4096 * 4096)) {
    std::memset(p, 0, static_cast<size_t>(bytes));
  }
  ~Memory() { std::free(p); }
  float* f() { return static_cast<float*>(p); }
};

double fma_peak_gflops(Jit& jit, nnl::Team& team) {
  IrModule ir = jit.new_module("peak");
  Builder b(*ir.module, jit.target());
  b.begin_function("peak", {b.getPtrTy(), b.getInt64Ty()});
  int lanes = jit.target().f32_lanes(), chains = 12;
  auto* x = b.load(b.getFloatTy(), lanes, b.arg(0));
  Values sums(chains, x);
  sums = b.loop(b.i64(0), b.arg(1), 1, sums, [&](llvm::Value*, Values c) {
    for (auto& v : c) v = b.fma(v, x, x);
    return c;
  });
  for (int i = 0; i < chains; i++) b.store(sums[i], b.at(b.getFloatTy(), b.arg(0), i * lanes));
  b.CreateRetVoid();
  auto f = reinterpret_cast<void (*)(float*, int64_t)>(jit.compile(std::move(ir), "peak"));
  const int64_t n = 20000;
  std::vector<std::unique_ptr<Memory>> memory;
  for (int t = 0; t < team.size(); t++) memory.push_back(std::make_unique<Memory>(4096));
  double t = best_s([&] { team.run([&](int thread) { f(memory[thread]->f(), n); }); });
  return 2.0 * n * chains * lanes * team.size() / t * 1e-9;
}

void shape(Jit& jit, nnl::Team& team, double peak, int64_t m, int64_t n, int64_t k, bool ta, bool tb, bool epilogue) {
  GemmSpec s;
  s.m = m;
  s.n = n;
  s.k = k;
  s.a_i = ta ? 1 : k;
  s.a_k = ta ? m : 1;
  s.b_k = tb ? 1 : n;
  s.b_j = tb ? k : 1;
  s.c_i = n;
  IrModule ir = jit.new_module("gemm");
  Builder b(*ir.module, jit.target());
  auto* p = b.getPtrTy();
  b.begin_function("gemm", {p, p, p, p, p, b.getInt64Ty(), b.getInt64Ty()});
  GemmCallbacks c;
  if (epilogue)
    c.store = [&](Builder& b, const GemmStore& st) {
      auto* f32 = b.getFloatTy();
      auto* v = b.CreateFAdd(st.value, b.load(f32, st.lanes, b.at(f32, b.arg(3), st.j), st.mask));
      b.store(b.fmax(v, b.number(v, 0)), b.at(f32, b.arg(2), b.CreateAdd(b.mul(st.i, n), st.j)), st.mask);
    };
  int threads = team.size();
  Memory scratch(gemm_scratch_bytes(s, c, jit.target(), threads) + 64), a(m * k * 4), w(k * n * 4), out(m * n * 4),
      bias(n * 4);
  emit_gemm(b, s, c, {b.arg(0), b.arg(1), b.arg(2), b.arg(4), b.arg(5), b.arg(6)}, threads);
  b.CreateRetVoid();
  double t0 = now_s();
  auto f = reinterpret_cast<void (*)(void*, void*, void*, void*, void*, int64_t, int64_t)>(
      jit.compile(std::move(ir), "gemm"));
  double compile_ms = (now_s() - t0) * 1e3;
  double t = best_s([&] { team.run([&](int i) { f(a.p, w.p, out.p, bias.p, scratch.p, i, threads); }); });
  double gflops = 2.0 * static_cast<double>(m * n) * static_cast<double>(k) / t * 1e-9;
  std::printf("%5ld x %5ld x %5ld  %c%c%s  %8.1f us  %7.1f GFLOP/s  %5.1f %%   compiled in %.0f ms\n", m, n, k,
              ta ? 'T' : 'N', tb ? 'T' : 'N', epilogue ? " bias+relu" : "          ", t * 1e6, gflops,
              gflops / peak * 100, compile_ms);
}

void function(Jit& jit, const char* name, llvm::Value* (*emit)(Builder&, llvm::Value*)) {
  IrModule ir = jit.new_module(name);
  Builder b(*ir.module, jit.target());
  b.begin_function("f", {b.getPtrTy(), b.getPtrTy(), b.getInt64Ty()});
  int lanes = jit.target().f32_lanes();
  b.loop(b.i64(0), b.arg(2), lanes, [&](llvm::Value* i) {
    b.store(emit(b, b.load(b.getFloatTy(), lanes, b.at(b.getFloatTy(), b.arg(0), i))),
            b.at(b.getFloatTy(), b.arg(1), i));
  });
  b.CreateRetVoid();
  auto f = reinterpret_cast<void (*)(float*, float*, int64_t)>(jit.compile(std::move(ir), "f"));
  const int64_t n = 4096;
  Memory x(n * 4), y(n * 4);
  for (int64_t i = 0; i < n; i++) x.f()[i] = static_cast<float>(i % 100) * 0.03f + 0.01f;
  std::printf("%-6s %.2f ns an element\n", name, best_s([&] { f(x.f(), y.f(), n); }) / n * 1e9);
}

}  // namespace

int main(int argc, char** argv) {
  CpuOptions options;
  options.threads = argc > 1 ? std::atoi(argv[1]) : 1;
  options.features = argc > 2 ? argv[2] : "";
  options.use_cache = false;
  Jit jit(options);
  nnl::Team team({.threads = options.threads, .pin = true});
  cpu_time = team.size() == 1;
  double peak = fma_peak_gflops(jit, team);
  std::printf("%s, %d threads, FMA peak %.1f GFLOP/s\n", jit.describe().c_str(), team.size(), peak);
  const int64_t sizes[][3] = {{64, 392, 784},  {64, 10, 392},   {1, 1024, 1024}, {37, 45, 53},      {128, 1024, 1024},
                              {768, 128, 128}, {768, 512, 128}, {392, 784, 64},  {1024, 1024, 1024}};
  for (auto& s : sizes)
    for (int t = 0; t < 4; t++) shape(jit, team, peak, s[0], s[1], s[2], t & 1, t & 2, false);
  shape(jit, team, peak, 64, 392, 784, false, true, true);
  shape(jit, team, peak, 64, 392, 784, false, false, true);
  function(jit, "exp", emit_exp);
  function(jit, "expm1", emit_expm1);
  function(jit, "log", emit_log);
  function(jit, "log1p", emit_log1p);
  function(jit, "tanh", emit_tanh);
  function(jit, "erf", emit_erf);
  function(jit, "sin", emit_sin);
  function(jit, "rsqrt", emit_rsqrt);
}
