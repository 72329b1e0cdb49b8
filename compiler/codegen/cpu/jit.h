// From LLVM modules to callable code: target choice, a short pass list, code generation behind the object cache,
// linking.
#pragma once
#include <llvm/IR/LLVMContext.h>
#include <llvm/IR/Module.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "compiler/codegen/backend.h"

namespace nnlc::codegen::cpu {

/// What kernels are generated for. Everything a generator decides by (tile sizes, lane counts) comes from here.
struct Target {
  std::string level;  ///< "avx512", "avx2", "generic" (SSE2), or "other" on a machine that isn't x86-64
  std::string triple;
  std::string cpu;       ///< as LLVM names it: "znver4", "x86-64-v3"
  std::string features;  ///< LLVM feature string, "+avx2,+fma,..."
  int vector_bytes = 16;
  int registers = 16;  ///< vector registers
  bool fma = false;    ///< false: Builder::fma rounds twice, since a call of libm per lane would be far slower
  bool avx512 = false;
  int64_t l1_bytes = 32 * 1024, l2_bytes = 512 * 1024;

  int lanes(int element_bytes) const { return vector_bytes / element_bytes; }
  int f32_lanes() const { return vector_bytes / 4; }
  int f64_lanes() const { return vector_bytes / 8; }
};

/// features: "native", "avx512", "avx2" or "generic"; empty: NNLC_CPU from the environment, else native. Nothing if the
/// name is unknown (`error` then says so).
std::optional<Target> select_target(const std::string& features, std::string* error = nullptr);
/// Whether this machine can run code for the target.
bool runs_here(const Target& target);

/// A module together with its context: modules are compiled in parallel, hence a context each.
struct IrModule {
  std::unique_ptr<llvm::LLVMContext> context;
  std::unique_ptr<llvm::Module> module;
};

/// An empty module with the target's layout and triple; the target may be one that this machine can't run.
IrModule new_module(const Target& target, const std::string& name);
/// A relocatable object, not linked; for building ahead of time.
std::string object_code(const Target& target, IrModule module);

struct JitStats {
  int modules = 0, cache_hits = 0;
  double passes_s = 0, codegen_s = 0, link_s = 0;
  int64_t object_bytes = 0;
};

/// Compiled code lives as long as its Jit. The public functions may be called from one thread at a time.
class Jit {
 public:
  /// Throws std::runtime_error if the target can't be used on this machine or LLVM can't be set up.
  explicit Jit(const CpuOptions& options);
  ~Jit();
  Jit(const Jit&) = delete;
  Jit& operator=(const Jit&) = delete;

  const Target& target() const;
  /// An empty module with this target's layout and triple.
  IrModule new_module(const std::string& name) const;
  /// A name for code that is compiled from now on; for functions the process doesn't export.
  void define(const std::string& symbol, void* address);
  /// Compiles the modules (on up to options.threads threads, each from the cache if it is there) and links them
  /// together: an external function of one is seen by the others, by libm's and by the process' names. Returns the
  /// addresses of `symbols`. A module that doesn't verify or a name nobody defines is a bug of the generator:
  /// std::runtime_error with LLVM's text.
  std::vector<void*> compile(std::vector<IrModule> modules, const std::vector<std::string>& symbols);
  void* compile(IrModule module, const std::string& symbol);
  /// The module after the passes, as text; for `nnlc emit --stage llvm`.
  std::string optimized_text(IrModule module) const;
  /// Assembly; for `nnlc emit --stage asm`.
  std::string assembly(IrModule module) const;
  /// A relocatable object, not linked; for building ahead of time.
  std::string object(IrModule module) const;

  const JitStats& stats() const;
  std::string describe() const;  ///< "LLVM 22.1.8, avx512 (sapphirerapids)"

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace nnlc::codegen::cpu
