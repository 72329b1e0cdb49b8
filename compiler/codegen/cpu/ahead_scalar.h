// Scalar code of functions built ahead of time as LLVM IR.
#pragma once
#include "compiler/codegen/cpu/ahead.h"
#include "compiler/codegen/cpu/ir_builder.h"

namespace nnlc::codegen::cpu {

/// `slots`: where each variable lives (its type's alloca). Control goes to `give_up` where the executor would stop.
void emit_scalars(Builder& b, const std::vector<Scalar>& code, const std::vector<AheadVariable>& variables,
                  const std::vector<llvm::Value*>& slots, llvm::BasicBlock* give_up);

}  // namespace nnlc::codegen::cpu
