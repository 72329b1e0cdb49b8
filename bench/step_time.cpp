// Times the compiled steps of a program: bench_step_time PROGRAM.nnl [threads]. Prints, as one JSON line, the step that
// ran most often: its title, runs, the median and the fastest run in microseconds, and the median of the CPU time of
// the process. Measured around CompiledStep::run, so data loading and the host program are not in it; a peer is
// measured in the same way.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <iostream>
#include <sstream>

#include "compiler/codegen/backend.h"
#include "compiler/exec/machine.h"
#include "compiler/sema/sema.h"

namespace {

using Clock = std::chrono::steady_clock;

double cpu_us() {
  timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) * 1e6 + static_cast<double>(t.tv_nsec) * 1e-3;
}

struct Timing {
  std::string name;
  std::vector<double> microseconds, cpu;
};

/// The first fifth warms up; the rest is sorted.
void settle(std::vector<double>& runs) {
  runs.erase(runs.begin(), runs.begin() + static_cast<long>(runs.size() / 5));
  std::sort(runs.begin(), runs.end());
}

class TimedStep : public nnlc::codegen::CompiledStep {
 public:
  TimedStep(std::unique_ptr<nnlc::codegen::CompiledStep> inner, Timing& timing)
      : inner_(std::move(inner)), timing_(timing) {}
  void run(void* const* buffers) override {
    const double cpu = cpu_us();
    const auto begin = Clock::now();
    inner_->run(buffers);
    timing_.microseconds.push_back(std::chrono::duration<double, std::micro>(Clock::now() - begin).count());
    timing_.cpu.push_back(cpu_us() - cpu);
  }

 private:
  std::unique_ptr<nnlc::codegen::CompiledStep> inner_;
  Timing& timing_;
};

class TimedBackend : public nnlc::codegen::Backend {
 public:
  explicit TimedBackend(nnlc::codegen::Backend& inner) : inner_(inner) {}
  std::unique_ptr<nnlc::codegen::CompiledStep> compile(nnlc::graph::Graph graph) override {
    timings.push_back(std::make_unique<Timing>(Timing{graph.name, {}, {}}));
    return std::make_unique<TimedStep>(inner_.compile(std::move(graph)), *timings.back());
  }
  std::string describe() const override { return inner_.describe(); }

  std::vector<std::unique_ptr<Timing>> timings;

 private:
  nnlc::codegen::Backend& inner_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::cerr << "usage: bench_step_time PROGRAM.nnl [threads]\n";
    return 2;
  }
  std::ifstream in(argv[1]);
  std::stringstream text;
  text << in.rdbuf();
  nnlc::SourceManager sources;
  nnlc::Diagnostics diags;
  const uint32_t file = sources.add(argv[1], text.str());
  auto program = nnlc::sema::compile(sources, file, {}, diags);
  for (const auto& d : diags.all()) std::cerr << nnlc::render_text(d, sources, false);
  if (!program) return 1;
  nnlc::codegen::CpuOptions cpu_options;
  cpu_options.threads = argc > 2 ? std::atoi(argv[2]) : 1;
  auto cpu = nnlc::codegen::make_cpu_backend(cpu_options);
  TimedBackend backend(*cpu);
  nnlc::exec::MachineOptions options;
  options.out = [](std::string_view) {};
  nnlc::exec::Machine machine(*program, backend, options);
  if (const int status = machine.run(diags)) {
    for (const auto& d : diags.all()) std::cerr << nnlc::render_text(d, sources, false);
    return status;
  }
  Timing* most = nullptr;
  for (auto& t : backend.timings)
    if (!most || t->microseconds.size() > most->microseconds.size()) most = t.get();
  if (!most || most->microseconds.empty()) return 1;
  auto& runs = most->microseconds;
  settle(runs);
  settle(most->cpu);
  fmt::print("{{\"step\": \"{}\", \"runs\": {}, \"median_us\": {:.2f}, \"min_us\": {:.2f}, \"cpu_us\": {:.2f}}}\n",
             most->name, runs.size(), runs[runs.size() / 2], runs.front(), most->cpu[runs.size() / 2]);
  return 0;
}
