// The CUDA driver and NVRTC, opened while running: building needs nothing of CUDA, and the same binary runs where
// neither is installed. The functions are declared here with C types (enums are int, handles are pointers).
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace nnlc::codegen::cuda {

#define NNLC_NVRTC_FUNCTIONS(X)                                                                        \
  X(nvrtcVersion, int*, int*)                                                                          \
  X(nvrtcCreateProgram, void**, const char*, const char*, int, const char* const*, const char* const*) \
  X(nvrtcCompileProgram, void*, int, const char* const*)                                               \
  X(nvrtcDestroyProgram, void**)                                                                       \
  X(nvrtcGetProgramLogSize, void*, size_t*)                                                            \
  X(nvrtcGetProgramLog, void*, char*)                                                                  \
  X(nvrtcGetCUBINSize, void*, size_t*)                                                                 \
  X(nvrtcGetCUBIN, void*, char*)                                                                       \
  X(nvrtcGetPTXSize, void*, size_t*)                                                                   \
  X(nvrtcGetPTX, void*, char*)                                                                         \
  X(nvrtcGetNumSupportedArchs, int*)                                                                   \
  X(nvrtcGetSupportedArchs, int*)
#define NNLC_DRIVER_FUNCTIONS(X)                                                                                \
  X(cuInit, unsigned)                                                                                           \
  X(cuDriverGetVersion, int*)                                                                                   \
  X(cuDeviceGetCount, int*)                                                                                     \
  X(cuDeviceGet, int*, int)                                                                                     \
  X(cuDeviceGetName, char*, int, int)                                                                           \
  X(cuDeviceTotalMem_v2, size_t*, int)                                                                          \
  X(cuDeviceGetAttribute, int*, int, int)                                                                       \
  X(cuDevicePrimaryCtxRetain, void**, int)                                                                      \
  X(cuDevicePrimaryCtxRelease_v2, int)                                                                          \
  X(cuCtxSetCurrent, void*)                                                                                     \
  X(cuModuleLoadData, void**, const void*)                                                                      \
  X(cuModuleUnload, void*)                                                                                      \
  X(cuModuleGetFunction, void**, void*, const char*)                                                            \
  X(cuFuncSetAttribute, void*, int, int)                                                                        \
  X(cuMemAlloc_v2, uint64_t*, size_t)                                                                           \
  X(cuMemFree_v2, uint64_t)                                                                                     \
  X(cuMemGetInfo_v2, size_t*, size_t*)                                                                          \
  X(cuMemcpyHtoDAsync_v2, uint64_t, const void*, size_t, void*)                                                 \
  X(cuMemcpyDtoHAsync_v2, void*, uint64_t, size_t, void*)                                                       \
  X(cuMemcpyDtoDAsync_v2, uint64_t, uint64_t, size_t, void*)                                                    \
  X(cuStreamCreate, void**, unsigned)                                                                           \
  X(cuStreamDestroy_v2, void*)                                                                                  \
  X(cuStreamSynchronize, void*)                                                                                 \
  X(cuLaunchKernel, void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void*, void**, \
    void**)                                                                                                     \
  X(cuStreamBeginCapture_v2, void*, int)                                                                        \
  X(cuStreamEndCapture, void*, void**)                                                                          \
  X(cuGraphInstantiateWithFlags, void**, void*, unsigned long long)                                             \
  X(cuGraphLaunch, void*, void*)                                                                                \
  X(cuGraphExecDestroy, void*)                                                                                  \
  X(cuGraphDestroy, void*)                                                                                      \
  X(cuGetErrorString, int, const char**)

// What of cuda.h's constants is used.
inline constexpr int kComputeMajor = 75, kComputeMinor = 76;  // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*
inline constexpr int kMaxDynamicShared = 8;                   // CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
inline constexpr unsigned kNonBlocking = 1;                   // CU_STREAM_NON_BLOCKING
inline constexpr int kCaptureThreadLocal = 1;                 // CU_STREAM_CAPTURE_MODE_THREAD_LOCAL

#define NNLC_FIELD(name, ...) int (*name)(__VA_ARGS__) = nullptr;

/// What a search for a library saw.
struct Search {
  std::string path;                ///< of the library that was opened; empty: none
  std::vector<std::string> tried;  ///< names and folders, in order
  std::string why;                 ///< nothing was opened, or something was missing in it
};

/// What is missing, in one line; then where it was looked for and how to get it.
std::string missing(const struct Driver& driver);
std::string missing(const struct Nvrtc& nvrtc);

struct Nvrtc {
  NNLC_NVRTC_FUNCTIONS(NNLC_FIELD)
  int major = 0, minor = 0;
  Search search;
  /// Opens the library of `wanted_major` first, where that isn't 0. False: `search.why` says what was missing.
  bool open(int wanted_major = 0);
};

struct Driver {
  NNLC_DRIVER_FUNCTIONS(NNLC_FIELD)
  int version = 0;  ///< 12080: CUDA 12.8
  int devices = 0;
  bool installed = false;  ///< the library was found, whether or not it works
  Search search;
  bool open();
  std::string error_text(int code) const;
};

}  // namespace nnlc::codegen::cuda
