// What parses, with its tree; what doesn't, line by line, with what is said about it; layout and source text of both.
// NNLC_UPDATE=1 writes the expected files anew.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>

#include "compiler/syntax/parser.h"

namespace fs = std::filesystem;
using namespace nnlc;

namespace {

const fs::path kRoot = NNLC_TEST_DIR;

std::string read(const fs::path& p) {
  std::ifstream in(p, std::ios::binary);
  std::stringstream s;
  s << in.rdbuf();
  return s.str();
}
std::vector<fs::path> files(const char* folder, const char* extension) {
  std::vector<fs::path> out;
  for (const auto& e : fs::directory_iterator(kRoot / folder))
    if (e.path().extension() == extension) out.push_back(e.path());
  std::sort(out.begin(), out.end());
  REQUIRE(!out.empty());
  return out;
}
void compare(const fs::path& expected, const std::string& actual) {
  if (std::getenv("NNLC_UPDATE")) std::ofstream(expected, std::ios::binary) << actual;
  CHECK_MESSAGE(read(expected) == actual, expected.string());
}

struct Parsed {
  SourceManager sources;
  uint32_t file;
  Diagnostics diags;
  std::unique_ptr<ast::Program> program;
  explicit Parsed(std::string text, std::string name = "test.nnl")
      : file(sources.add(std::move(name), std::move(text))) {
    program = syntax::parse(sources, file, diags);
    REQUIRE(program);
  }
  std::string errors() const {
    std::string out;
    for (const Diagnostic& d : diags.all()) {
      const LineColumn p = sources.position(d.span.file, d.span.begin);
      std::string code = std::to_string(static_cast<unsigned>(d.code));
      out += std::to_string(p.line) + ":" + std::to_string(p.column) + " N" + std::string(4 - code.size(), '0') + code +
             " " + d.message;
      for (const std::string& h : d.helps) out += " [" + h + "]";
      out += "\n";
    }
    return out;
  }
  std::string dump() const { return syntax::dump(*program, sources); }
  std::string format() const { return syntax::format(sources, file); }
};

// A tree without its places: what the layout may not change.
std::string shape(const std::string& dump) {
  std::istringstream in(dump);
  std::string out, line;
  while (std::getline(in, line)) {
    const size_t colon = line.find(':');
    const size_t from = line.rfind(' ', colon), to = line.find(' ', colon);
    out += line.substr(0, from) + (to == std::string::npos ? "" : line.substr(to)) + "\n";
  }
  return out;
}

}  // namespace

TEST_CASE("valid programs and their trees") {
  for (const fs::path& p : files("valid", ".nnl")) {
    Parsed f(read(p), p.filename().string());
    CHECK_MESSAGE(f.errors() == "", p.string());
    compare(fs::path(p).replace_extension(".tree"), f.dump());
  }
}

TEST_CASE("each line of an invalid file is rejected on its own") {
  for (const fs::path& p : files("invalid", ".nnl")) {
    std::istringstream in(read(p));
    std::string line, all;
    while (std::getline(in, line)) {
      Parsed f(line + "\n");
      CHECK_MESSAGE(f.diags.has_errors(), p.filename().string(), ": ", line);
      all += line + "\n";
      std::istringstream errors(f.errors());
      std::string e;
      while (std::getline(errors, e)) all += "  " + e + "\n";
    }
    compare(fs::path(p).replace_extension(".errors"), all);
  }
}

TEST_CASE("several errors in one file, one for each cause") {
  const auto programs = files("several", ".nnl");
  CHECK(!programs.empty());
  for (const fs::path& p : programs) {
    Parsed f(read(p), p.filename().string());
    std::string out;
    for (const Diagnostic& d : f.diags.all()) out += render_text(d, f.sources, false) + "\n";
    compare(fs::path(p).replace_extension(".errors"), out);
  }
}

TEST_CASE("layout: keeps the tree and the comments, and is stable") {
  std::vector<fs::path> all = files("valid", ".nnl");
  for (const fs::path& p : files("layout", ".nnl")) all.push_back(p);
  for (const fs::path& p : all) {
    Parsed before(read(p));
    REQUIRE_MESSAGE(before.errors() == "", p.string());
    const std::string text = before.format();
    Parsed after(text);
    CHECK_MESSAGE(after.errors() == "", p.string());
    CHECK_MESSAGE(shape(before.dump()) == shape(after.dump()), p.string());
    CHECK_MESSAGE(after.format() == text, p.string());
    const std::string source = read(p);
    CHECK(std::count(source.begin(), source.end(), '#') == std::count(text.begin(), text.end(), '#'));
    compare(fs::path(p).replace_extension(".formatted"), text);
  }
}

TEST_CASE("an expression as source reads back as itself") {
  for (const char* text : {"-x ** 2",
                           "(-x) ** 2",
                           "2 ** -x ** 3",
                           "(2 ** 3) ** 4",
                           "a - (b - c)",
                           "a - b - c",
                           "(a + b) * c",
                           "not (a and b) or c",
                           "(a, b)",
                           "(a,)",
                           "[1, 2.0, 1e20, 1e-7]",
                           "x[..., -1, None, 1:2, ::3]",
                           "f(x, k = 3)",
                           "xs.map { r -> r + 1 }",
                           "a |> f |> g(1)",
                           "(a |> f) + 1",
                           "{a: 1, \"b c\": 2}",
                           "\"a\\n{{ {x + 1:.2f} \\\"\"",
                           "if a { 1 } else { 2 }",
                           "(if a { 1 } else { 2 }) + 3",
                           "0..=n - 1",
                           "(0..n).len",
                           "[i for i, j in xs]",
                           "mean(for b in xs { f(b) })",
                           "grad(x) { f(x) }",
                           "Linear(_, 10)",
                           "a.b.c[0](1)",
                           "(1).abs()",
                           "-1",
                           "(a == b) == c"}) {
    Parsed f(std::string("let v = ") + text + "\n");
    REQUIRE_MESSAGE(f.errors() == "", text);
    CHECK(syntax::to_source(*ast::as<ast::LetStmt>(*f.program->stmts[0]).value) == text);
  }
}

TEST_CASE("columns count code points; bytes that aren't UTF-8 are an error, not a crash") {
  CHECK(Parsed("let \xE5\xB1\xA4 = \xE5\xB1\xA4 + )\n").errors().starts_with("1:13 "));
  Parsed bad("let a = \xFF\xFE\nlet b = 2\n");
  CHECK(bad.errors().starts_with("1:9 N0001 "));
  CHECK(Parsed("\xEF\xBB\xBFlet a = 1\r\nlet b = 2\r\n").errors() == "");
  // One name in two normal forms.
  Parsed nfc("let \xC3\xA9 = 1\nlet e\xCC\x81 = 2\n");
  REQUIRE(nfc.program->stmts.size() == 2);
  CHECK(ast::as<ast::LetStmt>(*nfc.program->stmts[0]).pattern.name.text ==
        ast::as<ast::LetStmt>(*nfc.program->stmts[1]).pattern.name.text);
}

TEST_CASE("deep nesting is an error, not a stack overflow") {
  auto repeat = [](const char* s, size_t n) {
    std::string out;
    for (size_t i = 0; i < n; ++i) out += s;
    return out;
  };
  const size_t n = 20000;
  for (const std::string& text : {"let a = " + repeat("(", n),
                                  "let a = " + repeat("(", n) + "1" + repeat(")", n),
                                  "let a = " + repeat("[", n),
                                  "let a = " + repeat("- ", n) + "1",
                                  "let a = " + repeat("not ", n) + "b",
                                  "let a = b" + repeat(" + b", n),
                                  "let a = b" + repeat(" ** b", n),
                                  "let a = b" + repeat(".c", n),
                                  "let a = b" + repeat("(1)", n),
                                  "let a = b" + repeat("[0]", n),
                                  "let a = b" + repeat(" |> c", n),
                                  repeat("if a { ", n),
                                  "if a { b() }" + repeat(" else if a { b() }", n),
                                  repeat("for a in b {\n", n),
                                  "let " + repeat("(", n) + "a",
                                  "let a: " + repeat("{a: ", n),
                                  repeat("layer A() { if b {", n),
                                  repeat("xs.map { a -> ", n),
                                  "let s = \"{" + repeat("(", n) + "}\"",
                                  repeat("}", n),
                                  repeat("{a:", n)}) {
    Parsed f(text + "\n");
    CHECK_MESSAGE(f.diags.has_errors(), text.substr(0, 40));
    CHECK(f.diags.all().size() < 60);
    f.format();
  }
}

TEST_CASE("damaged programs never crash, and each error has a place in the file") {
  std::mt19937 random(1);
  for (const fs::path& p : files("valid", ".nnl")) {
    const std::string original = read(p);
    for (int round = 0; round < 60; ++round) {
      std::string text = original;
      for (int k = 0; k < 1 + round % 4; ++k) {
        const size_t at = random() % text.size();
        switch (random() % 5) {
          case 0:
            text.erase(at, 1 + random() % 8);
            break;
          case 1:
            text.insert(at, 1, "(){}[]\"'#:=,.|>-+\n;\\_e0\xC3"[random() % 24]);
            break;
          case 2:
            text[at] = static_cast<char>(random() % 256);
            break;
          case 3:
            text.insert(at, text.substr(random() % text.size(), random() % 30));
            break;
          case 4:
            text.resize(at + 1);
            break;
        }
      }
      Parsed f(text);
      f.dump();
      for (const Diagnostic& d : f.diags.all()) {
        CHECK(d.span.begin <= d.span.end);
        CHECK(d.span.end <= f.sources.file(f.file).text.size());
        render_text(d, f.sources, false);
        render_json(d, f.sources);
      }
      if (!f.diags.has_errors()) {
        const std::string formatted = f.format();
        Parsed after(formatted);
        CHECK_MESSAGE(after.errors() == "", text);
        CHECK_MESSAGE(shape(after.dump()) == shape(f.dump()), text);
        CHECK_MESSAGE(after.format() == formatted, text);
      }
    }
  }
}
