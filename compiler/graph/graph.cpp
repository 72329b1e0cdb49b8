// Making, cloning and pruning graphs.
#include "compiler/graph/graph.h"

#include <algorithm>
#include <cstring>
#include <unordered_map>
#include <unordered_set>

#include "compiler/ops/op.h"

namespace nnlc::graph {

Node* Graph::add(const OpDef& op, std::vector<Node*> operands, Attrs attrs, TensorType type, Span span) {
  Node& n = storage_.emplace_back();
  n.op = &op;
  n.operands = std::move(operands);
  n.attrs = std::move(attrs);
  n.type = std::move(type);
  n.span = span;
  n.site = span;
  n.id = static_cast<int>(storage_.size()) - 1;
  if (mark) mark(n);
  order_.push_back(&n);
  return &n;
}

Node* Graph::add_input(TensorType type, std::string name, Span span) {
  Node* n = add(*find_op("input"), {}, {}, std::move(type), span);
  n->name = std::move(name);
  inputs.push_back(n);
  return n;
}

void Graph::replace_uses(Node* from, Node* to) {
  for (Node* n : order_)
    if (n != to) std::replace(n->operands.begin(), n->operands.end(), from, to);
  for (Output& o : outputs)
    if (o.value == from) o.value = to;
}

void Graph::drop_dead() {
  std::unordered_set<const Node*> live(inputs.begin(), inputs.end());
  for (const Output& o : outputs) live.insert(o.value);
  for (auto it = order_.rbegin(); it != order_.rend(); ++it)
    if (live.count(*it)) live.insert((*it)->operands.begin(), (*it)->operands.end());
  std::erase_if(order_, [&](Node* n) { return !live.count(n); });
}

Graph Graph::clone(const std::map<std::string, Dim>& sizes, std::map<const Node*, Node*>* mapping) const {
  Graph g;
  g.name = name;
  std::unordered_map<const Node*, Node*> copy;
  auto substituted = [&](Shape shape) {
    for (Dim& d : shape) d = d.substitute(sizes);
    return shape;
  };
  for (const Node* n : order_) {
    std::vector<Node*> operands;
    operands.reserve(n->operands.size());
    for (const Node* o : n->operands) operands.push_back(copy.at(o));
    Attrs attrs = n->attrs;
    if (!sizes.empty())
      for (auto& [key, value] : attrs)
        if (Shape* shape = std::get_if<Shape>(&value)) *shape = substituted(std::move(*shape));
    Node* c =
        g.add(*n->op, std::move(operands), std::move(attrs), {n->type.dtype, substituted(n->type.shape)}, n->span);
    c->name = n->name;
    c->site = n->site;
    c->gradient_of = n->gradient_of;
    copy[n] = c;
    if (mapping) (*mapping)[n] = c;
  }
  for (const Node* i : inputs) g.inputs.push_back(copy.at(i));
  for (const Output& o : outputs) g.outputs.push_back({copy.at(o.value), o.updates ? copy.at(o.updates) : nullptr});
  return g;
}

namespace {

/// FNV-1a over whatever is put in: the same in every process and on every machine of one byte order.
struct Hasher {
  uint64_t h = 1469598103934665603u;
  void bytes(const void* data, size_t n) {
    const auto* p = static_cast<const unsigned char*>(data);
    for (size_t i = 0; i < n; ++i) h = (h ^ p[i]) * 1099511628211u;
  }
  void word(uint64_t w) { bytes(&w, sizeof w); }
  void text(std::string_view s) {
    word(s.size());
    bytes(s.data(), s.size());
  }
  void shape(const Shape& s) {
    word(s.size());
    for (const Dim& d : s) d.is_constant() ? word(static_cast<uint64_t>(d.value())) : text(d.str());
  }
  void attr(const Attr& a) {
    word(a.index());
    struct Visitor {
      Hasher& h;
      void operator()(int64_t v) { h.word(static_cast<uint64_t>(v)); }
      void operator()(double v) {
        uint64_t bits;
        std::memcpy(&bits, &v, sizeof bits);
        h.word(bits);
      }
      void operator()(bool v) { h.word(v); }
      void operator()(const std::string& v) { h.text(v); }
      void operator()(const IntList& v) {
        h.word(v.size());
        h.bytes(v.data(), v.size() * sizeof(int64_t));
      }
      void operator()(const Shape& v) { h.shape(v); }
      void operator()(DType v) { h.word(static_cast<uint64_t>(v)); }
    };
    std::visit(Visitor{*this}, a);
  }
};

}  // namespace

uint64_t structural_hash(const Graph& g) {
  std::unordered_map<const Node*, uint64_t> hashes;
  Hasher whole;
  whole.word(g.inputs.size());
  for (size_t i = 0; i < g.inputs.size(); ++i) {
    Hasher h;
    h.text("input");
    h.word(i);  // an input is known by its place, not by its name
    h.word(static_cast<uint64_t>(g.inputs[i]->type.dtype));
    h.shape(g.inputs[i]->type.shape);
    hashes[g.inputs[i]] = h.h;
    whole.word(h.h);
  }
  for (const Node* n : g.nodes()) {
    if (hashes.count(n)) continue;
    Hasher h;
    h.text(n->op->name);
    for (const Node* o : n->operands) h.word(hashes[o]);
    for (auto& [key, value] : n->attrs) {
      h.text(key);
      h.attr(value);
    }
    h.word(static_cast<uint64_t>(n->type.dtype));
    h.shape(n->type.shape);
    hashes[n] = h.h;
  }
  for (const Output& o : g.outputs) {
    whole.word(hashes[o.value]);
    whole.word(o.updates ? hashes[o.updates] : 0);
  }
  return whole.h;
}

}  // namespace nnlc::graph
