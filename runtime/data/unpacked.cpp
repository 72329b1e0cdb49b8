// $XDG_CACHE_HOME/nnl/unpacked/<hash of the key>: magic, key, dims, a CRC-32 of all that, then the bytes at a multiple
// of 64. Files come into place by a rename, so that a reader sees a whole one or none; what doesn't fit its header in
// any way is not used. NNL_CACHE=off turns it off.
#include "runtime/data/unpacked.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <future>
#include <optional>

#include "runtime/data/file.h"

namespace nnl::data {

namespace {
namespace fs = std::filesystem;

constexpr char kMagic[8] = {'N', 'N', 'L', 'U', 'N', 'P', '0', '1'};
constexpr int64_t kLeast = 1 << 20;  // of packed bytes: below, inflating takes a few milliseconds
constexpr size_t kMostHead = 1 << 16;

std::string folder() {
  const char* off = std::getenv("NNL_CACHE");
  if (off && std::strcmp(off, "off") == 0) return "";
  const char* xdg = std::getenv("XDG_CACHE_HOME");
  if (xdg && *xdg) return std::string(xdg) + "/nnl/unpacked";
  const char* home = std::getenv("HOME");
  return home && *home ? std::string(home) + "/.cache/nnl/unpacked" : "";
}

/// What identifies the packed file; empty where it is not packed, or too small to be worth it.
std::string key_of(const std::string& path) {
  std::error_code ec;
  const std::string full = fs::canonical(path, ec).string();
  if (!path.ends_with(".gz")) return "";
  struct stat st {};
  if (ec || ::stat(full.c_str(), &st) != 0 || !S_ISREG(st.st_mode) || st.st_size < kLeast) return "";
  return full + '\n' + std::to_string(st.st_size) + ' ' + std::to_string(st.st_mtim.tv_sec) + '.' +
         std::to_string(st.st_mtim.tv_nsec) + ' ' + std::to_string(st.st_ino);
}

std::string file_of(const std::string& key) {
  const std::string dir = folder();
  if (dir.empty() || key.empty()) return "";
  uint64_t h = 0xcbf29ce484222325u;  // FNV-1a; the key itself is in the file
  for (char c : key) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  std::string name;
  for (int shift = 60; shift >= 0; shift -= 4) name += "0123456789abcdef"[(h >> shift) & 15];
  return dir + "/" + name;
}

/// Everything before the bytes.
std::string head_of(const std::string& key, const std::vector<int64_t>& dims) {
  std::string s(kMagic, sizeof kMagic);
  const auto number = [&](uint64_t v) { s.append(reinterpret_cast<const char*>(&v), sizeof v); };
  number(key.size());
  s += key;
  number(dims.size());
  for (int64_t d : dims) number(static_cast<uint64_t>(d));
  number(crc32(0, reinterpret_cast<const Bytef*>(s.data()), static_cast<uInt>(s.size())));
  s.resize((s.size() + 63) / 64 * 64);
  return s;
}

/// The array as an earlier run left it, mapped.
std::optional<IdxArray> find_unpacked(const std::string& key, const std::string& file) {
  const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return std::nullopt;
  struct stat st {};
  void* map = MAP_FAILED;
  if (::fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size >= 64)
    map = ::mmap(nullptr, static_cast<size_t>(st.st_size), PROT_READ, MAP_PRIVATE, fd, 0);
  ::close(fd);
  if (map == MAP_FAILED) return std::nullopt;
  const auto size = static_cast<size_t>(st.st_size);
  const std::shared_ptr<const uint8_t> all(static_cast<const uint8_t*>(map),
                                           [size](const uint8_t* p) { ::munmap(const_cast<uint8_t*>(p), size); });

  // Read the dims, then build the head that they and the key must have had: it has to be the same byte for byte.
  const size_t dims_at = sizeof kMagic + 8 + key.size();
  uint64_t rank = 0;
  if (size < dims_at + 8) return std::nullopt;
  std::memcpy(&rank, all.get() + dims_at, 8);
  if (rank < 1 || rank > 8 || size < dims_at + 8 + 8 * rank) return std::nullopt;
  IdxArray a;
  a.dims.resize(rank);
  std::memcpy(a.dims.data(), all.get() + dims_at + 8, 8 * rank);
  const std::string head = head_of(key, a.dims);
  if (size < head.size() || std::memcmp(all.get(), head.data(), head.size()) != 0) return std::nullopt;
  a.size = 1;
  for (int64_t d : a.dims)
    if (d < 0 || __builtin_mul_overflow(a.size, d, &a.size)) return std::nullopt;
  if (static_cast<uint64_t>(a.size) != size - head.size()) return std::nullopt;
  a.bytes = std::shared_ptr<const uint8_t>(all, all.get() + head.size());
  return a;
}

void keep_unpacked(const std::string& key, const std::string& file, const IdxArray& array) {
  const std::string head = head_of(key, array.dims);
  if (head.size() > kMostHead) return;
  std::error_code ec;
  fs::create_directories(fs::path(file).parent_path(), ec);
  if (ec) return;
  const std::string part = file + "." + std::to_string(::getpid()) + ".part";
  const int fd = ::open(part.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return;
  bool ok = true;
  const auto write = [&](const void* from, size_t n) {
    const auto* p = static_cast<const char*>(from);
    while (ok && n > 0) {
      const ssize_t done = ::write(fd, p, n);
      if (done < 0 && errno == EINTR) continue;
      ok = done > 0;
      if (ok) p += done, n -= static_cast<size_t>(done);
    }
  };
  write(head.data(), head.size());
  write(array.bytes.get(), static_cast<size_t>(array.size));
  // The rename waits for the bytes: after a power cut zeros must not pass for data.
  ok = ok && ::fdatasync(fd) == 0;
  ok = ::close(fd) == 0 && ok;
  if (!ok || ::rename(part.c_str(), file.c_str()) != 0) ::unlink(part.c_str());
}

}  // namespace

Result<IdxArray> read_idx_once(const std::string& path) {
  const std::string key = key_of(path), file = file_of(key);
  if (file.empty()) return read_idx(path);
  if (auto found = find_unpacked(key, file)) return std::move(*found);
  auto read = read_idx(path);
  if (!read) return read;
  // The bytes own the task that writes them: whoever lets go of them last waits for it.
  struct Kept {
    IdxArray array;
    std::future<void> writing;  // destroyed, so waited for, before the array
  };
  auto kept = std::make_shared<Kept>();
  kept->array = *read;
  kept->writing = std::async(std::launch::async, [key, file, k = kept.get()] { keep_unpacked(key, file, k->array); });
  read->bytes = std::shared_ptr<const uint8_t>(kept, kept->array.bytes.get());
  return read;
}

}  // namespace nnl::data
