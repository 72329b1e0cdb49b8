// What printed kernels call. It goes before each of them, so NVRTC needs no header of CUDA's; the simulator compiles the same text for the
// CPU. Numbers follow the op table: NaN wins in max and min, ints wrap, division rounds down and gives 0 for a zero divisor.
typedef long long i64;
typedef unsigned long long u64;
typedef int i32;
typedef unsigned int u32;
typedef short i16;
typedef unsigned short u16;
typedef signed char i8;
typedef unsigned char u8;

#ifndef NNL_ON_HOST
#define NNL_SHARED(name) extern __shared__ __align__(16) unsigned char name[]
#define NNL_KERNEL(name)
#endif
#define NNL_DEVICE static __device__ __forceinline__
#define NNL_INFINITY __int_as_float(0x7f800000)

// ---- 16-bit floats, rounded to nearest, ties to even
NNL_DEVICE float nnl_from_bf16(u16 h) { return __uint_as_float((u32)h << 16); }
NNL_DEVICE u16 nnl_to_bf16(float x) {
  u32 b = __float_as_uint(x);
  if ((b & 0x7fffffffu) > 0x7f800000u) return (u16)((b >> 16) | 0x40u);
  return (u16)((b + 0x7fffu + ((b >> 16) & 1u)) >> 16);
}
NNL_DEVICE float nnl_from_f16(u16 h) {
  u32 sign = (u32)(h & 0x8000u) << 16, exponent = (h >> 10) & 0x1fu, mantissa = h & 0x3ffu;
  if (exponent == 0) return __uint_as_float(sign | __float_as_uint((float)mantissa * 5.9604644775390625e-8f));
  if (exponent == 31) return __uint_as_float(sign | 0x7f800000u | (mantissa << 13));
  return __uint_as_float(sign | ((exponent + 112) << 23) | (mantissa << 13));
}
NNL_DEVICE u16 nnl_to_f16(float x) {
  u32 b = __float_as_uint(x), sign = (b >> 16) & 0x8000u, a = b & 0x7fffffffu;
  if (a > 0x7f800000u) return (u16)(sign | 0x7e00u);
  if (a >= 0x477ff000u) return (u16)(sign | 0x7c00u);
  if (a < 0x38800000u) return (u16)(sign | (u32)rintf(__uint_as_float(a) * 16777216.0f));
  u32 rebased = a - (112u << 23);
  return (u16)(sign | ((rebased + 0xfffu + ((rebased >> 13) & 1u)) >> 13));
}
NNL_DEVICE float nnl_round_bf16(float x) { return nnl_from_bf16(nnl_to_bf16(x)); }
NNL_DEVICE float nnl_round_f16(float x) { return nnl_from_f16(nnl_to_f16(x)); }

// ---- floats to ints: truncated, cut off at the ends of i64, NaN is 0
NNL_DEVICE i64 nnl_to_i64(double x) {
  if (x != x) return 0;
  if (x >= 9223372036854775808.0) return 9223372036854775807ll;
  if (x < -9223372036854775808.0) return (-9223372036854775807ll - 1);
  return (i64)x;
}

// ---- floats
NNL_DEVICE float nnl_max(float a, float b) { return a != a ? a : a > b ? a : b; }
NNL_DEVICE double nnl_max(double a, double b) { return a != a ? a : a > b ? a : b; }
NNL_DEVICE float nnl_min(float a, float b) { return a != a ? a : a < b ? a : b; }
NNL_DEVICE double nnl_min(double a, double b) { return a != a ? a : a < b ? a : b; }
NNL_DEVICE float nnl_sign(float a) { return a > 0.0f ? 1.0f : a < 0.0f ? -1.0f : a != a ? a : 0.0f; }
NNL_DEVICE double nnl_sign(double a) { return a > 0.0 ? 1.0 : a < 0.0 ? -1.0 : a != a ? a : 0.0; }
NNL_DEVICE float nnl_rem(float a, float b) {
  float r = fmodf(a, b);
  return r != 0.0f && (r < 0.0f) != (b < 0.0f) ? r + b : r;
}
NNL_DEVICE double nnl_rem(double a, double b) {
  double r = fmod(a, b);
  return r != 0.0 && (r < 0.0) != (b < 0.0) ? r + b : r;
}

// ---- ints: through u64, where overflow wraps
template <class T> NNL_DEVICE T nnl_add(T a, T b) { return (T)((u64)a + (u64)b); }
template <class T> NNL_DEVICE T nnl_sub(T a, T b) { return (T)((u64)a - (u64)b); }
template <class T> NNL_DEVICE T nnl_mul(T a, T b) { return (T)((u64)a * (u64)b); }
template <class T> NNL_DEVICE T nnl_neg(T a) { return (T)(0ull - (u64)a); }
template <class T> NNL_DEVICE T nnl_abs(T a) { return a < 0 ? nnl_neg(a) : a; }
template <class T> NNL_DEVICE T nnl_isign(T a) { return (T)((a > 0) - (a < 0)); }
template <class T> NNL_DEVICE T nnl_imax(T a, T b) { return a > b ? a : b; }
template <class T> NNL_DEVICE T nnl_imin(T a, T b) { return a < b ? a : b; }
template <class T> NNL_DEVICE T nnl_idiv(T a, T b) {
  if (b == 0) return 0;
  if (b + 1 == 0 && (T)-1 < 0) return nnl_neg(a);
  T q = (T)(a / b), r = (T)(a % b);
  return r != 0 && (r < 0) != (b < 0) ? (T)(q - 1) : q;
}
template <class T> NNL_DEVICE T nnl_irem(T a, T b) {
  if (b == 0 || (b + 1 == 0 && (T)-1 < 0)) return 0;
  T r = (T)(a % b);
  return r != 0 && (r < 0) != (b < 0) ? (T)(r + b) : r;
}
template <class T> NNL_DEVICE T nnl_ipow(T a, T b) {
  if (b < 0) return a == 1 ? (T)1 : a + 1 == 0 ? ((u64)b & 1 ? (T)-1 : (T)1) : (T)0;
  T r = 1;
  for (; b != 0; b = (T)(b >> 1), a = nnl_mul(a, a))
    if (b & 1) r = nnl_mul(r, a);
  return r;
}

// ---- Philox4x32-10 (Salmon, Moraes, Dror and Shaw, SC 2011), counted by element: the words that the CPU draws
struct nnl_words { u32 w[4]; };
NNL_DEVICE nnl_words nnl_philox(u64 key, u64 step, u64 block) {
  u32 c0 = (u32)block, c1 = (u32)(block >> 32), c2 = (u32)step, c3 = (u32)(step >> 32);
  u32 k0 = (u32)key, k1 = (u32)(key >> 32);
  for (int round = 0; round < 10; ++round) {
    u32 h0 = __umulhi(0xD2511F53u, c0), l0 = 0xD2511F53u * c0, h1 = __umulhi(0xCD9E8D57u, c2), l1 = 0xCD9E8D57u * c2;
    c0 = h1 ^ c1 ^ k0, c1 = l1, c2 = h0 ^ c3 ^ k1, c3 = l0;
    k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
  }
  nnl_words out;
  out.w[0] = c0, out.w[1] = c1, out.w[2] = c2, out.w[3] = c3;
  return out;
}
NNL_DEVICE u32 nnl_word(const nnl_words& w, u32 i) { return i & 2 ? (i & 1 ? w.w[3] : w.w[2]) : (i & 1 ? w.w[1] : w.w[0]); }
NNL_DEVICE i64 nnl_random_bits(u64 key, u64 step, u64 element) {
  return (i64)nnl_word(nnl_philox(key, step, element >> 2), (u32)element & 3);
}
NNL_DEVICE float nnl_random_uniform(u64 key, u64 step, u64 element) {
  return (float)((u32)nnl_random_bits(key, step, element) >> 8) * 5.9604644775390625e-8f;
}
NNL_DEVICE float nnl_random_normal(u64 key, u64 step, u64 element) {
  nnl_words w = nnl_philox(key, step, element >> 2);
  u32 pair = (u32)element & 2;
  double u = ((double)(nnl_word(w, pair) >> 8) + 1.0) * 5.9604644775390625e-8;
  double v = (double)(nnl_word(w, pair + 1) >> 8) * 5.9604644775390625e-8;
  double radius = sqrt(-2.0 * log(u)), angle = 6.283185307179586476925 * v;
  return (float)(radius * (element & 1 ? sin(angle) : cos(angle)));
}

// ---- reductions: a better pair of value and place, the first of equals, the first NaN if there is one
template <class T> NNL_DEVICE bool nnl_before(T v, i64 at, T best, i64 best_at, bool largest) {
  bool v_nan = v != v, best_nan = best != best;
  if (v_nan != best_nan) return v_nan;
  if (!v_nan && v != best) return largest ? v > best : v < best;
  return at < best_at;
}
