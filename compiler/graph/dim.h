// Dims: integer polynomials over named sizes, so that one set of shape rules serves both checking a layer for
// every N and compiling a step for N = 64. Two dims are equal when their normal forms are equal.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace nnlc::graph {

/// A sum of monomials with integer coefficients. A monomial is a product of atoms; an atom is a size's name or a
/// floor division `(p // q)` or remainder that could not be simplified (kept by its own normal form).
/// Constants are the common case and cost no allocation.
class Dim {
 public:
  Dim(int64_t constant = 0) : constant_(constant) {}  // NOLINT: implicit on purpose
  static Dim symbol(const std::string& name);

  bool is_constant() const { return !poly_; }
  /// The value of a constant dim; must not be called on another.
  int64_t value() const;

  friend Dim operator+(const Dim& a, const Dim& b);
  friend Dim operator-(const Dim& a, const Dim& b);
  friend Dim operator*(const Dim& a, const Dim& b);
  friend bool operator==(const Dim& a, const Dim& b);
  /// a / b when it divides exactly as polynomials; nullopt when it doesn't, or that can't be proved.
  static std::optional<Dim> exact_div(const Dim& a, const Dim& b);
  /// a // b, simplified where it is exact.
  static Dim floor_div(const Dim& a, const Dim& b);
  static Dim mod(const Dim& a, const Dim& b);
  /// Provably different for every value of the symbols (sizes are >= 1), e.g. N and N + 1. False when unknown.
  static bool never_equal(const Dim& a, const Dim& b);

  /// The symbols that occur, inside floor divisions too.
  std::vector<std::string> symbols() const;
  /// Replaces symbols; a result without symbols is constant.
  Dim substitute(const std::map<std::string, Dim>& values) const;
  /// If the dim is `a * s + b` for the one symbol s with constants a != 0 and b: solves it for `size`.
  /// nullopt if not linear in one unknown or not divisible.
  std::optional<std::pair<std::string, Dim>> solve(const Dim& size) const;
  std::string str() const;  ///< "N", "2 * N + 1", "H // 2"
  size_t hash() const;

 private:
  struct Poly;
  int64_t constant_;
  std::shared_ptr<const Poly> poly_;  ///< null: constant
};

using Shape = std::vector<Dim>;
std::string str(const Shape& s);  ///< "[N, 784]"
Dim element_count(const Shape& s);
bool is_constant(const Shape& s);
/// The sizes of a constant shape.
std::vector<int64_t> sizes(const Shape& s);

}  // namespace nnlc::graph
