// Where libcuda and libnvrtc are looked for.
#include "compiler/codegen/cuda/libraries.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <functional>

namespace nnlc::codegen::cuda {

namespace {

namespace fs = std::filesystem;

std::string environment(const char* name) {
  const char* v = std::getenv(name);
  return v ? v : "";
}

/// Folders below `folder` whose names begin so, the last one first.
std::vector<fs::path> children(const fs::path& folder, const std::string& prefix) {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error))
    if (it->path().filename().string().rfind(prefix, 0) == 0) found.push_back(it->path());
  std::sort(found.begin(), found.end(), std::greater<>());
  return found;
}

/// Folders that hold CUDA's libraries, in the order in which they are tried after the loader's own search.
std::vector<fs::path> library_folders() {
  std::vector<fs::path> folders;
  auto toolkit = [&](const fs::path& root) {
    for (const char* sub : {"lib64", "lib", "targets/x86_64-linux/lib"}) folders.push_back(root / sub);
  };
  for (const char* name : {"CUDA_HOME", "CUDA_PATH"})
    if (std::string v = environment(name); !v.empty()) toolkit(v);
  if (std::string v = environment("CONDA_PREFIX"); !v.empty()) folders.push_back(fs::path(v) / "lib");
  std::vector<fs::path> prefixes;  // pip's wheels: nvidia/cu13/lib, nvidia/cuda_nvrtc/lib
  if (std::string v = environment("VIRTUAL_ENV"); !v.empty()) prefixes.push_back(v);
  if (std::string v = environment("HOME"); !v.empty()) prefixes.push_back(fs::path(v) / ".local");
  prefixes.push_back("/usr/local");
  for (const fs::path& prefix : prefixes)
    for (const fs::path& python : children(prefix / "lib", "python3"))
      for (const char* packages : {"site-packages", "dist-packages"})
        for (const fs::path& wheel : children(python / packages / "nvidia", "cu")) folders.push_back(wheel / "lib");
  for (const fs::path& root : children("/usr/local", "cuda")) toolkit(root);
  for (const char* folder : {"/opt/cuda/lib64", "/usr/lib/x86_64-linux-gnu", "/usr/lib/wsl/lib"})
    folders.push_back(folder);
  return folders;
}

/// override_name: an environment variable with a file or a folder; nothing else is tried where it is set.
void* open_library(const char* override_name, const std::vector<std::string>& names, Search& search) {
  auto attempt = [&](const std::string& path) {
    void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle) search.path = path;
    return handle;
  };
  if (std::string given = environment(override_name); !given.empty()) {
    std::error_code error;
    std::vector<std::string> paths{given};
    if (fs::is_directory(given, error)) {
      paths.clear();
      for (auto& n : names) paths.push_back((fs::path(given) / n).string());
    }
    for (auto& p : paths) {
      search.tried.push_back(p);
      if (void* handle = attempt(p)) return handle;
    }
    // The loader's text begins with the path.
    std::string text = dlerror();
    if (text.starts_with(paths.back() + ": ")) text.erase(0, paths.back().size() + 2);
    search.why = fmt::format("{}={} can't be opened: {}", override_name, given, text);
    return nullptr;
  }
  for (auto& n : names) {
    search.tried.push_back(n + " (the loader's path)");
    if (void* handle = attempt(n)) return handle;
  }
  for (const fs::path& folder : library_folders()) {
    if (std::find(search.tried.begin(), search.tried.end(), folder.string()) != search.tried.end()) continue;
    search.tried.push_back(folder.string());
    for (auto& n : names) {
      std::error_code error;
      if (fs::exists(folder / n, error))
        if (void* handle = attempt((folder / n).string())) return handle;
    }
  }
  search.why = fmt::format("there is no {}", names.front());
  return nullptr;
}

/// The function's address, with the library's own path where it was found under a bare name.
std::string path_of(void* function, const std::string& fallback) {
  Dl_info info;
  return dladdr(function, &info) && info.dli_fname ? info.dli_fname : fallback;
}

}  // namespace

#define NNLC_LOAD(name, ...)                                                     \
  name = reinterpret_cast<decltype(name)>(dlsym(handle, #name));                 \
  if (!name) {                                                                   \
    search.why = fmt::format("{} has no {}: it is too old", search.path, #name); \
    return false;                                                                \
  }

bool Nvrtc::open(int wanted_major) {
  std::vector<std::string> names;
  for (int v : {wanted_major, 13, 12})
    if (v > 0) names.push_back(fmt::format("libnvrtc.so.{}", v));
  names.push_back("libnvrtc.so");
  void* handle = open_library("NNLC_NVRTC", names, search);
  if (!handle) return false;
  NNLC_NVRTC_FUNCTIONS(NNLC_LOAD)
  nvrtcVersion(&major, &minor);
  search.path = path_of(reinterpret_cast<void*>(nvrtcVersion), search.path);
  // It opens its builtins by their bare name and has no RPATH: they are loaded from beside it first.
  const std::string builtins = fmt::format("libnvrtc-builtins.so.{}.{}", major, minor);
  dlopen((fs::path(search.path).parent_path() / builtins).c_str(), RTLD_NOW | RTLD_GLOBAL);
  return true;
}

std::string Driver::error_text(int code) const {
  const char* text = nullptr;
  if (cuGetErrorString) cuGetErrorString(code, &text);
  return text ? fmt::format("{} (error {})", text, code) : fmt::format("error {}", code);
}

bool Driver::open() {
  void* handle = open_library("NNLC_LIBCUDA", {"libcuda.so.1"}, search);
  if (!handle) return false;
  installed = true;
  NNLC_DRIVER_FUNCTIONS(NNLC_LOAD)
  search.path = path_of(reinterpret_cast<void*>(cuInit), search.path);
  int code = cuInit(0);
  if (code == 0) code = cuDriverGetVersion(&version);
  if (code == 0) code = cuDeviceGetCount(&devices);
  if (code != 0 || devices == 0) {
    search.why = fmt::format("{}: {}", search.path, code != 0 ? error_text(code) : "no GPU is visible");
    return false;
  }
  return true;
}

namespace {

std::string places(const Search& search) {
  std::string out;
  for (auto& t : search.tried) out += fmt::format("\n  looked in {}", t);
  return out;
}

}  // namespace

std::string missing(const Driver& driver) {
  if (driver.installed)
    return fmt::format(
        "NVIDIA's driver is installed, but gives no GPU ({})\n"
        "  `nvidia-smi` shows the GPUs that it sees; CUDA_VISIBLE_DEVICES hides some, a container all that "
        "it wasn't given",
        driver.search.why);
  return fmt::format(
      "NVIDIA's driver isn't installed ({}){}\n"
      "  it comes with NVIDIA's packages for the GPU (Debian: `apt install nvidia-driver`, of non-free); "
      "where it is somewhere else, NNLC_LIBCUDA names its folder",
      driver.search.why, places(driver.search));
}

std::string missing(const Nvrtc& nvrtc) {
  return fmt::format(
      "NVRTC, CUDA's compiler, isn't installed ({}){}\n"
      "  `pip install nvidia-cuda-nvrtc` (or nvidia-cuda-nvrtc-cu12, for drivers of CUDA 12) is enough; "
      "where it is somewhere else, NNLC_NVRTC names its folder",
      nvrtc.search.why, places(nvrtc.search));
}

}  // namespace nnlc::codegen::cuda
