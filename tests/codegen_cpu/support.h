// Shared by the tests of this folder.
#pragma once
#include <string>
#include <vector>

#include "compiler/codegen/cpu/jit.h"

/// The levels this machine can run.
inline std::vector<std::string> runnable_levels() {
  std::vector<std::string> names;
  for (const char* n : {"avx512", "avx2", "generic"})
    if (auto t = nnlc::codegen::cpu::select_target(n); t && runs_here(*t)) names.push_back(n);
  if (names.empty()) names.push_back("native");
  return names;
}

inline nnlc::codegen::CpuOptions uncached(const std::string& level) {
  nnlc::codegen::CpuOptions o;
  o.features = level;
  o.threads = 1;
  o.use_cache = false;
  return o;
}
