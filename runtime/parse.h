// Numbers from text, the same in every locale.
#pragma once
#include <charconv>
#include <optional>
#include <string_view>

namespace nnl {

/// The whole text as a float: "0.5", "+1e-3", "inf". Nothing may stand before or behind it.
inline std::optional<double> parse_float(std::string_view text) {
  if (text.size() > 1 && text[0] == '+' && text[1] != '-') text.remove_prefix(1);
  double v = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), v);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return v;
}

}  // namespace nnl
