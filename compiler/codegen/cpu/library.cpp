// Kernels with an algorithm of their own: sorting, running sums, adding at places that are data. Each thread owns a
// part of the result and visits what belongs to it in the order of the operands, so sums have one order whatever the
// number of threads.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

#include "compiler/codegen/cpu/kernels.h"

namespace nnlc::codegen::cpu {

namespace {

using graph::DType;
using loop::Library;

struct Bf16 {
  uint16_t bits;
};
struct F16 {
  uint16_t bits;
};
double value(Bf16 v) {
  uint32_t u = uint32_t(v.bits) << 16;
  float f;
  std::memcpy(&f, &u, 4);
  return f;
}
double value(F16 v) {
  _Float16 h;
  std::memcpy(&h, &v.bits, 2);
  return double(h);
}
template <class T>
T value(T v) {
  return v;
}

std::pair<int64_t, int64_t> share(int64_t total, int64_t thread, int64_t threads) {
  return {total * thread / threads, total * (thread + 1) / threads};
}

template <class F>
void with_type(DType t, F f) {
  switch (t) {
    case DType::boolean:
    case DType::u8:
      f(uint8_t());
      break;
    case DType::i8:
      f(int8_t());
      break;
    case DType::i16:
      f(int16_t());
      break;
    case DType::i32:
      f(int32_t());
      break;
    case DType::i64:
      f(int64_t());
      break;
    case DType::f16:
      f(F16());
      break;
    case DType::bf16:
      f(Bf16());
      break;
    case DType::f32:
      f(float());
      break;
    case DType::f64:
      f(double());
      break;
  }
}

int64_t index_at(const void* p, DType t, int64_t i) {
  switch (t) {
    case DType::i64:
      return static_cast<const int64_t*>(p)[i];
    case DType::i32:
      return static_cast<const int32_t*>(p)[i];
    case DType::i16:
      return static_cast<const int16_t*>(p)[i];
    case DType::i8:
      return static_cast<const int8_t*>(p)[i];
    default:
      return static_cast<const uint8_t*>(p)[i];
  }
}

template <class T>
void add_to(T& to, T v) {
  if constexpr (std::is_integral_v<T>)
    to = static_cast<T>(static_cast<uint64_t>(to) + static_cast<uint64_t>(v));
  else if constexpr (std::is_floating_point_v<T>)
    to += v;
}

/// out[pre, size, post]: a thread owns some of the rows along `size`, or, where there are few, of the columns.
template <class T>
void scatter_add(const Library& l, const void* index, DType index_type, const T* updates, T* out, int64_t thread,
                 int64_t threads) {
  bool by_row = l.size >= 4 * threads || l.post < 4 * threads;
  auto [row0, row1] = by_row ? share(l.size, thread, threads) : std::pair<int64_t, int64_t>{0, l.size};
  auto [col0, col1] = by_row ? std::pair<int64_t, int64_t>{0, l.post} : share(l.post, thread, threads);
  for (int64_t p = 0; p < l.pre; p++) {
    for (int64_t r = row0; r < row1; r++)
      std::fill(out + (p * l.size + r) * l.post + col0, out + (p * l.size + r) * l.post + col1, T());
    for (int64_t j = 0; j < l.count; j++) {
      int64_t r = std::clamp<int64_t>(index_at(index, index_type, j), 0, l.size - 1);
      if (r < row0 || r >= row1) continue;
      T* to = out + (p * l.size + r) * l.post;
      const T* from = updates + (p * l.count + j) * l.post;
      for (int64_t c = col0; c < col1; c++) add_to(to[c], from[c]);
    }
  }
}

template <class T>
void scatter_add_along(const Library& l, const void* index, DType index_type, const T* updates, T* out, int64_t thread,
                       int64_t threads) {
  // Threads own places of the result's first axis if that isn't the scattered one, else of that very axis.
  size_t rank = l.shape.size();
  int64_t whole = 1;
  for (int64_t s : l.shape) whole *= s;
  auto [lo, hi] = share(whole, thread, threads);
  std::fill(out + lo, out + hi, T());
  std::vector<int64_t> stride(rank), at(rank, 0);
  int64_t s = 1, count = 1;
  for (size_t i = rank; i-- > 0; s *= l.shape[i]) stride[i] = s;
  for (int64_t n : l.index_shape) count *= n;
  for (int64_t j = 0; j < count; j++) {
    int64_t place = 0;
    for (size_t i = 0; i < rank; i++)
      place += stride[i] *
               (int64_t(i) == l.axis ? std::clamp<int64_t>(index_at(index, index_type, j), 0, l.shape[i] - 1) : at[i]);
    if (place >= lo && place < hi) add_to(out[place], updates[j]);
    for (size_t i = rank; i-- > 0;) {
      if (++at[i] < l.index_shape[i]) break;
      at[i] = 0;
    }
  }
}

template <class T>
void sort_lines(const Library& l, const T* in, T* out, int64_t* order_out, int64_t thread, int64_t threads) {
  auto [lo, hi] = share(l.pre * l.post, thread, threads);
  std::vector<int64_t> order(l.size);
  for (int64_t line = lo; line < hi; line++) {
    int64_t base = line / l.post * l.size * l.post + line % l.post;
    auto before = [&](int64_t a, int64_t b) {
      if (l.descending) std::swap(a, b);
      auto x = value(in[base + a * l.post]), y = value(in[base + b * l.post]);
      if constexpr (std::is_floating_point_v<decltype(x)>)
        return std::isnan(y) ? !std::isnan(x) : x < y;
      else
        return x < y;
    };
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), before);
    for (int64_t i = 0; i < l.size; i++) {
      if (order_out)
        order_out[base + i * l.post] = order[i];
      else
        out[base + i * l.post] = in[base + order[i] * l.post];
    }
  }
}

template <class T>
void cumsum(const Library& l, const T* in, T* out, int64_t thread, int64_t threads) {
  auto [lo, hi] = share(l.pre * l.post, thread, threads);
  for (int64_t line = lo; line < hi; line++) {
    int64_t base = line / l.post * l.size * l.post + line % l.post;
    T sum{};
    for (int64_t i = 0; i < l.size; i++) {
      add_to(sum, in[base + i * l.post]);
      out[base + i * l.post] = sum;
    }
  }
}

}  // namespace

void run_library(const loop::Kernel& k, void* const* args, int64_t thread, int64_t threads) {
  const Library& l = k.library;
  size_t result = k.args.size() - 1;
  if (k.args[result].elements == 0) return;
  with_type(k.args[result - 1].type, [&](auto zero) {
    using T = decltype(zero);
    auto* values = static_cast<const T*>(args[result - 1]);
    auto* out = static_cast<T*>(args[result]);
    if (l.op == "scatter_add")
      scatter_add(l, args[0], k.args[0].type, values, out, thread, threads);
    else if (l.op == "scatter_add_along")
      scatter_add_along(l, args[0], k.args[0].type, values, out, thread, threads);
    else if (l.op == "cumsum")
      cumsum(l, values, out, thread, threads);
    else if (l.op == "argsort")
      sort_lines(l, values, out, static_cast<int64_t*>(args[result]), thread, threads);
    else
      sort_lines(l, values, out, static_cast<int64_t*>(nullptr), thread, threads);
  });
}

}  // namespace nnlc::codegen::cpu
