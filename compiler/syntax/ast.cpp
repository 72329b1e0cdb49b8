// Spellings of the operators.
#include "compiler/syntax/ast.h"

namespace nnlc::ast {

const char* spelling(BinaryOp op) {
  switch (op) {
    case BinaryOp::add:
      return "+";
    case BinaryOp::sub:
      return "-";
    case BinaryOp::mul:
      return "*";
    case BinaryOp::div:
      return "/";
    case BinaryOp::floordiv:
      return "//";
    case BinaryOp::mod:
      return "%";
    case BinaryOp::pow:
      return "**";
    case BinaryOp::matmul:
      return "@";
    case BinaryOp::eq:
      return "==";
    case BinaryOp::ne:
      return "!=";
    case BinaryOp::lt:
      return "<";
    case BinaryOp::le:
      return "<=";
    case BinaryOp::gt:
      return ">";
    case BinaryOp::ge:
      return ">=";
    case BinaryOp::and_:
      return "and";
    case BinaryOp::or_:
      return "or";
  }
  return "?";
}

const char* spelling(UnaryOp op) { return op == UnaryOp::neg ? "-" : "not"; }

}  // namespace nnlc::ast
