// A program's text from disk.
#pragma once
#include <optional>
#include <string>

namespace nnlc {

/// The text of a file without a BOM; nullopt if it can't be read or is a folder.
std::optional<std::string> read_file(const std::string& path);

}  // namespace nnlc
