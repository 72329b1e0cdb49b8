// Contractions seen as products of matrices: which labels are rows, columns and sums, and with which strides each side
// is walked.
#include <algorithm>
#include <map>

#include "compiler/loop/lowering.h"
#include "compiler/ops/op.h"

namespace nnlc::loop {

ContractLabels sort_labels(const Node& n) {
  ContractLabels l;
  const std::string &a = n.str_attr("a"), &b = n.str_attr("b"), &o = n.str_attr("out");
  for (size_t i = 0; i < a.size(); i++) l.size[a[i]] = n.operands[0]->type.shape[i].value();
  for (size_t i = 0; i < b.size(); i++) l.size[b[i]] = n.operands[1]->type.shape[i].value();
  for (char c : o) {
    bool in_a = a.find(c) != a.npos, in_b = b.find(c) != b.npos;
    (in_a && in_b ? l.batch : in_a ? l.m : l.n) += c;
  }
  for (char c : a)
    if (o.find(c) == o.npos) l.k += c;
  for (char c : b)
    if (o.find(c) == o.npos && a.find(c) == a.npos) l.k += c;
  return l;
}

/// The one stride with which labels, slowest first, are walked; false if there's none.
bool collapse(const std::string& labels, const ContractLabels& l, std::map<char, int64_t>& stride, int64_t& out) {
  out = 0;
  int64_t inner_size = 1;
  bool first = true;
  for (size_t i = labels.size(); i-- > 0;) {
    int64_t size = l.size.at(labels[i]);
    if (size == 1) continue;
    if (first)
      out = stride[labels[i]];
    else if (stride[labels[i]] != out * inner_size)
      return false;
    first = false;
    inner_size *= size;
  }
  return true;
}

std::vector<Gemm::Digit> digits(const std::string& labels, const ContractLabels& l,
                                const std::map<char, int64_t>& stride) {
  std::vector<Gemm::Digit> out;  // fastest first until the end
  for (size_t i = labels.size(); i-- > 0;) {
    const int64_t size = l.size.at(labels[i]), step = stride.at(labels[i]);
    if (size == 1) continue;
    if (!out.empty() && step == out.back().stride * out.back().size)
      out.back().size *= size;
    else
      out.push_back({size, step});
  }
  return {out.rbegin(), out.rend()};
}

int64_t product(const std::string& labels, const ContractLabels& l) {
  int64_t p = 1;
  for (char c : labels) p *= l.size.at(c);
  return p;
}

/// The memory behind one side of a contraction and the stride of each label in it.
bool view(const Node* x, const std::string& labels, const ContractLabels& l, const InMemory& in_memory,
          const Node*& base, std::map<char, int64_t>& stride, int64_t& offset) {
  std::vector<Axis> axes;
  Index ix;
  for (char c : labels) {
    ix.push_back(Affine::axis(int(axes.size())));
    axes.push_back({l.size.at(c), true});
  }
  Affine flat;
  while (true) {
    if (!is_movement(x) || in_memory(x)) {
      flat = flatten(ix, sizes_of(x));
      break;
    }
    if (x->op->name == "pad" || x->op->name == "concat" || x->op->name == "dynamic_slice") {
      flat = flatten(ix, sizes_of(x));
      break;
    }
    Index to;
    if (!through_movement(x, ix, axes, {}, to)) {
      const Node* y = x;
      Affine f = flatten(ix, sizes_of(x));
      while (y->op->name == "reshape" && !in_memory(y)) y = y->operands[0];
      bool dense = !is_movement(y) || in_memory(y) || y->op->name == "pad" || y->op->name == "concat" ||
                   y->op->name == "dynamic_slice";
      if (!dense) return false;
      x = y;
      flat = f;
      break;
    }
    ix = to;
    x = x->operands[0];
  }
  base = x;
  offset = flat.constant;
  for (size_t i = 0; i < labels.size(); i++)
    stride[labels[i]] = l.size.at(labels[i]) == 1 ? 0 : flat.coefficient(int(i));
  return true;
}

bool gemm_strides(const Node* n, const InMemory& in_memory, Gemm& g, const Node** base) {
  DType t = n->type.dtype, ta = n->operands[0]->type.dtype, tb = n->operands[1]->type.dtype;
  if (!graph::is_float(t) || ta != tb || ta == DType::f16 || t == DType::f16) return false;
  auto l = sort_labels(*n);
  g = {};
  g.m = product(l.m, l), g.n = product(l.n, l), g.k = product(l.k, l);
  // Small ones are sooner compiled as a plain nest.
  if (g.m < 2 || g.n < 4 || g.k < 4 || g.m * g.n * g.k < 1024 || product(l.batch, l) == 0) return false;
  for (char c : l.k)
    if (n->str_attr("a").find(c) == std::string::npos || n->str_attr("b").find(c) == std::string::npos) return false;
  std::map<char, int64_t> sa, sb, sc;
  if (!view(n->operands[0], n->str_attr("a"), l, in_memory, base[0], sa, g.a_offset) ||
      !view(n->operands[1], n->str_attr("b"), l, in_memory, base[1], sb, g.b_offset))
    return false;
  auto out = row_major(sizes_of(n));
  for (size_t i = 0; i < out.size(); i++) sc[n->str_attr("out")[i]] = out[i];
  if (!collapse(l.m, l, sc, g.c_m) || !collapse(l.n, l, sc, g.c_n)) return false;
  auto walk = [&](const std::string& labels, std::map<char, int64_t>& stride, int64_t& even) {
    return collapse(labels, l, stride, even) ? std::vector<Gemm::Digit>() : digits(labels, l, stride);
  };
  g.a_rows = walk(l.m, sa, g.a_m), g.a_sums = walk(l.k, sa, g.a_k);
  g.b_cols = walk(l.n, sb, g.b_n), g.b_sums = walk(l.k, sb, g.b_k);
  // Offsets by digits are computed in 32 bits.
  const bool uneven = !g.a_rows.empty() || !g.a_sums.empty() || !g.b_cols.empty() || !g.b_sums.empty();
  if (uneven && std::max(count_of(base[0]), count_of(base[1])) > INT32_MAX) return false;
  // Batch labels go together from the fastest on while all three sides agree; the rest are loops around.
  size_t split = l.batch.size();
  while (split > 0) {
    std::string tail = l.batch.substr(split - 1);
    if (!collapse(tail, l, sa, g.a_batch) || !collapse(tail, l, sb, g.b_batch) || !collapse(tail, l, sc, g.c_batch))
      break;
    split--;
  }
  std::string tail = l.batch.substr(split);
  collapse(tail, l, sa, g.a_batch), collapse(tail, l, sb, g.b_batch), collapse(tail, l, sc, g.c_batch);
  g.batch = product(tail, l);
  for (size_t i = 0; i < split; i++)
    if (char c = l.batch[i]; l.size.at(c) != 1) g.outer.push_back({l.size.at(c), sa[c], sb[c], sc[c]});
  return true;
}

}  // namespace nnlc::loop
