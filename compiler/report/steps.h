// The compilations of a program: one for each statement of tensor code and each set of sizes that it meets.
#pragma once
#include <string>
#include <vector>

#include "compiler/host/program.h"
#include "compiler/loop/kernel.h"

namespace nnlc::report {

struct StepInfo {
  int step = -1;  ///< in Program::steps
  enum class Kind { initial, training, other } kind = Kind::other;
  std::string title;  ///< "training step at mnist.nnl:22:5"
  std::string when;   ///< "batches of 64 rows, 937 in each pass over mnist/train"; empty: it has one set of sizes
  int64_t rows = 0;   ///< of those batches
  std::vector<std::string> inputs;              ///< "image f32[64, 1, 28, 28]"
  int64_t parameters = 0, parameter_bytes = 0;  ///< elements of what it reads of layers
  int64_t trained_bytes = 0;                    ///< of those that it updates: as much as their gradients
  int64_t state_bytes = 0;                      ///< what it keeps for the next run besides: the optimizer's state
  graph::Dim flops;
};
/// In the program's order; before the passes have run, since they may take the graphs apart.
std::vector<StepInfo> list_steps(const host::Program& program, const SourceManager& sources);

/// The plan's temporaries that are alive at each launch, in bytes; the highest is the step's peak.
std::vector<int64_t> live_bytes(const loop::Plan& plan);

/// Kernels of a step in words of the source: one text a launch, its lines ended by newlines.
std::vector<std::string> describe_launches(const loop::Plan& plan, const SourceManager& sources);
/// Kernels that only copy, and why; a line each.
std::vector<std::string> describe_copies(const loop::Plan& plan, const SourceManager& sources);
/// The arena: what stands where, from which kernel to which.
std::string describe_memory(const loop::Plan& plan);

}  // namespace nnlc::report
