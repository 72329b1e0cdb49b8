// What a block contains: the vars that it assigns, jumps and returns.
#include <fmt/format.h>

#include "compiler/sema/builtins.h"
#include "compiler/sema/statements.h"
#include "compiler/sema/training.h"

namespace nnlc::sema {

using ast::Stmt;
using host::Op;
using host::Reg;
using Kind = host::Type::Kind;

namespace {

/// Calls `on` for every expression and statement at or below.
struct Walker {
  std::function<void(const Stmt&)> on_stmt = [](const Stmt&) {};
  std::function<bool(const ast::Expr&)> on_expr = [](const ast::Expr&) { return true; };  ///< false: not below it

  void block(const ast::Block& b) {
    for (auto& s : b.stmts) stmt(*s);
  }
  void stmt(const Stmt& s) {
    on_stmt(s);
    switch (s.kind) {
      case Stmt::Kind::let:
        expr(ast::as<ast::LetStmt>(s).value.get());
        break;
      case Stmt::Kind::var:
        expr(ast::as<ast::VarStmt>(s).value.get());
        break;
      case Stmt::Kind::for_:
        expr(ast::as<ast::ForStmt>(s).iterable.get());
        block(ast::as<ast::ForStmt>(s).body);
        break;
      case Stmt::Kind::while_:
        expr(ast::as<ast::WhileStmt>(s).condition.get());
        block(ast::as<ast::WhileStmt>(s).body);
        break;
      case Stmt::Kind::return_:
        expr(ast::as<ast::ReturnStmt>(s).value.get());
        break;
      case Stmt::Kind::assign:
        expr(ast::as<ast::AssignStmt>(s).value.get());
        expr(ast::as<ast::AssignStmt>(s).target.get());
        break;
      case Stmt::Kind::expr:
        expr(ast::as<ast::ExprStmt>(s).value.get());
        break;
      default:
        break;
    }
  }
  void expr(const ast::Expr* e) {
    using K = ast::Expr::Kind;
    if (!e || !on_expr(*e)) return;
    switch (e->kind) {
      case K::tuple:
        for (auto& i : ast::as<ast::TupleExpr>(*e).items) expr(i.get());
        break;
      case K::list:
        for (auto& i : ast::as<ast::ListExpr>(*e).items) expr(i.get());
        break;
      case K::comprehension:
        expr(ast::as<ast::ComprehensionExpr>(*e).iterable.get());
        expr(ast::as<ast::ComprehensionExpr>(*e).value.get());
        break;
      case K::record:
        for (auto& i : ast::as<ast::RecordExpr>(*e).entries) expr(i.value.get());
        break;
      case K::unary:
        expr(ast::as<ast::UnaryExpr>(*e).operand.get());
        break;
      case K::binary:
        expr(ast::as<ast::BinaryExpr>(*e).lhs.get());
        expr(ast::as<ast::BinaryExpr>(*e).rhs.get());
        break;
      case K::range:
        expr(ast::as<ast::RangeExpr>(*e).lo.get());
        expr(ast::as<ast::RangeExpr>(*e).hi.get());
        break;
      case K::pipe:
        expr(ast::as<ast::PipeExpr>(*e).lhs.get());
        expr(ast::as<ast::PipeExpr>(*e).rhs.get());
        break;
      case K::member:
        expr(ast::as<ast::MemberExpr>(*e).object.get());
        break;
      case K::call: {
        auto& c = ast::as<ast::CallExpr>(*e);
        expr(c.callee.get());
        for (auto& a : c.args) expr(a.value.get());
        if (c.lambda) block(c.lambda->body);
        break;
      }
      case K::index: {
        auto& x = ast::as<ast::IndexExpr>(*e);
        expr(x.object.get());
        for (auto& s : x.subscripts) {
          expr(s.expr.get());
          expr(s.lo.get());
          expr(s.hi.get());
          expr(s.step.get());
        }
        break;
      }
      case K::if_: {
        auto& i = ast::as<ast::IfExpr>(*e);
        expr(i.condition.get());
        block(i.then_block);
        if (i.else_block) block(*i.else_block);
        break;
      }
      case K::block_call: {
        auto& b = ast::as<ast::BlockCallExpr>(*e);
        for (auto& a : b.args) expr(a.value.get());
        block(b.body);
        break;
      }
      case K::for_:
        expr(ast::as<ast::ForExpr>(*e).iterable.get());
        block(ast::as<ast::ForExpr>(*e).body);
        break;
      case K::lambda:
        block(ast::as<ast::LambdaExpr>(*e).body);
        break;
      default:
        break;
    }
  }
};

/// The variable at the root of a target: `xs` of `xs[0]` and `r.a`.
const ast::NameExpr* root_name(const ast::Expr* e) {
  while (e) {
    if (auto* n = ast::dyn<ast::NameExpr>(e)) return n;
    if (auto* i = ast::dyn<ast::IndexExpr>(e))
      e = i->object.get();
    else
      return nullptr;
  }
  return nullptr;
}

}  // namespace

bool contains_return(const ast::Block& b) {
  bool found = false;
  Walker w;
  w.on_stmt = [&](const Stmt& s) { found |= s.kind == Stmt::Kind::return_; };
  w.block(b);
  return found;
}

bool contains_jump(const ast::Block& b) {
  bool found = false;
  Walker w;
  w.on_stmt = [&](const Stmt& s) { found |= s.kind == Stmt::Kind::break_ || s.kind == Stmt::Kind::continue_; };
  w.block(b);
  return found;
}

std::vector<std::string> assigned_names(const std::vector<const ast::Block*>& blocks) {
  std::vector<std::string> assigned;
  Walker w;
  w.on_stmt = [&](const Stmt& s) {
    if (auto* a = ast::dyn<ast::AssignStmt>(&s))
      if (auto* n = root_name(a->target.get())) assigned.push_back(n->name);
  };
  for (auto* b : blocks) w.block(*b);
  return assigned;
}

void prepare_slots(Evaluator& ev, const std::vector<const ast::Block*>& blocks, const std::shared_ptr<Scope>& scope,
                   Span span) {
  Walker w;
  std::vector<const ast::Expr*> frozen;
  w.on_expr = [&](const ast::Expr& e) {
    auto* call = ast::dyn<ast::CallExpr>(&e);
    if (!call) return true;
    auto is_freeze = [](const std::string& name) { return name == "freeze" || name == "unfreeze"; };
    if (auto* n = ast::dyn<ast::NameExpr>(call->callee.get()); n && is_freeze(n->name) && !call->args.empty())
      frozen.push_back(call->args[0].value.get());
    if (auto* m = ast::dyn<ast::MemberExpr>(call->callee.get()); m && is_freeze(m->name.text))
      frozen.push_back(m->object.get());
    return true;
  };
  for (auto* b : blocks) w.block(*b);
  if (!frozen.empty() && !ev.context.dry && !ev.context.tensor_code) prepare_freezing(ev, frozen, scope, span);
  for (const std::string& name : assigned_names(blocks)) {
    Scope::Entry* e = scope->find(name);
    if (!e || !e->is_var || e->slot != host::kNoReg || e->param || e->value.is_poison()) continue;
    host::Type type = ev.type_of(e->value);
    if (type.kind == Kind::none && !e->value.is_none()) {
      ev.error(Code::HostValueNeeded, e->span,
               fmt::format("`{}` is {}, which can't be assigned while the program runs", name, describe(e->value)))
          .label(span, "assigned in here");
      e->value = Poison{};
      continue;
    }
    Reg from = ev.reg_of(e->value, span);
    Reg slot = ev.new_reg(type);
    host::Instr& i = ev.emit_pure(Op::copy, span);
    i.dst = slot;
    i.args = {from};
    e->slot = slot;
    e->slot_type = type;
  }
}

}  // namespace nnlc::sema
