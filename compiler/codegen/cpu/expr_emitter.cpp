// Expressions of the kernel form as LLVM values.
#include "compiler/codegen/cpu/expr_emitter.h"

#include <llvm/IR/IntrinsicInst.h>

#include <limits>

#include "compiler/codegen/cpu/vector_math.h"

namespace nnlc::codegen::cpu {

using graph::DType;
using llvm::Value;
using loop::Affine;
using loop::Expr;
using loop::Fn;
using loop::kDynamic;

llvm::Type* memory_type(Builder& b, DType t) {
  switch (t) {
    case DType::boolean:
    case DType::u8:
    case DType::i8:
      return b.getInt8Ty();
    case DType::i16:
    case DType::f16:
    case DType::bf16:
      return b.getInt16Ty();
    case DType::i32:
      return b.getInt32Ty();
    case DType::i64:
      return b.getInt64Ty();
    case DType::f32:
      return b.getFloatTy();
    case DType::f64:
      return b.getDoubleTy();
  }
  return nullptr;
}

llvm::Type* register_type(Builder& b, DType t) {
  if (t == DType::boolean) return b.getInt1Ty();
  if (t == DType::f16 || t == DType::bf16) return b.getFloatTy();
  return memory_type(b, t);
}

static bool has_f16c(const Builder& b) { return b.target.features.find("+f16c") != std::string::npos; }

static Value* f16_to_f32(Builder& b, Value* bits) {
  llvm::Type* half = b.same_lanes(b.getHalfTy(), bits);
  llvm::Type* f32 = b.same_lanes(b.getFloatTy(), bits);
  if (has_f16c(b)) return b.CreateFPExt(b.CreateBitCast(bits, half), f32);
  // Exponent and fraction moved into place; denormals are fixed by a multiplication that normalises.
  llvm::Type* i32 = b.same_lanes(b.getInt32Ty(), bits);
  Value* w = b.CreateZExt(bits, i32);
  Value* sign = b.CreateShl(b.CreateAnd(w, b.integer(i32, 0x8000)), b.integer(i32, 16));
  Value* rest = b.CreateShl(b.CreateAnd(w, b.integer(i32, 0x7fff)), b.integer(i32, 13));
  Value* scaled = b.CreateFMul(b.CreateBitCast(rest, f32), b.number(f32, 0x1p112));
  Value* special = b.CreateICmpUGE(b.CreateAnd(w, b.integer(i32, 0x7c00)), b.integer(i32, 0x7c00));
  Value* magnitude =
      b.CreateSelect(special, b.CreateOr(rest, b.integer(i32, 0x7f800000)), b.CreateBitCast(scaled, i32));
  return b.CreateBitCast(b.CreateOr(magnitude, sign), f32);
}

static Value* f32_to_f16(Builder& b, Value* v) {
  llvm::Type* i16 = b.same_lanes(b.getInt16Ty(), v);
  if (has_f16c(b)) return b.CreateBitCast(b.CreateFPTrunc(v, b.same_lanes(b.getHalfTy(), v)), i16);
  llvm::Type *i32 = b.same_lanes(b.getInt32Ty(), v), *f32 = v->getType();
  Value* w = b.CreateBitCast(v, i32);
  Value* sign = b.CreateLShr(b.CreateAnd(w, b.integer(i32, int64_t{0x80000000})), b.integer(i32, 16));
  Value* a = b.CreateAnd(w, b.integer(i32, 0x7fffffff));
  // Normal results: rounded to nearest even in integers. Small ones: by adding 1/2, whose last place is 2^-24.
  Value* odd = b.CreateAnd(b.CreateLShr(a, b.integer(i32, 13)), b.integer(i32, 1));
  Value* normal =
      b.CreateLShr(b.CreateAdd(b.CreateAdd(a, b.integer(i32, int64_t{0xc8000fff})), odd), b.integer(i32, 13));
  Value* small = b.CreateSub(b.CreateBitCast(b.CreateFAdd(b.CreateBitCast(a, f32), b.number(f32, 0.5)), i32),
                             b.integer(i32, 0x3f000000));
  Value* r = b.CreateSelect(b.CreateICmpULT(a, b.integer(i32, 0x38800000)), small, normal);
  r = b.CreateSelect(b.CreateICmpUGE(a, b.integer(i32, 0x477ff000)), b.integer(i32, 0x7c00), r);
  r = b.CreateSelect(b.CreateICmpUGT(a, b.integer(i32, 0x7f800000)), b.integer(i32, 0x7e00), r);
  return b.CreateTrunc(b.CreateOr(r, sign), i16);
}

Value* from_memory(Builder& b, Value* v, DType t) {
  if (t == DType::boolean) return b.CreateICmpNE(v, llvm::Constant::getNullValue(v->getType()));
  if (t == DType::bf16) return b.bf16_to_f32(v);
  if (t == DType::f16) return f16_to_f32(b, v);
  return v;
}

Value* to_memory(Builder& b, Value* v, DType t) {
  if (t == DType::boolean) return b.CreateZExt(v, b.same_lanes(b.getInt8Ty(), v));
  if (t == DType::bf16) return b.f32_to_bf16(v);
  if (t == DType::f16) return f32_to_f16(b, v);
  return v;
}

ExprEmitter::ExprEmitter(Builder& builder, const loop::Kernel& kernel, std::vector<Value*> pointers)
    : b(builder), k(kernel), args(std::move(pointers)), axis(kernel.axes.size()), values(kernel.exprs.size()) {
  depends_.reserve(k.exprs.size());
  for (const Expr& e : k.exprs) {
    uint64_t d = axes_of(e.offset);
    for (int a : e.args) d |= depends_[a];
    for (auto& bound : e.bounds) d |= axes_of(bound.value);
    if (e.guard >= 0) d |= depends_[e.guard];
    if (e.fn == Fn::reduced || e.fn == Fn::accumulator)
      for (size_t a = 0; a < k.axes.size(); a++)
        if (k.axes[a].outer || e.fn == Fn::accumulator) d |= uint64_t{1} << a;
    depends_.push_back(d);
  }
}

uint64_t ExprEmitter::axes_of(const Affine& a) const {
  uint64_t d = 0;
  for (auto& [t, c] : a.terms) d |= t < kDynamic ? uint64_t{1} << t : depends_[k.dynamics[t - kDynamic].value];
  return d;
}

bool ExprEmitter::varies(const Affine& a) const { return vector_axis >= 0 && (axes_of(a) >> vector_axis & 1); }

Value* ExprEmitter::split_offset(const Affine& a, int64_t& stride, Value*& dynamic) {
  Value* at = nullptr;
  stride = 0;
  dynamic = nullptr;
  auto add = [&](Value*& sum, Value* v) { sum = sum ? b.CreateNSWAdd(sum, v) : v; };
  for (auto& [t, c] : a.terms) {
    if (t < kDynamic) {
      if (t == vector_axis) stride = c;
      add(at, b.mul(axis[t], c));
      continue;
    }
    Value* v = get(k.dynamics[t - kDynamic].value);
    if (v->getType()->isVectorTy())
      add(dynamic, b.CreateMul(v, b.integer(v->getType(), c)));
    else
      add(at, b.mul(v, c));
  }
  return at ? b.add(at, a.constant) : b.i64(a.constant);
}

Value* ExprEmitter::offset(const Affine& a) {
  int64_t stride;
  Value *dynamic, *at = split_offset(a, stride, dynamic);
  if (!varies(a)) return at;
  Value* v = b.splat(at, lanes);
  if (stride) v = b.CreateAdd(v, b.CreateMul(b.iota(b.getInt64Ty(), lanes), b.integer(v->getType(), stride)));
  return dynamic ? b.CreateAdd(v, dynamic) : v;
}

Value* ExprEmitter::get(int id) {
  if (!values[id]) values[id] = emit(k.exprs[id], id);
  return values[id];
}

Value* ExprEmitter::load(const Expr& e, bool varying) {
  llvm::Type* element = memory_type(b, e.type);
  Value *guard = e.guard >= 0 ? get(e.guard) : nullptr, *pointer = args[e.buffer];
  int64_t stride;
  Value *dynamic, *at = split_offset(e.offset, stride, dynamic);
  if (!varying) {
    // Nothing is read where the guard is false: element 0 stands in.
    if (guard) at = b.CreateSelect(guard, at, b.i64(0));
    Value* v = from_memory(b, b.load(element, b.at(element, pointer, at)), e.type);
    return guard ? b.CreateSelect(guard, v, llvm::Constant::getNullValue(v->getType())) : v;
  }
  Value* on = mask;
  if (guard) {
    Value* g = wide(guard);
    on = on ? b.CreateAnd(on, g) : g;
  }
  if (dynamic) {
    Value* where = b.CreateAdd(dynamic, b.splat(at, lanes));
    if (stride)
      where = b.CreateAdd(where, b.CreateMul(b.iota(b.getInt64Ty(), lanes), b.integer(where->getType(), stride)));
    if (on) where = b.CreateSelect(on, where, llvm::Constant::getNullValue(where->getType()));
    llvm::Type* vector = b.vector(element, lanes);
    Value* pointers = b.CreateGEP(element, pointer, where);
    Value* v = b.CreateMaskedGather(vector, pointers, llvm::Align(graph::size_bytes(e.type)), on,
                                    llvm::Constant::getNullValue(vector));
    return from_memory(b, v, e.type);
  }
  Value* place = b.at(element, pointer, at);
  if (stride == 1) return from_memory(b, b.load(element, lanes, place, on), e.type);
  return from_memory(b, b.load_strided(element, lanes, place, b.i64(stride), on), e.type);
}

/// Philox4x32-10 for the block of each lane, all four words. The words stay in 64-bit lanes, whose upper halves hold
/// whatever the multiplications left: they read the lower ones only.
static void philox(Builder& b, Value* block, Value* step, uint64_t key, Value* (&c)[4]) {
  llvm::Type *i64 = block->getType(), *i32 = b.same_lanes(b.getInt32Ty(), block);
  auto high = [&](Value* v) { return b.CreateLShr(v, b.integer(i64, 32)); };
  auto low = [&](Value* v) { return b.CreateAnd(v, b.integer(i64, 0xffffffff)); };
  c[0] = block, c[1] = high(block), c[2] = step, c[3] = high(step);
  uint32_t k0 = uint32_t(key), k1 = uint32_t(key >> 32);
  for (int round = 0; round < 10; round++) {
    Value* p0 = b.CreateMul(low(c[0]), b.integer(i64, 0xD2511F53u));
    Value* p1 = b.CreateMul(low(c[2]), b.integer(i64, 0xCD9E8D57u));
    c[0] = b.CreateXor(b.CreateXor(high(p1), c[1]), b.integer(i64, int64_t(k0)));
    c[2] = b.CreateXor(b.CreateXor(high(p0), c[3]), b.integer(i64, int64_t(k1)));
    c[1] = p1, c[3] = p0;
    k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
  }
  for (Value*& w : c) w = b.CreateTrunc(w, i32);
}

/// Whether lanes 4 j to 4 j + 3 are the four elements of one block, for every position of the loops.
bool ExprEmitter::whole_blocks(const Affine& a) const {
  if (!aligned || lanes % 4 || a.coefficient(vector_axis) != 1 || a.constant % 4) return false;
  for (auto& [t, c] : a.terms)
    if (t >= kDynamic || (t != vector_axis && c % 4)) return false;
  return true;
}

Value* ExprEmitter::random(const Expr& e, bool varying) {
  Value* step = get(e.args[0]);
  Value* c[4];
  if (varying && e.kind != loop::RandomKind::normal && !step->getType()->isVectorTy() && whole_blocks(e.offset)) {
    // One block for four lanes; the words are then dealt out in turn.
    int n = lanes / 4;
    int64_t stride;
    Value *dynamic, *first = b.CreateLShr(split_offset(e.offset, stride, dynamic), b.i64(2));
    Value* block = b.CreateAdd(b.splat(first, n), b.iota(b.getInt64Ty(), n));
    philox(b, block, b.splat(step, n), e.key, c);
    Value *even, *odd, *w;
    if (n == 1) {
      w = llvm::PoisonValue::get(b.vector(b.getInt32Ty(), 4));
      for (int i = 0; i < 4; i++) w = b.CreateInsertElement(w, c[i], b.i64(i));
    } else {
      even = b.join(c[0], c[1]), odd = b.join(c[2], c[3]);
      llvm::SmallVector<int, 64> order;
      for (int l = 0; l < lanes; l++) order.push_back(l % 4 * n + l / 4);
      w = b.CreateShuffleVector(even, odd, order);
    }
    if (e.kind == loop::RandomKind::bits) return b.CreateZExt(w, b.vector(b.getInt64Ty(), lanes));
    llvm::Type* f32 = b.vector(b.getFloatTy(), lanes);
    return cast(b.CreateFMul(b.CreateSIToFP(b.CreateLShr(w, b.integer(w->getType(), 8)), f32), b.number(f32, 0x1p-24)),
                DType::f32, e.type);
  }
  Value* element = offset(e.offset);
  if (varying) step = wide(step), element = wide(element);
  llvm::Type *i64 = element->getType(), *i32 = b.same_lanes(b.getInt32Ty(), element);
  philox(b, b.CreateLShr(element, b.integer(i64, 2)), step, e.key, c);
  Value* word = b.CreateTrunc(b.CreateAnd(element, b.integer(i64, 3)), i32);
  Value* second = b.CreateICmpUGE(word, b.integer(i32, 2));
  Value* odd = b.CreateICmpNE(b.CreateAnd(word, b.integer(i32, 1)), b.integer(i32, 0));
  if (e.kind != loop::RandomKind::normal) {
    Value* w = b.CreateSelect(odd, b.CreateSelect(second, c[3], c[1]), b.CreateSelect(second, c[2], c[0]));
    if (e.kind == loop::RandomKind::bits) return b.CreateZExt(w, i64);
    llvm::Type* f32 = b.same_lanes(b.getFloatTy(), element);
    Value* u = b.CreateFMul(b.CreateSIToFP(b.CreateLShr(w, b.integer(i32, 8)), f32), b.number(f32, 0x1p-24));
    return cast(u, DType::f32, e.type);
  }
  llvm::Type* f64 = b.same_lanes(b.getDoubleTy(), element);
  auto unit = [&](Value* w, double plus) {
    Value* v = b.CreateSIToFP(b.CreateLShr(w, b.integer(i32, 8)), f64);
    return b.CreateFMul(plus ? b.CreateFAdd(v, b.number(f64, plus)) : v, b.number(f64, 0x1p-24));
  };
  Value* u = unit(b.CreateSelect(second, c[2], c[0]), 1);
  Value* v = unit(b.CreateSelect(second, c[3], c[1]), 0);
  Value* radius = b.sqrt(b.CreateFMul(emit_log(b, u), b.number(f64, -2)));
  Value* angle = b.CreateFMul(v, b.number(f64, 6.283185307179586476925));
  Value *cosine = emit_cos(b, angle), *sine = emit_sin(b, angle);
  Value* n = b.CreateFMul(radius, b.CreateSelect(odd, sine, cosine));
  return cast(cast(n, DType::f64, DType::f32), DType::f32, e.type);
}

Value* ExprEmitter::cast(Value* v, DType from, DType to) {
  if (from == to) return v;
  llvm::Type* type = b.same_lanes(register_type(b, to), v);
  auto zero = [&](Value* x) { return llvm::Constant::getNullValue(x->getType()); };
  if (graph::is_float(from)) {
    if (graph::is_float(to)) {
      if (to == DType::f64) return from == DType::f64 ? v : b.CreateFPExt(v, type);
      if (from == DType::f64) v = b.CreateFPTrunc(v, type);
      // Rounded by a trip through memory's form.
      return to == DType::f32 ? v : from_memory(b, to_memory(b, v, to), to);
    }
    if (to == DType::boolean) return b.CreateFCmpUNE(v, zero(v));
    llvm::Type* i64 = b.same_lanes(b.getInt64Ty(), v);
    Value* whole = b.CreateIntrinsic(llvm::Intrinsic::fptosi_sat, {i64, v->getType()}, {v});
    return b.CreateTrunc(whole, type);
  }
  bool is_unsigned = from == DType::boolean || from == DType::u8;
  if (graph::is_float(to)) {
    Value* f = is_unsigned ? b.CreateUIToFP(v, type) : b.CreateSIToFP(v, type);
    return to == DType::f16 || to == DType::bf16 ? from_memory(b, to_memory(b, f, to), to) : f;
  }
  if (to == DType::boolean) return b.CreateICmpNE(v, zero(v));
  return is_unsigned ? b.CreateZExtOrTrunc(v, type) : b.CreateSExtOrTrunc(v, type);
}

Value* ExprEmitter::integer_op(const Expr& e, Value* x, Value* y, DType t) {
  llvm::Type* type = x->getType();
  bool is_unsigned = t == DType::u8 || t == DType::boolean;
  auto number = [&](int64_t v) { return b.integer(type, v); };
  switch (e.fn) {
    case Fn::neg:
      return b.CreateNeg(x);
    case Fn::abs:
      return is_unsigned ? x : b.CreateSelect(b.CreateICmpSLT(x, number(0)), b.CreateNeg(x), x);
    case Fn::sign:
      if (is_unsigned) return b.CreateZExt(b.CreateICmpNE(x, number(0)), type);
      return b.CreateSub(b.CreateZExt(b.CreateICmpSGT(x, number(0)), type),
                         b.CreateZExt(b.CreateICmpSLT(x, number(0)), type));
    case Fn::not_:
      return b.CreateNot(x);
    case Fn::add:
      return b.CreateAdd(x, y);
    case Fn::sub:
      return b.CreateSub(x, y);
    case Fn::mul:
      return b.CreateMul(x, y);
    case Fn::max:
      return b.CreateSelect(is_unsigned ? b.CreateICmpUGT(x, y) : b.CreateICmpSGT(x, y), x, y);
    case Fn::min:
      return b.CreateSelect(is_unsigned ? b.CreateICmpULT(x, y) : b.CreateICmpSLT(x, y), x, y);
    case Fn::eq:
      return b.CreateICmpEQ(x, y);
    case Fn::lt:
      return is_unsigned ? b.CreateICmpULT(x, y) : b.CreateICmpSLT(x, y);
    case Fn::le:
      return is_unsigned ? b.CreateICmpULE(x, y) : b.CreateICmpSLE(x, y);
    case Fn::and_:
      return b.CreateAnd(x, y);
    case Fn::or_:
      return b.CreateOr(x, y);
    case Fn::div:
    case Fn::rem: {
      // Towards minus infinity, and 0 for a zero divisor. -1 is kept from the instruction: it traps on the smallest
      // number.
      bool div = e.fn == Fn::div;
      Value *zero = b.CreateICmpEQ(y, number(0)), *one = is_unsigned ? nullptr : b.CreateICmpEQ(y, number(-1));
      Value* by = b.CreateSelect(one ? b.CreateOr(zero, one) : zero, number(1), y);
      if (is_unsigned) {
        Value* r = div ? b.CreateUDiv(x, by) : b.CreateURem(x, by);
        return b.CreateSelect(zero, number(0), r);
      }
      Value *q = b.CreateSDiv(x, by), *r = b.CreateSub(x, b.CreateMul(q, by));
      Value* off = b.CreateAnd(b.CreateICmpNE(r, number(0)),
                               b.CreateXor(b.CreateICmpSLT(r, number(0)), b.CreateICmpSLT(by, number(0))));
      if (div) {
        q = b.CreateSelect(off, b.CreateSub(q, number(1)), q);
        q = b.CreateSelect(one, b.CreateNeg(x), q);
        return b.CreateSelect(zero, number(0), q);
      }
      r = b.CreateSelect(off, b.CreateAdd(r, by), r);
      return b.CreateSelect(b.CreateOr(zero, one), number(0), r);
    }
    case Fn::pow: {
      int bits = int(graph::size_bytes(t)) * 8;
      Value *negative = is_unsigned ? nullptr : b.CreateICmpSLT(y, number(0)),
            *even = b.CreateICmpEQ(b.CreateAnd(y, number(1)), number(0));
      Values out = b.loop(b.i64(0), b.i64(bits), 1, {number(1), x, y}, [&](Value*, Values c) {
        Value* set = b.CreateICmpNE(b.CreateAnd(c[2], number(1)), number(0));
        return Values{b.CreateSelect(set, b.CreateMul(c[0], c[1]), c[0]), b.CreateMul(c[1], c[1]),
                      b.CreateLShr(c[2], number(1))};
      });
      if (!negative) return out[0];
      Value* unit = b.CreateSelect(
          b.CreateICmpEQ(x, number(1)), number(1),
          b.CreateSelect(b.CreateICmpEQ(x, number(-1)), b.CreateSelect(even, number(1), number(-1)), number(0)));
      return b.CreateSelect(negative, unit, out[0]);
    }
    default:
      return llvm::PoisonValue::get(type);  // no such op on ints: refused by the type rules
  }
}

Value* ExprEmitter::float_op(const Expr& e, Value* x, Value* y) {
  llvm::Type* type = x->getType();
  switch (e.fn) {
    case Fn::neg:
      return b.CreateFNeg(x);
    case Fn::abs:
      return b.abs(x);
    case Fn::sign: {
      Value* one = b.copysign(b.number(type, 1), x);
      return b.CreateSelect(b.CreateFCmpONE(x, b.number(type, 0)), one,
                            b.CreateSelect(b.CreateFCmpUNO(x, x), x, b.number(type, 0)));
    }
    case Fn::exp:
      return emit_exp(b, x);
    case Fn::expm1:
      return emit_expm1(b, x);
    case Fn::log:
      return emit_log(b, x);
    case Fn::log1p:
      return emit_log1p(b, x);
    case Fn::sqrt:
      return b.sqrt(x);
    case Fn::rsqrt:
      return emit_rsqrt(b, x);
    case Fn::sin:
      return emit_sin(b, x);
    case Fn::cos:
      return emit_cos(b, x);
    case Fn::tanh:
      return emit_tanh(b, x);
    case Fn::erf:
      return emit_erf(b, x);
    case Fn::floor:
      return b.CreateUnaryIntrinsic(llvm::Intrinsic::floor, x);
    case Fn::ceil:
      return b.CreateUnaryIntrinsic(llvm::Intrinsic::ceil, x);
    case Fn::round:
      return b.CreateUnaryIntrinsic(llvm::Intrinsic::roundeven, x);
    case Fn::add:
      return b.CreateFAdd(x, y);
    case Fn::sub:
      return b.CreateFSub(x, y);
    case Fn::mul:
      return b.CreateFMul(x, y);
    case Fn::div:
      return b.CreateFDiv(x, y);
    case Fn::pow:
      return emit_pow(b, x, y);
    case Fn::max:
      return b.fmax(x, y);
    case Fn::min:
      return b.fmin(x, y);
    case Fn::rem: {
      Value* r = b.CreateFRem(x, y);
      Value* off =
          b.CreateAnd(b.CreateFCmpUNE(r, b.number(type, 0)),
                      b.CreateXor(b.CreateFCmpOLT(r, b.number(type, 0)), b.CreateFCmpOLT(y, b.number(type, 0))));
      return b.CreateSelect(off, b.CreateFAdd(r, y), r);
    }
    case Fn::eq:
      return b.CreateFCmpOEQ(x, y);
    case Fn::lt:
      return b.CreateFCmpOLT(x, y);
    case Fn::le:
      return b.CreateFCmpOLE(x, y);
    default:
      return llvm::PoisonValue::get(type);
  }
}

Value* ExprEmitter::emit(const Expr& e, int id) {
  bool varying = varies(id);
  llvm::Type* type = register_type(b, e.type);
  switch (e.fn) {
    case Fn::constant: {
      if (graph::is_float(e.type)) {
        double f = e.f;
        return llvm::ConstantFP::get(type, f);
      }
      return llvm::ConstantInt::get(type,
                                    llvm::APInt(64, uint64_t(e.i), true).sextOrTrunc(type->getScalarSizeInBits()));
    }
    case Fn::load:
      return load(e, varying);
    case Fn::index:
      return offset(e.offset);
    case Fn::inside: {
      Value* all = nullptr;
      for (auto& bound : e.bounds) {
        Value* v = offset(bound.value);
        // One unsigned comparison does for both ends.
        Value* in = b.CreateICmpULT(b.CreateSub(v, b.integer(v->getType(), bound.low)),
                                    b.integer(v->getType(), bound.high - bound.low));
        if (varying) in = wide(in);
        all = all ? b.CreateAnd(all, in) : in;
      }
      return all;
    }
    case Fn::clamp: {
      Value* v = get(e.args[0]);
      return b.smax(b.smin(v, b.integer(v->getType(), e.i - 1)), b.integer(v->getType(), 0));
    }
    case Fn::random:
      return random(e, varying);
    case Fn::reduced:
    case Fn::accumulator:
      return llvm::PoisonValue::get(type);  // put into `values` before anyone asks
    case Fn::cast:
      return cast(get(e.args[0]), k.exprs[e.args[0]].type, e.type);
    case Fn::select: {
      Value *c = get(e.args[0]), *x = get(e.args[1]), *y = get(e.args[2]);
      if (varying) c = wide(c), x = wide(x), y = wide(y);
      return b.CreateSelect(c, x, y);
    }
    default:
      break;
  }
  Value *x = get(e.args[0]), *y = e.args.size() > 1 ? get(e.args[1]) : nullptr;
  if (varying) {
    x = wide(x);
    if (y) y = wide(y);
  }
  DType t = k.exprs[e.args[0]].type;
  return graph::is_float(t) ? float_op(e, x, y) : integer_op(e, x, y, t);
}

void ExprEmitter::store(const loop::Store& s, Value* v) {
  DType t = k.args[s.buffer].type;
  llvm::Type* element = memory_type(b, t);
  int64_t stride;
  Value *dynamic, *at = split_offset(s.offset, stride, dynamic);
  if (!stride) {
    if (v->getType()->isVectorTy()) v = b.CreateExtractElement(v, uint64_t{0});
    b.store(to_memory(b, v, t), b.at(element, args[s.buffer], at));
    return;
  }
  Value* m = to_memory(b, wide(v), t);
  Value* place = b.at(element, args[s.buffer], at);
  if (lanes == 1 || stride == 1)
    b.store(m, place, mask);
  else
    b.store_strided(m, place, b.i64(stride), mask);
}

}  // namespace nnlc::codegen::cpu
