// Statements and host control flow: bindings, vars in registers, loops of every kind, folds.
#include <fmt/format.h>

#include "compiler/sema/builtins.h"
#include "compiler/sema/impl.h"
#include "compiler/sema/training.h"

namespace nnlc::sema {

using ast::Stmt;
using host::Op;
using host::Reg;
using Kind = host::Type::Kind;

// ---------------------------------------------------------------- what a block contains

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

bool contains_jump(const ast::Block& b, bool) {
  bool found = false;
  Walker w;
  w.on_stmt = [&](const Stmt& s) { found |= s.kind == Stmt::Kind::break_ || s.kind == Stmt::Kind::continue_; };
  w.block(b);
  return found;
}

void prepare_slots(Evaluator& ev, const std::vector<const ast::Block*>& blocks, const std::shared_ptr<Scope>& scope,
                   Span span) {
  std::vector<std::string> assigned;
  Walker w;
  w.on_stmt = [&](const Stmt& s) {
    if (auto* a = ast::dyn<ast::AssignStmt>(&s))
      if (auto* n = root_name(a->target.get())) assigned.push_back(n->name);
  };
  for (auto* b : blocks) w.block(*b);
  for (const std::string& name : assigned) {
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

// ---------------------------------------------------------------- binding and assigning

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

namespace {

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

std::string text_of(const host::Type& t) { return t.str(); }

}  // namespace

void assign_entry(Evaluator& ev, Scope::Entry& e, const std::string& name, Value v, Span span) {
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
             fmt::format("`{}` is {}, and can't become {} here", name, text_of(e.slot_type),
                         type.kind == Kind::none ? describe(v) : text_of(type)))
        .label(e.span, fmt::format("declared as {}", text_of(e.slot_type)))
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
      d.help(fmt::format("declare it with `var {}` if it changes", n->name));
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
        if (layer->used) {
          ev.error(Code::AssignTarget, s.span, fmt::format("`{}` can't be replaced any more", name))
              .label(layer->span, "the layer was used already")
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

// ---------------------------------------------------------------- loops

/// A loop whose body is a run-time block: pushes and pops what belongs to it.
class RunTimeLoop {
 public:
  RunTimeLoop(Evaluator& ev, host::Block& body) : ev_(ev) {
    ev.begin_block(body);
    ++ev.impl->runtime_depth;
    target_.kind = LoopTarget::Kind::run_time;
    target_.runtime_depth = ev.impl->runtime_depth;
    ev.impl->loops.push_back(&target_);
  }
  ~RunTimeLoop() {
    ev_.impl->loops.pop_back();
    --ev_.impl->runtime_depth;
    ev_.end_block();
    ev_.impl->flow = Flow::go;
  }
  RunTimeLoop(const RunTimeLoop&) = delete;
  RunTimeLoop& operator=(const RunTimeLoop&) = delete;

 private:
  Evaluator& ev_;
  LoopTarget target_;
};

void open_loop(Evaluator& ev) { ev.loop_end_actions.emplace_back(); }
void close_loop(Evaluator& ev) {
  auto actions = std::move(ev.loop_end_actions.back());
  ev.loop_end_actions.pop_back();
  for (auto& a : actions) a();
}

using Body = std::function<void(Value item, Value weight)>;

void unroll(Evaluator& ev, const std::vector<Value>& items, const std::vector<const ast::Block*>& blocks,
            const std::shared_ptr<Scope>& scope, Span span, const Body& body) {
  auto& im = *ev.impl;
  bool jumps = false;
  for (auto* b : blocks) jumps |= contains_jump(*b, false);
  bool scopes = jumps && !ev.context.tensor_code && !ev.context.dry;
  LoopTarget target;
  target.kind = LoopTarget::Kind::unrolled;
  target.runtime_depth = im.runtime_depth;
  host::Instr* outer = nullptr;
  if (scopes) {
    prepare_slots(ev, blocks, scope, span);
    ev.flush();
    outer = &ev.emit(Op::scope, span);
    outer->label = target.break_label = im.labels++;
    ev.begin_block(outer->then_block);
  }
  im.loops.push_back(&target);
  for (const Value& item : items) {
    if (scopes) {
      host::Instr& pass = ev.emit(Op::scope, span);
      pass.label = target.continue_label = im.labels++;
      ev.begin_block(pass.then_block);
    }
    body(item, Value(graph::Dim(1)));
    if (scopes) ev.end_block();
    if (im.flow == Flow::continue_ || im.flow == Flow::dead) im.flow = Flow::go;
    if (im.flow == Flow::break_) {
      im.flow = Flow::go;
      break;
    }
    if (im.flow == Flow::return_) break;
  }
  im.loops.pop_back();
  if (scopes) ev.end_block();
}

std::optional<std::vector<Value>> static_items(Evaluator& ev, const Value& iterable, Span span) {
  if (auto* r = iterable.get<RangeValue>()) {
    if (!r->is_static || !r->lo.is_constant() || !r->hi.is_constant()) return std::nullopt;
    std::vector<Value> items;
    if (r->hi.value() - r->lo.value() > 100000) return std::nullopt;
    for (int64_t i = r->lo.value(); i < r->hi.value(); ++i) items.emplace_back(graph::Dim(i), span);
    return items;
  }
  if (auto s = iterable.ptr<SequenceValue>()) return s->items;
  if (auto l = iterable.ptr<LayerInstance>(); l && !l->klass) {
    std::vector<Value> items;
    for (auto& [n, v] : l->members) items.push_back(v);
    return items;
  }
  if (auto* t = iterable.get<TensorValue>();
      t && t->type.rank() > 0 && t->type.shape[0].is_constant() && ev.context.tensor_code) {
    if (t->type.shape[0].value() > 100000) return std::nullopt;
    std::vector<Value> items;
    const Builtin* select = find_builtin("select");
    for (int64_t i = 0; select && i < t->type.shape[0].value(); ++i) {
      std::vector<ArgValue> args;
      args.push_back({"", {}, iterable, span});
      args.push_back({"", {}, Value(graph::Dim(0)), span});
      args.push_back({"", {}, Value(graph::Dim(i)), span});
      items.push_back(ev.call(Value(select), std::move(args), nullptr, span, span));
    }
    if (select) return items;
  }
  if (auto* s = iterable.get<std::string>()) {
    std::vector<Value> items;
    for (size_t i = 0; i < s->size();) {
      size_t n = 1;
      while (i + n < s->size() && (static_cast<unsigned char>((*s)[i + n]) & 0xC0) == 0x80) ++n;
      items.emplace_back(s->substr(i, n), span);
      i += n;
    }
    return items;
  }
  return std::nullopt;
}

Value with_index(bool wanted, Value index, Value item, Span span) {
  if (!wanted) return item;
  return sequence_value({std::move(index), std::move(item)}, false, span);
}

void loop_batches(Evaluator& ev, const BatchesValue& b, bool enumerated, Span span, const Body& body) {
  auto& im = *ev.impl;
  const auto& data = b.data->data;
  int64_t rows = data->size();
  std::vector<int64_t> sizes;
  if (rows >= b.size) sizes.push_back(b.size);
  if (rows % b.size != 0 && !b.drop_last) sizes.push_back(rows % b.size);
  if (sizes.empty()) {
    ev.error(Code::DataArgument, b.span.valid() ? b.span : span,
             rows == 0 ? std::string("the data set is empty")
                       : fmt::format("the data set has {} rows, so there is no batch of {}", rows, b.size))
        .help(rows == 0 ? "check where it comes from" : "take smaller batches, or leave `drop_last` out");
    return;
  }
  ev.flush();
  // The shuffle's step is the number of passes so far: it lives as long as the program.
  Reg passes = host::kNoReg;
  if (b.shuffle || b.replacement) {
    passes = ev.new_reg(host_type(Kind::integer));
    auto zero = std::make_unique<host::Instr>();
    zero->op = Op::constant;
    zero->dst = passes;
    zero->value = int64_t{0};
    im.prologue.push_back(std::move(zero));
  }
  Context saved = ev.context;
  ev.context.random_path = "batches";
  uint64_t key = ev.draw_key(span);
  if (!b.shuffle && !b.replacement) im.first_draw = im.first_draw == ev.user_span(span) ? Span{} : im.first_draw;
  ev.context = saved;

  open_loop(ev);
  host::Instr& loop = ev.emit(Op::loop_batches, span);
  loop.batches = std::make_unique<host::BatchLoop>();
  host::BatchLoop& l = *loop.batches;
  l.dataset = data;
  l.batch_size = b.size;
  l.shuffle = b.shuffle;
  l.drop_last = b.drop_last;
  l.replacement = b.replacement;
  l.key = key;
  l.passes = passes;
  l.label = data->name();
  l.rows = ev.new_reg(host_type(Kind::integer));
  l.index = ev.new_reg(host_type(Kind::integer));
  std::vector<host::Type> types;
  for (const auto& f : data->fields()) {
    host::Type t = host_type(Kind::tensor);
    t.tensor.dtype = static_cast<graph::DType>(f.dtype);
    t.tensor.shape.emplace_back(sizes[0]);
    for (int64_t d : f.shape) t.tensor.shape.emplace_back(d);
    t.classes = f.classes;
    types.push_back(t);
    l.fields.push_back(ev.new_reg(t));
  }
  l.variants.resize(sizes.size());
  auto ordinals = im.draw_ordinals;
  size_t errors = ev.diags.error_count();
  for (size_t v = 0; v < sizes.size(); ++v) {
    if (ev.diags.error_count() != errors) break;  // the same errors again, with another number of rows
    im.draw_ordinals = ordinals;
    l.variants[v].rows = sizes[v];
    RunTimeLoop scope(ev, l.variants[v].body);
    auto record = std::make_shared<RecordValue>();
    for (size_t f = 0; f < types.size(); ++f) {
      TensorValue t;
      t.type = types[f].tensor;
      t.type.shape[0] = graph::Dim(sizes[v]);
      if (types[f].classes > 0) t.classes = graph::Dim(types[f].classes);
      t.may_be_missing = data->fields()[f].missing;
      t.cell = std::make_shared<TensorCell>();
      t.cell->reg = l.fields[f];
      record->names.push_back(data->fields()[f].name);
      record->items.emplace_back(t, span);
    }
    Value index = runtime_value(l.index, host_type(Kind::integer), span);
    body(with_index(enumerated, index, Value(record, span), span), Value(graph::Dim(sizes[v]), span));
  }
  close_loop(ev);
}

}  // namespace

bool iterate(Evaluator& ev, const Value& given, const std::vector<const ast::Block*>& blocks,
             const std::shared_ptr<Scope>& scope, Span span, const Body& body) {
  if (given.is_poison()) return false;
  bool enumerated = false;
  Value iterable = given;
  if (auto r = given.ptr<RecordValue>(); r && r->names.size() == 1 && r->names[0] == kEnumerateMark) {
    enumerated = true;
    iterable = r->items[0];
  }
  bool run_time_range = iterable.get<RangeValue>() && !ev.context.tensor_code;
  if (!run_time_range)
    if (auto items = static_items(ev, iterable, span)) {
      unroll(ev, *items, blocks, scope, span, body);
      return true;
    }
  if (ev.context.tensor_code) {
    auto* r = iterable.get<RangeValue>();
    auto* t = iterable.get<TensorValue>();
    if (r || t || iterable.get<RuntimeValue>())
      ev.error(Code::NotStatic, span,
               fmt::format("tensor code unrolls its loops, but how often this one runs isn't known when compiling"))
          .help("loop outside of the block, or use `scan` over an axis");
    else
      ev.error(iterable.ptr<BatchesValue>() || iterable.ptr<DatasetValue>() ? Code::HostEffectInTensorCode
                                                                            : Code::NotIterable,
               span, fmt::format("tensor code can't iterate {}", describe(iterable)));
    return false;
  }
  if (!iterable.get<RangeValue>() && !iterable.get<RuntimeValue>() && !iterable.ptr<BatchesValue>() &&
      !iterable.ptr<DatasetValue>() && !(iterable.get<TensorValue>() && iterable.get<TensorValue>()->type.rank() > 0)) {
    auto d = ev.error(Code::NotIterable, span, fmt::format("`for` can't go over {}", describe(iterable)));
    if (static_int(iterable)) d.help("a range is written `0..n`");
    if (auto r = iterable.ptr<RecordValue>(); r && r->find("train"))
      d.help("choose a part, and a batch size: `.train.batches(64)`");
    return false;
  }
  prepare_slots(ev, blocks, scope, span);
  if (auto b = iterable.ptr<BatchesValue>()) {
    loop_batches(ev, *b, enumerated, span, body);
    return true;
  }
  host::Type int_t = host_type(Kind::integer);
  if (auto* r = iterable.get<RangeValue>()) {
    Reg lo = r->is_static ? ev.reg_of(Value(r->lo), span) : r->lo_reg;
    Reg hi = r->is_static ? ev.reg_of(Value(r->hi), span) : r->hi_reg;
    ev.flush();
    open_loop(ev);
    Reg counter = ev.new_reg(int_t);
    host::Instr& loop = ev.emit(Op::loop_range, span);
    loop.dst = counter;
    loop.args = {lo, hi};
    {
      RunTimeLoop scope_of(ev, loop.then_block);
      Value item = runtime_value(counter, int_t, span);
      if (enumerated) {
        Value index = ev.binary(ast::BinaryOp::sub, item, runtime_value(lo, int_t, span), span, span, span);
        item = with_index(true, index, item, span);
      }
      body(item, Value(graph::Dim(1)));
    }
    close_loop(ev);
    return true;
  }
  auto* rv = iterable.get<RuntimeValue>();
  if (rv && rv->type.kind == Kind::list && !enumerated) {
    if (rv->type.items.empty()) return true;  // an empty list that nothing was added to
    ev.flush();
    open_loop(ev);
    Reg item = ev.new_reg(rv->type.items[0]);
    host::Instr& loop = ev.emit(Op::loop_list, span);
    loop.dst = item;
    loop.args = {rv->reg};
    {
      RunTimeLoop scope_of(ev, loop.then_block);
      body(ev.from_reg(item, rv->type.items[0], span), Value(graph::Dim(1)));
    }
    close_loop(ev);
    return true;
  }
  // Rows by number: data sets, tensors, run-time lists with their index.
  auto data = iterable.ptr<DatasetValue>();
  auto* t = iterable.get<TensorValue>();
  Reg source = data ? host::kNoReg : ev.reg_of(iterable, span);
  Reg hi = host::kNoReg;
  if (data) {
    hi = ev.reg_of(Value(graph::Dim(data->data->size())), span);
  } else if (t) {
    hi = ev.reg_of(Value(t->type.shape[0]), span);
  } else if (rv && rv->type.kind == Kind::list) {
    hi = ev.new_reg(int_t);
    emit_call(ev, "list_len", {source}, hi, span);
  } else {
    ev.error(Code::NotIterable, span, fmt::format("`for` can't go over {}", describe(iterable)));
    return false;
  }
  Reg lo = ev.reg_of(Value(graph::Dim(0)), span);
  ev.flush();
  open_loop(ev);
  Reg counter = ev.new_reg(int_t);
  host::Instr& loop = ev.emit(Op::loop_range, span);
  loop.dst = counter;
  loop.args = {lo, hi};
  {
    RunTimeLoop scope_of(ev, loop.then_block);
    Value item;
    if (data) {
      item = record_of_row(ev, *data, counter, span);
    } else {
      host::Type type = t ? ev.type_of(iterable) : rv->type.items.empty() ? int_t : rv->type.items[0];
      if (t) type.tensor.shape.erase(type.tensor.shape.begin());
      Reg row = ev.new_reg(type);
      emit_call(ev, t ? "tensor_get" : "list_get", {source, counter}, row, span);
      item = ev.from_reg(row, type, span);
    }
    body(with_index(enumerated, runtime_value(counter, int_t, span), item, span), Value(graph::Dim(1)));
  }
  close_loop(ev);
  return true;
}

namespace {

void exec_for(Evaluator& ev, const ast::ForStmt& s, const std::shared_ptr<Scope>& scope) {
  Value iterable = ev.eval(*s.iterable, scope);
  iterate(ev, iterable, {&s.body}, scope, s.iterable->span, [&](Value item, Value) {
    auto inner = std::make_shared<Scope>(scope);
    ev.bind(s.pattern, std::move(item), inner, false);
    eval_block_in(ev, s.body, inner, false);
  });
}

void exec_while(Evaluator& ev, const ast::WhileStmt& s, const std::shared_ptr<Scope>& scope) {
  if (ev.context.tensor_code) {
    ev.error(Code::TensorCondition, s.span,
             "`while` can't stand in tensor code: how often it runs must be known when compiling")
        .help("`for i in 0..n` with a static `n` is unrolled; `scan` goes along an axis");
    return;
  }
  prepare_slots(ev, {&s.body}, scope, s.span);
  ev.flush();
  open_loop(ev);
  host::Instr& loop = ev.emit(Op::loop_while, s.span);
  bool ok = true;
  {
    RunTimeLoop inner(ev, loop.else_block);
    Value c = ev.to_host(eval_condition(ev, *s.condition, scope), s.condition->span);
    auto* r = c.get<RuntimeValue>();
    if (c.is_poison())
      ok = false;
    else if (!c.get<bool>() && !(r && r->type.kind == Kind::boolean)) {
      ev.error(Code::ConditionType, s.condition->span,
               fmt::format("a condition is a bool, but this is {}", describe(c)))
          .help("compare it: `x > 0`");
      ok = false;
    } else {
      loop.args = {ev.reg_of(c, s.condition->span)};
    }
  }
  if (ok) {
    RunTimeLoop inner(ev, loop.then_block);
    eval_block_in(ev, s.body, std::make_shared<Scope>(scope), false);
  }
  close_loop(ev);
}

void exec_jump(Evaluator& ev, bool is_break, Span span) {
  auto& im = *ev.impl;
  if (im.loops.empty()) {
    ev.error(Code::MisplacedStatement, span,
             fmt::format("`{}` stands outside of a loop", is_break ? "break" : "continue"));
    return;
  }
  LoopTarget& t = *im.loops.back();
  if (t.kind == LoopTarget::Kind::unrolled && t.runtime_depth == im.runtime_depth) {
    im.flow = is_break ? Flow::break_ : Flow::continue_;
    return;
  }
  ev.flush();
  if (t.kind == LoopTarget::Kind::run_time) {
    ev.emit(is_break ? Op::break_ : Op::continue_, span);
  } else {
    ev.emit(Op::leave, span).label = is_break ? t.break_label : t.continue_label;
  }
  im.flow = Flow::dead;
}

void exec_return(Evaluator& ev, const ast::ReturnStmt& s, const std::shared_ptr<Scope>& scope) {
  auto& im = *ev.impl;
  Value v = s.value ? ev.eval(*s.value, scope) : Value(NoneValue{}, s.span);
  if (im.returns.empty()) {
    ev.error(Code::MisplacedStatement, s.span, "`return` stands outside of a function");
    return;
  }
  ReturnTarget& t = *im.returns.back();
  if (t.runtime_depth == im.runtime_depth) {
    t.value = std::move(v);
    im.flow = Flow::return_;
    return;
  }
  if (!v.is_poison() && !v.is_none()) {
    host::Type type = ev.type_of(v);
    if (t.reg == host::kNoReg) {
      t.reg = ev.new_reg(type);
      t.type = type;
    } else if (!same_type(t.type, type)) {
      ev.error(
          Code::BranchTypes, s.span,
          fmt::format("this returns {}, but another `return` of the function gives {}", describe(v), text_of(t.type)));
      return;
    }
    Reg from = ev.reg_of(v, s.span);
    host::Instr& i = ev.emit_pure(Op::copy, s.span);
    i.dst = t.reg;
    i.args = {from};
  }
  ev.flush();
  ev.emit(Op::leave, s.span).label = t.label;
  t.left = true;
  im.flow = Flow::dead;
}

}  // namespace

void Evaluator::exec(const Stmt& s, const std::shared_ptr<Scope>& scope) {
  Span outer = impl->statement;
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
      else
        eval(*e.value, scope);
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
    ev.exec(s, scope);
    if (im.flow != Flow::go) return Value(NoneValue{}, s.span);
  }
  return Value(NoneValue{}, b.span);
}

// ---------------------------------------------------------------- comprehensions and folds

Value eval_comprehension(Evaluator& ev, const ast::ComprehensionExpr& e, const std::shared_ptr<Scope>& scope) {
  Value iterable = ev.eval(*e.iterable, scope);
  if (iterable.is_poison()) return iterable;
  if (auto items = static_items(ev, iterable, e.iterable->span)) {
    std::vector<Value> out;
    bool poison = false;
    for (Value& item : *items) {
      auto inner = std::make_shared<Scope>(scope);
      ev.bind(e.pattern, std::move(item), inner, false);
      out.push_back(ev.eval(*e.value, inner));
      poison |= out.back().is_poison();
    }
    if (poison) return Poison{};
    return sequence_value(std::move(out), true, e.span);
  }
  // A list that grows while the program runs.
  if (!host_effect(ev, e.span, "a list over a range that isn't static")) return Poison{};
  host::Type type = host_type(Kind::list);
  Reg list = ev.new_reg(type);
  emit_call(ev, "list_new", {}, list, e.span);
  bool ok = iterate(ev, iterable, {}, scope, e.iterable->span, [&](Value item, Value) {
    auto inner = std::make_shared<Scope>(scope);
    ev.bind(e.pattern, std::move(item), inner, false);
    Value v = ev.eval(*e.value, inner);
    if (v.is_poison()) return;
    if (type.items.empty()) type.items.push_back(ev.type_of(v));
    Reg r = ev.reg_of(v, e.span);
    emit_call(ev, "list_append", {list, r}, list, e.span);
  });
  ev.program->registers[list] = type;
  return ok ? runtime_value(list, type, e.span) : Value(Poison{});
}

namespace {

/// The leaves of a fold's value: a tuple folds each of its parts.
void leaves_of(const Value& v, std::vector<Value>& out) {
  if (auto s = v.ptr<SequenceValue>(); s && !s->is_list) {
    for (auto& i : s->items) leaves_of(i, out);
  } else {
    out.push_back(v);
  }
}
Value rebuild(const Value& like, const std::vector<Value>& leaves, size_t& next) {
  if (auto s = like.ptr<SequenceValue>(); s && !s->is_list) {
    std::vector<Value> items;
    for (auto& i : s->items) items.push_back(rebuild(i, leaves, next));
    return sequence_value(std::move(items), false, like.span);
  }
  return leaves[next++];
}

Value fold_static(Evaluator& ev, const std::string& fold, const std::vector<Value>& values, Span span) {
  if (fold == "collect") return sequence_value(values, true, span);
  if (values.empty()) {
    if (fold == "sum") return Value(graph::Dim(0), span);
    ev.error(Code::ArgumentOutOfRange, span, fmt::format("`{}` over a loop that never runs", fold));
    return Poison{};
  }
  std::vector<std::vector<Value>> columns;
  for (auto& v : values) {
    if (v.is_poison()) return Poison{};
    std::vector<Value> leaves;
    leaves_of(v, leaves);
    columns.resize(leaves.size());
    for (size_t i = 0; i < leaves.size() && i < columns.size(); ++i) columns[i].push_back(leaves[i]);
  }
  std::vector<Value> out;
  for (auto& column : columns) {
    Value acc = column[0];
    for (size_t i = 1; i < column.size(); ++i) {
      if (fold == "sum" || fold == "mean") {
        acc = ev.binary(ast::BinaryOp::add, acc, column[i], span, span, span);
      } else {
        bool tensors = acc.get<TensorValue>() || column[i].get<TensorValue>();
        const Builtin* f = find_builtin(tensors ? (fold == "max" ? "maximum" : "minimum") : fold);
        std::vector<ArgValue> args;
        args.push_back({"", {}, acc, span});
        args.push_back({"", {}, column[i], span});
        acc = ev.call(Value(f), std::move(args), nullptr, span, span);
      }
      if (acc.is_poison()) return acc;
    }
    if (fold == "mean")
      acc = ev.binary(ast::BinaryOp::div, acc, Value(static_cast<double>(column.size())), span, span, span);
    out.push_back(acc);
  }
  size_t next = 0;
  return rebuild(values[0], out, next);
}

}  // namespace

Value eval_fold(Evaluator& ev, const std::string& fold, const ast::ForExpr& e, const std::shared_ptr<Scope>& scope,
                Span span) {
  Value iterable = ev.eval(*e.iterable, scope);
  if (iterable.is_poison()) return iterable;
  auto evaluate = [&](Value item) {
    auto inner = std::make_shared<Scope>(scope);
    ev.bind(e.pattern, std::move(item), inner, false);
    return eval_block_in(ev, e.body, inner, true);
  };
  bool run_time_range = iterable.get<RangeValue>() && !ev.context.tensor_code;
  if (!run_time_range && static_items(ev, iterable, e.iterable->span)) {
    std::vector<Value> values;
    bool ok = iterate(ev, iterable, {&e.body}, scope, e.iterable->span, [&](Value item, Value) {
      Value v = evaluate(std::move(item));
      if (ev.impl->flow == Flow::go) values.push_back(std::move(v));
    });
    return ok ? fold_static(ev, fold, values, span) : Value(Poison{});
  }
  if (ev.context.tensor_code) {
    iterate(ev, iterable, {&e.body}, scope, e.iterable->span, [&](Value, Value) {});
    return Poison{};
  }
  // One list for each part of the value, and one of weights; folded when the loop has ended.
  std::vector<Reg> lists;
  std::vector<host::Type> types;
  std::optional<Value> like;
  bool poison = false;
  host::Type int_list = host_type(Kind::list);
  int_list.items.push_back(host_type(Kind::integer));
  Reg weights = ev.new_reg(int_list);
  emit_call(ev, "list_new", {}, weights, span);
  // How many parts there are is known after the first pass, and their lists must exist before: they are made in a block
  // of their own, which stands before the loop.
  host::Instr& before = ev.emit(Op::scope, span);
  before.label = ev.impl->labels++;
  bool ok = iterate(ev, iterable, {&e.body}, scope, e.iterable->span, [&](Value item, Value weight) {
    Value v = evaluate(std::move(item));
    if (ev.impl->flow != Flow::go) return;
    if (v.is_poison()) {
      poison = true;
      return;
    }
    std::vector<Value> leaves;
    leaves_of(v, leaves);
    if (!like) {
      like = v;
      for (const Value& leaf : leaves) {
        host::Type t = host_type(Kind::list);
        if (fold != "collect") {
          auto* tensor = leaf.get<TensorValue>();
          bool is_float = tensor ? graph::is_float(tensor->type.dtype) : ev.type_of(leaf).kind == Kind::floating;
          t.items.push_back(host_type(is_float ? Kind::floating : Kind::integer));
        } else {
          t.items.push_back(ev.type_of(leaf));
        }
        types.push_back(t);
        lists.push_back(ev.new_reg(t));
        ev.impl->blocks.push_back(&before.then_block);
        emit_call(ev, "list_new", {}, lists.back(), span);
        ev.impl->blocks.pop_back();
      }
    }
    for (size_t i = 0; i < leaves.size() && i < lists.size(); ++i) {
      Value leaf = leaves[i];
      if (fold != "collect") {
        leaf = ev.to_host(leaf, e.body.span);
        if (leaf.is_poison()) {
          poison = true;
          return;
        }
        Kind k = ev.type_of(leaf).kind;
        if (k != Kind::integer && k != Kind::floating && k != Kind::boolean) {
          ev.error(Code::ArgumentType, e.body.span,
                   fmt::format("`{}` folds numbers, but the loop gives {}", fold, describe(leaf)));
          poison = true;
          return;
        }
      }
      Reg r = ev.reg_of(leaf, span);
      emit_call(ev, "list_append", {lists[i], r}, lists[i], span);
    }
    Reg w = ev.reg_of(weight, span);
    emit_call(ev, "list_append", {weights, w}, weights, span);
  });
  if (!ok || poison || !like) return Poison{};
  if (fold == "collect") {
    if (lists.size() == 1 && !like->ptr<SequenceValue>()) return runtime_value(lists[0], types[0], span);
    // A tuple in each pass: a list of tuples.
    host::Type t = host_type(Kind::list);
    host::Type item = host_type(Kind::tuple);
    for (auto& x : types) item.items.push_back(x.items[0]);
    t.items.push_back(item);
    Reg zipped = ev.new_reg(t);
    emit_call(ev, "list_zip", lists, zipped, span);
    return runtime_value(zipped, t, span);
  }
  std::vector<Value> out;
  for (size_t i = 0; i < lists.size(); ++i) {
    host::Type t = fold == "mean" ? host_type(Kind::floating) : types[i].items[0];
    Reg dst = ev.new_reg(t);
    std::vector<Reg> args{lists[i]};
    if (fold == "mean") args.push_back(weights);
    emit_call(ev, "fold_" + fold, std::move(args), dst, span);
    out.push_back(runtime_value(dst, t, span));
  }
  size_t next = 0;
  return rebuild(*like, out, next);
}

}  // namespace nnlc::sema
