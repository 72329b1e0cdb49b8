// Host programs made by hand, and a backend whose steps are C++ functions.
#pragma once
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "compiler/exec/impl.h"
#include "compiler/exec/machine.h"
#include "compiler/ops/op.h"

namespace nnlc::exec::test {

using host::Block;
using host::Instr;
using host::Op;
using host::Reg;

inline host::Type type(host::Type::Kind kind) {
  host::Type t;
  t.kind = kind;
  return t;
}
inline host::Type tensor_type(graph::DType dtype, std::vector<int64_t> sizes) {
  host::Type t = type(host::Type::Kind::tensor);
  t.tensor.dtype = dtype;
  for (int64_t n : sizes) t.tensor.shape.push_back(graph::Dim(n));
  return t;
}
inline host::Type i64() { return type(host::Type::Kind::integer); }
inline host::Type f64() { return type(host::Type::Kind::floating); }
inline host::Type boolean() { return type(host::Type::Kind::boolean); }
inline host::Type str() { return type(host::Type::Kind::str); }
inline host::Type any_list() { return type(host::Type::Kind::list); }

/// A graph whose only content is its inputs and outputs; the function of the same name computes it.
using StepFn = std::function<void(void* const* buffers)>;
class FakeBackend : public codegen::Backend {
 public:
  std::map<std::string, StepFn> functions;
  int compiled = 0;
  std::unique_ptr<codegen::CompiledStep> compile(graph::Graph graph) override {
    struct Step : codegen::CompiledStep {
      StepFn fn;
      void run(void* const* buffers) override { fn(buffers); }
    };
    ++compiled;
    auto step = std::make_unique<Step>();
    step->fn = functions.at(graph.name);
    return step;
  }
  std::string describe() const override { return "functions of a test"; }
};

struct Builder {
  host::Program program;
  FakeBackend backend;
  std::vector<Block*> blocks{&program.body};
  std::string output, reported;

  Reg reg(host::Type t) {
    program.registers.push_back(std::move(t));
    return static_cast<Reg>(program.registers.size() - 1);
  }
  Instr& emit(Op op) {
    blocks.back()->push_back(std::make_unique<Instr>());
    blocks.back()->back()->op = op;
    return *blocks.back()->back();
  }
  template <class T>
  Reg constant(T v, host::Type t) {
    Instr& i = emit(Op::constant);
    i.value = v;
    return i.dst = reg(std::move(t));
  }
  Reg integer(int64_t v) { return constant(v, i64()); }
  Reg number(double v) { return constant(v, f64()); }
  Reg text(std::string v) { return constant(std::move(v), str()); }
  Reg truth(bool v) { return constant(v, boolean()); }
  Reg binary(const std::string& op, Reg a, Reg b, host::Type t, Reg into = host::kNoReg) {
    Instr& i = emit(Op::binary);
    i.name = op;
    i.args = {a, b};
    return i.dst = into == host::kNoReg ? reg(std::move(t)) : into;
  }
  Instr& call(const std::string& name, std::vector<Reg> args, Reg dst = host::kNoReg,
              std::vector<std::string> texts = {}) {
    Instr& i = emit(Op::call);
    i.name = name;
    i.args = std::move(args);
    i.dst = dst;
    i.texts = std::move(texts);
    return i;
  }
  void print(std::vector<Reg> args) { call("print", std::move(args)); }
  /// updates[o]: the input that output o is written over, or -1.
  void step(const std::string& name, std::vector<Reg> inputs, std::vector<Reg> outputs, std::vector<int> updates,
            std::vector<graph::TensorType> input_types, std::vector<graph::TensorType> output_types, StepFn fn) {
    static const graph::OpDef op{.name = "anything",
                                 .op_class = graph::OpClass::source,
                                 .operands = {},
                                 .attributes = {},
                                 .type = nullptr,
                                 .doc = ""};
    program.steps.emplace_back();
    host::Step& s = program.steps.back();
    s.graph.name = name;
    s.title = name;
    for (const auto& t : input_types) s.graph.add_input(t, "x", {});
    for (size_t o = 0; o < output_types.size(); ++o) {
      graph::Node* value = s.graph.add(op, {}, {}, output_types[o], {});
      s.graph.outputs.push_back({value, updates[o] < 0 ? nullptr : s.graph.inputs[static_cast<size_t>(updates[o])]});
    }
    s.inputs = std::move(inputs);
    s.outputs = std::move(outputs);
    backend.functions[name] = std::move(fn);
    emit(Op::run_step).step = static_cast<int>(program.steps.size() - 1);
  }

  MachineOptions options() {
    MachineOptions o;
    o.out = [this](std::string_view s) { output += s; };
    o.report = [this](std::string_view s) { reported += s; };
    return o;
  }
  /// Runs it; gives what was printed, or "error: " and the message.
  std::string run(int* status = nullptr) {
    Diagnostics diags;
    Machine machine(program, backend, options());
    const int s = machine.run(diags);
    if (status) *status = s;
    if (!diags.all().empty()) return "error: " + diags.all()[0].message;
    return output;
  }
};

}  // namespace nnlc::exec::test
