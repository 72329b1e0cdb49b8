#include "compiler/codegen/cpu/gemm.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

// One loop nest serves all shapes:
//
//   for the thread's batches, row blocks (mc), k blocks (kc):
//     pack the rows of A
//     for column panels (nr): pack the panel of B; for row tiles (mr): micro kernel, then the store callback if k is
//     complete
//
// or, where all of A fits into the cache, with the k blocks inside the panels.
//
// The micro kernels are functions of their own, so that the register allocator sees one k loop with its accumulators
// and nothing else; at most four exist (inner, last rows, last columns, both) and one that packs B meanwhile. Two
// kinds:
//   outer product: a vector along j of B times a broadcast of A; operands packed, or read in place where packing
//   doesn't pay dot product: vectors along k of both sides, for few rows or few columns when both are contiguous along
//   k

namespace nnlc::codegen::cpu {
using namespace llvm;

namespace {

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }
/// The size of equal pieces when `total` is cut into pieces of at most `most`.
int64_t even(int64_t total, int64_t most) { return ceil_div(total, ceil_div(total, most)); }

int bytes_of(GemmElement e) { return e == GemmElement::F64 ? 8 : e == GemmElement::F32 ? 4 : 2; }

// Sums are cut here and nowhere else: the bits of a result depend on K alone, not on the machine's caches or threads.
// Whole vectors of every machine, so that a side that is contiguous along k is packed in squares.
int64_t k_block(int64_t k) { return k <= 384 ? k : round_up(even(k, 384), 16); }

enum class Split { batch, rows, columns };

struct Shape {
  int64_t mr = 1, nv = 1;  // rows and vectors of a tile; for dot products nv counts columns
  Split split = Split::rows;
  double cost = 1e300;
};

struct Plan {
  bool dot = false;
  int lanes = 1;
  int64_t mr = 1, nr = 1;
  int64_t kc = 1, mc = 1;
  Split split = Split::rows;
  bool pack_a = false, pack_b = false;
  bool fused_pack = false;  // the first row tile of a panel reads B in place and leaves it packed for the others
  bool direct = false;      // the micro kernel writes C itself
  // All k blocks of a panel of columns one after the other: its sums stay close by. Needs all of A packed at once.
  bool panels_first = false;
  int64_t batches = 1;
  int64_t tile_ld = 0;   // row stride of the tile or of the partial sums
  bool partial = false;  // sums wait in scratch between k blocks
  // Scratch of a thread, offsets in elements of the sum's type.
  int64_t at_b = 0, at_tile = 0, thread_bytes = 0;
};

// Cycles per step of k of a tile: two FMAs and two loads a cycle, four cycles until a sum can be added to again.
double tile_cycles(int64_t rows, int64_t vectors) {
  return std::max({static_cast<double>(rows * vectors) / 2, static_cast<double>(rows + vectors) / 2, 4.0}) + 0.3;
}

double side_cycles(int64_t total_rows, int64_t mr, int64_t total_vectors, int64_t nv) {
  double sum = 0;
  int64_t full_i = total_rows / mr, rest_i = total_rows % mr, full_j = total_vectors / nv, rest_j = total_vectors % nv;
  sum += static_cast<double>(full_i * full_j) * tile_cycles(mr, nv);
  if (rest_i) sum += static_cast<double>(full_j) * tile_cycles(rest_i, nv);
  if (rest_j) sum += static_cast<double>(full_i) * tile_cycles(mr, rest_j);
  if (rest_i && rest_j) sum += tile_cycles(rest_i, rest_j);
  return sum;
}

// The tile and the cut with the least time of the busiest thread. `vectors`: of N (dot: columns).
Shape choose_shape(int64_t m, int64_t vectors, int64_t max_mr, int64_t max_nv, int registers, int64_t batches,
                   int threads, double pack_row, double pack_vector) {
  Shape best;
  for (int64_t nv = 1; nv <= std::min(max_nv, vectors); nv++)
    for (int64_t mr = 1; mr <= std::min(max_mr, m); mr++) {
      if (mr * nv + nv + 1 > registers - 1 && mr * nv > 1) continue;
      auto consider = [&](Split split, int64_t rows, int64_t cols, double times) {
        double cost = times * (side_cycles(rows, mr, cols, nv) + pack_row * static_cast<double>(rows) +
                               pack_vector * static_cast<double>(cols));
        // Of equals the squarer tile: it reads less.
        cost += 1e-6 * static_cast<double>(mr + nv);
        if (cost < best.cost) best = {mr, nv, split, cost};
      };
      consider(Split::rows, std::min(m, ceil_div(ceil_div(m, mr), threads) * mr), vectors,
               static_cast<double>(batches));
      if (threads > 1) {
        consider(Split::columns, m, std::min(vectors, ceil_div(ceil_div(vectors, nv), threads) * nv),
                 static_cast<double>(batches));
        if (batches > 1) consider(Split::batch, m, vectors, static_cast<double>(ceil_div(batches, threads)));
      }
    }
  return best;
}

bool uses_dot(const GemmSpec& s, const GemmCallbacks& c, int lanes) {
  if (c.load_a || c.load_b || s.uneven_a() || s.uneven_b() || s.a_k != 1 || s.b_k != 1 || s.k < 2 * lanes) return false;
  return s.m <= 4 || s.n <= std::min(4, lanes) || 4 * s.n <= 3 * lanes;
}

Plan make_plan(const GemmSpec& s, const GemmCallbacks& c, const Target& target, int threads) {
  Plan p;
  p.lanes = target.lanes(bytes_of(s.c));
  p.batches = s.batch;
  for (auto& o : s.outer) p.batches *= o.size;
  p.dot = uses_dot(s, c, p.lanes);
  p.direct = !p.dot && !c.store && s.c_j == 1;
  int64_t vectors = ceil_div(s.n, p.lanes);
  if (p.dot) {
    Shape t = choose_shape(s.m, s.n, 8, p.lanes, target.registers, p.batches, threads, 0, 0);
    p.mr = t.mr;
    p.nr = t.nv;
    p.split = t.split;
    p.kc = s.k;
    p.mc = s.m;
  } else {
    // Packing per element, in cycles: contiguous copies move a vector in about 2, transposes in about 4.
    bool a_turns = c.load_a ? c.a_along_k : s.a_i != 1, b_turns = c.load_b ? c.b_along_k : s.b_j != 1;
    // Few rows: wide tiles are the only way to keep the FMA units busy.
    int64_t max_nv = s.m <= 3 ? 8 : 4;
    Shape t = choose_shape(s.m, vectors, p.lanes, max_nv, target.registers, p.batches, threads,
                           (a_turns ? 4.0 : 2.0) / p.lanes, b_turns ? 4.0 : 2.0);
    p.mr = t.mr;
    p.nr = t.nv * p.lanes;
    p.split = t.split;
    p.kc = k_block(s.k);
    int64_t row_bytes = p.kc * bytes_of(s.c);
    p.mc = std::max(p.mr, std::max<int64_t>(1, target.l2_bytes / 2 / row_bytes) / p.mr * p.mr);
    p.mc = std::min(round_up(even(s.m, p.mc), p.mr), round_up(s.m, p.mr));
    int64_t row_tiles = ceil_div(s.m, p.mr), panels = ceil_div(s.n, p.nr);
    bool a_plain = !c.load_a && s.a == s.c && !s.uneven_a(), b_plain = !c.load_b && s.b == s.c && !s.uneven_b();
    // Rows whole pages apart share the sets of L1 and can't all stay there.
    auto collides = [&](int64_t stride) { return s.k > 16 && stride * bytes_of(s.c) % 2048 == 0; };
    p.pack_a = !a_plain || (s.a_k != 1 && s.a_i != 1) || panels >= 4 || (panels >= 2 && s.a_k != 1) ||
               (panels >= 2 && collides(s.a_i));
    p.pack_b = !b_plain || s.b_j != 1 || row_tiles >= 3 || (row_tiles >= 2 && collides(s.b_k));
    // A copy of its own costs about 10 % at 5 row tiles; beyond 16 it isn't worth another micro kernel.
    p.fused_pack = p.pack_b && b_plain && s.b_j == 1 && s.n >= p.nr && row_tiles <= 16;
    p.panels_first = p.kc < s.k && p.pack_b && p.mc >= s.m && panels > 1 &&
                     (!p.pack_a || round_up(s.m, p.mr) * s.k * bytes_of(s.c) <= target.l2_bytes / 2);
    if (p.panels_first) p.direct = false;
  }
  int64_t a_elements = p.pack_a ? round_up(p.mc, p.mr) * (p.panels_first ? s.k : p.kc) + (p.mr + 2) * p.lanes : 0;
  int64_t b_elements = p.pack_b ? p.nr * (p.kc + p.lanes) : 0;
  p.partial = !p.direct && p.kc < s.k;
  int64_t tile_width = p.dot ? p.lanes : p.nr;
  p.tile_ld = p.partial && !p.panels_first ? round_up(s.n, p.nr) : tile_width;
  int64_t tile_elements = p.direct ? 0 : (p.partial ? round_up(p.mc, p.mr) : p.mr) * p.tile_ld;
  p.at_b = round_up(a_elements, 64);
  p.at_tile = p.at_b + round_up(b_elements, 64);
  int64_t bytes = (p.at_tile + round_up(tile_elements, 64)) * bytes_of(s.c);
  // Five cache lines past a page: the threads' panels shouldn't meet in the same sets of a shared cache.
  p.thread_bytes = bytes == 0 ? 0 : round_up(bytes, 4096) + 320;
  return p;
}

void prefetch_for_write(Builder& b, Value* at) {
  b.CreateIntrinsic(Intrinsic::prefetch, {at->getType()}, {at, b.getInt32(1), b.getInt32(3), b.getInt32(1)});
}

class Generator {
 public:
  Generator(Builder& b, const GemmSpec& s, const GemmCallbacks& c, const GemmOperands& o, const Plan& p)
      : b_(b), s_(s), call_(c), o_(o), p_(p) {
    sum_ = s.c == GemmElement::F64 ? b.getDoubleTy() : b.getFloatTy();
  }

  void emit() {
    Value *glo = b_.i64(0), *ghi = b_.i64(p_.batches);
    ilo_ = jlo_ = b_.i64(0);
    ihi_ = b_.i64(s_.m);
    jhi_ = b_.i64(s_.n);
    if (p_.split == Split::batch) std::tie(glo, ghi) = b_.part(p_.batches, 1, o_.thread, o_.threads);
    if (p_.split == Split::rows) std::tie(ilo_, ihi_) = b_.part(s_.m, p_.mr, o_.thread, o_.threads);
    if (p_.split == Split::columns) std::tie(jlo_, jhi_) = b_.part(s_.n, p_.nr, o_.thread, o_.threads);
    if (p_.thread_bytes > 0) {
      Value* mine = b_.at(b_.getInt8Ty(), o_.scratch, b_.mul(o_.thread, p_.thread_bytes));
      pack_a_ = mine;
      pack_b_ = b_.at(sum_, mine, p_.at_b);
      tile_ = b_.at(sum_, mine, p_.at_tile);
    }
    b_.loop(glo, ghi, 1, [&](Value* g) { product(g); });
  }

 private:
  Type* element(GemmElement e) {
    return e == GemmElement::F64   ? b_.getDoubleTy()
           : e == GemmElement::F32 ? b_.getFloatTy()
                                   : static_cast<Type*>(b_.getInt16Ty());
  }
  // From memory to the sum's type.
  Value* widen(Builder& b, Value* v, GemmElement from) {
    if (from == GemmElement::BF16) v = b.bf16_to_f32(v);
    Type* to = b.same_lanes(sum_, v);
    return v->getType() == to ? v : b.CreateFPExt(v, to);
  }

  void product(Value* g) {
    g_ = g;
    a_ = batch_base(o_.a, s_.a, &GemmSpec::Outer::a, s_.a_batch);
    b_side_ = batch_base(o_.b, s_.b, &GemmSpec::Outer::b, s_.b_batch);
    c_ = batch_base(o_.c, s_.c, &GemmSpec::Outer::c, s_.c_batch);
    b_.loop(ilo_, ihi_, p_.mc, [&](Value* ic) {
      Value* ie = p_.mc >= s_.m ? ihi_ : b_.smin(b_.CreateNSWAdd(ic, b_.i64(p_.mc)), ihi_);
      auto k_blocks = [&](llvm::function_ref<void(Value*)> body) { b_.loop(b_.i64(0), b_.i64(s_.k), p_.kc, body); };
      auto panels = [&](llvm::function_ref<void(Value*)> body) { b_.loop(jlo_, jhi_, p_.nr, body); };
      if (p_.panels_first) {
        k_blocks([&](Value* pc) { pack_rows(ic, ie, pc); });
        panels([&](Value* j) { k_blocks([&](Value* pc) { panel(ic, ie, pc, j); }); });
      } else {
        k_blocks([&](Value* pc) {
          pack_rows(ic, ie, pc);
          panels([&](Value* j) { panel(ic, ie, pc, j); });
        });
      }
    });
  }

  Value* batch_base(Value* pointer, GemmElement e, int64_t GemmSpec::Outer::*stride, int64_t batch_stride) {
    if (!pointer) return nullptr;
    Value* rest = g_;
    auto fold = [&](int64_t size, int64_t step, bool last) {
      Value* index = last ? rest : b_.CreateURem(rest, b_.i64(size));
      if (!last) rest = b_.CreateUDiv(rest, b_.i64(size));
      if (step != 0 && size > 1) pointer = b_.at(element(e), pointer, b_.mul(index, step));
    };
    fold(s_.batch, batch_stride, s_.outer.empty());
    for (size_t i = s_.outer.size(); i-- > 0;) fold(s_.outer[i].size, s_.outer[i].*stride, i == 0);
    return pointer;
  }

  // Piece [start, start + step) of something that ends at `end`; a constant where no piece is narrower.
  Value* width(Value* start, Value* end, int64_t step, int64_t total) {
    if (total % step == 0) return b_.i64(step);
    if (total < step) return b_.i64(total);
    return b_.smin(b_.CreateNSWSub(end, start), b_.i64(step));
  }

  Value* depth(Value* pc) { return p_.kc >= s_.k ? b_.i64(s_.k) : width(pc, b_.i64(s_.k), p_.kc, s_.k); }

  void pack_rows(Value* ic, Value* ie, Value* pc) {
    if (!p_.pack_a) return;
    Value* kc = depth(pc);
    b_.loop(ic, ie, p_.mr, [&](Value* i) {
      Value* rows = width(i, ie, p_.mr, s_.m);
      pack(true, i, pc, packed_a(i, ic, pc, kc), kc, rows, rows);
    });
  }

  void panel(Value* ic, Value* ie, Value* pc, Value* j) {
    Value* kc = depth(pc);
    bool one_block = p_.kc >= s_.k;
    Value* first = one_block ? b_.getTrue() : b_.CreateICmpEQ(pc, b_.i64(0));
    Value* last = one_block ? b_.getTrue() : b_.CreateICmpEQ(b_.CreateNSWAdd(pc, kc), b_.i64(s_.k));
    Value* cols = width(j, jhi_, p_.nr, s_.n);
    Value* fuse = b_.getFalse();
    if (p_.fused_pack)
      fuse = b_.CreateAnd(b_.CreateICmpEQ(cols, b_.i64(p_.nr)),
                          b_.CreateICmpEQ(width(ic, ie, p_.mr, s_.m), b_.i64(p_.mr)));
    if (p_.pack_b)
      b_.when(b_.CreateNot(fuse), [&] {
        Value* padded = s_.n % p_.nr == 0
                            ? b_.i64(p_.nr)
                            : b_.CreateAnd(b_.CreateNSWAdd(cols, b_.i64(p_.lanes - 1)), b_.i64(-p_.lanes));
        pack(false, j, pc, pack_b_, kc, cols, padded);
      });
    Value* bp = p_.pack_b ? pack_b_ : at_b(pc, j);
    b_.loop(ic, ie, p_.mr, [&](Value* i) {
      Value* rows = width(i, ie, p_.mr, s_.m);
      Value* ap = p_.pack_a ? packed_a(i, ic, pc, kc) : at_a(i, pc);
      Value* out = p_.direct ? at_c(i, j) : tile_;
      if (p_.partial) {
        out = b_.at(sum_, out, b_.mul(b_.CreateNSWSub(i, ic), p_.tile_ld));
        if (!p_.panels_first) out = b_.at(sum_, out, b_.CreateNSWSub(j, jlo_));
      }
      b_.choose(
          p_.fused_pack ? b_.CreateAnd(fuse, b_.CreateICmpEQ(i, ic)) : fuse,
          [&] {
            b_.CreateCall(micro(p_.mr, p_.nr, true), {ap, at_b(pc, j), out, kc, first, pack_b_});
            return Values{};
          },
          [&] {
            micro_call(ap, bp, out, kc, first, rows, cols);
            return Values{};
          });
      if (!p_.direct) b_.when(last, [&] { finish(i, j, out, rows, cols); });
    });
  }

  // Rows [i, i + mr) of block pc; blocks stand one behind the other where all are packed at once.
  Value* packed_a(Value* i, Value* ic, Value* pc, Value* kc) {
    Value* at = b_.at(sum_, pack_a_, b_.CreateNSWMul(b_.CreateNSWSub(i, ic), kc));
    return p_.panels_first ? b_.at(sum_, at, b_.mul(pc, round_up(s_.m, p_.mr))) : at;
  }
  Value* at_a(Value* i, Value* k) {
    return b_.at(element(s_.a), a_, b_.CreateNSWAdd(b_.mul(i, s_.a_i), b_.mul(k, s_.a_k)));
  }
  Value* at_b(Value* k, Value* j) {
    return b_.at(element(s_.b), b_side_, b_.CreateNSWAdd(b_.mul(k, s_.b_k), b_.mul(j, s_.b_j)));
  }
  Value* at_c(Value* i, Value* j) { return b_.at(sum_, c_, b_.CreateNSWAdd(b_.mul(i, s_.c_i), b_.mul(j, s_.c_j))); }

  // The tile's sums are complete: hand them on row by row.
  void finish(Value* i, Value* j, Value* tile, Value* rows, Value* cols) {
    b_.loop(b_.i64(0), rows, 1, [&](Value* r) {
      Value* row = b_.at(sum_, tile, b_.mul(r, p_.tile_ld));
      b_.vectors(b_.i64(0), cols, p_.lanes, [&](Value* x, Value* mask) {
        GemmStore st{
            g_,   b_.CreateNSWAdd(i, r), b_.CreateNSWAdd(j, x), p_.lanes, b_.load(sum_, p_.lanes, b_.at(sum_, row, x)),
            mask, p_.nr % p_.lanes == 0};
        if (call_.store) return call_.store(b_, st);
        Value *at = at_c(st.i, st.j), *stride = b_.i64(s_.c_j);
        if (s_.accumulate) st.value = b_.CreateFAdd(b_.load_strided(sum_, p_.lanes, at, stride, mask), st.value);
        b_.store_strided(st.value, at, stride, mask);
      });
    });
  }

  // ---- packing: dst[k * width + x] = element (outer0 + x, k0 + k), x < n; the columns up to width hold anything ----

  void pack(bool is_a, Value* outer0, Value* k0, Value* dst, Value* kc, Value* n, Value* width) {
    const GemmLoadFn& load = is_a ? call_.load_a : call_.load_b;
    if (!load && (is_a ? s_.uneven_a() : s_.uneven_b())) return pack_by_digits(is_a, outer0, k0, dst, kc, n, width);
    GemmElement from = is_a ? s_.a : s_.b;
    int64_t outer_stride = is_a ? s_.a_i : s_.b_j, k_stride = is_a ? s_.a_k : s_.b_k;
    if (!load) {
      // Sizes are arguments: the transposes are what code generation is slow on, so a module has each function once.
      Value* src = is_a ? at_a(outer0, k0) : at_b(k0, outer0);
      bool along_k = k_stride == 1 && outer_stride != 1;
      if (along_k)
        b_.CreateCall(pack_turning(from), {src, dst, kc, n, width, b_.i64(outer_stride)});
      else if (!is_a && s_.n >= p_.nr)  // whole panels of B are most of the work
        b_.choose(
            b_.CreateICmpEQ(n, b_.i64(p_.nr)),
            [&] {
              b_.CreateCall(pack_straight(from, outer_stride, p_.nr), {src, dst, kc, n, width, b_.i64(k_stride)});
              return Values{};
            },
            [&] {
              b_.CreateCall(pack_straight(from, outer_stride, 0), {src, dst, kc, n, width, b_.i64(k_stride)});
              return Values{};
            });
      else
        b_.CreateCall(pack_straight(from, outer_stride, 0), {src, dst, kc, n, width, b_.i64(k_stride)});
      return;
    }
    auto ask = [&](Value* outer, Value* k, bool along_k, Value* mask) {
      return load(b_, GemmLoad{g_, outer, k, p_.lanes, along_k, mask});
    };
    if (is_a ? call_.a_along_k : call_.b_along_k)
      turn(b_, dst, kc, n, width, [&](Value* x, Value* k, Value* mask) {
        return ask(b_.CreateNSWAdd(outer0, x), b_.CreateNSWAdd(k0, k), true, mask);
      });
    else
      straight(b_, dst, kc, n, width, [&](Value* x, Value* k, Value* mask) {
        return ask(b_.CreateNSWAdd(outer0, x), b_.CreateNSWAdd(k0, k), false, mask);
      });
  }

  using Digits = std::vector<GemmSpec::Digit>;
  // The offset of an index, a scalar or a vector.
  Value* offset_of(Value* index, const Digits& digits, int64_t even) {
    Type* type = index->getType();
    auto number = [&](int64_t v) { return ConstantInt::getSigned(type, v); };
    if (digits.empty()) return b_.CreateMul(index, number(even));
    Value* sum = number(0);
    for (size_t i = digits.size(); i-- > 0;) {
      Value* digit = i == 0 ? index : b_.CreateURem(index, number(digits[i].size));
      if (i > 0) index = b_.CreateUDiv(index, number(digits[i].size));
      sum = b_.CreateAdd(sum, b_.CreateMul(digit, number(digits[i].stride)));
    }
    return sum;
  }

  // A side whose indices have digits: the offsets of a panel's columns are computed once, and for each k the columns
  // are read as vectors where they are neighbours, else gathered.
  void pack_by_digits(bool is_a, Value* outer0, Value* k0, Value* dst, Value* kc, Value* n, Value* width) {
    const Digits &own = is_a ? s_.a_rows : s_.b_cols, &sums = is_a ? s_.a_sums : s_.b_sums;
    const int64_t own_even = is_a ? s_.a_i : s_.b_j, sum_even = is_a ? s_.a_k : s_.b_k;
    const int64_t most = is_a ? p_.mr : p_.nr, total = is_a ? s_.m : s_.n;
    const GemmElement from = is_a ? s_.a : s_.b;
    const int lanes = p_.lanes;
    Type *t = element(from), *i32 = b_.getInt32Ty();
    Value* base = is_a ? a_ : b_side_;
    Values offsets, masks, together, firsts;
    Value* room = b_.CreateTrunc(n, i32);
    SmallVector<Constant*> steps;
    for (int l = 0; l < lanes; l++) steps.push_back(b_.getInt32(static_cast<uint32_t>(l)));
    Value* lane = ConstantVector::get(steps);
    for (int64_t v = 0; v * lanes < most; v++) {
      Value* column = b_.CreateAdd(b_.splat(b_.getInt32(static_cast<uint32_t>(v * lanes)), lanes), lane);
      Value* mask = b_.CreateICmpULT(column, b_.splat(room, lanes));
      // Columns past the end repeat the last one, which is read anyway.
      Value* index = b_.CreateAdd(column, b_.splat(b_.CreateTrunc(outer0, i32), lanes));
      Value* last = b_.splat(b_.getInt32(static_cast<uint32_t>(total - 1)), lanes);
      index = b_.CreateSelect(b_.CreateICmpULT(index, last), index, last);
      Value* at = offset_of(index, own, own_even);
      Value *first = b_.CreateExtractElement(at, uint64_t{0}), *end = b_.CreateExtractElement(at, uint64_t(lanes - 1));
      offsets.push_back(at);
      masks.push_back(mask);
      firsts.push_back(b_.CreateSExt(first, b_.getInt64Ty()));
      together.push_back(b_.CreateICmpEQ(b_.CreateSub(end, first), b_.getInt32(static_cast<uint32_t>(lanes - 1))));
    }
    auto place = [&](Value* k) { return offset_of(b_.CreateNSWAdd(k0, k), sums, sum_even); };
    auto one_k = [&](Value* k) {
      Value* from_k = b_.at(t, base, place(k));
      Value* row = b_.at(sum_, dst, b_.CreateNSWMul(k, width));
      for (size_t v = 0; v < offsets.size(); v++) {
        auto one = [&] {
          Value* x = b_.choose(
              together[v], [&] { return Values{b_.load(t, lanes, b_.at(t, from_k, firsts[v]))}; },
              [&] {
                Value* places = b_.CreateGEP(t, from_k, offsets[v]);
                return Values{b_.CreateMaskedGather(b_.vector(t, lanes), places, Align(bytes_of(from)), masks[v],
                                                    Constant::getNullValue(b_.vector(t, lanes)))};
              })[0];
          b_.store(widen(b_, x, from), b_.at(sum_, row, static_cast<int64_t>(v) * lanes));
        };
        // As in `straight`: what lands past the row is overwritten by the next one.
        if (v == 0)
          one();
        else
          b_.when(b_.CreateICmpSGT(n, b_.i64(static_cast<int64_t>(v) * lanes)), one);
      }
    };
    // Runs along k where columns aren't neighbours: squares are transposed, what is left over is gathered.
    auto run = [](const Digits& d, int64_t even, int64_t size) {
      return d.empty() ? (even == 1 ? size : 1) : d.back().stride == 1 ? d.back().size : 1;
    };
    if (from != s_.c || run(sums, sum_even, s_.k) < lanes || run(own, own_even, total) >= lanes)
      return b_.loop(b_.i64(0), kc, 1, one_k);
    Value* whole = b_.CreateAnd(kc, b_.i64(-lanes));
    b_.loop(b_.i64(0), whole, lanes, [&](Value* k) {
      Value *begin = place(k), *end = place(b_.add(k, lanes - 1));
      b_.choose(
          b_.CreateICmpEQ(b_.CreateNSWSub(end, begin), b_.i64(lanes - 1)),
          [&] {
            for (size_t v = 0; v < offsets.size(); v++) {
              auto one = [&] {
                Values rows;
                for (int l = 0; l < lanes; l++)
                  rows.push_back(
                      b_.at(t, base, b_.CreateSExt(b_.CreateExtractElement(offsets[v], uint64_t(l)), b_.getInt64Ty())));
                Value* to = b_.at(sum_, b_.at(sum_, dst, b_.CreateNSWMul(k, width)), static_cast<int64_t>(v) * lanes);
                store_square(b_, square(b_, rows, begin), to, width);
              };
              if (v == 0)
                one();
              else
                b_.when(b_.CreateICmpSGT(n, b_.i64(static_cast<int64_t>(v) * lanes)), one);
            }
            return Values{};
          },
          [&] {
            b_.loop(k, b_.add(k, lanes), 1, one_k);
            return Values{};
          });
    });
    b_.loop(whole, kc, 1, one_k);
  }

  // Whole vectors are stored even where fewer columns are left: what lands past a row is overwritten by the next row,
  // what lands past the panel by the next panel or in slack. That needs the rows in order, hence k outside.
  void straight(Builder& b, Value* dst, Value* kc, Value* n, Value* width,
                function_ref<Value*(Value*, Value*, Value*)> load) {
    auto one = [&](Value* k) {
      Value* row = b.at(sum_, dst, b.CreateNSWMul(k, width));
      b.vectors(b.i64(0), n, p_.lanes, [&](Value* x, Value* mask) { b.store(load(x, k, mask), b.at(sum_, row, x)); });
    };
    if (!isa<ConstantInt>(n) || call_.load_a || call_.load_b) return b.loop(b.i64(0), kc, 1, one);
    Value* whole = b.CreateAnd(kc, b.i64(-4));
    b.loop(b.i64(0), whole, 4, [&](Value* k) {
      for (int u = 0; u < 4; u++) one(b.add(k, u));
    });
    b.loop(whole, kc, 1, one);
  }

  // Squares of lanes x lanes, transposed in registers. Rows past n repeat the last one.
  void turn(Builder& b, Value* dst, Value* kc, Value* n, Value* width,
            function_ref<Value*(Value*, Value*, Value*)> load) {
    int lanes = p_.lanes;
    Value* last = b.CreateNSWSub(n, b.i64(1));
    b.loop(b.i64(0), width, lanes, [&](Value* x) {
      b.vectors(b.i64(0), kc, lanes, [&](Value* k, Value* mask) {
        Values r;
        for (int i = 0; i < lanes; i++) r.push_back(load(b.smin(b.add(x, i), last), k, mask));
        b.transpose(r);
        store_square(b, r, b.at(sum_, b.at(sum_, dst, b.CreateNSWMul(k, width)), x), width);
      });
    });
  }
  void store_square(Builder& b, const Values& r, Value* at, Value* width) {
    for (size_t i = 0; i < r.size(); i++) {
      b.store(r[i], at);
      if (i + 1 < r.size()) at = b.at(sum_, at, width);
    }
  }

  // The same for kc >= lanes, from memory: 128-bit pieces of the rows are inserted where they belong while loading,
  // which leaves only the rounds within 128 bits. The last square is moved back over its neighbour instead of being
  // masked.
  void turn_pieces(Builder& b, Value* src, Value* stride, Value* dst, Value* kc, Value* n, Value* width) {
    int lanes = p_.lanes;
    Value* last = b.CreateNSWSub(n, b.i64(1));
    b.loop(b.i64(0), width, lanes, [&](Value* x) {
      Values rows;
      for (int i = 0; i < lanes; i++)
        rows.push_back(b.at(sum_, src, b.CreateNSWMul(b.smin(b.add(x, i), last), stride)));
      Value* to = b.at(sum_, dst, x);
      b.loop(b.i64(0), kc, lanes, [&](Value* k0) {
        Value* k = b.smin(k0, b.CreateNSWSub(kc, b.i64(lanes)));
        store_square(b, square(b, rows, k), b.at(sum_, to, b.CreateNSWMul(k, width)), width);
      });
    });
  }
  // lanes elements of each row from place k on, transposed.
  Values square(Builder& b, const Values& rows, Value* k) {
    int lanes = p_.lanes, piece = 16 / bytes_of(s_.c), groups = lanes / piece;
    SmallVector<int> low, high;
    for (int g = 0; g < groups; g++)
      for (int i = 0; i < piece / 2; i++) {
        low.append({g * piece + i, g * piece + i + lanes});
        high.append({g * piece + piece / 2 + i, g * piece + piece / 2 + i + lanes});
      }
    Values square;
    for (int c = 0; c < groups; c++) {
      Values r;
      for (int i = 0; i < piece; i++) {
        Value* v = PoisonValue::get(b.vector(sum_, lanes));
        for (int g = 0; g < groups; g++) {
          Value* part = b.load(sum_, piece, b.at(sum_, b.at(sum_, rows[i + g * piece], k), c * piece));
          v = groups == 1 ? part : b.CreateInsertVector(v->getType(), v, part, b.getInt64(g * piece));
        }
        r.push_back(v);
      }
      for (int s = 1; s < piece; s *= 2) {
        Values next;
        for (int i = 0; i < piece / 2; i++) {
          next.push_back(b.CreateShuffleVector(r[i], r[i + piece / 2], low));
          next.push_back(b.CreateShuffleVector(r[i], r[i + piece / 2], high));
        }
        r = std::move(next);
      }
      square.append(r.begin(), r.end());
    }
    return square;
  }

  std::string suffix(GemmElement from) {
    const char* names[] = {"f32", "f64", "bf16"};
    return std::string(names[static_cast<int>(from)]) + "_" + names[static_cast<int>(s_.c)];
  }
  Function* pack_turning(GemmElement from) {
    int64_t smallest = s_.k - (ceil_div(s_.k, p_.kc) - 1) * p_.kc;
    bool pieces = from == s_.c && smallest >= p_.lanes;
    std::string name = (pieces ? "nnl_pack_turning_" : "nnl_pack_turning_masked_") + suffix(from);
    if (Function* f = b_.module.getFunction(name)) return f;
    Builder b(b_.module, b_.target);
    auto* p = b.getPtrTy();
    Type* n64 = b.getInt64Ty();
    Function* f = b.begin_function(name, {p, p, n64, n64, n64, n64}, false);
    if (pieces) {
      turn_pieces(b, b.arg(0), b.arg(5), b.arg(1), b.arg(2), b.arg(3), b.arg(4));
      b.CreateRetVoid();
      return f;
    }
    Type* e = element(from);
    turn(b, b.arg(1), b.arg(2), b.arg(3), b.arg(4), [&](Value* x, Value* k, Value* mask) {
      Value* row = b.at(e, b.arg(0), b.CreateNSWMul(x, b.arg(5)));
      return widen(b, b.load(e, p_.lanes, b.at(e, row, k), mask), from);
    });
    b.CreateRetVoid();
    return f;
  }
  // panel: the number of columns if it is always the same, else 0.
  Function* pack_straight(GemmElement from, int64_t stride, int64_t panel) {
    std::string name = "nnl_pack_straight_" + suffix(from) + "_" + std::to_string(stride) + "_" + std::to_string(panel);
    if (Function* f = b_.module.getFunction(name)) return f;
    Builder b(b_.module, b_.target);
    auto* p = b.getPtrTy();
    Type* n64 = b.getInt64Ty();
    Function* f = b.begin_function(name, {p, p, n64, n64, n64, n64}, false);
    Type* e = element(from);
    Value* n = panel ? b.i64(panel) : b.arg(3);
    straight(b, b.arg(1), b.arg(2), n, panel ? n : b.arg(4), [&](Value* x, Value* k, Value* mask) {
      Value* row = b.at(e, b.arg(0), b.CreateNSWMul(k, b.arg(5)));
      return widen(b, b.load_strided(e, p_.lanes, b.at(e, row, b.mul(x, stride)), b.i64(stride), mask), from);
    });
    b.CreateRetVoid();
    return f;
  }

  // ---- micro kernels ----

  void micro_call(Value* a, Value* bp, Value* out, Value* kc, Value* first, Value* rows, Value* cols) {
    auto with_cols = [&](int64_t r) {
      auto call = [&](int64_t n) { b_.CreateCall(micro(r, n), {a, bp, out, kc, first}); };
      if (auto* c = dyn_cast<ConstantInt>(cols)) return call(c->getSExtValue());
      b_.choose(
          b_.CreateICmpEQ(cols, b_.i64(p_.nr)),
          [&] {
            call(p_.nr);
            return Values{};
          },
          [&] {
            call(s_.n % p_.nr);
            return Values{};
          });
    };
    if (auto* c = dyn_cast<ConstantInt>(rows)) return with_cols(c->getSExtValue());
    b_.choose(
        b_.CreateICmpEQ(rows, b_.i64(p_.mr)),
        [&] {
          with_cols(p_.mr);
          return Values{};
        },
        [&] {
          with_cols(s_.m % p_.mr);
          return Values{};
        });
  }

  // void f(a, b, out, kc, first); packing: ..., packed)
  Function* micro(int64_t rows, int64_t cols, bool packing = false) {
    Function*& f = micros_[{rows, cols, packing}];
    if (f) return f;
    Builder b(b_.module, b_.target);
    auto* p = b.getPtrTy();
    SmallVector<Type*> types{p, p, p, b.getInt64Ty(), b.getInt1Ty()};
    if (packing) types.push_back(p);
    f = b.begin_function(b_.function->getName().str() + ".micro_" + std::to_string(rows) + "x" + std::to_string(cols) +
                             (packing ? "_packing" : ""),
                         types, false);
    for (unsigned i = 0; i < 3; i++) b.function->addParamAttr(i, Attribute::NoAlias);
    if (p_.dot)
      dot(b, rows, cols);
    else
      outer_product(b, rows, cols, packing);
    b.CreateRetVoid();
    return f;
  }

  void outer_product(Builder& b, int64_t rows, int64_t cols, bool packing) {
    int lanes = p_.lanes;
    int64_t nv = ceil_div(cols, lanes);
    auto active = [&](int64_t v) { return static_cast<int>(std::min<int64_t>(lanes, cols - v * lanes)); };
    // Packed panels are padded to whole vectors; only B in place and C itself need masks.
    int64_t a_row = p_.pack_a ? 1 : s_.a_i, a_step = p_.pack_a ? rows : s_.a_k,
            b_step = p_.pack_b && !packing ? nv * lanes : s_.b_k;
    // C is far away while its sums are in registers: it comes closer meanwhile.
    int64_t line = std::max<int64_t>(1, 64 / (lanes * bytes_of(s_.c)));
    if (p_.direct || p_.partial)
      for (int64_t i = 0; i < rows; i++)
        for (int64_t v = 0; v < nv; v += line)
          prefetch_for_write(b, b.at(sum_, b.arg(2), i * (p_.direct ? s_.c_i : p_.tile_ld) + v * lanes));
    Values sums(rows * nv, Constant::getNullValue(b.vector(sum_, lanes)));
    auto step = [&](Value* a, Value* bp, Value* k, Values& c) {
      Values row;
      for (int64_t v = 0; v < nv; v++)
        row.push_back(
            b.load(sum_, lanes, b.at(sum_, bp, v * lanes), p_.pack_b ? nullptr : b.first_lanes(lanes, active(v))));
      if (packing)
        for (int64_t v = 0; v < nv; v++)
          b.store(row[v], b.at(sum_, b.arg(5), b.CreateNSWAdd(b.mul(k, nv * lanes), b.i64(v * lanes))));
      for (int64_t i = 0; i < rows; i++) {
        Value* x = b.splat(b.load(sum_, b.at(sum_, a, i * a_row)), lanes);
        for (int64_t v = 0; v < nv; v++) c[i * nv + v] = b.fma(x, row[v], c[i * nv + v]);
      }
    };
    auto run = [&](Value* lo, Value* hi, int unroll) {
      sums = b.loop(lo, hi, unroll, sums, [&](Value* k, Values c) {
        Value* a = b.at(sum_, b.arg(0), b.mul(k, a_step));
        Value* bp = b.at(sum_, b.arg(1), b.mul(k, b_step));
        for (int u = 0; u < unroll; u++) step(b.at(sum_, a, u * a_step), b.at(sum_, bp, u * b_step), b.add(k, u), c);
        return c;
      });
    };
    int unroll = rows * nv >= 16 ? 1 : rows * nv >= 8 ? 2 : 4;  // more only costs compile time
    Value* kc = b.arg(3);
    Value* whole = b.CreateAnd(kc, b.i64(-unroll));
    run(b.i64(0), whole, unroll);
    if (s_.k % unroll || p_.kc % unroll) run(whole, kc, 1);

    int64_t ld = p_.direct ? s_.c_i : p_.tile_ld;
    auto put = [&](bool add) {
      for (int64_t i = 0; i < rows; i++)
        for (int64_t v = 0; v < nv; v++) {
          Value* at = b.at(sum_, b.arg(2), i * ld + v * lanes);
          Value* mask = p_.direct ? b.first_lanes(lanes, active(v)) : nullptr;
          Value* x = sums[i * nv + v];
          if (add) x = b.CreateFAdd(b.load(sum_, lanes, at, mask), x);
          b.store(x, at, mask);
        }
    };
    bool always_add = p_.direct && s_.accumulate;
    if (always_add || p_.kc >= s_.k) return put(always_add);
    b.choose(
        b.arg(4),
        [&] {
          put(false);
          return Values{};
        },
        [&] {
          put(true);
          return Values{};
        });
  }

  // Row r of the tile gets the sums of its columns in the first lanes.
  void dot(Builder& b, int64_t rows, int64_t cols) {
    int lanes = p_.lanes;
    Values sums(rows * cols, Constant::getNullValue(b.vector(sum_, lanes)));
    auto step = [&](Value* k, Values& c, Value* mask) {
      Values y;
      auto get = [&](GemmElement e, Value* base, int64_t row) {
        Type* t = element(e);
        return widen(b, b.load(t, lanes, b.at(t, b.at(t, base, k), row), mask), e);
      };
      for (int64_t j = 0; j < cols; j++) y.push_back(get(s_.b, b.arg(1), j * s_.b_j));
      for (int64_t i = 0; i < rows; i++) {
        Value* x = get(s_.a, b.arg(0), i * s_.a_i);
        for (int64_t j = 0; j < cols; j++) c[i * cols + j] = b.fma(x, y[j], c[i * cols + j]);
      }
    };
    int64_t whole = s_.k / lanes * lanes;
    sums = b.loop(b.i64(0), b.i64(whole), lanes, sums, [&](Value* k, Values c) {
      step(k, c, nullptr);
      return c;
    });
    // Lanes past the end are zero on both sides.
    if (whole < s_.k) step(b.i64(whole), sums, b.first_lanes(lanes, static_cast<int>(s_.k - whole)));
    for (int64_t i = 0; i < rows; i++) {
      Values row(sums.begin() + i * cols, sums.begin() + (i + 1) * cols);
      b.store(sum_each(b, row), b.at(sum_, b.arg(2), i * p_.tile_ld));
    }
  }

  // Lane j of the result is the sum of the lanes of v[j]. Neighbours are folded together: after r rounds a vector holds
  // 2^r partial vectors of lanes / 2^r, in order. Missing ones are poison and fold away.
  Value* sum_each(Builder& b, Values v) {
    int lanes = p_.lanes;
    auto* type = b.vector(sum_, lanes);
    v.resize(lanes, nullptr);
    for (int part = lanes; part > 1; part /= 2) {
      SmallVector<int> low, high;
      for (int source = 0; source < 2; source++)
        for (int at = 0; at < lanes; at += part)
          for (int t = 0; t < part / 2; t++) {
            low.push_back(source * lanes + at + t);
            high.push_back(source * lanes + at + part / 2 + t);
          }
      Values next;
      for (size_t i = 0; i < v.size(); i += 2) {
        if (!v[i] && !v[i + 1]) {
          next.push_back(nullptr);
          continue;
        }
        Value* x = v[i] ? v[i] : PoisonValue::get(type);
        Value* y = v[i + 1] ? v[i + 1] : PoisonValue::get(type);
        next.push_back(b.CreateFAdd(b.CreateShuffleVector(x, y, low), b.CreateShuffleVector(x, y, high)));
      }
      v = std::move(next);
    }
    return v[0];
  }

  Builder& b_;
  const GemmSpec& s_;
  const GemmCallbacks& call_;
  const GemmOperands& o_;
  const Plan& p_;
  Type* sum_;
  Value *ilo_ = nullptr, *ihi_ = nullptr, *jlo_ = nullptr, *jhi_ = nullptr, *g_ = nullptr;
  Value *a_ = nullptr, *b_side_ = nullptr, *c_ = nullptr;
  Value *pack_a_ = nullptr, *pack_b_ = nullptr, *tile_ = nullptr;
  std::map<std::tuple<int64_t, int64_t, bool>, Function*> micros_;
};

bool has_callbacks(const GemmCallbacks& c) { return c.load_a || c.load_b || c.store; }

}  // namespace

GemmSpec GemmSpec::swapped() const {
  GemmSpec s = *this;
  std::swap(s.m, s.n);
  std::swap(s.a, s.b);
  std::swap(s.a_batch, s.b_batch);
  s.a_i = b_j;
  s.a_k = b_k;
  s.b_j = a_i;
  s.b_k = a_k;
  std::swap(s.c_i, s.c_j);
  std::swap(s.a_rows, s.b_cols);
  std::swap(s.a_sums, s.b_sums);
  for (auto& o : s.outer) std::swap(o.a, o.b);
  return s;
}

bool prefers_swap(const GemmSpec& s, const Target& target) {
  int lanes = target.lanes(bytes_of(s.c));
  if (s.c_i == 1 && s.c_j != 1 && s.m > 1) return true;
  if (uses_dot(s, {}, lanes) || s.uneven_a() || s.uneven_b()) return false;
  // Both sides contiguous along k: the one that becomes B is turned while packing, the other is read in place. With few
  // rows that is worth C's scattered stores, unless those fall into few sets of the cache.
  auto spreads = [&](int64_t stride) { return stride * bytes_of(s.c) % 1024 != 0; };
  if (s.a_k == 1 && s.b_k == 1 && s.b_j != 1 && s.c_j == 1 && s.m >= lanes && s.m <= 128 && s.n >= 4 * s.m &&
      s.k >= 128 && spreads(s.c_i) && spreads(s.b_j))
    return true;
  // The wide side becomes B: only if that needn't be turned for it.
  return 4 * s.n <= 3 * lanes && s.m >= lanes && s.a_i == 1;
}

int64_t gemm_scratch_bytes(const GemmSpec& spec, const GemmCallbacks& callbacks, const Target& target, int threads) {
  bool swap = !has_callbacks(callbacks) && prefers_swap(spec, target);
  Plan p = make_plan(swap ? spec.swapped() : spec, callbacks, target, threads);
  return p.thread_bytes * threads;
}

void emit_gemm(Builder& b, const GemmSpec& spec, const GemmCallbacks& callbacks, const GemmOperands& operands,
               int threads) {
  GemmSpec s = spec;
  GemmOperands o = operands;
  if (!has_callbacks(callbacks) && prefers_swap(spec, b.target)) {
    s = spec.swapped();
    std::swap(o.a, o.b);
  }
  if (threads == 1) {
    o.thread = b.i64(0);
    o.threads = b.i64(1);
  }
  Plan p = make_plan(s, callbacks, b.target, threads);
  Generator(b, s, callbacks, o, p).emit();
}

}  // namespace nnlc::codegen::cpu
