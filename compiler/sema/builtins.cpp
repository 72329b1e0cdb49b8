// The tables of builtins joined, their signatures read, and the checked access to a call's arguments.
#include "compiler/sema/builtins.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <mutex>
#include <unordered_map>

#include "compiler/sema/impl.h"
#include "compiler/sema/training.h"
#include "compiler/sema/training_support.h"
#include "runtime/parse.h"

namespace nnlc::sema {

using graph::Dim;

const std::vector<const Builtin*>& all_builtins() {
  static const std::vector<const Builtin*> all = [] {
    std::vector<const Builtin*> out;
    for (auto* table : {&kTensorBuiltins, &kHostBuiltins, &kDataBuiltins, &kTrainingBuiltins})
      for (const Builtin& b : *table) out.push_back(&b);
    return out;
  }();
  return all;
}

std::vector<BuiltinInfo> list_builtins() {
  std::vector<BuiltinInfo> out;
  for (const Builtin* b : all_builtins()) out.push_back({b->name, b->signature, b->doc});
  return out;
}

const Builtin* find_builtin(std::string_view name) {
  static const std::unordered_map<std::string_view, const Builtin*> index = [] {
    std::unordered_map<std::string_view, const Builtin*> out;
    for (const Builtin* b : all_builtins()) out.emplace(b->name, b);
    return out;
  }();
  auto at = index.find(name);
  return at == index.end() ? nullptr : at->second;
}

namespace {

std::string_view kind_of_value(const Value& v) {
  using K = host::Type::Kind;
  if (v.get<TensorValue>()) return "tensor";
  if (v.ptr<DatasetValue>()) return "dataset";
  if (v.ptr<BatchesValue>()) return "batches";
  if (v.ptr<TextValue>()) return "text";
  if (v.ptr<OptimizerInstance>()) return "optimizer";
  if (v.ptr<LayerInstance>()) return "layer";
  if (v.get<std::string>()) return "str";
  if (auto s = v.ptr<SequenceValue>()) return s->is_list ? "list" : "tuple";
  if (auto* r = v.get<RuntimeValue>()) {
    if (r->type.kind == K::list) return "list";
    if (r->type.kind == K::str) return "str";
  }
  return "";
}

}  // namespace

const Builtin* find_method(const Value& self, std::string_view name) {
  std::string_view kind = kind_of_value(self);
  if (kind.empty()) return nullptr;
  if (const Builtin* b = find_builtin(std::string(kind) + "." + std::string(name))) return b;
  return kind == "tensor" ? find_builtin(name) : nullptr;
}

// ---------------------------------------------------------------- signatures

namespace {

struct BuiltinParam {
  std::string name;
  std::optional<Value> fallback;
};
struct Signature {
  std::vector<BuiltinParam> params;
  int rest = -1;  ///< where "*xs" stands
};

Value read_literal(std::string_view text) {
  if (text == "None") return NoneValue{};
  if (text == "true" || text == "false") return Value(text == "true");
  if (text.size() >= 2 && text.front() == '"') return Value(std::string(text.substr(1, text.size() - 2)));
  if (text.size() >= 2 && text.front() == '[') {
    std::vector<Value> items;
    std::string_view inner = text.substr(1, text.size() - 2);
    while (!inner.empty()) {
      size_t comma = inner.find(',');
      std::string_view one = inner.substr(0, comma);
      while (!one.empty() && one.front() == ' ') one.remove_prefix(1);
      if (!one.empty()) items.push_back(read_literal(one));
      if (comma == std::string_view::npos) break;
      inner.remove_prefix(comma + 1);
    }
    return sequence_value(std::move(items), true, {});
  }
  std::string s(text);
  if (s.find_first_of(".eE") != std::string::npos) return Value(nnl::parse_float(s).value_or(0));
  return Value(Dim(std::strtoll(s.c_str(), nullptr, 10)));
}

Signature parse_signature(const Builtin& b) {
  Signature s;
  std::string_view text = b.signature;
  size_t i = 0;
  while (i < text.size()) {
    // One parameter up to a comma outside of brackets and quotes.
    size_t begin = i;
    int depth = 0;
    bool quoted = false;
    for (; i < text.size(); ++i) {
      char c = text[i];
      if (c == '"') quoted = !quoted;
      if (quoted) continue;
      if (c == '[' || c == '(') ++depth;
      if (c == ']' || c == ')') --depth;
      if (c == ',' && depth == 0) break;
    }
    std::string_view one = text.substr(begin, i - begin);
    if (i < text.size()) ++i;
    while (!one.empty() && one.front() == ' ') one.remove_prefix(1);
    while (!one.empty() && one.back() == ' ') one.remove_suffix(1);
    if (one.empty()) continue;
    if (one.front() == '*') {
      s.rest = static_cast<int>(s.params.size());
      continue;
    }
    size_t equals = one.find('=');
    BuiltinParam p;
    std::string_view name = one.substr(0, equals);
    while (!name.empty() && name.back() == ' ') name.remove_suffix(1);
    p.name = std::string(name);
    if (equals != std::string_view::npos) {
      std::string_view value = one.substr(equals + 1);
      while (!value.empty() && value.front() == ' ') value.remove_prefix(1);
      p.fallback = read_literal(value);
    }
    s.params.push_back(std::move(p));
  }
  return s;
}

/// Parsed once for all compilations of the process, on whichever thread comes first.
const Signature& signature_of(const Builtin& b) {
  static std::mutex mutex;
  static std::map<const Builtin*, const Signature> cache;
  std::lock_guard lock(mutex);
  auto at = cache.find(&b);
  if (at == cache.end()) at = cache.emplace(&b, parse_signature(b)).first;
  return at->second;
}

std::string shown_name(const Builtin& b) {
  std::string_view name = b.name;
  if (size_t dot = name.find('.'); dot != std::string_view::npos) name = name.substr(dot + 1);
  return std::string(name);
}

}  // namespace

Value call_builtin(Evaluator& ev, const Builtin& b, std::vector<ArgValue> args, const LambdaValue* lambda, Span span,
                   Span callee_span) {
  const Signature& s = signature_of(b);
  BuiltinCall call{ev, b, span, callee_span, {}, {}, lambda};
  std::vector<ArgValue> named;
  size_t before_rest = s.rest < 0 ? s.params.size() : static_cast<size_t>(s.rest);
  bool keeps_names = s.params.empty() && s.rest == 0;  // record, Sequential, print
  size_t positional = 0;
  for (ArgValue& a : args) {
    if (a.name.empty() && s.rest >= 0 && positional >= before_rest) {
      call.rest.push_back(std::move(a));
      continue;
    }
    bool known = std::any_of(s.params.begin(), s.params.end(), [&](auto& p) { return p.name == a.name; });
    if (!a.name.empty() && !known && keeps_names) {
      call.rest.push_back(std::move(a));
      continue;
    }
    if (a.name.empty()) ++positional;
    named.push_back(std::move(a));
  }
  std::vector<std::string> names;
  for (auto& p : s.params) names.push_back(p.name);
  std::vector<ArgValue*> ordered;
  std::string what = fmt::format("`{}`", shown_name(b));
  std::vector<std::string> shown = names;
  if (!shown.empty() && shown[0] == "self") {
    // The object of a method isn't counted among its arguments.
    std::vector<ArgValue> others(named.begin() + (named.empty() ? 0 : 1), named.end());
    std::vector<std::string> other_names(names.begin() + 1, names.end());
    std::vector<ArgValue*> other_ordered;
    if (!order_args(ev, what, other_names, others, other_ordered, span)) return Poison{};
  }
  if (!order_args(ev, what, names, named, ordered, span)) return Poison{};
  for (size_t i = 0; i < s.params.size(); ++i) {
    ArgValue a;
    if (ordered[i]) {
      a = *ordered[i];
    } else if (s.params[i].fallback) {
      a.value = *s.params[i].fallback;
    } else if (lambda && i + 1 == s.params.size()) {
      a.value = Value(*lambda, lambda->decl->span);
      a.span = lambda->decl->span;
    } else {
      ev.error(Code::MissingArgument, callee_span.valid() ? callee_span : span,
               fmt::format("{} needs `{}`", what, s.params[i].name))
          .note(fmt::format("its signature: {}({})", shown_name(b), b.signature));
      return Poison{};
    }
    if (a.value.is_poison()) return Poison{};
    call.bound.emplace_back(s.params[i].name, std::move(a));
  }
  for (auto& a : call.rest)
    if (a.value.is_poison()) return Poison{};
  Value v = b.fn(call);
  if (!v.span.valid()) v.span = span;
  return v;
}

// ---------------------------------------------------------------- arguments

const ArgValue& BuiltinCall::arg(std::string_view name) const {
  static const ArgValue none{"", {}, Value(NoneValue{}), {}};
  for (auto& [n, a] : bound)
    if (n == name) return a;
  return none;
}

bool BuiltinCall::given(std::string_view name) const {
  const ArgValue& a = arg(name);
  return a.span.valid() && !a.value.is_none();
}

namespace {

Span place_of(const BuiltinCall& c, const ArgValue& a) {
  return a.span.valid() ? a.span : c.callee_span.valid() ? c.callee_span : c.span;
}

DiagnosticBuilder wrong(BuiltinCall& c, std::string_view name, std::string_view wanted) {
  const ArgValue& a = c.arg(name);
  auto* r = a.value.get<RuntimeValue>();
  bool run_time = r != nullptr;
  return c.ev.error(run_time ? Code::NotStatic : Code::ArgumentType, place_of(c, a),
                    run_time ? fmt::format("`{}` of `{}` must be known when compiling", name, shown_name(c.builtin))
                             : fmt::format("`{}` of `{}` is {}, but this is {}", name, shown_name(c.builtin), wanted,
                                           describe(a.value)));
}

}  // namespace

std::optional<TensorValue> BuiltinCall::tensor(std::string_view name) {
  const ArgValue& a = arg(name);
  if (a.value.is_poison()) return std::nullopt;
  if (auto* t = a.value.get<TensorValue>()) return *t;
  bool number = a.value.get<Dim>() || a.value.get<double>() || a.value.get<bool>();
  if (auto* r = a.value.get<RuntimeValue>())
    number = r->type.kind == host::Type::Kind::integer || r->type.kind == host::Type::Kind::floating ||
             r->type.kind == host::Type::Kind::boolean;
  if (!number) {
    auto d = ev.error(Code::NotATensor, place_of(*this, a),
                      fmt::format("`{}` takes a tensor, but this is {}", shown_name(builtin), describe(a.value)));
    if (auto s = a.value.ptr<SequenceValue>(); s && s->is_list) d.help("`tensor([…])` makes a tensor of a list");
    if (auto l = a.value.ptr<LayerInstance>()) d.help("call the layer first");
    return std::nullopt;
  }
  return ev.to_tensor(a.value, std::nullopt, place_of(*this, a));
}

std::optional<int64_t> BuiltinCall::integer(std::string_view name) {
  const ArgValue& a = arg(name);
  if (a.value.is_poison()) return std::nullopt;
  auto* d = a.value.get<Dim>();
  if (d && d->is_constant()) return d->value();
  if (d && ev.context.dry) return std::nullopt;
  wrong(*this, name, "an int");
  return std::nullopt;
}

std::optional<Dim> BuiltinCall::dim(std::string_view name) {
  const ArgValue& a = arg(name);
  if (a.value.is_poison()) return std::nullopt;
  if (auto* d = a.value.get<Dim>()) return *d;
  wrong(*this, name, "an int");
  return std::nullopt;
}

std::optional<double> BuiltinCall::number(std::string_view name) {
  const ArgValue& a = arg(name);
  if (a.value.is_poison()) return std::nullopt;
  if (auto* d = a.value.get<double>()) return *d;
  if (auto* d = a.value.get<Dim>(); d && d->is_constant()) return static_cast<double>(d->value());
  wrong(*this, name, "a number");
  return std::nullopt;
}

std::optional<bool> BuiltinCall::boolean(std::string_view name) {
  const ArgValue& a = arg(name);
  if (a.value.is_poison()) return std::nullopt;
  if (auto* b = a.value.get<bool>()) return *b;
  wrong(*this, name, "true or false");
  return std::nullopt;
}

std::optional<std::string> BuiltinCall::text(std::string_view name) {
  const ArgValue& a = arg(name);
  if (a.value.is_poison()) return std::nullopt;
  if (auto* s = a.value.get<std::string>()) return *s;
  wrong(*this, name, "a str");
  return std::nullopt;
}

std::optional<int64_t> BuiltinCall::axis(std::string_view name, size_t rank) {
  auto a = integer(name);
  if (!a) return std::nullopt;
  auto r = static_cast<int64_t>(rank);
  if (*a < -r || *a >= r) {
    auto d = ev.error(Code::AxisOutOfRange, place_of(*this, arg(name)),
                      fmt::format("there is no axis {} in a tensor of rank {}", *a, rank));
    if (rank > 0) d.note(fmt::format("its axes are 0 to {}, or -{} to -1 from the end", rank - 1, rank));
    return std::nullopt;
  }
  return *a < 0 ? *a + r : *a;
}

std::optional<graph::IntList> BuiltinCall::axes(std::string_view name, size_t rank) {
  const ArgValue& a = arg(name);
  if (a.value.is_poison()) return std::nullopt;
  graph::IntList out;
  if (a.value.is_none()) {
    for (size_t i = 0; i < rank; ++i) out.push_back(static_cast<int64_t>(i));
    return out;
  }
  std::vector<Value> items;
  if (auto s = a.value.ptr<SequenceValue>())
    items = s->items;
  else
    items.push_back(a.value);
  auto r = static_cast<int64_t>(rank);
  for (const Value& v : items) {
    auto n = static_int(v);
    if (!n) {
      wrong(*this, name, "an int or a list of ints");
      return std::nullopt;
    }
    if (*n < -r || *n >= r) {
      auto d = ev.error(Code::AxisOutOfRange, place_of(*this, a),
                        fmt::format("there is no axis {} in a tensor of rank {}", *n, rank));
      if (rank > 0) d.note(fmt::format("its axes are 0 to {}, or -{} to -1 from the end", rank - 1, rank));
      return std::nullopt;
    }
    int64_t axis = *n < 0 ? *n + r : *n;
    if (std::find(out.begin(), out.end(), axis) != out.end()) {
      ev.error(Code::AxisOutOfRange, place_of(*this, a), fmt::format("axis {} stands twice in the list", *n));
      return std::nullopt;
    }
    out.push_back(axis);
  }
  std::sort(out.begin(), out.end());
  return out;
}

std::optional<graph::Shape> BuiltinCall::shape(std::string_view name) {
  const ArgValue& a = arg(name);
  if (a.value.is_poison()) return std::nullopt;
  graph::Shape out;
  std::vector<Value> items;
  if (auto s = a.value.ptr<SequenceValue>())
    items = s->items;
  else
    items.push_back(a.value);
  for (const Value& v : items) {
    auto* d = v.get<Dim>();
    if (!d) {
      wrong(*this, name, "a list of ints");
      return std::nullopt;
    }
    if (d->is_constant() && d->value() < 0) {
      ev.error(Code::BadSize, place_of(*this, a), fmt::format("a size can't be {}", d->value()));
      return std::nullopt;
    }
    out.push_back(*d);
  }
  return out;
}

}  // namespace nnlc::sema
