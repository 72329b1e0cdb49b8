// Reading files that nobody vouches for: plain or gzipped, sizes bounded before memory is taken.
#include "runtime/data/file.h"

#include <sys/stat.h>
#include <zlib.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

namespace nnl::data {

Result<std::unique_ptr<Reader>> Reader::open(const std::string& path) {
  struct stat st {};
  if (::stat(path.c_str(), &st) != 0) return Error{path + ": can't be opened: " + std::strerror(errno), ""};
  if (!S_ISREG(st.st_mode)) return Error{path + ": is not a file", ""};
  gzFile gz = gzopen(path.c_str(), "rb");
  if (!gz) return Error{path + ": can't be opened: " + std::strerror(errno), ""};
  gzbuffer(gz, 1 << 18);
  std::unique_ptr<Reader> r(new Reader);
  r->path_ = path;
  r->gz_ = gz;
  const int64_t stored = st.st_size;
  // gzdirect looks at the first bytes: 1 means that they are no gzip header.
  r->max_bytes_ = gzdirect(gz) ? stored : (stored > INT64_MAX / 1040 ? INT64_MAX : stored * 1040);
  return r;
}

Reader::~Reader() {
  if (gz_) gzclose(static_cast<gzFile>(gz_));
}

Result<int64_t> Reader::read(void* out, int64_t n) {
  auto* gz = static_cast<gzFile>(gz_);
  auto* bytes = static_cast<char*>(out);
  int64_t done = 0;
  while (done < n) {
    const auto part = static_cast<unsigned>(std::min<int64_t>(n - done, 1 << 28));
    const int got = gzread(gz, bytes + done, part);
    int code = Z_OK;
    const char* text = gzerror(gz, &code);
    if (got < 0 || (code != Z_OK && code != Z_STREAM_END)) {
      if (code == Z_BUF_ERROR)
        return Error{path_ + ": the gzip stream ends early: the file is truncated", "get the file again"};
      if (code == Z_ERRNO) return Error{path_ + ": can't be read: " + std::strerror(errno), ""};
      std::string why = text ? text : "";
      if (const size_t colon = why.rfind(": "); colon != std::string::npos)
        why = why.substr(colon + 2);  // zlib puts the path first
      return Error{path_ + ": the gzip stream is damaged: " + why, "get the file again"};
    }
    if (got == 0) break;
    done += got;
  }
  return done;
}

Result<std::string> read_all(const std::string& path) {
  auto r = Reader::open(path);
  if (!r) return r.error();
  constexpr int64_t kLimit = int64_t{1} << 32;
  std::string text;
  int64_t chunk = 1 << 16;
  while (true) {
    const size_t old = text.size();
    text.resize(old + static_cast<size_t>(chunk));
    auto got = (*r)->read(text.data() + old, chunk);
    if (!got) return got.error();
    text.resize(old + static_cast<size_t>(*got));
    if (*got < chunk) return text;
    if (static_cast<int64_t>(text.size()) > kLimit) return Error{path + ": is larger than 4 GiB", ""};
    chunk = std::min<int64_t>(chunk * 2, 1 << 24);
  }
}

bool file_exists(const std::string& path) {
  std::error_code ec;
  return std::filesystem::is_regular_file(path, ec);
}

namespace {

// FIPS 180-4, section 6.2.
struct Sha256 {
  std::array<uint32_t, 8> h{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                            0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  static uint32_t rotr(uint32_t x, int n) { return (x >> n) | (x << (32 - n)); }
  void block(const unsigned char* p) {
    static constexpr uint32_t k[64] = {
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
        0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
        0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
        0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
        0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
        0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
        0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
        0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
    uint32_t w[64];
    for (int i = 0; i < 16; ++i)
      w[i] = uint32_t{p[4 * i]} << 24 | uint32_t{p[4 * i + 1]} << 16 | uint32_t{p[4 * i + 2]} << 8 | p[4 * i + 3];
    for (int i = 16; i < 64; ++i) {
      const uint32_t s0 = rotr(w[i - 15], 7) ^ rotr(w[i - 15], 18) ^ (w[i - 15] >> 3);
      const uint32_t s1 = rotr(w[i - 2], 17) ^ rotr(w[i - 2], 19) ^ (w[i - 2] >> 10);
      w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    auto [a, b, c, d, e, f, g, hh] = h;
    for (int i = 0; i < 64; ++i) {
      const uint32_t t1 = hh + (rotr(e, 6) ^ rotr(e, 11) ^ rotr(e, 25)) + ((e & f) ^ (~e & g)) + k[i] + w[i];
      const uint32_t t2 = (rotr(a, 2) ^ rotr(a, 13) ^ rotr(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
      hh = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
    }
    const uint32_t add[8] = {a, b, c, d, e, f, g, hh};
    for (size_t i = 0; i < 8; ++i) h[i] += add[i];
  }
};

}  // namespace

std::string sha256_of_file(const std::string& path) {
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> f(std::fopen(path.c_str(), "rb"), std::fclose);
  if (!f) return "";
  Sha256 sha;
  std::vector<unsigned char> buffer(1 << 16);
  uint64_t total = 0;
  size_t rest = 0;
  while (true) {
    const size_t got = std::fread(buffer.data(), 1, buffer.size(), f.get());
    total += got;
    size_t at = 0;
    for (; at + 64 <= got; at += 64) sha.block(buffer.data() + at);
    if (got < buffer.size()) {
      if (std::ferror(f.get())) return "";
      std::memmove(buffer.data(), buffer.data() + at, rest = got - at);
      break;
    }
  }
  unsigned char tail[128] = {};
  std::memcpy(tail, buffer.data(), rest);
  tail[rest] = 0x80;
  const size_t n = rest < 56 ? 64 : 128;
  for (size_t i = 0; i < 8; ++i) tail[n - 1 - i] = static_cast<unsigned char>((total * 8) >> (8 * i));
  for (size_t i = 0; i < n; i += 64) sha.block(tail + i);
  std::string hex;
  for (uint32_t word : sha.h)
    for (int shift = 28; shift >= 0; shift -= 4) hex += "0123456789abcdef"[(word >> shift) & 15];
  return hex;
}

int utf8_length(std::string_view s, size_t at) {
  const auto byte = [&](size_t i) { return i < s.size() ? static_cast<unsigned char>(s[i]) : 0u; };
  const auto follows = [&](size_t i, unsigned lo = 0x80, unsigned hi = 0xBF) { return byte(i) >= lo && byte(i) <= hi; };
  const unsigned c = byte(at);
  if (c < 0x80) return at < s.size() ? 1 : 0;
  if (c >= 0xC2 && c <= 0xDF) return follows(at + 1) ? 2 : 0;
  if (c >= 0xE0 && c <= 0xEF)
    return follows(at + 1, c == 0xE0 ? 0xA0 : 0x80, c == 0xED ? 0x9F : 0xBF) && follows(at + 2) ? 3 : 0;
  if (c >= 0xF0 && c <= 0xF4)
    return follows(at + 1, c == 0xF0 ? 0x90 : 0x80, c == 0xF4 ? 0x8F : 0xBF) && follows(at + 2) && follows(at + 3) ? 4
                                                                                                                   : 0;
  return 0;
}

std::string place_in_text(std::string_view s, size_t at) {
  int64_t line = 1, column = 1;
  for (size_t i = 0; i < at && i < s.size(); ++i) {
    if (s[i] == '\n')
      ++line, column = 1;
    else if ((static_cast<unsigned char>(s[i]) & 0xC0) != 0x80)
      ++column;
  }
  return "line " + std::to_string(line) + ", column " + std::to_string(column);
}

}  // namespace nnl::data
