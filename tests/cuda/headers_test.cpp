// The driver's and NVRTC's functions as we declare them against CUDA's own headers: compiled only where these are.
#include <cuda.h>
#include <doctest/doctest.h>
#include <nvrtc.h>

#include <type_traits>

#include "compiler/codegen/cuda/libraries.h"

namespace {

/// The same to the calling convention: pointers are pointers, ints and enums are ints of one size.
template <class A, class B>
constexpr bool alike() {
  if (std::is_pointer_v<A> || std::is_pointer_v<B>) return std::is_pointer_v<A> && std::is_pointer_v<B>;
  return (std::is_integral_v<A> || std::is_enum_v<A>)&&(std::is_integral_v<B> || std::is_enum_v<B>)&&sizeof(A) ==
         sizeof(B);
}
template <class Ours, class Theirs>
struct Same : std::false_type {};
template <class R, class... A, class S, class... B>
requires(sizeof...(A) == sizeof...(B)) struct Same<R (*)(A...), S(B...)>
    : std::bool_constant<(alike<R, S>() && ... && alike<A, B>())> {
};

using nnlc::codegen::cuda::Driver;
using nnlc::codegen::cuda::Nvrtc;
#define NNLC_SAME(name, ...) static_assert(Same<decltype(NNLC_OURS::name), decltype(::name)>::value, #name);
#define NNLC_OURS Driver
NNLC_DRIVER_FUNCTIONS(NNLC_SAME)
#undef NNLC_OURS
#define NNLC_OURS Nvrtc
NNLC_NVRTC_FUNCTIONS(NNLC_SAME)

}  // namespace

TEST_CASE("constants are those of cuda.h") {
  using namespace nnlc::codegen::cuda;
  CHECK(kComputeMajor == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
  CHECK(kComputeMinor == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
  CHECK(kMaxDynamicShared == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES);
  CHECK(kNonBlocking == CU_STREAM_NON_BLOCKING);
  CHECK(kCaptureThreadLocal == CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
  CHECK(sizeof(CUdeviceptr) == sizeof(uint64_t));
}
