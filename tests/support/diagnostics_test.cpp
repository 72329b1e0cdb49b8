// What a reader of a diagnostic sees, and which name is offered for a mistyped one.
#include <doctest/doctest.h>

#include <set>

#include "compiler/support/diagnostics.h"

using namespace nnlc;

namespace {
constexpr Code kCode = static_cast<Code>(203);

Span find(const SourceManager& sources, uint32_t file, std::string_view text, size_t from = 0) {
  const size_t at = sources.file(file).text.find(text, from);
  REQUIRE(at != std::string::npos);
  return {file, static_cast<uint32_t>(at), static_cast<uint32_t>(at + text.size())};
}
}  // namespace

TEST_CASE("text: two places on one line, one on another") {
  SourceManager sources;
  const uint32_t file = sources.add("mnist.nnl",
                                    "layer C() {\n\n\n  output       = Linear(hidden, classes)\n\n\n\n\n"
                                    "    x |> view(N, -1) |> output\n}\n");
  Diagnostic d;
  d.code = kCode;
  d.message = "`output` takes [.., 392], but its input is [N, 784]";
  d.span = find(sources, file, "output", 60);
  d.labels = {{find(sources, file, "Linear(hidden, classes)"), "392 comes from `hidden` here"},
              {find(sources, file, "view(N, -1)"), "gives [N, 784]"}};
  d.helps = {"`hidden_layer` takes [.., 784] and gives [.., 392]: was it meant to come first?"};
  CHECK(render_text(d, sources, false) ==
        "error[N0203]: `output` takes [.., 392], but its input is [N, 784]\n"
        "  --> mnist.nnl:9:25\n"
        "   |\n"
        " 4 |   output       = Linear(hidden, classes)\n"
        "   |                  ----------------------- 392 comes from `hidden` here\n"
        " 9 |     x |> view(N, -1) |> output\n"
        "   |          -----------    ^^^^^^\n"
        "   |          gives [N, 784]\n"
        "   = help: `hidden_layer` takes [.., 784] and gives [.., 392]: was it meant to come first?\n");
}

TEST_CASE("text: both labels on one line, wide characters, tabs, end of file") {
  SourceManager sources;
  const uint32_t file = sources.add("a.nnl", "\xEF\xBB\xBFlet \xE5\xB1\x82 = a @ b\n\tx");
  Diagnostic d;
  d.code = kCode;
  d.severity = Severity::warning;
  d.message = "m";
  d.span = find(sources, file, "b");
  d.label = "is f32[2]";
  d.labels = {{find(sources, file, "a"), "is f32[3]"}};
  CHECK(render_text(d, sources, false) ==
        "warning[N0203]: m\n  --> a.nnl:1:13\n   |\n 1 | let \xE5\xB1\x82 = a @ b\n"
        "   |          -   ^ is f32[2]\n   |          is f32[3]\n");
  d.labels.clear();
  d.span = {file, static_cast<uint32_t>(sources.file(file).text.size()),
            static_cast<uint32_t>(sources.file(file).text.size())};
  CHECK(render_text(d, sources, false) ==
        "warning[N0203]: m\n  --> a.nnl:2:3\n   |\n 2 |     x\n   |      ^ is f32[2]\n");
  d.span = {};
  CHECK(render_text(d, sources, false) == "warning[N0203]: m\n");
}

TEST_CASE("text: a second file has its own place") {
  SourceManager sources;
  const uint32_t a = sources.add("a.nnl", "let x = 1\n"), b = sources.add("b.nnl", "let x = 2\n");
  Diagnostic d;
  d.code = kCode;
  d.message = "m";
  d.span = find(sources, a, "x");
  d.labels = {{find(sources, b, "x"), "first here"}};
  CHECK(render_text(d, sources, false) ==
        "error[N0203]: m\n  --> a.nnl:1:5\n   |\n 1 | let x = 1\n   |     ^\n"
        "  ::: b.nnl:1:5\n   |\n 1 | let x = 2\n   |     - first here\n");
  CHECK(render_text(d, sources, true).find("\x1b[") != std::string::npos);
}

TEST_CASE("json: one line, also for bytes that aren't UTF-8") {
  SourceManager sources;
  const uint32_t file = sources.add("a.nnl", "x\ny z\n");
  Diagnostic d;
  d.code = static_cast<Code>(7);
  d.message = "bad \xFF";
  d.span = find(sources, file, "z");
  d.fixes = {{d.span, "w"}};
  const std::string j = render_json(d, sources);
  CHECK(j.find('\n') == std::string::npos);
  CHECK(
      j.starts_with("{\"code\":\"N0007\",\"severity\":\"error\",\"message\":\"bad "
                    "\xEF\xBF\xBD\",\"file\":\"a.nnl\",\"line\":2,\"column\":3,"));
  CHECK(j.find("\"replacement\":\"w\"") != std::string::npos);
}

TEST_CASE("exit status and repetitions") {
  Diagnostics diags;
  CHECK(diags.exit_status() == 0);
  diags.warning(kCode, {1, 0, 1}, "w");
  CHECK(diags.exit_status() == 0);
  diags.data(kCode, {1, 0, 1}, "d");
  CHECK(diags.exit_status() == 3);
  diags.error(kCode, {1, 5, 6}, "e").at("here").help("do that");
  diags.error(kCode, {1, 5, 6}, "e");
  CHECK(diags.all().size() == 3);
  CHECK(diags.exit_status() == 1);
  CHECK(diags.error_count() == 2);
  diags.truncate(1);
  CHECK(!diags.has_errors());
}

TEST_CASE("nearest") {
  const std::vector<std::string> names = {"Linear", "Dropout", "relu", "gelu", "softmax", "hidden_layer", "lr", "x"};
  CHECK(nearest("Lienar", names) == "Linear");
  CHECK(nearest("linear", names) == "Linear");
  CHECK(nearest("droput", names) == "Dropout");
  CHECK(nearest("hiddenLayer", names) == "hidden_layer");
  CHECK(nearest("relo", names) == "relu");
  CHECK(nearest("LR", names) == "lr");
  CHECK(!nearest("y", names));
  CHECK(!nearest("attention", names));
  CHECK(!nearest("", names));
}

TEST_CASE("codes have distinct numbers and a page each") {
  std::set<uint16_t> numbers;
  for (const CodeInfo& c : all_codes()) {
    CHECK_MESSAGE(numbers.insert(c.number).second, c.name);
    CHECK_MESSAGE(!c.title.empty(), c.name);
    CHECK_MESSAGE(c.page.size() > 20, c.name);
    CHECK(find_code(c.number)->name == c.name);
  }
}
