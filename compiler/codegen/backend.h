// What a backend is to the executor: it turns a graph with constant shapes into something that runs.
#pragma once
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "compiler/graph/graph.h"
#include "runtime/buffer.h"

namespace nnlc::loop {
struct Plan;
}

namespace nnlc::codegen {

/// A compiled graph. run() may be called from one thread at a time (it uses the backend's own team of threads).
class CompiledStep {
 public:
  virtual ~CompiledStep() = default;
  /// buffers: graph.inputs in order, then graph.outputs in order, dense row-major, 64-byte aligned. For an output with
  /// `updates` the pointer equals that input's.
  virtual void run(void* const* buffers) = 0;
  /// The same on buffers that may be on a device: what a step on a device reads goes there if it isn't there yet, and
  /// what it writes stays there. An output with `updates` is that input's buffer. On the host unless overridden.
  virtual void run_on(std::span<nnl::Buffer* const> inputs, std::span<nnl::Buffer* const> outputs) {
    pointers_.clear();
    for (nnl::Buffer* b : inputs) pointers_.push_back(const_cast<uint8_t*>(b->read()));
    for (nnl::Buffer* b : outputs) pointers_.push_back(b->write());
    run(pointers_.data());
  }
  /// run(), one launch of the plan after another; the time of each is added to its element of `seconds`. False: this
  /// backend has no launches, and nothing was run.
  virtual bool run_timed(void* const* /*buffers*/, std::vector<double>& /*seconds*/) { return false; }

 private:
  std::vector<void*> pointers_;
};

class Backend {
 public:
  virtual ~Backend() = default;
  /// Takes the graph as sema made it (the backend runs the pass pipeline). Does not fail on a verified graph.
  virtual std::unique_ptr<CompiledStep> compile(graph::Graph graph) = 0;
  /// A stage of compiling `graph`, as text for `nnlc emit`: "loop", "llvm" or "asm". Empty: this backend has no such
  /// stage.
  virtual std::string emit(graph::Graph, const std::string& /*stage*/) { return {}; }
  /// What compile() would make of `graph`: kernels, launches, memory. Null: this backend has no such plan.
  virtual std::shared_ptr<loop::Plan> plan(graph::Graph) { return nullptr; }
  virtual std::string describe() const = 0;  ///< "LLVM 22.1.8, x86-64, avx512f avx512bw fma, 2 threads"
};

struct CpuOptions {
  int threads = 0;         ///< 0: as many as the process may use
  std::string features;    ///< "native", "avx512", "avx2", "generic"; empty: native, or NNLC_CPU
  bool run_passes = true;  ///< the graph passes; false where the caller has run those that it wants
  bool use_cache = true;   ///< the on-disk object cache, in $XDG_CACHE_HOME/nnlc
  std::string cache_dir;
  bool adapt_threads = true;  ///< a step that one thread runs faster is run by one: results are the same
};
std::unique_ptr<Backend> make_cpu_backend(const CpuOptions& options);

struct CudaOptions {
  int number = 0;          ///< of the GPU, as the driver counts
  bool run_passes = true;  ///< as in CpuOptions
  bool use_cache = true;   ///< of compiled kernels, in the same folder as the CPU's
  std::string cache_dir;
};
/// Throws nnl::DeviceError where a GPU can't be used. The first line of its text says what is missing; the lines after
/// it where that was looked for, and how to get it.
std::unique_ptr<Backend> make_cuda_backend(const CudaOptions& options);

/// Slow and exact: every op by its reference in double precision (f32 results are rounded when stored).
std::unique_ptr<Backend> make_reference_backend();

}  // namespace nnlc::codegen
