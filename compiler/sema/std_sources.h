// The standard library's source, put into the compiler when it is built.
#pragma once
#include <vector>

namespace nnlc::sema {

struct StdSource {
  const char* name;
  const char* text;
};
extern const std::vector<StdSource> kStdSources;

}  // namespace nnlc::sema
