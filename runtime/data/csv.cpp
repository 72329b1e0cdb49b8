// Tables: RFC 4180 with quotes, CR LF or LF, `,` `;` or tab between cells (the one that the first line uses), gzipped
// or not. A column is one of numbers if its first present cell is a number; each later cell must then be one too, so
// that a typo is an error and not a column that silently became text. Empty and `?` are missing values, and so are NA
// and NaN among numbers.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <map>

#include "runtime/data/columns.h"
#include "runtime/data/file.h"

namespace nnl::data {

namespace {

struct Cell {
  std::string_view text;  // without quotes and outer spaces
  bool quoted = false;
};

struct Table {
  std::string path;
  std::string content;
  std::vector<std::string> unquoted;  // owns cells that held doubled quotes
  std::vector<std::vector<Cell>> rows;
  std::vector<int64_t> lines;      // where each row starts in the file
  std::vector<std::string> names;  // from the header; empty without one
};

std::string_view trim(std::string_view s) {
  while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
  while (!s.empty() && (s.back() == ' ' || s.back() == '\t')) s.remove_suffix(1);
  return s;
}

bool is_missing(const Cell& c, bool among_numbers) {
  if (c.text.empty() || c.text == "?") return true;
  if (!among_numbers) return false;
  return c.text == "NA" || c.text == "N/A" || c.text == "NaN" || c.text == "nan" || c.text == "null";
}

/// A decimal number that is finite; whole: written without a point or an exponent.
std::optional<double> number(std::string_view s, bool* whole = nullptr) {
  if (!s.empty() && s.front() == '+') {
    s.remove_prefix(1);
    if (!s.empty() && s.front() == '-') return std::nullopt;
  }
  double v = 0;
  const auto [end, ec] = std::from_chars(s.data(), s.data() + s.size(), v);
  if (end != s.data() + s.size() || s.empty()) return std::nullopt;
  // from_chars also reads "inf" and "nan"; a value out of a double's range is kept as a number for the caller to
  // refuse.
  if (s.find_first_of("nN") != std::string_view::npos) return std::nullopt;
  if (ec == std::errc::result_out_of_range) {  // tiny is zero, huge is infinite: the wider type tells which
    long double wide = HUGE_VALL;
    std::from_chars(s.data(), s.data() + s.size(), wide);
    v = static_cast<double>(wide);
  }
  if (whole) *whole = s.find_first_not_of("-0123456789") == std::string_view::npos;
  return v;
}

std::string shown(std::string_view s) {
  constexpr size_t kMost = 40;
  std::string out = "\"";
  for (size_t i = 0; i < s.size() && out.size() < kMost;) {
    const int n = std::max(utf8_length(s, i), 1);
    out += static_cast<unsigned char>(s[i]) < 0x20 ? " " : std::string(s.substr(i, static_cast<size_t>(n)));
    i += static_cast<size_t>(n);
    if (out.size() >= kMost && i < s.size()) out += "…";
  }
  return out + "\"";
}

/// "row 17, column 3 (`length`)". Rows are lines of the file, from 1, so that an editor finds them.
std::string place(const Table& t, size_t row, size_t column) {
  std::string s = t.path + ": row " + std::to_string(t.lines[row]) + ", column " + std::to_string(column + 1);
  if (column < t.names.size() && !t.names[column].empty()) s += " (`" + t.names[column] + "`)";
  return s + ": ";
}

char separator_of(std::string_view s) {
  bool quoted = false;
  size_t semicolons = 0, tabs = 0;
  for (char c : s) {
    if (c == '"') quoted = !quoted;
    if (quoted) continue;
    if (c == '\n') break;
    if (c == ',') return ',';
    semicolons += c == ';', tabs += c == '\t';
  }
  return semicolons ? ';' : tabs ? '\t' : ',';
}

/// Cuts the content into cells.
std::optional<Error> split(Table& t) {
  const std::string& s = t.content;
  size_t i = s.starts_with("\xEF\xBB\xBF") ? 3 : 0;
  const char separator = separator_of(std::string_view(s).substr(i));
  int64_t line = 1;
  std::vector<std::pair<std::pair<size_t, size_t>, size_t>>
      owned;  // cells to point into `unquoted` once it grows no more
  while (i < s.size()) {
    if (s[i] == '\n' || (s[i] == '\r' && i + 1 < s.size() && s[i + 1] == '\n')) {  // a blank line
      i += s[i] == '\r' ? 2 : 1;
      ++line;
      continue;
    }
    const int64_t row_line = line;
    std::vector<Cell> row;
    for (bool more = true; more;) {
      Cell cell;
      size_t at = i;
      while (at < s.size() && s[at] == ' ') ++at;
      if (at < s.size() && s[at] == '"') {
        cell.quoted = true;
        size_t from = ++at;
        std::string text;
        bool doubled = false, closed = false;
        while (at < s.size()) {
          if (s[at] == '\n') ++line;
          if (s[at] == '"') {
            if (at + 1 < s.size() && s[at + 1] == '"') {
              text.append(s, from, at + 1 - from);
              doubled = true, at += 2, from = at;
              continue;
            }
            closed = true;
            break;
          }
          ++at;
        }
        if (!closed)
          return Error{t.path + ": row " + std::to_string(row_line) + ", column " + std::to_string(row.size() + 1) +
                           ": a quote is opened and never closed",
                       ""};
        if (doubled) {
          text.append(s, from, at - from);
          t.unquoted.push_back(std::move(text));
          owned.push_back({{t.rows.size(), row.size()}, t.unquoted.size() - 1});
        } else {
          cell.text = std::string_view(s).substr(from, at - from);
        }
        i = at + 1;
        while (i < s.size() && s[i] == ' ') ++i;
        if (i < s.size() && s[i] == '\r' && (i + 1 == s.size() || s[i + 1] == '\n')) ++i;
        if (i < s.size() && s[i] != separator && s[i] != '\n')
          return Error{t.path + ": row " + std::to_string(row_line) + ", column " + std::to_string(row.size() + 1) +
                           ": text follows the closing quote",
                       ""};
      } else {
        const size_t from = i;
        while (i < s.size() && s[i] != separator && s[i] != '\n') ++i;
        size_t end = i;
        if (end > from && s[end - 1] == '\r' && (i == s.size() || s[i] == '\n')) --end;
        cell.text = trim(std::string_view(s).substr(from, end - from));
      }
      row.push_back(cell);
      more = i < s.size() && s[i] == separator;
      if (i < s.size() && s[i] == '\n') ++line;
      if (i < s.size()) ++i;
    }
    t.rows.push_back(std::move(row));
    t.lines.push_back(row_line);
  }
  for (auto [where, index] : owned) t.rows[where.first][where.second].text = t.unquoted[index];
  return std::nullopt;
}

/// A first row is a header if none of its cells is a number or missing and some column is one of numbers below it, or
/// if it holds a name that the options use.
bool has_header(const Table& t, const CsvOptions& o) {
  if (o.header) return *o.header;
  const auto& first = t.rows[0];
  const auto holds = [&](const std::string& name) {
    return !name.empty() && !number(name) &&
           std::any_of(first.begin(), first.end(), [&](const Cell& c) { return c.text == name; });
  };
  if (holds(o.target) || std::any_of(o.features.begin(), o.features.end(), holds)) return true;
  for (const Cell& c : first)
    if (is_missing(c, true) || number(c.text)) return false;
  if (t.rows.size() < 2) return false;
  return std::any_of(t.rows[1].begin(), t.rows[1].end(), [](const Cell& c) { return number(c.text).has_value(); });
}

Result<size_t> column_named(const Table& t, const std::string& name, const char* role) {
  for (size_t i = 0; i < t.names.size(); ++i)
    if (t.names[i] == name) return i;
  const size_t width = t.rows[0].size();
  int64_t v = 0;
  const auto [end, ec] = std::from_chars(name.data(), name.data() + name.size(), v);
  if (ec == std::errc() && end == name.data() + name.size()) {
    // Counted from 1, as the places in messages are.
    if (v >= 1 && v <= static_cast<int64_t>(width)) return static_cast<size_t>(v - 1);
    return Error{t.path + ": " + role + " " + name + ": the file has " + std::to_string(width) + " columns",
                 "columns are counted from 1"};
  }
  if (t.names.empty())
    return Error{t.path + ": " + role + " `" + name + "`: the file has no header",
                 "give the column's number, counted from 1, as text, or header = true"};
  std::string all;
  for (size_t i = 0; i < t.names.size() && i < 20; ++i) all += (i ? ", " : "") + t.names[i];
  if (t.names.size() > 20) all += ", …";
  return Error{t.path + ": " + role + " `" + name + "`: there is no such column", "the columns are " + all};
}

/// The first present cell of a column; absent if all are missing.
const Cell* first_present(const Table& t, size_t column) {
  for (const auto& row : t.rows)
    if (!is_missing(row[column], true)) return &row[column];
  return nullptr;
}
bool is_numeric(const Table& t, size_t column) {
  const Cell* c = first_present(t, column);
  return !c || number(c->text);
}

/// The number in a cell that must hold one.
Result<double> number_at(const Table& t, size_t row, size_t column, bool* whole) {
  const Cell& c = t.rows[row][column];
  if (is_missing(c, true))
    return Error{place(t, row, column) + "missing value" + (c.text.empty() ? "" : " `" + std::string(c.text) + "`"),
                 "take the row out of the file, or name the columns to use: features = […]"};
  const auto v = number(c.text, whole);
  if (!v) {
    const Cell* first = first_present(t, column);
    std::string m = place(t, row, column) + shown(c.text) + " is not a number";
    if (first != &c) m += ", as the column's first value " + std::string(first->text) + " is";
    return Error{m, ""};
  }
  if (std::fabs(*v) > 3.4028234663852886e38)
    return Error{place(t, row, column) + std::string(c.text) + " is too large for an f32", ""};
  return *v;
}

struct TargetColumn {
  Field field;
  std::vector<char> bytes;
};

template <class T>
void append(std::vector<char>& bytes, T v) {
  const auto* p = reinterpret_cast<const char*>(&v);
  bytes.insert(bytes.end(), p, p + sizeof v);
}

Result<TargetColumn> text_target(const Table& t, size_t column, int64_t classes, bool missing) {
  TargetColumn out;
  out.field.missing = missing;
  std::map<std::string_view, int32_t> order;  // bytes of valid UTF-8 sort as code points do
  for (size_t r = 0; r < t.rows.size(); ++r) {
    const Cell& c = t.rows[r][column];
    if (is_missing(c, false)) {
      if (missing) continue;
      return Error{place(t, r, column) + "missing value" + (c.text.empty() ? "" : " `?`"),
                   "take the row out of the file, or read it as the label -1: missing = -1"};
    }
    order.emplace(c.text, 0);
  }
  int32_t next = 0;
  for (auto& [text, index] : order) {
    index = next++;
    out.field.class_names.emplace_back(text);
  }
  if (classes > 0 && next > classes)
    return Error{t.path + ": column " + std::to_string(column + 1) + " holds " + std::to_string(next) +
                     " different texts, more than " + std::to_string(classes) + " classes",
                 ""};
  out.field.classes = std::max<int64_t>(classes, next);
  out.field.dtype = NNL_I32;
  for (const auto& row : t.rows) append(out.bytes, is_missing(row[column], false) ? -1 : order.at(row[column].text));
  return out;
}

Result<TargetColumn> number_target(const Table& t, size_t column, int64_t classes, bool missing) {
  TargetColumn out;
  std::vector<double> values;
  bool all_whole = true;
  for (size_t r = 0; r < t.rows.size(); ++r) {
    bool whole = false;
    if (missing && is_missing(t.rows[r][column], true)) {
      values.push_back(-1);
      continue;
    }
    auto v = number_at(t, r, column, &whole);
    if (!v) return v.error();
    values.push_back(*v);
    all_whole = all_whole && whole;
  }
  if (!all_whole) {
    if (classes > 0 || missing) {
      for (size_t r = 0; r < t.rows.size(); ++r) {
        bool whole = missing && is_missing(t.rows[r][column], true);
        if (!whole) number(t.rows[r][column].text, &whole);
        if (!whole)
          return Error{place(t, r, column) + std::string(t.rows[r][column].text) +
                           " is not a class: classes are whole numbers from 0",
                       ""};
      }
    }
    for (double v : values) append(out.bytes, static_cast<float>(v));
    return out;
  }
  int64_t largest = 0;
  for (size_t r = 0; r < t.rows.size(); ++r) {
    const double v = values[r];
    if (v < 0 && !(missing && v == -1))
      return Error{place(t, r, column) + std::string(t.rows[r][column].text) +
                       " is not a class: classes are whole numbers from 0",
                   ""};
    if (classes > 0 && v >= static_cast<double>(classes))
      return Error{place(t, r, column) + "class " + std::string(t.rows[r][column].text) + " is not below " +
                       std::to_string(classes),
                   ""};
    if (v >= 2147483647.0)
      return Error{place(t, r, column) + std::string(t.rows[r][column].text) + " is too large for a class", ""};
    largest = std::max(largest, static_cast<int64_t>(v));
    append(out.bytes, static_cast<int32_t>(v));
  }
  out.field.dtype = NNL_I32;
  out.field.missing = missing;
  out.field.classes = classes > 0 ? classes : largest + 1;
  return out;
}

}  // namespace

Result<DatasetPtr> csv(const std::string& path, const CsvOptions& options) {
  Table t;
  t.path = path;
  auto content = read_all(path);
  if (!content) return content.error();
  t.content = std::move(*content);
  for (size_t i = 0; i < t.content.size();) {
    const int n = utf8_length(t.content, i);
    if (n == 0) return Error{path + ": " + place_in_text(t.content, i) + ": is not UTF-8", "save the file as UTF-8"};
    if (t.content[i] == 0)
      return Error{path + ": " + place_in_text(t.content, i) + ": holds a zero byte: it is no text file", ""};
    i += static_cast<size_t>(n);
  }
  if (auto e = split(t)) return *e;
  if (t.rows.empty()) return Error{path + ": is empty", ""};
  const size_t width = t.rows[0].size();
  for (size_t r = 0; r < t.rows.size(); ++r)
    if (t.rows[r].size() != width)
      return Error{path + ": row " + std::to_string(t.lines[r]) + ": has " + std::to_string(t.rows[r].size()) +
                       " columns, the first row has " + std::to_string(width),
                   ""};
  if (has_header(t, options)) {
    for (const Cell& c : t.rows[0]) t.names.emplace_back(c.text);
    t.rows.erase(t.rows.begin());
    t.lines.erase(t.lines.begin());
    for (size_t i = 0; i < width; ++i)
      for (size_t k = 0; k < i; ++k)
        if (t.names[i] == t.names[k] && !t.names[i].empty())
          return Error{path + ": columns " + std::to_string(k + 1) + " and " + std::to_string(i + 1) +
                           " are both called `" + t.names[i] + "`",
                       ""};
  }
  if (t.rows.empty()) return Error{path + ": has a header and no rows", ""};

  size_t target = width - 1;
  if (!options.target.empty()) {
    auto c = column_named(t, options.target, "target");
    if (!c) return c.error();
    target = *c;
  }
  std::vector<size_t> columns;
  for (const std::string& name : options.features) {
    auto c = column_named(t, name, "feature");
    if (!c) return c.error();
    columns.push_back(*c);
  }
  if (options.features.empty()) {
    for (size_t c = 0; c < width; ++c)
      if (c != target && is_numeric(t, c)) columns.push_back(c);
    if (columns.empty()) return Error{path + ": no column besides the target holds numbers", ""};
  }

  Field x;
  x.name = "x";
  x.shape = {static_cast<int64_t>(columns.size())};
  std::vector<char> xs;
  xs.reserve(t.rows.size() * columns.size() * sizeof(float));
  for (size_t r = 0; r < t.rows.size(); ++r)
    for (size_t c : columns) {
      auto v = number_at(t, r, c, nullptr);
      if (!v) return v.error();
      append(xs, static_cast<float>(*v));
    }
  auto y = is_numeric(t, target) ? number_target(t, target, options.classes, options.missing)
                                 : text_target(t, target, options.classes, options.missing);
  if (!y) return y.error();
  y->field.name = "y";
  const auto n = static_cast<int64_t>(t.rows.size());
  return DatasetPtr(std::make_shared<ColumnDataset>(
      std::filesystem::path(path).filename().string(), n, std::vector<Field>{x, y->field},
      std::vector<std::vector<char>>{std::move(xs), std::move(y->bytes)}));
}

}  // namespace nnl::data
