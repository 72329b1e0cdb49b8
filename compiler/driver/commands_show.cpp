// nnlc emit and hash: a program's stages and identity.
#include <fmt/format.h>

#include <functional>
#include <iostream>

#include "compiler/codegen/cuda/backend.h"
#include "compiler/codegen/cuda/compiler.h"
#include "compiler/codegen/cuda/driver_device.h"
#include "compiler/driver/pipeline.h"
#include "compiler/driver/session.h"
#include "compiler/report/steps.h"
#include "compiler/syntax/parser.h"

namespace nnlc::driver {

namespace {

/// Layers of the program.
std::optional<std::vector<sema::LayerInfo>> layers_of(Session& session, int& status) {
  if (auto wrong = session.prepare(session.options.files[0])) {
    status = *wrong;
    return std::nullopt;
  }
  auto layers = sema::list_layers(session.sources, session.file, session.compile_options, session.diags);
  status = session.finish();
  if (status != kDone) return std::nullopt;
  if (layers.empty()) std::cerr << fmt::format("nnlc: {} makes no layers\n", session.options.files[0]);
  return layers;
}

/// print: a stage of one step's graph.
int emit_steps(host::Program& program, Session& session, const std::function<std::string(graph::Graph)>& print) {
  int shown = 0;
  for (const report::StepInfo& s : report::list_steps(program, session.sources)) {
    host::Step& step = program.steps[static_cast<size_t>(s.step)];
    optimize(step.graph, session.options, &session.sources);
    std::string text = print(std::move(step.graph));
    if (text.empty()) continue;
    const std::string& stage = session.options.stage;
    const char* comment = stage == "llvm" ? ";" : stage == "cuda" || stage == "ptx" ? "//" : "#";
    std::cout << fmt::format("{}{} step {}: {}{}{}\n", shown ? "\n" : "", comment, s.step, s.title,
                             s.when.empty() ? "" : ", ", s.when)
              << text;
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
  if (options.stage == "cuda") return emit_steps(*program, session, codegen::cuda::emit_source);
  if (options.stage == "ptx") {
    try {
      codegen::cuda::Compiler compiler(codegen::cuda::kNoCache);
      return emit_steps(*program, session, [&](graph::Graph g) {
        return compiler.compile(codegen::cuda::emit_source(std::move(g)), "sm_80", /*ptx=*/true).code;
      });
    } catch (const codegen::cuda::DeviceError& e) {
      std::cerr << fmt::format("nnlc: {}\n", e.what());
      return kFailed;
    }
  }
  auto backend = make_backend(options);
  if (!backend) return kFailed;
  return emit_steps(*program, session, [&](graph::Graph g) { return backend->emit(std::move(g), options.stage); });
}

int devices_command(const Options& options) {
  if (auto cpu = make_backend(options)) std::cout << fmt::format("cpu: {}\n", cpu->describe());
  std::cout << codegen::cuda::list_devices();
  return kDone;
}

int hash_command(const Options& options) {
  Session session(options);
  int status = kDone;
  auto layers = layers_of(session, status);
  if (!layers) return status;
  for (sema::LayerInfo& layer : *layers) {
    if (!layer.forward) {
      std::cerr << fmt::format("nnlc: nothing calls `{}`, and its forward doesn't say what it takes: it has no graph\n",
                               layer.name);
      continue;
    }
    optimize(*layer.forward, options, &session.sources);
    std::cout << fmt::format("{:016x}  {}\n", graph::structural_hash(*layer.forward), layer.name);
  }
  return kDone;
}

int opt_command(const Options& options) {
  Session session(options);
  if (!session.load(options.files[0])) return kBadUsage;
  auto g = graph::parse(session.sources, session.file, session.diags);
  if (int status = session.finish(); status != kDone || !g) return status;
  Options verifying = options;
  verifying.verify_each = true;
  if (const std::string unknown = run_passes(*g, options.passes, verifying); !unknown.empty()) {
    std::vector<std::string> names;
    for (const Pass& pass : graph_passes()) names.emplace_back(pass.name);
    std::cerr << fmt::format("nnlc: there is no pass `{}`", unknown);
    if (auto near = nearest(unknown, names)) std::cerr << fmt::format(": did you mean `{}`?", *near);
    std::cerr << '\n';
    return kBadUsage;
  }
  std::cout << graph::print(*g, &session.sources);
  if (options.time_passes) std::cerr << pass_times();
  return kDone;
}

}  // namespace nnlc::driver
