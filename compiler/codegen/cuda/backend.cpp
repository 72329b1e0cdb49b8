#include "compiler/codegen/cuda/backend.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "compiler/codegen/cache/object_cache.h"
#include "compiler/codegen/cuda/driver_device.h"
#include "compiler/loop/lower.h"
#include "compiler/passes/passes.h"

namespace nnlc::codegen::cuda {

namespace {

constexpr size_t kMostSequences = 8;  ///< recordings of one step with different buffers
constexpr int64_t kSmall = 16;        ///< bytes of an input that goes up in the block of small ones

loop::Plan plan_of(graph::Graph& g, bool run_passes) {
  if (run_passes) passes::settle(g);
  return loop::lower(g);
}

class CudaStep : public CompiledStep {
 public:
  struct Ready {
    std::vector<Entry> entries;
    std::vector<void*> functions;
    int64_t workspace_bytes = 0;
  };
  CudaStep(std::shared_ptr<Pool> pool, loop::Plan plan, std::vector<Ready> kernels,
           std::vector<std::shared_ptr<Module>> modules, size_t inputs, std::vector<int> updates)
      : pool_(std::move(pool)),
        memory_(pool_),
        plan_(std::move(plan)),
        kernels_(std::move(kernels)),
        modules_(std::move(modules)),
        inputs_(inputs),
        updates_(std::move(updates)) {
    arena_ = take(plan_.arena_bytes);
    int64_t workspace = 0;
    for (auto& k : kernels_) workspace = std::max(workspace, k.workspace_bytes);
    if (workspace) workspace_ = take(workspace);
    for (auto& c : plan_.constants) {
      constants_.push_back(take(static_cast<int64_t>(c.size())));
      pool_->device().upload(constants_.back(), c.data(), static_cast<int64_t>(c.size()));
    }
    sizes_.resize(inputs_ + updates_.size());
    for (auto& b : plan_.buffers)
      if (b.kind == loop::Buffer::Kind::input || b.kind == loop::Buffer::Kind::output)
        sizes_[static_cast<size_t>(b.slot)] = b.elements * static_cast<int64_t>(graph::size_bytes(b.type));
    for (size_t o = 0; o < updates_.size(); ++o)
      if (updates_[o] >= 0) sizes_[inputs_ + o] = sizes_[static_cast<size_t>(updates_[o])];
    // An input that the step writes over has to have a place of its own.
    small_at_.assign(inputs_, -1);
    for (size_t i = 0; i < inputs_; ++i) {
      if (sizes_[i] > kSmall || std::find(updates_.begin(), updates_.end(), static_cast<int>(i)) != updates_.end())
        continue;
      small_at_[i] = static_cast<int64_t>(small_.size());
      small_.resize(small_.size() + kSmall);
    }
    if (!small_.empty()) small_block_ = take(static_cast<int64_t>(small_.size()));
    slots_.resize(sizes_.size());
  }
  ~CudaStep() override {
    sequences_.clear();
    for (auto& [a, bytes] : taken_) pool_->give(a, bytes);
  }

  /// Copies all inputs up and all outputs down.
  void run(void* const* buffers) override {
    if (own_.empty()) make_own();
    for (size_t i = 0; i < inputs_; ++i) own_[i]->point_to(buffers[i]);
    for (size_t o = 0; o < updates_.size(); ++o)
      if (updates_[o] < 0) own_[inputs_ + o]->point_to(buffers[inputs_ + o]);
    const std::span<nnl::Buffer* const> all(own_pointers_);
    run_on(all.first(inputs_), all.subspan(inputs_));
    for (size_t o = 0; o < updates_.size(); ++o) own_pointers_[inputs_ + o]->read();
  }

  void run_on(std::span<nnl::Buffer* const> inputs, std::span<nnl::Buffer* const> outputs) override {
    bool small_changed = false;
    for (size_t i = 0; i < inputs.size(); ++i) {
      nnl::Buffer& b = *inputs[i];
      if (small_at_[i] < 0 || b.is_on(memory_)) {
        slots_[i] = b.read_on(memory_);
        continue;
      }
      uint8_t* place = small_.data() + small_at_[i];
      const size_t bytes = static_cast<size_t>(sizes_[i]);
      small_changed |= std::memcmp(place, b.read(), bytes) != 0;
      std::memcpy(place, b.read(), bytes);
      slots_[i] = small_block_ + static_cast<Address>(small_at_[i]);
    }
    if (small_changed || !small_is_up_) {
      pool_->upload(small_block_, small_.data(), static_cast<int64_t>(small_.size()));
      small_is_up_ = true;
    }
    for (size_t o = 0; o < outputs.size(); ++o) slots_[inputs_ + o] = outputs[o]->write_on(memory_);
    launch(slots_);
  }

 private:
  /// slots: addresses of the inputs, then of the outputs.
  void launch(const std::vector<Address>& slots) {
    for (auto& [known, sequence] : sequences_)
      if (known == slots) return sequence->run();
    if (sequences_.size() == kMostSequences) sequences_.erase(sequences_.begin());
    std::vector<Address> pointers(plan_.buffers.size());
    for (size_t i = 0; i < plan_.buffers.size(); ++i) {
      auto& b = plan_.buffers[i];
      using Kind = loop::Buffer::Kind;
      pointers[i] = b.kind == Kind::temp       ? arena_ + static_cast<Address>(b.offset)
                    : b.kind == Kind::constant ? constants_[static_cast<size_t>(b.slot)]
                                               : slots[static_cast<size_t>(b.slot)];
    }
    std::vector<Call> calls;
    for (auto& l : plan_.launches) {
      const Ready& k = kernels_[static_cast<size_t>(l.kernel)];
      for (size_t e = 0; e < k.entries.size(); ++e) {
        Call c{k.functions[e], k.entries[e].blocks, k.entries[e].threads, k.entries[e].shared_bytes, {}};
        for (int b : l.buffers) c.args.push_back(pointers[static_cast<size_t>(b)]);
        if (k.entries[e].workspace) c.args.push_back(workspace_);
        calls.push_back(std::move(c));
      }
    }
    sequences_.emplace_back(slots, pool_->device().record(std::move(calls)));
    sequences_.back().second->run();
  }

  Address take(int64_t bytes) {
    const Address a = pool_->take(bytes);
    taken_.emplace_back(a, bytes);
    return a;
  }
  /// Buffers over the host's memory, for run().
  void make_own() {
    for (size_t i = 0; i < sizes_.size(); ++i) {
      const int updates = i < inputs_ ? -1 : updates_[i - inputs_];
      own_.push_back(updates < 0 ? std::make_unique<nnl::Buffer>(sizes_[i], nullptr, nullptr) : nullptr);
      own_pointers_.push_back(updates < 0 ? own_.back().get() : own_pointers_[static_cast<size_t>(updates)]);
    }
  }

  std::shared_ptr<Pool> pool_;
  nnl::DeviceMemoryPtr memory_;  ///< the pool, as buffers know it
  loop::Plan plan_;
  std::vector<Ready> kernels_;
  std::vector<std::shared_ptr<Module>> modules_;
  size_t inputs_;
  std::vector<int> updates_;           ///< per output: the input that it is written over, or -1
  Address arena_ = 0, workspace_ = 0;  ///< kernels run one after the other: they share the workspace
  std::vector<Address> constants_;
  std::vector<std::pair<Address, int64_t>> taken_;
  std::vector<int64_t> sizes_;     ///< bytes of the inputs, then of the outputs
  std::vector<int64_t> small_at_;  ///< per input: its place in the block of small ones, or -1
  std::vector<uint8_t> small_;     ///< the block as it is on the device
  bool small_is_up_ = false;
  Address small_block_ = 0;
  std::vector<Address> slots_;
  std::vector<std::unique_ptr<nnl::Buffer>> own_;
  std::vector<nnl::Buffer*> own_pointers_;
  std::vector<std::pair<std::vector<Address>, std::unique_ptr<Sequence>>> sequences_;
};

}  // namespace

Pool::~Pool() { release_all(); }

void Pool::release_all() {
  for (auto& [bytes, list] : free_)
    for (Address a : list) device_->release(a);
  free_.clear();
}

Address Pool::take(int64_t bytes) {
  if (auto it = free_.find(bytes); it != free_.end() && !it->second.empty()) {
    const Address a = it->second.back();
    it->second.pop_back();
    return a;
  }
  try {
    return device_->allocate(bytes);
  } catch (const DeviceError&) {
    // What is kept for sizes that aren't wanted now may make room.
    release_all();
    return device_->allocate(bytes);
  }
}

void Pool::give(Address a, int64_t bytes) noexcept { free_[bytes].push_back(a); }

std::string print_source(const std::vector<Printed>& kernels) {
  std::string s(kDeviceSource);
  for (auto& k : kernels) s += "\n" + k.text;
  return s;
}

std::string kernel_name(const std::string& text) { return "nnl_" + content_hash(text).substr(0, 16); }

CudaBackend::CudaBackend(std::shared_ptr<Device> device, bool run_passes)
    : device_(std::move(device)), pool_(std::make_shared<Pool>(device_)), run_passes_(run_passes) {}

void CudaBackend::prepare(const std::vector<const loop::Plan*>& plans) {
  std::vector<std::string> texts;
  std::vector<Printed> printed;
  std::vector<Entry> entries;
  for (auto* plan : plans)
    for (auto& k : plan->kernels) {
      std::string text = loop::print(k);
      if (known_.count(text) || std::find(texts.begin(), texts.end(), text) != texts.end()) continue;
      printed.push_back(print_kernel(k, kernel_name(text)));
      for (auto& e : printed.back().entries) entries.push_back(e);
      texts.push_back(std::move(text));
    }
  if (texts.empty()) return;
  std::shared_ptr<Module> module;
  if (!entries.empty()) module = device_->compile(print_source(printed), entries);
  for (size_t i = 0; i < texts.size(); ++i) {
    Compiled c{module, printed[i].entries, {}, printed[i].workspace_bytes};
    for (auto& e : c.entries) c.functions.push_back(module->function(e.name));
    known_.emplace(texts[i], std::move(c));
  }
}

std::unique_ptr<CompiledStep> CudaBackend::compile(graph::Graph g) {
  const size_t inputs = g.inputs.size();
  std::vector<int> updates;
  for (auto& o : g.outputs) {
    updates.push_back(-1);
    for (size_t i = 0; o.updates && i < inputs; ++i)
      if (g.inputs[i] == o.updates) updates.back() = static_cast<int>(i);
  }
  loop::Plan plan = plan_of(g, run_passes_);
  prepare({&plan});
  std::vector<CudaStep::Ready> kernels;
  std::vector<std::shared_ptr<Module>> modules;
  for (auto& k : plan.kernels) {
    const Compiled& c = known_.at(loop::print(k));
    kernels.push_back({c.entries, c.functions, c.workspace_bytes});
    modules.push_back(c.module);
  }
  return std::make_unique<CudaStep>(pool_, std::move(plan), std::move(kernels), std::move(modules), inputs,
                                    std::move(updates));
}

std::string emit_source(graph::Graph g) {
  const loop::Plan plan = plan_of(g, true);
  std::vector<Printed> printed;
  for (auto& k : plan.kernels) printed.push_back(print_kernel(k, kernel_name(loop::print(k))));
  return print_source(printed);
}

std::string CudaBackend::emit(graph::Graph g, const std::string& stage) {
  if (stage == "cuda") return emit_source(std::move(g));
  return stage == "loop" ? loop::print(plan_of(g, run_passes_)) : std::string();
}

std::shared_ptr<loop::Plan> CudaBackend::plan(graph::Graph g) {
  return std::make_shared<loop::Plan>(plan_of(g, run_passes_));
}

}  // namespace nnlc::codegen::cuda

namespace nnlc::codegen {

std::unique_ptr<Backend> make_cuda_backend(const CudaOptions& options) {
  auto device = cuda::open_driver_device(options.number, options.use_cache ? options.cache_dir : cuda::kNoCache);
  return std::make_unique<cuda::CudaBackend>(std::move(device), options.run_passes);
}

}  // namespace nnlc::codegen
