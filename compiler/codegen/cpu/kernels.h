// Kernels of the loop form as LLVM functions, and those that are compiled ahead.
#pragma once
#include <string>

#include "compiler/codegen/cpu/ir_builder.h"
#include "compiler/loop/kernel.h"

namespace nnlc::codegen::cpu {

/// What every kernel looks like from outside: args as in Kernel::args, scratch shared by all threads.
using KernelFn = void (*)(void* const* args, uint8_t* scratch, int64_t thread, int64_t threads);

/// Defines `name` in the builder's module. threads: how many the step is planned for.
void emit_kernel(Builder& b, const loop::Kernel& k, const std::string& name, int threads);
/// Scratch of a kernel, for all threads together.
int64_t scratch_bytes(const loop::Kernel& k, const Target& target, int threads);

}  // namespace nnlc::codegen::cpu
