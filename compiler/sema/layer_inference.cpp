// Hyper-parameters `_` from the first call, and forward checked with the sizes of its signature left open.
#include <fmt/format.h>

#include <algorithm>

#include "compiler/sema/builtins.h"
#include "compiler/sema/layers.h"
#include "compiler/sema/training.h"

namespace nnlc::sema {

using ast::LayerItem;
using graph::Dim;
using Layer = std::shared_ptr<LayerInstance>;

bool mentions_inferred(const ast::Expr* e, const std::shared_ptr<Scope>& scope, bool bare) {
  if (!e) return false;
  using K = ast::Expr::Kind;
  auto at = [&](const ast::Expr* x) { return mentions_inferred(x, scope, true); };
  switch (e->kind) {
    case K::name: {
      Scope::Entry* entry = scope->find(ast::as<ast::NameExpr>(*e).name);
      return bare && entry && entry->value.get<Inferred>();
    }
    case K::unary:
      return at(ast::as<ast::UnaryExpr>(*e).operand.get());
    case K::binary:
      return at(ast::as<ast::BinaryExpr>(*e).lhs.get()) || at(ast::as<ast::BinaryExpr>(*e).rhs.get());
    case K::range:
      return at(ast::as<ast::RangeExpr>(*e).lo.get()) || at(ast::as<ast::RangeExpr>(*e).hi.get());
    case K::member:
      return at(ast::as<ast::MemberExpr>(*e).object.get());
    case K::index:
      return at(ast::as<ast::IndexExpr>(*e).object.get());
    case K::call: {
      auto& c = ast::as<ast::CallExpr>(*e);
      for (auto& a : c.args)
        if (mentions_inferred(a.value.get(), scope, bare)) return true;
      return false;
    }
    case K::list:
      for (auto& i : ast::as<ast::ListExpr>(*e).items)
        if (mentions_inferred(i.get(), scope, bare)) return true;
      return false;
    case K::tuple:
      for (auto& i : ast::as<ast::TupleExpr>(*e).items)
        if (mentions_inferred(i.get(), scope, bare)) return true;
      return false;
    case K::if_:
      return at(ast::as<ast::IfExpr>(*e).condition.get());
    case K::comprehension:
      return at(ast::as<ast::ComprehensionExpr>(*e).iterable.get()) ||
             mentions_inferred(ast::as<ast::ComprehensionExpr>(*e).value.get(), scope, bare);
    default:
      return false;
  }
}

bool type_mentions_inferred(const ast::TypeExpr& t, const std::shared_ptr<Scope>& scope) {
  for (auto& d : t.dims)
    if (d.expr && mentions_inferred(d.expr.get(), scope, true)) return true;
  return false;
}

bool has_inferred(const LayerInstance& layer) {
  return std::any_of(layer.hyper.begin(), layer.hyper.end(),
                     [](auto& h) { return h.second.template get<Inferred>() != nullptr; });
}

namespace {

void set_hyper(LayerInstance& layer, const std::string& name, const Value& v) {
  for (auto& [n, value] : layer.hyper)
    if (n == name) value = v;
  layer.scope->parent()->define(name, v, v.span);
}

}  // namespace

const ast::FnStmt* forward_of(const LayerInstance& layer) {
  Scope::Entry* e = layer.scope ? layer.scope->find_here("forward") : nullptr;
  auto* f = e ? e->value.get<FunctionValue>() : nullptr;
  return f ? f->decl : nullptr;
}

void report_unknown(Evaluator& ev, LayerInstance& layer, const std::string& name) {
  if (!ev.impl->reported_unknown.insert(&layer).second) return;
  ev.error(Code::CannotInfer, layer.span, fmt::format("nothing determines `{}` of {}", name, layer.class_name))
      .help("write the size instead of `_`, or call the layer");
}

bool infer(Evaluator& ev, const Layer& layer, const std::vector<ArgValue>& args, Span span) {
  const ast::FnStmt* forward = forward_of(*layer);
  if (!forward) return true;
  std::set<std::string> unknown;
  for (auto& [n, v] : layer->hyper)
    if (v.get<Inferred>()) unknown.insert(n);
  ++ev.impl->effects;
  auto outer = ev.impl->inferable;
  ev.impl->inferable = unknown;
  Evaluator::DimBindings dims;
  bool ok = true;
  size_t next = 0;
  ev.frames.push_back({layer->class_name, span});
  Context saved = ev.context;
  ev.context.caller = ev.context.self;
  ev.context.self = layer;
  for (auto& a : args) {
    const ast::Param* p = nullptr;
    if (a.name.empty()) {
      if (next < forward->params.size()) p = &forward->params[next++];
    } else {
      for (auto& q : forward->params)
        if (q.name.text == a.name) p = &q;
    }
    if (!p || !p->type) continue;
    Value v = a.value;
    ok &= ev.match_type(
        *p->type, v, dims, layer->scope, a.span.valid() ? a.span : span,
        argument_name(fmt::format("`{}`", layer->path.empty() ? layer->class_name : layer->path), *forward, *p, true));
  }
  ev.context = saved;
  ev.frames.pop_back();
  ev.impl->inferable = outer;
  if (!ok) return false;
  for (auto& n : unknown) {
    auto found = dims.find(n);
    if (found == dims.end()) continue;
    if (!found->second.is_constant()) {
      ev.error(Code::CannotInfer, layer->span,
               fmt::format("`{}` of {} would be {}, which isn't one number", n, layer->class_name, found->second.str()))
          .label(span, "the first use");
      return false;
    }
    set_hyper(*layer, n, Value(found->second, span));
  }
  // Defaults that follow from what is known now.
  for (auto& p : layer->klass->decl->params)
    if (p.default_value &&
        std::find(layer->defaulted.begin(), layer->defaulted.end(), p.name.text) != layer->defaulted.end()) {
      Scope::Entry* e = layer->scope->parent()->find_here(p.name.text);
      if (e && e->value.get<Inferred>() && !mentions_inferred(p.default_value.get(), layer->scope->parent(), true))
        set_hyper(*layer, p.name.text, ev.eval(*p.default_value, layer->scope->parent()));
    }
  for (auto& [n, v] : layer->hyper)
    if (v.get<Inferred>()) {
      report_unknown(ev, *layer, n);
      return false;
    }
  Building building(ev, *layer);
  ev.context.dry = false;
  auto deferred = std::move(layer->deferred);
  layer->deferred.clear();
  for (auto* item : deferred) {
    if (item->kind == LayerItem::Kind::let) {
      std::function<void(const ast::Pattern&)> drop = [&](const ast::Pattern& p) {
        if (p.kind == ast::Pattern::Kind::name)
          if (Scope::Entry* e = layer->scope->find_here(p.name.text)) e->declared_later = true;  // may be defined again
        for (auto& i : p.items) drop(i);
      };
      drop(item->pattern);
    }
    process(ev, layer, *item, true);
  }
  for (auto& [n, v] : layer->members)
    if (auto child = v.ptr<LayerInstance>()) build_layer(ev, child);
  return !layer->build_failed;
}

std::optional<Value> symbolic(Evaluator& ev, const ast::TypeExpr& t, Evaluator::DimBindings& dims,
                              const std::shared_ptr<Scope>& scope, const Span& span, bool rest) {
  using K = ast::TypeExpr::Kind;
  if (t.kind == K::record || t.kind == K::tuple) {
    std::vector<Value> items;
    for (auto& i : t.items) {
      auto v = symbolic(ev, i, dims, scope, span, rest);
      if (!v) return std::nullopt;
      items.push_back(*v);
    }
    if (t.kind == K::tuple) return sequence_value(std::move(items), false, span);
    auto r = std::make_shared<RecordValue>();
    for (auto& n : t.field_names) r->names.push_back(n.text);
    r->items = std::move(items);
    return Value(r, span);
  }
  if (t.kind == K::tensor && t.name && !t.has_dims && !graph::dtype_from_name(t.name->text)) return std::nullopt;
  TensorValue x;
  if (t.name && t.kind == K::tensor) {
    auto dtype = graph::dtype_from_name(t.name->text);
    if (!dtype) return std::nullopt;
    x.type.dtype = *dtype;
  }
  auto size = [&](const ast::Expr& e) -> std::optional<Dim> {
    auto inner = std::make_shared<Scope>(scope);
    std::function<void(const ast::Expr&)> names = [&](const ast::Expr& q) {
      if (auto* n = ast::dyn<ast::NameExpr>(&q)) {
        if (dims.count(n->name))
          inner->define(n->name, Value(dims[n->name], span), span);
        else if (!names_a_size(*scope, n->name)) {
          dims[n->name] = Dim::symbol(n->name);
          inner->define(n->name, Value(dims[n->name], span), span);
        }
      } else if (auto* b = ast::dyn<ast::BinaryExpr>(&q)) {
        names(*b->lhs);
        names(*b->rhs);
      }
    };
    names(e);
    size_t before = ev.diags.all().size();
    Value v = ev.eval(e, inner);
    auto* d = v.get<Dim>();
    if (!d) ev.diags.truncate(before);
    return d ? std::optional<Dim>(*d) : std::nullopt;
  };
  if (t.kind == K::klass) {
    x.type.dtype = graph::DType::i32;
    auto c = t.classes ? size(*t.classes) : std::nullopt;
    if (!c) return std::nullopt;
    x.classes = *c;
  }
  for (auto& [dim, item] : written_dims(t, scope)) {
    const ast::DimExpr& d = *dim;
    if (item) {
      x.type.shape.push_back(*item);
      continue;
    }
    if (d.kind == ast::DimExpr::Kind::rest) {
      if (!rest) return std::nullopt;
      x.type.shape.push_back(Dim::symbol(".."));
      continue;
    }
    if (d.kind == ast::DimExpr::Kind::any || !d.expr) {
      x.type.shape.push_back(Dim::symbol(fmt::format("_{}", dims.size())));
      dims[fmt::format("._{}", dims.size())] = Dim(0);
      continue;
    }
    auto s = size(*d.expr);
    if (!s) return std::nullopt;
    x.type.shape.push_back(*s);
  }
  TensorValue in = ev.tensor(ev.graph().add_input(x.type, "", span), span);
  in.classes = x.classes;
  return Value(in, t.span);
}

namespace {

/// Whether it, or a layer below it, has a size that only a call with real sizes tells: symbolic ones can't.
bool waits_for_first_use(const LayerInstance& layer) {
  return has_inferred(layer) || std::any_of(layer.members.begin(), layer.members.end(), [](auto& member) {
           auto child = member.second.template ptr<LayerInstance>();
           return child && waits_for_first_use(*child);
         });
}

}  // namespace

void check_forward(Evaluator& ev, const Layer& layer) {
  if (layer->checked || !layer->klass) return;
  layer->checked = true;
  const ast::FnStmt* forward = forward_of(*layer);
  if (!forward || waits_for_first_use(*layer) || ev.sources.file(forward->span.file).is_library) return;
  for (auto& p : forward->params)
    if (!p.type && !p.default_value) return;
  size_t errors = ev.diags.error_count();
  DryRun dry(ev);
  Evaluator::DimBindings dims;
  std::vector<ArgValue> args;
  for (auto& p : forward->params) {
    if (!p.type) continue;
    auto v = symbolic(ev, *p.type, dims, layer->scope, p.span);
    if (!v) {
      if (p.default_value) continue;
      return;
    }
    ArgValue a;
    a.name = p.name.text;
    a.value = *v;
    a.span = p.span;
    args.push_back(std::move(a));
  }
  ev.context.training = false;
  ev.context.random_path = random_path(layer->root, layer->path);
  call_function(ev, FunctionValue{forward, layer->scope, layer, nullptr}, std::move(args), layer->span,
                forward->head_span);
  layer->check_failed = ev.diags.error_count() != errors;
}

}  // namespace nnlc::sema
