// The CUDA backend over any Device. What steps read and write stays on the device from one step to the next; what
// changes from step to step and is small (rates, counters) goes up together, into a block that each step has for it.
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
class Pool : public nnl::DeviceMemory {
 public:
  explicit Pool(std::shared_ptr<Device> device) : device_(std::move(device)) {}
  ~Pool() override;
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;
  Address take(int64_t bytes) override;
  void give(Address a, int64_t bytes) noexcept override;
  void upload(Address to, const void* from, int64_t bytes) override { device_->upload(to, from, bytes); }
  void download(void* to, Address from, int64_t bytes) override { device_->download(to, from, bytes); }
  void copy(Address to, Address from, int64_t bytes) override { device_->copy(to, from, bytes); }
  Device& device() { return *device_; }

 private:
  void release_all();
  std::shared_ptr<Device> device_;
  std::map<int64_t, std::vector<Address>> free_;
};

class CudaBackend : public Backend {
 public:
  /// run_passes: false where the caller has run the graph passes that it wants.
  explicit CudaBackend(std::shared_ptr<Device> device, bool run_passes = true);
  std::unique_ptr<CompiledStep> compile(graph::Graph graph) override;
  /// "loop", or "cuda": the source of all kernels of the step.
  std::string emit(graph::Graph graph, const std::string& stage) override;
  std::shared_ptr<loop::Plan> plan(graph::Graph graph) override;
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
  bool run_passes_;
  std::map<std::string, Compiled> known_;  ///< by the kernel's text
};

/// The source of all kernels of a step, for readers: needs no device.
std::string emit_source(graph::Graph graph);

/// The printed source of a plan's kernels, device.cuh before them.
std::string print_source(const std::vector<Printed>& kernels);
/// The name under which a kernel is printed: from its content.
std::string kernel_name(const std::string& text);

}  // namespace nnlc::codegen::cuda
