// Values of registers while a program runs. Copying a value is cheap: strings, lists, records and tensors are shared
// and copied before they are changed if somebody else holds them too.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "compiler/host/program.h"
#include "runtime/tensor.h"

namespace nnlc::exec {

struct Value;
struct List {
  std::vector<Value> items;
  bool tuple = false;
};
struct Record {
  std::vector<std::string> names;
  std::vector<Value> items;
};
using Str = std::shared_ptr<const std::string>;
using nnl::Tensor;
using ListPtr = std::shared_ptr<List>;
using RecordPtr = std::shared_ptr<Record>;

struct Value {
  std::variant<std::monostate, int64_t, double, bool, Str, Tensor, ListPtr, RecordPtr> data;

  // Out of line: inlined everywhere, the variant's members make much code, and GCC 12 warns of variables it can't
  // follow.
  Value();
  Value(const Value&);
  Value(Value&&) noexcept;
  Value& operator=(const Value&);
  Value& operator=(Value&&) noexcept;
  ~Value();
  template <class T>
  requires(!std::is_same_v<std::decay_t<T>, Value>) Value(T v) : data(std::move(v)) {}  // NOLINT: implicit on purpose
  static Value str(std::string s) { return Value(Str(std::make_shared<const std::string>(std::move(s)))); }
  static Value list(std::vector<Value> items, bool tuple = false);
  static Value record(std::vector<std::string> names, std::vector<Value> items);

  template <class T>
  const T* get() const {
    return std::get_if<T>(&data);
  }
  template <class T>
  T* get() {
    return std::get_if<T>(&data);
  }
  bool is_none() const { return data.index() == 0; }
  const Tensor* tensor() const { return get<Tensor>(); }
};

/// One element as a double; 64-bit ints lose precision above 2^53: element_int doesn't.
double element(const Tensor& t, int64_t i);
/// Of an int or bool tensor.
int64_t element_int(const Tensor& t, int64_t i);
/// Stores with rounding to the element type; ints wrap (callers check ranges).
void set_element(Tensor& t, int64_t i, double v);
void set_element_int(Tensor& t, int64_t i, int64_t v);
inline bool is_float(int dtype) { return dtype >= NNL_F16; }
/// True for tensors of ints.
bool all_finite(const Tensor& t);
/// Whether an int of this element type can hold v.
bool holds(int dtype, int64_t v);
/// A rank-0 tensor as a host number or bool; other values as they are.
Value read_back(const Value& v);
std::string shape_text(const std::vector<int64_t>& shape);  ///< "[2, 3]"

/// What a user would call it: "an int", "a list", "f32[2, 3]".
std::string describe(const Value& v);
/// In print's form. `quoted`: strings as literals, as they stand in lists.
std::string to_text(const Value& v, bool quoted = false);
bool equal(const Value& a, const Value& b);

}  // namespace nnlc::exec
