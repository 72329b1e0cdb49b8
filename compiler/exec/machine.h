// Runs a host program: registers with tagged values, tensor steps compiled by a backend when they are first reached.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "compiler/codegen/backend.h"
#include "compiler/host/program.h"
#include "compiler/support/diagnostics.h"

namespace nnlc::exec {

struct MachineOptions {
  std::function<void(std::string_view)> out;  ///< text of `print`; not set: standard output
  std::function<void(std::string_view)>
      report;               ///< what isn't output of the program (load's report); not set: standard error
  bool progress = false;    ///< bars on the terminal
  std::string runs_dir;     ///< where `record` logs to; empty: nowhere
  std::string title;        ///< the program's name, for its folder in runs_dir
  std::string program_dir;  ///< where files are looked for besides the working directory
  std::function<void(graph::Graph&)> optimize;  ///< the graph passes of the driver; not set: none
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

  struct Impl;

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace nnlc::exec
