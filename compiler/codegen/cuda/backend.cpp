#include "compiler/codegen/cuda/backend.h"

#include <fmt/format.h>

#include <algorithm>

#include "compiler/codegen/cache/object_cache.h"
#include "compiler/loop/lower.h"
#include "compiler/passes/passes.h"

namespace nnlc::codegen::cuda {

namespace {

constexpr size_t kMostSequences = 8;  ///< recordings of one step with different buffers

loop::Plan plan_of(graph::Graph& g) {
  passes::settle(g);
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
  }
  ~CudaStep() override {
    sequences_.clear();
    for (auto& [a, bytes] : taken_) pool_->give(a, bytes);
  }

  /// Copies all inputs up and all outputs down.
  void run(void* const* buffers) override {
    if (slots_.empty()) make_slots();
    for (size_t i = 0; i < inputs_; ++i) pool_->device().upload(slots_[i].first, buffers[i], slots_[i].second);
    std::vector<Address> addresses;
    for (auto& s : slots_) addresses.push_back(s.first);
    run_on_device(addresses);
    for (size_t i = inputs_; i < slots_.size(); ++i)
      pool_->device().download(buffers[i], slots_[i].first, slots_[i].second);
  }

  /// slots: addresses of the inputs, then of the outputs.
  void run_on_device(const std::vector<Address>& slots) {
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

 private:
  Address take(int64_t bytes) {
    const Address a = pool_->take(bytes);
    taken_.emplace_back(a, bytes);
    return a;
  }
  void make_slots() {
    slots_.resize(inputs_ + updates_.size());
    for (auto& b : plan_.buffers)
      if (b.kind == loop::Buffer::Kind::input || b.kind == loop::Buffer::Kind::output)
        slots_[static_cast<size_t>(b.slot)].second = b.elements * static_cast<int64_t>(graph::size_bytes(b.type));
    for (size_t o = 0; o < updates_.size(); ++o)
      if (updates_[o] >= 0) slots_[inputs_ + o].second = slots_[static_cast<size_t>(updates_[o])].second;
    for (size_t i = 0; i < slots_.size(); ++i)
      if (i < inputs_ || updates_[i - inputs_] < 0) slots_[i].first = take(slots_[i].second);
    for (size_t o = 0; o < updates_.size(); ++o)
      if (updates_[o] >= 0) slots_[inputs_ + o].first = slots_[static_cast<size_t>(updates_[o])].first;
  }

  std::shared_ptr<Pool> pool_;
  loop::Plan plan_;
  std::vector<Ready> kernels_;
  std::vector<std::shared_ptr<Module>> modules_;
  size_t inputs_;
  std::vector<int> updates_;           ///< per output: the input that it is written over, or -1
  Address arena_ = 0, workspace_ = 0;  ///< kernels run one after the other: they share the workspace
  std::vector<Address> constants_;
  std::vector<std::pair<Address, int64_t>> taken_, slots_;
  std::vector<std::pair<std::vector<Address>, std::unique_ptr<Sequence>>> sequences_;
};

}  // namespace

Pool::~Pool() {
  for (auto& [bytes, list] : free_)
    for (Address a : list) device_->release(a);
}

Address Pool::take(int64_t bytes) {
  auto& list = free_[bytes];
  if (list.empty()) return device_->allocate(bytes);
  const Address a = list.back();
  list.pop_back();
  return a;
}

std::string print_source(const std::vector<Printed>& kernels) {
  std::string s(kDeviceSource);
  for (auto& k : kernels) s += "\n" + k.text;
  return s;
}

std::string kernel_name(const std::string& text) { return "nnl_" + content_hash(text).substr(0, 16); }

CudaBackend::CudaBackend(std::shared_ptr<Device> device)
    : device_(std::move(device)), pool_(std::make_shared<Pool>(device_)) {}

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
  loop::Plan plan = plan_of(g);
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
  const loop::Plan plan = plan_of(g);
  std::vector<Printed> printed;
  for (auto& k : plan.kernels) printed.push_back(print_kernel(k, kernel_name(loop::print(k))));
  return print_source(printed);
}

std::string CudaBackend::emit(graph::Graph g, const std::string& stage) {
  if (stage == "cuda") return emit_source(std::move(g));
  return stage == "loop" ? loop::print(plan_of(g)) : std::string();
}

}  // namespace nnlc::codegen::cuda
