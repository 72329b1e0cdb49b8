// What every command does first: read a file, compile it, print what is to be said about it.
#pragma once
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "compiler/codegen/backend.h"
#include "compiler/driver/options.h"
#include "compiler/host/program.h"
#include "compiler/sema/sema.h"
#include "compiler/support/diagnostics.h"

namespace nnlc::driver {

/// One compilation with its own sources and diagnostics.
class Session {
 public:
  explicit Session(const Options& options) : options(options) {}

  const Options& options;
  SourceManager sources;
  Diagnostics diags;
  uint32_t file = 0;

  /// Reads the program's text. False with a message on stderr.
  bool load(const std::string& path);
  /// load(), then Options::rest against the program's configs. Gives an exit status if that goes wrong.
  std::optional<int> prepare(const std::string& path);
  /// Also checks that the graph of every step verifies.
  std::unique_ptr<host::Program> compile(bool tests = false);
  /// Prints what hasn't been printed yet, sorted by place, and gives the exit status it asks for.
  int finish();
  /// For commands on several files: a second compilation of one file says the same things again, and `printed` is
  /// shared.
  std::set<std::string>* printed = nullptr;

  sema::CompileOptions compile_options;
  std::vector<sema::ConfigInfo> configs;
};

/// Null with a message on stderr if the options ask for a device that isn't there.
std::unique_ptr<codegen::Backend> make_backend(const Options& options);
/// For `--color`: whether standard error takes colour.
bool use_color(const Options& options);

// The commands, each giving the exit status.
int run_command(const Options& options);  // commands_run.cpp
int test_command(const Options& options);
int check_command(const Options& options);  // commands_check.cpp
int fmt_command(const Options& options);
int emit_command(const Options& options);  // commands_show.cpp
int hash_command(const Options& options);
int devices_command(const Options& options);
int opt_command(const Options& options);
int summary_command(const Options& options);  // commands_summary.cpp
int explain_program(const Options& options);  // commands_explain.cpp
int build_command(const Options& options);    // commands_build.cpp
int explain_command(const Options& options);  // commands_doc.cpp
int doc_command(const Options& options);
int diff_command(const Options& options);  // commands_diff.cpp
int new_command(const Options& options);   // commands_new.cpp

}  // namespace nnlc::driver
