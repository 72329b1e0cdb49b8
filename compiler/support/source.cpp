// Line tables and places. Offsets are bytes; what users see is lines and code points.
#include "compiler/support/source.h"

#include <algorithm>

namespace nnlc {

Span join(Span a, Span b) {
  if (!a.valid()) return b;
  if (!b.valid() || a.file != b.file) return a;
  return {a.file, std::min(a.begin, b.begin), std::max(a.end, b.end)};
}

std::string_view SourceFile::line(uint32_t number) const {
  if (number == 0 || number > line_starts.size()) return {};
  const size_t begin = line_starts[number - 1];
  size_t end = number < line_starts.size() ? line_starts[number] : text.size();
  if (end > begin && text[end - 1] == '\n') --end;
  if (end > begin && text[end - 1] == '\r') --end;
  return std::string_view(text).substr(begin, end - begin);
}

uint32_t SourceManager::add(std::string path, std::string text, bool is_library) {
  if (text.starts_with("\xEF\xBB\xBF")) text.erase(0, 3);
  SourceFile f;
  f.path = std::move(path);
  f.text = std::move(text);
  f.is_library = is_library;
  f.line_starts.push_back(0);
  for (size_t i = 0; i < f.text.size(); ++i)
    if (f.text[i] == '\n') f.line_starts.push_back(static_cast<uint32_t>(i + 1));
  files_.push_back(std::move(f));
  return static_cast<uint32_t>(files_.size());
}

LineColumn SourceManager::position(uint32_t file, uint32_t offset) const {
  const SourceFile& f = this->file(file);
  offset = std::min<uint32_t>(offset, static_cast<uint32_t>(f.text.size()));
  const auto next = std::upper_bound(f.line_starts.begin(), f.line_starts.end(), offset);
  const auto line = static_cast<uint32_t>(next - f.line_starts.begin());
  uint32_t column = 1;
  for (uint32_t i = f.line_starts[line - 1]; i < offset; ++i)
    if ((static_cast<unsigned char>(f.text[i]) & 0xC0) != 0x80) ++column;
  return {line, column};
}

std::string_view SourceManager::text(Span s) const {
  if (!s.valid() || s.file > files_.size()) return {};
  const std::string& t = file(s.file).text;
  const size_t begin = std::min<size_t>(s.begin, t.size()), end = std::min<size_t>(s.end, t.size());
  return begin < end ? std::string_view(t).substr(begin, end - begin) : std::string_view();
}

std::string SourceManager::describe(Span s) const {
  if (!s.valid() || s.file > files_.size()) return "<nnlc>";
  const LineColumn p = position(s.file, s.begin);
  return file(s.file).path + ":" + std::to_string(p.line) + ":" + std::to_string(p.column);
}

}  // namespace nnlc
