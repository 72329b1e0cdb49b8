// Text of host programs: one instruction a line, blocks indented, then every step with its graph.
#include "compiler/host/program.h"

#include <fmt/format.h>

namespace nnlc::host {

std::string Type::str() const {
  switch (kind) {
    case Kind::none:
      return "None";
    case Kind::integer:
      return "int";
    case Kind::floating:
      return "float";
    case Kind::boolean:
      return "bool";
    case Kind::str:
      return "str";
    case Kind::tensor:
      if (classes == 0) return tensor.str();
      if (tensor.rank() == 0) return fmt::format("class({})", classes);
      return fmt::format("class({}){}", classes, graph::str(tensor.shape));
    case Kind::list:
      return items.empty() ? "[]" : "[" + items[0].str() + "]";
    case Kind::tuple: {
      std::string out = "(";
      for (size_t i = 0; i < items.size(); ++i) out += (i ? ", " : "") + items[i].str();
      return out + (items.size() == 1 ? ",)" : ")");
    }
    case Kind::record: {
      std::string out = "{";
      for (size_t i = 0; i < items.size(); ++i) {
        out += i ? ", " : "";
        if (i < names.size()) out += names[i] + ": ";
        out += items[i].str();
      }
      return out + "}";
    }
  }
  return "None";
}

std::string quoted(const std::string& s) {
  std::string out = "\"";
  for (char c : s) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\t':
        out += "\\t";
        break;
      default:
        out += c;
    }
  }
  return out + "\"";
}

namespace {

class Printer {
 public:
  Printer(const Program& program, const SourceManager& sources) : program_(program), sources_(sources) {}

  std::string run() {
    out_ += fmt::format("program seed {}\n", program_.seed);
    for (const Persistent& p : program_.persistents) {
      out_ +=
          fmt::format("  {} {} = {} {} : {}", p.learned ? "param" : "state", reg(p.reg), p.root, p.path, p.type.str());
      for (const std::string& alias : p.aliases) out_ += fmt::format(", also {}", alias);
      out_ += '\n';
    }
    out_ += "{\n";
    block(program_.body, 1);
    out_ += "}\n";
    for (size_t i = 0; i < program_.steps.size(); ++i) {
      const Step& step = program_.steps[i];
      out_ += fmt::format("\nstep {} {} inputs ({}) outputs ({})\n", i, quoted(step.title), regs(step.inputs),
                          regs(step.outputs));
      out_ += graph::print(step.graph, &sources_);
    }
    for (const Program::Test& test : program_.tests) {
      out_ += fmt::format("\ntest {}\n", quoted(test.title));
      if (test.program) out_ += print(*test.program, sources_);
    }
    return std::move(out_);
  }

 private:
  const Program& program_;
  const SourceManager& sources_;
  std::string out_;

  static std::string reg(Reg r) { return r == kNoReg ? "_" : fmt::format("%{}", r); }
  static std::string regs(const std::vector<Reg>& rs) {
    std::string out;
    for (size_t i = 0; i < rs.size(); ++i) out += (i ? ", " : "") + reg(rs[i]);
    return out;
  }
  void indent(int depth) { out_.append(static_cast<size_t>(depth) * 2, ' '); }
  void block(const Block& b, int depth) {
    for (const auto& i : b) instruction(*i, depth);
  }
  void braces(const Block& b, int depth) {
    out_ += "{\n";
    block(b, depth + 1);
    indent(depth);
    out_ += "}";
  }
  void assign(const Instr& i) {
    if (i.dst == kNoReg) return;
    out_ += reg(i.dst) + " = ";
  }
  std::string type(const Instr& i) const {
    if (i.dst == kNoReg || static_cast<size_t>(i.dst) >= program_.registers.size()) return "";
    return " : " + program_.registers[i.dst].str();
  }

  void instruction(const Instr& i, int depth) {
    indent(depth);
    switch (i.op) {
      case Op::constant: {
        assign(i);
        struct Visitor {
          std::string operator()(std::monostate) const { return "None"; }
          std::string operator()(int64_t v) const { return fmt::format("{}", v); }
          std::string operator()(double v) const { return fmt::format("{}", v); }
          std::string operator()(bool v) const { return v ? "true" : "false"; }
          std::string operator()(const std::string& v) const { return quoted(v); }
        };
        out_ += std::visit(Visitor{}, i.value) + type(i);
        break;
      }
      case Op::copy:
        assign(i);
        out_ += regs(i.args) + type(i);
        break;
      case Op::unary:
        assign(i);
        out_ += i.name + " " + regs(i.args) + type(i);
        break;
      case Op::binary:
        assign(i);
        out_ += fmt::format("{} {} {}", reg(i.args[0]), i.name, reg(i.args[1])) + type(i);
        break;
      case Op::call: {
        assign(i);
        out_ += i.name + "(" + regs(i.args);
        bool first = i.args.empty();
        for (const auto& [name, r] : i.options) {
          out_ += fmt::format("{}{} = {}", first ? "" : ", ", name, reg(r));
          first = false;
        }
        if (!i.texts.empty()) {
          out_ += ";";
          for (const std::string& t : i.texts) out_ += " " + quoted(t);
        }
        out_ += ")" + type(i);
        break;
      }
      case Op::run_step:
        out_ += fmt::format("run step {}", i.step);
        break;
      case Op::if_:
        out_ += "if " + regs(i.args) + " ";
        braces(i.then_block, depth);
        if (!i.else_block.empty()) {
          out_ += " else ";
          braces(i.else_block, depth);
        }
        break;
      case Op::loop_range:
        out_ += fmt::format("for {} in {}..{} ", reg(i.dst), reg(i.args[0]), reg(i.args[1]));
        braces(i.then_block, depth);
        break;
      case Op::loop_list:
        out_ += fmt::format("for {} in {} ", reg(i.dst), reg(i.args[0]));
        braces(i.then_block, depth);
        break;
      case Op::loop_batches:
        batches(*i.batches, depth);
        break;
      case Op::loop_while:
        out_ += "while ";
        braces(i.else_block, depth);
        out_ += " " + regs(i.args) + " ";
        braces(i.then_block, depth);
        break;
      case Op::break_:
        out_ += "break";
        break;
      case Op::continue_:
        out_ += "continue";
        break;
      case Op::scope:
        out_ += fmt::format("scope {} ", i.label);
        braces(i.then_block, depth);
        break;
      case Op::leave:
        out_ += fmt::format("leave {}", i.label);
        break;
      case Op::check_finite:
        out_ += "check_finite " + regs(i.args);
        break;
      case Op::assert_:
        out_ += "assert " + regs(i.args);
        break;
    }
    if (i.span.valid()) out_ += "  # " + sources_.describe(i.span);
    out_ += '\n';
  }

  void batches(const BatchLoop& b, int depth) {
    out_ += fmt::format("for ({}) in batches of {} of {}", regs(b.fields), b.batch_size,
                        b.dataset ? quoted(b.dataset->name()) : "nothing");
    if (b.shuffle) out_ += ", shuffled";
    if (b.replacement) out_ += ", with replacement";
    if (b.drop_last) out_ += ", without the rest";
    if (b.rows != kNoReg) out_ += ", rows " + reg(b.rows);
    if (b.index != kNoReg) out_ += ", index " + reg(b.index);
    if (b.passes != kNoReg) out_ += ", passes " + reg(b.passes);
    out_ += " {\n";
    for (const BatchLoop::Variant& v : b.variants) {
      indent(depth + 1);
      out_ += fmt::format("{} rows ", v.rows);
      braces(v.body, depth + 1);
      out_ += '\n';
    }
    indent(depth);
    out_ += "}";
  }
};

}  // namespace

std::string print(const Program& p, const SourceManager& sources) { return Printer(p, sources).run(); }

}  // namespace nnlc::host
