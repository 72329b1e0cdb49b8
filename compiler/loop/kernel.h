// The kernel form: what a step is made of once fusion, index maps and buffers are decided. Backends print it (LLVM IR,
// CUDA C++); its text is also the key under which compiled kernels are cached. A kernel doesn't know which buffers it
// is launched on, so equal kernels of a step are compiled once.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "compiler/graph/types.h"
#include "compiler/loop/affine.h"
#include "compiler/support/source.h"

namespace nnlc::loop {

using graph::DType;

/// What an expression does. From `neg` on: the elementwise ops of the op table, with its meaning.
enum class Fn : uint8_t {
  constant,     ///< the value `f` (float types) or `i`
  load,         ///< args[buffer][offset]; with a guard: 0 where it is false, and nothing is read there
  index,        ///< the value of `offset`, i64
  inside,       ///< bool: every bound holds
  clamp,        ///< an i64 operand limited to [0, i - 1]: no index reads outside its axis
  random,       ///< element `offset` of a Philox stream `key`; operand: the step
  reduced,      ///< result of reduction `i`, per row
  accumulator,  ///< contraction kernels: the element just computed
  neg,
  abs,
  sign,
  exp,
  expm1,
  log,
  log1p,
  sqrt,
  rsqrt,
  sin,
  cos,
  tanh,
  erf,
  floor,
  ceil,
  round,
  not_,
  cast,
  add,
  sub,
  mul,
  div,
  pow,
  max,
  min,
  rem,
  eq,
  lt,
  le,
  and_,
  or_,
  select
};
std::string_view name(Fn f);
/// The elementwise function with this op's name; false if there is none.
bool fn_from_op(std::string_view op, Fn& out);

enum class RandomKind : uint8_t { uniform, normal, bits };

struct Bound {
  Affine value;
  int64_t low = 0, high = 0;
  friend bool operator==(const Bound&, const Bound&) = default;
};  ///< low <= value < high

/// One scalar value; operands are earlier in the list. Values of type f16 and bf16 are computed in f32 and rounded by
/// `cast` and by stores only.
struct Expr {
  Fn fn = Fn::constant;
  DType type = DType::f32;
  std::vector<int> args;
  double f = 0;
  int64_t i = 0;
  int buffer = -1;            ///< load
  int guard = -1;             ///< load: a bool expression
  Affine offset;              ///< load, index, random
  std::vector<Bound> bounds;  ///< inside
  RandomKind kind = RandomKind::uniform;
  uint64_t key = 0;
  friend bool operator==(const Expr&, const Expr&) = default;
};

/// An index value that offsets may use: expression `value`, in [0, size).
struct Dynamic {
  int value = -1;
  int64_t size = 0;
};

struct Axis {
  int64_t size = 1;
  bool outer = true;
};

enum class ReduceKind : uint8_t { sum, max, min, prod, argmax, argmin };
struct Reduction {
  ReduceKind kind = ReduceKind::sum;
  int value = -1;
  Affine position;
  DType type = DType::f32;
};
struct Store {
  int buffer = -1;
  Affine offset;
  int value = -1;
};

/// One pass over the inner axes. Reductions of a phase are visible in the later ones. Without `loops` the stores happen
/// once for each row.
struct Phase {
  bool loops = false;
  std::vector<int> reductions;
  std::vector<Store> stores;
};

/// C[b, m, n] = sum over k of A[b, m, k] * B[b, k, n], element strides per operand. Buffers: 0 = A, 1 = B, 2 = C. With
/// phases there is no C: the expressions and stores of the only phase are done for each finished element. Their last
/// axis is n, the others together count the rows (outer, batch, m).
struct Gemm {
  int64_t batch = 1, m = 1, n = 1, k = 1;
  int64_t a_batch = 0, a_m = 0, a_k = 0;
  int64_t b_batch = 0, b_k = 0, b_n = 0;
  int64_t c_batch = 0, c_m = 0, c_n = 0;
  /// Further batch dims, whose strides don't go together with `batch`.
  struct Outer {
    int64_t size = 1, a = 0, b = 0, c = 0;
  };
  std::vector<Outer> outer;
  int64_t a_offset = 0, b_offset = 0;
  /// Sides that are not walked evenly, as the windows of a convolution: an index is a number of several digits, slowest
  /// first, and each has its stride. Empty: evenly, by the stride above.
  struct Digit {
    int64_t size = 1, stride = 0;
  };
  std::vector<Digit> a_rows, a_sums, b_sums, b_cols;
};

/// Kernels with an algorithm of their own. Buffers in the order of the op's operands, then the result.
struct Library {
  std::string op;                       ///< scatter_add scatter_add_along sort argsort cumsum
  int64_t pre = 1, size = 1, post = 1;  ///< of the tensor around its axis
  int64_t count = 1;  ///< scatter_add: number of indices; scatter_add_along: size of the axis in `updates`
  bool descending = false;
  std::vector<int64_t> shape, index_shape;  ///< scatter_add_along
  int64_t axis = 0;
};

struct Arg {
  DType type = DType::f32;
  int64_t elements = 0;
  bool written = false;
};

struct Kernel {
  enum class Kind : uint8_t { nest, gemm, library } kind = Kind::nest;
  std::vector<Arg> args;
  std::vector<Axis> axes;  ///< outer ones first; each group from the slowest to the fastest
  std::vector<Expr> exprs;
  std::vector<Dynamic> dynamics;
  std::vector<Reduction> reductions;
  std::vector<Phase> phases;
  Gemm gemm;
  Library routine;
  int64_t work = 0;  ///< estimated scalar operations: small kernels run on one thread
};

struct Buffer {
  enum class Kind : uint8_t { input, output, temp, constant } kind = Kind::temp;
  int slot = 0;  ///< input, output: number of the caller's pointer. constant: number in Plan::constants. temp: offset
                 ///< in the arena
  DType type = DType::f32;
  std::vector<int64_t> shape;
  int64_t elements = 0;
  int64_t offset = 0;  ///< temp: bytes into the arena
  std::string note;    ///< what it holds, for readers
};

/// A node of the graph that a launch computes, for readers.
struct Part {
  std::string_view op;           ///< its name, of the op table
  std::string_view gradient_of;  ///< of the op whose gradient it belongs to; empty: forward, or an update
  Span span, site;               ///< as of the node
};

struct Launch {
  int kernel = 0;
  std::vector<int> buffers;  ///< one per Kernel::args
  std::vector<Part> parts;   ///< in the graph's order; empty: a copy that the plan needs
  bool barrier = false;      ///< all threads meet before it
  bool single = false;       ///< thread 0 runs it alone
};

/// A step: launches in order. Kernels are distinct.
struct Plan {
  std::string name;
  std::vector<Kernel> kernels;
  std::vector<Buffer> buffers;
  std::vector<Launch> launches;
  std::vector<std::vector<uint8_t>> constants;
  int64_t arena_bytes = 0;
};

/// The text of one kernel: everything its code depends on.
std::string print(const Kernel& k);
/// The text of a step: buffers, launches, kernels.
std::string print(const Plan& p);

}  // namespace nnlc::loop
