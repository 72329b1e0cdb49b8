// Random numbers for generated data sets: counter-based, so that a row depends on seed and row number alone.
#pragma once
#include <cmath>
#include <cstdint>
#include <numbers>

namespace nnl::data {

/// SplitMix64 (Steele, Lea, Flood 2014), started from a hash of seed, stream and row.
class RowRandom {
 public:
  RowRandom(uint64_t seed, uint64_t stream, uint64_t row) : state_(mix(mix(mix(seed) ^ stream) ^ row)) {}
  uint64_t next() { return mix(state_ += 0x9E3779B97F4A7C15u); }
  /// In [0, 1), 53 bits.
  double uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }
  double uniform(double lo, double hi) { return lo + (hi - lo) * uniform(); }
  /// Box and Muller.
  double normal() {
    const double r = std::sqrt(-2.0 * std::log(1.0 - uniform()));
    return r * std::cos(2.0 * std::numbers::pi * uniform());
  }

 private:
  static uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }
  uint64_t state_;
};

}  // namespace nnl::data
