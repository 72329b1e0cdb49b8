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
  for (const Diagnostic& d : ev.diags.all())
    if (d.code == Code::RecursiveCall) return true;  // the cycle is known
  std::string cycle;
  for (size_t i = static_cast<size_t>(at - calls.begin()); i < ev.frames.size() && i < calls.size(); ++i)
    cycle += ev.frames[i].name + " -> ";
  ev.error(Code::RecursiveCall, span, fmt::format("`{}` calls itself", name)).note("the cycle: " + cycle + name);
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
  v = join_returns(ev, target, std::move(v), span);
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

std::string argument_name(const std::string& owner, const ast::FnStmt& f, const ast::Param& p, bool is_layer) {
  return owner + "|" + (is_layer && f.params.size() == 1 ? "" : p.name.text);
}

Value call_function(Evaluator& ev, const FunctionValue& f, std::vector<ArgValue> args, Span span, Span callee_span) {
  const ast::FnStmt& decl = *f.decl;
  const std::string& name = decl.name.text;
  ev.impl->called.insert(&decl);
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
  if (f.self) {
    ev.context.caller = ev.context.self;
    ev.context.self = f.self;
  }
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
      ok = ev.match_type(*p.type, v, dims, scope, at, argument_name(what, decl, p, f.self != nullptr));
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

}  // namespace nnlc::sema
