// Text of the kernel form, and arithmetic on index maps.
#include "compiler/loop/kernel.h"

#include <fmt/format.h>

#include <algorithm>

namespace nnlc::loop {

Affine Affine::axis(int id, int64_t coefficient) {
  Affine a;
  if (coefficient) a.terms.emplace_back(id, coefficient);
  return a;
}

int64_t Affine::coefficient(int id) const {
  for (auto& [t, c] : terms)
    if (t == id) return c;
  return 0;
}

Affine Affine::operator+(const Affine& b) const {
  Affine r(constant + b.constant);
  r.terms.reserve(terms.size() + b.terms.size());
  size_t i = 0, j = 0;
  while (i < terms.size() || j < b.terms.size()) {
    if (j == b.terms.size() || (i < terms.size() && terms[i].first < b.terms[j].first))
      r.terms.push_back(terms[i++]);
    else if (i == terms.size() || b.terms[j].first < terms[i].first)
      r.terms.push_back(b.terms[j++]);
    else {
      if (int64_t c = terms[i].second + b.terms[j].second) r.terms.emplace_back(terms[i].first, c);
      i++, j++;
    }
  }
  return r;
}

Affine Affine::operator*(int64_t f) const {
  Affine r(constant * f);
  if (f)
    for (auto& [t, c] : terms) r.terms.emplace_back(t, c * f);
  return r;
}

std::string Affine::str() const {
  std::string s;
  if (constant || terms.empty()) s = fmt::format("{}", constant);
  for (auto& [t, c] : terms) {
    if (!s.empty()) s += " + ";
    if (c != 1) s += fmt::format("{}*", c);
    s += t < kDynamic ? fmt::format("a{}", t) : fmt::format("d{}", t - kDynamic);
  }
  return s;
}

std::vector<int64_t> row_major(const std::vector<int64_t>& sizes) {
  std::vector<int64_t> s(sizes.size());
  int64_t stride = 1;
  for (size_t i = sizes.size(); i-- > 0; stride *= sizes[i]) s[i] = stride;
  return s;
}

Affine flatten(const Index& index, const std::vector<int64_t>& sizes) {
  Affine r;
  auto strides = row_major(sizes);
  for (size_t i = 0; i < index.size(); i++) r = r + index[i] * strides[i];
  return r;
}

static constexpr std::string_view kNames[] = {
    "constant", "load",  "index", "inside", "clamp", "random", "reduced", "accumulator", "neg", "abs",
    "sign",     "exp",   "expm1", "log",    "log1p", "sqrt",   "rsqrt",   "sin",         "cos", "tanh",
    "erf",      "floor", "ceil",  "round",  "not",   "cast",   "add",     "sub",         "mul", "div",
    "pow",      "max",   "min",   "rem",    "eq",    "lt",     "le",      "and",         "or",  "select"};

std::string_view name(Fn f) { return kNames[int(f)]; }

bool fn_from_op(std::string_view op, Fn& out) {
  for (int i = int(Fn::neg); i <= int(Fn::select); i++)
    if (kNames[i] == op) {
      out = Fn(i);
      return true;
    }
  return false;
}

static std::string_view kind_name(ReduceKind k) {
  constexpr std::string_view names[] = {"sum", "max", "min", "prod", "argmax", "argmin"};
  return names[int(k)];
}

static void print_expr(std::string& s, const Kernel&, const Expr& e, size_t id) {
  s += fmt::format("  %{} = {}", id, name(e.fn));
  switch (e.fn) {
    case Fn::constant:
      s += graph::is_float(e.type) ? fmt::format(" {:a}", e.f) : fmt::format(" {}", e.i);
      break;
    case Fn::load:
      s += fmt::format(" b{}[{}]", e.buffer, e.offset.str());
      if (e.guard >= 0) s += fmt::format(" if %{}", e.guard);
      break;
    case Fn::index:
      s += " " + e.offset.str();
      break;
    case Fn::inside:
      for (auto& b : e.bounds) s += fmt::format(" {} <= {} < {};", b.low, b.value.str(), b.high);
      break;
    case Fn::random: {
      constexpr std::string_view kinds[] = {"uniform", "normal", "bits"};
      s += fmt::format(" {} key={:#x} element {}", kinds[int(e.kind)], e.key, e.offset.str());
      break;
    }
    case Fn::reduced:
      s += fmt::format(" r{}", e.i);
      break;
    case Fn::clamp:
      s += fmt::format(" below {}", e.i);
      break;
    default:
      break;
  }
  for (int a : e.args) s += fmt::format(" %{}", a);
  s += fmt::format(" : {}\n", graph::name(e.type));
}

std::string print(const Kernel& k) {
  std::string s = "kernel (";
  for (size_t i = 0; i < k.args.size(); i++)
    s += fmt::format("{}b{}: {}[{}]{}", i ? ", " : "", i, graph::name(k.args[i].type), k.args[i].elements,
                     k.args[i].written ? " out" : "");
  s += ")";
  if (!k.axes.empty()) {
    s += " over";
    for (size_t i = 0; i < k.axes.size(); i++)
      s += fmt::format(" {}a{}={}", k.axes[i].outer ? "" : "inner ", i, k.axes[i].size);
  }
  s += fmt::format(" work {}\n", k.work);
  if (k.kind == Kernel::Kind::gemm) {
    const Gemm& g = k.gemm;
    s += fmt::format("  gemm {}x{}x{}x{} a {},{},{} b {},{},{} c {},{},{}\n", g.batch, g.m, g.n, g.k, g.a_batch, g.a_m,
                     g.a_k, g.b_batch, g.b_k, g.b_n, g.c_batch, g.c_m, g.c_n);
    s += fmt::format("  offsets {} {}", g.a_offset, g.b_offset);
    for (auto& o : g.outer) s += fmt::format(" outer {}: {},{},{}", o.size, o.a, o.b, o.c);
    auto digits = [&](const char* name, const std::vector<Gemm::Digit>& walk) {
      if (!walk.empty()) s += fmt::format(" {}", name);
      for (auto& d : walk) s += fmt::format(" {}*{}", d.size, d.stride);
    };
    digits("a_rows", g.a_rows), digits("a_sums", g.a_sums), digits("b_sums", g.b_sums), digits("b_cols", g.b_cols);
    s += "\n";
  }
  if (k.kind == Kernel::Kind::library) {
    const Library& l = k.routine;
    s += fmt::format("  {} {}x{}x{} count {} axis {}{}", l.op, l.pre, l.size, l.post, l.count, l.axis,
                     l.descending ? " descending" : "");
    for (int64_t d : l.shape) s += fmt::format(" {}", d);
    s += " |";
    for (int64_t d : l.index_shape) s += fmt::format(" {}", d);
    s += "\n";
  }
  for (size_t i = 0; i < k.exprs.size(); i++) print_expr(s, k, k.exprs[i], i);
  for (size_t i = 0; i < k.dynamics.size(); i++)
    s += fmt::format("  d{} = %{} below {}\n", i, k.dynamics[i].value, k.dynamics[i].size);
  for (auto& p : k.phases) {
    s += p.loops ? "  for each inner\n" : "  for each row\n";
    for (int r : p.reductions) {
      auto& red = k.reductions[r];
      s += fmt::format("    r{} = {} %{}", r, kind_name(red.kind), red.value);
      if (red.kind >= ReduceKind::argmax) s += " at " + red.position.str();
      s += fmt::format(" : {}\n", graph::name(red.type));
    }
    for (auto& st : p.stores) s += fmt::format("    b{}[{}] = %{}\n", st.buffer, st.offset.str(), st.value);
  }
  return s;
}

std::string print(const Plan& p) {
  std::string s = fmt::format("step {} arena {} bytes\n", p.name.empty() ? "main" : p.name, p.arena_bytes);
  constexpr std::string_view kinds[] = {"input", "output", "temp", "constant"};
  for (size_t i = 0; i < p.buffers.size(); i++) {
    auto& b = p.buffers[i];
    s += fmt::format("  m{}: {}[", i, graph::name(b.type));
    for (size_t d = 0; d < b.shape.size(); d++) s += fmt::format("{}{}", d ? ", " : "", b.shape[d]);
    s += fmt::format("] {} {}", kinds[int(b.kind)], b.kind == Buffer::Kind::temp ? b.offset : b.slot);
    if (!b.note.empty()) s += "  " + b.note;
    s += "\n";
  }
  for (auto& l : p.launches) {
    if (l.barrier) s += "  barrier\n";
    s += fmt::format("  k{}(", l.kernel);
    for (size_t i = 0; i < l.buffers.size(); i++) s += fmt::format("{}m{}", i ? ", " : "", l.buffers[i]);
    s += l.single ? ") on one thread\n" : ")\n";
  }
  for (size_t i = 0; i < p.kernels.size(); i++) s += fmt::format("k{}: ", i) + print(p.kernels[i]);
  return s;
}

}  // namespace nnlc::loop
