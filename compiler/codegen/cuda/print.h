// CUDA C++ of the kernel form.
//
// | kernel | printed as |
// |---|---|
// | nest without inner axes | a thread an element |
// | nest with inner axes | L threads a row, R rows a block, several blocks a row where rows are few and long; partial
// results meet by shuffles in a warp, then through shared memory, in
//   an order that depends on the sizes alone |
// | gemm | square tiles in shared memory, a small block of results a thread; the expressions of the store on each |
// | library | scatter by the first occurrence of each index, sort by counting, running sums a thread a line |
//
// No float is ever added atomically: the same bits on every run. Which text stands for which element of an expression
// is in the tables of expressions.cpp; the functions that it calls are in device.cuh.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "compiler/loop/kernel.h"

namespace nnlc::codegen::cuda {

/// One __global__ function and how it is launched. Its arguments are pointers, one for each of Kernel::args.
struct Entry {
  std::string name;
  int64_t blocks = 1;
  int threads = 1;
  int64_t shared_bytes = 0;  ///< dynamic shared memory
  bool workspace = false;    ///< one more argument: memory for partial results
};

struct Printed {
  std::string text;
  std::vector<Entry> entries;  ///< launched one after the other; none where there is nothing to do
  int64_t workspace_bytes = 0;
};
/// `name` begins the names of the entries.
Printed print_kernel(const loop::Kernel& k, const std::string& name);

/// device.cuh: goes before all printed kernels.
extern const std::string_view kDeviceSource;

}  // namespace nnlc::codegen::cuda
