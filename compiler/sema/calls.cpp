// Calls: binding of arguments, signatures with their dims, inlining of functions.
#include <fmt/format.h>

#include <algorithm>

#include "compiler/sema/builtins.h"
#include "compiler/sema/statements.h"
#include "compiler/sema/training.h"
#include "compiler/syntax/parser.h"

namespace nnlc::sema {

using graph::Dim;
using Kind = host::Type::Kind;

std::vector<ArgValue> eval_args(Evaluator& ev, const std::vector<ast::Arg>& args, const std::shared_ptr<Scope>& scope) {
  std::vector<ArgValue> out;
  for (auto& a : args) {
    ArgValue v;
    if (a.name) {
      v.name = a.name->text;
      v.name_span = a.name->span;
    }
    v.value = ev.eval(*a.value, scope);
    v.span = a.value->span;
    v.expr = a.value.get();
    out.push_back(std::move(v));
  }
  return out;
}

bool order_args(Evaluator& ev, const std::string& what, const std::vector<std::string>& names,
                std::vector<ArgValue>& args, std::vector<ArgValue*>& out, Span) {
  out.assign(names.size(), nullptr);
  size_t next = 0;
  for (ArgValue& a : args) {
    size_t at = names.size();
    if (a.name.empty()) {
      if (next >= names.size()) {
        std::string list;
        for (auto& n : names) list += (list.empty() ? "" : ", ") + n;
        ev.error(Code::TooManyArguments, a.span,
                 names.empty() ? fmt::format("{} takes no arguments", what)
                               : fmt::format("{} takes {} argument{}, but is given one more", what, names.size(),
                                             names.size() == 1 ? "" : "s"))
            .note(names.empty() ? "its parentheses stay empty" : fmt::format("its parameters: {}", list));
        return false;
      }
      at = next++;
    } else {
      at = static_cast<size_t>(std::find(names.begin(), names.end(), a.name) - names.begin());
      if (at == names.size()) {
        auto d = ev.error(Code::UnknownArgument, a.name_span.valid() ? a.name_span : a.span,
                          fmt::format("{} has no parameter `{}`", what, a.name));
        if (auto hint = foreign_argument_hint(a.name))
          d.help(*hint);
        else if (auto near = nearest(a.name, names))
          d.help(fmt::format("did you mean `{}`?", *near)).fix(a.name_span, *near);
        else if (!names.empty()) {
          std::string list;
          for (auto& n : names) list += (list.empty() ? "" : ", ") + n;
          d.help(fmt::format("its parameters: {}", list));
        }
        return false;
      }
    }
    if (out[at]) {
      ev.error(Code::DuplicateArgument, a.span, fmt::format("{} is given `{}` twice", what, names[at]))
          .label(out[at]->span, "first here");
      return false;
    }
    out[at] = &a;
  }
  return true;
}

// ---------------------------------------------------------------- calls in the source

namespace {

Value call_with(Evaluator& ev, const Value& callee, const ast::CallExpr& e, const std::shared_ptr<Scope>& scope,
                std::vector<ArgValue> first, Span span) {
  auto* b = callee.get<const Builtin*>();
  bool members = b && (*b)->name == "Sequential";
  if (b && ((*b)->name == "tie" || (*b)->name == "freeze" || (*b)->name == "unfreeze")) {
    // Their arguments are parameters, not the parameters' values: the values carry them.
  }
  if (members) ++ev.impl->member_depth;
  std::vector<ArgValue> args = eval_args(ev, e.args, scope);
  if (members) --ev.impl->member_depth;
  args.insert(args.begin(), std::make_move_iterator(first.begin()), std::make_move_iterator(first.end()));
  for (auto& a : args)
    if (a.value.is_poison()) return Poison{};
  if (e.lambda) {
    LambdaValue lambda{e.lambda.get(), scope};
    return ev.call(callee, std::move(args), &lambda, span, e.callee->span);
  }
  return ev.call(callee, std::move(args), nullptr, span, e.callee->span);
}

}  // namespace

Value eval_call(Evaluator& ev, const ast::CallExpr& e, const std::shared_ptr<Scope>& scope, const ArgValue* piped) {
  std::vector<ArgValue> first;
  if (piped) first.push_back(*piped);
  auto* name = ast::dyn<ast::NameExpr>(e.callee.get());
  // A fold over a loop.
  if (name && e.args.size() == 1 && !e.args[0].name)
    if (auto* f = ast::dyn<ast::ForExpr>(e.args[0].value.get())) {
      static const std::vector<std::string> folds = {"mean", "sum", "max", "min", "collect"};
      if (std::find(folds.begin(), folds.end(), name->name) != folds.end())
        return eval_fold(ev, name->name, *f, scope, e.span);
    }
  if (auto* m = ast::dyn<ast::MemberExpr>(e.callee.get())) {
    auto* root = ast::dyn<ast::NameExpr>(m->object.get());
    if (root && root->name == "synthetic" && !lookup(ev, scope, root->name)) {
      if (const Builtin* b = find_builtin("synthetic." + m->name.text))
        return call_with(ev, Value(b), e, scope, std::move(first), e.span);
      ev.error(Code::UnknownMember, m->name.span, fmt::format("there is no synthetic data set `{}`", m->name.text))
          .help("`synthetic.digits()`");
      return Poison{};
    }
    Value object = ev.eval(*m->object, scope);
    if (object.is_poison()) return object;
    if (auto member = find_member(ev, object, m->name))
      return call_with(ev, *member, e, scope, std::move(first), e.span);
    // A function with the object first.
    Value fn;
    if (Scope::Entry* entry = lookup(ev, scope, m->name.text))
      fn = read_entry(ev, *entry, m->name.text, m->name.span);
    else if (const Builtin* b = find_builtin(m->name.text))
      fn = Value(b, m->name.span);
    else {
      ev.eval(*e.callee, scope);  // reports the missing member
      return Poison{};
    }
    if (fn.is_poison()) return fn;
    ArgValue self;
    self.value = object;
    self.span = m->object->span;
    self.expr = m->object.get();
    first.insert(first.begin(), self);
    return call_with(ev, fn, e, scope, std::move(first), e.span);
  }
  Value callee = ev.eval(*e.callee, scope);
  if (callee.is_poison()) {
    for (auto& a : e.args) ev.eval(*a.value, scope);  // what is wrong in the arguments is worth knowing, too
    return callee;
  }
  if (piped && callee.ptr<LayerClass>()) {
    // `x |> Linear(_, 10)`: the layer is made, then applied.
    Value layer = call_with(ev, callee, e, scope, {}, e.span);
    if (layer.is_poison()) return layer;
    return ev.call(layer, std::move(first), nullptr, e.span, e.span);
  }
  return call_with(ev, callee, e, scope, std::move(first), e.span);
}

Value eval_pipe(Evaluator& ev, const ast::PipeExpr& e, const std::shared_ptr<Scope>& scope) {
  ArgValue x;
  x.value = ev.eval(*e.lhs, scope);
  x.span = e.lhs->span;
  x.expr = e.lhs.get();
  if (auto* p = ast::dyn<ast::PipeExpr>(e.lhs.get())) x.span = p->rhs->span;  // the last step, not the whole chain
  if (x.value.is_poison()) {
    return Poison{};
  }
  if (auto* c = ast::dyn<ast::CallExpr>(e.rhs.get())) {
    Value v = eval_call(ev, *c, scope, &x);
    v.span = e.rhs->span;
    return v;
  }
  if (auto* m = ast::dyn<ast::MemberExpr>(e.rhs.get())) {
    Value object = ev.eval(*m->object, scope);
    if (object.is_poison()) return object;
  }
  Value callee = ev.eval(*e.rhs, scope);
  if (callee.is_poison()) return callee;
  if (callee.ptr<LayerInstance>()) x.span = e.rhs->span;  // the layer is where it doesn't fit
  std::vector<ArgValue> args{x};
  Value v = ev.call(callee, std::move(args), nullptr, e.rhs->span, e.rhs->span);
  v.span = e.rhs->span;
  return v;
}

// ---------------------------------------------------------------- the call itself

Value Evaluator::call(const Value& callee, std::vector<ArgValue> args, const LambdaValue* lambda, Span span,
                      Span callee_span) {
  if (callee.is_poison()) return Poison{};
  for (auto& a : args)
    if (a.value.is_poison()) return Poison{};
  auto with_lambda = [&] {
    if (!lambda) return;
    ArgValue a;
    a.value = Value(*lambda, lambda->decl->span);
    a.span = lambda->decl->span;
    args.push_back(std::move(a));
  };
  if (auto* f = callee.get<FunctionValue>()) {
    with_lambda();
    return call_function(*this, *f, std::move(args), span, callee_span);
  }
  if (auto* f = callee.get<LambdaValue>()) {
    with_lambda();
    std::vector<Value> values;
    for (auto& a : args) values.push_back(a.value);
    return apply_lambda(*this, *f, std::move(values), span);
  }
  if (auto* b = callee.get<const Builtin*>())
    return call_builtin(*this, **b, std::move(args), lambda, span, callee_span);
  if (auto* b = callee.get<BoundBuiltin>()) {
    ArgValue self;
    self.value = *b->self;
    self.span = b->self->span.valid() ? b->self->span : callee_span;
    args.insert(args.begin(), std::move(self));
    return call_builtin(*this, *b->builtin, std::move(args), lambda, span, callee_span);
  }
  if (auto c = callee.ptr<LayerClass>()) {
    with_lambda();
    return instantiate(c, std::move(args), span);
  }
  if (auto l = callee.ptr<LayerInstance>()) {
    with_lambda();
    return call_layer(l, std::move(args), span);
  }
  if (auto c = callee.ptr<OptimizerClass>()) return make_optimizer(c, std::move(args), span);
  if (auto s = callee.ptr<SequenceValue>(); s && s->is_list) {
    // A list of layers is applied in order.
    if (args.empty()) {
      error(Code::MissingArgument, span, "a list of layers needs what it is applied to");
      return Poison{};
    }
    Value x = args[0].value;
    for (const Value& item : s->items) {
      std::vector<ArgValue> next = args;
      next[0].value = x;
      x = call(item, std::move(next), nullptr, span, callee_span);
      if (x.is_poison()) return x;
    }
    return x;
  }
  auto d = error(Code::NotCallable, callee_span, fmt::format("{} can't be called", describe(callee)));
  if (callee.span.valid() && !(callee.span == callee_span)) d.label(callee.span, "made here");
  if (callee.get<TensorValue>() && !args.empty()) d.help("an element is `x[i]`, a product is `a * b`");
  return Poison{};
}

Value Evaluator::apply(const Value& fn, std::vector<Value> args, Span span) {
  std::vector<ArgValue> values;
  for (Value& v : args) {
    ArgValue a;
    a.span = v.span.valid() ? v.span : span;
    a.value = std::move(v);
    values.push_back(std::move(a));
  }
  return call(fn, std::move(values), nullptr, span, fn.span.valid() ? fn.span : span);
}

namespace {

/// Frames, recursion and `return` of one inlined body.
class Inlining {
 public:
  Inlining(Evaluator& ev, const void* decl, std::string name, Span call_span) : ev_(ev) {
    ev.frames.push_back({std::move(name), call_span});
    ev.impl->calls.push_back(decl);
    loops_ = std::move(ev.impl->loops);
    ev.impl->loops.clear();
  }
  ~Inlining() {
    ev_.frames.pop_back();
    ev_.impl->calls.pop_back();
    ev_.impl->loops = std::move(loops_);
  }
  Inlining(const Inlining&) = delete;
  Inlining& operator=(const Inlining&) = delete;

 private:
  Evaluator& ev_;
  std::vector<LoopTarget*> loops_;
};

bool is_recursive(Evaluator& ev, const void* decl, const std::string& name, Span span) {
  auto& calls = ev.impl->calls;
  auto at = std::find(calls.begin(), calls.end(), decl);
  if (at == calls.end()) return false;
  std::string cycle;
  for (size_t i = static_cast<size_t>(at - calls.begin()); i < ev.frames.size() && i < calls.size(); ++i)
    cycle += ev.frames[i].name + " -> ";
  ev.error(Code::RecursiveCall, span, fmt::format("{} calls itself", name)).note("the cycle: " + cycle + name);
  return true;
}

/// The body of a fn or lambda, with its early returns.
Value run_body(Evaluator& ev, const ast::Block& body, const std::shared_ptr<Scope>& scope, Span span) {
  auto& im = *ev.impl;
  ReturnTarget target;
  target.runtime_depth = im.runtime_depth;
  bool host_level = !ev.context.tensor_code && !ev.context.dry;
  bool returns = contains_return(body);
  host::Instr* around = nullptr;
  if (returns && host_level) {
    ev.flush();
    around = &ev.emit(host::Op::scope, span);
    around->label = target.label = im.labels++;
    ev.begin_block(around->then_block);
  }
  im.returns.push_back(&target);
  Value v = eval_block_in(ev, body, scope, true);
  im.returns.pop_back();
  if (im.flow == Flow::return_) {
    v = target.value ? *target.value : Value(NoneValue{}, span);
    im.flow = Flow::go;
  }
  bool dead = im.flow == Flow::dead;
  im.flow = Flow::go;
  if (around) {
    if (target.left && target.reg != host::kNoReg && !dead && !v.is_poison()) {
      host::Type type = ev.type_of(v);
      if (!(type == target.type)) {
        ev.error(Code::BranchTypes, span,
                 fmt::format("the function gives {} at its end, but an early `return` gives {}", describe(v),
                             target.type.str()));
        v = Poison{};
      } else {
        host::Reg from = ev.reg_of(v, span);
        host::Instr& i = ev.emit_pure(host::Op::copy, span);
        i.dst = target.reg;
        i.args = {from};
      }
    }
    ev.end_block();
    if (target.left && target.reg != host::kNoReg && !v.is_poison()) v = ev.from_reg(target.reg, target.type, span);
  }
  return v;
}

}  // namespace

Value apply_lambda(Evaluator& ev, const LambdaValue& f, std::vector<Value> args, Span span) {
  auto scope = std::make_shared<Scope>(f.scope);
  const ast::Pattern& p = f.decl->params;
  if (p.kind == ast::Pattern::Kind::tuple && args.size() > 1) {
    if (p.items.size() != args.size()) {
      ev.error(Code::PatternMismatch, p.span,
               fmt::format("the function takes {} values, and is given {}", p.items.size(), args.size()));
      return Poison{};
    }
    for (size_t i = 0; i < args.size(); ++i) ev.bind(p.items[i], std::move(args[i]), scope, false);
  } else if (args.size() == 1) {
    // `{ (a, b) -> … }` and `{ a, b -> … }` take one tuple apart, too.
    Value v = std::move(args[0]);
    if (p.kind == ast::Pattern::Kind::tuple && p.items.size() == 1 && !v.ptr<SequenceValue>())
      ev.bind(p.items[0], std::move(v), scope, false);
    else
      ev.bind(p, std::move(v), scope, false);
  } else if (!args.empty()) {
    ev.error(Code::PatternMismatch, p.span, fmt::format("the function takes one value, and is given {}", args.size()));
    return Poison{};
  }
  Inlining in(ev, f.decl, "the function", span);
  return run_body(ev, f.decl->body, scope, span);
}

Value call_function(Evaluator& ev, const FunctionValue& f, std::vector<ArgValue> args, Span span, Span callee_span) {
  const ast::FnStmt& decl = *f.decl;
  const std::string& name = decl.name.text;
  if (is_recursive(ev, &decl, name, span)) return Poison{};
  if (f.bound) args.insert(args.begin(), f.bound->begin(), f.bound->end());
  std::vector<std::string> names;
  for (auto& p : decl.params) names.push_back(p.name.text);
  std::string what = fmt::format("`{}`", name);
  if (f.self && name == "forward") {
    const std::string& path = f.self->path;
    what = fmt::format("`{}`", path.empty() ? f.self->class_name : path);
    // The place in a Sequential or list says little without the kind of layer.
    if (!path.empty() && path.find_first_not_of("0123456789.") == std::string::npos)
      what += fmt::format(" (a {})", f.self->class_name);
  }
  std::vector<ArgValue*> ordered;
  if (!order_args(ev, what, names, args, ordered, span)) return Poison{};
  auto scope = std::make_shared<Scope>(f.scope);
  Evaluator::DimBindings dims;
  Context saved = ev.context;
  if (f.self) ev.context.self = f.self;
  bool ok = true;
  for (size_t i = 0; i < decl.params.size() && ok; ++i) {
    const ast::Param& p = decl.params[i];
    Value v;
    Span at = callee_span;
    if (ordered[i]) {
      v = ordered[i]->value;
      at = ordered[i]->span.valid() ? ordered[i]->span : callee_span;
    } else if (p.default_value) {
      v = ev.eval(*p.default_value, scope);
      at = p.default_value->span;
    } else {
      ev.error(Code::MissingArgument, callee_span.valid() ? callee_span : span,
               fmt::format("{} needs `{}`", what, p.name.text))
          .label(p.span, "declared here");
      ok = false;
      break;
    }
    if (p.type && !v.is_poison())
      ok = ev.match_type(*p.type, v, dims, scope, at, fmt::format("{}|{}", what, p.name.text));
    Scope::Entry& e = scope->define(p.name.text, v, p.name.span);
    e.is_var = true;  // arguments may be rebound
    e.tensor_code = ev.context.tensor_code;
    for (auto& [n, size] : dims)
      if (n[0] != '.' && !scope->find_here(n)) scope->define(n, Value(size, p.span), p.span);
  }
  if (!ok) {
    ev.context = saved;
    return Poison{};
  }
  Value v;
  {
    Inlining in(ev, &decl, name == "forward" && f.self ? f.self->class_name : name, span);
    auto body = std::make_shared<Scope>(scope);
    v = run_body(ev, decl.body, body, span);
    if (decl.result && !v.is_poison()) {
      Span at = decl.body.stmts.empty() ? decl.head_span : decl.body.stmts.back()->span;
      if (!ev.match_type(*decl.result, v, dims, scope, at, fmt::format("the result of {}", what))) v = Poison{};
    }
  }
  ev.context = saved;
  return v;
}

// ---------------------------------------------------------------- types

namespace {

/// The text of a written type.
std::string type_source(const ast::TypeExpr& t) {
  using K = ast::TypeExpr::Kind;
  auto dims = [&] {
    std::string out = "[";
    for (size_t i = 0; i < t.dims.size(); ++i) {
      if (i) out += ", ";
      switch (t.dims[i].kind) {
        case ast::DimExpr::Kind::any:
          out += "_";
          break;
        case ast::DimExpr::Kind::rest:
          out += "..";
          break;
        default:
          out += t.dims[i].expr ? syntax::to_source(*t.dims[i].expr) : "?";
      }
    }
    return out + "]";
  };
  if (t.kind == K::klass)
    return fmt::format("class({}){}", t.classes ? syntax::to_source(*t.classes) : "?",
                       t.has_dims && !t.dims.empty() ? dims() : "");
  if (t.kind == K::tensor) return (t.name ? t.name->text : "") + (t.has_dims ? dims() : "");
  std::string out = t.kind == K::record ? "{" : "(";
  for (size_t i = 0; i < t.items.size(); ++i) {
    if (i) out += ", ";
    if (t.kind == K::record && i < t.field_names.size()) out += t.field_names[i].text + ": ";
    out += type_source(t.items[i]);
  }
  return out + (t.kind == K::record ? "}" : ")");
}

bool is_upper_name(const std::string& s) {
  // Upper-case letters beyond ASCII: Latin-1, Greek and Cyrillic capitals.
  if (s.empty()) return false;
  auto c = static_cast<unsigned char>(s[0]);
  if (c < 0x80) return c >= 'A' && c <= 'Z';
  if (s.size() < 2) return false;
  auto d = static_cast<unsigned char>(s[1]);
  return (c == 0xC3 && d >= 0x80 && d <= 0x9E) || (c == 0xCE && d >= 0x91 && d <= 0xA9) ||
         (c == 0xD0 && d >= 0x80 && d <= 0xAF);
}

void names_in(const ast::Expr& e, std::vector<const ast::NameExpr*>& out) {
  if (auto* n = ast::dyn<ast::NameExpr>(&e))
    out.push_back(n);
  else if (auto* b = ast::dyn<ast::BinaryExpr>(&e)) {
    names_in(*b->lhs, out);
    names_in(*b->rhs, out);
  } else if (auto* u = ast::dyn<ast::UnaryExpr>(&e))
    names_in(*u->operand, out);
  else if (auto* c = ast::dyn<ast::CallExpr>(&e))
    for (auto& a : c->args) names_in(*a.value, out);
  else if (auto* i = ast::dyn<ast::IndexExpr>(&e))
    names_in(*i->object, out);
  else if (auto* m = ast::dyn<ast::MemberExpr>(&e))
    names_in(*m->object, out);
}

constexpr const char* kUnknown = "?";

/// The value of a dim's expression. Names not known yet are symbols that begin with `?`.
std::optional<Dim> eval_dim(Evaluator& ev, const ast::Expr& e, const Evaluator::DimBindings& dims,
                            const std::shared_ptr<Scope>& scope) {
  auto inner = std::make_shared<Scope>(scope);
  std::vector<const ast::NameExpr*> names;
  names_in(e, names);
  for (auto* n : names) {
    if (auto bound = dims.find(n->name); bound != dims.end()) {
      inner->define(n->name, Value(bound->second, n->span), n->span);
      continue;
    }
    if (ev.impl->inferable.count(n->name)) {
      inner->define(n->name, Value(Dim::symbol(kUnknown + n->name), n->span), n->span);
      continue;
    }
    if (scope->find(n->name)) continue;
    if (is_upper_name(n->name)) {
      inner->define(n->name, Value(Dim::symbol(kUnknown + n->name), n->span), n->span);
      continue;
    }
    ev.error(Code::UnknownName, n->span, fmt::format("nothing is called `{}`", n->name))
        .help("a name that a signature binds starts with an upper-case letter");
    return std::nullopt;
  }
  // `H / 2` with a size of the argument: the exactness is checked when H is known.
  Value v = ev.eval(e, inner);
  if (v.is_poison()) return std::nullopt;
  if (v.get<Inferred>()) return Dim::symbol("?_");
  auto* d = v.get<Dim>();
  if (!d) {
    ev.error(v.get<RuntimeValue>() ? Code::NotStatic : Code::ArgumentType, e.span,
             fmt::format("a size is a static int, but this is {}", describe(v)));
    return std::nullopt;
  }
  return *d;
}

}  // namespace

std::vector<WrittenDim> written_dims(const ast::TypeExpr& t, const std::shared_ptr<Scope>& scope) {
  std::vector<WrittenDim> out;
  for (auto& d : t.dims) {
    auto* name = ast::dyn<ast::NameExpr>(d.expr.get());
    Scope::Entry* entry = name ? scope->find(name->name) : nullptr;
    auto list = entry ? entry->value.ptr<SequenceValue>() : nullptr;
    if (!list) {
      out.push_back({&d, std::nullopt});
      continue;
    }
    for (auto& item : list->items) {
      auto* size = item.get<Dim>();
      out.push_back({&d, size ? std::optional<Dim>(*size) : std::nullopt});
    }
  }
  return out;
}

namespace {

/// The parameter's name inside `what`, which is "`Linear`|x" for an argument, else "`x`" or "the result of …".
std::pair<std::string, std::string> split_what(const std::string& what) {
  size_t bar = what.find('|');
  if (bar == std::string::npos) return {what, ""};
  return {what.substr(0, bar), what.substr(bar + 1)};
}

DiagnosticBuilder mismatch(Evaluator& ev, Code code, const ast::TypeExpr& t, const std::string& wanted, const Value& v,
                           Span at, const std::string& what) {
  auto [owner, param] = split_what(what);
  std::string message;
  if (!param.empty())
    message = fmt::format("{} takes {} for `{}`, but is given {}", owner, wanted, param, describe(v));
  else
    message = fmt::format("{} is declared as {}, but is {}", owner, wanted, describe(v));
  auto d = ev.error(code, at, message);
  const auto& self = ev.context.self;
  if (ev.sources.file(t.span.file).is_library && self && !param.empty() && self->span.valid() &&
      !ev.sources.file(self->span.file).is_library)
    d.label(self->span, "made here");
  else
    d.label(t.span, "declared here");
  if (v.span.valid() && !(v.span == at) && !ev.sources.file(v.span.file).is_library)
    d.label(v.span, fmt::format("gives {}", describe(v)));
  return d;
}

/// The type with the sizes that are known put in.
std::string wanted_text(Evaluator& ev, const ast::TypeExpr& t, const Evaluator::DimBindings& dims,
                        const std::shared_ptr<Scope>& scope) {
  std::string source = type_source(t);
  if (t.kind != ast::TypeExpr::Kind::tensor && t.kind != ast::TypeExpr::Kind::klass) return source;
  size_t errors = ev.diags.all().size();
  std::string out = t.name && t.kind == ast::TypeExpr::Kind::tensor ? t.name->text : "";
  if (t.kind == ast::TypeExpr::Kind::klass) {
    out = source.substr(0, source.find('['));
    if (auto classes = t.classes ? eval_dim(ev, *t.classes, dims, scope) : std::nullopt;
        classes && classes->is_constant())
      out = fmt::format("class({})", classes->str());
    ev.diags.truncate(errors);
  }
  if (!t.has_dims) return t.kind == ast::TypeExpr::Kind::klass ? out : source;
  out += "[";
  bool first = true;
  for (auto& [dim, fixed] : written_dims(t, scope)) {
    if (!first) out += ", ";
    first = false;
    const auto& d = *dim;
    if (fixed) {
      out += fixed->str();
      continue;
    }
    if (d.kind == ast::DimExpr::Kind::any) {
      out += "_";
      continue;
    }
    if (d.kind == ast::DimExpr::Kind::rest) {
      out += "..";
      continue;
    }
    auto value = eval_dim(ev, *d.expr, dims, scope);
    bool known = value.has_value();
    if (value)
      for (auto& s : value->symbols()) known &= s[0] != '?';
    out += known ? value->str() : syntax::to_source(*d.expr);
  }
  ev.diags.truncate(errors);
  return out + "]";
}

bool match_dims(Evaluator& ev, const ast::TypeExpr& t, Value& v, Evaluator::DimBindings& dims,
                const std::shared_ptr<Scope>& scope, Span at, const std::string& what) {
  const TensorValue& x = *v.get<TensorValue>();
  const std::vector<WrittenDim> written = written_dims(t, scope);
  size_t rest = written.size();
  for (size_t i = 0; i < written.size(); ++i)
    if (written[i].dim->kind == ast::DimExpr::Kind::rest) rest = i;
  bool has_rest = rest < written.size();
  size_t fixed = written.size() - (has_rest ? 1 : 0);
  const graph::Shape& shape = x.type.shape;
  auto wrong = [&] { return mismatch(ev, Code::ShapeMismatch, t, wanted_text(ev, t, dims, scope), v, at, what); };
  if (has_rest ? shape.size() < fixed : shape.size() != fixed) {
    wrong();
    return false;
  }
  size_t rest_count = shape.size() - fixed;
  if (has_rest) {
    // `..` is the same dims wherever it is written in one signature.
    auto count = dims.find("..#");
    graph::Shape now(shape.begin() + static_cast<std::ptrdiff_t>(rest),
                     shape.begin() + static_cast<std::ptrdiff_t>(rest + rest_count));
    if (count == dims.end()) {
      dims["..#"] = Dim(static_cast<int64_t>(rest_count));
      for (size_t i = 0; i < rest_count; ++i) dims[fmt::format("..{}", i)] = now[i];
    } else {
      bool same = count->second == Dim(static_cast<int64_t>(rest_count));
      graph::Shape before;
      for (int64_t i = 0; i < count->second.value(); ++i) before.push_back(dims[fmt::format("..{}", i)]);
      for (size_t i = 0; same && i < rest_count; ++i) same = before[i] == now[i];
      if (!same) {
        wrong().note(fmt::format("`..` is {} here, and was {} before", graph::str(now), graph::str(before)));
        return false;
      }
    }
  }
  for (size_t i = 0, axis = 0; i < written.size(); ++i) {
    if (i == rest) {
      axis += rest_count;
      continue;
    }
    const ast::DimExpr& d = *written[i].dim;
    const Dim& size = shape[axis++];
    if (d.kind == ast::DimExpr::Kind::any || !d.expr) continue;
    auto want = written[i].size ? written[i].size : eval_dim(ev, *d.expr, dims, scope);
    if (!want) return false;
    std::vector<std::string> unknown;
    for (auto& s : want->symbols())
      if (s[0] == '?') unknown.push_back(s);
    if (unknown.empty()) {
      if (*want == size) continue;
      auto e = wrong();
      if (auto* n = ast::dyn<ast::NameExpr>(d.expr.get()); n && dims.count(n->name))
        e.note(fmt::format("`{}` is {} already", n->name, want->str()));
      return false;
    }
    if (unknown.size() == 1 && unknown[0] == "?_") continue;
    auto solved = unknown.size() == 1 ? want->solve(size) : std::nullopt;
    if (!solved) {
      wrong().note(unknown.size() == 1
                       ? fmt::format("no `{}` makes `{}` equal to {}", unknown[0].substr(1), syntax::to_source(*d.expr),
                                     size.str())
                       : fmt::format("`{}` has more than one unknown size", syntax::to_source(*d.expr)));
      return false;
    }
    dims[solved->first.substr(1)] = solved->second;
  }
  return true;
}

}  // namespace

bool Evaluator::match_type(const ast::TypeExpr& t, Value& v, DimBindings& dims, const std::shared_ptr<Scope>& scope,
                           Span at, const std::string& what) {
  if (v.is_poison()) return true;
  using K = ast::TypeExpr::Kind;
  auto wrong = [&](Code code = Code::ArgumentType) {
    return mismatch(*this, code, t, wanted_text(*this, t, dims, scope), v, at, what);
  };
  if (t.kind == K::tuple) {
    auto s = v.ptr<SequenceValue>();
    if (!s || s->is_list || s->items.size() != t.items.size()) {
      wrong();
      return false;
    }
    for (size_t i = 0; i < t.items.size(); ++i)
      if (!match_type(t.items[i], s->items[i], dims, scope, at, what)) return false;
    return true;
  }
  if (t.kind == K::record) {
    auto r = v.ptr<RecordValue>();
    if (!r) {
      wrong();
      return false;
    }
    for (size_t i = 0; i < t.items.size() && i < t.field_names.size(); ++i) {
      bool found = false;
      for (size_t k = 0; k < r->names.size(); ++k) {
        if (r->names[k] != t.field_names[i].text) continue;
        found = true;
        if (!match_type(t.items[i], r->items[k], dims, scope, at, what)) return false;
      }
      if (!found) {
        wrong().note(fmt::format("the record has no field `{}`", t.field_names[i].text));
        return false;
      }
    }
    return true;
  }
  if (t.kind == K::tensor && !t.has_dims && t.name) {
    const std::string& n = t.name->text;
    auto* r = v.get<RuntimeValue>();
    if (n == "int" || n == "float" || n == "bool" || n == "str") {
      if (v.get<Inferred>()) return true;
      if (auto* x = v.get<TensorValue>(); x && x->type.rank() == 0 && !context.tensor_code) {
        v = to_host(v, at);
        r = v.get<RuntimeValue>();
        if (v.is_poison()) return false;
      }
      bool ok = false;
      if (n == "int") ok = v.get<Dim>() || (r && r->type.kind == Kind::integer);
      if (n == "bool") ok = v.get<bool>() || (r && r->type.kind == Kind::boolean);
      if (n == "str") ok = v.get<std::string>() || (r && r->type.kind == Kind::str);
      if (n == "float") {
        ok = v.get<double>() || (r && r->type.kind == Kind::floating);
        if (auto* d = v.get<Dim>()) {
          if (d->is_constant()) v = Value(static_cast<double>(d->value()), v.span);
          ok = true;
        } else if (r && r->type.kind == Kind::integer) {
          host::Reg dst = new_reg(host_type(Kind::floating));
          host::Instr& i = emit_pure(host::Op::unary, at);
          i.name = "float";
          i.args = {r->reg};
          i.dst = dst;
          v = runtime_value(dst, host_type(Kind::floating), v.span);
          ok = true;
        }
      }
      if (!ok) {
        auto d = wrong();
        if (n == "int" && (v.get<double>() || (r && r->type.kind == Kind::floating)))
          d.help("a float never becomes an int by itself: `int(x)` cuts it off");
      }
      return ok;
    }
    if (!graph::dtype_from_name(n)) {
      std::vector<std::string> known = {"int", "float", "bool", "str",  "u8",  "i8", "i16",
                                        "i32", "i64",   "f16",  "bf16", "f32", "f64"};
      auto d = error(Code::UnknownName, t.name->span, fmt::format("there is no type `{}`", n));
      if (auto near = nearest(n, known)) d.help(fmt::format("did you mean `{}`?", *near));
      return false;
    }
  }
  // Tensors; numbers become rank-0 ones.
  graph::DType dtype = graph::DType::f32;
  if (t.kind == K::klass)
    dtype = graph::DType::i32;
  else if (t.name) {
    auto found = graph::dtype_from_name(t.name->text);
    if (!found) {
      std::vector<std::string> known = {"bool", "u8", "i8", "i16", "i32", "i64", "f16", "bf16", "f32", "f64"};
      auto d = error(Code::UnknownName, t.name->span, fmt::format("there is no element type `{}`", t.name->text));
      if (auto near = nearest(t.name->text, known)) d.help(fmt::format("did you mean `{}`?", *near));
      return false;
    }
    dtype = *found;
  }
  if (!v.get<TensorValue>()) {
    bool number = v.get<Dim>() || v.get<double>() || v.get<bool>() || v.get<RuntimeValue>();
    if (!number || !t.dims.empty() || t.kind == K::klass) {
      wrong();
      return false;
    }
    auto x = to_tensor(v, dtype, at);
    if (!x) return false;
    v = Value(*x, v.span);
  }
  const TensorValue& x = *v.get<TensorValue>();
  if (t.kind == K::klass) {
    if (!x.classes) {
      const std::string wanted = wanted_text(*this, t, dims, scope);
      auto d = wrong();
      if (graph::is_int(x.type.dtype))
        d.help(fmt::format("cast it, which checks the range: `cast(x, {})`", wanted.substr(0, wanted.find('['))));
      return false;
    }
    if (t.classes) {
      auto want = eval_dim(*this, *t.classes, dims, scope);
      if (!want) return false;
      std::vector<std::string> unknown;
      for (auto& s : want->symbols())
        if (s[0] == '?') unknown.push_back(s);
      if (unknown.empty()) {
        if (!(*want == *x.classes)) {
          wrong(Code::ClassMismatch);
          return false;
        }
      } else if (auto solved = want->solve(*x.classes)) {
        if (solved->first != "?_") dims[solved->first.substr(1)] = solved->second;
      } else {
        wrong(Code::ClassMismatch);
        return false;
      }
    }
  } else if (x.classes || x.type.dtype != dtype) {
    auto d = wrong();
    if (x.classes)
      d.help("class indices become numbers by `i64(x)`, and vectors by `one_hot(x)`");
    else
      d.help(fmt::format("`{}(x)` converts it", graph::name(dtype)));
    return false;
  }
  return match_dims(*this, t, v, dims, scope, at, what);
}

}  // namespace nnlc::sema
