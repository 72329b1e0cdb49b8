// Operators on host values: ints as dims (polynomials), floats, bools, strings, lists; and the choice between what is
// computed while compiling, what becomes a host instruction, and what becomes tensor code (tensor_operators.cpp).
#include <cmath>
#include <limits>

#include "compiler/sema/tensor_support.h"
#include "compiler/sema/training.h"

namespace nnlc::sema {
namespace {

using ast::BinaryOp;
using K = host::Type::Kind;

bool is_comparison(BinaryOp op) { return op >= BinaryOp::eq && op <= BinaryOp::ge; }
bool is_equality(BinaryOp op) { return op == BinaryOp::eq || op == BinaryOp::ne; }
bool is_logical(BinaryOp op) { return op == BinaryOp::and_ || op == BinaryOp::or_; }
bool is_arithmetic(BinaryOp op) { return !is_comparison(op) && !is_logical(op) && op != BinaryOp::matmul; }

template <class T>
bool compare(BinaryOp op, const T& a, const T& b) {
  switch (op) {
    case BinaryOp::eq:
      return a == b;
    case BinaryOp::ne:
      return !(a == b);
    case BinaryOp::lt:
      return a < b;
    case BinaryOp::le:
      return a <= b;
    case BinaryOp::gt:
      return a > b;
    default:
      return a >= b;
  }
}

K host_kind(const Value& v) {
  if (v.get<Dim>()) return K::integer;
  if (v.get<double>()) return K::floating;
  if (v.get<bool>()) return K::boolean;
  if (v.get<std::string>()) return K::str;
  if (const auto* r = v.get<RuntimeValue>()) return r->type.kind;
  return K::none;
}

struct HostBinary {
  Evaluator& ev;
  BinaryOp op;
  const Value& a;
  const Value& b;
  Span span, a_span, b_span;

  std::string sign() const { return std::string("`") + ast::spelling(op) + "`"; }

  Value bad() {
    DiagnosticBuilder d =
        ev.error(Code::BadOperands, span, sign() + " doesn't work on " + describe(a) + " and " + describe(b));
    d.label(a_span, "is " + describe(a)).label(b_span, "is " + describe(b));
    if (a.is_none() || b.is_none())
      d.note("None has no operators but `==` and `!=`");
    else if (op == BinaryOp::add && (host_kind(a) == K::str) != (host_kind(b) == K::str))
      d.help("\"{x}\" puts a value into a string");
    else if (op == BinaryOp::matmul)
      d.help("`*` multiplies numbers");
    return {};
  }

  Value overflow() {
    ev.error(Code::IntOverflow, span, "the result doesn't fit into 64 bits")
        .help("`float(a) " + std::string(ast::spelling(op)) + " b` computes with floats");
    return {};
  }
  Value zero_divisor() {
    ev.error(Code::DivisionByZero, span, "division by zero").label(b_span, "is 0");
    return {};
  }

  Value int_constants(int64_t x, int64_t y) {
    int64_t r = 0;
    switch (op) {
      case BinaryOp::add:
        return __builtin_add_overflow(x, y, &r) ? overflow() : Value(Dim(r), span);
      case BinaryOp::sub:
        return __builtin_sub_overflow(x, y, &r) ? overflow() : Value(Dim(r), span);
      case BinaryOp::mul:
        return __builtin_mul_overflow(x, y, &r) ? overflow() : Value(Dim(r), span);
      case BinaryOp::div:
        if (y == 0) return zero_divisor();
        if (x == std::numeric_limits<int64_t>::min() && y == -1) return overflow();
        if (x % y != 0) {
          const std::string ta = source_text(ev, a_span, "a"), tb = source_text(ev, b_span, "b");
          ev.error(Code::InexactDivision, span, std::to_string(x) + " / " + std::to_string(y) + " isn't an int")
              .help("`" + ta + " // " + tb + "` rounds down, `float(" + ta + ") / " + tb + "` gives a float");
          return {};
        }
        return Value(Dim(x / y), span);
      case BinaryOp::floordiv:
        if (y == 0) return zero_divisor();
        if (x == std::numeric_limits<int64_t>::min() && y == -1) return overflow();
        return Value(Dim::floor_div(Dim(x), Dim(y)), span);
      case BinaryOp::mod:
        if (y == 0) return zero_divisor();
        return Value(Dim::mod(Dim(x), Dim(y)), span);
      case BinaryOp::pow: {
        if (y < 0) {
          ev.error(Code::BadOperands, span, "an int to a negative power isn't an int")
              .help("`float(" + source_text(ev, a_span, "a") + ") ** " + source_text(ev, b_span, "b") + "`");
          return {};
        }
        int64_t base = x;
        r = 1;
        for (int64_t n = y; n > 0; n >>= 1) {
          if ((n & 1) && __builtin_mul_overflow(r, base, &r)) return overflow();
          if (n > 1 && __builtin_mul_overflow(base, base, &base)) return overflow();
        }
        return Value(Dim(r), span);
      }
      default:
        return Value(compare(op, x, y), span);
    }
  }

  /// Ints with symbols, which stand for sizes and are at least 1.
  Value symbolic(const Dim& x, const Dim& y) {
    switch (op) {
      case BinaryOp::add:
        return Value(x + y, span);
      case BinaryOp::sub:
        return Value(x - y, span);
      case BinaryOp::mul:
        return Value(x * y, span);
      case BinaryOp::div:
        if (y == Dim(0)) return zero_divisor();
        // Where it can't be proved for every size, it is checked when the size becomes known.
        return Value(Dim::floor_div(x, y), span);
      case BinaryOp::floordiv:
        return y == Dim(0) ? zero_divisor() : Value(Dim::floor_div(x, y), span);
      case BinaryOp::mod:
        return y == Dim(0) ? zero_divisor() : Value(Dim::mod(x, y), span);
      case BinaryOp::pow: {
        if (!y.is_constant() || y.value() < 0 || y.value() > 16) return {};
        Dim r(1);
        for (int64_t i = 0; i < y.value(); ++i) r = r * x;
        return Value(r, span);
      }
      default:
        break;
    }
    if (x == y) return Value(op == BinaryOp::eq || op == BinaryOp::le || op == BinaryOp::ge, span);
    if (is_equality(op) && Dim::never_equal(x, y)) return Value(op == BinaryOp::ne, span);
    // x - y at its least, where every size is 1, if it grows with each of them.
    const Dim d = x - y;
    auto at_ones = [](const Dim& v) {
      std::map<std::string, Dim> ones;
      for (const std::string& s : v.symbols()) ones[s] = Dim(1);
      return v.substitute(ones);
    };
    if (Dim::never_equal(x, y) && at_ones(d).is_constant()) {
      // Never zero and monotonic in every size: the sign at 1 is the sign everywhere.
      const Dim shifted = at_ones(d);
      std::map<std::string, Dim> twos;
      for (const std::string& s : d.symbols()) twos[s] = Dim(1000003);
      const Dim far = d.substitute(twos);
      if (far.is_constant() && (shifted.value() > 0) == (far.value() > 0))
        return Value(compare(op, shifted.value(), int64_t{0}), span);
    }
    // Undecided while sizes are symbols: agrees with everything until they are known.
    return {};
  }

  Value floats(double x, double y) {
    switch (op) {
      case BinaryOp::add:
        return Value(x + y, span);
      case BinaryOp::sub:
        return Value(x - y, span);
      case BinaryOp::mul:
        return Value(x * y, span);
      case BinaryOp::div:
        return y == 0 ? zero_divisor() : Value(x / y, span);
      case BinaryOp::floordiv:
        return y == 0 ? zero_divisor() : Value(std::floor(x / y), span);
      case BinaryOp::mod: {
        if (y == 0) return zero_divisor();
        double r = std::fmod(x, y);
        if (r != 0 && (r < 0) != (y < 0)) r += y;
        return Value(r, span);
      }
      case BinaryOp::pow:
        return Value(std::pow(x, y), span);
      default:
        return Value(compare(op, x, y), span);
    }
  }

  Value run_time(K ka, K kb) {
    const bool is_float = ka == K::floating || kb == K::floating;
    auto as_register = [&](const Value& v, K k, Span at) {
      host::Reg r = ev.reg_of(v, at);
      if (!is_float || k != K::integer) return r;
      host::Instr& i = ev.emit_pure(host::Op::unary, at);
      i.name = "float";
      i.args = {r};
      host::Type t;
      t.kind = K::floating;
      i.dst = ev.new_reg(t);
      return i.dst;
    };
    // A static int next to a float is folded rather than converted when run.
    auto widened = [&](const Value& v) {
      return is_float && v.get<Dim>() && v.get<Dim>()->is_constant()
                 ? Value(static_cast<double>(v.get<Dim>()->value()), v.span)
                 : v;
    };
    const Value wa = widened(a), wb = widened(b);
    const host::Reg ra = as_register(wa, host_kind(wa), a_span), rb = as_register(wb, host_kind(wb), b_span);
    host::Type type;
    type.kind = is_comparison(op) || is_logical(op) ? K::boolean : is_float ? K::floating : ka;
    const host::Reg dst = ev.new_reg(type);
    host::Instr& i = ev.emit_pure(host::Op::binary, span);
    i.name = op == BinaryOp::and_ ? "and" : op == BinaryOp::or_ ? "or" : ast::spelling(op);
    i.args = {ra, rb};
    i.dst = dst;
    RuntimeValue r{dst, type};
    if (ka == K::integer && kb == K::integer && (op == BinaryOp::add || op == BinaryOp::sub || op == BinaryOp::mul)) {
      auto form = [](const Value& v) { return v.get<Dim>() ? *v.get<Dim>() : form_of(*v.get<RuntimeValue>()); };
      const Dim x = form(a), y = form(b);
      r.form = std::make_shared<const Dim>(op == BinaryOp::add ? x + y : op == BinaryOp::sub ? x - y : x * y);
    }
    return Value(std::move(r), span);
  }

  Value sequences(const SequenceValue& x, const SequenceValue& y) {
    if (op == BinaryOp::add && x.is_list == y.is_list) {
      std::vector<Value> items = x.items;
      items.insert(items.end(), y.items.begin(), y.items.end());
      return list_of(std::move(items), span, x.is_list);
    }
    if (!is_equality(op)) return bad();
    bool equal = x.items.size() == y.items.size();
    for (size_t i = 0; equal && i < x.items.size(); ++i) {
      const Value r = ev.binary(BinaryOp::eq, x.items[i], y.items[i], span, a_span, b_span);
      const bool* known = r.get<bool>();
      if (!known) return r.is_poison() ? Value() : bad();
      equal = *known;
    }
    return Value(equal == (op == BinaryOp::eq), span);
  }

  Value gradients() {
    // A gradient is added to another of the same parameters, or scaled by a number.
    const auto ga = a.ptr<GradientValue>(), gb = b.ptr<GradientValue>();
    if (ga && gb) {
      if (op != BinaryOp::add && op != BinaryOp::sub) return bad();
      if (ga->params != gb->params) {
        ev.error(Code::OperandShapes, span, sign() + ": these are gradients of different parameters")
            .label(a_span, "is " + describe(a))
            .label(b_span, "is " + describe(b));
        return {};
      }
    } else if (ga ? op != BinaryOp::mul && op != BinaryOp::div : op != BinaryOp::mul) {
      return bad();
    }
    auto r = std::make_shared<GradientValue>(*(ga ? ga : gb));
    for (size_t i = 0; i < r->gradients.size(); ++i) {
      const Value x = ga ? Value(ga->gradients[i]) : a, y = gb ? Value(gb->gradients[i]) : b;
      const Value v = ev.binary(op, x, y, span, a_span, b_span);
      const auto* t = v.get<TensorValue>();
      if (!t) return {};
      if (!(t->type == r->gradients[i].type)) return bad();
      r->gradients[i] = *t;
    }
    return Value(std::move(r), span);
  }

  Value run() {
    if (a.get<TensorValue>() || b.get<TensorValue>()) return tensor_binary(ev, op, a, b, span, a_span, b_span);
    if (a.ptr<GradientValue>() || b.ptr<GradientValue>()) return gradients();
    if (a.is_none() || b.is_none())
      return is_equality(op) ? Value((a.is_none() && b.is_none()) == (op == BinaryOp::eq), span) : bad();
    if (const SequenceValue* x = sequence(a), *y = sequence(b); x && y) return sequences(*x, *y);
    const K ka = host_kind(a), kb = host_kind(b);
    const bool run_time_value = a.get<RuntimeValue>() || b.get<RuntimeValue>();
    if (ka == K::str && kb == K::str && (is_comparison(op) || op == BinaryOp::add)) {
      if (run_time_value) return run_time(ka, kb);
      const std::string &x = *a.get<std::string>(), &y = *b.get<std::string>();
      return op == BinaryOp::add ? Value(x + y, span) : Value(compare(op, x, y), span);
    }
    if (ka == K::boolean && kb == K::boolean && (is_logical(op) || is_equality(op))) {
      const bool *x = a.get<bool>(), *y = b.get<bool>();
      if (is_logical(op)) {  // one static side may decide, or be neutral
        const bool decides = op == BinaryOp::or_;
        if (x) return *x == decides ? Value(decides, span) : b;
        if (y) return *y == decides ? Value(decides, span) : a;
      }
      if (!x || !y) return run_time(ka, kb);
      return Value(compare(op, *x, *y), span);
    }
    const bool numbers = (ka == K::integer || ka == K::floating) && (kb == K::integer || kb == K::floating);
    if (!numbers || !(is_arithmetic(op) || is_comparison(op))) return bad();
    if (const auto zero = static_number(b);
        zero && *zero == 0 && (op == BinaryOp::div || op == BinaryOp::floordiv || op == BinaryOp::mod))
      return zero_divisor();
    if (run_time_value) return run_time(ka, kb);
    if (ka == K::integer && kb == K::integer) {
      const Dim &x = *a.get<Dim>(), &y = *b.get<Dim>();
      return x.is_constant() && y.is_constant() ? int_constants(x.value(), y.value()) : symbolic(x, y);
    }
    const auto x = static_number(a), y = static_number(b);
    if (!x || !y) return {};  // a float computed from symbolic sizes: known once they are
    return floats(*x, *y);
  }
};

}  // namespace

Value Evaluator::binary(BinaryOp op, const Value& a, const Value& b, Span span, Span a_span, Span b_span) {
  if (a.is_poison() || b.is_poison()) return {};
  if (auto g = gradient_arithmetic(*this, op, a, &b, span)) return *g;
  return HostBinary{*this, op, a, b, span, a_span, b_span}.run();
}

Value Evaluator::unary(ast::UnaryOp op, const Value& a, Span span) {
  if (a.is_poison()) return {};
  if (op == ast::UnaryOp::neg) {
    if (auto g = gradient_arithmetic(*this, ast::BinaryOp::mul, a, nullptr, span)) return *g;
    if (const Dim* d = a.get<Dim>()) {
      if (d->is_constant() && d->value() == std::numeric_limits<int64_t>::min()) {
        error(Code::IntOverflow, span, "the result doesn't fit into 64 bits");
        return {};
      }
      return Value(Dim(0) - *d, span);
    }
    if (const double* f = a.get<double>()) return Value(-*f, span);
    if (const auto* t = a.get<TensorValue>()) {
      if (!need_number(*this, *t, span, "`-`")) return {};
      TensorValue r = tensor(graph::unary(graph(), "neg", node(*t), span), span);
      r.is_literal = false;
      return Value(std::move(r), span);
    }
    if (a.ptr<GradientValue>()) return binary(BinaryOp::mul, a, Value(-1.0, span), span, span, span);
  } else {
    if (const bool* b = a.get<bool>()) return Value(!*b, span);
    if (const auto* t = a.get<TensorValue>()) {
      if (t->type.dtype != DType::boolean) {
        error(Code::BadOperands, span, "`not` needs a bool tensor, but this is " + type_text(*t))
            .help("`x == 0` is true where x is zero");
        return {};
      }
      return Value(tensor(graph::unary(graph(), "not", node(*t), span), span), span);
    }
  }
  if (const auto* r = a.get<RuntimeValue>()) {
    const bool number = r->type.kind == K::integer || r->type.kind == K::floating;
    if (op == ast::UnaryOp::neg ? number : r->type.kind == K::boolean) {
      const host::Reg dst = new_reg(r->type);
      host::Instr& i = emit_pure(host::Op::unary, span);
      i.name = op == ast::UnaryOp::neg ? "neg" : "not";
      i.args = {r->reg};
      i.dst = dst;
      return Value(RuntimeValue{dst, r->type}, span);
    }
  }
  DiagnosticBuilder d =
      error(Code::BadOperands, span, std::string("`") + ast::spelling(op) + "` doesn't work on " + describe(a));
  if (op == ast::UnaryOp::not_ && is_host_number(a)) d.help("`x == 0` asks whether a number is zero");
  if (op == ast::UnaryOp::not_ && a.is_none()) d.help("`x == None` asks whether it is None");
  return {};
}

}  // namespace nnlc::sema
