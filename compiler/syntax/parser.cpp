// Text to AST: lex, filter, parse (fast and silent first, again with messages if that fails), build.
#include "compiler/syntax/parser.h"

#include <fmt/format.h>

#include "NNLLexer.h"
#include "NNLParser.h"
#include "compiler/syntax/ast_builder.h"
#include "compiler/syntax/error_strategy.h"
#include "compiler/syntax/tokens.h"

namespace nnlc::syntax {

using P = generated::NNLParser;

namespace {

std::unique_ptr<antlr4::ListTokenSource> token_source(const TokenList& list) {
  std::vector<std::unique_ptr<antlr4::Token>> tokens;
  tokens.reserve(list.tokens.size());
  for (const Token& t : list.tokens) {
    auto c = std::make_unique<antlr4::CommonToken>(t.type);
    // ANTLR's ends are inclusive; an empty token ends before its start.
    c->setStartIndex(t.begin);
    c->setStopIndex(static_cast<size_t>(t.end) - 1);
    tokens.push_back(std::move(c));
  }
  return std::make_unique<antlr4::ListTokenSource>(std::move(tokens));
}

// Runs `rule` twice at most and gives its tree to `use`.
template <class Rule, class Use>
void run_parser(const SourceManager& sources, uint32_t file, const TokenList& list, bool is_interpolation,
                Diagnostics& diags, Rule rule, Use use) {
  const auto attempt = [&](bool silent) {
    const auto source = token_source(list);
    antlr4::CommonTokenStream stream(source.get());
    P parser(&stream);
    parser.removeErrorListeners();
    auto* simulator = parser.getInterpreter<antlr4::atn::ParserATNSimulator>();
    Diagnostics found;
    std::shared_ptr<ErrorStrategy> strategy;
    if (silent) {
      simulator->setPredictionMode(antlr4::atn::PredictionMode::SLL);
      parser.setErrorHandler(std::make_shared<antlr4::BailErrorStrategy>());
    } else {
      simulator->setPredictionMode(antlr4::atn::PredictionMode::LL);
      strategy = std::make_shared<ErrorStrategy>(sources, file, list, is_interpolation, found);
      parser.setErrorHandler(strategy);
    }
    try {
      auto* tree = rule(parser);
      for (const Diagnostic& d : found.all()) diags.add(d);
      // A brace that closes nothing follows from an opening one that the parser missed.
      if (!strategy || !strategy->missed_brace())
        for (uint32_t at : list.extra_closers)
          diags.error(Code::MismatchedBracket, {file, at, at + 1},
                      fmt::format("`{}` closes nothing", sources.text({file, at, at + 1})));
      // What isn't understood is never passed over: if the other error was taken back, this one stands.
      if (strategy && diags.all().empty() && strategy->first_muted())
        diags.error(Code::UnexpectedToken, {file, *strategy->first_muted(), *strategy->first_muted()},
                    "this line can't be understood");
      use(tree);
    } catch (const antlr4::ParseCancellationException&) {
      return false;
    } catch (const TooDeep& deep) {
      const Token& t = list.tokens[deep.token->getTokenIndex()];
      diags.error(Code::NestedTooDeeply, {file, t.begin, t.end}, "this nests too deeply")
          .help("split it with `let`, or move a part to a `fn`");
    }
    return true;
  };
  if (!attempt(true)) attempt(false);
}

}  // namespace

std::unique_ptr<ast::Program> parse_program(const SourceManager& sources, uint32_t file, const TokenList& list,
                                            Diagnostics& diags) {
  std::unique_ptr<ast::Program> program;
  run_parser(
      sources, file, list, false, diags, [](P& p) { return p.program(); },
      [&](P::ProgramContext* tree) { program = build_program(tree, sources, file, list, diags); });
  return program;
}

ast::ExprPtr parse_interpolation(const SourceManager& sources, uint32_t file, uint32_t begin, uint32_t end,
                                 Diagnostics& diags) {
  ast::ExprPtr expr;
  const size_t before = diags.all().size();
  TokenList list = lex(sources, file, begin, end, diags);
  filter(list, sources, file, diags);
  if (list.too_deep) return nullptr;
  run_parser(
      sources, file, list, true, diags, [](P& p) { return p.interpolation(); },
      [&](P::InterpolationContext* tree) {
        if (diags.all().size() == before && !tree->exception)
          expr = build_interpolation(tree, sources, file, list, diags);
      });
  return expr;
}

std::unique_ptr<ast::Program> parse(const SourceManager& sources, uint32_t file, Diagnostics& diags) {
  Diagnostics found;
  TokenList list = lex(sources, file, 0, static_cast<uint32_t>(sources.file(file).text.size()), found);
  filter(list, sources, file, found);
  std::unique_ptr<ast::Program> program;
  if (!list.too_deep) program = parse_program(sources, file, list, found);
  if (!program) {
    program = std::make_unique<ast::Program>();
    program->file = file;
  }
  found.sort_by_place();
  // The first errors are the ones worth reading; a file that isn't NNL at all has thousands.
  constexpr size_t kMaxErrors = 50;
  for (size_t i = 0; i < found.all().size() && i < kMaxErrors; ++i) diags.add(found.all()[i]);
  return program;
}

}  // namespace nnlc::syntax
