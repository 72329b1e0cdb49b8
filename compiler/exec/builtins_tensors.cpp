// Builtins between tensors and host values.
#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <stdexcept>

#include "compiler/exec/impl.h"

namespace nnlc::exec {

namespace {

int dtype_of(const std::string& name) {
  const auto t = graph::dtype_from_name(name);
  if (!t) throw std::logic_error(fmt::format("`{}` is no element type", name));
  return static_cast<int>(*t);
}

// ---------------------------------------------------------------- lists to tensors and back

/// The shape of a nested list, from its first items; a tensor inside adds its own dims.
void shape_of(const Value& v, std::vector<int64_t>& shape) {
  if (auto* l = v.get<ListPtr>()) {
    shape.push_back(static_cast<int64_t>((*l)->items.size()));
    if (!(*l)->items.empty()) shape_of((*l)->items[0], shape);
  } else if (auto* t = v.tensor()) {
    shape.insert(shape.end(), t->shape().begin(), t->shape().end());
  }
}

struct Filler {
  Call& call;
  Tensor& out;
  std::vector<std::string> place = {};
  int64_t at = 0;

  void ragged(size_t depth, int64_t found) {
    std::string where;
    for (const std::string& p : place) where += p;
    call.fail(Code::RaggedList, fmt::format("the list{} has length {}, the first one at this level has {}",
                                            where.empty() ? "" : " at " + where, found, out.shape()[depth]));
  }
  void number(const Value& v) {
    if (auto* i = v.get<int64_t>()) {
      if (!holds(out.dtype(), *i))
        call.fail(Code::IntOverflow, fmt::format("{} doesn't fit {}", *i, nnl::dtype_name(out.dtype())));
      if (is_float(out.dtype()))
        set_element(out, at, static_cast<double>(*i));
      else
        set_element_int(out, at, *i);
    } else if (auto* d = v.get<double>()) {
      set_element(out, at, *d);
    } else if (auto* b = v.get<bool>()) {
      set_element_int(out, at, *b);
    } else {
      call.wrong_kind(0, "a nested list of numbers");
    }
    ++at;
  }
  void fill(const Value& v, size_t depth) {
    const size_t rank = out.shape().size();
    if (auto* l = v.get<ListPtr>()) {
      const auto n = static_cast<int64_t>((*l)->items.size());
      if (depth >= rank) call.fail(Code::RaggedList, "the list is nested deeper than at its first item");
      if (n != out.shape()[depth]) ragged(depth, n);
      for (int64_t i = 0; i < n; ++i) {
        place.push_back(fmt::format("[{}]", i));
        fill((*l)->items[static_cast<size_t>(i)], depth + 1);
        place.pop_back();
      }
      return;
    }
    if (auto* t = v.tensor()) {
      if (!std::equal(t->shape().begin(), t->shape().end(), out.shape().begin() + static_cast<std::ptrdiff_t>(depth),
                      out.shape().end()))
        call.fail(Code::RaggedList,
                  fmt::format("a tensor of shape {} doesn't go with the first one", shape_text(t->shape())));
      for (int64_t i = 0; i < t->count(); ++i)
        number(t->dtype() == NNL_BOOL ? Value(element_int(*t, i) != 0)
               : is_float(t->dtype()) ? Value(element(*t, i))
                                      : Value(element_int(*t, i)));
      return;
    }
    if (depth != rank) call.fail(Code::RaggedList, "the list is nested less deep than at its first item");
    number(v);
  }
};

void tensor_from_list(Call& c) {
  std::vector<int64_t> shape;
  shape_of(c.arg(0), shape);
  Tensor out = Tensor::zeros(dtype_of(c.text(0)), shape);
  Filler{c, out}.fill(c.arg(0), 0);
  c.result(Value(std::move(out)));
}

Value element_value(const Tensor& t, int64_t i) {
  if (t.dtype() == NNL_BOOL) return Value(element_int(t, i) != 0);
  if (is_float(t.dtype())) return Value(element(t, i));
  return Value(element_int(t, i));
}

Value nested(const Tensor& t, size_t axis, int64_t& at) {
  if (axis == t.shape().size()) return element_value(t, at++);
  std::vector<Value> items;
  for (int64_t i = 0; i < t.shape()[axis]; ++i) items.push_back(nested(t, axis + 1, at));
  return Value::list(std::move(items));
}

void tensor_to_list(Call& c) {
  int64_t at = 0;
  c.result(nested(c.tensor(0), 0, at));
}

// ---------------------------------------------------------------- parts

void item(Call& c) {
  const Tensor& t = c.tensor(0);
  if (c.size() != t.shape().size() + 1)
    c.fail(Code::BadHostValue, fmt::format("a number of {} needs {} indices", describe(c.arg(0)), t.shape().size()));
  int64_t at = 0;
  for (size_t k = 0; k < t.shape().size(); ++k)
    at = at * t.shape()[k] + c.index(c.integer(k + 1), t.shape()[k], "an axis");
  c.result(element_value(t, at));
}

int64_t row_bytes(const Tensor& t) { return t.shape()[0] == 0 ? 0 : t.bytes() / t.shape()[0]; }

void tensor_get(Call& c) {
  const Tensor& t = c.tensor(0);
  if (t.shape().empty()) c.fail(Code::BadHostValue, "a tensor of rank 0 has no rows");
  const int64_t i = c.index(c.integer(1), t.shape()[0], "an axis");
  c.result(
      Value(Tensor::copy_of(t.dtype(), {t.shape().begin() + 1, t.shape().end()}, t.as<uint8_t>() + i * row_bytes(t))));
}

void tensor_slice(Call& c) {
  const Tensor& t = c.tensor(0);
  if (t.shape().empty()) c.fail(Code::BadHostValue, "a tensor of rank 0 has no rows");
  const int64_t begin = c.integer(1), length = c.integer(2), n = t.shape()[0];
  if (begin < 0 || length < 0 || begin > n - length)
    c.fail(Code::IndexOutside, fmt::format("rows {}:{} are outside of an axis of length {}", begin, begin + length, n));
  std::vector<int64_t> shape = t.shape();
  shape[0] = length;
  c.result(Value(Tensor::copy_of(t.dtype(), std::move(shape), t.as<uint8_t>() + begin * row_bytes(t))));
}

void tensor_set(Call& c) {
  const Tensor& t = c.tensor(0);
  const Tensor& row = c.tensor(2);
  if (t.shape().empty() || row.dtype() != t.dtype() ||
      !std::equal(row.shape().begin(), row.shape().end(), t.shape().begin() + 1, t.shape().end()))
    throw std::logic_error(fmt::format("tensor_set of {} with a row {}", describe(c.arg(0)), describe(c.arg(2))));
  const int64_t i = c.index(c.integer(1), t.shape()[0], "an axis");
  Tensor out = t.copy();
  std::memcpy(out.as<uint8_t>() + i * row_bytes(t), row.data(), static_cast<size_t>(row.bytes()));
  c.result(Value(std::move(out)));
}

// ---------------------------------------------------------------- checks

/// "[1, 3]" of a flat position.
std::string place_of(const Tensor& t, int64_t at) {
  std::vector<int64_t> place(t.shape().size());
  for (size_t k = place.size(); k-- > 0;) {
    place[k] = at % t.shape()[k];
    at /= t.shape()[k];
  }
  return shape_text(place);
}

void check_class(Call& c) {
  const int64_t classes = c.text_int(0);
  const bool missing = c.instr.texts.size() > 1 && c.text(1) == "missing";
  const Value v = c.arg(0);
  const Tensor* given = v.tensor();
  Tensor one;
  if (!given) {
    one = Tensor::scalar<int64_t>(NNL_I64, c.integer(0));
    given = &one;
  }
  Tensor out = Tensor::empty(NNL_I32, given->shape());
  for (int64_t i = 0; i < given->count(); ++i) {
    const int64_t k = element_int(*given, i);
    if ((k < 0 || k >= classes) && !(missing && k == -1))
      c.fail(Code::ClassOutOfRange, fmt::format("{}{} is not a class(C) with C = {}", k,
                                                given->shape().empty() ? "" : " at " + place_of(*given, i), classes));
    out.as<int32_t>()[i] = static_cast<int32_t>(k);
  }
  c.result(Value(std::move(out)));
}

void check_range(Call& c) {
  const int64_t begin = c.integer(0), end = c.integer(1), size = c.integer(2);
  if (begin < 0 || begin > end || end > size)
    c.fail(Code::IndexOutside, fmt::format("the slice {}:{} is outside of length {}", begin, end, size));
}

struct Tolerance {
  double rtol, atol;
};
/// Those of torch.testing.assert_close.
Tolerance tolerance(int dtype) {
  switch (dtype) {
    case NNL_F16:
      return {1e-3, 1e-5};
    case NNL_BF16:
      return {1.6e-2, 1e-5};
    case NNL_F32:
      return {1.3e-6, 1e-5};
    case NNL_F64:
      return {1e-7, 1e-7};
    default:
      return {0, 0};
  }
}

/// What both sides have in common: elements and their types.
struct Side {
  Tensor tensor;
  bool host = false;
};
std::optional<Side> side(const Value& v) {
  if (auto* t = v.tensor()) return Side{*t, false};
  if (auto* d = v.get<double>()) return Side{Tensor::scalar(NNL_F64, *d), true};
  if (auto* i = v.get<int64_t>()) return Side{Tensor::scalar(NNL_I64, *i), true};
  if (auto* b = v.get<bool>()) return Side{Tensor::scalar(NNL_BOOL, static_cast<uint8_t>(*b)), true};
  return std::nullopt;
}

void compare(Call& c, const Value& a, const Value& b, const std::string& where) {
  auto not_close = [&](std::string message, std::vector<std::string> notes = {}) {
    c.fail(Code::NotClose, where.empty() ? message : where + ": " + message, std::move(notes));
  };
  const auto *la = a.get<ListPtr>(), *lb = b.get<ListPtr>();
  if (la && lb) {
    if ((*la)->items.size() != (*lb)->items.size())
      not_close(fmt::format("lengths differ, {} and {}", (*la)->items.size(), (*lb)->items.size()));
    for (size_t i = 0; i < (*la)->items.size(); ++i)
      compare(c, (*la)->items[i], (*lb)->items[i], fmt::format("{}[{}]", where, i));
    return;
  }
  const auto x = side(a), y = side(b);
  if (!x || !y) not_close(fmt::format("{} can't be compared with {}", describe(a), describe(b)));
  if (x->tensor.shape() != y->tensor.shape())
    not_close(fmt::format("shapes differ, {} and {}", shape_text(x->tensor.shape()), shape_text(y->tensor.shape())));
  // A host number takes the tensor's type. The less precise type of two decides; ints are exact.
  Tolerance t{0, 0};
  for (const Side* s : {&*x, &*y}) {
    const bool yields = s->host && (x->host != y->host);
    if (yields && is_float((s == &*x ? *y : *x).tensor.dtype())) continue;
    const Tolerance own = tolerance(s->tensor.dtype());
    t.rtol = std::max(t.rtol, own.rtol);
    t.atol = std::max(t.atol, own.atol);
  }
  auto option = [&](const char* name, double& into) {
    if (const Value* v = c.option(name)) {
      const Value n = read_back(*v);
      into = n.get<double>() ? *n.get<double>() : n.get<int64_t>() ? static_cast<double>(*n.get<int64_t>()) : into;
    }
  };
  option("rtol", t.rtol);
  option("atol", t.atol);
  const bool exact_ints = !is_float(x->tensor.dtype()) && !is_float(y->tensor.dtype());
  int64_t wrong = 0, worst = 0;
  double worst_difference = -1, worst_relative = 0;
  for (int64_t i = 0; i < x->tensor.count(); ++i) {
    const double p = element(x->tensor, i), q = element(y->tensor, i);
    const double difference = std::fabs(p - q);
    const bool same = exact_ints ? element_int(x->tensor, i) == element_int(y->tensor, i) : p == q;
    if (same || difference <= t.atol + t.rtol * std::fabs(q)) continue;
    ++wrong;
    // NaN is the worst there is, and the first of them is named.
    if (!std::isnan(worst_difference) && !(difference <= worst_difference)) {
      worst = i;
      worst_difference = difference;
      worst_relative = difference / std::fabs(q);
    }
  }
  if (wrong == 0) return;
  const std::string left = to_text(element_value(x->tensor, worst)), right = to_text(element_value(y->tensor, worst));
  if (x->tensor.count() == 1) {
    not_close(
        fmt::format("{} isn't close to {}", left, right),
        {fmt::format("difference {:.3g}, allowed are atol {:g} + rtol {:g} * |b|", worst_difference, t.atol, t.rtol)});
  }
  not_close(fmt::format("{} of {} elements aren't close", wrong, x->tensor.count()),
            {fmt::format("the largest difference is {:.3g} ({:.3g} of the value), at {}: {} and {}", worst_difference,
                         worst_relative, place_of(x->tensor, worst), left, right),
             fmt::format("allowed are atol {:g} + rtol {:g} * |b|", t.atol, t.rtol)});
}

}  // namespace

const std::vector<BuiltinEntry>& tensor_builtins() {
  static const std::vector<BuiltinEntry> table = {
      {"tensor_from_list", tensor_from_list},
      {"tensor_to_list", tensor_to_list},
      {"item", item},
      {"tensor_get", tensor_get},
      {"tensor_slice", tensor_slice},
      {"tensor_set", tensor_set},
      {"check_class", check_class},
      {"check_index", [](Call& c) { c.result(Value(c.index(c.integer(0), c.integer(1), "an axis"))); }},
      {"check_range", check_range},
      {"assert_close", [](Call& c) { compare(c, c.arg(0), c.arg(1), ""); }},
  };
  return table;
}

}  // namespace nnlc::exec
