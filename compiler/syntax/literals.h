// What stands inside string tokens. Internal to compiler/syntax.
#pragma once
#include <string>
#include <vector>

#include "compiler/support/diagnostics.h"

namespace nnlc::syntax {

/// A piece of a string: text with its escapes resolved, or an interpolation (then expr_begin < expr_end, unless it is
/// broken: reported, to be left out).
struct StringPiece {
  std::string text;
  bool is_expr = false;
  uint32_t expr_begin = 0, expr_end = 0;  ///< bytes of the file
  std::string format;
  uint32_t begin = 0, end = 0;
};
/// Splits the string literal at bytes [begin, end), quotes included.
std::vector<StringPiece> split_string(const SourceManager& sources, uint32_t file, uint32_t begin, uint32_t end,
                                      Diagnostics& diags);

std::string normalize_nfc(std::string_view text);

}  // namespace nnlc::syntax
