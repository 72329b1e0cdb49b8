// Kernels with an algorithm of their own: sorting, running sums, adding at places that are data. Each thread owns a
// part of the result and visits what belongs to it in the order of the operands, so sums have one order whatever the
// number of threads.
#include "compiler/codegen/cpu/emit_library.h"

#include <algorithm>
#include <functional>

#include "compiler/codegen/cpu/expr_emitter.h"

namespace nnlc::codegen::cpu {

namespace {

using graph::DType;
using llvm::CmpInst;
using llvm::Type;
using llvm::Value;
using loop::Kernel;
using loop::Library;

/// Two arrays of places for each thread that sorts.
int64_t sort_bytes(const Library& l) { return (2 * 8 * l.size + 63) / 64 * 64; }
bool sorts(const Kernel& k) { return k.routine.op == "sort" || k.routine.op == "argsort"; }

class LibraryEmitter {
 public:
  LibraryEmitter(Builder& b, const Kernel& k, const std::vector<Value*>& args, Value* scratch, Value* thread,
                 Value* threads)
      : b_(b),
        l_(k.routine),
        args_(args),
        scratch_(scratch),
        thread_(thread),
        threads_(threads),
        index_type_(k.args[0].type),
        type_(k.args[k.args.size() - 2].type),
        values_(args[args.size() - 2]),
        out_(args.back()),
        element_(memory_type(b, type_)) {}

  void run() {
    if (l_.op == "scatter_add")
      scatter_add();
    else if (l_.op == "scatter_add_along")
      scatter_add_along();
    else if (l_.op == "cumsum")
      cumsum();
    else
      sort();
  }

 private:
  Value* load(Value* p, Value* index) { return b_.load(element_, b_.at(element_, p, index)); }
  /// Sums are rounded to the element type after each addition.
  Value* sum(Value* a, Value* v) {
    if (graph::is_float(type_))
      return to_memory(b_, b_.CreateFAdd(from_memory(b_, a, type_), from_memory(b_, v, type_)), type_);
    return b_.CreateAdd(a, v);
  }
  Value* less(Value* a, Value* b) { return b_.CreateICmpSLT(a, b); }
  Value* both(Value* a, Value* b) { return b_.CreateAnd(a, b); }
  Value* within(Value* v, Value* lo, Value* hi) { return both(b_.CreateICmpSGE(v, lo), less(v, hi)); }
  /// Element j of the indices, limited to [0, size).
  Value* index(Value* j, int64_t size) {
    Type* stored = memory_type(b_, index_type_);
    Value* raw = b_.load(stored, b_.at(stored, args_[0], j));
    const bool is_signed = index_type_ != DType::boolean && index_type_ != DType::u8;
    Value* v = is_signed ? b_.CreateSExt(raw, b_.getInt64Ty()) : b_.CreateZExt(raw, b_.getInt64Ty());
    return b_.smax(b_.smin(v, b_.i64(size - 1)), b_.i64(0));
  }
  int lanes() const { return std::max(1, b_.target.vector_bytes / static_cast<int>(graph::size_bytes(type_))); }
  /// Both ends of this thread's share.
  std::pair<Value*, Value*> share(int64_t total) { return b_.part(total, 1, thread_, threads_); }
  void clear(Value* lo, Value* hi, Value* p) {
    b_.vectors(lo, hi, lanes(), [&](Value* i, Value* mask) {
      Type* type = lanes() == 1 ? element_ : b_.vector(element_, lanes());
      b_.store(llvm::Constant::getNullValue(type), b_.at(element_, p, i), mask);
    });
  }

  /// out[pre, size, post]: a thread owns some of the rows along `size`, or, where there are few, of the columns.
  void scatter_add() {
    Value* by_row = b_.CreateOr(b_.CreateICmpSGE(b_.i64(l_.size), b_.CreateMul(threads_, b_.i64(4))),
                                less(b_.i64(l_.post), b_.CreateMul(threads_, b_.i64(4))));
    auto ends = [&](int64_t total, Value* shared) {
      auto [lo, hi] = share(total);
      return std::pair{b_.CreateSelect(shared, lo, b_.i64(0)), b_.CreateSelect(shared, hi, b_.i64(total))};
    };
    auto [row0, row1] = ends(l_.size, by_row);
    auto [col0, col1] = ends(l_.post, b_.CreateNot(by_row));
    b_.loop(b_.i64(0), b_.i64(l_.pre), 1, [&, row0 = row0, row1 = row1, col0 = col0, col1 = col1](Value* p) {
      auto row = [&](Value* r) { return b_.at(element_, out_, b_.mul(b_.CreateAdd(b_.mul(p, l_.size), r), l_.post)); };
      b_.loop(row0, row1, 1, [&](Value* r) { clear(col0, col1, row(r)); });
      b_.loop(b_.i64(0), b_.i64(l_.count), 1, [&](Value* j) {
        Value* r = index(j, l_.size);
        b_.when(within(r, row0, row1), [&] {
          Value *to = row(r), *from = b_.at(element_, values_, b_.mul(b_.CreateAdd(b_.mul(p, l_.count), j), l_.post));
          b_.vectors(col0, col1, lanes(), [&](Value* c, Value* mask) {
            Value* at = b_.at(element_, to, c);
            Value* added = b_.load(element_, lanes(), b_.at(element_, from, c), mask);
            b_.store(sum(b_.load(element_, lanes(), at, mask), added), at, mask);
          });
        });
      });
    });
  }

  /// Threads own places of the result. The loops go over the indices in their order.
  void scatter_add_along() {
    int64_t whole = 1;
    for (int64_t s : l_.shape) whole *= s;
    auto [lo, hi] = share(whole);
    clear(lo, hi, out_);
    std::function<void(size_t, Value*, Value*)> axis = [&, lo = lo, hi = hi](size_t i, Value* j, Value* place) {
      if (i == l_.shape.size()) {
        Value* along = b_.CreateAdd(place, b_.mul(index(j, l_.shape[static_cast<size_t>(l_.axis)]), stride(l_.axis)));
        b_.when(within(along, lo, hi),
                [&] { b_.store(sum(load(out_, along), load(values_, j)), b_.at(element_, out_, along)); });
        return;
      }
      b_.loop(b_.i64(0), b_.i64(l_.index_shape[i]), 1, [&](Value* at) {
        Value* next = b_.CreateAdd(b_.mul(j, l_.index_shape[i]), at);
        const bool own = static_cast<int64_t>(i) == l_.axis;
        axis(i + 1, next, own ? place : b_.CreateAdd(place, b_.mul(at, stride(static_cast<int64_t>(i)))));
      });
    };
    axis(0, b_.i64(0), b_.i64(0));
  }
  int64_t stride(int64_t axis) const {
    int64_t s = 1;
    for (size_t i = static_cast<size_t>(axis) + 1; i < l_.shape.size(); ++i) s *= l_.shape[i];
    return s;
  }

  /// The place of the first element of a line along the axis.
  Value* line_start(Value* line) {
    Value* outer = b_.CreateUDiv(line, b_.i64(l_.post));
    return b_.CreateAdd(b_.mul(outer, l_.size * l_.post), b_.CreateURem(line, b_.i64(l_.post)));
  }

  void cumsum() {
    auto [lo, hi] = share(l_.pre * l_.post);
    b_.loop(lo, hi, 1, [&](Value* line) {
      Value* start = line_start(line);
      b_.loop(b_.i64(0), b_.i64(l_.size), 1, {llvm::Constant::getNullValue(element_)}, [&](Value* i, Values carried) {
        Value* at = b_.CreateAdd(start, b_.mul(i, l_.post));
        Value* total = sum(carried[0], load(values_, at));
        b_.store(total, b_.at(element_, out_, at));
        return Values{total};
      });
    });
  }

  /// Whether x comes before y and isn't its equal; NaN is the largest.
  Value* before(Value* x, Value* y) {
    if (l_.descending) std::swap(x, y);
    if (!graph::is_float(type_))
      return b_.CreateICmp(type_ == DType::u8 || type_ == DType::boolean ? CmpInst::ICMP_ULT : CmpInst::ICMP_SLT, x, y);
    x = from_memory(b_, x, type_);
    y = from_memory(b_, y, type_);
    return b_.CreateOr(b_.CreateFCmpOLT(x, y), both(b_.CreateFCmpUNO(y, y), b_.CreateFCmpORD(x, x)));
  }

  /// A merge sort of places from runs of one element up: stable, without branches on the data.
  void sort() {
    Type* i64 = b_.getInt64Ty();
    Value* mine = b_.at(b_.getInt8Ty(), scratch_, b_.mul(thread_, sort_bytes(l_)));
    Value* other = b_.at(i64, mine, l_.size);
    int64_t rounds = 0;
    while ((int64_t{1} << rounds) < l_.size) ++rounds;
    Value* size = b_.i64(l_.size);
    auto [lo, hi] = share(l_.pre * l_.post);
    b_.loop(lo, hi, 1, [&](Value* line) {
      Value* start = line_start(line);
      auto at = [&](Value* i) { return b_.CreateAdd(start, b_.mul(i, l_.post)); };
      b_.loop(b_.i64(0), size, 1, [&](Value* i) { b_.store(i, b_.at(i64, mine, i)); });
      Values sorted = b_.loop(b_.i64(0), b_.i64(rounds), 1, {mine, other, b_.i64(1)}, [&](Value*, Values carried) {
        Value *from = carried[0], *to = carried[1], *width = carried[2];
        Value* twice = b_.CreateShl(width, b_.i64(1));
        Value* pairs = b_.CreateUDiv(b_.CreateAdd(size, b_.CreateSub(twice, b_.i64(1))), twice);
        b_.loop(b_.i64(0), pairs, 1, [&](Value* pair) {
          Value* first = b_.CreateMul(pair, twice);
          Value* middle = b_.smin(b_.CreateAdd(first, width), size);
          Value* end = b_.smin(b_.CreateAdd(first, twice), size);
          b_.loop(first, end, 1, {first, middle}, [&](Value* k, Values heads) {
            Value *i = heads[0], *j = heads[1];
            // Past its run's end a head isn't taken, but what is read has to exist.
            auto place = [&](Value* head) {
              return b_.load(i64, b_.at(i64, from, b_.smin(head, b_.i64(l_.size - 1))));
            };
            Value *left = place(i), *right = place(j);
            Value* earlier = before(load(values_, at(right)), load(values_, at(left)));
            Value* take_right = both(less(j, end), b_.CreateOr(b_.CreateICmpSGE(i, middle), earlier));
            b_.store(b_.CreateSelect(take_right, right, left), b_.at(i64, to, k));
            Value* step = b_.CreateZExt(take_right, i64);
            return Values{b_.CreateAdd(i, b_.CreateSub(b_.i64(1), step)), b_.CreateAdd(j, step)};
          });
        });
        return Values{to, from, twice};
      });
      b_.loop(b_.i64(0), size, 1, [&](Value* i) {
        Value* place = b_.load(i64, b_.at(i64, sorted[0], i));
        if (l_.op == "argsort")
          b_.store(place, b_.at(i64, out_, at(i)));
        else
          b_.store(load(values_, at(place)), b_.at(element_, out_, at(i)));
      });
    });
  }

  Builder& b_;
  const Library& l_;
  const std::vector<Value*>& args_;
  Value *scratch_, *thread_, *threads_;
  DType index_type_, type_;
  Value *values_, *out_;
  Type* element_;
};

}  // namespace

int64_t library_scratch_bytes(const Kernel& k, int threads) { return sorts(k) ? threads * sort_bytes(k.routine) : 0; }

void emit_library(Builder& b, const Kernel& k, const std::vector<Value*>& args, Value* scratch, Value* thread,
                  Value* threads) {
  if (k.args.back().elements > 0) LibraryEmitter(b, k, args, scratch, thread, threads).run();
}

}  // namespace nnlc::codegen::cpu
