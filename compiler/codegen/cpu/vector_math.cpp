#include "compiler/codegen/cpu/vector_math.h"

#include <llvm/Config/llvm-config.h>

#include <limits>

// Polynomials are Chebyshev interpolants of the functions named beside them, fitted in 60 digits; the error given is
// that of the polynomial alone. Rounding to integers adds and subtracts 1.5 * 2^mantissa instead of calling roundeven:
// the same two operations on every target, and the integer can be read from the low bits without a conversion that is
// undefined for NaN.

namespace nnlc::codegen::cpu {
using namespace llvm;

namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kRoundF32 = 12582912.0;          // 1.5 * 2^23
constexpr double kRoundF64 = 6755399441055744.0;  // 1.5 * 2^52

bool is_f64(Value* x) { return x->getType()->getScalarType()->isDoubleTy(); }

// Bounds that let a NaN in x through: the comparison is false for it.
Value* at_least(Builder& b, Value* x, double lo) {
  return b.CreateSelect(b.CreateFCmpOLT(x, b.number(x, lo)), b.number(x, lo), x);
}
Value* at_most(Builder& b, Value* x, double hi) {
  return b.CreateSelect(b.CreateFCmpOGT(x, b.number(x, hi)), b.number(x, hi), x);
}
Type* int_type(Builder& b, Value* x) { return b.same_lanes(is_f64(x) ? b.getInt64Ty() : b.getInt32Ty(), x); }
Value* bits(Builder& b, Value* x) { return b.CreateBitCast(x, int_type(b, x)); }
Value* select_at(Builder& b, Value* x, double where, Value* then, Value* otherwise) {
  return b.CreateSelect(b.CreateFCmpOEQ(x, b.number(x, where)), then, otherwise);
}

Value* per_lane(Builder& b, const char* function, ArrayRef<Value*> operands) {
  Type* element = operands[0]->getType()->getScalarType();
  std::string name = function;
  if (element->isFloatTy()) name += 'f';
  SmallVector<Type*> types(operands.size(), element);
  FunctionCallee callee = b.module.getOrInsertFunction(name, FunctionType::get(element, types, false));
  cast<Function>(callee.getCallee())->addFnAttr(Attribute::NoUnwind);
  cast<Function>(callee.getCallee())->setDoesNotAccessMemory();  // errno isn't looked at
  auto call = [&](ArrayRef<Value*> args) {
    auto* c = b.CreateCall(callee, args);
    c->addFnAttr(Attribute::NoBuiltin);  // not to be folded with the compiling machine's libm
    return c;
  };
  int lanes = Builder::lanes_of(operands[0]);
  if (lanes == 1) return call(operands);
  Value* result = PoisonValue::get(operands[0]->getType());
  for (int l = 0; l < lanes; l++) {
    SmallVector<Value*> args;
    for (Value* v : operands) args.push_back(b.CreateExtractElement(v, b.i64(l)));
    result = b.CreateInsertElement(result, call(args), b.i64(l));
  }
  return result;
}

struct Rounded {
  Value *value, *integer;  // integer: the low bits are right for |value| < 2^22 (f32), 2^31 (f64)
};
Rounded round_even(Builder& b, Value* x) {
  double magic = is_f64(x) ? kRoundF64 : kRoundF32;
  Value* shifted = b.CreateFAdd(x, b.number(x, magic));
  Value* integer = b.CreateSub(bits(b, shifted), bits(b, b.number(x, magic)));
  return {b.CreateFSub(shifted, b.number(x, magic)), integer};
}

// 2^i for f32, -126 <= i <= 127.
Value* power_of_two(Builder& b, Value* i, Value* like) {
  Value* biased = b.CreateAdd(i, b.integer(i->getType(), 127));
  return b.CreateBitCast(b.CreateShl(biased, b.integer(i->getType(), 23)), like->getType());
}

// p * 2^i with one rounding, for p near 1 and |i| <= 152.
Value* scale(Builder& b, Value* p, Value* i) {
#if LLVM_VERSION_MAJOR >= 22
  // One vscalefps; without AVX-512 (or in older versions) a call of libm per lane.
  if (b.target.avx512 && Builder::lanes_of(p) >= 4)
    return b.CreateIntrinsic(Intrinsic::ldexp, {p->getType(), i->getType()}, {p, i});
#endif
  // In two factors: the first product is exact, the second overflows or becomes a denormal as it should.
  Value* half = b.CreateAShr(i, b.integer(i->getType(), 1));
  Value* rest = b.CreateSub(i, half);
  return b.CreateFMul(b.CreateFMul(p, power_of_two(b, half, p)), power_of_two(b, rest, p));
}

// x = n ln2 + r, |r| <= ln2/2. The high part of ln2 has 16 bits, so that n times it is exact without fma, too.
std::pair<Rounded, Value*> reduce_ln2(Builder& b, Value* x) {
  Rounded n = round_even(b, b.CreateFMul(x, b.number(x, 1.44269504088896341)));
  Value* r = b.fma(n.value, b.number(x, -0.693145751953125), x);
  return {n, b.fma(n.value, b.number(x, -1.42860682030941723e-6), r)};
}

Value* exp_f32(Builder& b, Value* x) {
  x = at_most(b, at_least(b, x, -105), 89);
  auto [n, r] = reduce_ln2(b, x);
  // (e^r - 1 - r) / r^2, 2^-27
  Value* q = b.polynomial(r, {0.00139262508, 0.00836323288, 0.0416665542, 0.166665767, 0.5});
  Value* p = b.CreateFAdd(b.fma(b.CreateFMul(r, r), q, r), b.number(x, 1));
  return scale(b, p, n.integer);
}

Value* expm1_f32(Builder& b, Value* x0) {
  Value* x = at_most(b, at_least(b, x0, -20), 89);
  auto [n, r] = reduce_ln2(b, x);
  // (e^r - 1 - r) / r^2, 2^-31
  Value* q = b.polynomial(r, {0.000198910805, 0.00139337307, 0.00833331084, 0.0416664642, 0.166666667, 0.500000001});
  Value* p = b.fma(b.CreateFMul(r, r), q, r);
  // 2^n p + (2^n - 1) at half size, since 2^n overflows at the upper end.
  Value* s = power_of_two(b, b.CreateSub(n.integer, b.integer(n.integer->getType(), 1)), x);
  Value* half = b.fma(s, p, b.CreateFSub(s, b.number(x, 0.5)));
  Value* tiny = b.CreateFCmpOLT(b.abs(x0), b.number(x, 0x1p-25));  // denormals and -0
  return b.CreateSelect(tiny, x0, b.CreateFAdd(half, half));
}

// ln(2^e (1 + f)) with `extra` added where it is smallest, 1 + f in [sqrt(1/2), sqrt(2)).
Value* log_of_parts(Builder& b, Value* e, Value* f, Value* extra) {
  Value* z = b.CreateFMul(f, f);
  // (ln(1+f) - f + f^2/2) / f^3, 2^-28.5
  Value* q = b.polynomial(f, {0.0697134632, -0.114830813, 0.116870249, -0.124253598, 0.14248877, -0.166678098,
                              0.200007207, -0.249999969, 0.333333312});
  Value* low = b.CreateFMul(e, b.number(f, -2.12194440e-4));  // ln2 = 0.693359375 - 2.12e-4
  if (extra) low = b.CreateFAdd(low, extra);
  Value* r = b.fma(b.CreateFMul(f, z), q, low);
  r = b.CreateFAdd(b.fma(z, b.number(f, -0.5), r), f);
  return b.fma(e, b.number(f, 0.693359375), r);
}

struct Split {
  Value *exponent, *f;
};
// For normal positive x.
Split split(Builder& b, Value* x) {
  Value* i = bits(b, x);
  Type* t = i->getType();
  Value* e = b.CreateAShr(b.CreateSub(i, b.integer(t, 0x3f3504f3)), b.integer(t, 23));  // bits of sqrt(1/2)
  Value* m = b.CreateBitCast(b.CreateSub(i, b.CreateShl(e, b.integer(t, 23))), x->getType());
  return {b.CreateSIToFP(e, x->getType()), b.CreateFSub(m, b.number(x, 1))};
}

Value* log_f32(Builder& b, Value* x0) {
  Value* tiny = b.CreateFCmpOLT(x0, b.number(x0, 0x1p-126));
  Value* x = b.CreateSelect(tiny, b.CreateFMul(x0, b.number(x0, 0x1p23)), x0);
  Split s = split(b, x);
  Value* e = b.CreateFSub(s.exponent, b.CreateSelect(tiny, b.number(x, 23), b.number(x, 0)));
  Value* r = log_of_parts(b, e, s.f, nullptr);
  r = b.CreateSelect(b.CreateFCmpOLT(x0, b.number(x, 0)), b.number(x, kNaN), r);
  r = select_at(b, x0, 0, b.number(x, -kInf), r);
  return b.CreateSelect(b.CreateFCmpULT(x0, b.number(x, kInf)), b.CreateSelect(b.CreateFCmpUNO(x0, x0), x0, r), x0);
}

Value* log1p_f32(Builder& b, Value* x) {
  Value* one = b.number(x, 1);
  Value* u = b.CreateFAdd(x, one);
  // What the sum lost, relative to u: ln(1+x) = ln(u) + ln(1 + (1+x-u)/u).
  Value* lost = b.CreateFDiv(b.CreateFSub(x, b.CreateFSub(u, one)), u);
  Split s = split(b, u);
  Value* r = log_of_parts(b, s.exponent, s.f, lost);
  r = select_at(b, x, -1, b.number(x, -kInf), r);
  r = b.CreateSelect(b.CreateFCmpOLT(x, b.number(x, -1)), b.number(x, kNaN), r);
  // Where x^2/2 is below half a unit x itself is nearest, and -0 and denormals stay.
  r = b.CreateSelect(b.CreateFCmpOLT(b.abs(x), b.number(x, 0x1p-25)), x, r);
  return b.CreateSelect(b.CreateFCmpULT(x, b.number(x, kInf)), b.CreateSelect(b.CreateFCmpUNO(x, x), x, r), x);
}

Value* tanh_f32(Builder& b, Value* x) {
  Value* a = b.abs(x);
  Value* z = b.CreateFMul(a, a);
  // (tanh(a)/a - 1) / a^2, 2^-31
  Value* q = b.polynomial(z, {0.00229274482, -0.00834394552, 0.0217689187, -0.0539592596, 0.133333036, -0.333333332});
  Value* small = b.fma(b.CreateFMul(a, z), q, a);
  Value* e = exp_f32(b, b.CreateFAdd(a, a));
  Value* big = b.CreateFSub(b.number(x, 1), b.CreateFDiv(b.number(x, 2), b.CreateFAdd(e, b.number(x, 1))));
  return b.copysign(b.CreateSelect(b.CreateFCmpOLT(a, b.number(x, 0.625)), small, big), x);
}

Value* erf_f32(Builder& b, Value* x) {
  Value* a = b.abs(x);
  Value* z = b.CreateFMul(a, a);
  // erf(a)/a - 1, 2^-29.6
  Value* q = b.polynomial(
      z, {7.87587506e-5, -0.000801686429, 0.00518908742, -0.026854212, 0.112835947, -0.376126267, 0.128379166});
  Value* small = b.fma(a, q, a);
  Value* t = at_most(b, a, 4);  // 1 - erf(4) is a quarter of a unit
  // ln(1 - erf(t)) on [0.92, 4], 2^-28.5 of the result
  Value* p = b.polynomial(t, {1.64356965e-6, -4.61779128e-5, 0.000597743472, -0.00476357525, 0.0264310176, -0.110094481,
                              -0.631814517, -1.13023762, 0.000320441531});
  Value* big = b.CreateFSub(b.number(x, 1), exp_f32(b, p));
  return b.copysign(b.CreateSelect(b.CreateFCmpOLT(a, b.number(x, 0.95)), small, big), x);
}

// quadrant: 0 for sin, 1 for cos.
Value* sin_f32(Builder& b, Value* x, int quadrant, const char* libm) {
  // The reduction is done in f64: x - n pi/2 then keeps f32's accuracy also where it is nearly 0. The high part of pi/2
  // has 33 bits, so n times it is exact.
  Type* wide = b.same_lanes(b.getDoubleTy(), x);
  Value* d = b.CreateFPExt(x, wide);
  Rounded n = round_even(b, b.CreateFMul(d, b.number(d, 0.63661977236758134308)));
  Value* reduced = b.CreateFSub(d, b.CreateFMul(n.value, b.number(d, 1.57079632673412561417)));
  reduced = b.CreateFSub(reduced, b.CreateFMul(n.value, b.number(d, 6.07710050650619224932e-11)));
  Value* r = b.CreateFPTrunc(reduced, x->getType());
  Type* i32 = b.same_lanes(b.getInt32Ty(), x);
  Value* k = b.CreateAdd(b.CreateTrunc(n.integer, i32), b.integer(i32, quadrant));
  Value* z = b.CreateFMul(r, r);
  // (sin(r)/r - 1) / r^2, 2^-35; (cos(r) - 1 + r^2/2) / r^4, 2^-40
  Value* qs = b.polynomial(z, {2.72493141e-6, -0.00019840082, 0.00833333187, -0.166666667});
  Value* sine = b.fma(b.CreateFMul(r, z), qs, r);
  Value* qc = b.polynomial(z, {-2.73004486e-7, 2.48005964e-5, -0.00138888877, 0.0416666667});
  Value* cosine = b.CreateFAdd(b.fma(b.CreateFMul(z, z), qc, b.CreateFMul(z, b.number(x, -0.5))), b.number(x, 1));
  Value* odd = b.CreateICmpNE(b.CreateAnd(k, b.integer(i32, 1)), b.integer(i32, 0));
  Value* v = b.CreateSelect(odd, cosine, sine);
  Value* sign = b.CreateShl(b.CreateAnd(k, b.integer(i32, 2)), b.integer(i32, 30));
  v = b.CreateBitCast(b.CreateXor(b.CreateBitCast(v, i32), sign), x->getType());
  if (quadrant == 0) v = select_at(b, x, 0, x, v);  // -0
  // Few programs ever come here: exact reduction of large arguments needs hundreds of bits of pi.
  Value* beyond = b.CreateFCmpUGT(b.abs(x), b.number(x, 0x1p17));
  return b.choose(
      b.any(beyond), [&] { return Values{b.CreateSelect(beyond, per_lane(b, libm, {x}), v)}; },
      [&] { return Values{v}; })[0];
}

// In f64, where plain series are accurate enough: |x|^y = 2^(y log2|x|).
Value* pow_f32(Builder& b, Value* x, Value* y) {
  Type* wide = b.same_lanes(b.getDoubleTy(), x);
  Type* i64 = b.same_lanes(b.getInt64Ty(), x);
  Value* a = b.abs(x);
  Value* d = b.CreateFPExt(a, wide);  // denormals are normal here
  Value* i = b.CreateBitCast(d, i64);
  Value* e = b.CreateAShr(b.CreateSub(i, b.integer(i64, 0x3fe6a09e667f3bcd)), b.integer(i64, 52));  // sqrt(1/2)
  Value* m = b.CreateBitCast(b.CreateSub(i, b.CreateShl(e, b.integer(i64, 52))), wide);
  // The exponent as a number through the low bits of 1.5 * 2^52: SSE and AVX2 can't convert 64-bit integers.
  Value* magic = b.CreateBitCast(b.number(wide, kRoundF64), i64);
  Value* ed = b.CreateFSub(b.CreateBitCast(b.CreateAdd(e, magic), wide), b.number(wide, kRoundF64));
  Value* s = b.CreateFDiv(b.CreateFSub(m, b.number(wide, 1)), b.CreateFAdd(m, b.number(wide, 1)));
  // 2 atanh(s) / (s ln2) in s^2, 2^-43
  Value* q = b.polynomial(b.CreateFMul(s, s), {0.282928211886632051, 0.319903942470341643, 0.412209289579810146,
                                               0.577077942057682039, 0.96179669411416448, 2.88539008177784969});
  Value* log2 = b.CreateFAdd(b.CreateFMul(s, q), ed);
  log2 = select_at(b, a, 0, b.number(wide, -kInf), log2);
  log2 = select_at(b, a, kInf, b.number(wide, kInf), log2);
  Value* t = at_most(b, at_least(b, b.CreateFMul(log2, b.CreateFPExt(y, wide)), -200), 200);
  Rounded n = round_even(b, t);
  // 2^r, 2^-40
  Value* p =
      b.polynomial(b.CreateFSub(t, n.value),
                   {1.32552407972069666e-6, 0.0000153101023803835109, 0.000154034557927496445, 0.00133334504818193268,
                    0.0096181291594647592, 0.0555041094129571744, 0.240226506958128327, 0.693147180545911006, 1.0});
  Value* scaled = b.CreateAdd(b.CreateBitCast(p, i64), b.CreateShl(n.integer, b.integer(i64, 52)));
  Value* v = b.CreateFPTrunc(b.CreateBitCast(scaled, wide), x->getType());  // overflows and underflows here
  // A NaN's payload may have been moved by the exponent's sum into infinity's pattern.
  v = b.CreateSelect(b.CreateFCmpUNO(x, y), b.number(x, kNaN), v);

  // Signs. From 2^24 on every f32 is an even integer.
  Value* bounded = b.CreateSelect(b.CreateFCmpOLT(b.abs(y), b.number(y, 0x1p24)), y, b.number(y, 0x1p24));
  Type* i32 = b.same_lanes(b.getInt32Ty(), x);
  Value* whole = b.CreateFPToSI(bounded, i32);
  Value* integral = b.CreateFCmpOEQ(b.CreateSIToFP(whole, y->getType()), bounded);
  Value* odd = b.CreateAnd(integral, b.CreateICmpNE(b.CreateAnd(whole, b.integer(i32, 1)), b.integer(i32, 0)));
  Value* negative = b.CreateICmpSLT(b.CreateBitCast(x, i32), b.integer(i32, 0));
  v = b.CreateSelect(b.CreateAnd(negative, odd), b.CreateFNeg(v), v);
  Value* finite = b.CreateAnd(b.CreateFCmpOLT(x, b.number(x, 0)), b.CreateFCmpOGT(x, b.number(x, -kInf)));
  v = b.CreateSelect(b.CreateAnd(finite, b.CreateNot(integral)), b.number(x, kNaN), v);
  // 1 to any power, anything to the 0th: 1, even for NaN; -1 to an infinite power, too.
  Value* both = b.CreateAnd(b.CreateFCmpOEQ(a, b.number(x, 1)), b.CreateFCmpOEQ(b.abs(y), b.number(y, kInf)));
  Value* one = b.CreateOr(b.CreateFCmpOEQ(y, b.number(y, 0)), b.CreateFCmpOEQ(x, b.number(x, 1)));
  return b.CreateSelect(b.CreateOr(one, both), b.number(x, 1), v);
}

}  // namespace

Value* emit_exp(Builder& b, Value* x) { return is_f64(x) ? per_lane(b, "exp", {x}) : exp_f32(b, x); }
Value* emit_expm1(Builder& b, Value* x) { return is_f64(x) ? per_lane(b, "expm1", {x}) : expm1_f32(b, x); }
Value* emit_log(Builder& b, Value* x) { return is_f64(x) ? per_lane(b, "log", {x}) : log_f32(b, x); }
Value* emit_log1p(Builder& b, Value* x) { return is_f64(x) ? per_lane(b, "log1p", {x}) : log1p_f32(b, x); }
Value* emit_tanh(Builder& b, Value* x) { return is_f64(x) ? per_lane(b, "tanh", {x}) : tanh_f32(b, x); }
Value* emit_erf(Builder& b, Value* x) { return is_f64(x) ? per_lane(b, "erf", {x}) : erf_f32(b, x); }
Value* emit_sin(Builder& b, Value* x) { return is_f64(x) ? per_lane(b, "sin", {x}) : sin_f32(b, x, 0, "sin"); }
Value* emit_cos(Builder& b, Value* x) { return is_f64(x) ? per_lane(b, "cos", {x}) : sin_f32(b, x, 1, "cos"); }
Value* emit_pow(Builder& b, Value* x, Value* y) { return is_f64(x) ? per_lane(b, "pow", {x, y}) : pow_f32(b, x, y); }
// The estimate instructions plus a Newton step would be faster, but differ between makers of CPUs.
Value* emit_rsqrt(Builder& b, Value* x) { return b.CreateFDiv(b.number(x, 1), b.sqrt(x)); }

}  // namespace nnlc::codegen::cpu
