// Builtins of host numbers.
#include <fmt/format.h>

#include <chrono>
#include <cmath>

#include "compiler/exec/impl.h"

namespace nnlc::exec {

namespace {

Value number_arg(Call& c, size_t i) {
  Value v = read_back(c.arg(i));
  if (!v.get<int64_t>() && !v.get<double>()) c.wrong_kind(i, "a number");
  return v;
}
double as_double(const Value& v) { return v.get<double>() ? *v.get<double>() : static_cast<double>(*v.get<int64_t>()); }

template <double (*F)(double)>
void function(Call& c) {
  c.result(Value(F(c.number(0))));
}
/// floor, ceil, round: a float to an int.
template <double (*F)(double)>
void to_int(Call& c) {
  const Value v = number_arg(c, 0);
  c.result(v.get<int64_t>() ? v : unary_op("int", Value(F(as_double(v))), c.instr.span));
}

double sigmoid(double x) { return x >= 0 ? 1 / (1 + std::exp(-x)) : std::exp(x) / (1 + std::exp(x)); }

void absolute(Call& c) {
  const Value v = number_arg(c, 0);
  if (auto* d = v.get<double>())
    c.result(Value(std::fabs(*d)));
  else
    c.result(*v.get<int64_t>() < 0 ? unary_op("neg", v, c.instr.span) : v);
}

void sign(Call& c) {
  const Value v = number_arg(c, 0);
  if (auto* i = v.get<int64_t>())
    c.result(Value(int64_t{(*i > 0) - (*i < 0)}));
  else
    c.result(Value(std::isnan(*v.get<double>())
                       ? *v.get<double>()
                       : static_cast<double>((*v.get<double>() > 0) - (*v.get<double>() < 0))));
}

/// The numbers of the arguments, or of the one list.
std::vector<Value> numbers(Call& c, size_t list_at = 0) {
  std::vector<Value> out;
  if (list_at < c.size() && c.arg(list_at).get<ListPtr>()) {
    for (const Value& v : c.list(list_at).items) {
      out.push_back(read_back(v));
      if (!out.back().get<int64_t>() && !out.back().get<double>()) c.wrong_kind(list_at, "a list of numbers");
    }
  } else {
    for (size_t i = 0; i < c.size(); ++i) out.push_back(number_arg(c, i));
  }
  return out;
}

void extreme(Call& c, bool largest) {
  const std::vector<Value> xs = numbers(c);
  if (xs.empty()) c.fail(Code::BadHostValue, fmt::format("{} of an empty list", largest ? "max" : "min"));
  Value best = xs[0];
  bool any_float = false;
  for (const Value& x : xs) {
    any_float |= x.get<double>() != nullptr;
    const double a = as_double(x), b = as_double(best);
    const bool ints = x.get<int64_t>() && best.get<int64_t>();
    const bool better =
        ints ? (largest ? *x.get<int64_t>() > *best.get<int64_t>() : *x.get<int64_t>() < *best.get<int64_t>())
             : (largest ? a > b : a < b);
    if (std::isnan(a) || (better && !std::isnan(b))) best = x;  // NaN wins, as for tensors
  }
  c.result(any_float ? Value(as_double(best)) : best);
}

void fold_sum(Call& c) {
  const std::vector<Value> xs = numbers(c);
  Value total(int64_t{0});
  for (const Value& x : xs) total = binary_op("+", total, x, c.instr.span);
  c.result(total);
}

void fold_mean(Call& c) {
  const std::vector<Value> xs = numbers(c, 0),
                           weights = c.size() > 1 ? numbers(c, 1) : std::vector<Value>(xs.size(), Value(1.0));
  double total = 0, weight = 0;
  for (size_t i = 0; i < xs.size() && i < weights.size(); ++i) {
    total += as_double(xs[i]) * as_double(weights[i]);
    weight += as_double(weights[i]);
  }
  if (weight == 0) c.fail(Code::BadHostValue, "the mean of nothing: the loop didn't run once");
  c.result(Value(total / weight));
}

/// A number, or the smallest and largest of many, that has to lie in a range; texts: what it is, the range, details.
void check_range(Call& c) {
  const int64_t low = c.text_int(1), high = c.text_int(2);
  const std::string& what = c.text(0);
  for (size_t i : {0, 1}) {
    const int64_t v = c.machine.integer(c.instr.args[i]);
    if (v >= low && v <= high) continue;
    if (what == "label")
      c.fail(Code::ClassOutOfRange, fmt::format("{} isn't a label of class({})", v, high + 1));
    else if (what == "slice")
      c.fail(Code::IndexOutside, fmt::format("the slice {}:{} is outside of axis {}, which has size {}", v,
                                             v + c.text_int(4), c.text(3), c.text(5)));
    else
      c.fail(Code::IndexOutside,
             fmt::format("index {} is outside of axis {}, which has size {}", v, c.text(3), high + 1));
  }
}

}  // namespace

const std::vector<BuiltinEntry>& number_builtins() {
  static const std::vector<BuiltinEntry> table = {
      {"abs", absolute},
      {"sign", sign},
      {"floor", to_int<std::floor>},
      {"ceil", to_int<std::ceil>},
      {"round", to_int<std::nearbyint>},
      {"sqrt", function<std::sqrt>},
      {"exp", function<std::exp>},
      {"log", function<std::log>},
      {"log2", function<std::log2>},
      {"log10", function<std::log10>},
      {"sin", function<std::sin>},
      {"cos", function<std::cos>},
      {"tan", function<std::tan>},
      {"tanh", function<std::tanh>},
      {"asin", function<std::asin>},
      {"acos", function<std::acos>},
      {"atan", function<std::atan>},
      {"sigmoid", function<sigmoid>},
      {"atan2", [](Call& c) { c.result(Value(std::atan2(c.number(0), c.number(1)))); }},
      {"pow", [](Call& c) { c.result(Value(std::pow(c.number(0), c.number(1)))); }},
      {"min", [](Call& c) { extreme(c, false); }},
      {"max", [](Call& c) { extreme(c, true); }},
      {"is_nan", [](Call& c) { c.result(Value(std::isnan(c.number(0)))); }},
      {"is_inf", [](Call& c) { c.result(Value(std::isinf(c.number(0)))); }},
      {"time",
       [](Call& c) {
         c.result(Value(std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count()));
       }},
      {"check_range", check_range},
      {"fold_sum", fold_sum},
      {"fold_mean", fold_mean},
      {"fold_max", [](Call& c) { extreme(c, true); }},
      {"fold_min", [](Call& c) { extreme(c, false); }},
  };
  return table;
}

}  // namespace nnlc::exec
