// A CUDA device without a GPU: the printed source, unchanged, compiled by the host's compiler. Every thread of a block
// is a fiber; barriers and shuffles are real meetings. Blocks, warps and lanes run in order or shuffled by a seed.
// Memory is filled with NaN when it is allocated, shared memory for each block. The compiler reports every access (by
// the instrumentation of its thread sanitizer, whose functions are defined here): two threads that use a place, one of
// them writing, with no barrier between them, are a race; a place that is none of the kernel's buffers is an overrun. A
// barrier that not all threads reach is a deadlock.
//
// It doesn't see weak memory order, bank conflicts or speed.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "compiler/codegen/cuda/device.h"

namespace nnlc::sim {

struct Counts {
  int64_t uploads = 0, uploaded_bytes = 0, downloads = 0, downloaded_bytes = 0, launches = 0, allocations = 0,
          records = 0, runs = 0;
};

class Simulator : public codegen::cuda::Device {
 public:
  virtual void shuffle(uint64_t seed) = 0;  ///< 0: in order
  virtual const std::vector<std::string>& faults()
      const = 0;  ///< races, overruns, deadlocks: one line each, the first of each kind and kernel
  virtual void forget_faults() = 0;
  virtual Counts& counts() = 0;
};
std::shared_ptr<Simulator> make_simulator();

/// The two halves of compile(): a shared library made of printed source (throws DeviceError with the compiler's log),
/// and its kernels.
std::string compile_for_host(const std::string& source);
std::shared_ptr<codegen::cuda::Module> load_on_host(const std::string& library);
/// How many arguments a kernel takes.
int count_arguments(void* function);

}  // namespace nnlc::sim
