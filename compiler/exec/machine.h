// Runs a host program: registers with tagged values, tensor steps compiled by a backend when they are first reached.
#pragma once
#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "compiler/codegen/backend.h"
#include "compiler/host/program.h"
#include "compiler/support/diagnostics.h"

namespace nnlc::exec {

struct Value;  // exec/value.h

struct MachineOptions {
  std::function<void(std::string_view)> out;  ///< text of `print`; not set: standard output
  std::function<void(std::string_view)>
      report;               ///< what isn't output of the program (load's report); not set: standard error
  bool progress = false;    ///< bars on the terminal
  std::string runs_dir;     ///< where `record` logs to; empty: nowhere
  std::string title;        ///< the program's name, for its folder in runs_dir
  std::string program_dir;  ///< where files are looked for besides the working directory
  std::function<void(graph::Graph&)> optimize;  ///< the graph passes of the driver; not set: none
  /// A loop over batches: its label, passes done, passes in all. Called at its start and after each pass.
  std::function<void(const std::string&, int64_t, int64_t)> on_progress;
  /// A call of `record`: how many there were before it, and its scalars.
  std::function<void(int64_t, const std::vector<std::pair<std::string, double>>&)> on_record;
  /// Set from another thread: the run ends before the next step or pass of a loop, with a diagnostic.
  const std::atomic<bool>* cancel = nullptr;
  /// Makes the backend of steps that read a mapped data set record by record, where the machine's is a device: it would
  /// be told of each. Not set: the machine's own.
  std::function<std::unique_ptr<codegen::Backend>()> record_backend;
  /// What ran is kept, so that a loss that isn't finite can be traced back to the op that made it so. Not where a step
  /// reads memory of others, which may be gone when it is asked for again: there `rewind` stands in.
  bool trace = true;
  /// Of the registers after a step that was run on its own (run_step), makes what they were before it, as nearly as it
  /// can; gives a remark on that, or nothing. The step is then run again from there.
  std::function<std::string(std::vector<Value>&)> rewind;
  /// What registers that are set from outside are called.
  std::vector<std::pair<host::Reg, std::string>> inputs;
};

class Machine {
 public:
  /// The program is run in place: its graphs are taken by the backend. Both must outlive the machine.
  Machine(host::Program& program, codegen::Backend& backend, MachineOptions options);
  ~Machine();
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  /// Runs the body to its end. 0, or 3 with a diagnostic: what fails while running has severity `data`.
  int run(Diagnostics& diags);
  /// The parts of a body that are run on their own (sema::DriverProgram): all but the instruction `left_out`, or what
  /// stands inside `scope`, as often as wanted.
  int run_setup(const host::Instr* left_out, Diagnostics& diags);
  int run_step(const host::Instr& scope, Diagnostics& diags);
  /// Whether a step's check may ask for `rewind`.
  bool rewinds() const;
  /// What a register holds now.
  Value& value(host::Reg reg);
  /// Also for runs that come; null: nobody can.
  void set_cancel(const std::atomic<bool>* cancel);

  struct Impl;

 private:
  int guarded(Diagnostics& diags, const std::function<void()>& body);
  std::unique_ptr<Impl> impl_;
};

}  // namespace nnlc::exec
