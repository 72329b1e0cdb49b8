// Diagnostics for people:
//
//   error[N0203]: `output` takes [.., 392], but its input is [N, 784]
//     --> mnist.nnl:9:25
//      |
//    4 |   output       = Linear(hidden, classes)
//      |                  ----------------------- 392 comes from `hidden` here
//    9 |     x |> view(N, -1) |> output
//      |          -----------    ^^^^^^
//      |          gives [N, 784]
//      = help: `hidden_layer` takes [.., 784] and gives [.., 392]: was it meant to come first?
#include <fmt/format.h>
#include <utf8proc.h>

#include <algorithm>
#include <map>

#include "compiler/support/diagnostics.h"
#include "compiler/support/utf8.h"

namespace nnlc {
namespace {

struct Colors {
  bool on;
  std::string paint(const char* code, std::string text) const {
    return on ? fmt::format("\x1b[{}m{}\x1b[0m", code, text) : text;
  }
};
constexpr const char* kBold = "1";
constexpr const char* kFrame = "1;34";

const char* severity_color(Severity s) {
  return s == Severity::warning ? "1;33" : s == Severity::note ? "1;36" : "1;31";
}
const char* severity_word(Severity s) {
  switch (s) {
    case Severity::error:
    case Severity::data:
      return "error";
    case Severity::unsupported:
      return "unsupported";
    case Severity::internal:
      return "internal error";
    case Severity::warning:
      return "warning";
    case Severity::note:
      return "note";
  }
  return "error";
}

// A source line as it is shown: tabs widened, control characters replaced. cell(i) is the screen column of byte i.
struct ShownLine {
  std::string text;
  std::vector<uint32_t> cells;
};
ShownLine show(std::string_view line) {
  ShownLine s;
  uint32_t cell = 0;
  for (size_t i = 0; i < line.size();) {
    const CodePoint c = code_point_at(line, i);
    for (uint32_t k = 0; k < c.size; ++k) s.cells.push_back(cell);
    if (c.value == '\t') {
      s.text += "    ";
      cell += 4;
    } else if (c.value < 0x20 || c.value == 0x7F) {
      append_utf8(s.text, 0xFFFD);
      cell += 1;
    } else {
      append_utf8(s.text, c.value);
      cell += static_cast<uint32_t>(std::max(0, utf8proc_charwidth(static_cast<utf8proc_int32_t>(c.value))));
    }
    i += c.size;
  }
  s.cells.push_back(cell);
  return s;
}

struct Mark {
  uint32_t begin, end;  // screen columns
  bool primary;
  std::string text;
};

// A canvas of code points in which marks and labels are placed.
struct Row {
  std::u32string text;
  std::vector<char> primary;  // 1: part of the primary mark or its label
  void put(uint32_t column, const std::string& s, bool is_primary) {
    const std::u32string u = decode_utf8(s);
    if (text.size() < column + u.size()) {
      text.resize(column + u.size(), U' ');
      primary.resize(text.size(), 0);
    }
    for (size_t i = 0; i < u.size(); ++i) {
      text[column + i] = u[i];
      primary[column + i] = is_primary;
    }
  }
  std::string str(const Colors& colors, const char* primary_color) const {
    std::string out;
    for (size_t i = 0; i < text.size();) {
      size_t j = i;
      std::string run;
      while (j < text.size() && primary[j] == primary[i]) append_utf8(run, text[j++]);
      const bool blank = run.find_first_not_of(' ') == std::string::npos;
      out += blank ? run : colors.paint(primary[i] ? primary_color : kFrame, run);
      i = j;
    }
    return out;
  }
};

// The lines under a source line: marks, the rightmost label beside them, the others hanging below, right to left.
std::vector<Row> annotate(std::vector<Mark> marks) {
  std::stable_sort(marks.begin(), marks.end(), [](const Mark& a, const Mark& b) { return a.begin < b.begin; });
  std::vector<Row> rows(1);
  for (int pass = 0; pass < 2; ++pass)  // the primary mark is drawn over the others
    for (const Mark& m : marks)
      if (m.primary == (pass == 1))
        rows[0].put(m.begin, std::string(m.end - m.begin, m.primary ? '^' : '-'), m.primary);
  std::vector<const Mark*> hanging;
  for (const Mark& m : marks)
    if (!m.text.empty()) hanging.push_back(&m);
  const uint32_t last_end = static_cast<uint32_t>(rows[0].text.size());
  if (!hanging.empty()) {
    // Beside the marks only if nothing else begins at or after it: the label of another mark must not be mistaken for
    // it.
    const Mark* last = hanging.back();
    const bool others_right =
        std::any_of(marks.begin(), marks.end(), [&](const Mark& m) { return &m != last && m.end >= last->end; });
    if (!others_right) {
      rows[0].put(last_end + 1, last->text, last->primary);
      hanging.pop_back();
    }
  }
  while (!hanging.empty()) {
    const Mark* m = hanging.back();
    hanging.pop_back();
    Row row;
    for (const Mark* other : hanging)
      if (other->begin < m->begin) row.put(other->begin, "|", other->primary);
    row.put(m->begin, m->text, m->primary);
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace

std::string render_text(const Diagnostic& d, const SourceManager& sources, bool color) {
  const Colors colors{color};
  const char* main_color = severity_color(d.severity);
  std::string out =
      colors.paint(main_color, fmt::format("{}[N{:04}]", severity_word(d.severity), static_cast<unsigned>(d.code))) +
      colors.paint(kBold, ": " + d.message) + "\n";

  // Marks by file and line; the primary file comes first, the others in the order of their labels.
  std::vector<uint32_t> files;
  std::map<uint32_t, std::map<uint32_t, std::vector<Mark>>> marks;
  std::map<uint32_t, std::map<uint32_t, ShownLine>> lines;
  std::map<uint32_t, Span> first_place;
  auto add_mark = [&](Span s, const std::string& text, bool primary) {
    if (!s.valid() || s.file > sources.file_count()) return;
    const SourceFile& f = sources.file(s.file);
    if (std::find(files.begin(), files.end(), s.file) == files.end()) {
      files.push_back(s.file);
      first_place[s.file] = s;
    }
    const uint32_t number = sources.position(s.file, s.begin).line;
    const uint32_t start = f.line_starts[number - 1];
    const std::string_view source = f.line(number);
    auto [it, fresh] = lines[s.file].try_emplace(number);
    if (fresh) it->second = show(source);
    const std::vector<uint32_t>& cells = it->second.cells;
    // A span over several lines is marked on its first one.
    const uint32_t begin = cells[std::min<size_t>(s.begin - start, source.size())];
    uint32_t end = cells[std::min<size_t>(std::max(s.end, s.begin) - start, source.size())];
    end = std::max(end, begin + 1);
    marks[s.file][number].push_back({begin, end, primary, text});
  };
  add_mark(d.span, d.label, true);
  for (const Label& l : d.labels) add_mark(l.span, l.text, false);

  uint32_t widest = 1;
  for (const auto& [file, by_line] : lines)
    if (!by_line.empty()) widest = std::max(widest, by_line.rbegin()->first);
  const size_t width = std::to_string(widest).size();
  const std::string margin(width + 2, ' ');
  const std::string bar = colors.paint(kFrame, "|");

  for (size_t i = 0; i < files.size(); ++i) {
    const uint32_t file = files[i];
    out += std::string(width + 1, ' ') + colors.paint(kFrame, i == 0 ? "-->" : ":::") + " " +
           sources.describe(first_place[file]) + "\n";
    out += margin + bar + "\n";
    for (const auto& [number, line_marks] : marks[file]) {
      const ShownLine& line = lines[file][number];
      out += " " + colors.paint(kFrame, fmt::format("{:>{}}", number, width)) + " " + bar;
      out += line.text.empty() ? "\n" : " " + line.text + "\n";
      for (const Row& row : annotate(line_marks)) out += margin + bar + " " + row.str(colors, main_color) + "\n";
    }
  }
  auto footer = [&](const char* word, const std::string& text) {
    const std::string indent = "\n" + margin + "  " + std::string(std::string(word).size() + 2, ' ');
    std::string body;
    for (char c : text) body += c == '\n' ? indent : std::string(1, c);
    out += margin + colors.paint(kFrame, "=") + " " + colors.paint(kBold, word) + ": " + body + "\n";
  };
  for (const std::string& n : d.notes) footer("note", n);
  for (const std::string& h : d.helps) footer("help", h);
  return out;
}

}  // namespace nnlc
