// The list of diagnostics, the table of codes, and the search for a name that was meant.
#include "compiler/support/diagnostics.h"

#include <algorithm>
#include <tuple>

#include "compiler/support/utf8.h"

namespace nnlc {

const std::vector<CodeInfo>& all_codes() {
  static const std::vector<CodeInfo> codes = [] {
    std::vector<CodeInfo> list = {
#define NNLC_CODE(number, name, title, page) {number, #name, title, page},
#include "compiler/support/codes.def"
#undef NNLC_CODE
    };
    std::stable_sort(list.begin(), list.end(),
                     [](const CodeInfo& a, const CodeInfo& b) { return a.number < b.number; });
    return list;
  }();
  return codes;
}

const CodeInfo* find_code(uint16_t number) {
  const auto& codes = all_codes();
  const auto it =
      std::lower_bound(codes.begin(), codes.end(), number, [](const CodeInfo& c, uint16_t n) { return c.number < n; });
  return it != codes.end() && it->number == number ? &*it : nullptr;
}

void Diagnostics::add(Diagnostic d) {
  for (const Diagnostic& o : all_)
    if (o.code == d.code && o.span == d.span && o.message == d.message) return;
  all_.push_back(std::move(d));
}

static DiagnosticBuilder make(Diagnostics& sink, Severity severity, Code code, Span span, std::string message) {
  Diagnostic d;
  d.severity = severity;
  d.code = code;
  d.span = span;
  d.message = std::move(message);
  return DiagnosticBuilder(sink, std::move(d));
}

DiagnosticBuilder Diagnostics::error(Code code, Span span, std::string message) {
  return make(*this, Severity::error, code, span, std::move(message));
}
DiagnosticBuilder Diagnostics::unsupported(Code code, Span span, std::string message) {
  return make(*this, Severity::unsupported, code, span, std::move(message));
}
DiagnosticBuilder Diagnostics::data(Code code, Span span, std::string message) {
  return make(*this, Severity::data, code, span, std::move(message));
}
DiagnosticBuilder Diagnostics::warning(Code code, Span span, std::string message) {
  return make(*this, Severity::warning, code, span, std::move(message));
}
DiagnosticBuilder Diagnostics::note(Code code, Span span, std::string message) {
  return make(*this, Severity::note, code, span, std::move(message));
}

size_t Diagnostics::error_count() const {
  return static_cast<size_t>(std::count_if(all_.begin(), all_.end(), [](const Diagnostic& d) {
    return d.severity != Severity::warning && d.severity != Severity::note;
  }));
}

int Diagnostics::exit_status() const {
  bool program = false, data = false;
  for (const Diagnostic& d : all_) {
    if (d.severity == Severity::internal) return 4;
    program |= d.severity == Severity::error || d.severity == Severity::unsupported;
    data |= d.severity == Severity::data;
  }
  return program ? 1 : data ? 3 : 0;
}

void Diagnostics::sort_by_place() {
  std::stable_sort(all_.begin(), all_.end(), [](const Diagnostic& a, const Diagnostic& b) {
    return std::tie(a.span.file, a.span.begin) < std::tie(b.span.file, b.span.begin);
  });
}

void Diagnostics::truncate(size_t size) {
  if (size < all_.size()) all_.erase(all_.begin() + static_cast<std::ptrdiff_t>(size), all_.end());
}

void Diagnostics::leave_library(const SourceManager& sources) {
  auto in_library = [&](const Span& s) { return s.valid() && sources.file(s.file).is_library; };
  for (Diagnostic& d : all_) {
    if (in_library(d.span)) continue;  // the library itself is wrong
    for (const Label& l : d.labels)
      if (in_library(l.span)) {
        const std::string source = "`" + std::string(sources.text(l.span)) + "`";
        if (l.text == "the rule")
          d.notes.push_back("the rule: " + source);
        else if (l.text.rfind("is ", 0) == 0 || l.text.rfind("gives ", 0) == 0)
          d.notes.push_back(source + " " + l.text);
      }
    std::erase_if(d.labels, [&](const Label& l) { return in_library(l.span); });
  }
}

namespace {

char32_t fold_case(char32_t c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; }

// Optimal string alignment: insertions, deletions, substitutions and swaps of neighbours cost 1 each. A change of case
// or an underscore more or less costs nothing but breaks ties (counted in hundredths).
size_t distance(const std::u32string& a, const std::u32string& b) {
  const size_t n = a.size(), m = b.size();
  constexpr size_t kOne = 100;
  std::vector<std::vector<size_t>> d(n + 1, std::vector<size_t>(m + 1));
  auto gap = [](char32_t c) { return c == '_' ? size_t{2} : kOne; };
  for (size_t i = 1; i <= n; ++i) d[i][0] = d[i - 1][0] + gap(a[i - 1]);
  for (size_t j = 1; j <= m; ++j) d[0][j] = d[0][j - 1] + gap(b[j - 1]);
  for (size_t i = 1; i <= n; ++i)
    for (size_t j = 1; j <= m; ++j) {
      const size_t change = a[i - 1] == b[j - 1] ? 0 : fold_case(a[i - 1]) == fold_case(b[j - 1]) ? 1 : kOne;
      size_t best = std::min({d[i - 1][j] + gap(a[i - 1]), d[i][j - 1] + gap(b[j - 1]), d[i - 1][j - 1] + change});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) best = std::min(best, d[i - 2][j - 2] + kOne);
      d[i][j] = best;
    }
  return d[n][m];
}

}  // namespace

std::optional<std::string> nearest(std::string_view word, const std::vector<std::string>& candidates) {
  const std::u32string w = decode_utf8(word);
  if (w.size() > 100) return std::nullopt;
  // One slip in a short word, two in a longer one; in a word of two letters any change makes another word.
  const size_t allowed = w.size() < 3 ? 0 : w.size() < 6 ? 1 : w.size() < 12 ? 2 : 3;
  const std::string* best = nullptr;
  size_t best_distance = allowed * 100 + 99;
  for (const std::string& c : candidates) {
    if (c == word || c.size() > 400) continue;
    size_t d = distance(w, decode_utf8(c));
    if (word.size() >= 4 && c.size() <= word.size() + 3 && c.starts_with(word)) d = std::min<size_t>(d, 50);
    if (d < best_distance) {
      best_distance = d;
      best = &c;
    }
  }
  return best ? std::optional(*best) : std::nullopt;
}

}  // namespace nnlc
