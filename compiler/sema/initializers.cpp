// Initial values of parameters, with PyTorch's names, defaults and formulas (nn.init without the underscore).
#include "compiler/sema/initializers.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "compiler/sema/tensor_support.h"

namespace nnlc::sema {
namespace {

struct Signature {
  std::string name;
  std::vector<std::pair<std::string, Value>> params;  ///< names and defaults
};
const std::vector<Signature>& signatures() {
  static const std::vector<Signature> all = {
      {"kaiming_uniform",
       {{"a", Value(0.0)}, {"mode", Value(std::string("fan_in"))}, {"nonlinearity", Value(std::string("leaky_relu"))}}},
      {"kaiming_normal",
       {{"a", Value(0.0)}, {"mode", Value(std::string("fan_in"))}, {"nonlinearity", Value(std::string("leaky_relu"))}}},
      {"xavier_uniform", {{"gain", Value(1.0)}}},
      {"xavier_normal", {{"gain", Value(1.0)}}},
      {"uniform", {{"a", Value(0.0)}, {"b", Value(1.0)}}},
      {"normal", {{"mean", Value(0.0)}, {"std", Value(1.0)}}},
      {"trunc_normal", {{"mean", Value(0.0)}, {"std", Value(1.0)}, {"a", Value(-2.0)}, {"b", Value(2.0)}}},
      {"zeros", {}},
      {"ones", {}},
      {"constant", {{"val", Value(Inferred{})}}},
      {"eye", {}},
      {"orthogonal", {{"gain", Value(1.0)}}},
      {"sparse", {{"sparsity", Value(Inferred{})}, {"std", Value(0.01)}}},
      {"dirac", {}},
  };
  return all;
}

struct Init {
  Evaluator& ev;
  const TensorType& type;
  Span span;
  std::vector<std::pair<std::string, Value>> values{};
  bool failed = false;

  const Value& value(const std::string& name) const {
    return std::find_if(values.begin(), values.end(), [&](auto& v) { return v.first == name; })->second;
  }
  double number(const std::string& name) {
    const Value& v = value(name);
    if (auto n = static_number(v)) return *n;
    // A number that follows from sizes that are still symbols: any will do for the check.
    if (!v.is_poison() && !(v.get<Dim>() && !v.get<Dim>()->is_constant())) {
      ev.error(Code::ArgumentOutOfRange, span,
               "`" + name + "` of an initialiser is a static number, not " + describe(v));
      failed = true;
    } else if (!ev.context.dry) {
      failed = true;
    }
    return 1;
  }
  std::string text(const std::string& name) {
    if (const auto* s = value(name).get<std::string>()) return *s;
    if (!value(name).is_poison())
      ev.error(Code::ArgumentOutOfRange, span,
               "`" + name + "` of an initialiser is a string, not " + describe(value(name)));
    failed = true;
    return "";
  }

  Node* draw(const std::string& kind, const TensorType& t) {
    const uint64_t key = ev.draw_key(span);
    return graph::random(ev.graph(), kind, key, ev.draw_counter(span), t, span);
  }
  Node* scaled(Node* x, double scale, double shift) {
    graph::Graph& g = ev.graph();
    if (scale != 1) x = graph::binary(g, "mul", x, like(ev, x, scale), span);
    return shift == 0 ? x : graph::binary(g, "add", x, like(ev, x, shift), span);
  }
  Node* uniform(double a, double b) { return scaled(draw("uniform", type), b - a, a); }
  Node* normal(double mean, double std) { return scaled(draw("normal", type), std, mean); }

  /// The fan that `mode` names and the other one, as numbers.
  std::optional<std::pair<double, double>> fan_numbers(const std::string& name) {
    auto f = fans(type.shape);
    if (!f) {
      ev.error(Code::RankMismatch, span, name + " needs a parameter of at least rank 2, but this is " + type.str())
          .help("`uniform(-k, k)` or `normal(0, s)` work for every shape");
      return std::nullopt;
    }
    auto number_of = [](const Dim& d) { return d.is_constant() ? static_cast<double>(d.value()) : 1.0; };
    return std::pair{number_of(f->first), number_of(f->second)};
  }

  Node* kaiming(const std::string& name) {
    auto f = fan_numbers(name);
    const std::string mode = text("mode"), nonlinearity = text("nonlinearity");
    const double a = number("a");
    if (!f || failed) return nullptr;
    if (mode != "fan_in" && mode != "fan_out") {
      ev.error(Code::ArgumentOutOfRange, span, name + ": `mode` is \"fan_in\" or \"fan_out\", not \"" + mode + "\"");
      return nullptr;
    }
    auto gain = gain_of(nonlinearity, a);
    if (!gain) {
      ev.error(Code::ArgumentOutOfRange, span, name + ": there is no gain for \"" + nonlinearity + "\"");
      return nullptr;
    }
    const double std = *gain / std::sqrt(mode == "fan_in" ? f->first : f->second);
    if (name == "kaiming_normal") return normal(0, std);
    const double bound = std::sqrt(3.0) * std;
    return uniform(-bound, bound);
  }

  Node* xavier(const std::string& name) {
    auto f = fan_numbers(name);
    const double gain = number("gain");
    if (!f || failed) return nullptr;
    const double std = gain * std::sqrt(2.0 / (f->first + f->second));
    if (name == "xavier_normal") return normal(0, std);
    const double bound = std::sqrt(3.0) * std;
    return uniform(-bound, bound);
  }

  Node* trunc_normal() {
    const double mean = number("mean"), std = number("std"), a = number("a"), b = number("b");
    if (failed) return nullptr;
    if (!(std > 0) || !(a < b)) {
      ev.error(Code::ArgumentOutOfRange, span, "trunc_normal needs `std` above 0 and `a` below `b`");
      return nullptr;
    }
    // The inverse of the distribution function at a uniform draw between its values at the ends.
    auto cdf = [](double x) { return (1 + std::erf(x / std::numbers::sqrt2)) / 2; };
    const double lo = 2 * cdf((a - mean) / std) - 1, hi = 2 * cdf((b - mean) / std) - 1;
    graph::Graph& g = ev.graph();
    Node* u = scaled(draw("uniform", type), hi - lo, lo);
    Node* x = scaled(inverse_erf(u), std * std::numbers::sqrt2, mean);
    x = graph::binary(g, "max", x, like(ev, x, a), span);
    return graph::binary(g, "min", x, like(ev, x, b), span);
  }

  /// Giles' approximation of the inverse error function in single precision (GPU Computing Gems, 2011).
  Node* inverse_erf(Node* y) {
    graph::Graph& g = ev.graph();
    auto mul = [&](Node* p, Node* q) { return graph::binary(g, "mul", p, q, span); };
    auto add = [&](Node* p, double c) { return graph::binary(g, "add", p, like(ev, p, c), span); };
    const double limit = 1 - 1e-7;
    y = graph::binary(g, "min", graph::binary(g, "max", y, like(ev, y, -limit), span), like(ev, y, limit), span);
    Node* w = graph::unary(
        g, "neg", graph::unary(g, "log", mul(graph::binary(g, "sub", like(ev, y, 1), y, span), add(y, 1)), span), span);
    auto polynomial = [&](Node* t, std::initializer_list<double> c) {
      Node* p = nullptr;
      for (double k : c) p = p ? add(mul(p, t), k) : like(ev, t, k);
      return p;
    };
    Node* middle = polynomial(add(w, -2.5), {2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06,
                                             0.00021858087, -0.00125372503, -0.00417768164, 0.246640727, 1.50140941});
    Node* root = graph::unary(g, "sqrt", graph::binary(g, "max", w, like(ev, w, 0), span), span);
    Node* tail = polynomial(add(root, -3), {-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844,
                                            0.00573950773, -0.0076224613, 0.00943887047, 1.00167406, 2.83297682});
    return mul(graph::select(g, graph::binary(g, "lt", w, like(ev, w, 5), span), middle, tail, span), y);
  }

  Node* eye() {
    if (type.rank() != 2) {
      ev.error(Code::RankMismatch, span, "eye is for rank 2, but this is " + type.str());
      return nullptr;
    }
    graph::Graph& g = ev.graph();
    const TensorType places{DType::i64, type.shape};
    return graph::cast(g,
                       graph::binary(g, "eq", graph::iota(g, places, 0, span), graph::iota(g, places, 1, span), span),
                       type.dtype, span);
  }

  /// Ones where each output channel passes its own input channel in the middle of the window.
  Node* dirac() {
    if (type.rank() < 3 || type.rank() > 5 || !graph::is_constant(type.shape)) {
      ev.error(Code::RankMismatch, span, "dirac is for rank 3 to 5, but this is " + type.str());
      return nullptr;
    }
    graph::Graph& g = ev.graph();
    const TensorType places{DType::i64, type.shape};
    Node* hit = graph::binary(g, "eq", graph::iota(g, places, 0, span), graph::iota(g, places, 1, span), span);
    for (size_t i = 2; i < type.rank(); ++i) {
      Node* at = graph::iota(g, places, static_cast<int64_t>(i), span);
      hit = graph::binary(
          g, "and", hit, graph::binary(g, "eq", at, like(ev, at, static_cast<double>(type.shape[i].value() / 2)), span),
          span);
    }
    return graph::cast(g, hit, type.dtype, span);
  }

  /// The nearest orthogonal matrix to a normal one, which is uniformly distributed: Newton-Schulz, x <- 1.5 x - 0.5 (x
  /// x^T) x.
  Node* orthogonal() {
    const double gain = number("gain");
    if (failed) return nullptr;
    if (type.rank() < 2) {
      ev.error(Code::RankMismatch, span, "orthogonal needs at least rank 2, but this is " + type.str());
      return nullptr;
    }
    graph::Graph& g = ev.graph();
    const Dim rows = type.shape[0];
    Dim columns(1);
    for (size_t i = 1; i < type.rank(); ++i) columns = columns * type.shape[i];
    if (!rows.is_constant() || !columns.is_constant()) return open_tensor(ev, type, span);
    // Rows are the shorter side, so that x x^T is the small product. f64: the iteration squares what was lost.
    const bool turned = rows.value() > columns.value();
    const int64_t n = std::min(rows.value(), columns.value()), m = std::max(rows.value(), columns.value());
    Node* x = draw("normal", {DType::f64, {Dim(n), Dim(m)}});
    // Below 1, all singular values grow towards it; the norm of a normal matrix is near sqrt(n) + sqrt(m).
    x = scaled(x, 1 / (1.2 * (std::sqrt(static_cast<double>(n)) + std::sqrt(static_cast<double>(m)))), 0);
    // The smallest one is near 1 / n of the largest for a square, and grows by 1.5 each time.
    const int rounds = 12 + static_cast<int>(std::ceil((std::log(static_cast<double>(n * 100)) + 4) / std::log(1.5)));
    for (int i = 0; i < rounds; ++i) {
      Node* square = graph::contract(g, x, x, "ik", "jk", "ij", span);
      Node* cubic = graph::contract(g, square, x, "ij", "jk", "ik", span);
      x = graph::binary(g, "sub", graph::binary(g, "mul", like(ev, x, 1.5), x, span),
                        graph::binary(g, "mul", like(ev, x, 0.5), cubic, span), span);
    }
    if (turned) x = graph::permute(g, x, {1, 0}, span);
    x = graph::reshape(g, graph::cast(g, x, type.dtype, span), type.shape, span);
    return scaled(x, gain, 0);
  }

  Node* sparse() {
    const double sparsity = number("sparsity"), std = number("std");
    if (failed) return nullptr;
    if (type.rank() != 2 || sparsity < 0 || sparsity > 1) {
      ev.error(type.rank() != 2 ? Code::RankMismatch : Code::ArgumentOutOfRange, span,
               type.rank() != 2 ? "sparse is for rank 2, but this is " + type.str()
                                : "sparse: `sparsity` lies between 0 and 1");
      return nullptr;
    }
    if (!type.shape[0].is_constant()) return open_tensor(ev, type, span);
    graph::Graph& g = ev.graph();
    const auto zeros = std::ceil(sparsity * static_cast<double>(type.shape[0].value()));
    // In each column, the places of the `zeros` smallest of a uniform draw.
    Node* order = graph::argsort(g, draw("uniform", {DType::f32, type.shape}), 0, false, span);
    Node* rank = graph::argsort(g, order, 0, false, span);
    Node* values = normal(0, std);
    return graph::select(g, graph::binary(g, "lt", rank, like(ev, rank, zeros), span), like(ev, values, 0), values,
                         span);
  }

  Node* make(const std::string& name) {
    if (name == "kaiming_uniform" || name == "kaiming_normal") return kaiming(name);
    if (name == "xavier_uniform" || name == "xavier_normal") return xavier(name);
    if (name == "uniform") {
      const double a = number("a"), b = number("b");
      if (!failed && a > b) {
        ev.error(Code::ArgumentOutOfRange, span, "uniform(a, b) needs a <= b");
        return nullptr;
      }
      return failed ? nullptr : uniform(a, b);
    }
    if (name == "normal") {
      const double mean = number("mean"), std = number("std");
      if (!failed && std < 0) {
        ev.error(Code::ArgumentOutOfRange, span, "normal(mean, std) needs std >= 0");
        return nullptr;
      }
      return failed ? nullptr : normal(mean, std);
    }
    if (name == "trunc_normal") return trunc_normal();
    if (name == "zeros" || name == "ones") return fill(ev, name == "ones", type, span);
    if (name == "constant") {
      const double v = number("val");
      return failed ? nullptr : fill(ev, v, type, span);
    }
    if (name == "eye") return eye();
    if (name == "dirac") return dirac();
    if (name == "orthogonal") return orthogonal();
    return sparse();
  }
};

}  // namespace

const std::vector<std::string>& initializer_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> n;
    for (const Signature& s : signatures()) n.push_back(s.name);
    return n;
  }();
  return names;
}

bool is_initializer(const std::string& name) {
  const auto& names = initializer_names();
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::optional<std::pair<Dim, Dim>> fans(const Shape& shape) {
  if (shape.size() < 2) return std::nullopt;
  Dim window(1);
  for (size_t i = 2; i < shape.size(); ++i) window = window * shape[i];
  return std::pair{shape[1] * window, shape[0] * window};
}

std::optional<double> gain_of(const std::string& n, std::optional<double> param) {
  if (n == "linear" || n == "sigmoid" || n == "conv1d" || n == "conv2d" || n == "conv3d") return 1.0;
  if (n == "tanh") return 5.0 / 3;
  if (n == "relu") return std::sqrt(2.0);
  if (n == "selu") return 0.75;
  if (n == "leaky_relu") {
    const double slope = param.value_or(0.01);
    return std::sqrt(2.0 / (1 + slope * slope));
  }
  return std::nullopt;
}

std::optional<TensorValue> make_initial(Evaluator& ev, const std::string& name, const TensorType& type,
                                        const std::vector<ArgValue>& args, Span span) {
  const auto& all = signatures();
  auto s = std::find_if(all.begin(), all.end(), [&](const Signature& x) { return x.name == name; });
  if (s == all.end()) {
    DiagnosticBuilder b = ev.error(Code::ArgumentOutOfRange, span, "there is no initialiser `" + name + "`");
    if (auto near = nearest(name, initializer_names())) b.help("did you mean `" + *near + "`?");
    return std::nullopt;
  }
  Init init{ev, type, span};
  init.values = s->params;
  size_t position = 0;
  for (const ArgValue& a : args) {
    if (a.name.empty()) {
      if (position >= init.values.size()) {
        ev.error(Code::ArgumentOutOfRange, a.span,
                 "`" + name + "` takes " +
                     (s->params.empty()
                          ? "no arguments"
                          : std::to_string(s->params.size()) + (s->params.size() == 1 ? " argument" : " arguments")))
            .note("an initialiser takes its shape from the declared parameter");
        return std::nullopt;
      }
      init.values[position++].second = a.value;
      continue;
    }
    auto it = std::find_if(init.values.begin(), init.values.end(), [&](auto& v) { return v.first == a.name; });
    if (it == init.values.end()) {
      DiagnosticBuilder b = ev.error(Code::ArgumentOutOfRange, a.name_span.valid() ? a.name_span : a.span,
                                     "`" + name + "` has no argument `" + a.name + "`");
      std::string list;
      for (auto& [n, v] : s->params) list += (list.empty() ? "`" : ", `") + n + "`";
      if (!list.empty()) b.help("it has " + list);
      return std::nullopt;
    }
    it->second = a.value;
  }
  for (auto& [n, v] : init.values)
    if (v.get<Inferred>()) {
      ev.error(Code::ArgumentOutOfRange, span, "`" + name + "` needs `" + n + "`");
      return std::nullopt;
    }
  if (!graph::is_float(type.dtype) && name != "zeros" && name != "ones" && name != "constant") {
    ev.error(Code::NeedsFloat, span, "`" + name + "` initialises floats, but this is " + type.str());
    return std::nullopt;
  }
  Node* n = init.make(name);
  if (!n || init.failed) return std::nullopt;
  return ev.tensor(n, span);
}

}  // namespace nnlc::sema
