// The parser's base class: a recursive descent must not exhaust the stack, whatever the input.
#pragma once
#include <antlr4-runtime.h>

namespace nnlc::syntax {

/// Thrown where rules nest too deeply; not a RecognitionException, so it leaves the parser at once.
struct TooDeep {
  antlr4::Token* token;
};

class DepthLimitedParser : public antlr4::Parser {
 public:
  using antlr4::Parser::Parser;
  void enterRule(antlr4::ParserRuleContext* context, size_t state, size_t rule) override {
    enter();
    antlr4::Parser::enterRule(context, state, rule);
  }
  void exitRule() {  // not virtual in ANTLR; generated code calls the nearest
    --depth_;
    antlr4::Parser::exitRule();
  }
  void enterRecursionRule(antlr4::ParserRuleContext* context, size_t state, size_t rule, int precedence) override {
    enter();
    antlr4::Parser::enterRecursionRule(context, state, rule, precedence);
  }
  void unrollRecursionContexts(antlr4::ParserRuleContext* parent) override {
    --depth_;
    antlr4::Parser::unrollRecursionContexts(parent);
  }

 private:
  // A bracket takes up to five rules; the token filter allows 150 of them.
  static constexpr int kMaxDepth = 1000;
  void enter() {
    if (depth_ >= kMaxDepth) throw TooDeep{getCurrentToken()};
    ++depth_;
  }
  int depth_ = 0;
};

}  // namespace nnlc::syntax

namespace nnlc::syntax::generated {
using nnlc::syntax::DepthLimitedParser;
}
