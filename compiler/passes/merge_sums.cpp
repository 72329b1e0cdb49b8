// Sums of many equal terms become one term over their operands, side by side: what the gradients of an unrolled `scan`
// (or of any loop) are made of. Products a1 b1 + a2 b2 + … are one product with the terms as a further summed axis,
// sums are one sum, and pads that don't overlap are a concatenation. A concatenation of what another one holds as a run
// is a slice of it. Why: one kernel for all steps instead of one a step, and no partial results in memory. Needs:
// gradients taken already. Keeps: values up to the order of sums.
#include <algorithm>
#include <map>
#include <unordered_map>

#include "compiler/ops/build.h"
#include "compiler/passes/passes.h"

namespace nnlc::passes {
using namespace graph;

namespace {

/// Fewer terms than this stay as they are: a fused kernel adds them up well.
constexpr size_t kFewestTerms = 6;

bool is(const Node* n, std::string_view op) { return n->op->name == op; }

class Merging {
 public:
  explicit Merging(Graph& g) : g(g) {
    for (const Node* n : g.nodes())
      for (const Node* o : n->operands) ++uses_[o];
    for (const Output& o : g.outputs) ++uses_[o.value];
    for (const Node* n : g.nodes())
      if (is(n, "concat") && n->operands.size() >= kFewestTerms)
        for (size_t i = 0; i < n->operands.size(); ++i) {
          const Node* part = n->operands[i];
          place_.try_emplace(is(part, "reshape") ? part->operands[0] : part, n, i);
        }
  }
  bool run();

 private:
  bool used_once(const Node* n) { return uses_[n] == 1; }
  void collect(Node* n, std::vector<Node*>& terms);
  bool in_order(const std::vector<Node*>& terms) const;
  Node* side_by_side(const std::vector<Node*>& parts, Span at);
  Node* merged(std::vector<Node*> terms);
  Node* joined_pads(std::vector<Node*> terms);

  Graph& g;
  std::unordered_map<const Node*, int> uses_;
  std::unordered_map<const Node*, std::pair<const Node*, size_t>> place_;  ///< of a value in a concatenation
};

/// The terms of a chain of additions, first ones first.
void Merging::collect(Node* n, std::vector<Node*>& terms) {
  std::vector<Node*> open{n};
  while (!open.empty()) {
    Node* at = open.back();
    open.pop_back();
    if (is(at, "add") && (at == n || used_once(at))) {
      open.push_back(at->operands[1]);
      open.push_back(at->operands[0]);
    } else {
      terms.push_back(at);
    }
  }
}

/// Whether the operands of the terms stand in this order in a concatenation that is there anyway. The gradients of
/// steps come up last one first.
bool Merging::in_order(const std::vector<Node*>& terms) const {
  int64_t up = 0, down = 0;
  for (size_t side = 0; side < terms[0]->operands.size(); ++side)
    for (size_t i = 0; i + 1 < terms.size(); ++i) {
      auto a = place_.find(terms[i]->operands[side]), b = place_.find(terms[i + 1]->operands[side]);
      if (a == place_.end() || b == place_.end() || a->second.first != b->second.first) continue;
      ++(a->second.second < b->second.second ? up : down);
    }
  return up > down;
}

/// [parts, ...] of equally shaped values.
Node* Merging::side_by_side(const std::vector<Node*>& parts, Span at) {
  Shape one = parts[0]->type.shape;
  one.insert(one.begin(), Dim(1));
  std::vector<Node*> rows;
  for (Node* p : parts) rows.push_back(reshape(g, p, one, at));
  return concat(g, rows, 0, at);
}

/// One node for a sum of contractions, or of reductions, that differ in their operands only.
Node* Merging::merged(std::vector<Node*> terms) {
  if (!in_order(terms)) std::reverse(terms.begin(), terms.end());
  Node* first = terms[0];
  const Span at = first->span;
  std::vector<Node*> left, right;
  for (Node* t : terms) left.push_back(t->operands[0]);
  if (is(first, "reduce_sum")) {
    IntList axes{0};
    for (int64_t a : first->ints_attr("axes")) axes.push_back(a + 1);
    return reduce(g, "sum", side_by_side(left, at), axes, at);
  }
  for (Node* t : terms) right.push_back(t->operands[1]);
  const std::string &a = first->str_attr("a"), &b = first->str_attr("b"), &out = first->str_attr("out");
  std::string term;
  for (char c = 'a'; c <= 'z' && term.empty(); ++c)
    if ((a + b + out).find(c) == std::string::npos) term = c;
  if (term.empty()) return nullptr;
  return contract(g, side_by_side(left, at), side_by_side(right, at), term + a, term + b, out, at);
}

/// Pads of one value with 0, each filling another stretch of one axis.
Node* Merging::joined_pads(std::vector<Node*> terms) {
  const TensorType& type = terms[0]->type;
  const Span at = terms[0]->span;
  if (!graph::is_constant(type.shape)) return nullptr;
  int64_t axis = -1;
  for (const Node* t : terms)
    for (size_t i = 0; i < type.rank(); ++i) {
      if (t->shape_attr("low")[i] == Dim(0) && t->shape_attr("high")[i] == Dim(0)) continue;
      if (axis >= 0 && axis != static_cast<int64_t>(i)) return nullptr;
      axis = static_cast<int64_t>(i);
    }
  if (axis < 0) return nullptr;
  auto low = [&](const Node* t) { return t->shape_attr("low")[static_cast<size_t>(axis)].value(); };
  auto size = [&](const Node* t) { return t->operands[0]->type.shape[static_cast<size_t>(axis)].value(); };
  std::stable_sort(terms.begin(), terms.end(), [&](const Node* a, const Node* b) { return low(a) < low(b); });
  std::vector<Node*> parts;
  int64_t end = 0;
  auto fill = [&](int64_t to) {
    if (to == end) return;
    TensorType gap = type;
    gap.shape[static_cast<size_t>(axis)] = Dim(to - end);
    parts.push_back(constant(g, 0, gap, at));
  };
  for (Node* t : terms) {
    if (low(t) < end) return nullptr;
    fill(low(t));
    parts.push_back(t->operands[0]);
    end = low(t) + size(t);
  }
  fill(type.shape[static_cast<size_t>(axis)].value());
  return concat(g, parts, axis, at);
}

bool Merging::run() {
  bool changed = false;
  std::vector<Node*> old = std::move(g.order());
  g.order().clear();
  std::unordered_map<const Node*, Node*> replaced;
  std::unordered_map<const Node*, bool> inside;  // an addition that belongs to a larger sum
  for (Node* n : old)
    if (is(n, "add"))
      for (const Node* o : n->operands)
        if (is(o, "add") && used_once(o)) inside[o] = true;
  for (Node* n : old) {
    for (Node*& o : n->operands)
      if (auto it = replaced.find(o); it != replaced.end()) o = it->second;
    if (is(n, "add") && !inside[n]) {
      std::vector<Node*> terms;
      collect(n, terms);
      // Terms of one kind, in the order in which they come up.
      std::vector<std::vector<Node*>> kinds;
      for (Node* t : terms) {
        auto alike = [&](const std::vector<Node*>& kind) {
          const Node* k = kind[0];
          if (k->op != t->op || !used_once(t) || !used_once(k)) return false;
          if (is(t, "pad")) return t->float_attr("value") == 0 && k->float_attr("value") == 0;
          if (!is(t, "contract") && !is(t, "reduce_sum")) return false;
          if (!(k->attrs == t->attrs)) return false;
          for (size_t i = 0; i < t->operands.size(); ++i)
            if (!(t->operands[i]->type == k->operands[i]->type)) return false;
          return true;
        };
        auto kind = terms.size() < kFewestTerms ? kinds.end() : std::find_if(kinds.begin(), kinds.end(), alike);
        if (kind == kinds.end())
          kinds.push_back({t});
        else
          kind->push_back(t);
      }
      Node* sum = nullptr;
      bool better = false;
      g.mark = [n](Node& added) {
        added.site = n->site;
        added.gradient_of = n->gradient_of;
      };
      for (auto& kind : kinds) {
        Node* one = nullptr;
        if (kind.size() >= kFewestTerms) one = is(kind[0], "pad") ? joined_pads(kind) : merged(kind);
        better |= one != nullptr;
        if (one) kind = {one};
      }
      if (better) {
        for (auto& kind : kinds)
          for (Node* t : kind) sum = sum ? binary(g, "add", sum, t, n->span) : t;
        replaced[n] = sum;
        changed = true;
        continue;
      }
    }
    g.order().push_back(n);
  }
  g.mark = nullptr;
  for (Output& o : g.outputs)
    if (auto it = replaced.find(o.value); it != replaced.end()) o.value = it->second;
  if (changed) dce(g);
  return changed;
}

/// A concatenation whose parts stand side by side in an earlier one reads them there.
bool share_runs(Graph& g) {
  bool changed = false;
  std::vector<Node*> old = std::move(g.order());
  g.order().clear();
  struct Place {
    Node* whole;
    size_t part;
    int64_t start;
  };
  std::map<std::pair<const Node*, int64_t>, Place> places;  // of a part, by the axis that it stands on
  for (Node* n : old) {
    g.order().push_back(n);
    if (!is(n, "concat") || n->operands.size() < kFewestTerms || !graph::is_constant(n->type.shape)) continue;
    const int64_t axis = n->int_attr("axis");
    auto place = [&](const Node* part) {
      auto it = places.find({part, axis});
      return it == places.end() ? nullptr : &it->second;
    };
    std::vector<Node*> parts;
    bool shared = false;
    g.order().pop_back();
    for (size_t i = 0; i < n->operands.size();) {
      const Place* first = place(n->operands[i]);
      size_t length = 1;
      while (first && i + length < n->operands.size() && first->part + length < first->whole->operands.size() &&
             first->whole->operands[first->part + length] == n->operands[i + length])
        ++length;
      if (!first || length < kFewestTerms) {
        parts.push_back(n->operands[i++]);
        continue;
      }
      Shape starts(n->type.rank(), Dim(0)), sizes = n->type.shape;
      int64_t size = 0;
      for (size_t k = 0; k < length; ++k) size += n->operands[i + k]->type.shape[static_cast<size_t>(axis)].value();
      starts[static_cast<size_t>(axis)] = Dim(first->start);
      sizes[static_cast<size_t>(axis)] = Dim(size);
      parts.push_back(slice(g, first->whole, starts, sizes, IntList(n->type.rank(), 1), n->span));
      i += length;
      shared = true;
    }
    if (shared) {
      n->operands = parts;
      changed = true;
    }
    g.order().push_back(n);
    int64_t start = 0;
    for (size_t i = 0; i < n->operands.size(); ++i) {
      places.try_emplace({n->operands[i], axis}, Place{n, i, start});
      start += n->operands[i]->type.shape[static_cast<size_t>(axis)].value();
    }
  }
  return changed;
}

}  // namespace

bool merge_sums(Graph& g) {
  bool changed = Merging(g).run();
  return share_runs(g) || changed;
}

}  // namespace nnlc::passes
