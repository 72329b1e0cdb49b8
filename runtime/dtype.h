// Sizes and names of the element types of abi.h.
#pragma once
#include <cstdint>

#include "runtime/abi.h"

namespace nnl {

inline constexpr int kDtypes = 10;
inline int64_t element_bytes(int dtype) {
  constexpr int64_t sizes[kDtypes] = {1, 1, 1, 2, 4, 8, 2, 2, 4, 8};
  return sizes[dtype];
}
/// As NNL writes it: "f32".
inline const char* dtype_name(int dtype) {
  constexpr const char* names[kDtypes] = {"bool", "u8", "i8", "i16", "i32", "i64", "f16", "bf16", "f32", "f64"};
  return names[dtype];
}

}  // namespace nnl
