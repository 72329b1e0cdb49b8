// Walks ANTLR's tree once and makes the AST, checking on the way what the grammar leaves open (see NNLParser.g4).
#include "compiler/syntax/ast_builder.h"

#include <fmt/format.h>

#include <charconv>
#include <limits>

#include "compiler/syntax/literals.h"
#include "compiler/syntax/parser.h"

namespace nnlc::syntax {
namespace {

using namespace ast;
using P = generated::NNLParser;
using antlr4::ParserRuleContext;

constexpr int kMaxDepth = 300;

// The tree is deeper than later stages could walk; thrown to the place that leaves the statement out.
struct TreeTooDeep {};

class Builder {
 public:
  Builder(const SourceManager& sources, uint32_t file, const TokenList& list, Diagnostics& diags)
      : sources_(sources), source_(sources.file(file).text), file_(file), list_(list), diags_(diags) {}

  std::unique_ptr<Program> program(P::ProgramContext* c) {
    auto p = std::make_unique<Program>();
    p->file = file_;
    p->stmts = lines(c->line(), false);
    return p;
  }
  ExprPtr interpolation(P::InterpolationContext* c) {
    try {
      return expr(c->expr());
    } catch (const TreeTooDeep&) {
      return nullptr;
    }
  }

 private:
  // ---- places
  Span span(const antlr4::Token* t) const {
    return {file_, static_cast<uint32_t>(t->getStartIndex()), static_cast<uint32_t>(t->getStopIndex() + 1)};
  }
  Span span(antlr4::tree::TerminalNode* t) const { return span(t->getSymbol()); }
  Span span(ParserRuleContext* c) const {
    return c->getStop() ? join(span(c->getStart()), span(c->getStop())) : span(c->getStart());
  }
  std::string text(Span s) const { return std::string(source_.substr(s.begin, s.end - s.begin)); }
  const Token& token(antlr4::tree::TerminalNode* t) const { return list_.tokens[t->getSymbol()->getTokenIndex()]; }

  Name name(P::NameContext* c) const {
    const Span s = span(c);
    return {normalize_nfc(text(s)), s};
  }

  struct Nest {
    explicit Nest(Builder& b) : b_(b) { ++b_.depth_; }
    ~Nest() { --b_.depth_; }
    Builder& b_;
  };
  void check_depth(ParserRuleContext* c, size_t links = 0) {
    if (depth_ + static_cast<int>(std::min<size_t>(links, kMaxDepth)) <= kMaxDepth) return;
    if (!deep_reported_) {
      // The whole expression is the place: its start would be the innermost operand.
      Span s = span(c);
      diags_
          .error(Code::NestedTooDeeply, {file_, s.begin, s.begin + 1},
                 fmt::format("this nests more than {} levels deep", kMaxDepth))
          .help("split it with `let`, or move a part to a `fn`");
    }
    deep_reported_ = true;
    throw TreeTooDeep{};
  }

  // ---- statements
  template <class Line>
  static bool is_broken(Line* line) {
    return line->exception != nullptr;
  }
  std::vector<StmtPtr> lines(const std::vector<P::LineContext*>& list, bool is_block) {
    std::vector<StmtPtr> out;
    for (size_t i = 0; i < list.size(); ++i) {
      if (is_broken(list[i]) || !list[i]->stmt() || list[i]->stmt()->exception) continue;
      try {
        if (StmtPtr s = stmt(list[i]->stmt())) {
          s->doc = doc_above(s->span.begin);
          if (auto* e = dyn<ExprStmt>(s.get()); e && !(is_block && i + 1 == list.size()) && !continued_below(list, i))
            check_used(*e);
          out.push_back(std::move(s));
        }
      } catch (const TreeTooDeep&) {
        if (depth_ > 1) throw;
      }
    }
    return out;
  }

  // A line that begins with a minus was meant to continue the one above: that one is where it is reported.
  static bool continued_below(const std::vector<P::LineContext*>& list, size_t i) {
    return i + 1 < list.size() && list[i + 1]->getStart() && list[i + 1]->getStart()->getType() == P::MINUS &&
           !is_broken(list[i + 1]);
  }

  // The purely syntactic part of the rule: a call may still turn out to have no effect.
  void check_used(const ExprStmt& s) {
    const Expr& e = *s.value;
    switch (e.kind) {
      case Expr::Kind::call:
      case Expr::Kind::pipe:
      case Expr::Kind::if_:
      case Expr::Kind::block_call:
        return;
      default:
        break;
    }
    if (list_.is_muted(s.span.begin)) return;
    auto d = diags_.error(Code::UnusedValue, s.span, "this value is not used");
    const auto* unary = dyn<UnaryExpr>(&e);
    const auto* binary = dyn<BinaryExpr>(&e);
    const Expr* leftmost = &e;
    while (const auto* b = dyn<BinaryExpr>(leftmost)) leftmost = b->lhs.get();
    const auto* sign = dyn<UnaryExpr>(leftmost);
    if ((unary && unary->op == UnaryOp::neg) || (sign && sign->op == UnaryOp::neg && !sign->parenthesized))
      d.help("to go on with the line above, end that line with `-`");
    else if (binary && binary->op == BinaryOp::eq)
      d.help("`=` assigns, `==` compares");
    else if (dyn<StringExpr>(&e))
      d.help("a comment begins with `#`, a doc comment with `##`");
    else if (dyn<NameExpr>(&e))
      d.help(fmt::format("a call has parentheses: `{}()`; `let _ = ...` drops a value", text(e.span)));
    else
      d.help("`let _ = ...` drops a value");
  }

  std::string doc_above(uint32_t begin) const {
    // `##` lines directly above, without a blank line between.
    std::string doc;
    auto it = std::lower_bound(list_.comments.begin(), list_.comments.end(), begin,
                               [](const Comment& c, uint32_t b) { return c.begin < b; });
    uint32_t below = begin;
    while (it != list_.comments.begin()) {
      const Comment& c = *--it;
      if (!c.is_doc) break;
      const std::string_view between = source_.substr(c.end, below - c.end);
      if (std::count(between.begin(), between.end(), '\n') != 1 ||
          between.find_first_not_of(" \t\r\n") != std::string_view::npos)
        break;
      const size_t line = source_.rfind('\n', c.begin) + 1;  // npos + 1 is 0: the first line
      if (source_.substr(line, c.begin - line).find_first_not_of(" \t") != std::string_view::npos) break;
      std::string_view body = source_.substr(c.begin + 2, c.end - c.begin - 2);
      if (body.starts_with(' ')) body.remove_prefix(1);
      while (!body.empty() && (body.back() == '\r' || body.back() == ' ')) body.remove_suffix(1);
      doc = doc.empty() ? std::string(body) : std::string(body) + "\n" + doc;
      below = c.begin;
    }
    return doc;
  }

  Block block(P::BlockContext* c) {
    Nest nest(*this);
    check_depth(c);
    Block b;
    b.span = span(c);
    b.stmts = lines(c->line(), true);
    return b;
  }

  StmtPtr stmt(P::StmtContext* c) {
    const Span s = span(c);
    if (auto* x = dynamic_cast<P::ConfigStmtContext*>(c)) {
      auto r = std::make_unique<ConfigStmt>(s);
      r->name = name(x->name());
      r->type = type(x->type());
      r->value = expr(x->expr());
      return r;
    }
    if (auto* x = dynamic_cast<P::LetStmtContext*>(c)) {
      auto r = std::make_unique<LetStmt>(s);
      r->pattern = patterns(x->patterns());
      if (x->type()) r->type = type(x->type());
      r->value = expr(x->expr());
      return r;
    }
    if (auto* x = dynamic_cast<P::VarStmtContext*>(c)) {
      auto r = std::make_unique<VarStmt>(s);
      r->name = name(x->name());
      if (x->type()) r->type = type(x->type());
      r->value = expr(x->expr());
      return r;
    }
    if (auto* x = dynamic_cast<P::FnStmtContext*>(c))
      return function(s, name(x->name()), x->params(), x->type(), x->block());
    if (auto* x = dynamic_cast<P::LayerStmtContext*>(c)) {
      auto r = std::make_unique<LayerStmt>(s);
      r->name = name(x->name());
      if (x->params()) r->params = params(x->params());
      if (x->layerBody()) r->items = items(x->layerBody());
      if (x->expr()) r->alias = expr(x->expr());
      return r;
    }
    if (auto* x = dynamic_cast<P::OptimizerStmtContext*>(c)) return optimizer(s, x);
    if (auto* x = dynamic_cast<P::TestStmtContext*>(c)) {
      auto r = std::make_unique<TestStmt>(s);
      r->title = plain_string(x->STRING());
      r->title_span = span(x->STRING());
      r->body = block(x->block());
      return r;
    }
    if (auto* x = dynamic_cast<P::ImportStmtContext*>(c)) {
      auto r = std::make_unique<ImportStmt>(s);
      r->path = plain_string(x->STRING());
      r->path_span = span(x->STRING());
      if (x->name()) r->alias = name(x->name());
      return r;
    }
    if (auto* x = dynamic_cast<P::SeedStmtContext*>(c)) {
      auto r = std::make_unique<SeedStmt>(s);
      r->value = expr(x->expr());
      return r;
    }
    if (auto* x = dynamic_cast<P::PrecisionStmtContext*>(c)) {
      auto r = std::make_unique<PrecisionStmt>(s);
      r->name = name(x->name());
      return r;
    }
    if (auto* x = dynamic_cast<P::ForStmtContext*>(c)) {
      auto r = std::make_unique<ForStmt>(s);
      r->pattern = patterns(x->patterns());
      r->iterable = head(x->expr(), "for");
      r->head_span = join(span(x->FOR()), span(x->expr()));
      r->body = block(x->block());
      return r;
    }
    if (auto* x = dynamic_cast<P::WhileStmtContext*>(c)) {
      auto r = std::make_unique<WhileStmt>(s);
      r->condition = head(x->expr(), "while");
      r->body = block(x->block());
      return r;
    }
    if (auto* x = dynamic_cast<P::ReturnStmtContext*>(c)) {
      auto r = std::make_unique<ReturnStmt>(s);
      if (x->expr()) r->value = expr(x->expr());
      return r;
    }
    if (dynamic_cast<P::BreakStmtContext*>(c)) return std::make_unique<BreakStmt>(s);
    if (dynamic_cast<P::ContinueStmtContext*>(c)) return std::make_unique<ContinueStmt>(s);
    auto* x = dynamic_cast<P::ExprStmtContext*>(c);
    if (!x) return nullptr;
    if (x->ASSIGN()) {
      auto r = std::make_unique<AssignStmt>(s);
      r->target = expr(x->expr(0));
      r->value = expr(x->expr(1));
      const Expr::Kind k = r->target->kind;
      if (r->target->parenthesized || (k != Expr::Kind::name && k != Expr::Kind::member && k != Expr::Kind::index)) {
        auto d = diags_.error(Code::BadAssignmentTarget, r->target->span, "this can't be assigned");
        if (k == Expr::Kind::tuple)
          d.help("`let (a, b) = ...` binds several names; a `var` is assigned by itself");
        else
          d.help("a name, a member or an element stands left of `=`; `==` compares");
      }
      return r;
    }
    auto r = std::make_unique<ExprStmt>(s);
    r->value = expr(x->expr(0));
    return r;
  }

  std::unique_ptr<FnStmt> function(Span s, Name n, P::ParamsContext* ps, P::TypeContext* result,
                                   P::BlockContext* body) {
    auto r = std::make_unique<FnStmt>(s);
    r->name = std::move(n);
    r->params = params(ps);
    r->head_span = join({file_, s.begin, s.begin}, span(ps));
    if (result) {
      r->result = type(result);
      r->head_span = join(r->head_span, span(result));
    }
    r->body = block(body);
    return r;
  }

  std::vector<Param> params(P::ParamsContext* c) {
    std::vector<Param> out;
    for (P::ParamContext* p : c->param()) {
      Param r;
      r.span = span(p);
      r.name = name(p->name());
      if (p->type()) r.type = type(p->type());
      if (p->expr()) r.default_value = argument(p->expr());
      out.push_back(std::move(r));
    }
    return out;
  }

  // ---- layers and optimizers
  std::vector<LayerItem> items(P::LayerBodyContext* c) {
    Nest nest(*this);
    check_depth(c);
    std::vector<LayerItem> out;
    for (P::ItemLineContext* line : c->itemLine())
      if (!is_broken(line) && line->item() && !line->item()->exception) out.push_back(item(line->item()));
    return out;
  }
  // Link k of an `if … else if … else` chain.
  LayerItem layer_if(P::LayerIfContext* c, size_t k = 0) {
    Nest nest(*this);
    check_depth(c, k == 0 ? c->IF().size() : 0);  // the whole chain at once: looking up a link takes time too
    LayerItem r;
    r.kind = LayerItem::Kind::if_;
    r.span = span(c);
    r.span.begin = span(c->IF(k)).begin;
    r.value = head(c->expr(k), "if");
    r.then_items = items(c->layerBody(k));
    if (k + 1 < c->IF().size())
      r.else_items.push_back(layer_if(c, k + 1));
    else if (k + 1 < c->layerBody().size())
      r.else_items = items(c->layerBody(k + 1));
    return r;
  }
  LayerItem item(P::ItemContext* c) {
    LayerItem r;
    r.span = span(c);
    r.doc = doc_above(r.span.begin);
    if (auto* x = dynamic_cast<P::ParamItemContext*>(c)) {
      r.kind = x->PARAM() ? LayerItem::Kind::param : LayerItem::Kind::state;
      r.name = name(x->name());
      r.type = type(x->type());
      r.value = expr(x->expr());
    } else if (auto* x = dynamic_cast<P::LetItemContext*>(c)) {
      r.kind = LayerItem::Kind::let;
      r.pattern = patterns(x->patterns());
      if (x->type()) r.type = type(x->type());
      r.value = expr(x->expr());
    } else if (auto* x = dynamic_cast<P::TieItemContext*>(c)) {
      r.kind = LayerItem::Kind::tie;
      r.args = args(x->args(), nullptr);
    } else if (auto* x = dynamic_cast<P::RequireItemContext*>(c)) {
      r.kind = LayerItem::Kind::require;
      std::tie(r.value, r.message) = requirement(x->expr(), x->STRING());
    } else if (auto* x = dynamic_cast<P::IfItemContext*>(c)) {
      std::string doc = std::move(r.doc);
      r = layer_if(x->layerIf());
      r.doc = std::move(doc);
    } else if (auto* x = dynamic_cast<P::ForwardItemContext*>(c)) {
      r.kind = LayerItem::Kind::forward;
      r.name = {"forward", span(x->FORWARD())};
      r.fn = function(r.span, r.name, x->params(), x->type(), x->block());
      r.fn->doc = r.doc;
    } else if (auto* x = dynamic_cast<P::FnItemContext*>(c)) {
      r.kind = LayerItem::Kind::fn;
      r.name = name(x->name());
      if (r.name.text == "forward" && !list_.is_muted(r.span.begin))
        diags_.error(Code::UnexpectedToken, span(x->FN()), "`forward` is declared without `fn`")
            .help("write `forward(x: [N, inputs]) -> [N, outputs] { ... }`");
      r.fn = function(r.span, r.name, x->params(), x->type(), x->block());
      r.fn->doc = r.doc;
    } else if (auto* x = dynamic_cast<P::MemberItemContext*>(c)) {
      r.kind = LayerItem::Kind::member;
      r.name = name(x->name());
      r.value = expr(x->expr());
    }
    return r;
  }
  std::pair<ExprPtr, ExprPtr> requirement(P::ExprContext* condition, antlr4::tree::TerminalNode* message) {
    std::pair<ExprPtr, ExprPtr> r;
    r.first = expr(condition);
    if (message) r.second = string(message);
    if (r.first->kind == Expr::Kind::tuple)
      diags_.error(Code::UnexpectedToken, r.first->span, "`require` is not a call")
          .help("write `require condition, \"message\"`, without parentheses");
    return r;
  }
  StmtPtr optimizer(Span s, P::OptimizerStmtContext* c) {
    auto r = std::make_unique<OptimizerStmt>(s);
    r->name = name(c->name());
    r->params = params(c->params());
    bool has_update = false;
    for (P::RuleLineContext* line : c->optimizerBody()->ruleLine()) {
      if (is_broken(line) || !line->rule_() || line->rule_()->exception) {
        has_update = true;  // it may be the broken line
        continue;
      }
      P::Rule_Context* rule = line->rule_();
      if (auto* x = dynamic_cast<P::StateRuleContext*>(rule)) {
        OptimizerStmt::State st;
        st.name = name(x->name());
        st.value = expr(x->expr());
        st.span = span(x);
        r->states.push_back(std::move(st));
      } else if (auto* x = dynamic_cast<P::RequireRuleContext*>(rule)) {
        OptimizerStmt::Require q;
        std::tie(q.condition, q.message) = requirement(x->expr(), x->STRING());
        q.span = span(x);
        r->requires_.push_back(std::move(q));
      } else if (auto* x = dynamic_cast<P::UpdateRuleContext*>(rule)) {
        if (has_update && r->update.span.valid())
          diags_.error(Code::UnexpectedToken, span(x->UPDATE()), "an optimizer has one `update`")
              .label(r->update.span, "the first one");
        has_update = true;
        r->update_params = params(x->params());
        r->update = block(x->block());
      }
    }
    if (!has_update && !diags_.has_errors())
      diags_.error(Code::UnexpectedToken, r->name.span, fmt::format("the optimizer `{}` has no `update`", r->name.text))
          .help("`update(param, grad) { param = ... }` says how a parameter changes");
    return r;
  }

  // ---- types and patterns
  TypeExpr type(P::TypeContext* c) {
    Nest nest(*this);
    check_depth(c);
    TypeExpr r;
    r.span = span(c);
    if (auto* x = dynamic_cast<P::ClassTypeContext*>(c)) {
      r.kind = TypeExpr::Kind::klass;
      r.classes = expr(x->expr());
      if (x->dims()) dims(x->dims(), r);
    } else if (auto* x = dynamic_cast<P::NamedTypeContext*>(c)) {
      r.name = name(x->name());
      if (x->dims()) dims(x->dims(), r);
    } else if (auto* x = dynamic_cast<P::TensorTypeContext*>(c)) {
      dims(x->dims(), r);
    } else if (auto* x = dynamic_cast<P::RecordTypeContext*>(c)) {
      r.kind = TypeExpr::Kind::record;
      for (P::FieldTypeContext* f : x->fieldType()) {
        r.field_names.push_back(name(f->name()));
        r.items.push_back(type(f->type()));
      }
    } else if (auto* x = dynamic_cast<P::TupleTypeContext*>(c)) {
      if (x->type().size() == 1 && x->COMMA().empty()) return type(x->type(0));
      r.kind = TypeExpr::Kind::tuple;
      for (P::TypeContext* t : x->type()) r.items.push_back(type(t));
    }
    return r;
  }
  void dims(P::DimsContext* c, TypeExpr& t) {
    t.has_dims = true;
    for (P::DimContext* d : c->dim()) {
      DimExpr r;
      r.span = span(d);
      if (d->DOTDOT()) {
        r.kind = DimExpr::Kind::rest;
      } else {
        r.expr = argument(d->expr());
        if (r.expr->kind == Expr::Kind::wildcard) {
          r.kind = DimExpr::Kind::any;
          r.expr = nullptr;
        }
      }
      t.dims.push_back(std::move(r));
    }
  }
  Pattern patterns(P::PatternsContext* c) {
    if (c->pattern().size() == 1 && c->COMMA().empty()) return pattern(c->pattern(0));
    Pattern r;
    r.kind = Pattern::Kind::tuple;
    r.span = span(c);
    for (P::PatternContext* p : c->pattern()) r.items.push_back(pattern(p));
    return r;
  }
  Pattern pattern(P::PatternContext* c) {
    Pattern r;
    r.span = span(c);
    if (c->name()) {
      r.name = name(c->name());
    } else if (c->UNDERSCORE()) {
      r.kind = Pattern::Kind::ignore;
    } else {
      Nest nest(*this);
      check_depth(c);
      if (c->pattern().size() == 1 && c->COMMA().empty()) return pattern(c->pattern(0));
      r.kind = Pattern::Kind::tuple;
      for (P::PatternContext* p : c->pattern()) r.items.push_back(pattern(p));
    }
    return r;
  }

  // ---- expressions
  // The head of an `if`, `while` or `for`: what begins with a brace there would read as the block.
  ExprPtr head(P::ExprContext* c, const char* word) {
    if (c->getStart()->getType() == P::LRECORD)
      diags_.error(Code::RecordAtHead, span(c->getStart()),
                   fmt::format("a record at the head of `{}` needs parentheses", word));
    return expr(c);
  }
  // Where `_` may stand.
  ExprPtr argument(P::ExprContext* c) {
    if (auto* p = dynamic_cast<P::PrimaryExprContext*>(c))
      if (auto* w = dynamic_cast<P::WildcardExprContext*>(p->primary())) return std::make_unique<WildcardExpr>(span(w));
    return expr(c);
  }

  ExprPtr expr(P::ExprContext* c) {
    Nest nest(*this);
    check_depth(c);
    const Span s = span(c);
    if (auto* x = dynamic_cast<P::PrimaryExprContext*>(c)) return primary(x->primary());
    if (auto* x = dynamic_cast<P::MemberExprContext*>(c)) {
      auto r = std::make_unique<MemberExpr>(join(span(x->expr()), span(x->name())));
      r->object = expr(x->expr());
      r->name = name(x->name());
      if (!x->lambda()) return r;
      auto call = std::make_unique<CallExpr>(s);
      call->has_parens = false;
      call->callee = std::move(r);
      call->lambda = lambda(x->lambda());
      return call;
    }
    if (auto* x = dynamic_cast<P::CallExprContext*>(c)) {
      auto r = std::make_unique<CallExpr>(s);
      r->callee = expr(x->expr());
      r->args = args(x->args(), r->callee.get());
      if (x->lambda()) r->lambda = lambda(x->lambda());
      return r;
    }
    if (auto* x = dynamic_cast<P::IndexExprContext*>(c)) {
      auto r = std::make_unique<IndexExpr>(s);
      r->object = expr(x->expr());
      for (P::SubscriptContext* i : x->subscript()) r->subscripts.push_back(subscript(i));
      return r;
    }
    if (auto* x = dynamic_cast<P::BinaryExprContext*>(c)) return binary(s, x);
    if (auto* x = dynamic_cast<P::UnaryExprContext*>(c)) return unary(s, x);
    if (auto* x = dynamic_cast<P::RangeExprContext*>(c)) {
      auto r = std::make_unique<RangeExpr>(s);
      r->lo = expr(x->expr(0));
      r->hi = expr(x->expr(1));
      r->inclusive = x->DOTDOTEQ() != nullptr;
      for (const Expr* e : {r->lo.get(), r->hi.get()})
        if (e->kind == Expr::Kind::range && !e->parenthesized)
          diags_.error(Code::ChainedOperator, s, "ranges don't chain")
              .help("a range goes up by one: `a..b`, or `a..=b` with its end");
      return r;
    }
    if (auto* x = dynamic_cast<P::PipeExprContext*>(c)) return pipe(s, x);
    return std::make_unique<NoneExpr>(s);
  }

  ExprPtr pipe(Span s, P::PipeExprContext* x) {
    auto r = std::make_unique<PipeExpr>(s);
    r->lhs = expr(x->expr(0));
    r->rhs = expr(x->expr(1));
    r->op_span = span(x->PIPE());
    // `.name` binds tighter than the pipe: `x |> f(k).T` would take `.T` of `f(k)`.
    const Expr* path = r->rhs.get();
    if (auto* call = dyn<CallExpr>(path)) path = call->callee.get();
    bool goes_on = false;
    while (auto* member = dyn<MemberExpr>(path)) {
      path = member->object.get();
      goes_on |= path->kind == Expr::Kind::call;
    }
    switch (r->rhs->kind) {
      case Expr::Kind::name:
      case Expr::Kind::member:
      case Expr::Kind::index:
      case Expr::Kind::call:
        if (!r->rhs->parenthesized && !goes_on) return r;
        break;
      default:
        break;
    }
    auto d = diags_.error(Code::BadPipeTarget, r->rhs->span, "right of `|>` stands a name, a path, an index or a call");
    if (r->rhs->kind == Expr::Kind::binary || goes_on)
      d.help("`|>` binds loosest: put the pipe in parentheses to go on with its result");
    else
      d.help("`x |> f(k)` is `f(x, k)`");
    return r;
  }

  static bool is_comparison(BinaryOp op) { return op >= BinaryOp::eq && op <= BinaryOp::ge; }
  ExprPtr binary(Span s, P::BinaryExprContext* x) {
    auto r = std::make_unique<BinaryExpr>(s);
    r->lhs = expr(x->expr(0));
    auto* op = dynamic_cast<antlr4::tree::TerminalNode*>(x->children[1]);
    r->op_span = span(op);
    switch (op->getSymbol()->getType()) {
      case P::PLUS:
        r->op = BinaryOp::add;
        break;
      case P::MINUS:
        r->op = BinaryOp::sub;
        break;
      case P::STAR:
        r->op = BinaryOp::mul;
        break;
      case P::SLASH:
        r->op = BinaryOp::div;
        break;
      case P::FLOORDIV:
        r->op = BinaryOp::floordiv;
        break;
      case P::PERCENT:
        r->op = BinaryOp::mod;
        break;
      case P::POW:
        r->op = BinaryOp::pow;
        break;
      case P::AT:
        r->op = BinaryOp::matmul;
        break;
      case P::EQ:
        r->op = BinaryOp::eq;
        break;
      case P::NE:
        r->op = BinaryOp::ne;
        break;
      case P::LT:
        r->op = BinaryOp::lt;
        break;
      case P::LE:
        r->op = BinaryOp::le;
        break;
      case P::GT:
        r->op = BinaryOp::gt;
        break;
      case P::GE:
        r->op = BinaryOp::ge;
        break;
      case P::AND:
        r->op = BinaryOp::and_;
        break;
      default:
        r->op = BinaryOp::or_;
        break;
    }
    r->rhs = expr(x->expr(1));
    if (const auto* l = dyn<BinaryExpr>(r->lhs.get());
        l && !l->parenthesized && is_comparison(r->op) && is_comparison(l->op)) {
      const std::string mid = text(l->rhs->span);
      diags_.error(Code::ChainedOperator, r->op_span, "comparisons don't chain")
          .label(l->op_span, "the first comparison")
          .help(fmt::format("write `{} and {} {} {}`", text(l->span), mid, spelling(r->op), text(r->rhs->span)));
    }
    return r;
  }

  ExprPtr unary(Span s, P::UnaryExprContext* x) {
    if (x->MINUS())
      if (auto* p = dynamic_cast<P::PrimaryExprContext*>(x->expr()))
        if (auto* i = dynamic_cast<P::IntExprContext*>(p->primary()))
          if (text(span(i)) == "9223372036854775808") {  // the smallest int has no positive counterpart
            auto r = std::make_unique<IntExpr>(s);
            r->value = std::numeric_limits<int64_t>::min();
            return r;
          }
    auto r = std::make_unique<UnaryExpr>(s);
    r->op = x->MINUS() ? UnaryOp::neg : UnaryOp::not_;
    r->op_span = span(x->MINUS() ? x->MINUS() : x->NOT());
    r->operand = expr(x->expr());
    return r;
  }

  ExprPtr primary(P::PrimaryContext* c) {
    const Span s = span(c);
    if (auto* x = dynamic_cast<P::NameExprContext*>(c)) {
      auto r = std::make_unique<NameExpr>(s);
      r->name = name(x->name()).text;
      return r;
    }
    if (auto* x = dynamic_cast<P::IntExprContext*>(c)) return integer(s, token(x->INT()));
    if (auto* x = dynamic_cast<P::FloatExprContext*>(c)) return floating(s, token(x->FLOAT()));
    if (auto* x = dynamic_cast<P::StringExprContext*>(c)) return string(x->STRING());
    if (auto* x = dynamic_cast<P::BoolExprContext*>(c)) {
      auto r = std::make_unique<BoolExpr>(s);
      r->value = x->TRUE() != nullptr;
      return r;
    }
    if (dynamic_cast<P::NoneExprContext*>(c)) return std::make_unique<NoneExpr>(s);
    if (dynamic_cast<P::WildcardExprContext*>(c)) {
      diags_.error(Code::MisplacedWildcard, s, "`_` can't be a value here")
          .help("`_` is an argument to be inferred, any size in a type, or a pattern that ignores a value");
      return std::make_unique<WildcardExpr>(s);
    }
    if (auto* x = dynamic_cast<P::ParenExprContext*>(c)) {
      if (x->expr().size() == 1 && x->COMMA().empty()) {
        ExprPtr r = expr(x->expr(0));
        r->parenthesized = true;
        r->span = s;
        return r;
      }
      auto r = std::make_unique<TupleExpr>(s);
      for (P::ExprContext* e : x->expr()) r->items.push_back(expr(e));
      return r;
    }
    if (auto* x = dynamic_cast<P::ListExprContext*>(c)) {
      if (x->FOR()) {
        auto r = std::make_unique<ComprehensionExpr>(s);
        r->value = expr(x->expr(0));
        r->pattern = patterns(x->patterns());
        r->iterable = expr(x->expr(1));
        return r;
      }
      auto r = std::make_unique<ListExpr>(s);
      for (P::ExprContext* e : x->expr()) r->items.push_back(expr(e));
      return r;
    }
    if (auto* x = dynamic_cast<P::RecordExprContext*>(c)) {
      auto r = std::make_unique<RecordExpr>(s);
      for (P::EntryContext* e : x->entry()) {
        RecordExpr::Entry entry;
        if (e->name()) {
          entry.name = name(e->name());
        } else {
          entry.name = {plain_string(e->STRING()), span(e->STRING())};
          entry.is_string = true;
        }
        entry.value = expr(e->expr());
        r->entries.push_back(std::move(entry));
      }
      return r;
    }
    if (auto* x = dynamic_cast<P::IfPrimaryContext*>(c)) return if_expr(x->ifExpr());
    if (auto* x = dynamic_cast<P::BlockCallContext*>(c)) {
      auto r = std::make_unique<BlockCallExpr>(s);
      r->which = x->GRAD() ? BlockCallExpr::Which::grad : BlockCallExpr::Which::minimize;
      r->name_span = span(x->GRAD() ? x->GRAD() : x->MINIMIZE());
      r->args = args(x->args(), nullptr);
      r->body = block(x->block());
      return r;
    }
    return std::make_unique<NoneExpr>(s);
  }

  // Link k of an `if … else if … else` chain.
  ExprPtr if_expr(P::IfExprContext* c, size_t k = 0) {
    Nest nest(*this);
    check_depth(c, k == 0 ? c->IF().size() : 0);
    Span s = span(c);
    s.begin = span(c->IF(k)).begin;
    auto r = std::make_unique<IfExpr>(s);
    r->condition = head(c->expr(k), "if");
    r->then_block = block(c->block(k));
    if (k + 1 < c->IF().size()) {
      Block b;
      b.span = {file_, span(c->IF(k + 1)).begin, s.end};
      auto st = std::make_unique<ExprStmt>(b.span);
      st->value = if_expr(c, k + 1);
      b.stmts.push_back(std::move(st));
      r->else_block = std::move(b);
    } else if (k + 1 < c->block().size()) {
      r->else_block = block(c->block(k + 1));
    }
    return r;
  }

  std::unique_ptr<LambdaExpr> lambda(P::LambdaContext* c) {
    Nest nest(*this);
    check_depth(c);
    auto r = std::make_unique<LambdaExpr>(span(c));
    r->params = patterns(c->patterns());
    r->body.span = r->span;
    r->body.stmts = lines(c->line(), true);
    return r;
  }

  std::vector<Arg> args(P::ArgsContext* c, const Expr* callee) {
    std::vector<Arg> out;
    for (P::ArgContext* a : c->arg()) {
      Arg r;
      r.span = span(a);
      if (a->name()) {
        r.name = name(a->name());
        r.value = argument(a->expr());
      } else if (a->FOR()) {
        auto loop = std::make_unique<ForExpr>(r.span);
        loop->pattern = patterns(a->patterns());
        loop->iterable = head(a->expr(), "for");
        loop->body = block(a->block());
        const auto* fold = dyn<NameExpr>(callee);
        if (!fold || (fold->name != "mean" && fold->name != "sum" && fold->name != "max" && fold->name != "min" &&
                      fold->name != "collect"))
          diags_.error(Code::MisplacedFor, span(a->FOR()), "a loop can be the argument of a fold only")
              .help("the folds are `mean`, `sum`, `max`, `min` and `collect`; `[e for x in xs]` makes a list");
        r.value = std::move(loop);
      } else {
        r.value = argument(a->expr());
      }
      out.push_back(std::move(r));
    }
    return out;
  }

  Subscript subscript(P::SubscriptContext* c) {
    Subscript r;
    r.span = span(c);
    if (c->ELLIPSIS()) {
      r.kind = Subscript::Kind::ellipsis;
      return r;
    }
    if (c->COLON().empty()) {
      r.expr = expr(c->expr(0));
      if (r.expr->kind == Expr::Kind::none) {
        r.kind = Subscript::Kind::new_axis;
        r.expr = nullptr;
      }
      return r;
    }
    r.kind = Subscript::Kind::slice;
    int colons = 0;
    for (auto* child : c->children) {
      if (dynamic_cast<antlr4::tree::TerminalNode*>(child))
        ++colons;
      else
        (colons == 0 ? r.lo : colons == 1 ? r.hi : r.step) = expr(dynamic_cast<P::ExprContext*>(child));
    }
    return r;
  }

  // ---- literals
  ExprPtr integer(Span s, const Token& t) {
    auto r = std::make_unique<IntExpr>(s);
    if (t.damaged) return r;
    std::string digits = text(s);
    std::erase(digits, '_');
    const bool hex = digits.size() > 2 && (digits[1] == 'x' || digits[1] == 'X');
    const char* first = digits.c_str() + (hex ? 2 : 0);
    if (std::from_chars(first, digits.c_str() + digits.size(), r->value, hex ? 16 : 10).ec != std::errc())
      diags_.error(Code::NumberTooLarge, s, "this number doesn't fit in 64 bits")
          .help("the largest int is 9223372036854775807; a float is written with a point");
    return r;
  }
  ExprPtr floating(Span s, const Token& t) {
    auto r = std::make_unique<FloatExpr>(s);
    if (t.damaged) return r;
    std::string digits = text(s);
    std::erase(digits, '_');
    double value = 0;
    if (std::from_chars(digits.c_str(), digits.c_str() + digits.size(), value).ec == std::errc::result_out_of_range) {
      // Too small is zero, too large is an error.
      const size_t e = digits.find_first_of("eE");
      const bool tiny =
          (e != std::string::npos && digits[e + 1] == '-') || (e == std::string::npos && digits[0] == '0');
      if (!tiny)
        diags_.error(Code::NumberTooLarge, s, "this number doesn't fit in a float")
            .help("the largest float is about 1.8e308; `inf` is infinity");
      value = 0;
    }
    r->value = value;
    return r;
  }
  ExprPtr string(antlr4::tree::TerminalNode* node) {
    const Token& t = token(node);
    auto r = std::make_unique<StringExpr>(Span{file_, t.begin, t.end});
    if (t.damaged) return r;
    for (StringPiece& piece : split_string(sources_, file_, t.begin, t.end, diags_)) {
      StringExpr::Part part;
      part.span = {file_, piece.begin, piece.end};
      part.text = std::move(piece.text);
      part.format = std::move(piece.format);
      if (piece.is_expr) {
        if (piece.expr_begin == piece.expr_end) continue;
        part.expr = parse_interpolation(sources_, file_, piece.expr_begin, piece.expr_end, diags_);
        if (!part.expr) continue;
      }
      r->parts.push_back(std::move(part));
    }
    return r;
  }
  std::string plain_string(antlr4::tree::TerminalNode* node) {
    const Token& t = token(node);
    std::string out;
    if (t.damaged) return out;
    for (const StringPiece& piece : split_string(sources_, file_, t.begin, t.end, diags_)) {
      if (piece.is_expr && piece.expr_begin != piece.expr_end)
        diags_.error(Code::BadInterpolation, {file_, piece.begin, piece.end}, "this string can't hold an interpolation")
            .help("a brace is doubled: `{{`");
      out += piece.text;
    }
    return out;
  }

  const SourceManager& sources_;
  std::string_view source_;
  uint32_t file_;
  const TokenList& list_;
  Diagnostics& diags_;
  int depth_ = 0;
  bool deep_reported_ = false;
};

}  // namespace

std::unique_ptr<ast::Program> build_program(P::ProgramContext* tree, const SourceManager& sources, uint32_t file,
                                            const TokenList& list, Diagnostics& diags) {
  return Builder(sources, file, list, diags).program(tree);
}

ast::ExprPtr build_interpolation(P::InterpolationContext* tree, const SourceManager& sources, uint32_t file,
                                 const TokenList& list, Diagnostics& diags) {
  return Builder(sources, file, list, diags).interpolation(tree);
}

}  // namespace nnlc::syntax
