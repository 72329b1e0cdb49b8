// The CPU backend: graph passes, kernels, machine code, and a step that runs its launches on a team of threads.
#include "compiler/codegen/backend.h"

#include <fmt/format.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <map>

#include "compiler/codegen/cache/object_cache.h"
#include "compiler/codegen/cpu/kernels.h"
#include "compiler/loop/lower.h"
#include "compiler/passes/passes.h"
#include "runtime/team.h"
#include "runtime/thread_choice.h"

namespace nnlc::codegen {

namespace cpu {

namespace {

/// A step of less than this many scalar operations takes about as long as telling other threads of it.
constexpr int64_t kTooSmallToShare = 300000;

/// Nests are small: so many share a module.
constexpr int kNestsPerModule = 12;

struct FreeBytes {
  void operator()(uint8_t* p) const { std::free(p); }
};
using Bytes = std::unique_ptr<uint8_t, FreeBytes>;
Bytes allocate(int64_t n) { return Bytes(static_cast<uint8_t*>(std::aligned_alloc(64, size_t((n + 127) / 64 * 64)))); }

class CpuStep : public CompiledStep {
 public:
  CpuStep(std::shared_ptr<nnl::Team> team, std::shared_ptr<Jit> jit, loop::Plan plan, std::vector<KernelFn> kernels,
          int64_t scratch, bool adapt)
      : team_(std::move(team)),
        jit_(std::move(jit)),
        plan_(std::move(plan)),
        kernels_(std::move(kernels)),
        scratch_(allocate(scratch)),
        adapt_(adapt && team_->size() > 1) {
    arena_ = allocate(plan_.arena_bytes);
    for (auto& c : plan_.constants) {
      constants_.push_back(allocate(int64_t(c.size())));
      if (!c.empty()) std::memcpy(constants_.back().get(), c.data(), c.size());
    }
    pointers_.resize(plan_.buffers.size());
    for (size_t i = 0; i < plan_.buffers.size(); i++) {
      auto& b = plan_.buffers[i];
      if (b.kind == loop::Buffer::Kind::temp)
        pointers_[i] = arena_.get() + b.offset;
      else if (b.kind == loop::Buffer::Kind::constant)
        pointers_[i] = constants_[b.slot].get();
      else
        outside_.push_back({int(i), b.slot});
    }
    size_t n = 0;
    for (auto& l : plan_.launches) {
      first_.push_back(n);
      n += l.buffers.size();
    }
    args_.resize(n);
    int64_t work = 0;
    for (auto& l : plan_.launches) work += plan_.kernels[l.kernel].work;
    small_ = adapt_ && work < kTooSmallToShare;
  }

  void run(void* const* buffers) override {
    bind(buffers);
    if (small_) return share(0, 1);
    if (!adapt_) return together();
    const auto begin = std::chrono::steady_clock::now();
    if (choice_.alone())
      share(0, 1);
    else
      together();
    choice_.took(std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - begin).count());
  }

  bool run_timed(void* const* buffers, std::vector<double>& seconds) override {
    bind(buffers);
    seconds.resize(plan_.launches.size());
    auto timed = [&](int thread, int64_t threads) {
      nnl_team* team = team_->abi();
      auto begin = std::chrono::steady_clock::now();
      for (size_t i = 0; i < plan_.launches.size(); i++) {
        launch(i, thread, threads);
        if (threads > 1) team->barrier(team);
        const auto end = std::chrono::steady_clock::now();
        if (thread == 0) seconds[i] += std::chrono::duration<double>(end - begin).count();
        begin = end;
      }
    };
    if (small_)
      timed(0, 1);
    else
      team_->run([&](int thread) { timed(thread, team_->size()); });
    return true;
  }

 private:
  void bind(void* const* buffers) {
    for (auto [buffer, slot] : outside_) pointers_[buffer] = buffers[slot];
    size_t at = 0;
    for (auto& l : plan_.launches)
      for (int b : l.buffers) args_[at++] = pointers_[b];
  }

  void together() {
    team_->run([&](int thread) { share(thread, team_->size()); });
  }

  void share(int thread, int64_t threads) {
    nnl_team* team = team_->abi();
    for (size_t i = 0; i < plan_.launches.size(); i++) {
      if (plan_.launches[i].barrier && threads > 1) team->barrier(team);
      launch(i, thread, threads);
    }
  }

  /// One thread's share of launch i.
  void launch(size_t i, int thread, int64_t threads) {
    auto& l = plan_.launches[i];
    if (l.single && thread != 0) return;
    int64_t count = l.single ? 1 : threads;
    void* const* args = args_.data() + first_[i];
    kernels_[l.kernel](args, scratch_.get(), thread, count);
  }

  std::shared_ptr<nnl::Team> team_;
  std::shared_ptr<Jit> jit_;
  loop::Plan plan_;
  std::vector<KernelFn> kernels_;
  Bytes arena_, scratch_;
  std::vector<Bytes> constants_;
  std::vector<void*> pointers_, args_;
  std::vector<std::pair<int, int>> outside_;
  std::vector<size_t> first_;
  bool adapt_, small_ = false;
  nnl::ThreadChoice choice_;
};

class CpuBackend : public Backend {
 public:
  explicit CpuBackend(const CpuOptions& options)
      : team_(std::make_shared<nnl::Team>(nnl::TeamOptions{options.threads, false, -1})),
        adapt_(options.adapt_threads),
        run_passes_(options.run_passes),
        jit_(std::make_shared<Jit>(with_threads(options))) {}

  std::unique_ptr<CompiledStep> compile(graph::Graph g) override {
    loop::Plan plan = plan_of(g);
    std::vector<KernelFn> kernels(plan.kernels.size());
    std::vector<std::string> texts, names;
    std::vector<int> missing;
    int64_t scratch = 0;
    for (size_t i = 0; i < plan.kernels.size(); i++) {
      auto& k = plan.kernels[i];
      texts.push_back(loop::print(k));
      names.push_back("nnl_" + content_hash(texts.back()));
      scratch = std::max(scratch, scratch_bytes(k, jit_->target(), threads()));
      if (auto it = known_.find(texts.back()); it != known_.end())
        kernels[i] = it->second;
      else
        missing.push_back(int(i));
    }
    if (!missing.empty()) {
      std::vector<std::string> symbols;
      for (int i : missing) symbols.push_back(names[i]);
      auto found = jit_->compile(modules(plan, missing, names), symbols);
      for (size_t j = 0; j < missing.size(); j++)
        known_[texts[missing[j]]] = kernels[missing[j]] = reinterpret_cast<KernelFn>(found[j]);
    }
    return std::make_unique<CpuStep>(team_, jit_, std::move(plan), std::move(kernels), scratch, adapt_);
  }

  std::string emit(graph::Graph g, const std::string& stage) override {
    loop::Plan plan = plan_of(g);
    if (stage == "loop") return loop::print(plan);
    if (stage != "llvm" && stage != "asm") return {};
    std::vector<int> all;
    std::vector<std::string> names;
    for (size_t i = 0; i < plan.kernels.size(); i++) {
      names.push_back(fmt::format("k{}", i));
      all.push_back(int(i));
    }
    std::string out;
    for (auto& m : modules(plan, all, names))
      out += stage == "llvm" ? jit_->optimized_text(std::move(m)) : jit_->assembly(std::move(m));
    return out;
  }

  std::shared_ptr<loop::Plan> plan(graph::Graph g) override { return std::make_shared<loop::Plan>(plan_of(g)); }

  std::string describe() const override {
    return fmt::format("{}, {} thread{}", jit_->describe(), threads(), threads() == 1 ? "" : "s");
  }

 private:
  static CpuOptions with_threads(CpuOptions o) {
    if (o.threads <= 0) o.threads = nnl::usable_cpus();
    return o;
  }
  int threads() const { return team_->size(); }

  loop::Plan plan_of(graph::Graph& g) const {
    if (run_passes_) passes::settle(g);
    return loop::lower(g);
  }

  std::vector<IrModule> modules(const loop::Plan& plan, const std::vector<int>& wanted,
                                const std::vector<std::string>& names) {
    std::vector<IrModule> out;
    int in_nest_module = kNestsPerModule;
    size_t nest_module = 0;
    for (int i : wanted) {
      auto& k = plan.kernels[i];
      size_t at;
      if (k.kind == loop::Kernel::Kind::gemm) {
        at = out.size();
        out.push_back(jit_->new_module(names[i]));
      } else {
        if (in_nest_module == kNestsPerModule) {
          nest_module = out.size();
          out.push_back(jit_->new_module(names[i]));
          in_nest_module = 0;
        }
        in_nest_module++;
        at = nest_module;
      }
      Builder b(*out[at].module, jit_->target());
      emit_kernel(b, k, names[i], threads());
    }
    return out;
  }

  std::shared_ptr<nnl::Team> team_;
  bool adapt_, run_passes_;
  std::shared_ptr<Jit> jit_;
  std::map<std::string, KernelFn> known_;
};

}  // namespace

}  // namespace cpu

std::unique_ptr<Backend> make_cpu_backend(const CpuOptions& options) {
  return std::make_unique<cpu::CpuBackend>(options);
}

}  // namespace nnlc::codegen
