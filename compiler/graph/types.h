// Element types and tensor types.
#pragma once
#include <optional>
#include <string>
#include <string_view>

#include "compiler/graph/dim.h"
#include "runtime/abi.h"

namespace nnlc::graph {

/// The numbering is that of runtime/abi.h.
enum class DType : uint8_t {
  boolean = NNL_BOOL,
  u8 = NNL_U8,
  i8 = NNL_I8,
  i16 = NNL_I16,
  i32 = NNL_I32,
  i64 = NNL_I64,
  f16 = NNL_F16,
  bf16 = NNL_BF16,
  f32 = NNL_F32,
  f64 = NNL_F64
};
std::string_view name(DType t);  ///< "f32", "bool"
std::optional<DType> dtype_from_name(std::string_view s);
size_t size_bytes(DType t);
inline bool is_float(DType t) { return t >= DType::f16; }
inline bool is_int(DType t) { return t >= DType::u8 && t <= DType::i64; }

struct TensorType {
  DType dtype = DType::f32;
  Shape shape;
  size_t rank() const { return shape.size(); }
  /// Python-like: dim(-1) is the last.
  const Dim& dim(int i) const { return shape[i < 0 ? shape.size() + i : i]; }
  std::string str() const;  ///< "f32[N, 784]"
  friend bool operator==(const TensorType&, const TensorType&) = default;
};

}  // namespace nnlc::graph
