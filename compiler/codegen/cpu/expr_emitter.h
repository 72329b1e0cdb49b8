// Expressions of the kernel form as LLVM values: scalars where nothing changes along the vector axis, vectors where it
// does.
#pragma once
#include <optional>
#include <vector>

#include "compiler/codegen/cpu/ir_builder.h"
#include "compiler/loop/kernel.h"

namespace nnlc::codegen::cpu {

/// Element in memory (bool: i8, bf16: i16) and in a register (bool: i1, f16 and bf16: float).
llvm::Type* memory_type(Builder& b, graph::DType t);
llvm::Type* register_type(Builder& b, graph::DType t);
/// Conversions between the two; v is a scalar or a vector.
llvm::Value* from_memory(Builder& b, llvm::Value* v, graph::DType t);
llvm::Value* to_memory(Builder& b, llvm::Value* v, graph::DType t);

class ExprEmitter {
 public:
  ExprEmitter(Builder& b, const loop::Kernel& k, std::vector<llvm::Value*> args);

  Builder& b;
  const loop::Kernel& k;
  std::vector<llvm::Value*> args;
  int vector_axis = -1, lanes = 1;
  bool aligned = true;               ///< lane 0 of the vector axis stands at multiples of `lanes`
  llvm::Value* mask = nullptr;       ///< lanes of the vector axis that exist; null: all
  std::vector<llvm::Value*> axis;    ///< the axes' values, null outside their loops; of the vector axis that of lane 0
  std::vector<llvm::Value*> values;  ///< of expressions, null until emitted

  uint64_t depends(int expr) const { return depends_[expr]; }
  bool varies(int expr) const { return vector_axis >= 0 && (depends_[expr] >> vector_axis & 1); }
  bool varies(const loop::Affine& a) const;
  /// The value, emitted at the insertion point if it isn't there yet. Results of reductions must have been put into
  /// `values`.
  llvm::Value* get(int expr);
  /// get(), as a vector if the vector axis exists.
  llvm::Value* wide(llvm::Value* v) { return lanes > 1 && !v->getType()->isVectorTy() ? b.splat(v, lanes) : v; }
  /// i64: a scalar, or a vector where the offset changes unevenly along the lanes.
  llvm::Value* offset(const loop::Affine& a);
  void store(const loop::Store& s, llvm::Value* v);
  uint64_t axes_of(const loop::Affine& a) const;

 private:
  llvm::Value* emit(const loop::Expr& e, int id);
  llvm::Value* load(const loop::Expr& e, bool varying);
  bool whole_blocks(const loop::Affine& a) const;
  llvm::Value* random(const loop::Expr& e, bool varying);
  llvm::Value* cast(llvm::Value* v, graph::DType from, graph::DType to);
  llvm::Value* integer_op(const loop::Expr& e, llvm::Value* x, llvm::Value* y, graph::DType t);
  llvm::Value* float_op(const loop::Expr& e, llvm::Value* x, llvm::Value* y);
  /// Offset of lane 0, without dynamic terms that are vectors; `stride` along the lanes; `dynamic`: the vector terms,
  /// or null.
  llvm::Value* split_offset(const loop::Affine& a, int64_t& stride, llvm::Value*& dynamic);
  std::vector<uint64_t> depends_;
};

}  // namespace nnlc::codegen::cpu
