// What a program does with layers as wholes: tie, save, and the checks at its end.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "compiler/sema/builtins.h"
#include "compiler/sema/layers.h"
#include "compiler/sema/training.h"

namespace nnlc::sema {

using ast::LayerItem;
using graph::Dim;
using Layer = std::shared_ptr<LayerInstance>;

Value tie_params(Evaluator& ev, const std::vector<ArgValue>& args, Span span) {
  if (args.size() != 2) {
    ev.error(Code::MissingArgument, span, "tie takes two parameters").help("`tie(decoder.weight, embedding.weight)`");
    return Poison{};
  }
  std::shared_ptr<ParamCell> cells[2];
  for (int i : {0, 1}) {
    if (args[static_cast<size_t>(i)].value.is_poison()) return Poison{};
    auto* t = args[static_cast<size_t>(i)].value.get<TensorValue>();
    if (!t || !t->param) {
      ev.error(Code::ArgumentType, args[static_cast<size_t>(i)].span,
               fmt::format("tie joins parameters, but this is {}", describe(args[static_cast<size_t>(i)].value)));
      return Poison{};
    }
    cells[i] = t->param;
  }
  if (cells[0] == cells[1]) return NoneValue{};
  // Sizes that aren't known yet were reported where the parameter was read.
  if (cells[0]->reg == host::kNoReg || cells[1]->reg == host::kNoReg) return Poison{};
  if (cells[0]->type != cells[1]->type) {
    ev.error(Code::ShapeMismatch, span,
             fmt::format("`{}` and `{}` can't be tied: they are {} and {}", cells[0]->path, cells[1]->path,
                         cells[0]->type.str(), cells[1]->type.str()))
        .label(cells[0]->span, fmt::format("is {}", cells[0]->type.str()))
        .label(cells[1]->span, fmt::format("is {}", cells[1]->type.str()));
    return Poison{};
  }
  // The older one stays, and stands in both places.
  auto keep = cells[0]->ordinal <= cells[1]->ordinal ? cells[0] : cells[1];
  auto gone = keep == cells[0] ? cells[1] : cells[0];
  for (auto& layer : ev.impl->instances)
    for (auto& [n, p] : layer->params) {
      if (p != gone) continue;
      p = keep;
      if (Scope::Entry* e = layer->scope->find_here(n)) e->param = keep;
    }
  for (auto& [id, state] : ev.impl->steps) {
    if (!state.newest.erase(gone->reg)) continue;
    std::erase(state.written, gone->reg);
  }
  return NoneValue{};
}

void finish_layers(Evaluator& ev) {
  // Layers that were given others to hold come first: then these are members.
  for (size_t i = 0; i < ev.impl->instances.size(); ++i) {
    Layer layer = ev.impl->instances[i];
    if (std::any_of(layer->hyper.begin(), layer->hyper.end(),
                    [](auto& h) { return h.second.template ptr<LayerInstance>(); }))
      build_layer(ev, layer);
  }
  for (size_t i = 0; i < ev.impl->instances.size(); ++i) {
    Layer layer = ev.impl->instances[i];
    if (!build_layer(ev, layer)) continue;
    check_forward(ev, layer);
    for (auto& [n, v] : layer->hyper)
      if (v.get<Inferred>() && !ev.diags.has_errors()) report_unknown(ev, *layer, n);
  }
}

void list_persistents(Evaluator& ev) {
  auto& out = ev.program->persistents;
  for (auto& root : ev.impl->instances) {
    if (!root->path.empty() || root->root.empty() || !root->built || root->spread) continue;
    std::map<const ParamCell*, size_t> seen;
    auto below = [](const std::string& path, const std::string& name) {
      return path.empty() ? name : path + "." + name;
    };
    // owner: the path of the layer around v.
    std::function<void(const Value&, const std::string&, const std::string&)> visit =
        [&](const Value& v, const std::string& owner, const std::string& place) {
          if (auto layer = v.ptr<LayerInstance>()) {
            const std::string& path = layer->spread ? owner : place;
            for (auto& [name, cell] : layer->params) {
              if (cell->reg == host::kNoReg) continue;
              const std::string full = below(path, name + layer->spread.value_or(""));
              auto [at, is_new] = seen.try_emplace(cell.get(), out.size());
              if (is_new)
                out.push_back({full, root->root, cell->reg, cell->type, cell->learned, {}});
              else
                out[at->second].aliases.push_back(full);
            }
            for (auto& [name, member] : layer->members) visit(member, path, below(path, name));
          } else if (auto s = v.ptr<SequenceValue>()) {
            for (size_t i = 0; i < s->items.size(); ++i) visit(s->items[i], owner, below(place, std::to_string(i)));
          }
        };
    visit(Value(root), "", "");
  }
}

std::pair<std::string, std::string> root_and_path(const LayerInstance& layer) { return {layer.root, layer.path}; }

}  // namespace nnlc::sema