// CUDA C++ to machine code by NVRTC, with a cache on disk.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "compiler/codegen/cache/object_cache.h"
#include "compiler/codegen/cuda/libraries.h"

namespace nnlc::codegen::cuda {

struct Compiled {
  std::string code;  ///< CUBIN, or PTX
  std::string log;   ///< what the assembler reports: registers, spills
};

inline constexpr const char* kNoCache = "-";

class Compiler {
 public:
  /// Throws DeviceError where NVRTC isn't found. cache_dir: as ObjectCache, or kNoCache.
  explicit Compiler(const std::string& cache_dir, int wanted_major = 0);

  /// arch: "sm_90". ptx: the virtual form, for readers. Throws DeviceError where NVRTC doesn't know `arch`. That it
  /// refuses the source can only be a bug of the printer: std::logic_error, with its log.
  Compiled compile(const std::string& source, const std::string& arch, bool ptx = false);
  std::string describe() const;  ///< "NVRTC 12.8"
  const Nvrtc& nvrtc() const { return *nvrtc_; }

 private:
  void check_arch(const std::string& arch) const;
  std::unique_ptr<Nvrtc> nvrtc_;
  std::unique_ptr<ObjectCache> cache_;
};

}  // namespace nnlc::codegen::cuda
