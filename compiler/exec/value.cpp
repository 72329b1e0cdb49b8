#include "compiler/exec/value.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>

#include "runtime/format.h"
#include "runtime/half.h"

namespace nnlc::exec {

Value::Value() = default;
Value::Value(const Value&) = default;
Value::Value(Value&&) noexcept = default;
Value& Value::operator=(const Value&) = default;
Value& Value::operator=(Value&&) noexcept = default;
Value::~Value() = default;

Value Value::list(std::vector<Value> items, bool tuple) {
  return Value(std::make_shared<List>(List{std::move(items), tuple}));
}
Value Value::record(std::vector<std::string> names, std::vector<Value> items) {
  return Value(std::make_shared<Record>(Record{std::move(names), std::move(items)}));
}

double element(const Tensor& t, int64_t i) {
  switch (t.dtype()) {
    case NNL_F16:
      return nnl::f16_to_f32(t.as<uint16_t>()[i]);
    case NNL_BF16:
      return nnl::bf16_to_f32(t.as<uint16_t>()[i]);
    case NNL_F32:
      return t.as<float>()[i];
    case NNL_F64:
      return t.as<double>()[i];
    default:
      return static_cast<double>(element_int(t, i));
  }
}

int64_t element_int(const Tensor& t, int64_t i) {
  switch (t.dtype()) {
    case NNL_BOOL:
    case NNL_U8:
      return t.as<uint8_t>()[i];
    case NNL_I8:
      return t.as<int8_t>()[i];
    case NNL_I16:
      return t.as<int16_t>()[i];
    case NNL_I32:
      return t.as<int32_t>()[i];
    case NNL_I64:
      return t.as<int64_t>()[i];
    default:
      return static_cast<int64_t>(element(t, i));
  }
}

void set_element(Tensor& t, int64_t i, double v) {
  switch (t.dtype()) {
    case NNL_F16:
      t.as<uint16_t>()[i] = nnl::f64_to_f16(v);
      break;
    case NNL_BF16:
      t.as<uint16_t>()[i] = nnl::f64_to_bf16(v);
      break;
    case NNL_F32:
      t.as<float>()[i] = static_cast<float>(v);
      break;
    case NNL_F64:
      t.as<double>()[i] = v;
      break;
    case NNL_BOOL:
      t.as<uint8_t>()[i] = v != 0;
      break;
    default:
      set_element_int(t, i, static_cast<int64_t>(v));
      break;
  }
}

void set_element_int(Tensor& t, int64_t i, int64_t v) {
  switch (t.dtype()) {
    case NNL_BOOL:
      t.as<uint8_t>()[i] = v != 0;
      break;
    case NNL_U8:
      t.as<uint8_t>()[i] = static_cast<uint8_t>(v);
      break;
    case NNL_I8:
      t.as<int8_t>()[i] = static_cast<int8_t>(v);
      break;
    case NNL_I16:
      t.as<int16_t>()[i] = static_cast<int16_t>(v);
      break;
    case NNL_I32:
      t.as<int32_t>()[i] = static_cast<int32_t>(v);
      break;
    case NNL_I64:
      t.as<int64_t>()[i] = v;
      break;
    default:
      set_element(t, i, static_cast<double>(v));
      break;
  }
}

bool all_finite(const Tensor& t) {
  if (!is_float(t.dtype())) return true;
  if (t.dtype() == NNL_F32) {
    // By the bits, without a branch: this is run over whole parameters.
    const auto* bits = t.as<uint32_t>();
    uint32_t bad = 0;
    for (int64_t i = 0; i < t.count(); ++i) bad |= (bits[i] & 0x7f800000u) == 0x7f800000u;
    return bad == 0;
  }
  for (int64_t i = 0; i < t.count(); ++i)
    if (!std::isfinite(element(t, i))) return false;
  return true;
}

bool holds(int dtype, int64_t v) {
  switch (dtype) {
    case NNL_BOOL:
      return v == 0 || v == 1;
    case NNL_U8:
      return v >= 0 && v <= 255;
    case NNL_I8:
      return v >= -128 && v <= 127;
    case NNL_I16:
      return v >= -32768 && v <= 32767;
    case NNL_I32:
      return v >= std::numeric_limits<int32_t>::min() && v <= std::numeric_limits<int32_t>::max();
    default:
      return true;
  }
}

Value read_back(const Value& v) {
  const Tensor* t = v.tensor();
  if (!t || !t->shape().empty() || !t->defined()) return v;
  if (t->dtype() == NNL_BOOL) return Value(t->as<uint8_t>()[0] != 0);
  if (is_float(t->dtype())) return Value(element(*t, 0));
  return Value(element_int(*t, 0));
}

std::string shape_text(const std::vector<int64_t>& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

std::string describe(const Value& v) {
  struct Visitor {
    std::string operator()(std::monostate) const { return "None"; }
    std::string operator()(int64_t) const { return "an int"; }
    std::string operator()(double) const { return "a float"; }
    std::string operator()(bool) const { return "a bool"; }
    std::string operator()(const Str&) const { return "a str"; }
    std::string operator()(const Tensor& t) const { return nnl::dtype_name(t.dtype()) + shape_text(t.shape()); }
    std::string operator()(const ListPtr& l) const { return l->tuple ? "a tuple" : "a list"; }
    std::string operator()(const RecordPtr&) const { return "a record"; }
  };
  return std::visit(Visitor{}, v.data);
}

std::string to_text(const Value& v, bool quoted) {
  struct Visitor {
    bool quoted;
    std::string operator()(std::monostate) const { return "None"; }
    std::string operator()(int64_t i) const { return std::to_string(i); }
    std::string operator()(double d) const { return nnl::format_float(d); }
    std::string operator()(bool b) const { return b ? "true" : "false"; }
    std::string operator()(const Str& s) const { return quoted ? host::quoted(*s) : *s; }
    std::string operator()(const Tensor& t) const {
      if (!t.shape().empty()) return nnl::format_tensor(t.data(), t.dtype(), t.shape());
      // A scalar is read back: its own type decides how many digits tell it from its neighbours.
      if (t.dtype() == NNL_BOOL) return t.as<uint8_t>()[0] ? "true" : "false";
      if (t.dtype() == NNL_F64) return nnl::format_float(t.as<double>()[0]);
      if (is_float(t.dtype())) return nnl::format_float(static_cast<float>(element(t, 0)));
      return std::to_string(element_int(t, 0));
    }
    std::string operator()(const ListPtr& l) const {
      std::string out = l->tuple ? "(" : "[";
      for (size_t i = 0; i < l->items.size(); ++i) out += (i ? ", " : "") + to_text(l->items[i], true);
      if (l->tuple && l->items.size() == 1) out += ",";
      return out + (l->tuple ? ")" : "]");
    }
    std::string operator()(const RecordPtr& r) const {
      std::string out = "{";
      for (size_t i = 0; i < r->items.size(); ++i)
        out += (i ? ", " : "") + r->names[i] + ": " + to_text(r->items[i], true);
      return out + "}";
    }
  };
  return std::visit(Visitor{quoted}, v.data);
}

bool equal(const Value& x, const Value& y) {
  const Value a = read_back(x), b = read_back(y);
  auto number = [](const Value& v) -> const double* { return v.get<double>(); };
  if (auto* i = a.get<int64_t>()) {
    if (auto* j = b.get<int64_t>()) return *i == *j;
    if (auto* d = number(b)) return static_cast<double>(*i) == *d;
    return false;
  }
  if (auto* d = number(a)) {
    if (auto* j = b.get<int64_t>()) return *d == static_cast<double>(*j);
    if (auto* e = number(b)) return *d == *e;
    return false;
  }
  if (a.data.index() != b.data.index()) return false;
  if (a.is_none()) return true;
  if (auto* p = a.get<bool>()) return *p == *b.get<bool>();
  if (auto* p = a.get<Str>()) return **p == **b.get<Str>();
  if (auto* p = a.tensor()) {
    const Tensor& q = *b.tensor();
    if (p->shape() != q.shape()) return false;
    for (int64_t i = 0; i < p->count(); ++i)
      if (is_float(p->dtype()) || is_float(q.dtype()) ? element(*p, i) != element(q, i)
                                                      : element_int(*p, i) != element_int(q, i))
        return false;
    return true;
  }
  if (auto* p = a.get<ListPtr>()) {
    const List& q = **b.get<ListPtr>();
    if ((*p)->items.size() != q.items.size()) return false;
    for (size_t i = 0; i < q.items.size(); ++i)
      if (!equal((*p)->items[i], q.items[i])) return false;
    return true;
  }
  const Record &p = **a.get<RecordPtr>(), &q = **b.get<RecordPtr>();
  if (p.names != q.names) return false;
  for (size_t i = 0; i < q.items.size(); ++i)
    if (!equal(p.items[i], q.items[i])) return false;
  return true;
}

}  // namespace nnlc::exec
