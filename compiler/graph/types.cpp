// Names and sizes of element types.
#include "compiler/graph/types.h"

#include <array>

namespace nnlc::graph {
namespace {
struct Info {
  std::string_view name;
  size_t size_bytes;
};
constexpr std::array<Info, 10> kInfo = {{{"bool", 1},
                                         {"u8", 1},
                                         {"i8", 1},
                                         {"i16", 2},
                                         {"i32", 4},
                                         {"i64", 8},
                                         {"f16", 2},
                                         {"bf16", 2},
                                         {"f32", 4},
                                         {"f64", 8}}};
}  // namespace

std::string_view name(DType t) { return kInfo[static_cast<size_t>(t)].name; }

std::optional<DType> dtype_from_name(std::string_view s) {
  for (size_t i = 0; i < kInfo.size(); ++i)
    if (kInfo[i].name == s) return static_cast<DType>(i);
  return std::nullopt;
}

size_t size_bytes(DType t) { return kInfo[static_cast<size_t>(t)].size_bytes; }

std::string TensorType::str() const { return std::string(name(dtype)) + graph::str(shape); }

}  // namespace nnlc::graph
