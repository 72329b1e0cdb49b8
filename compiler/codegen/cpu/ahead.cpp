#include "compiler/codegen/cpu/ahead.h"

#include <llvm/Object/ArchiveWriter.h>
#include <llvm/Support/MemoryBuffer.h>

#include <algorithm>
#include <map>
#include <set>
#include <stdexcept>

#include "compiler/codegen/cpu/ahead_files.h"
#include "compiler/codegen/cpu/ahead_scalar.h"
#include "compiler/codegen/cpu/expr_emitter.h"
#include "compiler/codegen/cpu/kernels.h"
#include "compiler/loop/lower.h"

namespace nnlc::codegen::cpu {
using namespace llvm;

namespace {

constexpr int64_t kAlignment = 64;
int64_t rounded(int64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

/// The kernels of all functions of an object: equal ones are there once.
class KernelTable {
 public:
  KernelTable(Module& module, const Target& target) : module_(module), target_(target) {}
  Function* get(const loop::Kernel& k) {
    Function*& f = known_[loop::print(k)];
    if (f) return f;
    const std::string name = "kernel" + std::to_string(known_.size());
    Builder b(module_, target_);
    emit_kernel(b, k, name, 1);
    return f = module_.getFunction(name);
  }

 private:
  Module& module_;
  const Target& target_;
  std::map<std::string, Function*> known_;
};

class FunctionEmitter {
 public:
  FunctionEmitter(Builder& b, KernelTable& kernels, AheadFunction& f) : b_(b), kernels_(kernels), f_(f) {}

  /// Gives the size of the workspace.
  int64_t run() {
    std::vector<loop::Plan> plans;
    int64_t arena = 0, scratch = 0;
    for (AheadStep& step : f_.steps) {
      ports_.emplace_back(step.graph);  // lowering takes the graph
      plans.push_back(loop::lower(step.graph));
      arena = std::max(arena, plans.back().arena_bytes);
      for (const loop::Kernel& k : plans.back().kernels) scratch = std::max(scratch, scratch_bytes(k, b_.target, 1));
    }
    if (f_.result >= 0) result_type_ = ports_.back().outputs.at(static_cast<size_t>(f_.result)).dtype;
    begin();
    scalars();
    base_ = aligned_workspace();
    used_ = rounded(arena) + rounded(scratch);
    for (size_t i = 0; i < plans.size(); ++i) {
      bind(f_.steps[i], ports_[i]);
      launch(plans[i], b_.at(b_.getInt8Ty(), base_, rounded(arena)));
      copy_late(f_.steps[i], ports_[i]);
    }
    finish();
    return used_ + kAlignment;
  }

 private:
  struct Port {
    graph::DType dtype;
    int64_t elements;
  };
  struct Ports {
    std::vector<Port> inputs, outputs;
    std::vector<int> updates;  ///< per output: the input that it is written over, or -1
    explicit Ports(const graph::Graph& g) {
      for (const graph::Node* n : g.inputs) inputs.push_back({n->type.dtype, count(n->type.shape)});
      for (const graph::Output& o : g.outputs) {
        outputs.push_back({o.value->type.dtype, count(o.value->type.shape)});
        updates.push_back(-1);
        for (size_t k = 0; o.updates && k < g.inputs.size(); ++k)
          if (g.inputs[k] == o.updates) updates.back() = static_cast<int>(k);
      }
    }
  };
  static int64_t count(const graph::Shape& shape) {
    int64_t n = 1;
    for (int64_t d : graph::sizes(shape)) n *= d;
    return n;
  }
  static int64_t bytes(const Port& p) { return p.elements * static_cast<int64_t>(graph::size_bytes(p.dtype)); }
  bool wide() const { return result_type_ == graph::DType::f64; }

  void begin() {
    SmallVector<Type*> types;
    for (auto p : f_.parameters)
      types.push_back(p == AheadFunction::Parameter::pointer   ? static_cast<Type*>(b_.getPtrTy())
                      : p == AheadFunction::Parameter::integer ? b_.getInt64Ty()
                                                               : b_.getDoubleTy());
    Type* returned = f_.result < 0 ? b_.getVoidTy() : wide() ? b_.getDoubleTy() : b_.getFloatTy();
    b_.function =
        Function::Create(FunctionType::get(returned, types, false), Function::ExternalLinkage, f_.name, b_.module);
    b_.function->addFnAttr(Attribute::NoUnwind);
    b_.SetInsertPoint(BasicBlock::Create(b_.getContext(), "entry", b_.function));
  }
  Value* address(const Place& p) { return b_.at(b_.getInt8Ty(), b_.arg(static_cast<unsigned>(p.parameter)), p.offset); }
  Value* aligned_workspace() {
    Value* p = b_.CreatePtrToInt(b_.arg(static_cast<unsigned>(f_.workspace)), b_.getInt64Ty());
    Value* up = b_.CreateAnd(b_.CreateAdd(p, b_.i64(kAlignment - 1)), b_.i64(-kAlignment));
    return b_.at(b_.getInt8Ty(), b_.arg(static_cast<unsigned>(f_.workspace)), b_.CreateSub(up, p));
  }
  Value* reserve(int64_t n) {
    Value* p = b_.at(b_.getInt8Ty(), base_, used_);
    used_ += rounded(n);
    return p;
  }

  Type* variable_type(const AheadVariable& v) {
    return v.type == ScalarType::integer    ? static_cast<Type*>(b_.getInt64Ty())
           : v.type == ScalarType::floating ? b_.getDoubleTy()
                                            : b_.getInt1Ty();
  }
  void scalars() {
    for (const AheadVariable& v : f_.variables) {
      Type* type = variable_type(v);
      Value* slot = b_.stack(type, 1, 8);
      slots_.push_back(slot);
      // A bool is an int outside.
      const bool flag = v.type == ScalarType::boolean;
      Type* outside = flag ? b_.getInt64Ty() : type;
      Value* start = Constant::getNullValue(outside);
      if (v.parameter >= 0)
        start = b_.arg(static_cast<unsigned>(v.parameter));
      else if (v.place.given())
        start = b_.CreateLoad(outside, address(v.place));
      b_.CreateStore(flag ? b_.CreateICmpNE(start, b_.i64(0)) : start, slot);
    }
    if (f_.code.empty()) return;
    BasicBlock* give_up = BasicBlock::Create(b_.getContext(), "give_up", b_.function);
    emit_scalars(b_, f_.code, f_.variables, slots_, give_up);
    BasicBlock* on = b_.GetInsertBlock();
    b_.SetInsertPoint(give_up);
    if (f_.status.given()) b_.CreateStore(b_.getInt32(2), address(f_.status));
    if (f_.result < 0)
      b_.CreateRetVoid();
    else
      b_.CreateRet(ConstantFP::getNaN(wide() ? b_.getDoubleTy() : b_.getFloatTy()));
    b_.SetInsertPoint(on);
    for (size_t i = 0; i < f_.variables.size(); ++i) {
      const AheadVariable& v = f_.variables[i];
      if (!v.written || !v.place.given()) continue;
      Value* now = b_.CreateLoad(variable_type(v), slots_[i]);
      b_.CreateStore(v.type == ScalarType::boolean ? b_.CreateZExt(now, b_.getInt64Ty()) : now, address(v.place));
    }
  }
  /// A number as an element of an input, rounded as the executor does it.
  Value* converted(int variable, graph::DType to) {
    const AheadVariable& v = f_.variables[static_cast<size_t>(variable)];
    Value* x = b_.CreateLoad(variable_type(v), slots_[static_cast<size_t>(variable)]);
    Type* type = memory_type(b_, to);
    if (v.type == ScalarType::boolean) {
      if (graph::is_float(to)) throw std::logic_error("a bool for a float input");
      return b_.CreateZExt(x, type);
    }
    if (!graph::is_float(to)) {
      if (v.type == ScalarType::floating) throw std::logic_error("a float for an int input");
      return to == graph::DType::boolean ? b_.CreateZExt(b_.CreateICmpNE(x, b_.i64(0)), type)
                                         : b_.CreateSExtOrTrunc(x, type);
    }
    if (v.type == ScalarType::integer) x = b_.CreateSIToFP(x, b_.getDoubleTy());
    if (to == graph::DType::f64) return x;
    if (to == graph::DType::f32) return b_.CreateFPTrunc(x, type);
    if (to == graph::DType::f16) return b_.CreateBitCast(b_.CreateFPTrunc(x, b_.getHalfTy()), type);
    // bf16 by way of f32, rounded to odd there, so that nothing is rounded twice.
    Value* f = b_.CreateFPTrunc(x, b_.getFloatTy());
    Value* bits = b_.CreateBitCast(f, b_.getInt32Ty());
    Value* back = b_.CreateFPExt(f, b_.getDoubleTy());
    Value* above = b_.CreateFCmpOGT(b_.abs(back), b_.abs(x));
    Value* toward_zero = b_.CreateSub(bits, b_.CreateZExt(above, b_.getInt32Ty()));
    Value* odd = b_.CreateOr(toward_zero, b_.getInt32(1));
    Value* exact = b_.CreateFCmpUEQ(back, x);
    return b_.f32_to_bf16(b_.CreateBitCast(b_.CreateSelect(exact, bits, odd), b_.getFloatTy()));
  }

  void bind(const AheadStep& step, const Ports& ports) {
    pointers_.clear();
    for (size_t k = 0; k < step.inputs.size(); ++k) {
      const AheadBuffer& in = step.inputs[k];
      if (in.place.given()) {
        pointers_.push_back(address(in.place));
      } else if (in.temporary >= 0) {
        pointers_.push_back(temporaries_.at(in.temporary));
      } else {
        Value* p = reserve(bytes(ports.inputs[k]));
        b_.CreateStore(converted(in.variable, ports.inputs[k].dtype), p);
        pointers_.push_back(p);
      }
    }
    for (size_t o = 0; o < step.outputs.size(); ++o) {
      const AheadBuffer& out = step.outputs[o];
      if (ports.updates[o] >= 0) {
        pointers_.push_back(pointers_[static_cast<size_t>(ports.updates[o])]);
        continue;
      }
      const bool own = out.place.given() && !out.after && !out.optional;
      Value* p = own ? address(out.place) : reserve(bytes(ports.outputs[o]));
      if (out.optional && out.place.given()) {
        Value* given = address(out.place);
        p = b_.CreateSelect(b_.CreateIsNull(given), p, given);
      }
      if (out.temporary >= 0) temporaries_[out.temporary] = p;
      pointers_.push_back(p);
    }
  }

  void launch(const loop::Plan& plan, Value* scratch) {
    std::vector<Value*> buffers;
    for (const loop::Buffer& buffer : plan.buffers) {
      if (buffer.kind == loop::Buffer::Kind::temp) {
        buffers.push_back(b_.at(b_.getInt8Ty(), base_, buffer.offset));
      } else if (buffer.kind == loop::Buffer::Kind::constant) {
        buffers.push_back(constant(plan.constants[static_cast<size_t>(buffer.slot)]));
      } else {
        buffers.push_back(pointers_[static_cast<size_t>(buffer.slot)]);
      }
    }
    for (const loop::Launch& l : plan.launches) {
      const loop::Kernel& k = plan.kernels[static_cast<size_t>(l.kernel)];
      Value* args = b_.stack(b_.getPtrTy(), static_cast<int64_t>(l.buffers.size()), 8);
      for (size_t i = 0; i < l.buffers.size(); ++i)
        b_.CreateStore(buffers[static_cast<size_t>(l.buffers[i])], b_.at(b_.getPtrTy(), args, static_cast<int64_t>(i)));
      b_.CreateCall(kernels_.get(k), {args, scratch, b_.i64(0), b_.i64(1)});
    }
  }
  Constant* constant(const std::vector<uint8_t>& data) {
    Constant* c = ConstantDataArray::get(b_.getContext(), data);
    auto* g = new GlobalVariable(b_.module, c->getType(), true, GlobalValue::PrivateLinkage, c, "constant");
    g->setAlignment(Align(kAlignment));
    return g;
  }

  void copy_late(const AheadStep& step, const Ports& ports) {
    for (size_t o = 0; o < step.outputs.size(); ++o)
      if (step.outputs[o].after && ports.updates[o] < 0)
        b_.CreateMemCpy(address(step.outputs[o].place), MaybeAlign(), pointers_[step.inputs.size() + o], MaybeAlign(),
                        static_cast<uint64_t>(bytes(ports.outputs[o])));
  }

  void finish() {
    // Of the last step, whose pointers these are.
    auto value = [&](size_t output) -> Value* {
      const graph::DType t = ports_.back().outputs[output].dtype;
      Value* v = b_.CreateLoad(memory_type(b_, t), pointers_[ports_.back().inputs.size() + output]);
      if (t == graph::DType::bf16) return b_.bf16_to_f32(v);
      if (t == graph::DType::f16) return b_.CreateFPExt(b_.CreateBitCast(v, b_.getHalfTy()), b_.getFloatTy());
      return v;
    };
    if (f_.status.given()) {
      Value* fine = b_.getTrue();
      for (int o : f_.checked) {
        Value* v = value(static_cast<size_t>(o));
        Value* largest = ConstantFP::getInfinity(v->getType());
        fine = b_.CreateAnd(fine, b_.CreateFCmpOLT(b_.abs(v), largest));
      }
      b_.CreateStore(b_.CreateSelect(fine, b_.getInt32(0), b_.getInt32(1)), address(f_.status));
    }
    if (f_.result < 0)
      b_.CreateRetVoid();
    else
      b_.CreateRet(value(static_cast<size_t>(f_.result)));
  }

  Builder& b_;
  KernelTable& kernels_;
  AheadFunction& f_;
  std::vector<Ports> ports_;  ///< per step
  graph::DType result_type_ = graph::DType::f32;
  std::vector<Value*> slots_;
  std::vector<Value*> pointers_;  ///< of the step being emitted: per input, then per output
  std::map<int, Value*> temporaries_;
  Value* base_ = nullptr;
  int64_t used_ = 0;
};

}  // namespace

std::string build_object(AheadModel& model, const Target& target, std::vector<int64_t>& workspace_bytes) {
  IrModule ir = new_module(target, model.prefix);
  KernelTable kernels(*ir.module, target);
  Builder b(*ir.module, target);
  std::set<std::string> exported;
  for (AheadFunction& f : model.functions) {
    exported.insert(f.name);
    workspace_bytes.push_back(FunctionEmitter(b, kernels, f).run());
  }
  for (const std::string& name : emit_files(b, model)) exported.insert(name);
  for (Function& f : *ir.module)
    if (!f.isDeclaration() && !exported.count(f.getName().str())) f.setLinkage(GlobalValue::InternalLinkage);
  return object_code(target, std::move(ir));
}

std::string make_archive(const std::string& member, const std::string& object) {
  std::vector<NewArchiveMember> members;
  members.emplace_back(MemoryBufferRef(object, member));
  auto buffer = writeArchiveToBuffer(members, SymtabWritingMode::NormalSymtab, object::Archive::K_GNU,
                                     /*Deterministic=*/true, /*Thin=*/false);
  if (!buffer) throw std::runtime_error("archive: " + toString(buffer.takeError()));
  return (*buffer)->getBuffer().str();
}

}  // namespace nnlc::codegen::cpu
