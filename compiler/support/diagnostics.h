// Diagnostics as data: code, severity, spans, labels, fixes; printed as text or JSON.
// The compiler adds them to a Diagnostics; only the driver prints.
#pragma once
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "compiler/support/source.h"

namespace nnlc {

/// Every code, once: `codes.def` has number, identifier, title and the page that `nnlc explain` prints.
enum class Code : uint16_t {
#define NNLC_CODE(number, name, title, page) name = number,
#include "compiler/support/codes.def"
#undef NNLC_CODE
};
struct CodeInfo {
  uint16_t number;
  std::string_view name, title, page;
};
const CodeInfo* find_code(uint16_t number);
const std::vector<CodeInfo>& all_codes();

/// error: the program is wrong. unsupported: the program is right, this nnlc can't do it yet. data: a file from
/// outside is missing or wrong. internal: a bug of the compiler.
enum class Severity : uint8_t { error, unsupported, data, internal, warning, note };

struct Label {
  Span span;
  std::string text;
};
/// A change that would mend the program: replace `span` by `replacement`.
struct Fix {
  Span span;
  std::string replacement;
};

struct Diagnostic {
  Severity severity = Severity::error;
  Code code;
  std::string message;        ///< what is wrong: lower case, no final stop
  Span span;                  ///< carets
  std::string label;          ///< text at the carets, may be empty
  std::vector<Label> labels;  ///< the other places: evidence
  std::vector<std::string> notes, helps;
  std::vector<Fix> fixes;
};

/// Builds a diagnostic in one expression: `diags.error(Code::X, span, "…").label(other, "is …").help("…")`.
/// It is added when the builder goes out of scope.
class DiagnosticBuilder;

class Diagnostics {
 public:
  void add(Diagnostic d);  ///< drops an exact repetition (same code, span and message)
  DiagnosticBuilder error(Code code, Span span, std::string message);
  DiagnosticBuilder unsupported(Code code, Span span, std::string message);
  DiagnosticBuilder data(Code code, Span span, std::string message);
  DiagnosticBuilder warning(Code code, Span span, std::string message);
  DiagnosticBuilder note(Code code, Span span, std::string message);

  const std::vector<Diagnostic>& all() const { return all_; }
  size_t error_count() const;  ///< everything but warnings and notes
  bool has_errors() const { return error_count() != 0; }
  /// The exit status these ask for: 0, 1 (program), 3 (data) or 4 (internal); the most serious wins, 1 before 3.
  int exit_status() const;
  void sort_by_place();
  /// Drops everything added after the first `size` (for trying something and taking it back).
  void truncate(size_t size);
  /// Takes back the errors of one code.
  void drop(Code code) {
    std::erase_if(all_, [&](const Diagnostic& d) { return d.code == code; });
  }
  /// Labels in files of the library become notes: a user's two places are his own.
  void leave_library(const SourceManager& sources);

 private:
  std::vector<Diagnostic> all_;
};

class DiagnosticBuilder {
 public:
  DiagnosticBuilder(Diagnostics& sink, Diagnostic d) : sink_(&sink), d_(std::move(d)) {}
  DiagnosticBuilder(DiagnosticBuilder&& o) noexcept : sink_(o.sink_), d_(std::move(o.d_)) { o.sink_ = nullptr; }
  ~DiagnosticBuilder() {
    if (sink_) sink_->add(std::move(d_));
  }
  Span span() const { return d_.span; }
  DiagnosticBuilder& at(std::string text) {
    d_.label = std::move(text);
    return *this;
  }
  DiagnosticBuilder& label(Span s, std::string text) {
    if (s.valid()) d_.labels.push_back({s, std::move(text)});
    return *this;
  }
  DiagnosticBuilder& note(std::string text) {
    d_.notes.push_back(std::move(text));
    return *this;
  }
  DiagnosticBuilder& help(std::string text) {
    d_.helps.push_back(std::move(text));
    return *this;
  }
  DiagnosticBuilder& fix(Span s, std::string replacement) {
    d_.fixes.push_back({s, std::move(replacement)});
    return *this;
  }

 private:
  Diagnostics* sink_;
  Diagnostic d_;
};

/// In the form of rustc: headline, place, source lines with carets and labels, notes and helps.
std::string render_text(const Diagnostic& d, const SourceManager& sources, bool color);
/// One JSON object on one line: code, severity, message, file, line, column, spans, labels, notes, helps, fixes.
std::string render_json(const Diagnostic& d, const SourceManager& sources);

/// The candidate nearest to `word` by edit distance, if it is near enough to be meant.
std::optional<std::string> nearest(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace nnlc
