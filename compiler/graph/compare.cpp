// Value numbering with one dictionary for both graphs: nodes with the same number compute the same.
#include "compiler/graph/compare.h"

#include <map>
#include <set>
#include <tuple>
#include <unordered_map>

#include "compiler/ops/op.h"

namespace nnlc::graph {

namespace {

using Key = std::tuple<std::string, std::vector<int>, std::map<std::string, std::string>, std::string>;

std::string text_of(const Attr& a) {
  struct Visitor {
    std::string operator()(int64_t v) const { return std::to_string(v); }
    std::string operator()(double v) const { return std::to_string(std::hash<double>()(v)); }
    std::string operator()(bool v) const { return v ? "true" : "false"; }
    std::string operator()(const std::string& v) const { return v; }
    std::string operator()(const IntList& v) const {
      std::string out;
      for (int64_t i : v) out += std::to_string(i) + ",";
      return out;
    }
    std::string operator()(const Shape& v) const { return str(v); }
    std::string operator()(DType v) const { return std::string(name(v)); }
  };
  return std::visit(Visitor{}, a);
}

using Numbers = std::unordered_map<const Node*, int>;

Numbers number(const Graph& g, std::map<Key, int>& known) {
  Numbers out;
  auto enter = [&](const Node* n, Key key) {
    out[n] = known.emplace(std::move(key), static_cast<int>(known.size())).first->second;
  };
  for (size_t i = 0; i < g.inputs.size(); ++i)
    enter(g.inputs[i], {"input", {static_cast<int>(i)}, {}, g.inputs[i]->type.str()});
  for (const Node* n : g.nodes()) {
    if (out.count(n)) continue;
    Key key{std::string(n->op->name), {}, {}, n->type.str()};
    for (const Node* o : n->operands) std::get<1>(key).push_back(out.at(o));
    for (auto& [name, value] : n->attrs) std::get<2>(key)[name] = text_of(value);
    enter(n, std::move(key));
  }
  return out;
}

std::vector<const Node*> missing(const Graph& g, const Numbers& own, const Numbers& other) {
  std::set<int> there;
  for (auto& [n, number] : other) there.insert(number);
  std::vector<const Node*> out;
  for (const Node* n : g.nodes()) {
    if (there.count(own.at(n))) continue;
    bool caused = false;
    for (const Node* o : n->operands) caused |= !there.count(own.at(o));
    if (!caused) out.push_back(n);
  }
  return out;
}

}  // namespace

Difference compare(const Graph& a, const Graph& b) {
  std::map<Key, int> known;
  const Numbers na = number(a, known), nb = number(b, known);
  return {missing(a, na, nb), missing(b, nb, na)};
}

}  // namespace nnlc::graph
