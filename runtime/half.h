// Conversions between f32 and the two 16-bit float types, rounding to nearest, ties to even.
// Header only: the compiler's evaluator and the runtime both use them.
#ifndef NNL_RUNTIME_HALF_H
#define NNL_RUNTIME_HALF_H
#include <cmath>
#include <cstdint>
#include <cstring>

namespace nnl {

inline uint32_t f32_bits(float x) {
  uint32_t b;
  std::memcpy(&b, &x, sizeof b);
  return b;
}
inline float f32_from_bits(uint32_t b) {
  float x;
  std::memcpy(&x, &b, sizeof x);
  return x;
}

inline float bf16_to_f32(uint16_t h) { return f32_from_bits(static_cast<uint32_t>(h) << 16); }

inline uint16_t f32_to_bf16(float x) {
  uint32_t b = f32_bits(x);
  if ((b & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((b >> 16) | 0x40u);  // NaN stays NaN
  return static_cast<uint16_t>((b + 0x7fffu + ((b >> 16) & 1u)) >> 16);
}

inline float f16_to_f32(uint16_t h) {
  uint32_t sign = static_cast<uint32_t>(h & 0x8000u) << 16, exponent = (h >> 10) & 0x1fu, mantissa = h & 0x3ffu;
  if (exponent == 0) {  // zero or subnormal: mantissa * 2^-24
    float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return f32_from_bits(sign | f32_bits(magnitude));
  }
  if (exponent == 31) return f32_from_bits(sign | 0x7f800000u | (mantissa << 13));
  return f32_from_bits(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

inline uint16_t f32_to_f16(float x) {
  uint32_t b = f32_bits(x), sign = (b >> 16) & 0x8000u, magnitude = b & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu));
  if (magnitude >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);  // rounds to 65536 or more
  if (magnitude < 0x38800000u) {  // below 2^-14: a multiple of 2^-24; the conversion to integer rounds half to even
    float scaled = f32_from_bits(magnitude) * 0x1p24f;
    return static_cast<uint16_t>(sign | static_cast<uint32_t>(std::nearbyint(scaled)));
  }
  uint32_t rebased = magnitude - (112u << 23);
  return static_cast<uint16_t>(sign | ((rebased + 0xfffu + ((rebased >> 13) & 1u)) >> 13));
}

/// Rounds a double once, straight to 16 bits: going through f32 would round twice.
inline uint16_t f64_to_16(double x, uint16_t (*from_f32)(float)) {
  float f = static_cast<float>(x);
  // Round to odd: an inexact f32 whose last bit is even moves one step towards x, so that ties are seen to be none.
  if (!std::isnan(x) && !std::isinf(f) && static_cast<double>(f) != x) {
    uint32_t b = f32_bits(f);
    if ((b & 1u) == 0) {
      bool away = std::fabs(x) > std::fabs(static_cast<double>(f));
      f = f32_from_bits(away ? b + 1 : b - 1);
      if (b << 1 == 0) f = std::copysign(f32_from_bits(1), static_cast<float>(x < 0 ? -1 : 1));
    }
  }
  return from_f32(f);
}
inline uint16_t f64_to_f16(double x) { return f64_to_16(x, f32_to_f16); }
inline uint16_t f64_to_bf16(double x) { return f64_to_16(x, f32_to_bf16); }

}  // namespace nnl
#endif
