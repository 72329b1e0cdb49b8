#include "compiler/syntax/error_strategy.h"

#include <fmt/format.h>

#include <algorithm>

namespace nnlc::syntax {

using P = generated::NNLParser;
using antlr4::ParserRuleContext;

namespace {

bool is_line_rule(size_t rule) { return rule == P::RuleLine || rule == P::RuleItemLine || rule == P::RuleRuleLine; }
bool is_body_rule(size_t rule) {
  return rule == P::RuleProgram || rule == P::RuleBlock || rule == P::RuleLambda || rule == P::RuleLayerBody ||
         rule == P::RuleOptimizerBody;
}

bool is_operator(size_t t) { return (t >= P::EQ && t <= P::MINUS) || t == P::AND || t == P::OR || t == P::DOTDOT; }

// The types of token that could stand here.
struct Expected {
  antlr4::misc::IntervalSet set;
  bool contains(size_t type) const { return set.contains(static_cast<ssize_t>(type)); }
};

bool in_block_call(const ParserRuleContext* c) {
  // The line that failed, the block, and what the block belongs to.
  const auto* block = c ? dynamic_cast<const ParserRuleContext*>(c->parent) : nullptr;
  return block && dynamic_cast<const P::BlockCallContext*>(block->parent);
}

// What the parser may ask for, as a reader would say it.
std::string expectation(const Expected& set) {
  std::vector<std::string> parts;
  const bool expression = set.contains(P::INT), name = set.contains(P::ID);
  if (set.contains(P::LET) && set.contains(P::WHILE))
    parts.push_back("a statement");
  else if (set.contains(P::LET))
    return "a member of the layer";
  else if (expression)
    parts.push_back("an expression");
  else if (set.contains(P::LRECORD) && set.contains(P::LBRACKET) && name)
    parts.push_back("a type");
  else if (name)
    parts.push_back("a name");
  static const std::pair<size_t, const char*> kTokens[] = {
      {P::IN, "`in`"},         {P::STATE, "`state`"}, {P::REQUIRE, "`require`"}, {P::UPDATE, "`update`"},
      {P::STRING, "a string"}, {P::COMMA, "`,`"},     {P::COLON, "`:`"},         {P::ASSIGN, "`=`"},
      {P::ARROW, "`->`"},      {P::LPAREN, "`(`"},    {P::LBRACE, "`{`"},        {P::RPAREN, "`)`"},
      {P::RBRACKET, "`]`"},    {P::RBRACE, "`}`"}};
  for (const auto& [type, word] : kTokens) {
    if (!set.contains(type)) continue;
    if (expression && (type == P::STRING || type == P::LPAREN || type == P::IN || type == P::STATE ||
                       type == P::REQUIRE || type == P::UPDATE))
      continue;
    if (name && (type == P::IN || type == P::STATE || type == P::REQUIRE || type == P::UPDATE ||
                 (type == P::LPAREN && parts.size())))
      continue;
    parts.push_back(word);
  }
  if (set.contains(P::NL)) parts.push_back("the end of the line");
  if (set.contains(antlr4::Token::EOF) && parts.empty()) parts.push_back("the end of the file");
  std::string out;
  for (size_t i = 0; i < parts.size(); ++i) out += (i == 0 ? "" : i + 1 == parts.size() ? " or " : ", ") + parts[i];
  return out;
}

}  // namespace

std::string ErrorStrategy::text(size_t index) const {
  const Token& t = list_.tokens[index];
  return std::string(source_.substr(t.begin, t.end - t.begin));
}

std::string ErrorStrategy::describe(size_t index) const {
  const Token& t = list_.tokens[index];
  if (t.type == antlr4::Token::EOF) return "the end of the file";
  if (t.type == P::NL) {
    if (is_interpolation_) return "the end of the interpolation";
    if (index + 1 < list_.tokens.size() && t.synthetic) return describe(index + 1);
    return "the end of the line";
  }
  if (t.type == P::STRING) return "a string";
  return "`" + text(index) + "`";
}

void ErrorStrategy::report(antlr4::Parser* parser, size_t index, bool look_ahead) {
  const Token& t = list_.tokens[index];
  Expected expected{parser->getExpectedTokens()};
  // Only where an operand or a name could begin: that operators could go on is never news.
  if (optional_index_ == index && !look_ahead && optional_.contains(static_cast<ssize_t>(P::ID)))
    expected.set.addAll(optional_);
  constexpr size_t kEnough = 100;  // more than are shown
  if (diags_.all().size() >= kEnough) return;
  if (list_.is_muted(t.begin)) {
    if (!first_muted_) first_muted_ = t.begin;
    return;
  }
  if (!look_ahead && expected.contains(P::LBRACE)) missed_brace_ = true;
  const size_t prev = index == 0 ? antlr4::Token::EOF : list_.tokens[index - 1].type;
  const std::string prev_text = index == 0 ? "" : text(index - 1);
  const size_t next = index + 1 < list_.tokens.size() ? list_.tokens[index + 1].type : antlr4::Token::EOF;
  const bool wants_expr = expected.contains(P::INT), wants_block = expected.contains(P::LBRACE) && !wants_expr,
             wants_end = expected.contains(P::NL);

  // The statement's first token, for what depends on its kind.
  size_t start = index;
  for (auto* c = parser->getContext(); c; c = dynamic_cast<ParserRuleContext*>(c->parent))
    if (is_line_rule(c->getRuleIndex()) && c->getStart()) {
      start = c->getStart()->getTokenIndex();
      break;
    }
  const size_t first = list_.tokens[start].type;
  const std::string first_text = text(start);

  Span place{file_, t.begin, t.end};
  if (t.type == P::NL && t.synthetic && next == P::RBRACE)
    place = {file_, list_.tokens[index + 1].begin, list_.tokens[index + 1].end};
  std::string message;
  const std::string wanted = look_ahead ? "" : expectation(expected);
  if (look_ahead && prev == P::ELSE)
    message = fmt::format("expected `{{` or `if`, found {}", describe(index));
  else if (look_ahead || wanted.empty())
    message = fmt::format("{} can't stand here", describe(index));
  else if (wants_end)
    message = fmt::format("{} can't follow here: the statement is complete", describe(index));
  else
    message = fmt::format("expected {}, found {}", wanted, describe(index));

  std::string help;
  const bool after_operand = ends_operand(prev);
  const bool two_names = is_name(prev) && is_name(t.type);
  if (t.type == P::COLON && (wants_block || (wants_end && (first == P::IF || first == P::FOR || first == P::WHILE ||
                                                           first == P::FN || prev == P::ELSE)))) {
    message = "a block stands in braces";
    help = "write `{` instead of `:`, and `}` behind the block";
  } else if (first == P::LAYER && index == start + 2 && (t.type == P::LBRACE || t.type == P::LRECORD)) {
    help = fmt::format("a layer without hyper-parameters is written `layer {}() {{`", prev_text);
  } else if (wants_block && (t.type == P::NL || t.type == P::LRECORD)) {
    message = "expected `{`, found " + describe(index);
    help = next == P::LRECORD || t.type == P::LRECORD ? "the `{` stands on the line of its head"
                                                      : "the block stands in braces, and `{` on this line";
  } else if (t.type == P::FOR && wanted == "a member of the layer") {
    help = "a list of layers is written `blocks = [Block(dim) for i in 0..depth]`";
  } else if (t.type == P::DOT && prev_text == "self") {
    help = "a member is written `name = Layer(...)`, without `self`";
  } else if (wanted == "a member of the layer" ||
             (t.type == P::LPAREN && parser->getContext()->getRuleIndex() == P::RuleItem)) {
    help =
        "a layer's body holds `name = Layer(...)`, `param`, `state`, `let`, `require`, `tie`, `if`, `forward` and `fn`";
  } else if (t.type == P::ARROW && in_block_call(parser->getContext())) {
    help = "`minimize` and `grad` take a block without a head";
  } else if (t.type == P::IF && expected.contains(P::RBRACKET)) {
    help = "a comprehension has no condition";
  } else if (t.type == P::LBRACE && wants_end && (first == P::TEST || first == P::FORWARD || first == P::UPDATE)) {
    help = first == P::TEST ? "a test has a title: `test \"adds up\" { ... }`" : "";
  } else if (t.type == P::LBRACE && wants_end) {
    help = "a function in braces has a head: `{ x -> ... }`";
  } else if (t.type == P::ASSIGN && wants_block && first == P::LAYER) {
    help = "a layer by another name has no parameters: `layer A = B(...)`";
  } else if (t.type == P::ASSIGN && wants_block && first == P::FN) {
    help = "a function's body stands in braces: `fn f(x) { x + 1 }`";
  } else if (t.type == P::ASSIGN && (wants_block || first == P::IF || first == P::WHILE) && start != index) {
    help = "`==` compares, `=` assigns";
  } else if (t.type == P::EQ && (first == P::LET || first == P::VAR || first == P::CONFIG) &&
             expected.contains(P::ASSIGN)) {
    help = "`let x = ...` binds a name, `==` compares";
  } else if (t.type == P::COLON && wants_end && is_name(prev) && index >= 2 &&
             list_.tokens[index - 2].type == P::LBRACE) {
    help = "a block that gives a record is written `{ {a: 1} }`";
  } else if (t.type == P::COLON && expected.contains(P::RPAREN) && is_name(prev)) {
    help = fmt::format("an argument is named by `=`: `{} = ...`", prev_text);
  } else if (t.type == P::COLON && expected.contains(P::RBRACKET) && !wants_expr &&
             wanted.find("type") == std::string::npos) {
    help = "a slice is written `x[1:3]`, a record `{key: value}`";
  } else if (t.type == P::ASSIGN && expected.contains(P::COLON) && expected.contains(P::RBRACE) == false &&
             first == P::CONFIG) {
    help = fmt::format("a config has a type: `config {}: int = ...`", prev_text);
  } else if (t.type == P::ASSIGN && expected.contains(P::COLON) && (first == P::PARAM || first == P::STATE)) {
    help = fmt::format("it has a type: `{} {}: [n] = ...`", first_text, prev_text);
  } else if (t.type == P::ASSIGN && expected.contains(P::COLON)) {
    help = "in a record stands `name: value`";
  } else if (t.type == P::LAMBDA) {
    help =
        "`{ x -> ... }` can be the last thing of a call (`xs.map { x -> ... }`) only; a function by itself is declared "
        "with `fn`";
  } else if (t.type == P::ARROW && first != P::FN) {
    help = "`{ x -> ... }` can be the last thing of a call only, `->` before a type stands in a signature";
  } else if (t.type == P::LBRACE && wants_expr && (next == P::STRING || is_name(next)) &&
             index + 2 < list_.tokens.size() && list_.tokens[index + 2].type == P::COLON) {
    help = "a record at the head of a block needs parentheses";
  } else if ((t.type == P::LRECORD && wants_end) || (first == P::LRECORD && start != index && wanted == "`:`")) {
    help = "there are no bare blocks; a record is written `{name: value}`";
  } else if (t.type == P::IF && after_operand) {
    help = "a choice is written `if c { a } else { b }`";
  } else if (t.type == P::ELSE) {
    help = first == P::IF || prev == P::RBRACE ? "`else` follows the `}` of an `if`"
                                               : "a choice is written `if c { a } else { b }`";
  } else if (t.type == P::FOR && (first != P::FOR || start != index) &&
             (expected.contains(P::NL) || expected.contains(P::RPAREN) || wants_expr)) {
    help = prev == P::LPAREN || prev == P::COMMA || prev == P::ASSIGN
               ? "`[e for x in xs]` makes a list; a loop is a statement or the argument of a fold"
               : "a list from a loop stands in brackets: `[e for x in xs]`";
  } else if (t.type == P::IMPORT || (first == P::IMPORT && t.type != P::STRING && start != index)) {
    help = "a file is imported by its path: `import \"blocks.nnl\" as blocks`";
  } else if (first_text == "from" && two_names) {
    help = "a file is imported by its path: `import \"blocks.nnl\" as blocks`";
  } else if ((first_text == "lambda" || prev_text == "lambda") && start != index) {
    help = "a function without a name is written `{ x -> ... }`, as the last thing of a call";
  } else if (wanted.starts_with("a statement") && is_operator(t.type)) {
    help = t.type == P::AT && is_name(next) && list_.tokens[index + 1].begin == t.end
               ? "there are no decorators; to go on with the line above, end that line with `@`"
               : fmt::format("to go on with the line above, end that line with `{}`", text(index));
  } else if (t.type == P::FN && wants_expr) {
    help = "a function without a name is written `{ x -> ... }`, as the last thing of a call";
  } else if (wants_end && (first_text == "minimize" || first_text == "grad") && start + 1 == index) {
    help = fmt::format("it is written `{}({}) {{ ... }}`", first_text, is_name(t.type) ? text(index) : "opt");
  } else if (t.type == P::PLUS && wants_expr) {
    help = "there is no sign `+`";
  } else if (t.type == P::EQ && prev == P::EQ) {
    help = "equality is written `==`";
  } else if (t.type == P::GT && prev == P::LT) {
    help = "inequality is written `!=`";
  } else if (t.type == P::COMMA && wants_end && parser->getContext()->getRuleIndex() == P::RuleLine &&
             first != P::IMPORT) {
    help = "several values stand in parentheses: `(a, b)`";
  } else if (t.type == P::DOTDOT && parser->getContext()->getRuleIndex() == P::RuleSubscript) {
    help = "in an index, `...` stands for all the other axes";
  } else if (t.type == P::LPAREN && first == P::FOR && expected.contains(P::UNDERSCORE)) {
    help = "a loop is written `for x in xs { ... }`, without parentheses";
  } else if (first == P::FOR && !wants_block &&
             list_.tokens[std::min(start + 1, list_.tokens.size() - 1)].type == P::LPAREN &&
             expected.contains(P::RPAREN)) {
    help = "a loop is written `for x in xs { ... }`, without parentheses";
  } else if (t.type == P::LPAREN && first == P::LET && start + 2 == index) {
    help = "a function is declared by `fn`: `fn f(x) { ... }`";
  } else if (two_names && parser->getContext()->getRuleIndex() == P::RuleParams) {
    help = fmt::format("the type stands behind the name: `{}: {}`", text(index), prev_text);
  } else if (two_names && wants_end &&
             (first_text == "print" || first_text == "assert" || first_text == "freeze" || first_text == "del")) {
    help = fmt::format("a call has parentheses: `{}({})`", prev_text, text(index));
  } else if (t.type == P::STRING && is_name(prev) && wants_end) {
    help = fmt::format("a call has parentheses: `{}(...)`", prev_text);
  } else if (wants_end && prev_text == "is") {
    help = "equality is written `==`";
  } else if (wants_end && (text(index) == "is" || text(index) == "in")) {
    help = "equality is written `==`; `in` belongs to `for`";
  } else if (wants_end && (t.type == P::NOT || t.type == P::NONE) && prev_text == "is") {
    help = "equality is written `==`";
  } else if (t.type == P::NL && prev == P::RETURN && wants_expr) {
    help = "";
  } else if (is_name(t.type) == false && is_word(t.type) && expected.contains(P::ID) && !wants_expr) {
    help = fmt::format("`{}` is a reserved word", text(index));
  } else if (look_ahead && start + 1 == index && first == P::CONFIG) {
    help = "a config is written `config lr: float = 1e-3`";
  } else if (look_ahead && start + 1 == index && first == P::LAYER) {
    help = "a layer is written `layer Name(inputs: int) { ... }`";
  } else if (start + 1 == index && first == P::TEST) {
    help = "a test has a title: `test \"adds up\" { ... }`";
  } else if (look_ahead && start + 1 == index && (first == P::PARAM || first == P::STATE)) {
    help = "a layer's body holds them: `param weight: [n] = normal()`";
  } else if (look_ahead && start + 1 == index && first == P::FORWARD) {
    help = "it is written `forward(x: [N, inputs]) -> [N, outputs] { ... }`";
  } else if (look_ahead && start + 1 == index && first == P::TIE) {
    help = "it is written `tie(a.weight, b.weight)`";
  }
  auto d = diags_.error(Code::UnexpectedToken, place, message);
  if (!help.empty()) d.help(help);
}

void ErrorStrategy::reportError(antlr4::Parser* parser, const antlr4::RecognitionException& e) {
  if (inErrorRecoveryMode(parser)) return;
  beginErrorCondition(parser);
  const size_t index =
      e.getOffendingToken() ? e.getOffendingToken()->getTokenIndex() : parser->getCurrentToken()->getTokenIndex();
  bool look_ahead = false;
  if (const auto* n = dynamic_cast<const antlr4::NoViableAltException*>(&e))
    look_ahead = n->getStartToken() != n->getOffendingToken();
  report(parser, index, look_ahead);
}

antlr4::Token* ErrorStrategy::recoverInline(antlr4::Parser* parser) { throw antlr4::InputMismatchException(parser); }

// Skips to the end of the line at this depth of brackets, or to the brace that closes it.
void ErrorStrategy::skip_line(antlr4::Parser* parser, uint32_t depth) {
  for (;;) {
    const size_t type = parser->getTokenStream()->LA(1);
    if (type == antlr4::Token::EOF) return;
    const Token& t = list_.tokens[parser->getCurrentToken()->getTokenIndex()];
    if (t.depth < depth) return;  // the bracket that closes the body
    parser->consume();
    if (t.type == P::NL && t.depth == depth) return;
  }
}

// Anything but a line gives up, so that the line around it goes on behind its end.
void ErrorStrategy::recover(antlr4::Parser* parser, std::exception_ptr e) {
  ParserRuleContext* c = parser->getContext();
  const bool outermost = c->getRuleIndex() == P::RuleProgram || c->getRuleIndex() == P::RuleInterpolation;
  if (!is_line_rule(c->getRuleIndex()) && !outermost) std::rethrow_exception(e);
  if (outermost) {
    while (parser->getTokenStream()->LA(1) != antlr4::Token::EOF) parser->consume();
    return;
  }
  skip_line(parser, list_.tokens[c->getStart()->getTokenIndex()].depth);
  endErrorCondition(parser);
}

// Before each line of a body: what can't begin one is reported here, so that the body itself survives.
void ErrorStrategy::sync(antlr4::Parser* parser) {
  ParserRuleContext* c = parser->getContext();
  if (!is_body_rule(c->getRuleIndex())) {
    // An optional part begins here; if the parser goes on without it and fails, it is part of what was expected.
    optional_index_ = parser->getCurrentToken()->getTokenIndex();
    optional_ = parser->getExpectedTokens();
    return;
  }
  const size_t closer = c->getRuleIndex() == P::RuleProgram ? antlr4::Token::EOF : static_cast<size_t>(P::RBRACE);
  for (;;) {
    const Expected expected{parser->getExpectedTokens()};
    const size_t type = parser->getTokenStream()->LA(1);
    // Only at the loop over lines: elsewhere the closing bracket isn't expected.
    if (!expected.contains(closer) || expected.contains(type) || type == antlr4::Token::EOF || type == P::RBRACE)
      return;
    const size_t index = parser->getCurrentToken()->getTokenIndex();
    report(parser, index, false);
    skip_line(parser, list_.tokens[index].depth);
  }
}

}  // namespace nnlc::syntax
