// What a program tells those who build a layer ahead of time: which layer is meant, its forward as a graph with the
// registers behind the graph's inputs, and what the registers of training hold.
#include <fmt/format.h>

#include <algorithm>

#include "compiler/sema/layers.h"
#include "compiler/sema/training.h"

namespace nnlc::sema {

using graph::Dim;
using host::Reg;
using Layer = std::shared_ptr<LayerInstance>;

void describe_training(Evaluator& ev) {
  host::Program& p = *ev.program;
  for (auto& opt : ev.impl->optimizers) {
    host::Optimizer o;
    o.name = opt->klass->decl->name.text;
    o.updates = opt->updates;
    for (auto& group : opt->groups) {
      o.rates.push_back(group.lr);
      for (size_t i = 0; i < group.state.size() && i < group.params.size(); ++i)
        for (size_t k = 0; k < group.state[i].size(); ++k) {
          auto& [reg, type] = group.state[i][k];
          if (reg == host::kNoReg) continue;
          o.states.push_back(
              {group.params[i]->root, group.params[i]->path, opt->klass->decl->states[k].name.text, reg, type});
        }
    }
    p.optimizers.push_back(std::move(o));
  }
  for (auto& m : ev.impl->minimized) {
    host::Minimize out{m.span, {}, m.accumulates, m.statement};
    for (auto& [name, cell] : m.results) out.results.emplace_back(name, cell->reg);
    p.minimizes.push_back(std::move(out));
  }
  for (auto& [name, entry] : ev.global_scope->entries()) {
    if (entry->slot != host::kNoReg) p.names.emplace_back(entry->slot, name);
    if (auto* t = entry->value.get<TensorValue>(); t && t->cell && t->cell->reg != host::kNoReg)
      p.names.emplace_back(t->cell->reg, name);
    if (auto* r = entry->value.get<RuntimeValue>()) p.names.emplace_back(r->reg, name);
  }
}

Layer find_exported(Evaluator& ev, const std::shared_ptr<Scope>& scope, const std::string& name) {
  std::vector<std::string> names;
  std::vector<Layer> of_class;
  std::vector<std::string> variables;
  for (auto& layer : ev.impl->instances) {
    if (!layer->path.empty() || layer->adopted || layer->root.empty()) continue;
    std::string variable;
    for (auto& [n, entry] : scope->entries())
      if (entry->value.ptr<LayerInstance>() == layer) variable = n;
    if (!variable.empty() && variable == name) return layer;
    if (!variable.empty()) names.push_back(variable);
    names.push_back(layer->class_name);
    if (layer->class_name != name) continue;
    of_class.push_back(layer);
    if (!variable.empty()) variables.push_back(variable);
  }
  if (of_class.size() == 1) return of_class[0];
  if (of_class.size() > 1) {
    auto d = ev.diags.error(Code::ExportedLayer, of_class[0]->span,
                            fmt::format("the program makes {} layers of the class {}", of_class.size(), name));
    d.at("the first").label(of_class[1]->span, "the second");
    if (!variables.empty())
      d.help(fmt::format("name the variable: `--export {}`", fmt::join(variables, "` or `--export ")));
    return nullptr;
  }
  // A class that is only declared: one with the defaults.
  for (auto& [n, entry] : scope->entries()) {
    auto klass = entry->value.ptr<LayerClass>();
    if (!klass) continue;
    names.push_back(n);
    if (n != name) continue;
    Value v = ev.instantiate(klass, {}, klass->decl->name.span);
    ev.flush();
    auto layer = v.ptr<LayerInstance>();
    if (layer && build_layer(ev, layer)) return layer;
    return nullptr;
  }
  auto d = ev.diags.error(Code::ExportedLayer, {}, fmt::format("the program has no layer `{}`", name));
  if (auto near = nearest(name, names)) d.help(fmt::format("did you mean `{}`?", *near));
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  if (!names.empty()) d.note(fmt::format("its layers: {}", fmt::join(names, ", ")));
  return nullptr;
}

namespace {

/// The tensors of a value, with their paths in it: "x", "state.h", "state.0".
void flatten(const Value& v, const std::string& name, std::vector<std::pair<std::string, const TensorValue*>>& out) {
  auto joined = [&](const std::string& part) { return name.empty() ? part : name + "." + part; };
  if (auto* t = v.get<TensorValue>()) out.emplace_back(name, t);
  if (auto s = v.ptr<SequenceValue>())
    for (size_t i = 0; i < s->items.size(); ++i) flatten(s->items[i], joined(std::to_string(i)), out);
  if (auto r = v.ptr<RecordValue>())
    for (size_t i = 0; i < r->items.size(); ++i) flatten(r->items[i], joined(r->names[i]), out);
}

/// The names of forward's tensor arguments, in the order of the graph's inputs, and where the first call is known their
/// types in it.
std::vector<std::pair<std::string, std::optional<graph::TensorType>>> arguments_of(Evaluator& ev, const Layer& layer) {
  std::vector<std::pair<std::string, std::optional<graph::TensorType>>> out;
  auto called = ev.impl->first_calls.find(layer.get());
  const std::vector<ArgValue>* call = called == ev.impl->first_calls.end() ? nullptr : &called->second;
  std::vector<std::pair<std::string, bool>> names = {{"x", false}};  // with whether it may be left out
  if (const ast::FnStmt* forward = forward_of(*layer)) {
    names.clear();
    for (auto& p : forward->params) names.emplace_back(p.name.text, p.default_value != nullptr);
  }
  // The signature's order; what a call gives by position stands at that place.
  for (size_t i = 0; i < names.size(); ++i) {
    const auto& [param, optional] = names[i];
    const ArgValue* given = nullptr;
    if (call) {
      for (auto& a : *call)
        if (a.name == param) given = &a;
      if (!given && i < call->size() && (*call)[i].name.empty()) given = &(*call)[i];
    }
    std::vector<std::pair<std::string, const TensorValue*>> tensors;
    if (given) flatten(given->value, param, tensors);
    for (auto& [name, t] : tensors) out.emplace_back(name, t->type);
    if (tensors.empty() && !optional) out.emplace_back(param, std::nullopt);
  }
  return out;
}

}  // namespace

bool export_forward(Evaluator& ev, const Layer& layer, LayerExport& out) {
  out.class_name = layer->class_name;
  out.root = layer->root;
  out.span = layer->span;
  size_t errors = ev.diags.error_count();
  auto g = forward_graph(ev, layer);
  if (!g) {
    if (ev.diags.error_count() == errors)
      ev.diags
          .error(Code::OpenSizes, layer->span,
                 fmt::format("the sizes that {} takes are open: nothing in the program calls it", layer->class_name))
          .help("write the argument's type in its `forward`, or call the layer in the program");
    return false;
  }
  std::map<std::string, Reg> registers;
  for (auto& p : ev.params_of(Value(layer), true))
    if (p->reg != host::kNoReg) registers[fmt::format("r{}", p->reg)] = p->reg;
  auto arguments = arguments_of(ev, layer);
  std::map<std::string, Dim> known;
  size_t next = 0;
  for (graph::Node* input : g->inputs) {
    if (auto r = registers.find(input->name); r != registers.end()) {
      out.inputs.emplace_back(r->second, "");
      continue;
    }
    if (input->name.size() > 1 && input->name[0] == 'r' &&
        std::all_of(input->name.begin() + 1, input->name.end(), [](char c) { return c >= '0' && c <= '9'; })) {
      ev.unsupported(Code::NotSupportedYet, layer->span,
                     fmt::format("the forward of {} reads a tensor from outside of the layer", layer->class_name))
          .help("make it a `state` of the layer, or an argument");
      return false;
    }
    std::string name = next < arguments.size() ? arguments[next].first : fmt::format("x{}", next);
    const graph::Shape& shape = input->type.shape;
    if (next == 0 && !shape.empty())
      if (auto s = shape[0].symbols(); s.size() == 1 && shape[0] == Dim::symbol(s[0])) out.rows = s[0];
    if (next < arguments.size() && arguments[next].second)
      for (size_t i = 0; i < shape.size() && i < arguments[next].second->rank(); ++i) {
        const Dim& size = arguments[next].second->shape[i];
        if (!size.is_constant() || shape[i].is_constant()) continue;
        if (auto solved = shape[i].solve(size); solved && solved->first != out.rows)
          known.try_emplace(solved->first, solved->second);
      }
    out.inputs.emplace_back(host::kNoReg, std::move(name));
    ++next;
  }
  out.forward = g->clone(known);
  for (size_t i = 0; i < out.forward.inputs.size(); ++i)
    for (const Dim& d : out.forward.inputs[i]->type.shape)
      for (auto& symbol : d.symbols())
        if (symbol != out.rows) {
          const ast::FnStmt* forward = forward_of(*layer);
          auto error = ev.diags.error(Code::OpenSizes, layer->span,
                                      fmt::format("a size of `{}` is open: {} takes {}", out.inputs[i].second,
                                                  layer->class_name, out.forward.inputs[i]->type.str()));
          if (forward) error.label(forward->head_span, "its signature");
          error.help("only the rows are chosen by `--batch`: write the size, or call the layer in the program");
          return false;
        }
  for (const graph::Node* n : out.forward.nodes())
    if (n->op == graph::find_op("random")) {
      ev.unsupported(Code::NotSupportedYet, layer->span,
                     fmt::format("{} draws random numbers in inference mode", layer->class_name));
      return false;
    }
  for (size_t i = 0; i < out.forward.outputs.size(); ++i)
    out.outputs.push_back(out.forward.outputs.size() == 1 ? "out" : fmt::format("out{}", i));
  return true;
}

}  // namespace nnlc::sema
