// Diagnostics handed out as data, and exceptions that carry them.
#include "compiler/api/internal.h"

namespace nnlc::v0 {

const char* status_name(Status s) {
  constexpr const char* names[] = {
      "ok",         "invalid argument", "program error", "unsupported",   "data error",
      "run failed", "cancelled",        "copy needed",   "out of memory", "internal error"};
  return names[static_cast<int>(s)];
}

Error::Error(Status status, const std::string& message, std::vector<Diagnostic> diagnostics)
    : std::runtime_error(message),
      status_(status),
      diagnostics_(std::make_shared<const std::vector<Diagnostic>>(std::move(diagnostics))) {}
Error::~Error() = default;

void fail(Status status, const std::string& message) { throw Error(status, message); }

Place to_public(Span s, const SourceManager& sources) {
  Place p;
  if (!s.valid()) return p;
  const LineColumn begin = sources.position(s.file, s.begin), end = sources.position(s.file, s.end);
  p.file = sources.file(s.file).path;
  p.line = begin.line;
  p.column = begin.column;
  p.end_line = end.line;
  p.end_column = end.column;
  p.begin = s.begin;
  p.end = s.end;
  return p;
}

std::vector<Diagnostic> to_public(const nnlc::Diagnostics& diags, const SourceManager& sources) {
  std::vector<Diagnostic> out;
  for (const nnlc::Diagnostic& d : diags.all()) {
    Diagnostic p;
    p.severity = static_cast<Severity>(d.severity);
    p.code = fmt::format("N{:04}", static_cast<unsigned>(d.code));
    p.message = d.message;
    p.place = to_public(d.span, sources);
    p.label = d.label;
    for (auto& l : d.labels) p.labels.push_back({to_public(l.span, sources), l.text});
    p.notes = d.notes;
    p.helps = d.helps;
    for (auto& f : d.fixes) p.fixes.push_back({to_public(f.span, sources), f.replacement});
    p.text = render_text(d, sources, false);
    p.json = render_json(d, sources);
    out.push_back(std::move(p));
  }
  return out;
}

namespace {

bool is_error(const Diagnostic& d) { return d.severity != Severity::warning && d.severity != Severity::note; }

Status status_of(const Diagnostic& d, bool running) {
  switch (d.severity) {
    case Severity::error:
      return Status::program_error;
    case Severity::unsupported:
      return Status::unsupported;
    case Severity::internal:
      return Status::internal;
    default:
      break;
  }
  const int code = std::stoi(d.code.substr(1));
  if (code == static_cast<int>(Code::Cancelled)) return Status::cancelled;
  // 600 to 699 are about files.
  return running && (code < 600 || code >= 700) ? Status::run_failed : Status::data_error;
}

}  // namespace

void throw_errors(nnlc::Diagnostics& diags, const SourceManager& sources, bool running) {
  if (!diags.has_errors()) return;
  diags.sort_by_place();
  std::vector<Diagnostic> all = to_public(diags, sources);
  for (const Diagnostic& d : all) {
    if (!is_error(d)) continue;
    std::string message = d.message;
    if (!d.place.file.empty())
      message = fmt::format("{}:{}:{}: {}", d.place.file, d.place.line, d.place.column, message);
    throw Error(status_of(d, running), message, std::move(all));
  }
}

}  // namespace nnlc::v0
