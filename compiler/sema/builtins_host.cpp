// Builtins of host code: output, lists and strings, conversions, files, assertions, and what acts on layers as a whole.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "compiler/sema/builtins.h"
#include "compiler/sema/impl.h"
#include "compiler/sema/training.h"
#include "compiler/syntax/parser.h"
#include "runtime/format.h"

namespace nnlc::sema {

using graph::Dim;
using host::Op;
using host::Reg;
using Kind = host::Type::Kind;

bool host_effect(Evaluator& ev, Span span, std::string_view what) {
  if (!ev.context.tensor_code) {
    ++ev.impl->effects;
    return true;
  }
  ev.error(Code::HostEffectInTensorCode, span, fmt::format("{} can't stand in tensor code", what))
      .help(
          "give the value in the block's tuple, and use it outside: `(loss, x)` at its end, and `let loss, x = "
          "minimize(opt) { … }`");
  return false;
}

namespace {

/// The register of a result; a host instruction with an effect runs after everything above it.
Reg call_effect(Evaluator& ev, std::string name, std::vector<Reg> args, host::Type type, Span span,
                host::Instr** instr = nullptr) {
  ev.flush();
  Reg dst = type.kind == Kind::none ? host::kNoReg : ev.new_reg(type);
  host::Instr& i = ev.emit(Op::call, span);
  i.name = std::move(name);
  i.args = std::move(args);
  i.dst = dst;
  if (instr) *instr = &i;
  return dst;
}

host::Type list_of_type(host::Type item) {
  host::Type t = host_type(Kind::list);
  t.items.push_back(std::move(item));
  return t;
}

std::string layer_text(const LayerInstance& layer, int depth) {
  std::string out = layer.class_name + "(";
  bool first = true;
  for (auto& [n, v] : layer.hyper) {
    auto text = static_text(v, "");
    out += (first ? "" : ", ") + n + " = " + (text ? *text : v.get<Inferred>() ? "_" : describe(v));
    first = false;
  }
  out += ")";
  if (layer.members.empty()) return out;
  out += " {\n";
  std::string pad(static_cast<size_t>(depth + 1) * 2, ' ');
  auto one = [&](auto&& self, const std::string& n, const Value& v) -> void {
    if (auto l = v.ptr<LayerInstance>())
      out += pad + n + " = " + layer_text(*l, depth + 1) + "\n";
    else if (auto s = v.ptr<SequenceValue>())
      for (size_t i = 0; i < s->items.size(); ++i) self(self, fmt::format("{}.{}", n, i), s->items[i]);
  };
  for (auto& [n, v] : layer.members) one(one, n, v);
  return out + std::string(static_cast<size_t>(depth) * 2, ' ') + "}";
}

/// What print and str show of values that exist only while compiling.
std::optional<Value> shown(Evaluator& ev, const Value& v, Span span) {
  if (auto l = v.ptr<LayerInstance>()) {
    if (!build_layer(ev, l)) return std::nullopt;
    return Value(layer_text(*l, 0), span);
  }
  if (auto d = v.ptr<DatasetValue>()) {
    std::string out = fmt::format("{}: {} rows of {{", d->data->name(), d->data->size());
    bool first = true;
    for (const auto& f : d->data->fields()) {
      out += (first ? "" : ", ") + f.name + ": ";
      first = false;
      graph::Shape shape(f.shape.begin(), f.shape.end());
      out += f.classes > 0 ? fmt::format("class({}){}", f.classes, f.shape.empty() ? "" : graph::str(shape))
                           : graph::TensorType{static_cast<graph::DType>(f.dtype), shape}.str();
    }
    return Value(out + "}", span);
  }
  return v;
}

Value print(BuiltinCall& c) {
  if (!host_effect(c.ev, c.span, "`print`")) return Poison{};
  std::vector<Reg> args;
  for (auto& a : c.rest) {
    if (!a.name.empty()) {
      c.ev.error(Code::UnknownArgument, a.name_span, fmt::format("`print` has no parameter `{}`", a.name))
          .help("text is put together with `\"{a} {b}\"`");
      return Poison{};
    }
    auto v = shown(c.ev, a.value, a.span);
    if (!v) return Poison{};
    args.push_back(c.ev.reg_of(*v, a.span));
  }
  call_effect(c.ev, "print", std::move(args), host_type(Kind::none), c.span);
  return NoneValue{};
}

Value record(BuiltinCall& c) {
  if (!host_effect(c.ev, c.span, "`record`")) return Poison{};
  std::vector<std::pair<std::string, Reg>> options;
  for (auto& a : c.rest) {
    std::string name = a.name;
    if (name.empty()) {
      auto* n = a.expr ? ast::dyn<ast::NameExpr>(a.expr) : nullptr;
      if (!n) {
        c.ev.error(Code::ArgumentType, a.span, "`record` needs a name for this value")
            .help("write `record(name = value)`");
        return Poison{};
      }
      name = n->name;
    }
    for (auto& [n, r] : options)
      if (n == name) {
        c.ev.error(Code::DuplicateArgument, a.span, fmt::format("`record` is given `{}` twice", name));
        return Poison{};
      }
    Value v = c.ev.to_host(a.value, a.span);
    if (v.is_poison()) return v;
    Kind k = c.ev.type_of(v).kind;
    if (k != Kind::integer && k != Kind::floating && k != Kind::boolean) {
      c.ev.error(Code::ArgumentType, a.span,
                 fmt::format("`record` logs single numbers, but `{}` is {}", name, describe(a.value)));
      return Poison{};
    }
    options.emplace_back(name, c.ev.reg_of(v, a.span));
  }
  host::Instr* i = nullptr;
  call_effect(c.ev, "record", {}, host_type(Kind::none), c.span, &i);
  i->options = std::move(options);
  return NoneValue{};
}

Value assertion(BuiltinCall& c) {
  Value v = c.arg("condition").value;
  Span at = c.arg("condition").span;
  if (auto* b = v.get<bool>(); b && *b) return NoneValue{};
  if (!host_effect(c.ev, c.span, "`assert`")) return Poison{};
  if (auto* t = v.get<TensorValue>(); t && t->type.dtype == graph::DType::boolean && t->type.rank() > 0) {
    c.ev.error(Code::ConditionType, at, fmt::format("`assert` takes one bool, but this is {}", t->type.str()))
        .help("`all(…)` or `any(…)` makes one of it");
    return Poison{};
  }
  v = c.ev.to_host(v, at);
  if (v.is_poison()) return v;
  if (c.ev.type_of(v).kind != Kind::boolean) {
    c.ev.error(Code::ConditionType, at, fmt::format("`assert` takes a bool, but this is {}", describe(v)));
    return Poison{};
  }
  std::vector<Reg> args{c.ev.reg_of(v, at)};
  if (c.given("message")) args.push_back(c.ev.reg_of(c.arg("message").value, c.arg("message").span));
  c.ev.flush();
  c.ev.emit(Op::assert_, c.span).args = std::move(args);
  return NoneValue{};
}

Value assert_close(BuiltinCall& c) {
  if (!host_effect(c.ev, c.span, "`assert_close`")) return Poison{};
  const ArgValue &a = c.arg("a"), &b = c.arg("b");
  auto *x = a.value.get<TensorValue>(), *y = b.value.get<TensorValue>();
  if (x && y && x->type.shape != y->type.shape) {
    c.ev.error(Code::ShapeMismatch, c.span,
               fmt::format("the shapes differ: {} and {}", describe(a.value), describe(b.value)))
        .label(a.span, fmt::format("is {}", describe(a.value)))
        .label(b.span, fmt::format("is {}", describe(b.value)));
    return Poison{};
  }
  Reg ra = c.ev.reg_of(a.value, a.span), rb = c.ev.reg_of(b.value, b.span);
  std::vector<std::pair<std::string, Reg>> options;
  for (const char* n : {"rtol", "atol"})
    if (c.given(n)) {
      auto v = c.number(n);
      if (!v) return Poison{};
      options.emplace_back(n, c.ev.reg_of(Value(*v), c.span));
    }
  host::Instr* i = nullptr;
  call_effect(c.ev, "assert_close", {ra, rb}, host_type(Kind::none), c.span, &i);
  i->options = std::move(options);
  return NoneValue{};
}

// ---------------------------------------------------------------- lists and strings

std::optional<std::vector<Value>> items_of(const Value& v) {
  if (auto s = v.ptr<SequenceValue>()) return s->items;
  if (auto* r = v.get<RangeValue>();
      r && r->is_static && r->lo.is_constant() && r->hi.is_constant() && r->hi.value() - r->lo.value() <= 100000) {
    std::vector<Value> out;
    for (int64_t i = r->lo.value(); i < r->hi.value(); ++i) out.emplace_back(Dim(i), v.span);
    return out;
  }
  return std::nullopt;
}

Value enumerate(BuiltinCall& c) {
  const Value& x = c.arg("items").value;
  if (auto items = items_of(x)) {
    std::vector<Value> out;
    for (size_t i = 0; i < items->size(); ++i)
      out.push_back(sequence_value({Value(Dim(static_cast<int64_t>(i)), c.span), (*items)[i]}, false, c.span));
    return sequence_value(std::move(out), true, c.span);
  }
  // Counted while it is iterated.
  auto marked = std::make_shared<RecordValue>();
  marked->names = {kEnumerateMark};
  marked->items = {x};
  return Value(marked, c.span);
}

Value zip(BuiltinCall& c) {
  std::vector<std::vector<Value>> columns;
  bool is_static = true;
  for (auto& a : c.rest) {
    auto items = items_of(a.value);
    is_static &= items.has_value();
    if (items) columns.push_back(std::move(*items));
  }
  if (c.rest.empty()) {
    c.ev.error(Code::MissingArgument, c.span, "`zip` needs lists");
    return Poison{};
  }
  if (is_static) {
    size_t n = columns[0].size();
    for (auto& col : columns) n = std::min(n, col.size());
    std::vector<Value> out;
    for (size_t i = 0; i < n; ++i) {
      std::vector<Value> row;
      for (auto& col : columns) row.push_back(col[i]);
      out.push_back(sequence_value(std::move(row), false, c.span));
    }
    return sequence_value(std::move(out), true, c.span);
  }
  std::vector<Reg> args;
  host::Type item = host_type(Kind::tuple);
  for (auto& a : c.rest) {
    host::Type t = c.ev.type_of(a.value);
    if (t.kind != Kind::list || t.items.empty()) {
      c.ev.error(Code::ArgumentType, a.span, fmt::format("`zip` takes lists, but this is {}", describe(a.value)));
      return Poison{};
    }
    item.items.push_back(t.items[0]);
    args.push_back(c.ev.reg_of(a.value, a.span));
  }
  host::Type type = list_of_type(item);
  Reg dst = c.ev.new_reg(type);
  emit_call(c.ev, "list_zip", std::move(args), dst, c.span);
  return runtime_value(dst, type, c.span);
}

size_t code_points(const std::string& s) {
  return static_cast<size_t>(
      std::count_if(s.begin(), s.end(), [](char ch) { return (static_cast<unsigned char>(ch) & 0xC0) != 0x80; }));
}

Value len(BuiltinCall& c) {
  const Value& x = c.arg("x").value;
  auto size = [&](int64_t n) { return Value(Dim(n), c.span); };
  if (auto s = x.ptr<SequenceValue>()) return size(static_cast<int64_t>(s->items.size()));
  if (auto* s = x.get<std::string>()) return size(static_cast<int64_t>(code_points(*s)));
  if (auto* t = x.get<TensorValue>(); t && t->type.rank() > 0) return Value(t->type.shape[0], c.span);
  if (auto* r = x.get<RangeValue>(); r && r->is_static) return Value(r->hi - r->lo, c.span);
  if (auto l = x.ptr<LayerInstance>(); l && !l->klass) return size(static_cast<int64_t>(l->members.size()));
  for (const char* member : {"len"})
    if (x.ptr<DatasetValue>() || x.ptr<BatchesValue>() || x.ptr<TextValue>())
      if (auto v = find_member(c.ev, x, ast::Name{member, c.span})) return *v;
  if (auto* r = x.get<RuntimeValue>(); r && (r->type.kind == Kind::list || r->type.kind == Kind::str)) {
    Reg dst = c.ev.new_reg(host_type(Kind::integer));
    emit_call(c.ev, r->type.kind == Kind::list ? "list_len" : "str_len", {r->reg}, dst, c.span);
    return runtime_value(dst, host_type(Kind::integer), c.span);
  }
  c.ev.error(Code::ArgumentType, c.arg("x").span,
             fmt::format("`len` is for lists, strings, data sets and tensors, but this is {}", describe(x)));
  return Poison{};
}

Value convert(BuiltinCall& c) {
  Evaluator& ev = c.ev;
  const ArgValue& a = c.arg("x");
  bool to_int = c.builtin.name == "int";
  Value v = a.value;
  if (v.get<TensorValue>() && ev.context.tensor_code) {
    ev.error(Code::TensorCondition, a.span,
             fmt::format("`{}` makes a host number, and a tensor's value isn't known while the step is compiled",
                         c.builtin.name))
        .help(to_int ? "`i64(x)` converts a tensor" : "`f32(x)` converts a tensor");
    return Poison{};
  }
  v = ev.to_host(v, a.span);
  if (v.is_poison()) return v;
  if (auto* d = v.get<Dim>()) {
    if (to_int || !d->is_constant()) return v;
    return Value(static_cast<double>(d->value()), c.span);
  }
  if (auto* b = v.get<bool>()) return to_int ? Value(Dim(*b ? 1 : 0), c.span) : Value(*b ? 1.0 : 0.0, c.span);
  if (auto* d = v.get<double>()) {
    if (!to_int) return v;
    if (!(std::abs(*d) < 9.2e18)) {
      ev.error(Code::IntOverflow, a.span, "this float doesn't fit into an int");
      return Poison{};
    }
    return Value(Dim(static_cast<int64_t>(*d)), c.span);
  }
  auto* r = v.get<RuntimeValue>();
  if (r && (r->type.kind == Kind::integer || r->type.kind == Kind::floating || r->type.kind == Kind::boolean)) {
    host::Type t = host_type(to_int ? Kind::integer : Kind::floating);
    Reg dst = ev.new_reg(t);
    host::Instr& i = ev.emit_pure(Op::unary, c.span);
    i.name = to_int ? "int" : "float";
    i.args = {r->reg};
    i.dst = dst;
    return runtime_value(dst, t, c.span);
  }
  ev.error(Code::ArgumentType, a.span,
           fmt::format("`{}` converts numbers, but this is {}", c.builtin.name, describe(v)));
  return Poison{};
}

Value to_str(BuiltinCall& c) {
  auto v = shown(c.ev, c.arg("x").value, c.arg("x").span);
  if (!v) return Poison{};
  if (auto text = static_text(*v, "")) return Value(*text, c.span);
  if (!host_effect(c.ev, c.span, "`str` of a run-time value")) return Poison{};
  Reg from = c.ev.reg_of(*v, c.span);
  Reg dst = c.ev.new_reg(host_type(Kind::str));
  emit_call(c.ev, "str", {from}, dst, c.span);
  return runtime_value(dst, host_type(Kind::str), c.span);
}

Value list_append(BuiltinCall& c) {
  const Value &list = c.arg("self").value, &item = c.arg("item").value;
  if (auto s = list.ptr<SequenceValue>()) {
    std::vector<Value> items = s->items;
    items.push_back(item);
    return sequence_value(std::move(items), true, c.span);
  }
  host::Type type = c.ev.type_of(list), of = c.ev.type_of(item);
  if (type.items.empty()) type = list_of_type(of);
  Value v = item;
  if (type.items[0].kind == Kind::floating || type.items[0].kind == Kind::integer)
    v = c.ev.to_host(v, c.arg("item").span);
  Reg l = c.ev.reg_of(list, c.span), r = c.ev.reg_of(v, c.span);
  Reg dst = c.ev.new_reg(type);
  emit_call(c.ev, "list_append", {l, r}, dst, c.span);
  return runtime_value(dst, type, c.span);
}

Value list_map(BuiltinCall& c) {
  const Value& fn = c.arg("function").value;
  if (auto s = c.arg("self").value.ptr<SequenceValue>()) {
    std::vector<Value> out;
    for (auto& item : s->items) {
      out.push_back(c.ev.apply(fn, {item}, c.span));
      if (out.back().is_poison()) return Poison{};
    }
    return sequence_value(std::move(out), true, c.span);
  }
  c.ev.unsupported(Code::NotSupportedYet, c.span, "`map` over a list made at run time is not supported yet")
      .help("`[f(x) for x in list]` does the same");
  return Poison{};
}

/// Methods whose host instruction has a name of its own: type is the result's, "list" for the list's own.
Value host_method(BuiltinCall& c, const char* instr, std::optional<host::Type> type) {
  std::vector<Reg> args;
  for (auto& [n, a] : c.bound) args.push_back(c.ev.reg_of(a.value, a.span));
  host::Type t = type ? *type : c.ev.type_of(c.arg("self").value);
  Reg dst = c.ev.new_reg(t);
  emit_call(c.ev, instr, std::move(args), dst, c.span);
  return c.ev.from_reg(dst, t, c.span);
}

Value list_get(BuiltinCall& c) {
  const Value& self = c.arg("self").value;
  host::Type type = c.ev.type_of(self);
  if (type.items.empty()) {
    c.ev.error(Code::IndexOutOfRange, c.span, "the list is empty");
    return Poison{};
  }
  Value i = c.ev.to_host(c.arg("index").value, c.arg("index").span);
  if (i.is_poison()) return i;
  if (c.ev.type_of(i).kind != Kind::integer) {
    c.ev.error(Code::BadIndex, c.arg("index").span, fmt::format("a list is indexed by an int, not by {}", describe(i)));
    return Poison{};
  }
  Reg l = c.ev.reg_of(self, c.span), r = c.ev.reg_of(i, c.span);
  Reg dst = c.ev.new_reg(type.items[0]);
  emit_call(c.ev, "list_get", {l, r}, dst, c.span);
  return c.ev.from_reg(dst, type.items[0], c.span);
}

Value str_join(BuiltinCall& c) {
  std::vector<Reg> args{c.ev.reg_of(c.arg("self").value, c.span), c.ev.reg_of(c.arg("items").value, c.span)};
  Reg dst = c.ev.new_reg(host_type(Kind::str));
  emit_call(c.ev, "str_join", std::move(args), dst, c.span);
  return runtime_value(dst, host_type(Kind::str), c.span);
}

// ---------------------------------------------------------------- layers and files

/// Root and prefix of what is saved or loaded.
std::optional<std::pair<std::string, std::string>> stored_layer(BuiltinCall& c) {
  auto layer = c.arg("layer").value.ptr<LayerInstance>();
  if (!layer) {
    c.ev.error(Code::ArgumentType, c.arg("layer").span,
               fmt::format("`{}` takes a layer, but this is {}", c.builtin.name, describe(c.arg("layer").value)));
    return std::nullopt;
  }
  if (!build_layer(c.ev, layer)) return std::nullopt;
  // Sizes that a later call infers are known by the time that the program runs.
  return root_and_path(*layer);
}

Value save(BuiltinCall& c) {
  if (!host_effect(c.ev, c.span, "`save`")) return Poison{};
  auto where = stored_layer(c);
  if (!where) return Poison{};
  const ArgValue& path = c.arg("path");
  if (c.ev.type_of(path.value).kind != Kind::str) {
    c.ev.error(Code::ArgumentType, path.span, fmt::format("the path is a str, but this is {}", describe(path.value)));
    return Poison{};
  }
  Reg p = c.ev.reg_of(path.value, path.span);
  host::Instr* i = nullptr;
  call_effect(c.ev, "save", {p}, host_type(Kind::none), c.span, &i);
  i->texts = {where->first, where->second};
  return NoneValue{};
}

Value load(BuiltinCall& c) {
  if (!host_effect(c.ev, c.span, "`load`")) return Poison{};
  auto where = stored_layer(c);
  auto strict = c.boolean("strict");
  if (!where || !strict) return Poison{};
  const ArgValue& path = c.arg("path");
  if (c.ev.type_of(path.value).kind != Kind::str) {
    c.ev.error(Code::ArgumentType, path.span, fmt::format("the path is a str, but this is {}", describe(path.value)));
    return Poison{};
  }
  std::vector<std::string> texts{where->first, where->second};
  if (c.given("rename")) {
    auto r = c.arg("rename").value.ptr<RecordValue>();
    bool ok = r != nullptr;
    for (size_t i = 0; ok && i < r->items.size(); ++i) {
      auto* to = r->items[i].get<std::string>();
      ok = to != nullptr;
      if (ok) {
        texts.push_back(r->names[i]);
        texts.push_back(*to);
      }
    }
    if (!ok) {
      c.ev.error(Code::ArgumentType, c.arg("rename").span, "`rename` is a record of strings")
          .help("`rename = {\"old.\": \"new.\"}`");
      return Poison{};
    }
  }
  host::Type type = host_type(Kind::record);
  for (const char* n : {"missing", "left_over", "reshaped"}) {
    type.names.emplace_back(n);
    type.items.push_back(list_of_type(host_type(Kind::str)));
  }
  Reg p = c.ev.reg_of(path.value, path.span);
  Reg s = c.ev.reg_of(Value(*strict), c.span);
  host::Instr* i = nullptr;
  Reg dst = call_effect(c.ev, "load", {p}, type, c.span, &i);
  i->options.emplace_back("strict", s);
  i->texts = std::move(texts);
  return c.ev.from_reg(dst, type, c.span);
}

Value sequential(BuiltinCall& c) { return make_sequential(c.ev, std::move(c.rest), c.span); }

Value tie(BuiltinCall& c) {
  std::vector<ArgValue> args;
  for (auto& [n, a] : c.bound) args.push_back(a);
  return tie_params(c.ev, args, c.span);
}

Value freeze(BuiltinCall& c) {
  const ArgValue& a = c.arg("x");
  if (!host_effect(c.ev, c.span, fmt::format("`{}`", c.builtin.name))) return Poison{};
  return set_frozen(c.ev, a.value, c.builtin.name == "freeze", a.span.valid() ? a.span : c.span)
             ? Value(NoneValue{}, c.span)
             : Value(Poison{});
}

Value time_now(BuiltinCall& c) {
  if (!host_effect(c.ev, c.span, "`time`")) return Poison{};
  Reg dst = call_effect(c.ev, "time", {}, host_type(Kind::floating), c.span);
  return runtime_value(dst, host_type(Kind::floating), c.span);
}

Value param_count(BuiltinCall& c) {
  if (!c.arg("layer").value.ptr<LayerInstance>()) {
    c.ev.error(Code::ArgumentType, c.arg("layer").span,
               fmt::format("`param_count` takes a layer, but this is {}", describe(c.arg("layer").value)));
    return Poison{};
  }
  Dim n(0);
  for (auto& p : c.ev.params_of(c.arg("layer").value)) n = n + graph::element_count(p->type.shape);
  return Value(n, c.span);
}

Value collect(BuiltinCall& c) {
  c.ev.error(Code::ArgumentType, c.span, "`collect` takes a loop").help("`collect(for x in xs { … })`");
  return Poison{};
}

Value not_yet(BuiltinCall& c) {
  c.ev.unsupported(Code::NotSupportedYet, c.callee_span.valid() ? c.callee_span : c.span,
                   fmt::format("`{}` is not supported yet", c.builtin.name));
  return Poison{};
}

const host::Type kStr = host_type(Kind::str);
const host::Type kBool = host_type(Kind::boolean);

}  // namespace

const std::vector<Builtin> kHostBuiltins = {
    {"print", "*values", print, "The values, joined by a space, and a new line."},
    {"record", "*values", record, "Logs numbers by step: to the progress bar, the run's metrics and its report."},
    {"assert", "condition, message = None", assertion,
     "Stops the program, or fails the test, unless the condition holds."},
    {"assert_close", "a, b, rtol = None, atol = None", assert_close,
     "Stops unless a and b are equal but for rounding."},
    {"enumerate", "items", enumerate, "Pairs of number and item, for a loop."},
    {"zip", "*lists", zip, "Tuples of the items at one place of each list."},
    {"len", "x", len, "How many items, characters, rows or records."},
    {"int", "x", convert, "A float as an int, cut off towards zero; a bool as 0 or 1."},
    {"float", "x", convert, "An int as a float."},
    {"str", "x", to_str, "A value as print shows it."},
    {"time", "", time_now, "Seconds of a steady clock."},
    {"collect", "loop", collect, "A list of what each pass of a loop gives."},
    {"Sequential", "*layers", sequential, "Layers applied in order."},
    {"save", "layer, path", save, "Writes a layer's parameters and states as safetensors."},
    {"load", "layer, path, strict = true, rename = None", load, "Reads a layer's parameters and states."},
    {"tie", "a, b", tie, "Makes two parameters one."},
    {"freeze", "x", freeze, "No gradients, updates, running statistics or dropout at or below it."},
    {"unfreeze", "x", freeze, "Undoes freeze."},
    {"param_count", "layer", param_count, "The number of learned numbers of a layer."},
    {"checkpoint", "*args", not_yet, "Makes the run resumable."},
    {"fit", "*args", not_yet, "A training loop in one call."},
    {"list.append", "self, item", list_append, "The list with one more item."},
    {"list.map", "self, function", list_map, "The function of each item."},
    {"list.[]", "self, index", list_get, ""},
    {"list.contains", "self, item", [](BuiltinCall& c) { return host_method(c, "list_contains", kBool); },
     "Whether an item is in the list."},
    {"list.reverse", "self", [](BuiltinCall& c) { return host_method(c, "list_reverse", std::nullopt); },
     "The list backwards."},
    {"list.sort", "self", [](BuiltinCall& c) { return host_method(c, "list_sort", std::nullopt); },
     "The list in ascending order."},
    {"str.join", "self, items", str_join, "The items with the string between them."},
    {"str.upper", "self", [](BuiltinCall& c) { return host_method(c, "str_upper", kStr); }, "In upper case."},
    {"str.lower", "self", [](BuiltinCall& c) { return host_method(c, "str_lower", kStr); }, "In lower case."},
    {"str.strip", "self", [](BuiltinCall& c) { return host_method(c, "str_strip", kStr); },
     "Without white space at both ends."},
    {"str.replace", "self, old, new", [](BuiltinCall& c) { return host_method(c, "str_replace", kStr); },
     "Every `old` replaced."},
    {"str.split", "self, separator", [](BuiltinCall& c) { return host_method(c, "str_split", list_of_type(kStr)); },
     "The parts between separators."},
    {"str.contains", "self, part", [](BuiltinCall& c) { return host_method(c, "str_contains", kBool); },
     "Whether the part occurs."},
    {"str.starts_with", "self, part", [](BuiltinCall& c) { return host_method(c, "str_starts_with", kBool); },
     "Whether it starts so."},
    {"str.ends_with", "self, part", [](BuiltinCall& c) { return host_method(c, "str_ends_with", kBool); },
     "Whether it ends so."},
};

}  // namespace nnlc::sema
