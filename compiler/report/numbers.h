// Numbers as people read them.
#pragma once
#include <cstdint>
#include <string>

#include "compiler/graph/dim.h"

namespace nnlc::report {

std::string grouped(int64_t n);                          ///< "1,234,567"
std::string bytes(int64_t n);                            ///< "1.19 MiB", "512 bytes"
std::string work(const graph::Dim& n);                   ///< "623,290", "623,290 * N"
std::string plural(int64_t n, const std::string& noun);  ///< "1 kernel", "2 kernels"
/// Text in a column: padded to `width` code points; `right`: flush right.
std::string pad(const std::string& text, size_t width, bool right = false);
size_t width(const std::string& text);  ///< code points

}  // namespace nnlc::report
