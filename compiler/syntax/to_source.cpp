// An expression as source text on one line, with the parentheses that its meaning needs and no others.
#include <fmt/format.h>

#include "compiler/support/utf8.h"
#include "compiler/syntax/parser.h"

namespace nnlc::syntax {

using namespace ast;

namespace {

// Tight to loose, as in the grammar; an operand that binds looser than its place asks for gets parentheses.
enum Level { kPipe = 1, kRange, kOr, kAnd, kNot, kCompare, kSum, kProduct, kMinus, kPower, kPostfix };

Level level(BinaryOp op) {
  switch (op) {
    case BinaryOp::pow:
      return kPower;
    case BinaryOp::mul:
    case BinaryOp::div:
    case BinaryOp::floordiv:
    case BinaryOp::mod:
    case BinaryOp::matmul:
      return kProduct;
    case BinaryOp::add:
    case BinaryOp::sub:
      return kSum;
    case BinaryOp::and_:
      return kAnd;
    case BinaryOp::or_:
      return kOr;
    default:
      return kCompare;
  }
}

Level level(const Expr& e) {
  switch (e.kind) {
    case Expr::Kind::binary:
      return level(as<BinaryExpr>(e).op);
    case Expr::Kind::unary:
      return as<UnaryExpr>(e).op == UnaryOp::neg ? kMinus : kNot;
    case Expr::Kind::range:
      return kRange;
    case Expr::Kind::pipe:
      return kPipe;
    case Expr::Kind::int_:
      return as<IntExpr>(e).value < 0 ? kMinus : kPostfix;
    default:
      return kPostfix;
  }
}

std::string escape(const std::string& s) {
  std::string out;
  for (size_t i = 0; i < s.size();) {
    const CodePoint c = code_point_at(s, i);
    i += c.size;
    switch (c.value) {
      case '\n':
        out += "\\n";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '"':
        out += "\\\"";
        break;
      case '{':
        out += "{{";
        break;
      case '}':
        out += "}}";
        break;
      default:
        if (c.value < 0x20 || c.value == 0x7F)
          out += fmt::format("\\u{{{:X}}}", static_cast<uint32_t>(c.value));
        else
          append_utf8(out, c.value);
    }
  }
  return out;
}

struct Writer {
  std::string out;

  void pattern(const Pattern& p, bool top = false) {
    switch (p.kind) {
      case Pattern::Kind::name:
        out += p.name.text;
        return;
      case Pattern::Kind::ignore:
        out += "_";
        return;
      case Pattern::Kind::tuple:
        if (!top) out += "(";
        for (size_t i = 0; i < p.items.size(); ++i) {
          if (i) out += ", ";
          pattern(p.items[i]);
        }
        if (p.items.size() == 1) out += ",";
        if (!top) out += ")";
    }
  }
  void args(const std::vector<Arg>& list) {
    out += "(";
    for (size_t i = 0; i < list.size(); ++i) {
      if (i) out += ", ";
      if (list[i].name) out += list[i].name->text + " = ";
      expr(*list[i].value);
    }
    out += ")";
  }
  void items(const std::vector<ExprPtr>& list) {
    for (size_t i = 0; i < list.size(); ++i) {
      if (i) out += ", ";
      expr(*list[i]);
    }
  }
  // What a block holds rarely helps where an expression is quoted; a single expression does.
  void block(const Block& b) {
    const ExprStmt* only = b.stmts.size() == 1 ? dyn<ExprStmt>(b.stmts[0].get()) : nullptr;
    if (only) {
      out += "{ ";
      expr(*only->value);
      out += " }";
    } else {
      out += b.stmts.empty() ? "{}" : "{ ... }";
    }
  }
  void operand(const Expr& e, int least) {
    const bool parens = level(e) < least || (e.kind == Expr::Kind::if_ && least > 0);
    if (parens) out += "(";
    expr(e);
    if (parens) out += ")";
  }
  void expr(const Expr& e) {
    switch (e.kind) {
      case Expr::Kind::int_:
        out += std::to_string(as<IntExpr>(e).value);
        return;
      case Expr::Kind::float_: {
        std::string s = fmt::format("{}", as<FloatExpr>(e).value);
        // The shortest form of 2.0 is "2", of 1e20 "1e+20", of 1e-7 "1e-07".
        if (s.find_first_of(".einf") == std::string::npos) s += ".0";
        if (const size_t e = s.find('e'); e != std::string::npos && s.size() > e + 2) {
          if (s[e + 2] == '0') s.erase(e + 2, 1);
          if (s[e + 1] == '+') s.erase(e + 1, 1);
        }
        out += s;
        return;
      }
      case Expr::Kind::string:
        out += '"';
        for (const StringExpr::Part& p : as<StringExpr>(e).parts) {
          if (!p.expr) {
            out += escape(p.text);
            continue;
          }
          out += "{";
          expr(*p.expr);
          if (!p.format.empty()) out += ":" + p.format;
          out += "}";
        }
        out += '"';
        return;
      case Expr::Kind::bool_:
        out += as<BoolExpr>(e).value ? "true" : "false";
        return;
      case Expr::Kind::none:
        out += "None";
        return;
      case Expr::Kind::wildcard:
        out += "_";
        return;
      case Expr::Kind::name:
        out += as<NameExpr>(e).name;
        return;
      case Expr::Kind::tuple: {
        const auto& t = as<TupleExpr>(e);
        out += "(";
        items(t.items);
        out += t.items.size() == 1 ? ",)" : ")";
        return;
      }
      case Expr::Kind::list:
        out += "[";
        items(as<ListExpr>(e).items);
        out += "]";
        return;
      case Expr::Kind::comprehension: {
        const auto& c = as<ComprehensionExpr>(e);
        out += "[";
        expr(*c.value);
        out += " for ";
        pattern(c.pattern, true);
        out += " in ";
        expr(*c.iterable);
        out += "]";
        return;
      }
      case Expr::Kind::record: {
        out += "{";
        const char* comma = "";
        for (const RecordExpr::Entry& r : as<RecordExpr>(e).entries) {
          out += comma;
          out += r.is_string ? "\"" + escape(r.name.text) + "\"" : r.name.text;
          out += ": ";
          expr(*r.value);
          comma = ", ";
        }
        out += "}";
        return;
      }
      case Expr::Kind::unary: {
        const auto& u = as<UnaryExpr>(e);
        out += u.op == UnaryOp::neg ? "-" : "not ";
        operand(*u.operand, u.op == UnaryOp::neg ? kMinus : kNot);
        return;
      }
      case Expr::Kind::binary: {
        const auto& b = as<BinaryExpr>(e);
        const Level l = level(b.op);
        // Left-associative, but `**` is right-associative and comparisons don't chain; `2 ** -x` needs no parentheses.
        operand(*b.lhs, l == kPower || l == kCompare ? l + 1 : l);
        out += fmt::format(" {} ", spelling(b.op));
        operand(*b.rhs, l == kPower ? (b.rhs->kind == Expr::Kind::unary ? kMinus : kPower) : l + 1);
        return;
      }
      case Expr::Kind::range: {
        const auto& r = as<RangeExpr>(e);
        operand(*r.lo, kRange + 1);
        out += r.inclusive ? "..=" : "..";
        operand(*r.hi, kRange + 1);
        return;
      }
      case Expr::Kind::pipe: {
        const auto& p = as<PipeExpr>(e);
        operand(*p.lhs, kPipe);
        out += " |> ";
        operand(*p.rhs, kPostfix);
        return;
      }
      case Expr::Kind::member: {
        const auto& m = as<MemberExpr>(e);
        const bool number = m.object->kind == Expr::Kind::int_ || m.object->kind == Expr::Kind::float_;
        if (number) out += "(";
        operand(*m.object, kPostfix);
        if (number) out += ")";
        out += "." + m.name.text;
        return;
      }
      case Expr::Kind::call: {
        const auto& c = as<CallExpr>(e);
        operand(*c.callee, kPostfix);
        if (c.has_parens) args(c.args);
        if (c.lambda) {
          out += " ";
          expr(*c.lambda);
        }
        return;
      }
      case Expr::Kind::index: {
        const auto& x = as<IndexExpr>(e);
        operand(*x.object, kPostfix);
        out += "[";
        const char* comma = "";
        for (const Subscript& s : x.subscripts) {
          out += comma;
          comma = ", ";
          switch (s.kind) {
            case Subscript::Kind::ellipsis:
              out += "...";
              break;
            case Subscript::Kind::new_axis:
              out += "None";
              break;
            case Subscript::Kind::expr:
              expr(*s.expr);
              break;
            case Subscript::Kind::slice:
              if (s.lo) expr(*s.lo);
              out += ":";
              if (s.hi) expr(*s.hi);
              if (s.step) {
                out += ":";
                expr(*s.step);
              }
          }
        }
        out += "]";
        return;
      }
      case Expr::Kind::if_: {
        const auto& i = as<IfExpr>(e);
        out += "if ";
        expr(*i.condition);
        out += " ";
        block(i.then_block);
        if (i.else_block) {
          out += " else ";
          block(*i.else_block);
        }
        return;
      }
      case Expr::Kind::block_call: {
        const auto& b = as<BlockCallExpr>(e);
        out += b.which == BlockCallExpr::Which::grad ? "grad" : "minimize";
        args(b.args);
        out += " ";
        block(b.body);
        return;
      }
      case Expr::Kind::for_: {
        const auto& f = as<ForExpr>(e);
        out += "for ";
        pattern(f.pattern, true);
        out += " in ";
        expr(*f.iterable);
        out += " ";
        block(f.body);
        return;
      }
      case Expr::Kind::lambda: {
        const auto& l = as<LambdaExpr>(e);
        out += "{ ";
        pattern(l.params, true);
        out += " -> ";
        const ExprStmt* only = l.body.stmts.size() == 1 ? dyn<ExprStmt>(l.body.stmts[0].get()) : nullptr;
        if (only)
          expr(*only->value);
        else
          out += "...";
        out += " }";
        return;
      }
    }
  }
};

}  // namespace

std::string to_source(const ast::Expr& e) {
  Writer w;
  w.expr(e);
  return std::move(w.out);
}

std::string quoted(const std::string& s) { return "\"" + escape(s) + "\""; }

}  // namespace nnlc::syntax
