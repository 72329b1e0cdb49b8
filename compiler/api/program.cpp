// Programs: read, checked, run.
#include <filesystem>

#include "compiler/api/internal.h"
#include "compiler/support/read_file.h"

namespace nnlc::v0 {

std::string version() { return NNLC_VERSION; }

namespace {

std::shared_ptr<Program::State> new_state(std::string name, std::string text, const CompileOptions& options) {
  if (options.device != "cpu" && options.device != "cuda" && options.device != "auto")
    fail(Status::invalid_argument,
         fmt::format("there is no device \"{}\": \"cpu\", \"cuda\" or \"auto\"", options.device));
  if (options.threads < 0) fail(Status::invalid_argument, fmt::format("{} threads", options.threads));
  auto p = std::make_shared<Program::State>();
  p->name = std::move(name);
  p->text = std::move(text);
  p->options = options;
  p->compile.configs = options.configs;
  p->compile.seed = options.seed;
  std::string folder = options.directory;
  if (folder.empty()) folder = std::filesystem::path(p->name).parent_path().string();
  p->compile.program_dir = folder.empty() ? "." : folder;
  return p;
}

/// As `nnlc check` does.
void check_program(const Program::State& p, SourceManager& sources, nnlc::Diagnostics& diags) {
  const uint32_t file = sources.add(p.name, p.text);
  if (p.options.declarations_only)
    sema::check_declarations(sources, file, p.compile, diags);
  else
    sema::compile(sources, file, p.compile, diags);
  diags.sort_by_place();
}

Program finish(std::shared_ptr<Program::State> p) {
  SourceManager sources;
  nnlc::Diagnostics diags;
  check_program(*p, sources, diags);
  throw_errors(diags, sources, false);
  p->diagnostics = to_public(diags, sources);
  list_declarations(*p);
  return Access::make<Program>(std::move(p));
}

/// Imports are found from the path of the importing file, so a text in a folder is called by a path in it.
std::string name_in(const std::string& name, const CompileOptions& options) {
  if (options.directory.empty() || name.find('/') != std::string::npos) return name;
  return (std::filesystem::path(options.directory) / name).string();
}

}  // namespace

Program::Program() = default;

Program Program::from_text(const std::string& text, const std::string& name, const CompileOptions& options) {
  return guarded([&] { return finish(new_state(name_in(name, options), text, options)); });
}

Program Program::from_file(const std::string& path, const CompileOptions& options) {
  return guarded([&] {
    auto text = read_file(path);
    if (!text) {
      std::error_code ignored;
      fail(Status::data_error,
           std::filesystem::is_directory(path, ignored) ? path + " is a folder" : "can't read " + path);
    }
    return finish(new_state(path, std::move(*text), options));
  });
}

std::vector<Diagnostic> Program::check(const std::string& text, const std::string& name,
                                       const CompileOptions& options) {
  return guarded([&] {
    auto p = new_state(name_in(name, options), text, options);
    SourceManager sources;
    nnlc::Diagnostics diags;
    check_program(*p, sources, diags);
    return to_public(diags, sources);
  });
}

namespace {

const Program::State& state_of(const std::shared_ptr<Program::State>& s) {
  if (!s) fail(Status::invalid_argument, "an empty Program");
  return *s;
}

}  // namespace

const std::vector<Diagnostic>& Program::diagnostics() const { return state_of(state_).diagnostics; }
const std::vector<Layer>& Program::layers() const { return state_of(state_).layers; }
const std::vector<Function>& Program::functions() const { return state_of(state_).functions; }
const std::vector<Optimizer>& Program::optimizers() const { return state_of(state_).optimizers; }
const std::vector<Config>& Program::configs() const { return state_of(state_).configs; }

std::unique_ptr<codegen::Backend> make_backend(const CompileOptions& options) {
  if (options.device != "cpu") {
    try {
      codegen::CudaOptions cuda;
      cuda.use_cache = options.cache;
      cuda.cache_dir = options.cache_directory;
      return codegen::make_cuda_backend(cuda);
    } catch (const nnl::DeviceError& e) {
      const std::string why = e.what();
      if (options.device == "cuda") fail(Status::unsupported, "the device \"cuda\": " + why);
      if (options.log) options.log(fmt::format("the device \"auto\" is the CPU: {}\n", why.substr(0, why.find('\n'))));
    }
  }
  codegen::CpuOptions cpu;
  cpu.threads = options.threads;
  cpu.use_cache = options.cache;
  cpu.cache_dir = options.cache_directory;
  return codegen::make_cpu_backend(cpu);
}

void Program::run(const RunOptions& options) const {
  const State& p = state_of(state_);
  guarded([&] {
    if (p.options.declarations_only)
      fail(Status::invalid_argument, "run of a program that was compiled for its declarations only");
    SourceManager sources;
    nnlc::Diagnostics diags;
    const uint32_t file = sources.add(p.name, p.text);
    auto program = sema::compile(sources, file, p.compile, diags);
    throw_errors(diags, sources, false);
    if (!program) fail(Status::internal, "a program without errors and without a body");
    auto backend = make_backend(p.options);
    exec::MachineOptions m;
    m.out = [&](std::string_view text) {
      if (options.print) options.print(std::string(text));
    };
    m.report = [&](std::string_view text) {
      if (p.options.log) p.options.log(std::string(text));
    };
    if (options.progress)
      m.on_progress = [&](const std::string& label, int64_t done, int64_t total) {
        options.progress({label, done, total});
      };
    if (p.options.device != "cpu")
      m.record_backend = [&p] {
        CompileOptions cpu = p.options;
        cpu.device = "cpu";
        return make_backend(cpu);
      };
    if (options.record) m.on_record = options.record;
    m.runs_dir = options.runs_directory;
    m.title = std::filesystem::path(p.name).stem().string();
    m.program_dir = p.compile.program_dir;
    if (options.cancel) m.cancel = options.cancel->flag().get();
    exec::Machine machine(*program, *backend, std::move(m));
    machine.run(diags);
    throw_errors(diags, sources, true);
  });
}

}  // namespace nnlc::v0
