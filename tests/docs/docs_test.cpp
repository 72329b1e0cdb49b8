// Runs every ```nnl block of the documents: it must run; where it is marked `error N0203`, `nnlc check` must refuse it
// with that code; where an ```output block follows, it must print exactly that. A block marked `data` reads real data
// sets: it is run where NNL_DATA is set, and only checked for syntax elsewhere.
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace fs = std::filesystem;

namespace {

struct Example {
  std::string file;
  int line = 0;
  std::string info, code, output;
  bool has_output = false;
};

std::string read_file(const fs::path& path) {
  std::ifstream in(path);
  std::stringstream s;
  s << in.rdbuf();
  return s.str();
}

std::vector<Example> examples_of(const fs::path& path) {
  std::vector<Example> found;
  std::istringstream in(read_file(path));
  std::string line, kind;
  int number = 0;
  bool follows = false;
  while (std::getline(in, line)) {
    ++number;
    if (line.rfind("```", 0) == 0) {
      if (!kind.empty()) {
        follows = kind.rfind("nnl", 0) == 0;
        kind.clear();
        continue;
      }
      kind = line.substr(3);
      if (kind.empty()) kind = "text";
      if (kind.rfind("nnl", 0) == 0)
        found.push_back({path.filename().string(), number, kind.substr(3), "", "", false});
      else if (kind == "output" && follows)
        found.back().has_output = true;
      else if (kind == "output")
        kind = "text";
    } else if (kind.rfind("nnl", 0) == 0) {
      found.back().code += line + "\n";
    } else if (kind == "output") {
      found.back().output += line + "\n";
    } else if (!line.empty()) {
      follows = false;
    }
  }
  return found;
}

struct Finished {
  int status = -1;
  std::string out, err;
};

Finished nnlc(const fs::path& folder, const std::string& arguments) {
  Finished f;
  const std::string command =
      fmt::format("cd '{}' && '{}' {} >stdout 2>stderr", folder.string(), NNLC_EXECUTABLE, arguments);
  const int status = std::system(command.c_str());
  f.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  f.out = read_file(folder / "stdout");
  f.err = read_file(folder / "stderr");
  return f;
}

/// How many blocks there were.
size_t run_examples(const fs::path& document) {
  const fs::path folder = fs::temp_directory_path() / fmt::format("nnlc-docs-{}", getpid());
  fs::create_directories(folder);
  const auto examples = examples_of(document);
  REQUIRE(!examples.empty());
  for (const Example& e : examples) {
    INFO(e.file, ":", e.line, "\n", e.code);
    std::ofstream(folder / "block.nnl") << e.code;
    if (const size_t at = e.info.find("error "); at != std::string::npos) {
      const Finished f = nnlc(folder, "check block.nnl");
      CHECK_MESSAGE(f.status == 1, f.err);
      CHECK_MESSAGE(f.err.find("error[" + e.info.substr(at + 6) + "]") != std::string::npos, f.err);
      continue;
    }
    if (e.info.find("data") != std::string::npos && !std::getenv("NNL_DATA")) {
      MESSAGE("skipped: ", e.file, ":", e.line, " reads data, and NNL_DATA is not set");
      continue;
    }
    const Finished f = nnlc(folder, "run block.nnl");
    CHECK_MESSAGE(f.status == 0, f.err);
    if (e.has_output) CHECK(f.out == e.output);
  }
  fs::remove_all(folder);
  return examples.size();
}

}  // namespace

TEST_CASE("the language by example") { CHECK(run_examples(fs::path(REPOSITORY) / "docs" / "language.md") > 10); }
TEST_CASE("the reference of the language") { CHECK(run_examples(fs::path(REPOSITORY) / "docs" / "reference.md") > 10); }
