// Graphs as text. Names and numbers come from the order of nodes, so that a text is the same on every run.
#include <bit>
#include <charconv>
#include <cmath>
#include <unordered_map>
#include <unordered_set>

#include "compiler/graph/graph.h"
#include "compiler/ops/op.h"

namespace nnlc::graph {
namespace {

std::string quoted(std::string_view s) {
  std::string r = "\"";
  for (char c : s) {
    if (c == '"' || c == '\\') r += '\\';
    if (c == '\n')
      r += "\\n";
    else
      r += c;
  }
  return r + '"';
}

/// A name as it stands behind `%` or `@`: bare where it is a path of identifiers.
std::string reference(std::string_view s) {
  bool bare = !s.empty() && !(s[0] >= '0' && s[0] <= '9');
  for (char c : s)
    bare &= (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.';
  return bare ? std::string(s) : quoted(s);
}

/// The shortest text that reads back to the same double; always recognisable as a float.
std::string float_text(double v) {
  if (std::isnan(v)) return std::signbit(v) ? "-nan" : "nan";
  if (std::isinf(v)) return v < 0 ? "-inf" : "inf";
  char buffer[40];
  auto [end, error] = std::to_chars(buffer, buffer + sizeof buffer, v);
  std::string s(buffer, end);
  return s.find_first_of(".e") == std::string::npos ? s + ".0" : s;
}

template <class T, class F>
std::string list(const T& items, F f) {
  std::string r = "[";
  for (size_t i = 0; i < items.size(); ++i) r += (i ? ", " : "") + f(items[i]);
  return r + "]";
}

std::string attr_text(const Node& n, const std::string& key, const Attr& a) {
  struct Visitor {
    bool as_floats;
    std::string operator()(int64_t v) { return std::to_string(v); }
    std::string operator()(double v) { return float_text(v); }
    std::string operator()(bool v) { return v ? "true" : "false"; }
    std::string operator()(const std::string& v) { return quoted(v); }
    std::string operator()(const IntList& v) {
      if (as_floats) return list(v, [](int64_t bits) { return float_text(std::bit_cast<double>(bits)); });
      return list(v, [](int64_t i) { return std::to_string(i); });
    }
    std::string operator()(const Shape& v) { return str(v); }
    std::string operator()(DType v) { return std::string(name(v)); }
  };
  return std::visit(Visitor{key == "values" && is_float(n.type.dtype)}, a);
}

}  // namespace

std::string print(const Graph& g, const SourceManager* sources) {
  std::unordered_map<const Node*, std::string> names;
  std::unordered_set<std::string> taken;
  std::string s = "graph @" + reference(g.name) + "(";
  for (size_t i = 0; i < g.inputs.size(); ++i) {
    const std::string& own = g.inputs[i]->name.empty() ? "input" : g.inputs[i]->name;
    std::string unique = own;
    for (int k = 2; !taken.insert(unique).second; ++k) unique = own + "_" + std::to_string(k);
    names[g.inputs[i]] = "%" + reference(unique);
    s += (i ? ", " : "") + names[g.inputs[i]] + ": " + g.inputs[i]->type.str();
  }
  s += ") {\n";
  int number = 0;
  for (const Node* n : g.nodes()) {
    if (names.count(n)) continue;
    std::string& own = names[n] = "%" + std::to_string(number++);
    s += "  " + own + " = " + std::string(n->op->name) + "(";
    for (size_t i = 0; i < n->operands.size(); ++i) s += (i ? ", " : "") + names[n->operands[i]];
    s += ")";
    if (!n->attrs.empty()) {
      s += " {";
      bool first = true;
      for (auto& [key, value] : n->attrs) {
        s += (first ? "" : ", ") + key + " = " + attr_text(*n, key, value);
        first = false;
      }
      s += "}";
    }
    s += " : " + n->type.str();
    if (sources && n->span.valid()) s += "  loc(" + sources->describe(n->span) + ")";
    s += "\n";
  }
  s += "  return";
  for (size_t i = 0; i < g.outputs.size(); ++i) {
    s += (i ? ", " : " ") + names[g.outputs[i].value];
    if (g.outputs[i].updates) s += " -> " + names[g.outputs[i].updates];
  }
  return s + "\n}\n";
}

}  // namespace nnlc::graph
