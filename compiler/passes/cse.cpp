// Equal nodes become one: same op, operands and attributes. Random draws too: what they give is fixed by key and step.
// Keeps: order, inputs, the first of equal nodes.
#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "compiler/ops/op.h"
#include "compiler/passes/passes.h"

namespace nnlc::passes {
using namespace graph;

static size_t shallow_hash(const Node& n) {
  auto mix = [](size_t h, size_t v) { return (h ^ (v + 0x9e3779b97f4a7c15u + (h << 6) + (h >> 2))); };
  size_t h = std::hash<const void*>()(n.op);
  for (const Node* o : n.operands) h = mix(h, std::hash<const void*>()(o));
  for (auto& [key, value] : n.attrs) {
    if (const auto* i = std::get_if<int64_t>(&value)) h = mix(h, static_cast<size_t>(*i));
    if (const auto* s = std::get_if<std::string>(&value)) h = mix(h, std::hash<std::string>()(*s));
    if (const auto* list = std::get_if<IntList>(&value))
      for (int64_t i : *list) h = mix(h, static_cast<size_t>(i));
    if (const auto* shape = std::get_if<Shape>(&value))
      for (const Dim& d : *shape) h = mix(h, d.is_constant() ? static_cast<size_t>(d.value()) : d.hash());
  }
  return h;
}

/// Doubles compare by bits here: 0.0 and -0.0 are different constants, and NaN is equal to itself.
static bool same_attrs(const Attrs& a, const Attrs& b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](auto& x, auto& y) {
           if (x.first != y.first || x.second.index() != y.second.index()) return false;
           const double *p = std::get_if<double>(&x.second), *q = std::get_if<double>(&y.second);
           return p ? std::signbit(*p) == std::signbit(*q) && (*p == *q || (*p != *p && *q != *q))
                    : x.second == y.second;
         });
}

bool cse(Graph& g) {
  std::unordered_multimap<size_t, Node*> seen;
  std::unordered_map<const Node*, Node*> merged;
  for (Node* n : g.order()) {
    for (Node*& o : n->operands)
      if (auto it = merged.find(o); it != merged.end()) o = it->second;
    if (n->op->name == "input") continue;
    size_t h = shallow_hash(*n);
    auto [begin, end] = seen.equal_range(h);
    auto twin = std::find_if(begin, end, [&](auto& entry) {
      const Node& m = *entry.second;
      return m.op == n->op && m.operands == n->operands && m.type == n->type && same_attrs(m.attrs, n->attrs);
    });
    if (twin != end)
      merged[n] = twin->second;
    else
      seen.emplace(h, n);
  }
  if (merged.empty()) return false;
  std::erase_if(g.order(), [&](Node* n) { return merged.count(n) != 0; });
  for (Output& o : g.outputs)
    if (auto it = merged.find(o.value); it != merged.end()) o.value = it->second;
  return true;
}

}  // namespace nnlc::passes
