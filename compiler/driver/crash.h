// What happens when nnlc itself is wrong: it says so, writes a report, and exits with 4.
#pragma once
#include <string>

namespace nnlc::driver {

/// Remembers the command line for reports and takes the signals of crashes (on a stack of its own, so that running out
/// of stack is reported too).
void install_crash_handler(int argc, char** argv);
/// For an exception that reached main.
[[noreturn]] void die_of_bug(const std::string& what);

}  // namespace nnlc::driver
