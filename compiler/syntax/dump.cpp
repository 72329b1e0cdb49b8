// The `ast` stage: one node a line, children indented, each with its place `line:column`.
//
//   let 3:1
//     pattern 3:5 x
//     binary + 3:9
//       int 3:9 1
//       name 3:13 y
#include <fmt/format.h>

#include "compiler/support/utf8.h"
#include "compiler/syntax/parser.h"

namespace nnlc::syntax {

using namespace ast;

namespace {

std::string quote(const std::string& s) {
  std::string out = "\"";
  for (char c : s) {
    if (c == '\n')
      out += "\\n";
    else if (c == '\t')
      out += "\\t";
    else if (c == '"' || c == '\\')
      out += std::string("\\") + c;
    else if (static_cast<unsigned char>(c) < 0x20)
      out += fmt::format("\\u{{{:X}}}", static_cast<unsigned>(static_cast<unsigned char>(c)));
    else
      out += c;
  }
  return out + "\"";
}

class Dumper {
 public:
  explicit Dumper(const SourceManager& sources) : sources_(sources) {}
  std::string out;

  void stmts(const std::vector<StmtPtr>& list) {
    for (const StmtPtr& s : list) stmt(*s);
  }

 private:
  struct Indent {
    explicit Indent(Dumper& d) : d_(d) { ++d_.depth_; }
    ~Indent() { --d_.depth_; }
    Dumper& d_;
  };
  void line(std::string_view what, Span s, const std::string& detail = "") {
    const LineColumn p = s.valid() ? sources_.position(s.file, s.begin) : LineColumn{0, 0};
    out += fmt::format("{}{} {}:{}{}{}\n", std::string(2 * depth_, ' '), what, p.line, p.column,
                       detail.empty() ? "" : " ", detail);
  }
  void child(const char* role, const ExprPtr& e) {
    if (!e) return;
    line(role, e->span);
    Indent i(*this);
    expr(*e);
  }
  void block(const char* role, const Block& b) {
    line(role, b.span);
    Indent i(*this);
    stmts(b.stmts);
  }
  void doc(const std::string& text, Span s) {
    if (!text.empty()) line("doc", s, quote(text));
  }
  void pattern(const Pattern& p) {
    switch (p.kind) {
      case Pattern::Kind::name:
        line("pattern", p.span, p.name.text);
        return;
      case Pattern::Kind::ignore:
        line("pattern", p.span, "_");
        return;
      case Pattern::Kind::tuple: {
        line("pattern", p.span, "tuple");
        Indent i(*this);
        for (const Pattern& item : p.items) pattern(item);
      }
    }
  }
  void type(const TypeExpr& t) {
    switch (t.kind) {
      case TypeExpr::Kind::tensor:
        line("type", t.span, t.name ? t.name->text : "default");
        break;
      case TypeExpr::Kind::klass:
        line("type", t.span, "class");
        break;
      case TypeExpr::Kind::record:
        line("type", t.span, "record");
        break;
      case TypeExpr::Kind::tuple:
        line("type", t.span, "tuple");
        break;
    }
    Indent i(*this);
    child("classes", t.classes);
    for (size_t k = 0; k < t.items.size(); ++k) {
      if (k < t.field_names.size()) line("field", t.field_names[k].span, t.field_names[k].text);
      Indent j(*this);
      type(t.items[k]);
    }
    if (!t.has_dims) return;
    line("dims", t.span);
    Indent j(*this);
    for (const DimExpr& d : t.dims) {
      if (d.kind == DimExpr::Kind::expr)
        expr(*d.expr);
      else
        line("dim", d.span, d.kind == DimExpr::Kind::any ? "_" : "..");
    }
  }
  void params(const std::vector<Param>& list) {
    for (const Param& p : list) {
      line("parameter", p.span, p.name.text);
      Indent i(*this);
      if (p.type) type(*p.type);
      child("default", p.default_value);
    }
  }
  void args(const std::vector<Arg>& list) {
    for (const Arg& a : list) {
      line("argument", a.span, a.name ? a.name->text : "");
      Indent i(*this);
      expr(*a.value);
    }
  }
  void function(const FnStmt& f) {
    line("fn", f.span, f.name.text);
    Indent i(*this);
    doc(f.doc, f.span);
    params(f.params);
    if (f.result) type(*f.result);
    block("body", f.body);
  }

  void expr(const Expr& e) {
    switch (e.kind) {
      case Expr::Kind::int_:
        line("int", e.span, std::to_string(as<IntExpr>(e).value));
        return;
      case Expr::Kind::float_:
        line("float", e.span, fmt::format("{}", as<FloatExpr>(e).value));
        return;
      case Expr::Kind::bool_:
        line("bool", e.span, as<BoolExpr>(e).value ? "true" : "false");
        return;
      case Expr::Kind::none:
        line("none", e.span);
        return;
      case Expr::Kind::wildcard:
        line("wildcard", e.span);
        return;
      case Expr::Kind::name:
        line("name", e.span, as<NameExpr>(e).name);
        return;
      case Expr::Kind::string: {
        const auto& s = as<StringExpr>(e);
        if (s.is_literal()) return line("string", e.span, quote(s.literal()));
        line("string", e.span);
        Indent i(*this);
        for (const StringExpr::Part& p : s.parts) {
          if (!p.expr) {
            line("text", p.span, quote(p.text));
            continue;
          }
          line("value", p.span, p.format.empty() ? "" : quote(p.format));
          Indent j(*this);
          expr(*p.expr);
        }
        return;
      }
      case Expr::Kind::tuple:
      case Expr::Kind::list: {
        const bool tuple = e.kind == Expr::Kind::tuple;
        line(tuple ? "tuple" : "list", e.span);
        Indent i(*this);
        for (const ExprPtr& x : tuple ? as<TupleExpr>(e).items : as<ListExpr>(e).items) expr(*x);
        return;
      }
      case Expr::Kind::comprehension: {
        const auto& c = as<ComprehensionExpr>(e);
        line("comprehension", e.span);
        Indent i(*this);
        expr(*c.value);
        pattern(c.pattern);
        child("in", c.iterable);
        return;
      }
      case Expr::Kind::record: {
        line("record", e.span);
        Indent i(*this);
        for (const RecordExpr::Entry& r : as<RecordExpr>(e).entries) {
          line("field", r.name.span, r.is_string ? quote(r.name.text) : r.name.text);
          Indent j(*this);
          expr(*r.value);
        }
        return;
      }
      case Expr::Kind::unary: {
        line("unary", e.span, spelling(as<UnaryExpr>(e).op));
        Indent i(*this);
        expr(*as<UnaryExpr>(e).operand);
        return;
      }
      case Expr::Kind::binary: {
        line("binary", e.span, spelling(as<BinaryExpr>(e).op));
        Indent i(*this);
        expr(*as<BinaryExpr>(e).lhs);
        expr(*as<BinaryExpr>(e).rhs);
        return;
      }
      case Expr::Kind::range: {
        line("range", e.span, as<RangeExpr>(e).inclusive ? "..=" : "..");
        Indent i(*this);
        expr(*as<RangeExpr>(e).lo);
        expr(*as<RangeExpr>(e).hi);
        return;
      }
      case Expr::Kind::pipe: {
        line("pipe", e.span);
        Indent i(*this);
        expr(*as<PipeExpr>(e).lhs);
        expr(*as<PipeExpr>(e).rhs);
        return;
      }
      case Expr::Kind::member: {
        line("member", e.span, as<MemberExpr>(e).name.text);
        Indent i(*this);
        expr(*as<MemberExpr>(e).object);
        return;
      }
      case Expr::Kind::call: {
        const auto& c = as<CallExpr>(e);
        line("call", e.span);
        Indent i(*this);
        expr(*c.callee);
        args(c.args);
        if (c.lambda) expr(*c.lambda);
        return;
      }
      case Expr::Kind::index: {
        const auto& x = as<IndexExpr>(e);
        line("index", e.span);
        Indent i(*this);
        expr(*x.object);
        for (const Subscript& s : x.subscripts) {
          switch (s.kind) {
            case Subscript::Kind::ellipsis:
              line("ellipsis", s.span);
              break;
            case Subscript::Kind::new_axis:
              line("new_axis", s.span);
              break;
            case Subscript::Kind::expr:
              child("at", s.expr);
              break;
            case Subscript::Kind::slice: {
              line("slice", s.span);
              Indent j(*this);
              child("lo", s.lo);
              child("hi", s.hi);
              child("step", s.step);
            }
          }
        }
        return;
      }
      case Expr::Kind::if_: {
        const auto& x = as<IfExpr>(e);
        line("if", e.span);
        Indent i(*this);
        expr(*x.condition);
        block("then", x.then_block);
        if (x.else_block) block("else", *x.else_block);
        return;
      }
      case Expr::Kind::block_call: {
        const auto& b = as<BlockCallExpr>(e);
        line(b.which == BlockCallExpr::Which::grad ? "grad" : "minimize", e.span);
        Indent i(*this);
        args(b.args);
        block("body", b.body);
        return;
      }
      case Expr::Kind::for_: {
        const auto& f = as<ForExpr>(e);
        line("for", e.span);
        Indent i(*this);
        pattern(f.pattern);
        child("in", f.iterable);
        block("body", f.body);
        return;
      }
      case Expr::Kind::lambda: {
        const auto& l = as<LambdaExpr>(e);
        line("lambda", e.span);
        Indent i(*this);
        pattern(l.params);
        block("body", l.body);
        return;
      }
    }
  }

  void items(const std::vector<LayerItem>& list) {
    for (const LayerItem& it : list) item(it);
  }
  void item(const LayerItem& it) {
    switch (it.kind) {
      case LayerItem::Kind::param:
        line("param", it.span, it.name.text);
        break;
      case LayerItem::Kind::state:
        line("state", it.span, it.name.text);
        break;
      case LayerItem::Kind::let:
        line("let", it.span);
        break;
      case LayerItem::Kind::tie:
        line("tie", it.span);
        break;
      case LayerItem::Kind::require:
        line("require", it.span);
        break;
      case LayerItem::Kind::if_:
        line("if", it.span);
        break;
      case LayerItem::Kind::member:
        line("member", it.span, it.name.text);
        break;
      case LayerItem::Kind::forward:
      case LayerItem::Kind::fn:
        return function(*it.fn);
    }
    Indent i(*this);
    doc(it.doc, it.span);
    if (it.kind == LayerItem::Kind::let) pattern(it.pattern);
    if (it.type) type(*it.type);
    if (it.value) expr(*it.value);
    if (it.message) expr(*it.message);
    args(it.args);
    if (it.kind != LayerItem::Kind::if_) return;
    line("then", it.span);
    {
      Indent j(*this);
      items(it.then_items);
    }
    if (it.else_items.empty()) return;
    line("else", it.else_items.front().span);
    Indent j(*this);
    items(it.else_items);
  }

  void stmt(const Stmt& s) {
    if (s.kind == Stmt::Kind::fn) return function(as<FnStmt>(s));
    if (s.kind == Stmt::Kind::expr) return expr(*as<ExprStmt>(s).value);
    auto head = [&](const char* what, const std::string& detail = "") { line(what, s.span, detail); };
    switch (s.kind) {
      case Stmt::Kind::config:
        head("config", as<ConfigStmt>(s).name.text);
        break;
      case Stmt::Kind::let:
        head("let");
        break;
      case Stmt::Kind::var:
        head("var", as<VarStmt>(s).name.text);
        break;
      case Stmt::Kind::layer:
        head("layer", as<LayerStmt>(s).name.text);
        break;
      case Stmt::Kind::optimizer:
        head("optimizer", as<OptimizerStmt>(s).name.text);
        break;
      case Stmt::Kind::test:
        head("test", quote(as<TestStmt>(s).title));
        break;
      case Stmt::Kind::import_:
        head("import",
             quote(as<ImportStmt>(s).path) + (as<ImportStmt>(s).alias ? " as " + as<ImportStmt>(s).alias->text : ""));
        break;
      case Stmt::Kind::seed:
        head("seed");
        break;
      case Stmt::Kind::precision:
        head("precision", as<PrecisionStmt>(s).name.text);
        break;
      case Stmt::Kind::for_:
        head("for");
        break;
      case Stmt::Kind::while_:
        head("while");
        break;
      case Stmt::Kind::return_:
        head("return");
        break;
      case Stmt::Kind::break_:
        head("break");
        break;
      case Stmt::Kind::continue_:
        head("continue");
        break;
      case Stmt::Kind::assign:
        head("assign");
        break;
      case Stmt::Kind::fn:
      case Stmt::Kind::expr:
        break;
    }
    Indent i(*this);
    doc(s.doc, s.span);
    switch (s.kind) {
      case Stmt::Kind::config:
        type(as<ConfigStmt>(s).type);
        expr(*as<ConfigStmt>(s).value);
        break;
      case Stmt::Kind::let:
        pattern(as<LetStmt>(s).pattern);
        if (as<LetStmt>(s).type) type(*as<LetStmt>(s).type);
        expr(*as<LetStmt>(s).value);
        break;
      case Stmt::Kind::var:
        if (as<VarStmt>(s).type) type(*as<VarStmt>(s).type);
        expr(*as<VarStmt>(s).value);
        break;
      case Stmt::Kind::layer: {
        const auto& l = as<LayerStmt>(s);
        params(l.params);
        items(l.items);
        child("alias", l.alias);
        break;
      }
      case Stmt::Kind::optimizer: {
        const auto& o = as<OptimizerStmt>(s);
        params(o.params);
        for (const OptimizerStmt::State& st : o.states) {
          line("state", st.span, st.name.text);
          Indent j(*this);
          expr(*st.value);
        }
        for (const OptimizerStmt::Require& r : o.requires_) {
          line("require", r.span);
          Indent j(*this);
          expr(*r.condition);
          if (r.message) expr(*r.message);
        }
        line("update", o.update.span);
        Indent j(*this);
        params(o.update_params);
        stmts(o.update.stmts);
        break;
      }
      case Stmt::Kind::test:
        stmts(as<TestStmt>(s).body.stmts);
        break;
      case Stmt::Kind::seed:
        expr(*as<SeedStmt>(s).value);
        break;
      case Stmt::Kind::for_:
        pattern(as<ForStmt>(s).pattern);
        child("in", as<ForStmt>(s).iterable);
        block("body", as<ForStmt>(s).body);
        break;
      case Stmt::Kind::while_:
        expr(*as<WhileStmt>(s).condition);
        block("body", as<WhileStmt>(s).body);
        break;
      case Stmt::Kind::return_:
        if (as<ReturnStmt>(s).value) expr(*as<ReturnStmt>(s).value);
        break;
      case Stmt::Kind::assign:
        expr(*as<AssignStmt>(s).target);
        expr(*as<AssignStmt>(s).value);
        break;
      default:
        break;
    }
  }

  const SourceManager& sources_;
  size_t depth_ = 0;
};

}  // namespace

std::string dump(const ast::Program& program, const SourceManager& sources) {
  Dumper d(sources);
  d.stmts(program.stmts);
  return std::move(d.out);
}

}  // namespace nnlc::syntax
