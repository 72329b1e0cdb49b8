// Rules of `simplify` for ops that move elements, and for reductions and contractions that can read through them.
#include <algorithm>

#include "compiler/passes/rewrite.h"

namespace nnlc::passes {
using namespace graph;

namespace {

bool all_ones(const IntList& xs) {
  return std::all_of(xs.begin(), xs.end(), [](int64_t x) { return x == 1; });
}

/// A reshape that only adds axes of size 1, as the result axis of each operand axis; the operand has none of size 1.
std::optional<IntList> as_unsqueeze(const Node* reshape) {
  const Shape &from = reshape->operands[0]->type.shape, &to = reshape->type.shape;
  IntList axes;
  for (size_t i = 0; i < to.size(); ++i) {
    if (to[i] == Dim(1)) continue;
    if (axes.size() == from.size() || to[i] != from[axes.size()]) return std::nullopt;
    axes.push_back(static_cast<int64_t>(i));
  }
  if (axes.size() != from.size()) return std::nullopt;
  return axes;
}

Node* merge_slices(Graph& g, Node* n) {
  Node* inner = n->operands[0];
  Shape starts = n->shape_attr("starts");
  IntList strides = n->ints_attr("strides");
  for (size_t i = 0; i < starts.size(); ++i) {
    int64_t s = inner->ints_attr("strides")[i];
    starts[i] = inner->shape_attr("starts")[i] + starts[i] * Dim(s);
    strides[i] *= s;
  }
  return slice(g, inner->operands[0], starts, n->shape_attr("sizes"), strides, n->span);
}

/// sum over axes that a broadcast has added: the operand, times their number.
Node* sum_of_broadcast(Graph& g, Node* n) {
  Node* b = n->operands[0];
  const IntList &removed = n->ints_attr("axes"), &axes = b->ints_attr("axes");
  Dim times(1);
  for (int64_t a : removed) {
    if (std::find(axes.begin(), axes.end(), a) != axes.end()) return nullptr;
    times = times * b->type.shape[a];
  }
  if (!times.is_constant()) return nullptr;
  IntList kept;
  for (int64_t a : axes) {
    auto below = std::lower_bound(removed.begin(), removed.end(), a) - removed.begin();
    kept.push_back(a - below);
  }
  Node* x = b->operands[0];
  if (!(x->type == n->type)) x = broadcast(g, x, n->type.shape, kept, n->span);
  if (times == Dim(1)) return x;
  // The factor must be exact in the element type: 2048 is the largest run of integers of f16, 256 of bf16.
  if (times.value() > (size_bytes(n->type.dtype) == 2 ? 256 : int64_t{1} << 24)) return nullptr;
  return binary(g, "mul", x, constant_int(g, times.value(), n->type, n->span), n->span);
}

IntList composed(const IntList& inner, const IntList& outer) {
  IntList r;
  for (int64_t a : inner) r.push_back(outer[a]);
  return r;
}

/// A slice that takes back a part of what a pad has put around: less is put there.
Node* slice_within_pad(Graph& g, Node* n, Node* x) {
  const Shape &low = x->shape_attr("low"), &high = x->shape_attr("high"), &starts = n->shape_attr("starts");
  Shape less = low, behind = high;
  for (size_t i = 0; i < low.size(); ++i) {
    less[i] = low[i] - starts[i];
    behind[i] = n->type.shape[i] - less[i] - x->operands[0]->type.shape[i];
    for (const Dim& d : {less[i], behind[i]})
      if (!d.is_constant() || d.value() < 0) return nullptr;
  }
  if (!all_ones(n->ints_attr("strides"))) return nullptr;
  return pad(g, x->operands[0], less, behind, x->float_attr("value"), n->span);
}

/// A part of a convolution's places, with stride 1, needs a part of its input only.
Node* slice_of_convolution(Graph& g, Node* n, Node* x) {
  const Shape &starts = n->shape_attr("starts"), &w = x->operands[1]->type.shape;
  if (!all_ones(n->ints_attr("strides")) || !all_ones(x->ints_attr("strides")) ||
      n->type.shape[0] != x->type.shape[0] || n->type.shape[1] != x->type.shape[1])
    return nullptr;
  Shape extent = x->operands[0]->type.shape;
  for (size_t i = 2; i < extent.size(); ++i)
    extent[i] = n->type.shape[i] + (w[i] - Dim(1)) * Dim(x->ints_attr("dilations")[i - 2]);
  Node* part = slice(g, x->operands[0], starts, extent, IntList(extent.size(), 1), n->span);
  return convolution(g, part, x->operands[1], x->ints_attr("strides"), x->ints_attr("dilations"), x->int_attr("groups"),
                     x->span);
}

}  // namespace

Node* Rewriter::movement(Node* n) {
  if (n->operands.empty()) return nullptr;
  Node* x = n->operands[0];
  Span at = n->span;
  // A view of a constant that is everywhere the same.
  if (n->op->op_class == OpClass::movement && n->operands.size() == 1 && !is(n, "pad"))
    if (const Node* c = uniform(n); c && !(is(n, "broadcast") && x == c)) {
      Node* scalar = const_cast<Node*>(c);  // it is one of the graph's own nodes
      return broadcast_to(g, scalar, n->type.shape, at);
    }
  if (is(n, "reshape")) {
    if (x->type.shape == n->type.shape) return x;
    if (is(x, "reshape")) return reshape(g, x->operands[0], n->type.shape, at);
    return nullptr;
  }
  if (is(n, "permute")) {
    const IntList& perm = n->ints_attr("perm");
    if (std::is_sorted(perm.begin(), perm.end())) return x;
    if (is(x, "permute")) return permute(g, x->operands[0], composed(perm, x->ints_attr("perm")), at);
    if (is(x, "contract") && used_once(x)) {
      const std::string& out = x->str_attr("out");
      std::string labels;
      for (int64_t p : perm) labels += out[p];
      return contract(g, x->operands[0], x->operands[1], x->str_attr("a"), x->str_attr("b"), labels, x->span);
    }
    return nullptr;
  }
  if (is(n, "broadcast")) {
    if (x->type.shape == n->type.shape) return x;
    if (is(x, "broadcast"))
      return broadcast(g, x->operands[0], n->type.shape, composed(x->ints_attr("axes"), n->ints_attr("axes")), at);
    if (is(x, "reshape"))
      if (auto axes = as_unsqueeze(x))
        return broadcast(g, x->operands[0], n->type.shape, composed(*axes, n->ints_attr("axes")), at);
    return nullptr;
  }
  if (is(n, "slice")) {
    bool whole = x->type.shape == n->type.shape && all_ones(n->ints_attr("strides"));
    if (whole) return x;
    if (is(x, "slice")) return merge_slices(g, n);
    // A slice that takes back what a pad has put around.
    if (is(x, "pad") && n->shape_attr("starts") == x->shape_attr("low") && n->type == x->operands[0]->type &&
        all_ones(n->ints_attr("strides")))
      return x->operands[0];
    if (is(x, "pad")) return slice_within_pad(g, n, x);
    if (is(x, "convolution") && used_once(x)) return slice_of_convolution(g, n, x);
    return nullptr;
  }
  if (is(n, "pad")) {
    if (x->type.shape == n->type.shape) return x;
    if (auto v = uniform_value(x); v == n->float_attr("value")) return constant(g, *v, n->type, at);
    if (is(x, "pad") && x->float_attr("value") == n->float_attr("value")) {
      Shape low = n->shape_attr("low"), high = n->shape_attr("high");
      for (size_t i = 0; i < low.size(); ++i) {
        low[i] = low[i] + x->shape_attr("low")[i];
        high[i] = high[i] + x->shape_attr("high")[i];
      }
      return pad(g, x->operands[0], low, high, n->float_attr("value"), at);
    }
    return nullptr;
  }
  if (is(n, "concat")) return n->operands.size() == 1 ? x : nullptr;
  if (is(n, "flip")) {
    if (n->ints_attr("axes").empty()) return x;
    return is(x, "flip") && x->ints_attr("axes") == n->ints_attr("axes") ? x->operands[0] : nullptr;
  }
  if (is(n, "reduce_sum") || is(n, "reduce_max") || is(n, "reduce_min") || is(n, "reduce_prod")) {
    const IntList& axes = n->ints_attr("axes");
    if (axes.empty()) return x;
    bool trivial = std::all_of(axes.begin(), axes.end(), [&](int64_t a) { return x->type.shape[a] == Dim(1); });
    if (trivial) return reshape(g, x, n->type.shape, at);
    if (is(n, "reduce_sum") && is(x, "broadcast")) return sum_of_broadcast(g, n);
    if (is(n, "reduce_sum") && is(x, "neg")) return unary(g, "neg", reduce(g, "sum", x->operands[0], axes, at), at);
    if (is(n, "reduce_sum") && is(x, "scatter_add_along")) {
      // Summed along the axis of the indices, it doesn't matter where they point to: no update is ever lost.
      Node* updates = x->operands[1];
      Shape expected = x->type.shape;
      int64_t axis = x->int_attr("axis");
      expected[axis] = updates->type.shape[axis];
      if (axes == IntList{axis} && updates->type.shape == expected && expected[axis] != Dim(0))
        return reduce(g, "sum", updates, axes, at);
    }
    return nullptr;
  }
  if (is(n, "contract")) {
    // Reading a transposed operand is the same as naming its axes in another order.
    for (size_t i : {0, 1}) {
      Node* side = n->operands[i];
      if (!is(side, "permute")) continue;
      std::string labels[2] = {n->str_attr("a"), n->str_attr("b")};
      const IntList& perm = side->ints_attr("perm");
      std::string own(perm.size(), ' ');
      for (size_t k = 0; k < perm.size(); ++k) own[perm[k]] = labels[i][k];
      labels[i] = own;
      Node* sides[2] = {n->operands[0], n->operands[1]};
      sides[i] = side->operands[0];
      return contract(g, sides[0], sides[1], labels[0], labels[1], n->str_attr("out"), at);
    }
  }
  return nullptr;
}

/// An elementwise op whose operands are all expanded in the same way (or constant) is computed before expanding.
Node* Rewriter::sink_broadcasts(Node* n) {
  if (n->op->op_class != OpClass::elementwise) return nullptr;
  const Node* like = nullptr;
  for (const Node* o : n->operands) {
    if (uniform(o)) continue;
    if (!is(o, "broadcast")) return nullptr;
    if (like && (o->operands[0]->type.shape != like->operands[0]->type.shape ||
                 o->ints_attr("axes") != like->ints_attr("axes")))
      return nullptr;
    like = o;
  }
  if (!like) return nullptr;
  const Shape& small = like->operands[0]->type.shape;
  std::vector<Node*> operands;
  for (Node* o : n->operands) {
    const Node* c = uniform(o);
    operands.push_back(c ? broadcast_to(g, const_cast<Node*>(c), small, n->span) : o->operands[0]);
  }
  Node* r = make(g, n->op->name, std::move(operands), n->attrs, n->span);
  return broadcast(g, r, n->type.shape, like->ints_attr("axes"), n->span);
}

/// One update for each line along the axis (the gradient of picking one class a row) is a comparison with the place:
/// work that fuses with what stands around it, where a scatter needs a pass of its own.
Node* Rewriter::scatter_as_select(Node* n) {
  if (!is(n, "scatter_add_along") || !is_constant(n->type.shape)) return nullptr;
  Node *index = n->operands[0], *updates = n->operands[1];
  int64_t axis = n->int_attr("axis"), size = n->type.shape[axis].value();
  DType dtype = index->type.dtype;
  Shape lines = n->type.shape;
  lines[axis] = Dim(1);
  if (index->type.shape != lines || size == 0 || size > INT32_MAX || (dtype != DType::i32 && dtype != DType::i64))
    return nullptr;
  Span at = n->span;
  Node* clamped = binary(g, "max", index, constant_int(g, 0, index->type, at), at);
  clamped = binary(g, "min", clamped, constant_int(g, size - 1, index->type, at), at);
  Node* here =
      binary(g, "eq", iota(g, {dtype, n->type.shape}, axis, at), broadcast_to(g, clamped, n->type.shape, at), at);
  return select(g, here, broadcast_to(g, updates, n->type.shape, at), constant(g, 0, n->type, at), at);
}

}  // namespace nnlc::passes
