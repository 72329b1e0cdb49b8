// A thin layer over llvm::IRBuilder for kernels that are written as vector code: counted loops with carried values,
// masks, loads and stores of partial vectors, transposes in registers. Nothing here decides anything about a kernel.
#pragma once
#include <llvm/ADT/STLFunctionalExtras.h>
#include <llvm/ADT/SmallVector.h>
#include <llvm/IR/IRBuilder.h>
#include <llvm/IR/Module.h>

#include <cstdint>
#include <initializer_list>
#include <string>

#include "compiler/codegen/cpu/jit.h"

namespace nnlc::codegen::cpu {

using Values = llvm::SmallVector<llvm::Value*, 32>;

/// The element types below are scalars or vectors of any length: LLVM splits what is longer than a register.
class Builder : public llvm::IRBuilder<> {
 public:
  Builder(llvm::Module& module, const Target& target)
      : IRBuilder(module.getContext()), module(module), target(target) {}

  llvm::Module& module;
  const Target& target;
  llvm::Function* function = nullptr;

  /// Starts a function that returns nothing and points the builder at its entry. External ones get the C convention, so
  /// a pointer from Jit::compile can be called; internal ones are never inlined (they exist to be shared). The frame
  /// pointer and unwind attributes are set.
  llvm::Function* begin_function(const std::string& name, llvm::ArrayRef<llvm::Type*> parameters, bool external = true);
  llvm::Value* arg(unsigned i) { return function->getArg(i); }

  // Types and constants. `like` is any value of the wanted type.
  llvm::FixedVectorType* vector(llvm::Type* element, int lanes) { return llvm::FixedVectorType::get(element, lanes); }
  llvm::Type* scalar_of(llvm::Value* v) { return v->getType()->getScalarType(); }
  static int lanes_of(llvm::Value* v);                             ///< 1 for a scalar
  llvm::Type* same_lanes(llvm::Type* element, llvm::Value* like);  ///< element, or a vector of it as long as `like`
  llvm::Value* i64(int64_t v) { return getInt64(static_cast<uint64_t>(v)); }
  llvm::Constant* number(llvm::Value* like, double v);  ///< floating or integer, splat over lanes
  llvm::Constant* number(llvm::Type* type, double v);
  llvm::Constant* integer(llvm::Type* type, int64_t v);  ///< integer type or vector of it
  llvm::Value* splat(llvm::Value* scalar, int lanes) { return lanes == 1 ? scalar : CreateVectorSplat(lanes, scalar); }
  llvm::Value* iota(llvm::Type* element, int lanes);  ///< 0, 1, 2, ...

  // Addresses: index counts elements of `element`.
  llvm::Value* at(llvm::Type* element, llvm::Value* pointer, llvm::Value* index);
  llvm::Value* at(llvm::Type* element, llvm::Value* pointer, int64_t index);
  llvm::Value* at(llvm::Type* element, llvm::Value* pointer, int index) {  // a literal 0 is a pointer, too
    return at(element, pointer, int64_t{index});
  }
  llvm::Value* mul(llvm::Value* a, int64_t b);
  llvm::Value* add(llvm::Value* a, int64_t b) { return b == 0 ? a : CreateNSWAdd(a, i64(b)); }
  llvm::Value* smin(llvm::Value* a, llvm::Value* b) { return CreateBinaryIntrinsic(llvm::Intrinsic::smin, a, b); }
  llvm::Value* smax(llvm::Value* a, llvm::Value* b) { return CreateBinaryIntrinsic(llvm::Intrinsic::smax, a, b); }

  // Memory. mask: null (all lanes) or <lanes x i1>; lanes that are off read `other` (null: zero) and write nothing.
  llvm::Value* load(llvm::Type* element, llvm::Value* pointer);
  llvm::Value* load(llvm::Type* element, int lanes, llvm::Value* pointer, llvm::Value* mask = nullptr,
                    llvm::Value* other = nullptr);
  void store(llvm::Value* v, llvm::Value* pointer, llvm::Value* mask = nullptr);
  /// Lane l at pointer + l * stride elements.
  llvm::Value* load_strided(llvm::Type* element, int lanes, llvm::Value* pointer, llvm::Value* stride,
                            llvm::Value* mask = nullptr, llvm::Value* other = nullptr);
  void store_strided(llvm::Value* v, llvm::Value* pointer, llvm::Value* stride, llvm::Value* mask = nullptr);
  llvm::Value* first_lanes(int lanes, int active);           ///< constant mask; null if all are active
  llvm::Value* first_lanes(int lanes, llvm::Value* active);  ///< lane < active, active is i64

  // Arithmetic.
  llvm::Value* fma(llvm::Value* a, llvm::Value* b, llvm::Value* c);  ///< a*b + c; fused where target.fma
  /// Horner, highest power first.
  llvm::Value* polynomial(llvm::Value* x, std::initializer_list<double> coefficients);
  llvm::Value* abs(llvm::Value* x) { return CreateUnaryIntrinsic(llvm::Intrinsic::fabs, x); }
  llvm::Value* sqrt(llvm::Value* x) { return CreateUnaryIntrinsic(llvm::Intrinsic::sqrt, x); }
  llvm::Value* copysign(llvm::Value* x, llvm::Value* sign) {
    return CreateBinaryIntrinsic(llvm::Intrinsic::copysign, x, sign);
  }
  /// Larger of the two; a NaN in either gives NaN (what NNL's max says).
  llvm::Value* fmax(llvm::Value* a, llvm::Value* b);
  llvm::Value* fmin(llvm::Value* a, llvm::Value* b);
  /// Sum of the lanes in a fixed tree order.
  llvm::Value* sum_lanes(llvm::Value* v);
  llvm::Value* max_lanes(llvm::Value* v);  ///< as fmax
  llvm::Value* min_lanes(llvm::Value* v);
  /// Folds the lanes by halves with `f`, which gets ever shorter vectors and at last scalars.
  llvm::Value* fold_lanes(llvm::Value* v, llvm::function_ref<llvm::Value*(llvm::Value*, llvm::Value*)> f);
  llvm::Value* any(llvm::Value* mask) { return mask->getType()->isVectorTy() ? CreateOrReduce(mask) : mask; }
  llvm::Value* lower_half(llvm::Value* v);
  llvm::Value* upper_half(llvm::Value* v);
  llvm::Value* join(llvm::Value* low, llvm::Value* high);  ///< lanes of low, then of high
  llvm::Value* bf16_to_f32(llvm::Value* bits);             ///< from i16 lanes
  llvm::Value* f32_to_bf16(llvm::Value* v);                ///< to i16 lanes, nearest even, NaN stays NaN
  /// r[i] lane j becomes r[j] lane i; as many vectors as lanes.
  void transpose(Values& r);

  // Control. The blocks are made in order; insertion continues after them.
  /// for (iv = lo; iv < hi; iv += step) carried = body(iv, carried); returns the last carried values. step > 0.
  Values loop(llvm::Value* lo, llvm::Value* hi, int64_t step, Values carried,
              llvm::function_ref<Values(llvm::Value*, Values)> body, const char* name = "loop");
  void loop(llvm::Value* lo, llvm::Value* hi, int64_t step, llvm::function_ref<void(llvm::Value*)> body,
            const char* name = "loop");
  void when(llvm::Value* condition, llvm::function_ref<void()> body);
  /// Both branches return equally many values of equal types.
  Values choose(llvm::Value* condition, llvm::function_ref<Values()> yes, llvm::function_ref<Values()> no);
  /// Full tiles of `step` over [lo, hi), then the narrower last one, whose width is known: it exists where hi == total
  /// and total isn't a multiple of step. lo is a multiple of step. body(index, width)
  void tiles(llvm::Value* lo, llvm::Value* hi, int64_t step, int64_t total,
             llvm::function_ref<void(llvm::Value*, int64_t)> body);
  /// A loop over [0, n) in vectors of `lanes`: body(index, mask), mask null for whole vectors and a mask value in the
  /// tail.
  void vectors(llvm::Value* lo, llvm::Value* hi, int lanes, llvm::function_ref<void(llvm::Value*, llvm::Value*)> body);

  /// Stack memory of the function, made in its entry block however deep the caller is.
  llvm::Value* stack(llvm::Type* element, int64_t count, int align_bytes = 64);
  /// Part `thread` of `threads` of [0, total), cut at multiples of `step`; both ends.
  std::pair<llvm::Value*, llvm::Value*> part(int64_t total, int64_t step, llvm::Value* thread, llvm::Value* threads);
};

}  // namespace nnlc::codegen::cpu
