// Fused loop nests: a thread an element, or threads that share the rows of a reduction.
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <limits>

#include "compiler/codegen/cuda/expressions.h"
#include "compiler/codegen/cuda/printers.h"

namespace nnlc::codegen::cuda {

namespace {

using graph::DType;
using loop::Kernel;
using loop::ReduceKind;
using loop::Reduction;

constexpr int kThreads = 256;
constexpr int kWarp = 32;
constexpr int64_t kFewBlocks = 64;  ///< fewer leave most of a GPU idle

bool places(const Reduction& r) { return r.kind >= ReduceKind::argmax; }

class Nest {
 public:
  Nest(const Kernel& kernel, std::string name) : k(kernel), x(kernel, out), name_(std::move(name)) {}
  Printed print();

 private:
  int fastest_axis() const;
  void choose_threads();
  void decode(const std::vector<int>& axes, const std::string& from);
  void head(const std::string& block);
  void hoist(const loop::Phase& p);
  void phase(const loop::Phase& p);
  void start(const loop::Phase& p);
  void walk(const loop::Phase& p, const std::string& first, const std::string& end);
  void finish(const loop::Phase& p);
  std::string partial(int id, const std::string& part, bool place) const;
  void entry(Printed& result, const std::string& name, int64_t blocks);
  std::string combined(const Reduction& r, const std::string& a, const std::string& b) const;
  void take_better(const Reduction& r, const std::string& value, const std::string& place, int id);
  std::string neutral(const Reduction& r) const;
  void meet(int id);
  DType type_of(const Reduction& r) const { return k.exprs[static_cast<size_t>(r.value)].type; }
  int64_t size(const std::vector<int>& axes) const {
    int64_t n = 1;
    for (int a : axes) n *= k.axes[static_cast<size_t>(a)].size;
    return n;
  }

  const Kernel& k;
  Text out;
  Expressions x;
  std::string name_;
  std::vector<int> outer_, inner_;
  int64_t rows_ = 1, points_ = 1;  ///< of the outer axes, and of the inner ones
  int lanes_ = 1, block_rows_ = kThreads;
  bool lanes_fast_ = true;  ///< neighbouring threads are lanes of one row, else rows
  int64_t parts_ = 1;       ///< blocks that share a row
  int64_t shared_ = 0;
  bool unordered_ = false;  ///< a row was read by several threads, with no barrier since then
};

/// The axis along which most of the memory is contiguous: neighbouring threads walk it.
int Nest::fastest_axis() const {
  int best_axis = -1;
  int64_t best = -1;
  for (size_t a = 0; a < k.axes.size(); ++a) {
    if (k.axes[a].size < 2) continue;
    int64_t score = 1 << 20;
    auto access = [&](const loop::Affine& offset) {
      const int64_t c = offset.coefficient(static_cast<int>(a));
      score += c == 1 || c == -1 ? 64 : c == 0 ? 8 : -8;
    };
    for (auto& e : k.exprs)
      if (e.fn == loop::Fn::load) access(e.offset);
    for (auto& p : k.phases)
      for (auto& s : p.stores) access(s.offset);
    score += std::min<int64_t>(k.axes[a].size, 63);
    if (score > best) best = score, best_axis = static_cast<int>(a);
  }
  return best_axis;
}

void Nest::choose_threads() {
  const int fastest = fastest_axis();
  for (size_t a = 0; a < k.axes.size(); ++a) (k.axes[a].outer ? outer_ : inner_).push_back(static_cast<int>(a));
  for (auto* list : {&outer_, &inner_})
    if (auto it = std::find(list->begin(), list->end(), fastest); it != list->end())
      std::rotate(it, it + 1, list->end());
  rows_ = size(outer_), points_ = size(inner_);
  const bool loops = std::any_of(k.phases.begin(), k.phases.end(), [](auto& p) { return p.loops; });
  if (!loops || points_ <= 1) return;
  lanes_fast_ = fastest < 0 || !k.axes[static_cast<size_t>(fastest)].outer;
  auto power = [](int64_t n, int64_t most) {
    return static_cast<int>(
        std::min<int64_t>(static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(std::max<int64_t>(n, 1)))), most));
  };
  if (lanes_fast_) {
    // A warp for rows of up to about a thousand elements, a block beyond, a large one where there are few rows.
    lanes_ = points_ <= 1024 ? power(points_, kWarp) : rows_ >= 64 ? kThreads : 1024;
    block_rows_ = std::max(1, kThreads / lanes_);
  } else {
    block_rows_ = power(rows_, kWarp);
    lanes_ = power(points_ / 4, 1024 / block_rows_);
  }
  while (lanes_ * block_rows_ < kWarp) block_rows_ *= 2;  // whole warps
  // Only the first phase may loop: the others have to wait for all parts.
  const int64_t blocks = (rows_ + block_rows_ - 1) / block_rows_;
  const bool once =
      k.phases[0].loops && std::none_of(k.phases.begin() + 1, k.phases.end(), [](auto& p) { return p.loops; });
  if (once && !k.phases[0].reductions.empty() && lanes_ > 1 && blocks < kFewBlocks)
    parts_ = std::clamp<int64_t>(points_ / (lanes_ * 8), 1, kFewBlocks * 2 / blocks);
}

void Nest::decode(const std::vector<int>& axes, const std::string& from) {
  std::string rest = from;
  for (size_t i = axes.size(); i-- > 0;) {
    const int64_t n = k.axes[static_cast<size_t>(axes[i])].size;
    if (i == 0) {
      out.line(fmt::format("const idx a{} = {};", axes[i], rest));
      break;
    }
    out.line(fmt::format("const idx a{0} = {1} % {2}, rest{0} = {1} / {2};", axes[i], rest, n));
    rest = fmt::format("rest{}", axes[i]);
  }
}

std::string Nest::neutral(const Reduction& r) const {
  const DType t = type_of(r);
  const bool low = r.kind == ReduceKind::max || r.kind == ReduceKind::argmax;
  if (r.kind == ReduceKind::sum) return constant(t, 0, 0);
  if (r.kind == ReduceKind::prod) return constant(t, 1, 1);
  constexpr double infinity = std::numeric_limits<double>::infinity();
  if (graph::is_float(t)) return constant(t, low ? -infinity : infinity, 0);
  if (t == DType::boolean) return low ? "false" : "true";
  if (t == DType::u8) return constant(t, 0, low ? 0 : 255);
  const int bits = static_cast<int>(graph::size_bytes(t)) * 8;
  const int64_t top = static_cast<int64_t>(~uint64_t{0} >> (65 - bits));
  return constant(t, 0, low ? -top - 1 : top);
}

std::string Nest::combined(const Reduction& r, const std::string& a, const std::string& b) const {
  const bool f = graph::is_float(type_of(r));
  switch (r.kind) {
    case ReduceKind::sum:
      return f ? fmt::format("{} + {}", a, b) : fmt::format("nnl_add({}, {})", a, b);
    case ReduceKind::prod:
      return f ? fmt::format("{} * {}", a, b) : fmt::format("nnl_mul({}, {})", a, b);
    case ReduceKind::max:
      return fmt::format("{}({}, {})", f ? "nnl_max" : "nnl_imax", a, b);
    default:
      return fmt::format("{}({}, {})", f ? "nnl_min" : "nnl_imin", a, b);
  }
}

void Nest::take_better(const Reduction& r, const std::string& value, const std::string& place, int id) {
  out.line(fmt::format("if (nnl_before({0}, {1}, best{2}, place{2}, {3})) best{2} = {0}, place{2} = {1};", value, place,
                       id, r.kind == ReduceKind::argmax));
}

/// The partial results of a row's lanes become one, known to all of them. In a warp by shuffles, each lane adding the
/// same pairs; otherwise through shared memory. The order depends on the number of lanes alone.
void Nest::meet(int id) {
  if (lanes_ == 1) return;
  const Reduction& r = k.reductions[static_cast<size_t>(id)];
  const DType t = type_of(r);
  const std::string type = register_type(t);
  const bool place = places(r);
  const int64_t bytes = t == DType::boolean ? 1 : t == DType::f16 || t == DType::bf16 ? 4 : graph::size_bytes(t);
  const int threads = lanes_ * block_rows_;
  const std::string acc = fmt::format("best{}", id), at = fmt::format("place{}", id);
  const bool shuffles = lanes_fast_ && bytes >= 4;
  if (shuffles) {
    out.open(fmt::format("for (int h = {}; h > 0; h >>= 1) {{", std::min(lanes_, kWarp) / 2));
    out.line(fmt::format("const {} other = __shfl_xor_sync(0xffffffffu, {}, h);", type, acc));
    if (place) {
      out.line(fmt::format("const i64 other_place = __shfl_xor_sync(0xffffffffu, {}, h);", at));
      take_better(r, "other", "other_place", id);
    } else {
      out.line(fmt::format("{} = {};", acc, combined(r, acc, "other")));
    }
    out.close();
    if (lanes_ <= kWarp) return;
  }
  // One value a thread, or one a warp; places behind the values.
  const int values = shuffles ? threads / kWarp : threads;
  const int64_t places_at = (values * bytes + 7) / 8 * 8;
  shared_ = std::max(shared_, places_at + (place ? values * 8 : 0));
  out.open("{");
  out.line(fmt::format("{0}* const s = ({0}*)shared;", type));
  if (place) out.line(fmt::format("i64* const s_place = (i64*)(shared + {});", places_at));
  auto step = [&](const std::string& mine, const std::string& other, bool memory) {
    if (place) {
      out.line(fmt::format("if (nnl_before(s[{1}], s_place[{1}], {0}, {2}, {3})) {0} = s[{1}], {2} = s_place[{1}];",
                           memory ? fmt::format("s[{}]", mine) : acc, other,
                           memory ? fmt::format("s_place[{}]", mine) : at, r.kind == ReduceKind::argmax));
    } else {
      const std::string to = memory ? fmt::format("s[{}]", mine) : acc;
      out.line(fmt::format("{} = {};", to, combined(r, to, fmt::format("s[{}]", other))));
    }
  };
  if (shuffles) {
    const int warps = lanes_ / kWarp;
    out.line(fmt::format("if (tid % {0} == 0) s[tid / {0}] = {1};", kWarp, acc));
    if (place) out.line(fmt::format("if (tid % {0} == 0) s_place[tid / {0}] = {1};", kWarp, at));
    out.line("__syncthreads();");
    out.line(fmt::format("{} = s[local * {}];", acc, warps));
    if (place) out.line(fmt::format("{} = s_place[local * {}];", at, warps));
    out.open(fmt::format("for (int w = 1; w < {}; ++w) {{", warps));
    step("", fmt::format("local * {} + w", warps), false);
    out.close();
  } else {
    out.line(fmt::format("s[tid] = {};", acc));
    if (place) out.line(fmt::format("s_place[tid] = {};", at));
    out.line("__syncthreads();");
    const std::string stride = lanes_fast_ ? "h" : fmt::format("h * {}", block_rows_);
    out.open(fmt::format("for (int h = {}; h > 0; h >>= 1) {{", lanes_ / 2));
    out.open("if (lane < h) {");
    step("tid", "tid + " + stride, true);
    out.close();
    out.line("__syncthreads();");
    out.close();
    const std::string first = lanes_fast_ ? "tid - lane" : "local";
    out.line(fmt::format("{} = s[{}];", acc, first));
    if (place) out.line(fmt::format("{} = s_place[{}];", at, first));
  }
  out.line("__syncthreads();");
  out.close();
  unordered_ = false;
}

void Nest::start(const loop::Phase& p) {
  for (int id : p.reductions) {
    const Reduction& r = k.reductions[static_cast<size_t>(id)];
    out.line(fmt::format("{} best{} = {};", register_type(type_of(r)), id, neutral(r)));
    if (places(r)) out.line(fmt::format("i64 place{} = 0x7fffffffffffffffll;", id));
  }
}

/// The pass over a row, or over a part of it, by the row's lanes.
void Nest::walk(const loop::Phase& p, const std::string& first, const std::string& end) {
  auto names = x.save();
  out.open(fmt::format("for (idx e = {}; {}e < {}; e += {}) {{", first, lanes_ > 1 ? "valid && " : "", end, lanes_));
  decode(inner_, "e");
  for (int id : p.reductions) {
    const Reduction& r = k.reductions[static_cast<size_t>(id)];
    const std::string value = x.get(r.value);
    if (places(r)) {
      const std::string at = fmt::format("(i64)({})", x.offset(r.position));
      take_better(r, value, at, id);
    } else {
      const std::string acc = fmt::format("best{}", id);
      out.line(fmt::format("{} = {};", acc, combined(r, acc, value)));
    }
  }
  x.store(p.stores);
  out.close();
  x.restore(std::move(names));
  unordered_ = lanes_ > 1;
  for (int id : p.reductions) meet(id);
}

/// Results of a phase are names from here on.
void Nest::finish(const loop::Phase& p) {
  for (int id : p.reductions)
    for (size_t e = 0; e < k.exprs.size(); ++e)
      if (k.exprs[e].fn == loop::Fn::reduced && k.exprs[e].i == id)
        x.set(static_cast<int>(e),
              fmt::format("{}{}", places(k.reductions[static_cast<size_t>(id)]) ? "place" : "best", id));
}

void Nest::phase(const loop::Phase& p) {
  if (p.loops) {
    hoist(p);
    start(p);
    walk(p, lanes_ > 1 ? "lane" : "0", std::to_string(points_));
    finish(p);
  } else if (!p.stores.empty()) {
    // A buffer may be updated in place: what others read of it they have read by now, and from here on only who writes
    // a row reads it.
    if (unordered_) out.line("__syncthreads();");
    unordered_ = false;
    auto names = x.save();
    out.open(lanes_ > 1 ? "if (valid && lane == 0) {" : "{");
    hoist(p);
    x.store(p.stores);
    out.close();
    x.restore(std::move(names));
  }
}

void Nest::hoist(const loop::Phase& p) {
  uint64_t open = 0;
  for (int a : outer_) open |= uint64_t{1} << a;
  x.hoist(x.needed_by(p), open);
}

/// Where partial results of reduction `id` lie in the workspace: one for each row and part, places behind the values.
std::string Nest::partial(int id, const std::string& part, bool place) const {
  int64_t at = 0;
  for (int other = 0; other < id; ++other)
    at += rows_ * parts_ * (places(k.reductions[static_cast<size_t>(other)]) ? 16 : 8);
  const Reduction& r = k.reductions[static_cast<size_t>(id)];
  if (place) at += rows_ * parts_ * 8;
  return fmt::format("(({}*)(work + {}))[row * {} + {}]", place ? "i64" : register_type(type_of(r)), at, parts_, part);
}

/// Threads, the row of each, and its place among the outer axes.
void Nest::head(const std::string& block) {
  if (lanes_ > 1) {
    out.line("const idx tid = threadIdx.x;");
    out.line(lanes_fast_ ? fmt::format("const idx lane = tid % {0}, local = tid / {0};", lanes_)
                         : fmt::format("const idx local = tid % {0}, lane = tid / {0};", block_rows_));
  } else {
    out.line(fmt::format("const idx row = (idx){} * {} + threadIdx.x;", block, block_rows_));
    if (rows_ % block_rows_) out.line(fmt::format("if (row >= {}) return;", rows_));
    decode(outer_, "row");
    return;
  }
  // Threads beyond the last row go along with it, so that all reach the barriers, and write nothing.
  out.line(fmt::format("const idx at = (idx){} * {} + local;", block, block_rows_));
  out.line(fmt::format("const bool valid = at < {};", rows_));
  out.line(fmt::format("const idx row = valid ? at : {};", rows_ - 1));
  decode(outer_, "row");
}

void Nest::entry(Printed& result, const std::string& name, int64_t blocks) {
  const int threads = lanes_ * block_rows_;
  std::string text = signature(k, name, threads, parts_ > 1) + "\n";
  text += fmt::format("  typedef {} idx;\n", small_offsets(k) ? "int" : "i64");
  if (shared_ > 0) text += "  NNL_SHARED(shared);\n";
  result.text += text + out.text + "}\n" + fmt::format("NNL_KERNEL({})\n", name);
  result.entries.push_back({name, blocks, threads, shared_, parts_ > 1});
  out.text.clear();
  shared_ = 0;
  unordered_ = false;
}

Printed Nest::print() {
  choose_threads();
  Printed result;
  if (rows_ == 0) return result;
  const int64_t blocks = (rows_ + block_rows_ - 1) / block_rows_;
  out.indent = 1;
  if (parts_ == 1) {
    head("blockIdx.x");
    for (auto& p : k.phases) phase(p);
    entry(result, name_, blocks);
    return result;
  }
  // Few and long rows: the parts of a row meet in the workspace, in order, and a second kernel goes on from there.
  const loop::Phase& first = k.phases[0];
  head(fmt::format("(blockIdx.x / {})", parts_));
  out.line(fmt::format("const idx part = blockIdx.x % {};", parts_));
  hoist(first);
  start(first);
  const int64_t chunk = (points_ + parts_ - 1) / parts_;
  out.line(fmt::format("const idx end = (part + 1) * {0} < {1} ? (part + 1) * {0} : {1};", chunk, points_));
  walk(first, fmt::format("part * {} + lane", chunk), "end");
  out.open("if (valid && lane == 0) {");
  for (int id : first.reductions) {
    out.line(fmt::format("{} = best{};", partial(id, "part", false), id));
    if (places(k.reductions[static_cast<size_t>(id)]))
      out.line(fmt::format("{} = place{};", partial(id, "part", true), id));
  }
  out.close();
  entry(result, name_ + "_parts", blocks * parts_);
  x = Expressions(k, out);
  head("blockIdx.x");
  start(first);
  out.open(fmt::format("for (idx e = lane; valid && e < {}; e += {}) {{", parts_, lanes_));
  for (int id : first.reductions) {
    const Reduction& r = k.reductions[static_cast<size_t>(id)];
    if (places(r))
      take_better(r, partial(id, "e", false), partial(id, "e", true), id);
    else
      out.line(fmt::format("best{0} = {1};", id, combined(r, fmt::format("best{}", id), partial(id, "e", false))));
  }
  out.close();
  for (int id : first.reductions) meet(id);
  finish(first);
  for (size_t i = 1; i < k.phases.size(); ++i) phase(k.phases[i]);
  entry(result, name_, blocks);
  for (int id : first.reductions)
    result.workspace_bytes += rows_ * parts_ * (places(k.reductions[static_cast<size_t>(id)]) ? 16 : 8);
  return result;
}

}  // namespace

Printed print_nest(const loop::Kernel& k, const std::string& name) { return Nest(k, name).print(); }

}  // namespace nnlc::codegen::cuda
