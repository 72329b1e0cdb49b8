// Reads the text form of graphs. Input names and types, ops, attributes and result types are all checked: a text that
// is accepted is a graph that verifies.
#include <bit>
#include <charconv>
#include <limits>
#include <unordered_map>

#include "compiler/graph/graph.h"
#include "compiler/ops/build.h"

namespace nnlc::graph {
namespace {

struct Failure {};  // the diagnostic is there already; leaves the parser, never this file

class Parser {
 public:
  Parser(const SourceManager& sources, uint32_t file, Diagnostics& diags)
      : sources_(sources), file_(file), text_(sources.file(file).text), diags_(diags) {}

  Graph graph() {
    Graph g;
    expect_word("graph");
    expect('@');
    g.name = name();
    expect('(');
    while (!accept(')')) {
      size_t at = place();
      expect('%');
      std::string own = name();
      expect(':');
      Node* n = g.add_input(type(), own, {});
      if (!names_.emplace(own, n).second) fail(at, "the name " + own + " is given twice");
      if (!accept(',') && peek() != ')') fail(pos_, "expected `,` or `)`");
    }
    expect('{');
    while (peek() == '%') node(g);
    expect_word("return");
    while (peek() != '}') {
      Output o{value(), nullptr};
      if (accept('-')) {
        expect('>');
        size_t at = place();
        o.updates = value();
        if (o.updates->op->name != "input" || !(o.updates->type == o.value->type))
          fail(at, "an output can only update an input of its type");
      }
      g.outputs.push_back(o);
      if (!accept(',') && peek() != '}') fail(pos_, "expected `,` or `}`");
    }
    expect('}');
    if (peek() != '\0') fail(pos_, "text behind the graph");
    return g;
  }

 private:
  void node(Graph& g) {
    size_t at = place();
    expect('%');
    std::string own = name();
    expect('=');
    std::string op = word();
    const OpDef* def = find_op(op);
    if (!def || op == "input") fail(at, "there is no op `" + op + "`");
    expect('(');
    std::vector<Node*> operands;
    while (!accept(')')) {
      operands.push_back(value());
      if (!accept(',') && peek() != ')') fail(pos_, "expected `,` or `)`");
    }
    Attrs attrs;
    if (accept('{')) {
      while (!accept('}')) {
        std::string key = word();
        expect('=');
        attrs[key] = attr(attr_kind(*def, key));
        if (!accept(',') && peek() != '}') fail(pos_, "expected `,` or `}`");
      }
    }
    expect(':');
    TensorType wanted = type();
    Span span;
    if (at_word("loc")) span = location();
    std::string error;
    Node* n = try_make(g, op, std::move(operands), std::move(attrs), span, error);
    if (!n) fail(at, "`" + op + "`: " + error);
    if (!(n->type == wanted)) fail(at, "`" + op + "` gives " + n->type.str() + ", not " + wanted.str());
    if (!names_.emplace(own, n).second) fail(at, "the name " + own + " is given twice");
  }

  Node* value() {
    size_t at = place();
    expect('%');
    auto it = names_.find(name());
    if (it == names_.end()) fail(at, "this value isn't defined above");
    return it->second;
  }

  TensorType type() {
    size_t at = place();
    auto dtype = dtype_from_name(word());
    if (!dtype) fail(at, "expected an element type");
    return {*dtype, shape()};
  }
  Shape shape() {
    Shape s;
    expect('[');
    while (!accept(']')) {
      s.push_back(dim());
      if (!accept(',') && peek() != ']') fail(pos_, "expected `,` or `]`");
    }
    return s;
  }

  // A dim: sums of products of integers, names and parentheses.
  Dim dim() {
    if (++depth_ > 200) fail(pos_, "nested too deeply");
    Dim d = product();
    while (true) {
      if (accept('+'))
        d = d + product();
      else if (accept('-'))
        d = d - product();
      else
        break;
    }
    --depth_;
    return d;
  }
  Dim product() {
    Dim d = factor();
    while (true) {
      if (accept('*'))
        d = d * factor();
      else if (accept('%'))
        d = Dim::mod(d, factor());
      else if (accept('/')) {
        expect('/');
        d = Dim::floor_div(d, factor());
      } else {
        return d;
      }
    }
  }
  Dim factor() {
    if (accept('-')) {
      if (++depth_ > 200) fail(pos_, "nested too deeply");
      Dim d = Dim(-1) * factor();
      --depth_;
      return d;
    }
    if (accept('(')) {
      Dim d = dim();
      expect(')');
      return d;
    }
    if (is_digit(peek())) return Dim(integer());
    return Dim::symbol(word());
  }

  Attr attr(const Attr& kind) {
    if (std::holds_alternative<int64_t>(kind)) return integer();
    if (std::holds_alternative<double>(kind)) return number().first;
    if (std::holds_alternative<std::string>(kind)) return string();
    if (std::holds_alternative<Shape>(kind)) return shape();
    size_t at = place();
    if (std::holds_alternative<bool>(kind)) {
      std::string w = word();
      if (w != "true" && w != "false") fail(at, "expected `true` or `false`");
      return w == "true";
    }
    if (std::holds_alternative<DType>(kind)) {
      auto dtype = dtype_from_name(word());
      if (!dtype) fail(at, "expected an element type");
      return *dtype;
    }
    IntList list;  // of integers, or of floats by their bits
    expect('[');
    while (!accept(']')) {
      auto [f, i] = number();
      list.push_back(i ? *i : std::bit_cast<int64_t>(f));
      if (!accept(',') && peek() != ']') fail(pos_, "expected `,` or `]`");
    }
    return list;
  }

  int64_t integer() {
    size_t at = place();
    auto [f, i] = number();
    if (!i) fail(at, "expected an integer");
    return *i;
  }
  /// A number, as a float and, if it is written as one, as an integer.
  std::pair<double, std::optional<int64_t>> number() {
    size_t begin = place(), end = begin;
    if (end < text_.size() && text_[end] == '-') ++end;
    bool is_negative = end > begin;
    std::string_view rest = std::string_view(text_).substr(end);
    for (std::string_view special : {"inf", "nan"})
      if (rest.starts_with(special)) {
        pos_ = end + 3;
        double v =
            special == "inf" ? std::numeric_limits<double>::infinity() : std::numeric_limits<double>::quiet_NaN();
        return {is_negative ? -v : v, std::nullopt};
      }
    bool is_float = false;
    while (end < text_.size() && (is_digit(text_[end]) || text_[end] == '.' || text_[end] == 'e' ||
                                  ((text_[end] == '-' || text_[end] == '+') && text_[end - 1] == 'e')))
      is_float |= !is_digit(text_[end++]);
    double v = 0;
    int64_t i = 0;
    const char *from = text_.data() + begin, *to = text_.data() + end;
    auto r = is_float ? std::from_chars(from, to, v) : std::from_chars(from, to, i);
    if (r.ec != std::errc() || r.ptr != to) fail(begin, "expected a number");
    pos_ = end;
    if (is_float) return {v, std::nullopt};
    return {static_cast<double>(i), i};
  }

  std::string string() {
    expect('"');
    std::string s;
    while (pos_ < text_.size() && text_[pos_] != '"') {
      char c = text_[pos_++];
      if (c == '\\' && pos_ < text_.size()) {
        c = text_[pos_++];
        if (c == 'n') c = '\n';
      }
      s += c;
    }
    if (pos_ >= text_.size()) fail(pos_, "a string without its end");
    ++pos_;
    return s;
  }
  std::string name() { return peek() == '"' ? string() : word(); }
  std::string word() {
    size_t begin = place();
    while (pos_ < text_.size() && is_word(text_[pos_])) ++pos_;
    if (pos_ == begin) fail(begin, "expected a name");
    return std::string(text_.substr(begin, pos_ - begin));
  }
  bool at_word(std::string_view w) {
    return std::string_view(text_).substr(place()).starts_with(w) &&
           (pos_ + w.size() >= text_.size() || !is_word(text_[pos_ + w.size()]));
  }
  void expect_word(std::string_view w) {
    if (!at_word(w)) fail(pos_, "expected `" + std::string(w) + "`");
    pos_ += w.size();
  }

  /// `loc(mlp.nnl:12:7)`: a place in one of the known sources; another one is dropped.
  Span location() {
    expect_word("loc");
    expect('(');
    size_t begin = pos_, end = text_.find(')', begin);
    if (end == std::string::npos) fail(begin, "a place without its end");
    std::string_view place = std::string_view(text_).substr(begin, end - begin);
    pos_ = end + 1;
    size_t second = place.rfind(':'), first = second == 0 ? std::string_view::npos : place.rfind(':', second - 1);
    if (second == std::string_view::npos || first == std::string_view::npos) return {};
    uint32_t line = 0, column = 0;
    std::from_chars(place.data() + first + 1, place.data() + second, line);
    std::from_chars(place.data() + second + 1, place.data() + place.size(), column);
    for (uint32_t id = 1; id <= sources_.file_count(); ++id) {
      const SourceFile& f = sources_.file(id);
      if (f.path != place.substr(0, first) || line < 1 || line > f.line_starts.size()) continue;
      uint32_t offset = f.line_starts[line - 1];
      for (uint32_t c = 1; c < column && offset < f.text.size(); ++c) {  // a column is a code point
        ++offset;
        while (offset < f.text.size() && (static_cast<unsigned char>(f.text[offset]) & 0xC0) == 0x80) ++offset;
      }
      return {id, offset, offset + 1};
    }
    return {};
  }

  static bool is_digit(char c) { return c >= '0' && c <= '9'; }
  static bool is_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) || c == '_' || c == '.' || c == '$' ||
           c == '@' || c == '\'' || c == '?' || static_cast<unsigned char>(c) >= 0x80;
  }
  /// Skips blanks and `#` comments.
  size_t place() {
    while (pos_ < text_.size()) {
      char c = text_[pos_];
      if (c == '#')
        pos_ = std::min(text_.find('\n', pos_), text_.size());
      else if (c == ' ' || c == '\n' || c == '\t' || c == '\r')
        ++pos_;
      else
        break;
    }
    return pos_;
  }
  char peek() { return place() < text_.size() ? text_[pos_] : '\0'; }
  bool accept(char c) {
    if (peek() != c) return false;
    ++pos_;
    return true;
  }
  void expect(char c) {
    if (!accept(c)) fail(pos_, std::string("expected `") + c + "`");
  }
  [[noreturn]] void fail(size_t at, std::string message) {
    auto begin = static_cast<uint32_t>(std::min(at, text_.size()));
    diags_.error(Code::BadGraphText, {file_, begin, begin + (begin < text_.size() ? 1u : 0u)}, std::move(message));
    throw Failure();
  }

  const SourceManager& sources_;
  uint32_t file_;
  const std::string& text_;
  Diagnostics& diags_;
  size_t pos_ = 0;
  int depth_ = 0;
  std::unordered_map<std::string, Node*> names_;
};

}  // namespace

std::optional<Graph> parse(const SourceManager& sources, uint32_t file, Diagnostics& diags) {
  try {
    return Parser(sources, file, diags).graph();
  } catch (const Failure&) {
    return std::nullopt;
  }
}

}  // namespace nnlc::graph
