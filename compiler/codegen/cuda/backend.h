// The CUDA backend over any Device.
#pragma once
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "compiler/codegen/backend.h"
#include "compiler/codegen/cuda/device.h"
#include "compiler/loop/kernel.h"

namespace nnlc::codegen::cuda {

/// Memory of a device, kept by size when it is given back: the steady state of a loop asks the device for nothing.
class Pool {
 public:
  explicit Pool(std::shared_ptr<Device> device) : device_(std::move(device)) {}
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;
  Address take(int64_t bytes);
  void give(Address a, int64_t bytes) { free_[bytes].push_back(a); }
  Device& device() { return *device_; }

 private:
  std::shared_ptr<Device> device_;
  std::map<int64_t, std::vector<Address>> free_;
};

class CudaBackend : public Backend {
 public:
  explicit CudaBackend(std::shared_ptr<Device> device);
  std::unique_ptr<CompiledStep> compile(graph::Graph graph) override;
  /// "loop", or "cuda": the source of all kernels of the step.
  std::string emit(graph::Graph graph, const std::string& stage) override;
  std::string describe() const override { return device_->describe(); }

  /// Compiles the kernels of several plans at once; steps made later find them.
  void prepare(const std::vector<const loop::Plan*>& plans);

 private:
  struct Compiled {
    std::shared_ptr<Module> module;
    std::vector<Entry> entries;
    std::vector<void*> functions;
    int64_t workspace_bytes = 0;
  };
  std::shared_ptr<Device> device_;
  std::shared_ptr<Pool> pool_;
  std::map<std::string, Compiled> known_;  ///< by the kernel's text
};

/// The source of all kernels of a step, for readers: needs no device.
std::string emit_source(graph::Graph graph);

/// The printed source of a plan's kernels, device.cuh before them.
std::string print_source(const std::vector<Printed>& kernels);
/// The name under which a kernel is printed: from its content.
std::string kernel_name(const std::string& text);

}  // namespace nnlc::codegen::cuda
