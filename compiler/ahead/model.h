// What `nnlc build` makes of a program: the functions of one layer with everything that their header says of them.
#pragma once
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "compiler/ahead/layout.h"
#include "compiler/codegen/cpu/ahead.h"
#include "compiler/sema/sema.h"

namespace nnlc::ahead {

struct Request {
  std::string layer;             ///< as asked for
  std::string prefix;            ///< of every name; empty: from the layer's
  std::vector<int64_t> batches;  ///< rows of the forward passes
  bool train = false;
  std::optional<uint32_t> line;  ///< of the `minimize`, where the program has several
  std::string weights;           ///< a safetensors file instead of the initial values; empty: those
  bool beside = false;           ///< weights in a file of their own
};

struct Argument {
  enum class Kind { input, number, output } kind = Kind::input;
  std::string name;
  graph::TensorType type;  ///< a number: rank 0, i64 or f64
  int64_t classes = 0;
  bool optional = false;
};

struct Function {
  std::string name;     ///< without the prefix: "train_64"
  std::string what;     ///< a sentence for the header
  bool writes = false;  ///< its parameters; else they are const
  bool trains = false;
  std::vector<Argument> arguments;
  std::string result;  ///< C type: "float", "void"
  int64_t workspace_bytes = 0;
};

struct Model {
  std::string prefix, class_name;
  Struct parameters, training;
  std::vector<bool> learned;  ///< per parameter
  std::vector<Function> functions;
  codegen::cpu::AheadModel code;  ///< `code.functions` go with `functions`
  std::string target;             ///< "avx512 (znver4)"
  std::string program;            ///< its file's name
  bool inside = true;             ///< has the weights
};

/// The program's graphs are taken. Null: reported. `optimize`: the graph passes of the driver.
std::optional<Model> make_model(host::Program& program, sema::LayerExport& layer, const Request& request,
                                const std::function<void(graph::Graph&)>& optimize, const SourceManager& sources,
                                Diagnostics& diags);

/// The C header.
std::string header_text(const Model& m);

}  // namespace nnlc::ahead
