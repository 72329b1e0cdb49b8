#include "compiler/codegen/cpu/ir_builder.h"

namespace nnlc::codegen::cpu {
using namespace llvm;

Function* Builder::begin_function(const std::string& name, ArrayRef<Type*> parameters, bool external) {
  auto* type = FunctionType::get(getVoidTy(), parameters, false);
  function = Function::Create(type, external ? Function::ExternalLinkage : Function::InternalLinkage, name, module);
  if (!external) function->addFnAttr(Attribute::NoInline);
  function->addFnAttr(Attribute::NoUnwind);
  SetInsertPoint(BasicBlock::Create(getContext(), "entry", function));
  return function;
}

int Builder::lanes_of(Value* v) {
  auto* t = dyn_cast<FixedVectorType>(v->getType());
  return t ? static_cast<int>(t->getNumElements()) : 1;
}

Type* Builder::same_lanes(Type* element, Value* like) {
  auto* t = dyn_cast<FixedVectorType>(like->getType());
  return t ? static_cast<Type*>(FixedVectorType::get(element, t->getNumElements())) : element;
}

Constant* Builder::number(Type* type, double v) {
  if (type->isFPOrFPVectorTy()) return ConstantFP::get(type, v);
  return integer(type, static_cast<int64_t>(v));
}
Constant* Builder::number(Value* like, double v) { return number(like->getType(), v); }
Constant* Builder::integer(Type* type, int64_t v) {
  return ConstantInt::get(type, static_cast<uint64_t>(v), /*isSigned=*/true);
}

Value* Builder::iota(Type* element, int lanes) {
  if (lanes == 1) return number(element, 0);
  SmallVector<Constant*> c;
  for (int i = 0; i < lanes; i++) c.push_back(cast<Constant>(number(element, i)));
  return ConstantVector::get(c);
}

Value* Builder::at(Type* element, Value* pointer, Value* index) {
  if (auto* c = dyn_cast<ConstantInt>(index)) return at(element, pointer, c->getSExtValue());
  return CreateInBoundsGEP(element, pointer, index);
}
Value* Builder::at(Type* element, Value* pointer, int64_t index) {
  return index == 0 ? pointer : CreateInBoundsGEP(element, pointer, i64(index));
}
Value* Builder::mul(Value* a, int64_t b) {
  if (b == 0) return i64(0);
  return b == 1 ? a : CreateNSWMul(a, i64(b));
}

static Align natural(Type* element) { return Align(std::max(1u, element->getScalarSizeInBits() / 8)); }

Value* Builder::load(Type* element, Value* pointer) { return CreateAlignedLoad(element, pointer, natural(element)); }

Value* Builder::load(Type* element, int lanes, Value* pointer, Value* mask, Value* other) {
  if (lanes == 1 && !mask) return load(element, pointer);
  auto* type = vector(element, lanes);
  if (!mask) return CreateAlignedLoad(type, pointer, natural(element));
  return CreateMaskedLoad(type, pointer, natural(element), mask, other ? other : Constant::getNullValue(type));
}

void Builder::store(Value* v, Value* pointer, Value* mask) {
  Align align = natural(v->getType());
  // A masked store of a narrowed vector with one lane on becomes a scalar store of the wide element (x86, LLVM 22): it
  // would write over its neighbour. So that lane is stored by itself.
  if (auto* constant = dyn_cast_or_null<Constant>(mask); constant && v->getType()->isVectorTy()) {
    int on = -1, count = 0;
    for (int l = 0; l < lanes_of(v); l++)
      if (auto* bit = constant->getAggregateElement(l); bit && !bit->isNullValue()) on = l, count++;
    if (count == 1) {
      CreateAlignedStore(CreateExtractElement(v, i64(on)), at(scalar_of(v), pointer, int64_t{on}),
                         natural(scalar_of(v)));
      return;
    }
  }
  if (!mask)
    CreateAlignedStore(v, pointer, align);
  else
    CreateMaskedStore(v, pointer, align, mask);
}

// Constant masks keep only the lanes that are on; a variable one costs a branch a lane, which edges alone pay.
Value* Builder::load_strided(Type* element, int lanes, Value* pointer, Value* stride, Value* mask, Value* other) {
  if (auto* c = dyn_cast<ConstantInt>(stride); c && c->isOne()) return load(element, lanes, pointer, mask, other);
  if (lanes == 1) {
    return load(element, pointer);
  }
  auto* type = vector(element, lanes);
  auto* constant = dyn_cast_or_null<Constant>(mask);
  if (mask && !constant) {
    Value* offsets = CreateMul(iota(getInt64Ty(), lanes), CreateVectorSplat(lanes, stride));
    return CreateMaskedGather(type, CreateGEP(element, pointer, offsets), natural(element), mask,
                              other ? other : Constant::getNullValue(type));
  }
  Value* v = other ? other : Constant::getNullValue(type);
  for (int l = 0; l < lanes; l++)
    if (!constant || !constant->getAggregateElement(l)->isNullValue())
      v = CreateInsertElement(v, load(element, at(element, pointer, CreateMul(stride, i64(l)))), i64(l));
  return v;
}

void Builder::store_strided(Value* v, Value* pointer, Value* stride, Value* mask) {
  int lanes = lanes_of(v);
  Type* element = scalar_of(v);
  if (auto* c = dyn_cast<ConstantInt>(stride); c && c->isOne()) return store(v, pointer, mask);
  if (lanes == 1) return store(v, pointer);
  auto* constant = dyn_cast_or_null<Constant>(mask);
  if (mask && !constant) {
    Value* offsets = CreateMul(iota(getInt64Ty(), lanes), CreateVectorSplat(lanes, stride));
    CreateMaskedScatter(v, CreateGEP(element, pointer, offsets), natural(element), mask);
    return;
  }
  for (int l = 0; l < lanes; l++)
    if (!constant || !constant->getAggregateElement(l)->isNullValue())
      store(CreateExtractElement(v, i64(l)), at(element, pointer, CreateMul(stride, i64(l))));
}

Value* Builder::first_lanes(int lanes, int active) {
  if (active >= lanes) return nullptr;
  SmallVector<Constant*> bits;
  for (int i = 0; i < lanes; i++) bits.push_back(getInt1(i < active));
  return ConstantVector::get(bits);
}

Value* Builder::first_lanes(int lanes, Value* active) {
  if (lanes == 1) return CreateICmpSGT(active, i64(0));
  // Lane numbers in 32 bits: one compare instead of two for 16 lanes. The count is clamped, so it fits.
  Value* count = CreateTrunc(smin(active, i64(lanes)), getInt32Ty());
  return CreateICmpSLT(iota(getInt32Ty(), lanes), CreateVectorSplat(lanes, count));
}

Value* Builder::fma(Value* a, Value* b, Value* c) {
  if (!target.fma) return CreateFAdd(CreateFMul(a, b), c);
  return CreateIntrinsic(Intrinsic::fma, {a->getType()}, {a, b, c});
}

Value* Builder::polynomial(Value* x, std::initializer_list<double> coefficients) {
  Value* r = nullptr;
  for (double c : coefficients) r = r ? fma(r, x, number(x, c)) : number(x, c);
  return r;
}

// x86's max returns its second operand when either is a NaN: the select is that instruction, and the sum brings back a
// NaN of `a`.
Value* Builder::fmax(Value* a, Value* b) {
  Value* m = CreateSelect(CreateFCmpOGT(a, b), a, b);
  return CreateSelect(CreateFCmpUNO(a, a), a, m);
}
Value* Builder::fmin(Value* a, Value* b) {
  Value* m = CreateSelect(CreateFCmpOLT(a, b), a, b);
  return CreateSelect(CreateFCmpUNO(a, a), a, m);
}

Value* Builder::lower_half(Value* v) {
  int n = lanes_of(v) / 2;
  if (n == 1) return CreateExtractElement(v, i64(0));
  SmallVector<int> lane;
  for (int i = 0; i < n; i++) lane.push_back(i);
  return CreateShuffleVector(v, lane);
}
Value* Builder::upper_half(Value* v) {
  int n = lanes_of(v) / 2;
  if (n == 1) return CreateExtractElement(v, i64(1));
  SmallVector<int> lane;
  for (int i = 0; i < n; i++) lane.push_back(n + i);
  return CreateShuffleVector(v, lane);
}
Value* Builder::join(Value* low, Value* high) {
  int n = lanes_of(low);
  if (n == 1) {
    Value* v = CreateInsertElement(PoisonValue::get(vector(low->getType(), 2)), low, i64(0));
    return CreateInsertElement(v, high, i64(1));
  }
  SmallVector<int> lane;
  for (int i = 0; i < 2 * n; i++) lane.push_back(i);
  return CreateShuffleVector(low, high, lane);
}

Value* Builder::fold_lanes(Value* v, function_ref<Value*(Value*, Value*)> f) {
  while (lanes_of(v) > 1) v = f(lower_half(v), upper_half(v));
  return v;
}
Value* Builder::sum_lanes(Value* v) {
  return fold_lanes(v, [&](Value* a, Value* b) { return CreateFAdd(a, b); });
}
Value* Builder::max_lanes(Value* v) {
  return fold_lanes(v, [&](Value* a, Value* b) { return fmax(a, b); });
}
Value* Builder::min_lanes(Value* v) {
  return fold_lanes(v, [&](Value* a, Value* b) { return fmin(a, b); });
}

Value* Builder::bf16_to_f32(Value* bits) {
  Value* wide = CreateZExt(bits, same_lanes(getInt32Ty(), bits));
  return CreateBitCast(CreateShl(wide, integer(wide->getType(), 16)), same_lanes(getFloatTy(), bits));
}
Value* Builder::f32_to_bf16(Value* v) {
  Type* wide = same_lanes(getInt32Ty(), v);
  Value* i = CreateBitCast(v, wide);
  Value* odd = CreateAnd(CreateLShr(i, integer(wide, 16)), integer(wide, 1));
  Value* rounded = CreateLShr(CreateAdd(i, CreateAdd(odd, integer(wide, 0x7fff))), integer(wide, 16));
  Value* quiet = CreateOr(CreateLShr(i, integer(wide, 16)), integer(wide, 0x40));  // keeps a NaN's sign and payload
  return CreateTrunc(CreateSelect(CreateFCmpUNO(v, v), quiet, rounded), same_lanes(getInt16Ty(), v));
}

// log2(n) rounds of interleaving vector i with vector i + n/2.
void Builder::transpose(Values& r) {
  int n = static_cast<int>(r.size());
  SmallVector<int> lo, hi;
  for (int i = 0; i < n / 2; i++) {
    lo.append({i, i + n});
    hi.append({i + n / 2, i + n / 2 + n});
  }
  for (int s = 1; s < n; s *= 2) {
    Values next;
    for (int i = 0; i < n / 2; i++) {
      next.push_back(CreateShuffleVector(r[i], r[i + n / 2], lo));
      next.push_back(CreateShuffleVector(r[i], r[i + n / 2], hi));
    }
    r = std::move(next);
  }
}

static bool is_known(Value* lo, Value* hi, bool& enters) {
  auto *l = dyn_cast<ConstantInt>(lo), *h = dyn_cast<ConstantInt>(hi);
  if (!l || !h) return false;
  enters = l->getSExtValue() < h->getSExtValue();
  return true;
}

Values Builder::loop(Value* lo, Value* hi, int64_t step, Values carried, function_ref<Values(Value*, Values)> body,
                     const char* name) {
  bool enters = false;
  bool known = is_known(lo, hi, enters);
  if (known && !enters) return carried;
  if (known && cast<ConstantInt>(lo)->getSExtValue() + step >= cast<ConstantInt>(hi)->getSExtValue())
    return body(lo, carried);
  auto* before = GetInsertBlock();
  auto* head = BasicBlock::Create(getContext(), name, function);
  auto* out = BasicBlock::Create(getContext(), Twine(name) + ".end", function);
  if (known)
    CreateBr(head);
  else
    CreateCondBr(CreateICmpSLT(lo, hi), head, out);
  SetInsertPoint(head);
  PHINode* iv = CreatePHI(getInt64Ty(), 2);
  iv->addIncoming(lo, before);
  Values phis;
  for (Value* c : carried) {
    auto* p = CreatePHI(c->getType(), 2);
    p->addIncoming(c, before);
    phis.push_back(p);
  }
  Values next = body(iv, phis);
  Value* stepped = CreateNSWAdd(iv, i64(step));
  auto* latch = GetInsertBlock();
  CreateCondBr(CreateICmpSLT(stepped, hi), head, out);
  iv->addIncoming(stepped, latch);
  for (size_t i = 0; i < phis.size(); i++) cast<PHINode>(phis[i])->addIncoming(next[i], latch);
  out->moveAfter(latch);  // text order follows nesting
  SetInsertPoint(out);
  if (known) return next;
  Values result;
  for (size_t i = 0; i < phis.size(); i++) {
    auto* p = CreatePHI(carried[i]->getType(), 2);
    p->addIncoming(carried[i], before);
    p->addIncoming(next[i], latch);
    result.push_back(p);
  }
  return result;
}

void Builder::loop(Value* lo, Value* hi, int64_t step, function_ref<void(Value*)> body, const char* name) {
  loop(
      lo, hi, step, Values{},
      [&](Value* i, Values) {
        body(i);
        return Values{};
      },
      name);
}

Values Builder::choose(Value* condition, function_ref<Values()> yes, function_ref<Values()> no) {
  if (auto* c = dyn_cast<ConstantInt>(condition)) return c->isOne() ? yes() : no();
  auto* then_block = BasicBlock::Create(getContext(), "then", function);
  auto* else_block = BasicBlock::Create(getContext(), "else", function);
  auto* out = BasicBlock::Create(getContext(), "end", function);
  CreateCondBr(condition, then_block, else_block);
  SetInsertPoint(then_block);
  Values a = yes();
  auto* then_end = GetInsertBlock();
  CreateBr(out);
  else_block->moveAfter(then_end);
  SetInsertPoint(else_block);
  Values b = no();
  auto* else_end = GetInsertBlock();
  CreateBr(out);
  out->moveAfter(else_end);
  SetInsertPoint(out);
  Values result;
  for (size_t i = 0; i < a.size(); i++) {
    auto* p = CreatePHI(a[i]->getType(), 2);
    p->addIncoming(a[i], then_end);
    p->addIncoming(b[i], else_end);
    result.push_back(p);
  }
  return result;
}

void Builder::when(Value* condition, function_ref<void()> body) {
  if (auto* c = dyn_cast<ConstantInt>(condition)) {
    if (c->isOne()) body();
    return;
  }
  auto* then_block = BasicBlock::Create(getContext(), "then", function);
  auto* out = BasicBlock::Create(getContext(), "end", function);
  CreateCondBr(condition, then_block, out);
  SetInsertPoint(then_block);
  body();
  CreateBr(out);
  out->moveAfter(GetInsertBlock());
  SetInsertPoint(out);
}

void Builder::tiles(Value* lo, Value* hi, int64_t step, int64_t total, function_ref<void(Value*, int64_t)> body) {
  int64_t full = total / step * step;
  if (full > 0) {
    Value* end = full == total ? hi : smin(hi, i64(full));
    if (auto* c = dyn_cast<ConstantInt>(hi)) end = i64(std::min(c->getSExtValue(), full));
    loop(lo, end, step, [&](Value* i) { body(i, step); });
  }
  if (total > full) when(CreateICmpEQ(hi, i64(total)), [&] { body(i64(full), total - full); });
}

void Builder::vectors(Value* lo, Value* hi, int lanes, function_ref<void(Value*, Value*)> body) {
  if (lanes == 1) return loop(lo, hi, 1, [&](Value* i) { body(i, nullptr); });
  auto *cl = dyn_cast<ConstantInt>(lo), *ch = dyn_cast<ConstantInt>(hi);
  if (cl && ch) {  // the tail's mask is a constant
    int64_t l = cl->getSExtValue(), h = ch->getSExtValue();
    if (l >= h) return;
    int64_t full = l + (h - l) / lanes * lanes;
    loop(lo, i64(full), lanes, [&](Value* i) { body(i, nullptr); });
    if (full < h) body(i64(full), first_lanes(lanes, static_cast<int>(h - full)));
    return;
  }
  Value* full = CreateAdd(lo, CreateAnd(CreateSub(hi, lo), i64(-lanes)));
  loop(lo, full, lanes, [&](Value* i) { body(i, nullptr); });
  when(CreateICmpSLT(full, hi), [&] { body(full, first_lanes(lanes, CreateSub(hi, full))); });
}

Value* Builder::stack(Type* element, int64_t count, int align_bytes) {
  IRBuilder<> entry(&function->getEntryBlock(), function->getEntryBlock().begin());
  auto* a = entry.CreateAlloca(element, entry.getInt64(static_cast<uint64_t>(count)));
  a->setAlignment(Align(static_cast<uint64_t>(align_bytes)));
  return a;
}

std::pair<Value*, Value*> Builder::part(int64_t total, int64_t step, Value* thread, Value* threads) {
  auto *ct = dyn_cast<ConstantInt>(thread), *cn = dyn_cast<ConstantInt>(threads);
  if (ct && cn && cn->isOne()) return {i64(0), i64(total)};
  int64_t units = (total + step - 1) / step;
  auto end_of = [&](Value* t) {
    Value* cut = mul(CreateSDiv(CreateNSWMul(t, i64(units)), threads), step);
    return units * step == total ? cut : smin(cut, i64(total));
  };
  return {end_of(thread), end_of(CreateNSWAdd(thread, i64(1)))};
}

}  // namespace nnlc::codegen::cpu
