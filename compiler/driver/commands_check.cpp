// nnlc check and nnlc fmt: what is done to the text of programs without running them.
#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <iostream>

#include "compiler/driver/session.h"
#include "compiler/syntax/parser.h"

namespace nnlc::driver {

namespace {

bool has_tests(const SourceManager& sources, uint32_t file) {
  Diagnostics ignored;
  auto ast = syntax::parse(sources, file, ignored);
  for (const auto& stmt : ast->stmts)
    if (stmt->kind == ast::Stmt::Kind::test) return true;
  return false;
}

/// Replaces a file in one step, so that a full disk can't leave half of it.
bool write_file(const std::string& path, const std::string& text) {
  namespace fs = std::filesystem;
  const std::string temporary = path + ".nnlc-tmp";
  std::error_code error;
  {
    std::ofstream out(temporary, std::ios::binary | std::ios::trunc);
    if (!out.write(text.data(), static_cast<std::streamsize>(text.size())) || !out.flush()) {
      fs::remove(temporary, error);
      return false;
    }
  }
  fs::permissions(temporary, fs::status(path, error).permissions(), error);
  // Through a link, what it points at is replaced.
  fs::rename(temporary, fs::canonical(path, error), error);
  if (!error) return true;
  fs::remove(temporary, error);
  return false;
}

}  // namespace

int check_command(const Options& options) {
  int status = kDone;
  std::set<std::string> printed;
  for (const std::string& path : options.files) {
    Session session(options);
    session.printed = &printed;
    if (auto wrong = session.prepare(path)) {
      status = std::max(status, *wrong);
      continue;
    }
    session.compile();
    const bool tests = has_tests(session.sources, session.file);
    int s = session.finish();
    if ((s == kDone || s == kWrongProgram) && tests) {
      // The `test` blocks are a program of their own; what is wrong above them is printed once.
      Session again(options);
      again.printed = &printed;
      if (auto wrong = again.prepare(path)) {
        s = *wrong;
      } else {
        again.compile(/*tests=*/true);
        s = again.finish();
      }
    }
    status = std::max(status, s);
  }
  return status;
}

int fmt_command(const Options& options) {
  int status = kDone;
  for (const std::string& path : options.files) {
    Session session(options);
    if (!session.load(path)) {
      status = std::max<int>(status, kBadUsage);
      continue;
    }
    syntax::parse(session.sources, session.file, session.diags);
    if (session.diags.has_errors()) {
      status = std::max(status, session.finish());
      continue;
    }
    const std::string formatted = syntax::format(session.sources, session.file);
    // Against the bytes of the file: a BOM or CR LF is a difference too.
    std::ifstream in(path, std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
    if (formatted == bytes) continue;
    if (options.check) {
      std::cout << path << '\n';
      status = std::max<int>(status, kWrongProgram);
    } else if (!write_file(path, formatted)) {
      std::cerr << fmt::format("nnlc: can't write {}\n", path);
      status = std::max<int>(status, kFailed);
    }
  }
  return status;
}

}  // namespace nnlc::driver
