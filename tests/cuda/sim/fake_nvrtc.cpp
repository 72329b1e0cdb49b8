// A libnvrtc over the simulator: "machine code" is a shared library for the CPU, with its length before it. The file
// that NNLC_FAKE_LOG names gets a line for each program that is compiled.
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>

#include "tests/cuda/sim/fake_driver.h"
#include "tests/cuda/sim/simulator.h"

namespace {

struct Program {
  std::string source, code, log;
};
Program& program(void* p) { return *static_cast<Program*>(p); }
int give(const std::string& from, char* to) {
  std::memcpy(to, from.data(), from.size());
  return 0;
}

}  // namespace

#pragma GCC visibility push(default)
extern "C" {
int nvrtcVersion(int* major, int* minor) {
  *major = 13, *minor = 0;
  return 0;
}
int nvrtcGetNumSupportedArchs(int* n) {
  *n = 2;
  return 0;
}
int nvrtcGetSupportedArchs(int* archs) {
  archs[0] = 80, archs[1] = 90;
  return 0;
}
int nvrtcCreateProgram(void** p, const char* source, const char*, int, const char* const*, const char* const*) {
  *p = new Program{source, {}, {}};
  return 0;
}
int nvrtcDestroyProgram(void** p) {
  delete static_cast<Program*>(*p);
  *p = nullptr;
  return 0;
}
int nvrtcCompileProgram(void* p, int n, const char* const* options) {
  bool arch = false;
  for (int i = 0; i < n; ++i) arch |= std::string(options[i]) == "--gpu-architecture=sm_90";
  if (!arch) return 5;  // NVRTC_ERROR_INVALID_OPTION
  if (const char* log = std::getenv("NNLC_FAKE_LOG")) std::ofstream(log, std::ios::app) << "compiled a program\n";
  try {
    std::ifstream library(nnlc::sim::compile_for_host(program(p).source), std::ios::binary);
    program(p).code = nnlc::sim::pack({std::istreambuf_iterator<char>(library), {}});
    return 0;
  } catch (const std::exception& e) {
    program(p).log = e.what();
    return 6;  // NVRTC_ERROR_COMPILATION
  }
}
int nvrtcGetProgramLogSize(void* p, size_t* size) {
  *size = program(p).log.size();
  return 0;
}
int nvrtcGetProgramLog(void* p, char* to) { return give(program(p).log, to); }
int nvrtcGetCUBINSize(void* p, size_t* size) {
  *size = program(p).code.size();
  return 0;
}
int nvrtcGetCUBIN(void* p, char* to) { return give(program(p).code, to); }
int nvrtcGetPTXSize(void*, size_t*) { return 1; }
int nvrtcGetPTX(void*, char*) { return 1; }
}
#pragma GCC visibility pop
