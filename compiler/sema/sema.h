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
  std::optional<uint64_t> seed;                ///< instead of the program's own
};

/// Compiles file `file` of `sources` (imports are read and added). Null if there were errors.
std::unique_ptr<host::Program> compile(SourceManager& sources, uint32_t file, const CompileOptions& options,
                                       Diagnostics& diags);

/// A function or method that is built into the language, for `nnlc doc`.
struct BuiltinInfo {
  std::string_view name, signature, doc;
};
std::vector<BuiltinInfo> list_builtins();

/// Syntax, names and configs only: the program's statements aren't executed, nor is the data read that they name.
void check_declarations(SourceManager& sources, uint32_t file, const CompileOptions& options, Diagnostics& diags);

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

/// What somebody who embeds the compiler does with a program's declarations: makes a layer, calls it, trains it, on
/// tensors of his own. Each part is NNL text, evaluated like a test of the program: with its declarations, its seed and
/// those of its `let`s that the text needs, and none of its other statements.
struct Driver {
  struct Input {
    std::string name;  ///< in the step
    graph::TensorType type;
    /// An int tensor: where class(C) is wanted it is taken for one, and whoever runs the program checks its range.
    bool adapts = false;
    std::optional<int64_t> classes;  ///< it is a class(C) from the start
  };
  std::string layer;  ///< an expression that makes the layer; the other parts know it as `model`
  std::string setup;  ///< statements that run once, before the first step: `let opt = Adam(model)`
  std::string step;   ///< an expression, run as often as wanted; empty: there is none
  std::vector<Input> inputs;
};

/// The labels that an int input of a driver may hold, once it was taken for a class(C).
struct LabelRange {
  std::optional<int64_t> classes;  ///< the C; nullopt: it wasn't, any int will do
  std::optional<int64_t> ignored;  ///< a label outside that is admitted: the `ignore_index` of the losses that read it
  /// A further use of the same labels: what both admit.
  void narrow(int64_t to_classes, std::optional<int64_t> admitted);
};

/// A driver as a program whose body ends in one scope instruction, the step; what stands before it is the setup.
struct DriverProgram {
  struct Output {
    std::string name;  ///< the record's field, or the position; empty where the step gives one tensor
    host::Reg reg = host::kNoReg;
    graph::TensorType type;
    int64_t classes = 0;
  };
  /// What one step hands to the next besides the program's persistents: the optimizer's state, counters. Two drivers
  /// that differ in the types of their inputs only have the same names.
  struct State {
    std::string name;
    host::Reg reg = host::kNoReg;
  };
  std::unique_ptr<host::Program> program;
  std::string root;  ///< of the layer's persistents
  std::vector<host::Reg> inputs;
  std::vector<LabelRange> labels;  ///< per input
  std::vector<Output> outputs;
  std::vector<State> state;
  bool scheduled = false;  ///< the learning rate follows a schedule
  const host::Instr* step = nullptr;
};
/// Adds the driver's texts to `sources`. nullopt if there were errors.
std::optional<DriverProgram> compile_driver(SourceManager& sources, uint32_t file, const CompileOptions& options,
                                            const Driver& driver, Diagnostics& diags);

/// One layer to be built ahead of time.
struct LayerExport {
  std::string class_name;
  std::string root;  ///< of its persistents
  Span span;         ///< where it is made
  graph::Graph
      forward;       ///< in inference mode. The rows are the size `rows`; what else was open is as in the first call
  std::string rows;  ///< empty: the first argument has no axis that is open
  /// Per input of `forward`: the register of a persistent, or kNoReg and the argument's name.
  std::vector<std::pair<host::Reg, std::string>> inputs;
  std::vector<std::string> outputs;
};
/// Compiles a program together with the layer that `name` (a variable or a class) names in it. Null if there were
/// errors, an unknown or ambiguous name among them.
std::unique_ptr<host::Program> compile_layer(SourceManager& sources, uint32_t file, const CompileOptions& options,
                                             const std::string& name, LayerExport& out, Diagnostics& diags);

}  // namespace nnlc::sema
