// Contractions: square tiles of A and B in shared memory, a small block of results a thread. 256 threads as 16 x 16;
// thread (ty, tx) has the results at ty + 16 i, tx + 16 j of the tile, so that neighbouring threads store neighbouring
// elements.
#include <fmt/format.h>

#include <algorithm>

#include "compiler/codegen/cuda/expressions.h"
#include "compiler/codegen/cuda/printers.h"

namespace nnlc::codegen::cuda {

namespace {

using graph::DType;
using loop::Gemm;
using loop::Kernel;

constexpr int kSide = 16;  ///< threads along each side of a tile
constexpr int kThreads = kSide * kSide;
constexpr int64_t kEnoughBlocks = 96;  ///< fewer leave most of a GPU idle

struct Tile {
  int m = kSide, n = kSide, k = 32;
};

int64_t blocks(const Gemm& g, int m, int n) {
  int64_t count = g.batch * ((g.m + m - 1) / m) * ((g.n + n - 1) / n);
  for (auto& o : g.outer) count *= o.size;
  return count;
}

Tile choose(const Gemm& g) {
  Tile best;
  for (int side : {32, 64, 128}) {
    Tile t{std::min<int>(side, static_cast<int>((g.m + kSide - 1) / kSide * kSide)),
           std::min<int>(side, static_cast<int>((g.n + kSide - 1) / kSide * kSide)),
           side == 128  ? 8
           : side == 64 ? 16
                        : 32};
    t.m = std::max(t.m, kSide), t.n = std::max(t.n, kSide);
    // Whole multiples of the threads' sides keep every thread busy.
    if (blocks(g, t.m, t.n) >= kEnoughBlocks) best = t;
  }
  return best;
}

/// How an index walks an operand: evenly with a stride, or by digits.
struct Walk {
  int64_t stride = 0;
  const std::vector<Gemm::Digit>& digits;
  int64_t fastest() const { return digits.empty() ? stride : digits.back().stride; }
  std::string offset(const std::string& index) const {
    if (digits.empty()) return fmt::format("{} * {}", index, stride);
    std::string text;
    int64_t below = 1;
    for (size_t i = digits.size(); i-- > 0;) {
      const std::string rest = below == 1 ? index : fmt::format("{} / {}", index, below);
      text += fmt::format("{}{} * {}", text.empty() ? "" : " + ",
                          i == 0 ? fmt::format("({})", rest) : fmt::format("({} % {})", rest, digits[i].size),
                          digits[i].stride);
      below *= digits[i].size;
    }
    return text;
  }
};

class Contraction {
 public:
  Contraction(const Kernel& kernel, std::string name)
      : k(kernel), g(kernel.gemm), name_(std::move(name)), tile(choose(kernel.gemm)) {}
  Printed print();

 private:
  void load(const char* to, int rows, int64_t rows_total, const char* first, int buffer, const Walk& along_rows,
            const Walk& along_sums);
  void store();

  const Kernel& k;
  const Gemm& g;
  std::string name_;
  Tile tile;
  Text out;
  std::string type_;  ///< of the sums
};

/// A tile of an operand, [k][row] in shared memory; zeros beyond its ends. Threads walk along the contiguous side.
void Contraction::load(const char* to, int rows, int64_t rows_total, const char* first, int buffer,
                       const Walk& along_rows, const Walk& along_sums) {
  const bool along_k = along_sums.fastest() == 1 || along_rows.fastest() != 1;
  out.open(fmt::format("for (int e = tid; e < {}; e += {}) {{", rows * tile.k, kThreads));
  if (along_k)
    out.line(fmt::format("const int kk = e % {0}, i = e / {0};", tile.k));
  else
    out.line(fmt::format("const int i = e % {0}, kk = e / {0};", rows));
  out.line(fmt::format("const idx r = {} + i, c = k0 + kk;", first));
  const DType t = k.args[static_cast<size_t>(buffer)].type;
  const std::string at =
      from_memory(t, fmt::format("p{}[{}_at + {} + {}]", buffer, to, along_rows.offset("r"), along_sums.offset("c")));
  out.line(fmt::format("{}[kk * {} + i] = r < {} && c < {} ? {} : ({})0;", to, rows + 1, rows_total, g.k, at, type_));
  out.close();
}

void Contraction::store() {
  out.line("#pragma unroll");
  out.open(fmt::format("for (int i = 0; i < {}; ++i) {{", tile.m / kSide));
  out.line("#pragma unroll");
  out.open(fmt::format("for (int j = 0; j < {}; ++j) {{", tile.n / kSide));
  out.line(fmt::format("const idx m = m0 + ty + i * {0}, n = n0 + tx + j * {0};", kSide));
  out.open(fmt::format("if (m < {} && n < {}) {{", g.m, g.n));
  if (k.phases.empty()) {
    out.line(fmt::format("p2[c_at + m * {} + n * {}] = {};", g.c_m, g.c_n, to_memory(k.args[2].type, "acc[i][j]")));
  } else {
    // The store's axes: all but the last count the rows, from the slowest to the fastest.
    std::string rest = fmt::format("row * {} + m", g.m);
    const int last = static_cast<int>(k.axes.size()) - 1;
    out.line(fmt::format("const idx a{} = n;", last));
    if (last > 0) out.line(fmt::format("const idx rest{} = {};", last, rest));
    for (int a = last - 1; a >= 0; --a) {
      const int64_t size = k.axes[static_cast<size_t>(a)].size;
      if (a == 0)
        out.line(fmt::format("const idx a0 = rest{};", a + 1));
      else
        out.line(fmt::format("const idx a{0} = rest{1} % {2}, rest{0} = rest{1} / {2};", a, a + 1, size));
    }
    Expressions x(k, out);
    for (size_t e = 0; e < k.exprs.size(); ++e)
      if (k.exprs[e].fn == loop::Fn::accumulator) x.set(static_cast<int>(e), "acc[i][j]");
    x.store(k.phases[0].stores);
  }
  out.close();
  out.close();
  out.close();
}

Printed Contraction::print() {
  Printed result;
  const int64_t count = blocks(g, tile.m, tile.n);
  if (count == 0) return result;
  const DType t = k.args[0].type;
  type_ = graph::is_float(t) ? (t == DType::f64 ? "double" : "float") : register_type(t);
  const int64_t bytes = t == DType::f64 || t == DType::i64 ? 8 : 4;
  const int m_tiles = static_cast<int>((g.m + tile.m - 1) / tile.m),
            n_tiles = static_cast<int>((g.n + tile.n - 1) / tile.n);
  const int a_size = tile.k * (tile.m + 1), b_size = tile.k * (tile.n + 1);
  out.indent = 1;
  out.line("NNL_SHARED(shared);");
  out.line(fmt::format("{0}* const A = ({0}*)shared;", type_));
  out.line(fmt::format("{0}* const B = A + {1};", type_, a_size));
  out.line(fmt::format("const int tid = threadIdx.x, ty = tid / {0}, tx = tid % {0};", kSide));
  out.line(fmt::format("const idx n0 = (idx)(blockIdx.x % {}) * {}, m0 = (idx)(blockIdx.x / {} % {}) * {};", n_tiles,
                       tile.n, n_tiles, m_tiles, tile.m));
  out.line(fmt::format("const idx row = (idx)(blockIdx.x / {});", n_tiles * m_tiles));
  // Offsets of this product: the batch is the fastest of the dims outside.
  out.line(fmt::format("idx A_at = {}, B_at = {}, c_at = 0;", g.a_offset, g.b_offset));
  out.line(fmt::format("{{ const idx b = row % {}; A_at += b * {}, B_at += b * {}, c_at += b * {}; }}", g.batch,
                       g.a_batch, g.b_batch, g.c_batch));
  int64_t below = g.batch;
  for (size_t o = g.outer.size(); o-- > 0;) {
    out.line(fmt::format("{{ const idx b = row / {} % {}; A_at += b * {}, B_at += b * {}, c_at += b * {}; }}", below,
                         g.outer[o].size, g.outer[o].a, g.outer[o].b, g.outer[o].c));
    below *= g.outer[o].size;
  }
  out.line("(void)c_at;");
  out.line(fmt::format("{} acc[{}][{}] = {{}};", type_, tile.m / kSide, tile.n / kSide));
  out.open(fmt::format("for (idx k0 = 0; k0 < {}; k0 += {}) {{", g.k, tile.k));
  load("A", tile.m, g.m, "m0", 0, {g.a_m, g.a_rows}, {g.a_k, g.a_sums});
  load("B", tile.n, g.n, "n0", 1, {g.b_n, g.b_cols}, {g.b_k, g.b_sums});
  out.line("__syncthreads();");
  out.line("#pragma unroll");
  out.open(fmt::format("for (int kk = 0; kk < {}; ++kk) {{", tile.k));
  out.line(fmt::format("{} a[{}], b[{}];", type_, tile.m / kSide, tile.n / kSide));
  out.line("#pragma unroll");
  out.line(
      fmt::format("for (int i = 0; i < {}; ++i) a[i] = A[kk * {} + ty + i * {}];", tile.m / kSide, tile.m + 1, kSide));
  out.line("#pragma unroll");
  out.line(
      fmt::format("for (int j = 0; j < {}; ++j) b[j] = B[kk * {} + tx + j * {}];", tile.n / kSide, tile.n + 1, kSide));
  out.line("#pragma unroll");
  out.line(fmt::format("for (int i = 0; i < {}; ++i)", tile.m / kSide));
  out.line("#pragma unroll");
  out.line(fmt::format("  for (int j = 0; j < {}; ++j) acc[i][j] = {};", tile.n / kSide,
                       graph::is_float(t) ? "acc[i][j] + a[i] * b[j]" : "nnl_add(acc[i][j], nnl_mul(a[i], b[j]))"));
  out.close();
  out.line("__syncthreads();");
  out.close();
  store();
  result.text = signature(k, name_, kThreads) + "\n" +
                fmt::format("  typedef {} idx;\n", small_offsets(k) ? "int" : "i64") + out.text + "}\n" +
                fmt::format("NNL_KERNEL({})\n", name_);
  result.entries.push_back({name_, count, kThreads, (a_size + b_size) * bytes});
  return result;
}

}  // namespace

Printed print_gemm(const loop::Kernel& k, const std::string& name) { return Contraction(k, name).print(); }

}  // namespace nnlc::codegen::cuda
