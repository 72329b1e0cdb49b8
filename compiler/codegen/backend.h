// What a backend is to the executor: it turns a graph with constant shapes into something that runs.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "compiler/graph/graph.h"

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
  /// run(), one launch of the plan after another; the time of each is added to its element of `seconds`. False: this
  /// backend has no launches, and nothing was run.
  virtual bool run_timed(void* const* /*buffers*/, std::vector<double>& /*seconds*/) { return false; }
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
/// Slow and exact: every op by its reference in double precision (f32 results are rounded when stored).
std::unique_ptr<Backend> make_reference_backend();

}  // namespace nnlc::codegen
