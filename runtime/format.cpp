// Values as text. The tensor layout follows PyTorch's torch/_tensor_str.py with its default options.
#include "runtime/format.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstring>

#include "runtime/dtype.h"
#include "runtime/half.h"

namespace nnl {

namespace {

// ---------------------------------------------------------------- floats

template <class T>
std::string shortest(T v) {
  if (std::isnan(v)) return "nan";
  if (std::isinf(v)) return v < 0 ? "-inf" : "inf";
  char buffer[64];
  // to_chars gives the fewest digits that read back; the form of the exponent is chosen here, as Python does.
  auto [end, ec] = std::to_chars(buffer, buffer + sizeof buffer, v, std::chars_format::scientific);
  std::string s(buffer, end);
  const size_t e = s.find('e');
  const int exponent = std::atoi(s.c_str() + e + 1);
  std::string mantissa = s.substr(0, e), sign;
  if (mantissa[0] == '-') sign = "-", mantissa.erase(0, 1);
  std::string digits = mantissa.substr(0, 1) + (mantissa.size() > 2 ? mantissa.substr(2) : "");
  const auto n = static_cast<int>(digits.size());
  if (exponent < -4 || exponent >= 16) {
    std::string out = sign + digits.substr(0, 1);
    if (n > 1) out += "." + digits.substr(1);
    return out + fmt::format("e{}{:02}", exponent < 0 ? '-' : '+', std::abs(exponent));
  }
  if (exponent < 0) return sign + "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
  if (n <= exponent + 1) return sign + digits + std::string(static_cast<size_t>(exponent + 1 - n), '0') + ".0";
  return sign + digits.substr(0, static_cast<size_t>(exponent) + 1) + "." +
         digits.substr(static_cast<size_t>(exponent) + 1);
}

// ---------------------------------------------------------------- format specifications

struct Spec {
  std::string fill = " ";
  char align = 0;  // < > ^, 0: by kind
  char sign = '-';
  bool alternate = false, zero = false;
  int width = 0, precision = -1;
  char type = 0;
};

int sequence_length(char c) {
  const auto b = static_cast<unsigned char>(c);
  return b < 0x80 ? 1 : b < 0xE0 ? 2 : b < 0xF0 ? 3 : 4;
}

size_t code_points(std::string_view s) {
  return static_cast<size_t>(
      std::count_if(s.begin(), s.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

constexpr int kMostWidth = 10000;

/// Fills `out`, or says what is wrong.
std::optional<std::string> parse_spec(std::string_view s, SpecKind kind, Spec& out) {
  size_t i = 0;
  const auto is_align = [](char c) { return c == '<' || c == '>' || c == '^'; };
  if (!s.empty()) {
    const auto first = static_cast<size_t>(sequence_length(s[0]));
    if (first < s.size() && is_align(s[first])) {
      out.fill = std::string(s.substr(0, first));
      out.align = s[first];
      i = first + 1;
    } else if (is_align(s[0])) {
      out.align = s[0];
      i = 1;
    }
  }
  bool signed_ = false;
  if (i < s.size() && (s[i] == '+' || s[i] == '-' || s[i] == ' ')) out.sign = s[i++], signed_ = true;
  if (i < s.size() && s[i] == '#') out.alternate = true, ++i;
  if (i < s.size() && s[i] == '0') out.zero = true, ++i;
  const auto read_int = [&](int& to) {
    const size_t from = i;
    int64_t v = 0;
    while (i < s.size() && s[i] >= '0' && s[i] <= '9' && v < 1000000) v = v * 10 + (s[i++] - '0');
    to = static_cast<int>(v);
    return i > from;
  };
  if (read_int(out.width) && out.width > kMostWidth) return fmt::format("a width of {} is too large", out.width);
  if (i < s.size() && s[i] == '{') return "a width or precision that is computed is not supported yet";
  if (i < s.size() && s[i] == '.') {
    ++i;
    if (i < s.size() && s[i] == '{') return "a width or precision that is computed is not supported yet";
    if (!read_int(out.precision)) return "a number is missing after `.`";
    if (out.precision > 1000) return fmt::format("a precision of {} is too large", out.precision);
  }
  if (i < s.size()) out.type = s[i++];
  if (i < s.size()) return fmt::format("`{}` is no format specification", s);
  static constexpr std::string_view kInt = "dbBoxXc", kFloat = "aAeEfFgG%", kText = "s";
  const bool float_type = out.type && kFloat.find(out.type) != kFloat.npos;
  if (out.type && !float_type && kInt.find(out.type) == kInt.npos && kText.find(out.type) == kText.npos)
    return fmt::format("`{}` is no type of a format", std::string_view(&s[s.size() - 1], 1));
  switch (kind) {
    case SpecKind::text:
      if (out.type && out.type != 's') return fmt::format("`{}` is for numbers, and this is a str", out.type);
      if (signed_ || out.alternate || out.zero) return "a sign, `#` or `0` is for numbers, and this is a str";
      break;
    case SpecKind::boolean:
      if (out.type && (float_type || out.type == 'c'))
        return fmt::format("`{}` is for numbers, and this is a bool", out.type);
      if (out.precision >= 0) return "a precision is for floats and strs, and this is a bool";
      if ((!out.type || out.type == 's') && (signed_ || out.alternate || out.zero))
        return "a sign, `#` or `0` is for numbers, and this is a bool";
      break;
    case SpecKind::integer:
      if (out.type == 's') return "`s` is for strs, and this is an int";
      if (out.precision >= 0 && !float_type) return "a precision is for floats and strs, and this is an int";
      if (out.type == 'c' && (signed_ || out.alternate || out.zero)) return "a sign, `#` or `0` doesn't go with `c`";
      break;
    case SpecKind::floating:
      if (out.type && !float_type)
        return fmt::format("`{}` is for {}, and this is a float", out.type, out.type == 's' ? "strs" : "ints");
      break;
  }
  return std::nullopt;
}

/// body without sign; prefix: "0x" and the like.
std::string pad_number(const Spec& f, bool negative, std::string prefix, const std::string& body, bool finite = true) {
  std::string head = negative ? "-" : f.sign == '+' ? "+" : f.sign == ' ' ? " " : "";
  head += prefix;
  const size_t used = code_points(head) + code_points(body), width = static_cast<size_t>(f.width);
  if (used >= width) return head + body;
  const size_t rest = width - used;
  if (f.zero && !f.align && finite) return head + std::string(rest, '0') + body;
  const char align = f.align ? f.align : '>';
  const size_t left = align == '<' ? 0 : align == '>' ? rest : rest / 2;
  std::string out;
  for (size_t i = 0; i < left; ++i) out += f.fill;
  out += head + body;
  for (size_t i = left; i < rest; ++i) out += f.fill;
  return out;
}

std::string pad_text(const Spec& f, std::string_view s) {
  if (f.precision >= 0) {
    size_t at = 0;
    for (int n = 0; n < f.precision && at < s.size(); ++n) at += static_cast<size_t>(sequence_length(s[at]));
    s = s.substr(0, std::min(at, s.size()));
  }
  Spec g = f;
  g.zero = false;
  g.sign = '-';
  if (!g.align) g.align = '<';
  return pad_number(g, false, "", std::string(s));
}

std::string format_double(const Spec& f, double v) {
  const bool negative = std::signbit(v) && !std::isnan(v);
  const double a = std::fabs(v);
  std::string body;
  char type = f.type;
  if (!std::isfinite(v)) {
    body = std::isnan(v) ? "nan" : "inf";
    if (type == 'F' || type == 'E' || type == 'G' || type == 'A')
      for (char& c : body) c = static_cast<char>(c - 'a' + 'A');
    if (type == '%') body += '%';
    return pad_number(f, negative, "", body, false);
  }
  if (type == '%') {
    body =
        fmt::format(fmt::runtime(f.alternate ? "{:#.{}f}%" : "{:.{}f}%"), a * 100.0, f.precision < 0 ? 6 : f.precision);
  } else if (type == 0 && f.precision < 0) {
    body = shortest(a);
  } else {
    std::string spec = "{:";
    if (f.alternate) spec += '#';
    if (f.precision >= 0) spec += "." + std::to_string(f.precision);
    spec += type ? type : 'g';
    body = fmt::format(fmt::runtime(spec + "}"), a);
  }
  std::string prefix;
  if ((type == 'a' || type == 'A') && body.size() > 2 && body[0] == '0') body.erase(0, 2);  // std::format writes no 0x
  return pad_number(f, negative, prefix, body);
}

std::string encode_utf8(uint32_t c) {
  std::string s;
  if (c < 0x80) {
    s += static_cast<char>(c);
  } else if (c < 0x800) {
    s += static_cast<char>(0xC0 | c >> 6);
    s += static_cast<char>(0x80 | (c & 63));
  } else if (c < 0x10000) {
    s += static_cast<char>(0xE0 | c >> 12);
    s += static_cast<char>(0x80 | (c >> 6 & 63));
    s += static_cast<char>(0x80 | (c & 63));
  } else {
    s += static_cast<char>(0xF0 | c >> 18);
    s += static_cast<char>(0x80 | (c >> 12 & 63));
    s += static_cast<char>(0x80 | (c >> 6 & 63));
    s += static_cast<char>(0x80 | (c & 63));
  }
  return s;
}

std::string format_int(const Spec& f, int64_t v) {
  const bool negative = v < 0;
  const uint64_t a = negative ? ~static_cast<uint64_t>(v) + 1 : static_cast<uint64_t>(v);
  switch (f.type) {
    case 'b':
      return pad_number(f, negative, f.alternate ? "0b" : "", fmt::format("{:b}", a));
    case 'B':
      return pad_number(f, negative, f.alternate ? "0B" : "", fmt::format("{:b}", a));
    case 'o':
      return pad_number(f, negative, f.alternate && a ? "0" : "", fmt::format("{:o}", a));
    case 'x':
      return pad_number(f, negative, f.alternate ? "0x" : "", fmt::format("{:x}", a));
    case 'X':
      return pad_number(f, negative, f.alternate ? "0X" : "", fmt::format("{:X}", a));
    case 'c': {
      const bool valid = v >= 0 && v <= 0x10FFFF && !(v >= 0xD800 && v <= 0xDFFF);
      return pad_text(f, encode_utf8(valid ? static_cast<uint32_t>(v) : 0xFFFD));
    }
    case 0:
    case 'd':
      return pad_number(f, negative, "", std::to_string(a));
    default:
      return format_double(f, static_cast<double>(v));
  }
}

// ---------------------------------------------------------------- tensors

constexpr int64_t kThreshold = 1000, kEdge = 3, kLineWidth = 80;

/// One tensor's elements as printed: all of one width.
class TensorPrinter {
 public:
  TensorPrinter(const void* data, int dtype, const std::vector<int64_t>& shape)
      : data_(data), dtype_(dtype), shape_(shape) {
    int64_t n = 1;
    for (size_t i = shape.size(); i-- > 0;) strides_.insert(strides_.begin(), n), n *= shape[i];
    count_ = n;
    summarize_ = n > kThreshold;
  }
  bool is_float() const { return dtype_ >= NNL_F16; }

  std::string body(size_t indent) {
    measure();
    return part(0, 0, indent);
  }
  int64_t count() const { return count_; }

 private:
  double float_at(int64_t i) const {
    switch (dtype_) {
      case NNL_F16:
        return f16_to_f32(static_cast<const uint16_t*>(data_)[i]);
      case NNL_BF16:
        return bf16_to_f32(static_cast<const uint16_t*>(data_)[i]);
      case NNL_F32:
        return static_cast<const float*>(data_)[i];
      default:
        return static_cast<const double*>(data_)[i];
    }
  }
  int64_t int_at(int64_t i) const {
    switch (dtype_) {
      case NNL_U8:
        return static_cast<const uint8_t*>(data_)[i];
      case NNL_I8:
        return static_cast<const int8_t*>(data_)[i];
      case NNL_I16:
        return static_cast<const int16_t*>(data_)[i];
      case NNL_I32:
        return static_cast<const int32_t*>(data_)[i];
      default:
        return static_cast<const int64_t*>(data_)[i];
    }
  }

  /// fn of each element that is shown.
  template <class F>
  void shown(size_t axis, int64_t at, F&& fn) const {
    if (axis == shape_.size()) return fn(at);
    const int64_t n = shape_[axis];
    for (int64_t i = 0; i < n; ++i) {
      if (summarize_ && n > 2 * kEdge && i == kEdge) i = n - kEdge;
      shown(axis + 1, at + i * strides_[axis], fn);
    }
  }

  void measure() {
    if (!is_float()) {
      shown(0, 0, [&](int64_t i) { width_ = std::max(width_, element(i, false).size()); });
      return;
    }
    double least = INFINITY, most = 0;
    bool any = false;
    shown(0, 0, [&](int64_t i) {
      const double v = float_at(i);
      if (!std::isfinite(v) || v == 0) return;
      any = true;
      least = std::min(least, std::fabs(v));
      most = std::max(most, std::fabs(v));
      if (v != std::ceil(v)) whole_ = false;
    });
    if (!any) return;
    scientific_ = most / least > 1000.0 || most > 1e8 || (!whole_ && least < 1e-4);
    shown(0, 0, [&](int64_t i) {
      const double v = float_at(i);
      if (std::isfinite(v) && v != 0) width_ = std::max(width_, element(i, false).size());
    });
  }

  std::string element(int64_t i, bool padded = true) const {
    std::string s;
    if (dtype_ == NNL_BOOL) {
      s = static_cast<const uint8_t*>(data_)[i] ? "True" : "False";
    } else if (!is_float()) {
      s = std::to_string(int_at(i));
    } else {
      const double v = float_at(i);
      if (std::isnan(v))
        s = "nan";
      else if (scientific_)
        s = fmt::format("{:.4e}", v);
      else if (whole_)
        s = fmt::format("{:.0f}", v) + (std::isfinite(v) ? "." : "");
      else
        s = fmt::format("{:.4f}", v);
    }
    if (padded && s.size() < width_) s.insert(0, width_ - s.size(), ' ');
    return s;
  }

  std::string part(size_t axis, int64_t at, size_t indent) const {
    if (axis == shape_.size()) return element(at);
    const int64_t n = shape_[axis];
    const bool cut = summarize_ && n > 2 * kEdge;
    std::vector<std::string> parts;
    const bool last = axis + 1 == shape_.size();
    for (int64_t i = 0; i < n; ++i) {
      if (cut && i == kEdge) {
        parts.push_back(last ? " ..." : "...");
        i = n - kEdge;
      }
      parts.push_back(part(axis + 1, at + i * strides_[axis], indent + 1));
    }
    std::string out = "[";
    if (last) {
      const auto room = kLineWidth - static_cast<int64_t>(indent);
      const int64_t per_line = std::max<int64_t>(1, room >= 0 ? room / static_cast<int64_t>(width_ + 2) : 1);
      for (size_t i = 0; i < parts.size(); ++i) {
        if (i > 0) out += i % static_cast<size_t>(per_line) == 0 ? ",\n" + std::string(indent + 1, ' ') : ", ";
        out += parts[i];
      }
    } else {
      const std::string between = "," + std::string(shape_.size() - axis - 1, '\n') + std::string(indent + 1, ' ');
      for (size_t i = 0; i < parts.size(); ++i) out += (i ? between : "") + parts[i];
    }
    return out + "]";
  }

  const void* data_;
  int dtype_;
  const std::vector<int64_t>& shape_;
  std::vector<int64_t> strides_;
  int64_t count_ = 1;
  size_t width_ = 1;
  bool summarize_ = false, whole_ = true, scientific_ = false;
};

}  // namespace

std::string format_float(double v) { return shortest(v); }
std::string format_float(float v) { return shortest(v); }

std::optional<std::string> format_spec_error(std::string_view spec, SpecKind kind) {
  Spec f;
  return parse_spec(spec, kind, f);
}

std::string format_value(std::string_view spec, int64_t v) {
  Spec f;
  return parse_spec(spec, SpecKind::integer, f) ? std::to_string(v) : format_int(f, v);
}
std::string format_value(std::string_view spec, double v) {
  Spec f;
  return parse_spec(spec, SpecKind::floating, f) ? shortest(v) : format_double(f, v);
}
std::string format_value(std::string_view spec, bool v) {
  Spec f;
  const char* text = v ? "true" : "false";
  if (parse_spec(spec, SpecKind::boolean, f)) return text;
  return f.type && f.type != 's' ? format_int(f, v ? 1 : 0) : pad_text(f, text);
}
std::string format_value(std::string_view spec, std::string_view v) {
  Spec f;
  return parse_spec(spec, SpecKind::text, f) ? std::string(v) : pad_text(f, v);
}

std::string format_tensor(const void* data, int dtype, const std::vector<int64_t>& shape) {
  const std::string prefix = "tensor(";
  TensorPrinter printer(data, dtype, shape);
  std::vector<std::string> suffixes;
  std::string out = prefix;
  if (printer.count() == 0) {
    out += "[]";
    if (shape.size() != 1) {
      std::string size = "size=(";
      for (size_t i = 0; i < shape.size(); ++i) size += (i ? ", " : "") + std::to_string(shape[i]);
      suffixes.push_back(size + ")");
    }
  } else {
    out += printer.body(prefix.size());
  }
  const bool plain = dtype == NNL_F32 || (printer.count() > 0 && (dtype == NNL_BOOL || dtype == NNL_I64));
  if (!plain) suffixes.push_back(std::string("dtype=") + dtype_name(dtype));
  const size_t newline = out.rfind('\n');
  size_t line = newline == std::string::npos ? out.size() + 2 : out.size() - newline + 1;
  for (const std::string& s : suffixes) {
    if (line + s.size() + 2 > static_cast<size_t>(kLineWidth)) {
      out += ",\n" + std::string(prefix.size(), ' ') + s;
      line = prefix.size() + s.size();
    } else {
      out += ", " + s;
      line += s.size() + 2;
    }
  }
  return out + ")";
}

}  // namespace nnl
