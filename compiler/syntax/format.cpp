// The canonical layout. Works on tokens and comments, so that nothing is lost:
//   - lines stay where they were broken, but a block is either on one line or has each statement on its own;
//   - two spaces for a block, two for what continues a statement or stands in open brackets; `} else {` on one line;
//   - one space around operators, `=`, `->` and inside a block's braces, none inside ( ), [ ] and a record's braces;
//   - at most one blank line between statements;
//   - where the author aligned the `=` of neighbouring declarations they are aligned, elsewhere one space stands before
//   it;
//     comments that stood in one column stay in one.
// Formatting twice changes nothing more.
#include <algorithm>
#include <string>
#include <vector>

#include "NNLLexer.h"
#include "compiler/support/utf8.h"
#include "compiler/syntax/parser.h"
#include "compiler/syntax/tokens.h"

namespace nnlc::syntax {

using L = generated::NNLLexer;

namespace {

size_t width(std::string_view s) { return decode_utf8(s).size(); }

// A token or a comment, in the order of the text.
struct Element {
  size_t type = 0;
  uint32_t begin = 0, end = 0;
  bool is_comment = false;
  bool starts_statement = false;
  bool multi_line = false;  // a block's braces: its text has more than one line
  size_t breaks = 0;        // newlines before it
};

struct Line {
  size_t indent = 0;
  std::string text, comment;
  size_t comment_column = 0;  // where it stood
  char align = 0;             // a declaration: its `=` may stand below that of its like above
  size_t depth = 0;           // brackets open where it begins
  size_t equals = 0;          // bytes of the text before the space of that `=`; 0: none
  bool spread = false;        // the author put more than one space there
  bool blank_before = false;
  bool starts_statement = false;
};

enum class Bracket { paren, index, record, block, layer_body };  // an optimizer's body is like a layer's

struct Open {
  Bracket kind;
  bool multi_line = false;
  size_t indent = 0;  // of the line that it belongs to
  size_t statement_indent = 0;
  size_t statement_type = 0;  // first token of the current statement
};

class Formatter {
 public:
  Formatter(std::string_view source, const TokenList& list) : source_(source) { collect(list); }

  std::string run() {
    for (size_t i = 0; i < elements_.size(); ++i) place(i);
    align();
    std::string out;
    for (const Line& l : lines_) {
      if (l.blank_before) out += '\n';
      std::string text = l.text;
      if (!l.comment.empty()) {
        if (!text.empty()) text.append(l.comment_column - l.indent - width(text), ' ');
        text.append(l.comment);
      }
      out.append(l.indent, ' ').append(text).append(1, '\n');
    }
    return out;
  }

 private:
  void collect(const TokenList& list) {
    size_t c = 0;
    uint32_t last = 0;
    bool statement = true;
    std::vector<size_t> open;
    auto add = [&](Element e) {
      e.breaks = static_cast<size_t>(std::count(source_.begin() + last, source_.begin() + e.begin, '\n'));
      last = e.end;
      elements_.push_back(e);
    };
    auto comments_before = [&](uint32_t at) {
      for (; c < list.comments.size() && list.comments[c].begin < at; ++c) {
        Element e;
        e.begin = list.comments[c].begin;
        e.end = list.comments[c].end;
        e.is_comment = true;
        add(e);
      }
    };
    for (const Token& t : list.tokens) {
      if (t.type == L::NL) {
        statement = true;
        continue;
      }
      if (t.type == L::EOF) break;
      comments_before(t.begin);
      Element e;
      e.type = t.type;
      e.begin = t.begin;
      e.end = t.end;
      e.starts_statement = statement && t.type != L::RBRACE;
      statement = t.type == L::LBRACE;
      // The first arrow in a lambda ends its head.
      if (t.type == L::ARROW && !open.empty() && elements_[open.back()].type == L::LAMBDA &&
          std::find(heads_.begin(), heads_.end(), open.back()) == heads_.end()) {
        heads_.push_back(open.back());
        statement = true;
      }
      add(e);
      switch (t.type) {
        case L::LPAREN:
        case L::LBRACKET:
        case L::LBRACE:
        case L::LAMBDA:
        case L::LRECORD:
          open.push_back(elements_.size() - 1);
          break;
        case L::RPAREN:
        case L::RBRACKET:
        case L::RBRACE: {
          Element& opening = elements_[open.back()];
          opening.multi_line =
              source_.substr(opening.begin, t.begin - opening.begin).find('\n') != std::string_view::npos;
          elements_.back().multi_line = opening.multi_line;
          open.pop_back();
          break;
        }
        default:
          break;
      }
    }
    comments_before(static_cast<uint32_t>(source_.size()) + 1);
  }

  std::string_view text(const Element& e) const { return source_.substr(e.begin, e.end - e.begin); }
  static bool is_opening(size_t t) {
    return t == L::LPAREN || t == L::LBRACKET || t == L::LBRACE || t == L::LAMBDA || t == L::LRECORD;
  }
  static bool is_closing(size_t t) { return t == L::RPAREN || t == L::RBRACKET || t == L::RBRACE; }
  bool in_block() const {
    return stack_.empty() || stack_.back().kind == Bracket::block || stack_.back().kind == Bracket::layer_body;
  }
  bool closes_block(const Element& e) const { return e.type == L::RBRACE && !stack_.empty() && in_block(); }

  // `in` between a loop's pattern and its sequence, and the like, are keywords; elsewhere the same words are names.
  bool is_keyword_here(size_t i) const {
    const size_t t = elements_[i].type;
    if (t == L::IN) return i > 0 && ends_operand(elements_[i - 1].type);
    if (t == L::REQUIRE && (stack_.empty() || stack_.back().kind != Bracket::layer_body)) return false;
    if (t == L::REQUIRE || t == L::CONFIG || t == L::LAYER || t == L::PARAM || t == L::STATE || t == L::OPTIMIZER ||
        t == L::TEST || t == L::PRECISION)
      return elements_[i].starts_statement && i + 1 < elements_.size() && elements_[i + 1].type != L::ASSIGN &&
             elements_[i + 1].type != L::DOT;
    return false;
  }
  bool is_operand_end(size_t i) const { return ends_operand(elements_[i].type) && !is_keyword_here(i); }

  bool is_unary_minus(size_t i) const {
    return elements_[i].type == L::MINUS && (elements_[i].starts_statement || i == 0 || !is_operand_end(i - 1));
  }

  bool space_between(size_t a, size_t b) const {
    const Element &x = elements_[a], &y = elements_[b];
    const bool slice = !stack_.empty() && stack_.back().kind == Bracket::index;
    if (x.type == L::LPAREN || x.type == L::LBRACKET || x.type == L::LRECORD) return false;
    if (y.type == L::RPAREN || y.type == L::RBRACKET || y.type == L::COMMA) return false;
    if (y.type == L::RBRACE) return closing_kind_ != Bracket::record && x.type != L::LBRACE;
    if (x.type == L::COMMA) return true;
    if (x.type == L::DOT || y.type == L::DOT) return false;
    if (y.type == L::COLON) return false;
    if (x.type == L::COLON) return !slice;
    if (x.type == L::DOTDOT || x.type == L::DOTDOTEQ || y.type == L::DOTDOT || y.type == L::DOTDOTEQ)
      return !is_operand_end(a) && x.type != L::DOTDOT && x.type != L::DOTDOTEQ;
    if (is_unary_minus(a)) return false;
    if ((y.type == L::LPAREN || y.type == L::LBRACKET) && is_operand_end(a)) return false;
    if (y.type == L::LPAREN && (x.type == L::MINIMIZE || x.type == L::GRAD)) return false;
    return true;
  }

  void start_line(const Element& e, bool blank) {
    Line l;
    l.blank_before = blank && !lines_.empty();
    l.starts_statement = e.starts_statement;
    const bool closing = is_closing(e.type);
    if (stack_.empty()) {
      l.indent = e.starts_statement || e.is_comment || e.type == L::ELSE ? 0 : 2;
    } else if (closing) {
      l.indent = stack_.back().indent;
    } else {
      l.indent = stack_.back().indent + 2;
      if (in_block() && !e.starts_statement && !e.is_comment && e.type != L::ELSE)
        l.indent = stack_.back().statement_indent + 2;
    }
    if (e.is_comment && continues_) l.indent = (stack_.empty() ? 0 : stack_.back().statement_indent) + 2;
    base_ = l.indent;
    lines_.push_back(l);
  }

  void place(size_t i) {
    const Element& e = elements_[i];
    const Element* prev = i ? &elements_[i - 1] : nullptr;
    size_t next_token = i;
    while (next_token < elements_.size() && elements_[next_token].is_comment) ++next_token;
    // A comment inside a statement that goes on below.
    continues_ = e.is_comment && in_block() && next_token < elements_.size() &&
                 !elements_[next_token].starts_statement && !is_closing(elements_[next_token].type) &&
                 elements_[next_token].type != L::ELSE;
    const bool after_opening =
        prev && !prev->is_comment && (prev->type == L::LBRACE || (prev->type == L::ARROW && e.starts_statement));

    if (e.is_comment) {
      std::string body(text(e));
      while (!body.empty() && (body.back() == ' ' || body.back() == '\t' || body.back() == '\r')) body.pop_back();
      const size_t hashes = std::min(body.find_first_not_of('#'), body.size());
      if (hashes < body.size() && hashes <= 2 && body[hashes] != ' ' && body[hashes] != '!')
        body.insert(hashes, 1, ' ');
      const bool trailing = prev && e.breaks == 0 && !lines_.empty();
      if (!trailing) start_line(e, e.breaks > 1 && in_block() && !after_opening);
      Line& l = lines_.back();
      l.comment = body;
      const size_t line_begin =
          source_.rfind('\n', e.begin) == std::string_view::npos ? 0 : source_.rfind('\n', e.begin) + 1;
      l.comment_column = trailing ? width(source_.substr(line_begin, e.begin - line_begin)) : 0;
      return;
    }

    const bool closing_block = closes_block(e);
    bool new_line = !prev, blank = false;
    if (prev) {
      if (prev->is_comment) {
        new_line = true;
        blank = e.breaks > 1 && e.starts_statement;
      } else if (e.type == L::ELSE) {
        new_line = false;
      } else if (e.starts_statement) {
        if (after_opening) {
          new_line = stack_.back().multi_line;
        } else {
          new_line = true;
          blank = e.breaks > 1;
        }
      } else if (closing_block) {
        const bool empty = prev->type == L::LBRACE;
        new_line = e.multi_line && !empty;
      } else {
        new_line = e.breaks > 0;
      }
    }
    if (e.type == L::RBRACE && !stack_.empty()) closing_kind_ = stack_.back().kind;
    if (new_line) start_line(e, blank);

    Line& l = lines_.back();
    if (!new_line && prev && space_between(i - 1, i)) l.text += ' ';
    if (e.starts_statement) begin_statement(i, l);
    if (l.align && l.equals == 0 && e.type == L::ASSIGN && stack_.size() == l.depth) {
      l.equals = l.text.size() - 1;
      l.spread = e.begin >= 2 && source_[e.begin - 1] == ' ' && source_[e.begin - 2] == ' ';
    }
    l.text += text(e);

    if (is_opening(e.type)) {
      Open o;
      o.multi_line = e.multi_line;
      o.indent = base_;
      o.statement_indent = base_ + 2;
      const size_t statement = stack_.empty() ? top_statement_ : stack_.back().statement_type;
      const bool in_layer = !stack_.empty() && stack_.back().kind == Bracket::layer_body;
      o.kind = e.type == L::LPAREN     ? Bracket::paren
               : e.type == L::LBRACKET ? Bracket::index
               : e.type == L::LRECORD  ? Bracket::record
               : e.type == L::LBRACE &&
                       (statement == L::LAYER || statement == L::OPTIMIZER || (in_layer && statement == L::IF))
                   ? Bracket::layer_body
                   : Bracket::block;
      stack_.push_back(o);
    } else if (is_closing(e.type) && !stack_.empty()) {
      base_ = stack_.back().indent;
      stack_.pop_back();
    }
  }

  void begin_statement(size_t i, Line& l) {
    const Element& e = elements_[i];
    if (stack_.empty()) {
      top_statement_ = e.type;
    } else {
      stack_.back().statement_type = e.type;
      stack_.back().statement_indent = l.indent;
    }
    if (!l.text.empty() || i + 2 >= elements_.size()) return;
    const bool member = is_name(e.type) && elements_[i + 1].type == L::ASSIGN && !stack_.empty() &&
                        stack_.back().kind == Bracket::layer_body;
    const bool keyword = is_keyword_here(i);
    if (member) l.align = 'm';
    if (e.type == L::LET || e.type == L::VAR || (e.type == L::CONFIG && keyword)) l.align = 'l';
    if ((e.type == L::PARAM || e.type == L::STATE) && keyword) l.align = 'p';
    l.depth = stack_.size();
  }

  // Whether line i is a whole statement.
  bool is_whole(size_t i) const {
    return lines_[i].starts_statement && (i + 1 == lines_.size() || lines_[i + 1].starts_statement ||
                                          lines_[i + 1].text.empty() || lines_[i + 1].indent < lines_[i].indent);
  }

  void align() {
    constexpr size_t kMostPadding = 40;  // beyond that the eye no longer follows
    auto fits = [&](size_t k) { return lines_[k].equals != 0 && is_whole(k); };
    auto before = [&](size_t k) { return width(std::string_view(lines_[k].text).substr(0, lines_[k].equals)); };
    for (size_t i = 0; i < lines_.size();) {
      size_t j = i + 1;
      if (!fits(i)) {
        i = j;
        continue;
      }
      while (j < lines_.size() && fits(j) && lines_[j].align == lines_[i].align &&
             lines_[j].indent == lines_[i].indent && !lines_[j].blank_before)
        ++j;
      size_t most = 0, least = static_cast<size_t>(-1);
      bool spread = false;
      for (size_t k = i; k < j; ++k) {
        most = std::max(most, before(k));
        least = std::min(least, before(k));
        spread |= lines_[k].spread;
      }
      if (spread && most - least <= kMostPadding)
        for (size_t k = i; k < j; ++k) lines_[k].text.insert(lines_[k].equals, most - before(k), ' ');
      i = j;
    }
    for (size_t i = 0; i < lines_.size();) {
      size_t j = i + 1;
      if (lines_[i].comment.empty() || lines_[i].text.empty()) {
        i = j;
        continue;
      }
      auto least = [&](size_t k) { return lines_[k].indent + width(lines_[k].text) + 2; };
      // Comments that stood in one column stay in one; others keep their own place where the code leaves room.
      size_t column = std::max(lines_[i].comment_column, least(i));
      for (; j < lines_.size() && !lines_[j].comment.empty() && !lines_[j].text.empty() && !lines_[j].blank_before &&
             lines_[j].comment_column == lines_[i].comment_column;
           ++j)
        column = std::max(column, least(j));
      for (size_t k = i; k < j; ++k) lines_[k].comment_column = column;
      i = j;
    }
  }

  std::string_view source_;
  std::vector<Element> elements_;
  std::vector<size_t> heads_;  // lambdas whose `->` was seen
  std::vector<Line> lines_;
  std::vector<Open> stack_;
  size_t base_ = 0;  // indentation that a bracket opened now belongs to
  size_t top_statement_ = 0;
  bool continues_ = false;
  Bracket closing_kind_ = Bracket::paren;
};

}  // namespace

std::string format(const SourceManager& sources, uint32_t file) {
  const std::string& text = sources.file(file).text;
  Diagnostics diags;
  parse(sources, file, diags);
  if (diags.has_errors()) return text;
  TokenList list = lex(sources, file, 0, static_cast<uint32_t>(text.size()), diags);
  filter(list, sources, file, diags);
  return Formatter(text, list).run();
}

}  // namespace nnlc::syntax
