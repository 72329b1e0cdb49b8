// Expressions: names, members, literals, conditions. Calls are in calls.cpp, tensor operators in operators.cpp.
#include "compiler/sema/evaluator.h"

#include <fmt/format.h>
#include <limits>

#include "compiler/sema/builtins.h"
#include "compiler/sema/statements.h"
#include "compiler/sema/training.h"
#include "compiler/syntax/parser.h"

namespace nnlc::sema {

using ast::Expr;
using Kind = host::Type::Kind;

Evaluator::Evaluator(SourceManager& s, Diagnostics& d, const CompileOptions& o)
    : sources(s), diags(d), options(o), program(std::make_unique<host::Program>()), impl(std::make_unique<Impl>()) {
  impl->blocks.push_back(&program->body);
}
Evaluator::~Evaluator() = default;

// ---------------------------------------------------------------- diagnostics

Span Evaluator::user_span(Span s) const {
  auto is_user = [&](Span x) { return x.valid() && !sources.file(x.file).is_library; };
  if (is_user(s)) return s;
  for (auto f = frames.rbegin(); f != frames.rend(); ++f)
    if (is_user(f->call_span)) return f->call_span;
  return s;
}

DiagnosticBuilder Evaluator::error(Code code, Span span, std::string message) {
  return diags.error(code, user_span(span), std::move(message));
}
DiagnosticBuilder Evaluator::unsupported(Code code, Span span, std::string message) {
  return diags.unsupported(code, user_span(span), std::move(message));
}
DiagnosticBuilder Evaluator::warning(Code code, Span span, std::string message) {
  return diags.warning(code, user_span(span), std::move(message));
}

// ---------------------------------------------------------------- names

std::optional<int64_t> static_int(const Value& v) {
  auto* d = v.get<graph::Dim>();
  if (d && d->is_constant()) return d->value();
  return std::nullopt;
}

Value sequence_value(std::vector<Value> items, bool is_list, Span span) {
  auto s = std::make_shared<SequenceValue>();
  s->is_list = is_list;
  s->items = std::move(items);
  return Value(s, span);
}

Scope::Entry* lookup(Evaluator& ev, const std::shared_ptr<Scope>& scope, const std::string& name) {
  Scope::Entry* e = scope->find(name);
  if (e && e->library_file >= 0) {
    if (!load_library(ev, e->library_file)) return nullptr;
    e = scope->find(name);
  }
  return e;
}

Value read_entry(Evaluator& ev, Scope::Entry& e, const std::string& name, Span span) {
  e.used = true;
  if (e.declared_later) {
    ev.error(Code::UseBeforeDefinition, span, fmt::format("`{}` is used above its definition", name))
        .label(e.span, "defined here");
    return Poison{};
  }
  if (e.param) return Value(read_param(ev, e.param, span), span);
  if (e.slot != host::kNoReg) {
    // A copy: the register is written again when the var is assigned.
    host::Reg dst = ev.new_reg(e.slot_type);
    host::Instr& i = ev.emit_pure(host::Op::copy, span);
    i.dst = dst;
    i.args = {e.slot};
    return ev.from_reg(dst, e.slot_type, e.value.span);
  }
  return e.value;
}

Value unknown_name(Evaluator& ev, const std::string& name, const std::shared_ptr<Scope>& scope, Span span) {
  std::vector<std::string> names = scope->visible_names();
  for (const Builtin* b : all_builtins())
    if (b->name.find('.') == std::string_view::npos) names.emplace_back(b->name);
  const std::string message = fmt::format("nothing is called `{}`", name);
  for (const Diagnostic& known : ev.diags.all())
    if (known.code == Code::UnknownName && known.message == message) return Poison{};
  auto d = ev.error(Code::UnknownName, span, message);
  if (auto hint = foreign_name_hint(name))
    d.help(*hint);
  else if (auto near = nearest(name, names)) {
    d.help(fmt::format("did you mean `{}`?", *near));
    d.fix(span, *near);
  }
  return Poison{};
}

namespace {

Value eval_name(Evaluator& ev, const std::string& name, const std::shared_ptr<Scope>& scope, Span span) {
  if (Scope::Entry* e = lookup(ev, scope, name)) return read_entry(ev, *e, name, span);
  if (name == "training" && (ev.context.self || ev.context.tensor_code))
    return Value(ev.context.training && !(ev.context.self && ev.context.self->frozen), span);
  if (name == "pi") return Value(3.14159265358979323846, span);
  if (name == "inf") return Value(std::numeric_limits<double>::infinity(), span);
  if (name == "nan") return Value(std::numeric_limits<double>::quiet_NaN(), span);
  if (const Builtin* b = find_builtin(name)) return Value(b, span);
  return unknown_name(ev, name, scope, span);
}

/// Rule 19: the name of a param asks, as a condition, whether the param is there.
bool is_param_question(const Expr& e, const std::shared_ptr<Scope>& scope) {
  auto* n = ast::dyn<ast::NameExpr>(&e);
  if (!n) return false;
  Scope::Entry* entry = scope->find(n->name);
  return entry && entry->param;
}

}  // namespace

Value eval_condition(Evaluator& ev, const Expr& e, const std::shared_ptr<Scope>& scope) {
  if (is_param_question(e, scope)) {
    scope->find(ast::as<ast::NameExpr>(e).name)->used = true;
    return Value(true, e.span);
  }
  return ev.eval(e, scope);
}

// ---------------------------------------------------------------- members

std::optional<Value> find_member(Evaluator& ev, const Value& object, const ast::Name& name) {
  const std::string& n = name.text;
  if (object.is_poison()) return Value(Poison{});
  if (auto r = object.ptr<RecordValue>()) {
    if (const Value* v = r->find(n)) return *v;
  } else if (auto* t = object.get<TensorValue>()) {
    if (auto m = tensor_member(ev, *t, name)) return m;
  } else if (auto layer = object.ptr<LayerInstance>()) {
    if (auto m = layer_member(ev, layer, name)) return m;
  } else if (auto ns = object.ptr<NamespaceValue>()) {
    if (Scope::Entry* e = ns->scope->find_here(n)) return read_entry(ev, *e, n, name.span);
  } else if (auto d = object.ptr<DatasetValue>()) {
    if (n == "len") return Value(graph::Dim(d->data->size()), name.span);
    if (n == "name") return Value(d->data->name(), name.span);
    if (n == "fields") {
      std::vector<Value> names;
      for (const auto& f : d->data->fields()) names.emplace_back(f.name, name.span);
      return sequence_value(std::move(names), true, name.span);
    }
  } else if (auto b = object.ptr<BatchesValue>()) {
    if (n == "len") {
      int64_t rows = b->data->data->size();
      return Value(graph::Dim(b->drop_last ? rows / b->size : (rows + b->size - 1) / b->size), name.span);
    }
  } else if (auto text = object.ptr<TextValue>()) {
    if (n == "vocab") {
      std::vector<Value> items;
      for (const auto& c : text->text->vocab) items.emplace_back(c, name.span);
      return sequence_value(std::move(items), true, name.span);
    }
    if (n == "len") return Value(graph::Dim(static_cast<int64_t>(text->text->ids.size())), name.span);
  } else if (auto s = object.ptr<SequenceValue>()) {
    if (n == "len") return Value(graph::Dim(static_cast<int64_t>(s->items.size())), name.span);
    if (!n.empty() && n.find_first_not_of("0123456789") == std::string::npos && n.size() < 9) {
      size_t i = static_cast<size_t>(std::stoul(n));
      if (i < s->items.size()) return s->items[i];
    }
  }
  if (const std::string* s = object.get<std::string>(); s && n == "len") {
    // Characters, not bytes: those that don't go on with a code point begin one.
    auto begins = [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; };
    return Value(graph::Dim(std::count_if(s->begin(), s->end(), begins)), name.span);
  }
  if (auto* r = object.get<RuntimeValue>(); r && n == "len" && r->type.kind == Kind::list) {
    host::Reg dst = ev.new_reg(host_type(Kind::integer));
    emit_call(ev, "list_len", {r->reg}, dst, name.span);
    return runtime_value(dst, host_type(Kind::integer), name.span);
  }
  if (object.ptr<OptimizerInstance>() || object.ptr<GradientValue>())
    if (auto m = ev.training_member(object, name)) return m;
  if (const Builtin* b = find_method(object, n)) {
    if (b->name.find('.') != std::string_view::npos)
      return Value(BoundBuiltin{b, std::make_shared<Value>(object)}, name.span);
  }
  return std::nullopt;
}

namespace {

/// What may stand after `object.`: its members and methods, and for a tensor every function, since `x.f()` is `f(x)`.
std::vector<std::string> member_names(const Value& object, Scope& scope) {
  std::vector<std::string> out;
  if (auto r = object.ptr<RecordValue>()) out = r->names;
  if (auto l = object.ptr<LayerInstance>()) {
    for (auto& [n, v] : l->hyper) out.push_back(n);
    for (auto& [n, v] : l->members) out.push_back(n);
    for (auto& [n, v] : l->params) out.push_back(n);
    if (l->scope)
      for (auto& [n, e] : l->scope->entries()) out.push_back(n);
  }
  if (auto ns = object.ptr<NamespaceValue>())
    for (auto& [n, e] : ns->scope->entries()) out.push_back(n);
  const bool tensor = object.get<TensorValue>() != nullptr;
  if (tensor) out = {"shape", "ndim", "numel", "dtype", "T"};
  for (const Builtin* b : all_builtins())
    if (size_t dot = b->name.find('.'); dot != std::string_view::npos) {
      std::string method(b->name.substr(dot + 1));
      if (find_method(object, method) == b && method != "[]") out.push_back(method);
    } else if (tensor) {
      out.emplace_back(b->name);
    }
  for (Scope* s = &scope; tensor && s; s = s->parent().get())
    for (auto& [n, e] : s->entries())
      if (e->value.get<FunctionValue>() || e->library_file >= 0) out.push_back(n);
  return out;
}

Value eval_member(Evaluator& ev, const ast::MemberExpr& e, const std::shared_ptr<Scope>& scope) {
  Value object = ev.eval(*e.object, scope);
  if (object.is_poison()) return object;
  if (auto m = find_member(ev, object, e.name)) {
    if (!m->span.valid()) m->span = e.span;
    return *m;
  }
  std::vector<std::string> names = member_names(object, *scope);
  auto d = ev.error(Code::UnknownMember, e.name.span, fmt::format("{} has no `{}`", describe(object), e.name.text));
  if (auto near = nearest(e.name.text, names))
    d.help(fmt::format("did you mean `{}`?", *near)).fix(e.name.span, *near);
  else if (object.ptr<RecordValue>() && !names.empty()) {
    std::string list;
    for (auto& n : names) list += (list.empty() ? "" : ", ") + n;
    d.help(fmt::format("it has {}", list));
  } else if (auto data = object.ptr<DatasetValue>()) {
    const auto& fields = data->data->fields();
    const bool field = std::any_of(fields.begin(), fields.end(), [&](auto& f) { return f.name == e.name.text; });
    if (field)
      d.help(fmt::format("its records have: `data[0].{0}`, or `b.{0}` of each `b in data.batches(n)`", e.name.text));
  }
  return Poison{};
}

Value eval_range(Evaluator& ev, const ast::RangeExpr& e, const std::shared_ptr<Scope>& scope) {
  Value lo = ev.to_host(ev.eval(*e.lo, scope), e.lo->span), hi = ev.to_host(ev.eval(*e.hi, scope), e.hi->span);
  if (lo.is_poison() || hi.is_poison()) return Poison{};
  auto check = [&](const Value& v, Span s) {
    auto* r = v.get<RuntimeValue>();
    if (v.get<graph::Dim>() || (r && r->type.kind == Kind::integer)) return true;
    ev.error(Code::ArgumentType, s, fmt::format("a range goes from int to int, but this is {}", describe(v)));
    return false;
  };
  if (!check(lo, e.lo->span) || !check(hi, e.hi->span)) return Poison{};
  RangeValue r;
  auto* a = lo.get<graph::Dim>();
  auto* b = hi.get<graph::Dim>();
  if (a && b) {
    r.lo = *a;
    r.hi = e.inclusive ? *b + graph::Dim(1) : *b;
    return Value(r, e.span);
  }
  r.is_static = false;
  r.lo_reg = ev.reg_of(lo, e.lo->span);
  if (e.inclusive) hi = ev.binary(ast::BinaryOp::add, hi, Value(graph::Dim(1)), e.span, e.hi->span, e.hi->span);
  r.hi_reg = ev.reg_of(hi, e.hi->span);
  return Value(r, e.span);
}

/// `and` and `or`: a side that decides alone leaves the other unevaluated.
Value eval_logic(Evaluator& ev, const ast::BinaryExpr& e, const std::shared_ptr<Scope>& scope) {
  bool is_and = e.op == ast::BinaryOp::and_;
  Value a = eval_condition(ev, *e.lhs, scope);
  if (a.is_poison()) return a;
  if (auto* b = a.get<bool>()) {
    if (*b != is_and) return Value(!is_and, e.span);
    Value rhs = eval_condition(ev, *e.rhs, scope);
    if (rhs.is_poison() || rhs.get<bool>()) return rhs;
    auto* r = rhs.get<RuntimeValue>();
    auto* t = rhs.get<TensorValue>();
    if ((r && r->type.kind == Kind::boolean) || (t && t->type.dtype == graph::DType::boolean)) return rhs;
    return ev.binary(e.op, a, rhs, e.op_span, e.lhs->span, e.rhs->span);
  }
  Value b = eval_condition(ev, *e.rhs, scope);
  return ev.binary(e.op, a, b, e.op_span, e.lhs->span, e.rhs->span);
}

}  // namespace

// ---------------------------------------------------------------- expressions

Value Evaluator::eval(const Expr& e, const std::shared_ptr<Scope>& scope) {
  using K = Expr::Kind;
  switch (e.kind) {
    case K::int_:
      return Value(graph::Dim(ast::as<ast::IntExpr>(e).value), e.span);
    case K::float_:
      return Value(ast::as<ast::FloatExpr>(e).value, e.span);
    case K::bool_:
      return Value(ast::as<ast::BoolExpr>(e).value, e.span);
    case K::none:
      return Value(NoneValue{}, e.span);
    case K::wildcard:
      return Value(Inferred{}, e.span);
    case K::string:
      return eval_string(*this, ast::as<ast::StringExpr>(e), scope);
    case K::name: {
      Value v = eval_name(*this, ast::as<ast::NameExpr>(e).name, scope, e.span);
      if (!v.span.valid()) v.span = e.span;
      return v;
    }
    case K::tuple:
    case K::list: {
      auto& parts = e.kind == K::tuple ? ast::as<ast::TupleExpr>(e).items : ast::as<ast::ListExpr>(e).items;
      std::vector<Value> items;
      bool poison = false;
      for (auto& p : parts) {
        items.push_back(eval(*p, scope));
        poison |= items.back().is_poison();
      }
      if (poison && e.kind == K::list) return Poison{};
      return sequence_value(std::move(items), e.kind == K::list, e.span);
    }
    case K::comprehension:
      return eval_comprehension(*this, ast::as<ast::ComprehensionExpr>(e), scope);
    case K::record: {
      auto& r = ast::as<ast::RecordExpr>(e);
      auto out = std::make_shared<RecordValue>();
      for (auto& entry : r.entries) {
        if (out->find(entry.name.text)) {
          error(Code::DuplicateName, entry.name.span,
                fmt::format("the field `{}` stands twice in this record", entry.name.text));
          continue;
        }
        out->names.push_back(entry.name.text);
        out->items.push_back(eval(*entry.value, scope));
      }
      return Value(out, e.span);
    }
    case K::unary: {
      auto& u = ast::as<ast::UnaryExpr>(e);
      Value v = u.op == ast::UnaryOp::not_ ? eval_condition(*this, *u.operand, scope) : eval(*u.operand, scope);
      if (v.is_poison()) return v;
      if (v.ptr<GradientValue>() && u.op == ast::UnaryOp::neg)
        if (auto g = gradient_arithmetic(*this, ast::BinaryOp::sub, v, nullptr, e.span)) return *g;
      Value r = unary(u.op, v, e.span);
      if (!r.span.valid()) r.span = e.span;
      return r;
    }
    case K::binary: {
      auto& b = ast::as<ast::BinaryExpr>(e);
      if (b.op == ast::BinaryOp::and_ || b.op == ast::BinaryOp::or_) return eval_logic(*this, b, scope);
      Value x = eval(*b.lhs, scope), y = eval(*b.rhs, scope);
      if (x.is_poison() || y.is_poison()) return Poison{};
      if (x.ptr<GradientValue>() || y.ptr<GradientValue>())
        if (auto g = gradient_arithmetic(*this, b.op, x, &y, e.span)) return *g;
      Value r = binary(b.op, x, y, b.op_span, b.lhs->span, b.rhs->span);
      r.span = e.span;
      return r;
    }
    case K::range:
      return eval_range(*this, ast::as<ast::RangeExpr>(e), scope);
    case K::pipe:
      return eval_pipe(*this, ast::as<ast::PipeExpr>(e), scope);
    case K::member:
      return eval_member(*this, ast::as<ast::MemberExpr>(e), scope);
    case K::call: {
      Value v = eval_call(*this, ast::as<ast::CallExpr>(e), scope, nullptr);
      v.span = e.span;
      return v;
    }
    case K::index: {
      auto& x = ast::as<ast::IndexExpr>(e);
      Value object = eval(*x.object, scope);
      if (object.is_poison()) return object;
      // A list written in the program, indexed by a number of the run: it becomes a list of the run.
      if (auto list = object.ptr<SequenceValue>(); list && list->is_list && !context.tensor_code &&
                                                   x.subscripts.size() == 1 &&
                                                   x.subscripts[0].kind == ast::Subscript::Kind::expr) {
        Value i = eval(*x.subscripts[0].expr, scope);
        auto* r = i.get<RuntimeValue>();
        host::Type type = type_of(object);
        bool alike = !type.items.empty() && type.items[0].kind != Kind::none;
        for (auto& item : list->items) {
          host::Type t = type_of(item);
          alike &= t == type.items[0] || (t.kind == Kind::integer && type.items[0].kind == Kind::floating);
        }
        if (r && r->type.kind == Kind::integer && alike) {
          host::Reg reg = reg_of(object, e.span);
          Value made = runtime_value(reg, type, object.span);
          ArgValue a;
          a.value = i;
          a.span = x.subscripts[0].span;
          return call(Value(BoundBuiltin{find_method(made, "[]"), std::make_shared<Value>(made)}, e.span), {a}, nullptr,
                      e.span, e.span);
        }
      }
      Value v = index(object, x, scope);
      if (!v.span.valid()) v.span = e.span;
      return v;
    }
    case K::if_:
      return eval_if(*this, ast::as<ast::IfExpr>(e), scope, true);
    case K::block_call: {
      auto& b = ast::as<ast::BlockCallExpr>(e);
      if (b.which == ast::BlockCallExpr::Which::grad) {
        Value v = eval_grad(b, scope);
        v.span = e.span;
        return v;
      }
      // Two updates in one step would read the rate of the second: end the first.
      if (!context.tensor_code && impl->current >= 0 && !impl->state(*this).newest.empty()) flush();
      Value v = eval_minimize(b, scope);
      v.span = e.span;
      return v;
    }
    case K::for_:
      error(Code::MisplacedFor, e.span, "`for` is an argument only of mean, sum, max, min and collect");
      return Poison{};
    case K::lambda:
      return Value(LambdaValue{&ast::as<ast::LambdaExpr>(e), scope}, e.span);
  }
  return Poison{};
}

Value Evaluator::eval_block(const ast::Block& b, const std::shared_ptr<Scope>& scope) {
  return eval_block_in(*this, b, scope, true);
}

}  // namespace nnlc::sema
