// nnlc: one function per subcommand.
#include <cstdio>
#include <exception>
#include <iostream>
#include <new>

#include "compiler/driver/crash.h"
#include "compiler/driver/session.h"

int main(int argc, char** argv) {
  using namespace nnlc::driver;
  install_crash_handler(argc, argv);
  try {
    int status = -1;
    const Options options = parse_options(argc, argv, status);
    if (status >= 0) return status;
    constexpr struct {
      const char* name;
      int (*run)(const Options&);
    } commands[] = {{"run", run_command},     {"check", check_command},    {"test", test_command},
                    {"fmt", fmt_command},     {"emit", emit_command},      {"summary", summary_command},
                    {"hash", hash_command},   {"doc", doc_command},        {"explain", explain_command},
                    {"diff", diff_command},   {"new", new_command},        {"opt", opt_command},
                    {"build", build_command}, {"devices", devices_command}};
    for (const auto& command : commands) {
      if (options.command != command.name) continue;
      status = command.run(options);
      std::cout.flush();
      // A full disk behind a redirection mustn't look like success.
      if (std::fflush(stdout) != 0 || !std::cout) {
        std::cerr << "nnlc: can't write to standard output\n";
        return kFailed;
      }
      return status;
    }
    die_of_bug("the command `" + options.command + "` has no function");
  } catch (const std::bad_alloc&) {
    std::fputs("nnlc: out of memory\n", stderr);
    return kFailed;
  } catch (const std::exception& e) {
    die_of_bug(e.what());
  }
}
