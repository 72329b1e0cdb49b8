// Name resolution as a pass of its own. Evaluation sees only what is called; this sees everything.
#include "compiler/sema/names.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <unordered_set>

#include "compiler/sema/builtins.h"
#include "compiler/sema/impl.h"
#include "compiler/sema/initializers.h"

namespace nnlc::sema {

using ast::Stmt;

namespace {

struct Known {
  enum class Kind { other, let, hyper } kind = Kind::other;
  Span span;
  bool used = false;
  bool is_code = false;  ///< a fn or layer of the file
};

/// What the code of a top-level fn or layer refers to.
struct Reference {
  std::string to;
  Span at;
};

struct Names {
  Names* parent = nullptr;
  std::vector<std::pair<std::string, Known>> here;
  Known* find(const std::string& n) {
    for (auto it = here.rbegin(); it != here.rend(); ++it)
      if (it->first == n) return &it->second;
    return nullptr;
  }
};

class Resolver {
 public:
  Resolver(Diagnostics& diags, const std::vector<std::string>& outer, bool imported)
      : diags_(diags), outer_list_(outer), outer_(outer.begin(), outer.end()), imported_(imported) {}

  std::vector<UnusedName> run(const ast::Program& p) {
    Names top;
    for (auto& s : p.stmts) {
      switch (s->kind) {
        case Stmt::Kind::fn:
          define(top, ast::as<ast::FnStmt>(*s).name, Known::Kind::other);
          top.here.back().second.is_code = true;
          break;
        case Stmt::Kind::layer:
          define(top, ast::as<ast::LayerStmt>(*s).name, Known::Kind::other);
          top.here.back().second.is_code = true;
          break;
        case Stmt::Kind::optimizer:
          define(top, ast::as<ast::OptimizerStmt>(*s).name, Known::Kind::other);
          break;
        case Stmt::Kind::config:
          define(top, ast::as<ast::ConfigStmt>(*s).name, Known::Kind::other);
          break;
        case Stmt::Kind::var:
          define(top, ast::as<ast::VarStmt>(*s).name, Known::Kind::other);
          break;
        case Stmt::Kind::let:
          pattern(ast::as<ast::LetStmt>(*s).pattern, top, imported_ ? Known::Kind::other : Known::Kind::let);
          break;
        default:
          break;
      }
    }
    for (auto& s : p.stmts) {
      code_.clear();
      reported_.clear();
      if (auto* f = ast::dyn<ast::FnStmt>(s.get())) code_ = f->name.text;
      if (auto* l = ast::dyn<ast::LayerStmt>(s.get())) code_ = l->name.text;
      stmt(*s, top, true);
    }
    unused(top);
    refuse_cycles(top);
    return std::move(unused_);
  }

 private:
  Diagnostics& diags_;
  const std::vector<std::string>& outer_list_;
  std::unordered_set<std::string> outer_;
  bool imported_;
  std::vector<UnusedName> unused_;
  std::set<std::string> reported_;  ///< unknown names of this statement
  bool in_dim_ = false;
  std::string code_;  ///< the top-level fn or layer being read
  std::map<std::string, std::vector<Reference>> references_;

  /// Functions and layers are inlined, so none may contain itself.
  void refuse_cycles(Names& top) {
    std::set<std::string> done;
    std::vector<std::string> path;
    std::function<void(const std::string&)> visit = [&](const std::string& name) {
      path.push_back(name);
      for (const Reference& r : references_[name]) {
        auto at = std::find(path.begin(), path.end(), r.to);
        if (at == path.end()) {
          if (!done.count(r.to)) visit(r.to);
          continue;
        }
        std::string cycle;
        for (auto step = at; step != path.end(); ++step) cycle += *step + " -> ";
        diags_.error(Code::RecursiveCall, r.at, fmt::format("`{}` contains itself", r.to))
            .label(top.find(r.to)->span, "declared here")
            .note("the cycle: " + cycle + r.to)
            .help("functions and layers are inlined where they are used: a loop does what a recursion would");
      }
      path.pop_back();
      done.insert(name);
    };
    for (auto& [name, known] : top.here)
      if (known.is_code && !done.count(name)) visit(name);
  }

  static void define(Names& n, const ast::Name& name, Known::Kind kind) {
    n.here.push_back({name.text, {kind, name.span, false}});
  }
  /// Two parameters, or two names of one pattern, can't share a name.
  bool distinct(const std::vector<const ast::Name*>& names) {
    bool good = true;
    for (size_t i = 0; i < names.size(); ++i)
      for (size_t j = 0; j < i; ++j)
        if (names[i]->text == names[j]->text) {
          diags_
              .error(Code::DuplicateName, names[i]->span,
                     fmt::format("`{}` is declared twice in this scope", names[i]->text))
              .label(names[j]->span, "first here")
              .help("give it another name");
          good = false;
          break;
        }
    return good;
  }
  bool distinct(const std::vector<ast::Param>& params) {
    std::vector<const ast::Name*> names;
    for (auto& p : params) names.push_back(&p.name);
    return distinct(names);
  }
  static void names_in(const ast::Pattern& p, std::vector<const ast::Name*>& out) {
    if (p.kind == ast::Pattern::Kind::name) out.push_back(&p.name);
    for (auto& i : p.items) names_in(i, out);
  }
  /// The parts of a tuple come together: those that nothing uses are no sign of a mistake.
  void pattern(const ast::Pattern& p, Names& n, Known::Kind kind) {
    std::vector<const ast::Name*> names;
    names_in(p, names);
    distinct(names);
    for (auto* name : names) define(n, *name, names.size() == 1 ? kind : Known::Kind::other);
  }

  void unused(const Names& n) {
    for (auto& [name, k] : n.here) {
      if (k.used || name.empty() || name[0] == '_') continue;
      if (k.kind == Known::Kind::let) unused_.push_back({name, k.span});
      if (k.kind == Known::Kind::hyper)
        diags_.error(Code::UnusedHyperparameter, k.span, fmt::format("nothing reads the hyper-parameter `{}`", name))
            .help("use it, or leave it out");
    }
  }

  void use(const std::string& name, Span span, Names& n, bool initialiser = false) {
    for (Names* s = &n; s; s = s->parent)
      if (Known* k = s->find(name)) {
        k->used = true;
        if (k->is_code && !code_.empty()) references_[code_].push_back({name, span});
        // A param that has the name of the bool which decides whether it exists.
        for (Names* above = s->parent; above; above = above->parent)
          if (Known* h = above->find(name); h && h->kind == Known::Kind::hyper) h->used = true;
        return;
      }
    static const std::unordered_set<std::string> always = {"pi", "inf", "nan", "training", "synthetic"};
    if (outer_.count(name) || always.count(name)) return;
    if (initialiser && is_initializer(name)) return;
    if (!reported_.insert(name).second) return;
    std::vector<std::string> candidates = outer_list_;
    for (Names* s = &n; s; s = s->parent)
      for (auto& [k, v] : s->here) candidates.push_back(k);
    if (initialiser)
      for (std::string_view known : initializer_names()) candidates.emplace_back(known);
    auto d = diags_.error(Code::UnknownName, span, fmt::format("nothing is called `{}`", name));
    if (auto hint = foreign_name_hint(name))
      d.help(*hint);
    else if (auto near = nearest(name, candidates))
      d.help(fmt::format("did you mean `{}`?", *near)).fix(span, *near);
    else if (in_dim_)
      d.help("a size that the signature binds has a name with an upper-case letter: `N`");
  }

  void block(const ast::Block& b, Names& outer) {
    Names n;
    n.parent = &outer;
    for (auto& s : b.stmts) stmt(*s, n, false);
    unused(n);
  }

  /// The names of a signature's dims are bound by it.
  void type(const ast::TypeExpr& t, Names& n, bool binds) {
    for (auto& d : t.dims)
      if (d.expr) dim(*d.expr, n, binds);
    if (t.classes) dim(*t.classes, n, binds);
    for (auto& i : t.items) type(i, n, binds);
  }
  void dim(const ast::Expr& e, Names& n, bool binds) {
    if (auto* name = ast::dyn<ast::NameExpr>(&e)) {
      if (binds && is_upper_name(name->name)) {
        for (Names* s = &n; s; s = s->parent)
          if (Known* k = s->find(name->name)) {
            k->used = true;
            return;
          }
        n.here.push_back({name->name, {Known::Kind::other, name->span, true}});
        return;
      }
      in_dim_ = binds;
      use(name->name, name->span, n);
      in_dim_ = false;
      return;
    }
    if (auto* b = ast::dyn<ast::BinaryExpr>(&e)) {
      dim(*b->lhs, n, binds);
      dim(*b->rhs, n, binds);
      return;
    }
    expr(&e, n);
  }

  void fn(const ast::FnStmt& f, Names& outer) {
    Names n;
    n.parent = &outer;
    distinct(f.params);
    for (auto& p : f.params) {
      if (p.type) type(*p.type, n, true);
      expr(p.default_value.get(), n);
      define(n, p.name, Known::Kind::other);
    }
    if (f.result) type(*f.result, n, true);
    block(f.body, n);
  }

  void declare_items(const std::vector<ast::LayerItem>& items, Names& n) {
    using K = ast::LayerItem::Kind;
    for (auto& i : items) {
      if (i.kind == K::param || i.kind == K::state || i.kind == K::member) define(n, i.name, Known::Kind::other);
      if (i.kind == K::let) pattern(i.pattern, n, Known::Kind::other);
      if ((i.kind == K::fn || i.kind == K::forward) && i.fn) define(n, i.fn->name, Known::Kind::other);
      declare_items(i.then_items, n);
      declare_items(i.else_items, n);
    }
  }
  void items(const std::vector<ast::LayerItem>& list, Names& n) {
    for (auto& i : list) {
      if (i.type) type(*i.type, n, false);
      bool starts = i.kind == ast::LayerItem::Kind::param || i.kind == ast::LayerItem::Kind::state;
      if (i.value) expr(i.value.get(), n, starts);
      for (auto& a : i.args) expr(a.value.get(), n);
      expr(i.message.get(), n);
      if (i.fn) fn(*i.fn, n);
      items(i.then_items, n);
      items(i.else_items, n);
    }
  }

  void layer(const ast::LayerStmt& l, Names& outer) {
    Names hyper;
    hyper.parent = &outer;
    const bool good = distinct(l.params);
    for (auto& p : l.params) {
      if (p.type) type(*p.type, hyper, false);
      expr(p.default_value.get(), hyper);
      define(hyper, p.name, Known::Kind::hyper);
    }
    Names n;
    n.parent = &hyper;
    declare_items(l.items, n);
    items(l.items, n);
    expr(l.alias.get(), n);
    if (good) unused(hyper);
  }

  void optimizer(const ast::OptimizerStmt& o, Names& outer) {
    Names n;
    n.parent = &outer;
    const bool good = distinct(o.params);
    for (auto& p : o.params) {
      expr(p.default_value.get(), n);
      define(n, p.name, Known::Kind::hyper);
    }
    Names inner;
    inner.parent = &n;
    for (auto& s : o.states) define(inner, s.name, Known::Kind::other);
    for (auto& p : o.update_params) define(inner, p.name, Known::Kind::other);
    inner.here.push_back({"step", {}});
    inner.here.push_back({"param", {}});
    for (auto& s : o.states) expr(s.value.get(), inner);
    for (auto& r : o.requires_) {
      expr(r.condition.get(), inner);
      expr(r.message.get(), inner);
    }
    block(o.update, inner);
    if (good) unused(n);
  }

  void stmt(const Stmt& s, Names& n, bool top) {
    switch (s.kind) {
      case Stmt::Kind::config:
        expr(ast::as<ast::ConfigStmt>(s).value.get(), n);
        break;
      case Stmt::Kind::let: {
        auto& l = ast::as<ast::LetStmt>(s);
        expr(l.value.get(), n);
        if (l.type) type(*l.type, n, true);
        if (!top) pattern(l.pattern, n, Known::Kind::let);
        break;
      }
      case Stmt::Kind::var: {
        auto& v = ast::as<ast::VarStmt>(s);
        expr(v.value.get(), n);
        if (v.type) type(*v.type, n, true);
        if (!top) define(n, v.name, Known::Kind::other);
        break;
      }
      case Stmt::Kind::fn:
        if (!top) define(n, ast::as<ast::FnStmt>(s).name, Known::Kind::other);
        fn(ast::as<ast::FnStmt>(s), n);
        break;
      case Stmt::Kind::layer:
        layer(ast::as<ast::LayerStmt>(s), n);
        break;
      case Stmt::Kind::optimizer:
        optimizer(ast::as<ast::OptimizerStmt>(s), n);
        break;
      case Stmt::Kind::test:
        block(ast::as<ast::TestStmt>(s).body, n);
        break;
      case Stmt::Kind::seed:
        expr(ast::as<ast::SeedStmt>(s).value.get(), n);
        break;
      case Stmt::Kind::for_: {
        auto& f = ast::as<ast::ForStmt>(s);
        expr(f.iterable.get(), n);
        Names inner;
        inner.parent = &n;
        pattern(f.pattern, inner, Known::Kind::other);
        block(f.body, inner);
        break;
      }
      case Stmt::Kind::while_:
        expr(ast::as<ast::WhileStmt>(s).condition.get(), n);
        block(ast::as<ast::WhileStmt>(s).body, n);
        break;
      case Stmt::Kind::return_:
        expr(ast::as<ast::ReturnStmt>(s).value.get(), n);
        break;
      case Stmt::Kind::assign: {
        auto& a = ast::as<ast::AssignStmt>(s);
        expr(a.value.get(), n);
        expr(a.target.get(), n);
        break;
      }
      case Stmt::Kind::expr:
        expr(ast::as<ast::ExprStmt>(s).value.get(), n);
        break;
      default:
        break;
    }
  }

  void expr(const ast::Expr* e, Names& n, bool initialiser = false) {
    using K = ast::Expr::Kind;
    if (!e) return;
    switch (e->kind) {
      case K::name:
        use(ast::as<ast::NameExpr>(*e).name, e->span, n, initialiser);
        break;
      case K::string:
        for (auto& p : ast::as<ast::StringExpr>(*e).parts) expr(p.expr.get(), n);
        break;
      case K::tuple:
        for (auto& i : ast::as<ast::TupleExpr>(*e).items) expr(i.get(), n);
        break;
      case K::list:
        for (auto& i : ast::as<ast::ListExpr>(*e).items) expr(i.get(), n);
        break;
      case K::comprehension: {
        auto& c = ast::as<ast::ComprehensionExpr>(*e);
        expr(c.iterable.get(), n);
        Names inner;
        inner.parent = &n;
        pattern(c.pattern, inner, Known::Kind::other);
        expr(c.value.get(), inner);
        break;
      }
      case K::record:
        for (auto& i : ast::as<ast::RecordExpr>(*e).entries) expr(i.value.get(), n);
        break;
      case K::unary:
        expr(ast::as<ast::UnaryExpr>(*e).operand.get(), n);
        break;
      case K::binary:
        expr(ast::as<ast::BinaryExpr>(*e).lhs.get(), n);
        expr(ast::as<ast::BinaryExpr>(*e).rhs.get(), n);
        break;
      case K::range:
        expr(ast::as<ast::RangeExpr>(*e).lo.get(), n);
        expr(ast::as<ast::RangeExpr>(*e).hi.get(), n);
        break;
      case K::pipe:
        expr(ast::as<ast::PipeExpr>(*e).lhs.get(), n);
        expr(ast::as<ast::PipeExpr>(*e).rhs.get(), n);
        break;
      case K::member:
        expr(ast::as<ast::MemberExpr>(*e).object.get(), n);
        break;
      case K::call: {
        auto& c = ast::as<ast::CallExpr>(*e);
        expr(c.callee.get(), n, initialiser);
        for (auto& a : c.args) expr(a.value.get(), n);
        if (c.lambda) lambda(*c.lambda, n);
        break;
      }
      case K::index: {
        auto& x = ast::as<ast::IndexExpr>(*e);
        expr(x.object.get(), n);
        for (auto& s : x.subscripts) {
          expr(s.expr.get(), n);
          expr(s.lo.get(), n);
          expr(s.hi.get(), n);
          expr(s.step.get(), n);
        }
        break;
      }
      case K::if_: {
        auto& i = ast::as<ast::IfExpr>(*e);
        expr(i.condition.get(), n);
        block(i.then_block, n);
        if (i.else_block) block(*i.else_block, n);
        break;
      }
      case K::block_call: {
        auto& b = ast::as<ast::BlockCallExpr>(*e);
        for (auto& a : b.args) expr(a.value.get(), n);
        block(b.body, n);
        break;
      }
      case K::for_: {
        auto& f = ast::as<ast::ForExpr>(*e);
        expr(f.iterable.get(), n);
        Names inner;
        inner.parent = &n;
        pattern(f.pattern, inner, Known::Kind::other);
        block(f.body, inner);
        break;
      }
      case K::lambda:
        lambda(ast::as<ast::LambdaExpr>(*e), n);
        break;
      default:
        break;
    }
  }
  void lambda(const ast::LambdaExpr& l, Names& n) {
    Names inner;
    inner.parent = &n;
    pattern(l.params, inner, Known::Kind::other);
    block(l.body, inner);
  }
};

}  // namespace

std::vector<UnusedName> check_names(const ast::Program& program, Diagnostics& diags,
                                    const std::vector<std::string>& outer, bool imported) {
  return Resolver(diags, outer, imported).run(program);
}

}  // namespace nnlc::sema
