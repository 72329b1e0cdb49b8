#include "compiler/ahead/build.h"

#include <fmt/format.h>

#include <cstring>
#include <filesystem>
#include <stdexcept>

#include "compiler/ahead/slice.h"
#include "compiler/exec/machine.h"
#include "compiler/exec/value.h"

namespace nnlc::ahead {

namespace {

/// A register's value as bytes of a member.
bool store(const exec::Value& v, const Field& f, std::vector<uint8_t>& into) {
  uint8_t* to = into.data() + f.offset;
  if (const exec::Tensor* t = v.tensor()) {
    if (!t->defined() || t->dtype() != static_cast<int>(f.type.dtype) || t->bytes() != f.bytes) return false;
    std::memcpy(to, t->data(), static_cast<size_t>(f.bytes));
    return true;
  }
  // A number of the host: i64 or f64.
  if (auto* i = v.get<int64_t>()) {
    const auto d = static_cast<double>(*i);
    if (f.type.dtype == graph::DType::f64)
      std::memcpy(to, &d, sizeof d);
    else
      std::memcpy(to, i, sizeof *i);
    return true;
  }
  if (auto* d = v.get<double>(); d && f.type.dtype == graph::DType::f64) {
    std::memcpy(to, d, sizeof *d);
    return true;
  }
  return false;
}

bool loads(const host::Block& block, const std::string& root, Span& at) {
  for (auto& i : block) {
    if (!i) continue;
    if (i->op == host::Op::call && i->name == "load" && !i->texts.empty() && i->texts[0] == root) {
      at = i->span;
      return true;
    }
    if (loads(i->then_block, root, at) || loads(i->else_block, root, at)) return true;
  }
  return false;
}

/// Runs what initialises the members, then reads the file of weights if there is one.
bool initial_values(host::Program& program, const sema::LayerExport& layer, const Request& request,
                    const Machinery& with, Diagnostics& diags, Model& m) {
  if (Span at; request.weights.empty() && loads(program.body, layer.root, at))
    diags.note(Code::LoadedWeights, at, fmt::format("what the program loads into {} isn't built in", layer.class_name))
        .help("`--weights FILE` builds a file's values in");
  RegSet wanted;
  for (const Struct* s : {&m.parameters, &m.training})
    for (const Field& f : s->fields)
      if (f.reg != host::kNoReg) wanted.insert(f.reg);
  Span blocked;
  auto block = initial_slice(program, wanted, blocked);
  if (!block) {
    diags.unsupported(
        Code::NotSupportedYet, blocked,
        fmt::format("`nnlc build` where the first values of {} come from a loop or a branch", layer.class_name));
    return false;
  }
  program.body = std::move(*block);
  if (!request.weights.empty()) {
    host::Type str;
    str.kind = host::Type::Kind::str;
    program.registers.push_back(str);
    const auto path = static_cast<host::Reg>(program.registers.size()) - 1;
    auto constant = std::make_unique<host::Instr>();
    constant->op = host::Op::constant;
    constant->dst = path;
    constant->value = request.weights;
    program.body.push_back(std::move(constant));
    auto load = std::make_unique<host::Instr>();
    load->op = host::Op::call;
    load->name = "load";
    load->args = {path};
    load->texts = {layer.root, ""};
    program.body.push_back(std::move(load));
  }
  exec::MachineOptions options;
  options.program_dir = with.program_dir;
  options.optimize = with.optimize;
  exec::Machine machine(program, with.backend, std::move(options));
  if (machine.run(diags) != 0) return false;
  m.code.weights.assign(static_cast<size_t>(m.parameters.bytes), 0);
  m.code.training_start.assign(m.code.training ? static_cast<size_t>(m.training.bytes) : 0, 0);
  for (auto [s, into] : {std::pair{&m.parameters, &m.code.weights}, std::pair{&m.training, &m.code.training_start}})
    for (const Field& f : s->fields)
      if (f.reg != host::kNoReg && !store(machine.value(f.reg), f, *into))
        throw std::logic_error(fmt::format("{} has no first value", f.name));
  return true;
}

std::string weights_file(const Model& m) {
  std::string out = m.code.file_header;
  for (int i : m.code.file_order) {
    const auto& p = m.code.parameters[static_cast<size_t>(i)];
    out.append(reinterpret_cast<const char*>(m.code.weights.data()) + p.offset, static_cast<size_t>(p.bytes));
  }
  return out;
}

}  // namespace

std::optional<Output> build(host::Program& program, sema::LayerExport& layer, const Request& request,
                            const Machinery& with, const SourceManager& sources, Diagnostics& diags) {
  auto model = make_model(program, layer, request, with.optimize, sources, diags);
  if (!model || !initial_values(program, layer, request, with, diags, *model)) return std::nullopt;
  Output out;
  Model& m = out.model = std::move(*model);
  m.target = fmt::format("{} ({})", with.target.level, with.target.cpu);
  if (request.beside) {
    out.weights = weights_file(m);
    m.code.weights.clear();
  }
  std::vector<int64_t> workspaces;
  out.object = codegen::cpu::build_object(m.code, with.target, workspaces);
  for (size_t i = 0; i < workspaces.size(); ++i) m.functions[i].workspace_bytes = workspaces[i];
  m.program = std::filesystem::path(sources.file(layer.span.file).path).filename().string();
  out.header = header_text(m);
  out.archive = codegen::cpu::make_archive(m.prefix + ".o", out.object);
  return out;
}

}  // namespace nnlc::ahead
