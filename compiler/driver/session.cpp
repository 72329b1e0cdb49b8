#include "compiler/driver/session.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <iostream>

#include "compiler/support/read_file.h"
#include "compiler/syntax/parser.h"

namespace nnlc::driver {

bool use_color(const Options& options) {
  if (options.color != "auto") return options.color == "always";
  const char* no_color = std::getenv("NO_COLOR");  // no-color.org
  return isatty(STDERR_FILENO) && !(no_color && *no_color);
}

bool Session::load(const std::string& path) {
  auto text = read_file(path);
  if (!text) {
    std::error_code ignored;
    if (std::filesystem::is_directory(path, ignored))
      std::cerr << fmt::format("nnlc: {} is a folder\n", path);
    else
      std::cerr << fmt::format("nnlc: can't read {}\n", path);
    return false;
  }
  file = sources.add(path, std::move(*text));
  const std::string folder = std::filesystem::path(path).parent_path().string();
  compile_options.program_dir = folder.empty() ? std::string(1, '.') : folder;
  return true;
}

std::optional<int> Session::prepare(const std::string& path) {
  if (!load(path)) return kBadUsage;
  if (options.rest.empty()) return std::nullopt;
  configs = sema::list_configs(sources, file, diags);
  if (diags.has_errors()) return finish();
  std::vector<std::pair<std::string, std::string>> types;
  for (const sema::ConfigInfo& c : configs) types.emplace_back(c.name, c.type);
  if (std::string wrong = match_configs(options.rest, types, compile_options.configs); !wrong.empty()) {
    std::cerr << fmt::format("nnlc: {}: {}\n", path, wrong);
    if (!types.empty()) std::cerr << fmt::format("  `nnlc run {} --help` lists the configs\n", path);
    return kBadUsage;
  }
  return std::nullopt;
}

namespace {

/// A config whose option means something else to nnlc could never be given.
void check_config_names(SourceManager& sources, uint32_t file, Diagnostics& diags) {
  if (sources.file(file).text.find("config") == std::string::npos) return;
  Diagnostics ignored;  // what doesn't parse is reported when the program is compiled
  auto ast = syntax::parse(sources, file, ignored);
  std::set<std::string> taken;
  for (const auto& stmt : ast->stmts) {
    auto* config = ast::dyn<ast::ConfigStmt>(stmt.get());
    if (!config) continue;
    if (taken.empty()) taken = option_names();
    if (!taken.count(config->name.text)) continue;
    std::string option = config->name.text;
    std::replace(option.begin(), option.end(), '_', '-');
    diags.error(Code::ConfigValue, config->name.span, fmt::format("--{} is an option of nnlc itself", option))
        .help(fmt::format("call it something else, such as `my_{}`", config->name.text));
  }
}

}  // namespace

std::unique_ptr<host::Program> Session::compile(bool tests) {
  compile_options.tests = tests;
  check_config_names(sources, file, diags);
  auto program = sema::compile(sources, file, compile_options, diags);
  if (diags.has_errors()) return nullptr;
  return program;
}

int Session::finish() {
  diags.sort_by_place();
  const bool color = !options.json && use_color(options);
  std::string out;
  for (const Diagnostic& d : diags.all()) {
    std::string text = options.json ? render_json(d, sources) : render_text(d, sources, color);
    if (text.empty() || text.back() != '\n') text += '\n';
    if (printed && !printed->insert(text).second) continue;
    out += text;
    if (!options.json) out += '\n';
  }
  std::cout.flush();
  // Tools read objects from standard output; people read messages on standard error.
  (options.json ? std::cout : std::cerr) << out << std::flush;
  const int status = diags.exit_status();
  diags.truncate(0);
  return status;
}

std::unique_ptr<codegen::Backend> make_backend(const Options& options) {
  const bool use_cache = !std::getenv("NNLC_NO_CACHE");
  if (options.backend == "ref") {
    if (options.device != "cuda") return codegen::make_reference_backend();
    std::cerr << "nnlc: --backend ref runs on the CPU: leave out --device cuda, or NNLC_DEVICE\n";
    return nullptr;
  }
  if (options.device != "cpu") {
    try {
      codegen::CudaOptions cuda;
      cuda.run_passes = false;  // optimize() runs them, with what the options ask for
      cuda.use_cache = use_cache;
      return options.open_gpu(cuda);
    } catch (const nnl::DeviceError& e) {
      const std::string why = e.what();
      if (options.device == "cuda") {
        std::cerr << fmt::format("nnlc: --device cuda: {}\n", why);
        return nullptr;
      }
      std::cerr << fmt::format("nnlc: --device auto takes the CPU: {}\n", why.substr(0, why.find('\n')));
    }
  }
  codegen::CpuOptions cpu;
  cpu.threads = options.threads;
  cpu.run_passes = false;
  cpu.use_cache = use_cache;
  return codegen::make_cpu_backend(cpu);
}

}  // namespace nnlc::driver
