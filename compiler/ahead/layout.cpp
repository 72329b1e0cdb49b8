#include "compiler/ahead/layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

namespace nnlc::ahead {

namespace {

const std::set<std::string_view>& keywords() {
  static const std::set<std::string_view> words = {
      "alignas", "alignof",  "and",      "asm",       "auto",      "bool",    "break",     "case",     "catch",
      "char",    "class",    "const",    "constexpr", "continue",  "default", "delete",    "do",       "double",
      "else",    "enum",     "explicit", "export",    "extern",    "false",   "float",     "for",      "friend",
      "goto",    "if",       "inline",   "int",       "long",      "mutable", "namespace", "new",      "not",
      "nullptr", "operator", "or",       "private",   "protected", "public",  "register",  "requires", "restrict",
      "return",  "short",    "signed",   "sizeof",    "static",    "struct",  "switch",    "template", "this",
      "throw",   "true",     "try",      "typedef",   "typename",  "union",   "unsigned",  "using",    "virtual",
      "void",    "volatile", "while",    "xor",       "int8_t",    "uint8_t", "int16_t",   "uint16_t", "int32_t",
      "int64_t", "size_t"};
  return words;
}

}  // namespace

std::string c_identifier(std::string_view path) {
  std::string out;
  for (size_t i = 0; i < path.size();) {
    const auto c = static_cast<unsigned char>(path[i]);
    if (c < 0x80) {
      out += std::isalnum(c) ? static_cast<char>(c) : '_';
      ++i;
      continue;
    }
    // A code point outside ASCII by its number: not every C compiler takes it in a name.
    const size_t length = c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : 2;
    uint32_t code = c & (0xFFu >> (length + 1));
    for (size_t k = 1; k < length && i + k < path.size(); ++k)
      code = code << 6 | (static_cast<unsigned char>(path[i + k]) & 0x3Fu);
    out += fmt::format("u{:04x}", code);
    i += length;
  }
  if (out.empty() || std::isdigit(static_cast<unsigned char>(out[0]))) out = "_" + out;
  if (keywords().count(out)) out += '_';
  return out;
}

std::string c_prefix(std::string_view name) {
  std::string out;
  for (size_t i = 0; i < name.size(); ++i) {
    const auto c = static_cast<unsigned char>(name[i]);
    const bool after_lower = i > 0 && !std::isupper(static_cast<unsigned char>(name[i - 1])) && name[i - 1] != '_';
    // "HTTPNet": the N begins a word.
    const bool begins_word = i > 0 && i + 1 < name.size() && std::isupper(static_cast<unsigned char>(name[i - 1])) &&
                             std::islower(static_cast<unsigned char>(name[i + 1]));
    if (std::isupper(c) && (after_lower || begins_word)) out += '_';
    out += static_cast<char>(std::tolower(c));
  }
  return c_identifier(out);
}

std::string upper(std::string_view s) {
  std::string out(s);
  for (char& c : out) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return out;
}

std::string c_type(graph::DType t) {
  switch (t) {
    case graph::DType::boolean:
    case graph::DType::u8:
      return "uint8_t";
    case graph::DType::i8:
      return "int8_t";
    case graph::DType::i16:
      return "int16_t";
    case graph::DType::f16:
    case graph::DType::bf16:
      return "uint16_t";
    case graph::DType::i32:
      return "int32_t";
    case graph::DType::i64:
      return "int64_t";
    case graph::DType::f32:
      return "float";
    case graph::DType::f64:
      return "double";
  }
  return "void";
}

std::string Names::add(std::string wanted) {
  std::string name = wanted;
  for (int k = 2; !taken_.insert(name).second; ++k) name = fmt::format("{}_{}", wanted, k);
  return name;
}

int64_t Field::elements() const {
  int64_t n = 1;
  for (int64_t d : graph::sizes(type.shape)) n *= d;
  return n;
}

Field& Struct::add(std::string name, std::string note, graph::TensorType type, host::Reg reg) {
  Field f;
  f.name = names_.add(c_identifier(name));
  f.note = std::move(note);
  f.type = std::move(type);
  f.reg = reg;
  const auto element = static_cast<int64_t>(graph::size_bytes(f.type.dtype));
  f.offset = (end_ + element - 1) / element * element;
  f.bytes = f.elements() * element;
  end_ = f.offset + std::max(f.bytes, element);  // C has no arrays of nothing: those get one element
  alignment_ = std::max(alignment_, element);
  bytes = (end_ + alignment_ - 1) / alignment_ * alignment_;
  fields.push_back(std::move(f));
  return fields.back();
}

const Field* Struct::find(host::Reg reg) const {
  for (const Field& f : fields)
    if (f.reg == reg) return &f;
  return nullptr;
}

}  // namespace nnlc::ahead
