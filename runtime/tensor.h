// A tensor at run time: element type, shape, and a counted reference to a dense row-major buffer. Two tensors may share
// a buffer; who wants to write asks unique() first and copies where it says no.
#pragma once
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "runtime/buffer.h"
#include "runtime/dtype.h"

namespace nnl {

class Tensor {
 public:
  Tensor() = default;
  /// Contents undefined. Memory is had when the tensor is first read or written. Throws std::bad_alloc where there
  /// could be none (a size that overflows).
  static Tensor empty(int dtype, std::vector<int64_t> shape) {
    Tensor t;
    t.dtype_ = dtype;
    t.shape_ = std::move(shape);
    t.count_ = 1;
    for (int64_t d : t.shape_)
      if (d < 0 || __builtin_mul_overflow(t.count_, d, &t.count_)) throw std::bad_alloc();
    int64_t bytes = 0;
    if (__builtin_mul_overflow(t.count_, element_bytes(dtype), &bytes)) throw std::bad_alloc();
    t.buffer_ = std::make_shared<Buffer>(bytes);
    return t;
  }
  static Tensor zeros(int dtype, std::vector<int64_t> shape) {
    Tensor t = empty(dtype, std::move(shape));
    std::memset(t.data(), 0, static_cast<size_t>(t.bytes()));
    return t;
  }
  static Tensor copy_of(int dtype, std::vector<int64_t> shape, const void* from) {
    Tensor t = empty(dtype, std::move(shape));
    std::memcpy(t.data(), from, static_cast<size_t>(t.bytes()));
    return t;
  }
  /// A tensor over memory of somebody else, of at least its own alignment; `keep` is held as long as the tensor lives.
  /// It counts as the memory's only user.
  static Tensor over(int dtype, std::vector<int64_t> shape, void* data, std::shared_ptr<void> keep = nullptr) {
    Tensor t;
    t.dtype_ = dtype;
    t.shape_ = std::move(shape);
    t.count_ = 1;
    for (int64_t d : t.shape_) t.count_ *= d;
    t.buffer_ = std::make_shared<Buffer>(t.bytes(), data, std::move(keep));
    return t;
  }
  /// Of a tensor made by `over` that nobody else sees: the same, over other memory. Allocates nothing.
  void point_to(void* data) { buffer_->point_to(data); }
  template <class T>
  static Tensor scalar(int dtype, T v) {
    return copy_of(dtype, {}, &v);
  }

  bool defined() const { return buffer_ != nullptr; }
  int dtype() const { return dtype_; }
  const std::vector<int64_t>& shape() const { return shape_; }
  int64_t count() const { return count_; }
  int64_t bytes() const { return count_ * element_bytes(dtype_); }
  /// The elements on the host: to be written, or only to be read.
  void* data() { return buffer_->write(); }
  const void* data() const { return buffer_->read(); }
  template <class T>
  T* as() {
    return reinterpret_cast<T*>(buffer_->write());
  }
  template <class T>
  const T* as() const {
    return reinterpret_cast<const T*>(buffer_->read());
  }
  /// Keeps the memory alive; whoever holds it counts as a user.
  const std::shared_ptr<Buffer>& buffer() const { return buffer_; }
  /// No other tensor sees this buffer.
  bool unique() const { return buffer_.use_count() == 1; }
  bool shares(const Tensor& other) const { return buffer_ == other.buffer_; }
  Tensor copy() const {
    Tensor t = *this;
    t.buffer_ = buffer_->copy();
    return t;
  }
  /// The same buffer seen in another shape of as many elements.
  Tensor reshaped(std::vector<int64_t> shape) const {
    Tensor t = *this;
    t.shape_ = std::move(shape);
    return t;
  }

 private:
  std::shared_ptr<Buffer> buffer_;
  int dtype_ = NNL_F32;
  std::vector<int64_t> shape_;
  int64_t count_ = 0;
};

}  // namespace nnl
