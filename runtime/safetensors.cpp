// Safetensors files. The header is untrusted: its length, the JSON, each type, shape and offset are checked before
// anything is allocated or read; tensors must cover the data exactly, without holes or overlaps, as the format demands.
#include "runtime/safetensors.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "runtime/dtype.h"

namespace nnl {

namespace {

using data::Error;
using data::Result;
using nlohmann::json;

constexpr int64_t kMaxHeader = 100'000'000;  // the limit of the reference implementation
constexpr size_t kMaxRank = 64;

struct FileType {
  const char* name;
  int bits;
  int dtype;
};
constexpr FileType kTypes[] = {
    {"BOOL", 8, NNL_BOOL}, {"U8", 8, NNL_U8},    {"I8", 8, NNL_I8},      {"I16", 16, NNL_I16}, {"I32", 32, NNL_I32},
    {"I64", 64, NNL_I64},  {"F16", 16, NNL_F16}, {"BF16", 16, NNL_BF16}, {"F32", 32, NNL_F32}, {"F64", 64, NNL_F64},
    {"U16", 16, -1},       {"U32", 32, -1},      {"U64", 64, -1},        {"F8_E4M3", 8, -1},   {"F8_E5M2", 8, -1},
    {"F8_E8M0", 8, -1},    {"C64", 64, -1},
};

const FileType* type_named(const std::string& name) {
  for (const FileType& t : kTypes)
    if (name == t.name) return &t;
  return nullptr;
}
const char* type_of(int dtype) {
  for (const FileType& t : kTypes)
    if (t.dtype == dtype) return t.name;
  return "";
}

std::string ticked(const std::string& name) {
  return "`" + (name.size() > 120 ? name.substr(0, 117) + "..." : name) + "`";
}

int64_t bytes_of(const SafetensorsItem& item) {
  int64_t bytes = element_bytes(item.dtype);
  for (int64_t d : item.shape) bytes *= d;
  return bytes;
}

/// A whole number that fits into int64_t.
std::optional<int64_t> size_in(const json& v) {
  if (v.is_number_unsigned()) {
    const auto u = v.get<uint64_t>();
    if (u <= static_cast<uint64_t>(INT64_MAX)) return static_cast<int64_t>(u);
  }
  return std::nullopt;
}

std::optional<Error> pread_all(int fd, const std::string& path, void* out, int64_t n, int64_t at) {
  auto* to = static_cast<char*>(out);
  while (n > 0) {
    const ssize_t got = ::pread(fd, to, static_cast<size_t>(std::min<int64_t>(n, 1 << 30)), at);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Error{path + ": can't be read: " + std::strerror(errno), ""};
    if (got == 0) return Error{path + ": ends early: it was cut while it was read", ""};
    to += got, at += got, n -= got;
  }
  return std::nullopt;
}

/// The tensors and the metadata of a header.
std::optional<Error> parse_header(const std::string& path, const std::string& text, int64_t data_bytes,
                                  std::vector<SafetensorsEntry>& entries,
                                  std::map<std::string, std::string>& metadata) {
  if (text.empty() || text[0] != '{')
    return Error{path + ": is no safetensors file: its header does not start with `{`", ""};
  // A second entry of one name would silently replace the first.
  std::set<std::string> names;
  std::string twice;
  json header;
  try {
    header = json::parse(text, [&](int depth, json::parse_event_t event, json& parsed) {
      if (depth == 1 && event == json::parse_event_t::key && !names.insert(parsed.get<std::string>()).second)
        twice = parsed.get<std::string>();
      return true;
    });
  } catch (const json::parse_error& e) {
    return Error{path + ": its header is not JSON: at byte " + std::to_string(e.byte + 8), ""};
  }
  if (!twice.empty()) return Error{path + ": two tensors are called " + ticked(twice), ""};
  for (const auto& [name, v] : header.items()) {
    if (name == "__metadata__") {
      if (!v.is_object()) return Error{path + ": `__metadata__` is no object", ""};
      for (const auto& [key, text_value] : v.items()) {
        if (!text_value.is_string()) return Error{path + ": `__metadata__`: " + ticked(key) + " is no string", ""};
        metadata[key] = text_value.get<std::string>();
      }
      continue;
    }
    const std::string here = path + ": tensor " + ticked(name) + ": ";
    if (!v.is_object() || !v.contains("dtype") || !v.contains("shape") || !v.contains("data_offsets"))
      return Error{here + "must have `dtype`, `shape` and `data_offsets`", ""};
    SafetensorsEntry e;
    e.name = name;
    if (!v["dtype"].is_string()) return Error{here + "its dtype is no string", ""};
    e.dtype_text = v["dtype"].get<std::string>();
    const FileType* type = type_named(e.dtype_text);
    if (!type) return Error{here + "its dtype " + ticked(e.dtype_text) + " is unknown", ""};
    e.dtype = type->dtype;
    const json& shape = v["shape"];
    if (!shape.is_array() || shape.size() > kMaxRank)
      return Error{here + "its shape is no list of at most 64 sizes", ""};
    int64_t bytes = type->bits / 8;
    for (const json& d : shape) {
      const auto n = size_in(d);
      if (!n) return Error{here + "its shape holds " + d.dump().substr(0, 40) + ", which is no size", ""};
      e.shape.push_back(*n);
    }
    const bool zero = std::find(e.shape.begin(), e.shape.end(), 0) != e.shape.end();
    for (int64_t d : e.shape)
      if (!zero && __builtin_mul_overflow(bytes, d, &bytes))
        return Error{here + "its shape is larger than any file", ""};
    if (zero) bytes = 0;
    const json& offsets = v["data_offsets"];
    const auto begin = offsets.is_array() && offsets.size() == 2 ? size_in(offsets[0]) : std::nullopt;
    const auto end = begin ? size_in(offsets[1]) : std::nullopt;
    if (!end) return Error{here + "its data_offsets are no pair of sizes", ""};
    e.begin = *begin, e.end = *end;
    if (e.begin > e.end || e.end > data_bytes)
      return Error{here + "its data_offsets are " + std::to_string(e.begin) + " and " + std::to_string(e.end) +
                       ", the file has " + std::to_string(data_bytes) + " bytes of data",
                   e.end > data_bytes ? "the file may be cut: get it again" : ""};
    if (e.end - e.begin != bytes)
      return Error{here + "its shape needs " + std::to_string(bytes) + " bytes, its data_offsets give it " +
                       std::to_string(e.end - e.begin),
                   ""};
    entries.push_back(std::move(e));
  }
  std::stable_sort(entries.begin(), entries.end(),
                   [](const auto& a, const auto& b) { return a.begin != b.begin ? a.begin < b.begin : a.end < b.end; });
  int64_t at = 0;
  for (size_t i = 0; i < entries.size(); ++i) {
    const SafetensorsEntry& e = entries[i];
    if (e.begin < at)
      return Error{path + ": tensors " + ticked(entries[i - 1].name) + " and " + ticked(e.name) + " overlap", ""};
    if (e.begin > at)
      return Error{path + ": bytes " + std::to_string(at) + " to " + std::to_string(e.begin) +
                       " of the data belong to no tensor",
                   ""};
    at = e.end;
  }
  if (at != data_bytes)
    return Error{path + ": the last " + std::to_string(data_bytes - at) + " bytes belong to no tensor", ""};
  return std::nullopt;
}

std::optional<Error> write_all(int fd, const std::string& path, const void* bytes, size_t n) {
  const auto* from = static_cast<const char*>(bytes);
  while (n > 0) {
    const ssize_t done = ::write(fd, from, std::min<size_t>(n, 1u << 30));
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return Error{path + ": can't be written: " + std::strerror(errno), ""};
    from += done, n -= static_cast<size_t>(done);
  }
  return std::nullopt;
}

}  // namespace

Result<std::shared_ptr<SafetensorsFile>> SafetensorsFile::open(const std::string& path) {
  std::shared_ptr<SafetensorsFile> f(new SafetensorsFile);
  f->path_ = path;
  f->fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (f->fd_ < 0) return Error{path + ": can't be opened: " + std::strerror(errno), ""};
  struct stat st {};
  if (::fstat(f->fd_, &st) != 0) return Error{path + ": can't be read: " + std::strerror(errno), ""};
  if (!S_ISREG(st.st_mode)) return Error{path + ": is not a file", ""};
  const int64_t size = st.st_size;
  unsigned char length_bytes[8];
  if (size < 8) return Error{path + ": is no safetensors file: it has " + std::to_string(size) + " bytes", ""};
  if (auto e = pread_all(f->fd_, path, length_bytes, 8, 0)) return *e;
  uint64_t length = 0;
  for (int i = 7; i >= 0; --i) length = length << 8 | length_bytes[i];
  if (length > static_cast<uint64_t>(size - 8))
    return Error{path + ": is no safetensors file, or it is cut: its header's length is " + std::to_string(length) +
                     ", the file has " + std::to_string(size) + " bytes",
                 ""};
  if (length > static_cast<uint64_t>(kMaxHeader))
    return Error{path + ": its header has " + std::to_string(length) +
                     " bytes, more than the 100,000,000 that the format allows",
                 ""};
  std::string header(length, '\0');
  if (auto e = pread_all(f->fd_, path, header.data(), static_cast<int64_t>(length), 8)) return *e;
  f->data_at_ = 8 + static_cast<int64_t>(length);
  if (auto e = parse_header(path, header, size - f->data_at_, f->entries_, f->metadata_)) return *e;
  return f;
}

SafetensorsFile::~SafetensorsFile() {
  if (fd_ >= 0) ::close(fd_);
}

const SafetensorsEntry* SafetensorsFile::find(const std::string& name) const {
  for (const SafetensorsEntry& e : entries_)
    if (e.name == name) return &e;
  return nullptr;
}

std::optional<Error> SafetensorsFile::read(const SafetensorsEntry& e, void* out) const {
  if (e.dtype < 0)
    return Error{path_ + ": tensor " + ticked(e.name) + ": its element type " + e.dtype_text + " is not supported", ""};
  if (auto error = pread_all(fd_, path_, out, e.end - e.begin, data_at_ + e.begin)) return error;
  if (e.dtype == NNL_BOOL) {
    const auto* b = static_cast<const uint8_t*>(out);
    for (int64_t i = 0; i < e.end - e.begin; ++i)
      if (b[i] > 1)
        return Error{path_ + ": tensor " + ticked(e.name) + ": element " + std::to_string(i) + " is " +
                         std::to_string(b[i]) + ", which is no bool",
                     ""};
  }
  return std::nullopt;
}

data::Result<std::string> safetensors_header(std::vector<SafetensorsItem>& items,
                                             const std::map<std::string, std::string>& metadata) {
  // As the reference implementation: wide elements first, so that each tensor is aligned, then by name.
  std::sort(items.begin(), items.end(), [](const auto& a, const auto& b) {
    const int64_t wa = element_bytes(a.dtype), wb = element_bytes(b.dtype);
    return wa != wb ? wa > wb : a.name < b.name;
  });
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  int64_t at = 0;
  for (const SafetensorsItem& item : items) {
    const int64_t bytes = bytes_of(item);
    if (item.name == "__metadata__" || header.contains(item.name))
      return Error{"two tensors are called " + ticked(item.name), ""};
    header[item.name] = {{"dtype", type_of(item.dtype)}, {"shape", item.shape}, {"data_offsets", {at, at + bytes}}};
    at += bytes;
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const json::exception&) {
    return Error{"a tensor's name or a metadata text is not UTF-8", ""};
  }
  while (text.size() % 8 != 0) text += ' ';
  std::string length;
  for (size_t i = 0; i < 8; ++i) length += static_cast<char>(static_cast<uint64_t>(text.size()) >> (8 * i));
  return length + text;
}

std::optional<Error> write_safetensors(const std::string& path, std::vector<SafetensorsItem> items,
                                       const std::map<std::string, std::string>& metadata) {
  namespace fs = std::filesystem;
  auto header = safetensors_header(items, metadata);
  if (!header) return Error{path + ": " + header.error().message, header.error().help};

  // A symbolic link is kept: what it points to is replaced.
  std::error_code ec;
  fs::path target = fs::is_symlink(path, ec) ? fs::weakly_canonical(path, ec) : fs::path(path);
  if (ec || target.empty()) target = path;
  const std::string part = target.string() + "." + std::to_string(::getpid()) + ".part";
  const int fd = ::open(part.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd < 0) {
    const int why = errno;
    const fs::path folder = target.parent_path();
    return Error{path + ": can't be written: " + std::strerror(why),
                 why == ENOENT && !folder.empty() ? "make the folder " + folder.string() : ""};
  }
  auto error = write_all(fd, path, header->data(), header->size());
  for (size_t i = 0; i < items.size() && !error; ++i)
    error = write_all(fd, path, items[i].data, static_cast<size_t>(bytes_of(items[i])));
  if (!error && ::fsync(fd) != 0 && errno != EINVAL)
    error = Error{path + ": can't be written: " + std::strerror(errno), ""};
  if (::close(fd) != 0 && !error) error = Error{path + ": can't be written: " + std::strerror(errno), ""};
  if (!error && ::rename(part.c_str(), target.c_str()) != 0)
    error = Error{path + ": can't be replaced: " + std::strerror(errno), ""};
  if (error) ::unlink(part.c_str());
  return error;
}

}  // namespace nnl
