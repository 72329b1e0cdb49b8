// MNIST and Fashion-MNIST by name: the given folder; else $NNL_DATA, the user's cache, a download.
// A download goes to the cache only after its SHA-256 was found right. It is done by the program `curl`, which
// knows the user's proxies and certificates; NNL_MIRROR names another place to get the files from.
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <future>

#include "runtime/data/file.h"
#include "runtime/data/idx.h"
#include "runtime/data/unpacked.h"

extern char** environ;

namespace nnl::data {

namespace {
namespace fs = std::filesystem;

struct NamedFile {
  const char* name;    // without .gz
  const char* sha256;  // of the .gz
};
struct NamedSet {
  const char* name;
  const char* folders[2];  // under $NNL_DATA
  const char* url;
  NamedFile files[4];  // train images, train labels, test images, test labels
};
constexpr NamedSet kMnist{
    "mnist",
    {"mnist", "MNIST"},
    "https://ossci-datasets.s3.amazonaws.com/mnist",
    {{"train-images-idx3-ubyte", "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"},
     {"train-labels-idx1-ubyte", "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"},
     {"t10k-images-idx3-ubyte", "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"},
     {"t10k-labels-idx1-ubyte", "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"}}};
constexpr NamedSet kFashion{
    "fashion_mnist",
    {"fashion_mnist", "fashion-mnist"},
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
    {{"train-images-idx3-ubyte", "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"},
     {"train-labels-idx1-ubyte", "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"},
     {"t10k-images-idx3-ubyte", "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"},
     {"t10k-labels-idx1-ubyte", "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"}}};

std::string env(const char* name) {
  const char* v = std::getenv(name);
  return v ? v : "";
}

/// The four files in a folder, gzipped or not; empty and `missing` where one is not there.
std::vector<std::string> files_in(const NamedSet& set, const std::string& dir, std::string& missing) {
  std::vector<std::string> found;
  for (const NamedFile& f : set.files) {
    std::string dotted = f.name;  // some copies are called train-images.idx3-ubyte
    dotted[dotted.rfind("-idx")] = '.';
    bool ok = false;
    for (const std::string& name : {std::string(f.name) + ".gz", std::string(f.name), dotted, dotted + ".gz"})
      if (!ok && file_exists(dir + "/" + name)) found.push_back(dir + "/" + name), ok = true;
    if (!ok) {
      missing = std::string(f.name) + ".gz";
      return {};
    }
  }
  return found;
}

Result<TrainTest> load(const NamedSet& set, const std::vector<std::string>& paths) {
  // The training images are nearly all of the work; the rest is read beside them.
  auto rest = std::async(std::launch::async, [&] {
    std::vector<Result<IdxArray>> r;
    for (size_t i = 1; i < 4; ++i) r.push_back(read_idx_once(paths[i]));
    return r;
  });
  auto images = read_idx_once(paths[0]);
  auto others = rest.get();
  if (!images) return images.error();
  for (auto& r : others)
    if (!r) return r.error();
  auto train = join_idx(std::string(set.name) + ".train", paths[0], std::move(*images), paths[1], *others[0], 10);
  if (!train) return train.error();
  auto test = join_idx(std::string(set.name) + ".test", paths[2], std::move(*others[1]), paths[3], *others[2], 10);
  if (!test) return test.error();
  if ((*train)->fields()[0].shape != (*test)->fields()[0].shape)
    return Error{paths[2] + ": the test images have another size than the training images", ""};
  return TrainTest{*train, *test};
}

/// Runs curl without a shell; empty when the file arrived, else why not.
std::string curl(const std::string& url, const std::string& to) {
  const std::string log = to + ".log";
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 2, log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  std::vector<std::string> words{
      "curl", "--fail",   "--location", "--silent", "--show-error", "--connect-timeout", "10", "--max-time",
      "600",  "--output", to,           url};
  std::vector<char*> argv;
  for (std::string& w : words) argv.push_back(w.data());
  argv.push_back(nullptr);
  pid_t pid = 0;
  const int rc = posix_spawnp(&pid, "curl", &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (rc != 0) return "the program `curl` is not installed";
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  std::string why;
  if (auto text = read_all(log)) why = *text;
  std::error_code ec;
  fs::remove(log, ec);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return "";
  if (WIFEXITED(status) && WEXITSTATUS(status) == 127 && why.empty()) return "the program `curl` is not installed";
  while (!why.empty() && (why.back() == '\n' || why.back() == '\r')) why.pop_back();
  if (const size_t nl = why.rfind('\n'); nl != std::string::npos) why = why.substr(nl + 1);
  return why.empty() ? "curl failed" : why;
}

std::string download(const NamedSet& set, const std::string& cache) {
  std::error_code ec;
  fs::create_directories(cache, ec);
  if (ec) return "can't make " + cache + ": " + ec.message();
  const std::string mirror = env("NNL_MIRROR");
  const std::string base = mirror.empty() ? set.url : mirror + "/" + set.name;
  for (const NamedFile& f : set.files) {
    const std::string to = cache + "/" + f.name + ".gz", part = to + "." + std::to_string(getpid()) + ".part";
    if (file_exists(to) && sha256_of_file(to) == f.sha256) continue;
    const std::string url = base + "/" + f.name + ".gz";
    std::string why = curl(url, part);
    if (why.empty()) {
      if (const std::string sum = sha256_of_file(part); sum != f.sha256)
        why = url + " has the SHA-256 " + sum + ", not " + f.sha256;
      if (why.empty()) fs::rename(part, to, ec);
      if (ec) why = "can't write " + to + ": " + ec.message();
    }
    if (!why.empty()) {
      fs::remove(part, ec);
      return why;
    }
  }
  return "";
}

Result<TrainTest> named(const NamedSet& set, const std::string& dir) {
  std::string missing;
  if (!dir.empty()) {
    if (auto paths = files_in(set, dir, missing); !paths.empty()) return load(set, paths);
    return Error{dir + ": " + missing + " is not there",
                 "the folder must hold the four files of " + std::string(set.name) + ", gzipped or not"};
  }
  std::string tried;
  if (const std::string root = env("NNL_DATA"); !root.empty()) {
    for (const char* folder : set.folders) {
      if (auto paths = files_in(set, root + "/" + folder, missing); !paths.empty()) return load(set, paths);
    }
    tried = root + "/" + set.folders[0] + " ($NNL_DATA): not there, or not all four files";
  } else {
    tried = "$NNL_DATA is not set";
  }
  std::string cache = env("XDG_CACHE_HOME");
  if (cache.empty() && !env("HOME").empty()) cache = env("HOME") + "/.cache";
  if (cache.empty()) {
    tried += "; there is no cache folder ($XDG_CACHE_HOME and $HOME are not set)";
  } else {
    cache += std::string("/nnl/") + set.name;
    if (auto paths = files_in(set, cache, missing); !paths.empty()) return load(set, paths);
    tried += "; " + cache + ": not there, or not all four files";
    const std::string why = download(set, cache);
    if (why.empty()) {
      if (auto paths = files_in(set, cache, missing); !paths.empty()) return load(set, paths);
    }
    tried += "; downloading failed: " + why;
  }
  return Error{std::string(set.name) + ": not found: " + tried,
               std::string("put ") + set.files[0].name + ".gz and the other three files into a folder and name it: " +
                   set.name + "(\"folder\"), or into $NNL_DATA/" + set.folders[0]};
}

}  // namespace

Result<TrainTest> mnist(const std::string& dir) { return named(kMnist, dir); }
Result<TrainTest> fashion_mnist(const std::string& dir) { return named(kFashion, dir); }

}  // namespace nnl::data
