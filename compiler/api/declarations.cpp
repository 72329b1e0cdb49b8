// What a program declares, as its text says it.
#include "compiler/api/internal.h"
#include "compiler/syntax/parser.h"

namespace nnlc::v0 {

namespace {

struct Lister {
  const SourceManager& sources;

  std::string text(Span s) const { return s.valid() ? std::string(sources.text(s)) : std::string(); }

  std::vector<Parameter> parameters(const std::vector<ast::Param>& params) const {
    std::vector<Parameter> out;
    for (const ast::Param& p : params)
      out.push_back(
          {p.name.text, p.type ? text(p.type->span) : "", p.default_value ? syntax::to_source(*p.default_value) : ""});
    return out;
  }

  Function function(const ast::FnStmt& f, const std::string& doc) const {
    return {f.name.text, parameters(f.params), f.result ? text(f.result->span) : "", doc,
            to_public(f.name.span, sources)};
  }

  /// Methods also stand under an `if`.
  void methods(const std::vector<ast::LayerItem>& items, std::vector<Function>& out) const {
    for (const ast::LayerItem& i : items) {
      if (i.fn) out.push_back(function(*i.fn, i.doc));
      methods(i.then_items, out);
      methods(i.else_items, out);
    }
  }
};

}  // namespace

void list_declarations(Program::State& p) {
  SourceManager sources;
  nnlc::Diagnostics ignored;
  auto program = syntax::parse(sources, sources.add(p.name, p.text), ignored);
  const Lister list{sources};
  for (auto& s : program->stmts) {
    if (auto* f = ast::dyn<ast::FnStmt>(s.get())) {
      p.functions.push_back(list.function(*f, f->doc));
    } else if (auto* l = ast::dyn<ast::LayerStmt>(s.get())) {
      Layer layer{l->name.text, list.parameters(l->params), {}, l->doc, to_public(l->name.span, sources)};
      list.methods(l->items, layer.methods);
      p.layers.push_back(std::move(layer));
    } else if (auto* o = ast::dyn<ast::OptimizerStmt>(s.get())) {
      Optimizer optimizer{o->name.text, list.parameters(o->params), {}, o->doc, to_public(o->name.span, sources)};
      for (auto& state : o->states) optimizer.states.push_back(state.name.text);
      p.optimizers.push_back(std::move(optimizer));
    } else if (auto* c = ast::dyn<ast::ConfigStmt>(s.get())) {
      p.configs.push_back({c->name.text, list.text(c->type.span), c->value ? syntax::to_source(*c->value) : "", c->doc,
                           to_public(c->name.span, sources)});
    }
  }
}

namespace {

std::string literal(const Argument& a) {
  struct Visitor {
    std::string operator()(bool v) const { return v ? "true" : "false"; }
    std::string operator()(int64_t v) const { return std::to_string(v); }
    std::string operator()(double v) const {
      if (v != v) return "nan";
      if (v > 1.7976931348623157e308) return "inf";
      if (v < -1.7976931348623157e308) return "-inf";
      std::string s = fmt::format("{}", v);
      return s.find_first_of(".e") == std::string::npos ? s + ".0" : s;
    }
    std::string operator()(const std::string& v) const { return syntax::quoted(v); }
    std::string operator()(const Expression& v) const { return v.text; }
  };
  return std::visit(Visitor{}, a.value);
}

}  // namespace

void require_path(const std::string& text, const char* what) {
  bool good = !text.empty();
  bool start = true;
  for (unsigned char c : text) {
    const bool letter = c == '_' || c >= 0x80 || std::isalpha(c);
    good &= start ? letter : letter || std::isdigit(c) || c == '.';
    start = c == '.';
  }
  if (!good || start) fail(Status::invalid_argument, fmt::format("\"{}\" is no name of a {}", text, what));
}

std::string to_source(const Arguments& arguments) {
  std::string out;
  for (const Argument& a : arguments) {
    if (!out.empty()) out += ", ";
    if (!a.name.empty()) {
      require_path(a.name, "parameter");
      out += a.name + " = ";
    }
    out += literal(a);
  }
  return out;
}

}  // namespace nnlc::v0
