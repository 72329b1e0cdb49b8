// The graph before it is lowered: contractions in a form that kernels know, long sums in parts, narrow sums widened.
#include <algorithm>

#include "compiler/loop/lowering.h"
#include "compiler/ops/build.h"

namespace nnlc::loop {

namespace {

/// What is made in place of n comes from where n does.
auto like(const Node* n) {
  return [n](Node& made) {
    made.site = n->site;
    made.gradient_of = n->gradient_of;
  };
}

/// Sums of f16 and bf16 are kept in f32.
void widen_scatters(graph::Graph& g) {
  std::vector<Node*> order = g.order(), out;
  for (Node* n : order) {
    g.mark = like(n);
    out.push_back(n);
    bool scatter = n->op->name == "scatter_add" || n->op->name == "scatter_add_along";
    if ((!scatter && n->op->name != "cumsum") || (n->type.dtype != DType::bf16 && n->type.dtype != DType::f16))
      continue;
    size_t before = g.order().size();
    auto operands = n->operands;
    Node*& values = operands[scatter ? 1 : 0];
    values = graph::cast(g, values, DType::f32, n->span);
    Node* wide = graph::make(g, n->op->name, operands, n->attrs, n->span);
    Node* narrow = graph::cast(g, wide, n->type.dtype, n->span);
    out.insert(out.end(), g.order().begin() + before, g.order().end());
    g.order().resize(before);
    g.replace_uses(n, narrow);
  }
  g.order() = out;
  g.drop_dead();
}

/// A long sum for few results is cut into parts that threads share: their number comes from the shape alone.
void split_reductions(graph::Graph& g) {
  std::vector<Node*> order = g.order(), out;
  for (Node* n : order) {
    g.mark = like(n);
    out.push_back(n);
    if (!n->op->name.starts_with("reduce_")) continue;
    const Node* x = n->operands[0];
    auto sizes = sizes_of(x);
    auto axes = n->ints_attr("axes");
    int64_t results = count_of(n), all = count_of(x);
    if (all == 0 || results > 64 || all / std::max<int64_t>(results, 1) < 8192) continue;
    int64_t axis = -1, parts = 0;
    // Best a whole axis: then the parts are rows, which other kernels over the same values walk too.
    for (int64_t a : axes)
      if (axis < 0 && sizes[a] >= 16 && sizes[a] <= 8192 && all / results / sizes[a] >= 64) axis = a, parts = sizes[a];
    // Else the slowest axis that divides well.
    for (int64_t a : axes)
      for (int64_t p : {32, 28, 24, 20, 16, 14, 12, 10, 8})
        if (axis < 0 && sizes[a] % p == 0 && sizes[a] > p) axis = a, parts = p;
    if (axis < 0)
      for (int64_t a : axes)
        if (axis < 0 && sizes[a] >= 8 && sizes[a] <= 64 && axes.size() > 1) axis = a, parts = sizes[a];
    if (axis < 0) continue;
    size_t before = g.order().size();
    graph::Shape shape;
    graph::IntList inner;
    int64_t part_axis = 0, kept = 0;
    for (size_t i = 0; i < sizes.size(); i++) {
      bool reduced = std::find(axes.begin(), axes.end(), int64_t(i)) != axes.end();
      if (int64_t(i) == axis) {
        part_axis = kept;
        shape.push_back(parts);
        if (parts != sizes[i]) {
          inner.push_back(int64_t(shape.size()));
          shape.push_back(sizes[i] / parts);
        }
        continue;
      }
      if (reduced)
        inner.push_back(int64_t(shape.size()));
      else
        kept++;
      shape.push_back(sizes[i]);
    }
    Node* r = shape == x->type.shape ? n->operands[0] : graph::reshape(g, n->operands[0], shape, n->span);
    Node* first = graph::make(g, n->op->name, {r}, {{"axes", inner}}, n->span);
    Node* second = graph::make(g, n->op->name, {first}, {{"axes", graph::IntList{part_axis}}}, n->span);
    if (second->type != n->type) {
      g.order().resize(before);
      continue;
    }
    out.insert(out.end(), g.order().begin() + before, g.order().end());
    g.order().resize(before);
    g.replace_uses(n, second);
  }
  g.order() = out;
  g.drop_dead();
}

void expand_convolutions(graph::Graph& g) {
  std::vector<Node*> order = g.order(), out;
  for (Node* n : order) {
    g.mark = like(n);
    out.push_back(n);
    if (n->op->name != "convolution") continue;
    size_t before = g.order().size();
    Node* y = graph::convolution_as_contraction(g, *n);
    out.insert(out.end(), g.order().begin() + before, g.order().end());
    g.order().resize(before);
    g.replace_uses(n, y);
  }
  g.order() = out;
  g.drop_dead();
}

/// A result with its labels in another order than batch, m, n is made in that order and permuted: readers see through
/// it.
void contractions(graph::Graph& g, std::set<const Node*>& forced) {
  std::vector<Node*> order = g.order();
  std::vector<Node*> out;
  for (Node* n : order) {
    g.mark = like(n);
    out.push_back(n);
    if (n->op->name != "contract") continue;
    auto l = sort_labels(*n);
    std::string wanted = l.batch + l.m + l.n, have = n->str_attr("out");
    if (wanted == have) continue;
    std::string other = l.batch + l.n + l.m;
    size_t before = g.order().size();
    Node *c, *p;
    if (other == have) {
      c = graph::contract(g, n->operands[1], n->operands[0], n->str_attr("b"), n->str_attr("a"), have, n->span);
      p = c;
    } else {
      c = graph::contract(g, n->operands[0], n->operands[1], n->str_attr("a"), n->str_attr("b"), wanted, n->span);
      graph::IntList perm;
      for (char h : have) perm.push_back(int64_t(wanted.find(h)));
      p = graph::permute(g, c, perm, n->span);
    }
    out.insert(out.end(), g.order().begin() + before, g.order().end());
    g.order().resize(before);
    g.replace_uses(n, p);
  }
  g.order() = out;
  g.drop_dead();
  InMemory in_memory = [&](const Node* x) { return forced.count(x) > 0; };
  // A side that doesn't stand in memory as a view is copied into the order of the product.
  order = g.order();
  out.clear();
  for (Node* n : order) {
    g.mark = like(n);
    if (n->op->name == "contract" && graph::is_float(n->type.dtype)) {
      auto l = sort_labels(*n);
      int64_t m = product(l.m, l), nn = product(l.n, l), k = product(l.k, l);
      if (m >= 4 && nn >= 4 && k >= 8 && m * nn * k >= 8192) {
        for (int side = 0; side < 2; side++) {
          std::string key = side ? "b" : "a", labels = n->str_attr(key);
          const std::string& own = side ? l.n : l.m;
          const Node* base;
          std::map<char, int64_t> stride;
          int64_t offset;
          if (view(n->operands[side], labels, l, in_memory, base, stride, offset)) continue;
          std::string wanted = l.batch + own + l.k;
          if (wanted.size() != labels.size()) continue;  // a sum over one side alone
          graph::IntList perm;
          for (char c : wanted) perm.push_back(int64_t(labels.find(c)));
          size_t before = g.order().size();
          Node* copy = graph::permute(g, n->operands[side], perm, n->span);
          forced.insert(copy);
          n->operands[side] = copy;
          n->attrs[key] = wanted;
          out.insert(out.end(), g.order().begin() + before, g.order().end());
          g.order().resize(before);
        }
      }
    }
    out.push_back(n);
  }
  g.order() = out;
  g.drop_dead();
}

}  // namespace

void prepare(graph::Graph& g, std::set<const Node*>& forced) {
  widen_scatters(g);
  split_reductions(g);
  expand_convolutions(g);
  contractions(g, forced);
}

}  // namespace nnlc::loop
