// Algebra that costs nothing to know: identities, folding of constants, movement ops that undo one another.
// Needs: gradients taken already (stop_gradient goes). Keeps: spans, and values up to the sign of zero and the last bit
// of folded constants; a rule that would hide a NaN or an infinity is not here (x * 0 stays).
#include <cmath>

#include "compiler/ops/evaluate.h"
#include "compiler/passes/passes.h"
#include "compiler/passes/rewrite.h"

namespace nnlc::passes {
using namespace graph;

const Node* Rewriter::uniform(const Node* n) {
  while (true) {
    if (is(n, "constant")) return n->type.rank() == 0 ? n : nullptr;
    bool moves = is(n, "broadcast") || is(n, "reshape") || is(n, "permute") || is(n, "slice") || is(n, "flip") ||
                 is(n, "window") || is(n, "dynamic_slice");
    if (!moves) return nullptr;
    n = n->operands[0];
  }
}

std::optional<double> Rewriter::uniform_value(const Node* n) {
  const Node* c = uniform(n);
  if (!c) return std::nullopt;
  return constant_value(*c);
}

namespace {

Node* constant_from(Graph& g, const RefTensor& t, const Shape& shape, Span span) {
  if (is_float(t.type.dtype)) return constant(g, t.f[0], {t.type.dtype, shape}, span);
  return constant_int(g, t.i[0], {t.type.dtype, shape}, span);
}

}  // namespace

/// An elementwise node of uniform operands, and a small node of dense constants.
Node* Rewriter::fold(Node* n) {
  if (n->operands.empty() || !n->op->reference) return nullptr;
  if (n->op->op_class == OpClass::elementwise) {
    std::vector<RefTensor> values;
    for (const Node* o : n->operands) {
      const Node* c = uniform(o);
      if (!c) break;
      values.push_back(evaluate_node(*c, {}));
    }
    if (values.size() == n->operands.size()) {
      Node scalar = *n;
      scalar.type.shape = {};
      std::vector<const RefTensor*> in;
      for (const RefTensor& v : values) in.push_back(&v);
      return constant_from(g, evaluate_node(scalar, in), n->type.shape, n->span);
    }
  }
  constexpr int64_t kMostElements = 256;  // larger tables are better computed than stored
  if (n->op->op_class == OpClass::random || is(n, "broadcast") || !is_constant(n->type.shape)) return nullptr;
  Dim count = element_count(n->type.shape);
  if (count.value() > kMostElements || count.value() < 1) return nullptr;
  std::vector<RefTensor> values;
  for (const Node* o : n->operands) {
    if (!is(o, "constant")) return nullptr;
    values.push_back(evaluate_node(*o, {}));
  }
  std::vector<const RefTensor*> in;
  for (const RefTensor& v : values) in.push_back(&v);
  RefTensor result = evaluate_node(*n, in);
  if (n->type.rank() == 0) return constant_from(g, result, {}, n->span);
  if (is_float(n->type.dtype)) return constant_array(g, result.f, n->type, n->span);
  return make(g, "constant", {}, {{"dtype", n->type.dtype}, {"shape", n->type.shape}, {"values", IntList(result.i)}},
              n->span);
}

Node* Rewriter::algebra(Node* n) {
  auto in = [&](size_t i) { return n->operands[i]; };
  auto value = [&](size_t i) { return uniform_value(in(i)); };
  Span at = n->span;
  if (is(n, "stop_gradient")) return in(0);
  if (is(n, "neg")) {
    if (is(in(0), "neg")) return in(0)->operands[0];
    if (is(in(0), "sub"))
      return used_once(in(0)) ? binary(g, "sub", in(0)->operands[1], in(0)->operands[0], at) : nullptr;
    return nullptr;
  }
  if (is(n, "not")) return is(in(0), "not") ? in(0)->operands[0] : nullptr;
  if (is(n, "abs")) return is(in(0), "neg") || is(in(0), "abs") ? unary(g, "abs", in(0)->operands[0], at) : nullptr;
  if (is(n, "add")) {
    if (value(0) == 0.0) return in(1);
    if (value(1) == 0.0) return in(0);
    if (is(in(1), "neg")) return binary(g, "sub", in(0), in(1)->operands[0], at);
    if (is(in(0), "neg")) return binary(g, "sub", in(1), in(0)->operands[0], at);
    return nullptr;
  }
  if (is(n, "sub")) {
    if (value(1) == 0.0) return in(0);
    if (value(0) == 0.0) return unary(g, "neg", in(1), at);
    if (is(in(1), "neg")) return binary(g, "add", in(0), in(1)->operands[0], at);
    return nullptr;
  }
  if (is(n, "mul")) {
    for (size_t i : {0, 1}) {
      if (value(i) == 1.0) return in(1 - i);
      if (value(i) == -1.0) return unary(g, "neg", in(1 - i), at);
      if (is(in(i), "neg") && is(in(1 - i), "neg")) return binary(g, "mul", in(0)->operands[0], in(1)->operands[0], at);
    }
    return nullptr;
  }
  if (is(n, "div")) {
    if (value(1) == 1.0) return in(0);
    // Division by a power of two is exact as a product.
    if (auto d = value(1); d && is_float(n->type.dtype)) {
      int exponent;
      if (std::fabs(std::frexp(*d, &exponent)) == 0.5 && exponent > -10 && exponent < 12)
        return binary(g, "mul", in(0), constant(g, 1 / *d, n->type, at), at);
    }
    return nullptr;
  }
  if (is(n, "pow")) {
    auto e = value(1);
    if (!e) return nullptr;
    if (*e == 1) return in(0);
    if (*e == 2) return binary(g, "mul", in(0), in(0), at);
    if (!is_float(n->type.dtype)) return nullptr;
    if (*e == 0) return constant(g, 1, n->type, at);
    if (*e == 3) return binary(g, "mul", binary(g, "mul", in(0), in(0), at), in(0), at);
    if (*e == 0.5) return unary(g, "sqrt", in(0), at);
    if (*e == -0.5) return unary(g, "rsqrt", in(0), at);
    if (*e == -1) return binary(g, "div", constant(g, 1, n->type, at), in(0), at);
    return nullptr;
  }
  if (is(n, "and") || is(n, "or")) {
    bool neutral = is(n, "and");
    if (in(0) == in(1)) return in(0);
    for (size_t i : {0, 1})
      if (auto v = value(i)) return (*v != 0) == neutral ? in(1 - i) : in(i);
    return nullptr;
  }
  if (is(n, "select")) {
    if (in(1) == in(2)) return in(1);
    if (auto m = value(0)) return in(*m != 0 ? 1 : 2);
    if (is(in(0), "not")) return select(g, in(0)->operands[0], in(2), in(1), at);
    return nullptr;
  }
  if (is(n, "cast")) {
    DType to = n->type.dtype;
    if (in(0)->type.dtype == to) return in(0);
    if (!is(in(0), "cast")) return nullptr;
    // A way out and back through a wider type changes nothing.
    Node* source = in(0)->operands[0];
    DType from = source->type.dtype, between = in(0)->type.dtype;
    bool wider = (is_float(from) && is_float(between) && size_bytes(between) > size_bytes(from)) ||
                 (from == DType::boolean && !is_float(between)) || (from == DType::boolean && is_float(between));
    return wider && from == to ? source : nullptr;
  }
  return nullptr;
}

bool Rewriter::sweep() {
  uses_.clear();
  for (const Node* n : g.nodes())
    for (const Node* o : n->operands) ++uses_[o];
  for (const Output& o : g.outputs) ++uses_[o.value];
  std::vector<Node*> old = std::move(g.order());
  g.order().clear();
  std::unordered_map<const Node*, Node*> replaced;
  for (Node* n : old) {
    g.mark = [n](Node& added) {
      added.site = n->site;
      added.gradient_of = n->gradient_of;
    };
    for (Node*& o : n->operands)
      if (auto it = replaced.find(o); it != replaced.end()) o = it->second;
    Node* r = fold(n);
    if (!r) r = algebra(n);
    if (!r) r = movement(n);
    if (!r) r = sink_broadcasts(n);
    if (!r && late_) r = scatter_as_select(n);
    // A rule may give any node of the same type; what it has made stands in the order already.
    if (r && r != n)
      replaced[n] = r;
    else
      g.order().push_back(n);
  }
  g.mark = nullptr;
  for (Output& o : g.outputs)
    if (auto it = replaced.find(o.value); it != replaced.end()) o.value = it->second;
  return !replaced.empty();
}

bool simplify(Graph& g) {
  bool changed = dce(g);
  constexpr int kMostSweeps =
      16;  // every rule makes the graph smaller or its constants simpler; this only bounds the time
  for (bool late : {false, true})
    for (int i = 0; i < kMostSweeps && Rewriter(g, late).sweep(); ++i) {
      changed = true;
      dce(g);
    }
  return changed;
}

}  // namespace nnlc::passes
