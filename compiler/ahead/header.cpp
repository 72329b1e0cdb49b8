// The header of a model built ahead of time. It documents every size, so it is all that a caller reads.
#include <fmt/format.h>

#include <algorithm>

#include "compiler/ahead/model.h"

namespace nnlc::ahead {

namespace {

std::string dims(const graph::TensorType& t) {
  std::string out;
  for (int64_t d : graph::sizes(t.shape)) out += fmt::format("[{}]", std::max<int64_t>(d, 1));
  return out;
}
int64_t elements(const graph::TensorType& t) {
  int64_t n = 1;
  for (int64_t d : graph::sizes(t.shape)) n *= d;
  return n;
}
/// "f32[64, 1, 28, 28], row-major".
std::string shape_note(const Argument& a) {
  std::string out = a.type.str();
  if (a.classes > 0) out += fmt::format(", each 0 to {}", a.classes - 1);
  if (a.type.dtype == graph::DType::f16 || a.type.dtype == graph::DType::bf16)
    out += fmt::format(", the bits of {}", graph::name(a.type.dtype));
  return out;
}

class Writer {
 public:
  explicit Writer(const Model& m) : m_(m), upper_(upper(m.prefix)) {}

  std::string run() {
    top();
    structs();
    for (const Function& f : m_.functions) function(f);
    others();
    out_ += "\n#ifdef __cplusplus\n}\n#endif\n#endif\n";
    return out_;
  }

 private:
  bool has_parameters() const { return !m_.parameters.fields.empty(); }
  bool trains() const { return m_.code.training; }

  void top() {
    out_ += fmt::format(
        "/* {0}.h: the layer {1} of {2} as C functions. Made by nnlc build: changes are lost.\n"
        "\n"
        "   Link with lib{0}.a or lib{0}.so and -lm; nothing else is needed. Code for {3}.\n"
        "\n"
        "   All tensors are dense and row-major, in the caller's memory; no address needs more than the alignment of "
        "its\n"
        "   type. No function allocates, keeps state, or starts a thread: any may run in several threads at once, "
        "each\n"
        "   with a workspace (and what it writes) of its own. The results are the bits that `nnlc run` gives on this\n"
        "   kind of CPU, whatever its number of threads. */\n",
        m_.prefix, m_.class_name, m_.program, m_.target);
    out_ += fmt::format("#ifndef {0}_H\n#define {0}_H\n#include <stddef.h>\n#include <stdint.h>\n", upper_);
    out_ += fmt::format(
        "#ifdef __cplusplus\n"
        "extern \"C\" {{\n"
        "#define {0}_SIZE(n)\n"
        "#else\n"
        "#define {0}_SIZE(n) static n /* the compiler warns of an array with fewer elements */\n"
        "#endif\n",
        upper_);
  }

  void fields(const Struct& s) {
    for (const Field& f : s.fields) {
      std::string line = fmt::format("  {} {}{};", c_type(f.type.dtype), f.name, dims(f.type));
      out_ += f.note.empty() ? line + "\n" : fmt::format("{} /* {} */\n", line, f.note);
    }
  }
  void check_size(const std::string& type, int64_t bytes) {
    out_ += fmt::format("typedef char {0}_has_its_size[sizeof({0}) == {1} ? 1 : -1];\n", type, bytes);
  }
  void structs() {
    if (has_parameters()) {
      out_ += fmt::format("\n/* The parameters and states of the layer: {} bytes. */\ntypedef struct {}_params {{\n",
                          m_.parameters.bytes, m_.prefix);
      fields(m_.parameters);
      out_ += fmt::format("}} {}_params;\n", m_.prefix);
      check_size(m_.prefix + "_params", m_.parameters.bytes);
    }
    if (trains()) {
      out_ += fmt::format(
          "\n/* What training keeps from step to step. A copy of both structs is a checkpoint. */\n"
          "typedef struct {}_training {{\n",
          m_.prefix);
      fields(m_.training);
      out_ += fmt::format("}} {}_training;\n", m_.prefix);
      check_size(m_.prefix + "_training", m_.training.bytes);
    }
    int64_t workspace = 0;
    for (const Function& f : m_.functions) workspace = std::max(workspace, f.workspace_bytes);
    out_ += fmt::format(
        "\n/* Memory that any of the functions works in; what it holds means nothing before and after a call. */\n"
        "typedef struct {0}_workspace {{\n  unsigned char bytes[{1}];\n}} {0}_workspace;\n",
        m_.prefix, workspace);
  }

  void function(const Function& f) {
    out_ += fmt::format("\n/* {}\n", f.what);
    if (f.trains)
      out_ += f.result == "void" ? "   The program doesn't read the loss, so nothing is returned.\n"
                                 : "   Returns the loss; training->status says whether it is finite.\n";
    for (const Argument& a : f.arguments) {
      out_ += fmt::format("   {}{}: {}{}\n", a.kind == Argument::Kind::output ? "writes " : "", a.name, shape_note(a),
                          a.optional ? "; may be NULL" : "");
    }
    out_ += "*/\n";
    const std::string constant = upper_ + "_" + upper(f.name);
    for (const Argument& a : f.arguments)
      if (a.kind != Argument::Kind::number)
        out_ += fmt::format("#define {}_{} {}\n", constant, upper(a.name), elements(a.type));
    std::vector<std::string> parameters;
    if (has_parameters()) parameters.push_back(fmt::format("{}{}_params *params", f.writes ? "" : "const ", m_.prefix));
    if (f.trains) parameters.push_back(fmt::format("{}_training *training", m_.prefix));
    for (const Argument& a : f.arguments) {
      const std::string type = c_type(a.type.dtype);
      if (a.kind == Argument::Kind::number)
        parameters.push_back(fmt::format("{} {}", type, a.name));
      else if (a.optional)
        parameters.push_back(fmt::format("{} *{}", type, a.name));
      else
        parameters.push_back(fmt::format("{}{} {}[{}_SIZE({}_{})]", a.kind == Argument::Kind::input ? "const " : "",
                                         type, a.name, upper_, constant, upper(a.name)));
    }
    parameters.push_back(fmt::format("{}_workspace *workspace", m_.prefix));
    std::string head = fmt::format("{} {}_{}(", f.result, m_.prefix, f.name);
    out_ += fmt::format("{}{});\n", head, fmt::join(parameters, ",\n" + std::string(head.size(), ' ')));
  }

  void others() {
    const std::string& p = m_.prefix;
    if (has_parameters() && m_.inside)
      out_ += fmt::format("\n/* The values that were built in. */\nextern const {0}_params {0}_weights;\n", p);
    const bool weights = has_parameters() && m_.inside;
    if (weights || trains()) {
      std::string arguments = weights ? fmt::format("{}_params *params", p) : "";
      if (trains()) arguments += fmt::format("{}{}_training *training", weights ? ", " : "", p);
      out_ += fmt::format("\n/* Start values: {}. Either pointer may be NULL. */\nvoid {}_init({});\n",
                          weights && trains() ? "the built-in weights, and a training that hasn't made a step"
                          : weights           ? "a copy of the built-in weights"
                                              : "a training that hasn't made a step",
                          p, arguments);
    }
    if (!has_parameters()) return;
    out_ += fmt::format(
        "\n/* A parameter by its name, \"{1}\", and its size in bytes; NULL if there is none. bytes may be NULL. */\n"
        "void *{0}_find({0}_params *params, const char *name, size_t *bytes);\n"
        "\n/* Writes a safetensors file, as `save` of NNL does: `load` of NNL and other programs read it.\n"
        "   0: done; 1: it can't be written. */\n"
        "int {0}_save(const {0}_params *params, const char *path);\n"
        "\n/* Reads a file that {0}_save, nnlc build or `save` of NNL wrote for this layer: names, order, types and "
        "shapes\n"
        "   are compared before params is changed. 0: done; 1: it can't be read; 2: it is no file of this layer; 3: it "
        "is\n"
        "   cut or too long, and params was overwritten in part. */\n"
        "int {0}_load({0}_params *params, const char *path);\n",
        p, m_.code.parameters[0].name);
  }

  const Model& m_;
  std::string upper_, out_;
};

}  // namespace

std::string header_text(const Model& m) { return Writer(m).run(); }

}  // namespace nnlc::ahead
