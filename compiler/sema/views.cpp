// The proof that a view doesn't copy: strides follow a value through permute, slices, expand and flip, and `view` asks
// whether the new shape can be read with strides over the same memory (Tensor.view's rule). Whatever computes new
// elements gives a dense result.
#include <algorithm>

#include "compiler/sema/tensor_support.h"

namespace nnlc::sema {

std::vector<Dim> dense_strides(const Shape& shape) {
  std::vector<Dim> s(shape.size(), Dim(1));
  for (size_t i = shape.size(); i-- > 1;) s[i - 1] = s[i] * shape[i];
  return s;
}

std::vector<Dim> strides_of(const TensorValue& x) {
  return x.layout.strides.empty() ? dense_strides(x.type.shape) : x.layout.strides;
}

TensorValue carry(Evaluator& ev, const TensorValue& x, Node* node, Span span) {
  TensorValue r = ev.tensor(node, span);
  r.classes = x.classes;
  r.may_be_missing = x.may_be_missing;
  r.kind = x.kind;
  r.kind_at = x.kind_at;
  r.from_sigmoid = x.from_sigmoid;
  return r;
}

TensorValue view_result(Evaluator& ev, const TensorValue& x, Node* node, std::vector<Dim> strides, Span span,
                        const std::string& name) {
  TensorValue r = carry(ev, x, node, span);
  const Shape& shape = r.type.shape;
  const std::vector<Dim> dense = dense_strides(shape);
  bool contiguous = true;
  for (size_t i = 0; i < shape.size(); ++i) contiguous &= shape[i] == Dim(1) || strides[i] == dense[i];
  if (contiguous) return r;
  r.layout.strides = std::move(strides);
  const bool was_broken = !x.layout.strides.empty();
  r.layout.broken_by = was_broken ? x.layout.broken_by : span;
  r.layout.broken_name = was_broken ? x.layout.broken_name : name;
  return r;
}

TensorValue permute_value(Evaluator& ev, const TensorValue& x, const IntList& perm, Span span,
                          const std::string& name) {
  const std::vector<Dim> from = strides_of(x);
  std::vector<Dim> to;
  for (int64_t p : perm) to.push_back(from[static_cast<size_t>(p)]);
  TensorValue r = view_result(ev, x, graph::permute(ev.graph(), ev.node(x), perm, span), std::move(to), span, name);
  if (x.logits && x.logits->type.shape == x.type.shape)
    r.logits = std::make_shared<const TensorValue>(permute_value(ev, *x.logits, perm, span, name));
  return r;
}

std::optional<std::vector<Dim>> view_strides(const TensorValue& x, const Shape& shape) {
  if (x.layout.strides.empty()) return dense_strides(shape);
  // Runs of old axes that lie densely behind one another are one piece of memory with one stride; new axes must
  // divide the pieces.
  struct Piece {
    Dim size, stride;
  };
  std::vector<Piece> pieces;
  const Shape& old = x.type.shape;
  for (size_t i = 0; i < old.size(); ++i) {
    if (old[i] == Dim(1)) continue;
    const Dim& stride = x.layout.strides[i];
    if (!pieces.empty() && pieces.back().stride == stride * old[i])
      pieces.back() = {pieces.back().size * old[i], stride};
    else
      pieces.push_back({old[i], stride});
  }
  std::vector<Dim> result(shape.size(), Dim(1));
  size_t p = pieces.size();
  Dim left(1), stride(1);
  for (size_t i = shape.size(); i-- > 0;) {
    if (shape[i] == Dim(1)) {
      result[i] = stride * left;
      continue;
    }
    if (left == Dim(1)) {
      if (p == 0) return std::nullopt;
      --p;
      left = pieces[p].size;
      stride = pieces[p].stride;
    }
    auto rest = Dim::exact_div(left, shape[i]);
    if (!rest) return std::nullopt;
    result[i] = stride;
    stride = stride * shape[i];
    left = *rest;
  }
  if (p != 0 || !(left == Dim(1))) return std::nullopt;
  return result;
}

TensorValue reshape_value(Evaluator& ev, const TensorValue& x, const Shape& shape, Span span) {
  Node* n = reshape_node(ev, ev.node(x), shape, span);
  auto strides = view_strides(x, shape);
  TensorValue r = strides ? view_result(ev, x, n, std::move(*strides), span, "reshape") : carry(ev, x, n, span);
  if (x.logits && x.logits->type.shape == x.type.shape)
    r.logits = std::make_shared<const TensorValue>(reshape_value(ev, *x.logits, shape, span));
  return r;
}

}  // namespace nnlc::sema
