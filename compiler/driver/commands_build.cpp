// nnlc build: a layer as a C library that stands alone.
#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <iostream>

#include "compiler/ahead/build.h"
#include "compiler/driver/pipeline.h"
#include "compiler/driver/session.h"
#include "compiler/support/read_file.h"

extern char** environ;

namespace nnlc::driver {

namespace {

namespace fs = std::filesystem;

/// What the first line of a header that nnlc wrote holds.
constexpr const char* kMark = "Made by nnlc build";

/// All or nothing: the file is written beside its place and renamed.
bool write_file(const fs::path& path, std::string_view data) {
  const std::string part = path.string() + fmt::format(".{}.part", ::getpid());
  auto fail = [&](int why) {
    std::cerr << fmt::format("nnlc: can't write {}: {}\n", path.string(), std::strerror(why));
    ::unlink(part.c_str());
    return false;
  };
  const int fd = ::open(part.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd < 0) return fail(errno);
  while (!data.empty()) {
    const ssize_t n = ::write(fd, data.data(), data.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      const int why = errno;
      ::close(fd);
      return fail(why);
    }
    data.remove_prefix(static_cast<size_t>(n));
  }
  if (::close(fd) != 0) return fail(errno);
  if (::rename(part.c_str(), path.c_str()) != 0) return fail(errno);
  return true;
}

/// Runs a program from the PATH without a shell. Its exit status; -1: there is no such program.
int run_program(std::vector<std::string> words) {
  std::vector<char*> argv;
  for (std::string& w : words) argv.push_back(w.data());
  argv.push_back(nullptr);
  pid_t pid = 0;
  if (posix_spawnp(&pid, argv[0], nullptr, nullptr, argv.data(), environ) != 0) return -1;
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? (WEXITSTATUS(status) == 127 ? -1 : WEXITSTATUS(status)) : 1;
}

/// Of the files to be written those that are there and weren't made by an earlier `nnlc build` into this folder.
std::vector<std::string> in_the_way(const fs::path& folder, const std::string& header,
                                    const std::vector<std::string>& files) {
  if (auto text = read_file((folder / header).string()); text && text->find(kMark) != std::string::npos) return {};
  std::vector<std::string> out;
  std::error_code ec;
  for (const std::string& f : files)
    if (fs::exists(folder / f, ec)) out.push_back((folder / f).string());
  return out;
}

int write_all(const Options& options, const ahead::Output& built) {
  const fs::path folder = options.build.out;
  const std::string name = built.model.prefix;
  const std::string header = name + ".h", object = name + ".o", archive = "lib" + name + ".a",
                    shared = "lib" + name + ".so", weights = name + ".safetensors";
  std::vector<std::string> files = {header, object, archive, shared};
  if (!built.weights.empty()) files.push_back(weights);
  if (!options.build.force)
    if (auto others = in_the_way(folder, header, files); !others.empty()) {
      std::cerr << fmt::format("nnlc: {} is there already and wasn't made by `nnlc build`\n", fmt::join(others, ", "))
                << "  another folder, `--prefix NAME`, or `--force` to replace it\n";
      return kFailed;
    }
  std::error_code ec;
  fs::create_directories(folder, ec);
  if (!fs::is_directory(folder)) {
    std::cerr << fmt::format("nnlc: can't make the folder {}: {}\n", folder.string(),
                             ec ? ec.message() : "a file is there");
    return kFailed;
  }
  // The header is last: without it nothing claims that the files belong together.
  if (!write_file(folder / object, built.object) || !write_file(folder / archive, built.archive)) return kFailed;
  if (!built.weights.empty() && !write_file(folder / weights, built.weights)) return kFailed;
  const fs::path made = folder / (shared + fmt::format(".{}.part", ::getpid()));
  const char* cc = std::getenv("CC");
  int linked = run_program({cc && *cc ? cc : "cc", "-shared", "-Wl,-z,defs", "-Wl,-soname," + shared, "-o",
                            made.string(), (folder / object).string(), "-lm"});
  if (linked == 0) {
    if (::rename(made.c_str(), (folder / shared).c_str()) != 0) {
      std::cerr << fmt::format("nnlc: can't write {}: {}\n", (folder / shared).string(), std::strerror(errno));
      return kFailed;
    }
  } else {
    ::unlink(made.c_str());
    fs::remove(folder / shared, ec);  // one of an earlier build wouldn't go with the header
    files.erase(files.begin() + 3);
  }
  if (!write_file(folder / header, built.header)) return kFailed;
  for (const std::string& f : files) std::cout << (folder / f).string() << '\n';
  if (linked != 0)
    std::cerr << fmt::format("nnlc: no shared library: {}; {} and {} are whole\n",
                             linked < 0 ? "linking one needs a C compiler (`cc`, or $CC)" : "the C compiler failed",
                             object, archive);
  return linked > 0 ? kFailed : kDone;
}

}  // namespace

int build_command(const Options& options) {
  const Options::Build& o = options.build;
  if (!o.prefix.empty() && o.prefix != ahead::c_identifier(o.prefix)) {
    std::cerr << fmt::format("nnlc: --prefix {}: not a name in C\n", o.prefix);
    return kBadUsage;
  }
  std::string wrong;
  auto target = codegen::cpu::select_target(o.cpu, &wrong);
  if (!target) {
    std::cerr << fmt::format("nnlc: --cpu: {}\n", wrong);
    return kBadUsage;
  }
  Session session(options);
  if (auto status = session.prepare(options.files[0])) return *status;
  sema::LayerExport layer;
  auto program =
      sema::compile_layer(session.sources, session.file, session.compile_options, o.layer, layer, session.diags);
  if (!program) return session.finish();
  auto backend = make_backend(options);
  if (!backend) return kFailed;
  ahead::Request request;
  request.layer = o.layer;
  request.prefix = o.prefix;
  request.batches = o.batches;
  request.train = o.train;
  if (o.line) request.line = o.line;
  request.weights = o.weights;
  request.beside = o.beside;
  const ahead::Machinery with{*backend, [&](graph::Graph& g) { optimize(g, options, &session.sources); },
                              session.compile_options.program_dir, *target};
  auto built = ahead::build(*program, layer, request, with, session.sources, session.diags);
  if (int status = session.finish(); status != kDone || !built) return status;
  return write_all(options, *built);
}

}  // namespace nnlc::driver
