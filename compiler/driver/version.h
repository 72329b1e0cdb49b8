// What `nnlc --version` says.
#pragma once
#include <string>

namespace nnlc::driver {

/// "nnlc 0.1.0", then a line on the backend: LLVM's version and the CPU features in use.
std::string version_text();

}  // namespace nnlc::driver
