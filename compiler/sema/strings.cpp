// Strings with interpolations: text where everything is static, a `format` call of the host program otherwise.
#include <fmt/format.h>

#include "compiler/sema/impl.h"
#include "runtime/format.h"

namespace nnlc::sema {

using Kind = host::Type::Kind;

std::optional<std::string> static_text(const Value& v, const std::string& spec) {
  if (auto* s = v.get<std::string>()) return spec.empty() ? *s : nnl::format_value(spec, std::string_view(*s));
  if (auto* b = v.get<bool>()) return spec.empty() ? (*b ? "true" : "false") : nnl::format_value(spec, *b);
  if (auto* d = v.get<graph::Dim>()) {
    if (!d->is_constant()) return spec.empty() ? std::optional<std::string>(d->str()) : std::nullopt;
    return spec.empty() ? std::to_string(d->value()) : nnl::format_value(spec, d->value());
  }
  if (auto* d = v.get<double>()) return spec.empty() ? nnl::format_float(*d) : nnl::format_value(spec, *d);
  if (v.is_none()) return "None";
  if (auto s = v.ptr<SequenceValue>(); s && spec.empty()) {
    std::string out = s->is_list ? "[" : "(";
    for (size_t i = 0; i < s->items.size(); ++i) {
      auto item = static_text(s->items[i], "");
      if (!item) return std::nullopt;
      out += (i ? ", " : "") + (s->items[i].get<std::string>() ? "\"" + *item + "\"" : *item);
    }
    if (!s->is_list && s->items.size() == 1) out += ",";
    return out + (s->is_list ? "]" : ")");
  }
  return std::nullopt;
}

namespace {

/// False: reported.
bool check_spec(Evaluator& ev, const Value& v, const std::string& spec, Span span) {
  if (spec.empty()) return true;
  nnl::SpecKind kind = nnl::SpecKind::text;
  Kind k = ev.type_of(v).kind;
  if (auto* t = v.get<TensorValue>(); t && t->type.rank() == 0)
    k = graph::is_float(t->type.dtype)           ? Kind::floating
        : t->type.dtype == graph::DType::boolean ? Kind::boolean
                                                 : Kind::integer;
  if (k == Kind::integer)
    kind = nnl::SpecKind::integer;
  else if (k == Kind::floating)
    kind = nnl::SpecKind::floating;
  else if (k == Kind::boolean)
    kind = nnl::SpecKind::boolean;
  else if (k != Kind::str) {
    ev.error(Code::BadFormat, span,
             fmt::format("a format is for numbers, bools and strings, but this is {}", describe(v)));
    return false;
  }
  if (auto wrong = nnl::format_spec_error(spec, kind)) {
    ev.error(Code::BadFormat, span, fmt::format("the format `{}` doesn't fit {}: {}", spec, describe(v), *wrong));
    return false;
  }
  return true;
}

}  // namespace

Value eval_string(Evaluator& ev, const ast::StringExpr& e, const std::shared_ptr<Scope>& scope) {
  if (e.is_literal()) return Value(e.literal(), e.span);
  std::vector<Value> values;
  bool is_static = true, poison = false;
  for (auto& p : e.parts) {
    if (!p.expr) {
      values.emplace_back(p.text, p.span);
      continue;
    }
    Value v = ev.eval(*p.expr, scope);
    poison |= v.is_poison() || !check_spec(ev, v, p.format, p.span.valid() ? p.span : p.expr->span);
    is_static &= static_text(v, "").has_value();
    values.push_back(std::move(v));
  }
  if (poison) return Poison{};
  if (is_static) {
    std::string out;
    for (size_t i = 0; i < values.size(); ++i) {
      auto text = static_text(values[i], e.parts[i].expr ? e.parts[i].format : "");
      out += text ? *text : "";
    }
    return Value(out, e.span);
  }
  if (!host_effect(ev, e.span, "text made of run-time values")) return Poison{};
  std::vector<host::Reg> args;
  std::vector<std::string> texts{""};
  for (size_t i = 0; i < values.size(); ++i) {
    if (!e.parts[i].expr) {
      texts.back() += e.parts[i].text;
      continue;
    }
    args.push_back(ev.reg_of(values[i], e.parts[i].expr->span));
    texts.push_back(e.parts[i].format);
    texts.emplace_back();
  }
  host::Reg dst = ev.new_reg(host_type(Kind::str));
  emit_call(ev, "format", std::move(args), dst, e.span).texts = std::move(texts);
  return runtime_value(dst, host_type(Kind::str), e.span);
}

}  // namespace nnlc::sema
