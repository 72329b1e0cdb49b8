// Tokens between lexer and parser. Internal to compiler/syntax.
#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

#include "compiler/support/diagnostics.h"

namespace nnlc::syntax {

struct Token {
  size_t type = 0;              ///< one of generated::NNLLexer's
  uint32_t begin = 0, end = 0;  ///< bytes of the file
  uint32_t depth = 0;           ///< open brackets around it (a bracket itself is outside)
  bool synthetic = false;       ///< put in by the filter: an NL before `}`, a missing closing bracket
  bool damaged = false;         ///< a malformed number or string that was reported
};

struct Comment {
  uint32_t begin = 0, end = 0;
  bool is_doc = false;
};

/// A range of bytes in which an error was reported already, so that the parser must not report what follows from it.
struct Muted {
  uint32_t begin = 0, end = 0;
};

struct TokenList {
  std::vector<Token> tokens;  ///< ends in an EOF token
  std::vector<Comment> comments;
  std::vector<Muted> muted;
  std::vector<uint32_t> extra_closers;  ///< closing brackets that were dropped
  bool too_deep = false;                ///< brackets nest too deeply: reported, not to be parsed
  bool is_muted(uint32_t offset) const {
    for (const Muted& m : muted)
      if (m.begin <= offset && offset <= m.end) return true;
    return false;
  }
};

/// Tokens of bytes [begin, end) as the lexer sees them, NLs included, comments apart.
TokenList lex(const SourceManager& sources, uint32_t file, uint32_t begin, uint32_t end, Diagnostics& diags);
/// Reports and replaces what isn't NNL, balances the brackets, and applies the newline rules.
void filter(TokenList& list, const SourceManager& sources, uint32_t file, Diagnostics& diags);

bool is_word(size_t type);       ///< a name or a keyword
bool is_name(size_t type);       ///< what the grammar's `name` takes
bool ends_operand(size_t type);  ///< a token after which an expression may end

}  // namespace nnlc::syntax
