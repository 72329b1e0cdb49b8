// Reverse-mode differentiation: walks from the loss to its operands, applying each op's vjp rule once, to the sum of
// the adjoints that its users have sent. Why as plain nodes: the result is an ordinary graph, so gradients of gradients
// need nothing more.
#include <unordered_map>
#include <unordered_set>

#include "compiler/ops/build.h"
#include "compiler/passes/passes.h"

namespace nnlc::graph {

void Vjp::grad(size_t i, Node* g) {
  if (!wants_[i]) return;
  grads_[i] = grads_[i] ? binary(*graph_, "add", grads_[i], g, node_->span) : g;
}

}  // namespace nnlc::graph

namespace nnlc::passes {
using namespace graph;

namespace {

/// The nodes whose value depends on one of `wrt`. With `through_floats`, only along edges that carry a gradient: values
/// of integer or bool type end it, and so does stop_gradient.
std::unordered_set<const Node*> dependents(const std::vector<Node*>& order, const std::vector<Node*>& wrt,
                                           bool through_floats) {
  std::unordered_set<const Node*> set(wrt.begin(), wrt.end());
  for (const Node* n : order) {
    if (through_floats && (!is_float(n->type.dtype) || n->op->name == "stop_gradient")) continue;
    for (const Node* o : n->operands)
      if (set.count(o)) {
        set.insert(n);
        break;
      }
  }
  return set;
}

/// The loss has no differentiable path to anything wanted: names the op that ends one, if there is one.
void explain_blocked(const std::vector<Node*>& order, const Node* loss, const std::vector<Node*>& wrt,
                     const std::unordered_set<const Node*>& active, Diagnostics& diags) {
  std::unordered_set<const Node*> depends = dependents(order, wrt, false), seen{loss};
  if (!depends.count(loss)) return;
  for (auto it = order.rbegin(); it != order.rend(); ++it) {
    const Node* n = *it;
    if (!seen.count(n)) continue;
    bool blocks = false;
    for (const Node* o : n->operands) {
      if (depends.count(o)) seen.insert(o);
      blocks |= active.count(o) != 0;
    }
    if (!blocks || active.count(n) || n->op->name == "stop_gradient") continue;
    std::string why = !n->op->no_gradient.empty() ? std::string(n->op->no_gradient)
                                                  : "its result is " + std::string(name(n->type.dtype));
    diags.error(Code::NoGradient, n->span, "no gradient flows through `" + std::string(n->op->name) + "`: " + why);
    return;
  }
}

}  // namespace

std::vector<Node*> differentiate(Graph& g, Node* loss, const std::vector<Node*>& wrt, Diagnostics& diags) {
  const std::vector<Node*> order = g.nodes();  // vjps append to the graph's own list
  std::unordered_set<const Node*> active = dependents(order, wrt, true);
  std::vector<Node*> result(wrt.size(), nullptr);
  if (!active.count(loss)) {
    explain_blocked(order, loss, wrt, active, diags);
    return result;
  }
  std::unordered_map<const Node*, Node*> adjoint;
  const auto mark = std::move(g.mark);
  adjoint[loss] = constant(g, 1, loss->type, loss->span);
  for (auto it = order.rbegin(); it != order.rend(); ++it) {
    Node* n = *it;
    auto found = adjoint.find(n);
    if (found == adjoint.end() || !active.count(n) || n->operands.empty()) continue;
    std::vector<bool> wants;
    bool wants_any = false;
    for (const Node* o : n->operands) {
      wants.push_back(is_float(o->type.dtype) && active.count(o));
      wants_any |= wants.back();
    }
    if (!wants_any || n->op->name == "stop_gradient") continue;
    if (!n->op->vjp) {
      diags.error(Code::NoGradient, n->span,
                  "no gradient flows through `" + std::string(n->op->name) + "`: " + std::string(n->op->no_gradient));
      continue;
    }
    Vjp v;
    v.graph_ = &g;
    v.node_ = n;
    v.dy_ = found->second;
    v.wants_ = std::move(wants);
    v.grads_.assign(n->operands.size(), nullptr);
    g.mark = [n](Node& added) {
      added.site = n->site;
      added.gradient_of = n->op;
    };
    n->op->vjp(v);
    for (size_t i = 0; i < n->operands.size(); ++i) {
      if (!v.grads_[i]) continue;
      Node*& sum = adjoint[n->operands[i]];
      sum = sum ? binary(g, "add", sum, v.grads_[i], n->span) : v.grads_[i];
    }
  }
  g.mark = mark;
  for (size_t i = 0; i < wrt.size(); ++i)
    if (auto found = adjoint.find(wrt[i]); found != adjoint.end()) result[i] = found->second;
  return result;
}

}  // namespace nnlc::passes
