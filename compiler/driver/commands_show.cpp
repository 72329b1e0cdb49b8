// nnlc emit, summary and hash: a program's stages and identity.
#include <fmt/format.h>

#include <iostream>

#include "compiler/driver/pipeline.h"
#include "compiler/driver/session.h"
#include "compiler/ops/op.h"
#include "compiler/syntax/parser.h"

namespace nnlc::driver {

namespace {

/// 1234567 as "1,234,567".
std::string grouped(int64_t n) {
  std::string digits = std::to_string(n), out;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i && (digits.size() - i) % 3 == 0) out += ',';
    out += digits[i];
  }
  return out;
}

std::optional<int64_t> count(const graph::Shape& shape) {
  const graph::Dim n = graph::element_count(shape);
  if (!n.is_constant()) return std::nullopt;
  return n.value();
}

/// Floating point operations of a graph: 2 for each multiplication with its addition of the contractions, 1 for each
/// element of the elementwise ops and of what reductions read.
graph::Dim flops(const graph::Graph& g) {
  graph::Dim total;
  for (const graph::Node* n : g.nodes()) {
    if (!graph::is_float(n->type.dtype)) continue;
    switch (n->op->op_class) {
      case graph::OpClass::contraction: {
        // Every label once: the size of the whole loop nest.
        const std::string& a = n->str_attr("a");
        const std::string& b = n->str_attr("b");
        graph::Dim nest(2);
        for (size_t i = 0; i < a.size(); ++i) nest = nest * n->operands[0]->type.shape[i];
        for (size_t i = 0; i < b.size(); ++i)
          if (a.find(b[i]) == std::string::npos) nest = nest * n->operands[1]->type.shape[i];
        total = total + nest;
        break;
      }
      case graph::OpClass::elementwise:
        total = total + graph::element_count(n->type.shape);
        break;
      case graph::OpClass::reduction:
        total = total + graph::element_count(n->operands[0]->type.shape);
        break;
      default:
        break;
    }
  }
  return total;
}

/// Layers of the program, narrowed to the one that was asked for.
std::optional<std::vector<sema::LayerInfo>> layers_of(Session& session, const std::string& only, int& status) {
  if (auto wrong = session.prepare(session.options.files[0])) {
    status = *wrong;
    return std::nullopt;
  }
  auto layers = sema::list_layers(session.sources, session.file, session.compile_options, session.diags);
  status = session.finish();
  if (status != kDone) return std::nullopt;
  if (!only.empty()) {
    std::vector<std::string> names;
    for (const auto& l : layers) {
      names.push_back(l.name);
      names.push_back(l.class_name);
    }
    std::erase_if(layers, [&](const sema::LayerInfo& l) { return l.name != only && l.class_name != only; });
    if (layers.empty()) {
      std::cerr << fmt::format("nnlc: {} has no layer `{}`", session.options.files[0], only);
      if (auto near = nearest(only, names)) std::cerr << fmt::format(": did you mean `{}`?", *near);
      std::cerr << '\n';
      status = kBadUsage;
      return std::nullopt;
    }
  } else if (layers.empty()) {
    std::cerr << fmt::format("nnlc: {} makes no layers\n", session.options.files[0]);
  }
  return layers;
}

int emit_steps(host::Program& program, codegen::Backend& backend, Session& session) {
  int shown = 0;
  for (host::Step& step : program.steps) {
    optimize(step.graph, session.options, &session.sources);
    std::string text = backend.emit(std::move(step.graph), session.options.stage);
    if (text.empty()) continue;
    std::cout << fmt::format("# {}\n", step.title) << text;
    if (text.back() != '\n') std::cout << '\n';
    ++shown;
  }
  if (shown == 0 && !program.steps.empty()) {
    std::cerr << fmt::format("nnlc: `--stage {}` is not supported yet by this backend\n", session.options.stage);
    return kBadUsage;
  }
  return kDone;
}

}  // namespace

int emit_command(const Options& options) {
  if (options.stage == "cuda" || options.stage == "ptx") {
    std::cerr << fmt::format("nnlc: `--stage {}` is not supported yet\n", options.stage);
    return kBadUsage;
  }
  Session session(options);
  if (options.stage == "ast") {
    if (!session.load(options.files[0])) return kBadUsage;
    auto ast = syntax::parse(session.sources, session.file, session.diags);
    if (!session.diags.has_errors()) std::cout << syntax::dump(*ast, session.sources);
    return session.finish();
  }
  if (auto status = session.prepare(options.files[0])) return *status;
  auto program = session.compile();
  if (int status = session.finish(); status != kDone || !program) return status;
  if (options.stage == "graph") {
    for (host::Step& step : program->steps) optimize(step.graph, options, &session.sources);
    std::cout << host::print(*program, session.sources);
    return kDone;
  }
  auto backend = make_backend(options);
  if (!backend) return kFailed;
  return emit_steps(*program, *backend, session);
}

int summary_command(const Options& options) {
  Session session(options);
  int status = kDone;
  auto layers = layers_of(session, options.filter, status);
  if (!layers) return status;
  for (sema::LayerInfo& layer : *layers) {
    optimize(layer.forward, options, &session.sources);
    std::cout << layer.name
              << (layer.class_name.empty() || layer.class_name == layer.name ? "" : ": " + layer.class_name) << '\n';
    size_t name_width = 9, type_width = 4;
    for (const auto& [name, type] : layer.params) {
      name_width = std::max(name_width, name.size());
      type_width = std::max(type_width, type.str().size());
    }
    int64_t total = 0, bytes = 0;
    for (const auto& [name, type] : layer.params) {
      const auto n = count(type.shape);
      std::cout << fmt::format("  {:<{}}  {:<{}}  {:>12}\n", name, name_width, type.str(), type_width,
                               n ? grouped(*n) : "?");
      total += n.value_or(0);
      bytes += n.value_or(0) * static_cast<int64_t>(graph::size_bytes(type.dtype));
    }
    std::cout << fmt::format("  {:<{}}  {:<{}}  {:>12}\n", "in all", name_width, "", type_width, grouped(total));
    for (const graph::Output& out : layer.forward.outputs)
      if (out.value && !out.updates) std::cout << fmt::format("  gives {}\n", out.value->type.str());
    const graph::Dim work = flops(layer.forward);
    std::cout << fmt::format("  {} bytes of parameters, {} FLOPs of forward\n\n", grouped(bytes),
                             work.is_constant() ? grouped(work.value()) : work.str());
  }
  return kDone;
}

int hash_command(const Options& options) {
  Session session(options);
  int status = kDone;
  auto layers = layers_of(session, {}, status);
  if (!layers) return status;
  for (sema::LayerInfo& layer : *layers) {
    optimize(layer.forward, options, &session.sources);
    std::cout << fmt::format("{:016x}  {}\n", graph::structural_hash(layer.forward), layer.name);
  }
  return kDone;
}

}  // namespace nnlc::driver
