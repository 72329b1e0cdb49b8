// Operators on host values: 64-bit ints with checks, floats, Python's % and //.
#include <fmt/format.h>

#include <cctype>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <stdexcept>

#include "compiler/exec/impl.h"
#include "runtime/parse.h"

namespace nnlc::exec {

namespace {

[[noreturn]] void overflow(const std::string& what, Span span) {
  throw Failure{
      Code::IntOverflow, span, what + " doesn't fit into 64 bits", {}, {"floats hold larger numbers: `float(x)`"}};
}
[[noreturn]] void by_zero(const std::string& op, int64_t a, Span span) {
  throw Failure{Code::DivisionByZero, span, fmt::format("{} {} 0: division by zero", a, op), {}, {}};
}
[[noreturn]] void bad_operands(const std::string& op, const Value& a, const Value& b) {
  throw std::logic_error(fmt::format("`{}` between {} and {} reached the executor", op, describe(a), describe(b)));
}

int64_t floor_div(int64_t a, int64_t b) {
  const int64_t q = a / b;
  return a % b != 0 && (a < 0) != (b < 0) ? q - 1 : q;
}
/// The sign of the divisor, as in Python.
double float_mod(double a, double b) {
  double m = std::fmod(a, b);
  if (m != 0 && (m < 0) != (b < 0)) m += b;
  return m;
}

int64_t power(int64_t base, int64_t exponent, Span span) {
  if (exponent < 0)
    throw Failure{Code::BadHostValue,
                  span,
                  fmt::format("{} ** {}: an int to a negative power is no int", base, exponent),
                  {},
                  {fmt::format("`float({}) ** {}`", base, exponent)}};
  int64_t result = 1, factor = base;
  for (int64_t left = exponent; left > 0; left /= 2) {
    if (left % 2 && __builtin_mul_overflow(result, factor, &result))
      overflow(fmt::format("{} ** {}", base, exponent), span);
    if (left > 1 && __builtin_mul_overflow(factor, factor, &factor))
      overflow(fmt::format("{} ** {}", base, exponent), span);
  }
  return result;
}

Value int_op(const std::string& op, int64_t a, int64_t b, Span span) {
  int64_t r = 0;
  if (op == "+") {
    if (__builtin_add_overflow(a, b, &r)) overflow(fmt::format("{} + {}", a, b), span);
    return Value(r);
  }
  if (op == "-") {
    if (__builtin_sub_overflow(a, b, &r)) overflow(fmt::format("{} - {}", a, b), span);
    return Value(r);
  }
  if (op == "*") {
    if (__builtin_mul_overflow(a, b, &r)) overflow(fmt::format("{} * {}", a, b), span);
    return Value(r);
  }
  if (op == "/" || op == "//" || op == "%") {
    if (b == 0) by_zero(op, a, span);
    if (b == -1) {  // the one quotient that overflows, and whose remainder traps
      if (op == "%") return Value(int64_t{0});
      if (__builtin_sub_overflow(int64_t{0}, a, &r)) overflow(fmt::format("{} {} {}", a, op, b), span);
      return Value(r);
    }
    if (op == "//") return Value(floor_div(a, b));
    if (op == "%") return Value(a - floor_div(a, b) * b);
    if (a % b != 0)
      throw Failure{Code::InexactDivision,
                    span,
                    fmt::format("{} / {} isn't exact", a, b),
                    {},
                    {fmt::format("`{} // {}` rounds down to {}; `float({}) / {}` is {}", a, b, floor_div(a, b), a, b,
                                 to_text(Value(static_cast<double>(a) / static_cast<double>(b))))}};
    return Value(a / b);
  }
  if (op == "**") return Value(power(a, b, span));
  if (op == "==") return Value(a == b);
  if (op == "!=") return Value(a != b);
  if (op == "<") return Value(a < b);
  if (op == "<=") return Value(a <= b);
  if (op == ">") return Value(a > b);
  if (op == ">=") return Value(a >= b);
  bad_operands(op, Value(a), Value(b));
}

Value float_op(const std::string& op, double a, double b) {
  if (op == "+") return Value(a + b);
  if (op == "-") return Value(a - b);
  if (op == "*") return Value(a * b);
  if (op == "/") return Value(a / b);
  if (op == "//") return Value(std::floor(a / b));
  if (op == "%") return Value(float_mod(a, b));
  if (op == "**") return Value(std::pow(a, b));
  if (op == "==") return Value(a == b);
  if (op == "!=") return Value(a != b);
  if (op == "<") return Value(a < b);
  if (op == "<=") return Value(a <= b);
  if (op == ">") return Value(a > b);
  if (op == ">=") return Value(a >= b);
  bad_operands(op, Value(a), Value(b));
}

}  // namespace

Value binary_op(const std::string& op, const Value& x, const Value& y, Span span) {
  const Value* a = &x;
  const Value* b = &y;
  Value a_read, b_read;
  if (x.tensor()) a = &(a_read = read_back(x));
  if (y.tensor()) b = &(b_read = read_back(y));
  const int64_t *ia = a->get<int64_t>(), *ib = b->get<int64_t>();
  const double *da = a->get<double>(), *db = b->get<double>();
  if (ia && ib) return int_op(op, *ia, *ib, span);
  if ((ia || da) && (ib || db))
    return float_op(op, ia ? static_cast<double>(*ia) : *da, ib ? static_cast<double>(*ib) : *db);
  const bool *ba = a->get<bool>(), *bb = b->get<bool>();
  if (ba && bb) {
    if (op == "and") return Value(*ba && *bb);
    if (op == "or") return Value(*ba || *bb);
  }
  if (op == "==") return Value(equal(*a, *b));
  if (op == "!=") return Value(!equal(*a, *b));
  const Str *sa = a->get<Str>(), *sb = b->get<Str>();
  if (sa && sb) {
    if (op == "+") return Value::str(**sa + **sb);
    // Byte order of UTF-8 is the order of code points.
    if (op == "<") return Value(**sa < **sb);
    if (op == "<=") return Value(**sa <= **sb);
    if (op == ">") return Value(**sa > **sb);
    if (op == ">=") return Value(**sa >= **sb);
  }
  const ListPtr *la = a->get<ListPtr>(), *lb = b->get<ListPtr>();
  if (la && lb && op == "+") {
    std::vector<Value> items = (*la)->items;
    items.insert(items.end(), (*lb)->items.begin(), (*lb)->items.end());
    return Value::list(std::move(items), (*la)->tuple);
  }
  bad_operands(op, *a, *b);
}

Value unary_op(const std::string& op, const Value& x, Span span) {
  if (op == "str") return Value::str(to_text(x));
  const Value a = read_back(x);
  if (op == "item") {
    if (a.tensor())
      throw Failure{Code::BadHostValue, span, "only a tensor of rank 0 is a number, this is " + describe(a), {}, {}};
    return a;
  }
  const int64_t* i = a.get<int64_t>();
  const double* d = a.get<double>();
  const bool* b = a.get<bool>();
  if (op == "neg") {
    if (i) {
      int64_t r = 0;
      if (__builtin_sub_overflow(int64_t{0}, *i, &r)) overflow(fmt::format("-({})", *i), span);
      return Value(r);
    }
    if (d) return Value(-*d);
  }
  if (op == "not" && b) return Value(!*b);
  if (op == "float") {
    if (i) return Value(static_cast<double>(*i));
    if (d) return Value(*d);
    if (b) return Value(*b ? 1.0 : 0.0);
  }
  if (op == "bool") {
    if (b) return Value(*b);
    if (i) return Value(*i != 0);
    if (d) return Value(*d != 0);
  }
  if (op == "int") {
    if (i) return Value(*i);
    if (b) return Value(int64_t{*b});
    if (d) {
      // 2^63 is the first that doesn't fit; NaN fails both comparisons.
      if (!(*d > -9223372036854777856.0 && *d < 9223372036854775808.0))
        overflow(fmt::format("int({})", to_text(a)), span);
      return Value(static_cast<int64_t>(*d));
    }
  }
  // int("12") and float("0.5"): of text that was read.
  if (auto* s = a.get<Str>(); s && (op == "int" || op == "float")) {
    if (op == "int") {
      const char* begin = (*s)->c_str();
      char* end = nullptr;
      errno = 0;
      const int64_t v = std::strtoll(begin, &end, 10);
      if (end != begin && *end == 0 && errno == 0) return Value(v);
    } else {
      std::string_view text = **s;
      while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front()))) text.remove_prefix(1);
      if (auto v = nnl::parse_float(text)) return Value(*v);
    }
    throw Failure{Code::BadHostValue,
                  span,
                  fmt::format("{} isn't {}", to_text(a, true), op == "int" ? "an int" : "a float"),
                  {},
                  {}};
  }
  throw std::logic_error(fmt::format("`{}` of {} reached the executor", op, describe(a)));
}

}  // namespace nnlc::exec
