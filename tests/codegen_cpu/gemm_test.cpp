// Contraction kernels against three loops: shapes, strides, threads, callbacks, on every level this machine runs.
#include "compiler/codegen/cpu/gemm.h"

#include <doctest/doctest.h>
#include <sys/mman.h>

#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "tests/codegen_cpu/support.h"

using namespace nnlc::codegen::cpu;

namespace {

using Code = void (*)(const void* a, const void* b, void* c, const void* extra, void* scratch, int64_t thread,
                      int64_t threads);

struct Compiled {
  Code code;
  int64_t scratch_bytes;
};

Compiled compile(Jit& jit, const GemmSpec& spec, int threads,
                 const std::function<GemmCallbacks(Builder&)>& callbacks = nullptr) {
  IrModule ir = jit.new_module("gemm");
  Builder b(*ir.module, jit.target());
  auto* p = b.getPtrTy();
  b.begin_function("gemm", {p, p, p, p, p, b.getInt64Ty(), b.getInt64Ty()});
  GemmCallbacks c = callbacks ? callbacks(b) : GemmCallbacks{};
  GemmOperands o{b.arg(0), b.arg(1), b.arg(2), b.arg(4), b.arg(5), b.arg(6)};
  int64_t bytes = gemm_scratch_bytes(spec, c, jit.target(), threads);
  emit_gemm(b, spec, c, o, threads);
  b.CreateRetVoid();
  return {reinterpret_cast<Code>(jit.compile(std::move(ir), "gemm")), bytes};
}

void run(const Compiled& k, const void* a, const void* b, void* c, const void* extra, int threads) {
  std::vector<uint8_t> memory(k.scratch_bytes + 128, 0xff);  // NaN patterns
  void* scratch = memory.data();
  size_t space = memory.size();
  std::align(64, static_cast<size_t>(k.scratch_bytes), scratch, space);
  for (int t = 0; t < threads; t++) k.code(a, b, c, extra, scratch, t, threads);
  for (size_t i = 0; i < 64 && i < space - k.scratch_bytes; i++)
    CHECK(static_cast<uint8_t*>(scratch)[k.scratch_bytes + i] == 0xff);  // nothing written behind it
}

template <class T>
std::vector<T> random_values(size_t n, uint64_t seed) {
  std::vector<T> v(n);
  uint64_t s = seed * 2654435761u + 1;
  for (auto& x : v) {
    s = s * 6364136223846793005u + 1442695040888963407u;
    x = static_cast<T>(static_cast<double>(static_cast<int64_t>(s) >> 40) / (1 << 23));
  }
  return v;
}

// Ends where an unreadable page begins: a kernel that looks past its operand crashes.
template <class T>
struct Guarded {
  size_t bytes, mapped;
  uint8_t* base;
  T* p;
  explicit Guarded(const std::vector<T>& v) : bytes(v.size() * sizeof(T)), mapped((bytes + 4095) / 4096 * 4096 + 4096) {
    base = static_cast<uint8_t*>(mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    mprotect(base + mapped - 4096, 4096, PROT_NONE);
    p = reinterpret_cast<T*>(base + mapped - 4096 - bytes);
    std::memcpy(p, v.data(), bytes);
  }
  ~Guarded() { munmap(base, mapped); }
  Guarded(const Guarded&) = delete;
};

int64_t extent(int64_t batch, int64_t batch_stride, int64_t n0, int64_t s0, int64_t n1, int64_t s1) {
  return (batch - 1) * batch_stride + (n0 - 1) * s0 + (n1 - 1) * s1 + 1;
}

// Dense operands; ta / tb / tc: stored the other way round.
GemmSpec dense(int64_t m, int64_t n, int64_t k, bool ta, bool tb, bool tc = false, int64_t batch = 1) {
  GemmSpec s;
  s.batch = batch;
  s.m = m;
  s.n = n;
  s.k = k;
  s.a_i = ta ? 1 : k;
  s.a_k = ta ? m : 1;
  s.b_k = tb ? 1 : n;
  s.b_j = tb ? k : 1;
  s.c_i = tc ? 1 : n;
  s.c_j = tc ? m : 1;
  s.a_batch = m * k;
  s.b_batch = n * k;
  s.c_batch = m * n;
  return s;
}

template <class T>
void check_against_loops(Jit& jit, GemmSpec s, const std::vector<int>& teams) {
  if (sizeof(T) == 8) s.a = s.b = s.c = GemmElement::F64;
  auto a = random_values<T>(extent(s.batch, s.a_batch, s.m, s.a_i, s.k, s.a_k), 1);
  auto b = random_values<T>(extent(s.batch, s.b_batch, s.n, s.b_j, s.k, s.b_k), 2);
  int64_t size = extent(s.batch, s.c_batch, s.m, s.c_i, s.n, s.c_j);
  std::vector<T> start = random_values<T>(size + 16, 3), first;
  CAPTURE(s.m);
  CAPTURE(s.n);
  CAPTURE(s.k);
  CAPTURE(s.a_k);
  CAPTURE(s.b_j);
  CAPTURE(s.c_j);
  CAPTURE(s.batch);
  Guarded<T> guarded_a(a), guarded_b(b);
  for (int threads : teams) {
    CAPTURE(threads);
    Compiled k = compile(jit, s, threads);
    std::vector<T> c = start;
    {
      Guarded<T> guarded_c(std::vector<T>(start.begin(), start.begin() + size));
      run(k, guarded_a.p, guarded_b.p, guarded_c.p, nullptr, threads);
      std::copy(guarded_c.p, guarded_c.p + size, c.begin());
    }
    if (!first.empty()) {  // the same bits for every team
      CHECK(std::memcmp(first.data(), c.data(), c.size() * sizeof(T)) == 0);
      continue;
    }
    first = c;
    std::vector<T> expected = start;  // what isn't C must stay
    double worst = 0;
    for (int64_t g = 0; g < s.batch; g++)
      for (int64_t i = 0; i < s.m; i++)
        for (int64_t j = 0; j < s.n; j++) {
          double sum = 0, size_of_terms = 1e-30;
          for (int64_t l = 0; l < s.k; l++) {
            double t = static_cast<double>(a[g * s.a_batch + i * s.a_i + l * s.a_k]) *
                       static_cast<double>(b[g * s.b_batch + l * s.b_k + j * s.b_j]);
            sum += t;
            size_of_terms += std::fabs(t);
          }
          int64_t at = g * s.c_batch + i * s.c_i + j * s.c_j;
          if (s.accumulate) sum += static_cast<double>(start[at]);
          worst = std::max(worst, std::fabs(sum - static_cast<double>(c[at])) / (size_of_terms + 1));
          expected[at] = c[at];
        }
    CHECK(worst < (sizeof(T) == 8 ? 1e-14 : 3e-6));
    CHECK(std::memcmp(expected.data(), c.data(), c.size() * sizeof(T)) == 0);
  }
}

}  // namespace

TEST_CASE("shapes and transposes") {
  const int64_t shapes[][3] = {{1, 1, 1},    {1, 100, 37},  {3, 5, 7},     {64, 10, 392}, {100, 1, 70},
                               {37, 45, 53}, {14, 130, 64}, {5, 17, 1500}, {70, 33, 1},   {33, 8, 200}};
  for (auto& level : runnable_levels()) {
    CAPTURE(level);
    Jit jit(uncached(level));
    int number =
        0;  // each shape with all transposes on one level, with two of them on the others: compiling takes the time
    for (auto& s : shapes) {
      number++;
      for (int t = 0; t < 4; t++)
        if (level == runnable_levels()[0] || (t + number) % 2 == 0)
          check_against_loops<float>(jit, dense(s[0], s[1], s[2], t & 1, t & 2),
                                     t == 0 ? std::vector{1, 2} : std::vector{1});
    }
    check_against_loops<float>(jit, dense(40, 50, 60, false, true, true), {1, 2, 4});
    check_against_loops<float>(jit, dense(20, 100, 130, false, true), {1, 2});  // computed as its transpose
    check_against_loops<double>(jit, dense(37, 45, 53, true, false), {1, 2});
    check_against_loops<double>(jit, dense(37, 45, 1300, false, true), {1, 3});
  }
}

TEST_CASE("batches, strides, accumulation, teams") {
  for (auto& level : runnable_levels()) {
    CAPTURE(level);
    Jit jit(uncached(level));
    for (int64_t batch : {2, 3, 7})
      for (int t = 0; t < 4; t++)
        check_against_loops<float>(jit, dense(17, 21, 24, t & 1, t & 2, false, batch), {1, 3});
    GemmSpec s = dense(64, 96, 128, false, false);
    check_against_loops<float>(jit, s, {1, 2, 4, 5});
    s.accumulate = true;
    check_against_loops<float>(jit, s, {1, 2});
    s.k = 1100;
    s.a_i = 1104;
    check_against_loops<float>(jit, s, {1, 2});
    GemmSpec strided;  // nothing contiguous
    strided.m = 19;
    strided.n = 23;
    strided.k = 29;
    strided.a_i = 70;
    strided.a_k = 2;
    strided.b_k = 80;
    strided.b_j = 3;
    strided.c_i = 60;
    strided.c_j = 2;
    for (bool add : {false, true}) {
      strided.accumulate = add;
      check_against_loops<float>(jit, strided, {1, 2});
    }
    GemmSpec shared = dense(30, 40, 50, false, true, false, 3);  // one B for all
    shared.b_batch = 0;
    check_against_loops<float>(jit, shared, {1, 2});
    GemmSpec tiny = dense(1, 512, 300, false, true);
    check_against_loops<float>(jit, tiny, {1, 2, 4});
    check_against_loops<float>(jit, dense(1, 700, 300, false, false), {1, 2, 4});
  }
}

TEST_CASE("more rows than a block holds") {
  Jit jit(uncached("native"));
  for (int t = 0; t < 4; t++) check_against_loops<float>(jit, dense(1801, 37, 400, t & 1, t & 2), {1, 2});
  Jit narrow(uncached("generic"));
  check_against_loops<float>(narrow, dense(701, 19, 500, false, true, true), {1, 3});
  check_against_loops<double>(narrow, dense(401, 19, 500, false, false, false), {1, 3});
}

TEST_CASE("outer batch dimensions: heads inside a row") {
  // q[b, t, h, d] k[b, s, h, d] -> scores[b, h, t, s]
  const int64_t B = 2, T = 12, H = 3, D = 16;
  Jit jit(uncached("native"));
  GemmSpec s;
  s.outer = {{B, T * H * D, T * H * D, H * T * T}};
  s.batch = H;
  s.a_batch = s.b_batch = D;
  s.c_batch = T * T;
  s.m = s.n = T;
  s.k = D;
  s.a_i = s.b_j = H * D;
  s.b_k = 1;
  s.c_i = T;
  auto q = random_values<float>(B * T * H * D, 1), k = random_values<float>(B * T * H * D, 2);
  for (int threads : {1, 2}) {
    std::vector<float> c(B * H * T * T);
    run(compile(jit, s, threads), q.data(), k.data(), c.data(), nullptr, threads);
    double worst = 0;
    for (int64_t b = 0; b < B; b++)
      for (int64_t h = 0; h < H; h++)
        for (int64_t t = 0; t < T; t++)
          for (int64_t u = 0; u < T; u++) {
            double sum = 0;
            for (int64_t d = 0; d < D; d++)
              sum += double{q[((b * T + t) * H + h) * D + d]} * k[((b * T + u) * H + h) * D + d];
            worst = std::max(worst, std::fabs(sum - c[((b * H + h) * T + t) * T + u]));
          }
    CHECK(worst < 1e-5);
  }
}

TEST_CASE("callbacks: operands computed while packing, bias and ReLU on the way out") {
  for (auto& level : runnable_levels()) {
    CAPTURE(level);
    Jit jit(uncached(level));
    for (bool a_along_k : {false, true})
      for (bool b_along_k : {false, true})
        for (int64_t k : {20, 800}) {
          // Partial sums over several k blocks, and once over several row blocks.
          const int64_t m = k > 100 && a_along_k && level != "avx512" ? 1500 : 21, n = 37;
          GemmSpec s = dense(m, n, k, !a_along_k, b_along_k);
          CAPTURE(a_along_k);
          CAPTURE(b_along_k);
          CAPTURE(k);
          auto make = [&](Builder& b) {
            GemmCallbacks c;
            llvm::Type* f32 = b.getFloatTy();
            c.a_along_k = a_along_k;
            c.b_along_k = b_along_k;
            c.load_a = [=](Builder& b, const GemmLoad& l) {  // 2 a
              auto* at = b.at(f32, b.arg(0), b.CreateAdd(b.mul(l.outer, s.a_i), b.mul(l.k, s.a_k)));
              auto* v = b.load(f32, l.lanes, at, l.mask);
              CHECK(l.along_k == a_along_k);
              return b.CreateFAdd(v, v);
            };
            c.load_b = [=](Builder& b, const GemmLoad& l) {  // b + 1
              auto* at = b.at(f32, b.arg(1), b.CreateAdd(b.mul(l.outer, s.b_j), b.mul(l.k, s.b_k)));
              auto* v = b.load(f32, l.lanes, at, l.mask);
              return b.CreateFAdd(v, b.number(v, 1));
            };
            c.store = [=](Builder& b, const GemmStore& st) {  // relu(c + bias[j])
              auto* bias = b.load(f32, st.lanes, b.at(f32, b.arg(3), st.j), st.mask);
              auto* v = b.CreateFAdd(st.value, bias);
              v = b.fmax(v, b.number(v, 0));
              b.store(v, b.at(f32, b.arg(2), b.CreateAdd(b.mul(st.i, n), st.j)), st.mask);
            };
            return c;
          };
          auto a = random_values<float>(m * k, 1), w = random_values<float>(n * k, 2),
               bias = random_values<float>(n, 5);
          std::vector<float> first;
          for (int threads : {1, 4}) {
            std::vector<float> c(m * n + 8, -7);
            run(compile(jit, s, threads, make), a.data(), w.data(), c.data(), bias.data(), threads);
            if (first.empty()) first = c;
            CHECK(std::memcmp(first.data(), c.data(), c.size() * 4) == 0);
          }
          double worst = 0;
          for (int64_t i = 0; i < m; i++)
            for (int64_t j = 0; j < n; j++) {
              double sum = bias[j];
              for (int64_t l = 0; l < k; l++) sum += 2.0 * a[i * s.a_i + l * s.a_k] * (1.0 + w[j * s.b_j + l * s.b_k]);
              worst = std::max(worst, std::fabs(std::max(sum, 0.0) - first[i * n + j]) / static_cast<double>(k));
            }
          CHECK(worst < 2e-6);
          CHECK(first[m * n] == -7);
        }
  }
}

TEST_CASE("bf16 operands") {
  for (auto& level : runnable_levels()) {
    CAPTURE(level);
    Jit jit(uncached(level));
    for (int64_t m : {2, 40})
      for (int t = 0; t < 4; t++) {
        GemmSpec s = dense(m, 50, 70, t & 1, t & 2);
        s.a = s.b = GemmElement::BF16;
        auto bits = [](size_t n, uint64_t seed) {
          std::vector<uint16_t> v;
          for (float x : random_values<float>(n, seed))
            v.push_back(static_cast<uint16_t>(std::bit_cast<uint32_t>(x) >> 16));
          return v;
        };
        auto value = [](uint16_t x) { return double{std::bit_cast<float>(static_cast<uint32_t>(x) << 16)}; };
        auto a = bits(m * 70, 1), b = bits(50 * 70, 2);
        std::vector<float> c(m * 50);
        run(compile(jit, s, 1), a.data(), b.data(), c.data(), nullptr, 1);
        double worst = 0;
        for (int64_t i = 0; i < m; i++)
          for (int64_t j = 0; j < 50; j++) {
            double sum = 0;
            for (int64_t l = 0; l < 70; l++) sum += value(a[i * s.a_i + l * s.a_k]) * value(b[l * s.b_k + j * s.b_j]);
            worst = std::max(worst, std::fabs(sum - c[i * 50 + j]));
          }
        CHECK(worst < 1e-4);
      }
  }
}
