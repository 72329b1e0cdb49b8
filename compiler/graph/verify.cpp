// Checks what every pass and backend relies on.
#include <unordered_map>

#include "compiler/graph/graph.h"
#include "compiler/ops/op.h"

namespace nnlc::graph {

std::string verify(const Graph& g) {
  std::unordered_map<const Node*, int> seen;
  int number = 0;
  auto say = [&](const Node* n, const std::string& what) {
    return "node " + std::to_string(seen.count(n) ? seen[n] : number) + " (" + std::string(n->op->name) +
           (n->name.empty() ? "" : " " + n->name) + "): " + what;
  };
  for (const Node* n : g.nodes()) {
    if (!n->op) return "a node has no op";
    std::vector<TensorType> types;
    for (const Node* o : n->operands) {
      if (!o) return say(n, "an operand is missing");
      if (!seen.count(o)) return say(n, "an operand doesn't stand above it");
      types.push_back(o->type);
    }
    if (std::string form = check_form(*n->op, n->operands.size(), n->attrs); !form.empty()) return say(n, form);
    if (n->op->name == "input") {
      bool listed = false;
      for (const Node* i : g.inputs) listed |= i == n;
      if (!listed) return say(n, "it isn't among the graph's inputs");
    } else {
      TypeResult r = n->op->type(types, n->attrs);
      if (!r.type) return say(n, r.error);
      if (!(*r.type == n->type)) return say(n, "its type is " + n->type.str() + ", the rule gives " + r.type->str());
    }
    if (!seen.emplace(n, number).second) return say(n, "it stands in the order twice");
    ++number;
  }
  for (const Node* i : g.inputs)
    if (!seen.count(i) || i->op->name != "input") return "an input of the graph isn't one of its nodes";
  for (size_t k = 0; k < g.outputs.size(); ++k) {
    const Output& o = g.outputs[k];
    std::string which = "output " + std::to_string(k);
    if (!o.value || !seen.count(o.value)) return which + " isn't one of the graph's nodes";
    if (!o.updates) continue;
    if (!seen.count(o.updates) || o.updates->op->name != "input") return which + " updates what is no input";
    if (!(o.updates->type == o.value->type))
      return which + " is " + o.value->type.str() + ", the input that it updates " + o.updates->type.str();
  }
  return "";
}

}  // namespace nnlc::graph
