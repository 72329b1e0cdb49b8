// How the fake NVRTC hands its code to the fake driver: the driver gets a pointer and no length, as from a real CUBIN.
#pragma once
#include <cstring>
#include <string>

namespace nnlc::sim {

inline constexpr char kMagic[9] = "nnlcfake";

inline std::string pack(const std::string& library) {
  const uint64_t n = library.size();
  std::string out(kMagic, 8);
  out.append(reinterpret_cast<const char*>(&n), 8);
  return out + library;
}
/// Empty: it isn't such code.
inline std::string unpack(const void* image) {
  const char* p = static_cast<const char*>(image);
  if (std::memcmp(p, kMagic, 8) != 0) return {};
  uint64_t n = 0;
  std::memcpy(&n, p + 8, 8);
  return {p + 16, n};
}

}  // namespace nnlc::sim
