// What the files of ops share: checks of type rules, loops of references, short forms for vjps. Not for others.
#pragma once
#include <cmath>
#include <string>

#include "compiler/ops/build.h"

namespace nnlc::graph {

#define NNLC_OP(name) extern const OpDef name##_op;
#include "compiler/ops/op_list.def"
#undef NNLC_OP

namespace detail {

using Types = std::span<const TensorType>;
using Refs = std::span<const RefTensor* const>;

inline int64_t int_of(const Attrs& a, const char* k) { return std::get<int64_t>(a.at(k)); }
inline const IntList& ints_of(const Attrs& a, const char* k) { return std::get<IntList>(a.at(k)); }
inline const Shape& shape_of(const Attrs& a, const char* k) { return std::get<Shape>(a.at(k)); }

inline bool valid_axis(int64_t axis, size_t rank) { return axis >= 0 && static_cast<size_t>(axis) < rank; }
inline std::string no_axis(int64_t axis, const TensorType& t) {
  return "there is no axis " + std::to_string(axis) + " in " + t.str();
}
/// Ascending, without repetition, all of them axes of a tensor with this rank.
bool ascending_axes(const IntList& axes, size_t rank);
bool negative(const Dim& d);  ///< provably, for a constant

// --- references

inline bool holds_floats(const RefTensor& t) { return is_float(t.type.dtype); }
inline double number(const RefTensor& t, size_t k) { return holds_floats(t) ? t.f[k] : static_cast<double>(t.i[k]); }
inline void set_zero(RefTensor& t, size_t k) { holds_floats(t) ? void(t.f[k] = 0) : void(t.i[k] = 0); }
inline void copy_element(RefTensor& to, size_t k, const RefTensor& from, size_t j) {
  if (holds_floats(to))
    to.f[k] = from.f[j];
  else
    to.i[k] = from.i[j];
}
inline size_t size_of(const RefTensor& t) { return holds_floats(t) ? t.f.size() : t.i.size(); }

std::vector<int64_t> strides_of(const std::vector<int64_t>& sizes);  ///< dense, row-major

/// Calls f(index, k) for each multi-index of `sizes` in row-major order; k counts them.
template <class F>
void for_each_index(const std::vector<int64_t>& sizes, F f) {
  for (int64_t s : sizes)
    if (s == 0) return;
  std::vector<int64_t> index(sizes.size(), 0);
  for (size_t k = 0;; ++k) {
    f(static_cast<const std::vector<int64_t>&>(index), k);
    size_t axis = sizes.size();
    while (axis > 0 && ++index[axis - 1] == sizes[axis - 1]) index[--axis] = 0;
    if (axis == 0) return;
  }
}

/// A tensor seen as [outer, n, inner] around one axis.
struct AxisView {
  int64_t outer = 1, n = 1, inner = 1;
  AxisView(const TensorType& t, int64_t axis);
  size_t at(int64_t o, int64_t i, int64_t r) const { return static_cast<size_t>((o * n + i) * inner + r); }
};

inline int64_t clamp_index(int64_t i, int64_t n) { return i < 0 ? 0 : i >= n ? n - 1 : i; }

/// Truncates; what doesn't fit in 64 bits goes to the nearest end, NaN to 0.
int64_t to_int(double x);
/// Rounds an element to what its dtype can hold.
double round_to(DType t, double x);
int64_t wrap_to(DType t, int64_t x);

// --- vjps: elementwise nodes with the type of their operands

inline Node* mul(Graph& g, Node* a, Node* b) { return binary(g, "mul", a, b, b->span); }
inline Node* add(Graph& g, Node* a, Node* b) { return binary(g, "add", a, b, b->span); }
inline Node* sub(Graph& g, Node* a, Node* b) { return binary(g, "sub", a, b, b->span); }
inline Node* div(Graph& g, Node* a, Node* b) { return binary(g, "div", a, b, b->span); }
inline Node* neg(Graph& g, Node* a) { return unary(g, "neg", a, a->span); }
inline Node* zeros(Graph& g, const Node* like) { return constant(g, 0, like->type, like->span); }
inline Node* filled(Graph& g, const Node* like, double v) { return constant(g, v, like->type, like->span); }

// Types for samples.
inline TensorType f64(std::initializer_list<int64_t> s) { return {DType::f64, Shape(s.begin(), s.end())}; }
inline TensorType i64(std::initializer_list<int64_t> s) { return {DType::i64, Shape(s.begin(), s.end())}; }
inline TensorType boolean(std::initializer_list<int64_t> s) { return {DType::boolean, Shape(s.begin(), s.end())}; }

}  // namespace detail
}  // namespace nnlc::graph
