// Contraction kernels: C[g, i, j] = sum over k of A[g, i, k] * B[g, k, j], specialised for sizes and strides.
//
// A and B are packed into panels (where that pays), an MR x NR tile of C stays in registers over a block of k, edges
// get tiles of their own width. Reading an operand and storing a result can be replaced by callbacks, so whatever
// elementwise work stands before or after the product joins it. Every element of C is summed in an order that depends
// on K alone: results are the same bits for any number of threads.
#pragma once
#include <cstdint>
#include <functional>
#include <vector>

#include "compiler/codegen/cpu/ir_builder.h"

namespace nnlc::codegen::cpu {

enum class GemmElement : uint8_t { F32, F64, BF16 };

struct GemmSpec {
  int64_t batch = 1, m = 1, n = 1, k = 1;
  // Strides in elements; not looked at for a side that has a callback.
  int64_t a_batch = 0, a_i = 0, a_k = 1;
  int64_t b_batch = 0, b_k = 0, b_j = 1;
  int64_t c_batch = 0, c_i = 0, c_j = 1;
  GemmElement a = GemmElement::F32, b = GemmElement::F32;  ///< BF16 is widened while packing
  GemmElement c = GemmElement::F32;                        ///< also the type of the sums: F32 or F64
  /// Further batch dimensions, slowest first, outside `batch`: for strides that don't go together with it.
  struct Outer {
    int64_t size = 1, a = 0, b = 0, c = 0;
  };
  std::vector<Outer> outer;
  /// Digits of an index that doesn't walk its side evenly, slowest first, each with its stride; empty: by the stride
  /// above. Such a side is always packed.
  struct Digit {
    int64_t size = 1, stride = 0;
  };
  std::vector<Digit> a_rows, a_sums, b_sums, b_cols;
  bool uneven_a() const { return !a_rows.empty() || !a_sums.empty(); }
  bool uneven_b() const { return !b_sums.empty() || !b_cols.empty(); }
  bool accumulate = false;  ///< C += instead of C = (without a store callback)

  /// The same product with the roles of the sides exchanged: C^T = B^T A^T.
  GemmSpec swapped() const;
};

/// True if swapped() fits the machine better (narrow N beside a wide M, or a C that is contiguous along i). A caller
/// without callbacks needn't care; one with callbacks writes them for the exchanged sides.
bool prefers_swap(const GemmSpec& spec, const Target& target);

/// `lanes` neighbours of an operand along one of its axes, as values of the sum's type. `outer` is i for A, j for B.
///   along_k: lane l is element (outer, k + l), else element (outer + l, k).
/// `batch` counts through the outer dimensions and `batch`, the latter fastest; all three are i64.
/// mask: null or <lanes x i1>; lanes that are off may return anything but mustn't be read from memory.
struct GemmLoad {
  llvm::Value *batch, *outer, *k;
  int lanes;
  bool along_k;
  llvm::Value* mask;
};
/// A row piece of the result: lane l of `value` is the finished sum at (batch, i, j + l). mask as above (lanes off:
/// past N).
struct GemmStore {
  llvm::Value *batch, *i, *j;
  int lanes;
  llvm::Value* value;
  llvm::Value* mask;
  bool aligned;  ///< j is a multiple of lanes
};
using GemmLoadFn = std::function<llvm::Value*(Builder&, const GemmLoad&)>;
using GemmStoreFn = std::function<void(Builder&, const GemmStore&)>;

/// The callbacks are called a few times while the kernel is emitted, always within the function emit_gemm was called
/// in, and may use any value that dominates the call. They may add basic blocks.
struct GemmCallbacks {
  GemmLoadFn load_a, load_b;                 ///< empty: from memory by the strides
  bool a_along_k = true, b_along_k = false;  ///< which way load_a / load_b is cheap; the other way isn't asked for
  /// Empty: to C by the strides. Emitted once or twice a kernel, in a loop over the tile that was just computed (it's
  /// in L1), so long ones are fine.
  GemmStoreFn store;
};

struct GemmOperands {
  llvm::Value *a = nullptr, *b = nullptr, *c = nullptr;  ///< null for a side with a callback
  llvm::Value* scratch = nullptr;  ///< gemm_scratch_bytes(), 64-byte aligned, the same pointer in every thread
  llvm::Value* thread = nullptr;   ///< i64, 0 .. threads - 1
  llvm::Value* threads = nullptr;  ///< i64, at most what gemm_scratch_bytes was told
};

/// For all threads together; the same arguments as emit_gemm's. A multiple of 64.
int64_t gemm_scratch_bytes(const GemmSpec& spec, const GemmCallbacks& callbacks, const Target& target, int threads);

/// Emits the share of one thread at the insertion point of `b`; no barrier is inside. `threads`: the number it is
/// planned for.
void emit_gemm(Builder& b, const GemmSpec& spec, const GemmCallbacks& callbacks, const GemmOperands& operands,
               int threads);

}  // namespace nnlc::codegen::cpu
