// Statements.
#include <fmt/format.h>

#include <utility>

#include "compiler/sema/builtins.h"
#include "compiler/sema/statements.h"
#include "compiler/sema/training.h"

namespace nnlc::sema {

using ast::Stmt;
using host::Op;
using host::Reg;
using Kind = host::Type::Kind;

namespace {

/// Rule 5: a call without an effect, whose value nothing uses.
void refuse_unused(Evaluator& ev, const ast::Expr& e, const Value& v) {
  if (e.kind != ast::Expr::Kind::call && e.kind != ast::Expr::Kind::pipe) return;
  auto* run = v.get<RuntimeValue>();
  const bool is_list = v.ptr<SequenceValue>() || (run && run->type.kind == Kind::list);
  const bool is_value = is_list || v.get<TensorValue>() || v.get<graph::Dim>() || v.get<double>() || v.get<bool>() ||
                        v.get<std::string>() || v.ptr<RecordValue>() || v.ptr<LayerInstance>();
  if (!is_value || ev.context.dry || ev.sources.file(e.span.file).is_library) return;
  auto d = ev.error(Code::UnusedValue, e.span, "this value is not used");
  d.note("the call has no effect besides its value");
  auto* call = ast::dyn<ast::CallExpr>(&e);
  auto* method = call ? ast::dyn<ast::MemberExpr>(call->callee.get()) : nullptr;
  auto* object = method ? ast::dyn<ast::NameExpr>(method->object.get()) : nullptr;
  if (is_list && object)
    d.help(fmt::format("lists are values: `{0} = {0}.{1}(…)` changes the variable", object->name, method->name.text));
  else
    d.help("`let y = …` keeps it, `let _ = …` drops it");
}

}  // namespace

void Evaluator::exec(const Stmt& s, const std::shared_ptr<Scope>& scope) {
  Span outer = impl->statement;
  const bool last = std::exchange(impl->last_of_block, false);
  if (!context.tensor_code && user_span(s.span) == s.span) impl->statement = s.span;
  switch (s.kind) {
    case Stmt::Kind::let: {
      auto& l = ast::as<ast::LetStmt>(s);
      Value v = eval(*l.value, scope);
      DimBindings dims;
      if (l.type && !v.is_poison()) {
        std::string what =
            l.pattern.kind == ast::Pattern::Kind::name ? fmt::format("`{}`", l.pattern.name.text) : "the value";
        if (!match_type(*l.type, v, dims, scope, l.value->span, what)) v = Poison{};
        for (auto& [name, size] : dims)
          if (name[0] != '.') scope->define(name, Value(size, l.type->span), l.type->span).used = true;
      }
      bind(l.pattern, std::move(v), scope, false);
      break;
    }
    case Stmt::Kind::var: {
      auto& l = ast::as<ast::VarStmt>(s);
      Value v = eval(*l.value, scope);
      DimBindings dims;
      if (l.type && !v.is_poison() &&
          !match_type(*l.type, v, dims, scope, l.value->span, fmt::format("`{}`", l.name.text)))
        v = Poison{};
      ast::Pattern p;
      p.name = l.name;
      p.span = l.name.span;
      bind(p, std::move(v), scope, true);
      break;
    }
    case Stmt::Kind::fn: {
      auto& f = ast::as<ast::FnStmt>(s);
      scope->define(f.name.text, Value(FunctionValue{&f, scope, nullptr}, f.name.span), f.name.span);
      impl->closures.push_back(scope);
      break;
    }
    case Stmt::Kind::for_:
      exec_for(*this, ast::as<ast::ForStmt>(s), scope);
      break;
    case Stmt::Kind::while_:
      exec_while(*this, ast::as<ast::WhileStmt>(s), scope);
      break;
    case Stmt::Kind::return_:
      exec_return(*this, ast::as<ast::ReturnStmt>(s), scope);
      break;
    case Stmt::Kind::break_:
      exec_jump(*this, true, s.span);
      break;
    case Stmt::Kind::continue_:
      exec_jump(*this, false, s.span);
      break;
    case Stmt::Kind::assign:
      exec_assign(*this, ast::as<ast::AssignStmt>(s), scope);
      break;
    case Stmt::Kind::expr: {
      auto& e = ast::as<ast::ExprStmt>(s);
      if (auto* i = ast::dyn<ast::IfExpr>(e.value.get()))
        eval_if(*this, *i, scope, false);
      else {
        const uint64_t effects = impl->effects;
        Value v = eval(*e.value, scope);
        if (!last && impl->effects == effects) refuse_unused(*this, *e.value, v);
      }
      break;
    }
    default:
      error(Code::MisplacedStatement, s.span, "this stands only at the top level of a file");
  }
  impl->statement = outer;
}

Value eval_block_in(Evaluator& ev, const ast::Block& b, const std::shared_ptr<Scope>& scope, bool want) {
  auto& im = *ev.impl;
  for (size_t i = 0; i < b.stmts.size(); ++i) {
    const Stmt& s = *b.stmts[i];
    if (i + 1 == b.stmts.size() && want)
      if (auto* e = ast::dyn<ast::ExprStmt>(&s)) {
        Span outer = im.statement;
        if (!ev.context.tensor_code && ev.user_span(s.span) == s.span) im.statement = s.span;
        Value v = ev.eval(*e->value, scope);
        im.statement = outer;
        return v;
      }
    // A check of the library that failed: what follows would only say it again.
    auto* check = ast::dyn<ast::ExprStmt>(&s);
    if (check && check->value->kind == ast::Expr::Kind::call && ev.sources.file(s.span.file).is_library) {
      if (ev.eval(*check->value, scope).is_poison()) return Poison{};
      continue;
    }
    im.last_of_block = i + 1 == b.stmts.size();
    ev.exec(s, scope);
    if (im.flow != Flow::go) return Value(NoneValue{}, s.span);
  }
  return Value(NoneValue{}, b.span);
}

}  // namespace nnlc::sema
