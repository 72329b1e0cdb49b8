// The command line, by CLI11. What it doesn't know in `nnlc run FILE --epochs 10` is set aside first: a program's
// configs are options of that program alone, and are matched once it has been read.
#include "compiler/driver/options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <iostream>

#include "compiler/driver/pipeline.h"
#include "compiler/driver/version.h"
#include "compiler/support/diagnostics.h"

namespace nnlc::driver {

namespace {

/// Commands of the language's command line that this nnlc doesn't have yet: known, so that they are told apart from
/// typing errors.
constexpr std::pair<const char*, const char*> kNotYet[] = {
    {"verify-resume", "proves that a killed and restarted run gives the same bits"},
    {"predict", "runs one inference"},
    {"lsp", "the language server"},
};

/// "--batch-size" of `batch_size`.
std::string as_option(std::string name) {
  std::replace(name.begin(), name.end(), '_', '-');
  return "--" + name;
}

/// The commands to which the configs of a program are options.
const std::vector<std::string> kDevices = {"cpu", "cuda", "auto"};
constexpr const char* kWithConfigs[] = {"run", "check", "test", "emit", "summary", "hash", "explain", "build"};

/// Help as CLI11 lays it out, without its own words for types and checks: "--threads N".
struct HelpFormat : CLI::Formatter {
  std::string make_option_opts(const CLI::Option* option) const override {
    if (option->get_expected_max() == 0 || option->get_positional()) return {};
    std::string type = option->get_type_name();
    // The checks stand behind a colon.
    type = type.substr(0, type.find(':'));
    std::string out = type.empty() ? "" : " " + type;
    if (!option->get_default_str().empty()) out += " (" + option->get_default_str() + ")";
    return out;
  }
  std::string make_option_name(const CLI::Option* option, bool positional) const override {
    if (positional) return option->get_name(true, false);
    const std::string name = option->get_name(false, true);
    return name.substr(0, name.find('{'));  // of a flag that sets false
  }
};

struct Parser {
  CLI::App app{"nnlc compiles and runs NNL, a small language for tensors, layers and training", "nnlc"};
  Options o;
  std::string file, second_file;
  bool version = false;
  CLI::App* run = nullptr;

  Parser() {
    app.formatter(std::make_shared<HelpFormat>());
    app.get_formatter()->column_width(32);
    app.require_subcommand(0, 1);
    app.set_help_flag("-h,--help", "print this help");
    app.add_flag("--version", version, "print the versions of nnlc and LLVM and the CPU features in use");
    app.failure_message(CLI::FailureMessage::simple);
    app.footer("Exit status: 0 done, 1 the program is wrong, 2 bad usage, 3 it failed while running, 4 a bug of nnlc.");

    run = command("run", "compile and run a program");
    run->set_help_flag();
    run->add_flag("-h,--help", o.help, "print this help, and the configs of FILE");
    run->add_option("FILE", file, "the program")->type_name("");
    run->footer("Every `config` of the program is an option too: `nnlc run FILE --help` lists them.");
    machine_options(run);
    device_option(run);
    run->add_option("--precision", o.precision, "f32 (bf16 is not supported yet)")
        ->check(CLI::IsMember({"f32", "bf16"}));
    run->add_option("--runs-dir", o.runs_dir, "where logs of runs are written")->capture_default_str();
    run->add_flag("!--no-progress", o.progress, "show no progress bars");

    CLI::App* check = command("check", "parse programs and check names, shapes and types; run nothing");
    files(check);
    check->footer("The configs of a program are options here too: `nnlc check FILE --width 64`.");

    CLI::App* test = command("test", "run the `test` blocks of programs");
    files(test);
    machine_options(test);
    device_option(test);
    test->add_option("--filter", o.filter, "run only the tests whose title contains TEXT")->type_name("TEXT");

    CLI::App* fmt = command("fmt", "format programs in place");
    files(fmt);
    fmt->add_flag("--check", o.check,
                  "change nothing; list the files that would change and exit with 1 if there are any");

    CLI::App* emit = command("emit", "show a stage of the compilation");
    one_file(emit);
    emit->add_option("--stage", o.stage, "ast, graph, loop, llvm, asm, cuda, ptx (by NVRTC, for sm_80)")
        ->capture_default_str()
        ->check(CLI::IsMember({"ast", "graph", "loop", "llvm", "asm", "cuda", "ptx"}))
        ->type_name("STAGE");
    machine_options(emit);

    CLI::App* summary = command("summary", "list layers, their parameters and the work of one forward pass");
    one_file(summary);
    summary->add_option("LAYER", o.filter, "only this layer")->type_name("");

    CLI::App* hash = command("hash", "print the identity of each layer's graph");
    one_file(hash);

    command("devices", "list what programs can be compiled for, and where CUDA's driver and compiler were looked for");

    CLI::App* explain = command("explain", "show what a program is compiled to, or explain the code of a diagnostic");
    explain->add_option("FILE|CODE", file, "a program, or a code: `nnlc explain N0203`")->required()->type_name("");
    explain->add_flag("--profile", o.profile, "run each compiled step for a moment and show the time of its kernels");
    explain->add_flag("--every-kernel", o.all,
                      "also the kernels of initial values, and of a statement's further sizes");
    explain->footer(
        "For each compilation (a statement and a set of sizes): its kernels in words of the source, the copies it "
        "makes,\n"
        "and its memory. The configs of the program are options here too.");
    machine_options(explain);

    CLI::App* diff = command("diff", "show where two programs or two weight files differ");
    diff->add_option("A", file, "a program, or a .safetensors file")->required()->type_name("");
    diff->add_option("B", second_file, "what it is compared with")->required()->type_name("");
    diff->footer("Exits with 1 if they differ, like diff.");

    CLI::App* fresh = command("new", "make a folder with a program to begin with");
    fresh->add_option("DIR", file, "the folder; it may be there already")->required()->type_name("");

    CLI::App* opt = command("opt", "read the text of one graph, run passes on it and print it");
    opt->add_option("FILE", file, "a graph, as `nnlc emit --stage graph` and --print-ir-after print them")
        ->required()
        ->type_name("");
    std::string names;
    for (const Pass& pass : graph_passes()) names += fmt::format("{}{}", names.empty() ? "" : ", ", pass.name);
    opt->add_option("--passes", o.passes, "which, in this order: " + names + "; without it: none")
        ->delimiter(',')
        ->type_name("PASSES");
    opt->add_flag("--time-passes", o.time_passes, "print how long each pass took");
    opt->footer("The graph is verified when it was read and after every pass. For developers of nnlc.");

    CLI::App* build = command("build", "make a C library of a layer that needs no compiler at run time");
    one_file(build);
    build_options(build);

    CLI::App* doc = command("doc", "print the source of a layer, loss, optimizer or function of the standard library");
    doc->add_option("NAME", o.files, "its name; without one: everything there is")->type_name("");

    for (const auto& [name, what] : kNotYet) {
      CLI::App* sub = command(name, fmt::format("{} (not supported yet)", what));
      sub->allow_extras();
    }
  }

  CLI::App* command(const std::string& name, const std::string& what) {
    CLI::App* sub = app.add_subcommand(name, what);
    sub->set_help_flag("-h,--help", "print this help");
    sub->add_option("--color", o.color, "auto, always or never")
        ->check(CLI::IsMember({"auto", "always", "never"}))
        ->type_name("WHEN");
    sub->add_option_function<std::string>(
           "--message-format", [this](const std::string& s) { o.json = s == "json"; },
           "text, or json: one object a line")
        ->check(CLI::IsMember({"text", "json"}))
        ->type_name("FORMAT");
    return sub;
  }
  /// Moves `--name value` with a name that this command doesn't have to `rest`. A value that is a program's name stays.
  std::vector<std::string> set_configs_aside(int argc, char** argv) {
    std::vector<std::string> kept;
    const std::string name = argc > 1 ? argv[1] : "";
    CLI::App* sub = nullptr;
    for (const char* with_configs : kWithConfigs)
      if (name == with_configs) sub = app.get_subcommand(name);
    for (int i = 1; i < argc; ++i) {
      std::string word = argv[i];
      const size_t equals = word.find('=');
      if (!sub || word.rfind("--", 0) != 0 || word.size() == 2 || sub->get_option_no_throw(word.substr(0, equals)) ||
          word == "--help") {
        kept.push_back(word);
        continue;
      }
      o.rest.push_back(word);
      if (equals != std::string::npos || i + 1 == argc) continue;
      const std::string next = argv[i + 1];
      const bool is_program = next.size() > 4 && next.compare(next.size() - 4, 4, ".nnl") == 0;
      if (next.rfind("--", 0) != 0 && !is_program) o.rest.push_back(argv[++i]);
    }
    std::reverse(kept.begin(), kept.end());  // the order that CLI11 wants
    return kept;
  }
  void files(CLI::App* sub) { sub->add_option("FILE", o.files, "programs")->required()->type_name(""); }
  void one_file(CLI::App* sub) { sub->add_option("FILE", file, "the program")->required()->type_name(""); }
  void build_options(CLI::App* sub) {
    Options::Build& b = o.build;
    sub->add_option("--export", b.layer, "the layer: a variable, or a class of which the program makes one")
        ->required()
        ->type_name("LAYER");
    sub->add_option("-o,--output", b.out, "the folder to write to; made if need be")->required()->type_name("DIR");
    sub->add_option("--batch", b.batches, "rows of the forward passes: a function for each number (default 1)")
        ->delimiter(',')
        ->check(CLI::Range(int64_t{1}, int64_t{1} << 40))
        ->type_name("N,N…");
    sub->add_flag("--train", b.train, "also the training step: forward, backward and optimizer in one call");
    sub->add_option("--step", b.line, "the line of the `minimize`, where the program has several")
        ->check(CLI::PositiveNumber)
        ->type_name("LINE");
    sub->add_option("--weights", b.weights, "a safetensors file; without: the initial values by the program's seed")
        ->type_name("FILE");
    sub->add_flag("--weights-beside", b.beside, "weights in a file beside the library instead of inside");
    sub->add_option("--cpu", b.cpu, "the CPU to run on: native, avx512, avx2 or generic")
        ->capture_default_str()
        ->check(CLI::IsMember({"native", "avx512", "avx2", "generic"}))
        ->type_name("CPU");
    sub->add_option("--prefix", b.prefix, "of all names in C (default: from the layer's name)")->type_name("NAME");
    sub->add_flag("--force", b.force, "replace files that nnlc build didn't write");
    sub->footer("The configs of the program are options here too: `nnlc build FILE --hidden 64 --export Net -o out`.");
  }
  void device_option(CLI::App* sub) {
    sub->add_option("--device", o.device,
                    "where to compute: cpu, cuda, or auto: a GPU if there is one; also by NNLC_DEVICE")
        ->capture_default_str()
        ->check(CLI::IsMember(kDevices))
        ->type_name("DEVICE");
  }
  void machine_options(CLI::App* sub) {
    sub->add_option("--threads", o.threads,
                    "at most so many threads (a small step takes fewer); 0: as many as the process may use")
        ->check(CLI::Range(0, 1024))
        ->type_name("N");
    // For the developers of nnlc.
    const std::string developers = "For developers of nnlc";
    sub->add_option("--backend", o.backend, "cpu, or ref: the slow reference evaluator")
        ->check(CLI::IsMember({"cpu", "ref"}))
        ->type_name("BACKEND")
        ->group(developers);
    sub->add_flag("--verify-each", o.verify_each, "run the verifier after every pass")->group(developers);
    sub->add_flag("--time-passes", o.time_passes, "print how long each pass took")->group(developers);
    std::vector<std::string> passes;
    for (const Pass& pass : graph_passes()) passes.emplace_back(pass.name);
    std::vector<std::string> or_all = passes;
    or_all.emplace_back("all");
    sub->add_option("--print-ir-after", o.print_ir_after, "print graphs after this pass, or `all`")
        ->check(CLI::IsMember(or_all))
        ->type_name("PASS")
        ->group(developers);
    sub->add_option("--disable-pass", o.disabled_passes, "leave this pass out")
        ->check(CLI::IsMember(passes))
        ->delimiter(',')
        ->type_name("PASS")
        ->group(developers);
  }
};

}  // namespace

std::set<std::string> option_names() {
  Parser parser;
  std::set<std::string> out;
  for (const char* command : kWithConfigs)
    for (const CLI::Option* option : parser.app.get_subcommand(command)->get_options())
      for (std::string name : option->get_lnames()) {
        std::replace(name.begin(), name.end(), '-', '_');
        if (name.starts_with("no_")) out.insert(name.substr(3));
        out.insert(std::move(name));
      }
  return out;
}

std::string run_help() {
  Parser parser;
  return parser.run->help("nnlc");
}

Options parse_options(int argc, char** argv, int& exit_status) {
  exit_status = -1;
  Parser p;
  try {
    p.app.parse(p.set_configs_aside(argc, argv));
  } catch (const CLI::CallForHelp& e) {
    p.app.exit(e, std::cout, std::cerr);
    exit_status = kDone;
    return p.o;
  } catch (const CLI::ParseError& e) {
    std::vector<std::string> names;
    for (const CLI::App* sub : p.app.get_subcommands({})) names.push_back(sub->get_name());
    std::cerr << "nnlc: " << e.what() << '\n';
    // CLI11 takes an unknown command for a stray argument.
    if (argc > 1 && argv[1][0] != '-' && std::find(names.begin(), names.end(), argv[1]) == names.end()) {
      if (auto near = nearest(argv[1], names)) std::cerr << "  did you mean `nnlc " << *near << "`?\n";
    }
    std::cerr << "  `nnlc --help` lists the commands and `nnlc COMMAND --help` their options\n";
    exit_status = kBadUsage;
    return p.o;
  }
  if (p.version) {
    std::cout << version_text();
    exit_status = kDone;
    return p.o;
  }
  auto chosen = p.app.get_subcommands();
  if (chosen.empty()) {
    std::cerr << p.app.help();
    exit_status = kBadUsage;
    return p.o;
  }
  p.o.command = chosen[0]->get_name();
  for (const auto& [name, what] : kNotYet) {
    if (p.o.command == name) {
      std::cerr << fmt::format("nnlc: `nnlc {}` is not supported yet\n", name);
      exit_status = kBadUsage;
      return p.o;
    }
  }
  // CLI11 would read the variable for commands that weren't given too, into what the command shares with them.
  const CLI::Option* device = chosen[0]->get_option_no_throw("--device");
  const char* variable = std::getenv("NNLC_DEVICE");
  if (device && device->count() == 0 && variable && *variable) {
    p.o.device = variable;
    if (std::find(kDevices.begin(), kDevices.end(), p.o.device) == kDevices.end()) {
      std::cerr << fmt::format("nnlc: NNLC_DEVICE={}: it is one of {}\n", variable, fmt::join(kDevices, ", "));
      exit_status = kBadUsage;
      return p.o;
    }
  }
  if (!p.file.empty()) p.o.files.push_back(p.file);
  if (!p.second_file.empty()) p.o.files.push_back(p.second_file);
  if (p.o.command == "run" && p.file.empty() && !p.o.help) {
    std::cerr << "nnlc: which program? `nnlc run FILE`\n";
    exit_status = kBadUsage;
  }
  return p.o;
}

std::string match_configs(const std::vector<std::string>& rest,
                          const std::vector<std::pair<std::string, std::string>>& configs,
                          std::map<std::string, std::string>& values) {
  for (size_t i = 0; i < rest.size(); ++i) {
    const std::string& word = rest[i];
    if (word.rfind("--", 0) != 0 || word.size() == 2) return fmt::format("`{}` is not an option of the program", word);
    size_t equals = word.find('=');
    std::string name = word.substr(2, equals == std::string::npos ? std::string::npos : equals - 2);
    for (char& c : name) c = c == '-' ? '_' : c;
    auto type_of = [&](const std::string& n) -> const std::string* {
      for (const auto& [config, type] : configs)
        if (config == n) return &type;
      return nullptr;
    };
    const std::string* type = type_of(name);
    if (!type && name.rfind("no_", 0) == 0 && equals == std::string::npos) {
      type = type_of(name.substr(3));
      if (type && *type == "bool") {
        values[name.substr(3)] = "false";
        continue;
      }
      type = nullptr;
    }
    if (!type) {
      std::vector<std::string> names;
      for (const auto& c : configs) names.push_back(c.first);
      if (auto near = nearest(name, names); !near) {
        const std::set<std::string> own = option_names();
        names.assign(own.begin(), own.end());
        near = nearest(name, names);
        if (near) {
          return fmt::format("neither the program nor nnlc has an option `{}`: did you mean `{}`?", word,
                             as_option(*near));
        }
        names.clear();
        for (const auto& c : configs) names.push_back(c.first);
      }
      std::string message = fmt::format("the program has no config `{}`", name);
      if (auto near = nearest(name, names))
        message += fmt::format(": did you mean `{}`?", as_option(*near));
      else if (names.empty())
        message += ", nor any other";
      return message;
    }
    if (equals != std::string::npos) {
      values[name] = word.substr(equals + 1);
    } else if (*type == "bool" && (i + 1 == rest.size() || (rest[i + 1] != "true" && rest[i + 1] != "false"))) {
      values[name] = "true";
    } else {
      if (i + 1 == rest.size()) return fmt::format("`{}` needs a value of type {}", word, *type);
      values[name] = rest[++i];
    }
  }
  return {};
}

}  // namespace nnlc::driver
