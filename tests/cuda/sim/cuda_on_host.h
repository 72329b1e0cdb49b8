// The CUDA dialect of printed kernels on top of the simulator: the host's compiler takes this file before the source,
// which stays as it is.
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#define NNL_ON_HOST 1
#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)

struct nnl_sim_uint3 {
  unsigned x, y, z;
};

// The simulator's side; the running thread's coordinates are asked for each time.
extern "C" {
nnl_sim_uint3 nnl_sim_thread();
nnl_sim_uint3 nnl_sim_block();
unsigned char* nnl_sim_shared();
int nnl_sim_barrier(int value);  // 1 if `value` isn't 0 in some thread
// All lanes of the running warp give 8 bytes and get those of lane `from`.
uint64_t nnl_sim_shuffle(unsigned mask, uint64_t bits, unsigned from);
unsigned nnl_sim_lane();
}

#define threadIdx (nnl_sim_thread())
#define blockIdx (nnl_sim_block())
#define NNL_SHARED(name) unsigned char* const name = nnl_sim_shared()
#define NNL_KERNEL(name)                                                     \
  extern "C" void name##_on_host(void** args) { nnl_sim_apply(name, args); } \
  extern "C" int name##_arguments() { return nnl_sim_count(name); }

// The array of arguments isn't the kernel's memory: its reads aren't reported.
template <class... P, std::size_t... I>
__attribute__((no_sanitize("thread"))) void nnl_sim_apply(void (*f)(P...), void** args, std::index_sequence<I...>) {
  f(static_cast<P>(args[I])...);
}
template <class... P>
void nnl_sim_apply(void (*f)(P...), void** args) {
  nnl_sim_apply(f, args, std::index_sequence_for<P...>{});
}

template <class... P>
int nnl_sim_count(void (*)(P...)) {
  return sizeof...(P);
}

inline void __syncthreads() { nnl_sim_barrier(0); }
inline int __syncthreads_or(int v) { return nnl_sim_barrier(v); }
template <class T>
T __shfl_xor_sync(unsigned mask, T v, int x) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8);
  std::uint64_t bits = 0;
  std::memcpy(&bits, &v, sizeof v);
  bits = nnl_sim_shuffle(mask, bits, nnl_sim_lane() ^ static_cast<unsigned>(x));
  std::memcpy(&v, &bits, sizeof v);
  return v;
}
template <class D, class S>
D nnl_sim_bits(S s) {
  static_assert(sizeof(D) == sizeof(S));
  D d;
  std::memcpy(&d, &s, sizeof d);
  return d;
}
inline float __int_as_float(int i) { return nnl_sim_bits<float>(i); }
inline float __uint_as_float(unsigned i) { return nnl_sim_bits<float>(i); }
inline unsigned __float_as_uint(float f) { return nnl_sim_bits<unsigned>(f); }
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>(std::uint64_t{a} * b >> 32); }
