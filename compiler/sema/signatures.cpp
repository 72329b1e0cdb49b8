// Written types: whether a value has one, what its names bind, and what is said where the two disagree.
#include <fmt/format.h>

#include <algorithm>

#include "compiler/sema/builtins.h"
#include "compiler/sema/layers.h"
#include "compiler/sema/tensor_support.h"
#include "compiler/syntax/parser.h"

namespace nnlc::sema {

using Kind = host::Type::Kind;

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
    if (names_a_size(*scope, n->name)) continue;
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

bool names_a_size(Scope& scope, const std::string& name) {
  const Scope::Entry* e = scope.find(name);
  if (!e) return false;
  const Value& v = e->value;
  return !is_upper_name(name) || v.is_poison() || v.get<Dim>() || v.get<Inferred>() || v.get<RuntimeValue>() ||
         v.ptr<SequenceValue>() || v.get<double>() || e->declared_later;
}

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

/// The owner and the parameter in `what`, which is "`f`|x" for an argument, "`fc`|" for the only input of a layer, else
/// "`x`" or "the result of …".
struct Subject {
  std::string owner, param;
  bool is_argument = false, is_input = false;
  explicit Subject(const std::string& what) {
    size_t bar = what.find('|');
    owner = what.substr(0, bar);
    is_argument = bar != std::string::npos;
    if (is_argument) param = what.substr(bar + 1);
    is_input = is_argument && param.empty();
  }
};

/// The value's type; its element type is left out where `t` leaves it out, too.
std::string given_text(const ast::TypeExpr& t, const Value& v) {
  auto* x = v.get<TensorValue>();
  bool plain = t.kind == ast::TypeExpr::Kind::tensor && !t.name;
  if (plain && x && !x->classes && x->type.dtype == graph::DType::f32) return graph::str(x->type.shape);
  return describe(v);
}

/// Where the size of a layer's signature comes from: "392 comes from `hidden` here".
std::string origin_text(Evaluator& ev, const LayerInstance& layer, const ast::DimExpr* dim) {
  std::vector<const ast::NameExpr*> names;
  if (dim && dim->expr) names_in(*dim->expr, names);
  for (auto* n : names) {
    auto given = layer.given.find(n->name);
    if (given == layer.given.end() || !given->second || given->second->kind == ast::Expr::Kind::int_) continue;
    std::string source = source_text(ev, given->second->span, "");
    for (auto& [name, value] : layer.hyper)
      if (auto* size = value.get<Dim>(); size && name == n->name && !source.empty() && size->str() != source)
        return fmt::format("{} comes from `{}` here", size->str(), source);
  }
  return "made here";
}

/// Another member of the layer around, not called yet, that takes the value and gives what `self` takes.
void suggest_member(Evaluator& ev, DiagnosticBuilder& d, const std::string& wanted, const Value& v);

/// `dim`: the one that disagrees, where it is one.
DiagnosticBuilder mismatch(Evaluator& ev, Code code, const ast::TypeExpr& t, const std::string& wanted, const Value& v,
                           Span at, const std::string& what, const ast::DimExpr* dim = nullptr) {
  Subject s(what);
  std::string given = given_text(t, v);
  std::string message;
  if (s.is_input)
    message = fmt::format("{} takes {}, but its input is {}", s.owner, wanted, given);
  else if (s.is_argument)
    message = fmt::format("{} takes {} for `{}`, but is given {}", s.owner, wanted, s.param, given);
  else
    message = fmt::format("{} is declared as {}, but is {}", s.owner, wanted, given);
  auto d = ev.error(code, at, message);
  const auto& self = ev.context.self;
  bool in_library = ev.sources.file(t.span.file).is_library;
  bool made_by_user = self && self->span.valid() && !ev.sources.file(self->span.file).is_library;
  std::string origin = made_by_user && s.is_argument ? origin_text(ev, *self, dim) : "";
  if (!in_library) d.label(t.span, "declared here");
  if (in_library ? !origin.empty() : !origin.empty() && origin != "made here") d.label(self->span, origin);
  if (v.span.valid() && !(v.span == at) && !ev.sources.file(v.span.file).is_library)
    d.label(v.span, fmt::format("gives {}", given));
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

void suggest_member(Evaluator& ev, DiagnosticBuilder& d, const std::string& wanted, const Value& v) {
  const std::shared_ptr<LayerInstance> self = ev.context.self, around = ev.context.caller;
  if (!self || !around || ev.impl->suggesting) return;
  const ast::FnStmt* own = forward_of(*self);
  if (!own || own->params.empty() || !own->params[0].type) return;
  for (auto& [name, member] : around->members) {
    auto other = member.ptr<LayerInstance>();
    const ast::FnStmt* forward = other && other != self ? forward_of(*other) : nullptr;
    if (!forward || !other->built || has_inferred(*other) || forward->params.empty() || !forward->params[0].type)
      continue;
    // Tried with graphs and messages that are thrown away.
    size_t before = ev.diags.all().size();
    ev.impl->suggesting = true;
    bool fits = false;
    std::string takes, gives;
    {
      DryRun dry(ev);
      ev.context.self = around;
      ArgValue a;
      a.value = v;
      a.span = d.span();
      Value result = ev.call_layer(other, {a}, d.span());
      if (auto* x = result.get<TensorValue>(); x && ev.diags.all().size() == before) {
        Evaluator::DimBindings none;
        Value fed = result;
        ev.context.self = self;
        fits = ev.match_type(*own->params[0].type, fed, none, self->scope, d.span(), "the value") &&
               ev.diags.all().size() == before;
        takes = wanted_text(ev, *forward->params[0].type, {}, other->scope);
        gives = forward->result ? wanted_text(ev, *forward->result, {}, other->scope) : graph::str(x->type.shape);
      }
    }
    ev.impl->suggesting = false;
    ev.diags.truncate(before);
    if (!fits || takes == wanted) continue;
    d.help(fmt::format("`{}` takes {} and gives {}: was it meant to come first?", name, takes, gives));
    return;
  }
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
  auto wrong = [&](const ast::DimExpr* dim = nullptr) {
    std::string wanted = wanted_text(ev, t, dims, scope);
    auto d = mismatch(ev, Code::ShapeMismatch, t, wanted, v, at, what, dim);
    if (Subject(what).is_input) suggest_member(ev, d, wanted, v);
    return d;
  };
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
      if (*want == size || ev.may_be_equal(*want, size)) continue;
      auto e = wrong(&d);
      if (auto* n = ast::dyn<ast::NameExpr>(d.expr.get()); n && dims.count(n->name))
        e.note(fmt::format("`{}` is {} already", n->name, want->str()));
      return false;
    }
    if (unknown.size() == 1 && unknown[0] == "?_") continue;
    auto solved = unknown.size() == 1 ? want->solve(size) : std::nullopt;
    if (!solved) {
      wrong(&d).note(unknown.size() == 1
                         ? fmt::format("no `{}` makes `{}` equal to {}", unknown[0].substr(1),
                                       syntax::to_source(*d.expr), size.str())
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
  // What a part of the value is called: `b.image`, `p[1]`.
  auto part = [&](const std::string& which) {
    const Subject whole(what);
    return whole.is_argument && !whole.is_input ? what + which : what;
  };
  if (t.kind == K::tuple) {
    auto s = v.ptr<SequenceValue>();
    if (!s || s->is_list || s->items.size() != t.items.size()) {
      wrong();
      return false;
    }
    for (size_t i = 0; i < t.items.size(); ++i)
      if (!match_type(t.items[i], s->items[i], dims, scope, at, part(fmt::format("[{}]", i)))) return false;
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
        if (!match_type(t.items[i], r->items[k], dims, scope, at, part("." + r->names[k]))) return false;
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
  if (const TensorValue& ints = *v.get<TensorValue>(); t.kind == K::klass && t.classes && ints.adapts && !ints.classes)
    if (auto want = eval_dim(*this, *t.classes, dims, scope); want && want->is_constant())
      v = Value(as_labels(*this, ints, want->value(), at), v.span);
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
