// Kernels with an algorithm of their own. Where several threads could add to one place, one of them does it for all, in
// the order of the operands.
#include <fmt/format.h>

#include "compiler/codegen/cuda/expressions.h"
#include "compiler/codegen/cuda/printers.h"

namespace nnlc::codegen::cuda {

namespace {

using graph::DType;
using loop::Kernel;
using loop::Library;

constexpr int kThreads = 256;

class LibraryKernel {
 public:
  LibraryKernel(const Kernel& kernel, std::string name) : k(kernel), l(kernel.routine), name_(std::move(name)) {
    out.indent = 1;
  }
  Printed print() {
    if (k.args.back().elements == 0) return {};
    if (l.op == "scatter_add")
      scatter_add();
    else if (l.op == "scatter_add_along")
      scatter_add_along();
    else if (l.op == "cumsum")
      cumsum();
    else
      sort();
    return std::move(result);
  }

 private:
  void finish(const std::string& suffix, int64_t blocks) {
    const std::string name = name_ + suffix;
    result.text += signature(k, name, kThreads) + "\n" + out.text + "}\n" + fmt::format("NNL_KERNEL({})\n", name);
    result.entries.push_back({name, blocks, kThreads, 0});
    out.text.clear();
  }
  /// One thread for each of n things, number `i`.
  void each(int64_t n) {
    out.line(fmt::format("const i64 i = (i64)blockIdx.x * {} + threadIdx.x;", kThreads));
    out.line(fmt::format("if (i >= {}) return;", n));
  }
  static int64_t blocks_for(int64_t n) { return (n + kThreads - 1) / kThreads; }
  std::string index(const std::string& at, int64_t size) const {
    return fmt::format("nnl_imax(nnl_imin((i64)p0[{}], (i64){}), (i64)0)", at, size - 1);
  }
  std::string add(DType t, const std::string& a, const std::string& b) const {
    return graph::is_float(t) ? fmt::format("{} + {}", a, b) : fmt::format("nnl_add({}, {})", a, b);
  }

  void scatter_add() {
    const DType t = k.args[1].type;
    each(k.args[2].elements);
    out.line("p2[i] = 0;");
    finish("_zero", blocks_for(k.args[2].elements));
    if (l.count == 0 || l.pre * l.post == 0) return;
    // A block for each index. The first one of its value adds all updates for it; the others leave.
    out.line(fmt::format("const i64 j = blockIdx.x % {0}, p = blockIdx.x / {0};", l.count));
    out.line(fmt::format("const i64 row = {};", index("j", l.size)));
    out.line("int seen = 0;");
    out.line(fmt::format("for (i64 i = threadIdx.x; i < j; i += {}) seen |= {} == row;", kThreads, index("i", l.size)));
    out.line("if (__syncthreads_or(seen)) return;");
    out.open(fmt::format("for (i64 c = threadIdx.x; c < {}; c += {}) {{", l.post, kThreads));
    out.line(fmt::format("{} sum = 0;", memory_type(t)));
    out.line(fmt::format("for (i64 i = j; i < {}; ++i)", l.count));
    out.line(fmt::format("  if ({} == row) sum = {};", index("i", l.size),
                         add(t, "sum", fmt::format("p1[(p * {} + i) * {} + c]", l.count, l.post))));
    out.line(fmt::format("p2[(p * {} + row) * {} + c] = sum;", l.size, l.post));
    out.close();
    finish("_add", l.pre * l.count);
  }

  void scatter_add_along() {
    const DType t = k.args[1].type;
    const int64_t total = k.args[2].elements;
    each(total);
    // Coordinates of this place, and where the updates for it start.
    out.line("i64 rest = i, from = 0, place = 0;");
    out.line("bool inside = true;");
    int64_t stride = 1, axis_stride = 1;
    for (size_t d = l.shape.size(); d-- > 0;) {
      const bool axis = static_cast<int64_t>(d) == l.axis;
      if (axis) {
        out.line(fmt::format("place = rest % {};", l.shape[d]));
        axis_stride = stride;
      } else {
        out.line(fmt::format("{{ const i64 c = rest % {}; inside = inside && c < {}; from += c * {}; }}", l.shape[d],
                             l.index_shape[d], stride));
      }
      out.line(fmt::format("rest /= {};", l.shape[d]));
      stride *= l.index_shape[d];
    }
    out.line(fmt::format("{} sum = 0;", memory_type(t)));
    const int64_t count = l.index_shape[static_cast<size_t>(l.axis)];
    out.open(fmt::format("for (i64 s = 0; inside && s < {}; ++s) {{", count));
    out.line(fmt::format("const i64 at = from + s * {};", axis_stride));
    out.line(fmt::format("if ({} == place) sum = {};", index("at", l.shape[static_cast<size_t>(l.axis)]),
                         add(t, "sum", "p1[at]")));
    out.close();
    out.line("p2[i] = sum;");
    finish("", blocks_for(total));
  }

  void line_of(const std::string& line) {
    out.line(fmt::format("const i64 base = {0} / {1} * {2} + {0} % {1};", line, l.post, l.size * l.post));
  }

  void cumsum() {
    const DType t = k.args[0].type;
    const int64_t lines = l.pre * l.post;
    each(lines);
    line_of("i");
    out.line(fmt::format("{} sum = 0;", register_type(t)));
    out.open(fmt::format("for (i64 s = 0; s < {}; ++s) {{", l.size));
    out.line(fmt::format("const i64 at = base + s * {};", l.post));
    out.line(fmt::format("sum = {};", add(t, "sum", from_memory(t, "p0[at]"))));
    out.line(fmt::format("p1[at] = {};", to_memory(t, "sum")));
    out.close();
    finish("", blocks_for(lines));
  }

  /// The place of an element is the number of those before it: stable, a NaN counts as largest.
  void sort() {
    const DType t = k.args[0].type;
    const int64_t total = l.pre * l.size * l.post;
    each(total);
    out.line(fmt::format("const i64 mine = i / {} % {}, line = i / {} * {} + i % {};", l.post, l.size, l.size * l.post,
                         l.post, l.post));
    line_of("line");
    out.line(fmt::format("const {} x = {};", register_type(t), from_memory(t, "p0[i]")));
    out.line("i64 rank = 0;");
    out.open(fmt::format("for (i64 s = 0; s < {}; ++s) {{", l.size));
    out.line(
        fmt::format("const {} y = {};", register_type(t), from_memory(t, fmt::format("p0[base + s * {}]", l.post))));
    const bool f = graph::is_float(t);
    auto less = [&](const char* a, const char* b) {
      return f ? fmt::format("({1} != {1} ? {0} == {0} : {0} < {1})", a, b) : fmt::format("({} < {})", a, b);
    };
    const std::string before = l.descending ? less("x", "y") : less("y", "x");
    const std::string after = l.descending ? less("y", "x") : less("x", "y");
    out.line(fmt::format("rank += {} || (!{} && s < mine);", before, after));
    out.close();
    out.line(fmt::format("p1[base + rank * {}] = {};", l.post, l.op == "argsort" ? "mine" : "p0[i]"));
    finish("", blocks_for(total));
  }

  const Kernel& k;
  const Library& l;
  std::string name_;
  Text out;
  Printed result;
};

}  // namespace

Printed print_library(const loop::Kernel& k, const std::string& name) { return LibraryKernel(k, name).print(); }

Printed print_kernel(const loop::Kernel& k, const std::string& name) {
  switch (k.kind) {
    case Kernel::Kind::nest:
      return print_nest(k, name);
    case Kernel::Kind::gemm:
      return print_gemm(k, name);
    default:
      return print_library(k, name);
  }
}

}  // namespace nnlc::codegen::cuda
