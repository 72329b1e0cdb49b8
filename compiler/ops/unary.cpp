// Elementwise functions of one operand; the result has the operand's type.
#include <numbers>

#include "compiler/ops/detail.h"

namespace nnlc::graph {
using namespace detail;

namespace {

TypeResult float_type(Types in, const Attrs&) {
  if (!is_float(in[0].dtype)) return TypeResult::fail("needs floats, not " + in[0].str());
  return in[0];
}
TypeResult number_type(Types in, const Attrs&) {
  if (in[0].dtype == DType::boolean) return TypeResult::fail("needs numbers, not " + in[0].str());
  return in[0];
}
TypeResult bool_type(Types in, const Attrs&) {
  if (in[0].dtype != DType::boolean) return TypeResult::fail("needs bool, not " + in[0].str());
  return in[0];
}

template <double (*F)(double)>
void map(const Node&, Refs in, RefTensor& out) {
  for (size_t k = 0; k < out.f.size(); ++k) out.f[k] = F(in[0]->f[k]);
}
template <double (*F)(double), int64_t (*I)(int64_t)>
void map(const Node&, Refs in, RefTensor& out) {
  for (size_t k = 0; k < out.f.size(); ++k) out.f[k] = F(in[0]->f[k]);
  for (size_t k = 0; k < out.i.size(); ++k) out.i[k] = I(in[0]->i[k]);
}

double neg_f(double x) { return -x; }
int64_t neg_i(int64_t x) { return static_cast<int64_t>(0 - static_cast<uint64_t>(x)); }
double abs_f(double x) { return std::fabs(x); }
int64_t abs_i(int64_t x) { return x < 0 ? neg_i(x) : x; }
double sign_f(double x) { return std::isnan(x) ? x : static_cast<double>((x > 0) - (x < 0)); }
int64_t sign_i(int64_t x) { return (x > 0) - (x < 0); }
double exp_f(double x) { return std::exp(x); }
double expm1_f(double x) { return std::expm1(x); }
double log_f(double x) { return std::log(x); }
double log1p_f(double x) { return std::log1p(x); }
double sqrt_f(double x) { return std::sqrt(x); }
double rsqrt_f(double x) { return 1 / std::sqrt(x); }
double sin_f(double x) { return std::sin(x); }
double cos_f(double x) { return std::cos(x); }
double tanh_f(double x) { return std::tanh(x); }
double erf_f(double x) { return std::erf(x); }
double floor_f(double x) { return std::floor(x); }
double ceil_f(double x) { return std::ceil(x); }
double round_f(double x) { return std::nearbyint(x); }  // half to even
double never_f(double x) { return x; }
int64_t not_i(int64_t x) { return !x; }

void neg_vjp(Vjp& v) { v.grad(0, neg(v.graph(), v.dy())); }
void abs_vjp(Vjp& v) { v.grad(0, mul(v.graph(), v.dy(), unary(v.graph(), "sign", v.in(0), v.out()->span))); }
void exp_vjp(Vjp& v) { v.grad(0, mul(v.graph(), v.dy(), v.out())); }
void expm1_vjp(Vjp& v) { v.grad(0, mul(v.graph(), v.dy(), add(v.graph(), v.out(), filled(v.graph(), v.out(), 1)))); }
void log_vjp(Vjp& v) { v.grad(0, div(v.graph(), v.dy(), v.in(0))); }
void log1p_vjp(Vjp& v) { v.grad(0, div(v.graph(), v.dy(), add(v.graph(), v.in(0), filled(v.graph(), v.in(0), 1)))); }
void sqrt_vjp(Vjp& v) {  // dy / (2 y)
  v.grad(0, div(v.graph(), v.dy(), mul(v.graph(), filled(v.graph(), v.out(), 2), v.out())));
}
void rsqrt_vjp(Vjp& v) {  // -dy y^3 / 2
  Graph& g = v.graph();
  Node* cube = mul(g, mul(g, v.out(), v.out()), v.out());
  v.grad(0, mul(g, v.dy(), mul(g, filled(g, v.out(), -0.5), cube)));
}
void sin_vjp(Vjp& v) { v.grad(0, mul(v.graph(), v.dy(), unary(v.graph(), "cos", v.in(0), v.out()->span))); }
void cos_vjp(Vjp& v) {
  v.grad(0, mul(v.graph(), v.dy(), neg(v.graph(), unary(v.graph(), "sin", v.in(0), v.out()->span))));
}
void tanh_vjp(Vjp& v) {  // dy (1 - y^2)
  Graph& g = v.graph();
  v.grad(0, mul(g, v.dy(), sub(g, filled(g, v.out(), 1), mul(g, v.out(), v.out()))));
}
void erf_vjp(Vjp& v) {  // dy 2 / sqrt(pi) exp(-x^2)
  Graph& g = v.graph();
  Node* bell = unary(g, "exp", neg(g, mul(g, v.in(0), v.in(0))), v.out()->span);
  v.grad(0, mul(g, v.dy(), mul(g, filled(g, v.out(), 2 * std::numbers::inv_sqrtpi), bell)));
}
// Constant between jumps: a gradient of zero, as in PyTorch.
void step_vjp(Vjp& v) { v.grad(0, zeros(v.graph(), v.in(0))); }

}  // namespace

#define NNLC_UNARY(NAME, TYPE, REFERENCE, VJP, DOC, LOW, HIGH) \
  const OpDef NAME##_op{.name = #NAME,                         \
                        .op_class = OpClass::elementwise,      \
                        .operands = {"x"},                     \
                        .attributes = {},                      \
                        .type = TYPE,                          \
                        .vjp = VJP,                            \
                        .no_gradient = {},                     \
                        .reference = REFERENCE,                \
                        .doc = DOC,                            \
                        .samples = {{{f64({2, 3})}, {}, LOW, HIGH}, {{f64({})}, {}, LOW, HIGH}}};
NNLC_UNARY(neg, number_type, (map<neg_f, neg_i>), neg_vjp, "-x", -2, 2)
NNLC_UNARY(abs, number_type, (map<abs_f, abs_i>), abs_vjp, "the magnitude; gradient 0 at 0", -2, 2)
NNLC_UNARY(sign, number_type, (map<sign_f, sign_i>), step_vjp, "-1, 0 or 1; gradient 0", -2, 2)
NNLC_UNARY(exp, float_type, map<exp_f>, exp_vjp, "e to the x", -2, 2)
NNLC_UNARY(expm1, float_type, map<expm1_f>, expm1_vjp, "exp(x) - 1, exact near 0", -2, 2)
NNLC_UNARY(log, float_type, map<log_f>, log_vjp, "the natural logarithm", 0.2, 3)
NNLC_UNARY(log1p, float_type, map<log1p_f>, log1p_vjp, "log(1 + x), exact near 0", -0.8, 3)
NNLC_UNARY(sqrt, float_type, map<sqrt_f>, sqrt_vjp, "the square root", 0.2, 3)
NNLC_UNARY(rsqrt, float_type, map<rsqrt_f>, rsqrt_vjp, "1 / sqrt(x)", 0.2, 3)
NNLC_UNARY(sin, float_type, map<sin_f>, sin_vjp, "the sine", -4, 4)
NNLC_UNARY(cos, float_type, map<cos_f>, cos_vjp, "the cosine", -4, 4)
NNLC_UNARY(tanh, float_type, map<tanh_f>, tanh_vjp, "the hyperbolic tangent", -3, 3)
NNLC_UNARY(erf, float_type, map<erf_f>, erf_vjp, "the error function", -3, 3)
NNLC_UNARY(floor, float_type, map<floor_f>, step_vjp, "rounds down; gradient 0", -3, 3)
NNLC_UNARY(ceil, float_type, map<ceil_f>, step_vjp, "rounds up; gradient 0", -3, 3)
NNLC_UNARY(round, float_type, map<round_f>, step_vjp, "rounds to nearest, half to even; gradient 0", -3, 3)
#undef NNLC_UNARY
const OpDef not_op{.name = "not",
                   .op_class = OpClass::elementwise,
                   .operands = {"x"},
                   .attributes = {},
                   .type = bool_type,
                   .no_gradient = "its result is bool",
                   .reference = map<never_f, not_i>,
                   .doc = "logical negation",
                   .samples = {{{boolean({2, 3})}, {}}}};

}  // namespace nnlc::graph
