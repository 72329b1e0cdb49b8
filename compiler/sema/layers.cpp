// Layers: instances, their members and parameters, initial values, calls of forward.
//
// An instance is built when it is first asked for anything, so that it knows by then whether it became a member of
// another layer (which decides the paths of its parameters). What depends on a hyper-parameter `_` waits until the
// first call.
#include <fmt/format.h>

#include <algorithm>

#include "compiler/sema/builtins.h"
#include "compiler/sema/impl.h"
#include "compiler/sema/initializers.h"
#include "compiler/sema/training.h"
#include "compiler/syntax/parser.h"

namespace nnlc::sema {

using ast::LayerItem;
using graph::Dim;
using Layer = std::shared_ptr<LayerInstance>;

namespace {

std::string join_path(const std::string& a, const std::string& b) { return a.empty() ? b : a + "." + b; }

/// The key's part of a path: the ordinal of the root and the path below it.
std::string random_path(const std::string& root, const std::string& path) {
  size_t hash = root.rfind('#');
  return (hash == std::string::npos ? root : root.substr(hash + 1)) + "/" + path;
}

void set_place(LayerInstance& layer, const std::string& root, const std::string& path, int init_step) {
  if (layer.built && layer.klass) return;
  layer.root = root;
  layer.path = path;
  if (layer.init_step < 0) layer.init_step = init_step;
  if (layer.klass) return;
  for (auto& [name, v] : layer.members)
    if (auto child = v.ptr<LayerInstance>()) set_place(*child, root, join_path(path, name), layer.init_step);
}

void become_root(Evaluator& ev, LayerInstance& layer) {
  if (!layer.root.empty()) return;
  if (layer.init_step < 0)
    layer.init_step = ev.reserve_step(fmt::format("initial values of {}", layer.class_name), layer.span);
  set_place(layer, fmt::format("{}#{}", layer.class_name, ev.impl->next_root++), "", layer.init_step);
}

/// The names in an expression that stand for `_`; `bare`: also where an argument of a call is just such a name.
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

/// Code inside a layer's declaration is host code that makes members.
class Building {
 public:
  Building(Evaluator& ev, const LayerInstance& layer)
      : ev_(ev),
        context_(ev.context),
        flow_(ev.impl->flow),
        loops_(std::move(ev.impl->loops)),
        returns_(std::move(ev.impl->returns)),
        leaves_(std::move(ev.leaves)) {
    ev.impl->loops.clear();
    ev.impl->returns.clear();
    ev.leaves.clear();
    ev.context.tensor_code = false;
    ev.context.training = false;
    ev.context.self = nullptr;
    ++ev.impl->member_depth;
    ev.frames.push_back({layer.class_name, layer.span});
    ev.impl->calls.push_back(layer.klass ? layer.klass->decl : nullptr);
  }
  ~Building() {
    ev_.frames.pop_back();
    ev_.impl->calls.pop_back();
    --ev_.impl->member_depth;
    ev_.context = context_;
    ev_.impl->flow = flow_;
    ev_.impl->loops = std::move(loops_);
    ev_.impl->returns = std::move(returns_);
    ev_.leaves = std::move(leaves_);
  }
  Building(const Building&) = delete;
  Building& operator=(const Building&) = delete;

 private:
  Evaluator& ev_;
  Context context_;
  Flow flow_;
  std::vector<LoopTarget*> loops_;
  std::vector<ReturnTarget*> returns_;
  std::vector<std::map<host::Reg, TensorValue>> leaves_;
};

std::optional<graph::TensorType> param_type(Evaluator& ev, const LayerItem& item, const std::shared_ptr<Scope>& scope) {
  const ast::TypeExpr& t = *item.type;
  if (t.kind != ast::TypeExpr::Kind::tensor) {
    ev.error(Code::LayerDeclaration, t.span, fmt::format("`{}` must be a tensor of numbers", item.name.text));
    return std::nullopt;
  }
  graph::TensorType type;
  if (t.name) {
    auto dtype = graph::dtype_from_name(t.name->text);
    if (!dtype) {
      ev.error(Code::LayerDeclaration, t.name->span,
               fmt::format("`{}` must be a tensor, but `{}` is no element type", item.name.text, t.name->text));
      return std::nullopt;
    }
    type.dtype = *dtype;
  }
  if (item.kind == LayerItem::Kind::param && !graph::is_float(type.dtype)) {
    ev.error(Code::LayerDeclaration, t.span,
             fmt::format("the param `{}` must have a float type to be learned", item.name.text))
        .help("`state` holds other types");
    return std::nullopt;
  }
  for (auto& d : t.dims) {
    if (!d.expr) {
      ev.error(Code::LayerDeclaration, d.span, fmt::format("each size of `{}` must be written", item.name.text));
      return std::nullopt;
    }
    Value v = ev.to_host(ev.eval(*d.expr, scope), d.span);
    if (v.is_poison()) return std::nullopt;
    auto* size = v.get<Dim>();
    if (!size) {
      ev.error(v.get<RuntimeValue>() ? Code::NotStatic : Code::ArgumentType, d.span,
               fmt::format("a size is a static int, but this is {}", describe(v)));
      return std::nullopt;
    }
    if (size->is_constant() && size->value() < 0) {
      ev.error(Code::BadSize, d.span, fmt::format("a size can't be {}", size->value()));
      return std::nullopt;
    }
    type.shape.push_back(*size);
  }
  return type;
}

/// The initial value, written by the step that was reserved where the root was made.
void initialise(Evaluator& ev, LayerInstance& layer, const LayerItem& item, ParamCell& cell) {
  ev.in_step(layer.init_step, [&] {
    ev.context.random_path = random_path(cell.root, cell.path);
    Span span = item.value ? item.value->span : item.span;
    std::optional<TensorValue> value;
    const ast::Expr* e = item.value.get();
    auto* call = ast::dyn<ast::CallExpr>(e);
    auto* name = ast::dyn<ast::NameExpr>(call ? call->callee.get() : e);
    bool positional = call && std::any_of(call->args.begin(), call->args.end(), [](auto& a) { return !a.name; });
    bool tensor_call = name && positional && (name->name == "zeros" || name->name == "ones" || name->name == "eye");
    if (!e) {
      ev.error(Code::LayerDeclaration, item.span, fmt::format("`{}` needs an initial value", item.name.text))
          .help("for example `= zeros`, `= 0.0` or `= kaiming_uniform(a = sqrt(5))`");
      return;
    }
    if (name && is_initializer(name->name) && !tensor_call && !layer.scope->find(name->name)) {
      std::vector<ArgValue> args = call ? eval_args(ev, call->args, layer.scope) : std::vector<ArgValue>{};
      for (auto& a : args)
        if (a.value.is_poison()) return;
      value = make_initial(ev, name->name, cell.type, args, span);
    } else {
      Value v = ev.eval(*e, layer.scope);
      if (v.is_poison()) return;
      value = ev.to_tensor(v, cell.type.dtype, span);
      if (value && value->type.rank() == 0 && cell.type.rank() != 0)
        value = ev.tensor(graph::broadcast_to(ev.graph(), ev.node(*value), cell.type.shape, span), span);
    }
    if (!value) return;
    if (value->type != cell.type) {
      ev.error(Code::ShapeMismatch, span,
               fmt::format("`{}` is declared as {}, but its initial value is {}", item.name.text, cell.type.str(),
                           value->type.str()))
          .label(item.type ? item.type->span : item.span, "declared here");
      return;
    }
    ev.write_back(cell.reg, *value);
  });
}

void complete_param(Evaluator& ev, LayerInstance& layer, const LayerItem& item,
                    const std::shared_ptr<ParamCell>& cell) {
  auto type = param_type(ev, item, layer.scope);
  if (!type) {
    layer.build_failed = true;
    return;
  }
  cell->type = *type;
  if (!graph::is_constant(type->shape)) return;  // a check with symbolic sizes
  host::Type t = host_type(host::Type::Kind::tensor);
  t.tensor = *type;
  cell->reg = ev.new_reg(t);
  cell->persistent = static_cast<int>(ev.program->persistents.size());
  ev.program->persistents.push_back({cell->path, cell->root, cell->reg, *type, cell->learned, {}});
  initialise(ev, layer, item, *cell);
}

void process(Evaluator& ev, const Layer& layer, const LayerItem& item, bool known);

void process_all(Evaluator& ev, const Layer& layer, const std::vector<LayerItem>& items) {
  for (auto& item : items) process(ev, layer, item, false);
}

/// One item of a layer's body. `known`: every hyper-parameter has its value by now.
void process(Evaluator& ev, const Layer& layer, const LayerItem& item, bool known) {
  const auto& scope = layer->scope;
  using K = LayerItem::Kind;
  auto defer = [&](bool waits) {
    if (waits && !known) layer->deferred.push_back(&item);
    return waits && !known;
  };
  auto taken = [&](const ast::Name& name) {
    Scope::Entry* e = scope->find_here(name.text);
    if (!e) return false;
    ev.error(Code::DuplicateName, name.span, fmt::format("`{}` is declared twice in this layer", name.text))
        .label(e->span, "first here");
    return true;
  };
  switch (item.kind) {
    case K::param:
    case K::state: {
      if (known && scope->find_here(item.name.text)) {
        for (auto& [n, cell] : layer->params)
          if (n == item.name.text) complete_param(ev, *layer, item, cell);
        return;
      }
      if (taken(item.name)) return;
      auto cell = std::make_shared<ParamCell>();
      cell->path = join_path(layer->path, item.name.text);
      cell->root = layer->root;
      cell->learned = item.kind == K::param;
      cell->frozen = layer->frozen;
      cell->span = item.name.span;
      layer->params.emplace_back(item.name.text, cell);
      scope->define(item.name.text, NoneValue{}, item.name.span).param = cell;
      if (!item.type) {
        ev.error(Code::LayerDeclaration, item.span, fmt::format("`{}` needs a type", item.name.text));
        layer->build_failed = true;
        return;
      }
      if (defer(type_mentions_inferred(*item.type, scope) || mentions_inferred(item.value.get(), scope, true))) return;
      complete_param(ev, *layer, item, cell);
      return;
    }
    case K::let:
      if (defer(mentions_inferred(item.value.get(), scope, true))) {
        std::function<void(const ast::Pattern&)> mark = [&](const ast::Pattern& p) {
          if (p.kind == ast::Pattern::Kind::name) scope->define(p.name.text, Inferred{}, {});
          for (auto& i : p.items) mark(i);
        };
        mark(item.pattern);
        return;
      }
      ev.bind(item.pattern, ev.eval(*item.value, scope), scope, false);
      return;
    case K::member: {
      if (defer(mentions_inferred(item.value.get(), scope, true))) return;
      if (taken(item.name)) return;
      Value v = ev.eval(*item.value, scope);
      if (v.is_poison()) {
        layer->build_failed = true;
        scope->define(item.name.text, v, item.name.span);
        return;
      }
      bool list = v.ptr<SequenceValue>() != nullptr;
      bool good = v.ptr<LayerInstance>() != nullptr;
      if (auto s = v.ptr<SequenceValue>())
        good = std::all_of(s->items.begin(), s->items.end(),
                           [](const Value& x) { return x.ptr<LayerInstance>() || x.ptr<SequenceValue>(); });
      if (!good) {
        auto d = ev.error(Code::LayerDeclaration, item.value->span,
                          fmt::format("a member is a layer or a list of layers, but this is {}",
                                      list ? "a list of other things" : describe(v)));
        d.help(fmt::format("a value is named with `let {} = …`, what is learned with `param`", item.name.text));
        layer->build_failed = true;
        return;
      }
      layer->members.emplace_back(item.name.text, v);
      scope->define(item.name.text, v, item.name.span);
      adopt(ev, *layer, item.name.text, v);
      return;
    }
    case K::require: {
      if (defer(mentions_inferred(item.value.get(), scope, true))) return;
      Value c = eval_condition(ev, *item.value, scope);
      auto* b = c.get<bool>();
      if (!b || *b) {
        if (!b && !c.is_poison() && !ev.context.dry)
          ev.error(Code::NotStatic, item.value->span, "`require` needs a condition that is known when compiling");
        return;
      }
      std::string text;
      if (auto* s = ast::dyn<ast::StringExpr>(item.message.get())) {
        Value m = ev.eval(*s, scope);
        if (auto* t = m.get<std::string>()) text = *t;
      }
      if (text.empty()) text = fmt::format("{} requires `{}`", layer->class_name, syntax::to_source(*item.value));
      Span at = layer->span.valid() ? ev.user_span(layer->span) : item.span;
      ev.diags.error(Code::RequirementNotMet, at, text).label(item.value->span, "the rule");
      layer->build_failed = true;
      return;
    }
    case K::if_: {
      if (defer(mentions_inferred(item.value.get(), scope, true))) return;
      Value c = eval_condition(ev, *item.value, scope);
      if (c.is_poison()) return;
      auto* b = c.get<bool>();
      if (!b) {
        ev.error(c.get<RuntimeValue>() || c.get<TensorValue>() ? Code::NotStatic : Code::ConditionType,
                 item.value->span,
                 fmt::format("the structure of a layer is decided by a static bool, but this is {}", describe(c)));
        return;
      }
      for (auto& i : *b ? item.then_items : item.else_items) process(ev, layer, i, known);
      return;
    }
    case K::tie:
      tie_params(ev, eval_args(ev, item.args, scope), item.span);
      return;
    case K::forward:
    case K::fn:
      if (known) return;
      if (taken(item.fn->name)) return;
      scope->define(item.fn->name.text, Value(FunctionValue{item.fn.get(), scope, layer}, item.fn->name.span),
                    item.fn->name.span);
      return;
  }
}

bool has_inferred(const LayerInstance& layer) {
  return std::any_of(layer.hyper.begin(), layer.hyper.end(),
                     [](auto& h) { return h.second.template get<Inferred>() != nullptr; });
}

void set_hyper(LayerInstance& layer, const std::string& name, const Value& v) {
  for (auto& [n, value] : layer.hyper)
    if (n == name) value = v;
  layer.scope->parent()->define(name, v, v.span);
}

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

/// Hyper-parameters `_` from the arguments of the first call.
bool infer(Evaluator& ev, const Layer& layer, const std::vector<ArgValue>& args, Span span) {
  const ast::FnStmt* forward = forward_of(*layer);
  if (!forward) return true;
  std::set<std::string> unknown;
  for (auto& [n, v] : layer->hyper)
    if (v.get<Inferred>()) unknown.insert(n);
  auto outer = ev.impl->inferable;
  ev.impl->inferable = unknown;
  Evaluator::DimBindings dims;
  bool ok = true;
  size_t next = 0;
  ev.frames.push_back({layer->class_name, span});
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
    ok &= ev.match_type(*p->type, v, dims, layer->scope, a.span.valid() ? a.span : span,
                        fmt::format("`{}`|{}", layer->path.empty() ? layer->class_name : layer->path, p->name.text));
  }
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

/// A value of the written type with symbolic sizes; nullopt: the type leaves something open.
std::optional<Value> symbolic(Evaluator& ev, const ast::TypeExpr& t, Evaluator::DimBindings& dims,
                              const std::shared_ptr<Scope>& scope, const Span& span) {
  using K = ast::TypeExpr::Kind;
  if (t.kind == K::record || t.kind == K::tuple) {
    std::vector<Value> items;
    for (auto& i : t.items) {
      auto v = symbolic(ev, i, dims, scope, span);
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
        else if (!scope->find(n->name)) {
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
  for (auto& d : t.dims) {
    if (d.kind == ast::DimExpr::Kind::rest) return std::nullopt;
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

/// forward with the signature's sizes left open, so that it is right for every N; also the first use of members with
/// `_`.
void check_forward(Evaluator& ev, const Layer& layer) {
  if (layer->checked || !layer->klass) return;
  layer->checked = true;
  const ast::FnStmt* forward = forward_of(*layer);
  if (!forward || has_inferred(*layer) || ev.sources.file(forward->span.file).is_library) return;
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

}  // namespace

TensorValue read_param(Evaluator& ev, const std::shared_ptr<ParamCell>& p, Span span) {
  TensorValue t;
  if (p->reg == host::kNoReg) {
    if (!ev.context.dry && !ev.diags.has_errors())
      ev.error(Code::CannotInfer, span, fmt::format("the sizes of `{}` aren't known yet", p->path))
          .help("call the layer first, or write its sizes instead of `_`");
    t = ev.tensor(ev.graph().add_input(p->type, "", span), span);
  } else {
    t = ev.read_persistent(p->reg, p->type, span);
  }
  t.param = p;
  return t;
}

void adopt(Evaluator& ev, LayerInstance& parent, const std::string& name, const Value& member) {
  if (auto child = member.ptr<LayerInstance>()) {
    if (!child->adopted) {
      child->adopted = true;
      set_place(*child, parent.root, join_path(parent.path, name), parent.init_step);
      if (child->built && child->klass && child->root != parent.root && !parent.root.empty()) {
        // It lives under a root of its own already; files of the parent hold it all the same.
        for (auto& p : ev.params_of(member, true)) {
          std::string below = p->path;
          if (!child->path.empty() && below.rfind(child->path + ".", 0) == 0)
            below = below.substr(child->path.size() + 1);
          if (p->persistent >= 0)
            ev.program->persistents.push_back(
                {join_path(join_path(parent.path, name), below), parent.root, p->reg, p->type, p->learned, {}});
        }
      }
    }
    if (parent.klass) build_layer(ev, child);
    return;
  }
  if (auto s = member.ptr<SequenceValue>())
    for (size_t i = 0; i < s->items.size(); ++i) adopt(ev, parent, fmt::format("{}.{}", name, i), s->items[i]);
}

bool build_layer(Evaluator& ev, const Layer& layer) {
  if (layer->built) return !layer->build_failed;
  layer->built = true;
  if (layer->root.empty()) become_root(ev, *layer);
  if (!layer->klass) {
    for (auto& [n, v] : layer->members)
      if (auto child = v.ptr<LayerInstance>()) {
        set_place(*child, layer->root, join_path(layer->path, n), layer->init_step);
        layer->build_failed |= !build_layer(ev, child);
      }
    return !layer->build_failed;
  }
  Building building(ev, *layer);
  bool dry = ev.context.dry;
  ev.context.dry = false;
  layer->scope = std::make_shared<Scope>(layer->scope);  // members above hyper-parameters
  // Methods and forward are visible to everything in the layer.
  process_all(ev, layer, layer->klass->decl->items);
  if (layer->members.empty() && layer->params.empty() && !forward_of(*layer) && layer->klass->decl->items.empty()) {
    ev.error(Code::LayerDeclaration, layer->klass->decl->name.span,
             fmt::format("the layer {} is empty", layer->class_name))
        .help("give it a `forward`");
    layer->build_failed = true;
  }
  ev.context.dry = dry;
  return !layer->build_failed;
}

Value Evaluator::instantiate(const std::shared_ptr<LayerClass>& klass, std::vector<ArgValue> args, Span span) {
  const ast::LayerStmt& decl = *klass->decl;
  const std::string& name = decl.name.text;
  impl->instantiated.insert(&decl);
  if (context.tensor_code && impl->member_depth == 0) {
    error(Code::LayerInTensorCode, span, fmt::format("{} is made inside of tensor code", name))
        .help(fmt::format("make it a member of the layer (`x = {}(…)`), or before the block", name));
    return Poison{};
  }
  if (std::find(impl->calls.begin(), impl->calls.end(), static_cast<const void*>(&decl)) != impl->calls.end()) {
    std::string cycle;
    for (auto& f : frames) cycle += f.name + " -> ";
    error(Code::RecursiveCall, span, fmt::format("the layer {} contains itself", name))
        .note("the cycle: " + cycle + name);
    return Poison{};
  }
  if (decl.alias) {
    if (!args.empty()) {
      error(Code::TooManyArguments, args[0].span, fmt::format("{} takes no arguments", name))
          .label(decl.name.span, "declared here");
      return Poison{};
    }
    ++impl->member_depth;
    impl->calls.push_back(&decl);
    frames.push_back({name, span});
    Value v = eval(*decl.alias, klass->scope);
    frames.pop_back();
    impl->calls.pop_back();
    --impl->member_depth;
    auto layer = v.ptr<LayerInstance>();
    if (!layer) {
      if (!v.is_poison())
        error(Code::LayerDeclaration, decl.alias->span,
              fmt::format("{} must be a layer, but this is {}", name, describe(v)));
      return Poison{};
    }
    layer->class_name = name;
    layer->span = span;
    if (impl->member_depth == 0) become_root(*this, *layer);
    return Value(layer, span);
  }
  std::vector<std::string> names;
  for (auto& p : decl.params) names.push_back(p.name.text);
  std::vector<ArgValue*> ordered;
  if (!order_args(*this, fmt::format("`{}`", name), names, args, ordered, span)) return Poison{};
  auto layer = std::make_shared<LayerInstance>();
  layer->klass = klass;
  layer->class_name = name;
  layer->span = span;
  layer->scope = std::make_shared<Scope>(klass->scope);
  bool ok = true;
  DimBindings dims;
  frames.push_back({name, span});
  for (size_t i = 0; i < decl.params.size(); ++i) {
    const ast::Param& p = decl.params[i];
    Value v;
    Span at = span;
    if (ordered[i]) {
      v = ordered[i]->value;
      at = ordered[i]->span;
      if (auto* t = v.get<TensorValue>(); t && !p.type) v.span = at;
      if (v.get<RuntimeValue>()) {
        error(Code::NotStatic, at, fmt::format("`{}` of {} must be known when compiling", p.name.text, name));
        ok = false;
        v = Poison{};
      }
    } else if (p.default_value) {
      layer->defaulted.push_back(p.name.text);
      at = p.default_value->span;
      v = mentions_inferred(p.default_value.get(), layer->scope, true) ? Value(Inferred{}, at)
                                                                       : eval(*p.default_value, layer->scope);
    } else {
      error(Code::MissingArgument, span, fmt::format("{} needs `{}`", name, p.name.text))
          .label(p.span, "declared here");
      ok = false;
      v = Poison{};
    }
    if (p.type && !v.is_poison() && !v.get<Inferred>())
      ok &= match_type(*p.type, v, dims, layer->scope, at, fmt::format("`{}`|{}", name, p.name.text));
    if (v.is_poison()) ok = false;
    layer->hyper.emplace_back(p.name.text, v);
    layer->scope->define(p.name.text, v, p.name.span);
  }
  frames.pop_back();
  if (!ok) return Poison{};
  impl->instances.push_back(layer);
  if (impl->member_depth == 0) become_root(*this, *layer);
  return Value(layer, span);
}

Value make_sequential(Evaluator& ev, std::vector<ArgValue> args, Span span) {
  auto layer = std::make_shared<LayerInstance>();
  layer->class_name = "Sequential";
  layer->span = span;
  if (ev.context.tensor_code && ev.impl->member_depth == 0) {
    ev.error(Code::LayerInTensorCode, span, "Sequential is made inside of tensor code")
        .help("make it a member of the layer, or before the block");
    return Poison{};
  }
  size_t position = 0;
  auto add = [&](auto&& self, const std::string& name, const Value& v, Span at) -> bool {
    if (auto s = v.ptr<SequenceValue>(); s && s->is_list && name.empty()) {
      for (auto& item : s->items)
        if (!self(self, "", item, at)) return false;
      return true;
    }
    Value member = v;
    if (auto* f = v.get<FunctionValue>()) {
      ev.error(Code::LayerDeclaration, at,
               fmt::format("Sequential holds layers, but `{}` is a function", f->decl->name.text))
          .help("use the layer of the same meaning, such as `ReLU()` for `relu`");
      return false;
    }
    if (auto c = v.ptr<LayerClass>()) {
      ev.error(Code::LayerDeclaration, at, fmt::format("Sequential holds layers, but {} is not made yet", describe(v)))
          .help(fmt::format("write `{}()`", c->decl->name.text));
      return false;
    }
    if (!v.ptr<LayerInstance>()) {
      ev.error(Code::LayerDeclaration, at, fmt::format("Sequential holds layers, but this is {}", describe(v)));
      return false;
    }
    std::string n = name.empty() ? std::to_string(position) : name;
    for (auto& [old, m] : layer->members)
      if (old == n) {
        ev.error(Code::DuplicateArgument, at, fmt::format("Sequential has two members called `{}`", n));
        return false;
      }
    layer->members.emplace_back(n, member);
    ++position;
    return true;
  };
  for (auto& a : args)
    if (!add(add, a.name, a.value, a.span)) return Poison{};
  for (auto& [n, v] : layer->members) {
    auto child = v.ptr<LayerInstance>();
    child->adopted = true;
  }
  ev.impl->instances.push_back(layer);
  if (ev.impl->member_depth == 0) become_root(ev, *layer);
  return Value(layer, span);
}

// ---------------------------------------------------------------- calls

namespace {

/// The first call's arguments, for `forward_graph` where the signature doesn't say them.
void note_call(Evaluator& ev, const LayerInstance& layer, const std::vector<ArgValue>& args) {
  if (!layer.path.empty() || ev.context.dry) return;
  ev.impl->first_calls.try_emplace(&layer, args);
}

/// rows_open: the first axis of each argument is a size N, where the signature doesn't say what it is.
std::optional<graph::Graph> trace_forward(Evaluator& ev, const Layer& layer, bool rows_open) {
  if (!build_layer(ev, layer)) return std::nullopt;
  DryRun dry(ev);
  std::vector<ArgValue> args;
  bool open = true;
  if (const ast::FnStmt* forward = forward_of(*layer)) {
    Evaluator::DimBindings dims;
    for (auto& p : forward->params) {
      auto v = p.type ? symbolic(ev, *p.type, dims, layer->scope, p.span) : std::nullopt;
      if (!v && p.default_value) continue;
      open &= v.has_value();
      if (!v) break;
      ArgValue a;
      a.name = p.name.text;
      a.value = *v;
      a.span = p.span;
      args.push_back(std::move(a));
    }
  } else {
    open = false;
  }
  if (!open) {
    args.clear();
    auto known = ev.impl->first_calls.find(layer.get());
    if (known == ev.impl->first_calls.end()) return std::nullopt;
    args = known->second;
    for (auto& a : args)
      if (auto* t = a.value.get<TensorValue>()) {
        graph::TensorType type = t->type;
        if (rows_open && type.rank() > 0) type.shape[0] = Dim::symbol("N");
        TensorValue x = ev.tensor(ev.graph().add_input(type, a.name, a.span), a.span);
        x.classes = t->classes;
        x.kind = t->kind;
        a.value = Value(x, a.span);
      }
  }
  Value v = ev.call_layer(layer, std::move(args), layer->span);
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
  return canonical.empty() ? std::move(g) : g.clone(canonical);
}

}  // namespace

std::optional<graph::Graph> forward_graph(Evaluator& ev, const Layer& layer) {
  size_t before = ev.diags.all().size();
  if (auto g = trace_forward(ev, layer, true)) return g;
  ev.diags.truncate(before);
  return trace_forward(ev, layer, false);
}

Value Evaluator::call_layer(const Layer& layer, std::vector<ArgValue> args, Span span) {
  if (!build_layer(*this, layer)) return Poison{};
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

std::optional<Value> layer_member(Evaluator& ev, const Layer& layer, const ast::Name& name) {
  if (!build_layer(ev, layer)) return Value(Poison{});
  for (auto& [n, v] : layer->members)
    if (n == name.text) return v;
  if (!layer->scope) return std::nullopt;
  if (Scope::Entry* e = layer->scope->find_here(name.text)) return read_entry(ev, *e, name.text, name.span);
  for (auto& [n, v] : layer->hyper)
    if (n == name.text) return v;
  return std::nullopt;
}

std::vector<std::shared_ptr<ParamCell>> Evaluator::params_of(const Value& v, bool with_states) {
  std::vector<std::shared_ptr<ParamCell>> out;
  auto add = [&](const std::shared_ptr<ParamCell>& p) {
    if ((p->learned || with_states) && std::find(out.begin(), out.end(), p) == out.end()) out.push_back(p);
  };
  std::function<void(const Value&)> visit = [&](const Value& x) {
    if (auto layer = x.ptr<LayerInstance>()) {
      if (!build_layer(*this, layer)) return;
      check_forward(*this, layer);
      bool open = std::any_of(layer->deferred.begin(), layer->deferred.end(), [](auto* i) {
        return i->kind == LayerItem::Kind::member || i->kind == LayerItem::Kind::if_;
      });
      if (open) {
        if (impl->reported_unknown.insert(layer.get()).second)
          error(Code::CannotInfer, layer->span, fmt::format("what {} consists of isn't known yet", layer->class_name))
              .help("call it once before, or write its sizes instead of `_`");
        return;
      }
      for (auto& [n, p] : layer->params) add(p);
      for (auto& [n, m] : layer->members) visit(m);
    } else if (auto s = x.ptr<SequenceValue>()) {
      for (auto& i : s->items) visit(i);
    } else if (auto* t = x.get<TensorValue>(); t && t->param) {
      add(t->param);
    }
  };
  visit(v);
  return out;
}

// ---------------------------------------------------------------- freeze, tie, the end

bool set_frozen(Evaluator& ev, const Value& v, bool frozen, Span span) {
  if (ev.impl->runtime_depth > 0) {
    ev.unsupported(Code::FrozenInBranch, span,
                   fmt::format("`{}` stands in a run-time loop or branch", frozen ? "freeze" : "unfreeze"))
        .note("what is frozen decides what is compiled, so it can't change while the program runs")
        .help("split the loop in two, and call it between them");
    return false;
  }
  if (auto layer = v.ptr<LayerInstance>()) {
    if (!build_layer(ev, layer)) return false;
    layer->frozen = frozen;
    for (auto& [n, p] : layer->params) p->frozen = frozen;
    for (auto& [n, m] : layer->members) set_frozen(ev, m, frozen, span);
    return true;
  }
  if (auto s = v.ptr<SequenceValue>()) {
    for (auto& i : s->items)
      if (!set_frozen(ev, i, frozen, span)) return false;
    return true;
  }
  if (auto* t = v.get<TensorValue>(); t && t->param) {
    t->param->frozen = frozen;
    return true;
  }
  if (!v.is_poison())
    ev.error(Code::ArgumentType, span, fmt::format("layers and parameters are frozen, but this is {}", describe(v)));
  return false;
}

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
  if (cells[0]->reg == host::kNoReg || cells[1]->reg == host::kNoReg) return Poison{};
  if (cells[0]->type != cells[1]->type) {
    ev.error(Code::ShapeMismatch, span,
             fmt::format("`{}` and `{}` can't be tied: they are {} and {}", cells[0]->path, cells[1]->path,
                         cells[0]->type.str(), cells[1]->type.str()))
        .label(cells[0]->span, fmt::format("is {}", cells[0]->type.str()))
        .label(cells[1]->span, fmt::format("is {}", cells[1]->type.str()));
    return Poison{};
  }
  // The first path stays; the other becomes its alias.
  auto keep = cells[0]->persistent <= cells[1]->persistent ? cells[0] : cells[1];
  auto gone = keep == cells[0] ? cells[1] : cells[0];
  auto& persistents = ev.program->persistents;
  persistents[static_cast<size_t>(keep->persistent)].aliases.push_back(gone->path);
  persistents.erase(persistents.begin() + gone->persistent);
  int removed = gone->persistent;
  std::set<ParamCell*> moved;
  for (auto& layer : ev.impl->instances) {
    for (auto& [n, p] : layer->params) {
      if (p->persistent > removed && moved.insert(p.get()).second) --p->persistent;
      if (p != gone) continue;
      p = keep;
      if (Scope::Entry* e = layer->scope->find_here(n)) e->param = keep;
    }
  }
  for (auto& [id, state] : ev.impl->steps) {
    if (!state.newest.erase(gone->reg)) continue;
    std::erase(state.written, gone->reg);
  }
  return NoneValue{};
}

void finish_layers(Evaluator& ev) {
  for (size_t i = 0; i < ev.impl->instances.size(); ++i) {
    Layer layer = ev.impl->instances[i];
    if (!build_layer(ev, layer)) continue;
    check_forward(ev, layer);
    for (auto& [n, v] : layer->hyper)
      if (v.get<Inferred>() && !ev.diags.has_errors()) report_unknown(ev, *layer, n);
  }
}

void check_unused_layers(Evaluator& ev, const ast::Program& program) {
  auto& im = *ev.impl;
  for (auto& s : program.stmts) {
    auto* decl = ast::dyn<ast::LayerStmt>(s.get());
    if (!decl || decl->alias || im.instantiated.count(decl) || ev.diags.has_errors()) continue;
    bool complete =
        std::all_of(decl->params.begin(), decl->params.end(), [](auto& p) { return p.default_value != nullptr; });
    Scope::Entry* entry = ev.global_scope->find_here(decl->name.text);
    auto klass = entry ? entry->value.ptr<LayerClass>() : nullptr;
    if (!complete || !klass) continue;
    // Everything that this makes is taken back: the program doesn't have the layer.
    size_t steps = ev.program->steps.size(), persistents = ev.program->persistents.size(),
           instances = im.instances.size();
    {
      DryRun dry(ev);
      ev.context.tensor_code = false;
      Value v = ev.instantiate(klass, {}, decl->name.span);
      if (auto layer = v.ptr<LayerInstance>(); layer && build_layer(ev, layer)) check_forward(ev, layer);
    }
    std::erase_if(im.steps,
                  [&](auto& x) { return x.first < Evaluator::Impl::kScratch && x.first >= static_cast<int>(steps); });
    while (ev.program->steps.size() > steps) ev.program->steps.pop_back();
    ev.program->persistents.resize(persistents);
    for (size_t i = instances; i < im.instances.size(); ++i) {
      if (im.instances[i]->scope) im.instances[i]->scope->entries().clear();
      im.instances[i]->members.clear();
    }
    im.instances.resize(instances);
  }
}

std::pair<std::string, std::string> root_and_path(const LayerInstance& layer) { return {layer.root, layer.path}; }

}  // namespace nnlc::sema
