#include "compiler/driver/version.h"

#include <fmt/format.h>

#include "compiler/codegen/backend.h"

namespace nnlc::driver {

std::string version_text() {
  std::string text = fmt::format("nnlc {}\n", NNLC_VERSION);
  if (auto backend = codegen::make_cpu_backend({})) text += backend->describe() + "\n";
  return text;
}

}  // namespace nnlc::driver
