// Escapes and interpolations of string literals; normal form of names.
#include "compiler/syntax/literals.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>

#include "compiler/support/utf8.h"

namespace nnlc::syntax {

std::vector<StringPiece> split_string(const SourceManager& sources, uint32_t file, uint32_t begin, uint32_t end,
                                      Diagnostics& diags) {
  const std::string& s = sources.file(file).text;
  std::vector<StringPiece> pieces;
  StringPiece text;
  uint32_t i = begin + 1;
  const uint32_t stop = end - 1;  // the closing quote
  text.begin = i;
  int open_braces = 0;  // by `\{`: the `}` of such a brace may stand alone
  auto flush = [&](uint32_t at) {
    text.end = at;
    if (!text.text.empty()) pieces.push_back(text);
    text = {};
  };
  while (i < stop) {
    const char c = s[i];
    if (c == '\\') {
      const uint32_t start = i++;
      const CodePoint e = code_point_at(s, i);
      i += e.size;
      switch (e.value) {
        case 'n':
          text.text += '\n';
          break;
        case 't':
          text.text += '\t';
          break;
        case '\\':
          text.text += '\\';
          break;
        case '"':
          text.text += '"';
          break;
        case '{':
          text.text += '{';
          ++open_braces;
          break;
        case 'u': {
          const size_t close = i < stop && s[i] == '{' ? s.find('}', i) : std::string::npos;
          const std::string digits = close != std::string::npos && close < stop ? s.substr(i + 1, close - i - 1) : "";
          const bool hex = !digits.empty() && digits.size() <= 6 &&
                           digits.find_first_not_of("0123456789abcdefABCDEF") == std::string::npos;
          const unsigned long value = hex ? std::strtoul(digits.c_str(), nullptr, 16) : 0x110000;
          if (value > 0x10FFFF || (value >= 0xD800 && value < 0xE000)) {
            const uint32_t to = close != std::string::npos && close < stop ? static_cast<uint32_t>(close + 1) : i;
            diags.error(Code::BadEscape, {file, start, to}, "malformed `\\u` escape")
                .help("a code point is written `\\u{1F600}`, in hexadecimal, up to 10FFFF");
            i = to;
          } else {
            append_utf8(text.text, static_cast<char32_t>(value));
            i = static_cast<uint32_t>(close + 1);
          }
          break;
        }
        default: {
          auto d = diags.error(Code::BadEscape, {file, start, i},
                               fmt::format("unknown escape `{}`", s.substr(start, i - start)));
          if (e.value == '}')
            d.help("a closing brace is written `}}`");
          else
            d.help("a backslash is written `\\\\`");
        }
      }
      continue;
    }
    if (c == '{' && i + 1 < stop && s[i + 1] == '{') {
      text.text += '{';
      i += 2;
      continue;
    }
    if (c == '}') {
      if (i + 1 < stop && s[i + 1] == '}') {
        i += 2;
      } else if (open_braces > 0) {
        ++i;
      } else {
        diags.error(Code::BadInterpolation, {file, i, i + 1}, "this `}` closes no interpolation")
            .help("a brace in a string is doubled: `}}`")
            .fix({file, i, i + 1}, "}}");
        ++i;
      }
      if (open_braces > 0) --open_braces;
      text.text += '}';
      continue;
    }
    if (c != '{') {
      text.text += c;
      ++i;
      continue;
    }
    // An interpolation: up to the `}` that matches, the format from the first `:` outside brackets.
    flush(i);
    StringPiece piece;
    piece.is_expr = true;
    piece.begin = i;
    uint32_t k = i + 1, colon = 0;
    int depth = 0;
    for (; k < stop; ++k) {
      const char x = s[k];
      if (colon == 0 && (x == '(' || x == '[' || x == '{'))
        ++depth;
      else if (colon == 0 && depth > 0 && (x == ')' || x == ']' || x == '}'))
        --depth;
      else if (x == '}')
        break;
      else if (x == ':' && depth == 0 && colon == 0)
        colon = k;
    }
    if (k >= stop) {
      diags.error(Code::BadInterpolation, {file, i, i + 1}, "this interpolation isn't closed")
          .help("it ends in `}`, before the string does, and holds no quotes; a brace in a string is doubled: `{{`");
      piece.end = stop;
      pieces.push_back(piece);
      i = stop;
      text.begin = i;
      continue;
    }
    piece.expr_begin = i + 1;
    piece.expr_end = colon ? colon : k;
    if (colon) piece.format = s.substr(colon + 1, k - colon - 1);
    piece.end = k + 1;
    const std::string inside = s.substr(piece.expr_begin, piece.expr_end - piece.expr_begin);
    if (inside.find_first_not_of(" \t") == std::string::npos) {
      diags.error(Code::BadInterpolation, {file, piece.begin, piece.end}, "there is no expression between these braces")
          .help("put a value there, or write a brace as `{{`");
      piece.expr_end = piece.expr_begin;
    } else if (const size_t bad = inside.find_first_of("#\\"); bad != std::string::npos) {
      const auto at = static_cast<uint32_t>(piece.expr_begin + bad);
      diags
          .error(Code::BadInterpolation, {file, at, at + 1},
                 fmt::format("`{}` can't stand in an interpolation", inside[bad]))
          .help("give the value a name first");
      piece.expr_end = piece.expr_begin;
    }
    pieces.push_back(piece);
    i = k + 1;
    text.begin = i;
  }
  flush(stop);
  return pieces;
}

std::string normalize_nfc(std::string_view text) {
  if (std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; }))
    return std::string(text);
  utf8proc_uint8_t* out = nullptr;
  const utf8proc_ssize_t size =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), static_cast<utf8proc_ssize_t>(text.size()),
                   &out, static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  std::string result =
      size < 0 ? std::string(text) : std::string(reinterpret_cast<const char*>(out), static_cast<size_t>(size));
  std::free(out);
  return result;
}

}  // namespace nnlc::syntax
