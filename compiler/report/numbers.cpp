#include "compiler/report/numbers.h"

#include <fmt/format.h>

#include <cctype>

namespace nnlc::report {

std::string grouped(int64_t n) {
  const std::string digits = std::to_string(n < 0 ? -n : n);
  std::string out;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i && (digits.size() - i) % 3 == 0) out += ',';
    out += digits[i];
  }
  return n < 0 ? "-" + out : out;
}

std::string bytes(int64_t n) {
  if (n < 10240) return grouped(n) + (n == 1 ? " byte" : " bytes");
  const char* unit[] = {"KiB", "MiB", "GiB", "TiB"};
  double v = static_cast<double>(n) / 1024;
  size_t u = 0;
  while (v >= 1024 && u < 3) {
    v /= 1024;
    ++u;
  }
  return fmt::format("{:.{}f} {}", v, v < 10 ? 2 : 1, unit[u]);
}

std::string work(const graph::Dim& n) {
  if (n.is_constant()) return grouped(n.value());
  // The digits of a polynomial's text, in groups.
  const std::string text = n.str();
  std::string out;
  for (size_t i = 0; i < text.size();) {
    size_t end = i;
    while (end < text.size() && std::isdigit(static_cast<unsigned char>(text[end]))) ++end;
    const bool number = end > i && (i == 0 || !std::isalnum(static_cast<unsigned char>(text[i - 1])));
    if (number && end - i <= 18) {
      out += grouped(std::stoll(text.substr(i, end - i)));
      i = end;
    } else if (end > i) {
      out += text.substr(i, end - i);
      i = end;
    } else {
      out += text[i++];
    }
  }
  return out;
}

std::string plural(int64_t n, const std::string& noun) { return grouped(n) + " " + noun + (n == 1 ? "" : "s"); }

size_t width(const std::string& text) {
  size_t n = 0;
  for (unsigned char c : text) n += (c & 0xC0) != 0x80;
  return n;
}

std::string pad(const std::string& text, size_t to, bool right) {
  const size_t have = width(text);
  if (have >= to) return text;
  const std::string spaces(to - have, ' ');
  return right ? spaces + text : text + spaces;
}

}  // namespace nnlc::report
