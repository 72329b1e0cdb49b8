// The abstract syntax tree: what the parser makes and sema reads. No ANTLR type, no shape, no meaning.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "compiler/support/source.h"

namespace nnlc::ast {

struct Name {
  std::string text;  ///< NFC; "_" is a Pattern or Wildcard of its own, never a Name
  Span span;
};

struct Expr;
struct Stmt;
using ExprPtr = std::unique_ptr<Expr>;
using StmtPtr = std::unique_ptr<Stmt>;

struct Block {
  std::vector<StmtPtr> stmts;
  Span span;  ///< with the braces
};

/// `a`, `_`, `(a, (b, _))`. A list of patterns without parentheses (`let a, b = …`) is a tuple pattern too.
struct Pattern {
  enum class Kind { name, ignore, tuple } kind = Kind::name;
  Name name;
  std::vector<Pattern> items;
  Span span;
};

// ---------------------------------------------------------------- types

struct TypeExpr;
struct DimExpr {
  enum class Kind { any, rest, expr } kind = Kind::expr;  ///< `_`, `..`, an int expression
  ExprPtr expr;
  Span span;
};
/// `f32[N, 784]`, `[N]`, `class(10)[N]`, `int`, `{image: [C, H, W], label: class(K)}`, `(f32[], [N])`.
struct TypeExpr {
  enum class Kind { tensor, klass, record, tuple } kind = Kind::tensor;
  std::optional<Name> name;  ///< tensor: `f32`, or a host type `int float bool str`; absent in `[N, 784]`
  bool has_dims = false;     ///< `f32` and `f32[]` both are rank 0, but `int` has no dims
  std::vector<DimExpr> dims;
  ExprPtr classes;                ///< klass: the C of class(C)
  std::vector<Name> field_names;  ///< record
  std::vector<TypeExpr> items;    ///< record fields or tuple items
  Span span;
};

// ---------------------------------------------------------------- expressions

enum class UnaryOp { neg, not_ };
enum class BinaryOp { add, sub, mul, div, floordiv, mod, pow, matmul, eq, ne, lt, le, gt, ge, and_, or_ };
const char* spelling(BinaryOp op);
const char* spelling(UnaryOp op);

struct Expr {
  enum class Kind {
    int_,
    float_,
    string,
    bool_,
    none,
    wildcard,
    name,
    tuple,
    list,
    comprehension,
    record,
    unary,
    binary,
    range,
    pipe,
    member,
    call,
    index,
    if_,
    block_call,
    for_,
    lambda
  };
  const Kind kind;
  Span span;
  bool parenthesized = false;
  virtual ~Expr() = default;

 protected:
  Expr(Kind k, Span s) : kind(k), span(s) {}
};

#define NNLC_AST_EXPR(Type, K)           \
  static constexpr Kind kKind = Kind::K; \
  explicit Type(Span s) : Expr(kKind, s) {}

struct IntExpr : Expr {
  NNLC_AST_EXPR(IntExpr, int_) int64_t value = 0;
};
struct FloatExpr : Expr {
  NNLC_AST_EXPR(FloatExpr, float_) double value = 0;
};
struct BoolExpr : Expr {
  NNLC_AST_EXPR(BoolExpr, bool_) bool value = false;
};
struct NoneExpr : Expr {
  NNLC_AST_EXPR(NoneExpr, none)
};
struct WildcardExpr : Expr {
  NNLC_AST_EXPR(WildcardExpr, wildcard)
};
struct NameExpr : Expr {
  NNLC_AST_EXPR(NameExpr, name) std::string name;
};
/// "text {expr:format}": literal parts have no expr. Escapes are already resolved.
struct StringExpr : Expr {
  NNLC_AST_EXPR(StringExpr, string)
  struct Part {
    std::string text;
    ExprPtr expr;
    std::string format;
    Span span;
  };
  std::vector<Part> parts;
  bool is_literal() const { return parts.empty() || (parts.size() == 1 && !parts[0].expr); }
  std::string literal() const { return parts.empty() ? "" : parts[0].text; }
};
struct TupleExpr : Expr {
  NNLC_AST_EXPR(TupleExpr, tuple) std::vector<ExprPtr> items;
};
struct ListExpr : Expr {
  NNLC_AST_EXPR(ListExpr, list) std::vector<ExprPtr> items;
};
/// [value for pattern in iterable]
struct ComprehensionExpr : Expr {
  NNLC_AST_EXPR(ComprehensionExpr, comprehension) ExprPtr value;
  Pattern pattern;
  ExprPtr iterable;
};
/// {name: value, "key": value}
struct RecordExpr : Expr {
  NNLC_AST_EXPR(RecordExpr, record)
  struct Entry {
    Name name;
    bool is_string = false;
    ExprPtr value;
  };
  std::vector<Entry> entries;
};
struct UnaryExpr : Expr {
  NNLC_AST_EXPR(UnaryExpr, unary) UnaryOp op{};
  Span op_span;
  ExprPtr operand;
};
struct BinaryExpr : Expr {
  NNLC_AST_EXPR(BinaryExpr, binary) BinaryOp op{};
  Span op_span;
  ExprPtr lhs, rhs;
};
struct RangeExpr : Expr {
  NNLC_AST_EXPR(RangeExpr, range) ExprPtr lo, hi;
  bool inclusive = false;
};
/// lhs |> rhs, where rhs is a name, path, index or call
struct PipeExpr : Expr {
  NNLC_AST_EXPR(PipeExpr, pipe) ExprPtr lhs, rhs;
  Span op_span;
};
struct MemberExpr : Expr {
  NNLC_AST_EXPR(MemberExpr, member) ExprPtr object;
  Name name;
};
struct LambdaExpr : Expr {
  NNLC_AST_EXPR(LambdaExpr, lambda) Pattern params;
  Block body;
};
struct Arg {
  std::optional<Name> name;
  ExprPtr value;
  Span span;
};
struct CallExpr : Expr {
  NNLC_AST_EXPR(CallExpr, call)
  ExprPtr callee;
  std::vector<Arg> args;
  std::unique_ptr<LambdaExpr> lambda;  ///< `f(x) { a -> … }` and `xs.map { r -> … }`
  bool has_parens = true;              ///< false for `xs.map { … }`
};
struct Subscript {
  enum class Kind { expr, slice, ellipsis, new_axis } kind = Kind::expr;
  ExprPtr expr;          ///< expr
  ExprPtr lo, hi, step;  ///< slice; each may be null
  Span span;
};
struct IndexExpr : Expr {
  NNLC_AST_EXPR(IndexExpr, index) ExprPtr object;
  std::vector<Subscript> subscripts;
};
/// `else if` is an else block whose only statement is an IfExpr.
struct IfExpr : Expr {
  NNLC_AST_EXPR(IfExpr, if_) ExprPtr condition;
  Block then_block;
  std::optional<Block> else_block;
};
/// minimize(args) { body } and grad(args) { body }
struct BlockCallExpr : Expr {
  NNLC_AST_EXPR(BlockCallExpr, block_call)
  enum class Which { minimize, grad } which{};
  Span name_span;
  std::vector<Arg> args;
  Block body;
};
/// for pattern in iterable { body }, as the argument of a fold (mean, sum, max, min, collect)
struct ForExpr : Expr {
  NNLC_AST_EXPR(ForExpr, for_) Pattern pattern;
  ExprPtr iterable;
  Block body;
};
#undef NNLC_AST_EXPR

// ---------------------------------------------------------------- statements and declarations

/// A parameter of a fn, layer, optimizer or forward.
struct Param {
  Name name;
  std::optional<TypeExpr> type;
  ExprPtr default_value;
  Span span;
};

struct Stmt {
  enum class Kind {
    config,
    let,
    var,
    fn,
    layer,
    optimizer,
    test,
    import_,
    seed,
    precision,
    for_,
    while_,
    return_,
    break_,
    continue_,
    assign,
    expr
  };
  const Kind kind;
  Span span;
  std::string doc;  ///< `##` lines above a declaration, joined by newlines
  virtual ~Stmt() = default;

 protected:
  Stmt(Kind k, Span s) : kind(k), span(s) {}
};

#define NNLC_AST_STMT(Type, K)           \
  static constexpr Kind kKind = Kind::K; \
  explicit Type(Span s) : Stmt(kKind, s) {}

struct ConfigStmt : Stmt {
  NNLC_AST_STMT(ConfigStmt, config) Name name;
  TypeExpr type;
  ExprPtr value;
};
struct LetStmt : Stmt {
  NNLC_AST_STMT(LetStmt, let) Pattern pattern;
  std::optional<TypeExpr> type;
  ExprPtr value;
};
struct VarStmt : Stmt {
  NNLC_AST_STMT(VarStmt, var) Name name;
  std::optional<TypeExpr> type;
  ExprPtr value;
};
struct FnStmt : Stmt {
  NNLC_AST_STMT(FnStmt, fn)
  Name name;  ///< "forward" for a layer's forward
  std::vector<Param> params;
  std::optional<TypeExpr> result;
  Block body;
  Span head_span;
};

/// One item of a layer's body.
struct LayerItem {
  enum class Kind { param, state, let, tie, require, if_, forward, fn, member } kind{};
  Span span;
  std::string doc;               ///< `##` lines above it
  Name name;                     ///< param, state, member
  std::optional<TypeExpr> type;  ///< param, state
  ExprPtr value;                 ///< param and state: initialiser; member: its layer; require, if_: the condition
  Pattern pattern;               ///< let
  std::vector<Arg> args;         ///< tie
  ExprPtr message;               ///< require: a StringExpr, or null
  std::vector<LayerItem> then_items, else_items;  ///< if_
  std::unique_ptr<FnStmt> fn;                     ///< forward, fn
};
struct LayerStmt : Stmt {
  NNLC_AST_STMT(LayerStmt, layer)
  Name name;
  std::vector<Param> params;
  std::vector<LayerItem> items;
  ExprPtr alias;  ///< `layer Net = Sequential(…)`: then there are no items
};
struct OptimizerStmt : Stmt {
  NNLC_AST_STMT(OptimizerStmt, optimizer)
  struct State {
    Name name;
    ExprPtr value;
    Span span;
  };
  struct Require {
    ExprPtr condition;
    ExprPtr message;
    Span span;
  };
  Name name;
  std::vector<Param> params;
  std::vector<State> states;
  std::vector<Require> requires_;
  std::vector<Param> update_params;  ///< (param, grad)
  Block update;
};
struct TestStmt : Stmt {
  NNLC_AST_STMT(TestStmt, test) std::string title;
  Span title_span;
  Block body;
};
struct ImportStmt : Stmt {
  NNLC_AST_STMT(ImportStmt, import_) std::string path;
  Span path_span;
  std::optional<Name> alias;
};
struct SeedStmt : Stmt {
  NNLC_AST_STMT(SeedStmt, seed) ExprPtr value;
};
struct PrecisionStmt : Stmt {
  NNLC_AST_STMT(PrecisionStmt, precision) Name name;
};
struct ForStmt : Stmt {
  NNLC_AST_STMT(ForStmt, for_) Pattern pattern;
  ExprPtr iterable;
  Block body;
  Span head_span;
};
struct WhileStmt : Stmt {
  NNLC_AST_STMT(WhileStmt, while_) ExprPtr condition;
  Block body;
};
struct ReturnStmt : Stmt {
  NNLC_AST_STMT(ReturnStmt, return_) ExprPtr value;
};
struct BreakStmt : Stmt {
  NNLC_AST_STMT(BreakStmt, break_)
};
struct ContinueStmt : Stmt {
  NNLC_AST_STMT(ContinueStmt, continue_)
};
/// target is a name, member or index expression
struct AssignStmt : Stmt {
  NNLC_AST_STMT(AssignStmt, assign) ExprPtr target;
  ExprPtr value;
};
struct ExprStmt : Stmt {
  NNLC_AST_STMT(ExprStmt, expr) ExprPtr value;
};
#undef NNLC_AST_STMT

struct Program {
  uint32_t file = 0;
  std::vector<StmtPtr> stmts;
};

template <class T>
const T& as(const Expr& e) {
  return static_cast<const T&>(e);
}
template <class T>
const T& as(const Stmt& s) {
  return static_cast<const T&>(s);
}
template <class T>
const T* dyn(const Expr* e) {
  return e && e->kind == T::kKind ? static_cast<const T*>(e) : nullptr;
}
template <class T>
const T* dyn(const Stmt* s) {
  return s && s->kind == T::kKind ? static_cast<const T*>(s) : nullptr;
}

}  // namespace nnlc::ast
