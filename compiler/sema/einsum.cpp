// einsum, and the products that are one: bmm, dot, outer, …
#include <algorithm>
#include <map>

#include "compiler/sema/tensor_support.h"

namespace nnlc::sema {
namespace {

/// One operand while it is worked on: a node and a label for each axis. Letters are the user's; digits and other
/// characters stand for the axes of `...`.
struct Term {
  Node* node = nullptr;
  std::string labels;
};

constexpr std::string_view kRestLabels = "0123456789!#$%&*+/:;<=>?@^_|~";

struct Einsum {
  BuiltinCall& c;
  std::string equation;
  Span at;
  std::vector<Term> terms{};
  std::map<char, Dim> sizes{};
  std::string output{};

  bool bad(const std::string& what, const std::string& help = "") {
    DiagnosticBuilder b = c.ev.error(Code::BadEinsum, at, "einsum: " + what);
    if (!help.empty()) b.help(help);
    return false;
  }

  static bool is_letter(char ch) { return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z'); }

  /// A group of labels, with `...` as `.`.
  std::optional<std::string> group(const std::string& text) {
    std::string out;
    for (size_t i = 0; i < text.size(); ++i) {
      if (text[i] == '.') {
        if (text.compare(i, 3, "...") != 0 || out.find('.') != std::string::npos) {
          bad("`...` stands once in a group, as three points");
          return std::nullopt;
        }
        out += '.';
        i += 2;
      } else if (is_letter(text[i])) {
        out += text[i];
      } else {
        bad(std::string("`") + text[i] + "` can't be in an equation",
            "letters for axes, commas between operands, `->` before the result");
        return std::nullopt;
      }
    }
    return out;
  }

  bool parse(const std::vector<TensorValue>& operands) {
    std::string text;
    for (char ch : equation)
      if (ch != ' ') text += ch;
    const size_t arrow = text.find("->");
    const std::string left = text.substr(0, arrow);
    std::vector<std::string> groups;
    for (size_t from = 0;;) {
      const size_t comma = left.find(',', from);
      auto g = group(left.substr(from, comma == std::string::npos ? std::string::npos : comma - from));
      if (!g) return false;
      groups.push_back(*g);
      if (comma == std::string::npos) break;
      from = comma + 1;
    }
    if (groups.size() != operands.size())
      return bad("the equation has " + std::to_string(groups.size()) + (groups.size() == 1 ? " operand" : " operands") +
                 ", the call " + std::to_string(operands.size()));
    // The rank that `...` stands for: the largest; smaller ones are aligned to the right.
    size_t rest = 0;
    bool any_rest = false;
    for (size_t i = 0; i < groups.size(); ++i) {
      const size_t rank = operands[i].type.rank();
      const bool has_rest = groups[i].find('.') != std::string::npos;
      const size_t letters = groups[i].size() - (has_rest ? 1 : 0);
      if (has_rest ? letters > rank : letters != rank) {
        c.ev.error(Code::BadEinsum, at,
                   "einsum: `" + shown(groups[i]) + "` names " + std::to_string(letters) +
                       (letters == 1 ? " axis" : " axes") + " of " + type_text(operands[i]))
            .label(c.rest[i].span, "is " + type_text(operands[i]));
        return false;
      }
      if (has_rest) rest = std::max(rest, rank - letters);
      any_rest |= has_rest;
    }
    if (rest > kRestLabels.size()) return bad("too many axes");
    const std::string rest_labels(kRestLabels.substr(0, rest));
    for (size_t i = 0; i < groups.size(); ++i) {
      std::string labels;
      for (char ch : groups[i]) {
        if (ch != '.')
          labels += ch;
        else
          labels += rest_labels.substr(rest - (operands[i].type.rank() - (groups[i].size() - 1)));
      }
      terms.push_back({c.ev.node(operands[i]), labels});
    }
    for (size_t i = 0; i < terms.size(); ++i)
      for (size_t a = 0; a < terms[i].labels.size(); ++a) {
        const char label = terms[i].labels[a];
        const Dim& size = operands[i].type.shape[a];
        auto [it, is_new] = sizes.emplace(label, size);
        if (is_new || it->second == size || size == Dim(1)) continue;
        if (it->second == Dim(1)) {
          it->second = size;
          continue;
        }
        DiagnosticBuilder b = c.ev.error(Code::BadEinsum, at,
                                         std::string("einsum: ") +
                                             (is_letter(label) ? std::string("`") + label + "`" : "an axis of `...`") +
                                             " is " + it->second.str() + " and " + size.str());
        for (size_t j = 0; j <= i; ++j)
          if (terms[j].labels.find(label) != std::string::npos) b.label(c.rest[j].span, "is " + type_text(operands[j]));
        return false;
      }
    if (arrow == std::string::npos) {
      // Letters that occur once, in order; the axes of `...` first.
      std::map<char, int> count;
      for (const Term& t : terms)
        for (char ch : t.labels) ++count[ch];
      output = any_rest ? rest_labels : "";
      std::string letters;
      for (auto& [ch, n] : count)
        if (is_letter(ch) && n == 1) letters += ch;
      output += letters;
      return true;
    }
    auto out = group(text.substr(arrow + 2));
    if (!out) return false;
    for (char ch : *out) {
      if (ch == '.') {
        output += rest_labels;
        continue;
      }
      if (!sizes.count(ch)) return bad(std::string("the result names `") + ch + "`, which no operand has");
      if (output.find(ch) != std::string::npos) return bad(std::string("the result names `") + ch + "` twice");
      output += ch;
    }
    return true;
  }

  static std::string shown(const std::string& g) {
    std::string s;
    for (char ch : g) s += ch == '.' ? "..." : std::string(1, ch);
    return s;
  }

  /// A label twice in one operand: its diagonal. An axis of size 1 that others are longer along: dropped.
  void normalise(Term& t) {
    graph::Graph& g = c.ev.graph();
    for (size_t i = 0; i < t.labels.size(); ++i) {
      const size_t j = t.labels.find(t.labels[i], i + 1);
      if (j == std::string::npos) continue;
      // [.., n, n] at the end, seen as [.., n * n], every n + 1st element.
      IntList perm;
      std::string labels;
      for (size_t a = 0; a < t.labels.size(); ++a)
        if (a != i && a != j) {
          perm.push_back(static_cast<int64_t>(a));
          labels += t.labels[a];
        }
      labels += t.labels[i];
      const Dim n = t.node->type.shape[i];
      perm.push_back(static_cast<int64_t>(i));
      perm.push_back(static_cast<int64_t>(j));
      Node* x = graph::permute(g, t.node, perm, c.span);
      Shape flat = x->type.shape;
      flat.pop_back();
      flat.back() = n * n;
      Shape diagonal = flat;
      diagonal.back() = n;
      if (n.is_constant()) {
        x = graph::reshape(g, x, flat, c.span);
        IntList steps(flat.size(), 1);
        steps.back() = n.value() + 1;
        x = graph::slice(g, x, Shape(flat.size(), Dim(0)), diagonal, steps, c.span);
      } else {
        x = open_tensor(c.ev, {x->type.dtype, diagonal}, c.span);
      }
      t.node = x;
      t.labels = labels;
      i = static_cast<size_t>(-1);  // begin again
    }
    Shape kept;
    std::string labels;
    for (size_t a = 0; a < t.labels.size(); ++a) {
      if (t.node->type.shape[a] == Dim(1) && !(sizes.at(t.labels[a]) == Dim(1))) continue;
      kept.push_back(t.node->type.shape[a]);
      labels += t.labels[a];
    }
    t.node = reshape_node(c.ev, t.node, kept, c.span);
    t.labels = labels;
  }

  /// Sums over labels that nothing else needs.
  void sum_out(Term& t, const std::string& needed) {
    IntList axes;
    std::string labels;
    for (size_t a = 0; a < t.labels.size(); ++a) {
      if (needed.find(t.labels[a]) == std::string::npos)
        axes.push_back(static_cast<int64_t>(a));
      else
        labels += t.labels[a];
    }
    if (!axes.empty()) t.node = graph::reduce(c.ev.graph(), "sum", t.node, axes, c.span);
    t.labels = labels;
  }

  Node* run() {
    graph::Graph& g = c.ev.graph();
    for (Term& t : terms) normalise(t);
    auto needed_after = [&](size_t first) {
      std::string s = output;
      for (size_t i = first; i < terms.size(); ++i) s += terms[i].labels;
      return s;
    };
    Term acc = terms[0];
    sum_out(acc, needed_after(1));
    for (size_t i = 1; i < terms.size(); ++i) {
      Term t = terms[i];
      sum_out(t, needed_after(i + 1) + acc.labels);
      const std::string later = needed_after(i + 1);
      std::string out;
      for (char ch : acc.labels)
        if (later.find(ch) != std::string::npos) out += ch;
      for (char ch : t.labels)
        if (later.find(ch) != std::string::npos && out.find(ch) == std::string::npos) out += ch;
      if (i + 1 == terms.size()) {  // the last product gives the result's order at once
        std::string ordered;
        for (char ch : output)
          if (out.find(ch) != std::string::npos) ordered += ch;
        out = ordered;
      }
      auto [la, lb, lo] = plain_labels(acc.labels, t.labels, out);
      acc.node = graph::contract(g, acc.node, t.node, la, lb, lo, c.span);
      acc.labels = out;
    }
    sum_out(acc, output);
    // Into the result's order; an axis that was 1 everywhere it occurred was kept, so all are there.
    IntList perm;
    for (char ch : output) perm.push_back(static_cast<int64_t>(acc.labels.find(ch)));
    bool in_order = true;
    for (size_t i = 0; i < perm.size(); ++i) in_order &= perm[i] == static_cast<int64_t>(i);
    return in_order ? acc.node : graph::permute(g, acc.node, perm, c.span);
  }

  /// Letters only: the ones of `...` get names that aren't in use.
  static std::tuple<std::string, std::string, std::string> plain_labels(const std::string& a, const std::string& b,
                                                                        const std::string& o) {
    std::map<char, char> to;
    std::string free = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    auto map = [&](const std::string& s) {
      std::string r;
      for (char ch : s) {
        auto [it, is_new] = to.emplace(ch, 'a');
        if (is_new) {
          it->second = free.front();
          free.erase(free.begin());
        }
        r += it->second;
      }
      return r;
    };
    std::string la = map(a), lb = map(b), lo = map(o);
    return {la, lb, lo};
  }
};

Value einsum(BuiltinCall& c) {
  auto equation = c.text("equation");
  if (!equation) return {};
  // einsum("ij,jk", [a, b]) as well.
  if (c.rest.size() == 1)
    if (const SequenceValue* s = sequence(c.rest[0].value)) {
      const ArgValue list = c.rest[0];
      c.rest.clear();
      for (const Value& v : s->items) c.rest.push_back({"", {}, v, list.span});
    }
  std::vector<Value> values;
  std::vector<Span> spans;
  for (const ArgValue& a : c.rest) {
    values.push_back(a.value);
    spans.push_back(a.span);
  }
  if (values.empty()) {
    c.ev.error(Code::BadEinsum, c.span, "einsum needs operands").help("`einsum(\"ij,jk->ik\", a, b)`");
    return {};
  }
  auto operands = unify(c.ev, values, spans, c.span, "einsum");
  if (!operands) return {};
  for (size_t i = 0; i < operands->size(); ++i)
    if (!need_number(c.ev, (*operands)[i], spans[i], "einsum")) return {};
  Einsum e{c, *equation, c.arg("equation").span};
  if (!e.parse(*operands)) return {};
  return Value(c.ev.tensor(e.run(), c.span), c.span);
}

Value product(BuiltinCall& c) {
  auto a = c.tensor("a"), b = c.tensor("b");
  if (!a || !b) return {};
  const std::string f(c.builtin.name);
  const Span as = c.arg("a").span, bs = c.arg("b").span;
  const size_t rank = f == "bmm" ? 3 : f == "mm" ? 2 : 1;
  const size_t rank_a = f == "mv" ? 2 : rank, rank_b = f == "mv" ? 1 : rank;
  if (a->type.rank() != rank_a || b->type.rank() != rank_b) {
    DiagnosticBuilder d =
        c.ev.error(Code::RankMismatch, c.span,
                   f + " takes tensors of rank " + std::to_string(rank_a) + " and " + std::to_string(rank_b));
    d.label(as, "is " + type_text(*a)).label(bs, "is " + type_text(*b)).help("`@` takes any ranks");
    return {};
  }
  if (f == "outer") {
    if (!need_number(c.ev, *a, as, f) || !unify(c.ev, {Value(*a), Value(*b)}, {as, bs}, c.span, f)) return {};
    return Value(
        c.ev.tensor(graph::contract(c.ev.graph(), c.ev.node(*a), c.ev.node(*b), "i", "j", "ij", c.span), c.span),
        c.span);
  }
  if (f == "bmm" && !(a->type.shape[0] == b->type.shape[0])) {
    c.ev.error(Code::OperandShapes, c.span,
               "bmm: the batches differ, " + a->type.shape[0].str() + " and " + b->type.shape[0].str())
        .label(as, "is " + type_text(*a))
        .label(bs, "is " + type_text(*b));
    return {};
  }
  return matmul_value(c.ev, *a, *b, c.span, as, bs, f);
}

Value trace(BuiltinCall& c) {
  auto x = c.tensor("x");
  if (!x || !need_number(c.ev, *x, c.arg("x").span, std::string(c.builtin.name))) return {};
  if (x->type.rank() != 2) {
    c.ev.error(Code::RankMismatch, c.arg("x").span,
               std::string(c.builtin.name) + " is for rank 2, but this is " + type_text(*x));
    return {};
  }
  const Dim &rows = x->type.shape[0], &columns = x->type.shape[1];
  graph::Graph& g = c.ev.graph();
  Node* d = nullptr;
  if (rows.is_constant() && columns.is_constant()) {
    const int64_t n = std::min(rows.value(), columns.value()), m = columns.value();
    // The first n rows, padded to end with a whole step of m + 1.
    Node* flat = graph::reshape(g, c.ev.node(*x), {rows * columns}, c.span);
    d = graph::slice(g, flat, {Dim(0)}, {Dim(n)}, {m + 1}, c.span);
  } else {
    d = open_tensor(c.ev, {x->type.dtype, {rows}}, c.span);
  }
  if (c.builtin.name == "diagonal") return Value(c.ev.tensor(d, c.span), c.span);
  if (!graph::is_float(d->type.dtype)) d = graph::cast(g, d, DType::i64, c.span);
  return Value(c.ev.tensor(graph::reduce(g, "sum", d, {0}, c.span), c.span), c.span);
}

}  // namespace

std::vector<Builtin> einsum_builtins() {
  return {
      {"einsum", "equation, *operands", einsum, "products and sums by axis labels, as in PyTorch"},
      {"bmm", "a, b", product, "batched matrix product of [B, M, K] and [B, K, N]"},
      {"mm", "a, b", product, "matrix product of [M, K] and [K, N]; `@` does the same"},
      {"mv", "a, b", product, "matrix times vector"},
      {"dot", "a, b", product, "the sum of products of two vectors"},
      {"outer", "a, b", product, "[M, N] of all products of two vectors"},
      {"trace", "x", trace, "the sum of the diagonal"},
      {"diagonal", "x", trace, "the diagonal of a matrix"},
  };
}

}  // namespace nnlc::sema
