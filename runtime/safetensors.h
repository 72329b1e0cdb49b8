// Safetensors files: an 8-byte header length, a JSON header, dense little-endian data.
// Source: the format's description in github.com/huggingface/safetensors.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "runtime/data/dataset.h"

namespace nnl {

struct SafetensorsEntry {
  std::string name;
  int dtype = -1;          ///< NNL_…; -1: a type that NNL has not, like U16
  std::string dtype_text;  ///< as in the file
  std::vector<int64_t> shape;
  int64_t begin = 0, end = 0;  ///< bytes, from the start of the data
};

/// A file whose header was read and checked; contents are read on demand.
class SafetensorsFile {
 public:
  static data::Result<std::shared_ptr<SafetensorsFile>> open(const std::string& path);
  ~SafetensorsFile();
  SafetensorsFile(const SafetensorsFile&) = delete;
  SafetensorsFile& operator=(const SafetensorsFile&) = delete;
  const std::string& path() const { return path_; }
  const std::vector<SafetensorsEntry>& entries() const { return entries_; }  ///< in the order of their data
  const SafetensorsEntry* find(const std::string& name) const;
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  /// Copies the contents of an entry, end - begin bytes. An entry whose dtype is -1 is an Error by name.
  std::optional<data::Error> read(const SafetensorsEntry& e, void* out) const;

 private:
  SafetensorsFile() = default;
  std::string path_;
  int fd_ = -1;
  int64_t data_at_ = 0;
  std::vector<SafetensorsEntry> entries_;
  std::map<std::string, std::string> metadata_;
};

struct SafetensorsItem {
  std::string name;
  int dtype;
  std::vector<int64_t> shape;
  const void* data;
};
/// What a file begins with: the length of the JSON header and the header. Puts the items into the order of their data.
data::Result<std::string> safetensors_header(std::vector<SafetensorsItem>& items,
                                             const std::map<std::string, std::string>& metadata = {});
/// Writes beside the file and renames when all is on disk: a failure or a kill leaves the old file whole.
std::optional<data::Error> write_safetensors(const std::string& path, std::vector<SafetensorsItem> items,
                                             const std::map<std::string, std::string>& metadata = {});

}  // namespace nnl
