// What `nnlc summary` and `nnlc hash` are told of a layer: its tree, with the shapes and the work of each call in it.
#include <fmt/format.h>

#include <algorithm>

#include "compiler/graph/cost.h"
#include "compiler/sema/impl.h"

namespace nnlc::sema {

namespace {

/// "Linear(784, 392)": with the hyper-parameters that were written at the instantiation, as far as they have a text.
std::string title_of(const LayerInstance& layer) {
  std::string out;
  bool skipped = false;
  for (auto& [name, value] : layer.hyper) {
    const auto text = static_text(value, "");
    if (std::find(layer.defaulted.begin(), layer.defaulted.end(), name) != layer.defaulted.end() || !text) {
      skipped = true;
      continue;
    }
    const std::string shown = value.get<std::string>() ? "\"" + *text + "\"" : *text;
    out += fmt::format("{}{}{}", out.empty() ? "" : ", ", skipped ? name + " = " : "", shown);
  }
  return out.empty() ? layer.class_name : fmt::format("{}({})", layer.class_name, out);
}

int64_t elements(const graph::TensorType& t) {
  const graph::Dim n = graph::element_count(t.shape);
  return n.is_constant() ? n.value() : 0;
}

void add_rows(const std::shared_ptr<LayerInstance>& layer, const std::string& name, int depth,
              const std::vector<LayerCall>& calls, std::vector<LayerRow>& rows) {
  LayerRow row;
  row.depth = depth;
  row.name = name;
  row.class_name = title_of(*layer);
  for (const LayerCall& call : calls) {
    if (call.layer != layer.get()) continue;
    if (row.output.empty()) {
      for (auto& t : call.types) row.output += (row.output.empty() ? "" : ", ") + t.str();
    }
    row.flops = row.flops + call.flops;
  }
  for (auto& [n, p] : layer->params)
    (!p->learned ? row.state : p->frozen ? row.frozen : row.trained) += elements(p->type);
  rows.push_back(std::move(row));
  std::function<void(const std::string&, const Value&)> member = [&](const std::string& n, const Value& v) {
    if (auto child = v.ptr<LayerInstance>()) add_rows(child, n, depth + 1, calls, rows);
    if (auto s = v.ptr<SequenceValue>())
      for (size_t i = 0; i < s->items.size(); ++i) member(fmt::format("{}.{}", n, i), s->items[i]);
  };
  for (auto& [n, v] : layer->members) member(n, v);
}

}  // namespace

LayerInfo describe_layer(Evaluator& ev, const std::shared_ptr<LayerInstance>& layer, std::string name) {
  LayerInfo info;
  info.name = std::move(name);
  info.class_name = layer->class_name;
  for (auto& p : ev.params_of(Value(layer), true)) info.params.push_back({p->path, p->type, p->learned, p->frozen});
  std::vector<LayerCall> calls;
  info.forward = forward_graph(ev, layer, &calls);
  if (info.forward) info.forward->name = info.name;
  add_rows(layer, info.name, 0, calls, info.rows);
  return info;
}

}  // namespace nnlc::sema
