// Bindings and assignments: patterns, vars in registers, elements of lists.
#include <fmt/format.h>

#include "compiler/sema/builtins.h"
#include "compiler/sema/statements.h"
#include "compiler/sema/training.h"

namespace nnlc::sema {

using ast::Stmt;
using host::Op;
using host::Reg;
using Kind = host::Type::Kind;

bool Evaluator::bind(const ast::Pattern& p, Value v, const std::shared_ptr<Scope>& scope, bool is_var) {
  using K = ast::Pattern::Kind;
  if (p.kind == K::ignore) return true;
  if (p.kind == K::name) {
    Scope::Entry* old = scope->find_here(p.name.text);
    if (old && !old->declared_later && old->span.valid() && !(old->span == p.name.span)) {
      error(Code::DuplicateName, p.name.span, fmt::format("`{}` is declared twice in this scope", p.name.text))
          .label(old->span, "first here")
          .help(old->is_var ? fmt::format("to change the var, leave the `let` out: `{} = …`", p.name.text)
                            : "give it another name");
      return false;
    }
    Scope::Entry& e = scope->define(p.name.text, std::move(v), p.name.span);
    e.is_var = is_var;
    e.tensor_code = context.tensor_code;
    return true;
  }
  auto poison_all = [&](auto&& self, const ast::Pattern& q) -> void {
    if (q.kind == K::name) scope->define(q.name.text, Poison{}, q.name.span);
    for (auto& i : q.items) self(self, i);
  };
  if (v.is_poison()) {
    poison_all(poison_all, p);
    return true;
  }
  std::vector<Value> items;
  if (auto s = v.ptr<SequenceValue>()) {
    items = s->items;
  } else if (auto* t = v.get<TensorValue>(); t && t->type.rank() > 0 && t->type.shape[0].is_constant()) {
    error(Code::PatternMismatch, p.span,
          fmt::format("the pattern has {} parts, but the value is {}", p.items.size(), describe(v)))
        .help("`unbind(x)` makes a list of the rows");
    poison_all(poison_all, p);
    return false;
  } else {
    auto d = error(Code::PatternMismatch, p.span,
                   fmt::format("the pattern has {} parts, but the value is {}", p.items.size(), describe(v)));
    if (v.span.valid() && !(v.span == p.span)) d.label(v.span, "the value");
    poison_all(poison_all, p);
    return false;
  }
  if (items.size() != p.items.size()) {
    error(Code::PatternMismatch, p.span,
          fmt::format("the pattern has {} parts, but the value is {}", p.items.size(), describe(v)))
        .label(v.span, fmt::format("is {}", describe(v)));
    poison_all(poison_all, p);
    return false;
  }
  bool ok = true;
  for (size_t i = 0; i < items.size(); ++i) ok &= bind(p.items[i], items[i], scope, is_var);
  return ok;
}

bool same_type(const host::Type& want, const host::Type& got) {
  if (want == got) return true;
  if (want.kind != got.kind) return false;
  if (want.kind == Kind::list) return want.items.empty() || got.items.empty() || same_type(want.items[0], got.items[0]);
  if (want.kind == Kind::tuple || want.kind == Kind::record) {
    if (want.items.size() != got.items.size() || want.names != got.names) return false;
    for (size_t i = 0; i < want.items.size(); ++i)
      if (!same_type(want.items[i], got.items[i])) return false;
    return true;
  }
  if (want.kind == Kind::tensor) return want.tensor == got.tensor && (want.classes == 0 || want.classes == got.classes);
  return true;
}

void assign_entry(Evaluator& ev, Scope::Entry& e, const std::string& name, Value v, Span span) {
  ++ev.impl->effects;
  if (v.is_poison()) {
    if (e.slot == host::kNoReg) e.value = Poison{};
    return;
  }
  if (e.slot == host::kNoReg) {
    e.value = std::move(v);
    return;
  }
  if (ev.context.tensor_code) {
    ev.error(Code::HostEffectInTensorCode, span,
             fmt::format("`{}` is a var of the program, and tensor code can't assign it", name))
        .label(e.span, "declared here")
        .help("let the block give the value, and assign it outside");
    return;
  }
  // A scalar tensor is read back into a number.
  bool number =
      e.slot_type.kind == Kind::integer || e.slot_type.kind == Kind::floating || e.slot_type.kind == Kind::boolean;
  if (auto* t = v.get<TensorValue>(); t && number && t->type.rank() == 0) v = ev.to_host(v, span);
  host::Type type = ev.type_of(v);
  Reg from = host::kNoReg;
  if (e.slot_type.kind == Kind::floating && type.kind == Kind::integer) {
    Reg i = ev.reg_of(v, span);
    from = ev.new_reg(e.slot_type);
    host::Instr& convert = ev.emit_pure(Op::unary, span);
    convert.name = "float";
    convert.args = {i};
    convert.dst = from;
  } else if (!same_type(e.slot_type, type)) {
    ev.error(Code::VarType, span,
             fmt::format("`{}` is {}, and can't become {} here", name, e.slot_type.str(),
                         type.kind == Kind::none ? describe(v) : type.str()))
        .label(e.span, fmt::format("declared as {}", e.slot_type.str()))
        .note("in a run-time loop or branch a var keeps its type");
    return;
  } else {
    if (e.slot_type.kind == Kind::list && e.slot_type.items.empty() && !type.items.empty()) {
      e.slot_type = type;
      ev.program->registers[e.slot] = type;
    }
    from = ev.reg_of(v, span);
  }
  host::Instr& copy = ev.emit_pure(Op::copy, span);
  copy.dst = e.slot;
  copy.args = {from};
}

namespace {

void assign_index(Evaluator& ev, const ast::IndexExpr& target, Value v, const std::shared_ptr<Scope>& scope,
                  Span span) {
  auto* n = ast::dyn<ast::NameExpr>(target.object.get());
  Scope::Entry* e = n ? scope->find(n->name) : nullptr;
  if (!e || !e->is_var || target.subscripts.size() != 1 || target.subscripts[0].kind != ast::Subscript::Kind::expr) {
    ev.error(Code::AssignTarget, target.span, "only an element of a `var` can be assigned, by one index")
        .help("tensors are values: build the new one, for example with `where` or `concat`");
    return;
  }
  Value object = read_entry(ev, *e, n->name, target.span);
  Value index = ev.to_host(ev.eval(*target.subscripts[0].expr, scope), target.subscripts[0].span);
  if (object.is_poison() || index.is_poison() || v.is_poison()) return;
  auto list = object.ptr<SequenceValue>();
  if (auto i = static_int(index); i && list && list->is_list) {
    auto size = static_cast<int64_t>(list->items.size());
    if (*i < -size || *i >= size) {
      ev.error(Code::IndexOutOfRange, target.subscripts[0].span,
               fmt::format("the list has {} items, so there is no item {}", size, *i));
      return;
    }
    auto copy = std::make_shared<SequenceValue>(*list);
    copy->items[static_cast<size_t>(*i < 0 ? *i + size : *i)] = std::move(v);
    assign_entry(ev, *e, n->name, Value(copy, e->value.span), span);
    return;
  }
  host::Type type = ev.type_of(object);
  if (type.kind != Kind::list && type.kind != Kind::tensor) {
    ev.error(Code::AssignTarget, target.span, fmt::format("an element of {} can't be assigned", describe(object)));
    return;
  }
  if (!host_effect(ev, span, "an assignment to an element")) return;
  if (type.kind == Kind::list && !type.items.empty() && type.items[0].kind == Kind::floating &&
      ev.type_of(v).kind == Kind::integer)
    v = ev.binary(ast::BinaryOp::mul, v, Value(1.0), span, span, span);
  if (type.kind == Kind::list && type.items.size() == 1 && type.items[0].kind != Kind::tensor) v = ev.to_host(v, span);
  Reg o = ev.reg_of(object, span), i = ev.reg_of(index, span), x = ev.reg_of(v, span);
  Reg dst = ev.new_reg(type);
  emit_call(ev, type.kind == Kind::list ? "list_set" : "tensor_set", {o, i, x}, dst, span);
  assign_entry(ev, *e, n->name, ev.from_reg(dst, type, span), span);
}

}  // namespace

void exec_assign(Evaluator& ev, const ast::AssignStmt& s, const std::shared_ptr<Scope>& scope) {
  Value v = ev.eval(*s.value, scope);
  if (auto* n = ast::dyn<ast::NameExpr>(s.target.get())) {
    Scope::Entry* e = scope->find(n->name);
    if (!e) {
      unknown_name(ev, n->name, scope, n->span);
      return;
    }
    if (e->param) {
      if (e->param->learned) {
        ev.error(Code::AssignTarget, n->span,
                 fmt::format("`{}` is a param: the optimizer changes it, `forward` can't", n->name))
            .label(e->param->span, "declared here")
            .help("a `state` can be assigned in `forward`");
        return;
      }
      if (v.is_poison() || (ev.context.self && ev.context.self->frozen)) return;
      auto t = ev.to_tensor(v, e->param->type.dtype, s.value->span);
      if (!t) return;
      if (t->type != e->param->type) {
        ev.error(Code::ShapeMismatch, s.value->span,
                 fmt::format("the state `{}` is {}, and can't become {}", n->name, e->param->type.str(), t->type.str()))
            .label(e->param->span, "declared here");
        return;
      }
      ev.write_back(e->param->reg, *t);
      return;
    }
    if (!e->is_var) {
      auto d = ev.error(Code::AssignTarget, n->span, fmt::format("`{}` can't be assigned", n->name));
      if (e->span.valid()) d.label(e->span, "it is bound here, once and for all");
      d.help("`let`, loop variables and sizes keep their value; a `var` can be assigned");
      return;
    }
    assign_entry(ev, *e, n->name, std::move(v), s.span);
    return;
  }
  if (auto* m = ast::dyn<ast::MemberExpr>(s.target.get())) {
    Value object = ev.eval(*m->object, scope);
    if (object.is_poison() || v.is_poison()) return;
    if (auto layer = object.ptr<LayerInstance>()) {
      if (!build_layer(ev, layer)) return;
      for (auto& [name, member] : layer->members) {
        if (name != m->name.text) continue;
        auto old = member.ptr<LayerInstance>();
        if (!v.ptr<LayerInstance>() && !v.ptr<SequenceValue>()) {
          auto d = ev.error(Code::AssignTarget, s.value->span,
                            fmt::format("`{}` is a layer, and can't become {}", name, describe(v)));
          if (Scope::Entry* declared = layer->scope ? layer->scope->find_here(name) : nullptr)
            d.label(declared->span, "declared here");
          return;
        }
        if (layer->used || (old && old->used)) {
          ev.error(Code::AssignTarget, s.span, fmt::format("`{}` can't be replaced any more", name))
              .label(layer->used_at.valid() ? layer->used_at : layer->span,
                     layer->used_at.valid() ? "used here already" : "the layer was used already")
              .help("replace a member before the first use of its layer");
          return;
        }
        member = v;
        adopt(ev, *layer, name, v);
        if (Scope::Entry* e = layer->scope->find_here(name)) e->value = v;
        return;
      }
    }
    if (ev.training_assign(object, m->name, v, s.span)) return;
    ev.error(Code::AssignTarget, m->name.span,
             fmt::format("`{}` of {} can't be assigned", m->name.text, describe(object)));
    return;
  }
  if (auto* i = ast::dyn<ast::IndexExpr>(s.target.get())) {
    assign_index(ev, *i, std::move(v), scope, s.span);
    return;
  }
  ev.error(Code::AssignTarget, s.target->span, "this can't be assigned");
}

}  // namespace nnlc::sema
