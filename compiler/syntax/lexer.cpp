// Runs the generated lexer: code points in, tokens with byte offsets out. Its catch-all rule takes any character, so it
// has no errors of its own.
#include <fmt/format.h>

#include "NNLLexer.h"
#include "compiler/support/utf8.h"
#include "compiler/syntax/tokens.h"

namespace nnlc::syntax {

using L = generated::NNLLexer;

namespace {

class CodePointStream : public antlr4::ANTLRInputStream {
 public:
  explicit CodePointStream(std::u32string data) {
    _data = std::move(data);
    p = 0;
  }
};

}  // namespace

TokenList lex(const SourceManager& sources, uint32_t file, uint32_t begin, uint32_t end, Diagnostics& diags) {
  const std::string_view text = sources.file(file).text;
  std::u32string code_points;
  std::vector<uint32_t> offsets;  // of each code point, and of the end
  code_points.reserve(end - begin);
  offsets.reserve(end - begin + 1);
  TokenList list;
  for (uint32_t i = begin; i < end;) {
    const CodePoint c = code_point_at(text.substr(0, end), i);
    if (!c.valid && (list.muted.empty() || list.muted.back().end != i)) {
      diags
          .error(Code::InvalidUtf8, {file, i, i + 1},
                 fmt::format("byte 0x{:02X} isn't UTF-8", static_cast<unsigned char>(text[i])))
          .help("save the file as UTF-8");
      list.muted.push_back({i, i + 1});
    } else if (!c.valid) {
      list.muted.back().end = i + 1;  // a run of bad bytes is one error
    }
    code_points.push_back(c.value);
    offsets.push_back(i);
    i += c.size;
  }
  offsets.push_back(end);

  CodePointStream stream(std::move(code_points));
  generated::NNLLexer lexer(&stream);
  lexer.removeErrorListeners();
  for (;;) {
    const std::unique_ptr<antlr4::Token> t = lexer.nextToken();
    Token out;
    out.type = t->getType();
    if (out.type == antlr4::Token::EOF) {
      out.begin = out.end = end;
      list.tokens.push_back(out);
      break;
    }
    out.begin = offsets[t->getStartIndex()];
    out.end = offsets[t->getStopIndex() + 1];
    if (out.type == L::DOC || out.type == L::COMMENT) {
      list.comments.push_back({out.begin, out.end, out.type == L::DOC});
    } else {
      list.tokens.push_back(out);
    }
  }
  return list;
}

bool is_name(size_t type) { return (type >= L::IN && type <= L::TIE) || type == L::ID; }
bool is_word(size_t type) {
  return (type >= L::LET && type <= L::TIE) || type == L::ID || type == L::MINIMIZE || type == L::GRAD ||
         type == L::SEED;
}
bool ends_operand(size_t type) {
  switch (type) {
    case L::RPAREN:
    case L::RBRACKET:
    case L::RBRACE:
    case L::INT:
    case L::FLOAT:
    case L::STRING:
    case L::TRUE:
    case L::FALSE:
    case L::NONE:
    case L::UNDERSCORE:
      return true;
    default:
      return is_name(type);
  }
}

}  // namespace nnlc::syntax
