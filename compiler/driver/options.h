// What the command line asks for. Parsing is in options.cpp; each subcommand has a function in one of the
// commands_*.cpp files.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "compiler/codegen/backend.h"

namespace nnlc::driver {

struct Options {
  std::string command;
  std::vector<std::string> files;  ///< FILE…; for `explain` and `doc` the code or name
  /// `--CONFIG VALUE`, as given and in order; which configs there are is known only when the program has been read.
  std::vector<std::string> rest;

  bool help = false;            ///< `run FILE --help`: with the program's configs
  bool json = false;            ///< --message-format json
  bool check = false;           ///< fmt --check
  std::string color = "auto";   ///< auto, always, never
  std::string stage = "graph";  ///< emit
  std::string device = "cpu";   ///< cpu, cuda, auto
  std::string backend = "cpu";  ///< ref, cpu
  /// What stands for the GPU: the driver's, except in tests. Throws as codegen::make_cuda_backend does.
  std::function<std::unique_ptr<codegen::Backend>(const codegen::CudaOptions&)> open_gpu = codegen::make_cuda_backend;
  std::string precision;  ///< f32, bf16
  int threads = 0;        ///< 0: as many as the process may use
  bool progress = true;
  bool verify_each = false;  ///< the verifier after every pass
  bool time_passes = false;
  std::string print_ir_after;  ///< a pass' name or "all"
  std::vector<std::string> disabled_passes;
  std::vector<std::string> passes;  ///< opt
  std::string runs_dir = "runs";
  bool profile = false, all = false;  ///< explain
  std::string filter;                 ///< test: only titles that contain it

  struct Build {
    std::string layer;  ///< --export
    std::string out;    ///< -o
    std::string prefix, weights, cpu = "native";
    std::vector<int64_t> batches = {1};
    bool train = false, beside = false, force = false;
    uint32_t line = 0;  ///< --step; 0: not given
  } build;
};

/// The exit statuses of every command.
enum ExitStatus { kDone = 0, kWrongProgram = 1, kBadUsage = 2, kFailed = 3, kInternal = 4 };

/// Parses argv. If `exit_status` comes back >= 0, everything was said already (help, version, bad usage) and that is
/// the status.
Options parse_options(int argc, char** argv, int& exit_status);
/// The help text of `nnlc run`, for printing it together with a program's configs.
std::string run_help();

/// The options that nnlc has wherever a program's configs are options too, with `_` for `-`.
std::set<std::string> option_names();

/// Reads `--name value`, `--name=value` and, for bools, `--name` and `--no-name` against the configs of a program (with
/// both - and
/// _). configs: name -> type. Returns what is wrong, or an empty string.
std::string match_configs(const std::vector<std::string>& rest,
                          const std::vector<std::pair<std::string, std::string>>& configs,
                          std::map<std::string, std::string>& values);

}  // namespace nnlc::driver
