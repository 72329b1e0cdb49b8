// What the CUDA backend needs of a GPU: memory, copies, compiled kernels, and sequences of launches that run again and
// again. The driver's API is one implementation; the tests have another, which runs the same source on the CPU.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "compiler/codegen/cuda/print.h"
#include "runtime/buffer.h"

namespace nnlc::codegen::cuda {

using nnl::DeviceError;
using Address = nnl::DeviceAddress;

/// Compiled kernels, alive as long as somebody may launch them.
class Module {
 public:
  virtual ~Module() = default;
  virtual void* function(const std::string& name) = 0;  ///< throws DeviceError
};

struct Call {
  void* function = nullptr;
  int64_t blocks = 1;
  int threads = 1;
  int64_t shared_bytes = 0;
  std::vector<Address> args;
};

/// Launches in order, recorded once.
class Sequence {
 public:
  virtual ~Sequence() = default;
  virtual void run() = 0;  ///< returns before the work is done; copies and other sequences come after it
};

class Device {
 public:
  virtual ~Device() = default;
  virtual std::string describe() const = 0;
  /// Aligned to 256 bytes. Throws DeviceError, with the bytes asked for and free, when there is no room.
  virtual Address allocate(int64_t bytes) = 0;
  virtual void release(Address a) = 0;
  virtual void upload(Address to, const void* from, int64_t bytes) = 0;
  virtual void download(void* to, Address from, int64_t bytes) = 0;  ///< waits for all that was launched before
  virtual void copy(Address to, Address from, int64_t bytes) = 0;
  /// Compiles a whole source, device.cuh included.
  virtual std::shared_ptr<Module> compile(const std::string& source, const std::vector<Entry>& entries) = 0;
  virtual std::unique_ptr<Sequence> record(std::vector<Call> calls) = 0;
};

}  // namespace nnlc::codegen::cuda
