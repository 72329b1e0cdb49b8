// Layers and functions that nothing in the program uses, checked with their sizes left open.
//
// A hyper-parameter with a default has it; an int without one is a symbol, so that `Linear(n, m) |> Linear(n, m)` is
// refused for every n and m. What an evaluation without numbers can't decide isn't a mistake: only messages about names
// of arguments, types and shapes count, and a size that is a symbol may be the number that it meets.
#include <fmt/format.h>

#include <algorithm>

#include "compiler/sema/builtins.h"
#include "compiler/sema/layers.h"

namespace nnlc::sema {

using graph::Dim;

namespace {

bool counts(Code code) {
  switch (code) {
    case Code::ShapeMismatch:
    case Code::InnerSizeMismatch:
    case Code::BroadcastMismatch:
    case Code::DTypeMismatch:
    case Code::LiteralDoesNotFit:
    case Code::NeedsFloat:
    case Code::ClassMismatch:
    case Code::RankMismatch:
    case Code::AxisOutOfRange:
    case Code::WrongKind:
    case Code::OperandShapes:
    case Code::LossShapes:
    case Code::HeadAndLabels:
    case Code::UnknownArgument:
    case Code::MissingArgument:
    case Code::TooManyArguments:
    case Code::DuplicateArgument:
    case Code::UnknownMember:
    case Code::NotCallable:
    case Code::LayerInTensorCode:
    case Code::AssignTarget:
      return true;
    default:
      return false;
  }
}

/// Values for parameters that have no default; nullopt: there is none that stands for all.
std::optional<std::vector<ArgValue>> open_arguments(Evaluator& ev, const std::vector<ast::Param>& params, bool flag,
                                                    const std::shared_ptr<Scope>& scope, bool tensors) {
  std::vector<ArgValue> args;
  Evaluator::DimBindings dims;
  for (const ast::Param& p : params) {
    if (p.default_value) continue;
    if (!p.type) return std::nullopt;
    ArgValue a;
    a.name = p.name.text;
    a.span = p.span;
    const bool host = p.type->kind == ast::TypeExpr::Kind::tensor && p.type->name && !p.type->has_dims;
    const std::string type = host ? p.type->name->text : "";
    if (type == "int")
      a.value = Value(Dim::symbol(p.name.text), p.span);
    else if (type == "float")
      a.value = Value(0.5, p.span);
    else if (type == "bool")
      a.value = Value(flag, p.span);
    else if (auto x = tensors ? symbolic(ev, *p.type, dims, scope, p.span, true) : std::nullopt)
      a.value = *x;
    else
      return std::nullopt;
    args.push_back(std::move(a));
  }
  return args;
}

/// Calls `check`, keeps only the messages that count, and takes back everything else that it did.
void try_out(Evaluator& ev, const std::function<void()>& check) {
  auto& im = *ev.impl;
  const size_t steps = ev.program->steps.size(), instances = im.instances.size(), before = ev.diags.all().size();
  {
    DryRun dry(ev);
    ev.context.tensor_code = false;
    im.open_sizes = true;
    check();
    im.open_sizes = false;
  }
  std::vector<Diagnostic> kept;
  bool undecided = false;
  for (size_t i = before; i < ev.diags.all().size(); ++i) {
    const Diagnostic& d = ev.diags.all()[i];
    undecided |= d.code == Code::NotStatic || d.code == Code::RequirementNotMet;
    if (counts(d.code)) kept.push_back(d);
  }
  ev.diags.truncate(before);
  if (!undecided)
    for (Diagnostic& d : kept) ev.diags.add(std::move(d));
  std::erase_if(im.steps,
                [&](auto& x) { return x.first < Evaluator::Impl::kScratch && x.first >= static_cast<int>(steps); });
  while (ev.program->steps.size() > steps) ev.program->steps.pop_back();
  for (size_t i = instances; i < im.instances.size(); ++i) {
    if (im.instances[i]->scope) im.instances[i]->scope->entries().clear();
    im.instances[i]->members.clear();
  }
  im.instances.resize(instances);
}

bool has_flag(const std::vector<ast::Param>& params) {
  return std::any_of(params.begin(), params.end(), [](auto& p) {
    return !p.default_value && p.type && p.type->name && !p.type->has_dims && p.type->name->text == "bool";
  });
}

/// The members of a Sequential one after the other, from what the first one takes.
void try_sequence(Evaluator& ev, const std::shared_ptr<LayerInstance>& layer) {
  if (!build_layer(ev, layer) || layer->members.empty()) return;
  for (auto& [name, member] : layer->members) {
    auto child = member.ptr<LayerInstance>();
    if (!child || !child->klass || !forward_of(*child) || has_inferred(*child)) return;
  }
  auto first = layer->members[0].second.ptr<LayerInstance>();
  ev.context.tensor_code = true;
  auto inputs = open_arguments(ev, forward_of(*first)->params, false, first->scope, true);
  if (inputs && inputs->size() == 1) {
    (*inputs)[0].name.clear();
    ev.call_layer(layer, std::move(*inputs), layer->span);
  }
}

void try_layer(Evaluator& ev, const ast::LayerStmt& decl, const std::shared_ptr<LayerClass>& klass, bool flag) {
  auto args = open_arguments(ev, decl.params, flag, klass->scope, false);
  if (!args) return;
  Value v = ev.instantiate(klass, std::move(*args), decl.name.span);
  auto layer = v.ptr<LayerInstance>();
  if (layer && !layer->klass) try_sequence(ev, layer);
  if (!layer || !layer->klass || !build_layer(ev, layer)) return;
  const ast::FnStmt* forward = forward_of(*layer);
  if (!forward || has_inferred(*layer)) return;
  layer->checked = true;
  ev.context.tensor_code = true;
  auto inputs = open_arguments(ev, forward->params, flag, layer->scope, true);
  if (!inputs) return;
  ev.context.random_path = random_path(layer->root, layer->path);
  call_function(ev, FunctionValue{forward, layer->scope, layer, nullptr}, std::move(*inputs), decl.name.span,
                forward->head_span);
}

}  // namespace

void check_unused_code(Evaluator& ev, const ast::Program& program) {
  const auto made = ev.impl->instances;
  for (auto& layer : made)
    if (!layer->klass && !layer->used && !layer->adopted) try_out(ev, [&] { try_sequence(ev, layer); });
  for (auto& s : program.stmts) {
    if (auto* decl = ast::dyn<ast::LayerStmt>(s.get())) {
      Scope::Entry* entry = ev.global_scope->find_here(decl->name.text);
      auto klass = entry ? entry->value.ptr<LayerClass>() : nullptr;
      if (!klass || klass->decl != decl || ev.impl->instantiated.count(decl)) continue;
      for (bool flag : {true, false})
        if (flag || has_flag(decl->params)) try_out(ev, [&] { try_layer(ev, *decl, klass, flag); });
    } else if (auto* fn = ast::dyn<ast::FnStmt>(s.get())) {
      Scope::Entry* entry = ev.global_scope->find_here(fn->name.text);
      auto* value = entry ? entry->value.get<FunctionValue>() : nullptr;
      // One without tensors may do anything: read files, train.
      const bool tensors = std::any_of(fn->params.begin(), fn->params.end(),
                                       [](auto& p) { return p.type && (p.type->has_dims || !p.type->name); });
      if (!value || value->decl != fn || !tensors || ev.impl->called.count(fn)) continue;
      for (bool flag : {true, false})
        if (flag || has_flag(fn->params))
          try_out(ev, [&] {
            ev.context.tensor_code = true;
            auto args = open_arguments(ev, fn->params, flag, value->scope, true);
            if (args) call_function(ev, *value, std::move(*args), fn->name.span, fn->head_span);
          });
    }
  }
}

}  // namespace nnlc::sema
