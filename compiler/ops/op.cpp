// The op table, the forms of attributes, and what the references share.
#include "compiler/ops/op.h"

#include <unordered_map>

#include "compiler/ops/detail.h"
#include "runtime/half.h"

namespace nnlc::graph {

const std::vector<const OpDef*>& all_ops() {
  static const std::vector<const OpDef*> ops = {
#define NNLC_OP(name) &name##_op,
#include "compiler/ops/op_list.def"
#undef NNLC_OP
  };
  return ops;
}

const OpDef* find_op(std::string_view name) {
  static const std::unordered_map<std::string_view, const OpDef*> by_name = [] {
    std::unordered_map<std::string_view, const OpDef*> m;
    for (const OpDef* op : all_ops()) m[op->name] = op;
    return m;
  }();
  auto it = by_name.find(name);
  return it == by_name.end() ? nullptr : it->second;
}

Attr attr_kind(const OpDef& op, std::string_view a) {
  if (a == "shape" || a == "starts" || a == "sizes" || a == "low" || a == "high") return Shape{};
  if (a == "size" && op.name != "window") return Shape{};
  if (a == "axes" || a == "perm" || a == "strides" || a == "dilations" || a == "values") return IntList{};
  if (a == "dtype") return DType::f32;
  if (a == "kind" || a == "a" || a == "b" || a == "out") return std::string();
  if (a == "value") return 0.0;
  if (a == "descending") return false;
  return int64_t{0};
}

std::string check_form(const OpDef& op, size_t n_operands, const Attrs& attrs) {
  bool repeats = !op.operands.empty() && op.operands.back().ends_with("...");
  if (repeats ? n_operands < op.operands.size() : n_operands != op.operands.size())
    return "takes " + std::to_string(op.operands.size()) + (repeats ? " or more" : "") + " operands, not " +
           std::to_string(n_operands);
  for (std::string_view a : op.attributes) {
    auto it = attrs.find(std::string(a));
    if (it == attrs.end()) return "attribute " + std::string(a) + " is missing";
    if (it->second.index() != attr_kind(op, a).index()) return "attribute " + std::string(a) + " is of another kind";
  }
  if (attrs.size() != op.attributes.size())
    for (auto& [key, value] : attrs) {
      bool known = false;
      for (std::string_view a : op.attributes) known |= a == key;
      if (!known) return "there is no attribute " + key;
    }
  return "";
}

namespace detail {

bool ascending_axes(const IntList& axes, size_t rank) {
  for (size_t i = 0; i < axes.size(); ++i)
    if (!valid_axis(axes[i], rank) || (i > 0 && axes[i] <= axes[i - 1])) return false;
  return true;
}

bool negative(const Dim& d) { return d.is_constant() && d.value() < 0; }

std::vector<int64_t> strides_of(const std::vector<int64_t>& sizes) {
  std::vector<int64_t> strides(sizes.size(), 1);
  for (size_t i = sizes.size(); i-- > 1;) strides[i - 1] = strides[i] * sizes[i];
  return strides;
}

AxisView::AxisView(const TensorType& t, int64_t axis) {
  for (size_t i = 0; i < t.rank(); ++i) {
    int64_t s = t.shape[i].value();
    if (static_cast<int64_t>(i) < axis)
      outer *= s;
    else if (static_cast<int64_t>(i) == axis)
      n = s;
    else
      inner *= s;
  }
}

int64_t to_int(double x) {
  if (std::isnan(x)) return 0;
  if (x >= 0x1p63) return INT64_MAX;
  if (x < -0x1p63) return INT64_MIN;
  return static_cast<int64_t>(x);
}

double round_to(DType t, double x) {
  switch (t) {
    case DType::f16:
      return nnl::f16_to_f32(nnl::f64_to_f16(x));
    case DType::bf16:
      return nnl::bf16_to_f32(nnl::f64_to_bf16(x));
    case DType::f32:
      return static_cast<double>(static_cast<float>(x));
    default:
      return x;
  }
}

int64_t wrap_to(DType t, int64_t x) {
  switch (t) {
    case DType::boolean:
      return x != 0;
    case DType::u8:
      return static_cast<uint8_t>(x);
    case DType::i8:
      return static_cast<int8_t>(x);
    case DType::i16:
      return static_cast<int16_t>(x);
    case DType::i32:
      return static_cast<int32_t>(x);
    default:
      return x;
  }
}

}  // namespace detail
}  // namespace nnlc::graph
