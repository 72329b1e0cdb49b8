// Deterministic operands for samples: floats apart from one another and from integers and zero, where functions have
// kinks.
#pragma once
#include <cmath>
#include <cstdint>

#include "compiler/ops/evaluate.h"

namespace nnlc::test {

class Numbers {
 public:
  explicit Numbers(uint64_t seed) : state_(seed * 2654435761u + 12345) {}
  double unit() {  // (0, 1)
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return (static_cast<double>(state_ >> 12) + 0.5) * 0x1p-52;
  }
  double between(double low, double high) { return low + (high - low) * unit(); }
  int64_t integer(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(unit() * static_cast<double>(high - low + 1));
  }

 private:
  uint64_t state_;
};

inline graph::RefTensor random_operand(const graph::TensorType& type, const graph::OpSample& s, Numbers& numbers) {
  graph::RefTensor t = graph::make_ref(type);
  for (double& x : t.f) do
      x = numbers.between(s.low, s.high);
    while (std::fabs(x - std::nearbyint(x)) < 0.02);
  for (int64_t& x : t.i)
    x = type.dtype == graph::DType::boolean ? numbers.integer(0, 1) : numbers.integer(s.int_low, s.int_high);
  return t;
}

}  // namespace nnlc::test
