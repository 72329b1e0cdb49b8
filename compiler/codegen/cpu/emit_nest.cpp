// Fused loop nests. One axis is walked in vectors: the one along which most of the memory is contiguous. If it is an
// outer axis (sums over columns), every lane is a row of its own; if it is an inner one, reductions fold the lanes at
// the end of a row. The lane count depends on the kernel alone, and only whole rows (or vectors of rows) are given to
// threads, so results don't depend on their number.
#include <algorithm>
#include <functional>
#include <limits>

#include "compiler/codegen/cpu/emit_library.h"
#include "compiler/codegen/cpu/expr_emitter.h"
#include "compiler/codegen/cpu/gemm.h"
#include "compiler/codegen/cpu/kernels.h"

namespace nnlc::codegen::cpu {

namespace {

using graph::DType;
using llvm::Value;
using loop::Fn;
using loop::Kernel;
using loop::ReduceKind;

class NestEmitter {
 public:
  NestEmitter(Builder& b, const Kernel& k, std::vector<Value*> args) : b(b), k(k), x(b, k, std::move(args)) {}

  void run(Value* thread, Value* threads) {
    thread_ = thread, threads_ = threads;
    choose_vector();
    for (size_t a = 0; a < k.axes.size(); a++) (k.axes[a].outer ? outer_ : inner_).push_back(int(a));
    for (auto* list : {&outer_, &inner_})
      if (auto it = std::find(list->begin(), list->end(), x.vector_axis); it != list->end())
        std::rotate(it, it + 1, list->end());
    choose_split();
    find_needed();
    find_kept();
    if (split_ < 0)
      b.when(b.CreateICmpEQ(thread_, b.i64(0)), [&] { outer(0); });
    else
      outer(0);
  }

 private:
  /// A costly value that several passes over a row read is kept on the stack.
  struct Kept {
    int expr;
    size_t first;
    Value* memory;
  };
  void choose_vector();
  void choose_split();
  void find_needed();
  void find_kept();
  Value* kept_place(const Kept& kept);
  void outer(size_t depth);
  void row();
  void inner(const loop::Phase& p, size_t depth, Values& carried);
  void hoist(uint64_t open_axes, bool rows);
  int64_t lanes_for(int axis) const;
  void over_axis(int axis, Value* lo, Value* hi, Values& carried, llvm::function_ref<Values(Values)> body);
  // Reductions: a running value for each (for argmax also its place).
  void start(const loop::Reduction& r, Values& carried);
  void fold(const loop::Reduction& r, Values& carried, size_t at);
  Value* combine(ReduceKind kind, DType t, Value* a, Value* v);
  std::pair<Value*, Value*> better(ReduceKind kind, DType t, Value* a, Value* ai, Value* v, Value* vi);
  Value* neutral(ReduceKind kind, DType t, llvm::Type* type);

  Builder& b;
  const Kernel& k;
  ExprEmitter x;
  std::vector<int> outer_, inner_;
  std::vector<int> needed_;                    ///< expressions that some store or reduction reaches, operands first
  std::vector<std::vector<int>> phase_needs_;  ///< the same for each phase
  std::vector<bool> after_reduction_;          ///< needs the result of a reduction
  std::vector<Kept> kept_;
  int split_ = -1;
  Value *thread_ = nullptr, *threads_ = nullptr;
};

void NestEmitter::choose_vector() {
  int64_t best = -1;
  for (size_t a = 0; a < k.axes.size(); a++) {
    if (k.axes[a].size < 2) continue;
    int64_t score = 0;
    auto access = [&](const loop::Affine& offset, int weight) {
      int64_t c = offset.coefficient(int(a));
      bool dynamic = false;
      for (auto& [t, f] : offset.terms)
        if (t >= loop::kDynamic) dynamic |= x.depends(k.dynamics[t - loop::kDynamic].value) >> a & 1;
      score += weight * (dynamic ? -2 : c == 1 ? 8 : c == 0 ? 2 : -2);
    };
    for (auto& e : k.exprs)
      if (e.fn == Fn::load) access(e.offset, 2);
    for (auto& p : k.phases)
      for (auto& s : p.stores) access(s.offset, 2);
    score = score * 64 +
            (k.axes[a].size >= 8   ? 2048
             : k.axes[a].size >= 4 ? 512
                                   : 0) +
            std::min<int64_t>(k.axes[a].size, 63) + (1 << 20);
    if (score > best) best = score, x.vector_axis = int(a);
  }
  if (x.vector_axis < 0) return;
  x.lanes = int(lanes_for(x.vector_axis));
  if (x.lanes == 1) x.vector_axis = -1;
}

int64_t NestEmitter::lanes_for(int axis) const {
  int64_t size = k.axes[axis].size, heavy = 0, wide = 4;
  for (auto& e : k.exprs) {
    if ((e.fn >= Fn::exp && e.fn <= Fn::erf) || e.fn == Fn::pow || e.fn == Fn::random || e.fn == Fn::div ||
        e.fn == Fn::rem)
      heavy++;
    if (graph::size_bytes(e.type) == 8 && e.fn != Fn::constant) wide = 8;
  }
  int64_t natural = std::max<int64_t>(4, b.target.vector_bytes / 4);
  int64_t lanes = natural;
  bool light = !heavy && k.exprs.size() < 24 && wide == 4;
  // Several vectors at once where additions would wait for one another.
  if (light) lanes = natural * (k.reductions.empty() ? 2 : 4);
  for (auto& e : k.exprs)
    if (e.fn == Fn::random) lanes = std::max(lanes, 2 * natural);  // a block's rounds are one long chain
  while (lanes > 2 && lanes / 2 >= size) lanes /= 2;
  while (lanes > natural && size % lanes && size < 2 * lanes) lanes /= 2;
  return lanes;
}

void NestEmitter::choose_split() {
  int64_t best = 1;
  for (int a : outer_) {
    int64_t parts = a == x.vector_axis ? (k.axes[a].size + x.lanes - 1) / x.lanes : k.axes[a].size;
    if (parts > best) {
      best = parts, split_ = a;
      if (parts >= 16) break;
    }
  }
}

void NestEmitter::find_needed() {
  std::vector<bool> seen(k.exprs.size());
  after_reduction_.assign(k.exprs.size(), false);
  std::function<void(int)> visit = [&](int e) {
    if (seen[e]) return;
    seen[e] = true;
    const loop::Expr& ex = k.exprs[e];
    auto affine = [&](const loop::Affine& a) {
      for (auto& [t, c] : a.terms)
        if (t >= loop::kDynamic) visit(k.dynamics[t - loop::kDynamic].value);
    };
    for (int a : ex.args) visit(a);
    if (ex.guard >= 0) visit(ex.guard);
    affine(ex.offset);
    for (auto& bound : ex.bounds) affine(bound.value);
    bool after = ex.fn == Fn::reduced;
    for (int a : ex.args) after = after || after_reduction_[a];
    if (ex.guard >= 0) after = after || after_reduction_[ex.guard];
    auto depends = [&](const loop::Affine& a) {
      for (auto& [t, c] : a.terms)
        if (t >= loop::kDynamic) after = after || after_reduction_[k.dynamics[t - loop::kDynamic].value];
    };
    depends(ex.offset);
    for (auto& bound : ex.bounds) depends(bound.value);
    after_reduction_[e] = after;
    needed_.push_back(e);
  };
  for (auto& p : k.phases) {
    for (int r : p.reductions) visit(k.reductions[r].value);
    for (auto& s : p.stores) visit(s.value);
  }
  auto all = std::move(needed_);
  for (auto& p : k.phases) {
    seen.assign(k.exprs.size(), false);
    needed_.clear();
    for (int r : p.reductions) visit(k.reductions[r].value);
    for (auto& s : p.stores) visit(s.value);
    phase_needs_.push_back(std::move(needed_));
  }
  needed_ = std::move(all);
}

void NestEmitter::find_kept() {
  if (inner_.empty()) return;
  int64_t count = 1;
  for (int a : inner_) count *= k.axes[a].size;
  bool lanes_are_rows = x.vector_axis >= 0 && k.axes[x.vector_axis].outer;
  if (lanes_are_rows) count *= x.lanes;
  for (size_t e = 0; e < k.exprs.size(); e++) {
    Fn fn = k.exprs[e].fn;
    bool costly = (fn >= Fn::exp && fn <= Fn::erf && fn != Fn::sqrt) || fn == Fn::pow || fn == Fn::random;
    if (!costly || !(x.depends(int(e)) >> inner_.back() & 1) || !graph::is_float(k.exprs[e].type)) continue;
    if (count * 8 * int64_t(kept_.size() + 1) > 96 * 1024) break;
    int first = -1, uses = 0;
    for (size_t p = 0; p < k.phases.size(); p++)
      if (k.phases[p].loops &&
          std::find(phase_needs_[p].begin(), phase_needs_[p].end(), int(e)) != phase_needs_[p].end()) {
        if (first < 0) first = int(p);
        uses++;
      }
    if (uses > 1) kept_.push_back({int(e), size_t(first), b.stack(register_type(b, k.exprs[e].type), count + x.lanes)});
  }
}

Value* NestEmitter::kept_place(const Kept& kept) {
  Value* at = nullptr;
  for (int a : inner_) at = at ? b.CreateNSWAdd(b.mul(at, k.axes[a].size), x.axis[a]) : x.axis[a];
  if (x.vector_axis >= 0 && k.axes[x.vector_axis].outer && x.varies(kept.expr)) at = b.mul(at, x.lanes);
  return b.at(register_type(b, k.exprs[kept.expr].type), kept.memory, at);
}

/// Emits whatever is known once the open axes have values, so that it isn't computed again in the loops inside.
void NestEmitter::hoist(uint64_t open_axes, bool rows) {
  for (int e : needed_) {
    if (x.values[e] || (x.depends(e) & ~open_axes) || k.exprs[e].fn == Fn::reduced) continue;
    if (after_reduction_[e]) {
      // Only once every reduction it needs is done.
      bool ready = rows;
      std::function<void(int)> check = [&](int a) {
        if (x.values[a] || !ready) return;
        const loop::Expr& ex = k.exprs[a];
        if (ex.fn == Fn::reduced) ready = false;
        for (int c : ex.args) check(c);
        if (ex.guard >= 0) check(ex.guard);
        auto affine = [&](const loop::Affine& f) {
          for (auto& [t, c] : f.terms)
            if (t >= loop::kDynamic) check(k.dynamics[t - loop::kDynamic].value);
        };
        affine(ex.offset);
        for (auto& bound : ex.bounds) affine(bound.value);
      };
      check(e);
      if (!ready) continue;
    }
    x.get(e);
  }
}

/// A loop over [lo, hi) of an axis. In the vector axis by whole vectors, with a narrower tail; values found inside are
/// forgotten outside.
void NestEmitter::over_axis(int axis, Value* lo, Value* hi, Values& carried, llvm::function_ref<Values(Values)> body) {
  auto saved = x.values;
  auto once = [&](Value* i, Values c) {
    x.axis[axis] = i;
    Values out = body(std::move(c));
    x.values = saved;
    x.axis[axis] = nullptr;
    return out;
  };
  if (axis != x.vector_axis) {
    carried = b.loop(lo, hi, 1, carried, once);
    return;
  }
  int64_t total = k.axes[axis].size, full = total / x.lanes * x.lanes;
  if (full) carried = b.loop(lo, b.smin(hi, b.i64(full)), x.lanes, carried, once);
  if (full == total) return;
  auto tail = [&] {
    x.mask = b.first_lanes(x.lanes, int(total - full));
    Values out = once(b.i64(full), carried);
    x.mask = nullptr;
    return out;
  };
  auto* constant = llvm::dyn_cast<llvm::ConstantInt>(hi);
  if (constant && constant->getSExtValue() == total)
    carried = tail();
  else
    carried = b.choose(b.CreateICmpEQ(hi, b.i64(total)), tail, [&] { return carried; });
}

void NestEmitter::outer(size_t depth) {
  uint64_t open = 0;
  for (size_t i = 0; i < depth; i++) open |= uint64_t{1} << outer_[i];
  hoist(open, false);
  if (depth == outer_.size()) return row();
  int a = outer_[depth];
  Value *lo = b.i64(0), *hi = b.i64(k.axes[a].size);
  if (a == split_) std::tie(lo, hi) = b.part(k.axes[a].size, a == x.vector_axis ? x.lanes : 1, thread_, threads_);
  Values none;
  over_axis(a, lo, hi, none, [&](Values) {
    outer(depth + 1);
    return Values{};
  });
}

Value* NestEmitter::neutral(ReduceKind kind, DType t, llvm::Type* type) {
  bool low = kind == ReduceKind::max || kind == ReduceKind::argmax;
  if (kind == ReduceKind::sum) return b.number(type, 0);
  if (kind == ReduceKind::prod) return b.number(type, 1);
  if (graph::is_float(t))
    return b.number(type, low ? -std::numeric_limits<double>::infinity() : std::numeric_limits<double>::infinity());
  unsigned bits = type->getScalarSizeInBits();
  llvm::APInt v = t == DType::u8 ? (low ? llvm::APInt::getMinValue(bits) : llvm::APInt::getMaxValue(bits))
                                 : (low ? llvm::APInt::getSignedMinValue(bits) : llvm::APInt::getSignedMaxValue(bits));
  return llvm::ConstantInt::get(type, v);
}

Value* NestEmitter::combine(ReduceKind kind, DType t, Value* a, Value* v) {
  bool f = graph::is_float(t), u = t == DType::u8;
  switch (kind) {
    case ReduceKind::sum:
      return f ? b.CreateFAdd(a, v) : b.CreateAdd(a, v);
    case ReduceKind::prod:
      return f ? b.CreateFMul(a, v) : b.CreateMul(a, v);
    case ReduceKind::max:
      return f ? b.fmax(a, v) : b.CreateSelect(u ? b.CreateICmpUGT(v, a) : b.CreateICmpSGT(v, a), v, a);
    default:
      return f ? b.fmin(a, v) : b.CreateSelect(u ? b.CreateICmpULT(v, a) : b.CreateICmpSLT(v, a), v, a);
  }
}

/// The first of equals, the first NaN if there is one.
std::pair<Value*, Value*> NestEmitter::better(ReduceKind kind, DType t, Value* a, Value* ai, Value* v, Value* vi) {
  bool largest = kind == ReduceKind::argmax;
  Value *beats, *same;
  if (graph::is_float(t)) {
    Value *an = b.CreateFCmpUNO(a, a), *vn = b.CreateFCmpUNO(v, v);
    beats = b.CreateOr(b.CreateAnd(vn, b.CreateNot(an)), largest ? b.CreateFCmpOGT(v, a) : b.CreateFCmpOLT(v, a));
    same = b.CreateOr(b.CreateAnd(an, vn), b.CreateFCmpOEQ(a, v));
  } else if (t == DType::u8) {
    beats = largest ? b.CreateICmpUGT(v, a) : b.CreateICmpULT(v, a);
    same = b.CreateICmpEQ(a, v);
  } else {
    beats = largest ? b.CreateICmpSGT(v, a) : b.CreateICmpSLT(v, a);
    same = b.CreateICmpEQ(a, v);
  }
  beats = b.CreateOr(beats, b.CreateAnd(same, b.CreateICmpSLT(vi, ai)));
  return {b.CreateSelect(beats, v, a), b.CreateSelect(beats, vi, ai)};
}

void NestEmitter::start(const loop::Reduction& r, Values& carried) {
  DType t = k.exprs[r.value].type;
  llvm::Type *type = register_type(b, t), *place = b.getInt64Ty();
  if (x.vector_axis >= 0) type = b.vector(type, x.lanes), place = b.vector(place, x.lanes);
  carried.push_back(neutral(r.kind, t, type));
  if (r.kind >= ReduceKind::argmax) carried.push_back(b.integer(place, std::numeric_limits<int64_t>::max()));
}

void NestEmitter::fold(const loop::Reduction& r, Values& carried, size_t at) {
  DType t = k.exprs[r.value].type;
  Value* v = x.wide(x.get(r.value));
  bool mask = x.mask && !k.axes[x.vector_axis].outer;
  if (mask) v = b.CreateSelect(x.mask, v, neutral(r.kind, t, v->getType()));
  if (r.kind < ReduceKind::argmax) {
    carried[at] = combine(r.kind, t, carried[at], v);
    return;
  }
  Value* place = x.wide(x.offset(r.position));
  if (mask) place = b.CreateSelect(x.mask, place, b.integer(place->getType(), std::numeric_limits<int64_t>::max()));
  std::tie(carried[at], carried[at + 1]) = better(r.kind, t, carried[at], carried[at + 1], v, place);
}

void NestEmitter::inner(const loop::Phase& p, size_t depth, Values& carried) {
  if (depth == inner_.size()) {
    size_t at = 0, phase = size_t(&p - k.phases.data());
    for (auto& kept : kept_)
      if (phase > kept.first && !x.values[kept.expr])
        x.values[kept.expr] = x.varies(kept.expr)
                                  ? b.load(register_type(b, k.exprs[kept.expr].type), x.lanes, kept_place(kept))
                                  : b.load(register_type(b, k.exprs[kept.expr].type), kept_place(kept));
    for (int r : p.reductions) {
      fold(k.reductions[r], carried, at);
      at += k.reductions[r].kind >= ReduceKind::argmax ? 2 : 1;
    }
    // All values before the first store: a result may stand where an operand did.
    std::vector<Value*> values;
    for (auto& s : p.stores) values.push_back(x.get(s.value));
    for (size_t i = 0; i < values.size(); i++) x.store(p.stores[i], values[i]);
    for (auto& kept : kept_)
      if (phase == kept.first && x.values[kept.expr]) b.store(x.values[kept.expr], kept_place(kept));
    return;
  }
  int a = inner_[depth];
  over_axis(a, b.i64(0), b.i64(k.axes[a].size), carried, [&](Values c) {
    if (depth + 1 < inner_.size()) {
      uint64_t open = 0;
      for (int o : outer_) open |= uint64_t{1} << o;
      for (size_t i = 0; i <= depth; i++) open |= uint64_t{1} << inner_[i];
      for (int e : phase_needs_[&p - k.phases.data()])
        if (!x.values[e] && !(x.depends(e) & ~open)) x.get(e);
    }
    inner(p, depth + 1, c);
    return c;
  });
}

void NestEmitter::row() {
  uint64_t open = 0;
  for (int o : outer_) open |= uint64_t{1} << o;
  bool vector_inner = x.vector_axis >= 0 && !k.axes[x.vector_axis].outer;
  for (auto& p : k.phases) {
    hoist(open, true);
    if (!p.loops) {
      std::vector<Value*> values;
      for (auto& s : p.stores) values.push_back(x.get(s.value));
      for (size_t i = 0; i < values.size(); i++) x.store(p.stores[i], values[i]);
      continue;
    }
    Values carried;
    for (int r : p.reductions) start(k.reductions[r], carried);
    inner(p, 0, carried);
    size_t at = 0;
    for (int r : p.reductions) {
      const loop::Reduction& red = k.reductions[r];
      DType t = k.exprs[red.value].type;
      Value* v = carried[at++];
      Value* place = red.kind >= ReduceKind::argmax ? carried[at++] : nullptr;
      if (vector_inner) {
        if (place) {
          while (Builder::lanes_of(v) > 1)
            std::tie(v, place) =
                better(red.kind, t, b.lower_half(v), b.lower_half(place), b.upper_half(v), b.upper_half(place));
        } else if (red.kind == ReduceKind::sum && graph::is_float(t)) {
          v = b.sum_lanes(v);
        } else {
          v = b.fold_lanes(v, [&](Value* l, Value* h) { return combine(red.kind, t, l, h); });
        }
      }
      for (size_t e = 0; e < k.exprs.size(); e++)
        if (k.exprs[e].fn == Fn::reduced && k.exprs[e].i == r) x.values[e] = place ? place : v;
    }
  }
}

void emit_gemm_kernel(Builder& b, const Kernel& k, const std::vector<Value*>& args, Value* scratch, Value* thread,
                      Value* threads, int planned);

}  // namespace

static GemmElement gemm_element(DType t) {
  return t == DType::f64 ? GemmElement::F64 : t == DType::bf16 ? GemmElement::BF16 : GemmElement::F32;
}

static GemmSpec spec_of(const Kernel& k) {
  const loop::Gemm& g = k.gemm;
  GemmSpec s;
  s.batch = g.batch, s.m = g.m, s.n = g.n, s.k = g.k;
  s.a_batch = g.a_batch, s.a_i = g.a_m, s.a_k = g.a_k;
  s.b_batch = g.b_batch, s.b_k = g.b_k, s.b_j = g.b_n;
  s.c_batch = g.c_batch, s.c_i = g.c_m, s.c_j = g.c_n;
  s.a = gemm_element(k.args[0].type), s.b = gemm_element(k.args[1].type);
  for (auto& o : g.outer) s.outer.push_back({o.size, o.a, o.b, o.c});
  auto digits = [](const std::vector<loop::Gemm::Digit>& from, std::vector<GemmSpec::Digit>& to) {
    for (auto& d : from) to.push_back({d.size, d.stride});
  };
  digits(g.a_rows, s.a_rows), digits(g.a_sums, s.a_sums), digits(g.b_sums, s.b_sums), digits(g.b_cols, s.b_cols);
  s.c = k.args[0].type == DType::f64 ? GemmElement::F64 : GemmElement::F32;
  return s;
}

namespace {

/// Stores through the kernel's expressions: axes are the rows (batch and m), then n, along which the lanes run.
void store_piece(Builder& b, const Kernel& k, const std::vector<Value*>& args, const GemmStore& s) {
  ExprEmitter x(b, k, args);
  int n = int(k.axes.size()) - 1;
  x.lanes = s.lanes;
  x.aligned = s.aligned;
  if (s.lanes > 1) x.vector_axis = n, x.mask = s.mask;
  x.axis[n] = s.j;
  if (n == 2 && k.axes[1].size == k.gemm.m) {
    x.axis[0] = s.batch, x.axis[1] = s.i;
  } else {
    Value* row = b.CreateNSWAdd(b.mul(s.batch, k.gemm.m), s.i);
    for (int a = n - 1; a >= 0; a--) {
      x.axis[a] = a ? b.CreateURem(row, b.i64(k.axes[a].size)) : row;
      if (a) row = b.CreateUDiv(row, b.i64(k.axes[a].size));
    }
  }
  for (size_t e = 0; e < k.exprs.size(); e++)
    if (k.exprs[e].fn == Fn::accumulator) x.values[e] = s.value;
  std::vector<Value*> values;
  for (auto& st : k.phases[0].stores) values.push_back(x.get(st.value));
  for (size_t i = 0; i < values.size(); i++) x.store(k.phases[0].stores[i], values[i]);
}

GemmCallbacks callbacks_of(const Kernel& k, const std::vector<Value*>& args) {
  GemmCallbacks out;
  if (k.phases.empty()) return out;
  out.store = [&k, args](Builder& b, const GemmStore& s) { store_piece(b, k, args, s); };
  return out;
}

void emit_gemm_kernel(Builder& b, const Kernel& k, const std::vector<Value*>& args, Value* scratch, Value* thread,
                      Value* threads, int planned) {
  GemmOperands o;
  o.a = b.at(memory_type(b, k.args[0].type), args[0], k.gemm.a_offset);
  o.b = b.at(memory_type(b, k.args[1].type), args[1], k.gemm.b_offset);
  GemmCallbacks callbacks = callbacks_of(k, args);
  if (!callbacks.store) o.c = args[2];
  o.scratch = scratch, o.thread = thread, o.threads = threads;
  emit_gemm(b, spec_of(k), callbacks, o, planned);
}

}  // namespace

int64_t scratch_bytes(const Kernel& k, const Target& target, int threads) {
  if (k.kind == Kernel::Kind::library) return library_scratch_bytes(k, threads);
  if (k.kind != Kernel::Kind::gemm) return 0;
  return gemm_scratch_bytes(spec_of(k), callbacks_of(k, {}), target, threads);
}

void emit_kernel(Builder& b, const Kernel& k, const std::string& name, int threads) {
  llvm::Type *pointer = b.getPtrTy(), *i64 = b.getInt64Ty();
  b.begin_function(name, {pointer, pointer, i64, i64});
  std::vector<Value*> args;
  for (size_t i = 0; i < k.args.size(); i++) {
    auto* p = b.CreateLoad(pointer, b.at(pointer, b.arg(0), int64_t(i)));
    p->setMetadata(llvm::LLVMContext::MD_invariant_load, llvm::MDNode::get(b.getContext(), {}));
    args.push_back(p);
  }
  if (k.kind == Kernel::Kind::gemm)
    emit_gemm_kernel(b, k, args, b.arg(1), b.arg(2), b.arg(3), threads);
  else if (k.kind == Kernel::Kind::library)
    emit_library(b, k, args, b.arg(1), b.arg(2), b.arg(3));
  else
    NestEmitter(b, k, args).run(b.arg(2), b.arg(3));
  b.CreateRetVoid();
}

}  // namespace nnlc::codegen::cpu
