#include "compiler/ops/evaluate.h"

#include <cstring>
#include <unordered_map>

#include "compiler/ops/detail.h"
#include "runtime/half.h"

namespace nnlc::graph {

RefTensor make_ref(TensorType type) {
  RefTensor t;
  size_t n = static_cast<size_t>(element_count(type.shape).value());
  if (is_float(type.dtype))
    t.f.assign(n, 0);
  else
    t.i.assign(n, 0);
  t.type = std::move(type);
  return t;
}

namespace {

template <class T, class V>
void read_all(std::vector<V>& to, const void* data) {
  const T* from = static_cast<const T*>(data);
  for (size_t k = 0; k < to.size(); ++k) to[k] = static_cast<V>(from[k]);
}
template <class T, class V>
void write_all(const std::vector<V>& from, void* data) {
  T* to = static_cast<T*>(data);
  for (size_t k = 0; k < from.size(); ++k) to[k] = static_cast<T>(from[k]);
}

}  // namespace

RefTensor load_ref(TensorType type, const void* data) {
  RefTensor t = make_ref(std::move(type));
  const auto* half = static_cast<const uint16_t*>(data);
  switch (t.type.dtype) {
    case DType::boolean:
    case DType::u8:
      read_all<uint8_t>(t.i, data);
      break;
    case DType::i8:
      read_all<int8_t>(t.i, data);
      break;
    case DType::i16:
      read_all<int16_t>(t.i, data);
      break;
    case DType::i32:
      read_all<int32_t>(t.i, data);
      break;
    case DType::i64:
      read_all<int64_t>(t.i, data);
      break;
    case DType::f16:
      for (size_t k = 0; k < t.f.size(); ++k) t.f[k] = nnl::f16_to_f32(half[k]);
      break;
    case DType::bf16:
      for (size_t k = 0; k < t.f.size(); ++k) t.f[k] = nnl::bf16_to_f32(half[k]);
      break;
    case DType::f32:
      read_all<float>(t.f, data);
      break;
    case DType::f64:
      read_all<double>(t.f, data);
      break;
  }
  return t;
}

void store_ref(const RefTensor& t, void* data) {
  auto* half = static_cast<uint16_t*>(data);
  switch (t.type.dtype) {
    case DType::boolean:
    case DType::u8:
      write_all<uint8_t>(t.i, data);
      break;
    case DType::i8:
      write_all<int8_t>(t.i, data);
      break;
    case DType::i16:
      write_all<int16_t>(t.i, data);
      break;
    case DType::i32:
      write_all<int32_t>(t.i, data);
      break;
    case DType::i64:
      write_all<int64_t>(t.i, data);
      break;
    case DType::f16:
      for (size_t k = 0; k < t.f.size(); ++k) half[k] = nnl::f64_to_f16(t.f[k]);
      break;
    case DType::bf16:
      for (size_t k = 0; k < t.f.size(); ++k) half[k] = nnl::f64_to_bf16(t.f[k]);
      break;
    case DType::f32:
      write_all<float>(t.f, data);
      break;
    case DType::f64:
      write_all<double>(t.f, data);
      break;
  }
}

RefTensor evaluate_node(const Node& n, std::span<const RefTensor* const> in) {
  RefTensor out = make_ref(n.type);
  n.op->reference(n, in, out);
  if (n.type.dtype != DType::f64)
    for (double& x : out.f) x = detail::round_to(n.type.dtype, x);
  if (n.type.dtype != DType::i64)
    for (int64_t& x : out.i) x = detail::wrap_to(n.type.dtype, x);
  return out;
}

std::vector<RefTensor> evaluate(const Graph& g, const std::vector<RefTensor>& inputs) {
  std::unordered_map<const Node*, size_t> uses;
  for (const Node* n : g.nodes())
    for (const Node* o : n->operands) ++uses[o];
  for (const Output& o : g.outputs) ++uses[o.value];
  std::unordered_map<const Node*, const RefTensor*> values;
  std::unordered_map<const Node*, RefTensor> made;
  for (size_t i = 0; i < g.inputs.size(); ++i) values[g.inputs[i]] = &inputs[i];
  std::vector<const RefTensor*> in;
  for (const Node* n : g.nodes()) {
    if (values.count(n) || uses[n] == 0) continue;
    in.clear();
    for (const Node* o : n->operands) in.push_back(values.at(o));
    values[n] = &(made[n] = evaluate_node(*n, in));
    for (const Node* o : n->operands)
      if (--uses[o] == 0) made.erase(o);
  }
  std::vector<RefTensor> out;
  for (const Output& o : g.outputs) out.push_back(*values.at(o.value));
  return out;
}

}  // namespace nnlc::graph
