// Philox4x32-10, a counter-based generator: four random words for a counter and a key, with no state in between, so
// that any element of any draw can be had on its own, on any thread and device. Source: Salmon, Moraes, Dror and Shaw,
// "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
#ifndef NNL_RUNTIME_PHILOX_H
#define NNL_RUNTIME_PHILOX_H
#include <array>
#include <cmath>
#include <cstdint>

namespace nnl {

using PhiloxWords = std::array<uint32_t, 4>;

inline PhiloxWords philox4x32_10(PhiloxWords c, uint32_t key0, uint32_t key1) {
  for (int round = 0; round < 10; ++round) {
    uint64_t p0 = uint64_t{0xD2511F53u} * c[0], p1 = uint64_t{0xCD9E8D57u} * c[2];
    c = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ key0, static_cast<uint32_t>(p1),
         static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ key1, static_cast<uint32_t>(p0)};
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return c;
}

/// The four words of elements 4 * block .. 4 * block + 3 of the draw `key` at `step`.
inline PhiloxWords random_block(uint64_t key, uint64_t step, uint64_t block) {
  return philox4x32_10({static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32), static_cast<uint32_t>(step),
                        static_cast<uint32_t>(step >> 32)},
                       static_cast<uint32_t>(key), static_cast<uint32_t>(key >> 32));
}
inline uint32_t random_bits(uint64_t key, uint64_t step, uint64_t element) {
  return random_block(key, step, element / 4)[element % 4];
}
/// In [0, 1), a multiple of 2^-24: exact in f32.
inline float uniform_from_bits(uint32_t word) { return static_cast<float>(word >> 8) * 0x1p-24f; }
inline float random_uniform(uint64_t key, uint64_t step, uint64_t element) {
  return uniform_from_bits(random_bits(key, step, element));
}
/// Box-Muller over the words of the pair that the element is in; in double precision.
inline double random_normal(uint64_t key, uint64_t step, uint64_t element) {
  PhiloxWords w = random_block(key, step, element / 4);
  size_t pair = element % 4 / 2 * 2;
  double u = (static_cast<double>(w[pair] >> 8) + 1) * 0x1p-24, v = static_cast<double>(w[pair + 1] >> 8) * 0x1p-24;
  double radius = std::sqrt(-2 * std::log(u)), angle = 6.283185307179586476925 * v;
  return radius * (element % 2 == 0 ? std::cos(angle) : std::sin(angle));
}

}  // namespace nnl
#endif
