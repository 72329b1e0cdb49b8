#include "compiler/codegen/cpu/jit.h"

#include <llvm/Bitcode/BitcodeWriter.h>
#include <llvm/Config/llvm-config.h>
#include <llvm/ExecutionEngine/Orc/CompileUtils.h>
#include <llvm/ExecutionEngine/Orc/JITTargetMachineBuilder.h>
#include <llvm/ExecutionEngine/Orc/LLJIT.h>
#include <llvm/IR/LegacyPassManager.h>
#include <llvm/IR/Verifier.h>
#include <llvm/Passes/PassBuilder.h>
#include <llvm/Support/SmallVectorMemoryBuffer.h>
#include <llvm/Support/TargetSelect.h>
#include <llvm/Support/raw_ostream.h>
#include <llvm/Target/TargetMachine.h>
#include <llvm/TargetParser/Host.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <map>
#include <mutex>
#include <stdexcept>
#include <thread>

#include "compiler/codegen/cache/object_cache.h"
#include "runtime/team.h"

namespace nnlc::codegen::cpu {
using namespace llvm;

namespace {

// The kernels arrive tiled and vectorised: these passes clean up addresses and hoist; O3 adds compile time and no
// speed.
constexpr const char* kPasses =
    "function(early-cse,instcombine<no-verify-fixpoint>,loop-mssa(licm),early-cse,simplifycfg)";
// Part of the cache key: raise it when objects of the same module text differ (other passes, other code generator
// options).
constexpr const char* kCodegenVersion = "1";

double now_s() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

[[noreturn]] void fail(const std::string& what, Error error) {
  throw std::runtime_error(what + ": " + toString(std::move(error)));
}
template <class T>
T must(Expected<T> value, const char* what) {
  if (!value) fail(what, value.takeError());
  return std::move(*value);
}

void initialize_llvm() {
  static std::once_flag once;
  std::call_once(once, [] {
    InitializeNativeTarget();
    InitializeNativeTargetAsmPrinter();
    InitializeNativeTargetAsmParser();
  });
}

orc::JITTargetMachineBuilder machine_builder(const Target& target) {
  orc::JITTargetMachineBuilder builder((Triple(target.triple)));
  builder.setCPU(target.cpu);
  SmallVector<StringRef> parts;
  StringRef(target.features).split(parts, ',', -1, false);
  std::vector<std::string> features;
  for (StringRef p : parts) features.push_back(p.str());
  builder.addFeatures(features);
  builder.setCodeGenOptLevel(CodeGenOptLevel::Default);
  builder.setRelocationModel(Reloc::PIC_);  // an object may end up in a shared library
  return builder;
}

bool has(const StringMap<bool>& features, std::initializer_list<const char*> names) {
  for (const char* n : names)
    if (!features.lookup(n)) return false;
  return true;
}

StringMap<bool> host_features() {
  StringMap<bool> map;
  for (const auto& f : sys::getHostCPUFeatures()) map[f.getKey()] = f.getValue();
  return map;
}

constexpr auto kAvx512 = {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd", "avx2", "fma", "bmi2"};
constexpr auto kAvx2 = {"avx2", "fma", "bmi2", "f16c", "lzcnt", "movbe"};

void run_passes(Module& module, TargetMachine* machine) {
  PipelineTuningOptions tuning;
  tuning.LoopVectorization = tuning.SLPVectorization = tuning.LoopUnrolling = tuning.LoopInterleaving = false;
  LoopAnalysisManager lam;
  FunctionAnalysisManager fam;
  CGSCCAnalysisManager cam;
  ModuleAnalysisManager mam;
  PassBuilder builder(machine, tuning);
  builder.registerModuleAnalyses(mam);
  builder.registerCGSCCAnalyses(cam);
  builder.registerFunctionAnalyses(fam);
  builder.registerLoopAnalyses(lam);
  builder.crossRegisterProxies(lam, fam, cam, mam);
  ModulePassManager passes;
  if (Error e = builder.parsePassPipeline(passes, kPasses)) fail("pass list", std::move(e));
  passes.run(module, mam);
}

void verify(Module& module) {
  std::string text;
  raw_string_ostream out(text);
  if (verifyModule(module, &out)) throw std::runtime_error("invalid module " + module.getName().str() + ": " + text);
}

std::string emit_file(Module& module, TargetMachine& machine, CodeGenFileType type) {
  SmallVector<char, 0> buffer;
  raw_svector_ostream out(buffer);
  legacy::PassManager passes;
  if (machine.addPassesToEmitFile(passes, out, nullptr, type))
    throw std::runtime_error("this target can't write files of that kind");
  passes.run(module);
  return std::string(buffer.data(), buffer.size());
}

std::unique_ptr<TargetMachine> machine_for(const Target& target) {
  return must(machine_builder(target).createTargetMachine(), "target machine");
}

IrModule empty_module(const Target& target, const std::string& layout, const std::string& name) {
  IrModule ir;
  ir.context = std::make_unique<LLVMContext>();
  ir.module = std::make_unique<Module>(name, *ir.context);
  ir.module->setDataLayout(layout);
#if LLVM_VERSION_MAJOR >= 21
  ir.module->setTargetTriple(Triple(target.triple));
#else
  ir.module->setTargetTriple(target.triple);
#endif
  return ir;
}

int64_t cache_bytes(int name, int64_t otherwise) {
  long v = sysconf(name);
  return v > 0 ? v : otherwise;
}

}  // namespace

std::optional<Target> select_target(const std::string& requested, std::string* error) {
  initialize_llvm();
  std::string name = requested;
  if (name.empty())
    if (const char* env = std::getenv("NNLC_CPU")) name = env;
  if (name.empty()) name = "native";
  if (name != "native" && name != "avx512" && name != "avx2" && name != "generic") {
    if (error) *error = "unknown CPU features '" + name + "': native, avx512, avx2 and generic are known";
    return std::nullopt;
  }
  Target t;
  t.triple = sys::getProcessTriple();
#ifdef _SC_LEVEL1_DCACHE_SIZE
  t.l1_bytes = cache_bytes(_SC_LEVEL1_DCACHE_SIZE, t.l1_bytes);
  t.l2_bytes = cache_bytes(_SC_LEVEL2_CACHE_SIZE, t.l2_bytes);
#endif
  auto host = host_features();
  bool x86 = Triple(t.triple).getArch() == Triple::x86_64;
  if (!x86) {
    if (name == "avx512" || name == "avx2") {
      if (error) *error = "'" + name + "' is for x86-64, this machine is " + Triple(t.triple).getArchName().str();
      return std::nullopt;
    }
    t.level = "other";
    t.cpu = name == "native" ? sys::getHostCPUName().str() : "generic";
    t.registers = 32;
    t.fma = true;
    return t;
  }
  if (name == "native") {
    t.level = has(host, kAvx512) ? "avx512" : has(host, kAvx2) ? "avx2" : "generic";
    t.cpu = sys::getHostCPUName().str();
    // Sorted: the text is part of the cache key, and a hash map's order isn't.
    std::map<std::string, bool> sorted;
    for (const auto& f : host) sorted[f.getKey().str()] = f.getValue();
    for (const auto& [feature, on] : sorted) {
      if (!t.features.empty()) t.features += ',';
      t.features += (on ? "+" : "-") + feature;
    }
  } else {
    t.level = name;
    t.cpu = name == "avx512" ? "x86-64-v4" : name == "avx2" ? "x86-64-v3" : "x86-64";
    // The forced levels are for tests and for objects that move between machines: none of the host's values go in.
    t.l1_bytes = 32 * 1024;
    t.l2_bytes = 1024 * 1024;
  }
  t.avx512 = t.level == "avx512";
  t.fma = t.level != "generic";
  t.vector_bytes = t.avx512 ? 64 : t.level == "avx2" ? 32 : 16;
  t.registers = t.avx512 ? 32 : 16;
  return t;
}

bool runs_here(const Target& target) {
  if (Triple(target.triple).getArch() != Triple(sys::getProcessTriple()).getArch()) return false;
  auto host = host_features();
  if (target.level == "avx512") return has(host, kAvx512);
  if (target.level == "avx2") return has(host, kAvx2);
  return true;
}

IrModule new_module(const Target& target, const std::string& name) {
  return empty_module(target, machine_for(target)->createDataLayout().getStringRepresentation(), name);
}

std::string object_code(const Target& target, IrModule ir) {
  verify(*ir.module);
  auto machine = machine_for(target);
  run_passes(*ir.module, machine.get());
  return emit_file(*ir.module, *machine, CodeGenFileType::ObjectFile);
}

struct Jit::Impl {
  Target target;
  int threads = 1;
  std::optional<ObjectCache> cache;
  std::unique_ptr<orc::LLJIT> jit;
  orc::JITDylib* runtime = nullptr;  // names given by define()
  std::string layout;
  JitStats stats;
  std::mutex stats_mutex;
  int count = 0;

  std::unique_ptr<TargetMachine> machine() const { return machine_for(target); }
  std::string key_of(const Module& module) const {
    SmallVector<char, 0> buffer;
    raw_svector_ostream out(buffer);
    // Bitcode stands for the text: the same content, written five times faster.
    WriteBitcodeToFile(module, out);
    std::string all = std::string("nnlc ") + kCodegenVersion + "\n" LLVM_VERSION_STRING "\n" + kPasses + "\n" +
                      target.triple + "\n" + target.cpu + "\n" + target.features + "\n";
    all.append(buffer.data(), buffer.size());
    return content_hash(all);
  }

  // Cache first: a hit skips the passes as well as code generation.
  std::unique_ptr<MemoryBuffer> object_of(IrModule& ir) {
    std::string key;
    JitStats s;
    s.modules = 1;
    std::unique_ptr<MemoryBuffer> object;
    if (cache) {
      key = key_of(*ir.module);
      if (auto found = cache->get(key)) {
        s.cache_hits = 1;
        object = MemoryBuffer::getMemBufferCopy(*found, ir.module->getName());
      }
    }
    if (!object) {
      verify(*ir.module);
      auto tm = machine();
      double t0 = now_s();
      run_passes(*ir.module, tm.get());
      double t1 = now_s();
      object = must(orc::SimpleCompiler(*tm)(*ir.module), "code generation");
      s.passes_s = t1 - t0;
      s.codegen_s = now_s() - t1;
      if (cache) cache->put(key, {object->getBufferStart(), object->getBufferSize()});
    }
    s.object_bytes = static_cast<int64_t>(object->getBufferSize());
    std::lock_guard lock(stats_mutex);
    stats.modules += s.modules;
    stats.cache_hits += s.cache_hits;
    stats.passes_s += s.passes_s;
    stats.codegen_s += s.codegen_s;
    stats.object_bytes += s.object_bytes;
    return object;
  }
};

Jit::Jit(const CpuOptions& options) : impl_(std::make_unique<Impl>()) {
  std::string error;
  auto target = select_target(options.features, &error);
  if (!target) throw std::runtime_error(error);
  if (!runs_here(*target)) throw std::runtime_error("this machine can't run code for " + target->level);
  impl_->target = std::move(*target);
  impl_->threads = options.threads > 0 ? options.threads : nnl::usable_cpus();
  if (options.use_cache) {
    impl_->cache.emplace(options.cache_dir);
    if (!impl_->cache->enabled()) impl_->cache.reset();
  }
  orc::LLJITBuilder builder;
  builder.setJITTargetMachineBuilder(machine_builder(impl_->target));
  impl_->jit = must(builder.create(), "JIT");
  impl_->layout = impl_->jit->getDataLayout().getStringRepresentation();
  auto runtime = impl_->jit->createJITDylib("runtime");
  if (!runtime) fail("JIT", runtime.takeError());
  impl_->runtime = &*runtime;
}

Jit::~Jit() = default;

const Target& Jit::target() const { return impl_->target; }
const JitStats& Jit::stats() const { return impl_->stats; }
std::string Jit::describe() const {
  return "LLVM " LLVM_VERSION_STRING ", " + impl_->target.level + " (" + impl_->target.cpu + ")";
}

IrModule Jit::new_module(const std::string& name) const { return empty_module(impl_->target, impl_->layout, name); }

void Jit::define(const std::string& symbol, void* address) {
  orc::SymbolMap map;
  map[impl_->jit->mangleAndIntern(symbol)] = {orc::ExecutorAddr::fromPtr(address),
                                              JITSymbolFlags::Exported | JITSymbolFlags::Callable};
  if (Error e = impl_->runtime->define(orc::absoluteSymbols(std::move(map)))) fail("symbol " + symbol, std::move(e));
}

std::vector<void*> Jit::compile(std::vector<IrModule> modules, const std::vector<std::string>& symbols) {
  std::vector<std::unique_ptr<MemoryBuffer>> objects(modules.size());
  std::vector<std::exception_ptr> errors(modules.size());
  std::atomic<size_t> next{0};
  auto work = [&] {
    for (size_t i; (i = next++) < modules.size();) {
      try {
        objects[i] = impl_->object_of(modules[i]);
      } catch (...) {
        errors[i] = std::current_exception();
      }
      modules[i].module.reset();  // before its context, and early: IR is much larger than code
      modules[i].context.reset();
    }
  };
  std::vector<std::thread> helpers;
  for (size_t i = 1; i < std::min<size_t>(impl_->threads, modules.size()); i++) helpers.emplace_back(work);
  work();
  for (auto& t : helpers) t.join();
  for (auto& e : errors)
    if (e) std::rethrow_exception(e);

  double t0 = now_s();
  auto& stats = impl_->stats;
  // A library of its own each time: the same kernel name may come again.
  auto library = impl_->jit->createJITDylib("step" + std::to_string(impl_->count++));
  if (!library) fail("JIT", library.takeError());
  library->addToLinkOrder(*impl_->runtime);
  for (auto& object : objects)
    if (Error e = impl_->jit->addObjectFile(*library, std::move(object))) fail("linking", std::move(e));
  std::vector<void*> addresses;
  for (const std::string& s : symbols)
    addresses.push_back(must(impl_->jit->lookup(*library, s), "linking").toPtr<void*>());
  stats.link_s += now_s() - t0;
  if (impl_->cache && stats.cache_hits < stats.modules) impl_->cache->trim();
  return addresses;
}

void* Jit::compile(IrModule module, const std::string& symbol) {
  std::vector<IrModule> modules;
  modules.push_back(std::move(module));
  return compile(std::move(modules), std::vector<std::string>{symbol}).front();
}

std::string Jit::optimized_text(IrModule ir) const {
  verify(*ir.module);
  run_passes(*ir.module, impl_->machine().get());
  std::string text;
  raw_string_ostream out(text);
  ir.module->print(out, nullptr);
  return text;
}

std::string Jit::assembly(IrModule ir) const {
  verify(*ir.module);
  auto tm = impl_->machine();
  run_passes(*ir.module, tm.get());
  return emit_file(*ir.module, *tm, CodeGenFileType::AssemblyFile);
}

std::string Jit::object(IrModule ir) const { return object_code(impl_->target, std::move(ir)); }

}  // namespace nnlc::codegen::cpu
