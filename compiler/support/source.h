// Source files and places in them. Knows nothing of NNL.
#pragma once
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

namespace nnlc {

/// A half-open byte range of one source file. File 0 is "nowhere" (values made by the compiler itself).
struct Span {
  uint32_t file = 0, begin = 0, end = 0;
  bool valid() const { return file != 0; }
  friend bool operator==(const Span&, const Span&) = default;
};
/// The smallest span that covers both; they must lie in one file (an invalid one is ignored).
Span join(Span a, Span b);

/// 1-based line and column; a column counts code points, a tab is one.
struct LineColumn {
  uint32_t line = 1, column = 1;
};

struct SourceFile {
  std::string path;         ///< as the user wrote it; shown in diagnostics
  std::string text;         ///< UTF-8, without a BOM
  bool is_library = false;  ///< ships inside nnlc: errors are reported at the user's line instead
  std::vector<uint32_t> line_starts;
  std::string_view line(uint32_t number) const;  ///< without its line end; number is 1-based
};

/// Owns every source text of a compilation; file ids start at 1 and never change.
class SourceManager {
 public:
  uint32_t add(std::string path, std::string text, bool is_library = false);
  const SourceFile& file(uint32_t id) const { return files_[id - 1]; }
  uint32_t file_count() const { return static_cast<uint32_t>(files_.size()); }
  LineColumn position(uint32_t file, uint32_t offset) const;
  std::string_view text(Span s) const;
  /// "mnist.nnl:12:7", or "<nnlc>" for an invalid span.
  std::string describe(Span s) const;

 private:
  std::deque<SourceFile> files_;
};

}  // namespace nnlc
