// What the parser does at an error: say it in our words, once per statement, and go on with the next statement.
// Internal to compiler/syntax.
#pragma once
#include <optional>

#include "NNLParser.h"
#include "compiler/support/diagnostics.h"
#include "compiler/syntax/tokens.h"

namespace nnlc::syntax {

class ErrorStrategy : public antlr4::DefaultErrorStrategy {
 public:
  ErrorStrategy(const SourceManager& sources, uint32_t file, const TokenList& list, bool is_interpolation,
                Diagnostics& diags)
      : source_(sources.file(file).text),
        file_(file),
        list_(list),
        is_interpolation_(is_interpolation),
        diags_(diags) {}
  void reportError(antlr4::Parser* parser, const antlr4::RecognitionException& e) override;
  void recover(antlr4::Parser* parser, std::exception_ptr e) override;
  antlr4::Token* recoverInline(antlr4::Parser* parser) override;
  void sync(antlr4::Parser* parser) override;
  /// A block's opening brace was missing, so that a closing one may be left over.
  bool missed_brace() const { return missed_brace_; }
  /// Where an error was not reported because it seemed to follow from another one.
  std::optional<uint32_t> first_muted() const { return first_muted_; }

 private:
  void report(antlr4::Parser* parser, size_t index, bool look_ahead);
  std::string describe(size_t index) const;
  std::string text(size_t index) const;
  void skip_line(antlr4::Parser* parser, uint32_t depth);

  std::string_view source_;
  uint32_t file_;
  const TokenList& list_;
  bool is_interpolation_;
  Diagnostics& diags_;
  bool missed_brace_ = false;
  std::optional<uint32_t> first_muted_;
  size_t optional_index_ = static_cast<size_t>(-1);
  antlr4::misc::IntervalSet optional_;
};

}  // namespace nnlc::syntax
