// Expressions of the kernel form as CUDA C++.
#include "compiler/codegen/cuda/expressions.h"

#include <fmt/format.h>

#include <cmath>
#include <functional>
#include <limits>

namespace nnlc::codegen::cuda {

using graph::DType;
using loop::Affine;
using loop::Expr;
using loop::Fn;
using loop::kDynamic;

namespace {

/// What stands for an elementwise function: $0 and $1 are the operands, $f is `f` for float and nothing for double.
struct Spelling {
  Fn fn;
  const char* on_floats;
  const char* on_ints;
};
constexpr Spelling kSpellings[] = {
    {Fn::neg, "-$0", "nnl_neg($0)"},
    {Fn::abs, "fabs$f($0)", "nnl_abs($0)"},
    {Fn::sign, "nnl_sign($0)", "nnl_isign($0)"},
    {Fn::exp, "exp$f($0)", nullptr},
    {Fn::expm1, "expm1$f($0)", nullptr},
    {Fn::log, "log$f($0)", nullptr},
    {Fn::log1p, "log1p$f($0)", nullptr},
    {Fn::sqrt, "sqrt$f($0)", nullptr},
    {Fn::rsqrt, "1 / sqrt$f($0)", nullptr},
    {Fn::sin, "sin$f($0)", nullptr},
    {Fn::cos, "cos$f($0)", nullptr},
    {Fn::tanh, "tanh$f($0)", nullptr},
    {Fn::erf, "erf$f($0)", nullptr},
    {Fn::floor, "floor$f($0)", nullptr},
    {Fn::ceil, "ceil$f($0)", nullptr},
    {Fn::round, "rint$f($0)", nullptr},
    {Fn::not_, nullptr, "!$0"},
    {Fn::add, "$0 + $1", "nnl_add($0, $1)"},
    {Fn::sub, "$0 - $1", "nnl_sub($0, $1)"},
    {Fn::mul, "$0 * $1", "nnl_mul($0, $1)"},
    {Fn::div, "$0 / $1", "nnl_idiv($0, $1)"},
    {Fn::pow, "pow$f($0, $1)", "nnl_ipow($0, $1)"},
    {Fn::max, "nnl_max($0, $1)", "nnl_imax($0, $1)"},
    {Fn::min, "nnl_min($0, $1)", "nnl_imin($0, $1)"},
    {Fn::rem, "nnl_rem($0, $1)", "nnl_irem($0, $1)"},
    {Fn::eq, "$0 == $1", "$0 == $1"},
    {Fn::lt, "$0 < $1", "$0 < $1"},
    {Fn::le, "$0 <= $1", "$0 <= $1"},
    {Fn::and_, nullptr, "$0 & $1"},
    {Fn::or_, nullptr, "$0 | $1"},
};

const char* spelling(Fn fn, bool floats) {
  for (const Spelling& s : kSpellings)
    if (s.fn == fn) return floats ? s.on_floats : s.on_ints;
  return nullptr;
}

std::string filled(const char* form, const std::vector<std::string>& operands, bool single) {
  std::string out;
  for (const char* c = form; *c; ++c) {
    if (*c != '$') {
      out += *c;
      continue;
    }
    ++c;
    if (*c == 'f')
      out += single ? "f" : "";
    else
      out += operands[static_cast<size_t>(*c - '0')];
  }
  return out;
}

}  // namespace

std::string memory_type(DType t) {
  switch (t) {
    case DType::boolean:
    case DType::u8:
      return "u8";
    case DType::i8:
      return "i8";
    case DType::i16:
      return "i16";
    case DType::i32:
      return "i32";
    case DType::i64:
      return "i64";
    case DType::f16:
    case DType::bf16:
      return "u16";
    case DType::f32:
      return "float";
    case DType::f64:
      return "double";
  }
  return "void";
}

std::string register_type(DType t) {
  if (t == DType::boolean) return "bool";
  if (t == DType::f16 || t == DType::bf16) return "float";
  return memory_type(t);
}

std::string to_memory(DType t, const std::string& value) {
  if (t == DType::boolean) return fmt::format("(u8)({} ? 1 : 0)", value);
  if (t == DType::bf16) return fmt::format("nnl_to_bf16({})", value);
  if (t == DType::f16) return fmt::format("nnl_to_f16({})", value);
  return value;
}

std::string from_memory(DType t, const std::string& element) {
  if (t == DType::boolean) return fmt::format("({} != 0)", element);
  if (t == DType::bf16) return fmt::format("nnl_from_bf16({})", element);
  if (t == DType::f16) return fmt::format("nnl_from_f16({})", element);
  return element;
}

std::string constant(DType t, double f, int64_t i) {
  if (t == DType::boolean) return i ? "true" : "false";
  if (graph::is_float(t)) {
    const bool wide = t == DType::f64;
    if (std::isnan(f)) return wide ? "(double)__int_as_float(0x7fffffff)" : "__int_as_float(0x7fffffff)";
    if (!wide) f = static_cast<double>(static_cast<float>(f));
    if (std::isinf(f)) return fmt::format("({}{}NNL_INFINITY)", wide ? "(double)" : "", f < 0 ? "-" : "");
    const std::string text = wide ? fmt::format("{:a}", f) : fmt::format("{:a}f", f);
    return std::signbit(f) ? "(" + text + ")" : text;
  }
  if (i == std::numeric_limits<int64_t>::min()) return "(-9223372036854775807ll - 1)";
  return fmt::format("({}){}ll", memory_type(t), i);
}

std::string signature(const loop::Kernel& k, const std::string& name, int threads, bool workspace) {
  std::string s = fmt::format("extern \"C\" __global__ void __launch_bounds__({}) {}(", threads, name);
  for (size_t i = 0; i < k.args.size(); ++i)
    s += fmt::format("{}{}{}* p{}", i ? ", " : "", k.args[i].written ? "" : "const ", memory_type(k.args[i].type), i);
  return s + (workspace ? ", u8* work) {" : ") {");
}

bool small_offsets(const loop::Kernel& k) {
  constexpr int64_t limit = int64_t{1} << 30;
  int64_t points = 1;
  for (auto& a : k.axes) points *= std::max<int64_t>(a.size, 1);
  bool small = points < limit;
  for (auto& a : k.args) small = small && a.elements < limit;
  auto fits = [&](const Affine& a) {
    int64_t reach = std::abs(a.constant);
    for (auto& [t, c] : a.terms)
      reach += std::abs(c) * (t < kDynamic ? k.axes[static_cast<size_t>(t)].size
                                           : k.dynamics[static_cast<size_t>(t - kDynamic)].size);
    small = small && reach < limit;
  };
  for (auto& e : k.exprs) {
    fits(e.offset);
    for (auto& b : e.bounds) fits(b.value);
  }
  for (auto& r : k.reductions) fits(r.position);
  for (auto& p : k.phases)
    for (auto& s : p.stores) fits(s.offset);
  return small;
}

Expressions::Expressions(const loop::Kernel& kernel, Text& out) : k_(&kernel), out_(&out), names_(kernel.exprs.size()) {
  auto of = [&](const Affine& a) {
    uint64_t d = 0;
    for (auto& [t, c] : a.terms)
      d |= t < kDynamic ? uint64_t{1} << t
                        : depends_[static_cast<size_t>(k_->dynamics[static_cast<size_t>(t - kDynamic)].value)];
    return d;
  };
  for (const Expr& e : k_->exprs) {
    uint64_t d = of(e.offset);
    for (int a : e.args) d |= depends_[static_cast<size_t>(a)];
    for (auto& b : e.bounds) d |= of(b.value);
    if (e.guard >= 0) d |= depends_[static_cast<size_t>(e.guard)];
    if (e.fn == Fn::reduced || e.fn == Fn::accumulator)
      for (size_t a = 0; a < k_->axes.size(); ++a)
        if (k_->axes[a].outer || e.fn == Fn::accumulator) d |= uint64_t{1} << a;
    depends_.push_back(d);
  }
}

std::string Expressions::offset(const Affine& a) {
  std::string s = a.constant || a.terms.empty() ? fmt::format("{}", a.constant) : "";
  for (auto& [t, c] : a.terms) {
    const std::string v = t < kDynamic
                              ? fmt::format("a{}", t)
                              : fmt::format("(idx){}", get(k_->dynamics[static_cast<size_t>(t - kDynamic)].value));
    if (!s.empty())
      s += c < 0 ? " - " : " + ";
    else if (c < 0)
      s += "-";
    const int64_t factor = std::abs(c);
    s += factor == 1 ? v : fmt::format("{} * {}", factor, v);
  }
  return s;
}

const std::string& Expressions::get(int id) {
  std::string& name = names_[static_cast<size_t>(id)];
  if (!name.empty()) return name;
  const Expr& e = k_->exprs[static_cast<size_t>(id)];
  if (e.fn == Fn::constant) {
    name = constant(e.type, e.f, e.i);
    return name;
  }
  const std::string value = print(e);  // may print operands first
  out_->line(fmt::format("const {} v{} = {};", register_type(e.type), id, value));
  return names_[static_cast<size_t>(id)] = fmt::format("v{}", id);
}

std::string Expressions::cast(const std::string& v, DType from, DType to) const {
  if (from == to) return v;
  if (graph::is_float(from)) {
    if (to == DType::f64) return fmt::format("(double){}", v);
    if (to == DType::f32) return fmt::format("(float){}", v);
    if (to == DType::bf16) return fmt::format("nnl_round_bf16((float){})", v);
    if (to == DType::f16) return fmt::format("nnl_round_f16((float){})", v);
    if (to == DType::boolean) return fmt::format("{} != 0", v);
    return fmt::format("({})nnl_to_i64((double){})", memory_type(to), v);
  }
  if (to == DType::bf16) return fmt::format("nnl_round_bf16((float){})", v);
  if (to == DType::f16) return fmt::format("nnl_round_f16((float){})", v);
  if (to == DType::boolean) return fmt::format("{} != 0", v);
  return fmt::format("({}){}", register_type(to), v);
}

std::string Expressions::print(const Expr& e) {
  switch (e.fn) {
    case Fn::load: {
      const std::string guard = e.guard >= 0 ? get(e.guard) : "";
      const std::string at = from_memory(e.type, fmt::format("p{}[{}]", e.buffer, offset(e.offset)));
      if (guard.empty()) return at;
      return fmt::format("{} ? {} : ({})0", guard, at, register_type(e.type));
    }
    case Fn::index:
      return fmt::format("(i64)({})", offset(e.offset));
    case Fn::inside: {
      std::string all;
      for (auto& b : e.bounds) {
        const std::string v = offset(b.value);
        all += fmt::format("{}{} <= {} && {} < {}", all.empty() ? "" : " && ", b.low, v, v, b.high);
      }
      return all.empty() ? "true" : all;
    }
    case Fn::clamp:
      return fmt::format("nnl_imax(nnl_imin({}, (i64){}), (i64)0)", get(e.args[0]), e.i - 1);
    case Fn::random: {
      constexpr const char* kinds[] = {"uniform", "normal", "bits"};
      const std::string step = get(e.args[0]);
      const std::string draw = fmt::format("nnl_random_{}({:#x}ull, (u64){}, (u64)({}))",
                                           kinds[static_cast<int>(e.kind)], e.key, step, offset(e.offset));
      return e.kind == loop::RandomKind::bits ? draw : cast(draw, DType::f32, e.type);
    }
    case Fn::cast:
      return cast(get(e.args[0]), k_->exprs[static_cast<size_t>(e.args[0])].type, e.type);
    case Fn::select: {
      const std::string c = get(e.args[0]), a = get(e.args[1]), b = get(e.args[2]);
      return fmt::format("{} ? {} : {}", c, a, b);
    }
    default:
      break;
  }
  std::vector<std::string> operands;
  for (int a : e.args) operands.push_back(get(a));
  const DType t = k_->exprs[static_cast<size_t>(e.args[0])].type;
  const char* form = spelling(e.fn, graph::is_float(t));
  return form ? filled(form, operands, t != DType::f64) : "0";
}

void Expressions::store(const std::vector<loop::Store>& stores) {
  std::vector<std::string> values, places;
  for (auto& s : stores) {
    values.push_back(get(s.value));
    places.push_back(fmt::format("p{}[{}]", s.buffer, offset(s.offset)));
  }
  for (size_t i = 0; i < stores.size(); ++i)
    out_->line(
        fmt::format("{} = {};", places[i], to_memory(k_->args[static_cast<size_t>(stores[i].buffer)].type, values[i])));
}

void Expressions::visit(int id, std::vector<bool>& seen, std::vector<int>& out) const {
  if (seen[static_cast<size_t>(id)]) return;
  seen[static_cast<size_t>(id)] = true;
  const Expr& e = k_->exprs[static_cast<size_t>(id)];
  auto affine = [&](const Affine& a) {
    for (auto& [t, c] : a.terms)
      if (t >= kDynamic) visit(k_->dynamics[static_cast<size_t>(t - kDynamic)].value, seen, out);
  };
  for (int a : e.args) visit(a, seen, out);
  if (e.guard >= 0) visit(e.guard, seen, out);
  affine(e.offset);
  for (auto& b : e.bounds) affine(b.value);
  out.push_back(id);
}

std::vector<int> Expressions::needed_by(const loop::Phase& p) const {
  std::vector<bool> seen(k_->exprs.size());
  std::vector<int> out;
  auto affine = [&](const Affine& a) {
    for (auto& [t, c] : a.terms)
      if (t >= kDynamic) visit(k_->dynamics[static_cast<size_t>(t - kDynamic)].value, seen, out);
  };
  for (int r : p.reductions) {
    visit(k_->reductions[static_cast<size_t>(r)].value, seen, out);
    affine(k_->reductions[static_cast<size_t>(r)].position);
  }
  for (auto& s : p.stores) {
    visit(s.value, seen, out);
    affine(s.offset);
  }
  return out;
}

bool Expressions::waits(int id) const {
  std::vector<bool> seen(k_->exprs.size());
  std::vector<int> reached;
  visit(id, seen, reached);
  for (int r : reached)
    if (k_->exprs[static_cast<size_t>(r)].fn == Fn::reduced && !known(r)) return true;
  return false;
}

void Expressions::hoist(const std::vector<int>& needed, uint64_t open_axes) {
  for (int id : needed)
    if (!known(id) && !(depends(id) & ~open_axes) && !waits(id)) get(id);
}

}  // namespace nnlc::codegen::cuda
