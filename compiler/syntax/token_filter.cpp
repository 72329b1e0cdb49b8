// Between lexer and parser, in three passes over the tokens:
//   repair   what other languages write is reported and replaced by what NNL writes, so that parsing goes on;
//   balance  brackets: missing closing ones are put in, those that close nothing are dropped;
//   shape    the newline rules, the three kinds of `{`, and the words that are keywords only by what follows them.
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string>

#include "NNLLexer.h"
#include "compiler/syntax/tokens.h"

namespace nnlc::syntax {

using L = generated::NNLLexer;

namespace {

constexpr size_t kMaxBrackets = 150;

class Filter {
 public:
  Filter(TokenList& list, const SourceManager& sources, uint32_t file, Diagnostics& diags)
      : list_(list),
        source_(sources.file(file).text),
        line_starts_(sources.file(file).line_starts),
        file_(file),
        diags_(diags) {}

  void run() {
    repair();
    balance();
    if (!list_.too_deep) shape();
  }

 private:
  Span span(const Token& t) const { return {file_, t.begin, t.end}; }
  std::string text(const Token& t) const { return std::string(source_.substr(t.begin, t.end - t.begin)); }
  bool adjacent(const Token& a, const Token& b) const { return a.end == b.begin; }

  // Errors of the parser on the same line would follow from this one.
  void mute_line(uint32_t at) {
    const auto next = std::upper_bound(line_starts_.begin(), line_starts_.end(), at);
    const uint32_t end = next == line_starts_.end() ? static_cast<uint32_t>(source_.size()) : *next - 1;
    const Muted line{*(next - 1), end};
    if (list_.muted.empty() || list_.muted.back().begin != line.begin || list_.muted.back().end != line.end)
      list_.muted.push_back(line);
  }
  DiagnosticBuilder foreign(Span s, std::string message, std::string help) {
    mute_line(s.begin);
    return std::move(diags_.error(Code::ForeignSyntax, s, std::move(message)).help(std::move(help)));
  }

  void repair();
  void repair_number(const std::vector<Token>& in, size_t& i, std::vector<Token>& out);
  bool repair_word(const std::vector<Token>& in, size_t& i, std::vector<Token>& out);
  void repair_other(const std::vector<Token>& in, size_t& i, std::vector<Token>& out);
  void balance();
  void shape();
  bool is_lambda_head(size_t brace) const;
  bool continues_line(size_t i) const;

  TokenList& list_;
  std::string_view source_;
  const std::vector<uint32_t>& line_starts_;
  uint32_t file_;
  Diagnostics& diags_;
  std::vector<size_t> match_;  // of each bracket: the index of its partner
  bool semicolon_reported_ = false;
  std::optional<uint32_t> open_string_;  ///< where a string began that has no end on its line
};

/// Whether a string literal ends inside an interpolation.
bool open_interpolation(const std::string& literal) {
  int depth = 0;
  for (size_t i = 1; i + 1 < literal.size(); ++i) {
    const char c = literal[i];
    if (c == '\\')
      ++i;
    else if (depth == 0 && (c == '{' || c == '}') && literal[i + 1] == c)
      ++i;
    else if (c == '{')
      ++depth;
    else if (c == '}' && depth > 0)
      --depth;
  }
  return depth > 0;
}

bool starts_statement(const std::vector<Token>& out) {
  if (out.empty()) return true;
  const size_t t = out.back().type;
  return t == L::NL || t == L::LBRACE || t == L::RBRACE || t == L::ARROW;
}

void Filter::repair() {
  std::vector<Token> in;
  in.swap(list_.tokens);
  std::vector<Token>& out = list_.tokens;
  out.reserve(in.size());
  for (size_t i = 0; i < in.size(); ++i) {
    Token t = in[i];
    switch (t.type) {
      case L::INT:
      case L::BAD_NUMBER:
        repair_number(in, i, out);
        continue;
      case L::STRING:
        if (i + 1 < in.size() && adjacent(t, in[i + 1]) && (is_word(in[i + 1].type) || in[i + 1].type == L::INT) &&
            open_interpolation(text(t))) {
          mute_line(t.begin);
          diags_.error(Code::BadInterpolation, {file_, t.end - 1, t.end}, "a quote can't stand inside an interpolation")
              .help("give the string a name first: `let s = \"…\"`");
          t.damaged = true;
        }
        break;
      case L::BAD_STRING:
        if (open_string_ && text(t).find_first_not_of("\" \t),]}") == std::string::npos) {
          // The end of the string that was reported above.
          list_.muted.push_back({*open_string_, t.begin});
          mute_line(t.begin);
          open_string_.reset();
          t.type = L::STRING;
          t.damaged = true;
          break;
        }
        open_string_ = t.begin;
        mute_line(t.begin);
        diags_.error(Code::UnterminatedString, span(t), "this string has no end")
            .help("a string ends on its line with `\"`; a new line in it is written `\\n`");
        t.type = L::STRING;
        t.damaged = true;
        break;
      case L::SINGLE_QUOTED:
        foreign(span(t), "strings stand in double quotes",
                "write `\"" + std::string(source_.substr(t.begin + 1, t.end - t.begin - 2)) + "\"`")
            .fix(span(t), "\"" + std::string(source_.substr(t.begin + 1, t.end - t.begin - 2)) + "\"");
        t.type = L::STRING;
        t.damaged = true;
        break;
      case L::SEMICOLON:
        if (!semicolon_reported_)
          foreign(span(t), "`;` is not part of the language", "a new line ends a statement").fix(span(t), "\n");
        semicolon_reported_ = true;
        mute_line(t.begin);
        t.type = L::NL;
        break;
      case L::AMPAMP:
        foreign(span(t), "`&&` is not part of the language", "write `and`").fix(span(t), "and");
        t.type = L::AND;
        break;
      case L::BARBAR:
        foreign(span(t), "`||` is not part of the language", "write `or`").fix(span(t), "or");
        t.type = L::OR;
        break;
      case L::BANG:
        foreign(span(t), "`!` is not part of the language", "write `not`").fix(span(t), "not ");
        t.type = L::NOT;
        break;
      case L::PLUSPLUS:
        foreign(span(t), "`++` is not part of the language", "a `var` is changed by `x = x + 1`");
        if (i + 1 < in.size() && in[i + 1].type != L::NL && in[i + 1].type != L::EOF) {
          t.type = L::PLUS;
          break;
        }
        continue;
      case L::MINUS:
        if (!out.empty() && ends_operand(out.back().type) && i + 2 < in.size() && in[i + 1].type == L::MINUS &&
            adjacent(t, in[i + 1]) &&
            (in[i + 2].type == L::NL || in[i + 2].type == L::EOF || in[i + 2].type == L::SEMICOLON ||
             in[i + 2].type == L::RBRACE)) {
          foreign({file_, t.begin, in[i + 1].end}, "`--` is not part of the language",
                  "a `var` is changed by `x = x - 1`");
          ++i;
          continue;
        }
        break;
      case L::COMPOUND: {
        const std::string op = text(t);
        std::string place = !out.empty() && is_name(out.back().type) ? text(out.back()) : "x";
        foreign(span(t), "`" + op + "` is not part of the language",
                fmt::format("write `{0} = {0} {1} ...`", place, op.substr(0, op.size() - 1)));
        t.type = L::ASSIGN;
        break;
      }
      case L::FAT_ARROW:
        foreign(span(t), "`=>` is not part of the language", "write `->`").fix(span(t), "->");
        t.type = L::ARROW;
        break;
      case L::COLON_EQ:
        foreign(span(t), "`:=` is not part of the language", "`let x = ...` binds a name, `x = ...` changes a `var`");
        t.type = L::ASSIGN;
        break;
      case L::OTHER:
        repair_other(in, i, out);
        continue;
      default:
        if (is_word(t.type) && repair_word(in, i, out)) continue;
    }
    out.push_back(t);
  }
}

void Filter::repair_number(const std::vector<Token>& in, size_t& i, std::vector<Token>& out) {
  Token t = in[i];
  const bool after_dot = !out.empty() && out.back().type == L::DOT;
  // `1.`: but `1..5` is a range, and there `.` isn't a token of its own.
  if (i + 1 < in.size() && in[i + 1].type == L::DOT && t.type == L::INT && !after_dot) {
    const Token& dot = in[i + 1];
    const std::string digits = text(t);
    if (i + 2 < in.size() && is_word(in[i + 2].type)) {
      const Token& word = in[i + 2];
      const std::string w = text(word);
      const bool exponent = (w[0] == 'e' || w[0] == 'E') && w.find_first_not_of("0123456789", 1) == std::string::npos;
      diags_.error(Code::BadNumber, {file_, t.begin, word.end}, "a point needs a digit after it")
          .help(exponent ? fmt::format("write `{}.0{}`", digits, w)
                         : fmt::format("a number's method is called in parentheses: `({}).{}`", digits, w));
      t.end = word.end;
      i += 2;
    } else {
      diags_.error(Code::BadNumber, {file_, t.begin, dot.end}, "a point needs a digit after it")
          .help(fmt::format("write `{}.0`", digits))
          .fix({file_, t.begin, dot.end}, digits + ".0");
      t.end = dot.end;
      i += 1;
    }
    mute_line(t.begin);
    t.type = L::FLOAT;
    t.damaged = true;
    out.push_back(t);
    return;
  }
  if (t.type == L::INT) {
    out.push_back(t);
    return;
  }
  const std::string s = text(t);
  mute_line(t.begin);
  std::string message = "malformed number", help = "numbers are written `7`, `1_000`, `0x1F`, `0.5`, `1e-3`", fix;
  const size_t not_digit = s.find_first_not_of("0123456789_");
  const bool only_digits = not_digit == std::string::npos;
  if (s[0] == '.' && !out.empty() && ends_operand(out.back().type) && adjacent(out.back(), t)) {
    message = "a member is a name";
    help = fmt::format("an element is written `[{}]`", s.substr(1));
  } else if (s[0] == '.') {
    message = "a point needs a digit before it";
    fix = "0" + s;
    help = fmt::format("write `{}`", fix);
  } else if (s.size() > 1 && (s.starts_with("0x") || s.starts_with("0X"))) {
    message = s.size() == 2 ? "`0x` needs hexadecimal digits after it" : "malformed hexadecimal number";
    help = "hexadecimal digits are 0-9 and A-F, with single underscores between them: `0xFF_FF`";
  } else if (s.starts_with("0b") || s.starts_with("0o") || s.starts_with("0B") || s.starts_with("0O")) {
    message = "only decimal and hexadecimal numbers exist";
    help = "write it as `0x...`";
  } else if (only_digits && s.find("__") != std::string::npos) {
    message = "two underscores in a row";
    for (char c : s)
      if (c != '_' || fix.empty() || fix.back() != '_') fix += c;
    if (fix.back() == '_') fix.pop_back();
    help = fmt::format("write `{}`", fix);
  } else if (only_digits && s.back() == '_') {
    message = "an underscore stands between digits";
    fix = s.substr(0, s.size() - 1);
    help = fmt::format("write `{}`", fix);
  } else if (s[0] == '0' && s.size() > 1 && (only_digits || (s[not_digit] == '.' && not_digit > 1))) {
    message = "a whole number doesn't begin with 0";
    fix = s.substr(std::min(s.find_first_not_of("0_"), s.size() - 1));
    if (fix[0] == '.') fix = "0" + fix;
    help = fmt::format("write `{}`", fix);
  } else if (!only_digits && (s[not_digit] == 'e' || s[not_digit] == 'E') && not_digit + 1 == s.size()) {
    message = "an exponent needs digits";
    help = fmt::format("write `{}3` or `{}-3`", s, s);
  } else if (!only_digits && s[not_digit] != '.' && s.find_first_of(".+-") == std::string::npos) {
    if (s.substr(not_digit) == "f" || s.substr(not_digit) == "L" || s.substr(not_digit) == "l" ||
        s.substr(not_digit) == "j") {
      message = "numbers have no suffix";
      fix = s.substr(0, not_digit);
      help = fmt::format("write `{}`", fix);
    } else {
      message = "a name doesn't begin with a digit";
      help = "names begin with a letter or `_`";
    }
  } else if (s.back() == 'f' && s.find('.') != std::string::npos) {
    message = "numbers have no suffix";
    fix = s.substr(0, s.size() - 1);
    help = fmt::format("write `{}`; `f32` is what it becomes in tensor code", fix);
  }
  auto d = diags_.error(Code::BadNumber, span(t), message);
  d.help(help);
  if (!fix.empty()) d.fix(span(t), fix);
  t.type = s.find('.') != std::string::npos ? L::FLOAT : L::INT;
  t.damaged = true;
  out.push_back(t);
}

bool Filter::repair_word(const std::vector<Token>& in, size_t& i, std::vector<Token>& out) {
  Token t = in[i];
  const Token& next = in[i + 1];  // there always is one: the EOF token is no word
  const std::string_view w = source_.substr(t.begin, t.end - t.begin);
  if (!out.empty() && out.back().type == L::DOT) return false;
  const bool at_start = starts_statement(out);
  auto replace = [&](size_t type) {
    t.type = type;
    out.push_back(t);
    return true;
  };
  if (t.type == L::LET && next.type == L::ID && text(next) == "mut" && is_name(in[i + 2].type)) {
    foreign({file_, t.begin, next.end}, "`let mut` is not part of the language", "what changes is declared by `var`")
        .fix({file_, t.begin, next.end}, "var");
    ++i;
    return replace(L::VAR);
  }
  if (t.type == L::CLASS && at_start && is_name(next.type) && next.type != L::IN && next.type != L::AS) {
    foreign(span(t), "`class` doesn't declare anything",
            fmt::format("a layer is declared by `layer {}(...) {{ ... }}`", text(next)))
        .fix(span(t), "layer");
    return replace(L::LAYER);
  }
  if (t.type != L::ID) return false;
  if (next.type == L::STRING && adjacent(t, next) && w.size() <= 2 &&
      w.find_first_not_of("fFrRbBuU") == std::string::npos) {
    foreign(span(t), fmt::format("strings have no prefix `{}`", w), "every string interpolates: `\"epoch {epoch}\"`")
        .fix(span(t), "");
    return true;
  }
  if (w == "elif" || w == "elseif" || w == "elsif") {
    if (!(out.empty() || out.back().type == L::NL || out.back().type == L::RBRACE)) return false;
    foreign(span(t), fmt::format("`{}` is not part of the language", w), "write `else if`").fix(span(t), "else if");
    // The newline before it doesn't end the statement, as before `else`.
    while (!out.empty() && out.back().type == L::NL) out.pop_back();
    Token e = t;
    e.type = L::ELSE;
    out.push_back(e);
    return replace(L::IF);
  }
  if (!at_start || !is_name(next.type) || next.type == L::IN) return false;
  if (w == "def" || w == "func" || w == "function" || w == "fun" || w == "proc") {
    foreign(span(t), fmt::format("`{}` doesn't declare a function", w),
            fmt::format("write `fn {}(...) {{ ... }}`", text(next)))
        .fix(span(t), "fn");
    return replace(L::FN);
  }
  if (w == "const" || w == "val" || w == "auto" || w == "final") {
    foreign(span(t), fmt::format("`{}` is not part of the language", w), "`let` binds a name, `var` one that changes")
        .fix(span(t), "let");
    return replace(L::LET);
  }
  if (w == "mut") {
    foreign(span(t), "`mut` is not part of the language", "what changes is declared by `var`").fix(span(t), "var");
    return replace(L::VAR);
  }
  return false;
}

void Filter::repair_other(const std::vector<Token>& in, size_t& i, std::vector<Token>& out) {
  Token t = in[i];
  struct Known {
    const char *character, *help;
    size_t replacement;  // 0: none
  };
  static const Known kKnown[] = {
      {"^", "a power is written `**`", L::POW},
      {"&", "write `and`", L::AND},
      {"|", "write `or`, or `|>` for a pipe", L::OR},
      {"~", "write `not`", L::NOT},
      {"?", "a choice is written `if c { a } else { b }`", 0},
      {"\\", "a line goes on inside brackets, and after an operator or `,`", 0},
      {"'", "strings stand in double quotes", 0},
      {"`", "strings stand in double quotes", 0},
      {"$", "names need no mark", 0},
      {"\xE2\x80\x9C", "strings stand in straight quotes: `\"`", 0},
      {"\xE2\x80\x9D", "strings stand in straight quotes: `\"`", 0},
      {"\xE2\x80\x98", "strings stand in straight double quotes: `\"`", 0},
      {"\xE2\x80\x99", "strings stand in straight double quotes: `\"`", 0},
      {"\xC3\x97", "a product is written `*`, one of matrices `@`", L::STAR},
      {"\xC2\xB7", "a product is written `*`, one of matrices `@`", L::STAR},
      {"\xC3\xB7", "a division is written `/`", L::SLASH},
      {"\xE2\x88\x92", "a minus is written `-`", L::MINUS},
      {"\xE2\x80\x93", "a minus is written `-`", L::MINUS},
      {"\xE2\x89\xA4", "write `<=`", L::LE},
      {"\xE2\x89\xA5", "write `>=`", L::GE},
      {"\xE2\x89\xA0", "write `!=`", L::NE},
      {"\xE2\x86\x92", "write `->`", L::ARROW},
      {"\xE2\x80\xA6", "write `...`", L::ELLIPSIS},
  };
  if (list_.is_muted(t.begin) && text(t) == source_.substr(t.begin, 1) &&
      static_cast<unsigned char>(source_[t.begin]) >= 0x80)
    return;
  // A run of unknown characters is one error.
  Token run = t;
  while (in[i + 1].type == L::OTHER && adjacent(run, in[i + 1]) && text(in[i + 1]) == text(t)) run.end = in[++i].end;
  const std::string c = text(t);
  mute_line(t.begin);
  const unsigned char first = static_cast<unsigned char>(c[0]);
  std::string message = fmt::format("`{}` is not part of the language", c);
  if (first < 0x20 || first == 0x7F) message = fmt::format("a control character (0x{:02X}) stands here", first);
  if (c == "\xC2\xA0" || c == "\xE3\x80\x80") message = "a space that isn't the common one stands here";
  if (c == "\xE2\x80\x8B" || c == "\xEF\xBB\xBF") message = "an invisible character stands here";
  auto d = diags_.error(Code::UnknownCharacter, span(run), message);
  for (const Known& k : kKnown)
    if (c == k.character) {
      d.help(k.help);
      t.type = k.replacement;
      t.end = run.end;
      if (k.replacement) out.push_back(t);
    }
}

void Filter::balance() {
  std::vector<Token> in;
  in.swap(list_.tokens);
  std::vector<Token>& out = list_.tokens;
  out.reserve(in.size());
  std::vector<size_t> open;  // indices in `out`
  auto closer_of = [](size_t type) {
    return type == L::LPAREN ? L::RPAREN : type == L::LBRACKET ? L::RBRACKET : L::RBRACE;
  };
  auto close_missing = [&](uint32_t at) {
    const Token& opening = out[open.back()];
    Token t;
    t.type = closer_of(opening.type);
    t.begin = t.end = at;
    t.synthetic = true;
    list_.muted.push_back({opening.begin, at});
    open.pop_back();
    out.push_back(t);
  };
  auto damaged_on_line = [&](uint32_t from) {
    for (size_t k = out.size(); k-- > 0 && out[k].type != L::NL && out[k].begin >= from;)
      if (out[k].type == L::STRING && out[k].damaged && source_[out[k].begin] == '"') return true;
    return false;
  };
  // The first pair of braces whose lines are indented differently: near it the missing one is likely to be.
  std::optional<std::pair<Token, Token>> stray;
  auto line_start = [&](uint32_t at) {
    return size_t{*(std::upper_bound(line_starts_.begin(), line_starts_.end(), at) - 1)};
  };
  auto indentation = [&](uint32_t at) {
    return std::min(source_.find_first_not_of(" \t", line_start(at)), source_.size()) - line_start(at);
  };
  auto first_on_line = [&](uint32_t at) { return line_start(at) + indentation(at) == at; };
  for (Token& t : in) {
    switch (t.type) {
      case L::LPAREN:
      case L::LBRACKET:
      case L::LBRACE:
        if (open.size() >= kMaxBrackets) {
          diags_.error(Code::NestedTooDeeply, span(t), fmt::format("brackets nest more than {} deep", kMaxBrackets));
          list_.too_deep = true;
          list_.tokens = {in.back()};
          return;
        }
        open.push_back(out.size());
        out.push_back(t);
        break;
      case L::RPAREN:
      case L::RBRACKET:
      case L::RBRACE: {
        size_t k = open.size();
        while (k > 0 && closer_of(out[open[k - 1]].type) != t.type) --k;
        const bool same_line = !open.empty() && line_start(out[open.back()].begin) == line_start(t.begin);
        if (k == 0 && (open.empty() || out[open.back()].type == L::LBRACE || (t.type == L::RBRACE && !same_line))) {
          // Nothing open that it could close.
          if (!list_.is_muted(t.begin)) {
            list_.extra_closers.push_back(t.begin);
            mute_line(t.begin);
          }
          break;
        }
        if (k != open.size()) {
          const Token& inner = out[open.back()];
          const bool wrong_kind = k == 0;
          diags_.error(Code::MismatchedBracket, span(t), fmt::format("`{}` doesn't close `{}`", text(t), text(inner)))
              .label(span(inner), "still open");
          list_.muted.push_back({inner.begin, t.end});
          if (wrong_kind) {
            t.type = closer_of(inner.type);
          } else {
            const uint32_t at = out.back().end;
            while (open.size() > k) close_missing(at);
          }
        }
        if (!stray && t.type == L::RBRACE && first_on_line(t.begin) &&
            indentation(t.begin) != indentation(out[open.back()].begin))
          stray = {out[open.back()], t};
        open.pop_back();
        out.push_back(t);
        break;
      }
      case L::NL:
        // The end of a string that isn't there took its closing brackets with it.
        while (!open.empty() && out[open.back()].type != L::LBRACE && damaged_on_line(out[open.back()].begin))
          close_missing(t.begin);
        out.push_back(t);
        break;
      case L::EOF: {
        while (!open.empty() && out[open.back()].type != L::LBRACE && damaged_on_line(out[open.back()].begin))
          close_missing(t.begin);
        if (!open.empty()) {
          size_t last = source_.find_last_not_of(" \t\r\n", t.begin == 0 ? 0 : t.begin - 1);
          const uint32_t at = last == std::string_view::npos ? t.begin : static_cast<uint32_t>(last + 1);
          auto d = diags_.error(Code::UnclosedBracket, {file_, at, at},
                                fmt::format("`{}` is never closed", text(out[open.back()])));
          d.at("the file ends here");
          for (size_t k = open.size(); k-- > 0 && open.size() - k <= 3;)
            d.label(span(out[open[k]]), k + 1 == open.size() ? "opened here" : "open too");
          if (stray && out[open.back()].type == L::LBRACE)
            d.label(span(stray->first), "its `}` is indented otherwise").label(span(stray->second), "this one");
          // Closing brackets behind it were likely meant for it.
          std::erase_if(list_.extra_closers, [&](uint32_t closer) { return closer > out[open.back()].begin; });
          while (!open.empty()) close_missing(t.begin);
        }
        out.push_back(t);
        break;
      }
      default:
        out.push_back(t);
    }
  }
}

// `{ pattern, ... ->`: names, `_` and parenthesised patterns, with commas between.
bool Filter::is_lambda_head(size_t brace) const {
  const auto& in = list_.tokens;
  int parens = 0;
  bool after_item = false;  // a pattern just ended
  for (size_t i = brace + 1; i < in.size(); ++i) {
    const size_t t = in[i].type;
    if (t == L::NL) continue;
    if (t == L::ARROW) return parens == 0 && i > brace + 1;
    if (t == L::LPAREN) {
      if (after_item) return false;
      ++parens;
    } else if (t == L::RPAREN) {
      if (--parens < 0) return false;
      after_item = true;
    } else if (t == L::COMMA) {
      if (!after_item) return false;
      after_item = false;
    } else {
      if (after_item || (t != L::UNDERSCORE && !is_name(t))) return false;
      after_item = true;
    }
  }
  return false;
}

// Whether the token after newlines, at index i, continues the line above.
bool Filter::continues_line(size_t i) const {
  const auto& in = list_.tokens;
  if (in[i].type == L::PIPE || in[i].type == L::ELSE) return true;
  return in[i].type == L::DOT && is_word(in[i + 1].type);
}

void Filter::shape() {
  const std::vector<Token> in = [&] {
    // Partners, by index, before the list is rebuilt.
    match_.assign(list_.tokens.size(), 0);
    std::vector<size_t> open;
    for (size_t i = 0; i < list_.tokens.size(); ++i) switch (list_.tokens[i].type) {
        case L::LPAREN:
        case L::LBRACKET:
        case L::LBRACE:
          open.push_back(i);
          break;
        case L::RPAREN:
        case L::RBRACKET:
        case L::RBRACE:
          match_[i] = open.back();
          match_[open.back()] = i;
          open.pop_back();
          break;
      }
    return list_.tokens;
  }();
  std::vector<Token> out;
  out.reserve(in.size() + 16);
  enum class Open { paren, block, record };
  std::vector<Open> stack;
  auto ends_with = [&](std::initializer_list<size_t> types) {
    return out.empty() || std::find(types.begin(), types.end(), out.back().type) != types.end();
  };
  auto put = [&](Token t) {
    t.depth = static_cast<uint32_t>(stack.size());
    out.push_back(t);
  };
  auto end_statement = [&] {
    if (ends_with({L::NL, L::LBRACE}) || (out.back().type == L::ARROW && !stack.empty() && stack.back() == Open::block))
      return;
    Token t;
    t.type = L::NL;
    t.begin = t.end = out.back().end;
    t.synthetic = true;
    put(t);
  };
  std::vector<char> block_braces(in.size(), 0);  // the `{` of minimize and grad
  for (size_t i = 0; i < in.size(); ++i) {
    Token t = in[i];
    switch (t.type) {
      case L::LPAREN:
      case L::LBRACKET:
        put(t);
        stack.push_back(Open::paren);
        continue;
      case L::LBRACE: {
        const bool head = !out.empty() && (out.back().type == L::IF || out.back().type == L::WHILE) &&
                          !(i + 2 < in.size() && (is_word(in[i + 1].type) || in[i + 1].type == L::STRING) &&
                            in[i + 2].type == L::COLON);
        const bool block =
            block_braces[i] || head || (!out.empty() && (ends_operand(out.back().type) || out.back().type == L::ELSE));
        if (!block_braces[i] && is_lambda_head(i))
          t.type = L::LAMBDA;
        else if (!block)
          t.type = L::LRECORD;
        put(t);
        stack.push_back(t.type == L::LRECORD ? Open::record : Open::block);
        continue;
      }
      case L::RPAREN:
      case L::RBRACKET:
        stack.pop_back();
        put(t);
        continue;
      case L::RBRACE:
        if (stack.back() == Open::block) end_statement();
        stack.pop_back();
        put(t);
        continue;
      case L::EOF:
        end_statement();
        put(t);
        continue;
      case L::NL: {
        if (!stack.empty() && stack.back() == Open::paren) continue;
        if (ends_with({L::NL,       L::LBRACE,  L::LRECORD, L::PLUS,    L::MINUS, L::STAR,  L::SLASH,
                       L::FLOORDIV, L::PERCENT, L::AT,      L::POW,     L::EQ,    L::NE,    L::LT,
                       L::LE,       L::GT,      L::GE,      L::AND,     L::OR,    L::COMMA, L::PIPE,
                       L::ARROW,    L::ASSIGN,  L::DOTDOT,  L::DOTDOTEQ}))
          continue;
        size_t next = i;
        while (in[next].type == L::NL) ++next;
        if (continues_line(next)) continue;
        if (in[next].type == L::RBRACE && !stack.empty() && stack.back() == Open::record) continue;
        t.begin = t.end = out.back().end;  // the caret stands right behind the line
        put(t);
        continue;
      }
      default:
        break;
    }
    if (is_word(t.type)) {
      const size_t next = in[i + 1].type;
      const std::string_view w = source_.substr(t.begin, t.end - t.begin);
      if (!out.empty() && out.back().type == L::DOT) {
        t.type = L::ID;
      } else if (t.type == L::VAR && next == L::LPAREN) {
        t.type = L::ID;
      } else if (t.type == L::ID && (w == "minimize" || w == "grad") && next == L::LPAREN &&
                 in[match_[i + 1] + 1].type == L::LBRACE) {
        t.type = w == "grad" ? L::GRAD : L::MINIMIZE;
        block_braces[match_[i + 1] + 1] = 1;
      } else if (t.type == L::ID && w == "seed" && starts_statement(out) &&
                 (is_word(next) || next == L::INT || next == L::FLOAT || next == L::STRING || next == L::LPAREN ||
                  next == L::MINUS)) {
        t.type = L::SEED;
      }
    }
    put(t);
  }
  list_.tokens = std::move(out);
}

}  // namespace

void filter(TokenList& list, const SourceManager& sources, uint32_t file, Diagnostics& diags) {
  Filter(list, sources, file, diags).run();
}

}  // namespace nnlc::syntax
