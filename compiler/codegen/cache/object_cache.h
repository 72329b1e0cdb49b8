// Compiled objects on disk. Any number of processes may use one folder at the same time: entries appear by rename, are
// checked in full when read, and a bad one counts as absent. No failure here is an error, the kernel is compiled again.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace nnlc::codegen {

/// 128 bits, as 32 hex digits; not meant to resist an attacker who can write the folder (that one can replace objects
/// anyway).
std::string content_hash(std::string_view bytes);

class ObjectCache {
 public:
  /// folder: empty means $XDG_CACHE_HOME/nnlc, else $HOME/.cache/nnlc; without either the cache is off.
  explicit ObjectCache(std::string folder, int64_t max_bytes = int64_t{256} << 20);
  bool enabled() const { return !folder_.empty(); }
  const std::string& folder() const { return folder_; }

  /// key: a content_hash. Counts as a use: the entry becomes the youngest.
  std::optional<std::string> get(const std::string& key) const;
  void put(const std::string& key, std::string_view object) const;
  /// Removes the entries used longest ago until max_bytes hold, and left-over temporaries.
  void trim() const;

 private:
  std::string path_of(const std::string& key) const;
  std::string folder_;
  int64_t max_bytes_;
};

}  // namespace nnlc::codegen
