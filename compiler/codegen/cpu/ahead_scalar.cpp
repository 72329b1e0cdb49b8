#include "compiler/codegen/cpu/ahead_scalar.h"

#include <algorithm>
#include <array>
#include <limits>
#include <map>
#include <stdexcept>
#include <string_view>

namespace nnlc::codegen::cpu {
using namespace llvm;

namespace {

// Called in libm by these names with doubles.
constexpr std::array<std::string_view, 11> kLibm = {"sqrt", "exp", "log",  "log2", "log10", "sin",
                                                    "cos",  "tan", "tanh", "asin", "acos"};
constexpr std::array<std::string_view, 14> kOthers = {"atan",    "atan2",  "pow",    "abs",     "sign",
                                                      "floor",   "ceil",   "round",  "min",     "max",
                                                      "sigmoid", "is_nan", "is_inf", "fold_max"};
constexpr std::array<std::string_view, 5> kUnary = {"neg", "not", "float", "int", "bool"};
constexpr std::array<std::string_view, 15> kBinary = {
    "+", "-", "*", "/", "//", "%", "**", "==", "!=", "<", "<=", ">", ">=", "and", "or"};
template <class A>
bool has(const A& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

class Emitter {
 public:
  Emitter(Builder& b, const std::vector<AheadVariable>& variables, const std::vector<Value*>& slots,
          BasicBlock* give_up)
      : b_(b), variables_(variables), slots_(slots), give_up_(give_up) {}

  void block(const std::vector<Scalar>& code) {
    for (const Scalar& s : code) statement(s);
  }

 private:
  struct Number {
    Value* value;
    ScalarType type;
    bool is_int() const { return type == ScalarType::integer; }
  };
  struct Loop {
    BasicBlock *next, *end;
  };

  BasicBlock* fresh(const char* name) { return BasicBlock::Create(b_.getContext(), name, b_.function); }
  Type* type_of(ScalarType t) {
    return t == ScalarType::integer    ? static_cast<Type*>(b_.getInt64Ty())
           : t == ScalarType::floating ? b_.getDoubleTy()
                                       : b_.getInt1Ty();
  }
  Number read(int variable) {
    const ScalarType t = variables_[static_cast<size_t>(variable)].type;
    return {b_.CreateLoad(type_of(t), slots_[static_cast<size_t>(variable)]), t};
  }
  void write(int variable, Number n) {
    if (variable < 0) return;
    const ScalarType t = variables_[static_cast<size_t>(variable)].type;
    if (t == ScalarType::floating) n.value = as_double(n);
    b_.CreateStore(n.value, slots_[static_cast<size_t>(variable)]);
  }
  Value* as_double(Number n) {
    if (n.type == ScalarType::floating) return n.value;
    return n.is_int() ? b_.CreateSIToFP(n.value, b_.getDoubleTy()) : b_.CreateUIToFP(n.value, b_.getDoubleTy());
  }
  Value* real(double v) { return ConstantFP::get(b_.getDoubleTy(), v); }
  static Number integer(Value* v) { return {v, ScalarType::integer}; }
  static Number floating(Value* v) { return {v, ScalarType::floating}; }
  static Number boolean(Value* v) { return {v, ScalarType::boolean}; }

  void give_up_if(Value* condition) {
    BasicBlock* on = fresh("on");
    b_.CreateCondBr(condition, give_up_, on);
    b_.SetInsertPoint(on);
  }
  Value* libm(StringRef name, ArrayRef<Value*> args) {
    SmallVector<Type*> types(args.size(), b_.getDoubleTy());
    FunctionCallee f = b_.module.getOrInsertFunction(name, FunctionType::get(b_.getDoubleTy(), types, false));
    auto* call = b_.CreateCall(f, args);
    call->addFnAttr(Attribute::NoBuiltin);  // what libm gives, not what the compiler would make of it
    return call;
  }
  /// An int operation with LLVM's check for overflow.
  Value* checked(Intrinsic::ID id, Value* x, Value* y) {
    Value* pair = b_.CreateBinaryIntrinsic(id, x, y);
    give_up_if(b_.CreateExtractValue(pair, 1));
    return b_.CreateExtractValue(pair, 0);
  }
  Number to_int(Value* d) {
    // 2^63 is the first that doesn't fit; NaN fails both comparisons.
    Value* fits = b_.CreateAnd(b_.CreateFCmpOGT(d, real(-9223372036854777856.0)),
                               b_.CreateFCmpOLT(d, real(9223372036854775808.0)));
    give_up_if(b_.CreateNot(fits));
    return integer(b_.CreateFPToSI(d, b_.getInt64Ty()));
  }

  Number unary(const std::string& name, Number x) {
    if (name == "not") return boolean(b_.CreateNot(x.value));
    if (name == "float") return floating(as_double(x));
    if (name == "neg")
      return x.is_int() ? integer(checked(Intrinsic::ssub_with_overflow, b_.i64(0), x.value))
                        : floating(b_.CreateFNeg(x.value));
    if (name == "bool") {
      if (x.type == ScalarType::boolean) return x;
      return boolean(x.is_int() ? b_.CreateICmpNE(x.value, b_.i64(0)) : b_.CreateFCmpUNE(x.value, real(0)));
    }
    if (x.is_int()) return x;
    if (x.type == ScalarType::boolean) return integer(b_.CreateZExt(x.value, b_.getInt64Ty()));
    return to_int(x.value);
  }

  Value* floor_div(Value* x, Value* y) {
    Value* q = b_.CreateSDiv(x, y);
    Value* r = b_.CreateSRem(x, y);
    Value* signs = b_.CreateICmpSLT(b_.CreateXor(x, y), b_.i64(0));
    Value* down = b_.CreateAnd(b_.CreateICmpNE(r, b_.i64(0)), signs);
    return b_.CreateSub(q, b_.CreateZExt(down, b_.getInt64Ty()));
  }
  Value* divide(const std::string& name, Value* x, Value* y) {
    give_up_if(b_.CreateICmpEQ(y, b_.i64(0)));
    // -1 gives the one quotient that overflows, and whose remainder traps.
    Value* minus = b_.CreateICmpEQ(y, b_.i64(-1));
    Value* least = b_.CreateICmpEQ(x, b_.i64(std::numeric_limits<int64_t>::min()));
    if (name == "%") {
      Value* by = b_.CreateSelect(minus, b_.i64(1), y);
      Value* r = b_.CreateSub(x, b_.CreateMul(floor_div(x, by), by));
      return b_.CreateSelect(minus, b_.i64(0), r);
    }
    give_up_if(b_.CreateAnd(minus, least));
    if (name == "//") return floor_div(x, y);
    give_up_if(b_.CreateICmpNE(b_.CreateSRem(x, y), b_.i64(0)));
    return b_.CreateSDiv(x, y);
  }
  /// By squaring. Squares are only computed where they are needed, as in the executor: the last one might overflow.
  Value* power(Value* base, Value* exponent) {
    give_up_if(b_.CreateICmpSLT(exponent, b_.i64(0)));
    Value *result = b_.stack(b_.getInt64Ty(), 1, 8), *factor = b_.stack(b_.getInt64Ty(), 1, 8),
          *left = b_.stack(b_.getInt64Ty(), 1, 8);
    b_.CreateStore(b_.i64(1), result);
    b_.CreateStore(base, factor);
    b_.CreateStore(exponent, left);
    auto load = [&](Value* from) { return b_.CreateLoad(b_.getInt64Ty(), from); };
    BasicBlock *head = fresh("power"), *body = fresh("power.body"), *end = fresh("power.end");
    b_.CreateBr(head);
    b_.SetInsertPoint(head);
    b_.CreateCondBr(b_.CreateICmpSGT(load(left), b_.i64(0)), body, end);
    b_.SetInsertPoint(body);
    b_.when(b_.CreateTrunc(load(left), b_.getInt1Ty()),
            [&] { b_.CreateStore(checked(Intrinsic::smul_with_overflow, load(result), load(factor)), result); });
    b_.when(b_.CreateICmpSGT(load(left), b_.i64(1)),
            [&] { b_.CreateStore(checked(Intrinsic::smul_with_overflow, load(factor), load(factor)), factor); });
    b_.CreateStore(b_.CreateLShr(load(left), b_.i64(1)), left);
    b_.CreateBr(head);
    b_.SetInsertPoint(end);
    return load(result);
  }

  Number binary(const std::string& name, Number x, Number y) {
    if (name == "and") return boolean(b_.CreateAnd(x.value, y.value));
    if (name == "or") return boolean(b_.CreateOr(x.value, y.value));
    static const std::map<std::string, std::pair<CmpInst::Predicate, CmpInst::Predicate>> comparisons = {
        {"==", {CmpInst::ICMP_EQ, CmpInst::FCMP_OEQ}}, {"!=", {CmpInst::ICMP_NE, CmpInst::FCMP_UNE}},
        {"<", {CmpInst::ICMP_SLT, CmpInst::FCMP_OLT}}, {"<=", {CmpInst::ICMP_SLE, CmpInst::FCMP_OLE}},
        {">", {CmpInst::ICMP_SGT, CmpInst::FCMP_OGT}}, {">=", {CmpInst::ICMP_SGE, CmpInst::FCMP_OGE}},
    };
    const bool ints = x.type == y.type && x.type != ScalarType::floating;
    if (auto c = comparisons.find(name); c != comparisons.end())
      return boolean(ints ? b_.CreateICmp(c->second.first, x.value, y.value)
                          : b_.CreateFCmp(c->second.second, as_double(x), as_double(y)));
    if (ints) {
      if (name == "+") return integer(checked(Intrinsic::sadd_with_overflow, x.value, y.value));
      if (name == "-") return integer(checked(Intrinsic::ssub_with_overflow, x.value, y.value));
      if (name == "*") return integer(checked(Intrinsic::smul_with_overflow, x.value, y.value));
      if (name == "**") return integer(power(x.value, y.value));
      return integer(divide(name, x.value, y.value));
    }
    Value *p = as_double(x), *q = as_double(y);
    if (name == "+") return floating(b_.CreateFAdd(p, q));
    if (name == "-") return floating(b_.CreateFSub(p, q));
    if (name == "*") return floating(b_.CreateFMul(p, q));
    if (name == "/") return floating(b_.CreateFDiv(p, q));
    if (name == "//") return floating(libm("floor", {b_.CreateFDiv(p, q)}));
    if (name == "**") return floating(libm("pow", {p, q}));
    // The sign of the divisor, as in Python.
    Value* m = libm("fmod", {p, q});
    Value* other = b_.CreateXor(b_.CreateFCmpOLT(m, real(0)), b_.CreateFCmpOLT(q, real(0)));
    Value* moved = b_.CreateAnd(b_.CreateFCmpUNE(m, real(0)), other);
    return floating(b_.CreateSelect(moved, b_.CreateFAdd(m, q), m));
  }

  Number extreme(const std::vector<Number>& xs, bool largest) {
    const bool ints = std::all_of(xs.begin(), xs.end(), [](const Number& n) { return n.is_int(); });
    if (ints) {
      Value* best = xs[0].value;
      for (size_t i = 1; i < xs.size(); ++i) best = largest ? b_.smax(best, xs[i].value) : b_.smin(best, xs[i].value);
      return integer(best);
    }
    Value* best = as_double(xs[0]);
    for (size_t i = 1; i < xs.size(); ++i) {
      Value* x = as_double(xs[i]);
      Value* better = largest ? b_.CreateFCmpOGT(x, best) : b_.CreateFCmpOLT(x, best);
      best = b_.CreateSelect(b_.CreateOr(b_.CreateFCmpUNO(x, x), better), x, best);  // NaN wins, as for tensors
    }
    return floating(best);
  }

  Number call(const std::string& name, const std::vector<Number>& xs) {
    const Number& x = xs.at(0);
    if (has(kLibm, name) || name == "atan") return floating(libm(name, {as_double(x)}));
    if (name == "atan2" || name == "pow") return floating(libm(name, {as_double(x), as_double(xs.at(1))}));
    if (name == "min") return extreme(xs, false);
    if (name == "max" || name == "fold_max") return extreme(xs, true);
    if (name == "is_nan") return boolean(b_.CreateFCmpUNO(as_double(x), as_double(x)));
    if (name == "is_inf")
      return boolean(b_.CreateFCmpOEQ(b_.abs(as_double(x)), real(std::numeric_limits<double>::infinity())));
    if (name == "floor" || name == "ceil" || name == "round")
      return x.is_int() ? x : to_int(libm(name == "round" ? "nearbyint" : name, {as_double(x)}));
    if (name == "abs") {
      if (!x.is_int()) return floating(b_.abs(x.value));
      give_up_if(b_.CreateICmpEQ(x.value, b_.i64(std::numeric_limits<int64_t>::min())));
      return integer(b_.smax(x.value, b_.CreateSub(b_.i64(0), x.value)));
    }
    if (name == "sign") {
      auto step = [&](Value* up, Value* down) {
        return b_.CreateSub(b_.CreateZExt(up, b_.getInt64Ty()), b_.CreateZExt(down, b_.getInt64Ty()));
      };
      if (x.is_int()) return integer(step(b_.CreateICmpSGT(x.value, b_.i64(0)), b_.CreateICmpSLT(x.value, b_.i64(0))));
      Value* s = step(b_.CreateFCmpOGT(x.value, real(0)), b_.CreateFCmpOLT(x.value, real(0)));
      return floating(
          b_.CreateSelect(b_.CreateFCmpUNO(x.value, x.value), x.value, b_.CreateSIToFP(s, b_.getDoubleTy())));
    }
    // sigmoid
    Value* d = as_double(x);
    Values r = b_.choose(
        b_.CreateFCmpOGE(d, real(0)),
        [&] { return Values{b_.CreateFDiv(real(1), b_.CreateFAdd(real(1), libm("exp", {b_.CreateFNeg(d)})))}; },
        [&] {
          Value* e = libm("exp", {d});
          return Values{b_.CreateFDiv(e, b_.CreateFAdd(real(1), e))};
        });
    return floating(r[0]);
  }

  void statement(const Scalar& s) {
    using Op = Scalar::Op;
    std::vector<Number> args;
    if (s.op == Op::copy || s.op == Op::unary || s.op == Op::binary || s.op == Op::call)
      for (int a : s.args) args.push_back(read(a));
    switch (s.op) {
      case Op::constant:
        if (auto* i = std::get_if<int64_t>(&s.value)) write(s.dst, integer(b_.i64(*i)));
        if (auto* d = std::get_if<double>(&s.value)) write(s.dst, floating(real(*d)));
        if (auto* f = std::get_if<bool>(&s.value)) write(s.dst, boolean(b_.getInt1(*f)));
        break;
      case Op::copy:
        write(s.dst, args[0]);
        break;
      case Op::unary:
        write(s.dst, unary(s.name, args[0]));
        break;
      case Op::binary:
        write(s.dst, binary(s.name, args[0], args[1]));
        break;
      case Op::call:
        write(s.dst, call(s.name, args));
        break;
      case Op::branch: {
        BasicBlock *yes = fresh("then"), *no = fresh("else"), *end = fresh("end");
        b_.CreateCondBr(read(s.args[0]).value, yes, no);
        b_.SetInsertPoint(yes);
        block(s.then_block);
        b_.CreateBr(end);
        b_.SetInsertPoint(no);
        block(s.else_block);
        b_.CreateBr(end);
        b_.SetInsertPoint(end);
        break;
      }
      case Op::count_loop:
      case Op::while_loop: {
        const bool counts = s.op == Op::count_loop;
        BasicBlock *head = fresh("loop"), *body = fresh("loop.body"), *next = fresh("loop.next"),
                   *end = fresh("loop.end");
        Value* counter = counts ? b_.stack(b_.getInt64Ty(), 1, 8) : nullptr;
        Value* last = counts ? read(s.args[1]).value : nullptr;
        if (counts) b_.CreateStore(read(s.args[0]).value, counter);
        b_.CreateBr(head);
        b_.SetInsertPoint(head);
        if (counts) {
          b_.CreateCondBr(b_.CreateICmpSLT(b_.CreateLoad(b_.getInt64Ty(), counter), last), body, end);
        } else {
          block(s.else_block);
          b_.CreateCondBr(read(s.args[0]).value, body, end);
        }
        b_.SetInsertPoint(body);
        if (counts) write(s.dst, integer(b_.CreateLoad(b_.getInt64Ty(), counter)));
        loops_.push_back({next, end});
        block(s.then_block);
        loops_.pop_back();
        b_.CreateBr(next);
        b_.SetInsertPoint(next);
        if (counts) b_.CreateStore(b_.CreateAdd(b_.CreateLoad(b_.getInt64Ty(), counter), b_.i64(1)), counter);
        b_.CreateBr(head);
        b_.SetInsertPoint(end);
        break;
      }
      case Op::scope: {
        BasicBlock* end = fresh("scope.end");
        auto [at, fresh_label] = scopes_.emplace(s.label, end);
        if (!fresh_label) throw std::logic_error("two scopes with one label");
        block(s.then_block);
        scopes_.erase(s.label);
        b_.CreateBr(end);
        b_.SetInsertPoint(end);
        break;
      }
      case Op::break_:
        jump(loops_.at(loops_.size() - 1).end);
        break;
      case Op::continue_:
        jump(loops_.at(loops_.size() - 1).next);
        break;
      case Op::leave:
        jump(scopes_.at(s.label));
        break;
    }
  }
  /// What follows in this block isn't reached; it still needs a place.
  void jump(BasicBlock* to) {
    b_.CreateBr(to);
    b_.SetInsertPoint(fresh("unreached"));
  }

  Builder& b_;
  const std::vector<AheadVariable>& variables_;
  const std::vector<Value*>& slots_;
  BasicBlock* give_up_;
  std::vector<Loop> loops_;
  std::map<int, BasicBlock*> scopes_;
};

}  // namespace

bool is_scalar_operation(Scalar::Op op, const std::string& name) {
  if (op == Scalar::Op::unary) return has(kUnary, name);
  if (op == Scalar::Op::binary) return has(kBinary, name);
  if (op == Scalar::Op::call) return has(kLibm, name) || has(kOthers, name);
  return false;
}

void emit_scalars(Builder& b, const std::vector<Scalar>& code, const std::vector<AheadVariable>& variables,
                  const std::vector<Value*>& slots, BasicBlock* give_up) {
  Emitter(b, variables, slots, give_up).block(code);
}

}  // namespace nnlc::codegen::cpu
