// The door to sema: a parsed program becomes a host program with its tensor graphs, or diagnostics.
#pragma once
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
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

/// A function or method that is built into the language, for `nnlc doc`.
struct BuiltinInfo {
  std::string_view name, signature, doc;
};
std::vector<BuiltinInfo> list_builtins();

/// What a program can be told from the command line.
struct ConfigInfo {
  std::string name, type, default_text, doc;
};
std::vector<ConfigInfo> list_configs(SourceManager& sources, uint32_t file, Diagnostics& diags);

/// One layer of the tree below an instance, for `nnlc summary`.
struct LayerRow {
  int depth = 0;
  std::string name;        ///< within its parent: "output", "blocks.0"; of the root as LayerInfo::name
  std::string class_name;  ///< with the hyper-parameters that were given: "Linear(784, 392)"
  std::string output;      ///< of its first call: "[N, 392]"; empty: forward doesn't call it
  graph::Dim flops;        ///< of all its calls
  int64_t trained = 0, frozen = 0, state = 0;  ///< elements of its own, not of the layers in it
};

/// One layer instance of a compiled program, for `nnlc summary` and `nnlc hash`: its forward as a graph of its own.
struct LayerInfo {
  std::string name;  ///< the variable or class
  std::string class_name;
  struct Param {
    std::string path;
    graph::TensorType type;
    bool learned = true, frozen = false;
  };
  std::vector<Param> params;
  std::vector<LayerRow> rows;           ///< the tree, a parent before what it holds
  std::optional<graph::Graph> forward;  ///< inputs: the arguments of forward, then the parameters; none: the program
                                        ///< neither calls the layer nor says what it takes
};
std::vector<LayerInfo> list_layers(SourceManager& sources, uint32_t file, const CompileOptions& options,
                                   Diagnostics& diags);

}  // namespace nnlc::sema
