// Elementary functions as vector code: our own polynomials for f32, libm lane by lane for f64.
//
// x is f32 or f64, a scalar or a vector of any length; results have its type. Infinities, NaN, signed zeros and
// denormals come out as C's functions define them. The f32 versions are within 1.5 units of the last place for all
// arguments, with and without fma (tested); pow within 1. sin and cos may add basic blocks (arguments beyond 2^17 call
// libm), so the insertion block can change.
#pragma once
#include "compiler/codegen/cpu/ir_builder.h"

namespace nnlc::codegen::cpu {

llvm::Value* emit_exp(Builder& b, llvm::Value* x);
llvm::Value* emit_expm1(Builder& b, llvm::Value* x);
llvm::Value* emit_log(Builder& b, llvm::Value* x);
llvm::Value* emit_log1p(Builder& b, llvm::Value* x);
llvm::Value* emit_tanh(Builder& b, llvm::Value* x);
llvm::Value* emit_erf(Builder& b, llvm::Value* x);
llvm::Value* emit_sin(Builder& b, llvm::Value* x);
llvm::Value* emit_cos(Builder& b, llvm::Value* x);
llvm::Value* emit_pow(Builder& b, llvm::Value* x, llvm::Value* y);
llvm::Value* emit_rsqrt(Builder& b, llvm::Value* x);

}  // namespace nnlc::codegen::cpu
