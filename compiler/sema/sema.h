// The door to sema: a parsed program becomes a host program with its tensor graphs, or diagnostics.
#pragma once
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "compiler/host/program.h"
#include "compiler/support/diagnostics.h"

namespace nnlc::sema {

struct CompileOptions {
  std::map<std::string, std::string> configs;  ///< overrides from the command line, by name, as text
  std::string program_dir;                     ///< where imports and data are looked for besides the working directory
  bool tests = false;                          ///< make Program::tests instead of the body (`nnlc test`)
};

/// Compiles file `file` of `sources` (imports are read and added). Null if there were errors.
std::unique_ptr<host::Program> compile(SourceManager& sources, uint32_t file, const CompileOptions& options,
                                       Diagnostics& diags);

/// What a program can be told from the command line.
struct ConfigInfo {
  std::string name, type, default_text, doc;
};
std::vector<ConfigInfo> list_configs(SourceManager& sources, uint32_t file, Diagnostics& diags);

/// One layer instance of a compiled program, for `nnlc summary` and `nnlc hash`: its forward as a graph of its own.
struct LayerInfo {
  std::string name;  ///< the variable or class
  std::string class_name;
  std::vector<std::pair<std::string, graph::TensorType>> params;
  graph::Graph forward;  ///< inputs: the arguments of forward, then the parameters
};
std::vector<LayerInfo> list_layers(SourceManager& sources, uint32_t file, const CompileOptions& options,
                                   Diagnostics& diags);

}  // namespace nnlc::sema
