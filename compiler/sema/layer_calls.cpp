// Calls of layers, and forward as a graph of its own.
#include <fmt/format.h>

#include <algorithm>

#include "compiler/graph/cost.h"
#include "compiler/sema/builtins.h"
#include "compiler/sema/layers.h"
#include "compiler/sema/training.h"

namespace nnlc::sema {

using ast::LayerItem;
using graph::Dim;
using Layer = std::shared_ptr<LayerInstance>;

namespace {

/// The first call's arguments, for `forward_graph` where the signature doesn't say them.
void note_call(Evaluator& ev, const LayerInstance& layer, const std::vector<ArgValue>& args) {
  if (!layer.path.empty() || ev.context.dry) return;
  ev.impl->first_calls.try_emplace(&layer, args);
}

/// The arguments that forward's signature describes, its sizes as symbols; nullopt where it leaves a rank open. With
/// `rest`, `..` is one size.
std::optional<std::vector<ArgValue>> signature_arguments(Evaluator& ev, const Layer& layer, bool rest) {
  const ast::FnStmt* forward = forward_of(*layer);
  if (!forward) return std::nullopt;
  Evaluator::DimBindings dims;
  std::vector<ArgValue> args;
  for (auto& p : forward->params) {
    auto v = p.type ? symbolic(ev, *p.type, dims, layer->scope, p.span, rest) : std::nullopt;
    if (!v && p.default_value) continue;
    if (!v) return std::nullopt;
    args.push_back({p.name.text, {}, *v, p.span});
  }
  return args;
}

/// What a sequence takes that nothing calls: what its first layer with a typed argument does. Those before it, like
/// ReLU and Flatten, take anything.
std::optional<std::vector<ArgValue>> sequence_arguments(Evaluator& ev, const Layer& layer) {
  if (!build_layer(ev, layer)) return std::nullopt;
  if (layer->klass) {
    auto args = signature_arguments(ev, layer, true);
    if (args && args->size() == 1) (*args)[0].name.clear();
    return args && args->size() == 1 ? args : std::nullopt;
  }
  for (auto& [name, member] : layer->members) {
    auto child = member.ptr<LayerInstance>();
    if (!child || has_inferred(*child)) return std::nullopt;
    if (auto args = sequence_arguments(ev, child)) return args;
  }
  return std::nullopt;
}

/// The arguments of the first call as inputs of the graph. rows_open: the first axis of each is a size N.
std::vector<ArgValue> called_arguments(Evaluator& ev, std::vector<ArgValue> args, bool rows_open) {
  for (auto& a : args)
    if (auto* t = a.value.get<TensorValue>()) {
      graph::TensorType type = t->type;
      if (rows_open && type.rank() > 0) type.shape[0] = Dim::symbol("N");
      TensorValue x = ev.tensor(ev.graph().add_input(type, a.name, a.span), a.span);
      x.classes = t->classes;
      x.kind = t->kind;
      a.value = Value(x, a.span);
    }
  return args;
}

/// rows_open: see called_arguments.
std::optional<graph::Graph> trace_forward(Evaluator& ev, const Layer& layer, bool rows_open,
                                          std::vector<LayerCall>* calls) {
  if (!build_layer(ev, layer)) return std::nullopt;
  DryRun dry(ev);
  auto found = signature_arguments(ev, layer, false);
  if (!found) {
    if (auto known = ev.impl->first_calls.find(layer.get()); known != ev.impl->first_calls.end())
      found = called_arguments(ev, known->second, rows_open);
    else if (layer->klass)
      found = signature_arguments(ev, layer, true);
    else
      found = sequence_arguments(ev, layer);
  }
  if (!found) return std::nullopt;
  std::vector<ArgValue> args = std::move(*found);
  ev.impl->layer_calls = calls;
  Value v = ev.call_layer(layer, std::move(args), layer->span);
  ev.impl->layer_calls = nullptr;
  std::function<void(const Value&)> out = [&](const Value& x) {
    if (auto* t = x.get<TensorValue>()) ev.graph().outputs.push_back({ev.node(*t), nullptr});
    if (auto s = x.ptr<SequenceValue>())
      for (auto& i : s->items) out(i);
    if (auto r = x.ptr<RecordValue>())
      for (auto& i : r->items) out(i);
  };
  out(v);
  if (v.is_poison()) return std::nullopt;
  graph::Graph g = std::move(ev.graph());
  ev.graph() = graph::Graph();
  g.drop_dead();
  // Sizes are called N, N2, … in the order of the inputs, so that the graph doesn't depend on what a signature calls
  // them.
  std::map<std::string, Dim> canonical;
  for (auto* input : g.inputs)
    for (auto& d : input->type.shape)
      for (auto& symbol : d.symbols())
        canonical.try_emplace(symbol, Dim::symbol(canonical.empty() ? "N" : fmt::format("N{}", canonical.size() + 1)));
  if (calls)
    for (LayerCall& call : *calls) {
      call.flops = call.flops.substitute(canonical);
      for (graph::TensorType& t : call.types)
        for (Dim& d : t.shape) d = d.substitute(canonical);
    }
  return canonical.empty() ? std::move(g) : g.clone(canonical);
}

}  // namespace

std::optional<graph::Graph> forward_graph(Evaluator& ev, const Layer& layer, std::vector<LayerCall>* calls) {
  size_t before = ev.diags.all().size();
  if (auto g = trace_forward(ev, layer, true, calls)) return g;
  ev.diags.truncate(before);
  if (calls) calls->clear();
  return trace_forward(ev, layer, false, calls);
}

Value Evaluator::call_layer(const Layer& layer, std::vector<ArgValue> args, Span span) {
  std::vector<LayerCall>* calls = impl->layer_calls;
  if (!calls) return run_layer(layer, std::move(args), span);
  const size_t at = calls->size(), first = graph().nodes().size();
  calls->push_back({layer.get(), {}, {}});
  Value v = run_layer(layer, std::move(args), span);
  LayerCall& call = (*calls)[at];
  for (size_t k = first; k < graph().nodes().size(); ++k) call.flops = call.flops + graph::flops(*graph().nodes()[k]);
  std::function<void(const Value&)> note = [&](const Value& x) {
    if (auto* t = x.get<TensorValue>()) call.types.push_back(t->type);
    if (auto s = x.ptr<SequenceValue>())
      for (auto& i : s->items) note(i);
    if (auto r = x.ptr<RecordValue>())
      for (auto& i : r->items) note(i);
  };
  note(v);
  return v;
}

Value Evaluator::run_layer(const Layer& layer, std::vector<ArgValue> args, Span span) {
  if (!build_layer(*this, layer)) return Poison{};
  const bool trains = std::any_of(args.begin(), args.end(), [](const ArgValue& a) { return a.name == "training"; });
  if (trains && !impl->freezing_known && !impl->freeze_units.empty() && !context.dry && !context.tensor_code)
    return for_each_freezing(*this, span, [&] { return call_layer(layer, args, span); });
  if (!layer->used) layer->used_at = user_span(span);
  layer->used = true;
  Context saved = context;
  // `training = …` at the call sets the mode, unless forward has such a parameter of its own.
  const ast::FnStmt* forward = forward_of(*layer);
  bool own = false;
  if (forward)
    for (auto& p : forward->params) own |= p.name.text == "training";
  if (!own) {
    auto mode = std::find_if(args.begin(), args.end(), [](const ArgValue& a) { return a.name == "training"; });
    if (mode != args.end()) {
      auto* b = mode->value.get<bool>();
      if (!b) {
        error(Code::NotStatic, mode->span,
              fmt::format("the mode of a call is a static bool, but this is {}", describe(mode->value)));
        return Poison{};
      }
      context.training = *b;
      args.erase(mode);
    }
  }
  if (!layer->klass) {
    Value x;
    if (args.size() != 1) {
      error(args.empty() ? Code::MissingArgument : Code::TooManyArguments, span,
            fmt::format("{} takes one value, but is given {}", layer->class_name, args.size()));
      context = saved;
      return Poison{};
    }
    note_call(*this, *layer, args);
    x = args[0].value;
    Span at = args[0].span;
    bool first = true;
    frames.push_back({layer->class_name, span});
    context.self = layer;
    for (auto& [n, v] : layer->members) {
      ArgValue a;
      a.value = x;
      a.span = first ? at : span;
      first = false;
      // Inside a Sequential the place that matters is where its member was written.
      auto child = v.ptr<LayerInstance>();
      x = call_layer(child, {a}, child->span.valid() && child->klass ? span : span);
      if (x.is_poison()) break;
    }
    frames.pop_back();
    context = saved;
    return x;
  }
  if (!forward) {
    error(Code::NotCallable, span, fmt::format("{} has no `forward`", layer->class_name))
        .label(layer->klass->decl->name.span, "declared here");
    context = saved;
    return Poison{};
  }
  if (has_inferred(*layer) && !infer(*this, layer, args, span)) {
    context = saved;
    return Poison{};
  }
  check_forward(*this, layer);
  if (layer->check_failed) {
    context = saved;
    return Poison{};
  }
  note_call(*this, *layer, args);
  context.tensor_code = true;
  context.random_path = random_path(layer->root, layer->path);
  Value v = call_function(*this, FunctionValue{forward, layer->scope, layer, nullptr}, std::move(args), span, span);
  context = saved;
  return v;
}

}  // namespace nnlc::sema
