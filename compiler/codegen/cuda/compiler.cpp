#include "compiler/codegen/cuda/compiler.h"

#include <fmt/format.h>

#include "compiler/codegen/cuda/device.h"

namespace nnlc::codegen::cuda {

Compiler::Compiler(const std::string& cache_dir, int wanted_major) : nvrtc_(std::make_unique<Nvrtc>()) {
  if (!nvrtc_->open(wanted_major))
    throw DeviceError(fmt::format("NVRTC, CUDA's compiler, isn't installed: {}", nvrtc_->search.why));
  if (cache_dir != "-") cache_ = std::make_unique<ObjectCache>(cache_dir);
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
    throw DeviceError(fmt::format("{} refuses the printed source for {}:\n{}", describe(), arch, out.log));
  if (cache_) cache_->put(key, out.code);
  return out;
}

}  // namespace nnlc::codegen::cuda
