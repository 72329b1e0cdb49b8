#include "compiler/codegen/cpu/ahead_files.h"

#include <algorithm>

namespace nnlc::codegen::cpu {
using namespace llvm;

namespace {

class FilesEmitter {
 public:
  FilesEmitter(Builder& b, const AheadModel& model) : b_(b), model_(model) {}

  std::vector<std::string> run() {
    pointer_ = b_.getPtrTy();
    size_ = b_.getInt64Ty();
    int_ = b_.getInt32Ty();
    if (!model_.weights.empty()) weights_ = data(model_.weights, model_.prefix + "_weights", true);
    if (weights_ || model_.training) init();
    if (!model_.parameters.empty()) {
      find();
      header_ = data(std::vector<uint8_t>(model_.file_header.begin(), model_.file_header.end()), "header", false);
      save();
      load();
    }
    return names_;
  }

 private:
  Constant* data(const std::vector<uint8_t>& bytes, const std::string& name, bool exported) {
    Constant* c = ConstantDataArray::get(b_.getContext(), bytes);
    auto* g = new GlobalVariable(b_.module, c->getType(), true,
                                 exported ? GlobalValue::ExternalLinkage : GlobalValue::PrivateLinkage, c, name);
    g->setAlignment(Align(64));
    return g;
  }
  void begin(const std::string& name, Type* result, ArrayRef<Type*> parameters) {
    names_.push_back(model_.prefix + "_" + name);
    b_.function = Function::Create(FunctionType::get(result, parameters, false), Function::ExternalLinkage,
                                   names_.back(), b_.module);
    b_.function->addFnAttr(Attribute::NoUnwind);
    b_.SetInsertPoint(BasicBlock::Create(b_.getContext(), "entry", b_.function));
  }
  Value* libc(StringRef name, Type* result, ArrayRef<Value*> args) {
    SmallVector<Type*> types;
    for (Value* a : args) types.push_back(a->getType());
    return b_.CreateCall(b_.module.getOrInsertFunction(name, FunctionType::get(result, types, false)), args);
  }
  BasicBlock* fresh(const char* name) { return BasicBlock::Create(b_.getContext(), name, b_.function); }
  /// Returns `code` from the function where the condition holds.
  void leave_if(Value* condition, Value* code) {
    BasicBlock *out = fresh("out"), *on = fresh("on");
    b_.CreateCondBr(condition, out, on);
    b_.SetInsertPoint(out);
    b_.CreateRet(code);
    b_.SetInsertPoint(on);
  }
  Value* offset(Value* p, int64_t bytes) { return b_.at(b_.getInt8Ty(), p, bytes); }

  // void init(params [, training]): null leaves one out.
  void init() {
    SmallVector<Type*> parameters;
    if (weights_) parameters.push_back(pointer_);
    if (model_.training) parameters.push_back(pointer_);
    begin("init", b_.getVoidTy(), parameters);
    unsigned next = 0;
    auto fill = [&](const std::vector<uint8_t>& from, Constant* source) {
      Value* to = b_.arg(next++);
      b_.when(b_.CreateIsNotNull(to), [&] {
        // Mostly zeros: the start is cleared as one piece, and what isn't zero is copied.
        if (source) {
          b_.CreateMemCpy(to, Align(1), source, Align(64), from.size());
          return;
        }
        if (from.empty()) return;
        b_.CreateMemSet(to, b_.getInt8(0), from.size(), Align(1));
        for (size_t at = 0; at < from.size();) {
          if (from[at] == 0) {
            ++at;
            continue;
          }
          // A piece ends where 64 zeros follow.
          size_t last = at;
          for (size_t i = at; i < from.size() && i - last <= 64; ++i)
            if (from[i] != 0) last = i;
          std::vector<uint8_t> piece(from.begin() + static_cast<std::ptrdiff_t>(at),
                                     from.begin() + static_cast<std::ptrdiff_t>(last) + 1);
          b_.CreateMemCpy(offset(to, static_cast<int64_t>(at)), Align(1), data(piece, "start", false), Align(64),
                          piece.size());
          at = last + 1;
        }
      });
    };
    if (weights_) fill(model_.weights, weights_);
    if (model_.training) fill(model_.training_start, nullptr);
    b_.CreateRetVoid();
  }

  // void* find(params, name, size_t* bytes): null where there is no such parameter; bytes may be null.
  void find() {
    begin("find", pointer_, {pointer_, pointer_, pointer_});
    for (const AheadParameter& p : model_.parameters) {
      Value* other = libc("strcmp", int_, {b_.arg(1), b_.CreateGlobalString(p.name)});
      BasicBlock *found = fresh("found"), *next = fresh("next");
      b_.CreateCondBr(b_.CreateICmpEQ(other, b_.getInt32(0)), found, next);
      b_.SetInsertPoint(found);
      b_.when(b_.CreateIsNotNull(b_.arg(2)), [&] { b_.CreateStore(b_.i64(p.bytes), b_.arg(2)); });
      b_.CreateRet(offset(b_.arg(0), p.offset));
      b_.SetInsertPoint(next);
    }
    b_.CreateRet(Constant::getNullValue(pointer_));
  }

  // int save(const params, path): 0, or 1 if the file couldn't be written.
  void save() {
    begin("save", int_, {pointer_, pointer_});
    Value* file = libc("fopen", pointer_, {b_.arg(1), b_.CreateGlobalString("wb")});
    leave_if(b_.CreateIsNull(file), b_.getInt32(1));
    Value* fine = b_.getTrue();
    auto put = [&](Value* from, int64_t bytes) {
      Value* n = libc("fwrite", size_, {from, b_.i64(1), b_.i64(bytes), file});
      fine = b_.CreateAnd(fine, b_.CreateICmpEQ(n, b_.i64(bytes)));
    };
    put(header_, static_cast<int64_t>(model_.file_header.size()));
    for (int i : model_.file_order) {
      const AheadParameter& p = model_.parameters[static_cast<size_t>(i)];
      put(offset(b_.arg(0), p.offset), p.bytes);
    }
    Value* closed = libc("fclose", int_, {file});
    fine = b_.CreateAnd(fine, b_.CreateICmpEQ(closed, b_.getInt32(0)));
    b_.CreateRet(b_.CreateSelect(fine, b_.getInt32(0), b_.getInt32(1)));
  }

  // int load(params, path): 0; 1 if it can't be opened, 2 if it isn't a file of these parameters, 3 if it is cut or has
  // more than that. The header is compared before anything is written.
  void load() {
    begin("load", int_, {pointer_, pointer_});
    Value* file = libc("fopen", pointer_, {b_.arg(1), b_.CreateGlobalString("rb")});
    leave_if(b_.CreateIsNull(file), b_.getInt32(1));
    const auto n = static_cast<int64_t>(model_.file_header.size());
    Value* header = libc("malloc", pointer_, {b_.i64(n)});
    auto close = [&](Value* condition, int code) {
      BasicBlock *out = fresh("out"), *on = fresh("on");
      b_.CreateCondBr(condition, out, on);
      b_.SetInsertPoint(out);
      libc("fclose", int_, {file});
      b_.CreateRet(b_.getInt32(static_cast<uint32_t>(code)));
      b_.SetInsertPoint(on);
    };
    close(b_.CreateIsNull(header), 1);
    Value* got = libc("fread", size_, {header, b_.i64(1), b_.i64(n), file});
    Value* other = libc("memcmp", int_, {header, header_, got});
    libc("free", b_.getVoidTy(), {header});
    close(b_.CreateOr(b_.CreateICmpNE(got, b_.i64(n)), b_.CreateICmpNE(other, b_.getInt32(0))), 2);
    for (int i : model_.file_order) {
      const AheadParameter& p = model_.parameters[static_cast<size_t>(i)];
      Value* read = libc("fread", size_, {offset(b_.arg(0), p.offset), b_.i64(1), b_.i64(p.bytes), file});
      close(b_.CreateICmpNE(read, b_.i64(p.bytes)), 3);
    }
    Value* more = libc("fgetc", int_, {file});
    libc("fclose", int_, {file});
    b_.CreateRet(
        b_.CreateSelect(b_.CreateICmpEQ(more, b_.getInt32(static_cast<uint32_t>(-1))), b_.getInt32(0), b_.getInt32(3)));
  }

  Builder& b_;
  const AheadModel& model_;
  std::vector<std::string> names_;
  Type *pointer_ = nullptr, *size_ = nullptr, *int_ = nullptr;
  Constant *weights_ = nullptr, *header_ = nullptr;
};

}  // namespace

std::vector<std::string> emit_files(Builder& b, const AheadModel& model) { return FilesEmitter(b, model).run(); }

}  // namespace nnlc::codegen::cpu
