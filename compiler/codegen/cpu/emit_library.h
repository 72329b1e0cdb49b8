// Kernels of Kernel::Kind::library.
#pragma once
#include <vector>

#include "compiler/codegen/cpu/ir_builder.h"
#include "compiler/loop/kernel.h"

namespace nnlc::codegen::cpu {

/// Emits the share of one thread at the insertion point.
void emit_library(Builder& b, const loop::Kernel& k, const std::vector<llvm::Value*>& args, llvm::Value* scratch,
                  llvm::Value* thread, llvm::Value* threads);
/// For all threads together.
int64_t library_scratch_bytes(const loop::Kernel& k, int threads);

}  // namespace nnlc::codegen::cpu
