#include "compiler/codegen/cache/object_cache.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <vector>

namespace nnlc::codegen {
namespace fs = std::filesystem;

namespace {

// An entry is this header, then the object. The key is inside too: a file that was renamed or restored wrongly is
// noticed.
struct Header {
  std::array<char, 8> magic;
  uint64_t size;
  std::array<char, 32> key;
  std::array<char, 32> checksum;
};
static_assert(sizeof(Header) == 80);
constexpr std::array<char, 8> kMagic{'n', 'n', 'l', 'o', 'b', 'j', '0', '1'};
constexpr const char* kSuffix = ".nnlo";

uint64_t mix(uint64_t a, uint64_t b) {  // folded 64x64 -> 128 multiply
  unsigned __int128 p = static_cast<unsigned __int128>(a) * b;
  return static_cast<uint64_t>(p) ^ static_cast<uint64_t>(p >> 64);
}

std::string default_folder() {
  if (const char* xdg = std::getenv("XDG_CACHE_HOME"); xdg && *xdg == '/') return std::string(xdg) + "/nnlc";
  if (const char* home = std::getenv("HOME"); home && *home == '/') return std::string(home) + "/.cache/nnlc";
  return {};
}

}  // namespace

std::string content_hash(std::string_view bytes) {
  // Two independent lanes of multiply-fold over 16 bytes a step; odd constants from the digits of pi.
  uint64_t h0 = 0x243f6a8885a308d3 ^ bytes.size(), h1 = 0x13198a2e03707345 + bytes.size();
  auto step = [&](uint64_t a, uint64_t b) {
    uint64_t n0 = mix(a ^ h0 ^ 0xa4093822299f31d1, b ^ 0x082efa98ec4e6c89) + (h1 << 1 | h1 >> 63);
    h1 = mix(b ^ h1 ^ 0x452821e638d01377, a ^ 0xbe5466cf34e90c6d) ^ (h0 << 23 | h0 >> 41);
    h0 = n0;
  };
  size_t i = 0;
  for (; i + 16 <= bytes.size(); i += 16) {
    uint64_t w[2];
    std::memcpy(w, bytes.data() + i, 16);
    step(w[0], w[1]);
  }
  uint64_t tail[2] = {0, 0};
  if (i < bytes.size()) std::memcpy(tail, bytes.data() + i, bytes.size() - i);
  step(tail[0], tail[1]);
  for (uint64_t round = 1; round <= 4; round++) step(round, bytes.size());
  std::string out(32, '0');
  const char* digits = "0123456789abcdef";
  for (int d = 0; d < 16; d++) {
    out[d] = digits[h0 >> (60 - 4 * d) & 15];
    out[16 + d] = digits[h1 >> (60 - 4 * d) & 15];
  }
  return out;
}

ObjectCache::ObjectCache(std::string folder, int64_t max_bytes)
    : folder_(folder.empty() ? default_folder() : std::move(folder)), max_bytes_(max_bytes) {
  if (folder_.empty()) return;
  std::error_code error;
  fs::create_directories(folder_, error);
  if (error || !fs::is_directory(folder_, error)) folder_.clear();
}

std::string ObjectCache::path_of(const std::string& key) const { return folder_ + "/" + key + kSuffix; }

std::optional<std::string> ObjectCache::get(const std::string& key) const {
  if (!enabled() || key.size() != 32) return std::nullopt;
  std::string path = path_of(key);
  std::ifstream in(path, std::ios::binary);
  if (!in) return std::nullopt;
  Header h;
  if (!in.read(reinterpret_cast<char*>(&h), sizeof h) || h.magic != kMagic ||
      !std::equal(key.begin(), key.end(), h.key.begin()))
    return std::nullopt;
  std::error_code error;
  uint64_t on_disk = fs::file_size(path, error);
  if (error || on_disk < sizeof h || h.size != on_disk - sizeof h) return std::nullopt;  // before h.size is believed
  std::string object(h.size, '\0');
  if (!in.read(object.data(), static_cast<std::streamsize>(h.size))) return std::nullopt;
  std::string sum = content_hash(object);
  if (!std::equal(sum.begin(), sum.end(), h.checksum.begin())) return std::nullopt;
  fs::last_write_time(path, fs::file_time_type::clock::now(), error);  // age for trim(); a read-only folder is fine
  return object;
}

void ObjectCache::put(const std::string& key, std::string_view object) const {
  if (!enabled() || key.size() != 32) return;
  static std::atomic<uint32_t> serial{0};
  std::string temporary =
      folder_ + "/" + key + "." + std::to_string(getpid()) + "." + std::to_string(serial++) + ".tmp";
  Header h{kMagic, object.size(), {}, {}};
  std::copy(key.begin(), key.end(), h.key.begin());
  std::string sum = content_hash(object);
  std::copy(sum.begin(), sum.end(), h.checksum.begin());
  std::error_code error;
  {
    std::ofstream out(temporary, std::ios::binary | std::ios::trunc);
    out.write(reinterpret_cast<const char*>(&h), sizeof h);
    out.write(object.data(), static_cast<std::streamsize>(object.size()));
    out.close();
    if (!out) {  // disk full, no permission
      fs::remove(temporary, error);
      return;
    }
  }
  fs::rename(temporary, path_of(key), error);
  if (error) fs::remove(temporary, error);
}

void ObjectCache::trim() const {
  if (!enabled()) return;
  struct Entry {
    fs::path path;
    fs::file_time_type used;
    int64_t bytes;
  };
  std::vector<Entry> entries;
  int64_t total = 0;
  std::error_code error;
  auto now = fs::file_time_type::clock::now();
  for (fs::directory_iterator it(folder_, error), end; !error && it != end; it.increment(error)) {
    std::error_code e;
    auto used = it->last_write_time(e);
    if (e) continue;  // another process removed it meanwhile
    auto extension = it->path().extension();
    if (extension == ".tmp" && now - used > std::chrono::hours(1)) fs::remove(it->path(), e);
    if (extension != kSuffix) continue;
    auto bytes = static_cast<int64_t>(it->file_size(e));
    if (e) continue;
    entries.push_back({it->path(), used, bytes});
    total += bytes;
  }
  if (total <= max_bytes_) return;
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.used < b.used; });
  // Down to three quarters, so that the next few objects don't each walk the folder for one removal.
  for (const Entry& e : entries) {
    if (total <= max_bytes_ / 4 * 3) break;
    fs::remove(e.path, error);
    total -= e.bytes;
  }
}

}  // namespace nnlc::codegen
