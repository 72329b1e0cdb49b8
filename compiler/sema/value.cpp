// Values in words, and scopes.
#include "compiler/sema/value.h"

#include <fmt/format.h>

#include "compiler/sema/training.h"

namespace nnlc::sema {

graph::Dim form_of(const RuntimeValue& v) { return v.form ? *v.form : graph::Dim::symbol(fmt::format("$r{}", v.reg)); }

const Value* RecordValue::find(const std::string& n) const {
  for (size_t i = 0; i < names.size(); ++i)
    if (names[i] == n) return &items[i];
  return nullptr;
}

namespace {

std::string of_type(const host::Type& t) {
  using K = host::Type::Kind;
  switch (t.kind) {
    case K::none:
      return "None";
    case K::integer:
      return "an int";
    case K::floating:
      return "a float";
    case K::boolean:
      return "a bool";
    case K::str:
      return "a str";
    case K::list:
      return "a list";
    case K::tuple:
      return fmt::format("a tuple of {}", t.items.size());
    default:
      return t.str();
  }
}

struct Describe {
  std::string operator()(const Poison&) const { return "a value that could not be computed"; }
  std::string operator()(const NoneValue&) const { return "None"; }
  std::string operator()(const Inferred&) const { return "`_`"; }
  std::string operator()(const graph::Dim& d) const { return d.is_constant() ? "an int" : "the size " + d.str(); }
  std::string operator()(double) const { return "a float"; }
  std::string operator()(bool) const { return "a bool"; }
  std::string operator()(const std::string&) const { return "a str"; }
  std::string operator()(const RuntimeValue& v) const { return of_type(v.type); }
  std::string operator()(const RangeValue&) const { return "a range"; }
  std::string operator()(const TensorValue& t) const {
    if (!t.classes) return t.type.str();
    return t.type.rank() == 0 ? fmt::format("class({})", t.classes->str())
                              : fmt::format("class({}){}", t.classes->str(), graph::str(t.type.shape));
  }
  std::string operator()(const std::shared_ptr<SequenceValue>& s) const {
    if (s->is_list) return s->items.empty() ? "an empty list" : fmt::format("a list of {}", s->items.size());
    return fmt::format("a tuple of {}", s->items.size());
  }
  std::string operator()(const std::shared_ptr<RecordValue>& r) const {
    std::string out = "a record {";
    for (size_t i = 0; i < r->names.size(); ++i) out += (i ? ", " : "") + r->names[i];
    return out + "}";
  }
  std::string operator()(const FunctionValue& f) const { return fmt::format("the function {}", f.decl->name.text); }
  std::string operator()(const LambdaValue&) const { return "a function `{ … -> … }`"; }
  std::string operator()(const Builtin* b) const { return fmt::format("the function {}", b->name); }
  std::string operator()(const BoundBuiltin& b) const {
    std::string_view name = b.builtin->name;
    if (size_t dot = name.find('.'); dot != std::string_view::npos) name = name.substr(dot + 1);
    return fmt::format("the method {}", name);
  }
  std::string operator()(const std::shared_ptr<LayerClass>& c) const {
    return fmt::format("the layer {}", c->decl->name.text);
  }
  std::string operator()(const std::shared_ptr<LayerInstance>& l) const { return fmt::format("a {}", l->class_name); }
  std::string operator()(const std::shared_ptr<OptimizerClass>& c) const {
    return fmt::format("the optimizer {}", c->decl->name.text);
  }
  std::string operator()(const std::shared_ptr<OptimizerInstance>&) const { return "an optimizer"; }
  std::string operator()(const std::shared_ptr<GradientValue>&) const { return "gradients"; }
  std::string operator()(const std::shared_ptr<DatasetValue>&) const { return "a data set"; }
  std::string operator()(const std::shared_ptr<BatchesValue>&) const { return "the batches of a data set"; }
  std::string operator()(const std::shared_ptr<TextValue>&) const { return "a text"; }
  std::string operator()(const std::shared_ptr<NamespaceValue>&) const { return "an imported file"; }
};

}  // namespace

std::string describe(const Value& v) { return std::visit(Describe{}, v.data); }

Scope::Entry* Scope::find_here(const std::string& name) {
  for (auto& [n, e] : entries_)
    if (n == name) return e.get();
  return nullptr;
}

Scope::Entry* Scope::find(const std::string& name) {
  for (Scope* s = this; s; s = s->parent_.get())
    if (Entry* e = s->find_here(name)) return e;
  return nullptr;
}

Scope::Entry& Scope::define(const std::string& name, Value v, Span span) {
  Entry* e = find_here(name);
  if (!e) {
    entries_.emplace_back(name, std::make_unique<Entry>());
    e = entries_.back().second.get();
  } else {
    *e = Entry{};
  }
  e->value = std::move(v);
  e->span = span;
  return *e;
}

std::vector<std::string> Scope::visible_names() const {
  std::vector<std::string> out;
  for (const Scope* s = this; s; s = s->parent_.get())
    for (auto& [n, e] : s->entries_) out.push_back(n);
  return out;
}

}  // namespace nnlc::sema
