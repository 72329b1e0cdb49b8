// Polynomials over named sizes, kept in a normal form: monomials sorted by degree, then by their atoms.
#include "compiler/graph/dim.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <set>

namespace nnlc::graph {
namespace {

// Sizes come from users: arithmetic on them saturates instead of overflowing, and the limits on a tensor's size that
// are checked later catch what has saturated.
int64_t sat_add(int64_t a, int64_t b) {
  int64_t r;
  if (!__builtin_add_overflow(a, b, &r)) return r;
  return a > 0 ? std::numeric_limits<int64_t>::max() : -std::numeric_limits<int64_t>::max();
}
int64_t sat_mul(int64_t a, int64_t b) {
  int64_t r;
  if (!__builtin_mul_overflow(a, b, &r)) return r;
  return (a > 0) == (b > 0) ? std::numeric_limits<int64_t>::max() : -std::numeric_limits<int64_t>::max();
}
int64_t floor_quotient(int64_t a, int64_t b) {  // b != 0
  if (b == -1) return sat_mul(a, -1);
  int64_t q = a / b;
  return (a % b != 0 && (a < 0) != (b < 0)) ? q - 1 : q;
}
int64_t floor_remainder(int64_t a, int64_t b) {
  if (b == -1) return 0;
  int64_t r = a % b;
  return (r != 0 && (r < 0) != (b < 0)) ? r + b : r;
}

enum class AtomKind : uint8_t { symbol, div, mod };

/// A size's name, or `a // b` or `a % b` of two dims; compared by its text, which is a normal form.
struct Atom {
  AtomKind kind = AtomKind::symbol;
  std::string key;
  Dim a, b;  // div, mod
};
using AtomPtr = std::shared_ptr<const Atom>;

struct Factor {
  AtomPtr atom;
  int power;
};
using Monomial = std::vector<Factor>;  // sorted by the atom's key

int degree(const Monomial& m) {
  int d = 0;
  for (const Factor& f : m) d += f.power;
  return d;
}
/// A graded lexicographic order: it is kept by multiplication, which long division needs. Larger ones come first.
struct MonomialOrder {
  bool operator()(const Monomial& x, const Monomial& y) const {
    int dx = degree(x), dy = degree(y);
    if (dx != dy) return dx > dy;
    for (size_t i = 0; i < x.size() && i < y.size(); ++i) {
      if (int c = x[i].atom->key.compare(y[i].atom->key)) return c < 0;
      if (x[i].power != y[i].power) return x[i].power > y[i].power;
    }
    return x.size() > y.size();
  }
};
using Terms = std::map<Monomial, int64_t, MonomialOrder>;

Monomial product(const Monomial& x, const Monomial& y) {
  Monomial r;
  size_t i = 0, j = 0;
  while (i < x.size() || j < y.size()) {
    if (j == y.size()) {
      r.push_back(x[i++]);
      continue;
    }
    if (i == x.size()) {
      r.push_back(y[j++]);
      continue;
    }
    int c = x[i].atom->key.compare(y[j].atom->key);
    if (c < 0)
      r.push_back(x[i++]);
    else if (c > 0)
      r.push_back(y[j++]);
    else {
      r.push_back({x[i].atom, x[i].power + y[j].power});
      ++i, ++j;
    }
  }
  return r;
}
std::optional<Monomial> quotient(const Monomial& x, const Monomial& y) {
  Monomial r;
  size_t j = 0;
  for (const Factor& f : x) {
    if (j < y.size() && y[j].atom->key == f.atom->key) {
      if (y[j].power > f.power) return std::nullopt;
      if (y[j].power < f.power) r.push_back({f.atom, f.power - y[j].power});
      ++j;
    } else {
      r.push_back(f);
    }
  }
  if (j != y.size()) return std::nullopt;
  return r;
}

void add_term(Terms& t, const Monomial& m, int64_t c) {
  if (c == 0) return;
  auto [it, is_new] = t.emplace(m, c);
  if (!is_new && (it->second = sat_add(it->second, c)) == 0) t.erase(it);
}

std::string factor_text(const Dim& d) {
  std::string s = d.str();
  return s.find(' ') == std::string::npos && s[0] != '-' ? s : "(" + s + ")";
}

}  // namespace

struct Dim::Poly {
  Terms terms;  // never empty, never only the constant term

  static Terms of(const Dim& d) {
    if (d.poly_) return d.poly_->terms;
    Terms t;
    add_term(t, {}, d.constant_);
    return t;
  }
  static Dim make(Terms t) {
    if (t.empty()) return Dim(0);
    if (t.size() == 1 && t.begin()->first.empty()) return Dim(t.begin()->second);
    Dim d;
    d.poly_ = std::make_shared<const Poly>(Poly{std::move(t)});
    return d;
  }
  static Dim atom(Atom a) {
    Terms t;
    t.emplace(Monomial{{std::make_shared<const Atom>(std::move(a)), 1}}, 1);
    return make(std::move(t));
  }
  /// The one atom that a dim is, or null.
  static const Atom* as_atom(const Dim& d) {
    if (!d.poly_ || d.poly_->terms.size() != 1) return nullptr;
    auto& [m, c] = *d.poly_->terms.begin();
    return c == 1 && m.size() == 1 && m[0].power == 1 ? m[0].atom.get() : nullptr;
  }
};

Dim Dim::symbol(const std::string& name) { return Poly::atom({AtomKind::symbol, name, {}, {}}); }

int64_t Dim::value() const { return constant_; }

Dim operator+(const Dim& a, const Dim& b) {
  if (!a.poly_ && !b.poly_) return Dim(sat_add(a.constant_, b.constant_));
  Terms t = Dim::Poly::of(a);
  for (auto& [m, c] : Dim::Poly::of(b)) add_term(t, m, c);
  return Dim::Poly::make(std::move(t));
}

Dim operator-(const Dim& a, const Dim& b) { return a + Dim(-1) * b; }

Dim operator*(const Dim& a, const Dim& b) {
  if (!a.poly_ && !b.poly_) return Dim(sat_mul(a.constant_, b.constant_));
  Terms t, ta = Dim::Poly::of(a), tb = Dim::Poly::of(b);
  for (auto& [ma, ca] : ta)
    for (auto& [mb, cb] : tb) add_term(t, product(ma, mb), sat_mul(ca, cb));
  return Dim::Poly::make(std::move(t));
}

bool operator==(const Dim& a, const Dim& b) {
  if (!a.poly_ || !b.poly_) return !a.poly_ && !b.poly_ && a.constant_ == b.constant_;
  if (a.poly_ == b.poly_) return true;
  const Terms &ta = a.poly_->terms, &tb = b.poly_->terms;
  MonomialOrder before;
  return ta.size() == tb.size() && std::equal(ta.begin(), ta.end(), tb.begin(), [&](auto& x, auto& y) {
           return x.second == y.second && !before(x.first, y.first) && !before(y.first, x.first);
         });
}

std::optional<Dim> Dim::exact_div(const Dim& a, const Dim& b) {
  if (!a.poly_ && !b.poly_) {
    if (b.constant_ == 0 || floor_remainder(a.constant_, b.constant_) != 0) return std::nullopt;
    return Dim(floor_quotient(a.constant_, b.constant_));
  }
  if (b == Dim(0)) return std::nullopt;
  // Long division by one divisor: the remainder is zero exactly if b divides a.
  Terms rest = Poly::of(a), divisor = Poly::of(b), result;
  const auto lead = *divisor.begin();
  while (!rest.empty()) {
    const auto [m, c] = *rest.begin();
    auto q = quotient(m, lead.first);
    if (!q || floor_remainder(c, lead.second) != 0) return std::nullopt;
    int64_t qc = floor_quotient(c, lead.second);
    add_term(result, *q, qc);
    for (auto& [dm, dc] : divisor) add_term(rest, product(*q, dm), sat_mul(-qc, dc));
  }
  return Poly::make(std::move(result));
}

Dim Dim::floor_div(const Dim& a, const Dim& b) {
  if (!a.poly_ && !b.poly_ && b.constant_ != 0) return Dim(floor_quotient(a.constant_, b.constant_));
  if (auto exact = exact_div(a, b)) return *exact;
  if (!b.poly_ && b.constant_ > 0) {
    // (b * q + r) // b = q + r // b, where r has coefficients in [0, b).
    Terms whole, rest;
    for (auto& [m, c] : Poly::of(a)) {
      add_term(whole, m, floor_quotient(c, b.constant_));
      add_term(rest, m, floor_remainder(c, b.constant_));
    }
    Dim q = Poly::make(std::move(whole)), r = Poly::make(std::move(rest));
    if (!r.poly_) return q;
    if (const Atom* inner = Poly::as_atom(r);
        inner && inner->kind == AtomKind::div && inner->b.is_constant() && inner->b.value() > 0)
      return q + floor_div(inner->a, inner->b * b);  // (x // y) // z = x // (y * z)
    return q + Poly::atom({AtomKind::div, factor_text(r) + " // " + factor_text(b), r, b});
  }
  return Poly::atom({AtomKind::div, factor_text(a) + " // " + factor_text(b), a, b});
}

Dim Dim::mod(const Dim& a, const Dim& b) {
  if (!a.poly_ && !b.poly_ && b.constant_ != 0) return Dim(floor_remainder(a.constant_, b.constant_));
  if (exact_div(a, b)) return Dim(0);
  Dim r = a;
  if (!b.poly_ && b.constant_ > 0) {
    Terms rest;
    for (auto& [m, c] : Poly::of(a)) add_term(rest, m, floor_remainder(c, b.constant_));
    r = Poly::make(std::move(rest));
    if (!r.poly_) return r;
  }
  return Poly::atom({AtomKind::mod, factor_text(r) + " % " + factor_text(b), r, b});
}

bool Dim::never_equal(const Dim& a, const Dim& b) {
  Dim d = a - b;
  if (!d.poly_) return d.constant_ != 0;
  int64_t constant = 0, gcd = 0, low = 0;
  bool all_positive = true, all_negative = true, only_symbols = true;
  for (auto& [m, c] : d.poly_->terms) {
    low = sat_add(low, c);  // what the sum is where every symbol is 1
    if (m.empty()) {
      constant = c;
      continue;
    }
    gcd = std::gcd(gcd, c);
    all_positive &= c > 0;
    all_negative &= c < 0;
    for (const Factor& f : m) only_symbols &= f.atom->kind == AtomKind::symbol;
  }
  if (gcd > 1 && constant % gcd != 0) return true;
  // Growing (or falling) in every symbol from its value at 1, where it is already beyond zero.
  return only_symbols && ((all_positive && low > 0) || (all_negative && low < 0));
}

std::vector<std::string> Dim::symbols() const {
  std::set<std::string> names;
  if (poly_)
    for (auto& [m, c] : poly_->terms)
      for (const Factor& f : m) {
        if (f.atom->kind == AtomKind::symbol) {
          names.insert(f.atom->key);
        } else {
          for (const Dim* part : {&f.atom->a, &f.atom->b})
            for (std::string& s : part->symbols()) names.insert(std::move(s));
        }
      }
  return {names.begin(), names.end()};
}

Dim Dim::substitute(const std::map<std::string, Dim>& values) const {
  if (!poly_ || values.empty()) return *this;
  Dim sum;
  for (auto& [m, c] : poly_->terms) {
    Dim term(c);
    for (const Factor& f : m) {
      Dim base;
      if (f.atom->kind == AtomKind::symbol) {
        auto it = values.find(f.atom->key);
        base = it != values.end() ? it->second : symbol(f.atom->key);
      } else {
        Dim a = f.atom->a.substitute(values), b = f.atom->b.substitute(values);
        base = f.atom->kind == AtomKind::div ? floor_div(a, b) : mod(a, b);
      }
      for (int i = 0; i < f.power; ++i) term = term * base;
    }
    sum = sum + term;
  }
  return sum;
}

std::optional<std::pair<std::string, Dim>> Dim::solve(const Dim& size) const {
  if (!poly_) return std::nullopt;
  int64_t a = 0, b = 0;
  std::string name;
  for (auto& [m, c] : poly_->terms) {
    if (m.empty()) {
      b = c;
      continue;
    }
    if (m.size() != 1 || m[0].power != 1 || m[0].atom->kind != AtomKind::symbol || a != 0) return std::nullopt;
    a = c;
    name = m[0].atom->key;
  }
  auto q = exact_div(size - Dim(b), Dim(a));
  if (!q) return std::nullopt;
  return std::pair{name, *q};
}

std::string Dim::str() const {
  if (!poly_) return std::to_string(constant_);
  std::string s;
  for (auto& [m, c] : poly_->terms) {
    int64_t magnitude = c < 0 ? -c : c;
    if (s.empty()) {
      if (c < 0) s += "-";
    } else {
      s += c < 0 ? " - " : " + ";
    }
    bool first = true;
    if (magnitude != 1 || m.empty()) {
      s += std::to_string(magnitude);
      first = false;
    }
    // A quotient may stand bare only as a whole, positive term.
    bool bare = magnitude == 1 && c > 0 && m.size() == 1 && m[0].power == 1;
    for (const Factor& f : m)
      for (int i = 0; i < f.power; ++i) {
        if (!first) s += " * ";
        first = false;
        s += f.atom->kind == AtomKind::symbol || bare ? f.atom->key : "(" + f.atom->key + ")";
      }
  }
  return s;
}

size_t Dim::hash() const {
  uint64_t h = 1469598103934665603u;  // FNV-1a: the same in every process
  for (unsigned char c : str()) h = (h ^ c) * 1099511628211u;
  return h;
}

std::string str(const Shape& s) {
  std::string r = "[";
  for (size_t i = 0; i < s.size(); ++i) r += (i ? ", " : "") + s[i].str();
  return r + "]";
}

Dim element_count(const Shape& s) {
  Dim n(1);
  for (const Dim& d : s) n = n * d;
  return n;
}

bool is_constant(const Shape& s) {
  return std::all_of(s.begin(), s.end(), [](const Dim& d) { return d.is_constant(); });
}

std::vector<int64_t> sizes(const Shape& s) {
  std::vector<int64_t> r;
  r.reserve(s.size());
  for (const Dim& d : s) r.push_back(d.value());
  return r;
}

}  // namespace nnlc::graph
