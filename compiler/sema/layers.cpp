// Layers: instances, their members and parameters, initial values, calls of forward.
//
// An instance is built when it is first asked for anything, so that it knows by then whether it became a member of
// another layer (which decides the paths of its parameters). What depends on a hyper-parameter `_` waits until the
// first call.
#include <fmt/format.h>

#include <algorithm>

#include "compiler/sema/builtins.h"
#include "compiler/sema/initializers.h"
#include "compiler/sema/layers.h"
#include "compiler/sema/training.h"
#include "compiler/syntax/parser.h"

namespace nnlc::sema {

using ast::LayerItem;
using graph::Dim;
using Layer = std::shared_ptr<LayerInstance>;

namespace {

std::string join_path(const std::string& a, const std::string& b) { return a.empty() ? b : a + "." + b; }

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
  for (auto& [dim, listed] : written_dims(t, scope)) {
    const ast::DimExpr& d = *dim;
    if (!d.expr) {
      ev.error(Code::LayerDeclaration, d.span, fmt::format("each size of `{}` must be written", item.name.text));
      return std::nullopt;
    }
    Value v = listed ? Value(*listed, d.span) : ev.to_host(ev.eval(*d.expr, scope), d.span);
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
  if (layer.build_failed) return;  // what its sizes follow from may be wrong
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
  cell->ordinal = ev.impl->next_param++;
  initialise(ev, layer, item, *cell);
}

}  // namespace

std::string random_path(const std::string& root, const std::string& path) {
  size_t hash = root.rfind('#');
  return (hash == std::string::npos ? root : root.substr(hash + 1)) + "/" + path;
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
      cell->path = join_path(layer->path, item.name.text + layer->spread.value_or(""));
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
      {
        Value v = ev.eval(*item.value, scope);
        if (v.is_poison()) layer->build_failed = true;
        ev.bind(item.pattern, std::move(v), scope, false);
      }
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

void process_all(Evaluator& ev, const Layer& layer, const std::vector<LayerItem>& items) {
  for (auto& item : items) {
    bool failed = layer->build_failed;
    process(ev, layer, item, false);
    // What follows a broken rule would only say it in other words.
    if (item.kind == LayerItem::Kind::require && layer->build_failed && !failed) return;
  }
}

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
      set_place(*child, parent.root, child->spread ? parent.path : join_path(parent.path, name), parent.init_step);
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
    for (const Diagnostic& d : diags.all())
      if (d.code == Code::RecursiveCall) return Poison{};  // the cycle is known
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
      layer->given[p.name.text] = ordered[i]->expr;
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
      auto d = error(Code::MissingArgument, span, fmt::format("{} needs `{}`", name, p.name.text));
      if (!sources.file(p.span.file).is_library) {
        d.label(p.span, "declared here");
      } else {
        std::string list;
        for (auto& n : names) list += (list.empty() ? "" : ", ") + n;
        d.note("its parameters: " + list);
      }
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

namespace {

/// A parameter of a member that is spread: `lstm.weight_ih_l0`.
std::optional<Value> spread_param(Evaluator& ev, const LayerInstance& layer, const ast::Name& name) {
  std::optional<Value> found;
  std::function<void(const Value&)> visit = [&](const Value& member) {
    if (auto list = member.ptr<SequenceValue>())
      for (auto& item : list->items) visit(item);
    auto child = member.ptr<LayerInstance>();
    if (!child || !child->spread || !build_layer(ev, child)) return;
    for (auto& [n, cell] : child->params)
      if (n + *child->spread == name.text) found = read_entry(ev, *child->scope->find_here(n), n, name.span);
  };
  for (auto& [n, member] : layer.members) visit(member);
  return found;
}

}  // namespace

std::optional<Value> layer_member(Evaluator& ev, const Layer& layer, const ast::Name& name) {
  if (!build_layer(ev, layer)) return Value(Poison{});
  for (auto& [n, v] : layer->members)
    if (n == name.text) return v;
  if (!layer->scope) return std::nullopt;
  if (Scope::Entry* e = layer->scope->find_here(name.text)) return read_entry(ev, *e, name.text, name.span);
  for (auto& [n, v] : layer->hyper)
    if (n == name.text) return v;
  return spread_param(ev, *layer, name);
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

}  // namespace nnlc::sema
