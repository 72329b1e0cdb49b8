// Reading files that nobody vouches for: plain or gzipped, sizes bounded before memory is taken.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/data/dataset.h"

namespace nnl::data {

/// A file read from front to back; gzip is recognised by its first bytes and unpacked on the way.
class Reader {
 public:
  static Result<std::unique_ptr<Reader>> open(const std::string& path);
  ~Reader();
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;
  /// Up to n bytes; less only at the end of the file. Damage (a truncated or corrupt gzip stream) is an Error.
  Result<int64_t> read(void* out, int64_t n);
  /// More bytes than this can't be in the file, whatever its header says: deflate shrinks by 1032 at most.
  int64_t max_bytes() const { return max_bytes_; }
  const std::string& path() const { return path_; }

 private:
  Reader() = default;
  std::string path_;
  void* gz_ = nullptr;
  int64_t max_bytes_ = 0;
};

/// The whole file, unpacked. Over 4 GiB is an Error.
Result<std::string> read_all(const std::string& path);
bool file_exists(const std::string& path);
/// Lower-case hexadecimal SHA-256 of a file's bytes, as stored; empty if it can't be read.
std::string sha256_of_file(const std::string& path);

/// Length of the UTF-8 sequence that starts at s[at], 0 if it is malformed (overlong forms, surrogates and
/// what lies above U+10FFFF included).
int utf8_length(std::string_view s, size_t at);
/// "line 3, column 7" of a byte offset; columns count code points.
std::string place_in_text(std::string_view s, size_t at);

}  // namespace nnl::data
