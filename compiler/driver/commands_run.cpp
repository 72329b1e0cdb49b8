// nnlc run and nnlc test: compile, then hand the host program to the executor.
#include <fmt/format.h>

#include <filesystem>
#include <iostream>

#include "compiler/driver/pipeline.h"
#include "compiler/driver/session.h"
#include "compiler/exec/machine.h"

namespace nnlc::driver {

namespace {

exec::MachineOptions machine_options(const Session& session, const std::string& path) {
  exec::MachineOptions m;
  m.progress = session.options.progress;
  m.runs_dir = session.options.runs_dir;
  m.title = std::filesystem::path(path).stem().string();
  m.program_dir = session.compile_options.program_dir;
  if (session.options.device != "cpu")
    m.record_backend = [&session] {
      Options cpu = session.options;
      cpu.device = "cpu";
      return make_backend(cpu);
    };
  m.optimize = [&session](graph::Graph& g) { optimize(g, session.options, &session.sources); };
  return m;
}

int print_run_help(const Options& options) {
  std::cout << run_help();
  if (options.files.empty()) return kDone;
  Session session(options);
  if (!session.load(options.files[0])) return kBadUsage;
  auto configs = sema::list_configs(session.sources, session.file, session.diags);
  if (session.diags.has_errors()) return session.finish();
  if (configs.empty()) {
    std::cout << fmt::format("\n{} has no configs.\n", options.files[0]);
    return kDone;
  }
  std::cout << fmt::format("\nConfigs of {}:\n", options.files[0]);
  size_t width = 0;
  auto head = [](const sema::ConfigInfo& c) {
    std::string name = c.name;
    for (char& ch : name) ch = ch == '_' ? '-' : ch;
    return fmt::format("--{} {}", name, c.type);
  };
  for (const auto& c : configs) width = std::max(width, head(c).size());
  for (const auto& c : configs) {
    std::string doc = c.doc;
    for (char& ch : doc) ch = ch == '\n' ? ' ' : ch;
    if (doc.ends_with('.')) doc.pop_back();
    std::cout << fmt::format("  {:<{}}  {}default {}\n", head(c), width, doc.empty() ? "" : doc + "; ", c.default_text);
  }
  return kDone;
}

}  // namespace

int run_command(const Options& options) {
  if (options.help) return print_run_help(options);
  if (options.precision == "bf16") {
    std::cerr << "nnlc: --precision bf16 is not supported yet\n";
    return kFailed;
  }
  Session session(options);
  if (auto status = session.prepare(options.files[0])) return *status;
  auto program = session.compile();
  if (int status = session.finish(); status != kDone || !program) return status;
  auto backend = make_backend(options);
  if (!backend) return kFailed;
  exec::Machine machine(*program, *backend, machine_options(session, options.files[0]));
  machine.run(session.diags);
  if (options.time_passes) std::cerr << pass_times();
  return session.finish();
}

int test_command(const Options& options) {
  auto backend = make_backend(options);
  if (!backend) return kFailed;
  int status = kDone;
  size_t passed = 0, failed = 0, left_out = 0;
  for (const std::string& path : options.files) {
    Session session(options);
    if (auto wrong = session.prepare(path)) {
      status = std::max(status, *wrong);
      continue;
    }
    auto program = session.compile(/*tests=*/true);
    if (int s = session.finish(); s != kDone || !program) {
      status = std::max(status, s);
      continue;
    }
    for (host::Program::Test& test : program->tests) {
      if (!options.filter.empty() && test.title.find(options.filter) == std::string::npos) {
        ++left_out;
        continue;
      }
      exec::MachineOptions m = machine_options(session, path);
      m.progress = false;
      m.runs_dir.clear();
      exec::Machine machine(*test.program, *backend, std::move(m));
      const int result = machine.run(session.diags);
      std::cout << fmt::format("{} {}: {}\n", result == 0 ? "ok    " : "FAILED", path, test.title) << std::flush;
      session.finish();
      result == 0 ? ++passed : ++failed;
    }
  }
  std::cout << fmt::format("{} passed, {} failed", passed, failed);
  if (left_out) std::cout << fmt::format(", {} left out by --filter", left_out);
  std::cout << '\n';
  return failed ? std::max<int>(status, kFailed) : status;
}

}  // namespace nnlc::driver
