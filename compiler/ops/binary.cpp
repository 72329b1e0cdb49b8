// Elementwise functions of two operands of one type, comparisons, logic, select and cast. Broadcasting is a node of its
// own.
#include "compiler/ops/detail.h"

namespace nnlc::graph {
using namespace detail;

namespace {

TypeResult same_type(Types in) {
  if (in[0] != in[1]) return TypeResult::fail("operands differ, " + in[0].str() + " and " + in[1].str());
  return in[0];
}
TypeResult number_type(Types in, const Attrs&) {
  if (in[0].dtype == DType::boolean) return TypeResult::fail("needs numbers, not " + in[0].str());
  return same_type(in);
}
TypeResult any_compare_type(Types in, const Attrs&) {
  TypeResult r = same_type(in);
  if (r.type) r.type->dtype = DType::boolean;
  return r;
}
TypeResult compare_type(Types in, const Attrs& attrs) {
  TypeResult r = number_type(in, attrs);
  if (r.type) r.type->dtype = DType::boolean;
  return r;
}
TypeResult bool_type(Types in, const Attrs&) {
  if (in[0].dtype != DType::boolean) return TypeResult::fail("needs bool, not " + in[0].str());
  return same_type(in);
}

template <double (*F)(double, double), int64_t (*I)(int64_t, int64_t)>
void map(const Node&, Refs in, RefTensor& out) {
  for (size_t k = 0; k < out.f.size(); ++k) out.f[k] = F(in[0]->f[k], in[1]->f[k]);
  for (size_t k = 0; k < out.i.size(); ++k) out.i[k] = I(in[0]->i[k], in[1]->i[k]);
}
template <bool (*F)(double, double), bool (*I)(int64_t, int64_t)>
void compare(const Node&, Refs in, RefTensor& out) {
  for (size_t k = 0; k < out.i.size(); ++k)
    out.i[k] = holds_floats(*in[0]) ? F(in[0]->f[k], in[1]->f[k]) : I(in[0]->i[k], in[1]->i[k]);
}

// Ints wrap around; unsigned arithmetic says so without overflow.
using U = uint64_t;
double add_f(double a, double b) { return a + b; }
int64_t add_i(int64_t a, int64_t b) { return static_cast<int64_t>(U(a) + U(b)); }
double sub_f(double a, double b) { return a - b; }
int64_t sub_i(int64_t a, int64_t b) { return static_cast<int64_t>(U(a) - U(b)); }
double mul_f(double a, double b) { return a * b; }
int64_t mul_i(int64_t a, int64_t b) { return static_cast<int64_t>(U(a) * U(b)); }
double div_f(double a, double b) { return a / b; }
int64_t div_i(int64_t a, int64_t b) {  // floor; a division by zero gives 0
  if (b == 0) return 0;
  if (b == -1) return static_cast<int64_t>(U(0) - U(a));
  return a / b - (a % b != 0 && (a < 0) != (b < 0));
}
double pow_f(double a, double b) { return std::pow(a, b); }
int64_t pow_i(int64_t a, int64_t b) {
  if (b < 0) return a == 1 ? 1 : a == -1 ? (b % 2 == 0 ? 1 : -1) : 0;
  U r = 1, base = U(a);
  for (; b; b >>= 1, base *= base)
    if (b & 1) r *= base;
  return static_cast<int64_t>(r);
}
double max_f(double a, double b) { return std::isnan(a) ? a : std::isnan(b) ? b : a > b ? a : b; }
int64_t max_i(int64_t a, int64_t b) { return a > b ? a : b; }
double min_f(double a, double b) { return std::isnan(a) ? a : std::isnan(b) ? b : a < b ? a : b; }
int64_t min_i(int64_t a, int64_t b) { return a < b ? a : b; }
double rem_f(double a, double b) {  // the sign of b
  double r = std::fmod(a, b);
  return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}
int64_t rem_i(int64_t a, int64_t b) {  // a remainder by zero gives 0
  if (b == 0 || b == -1) return 0;
  int64_t r = a % b;
  return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}
bool eq_f(double a, double b) { return a == b; }
bool eq_i(int64_t a, int64_t b) { return a == b; }
bool lt_f(double a, double b) { return a < b; }
bool lt_i(int64_t a, int64_t b) { return a < b; }
bool le_f(double a, double b) { return a <= b; }
bool le_i(int64_t a, int64_t b) { return a <= b; }
double never_f(double a, double) { return a; }
int64_t and_i(int64_t a, int64_t b) { return a && b; }
int64_t or_i(int64_t a, int64_t b) { return a || b; }

void add_vjp(Vjp& v) {
  v.grad(0, v.dy());
  v.grad(1, v.dy());
}
void sub_vjp(Vjp& v) {
  v.grad(0, v.dy());
  if (v.wants(1)) v.grad(1, neg(v.graph(), v.dy()));
}
void mul_vjp(Vjp& v) {
  if (v.wants(0)) v.grad(0, mul(v.graph(), v.dy(), v.in(1)));
  if (v.wants(1)) v.grad(1, mul(v.graph(), v.dy(), v.in(0)));
}
void div_vjp(Vjp& v) {  // da = dy / b, db = -dy (a / b) / b
  Graph& g = v.graph();
  if (v.wants(0)) v.grad(0, div(g, v.dy(), v.in(1)));
  if (v.wants(1)) v.grad(1, neg(g, mul(g, v.dy(), div(g, v.out(), v.in(1)))));
}
void pow_vjp(Vjp& v) {
  Graph& g = v.graph();
  Node *a = v.in(0), *b = v.in(1), *zero = zeros(g, a);
  Span at = v.out()->span;
  if (v.wants(0)) {  // b a^(b - 1), and 0 where b is 0: at a = 0 that would be 0 * inf
    Node* slope = mul(g, b, binary(g, "pow", a, sub(g, b, filled(g, b, 1)), at));
    v.grad(0, select(g, binary(g, "eq", b, zero, at), zero, mul(g, v.dy(), slope), at));
  }
  if (v.wants(1)) {  // y log a, and 0 where a is 0 and b >= 0: there y is 0 (or 1) on that whole side
    Node* flat = binary(g, "and", binary(g, "eq", a, zero, at), binary(g, "le", zero, b, at), at);
    v.grad(1, select(g, flat, zero, mul(g, v.dy(), mul(g, v.out(), unary(g, "log", a, at))), at));
  }
}
/// To the operand that was taken; where both are equal, half to each.
void extremum_vjp(Vjp& v, bool larger) {
  Graph& g = v.graph();
  Span at = v.out()->span;
  Node *zero = zeros(g, v.dy()), *tie = binary(g, "eq", v.in(0), v.in(1), at);
  Node* half = mul(g, v.dy(), filled(g, v.dy(), 0.5));
  for (size_t i : {0, 1}) {
    if (!v.wants(i)) continue;
    Node *self = v.in(i), *other = v.in(1 - i);
    Node* taken = larger ? binary(g, "lt", other, self, at) : binary(g, "lt", self, other, at);
    v.grad(i, select(g, taken, v.dy(), select(g, tie, half, zero, at), at));
  }
}
void max_vjp(Vjp& v) { extremum_vjp(v, true); }
void min_vjp(Vjp& v) { extremum_vjp(v, false); }
void rem_vjp(Vjp& v) {  // a - b floor(a / b)
  Graph& g = v.graph();
  v.grad(0, v.dy());
  if (v.wants(1)) {
    Node* times = unary(g, "floor", div(g, v.in(0), v.in(1)), v.out()->span);
    v.grad(1, neg(g, mul(g, v.dy(), times)));
  }
}

TypeResult select_type(Types in, const Attrs&) {
  if (in[0].dtype != DType::boolean) return TypeResult::fail("the mask is " + in[0].str() + ", not bool");
  if (in[1] != in[2]) return TypeResult::fail("operands differ, " + in[1].str() + " and " + in[2].str());
  if (in[0].shape != in[1].shape)
    return TypeResult::fail("the mask is " + in[0].str() + ", the operands are " + in[1].str());
  return in[1];
}
void select_reference(const Node&, Refs in, RefTensor& out) {
  for (size_t k = 0; k < in[0]->i.size(); ++k) copy_element(out, k, *in[in[0]->i[k] ? 1 : 2], k);
}
void select_vjp(Vjp& v) {
  Node* zero = zeros(v.graph(), v.dy());
  if (v.wants(1)) v.grad(1, select(v.graph(), v.in(0), v.dy(), zero, v.out()->span));
  if (v.wants(2)) v.grad(2, select(v.graph(), v.in(0), zero, v.dy(), v.out()->span));
}

TypeResult cast_type(Types in, const Attrs& attrs) {
  return TensorType{std::get<DType>(attrs.at("dtype")), in[0].shape};
}
void cast_reference(const Node& n, Refs in, RefTensor& out) {
  for (size_t k = 0; k < detail::size_of(out); ++k) {
    if (holds_floats(out))
      out.f[k] = number(*in[0], k);
    else if (n.type.dtype == DType::boolean)
      out.i[k] = holds_floats(*in[0]) ? in[0]->f[k] != 0 : in[0]->i[k] != 0;
    else
      out.i[k] = holds_floats(*in[0]) ? to_int(in[0]->f[k]) : in[0]->i[k];
  }
}
void cast_vjp(Vjp& v) {
  if (v.wants(0)) v.grad(0, cast(v.graph(), v.dy(), v.in(0)->type.dtype, v.out()->span));
}

}  // namespace

#define NNLC_BINARY(NAME, TYPE, REFERENCE, VJP, WHY, DOC, ...) \
  const OpDef NAME##_op{.name = #NAME,                         \
                        .op_class = OpClass::elementwise,      \
                        .operands = {"a", "b"},                \
                        .attributes = {},                      \
                        .type = TYPE,                          \
                        .vjp = VJP,                            \
                        .no_gradient = WHY,                    \
                        .reference = REFERENCE,                \
                        .doc = DOC,                            \
                        .samples = {__VA_ARGS__}};
#define NNLC_SAMPLES(LOW, HIGH) \
  {{f64({2, 3}), f64({2, 3})}, {}, LOW, HIGH}, { {f64({}), f64({})}, {}, LOW, HIGH }
NNLC_BINARY(add, number_type, (map<add_f, add_i>), add_vjp, {}, "a + b", NNLC_SAMPLES(-2, 2))
NNLC_BINARY(sub, number_type, (map<sub_f, sub_i>), sub_vjp, {}, "a - b", NNLC_SAMPLES(-2, 2))
NNLC_BINARY(mul, number_type, (map<mul_f, mul_i>), mul_vjp, {}, "a * b", NNLC_SAMPLES(-2, 2))
NNLC_BINARY(div, number_type, (map<div_f, div_i>), div_vjp, {}, "a / b; of ints the floor, and 0 for b = 0",
            NNLC_SAMPLES(0.3, 2), {{i64({7}), i64({7})}, {}, 0, 0, -3, 4})
NNLC_BINARY(pow, number_type, (map<pow_f, pow_i>), pow_vjp, {}, "a to the power b", NNLC_SAMPLES(0.3, 2),
            {{i64({7}), i64({7})}, {}, 0, 0, -3, 4})
NNLC_BINARY(max, number_type, (map<max_f, max_i>), max_vjp, {},
            "the larger one, NaN if either is; equal operands share the gradient", NNLC_SAMPLES(-2, 2))
NNLC_BINARY(min, number_type, (map<min_f, min_i>), min_vjp, {},
            "the smaller one, NaN if either is; equal operands share the gradient", NNLC_SAMPLES(-2, 2))
NNLC_BINARY(rem, number_type, (map<rem_f, rem_i>), rem_vjp, {}, "a - b * floor(a / b): the sign of b, as Python's %",
            {{f64({2, 3}), f64({2, 3})}, {}, 0.4, 2}, {{i64({7}), i64({7})}, {}, 0, 0, -3, 4})
NNLC_BINARY(eq, any_compare_type, (compare<eq_f, eq_i>), nullptr, "its result is bool", "a == b", NNLC_SAMPLES(-2, 2),
            {{i64({7}), i64({7})}, {}, 0, 0, -1, 1})
NNLC_BINARY(lt, compare_type, (compare<lt_f, lt_i>), nullptr, "its result is bool", "a < b", NNLC_SAMPLES(-2, 2),
            {{i64({7}), i64({7})}, {}, 0, 0, -1, 1})
NNLC_BINARY(le, compare_type, (compare<le_f, le_i>), nullptr, "its result is bool", "a <= b", NNLC_SAMPLES(-2, 2),
            {{i64({7}), i64({7})}, {}, 0, 0, -1, 1})
NNLC_BINARY(and, bool_type, (map<never_f, and_i>), nullptr, "its result is bool", "logical conjunction",
            {{boolean({7}), boolean({7})}, {}})
NNLC_BINARY(or, bool_type, (map<never_f, or_i>), nullptr, "its result is bool", "logical disjunction",
            {{boolean({7}), boolean({7})}, {}})
#undef NNLC_BINARY
#undef NNLC_SAMPLES

const OpDef select_op{
    .name = "select",
    .op_class = OpClass::elementwise,
    .operands = {"mask", "a", "b"},
    .attributes = {},
    .type = select_type,
    .vjp = select_vjp,
    .no_gradient = {},
    .reference = select_reference,
    .doc = "a where the mask is true, else b",
    .samples = {{{boolean({2, 5}), f64({2, 5}), f64({2, 5})}, {}}, {{boolean({}), f64({}), f64({})}, {}}}};
const OpDef cast_op{
    .name = "cast",
    .op_class = OpClass::elementwise,
    .operands = {"x"},
    .attributes = {"dtype"},
    .type = cast_type,
    .vjp = cast_vjp,
    .no_gradient = {},
    .reference = cast_reference,
    .doc = "another element type: floats round to nearest even, float to int truncates, int to int wraps",
    .samples = {{{f64({2, 3})}, {{"dtype", DType::f64}}},
                {{f64({4})}, {{"dtype", DType::i32}}, -3, 3},
                {{i64({4})}, {{"dtype", DType::u8}}, 0, 0, -300, 300}}};

}  // namespace nnlc::graph
