#include "compiler/codegen/cuda/compiler.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <stdexcept>

#include "compiler/codegen/cuda/device.h"

namespace nnlc::codegen::cuda {

Compiler::Compiler(const std::string& cache_dir, int wanted_major) : nvrtc_(std::make_unique<Nvrtc>()) {
  if (!nvrtc_->open(wanted_major)) throw DeviceError(missing(*nvrtc_));
  if (cache_dir != kNoCache) cache_ = std::make_unique<ObjectCache>(cache_dir);
}

void Compiler::check_arch(const std::string& arch) const {
  int n = 0;
  nvrtc_->nvrtcGetNumSupportedArchs(&n);
  std::vector<int> known(static_cast<size_t>(n));
  if (n > 0) nvrtc_->nvrtcGetSupportedArchs(known.data());
  for (int k : known)
    if (arch == fmt::format("sm_{}", k)) return;
  throw DeviceError(
      fmt::format("{} compiles for sm_{}, not for {}", describe(), fmt::join(known, ", sm_"), arch) +
      "\n  GPUs older than that need an older NVRTC, newer ones a newer one; NNLC_NVRTC names its folder");
}

std::string Compiler::describe() const { return fmt::format("NVRTC {}.{}", nvrtc_->major, nvrtc_->minor); }

Compiled Compiler::compile(const std::string& source, const std::string& arch, bool ptx) {
  const std::string target = ptx ? "compute" + arch.substr(2) : arch;
  const std::vector<std::string> options = {"--gpu-architecture=" + target, "--std=c++17", "--ptxas-options=-v"};
  std::string identity = fmt::format("{} {}", describe(), ptx ? "ptx" : "cubin");
  for (auto& o : options) identity += " " + o;
  const std::string key = content_hash(identity + "\n" + source);
  if (cache_)
    if (auto found = cache_->get(key)) return {*found, ""};
  check_arch(arch);
  void* program = nullptr;
  if (nvrtc_->nvrtcCreateProgram(&program, source.c_str(), "step.cu", 0, nullptr, nullptr) != 0)
    throw DeviceError("NVRTC doesn't take the program");
  std::vector<const char*> texts;
  for (auto& o : options) texts.push_back(o.c_str());
  const int failed = nvrtc_->nvrtcCompileProgram(program, static_cast<int>(texts.size()), texts.data());
  Compiled out;
  size_t size = 0;
  nvrtc_->nvrtcGetProgramLogSize(program, &size);
  out.log.resize(size);
  if (size) nvrtc_->nvrtcGetProgramLog(program, out.log.data());
  while (!out.log.empty() && out.log.back() == '\0') out.log.pop_back();
  if (!failed) {
    const int no_size = ptx ? nvrtc_->nvrtcGetPTXSize(program, &size) : nvrtc_->nvrtcGetCUBINSize(program, &size);
    out.code.resize(no_size ? 0 : size);
    if (!no_size) (ptx ? nvrtc_->nvrtcGetPTX : nvrtc_->nvrtcGetCUBIN)(program, out.code.data());
  }
  nvrtc_->nvrtcDestroyProgram(&program);
  if (failed || out.code.empty())
    throw std::logic_error(fmt::format("{} refuses the printed source for {}:\n{}", describe(), arch, out.log));
  if (cache_) cache_->put(key, out.code);
  return out;
}

}  // namespace nnlc::codegen::cuda
