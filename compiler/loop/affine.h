// Index maps: sums of `coefficient * axis`. Every movement op (slice, flip, window, broadcast, permute, most reshapes)
// turns one into another, so that a fused kernel reads through them and nothing is copied.
#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace nnlc::loop {

/// Terms with an id below kDynamic name a kernel's axis; the others a value computed by the kernel (an index that was
/// loaded): id - kDynamic counts Kernel::dynamics.
inline constexpr int kDynamic = 64;

struct Affine {
  int64_t constant = 0;
  std::vector<std::pair<int, int64_t>> terms;  ///< by rising id, coefficients not 0

  Affine() = default;
  Affine(int64_t c) : constant(c) {}  // NOLINT: implicit on purpose
  static Affine axis(int id, int64_t coefficient = 1);

  int64_t coefficient(int id) const;
  bool is_constant() const { return terms.empty(); }
  Affine operator+(const Affine& b) const;
  Affine operator*(int64_t f) const;
  friend bool operator==(const Affine&, const Affine&) = default;
  friend auto operator<=>(const Affine&, const Affine&) = default;
  std::string str() const;  ///< "3 + 28*a0 + a1"; dynamic terms are d0, d1
};

/// One index for each dimension of a tensor.
using Index = std::vector<Affine>;

/// Row-major element strides.
std::vector<int64_t> row_major(const std::vector<int64_t>& sizes);
/// The offset of `index` in a dense tensor.
Affine flatten(const Index& index, const std::vector<int64_t>& sizes);

}  // namespace nnlc::loop
