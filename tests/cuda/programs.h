// Whole programs on the simulator: compiled as `nnlc run` does, with a look at what happens after each batch.
#pragma once
#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "compiler/codegen/cuda/backend.h"
#include "compiler/exec/machine.h"
#include "compiler/sema/sema.h"
#include "tests/cuda/sim/simulator.h"

namespace nnlc::test {

class Run {
 public:
  std::function<void()> after_batch;
  exec::MachineOptions options;
  std::string printed;

  Run(const std::string& name, const std::string& text, std::map<std::string, std::string> configs = {});
  ~Run();
  /// Until the program's end or `stop`; false with a message in `wrong`.
  bool on(codegen::Backend& backend);
  /// Each `test` block; false with a message in `wrong`. The number of blocks is `tests`. `prepare` gets the plans of
  /// all their steps before the first runs.
  bool tests_on(codegen::Backend& backend, const std::function<void(const std::vector<loop::Plan>&)>& prepare);
  void stop() { cancel_ = true; }
  /// Of the last minimize that ran.
  double loss();
  std::string wrong;
  size_t tests = 0;

 private:
  bool compile(bool with_tests);
  std::string messages();

  SourceManager sources_;
  Diagnostics diags_;
  uint32_t file_;
  sema::CompileOptions compile_;
  std::unique_ptr<host::Program> program_;
  std::unique_ptr<exec::Machine> machine_;
  std::vector<host::Reg> losses_;
  std::atomic<bool> cancel_ = false;
};

/// Whether NNL_DATA holds this folder; says so where it doesn't.
bool has_data(const std::string& folder);
/// The text of a file of the repository.
std::string text_of(const std::string& path);

/// Runs each step on `tested`, and on `judge` from the same bits; remembers the largest difference of a result, as a
/// part of the largest element of its tensor.
class Comparing : public codegen::Backend {
 public:
  Comparing(codegen::Backend& tested, codegen::Backend& judge) : tested_(tested), judge_(judge) {}
  std::unique_ptr<codegen::CompiledStep> compile(graph::Graph graph) override;
  std::string describe() const override { return "two backends"; }

  double worst_f32 = 0, worst_f64 = 0;
  std::string different;  ///< ints or bools that differ, or what is finite only once: the first place
  int64_t compared = 0;   ///< elements

 private:
  codegen::Backend &tested_, &judge_;
};

}  // namespace nnlc::test
