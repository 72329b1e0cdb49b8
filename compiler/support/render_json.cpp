// Diagnostics for tools: one JSON object on one line.
#include <nlohmann/json.hpp>

#include "compiler/support/diagnostics.h"

namespace nnlc {

using Json = nlohmann::ordered_json;

static const char* severity_name(Severity s) {
  switch (s) {
    case Severity::error:
      return "error";
    case Severity::unsupported:
      return "unsupported";
    case Severity::data:
      return "data";
    case Severity::internal:
      return "internal";
    case Severity::warning:
      return "warning";
    case Severity::note:
      return "note";
  }
  return "error";
}

// Lines and columns are 1-based, columns count code points, ends are exclusive; offsets are bytes of the file.
static Json place(Span s, const SourceManager& sources) {
  Json j;
  if (!s.valid()) return j;
  const LineColumn begin = sources.position(s.file, s.begin), end = sources.position(s.file, s.end);
  j["file"] = sources.file(s.file).path;
  j["line"] = begin.line;
  j["column"] = begin.column;
  j["end_line"] = end.line;
  j["end_column"] = end.column;
  j["begin"] = s.begin;
  j["end"] = s.end;
  return j;
}

std::string render_json(const Diagnostic& d, const SourceManager& sources) {
  Json j;
  std::string code = std::to_string(static_cast<unsigned>(d.code));
  j["code"] = "N" + std::string(code.size() < 4 ? 4 - code.size() : 0, '0') + code;
  j["severity"] = severity_name(d.severity);
  j["message"] = d.message;
  if (d.span.valid()) {
    const LineColumn p = sources.position(d.span.file, d.span.begin);
    j["file"] = sources.file(d.span.file).path;
    j["line"] = p.line;
    j["column"] = p.column;
  } else {
    j["file"] = j["line"] = j["column"] = nullptr;
  }
  Json spans = Json::array(), labels = Json::array(), fixes = Json::array();
  if (d.span.valid()) {
    Json primary = place(d.span, sources);
    primary["label"] = d.label;
    spans.push_back(std::move(primary));
  }
  for (const Label& l : d.labels) {
    Json label = place(l.span, sources);
    label["text"] = l.text;
    labels.push_back(std::move(label));
  }
  for (const Fix& f : d.fixes) {
    Json fix = place(f.span, sources);
    fix["replacement"] = f.replacement;
    fixes.push_back(std::move(fix));
  }
  j["spans"] = std::move(spans);
  j["labels"] = std::move(labels);
  j["notes"] = d.notes;
  j["helps"] = d.helps;
  j["fixes"] = std::move(fixes);
  // Text from outside (a path, a cell of a table) need not be UTF-8.
  return j.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace nnlc
