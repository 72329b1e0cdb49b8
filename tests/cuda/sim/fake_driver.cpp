// A libcuda over the simulator, so that the code that talks to the driver runs without one: the functions that nnlc
// opens, as the driver's documentation has them. What goes into a stream is done when somebody waits for it, pageable
// memory is read when a copy is asked for, a context must be current, and while a stream is captured only launches are
// allowed. NNLC_FAKE_GPUS and NNLC_FAKE_GPU_BYTES set how many GPUs there are and how much memory one has. What the
// simulator finds wrong is printed at the end.
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <deque>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "tests/cuda/sim/fake_driver.h"
#include "tests/cuda/sim/simulator.h"

namespace {

using nnlc::codegen::cuda::Call;
using nnlc::codegen::cuda::Sequence;

enum Error {
  kOk = 0,
  kInvalidValue = 1,
  kOutOfMemory = 2,
  kInvalidImage = 200,
  kInvalidContext = 201,
  kInvalidHandle = 400,
  kNotFound = 500,
  kCaptureUnsupported = 900,
};

struct Stream {
  bool capturing = false;
  std::vector<Call> captured;
  std::deque<std::function<void()>> work;
  void wait() {
    for (; !work.empty(); work.pop_front()) work.front()();
  }
};
struct Graph {
  std::vector<Call> calls;
};

struct State {
  std::shared_ptr<nnlc::sim::Simulator> simulator = nnlc::sim::make_simulator();
  Stream stream;
  bool has_stream = false;
  int contexts = 0;
  std::map<uint64_t, int64_t> memory;
  int64_t used = 0;
  std::map<void*, int> shared_limit;  ///< of each function that was asked for
  std::set<void*> modules, graphs, execs;

  State() {
    // Kernels that are loaded find the simulator's functions in this library.
    Dl_info info;
    if (dladdr(reinterpret_cast<void*>(nnlc::sim::make_simulator), &info))
      dlopen(info.dli_fname, RTLD_NOW | RTLD_GLOBAL | RTLD_NOLOAD);
  }
  ~State() {
    for (auto& f : simulator->faults()) std::fprintf(stderr, "simulator: %s\n", f.c_str());
    if (!memory.empty() || contexts || has_stream || !modules.empty() || !graphs.empty() || !execs.empty())
      std::fprintf(stderr,
                   "simulator: left behind: %zu allocations, %d contexts, %d streams, %zu modules, %zu graphs, %zu "
                   "recordings\n",
                   memory.size(), contexts, has_stream, modules.size(), graphs.size(), execs.size());
  }
};
State& state() {
  static State s;
  return s;
}
thread_local void* current = nullptr;
int context = 0;  // its address stands for it

int64_t number(const char* name, int64_t otherwise) {
  const char* v = std::getenv(name);
  return v ? std::atoll(v) : otherwise;
}
int64_t total_bytes() { return number("NNLC_FAKE_GPU_BYTES", int64_t{1} << 30); }
/// 0 where work may go into the stream now.
int ready(void* stream) {
  if (current != &context) return kInvalidContext;
  if (stream != &state().stream || !state().has_stream) return kInvalidHandle;
  return state().stream.capturing ? kCaptureUnsupported : kOk;
}
bool inside(uint64_t a, size_t bytes) {
  auto it = state().memory.upper_bound(a);
  if (it == state().memory.begin()) return false;
  --it;
  return a + bytes <= it->first + static_cast<uint64_t>(it->second);
}

}  // namespace

#pragma GCC visibility push(default)
extern "C" {
int cuInit(unsigned flags) { return flags ? kInvalidValue : kOk; }
int cuDriverGetVersion(int* v) {
  *v = 13000;
  return kOk;
}
int cuDeviceGetCount(int* n) {
  *n = static_cast<int>(number("NNLC_FAKE_GPUS", 1));
  return kOk;
}
int cuDeviceGet(int* device, int number) {
  *device = number;
  return kOk;
}
int cuDeviceGetName(char* name, int size, int) {
  std::snprintf(name, static_cast<size_t>(size), "Simulated GPU");
  return kOk;
}
int cuDeviceTotalMem_v2(size_t* bytes, int) {
  *bytes = static_cast<size_t>(total_bytes());
  return kOk;
}
int cuDeviceGetAttribute(int* value, int attribute, int) {
  if (attribute != 75 && attribute != 76) return kInvalidValue;
  *value = attribute == 75 ? 9 : 0;
  return kOk;
}
int cuDevicePrimaryCtxRetain(void** out, int) {
  ++state().contexts;
  *out = &context;
  return kOk;
}
int cuDevicePrimaryCtxRelease_v2(int) {
  --state().contexts;
  return kOk;
}
int cuCtxSetCurrent(void* c) {
  if (c && (c != &context || !state().contexts)) return kInvalidContext;
  current = c;
  return kOk;
}
int cuModuleLoadData(void** module, const void* image) {
  if (current != &context) return kInvalidContext;
  const std::string library = nnlc::sim::unpack(image);
  if (library.empty()) return kInvalidImage;
  char path[] = "/tmp/nnlc-fake-XXXXXX";
  const int file = mkstemp(path);
  if (file < 0) return kInvalidImage;
  std::ofstream(path, std::ios::binary) << library;
  auto* loaded = new std::shared_ptr<nnlc::codegen::cuda::Module>(nnlc::sim::load_on_host(path));
  std::remove(path);
  state().modules.insert(loaded);
  *module = loaded;
  return kOk;
}
int cuModuleUnload(void* module) {
  if (current != &context) return kInvalidContext;
  if (!state().modules.erase(module)) return kInvalidHandle;
  if (!state().stream.work.empty()) std::fprintf(stderr, "simulator: a module is unloaded while its stream has work\n");
  delete static_cast<std::shared_ptr<nnlc::codegen::cuda::Module>*>(module);
  return kOk;
}
int cuModuleGetFunction(void** function, void* module, const char* name) {
  if (!state().modules.count(module)) return kInvalidHandle;
  try {
    *function = (*static_cast<std::shared_ptr<nnlc::codegen::cuda::Module>*>(module))->function(name);
  } catch (const std::exception&) {
    return kNotFound;
  }
  state().shared_limit.emplace(*function, 48 << 10);
  return kOk;
}
int cuFuncSetAttribute(void* function, int attribute, int value) {
  if (attribute != 8 || !state().shared_limit.count(function) || value > 227 << 10) return kInvalidValue;
  state().shared_limit[function] = value;
  return kOk;
}
int cuMemAlloc_v2(uint64_t* a, size_t bytes) {
  if (current != &context) return kInvalidContext;
  if (state().stream.capturing) return kCaptureUnsupported;
  if (bytes == 0) return kInvalidValue;
  if (state().used + static_cast<int64_t>(bytes) > total_bytes()) return kOutOfMemory;
  *a = state().simulator->allocate(static_cast<int64_t>(bytes));
  state().memory[*a] = static_cast<int64_t>(bytes);
  state().used += static_cast<int64_t>(bytes);
  return kOk;
}
int cuMemFree_v2(uint64_t a) {
  if (current != &context) return kInvalidContext;
  auto it = state().memory.find(a);
  if (it == state().memory.end()) return kInvalidValue;
  state().stream.wait();
  state().used -= it->second;
  state().memory.erase(it);
  state().simulator->release(a);
  return kOk;
}
int cuMemGetInfo_v2(size_t* free, size_t* total) {
  *total = static_cast<size_t>(total_bytes());
  *free = *total - static_cast<size_t>(state().used);
  return kOk;
}
int cuMemcpyHtoDAsync_v2(uint64_t to, const void* from, size_t bytes, void* stream) {
  if (int e = ready(stream)) return e;
  if (!inside(to, bytes)) return kInvalidValue;
  const char* p = static_cast<const char*>(from);
  state().stream.work.push_back([to, kept = std::vector<char>(p, p + bytes)] {
    state().simulator->upload(to, kept.data(), static_cast<int64_t>(kept.size()));
  });
  return kOk;
}
int cuMemcpyDtoHAsync_v2(void* to, uint64_t from, size_t bytes, void* stream) {
  if (int e = ready(stream)) return e;
  if (!inside(from, bytes)) return kInvalidValue;
  state().stream.work.push_back([=] { state().simulator->download(to, from, static_cast<int64_t>(bytes)); });
  return kOk;
}
int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, void* stream) {
  if (int e = ready(stream)) return e;
  if (!inside(from, bytes) || !inside(to, bytes)) return kInvalidValue;
  state().stream.work.push_back([=] { state().simulator->copy(to, from, static_cast<int64_t>(bytes)); });
  return kOk;
}
int cuStreamCreate(void** stream, unsigned flags) {
  if (current != &context) return kInvalidContext;
  if (flags > 1 || state().has_stream) return kInvalidValue;
  state().has_stream = true;
  *stream = &state().stream;
  return kOk;
}
int cuStreamDestroy_v2(void* stream) {
  if (int e = ready(stream)) return e;
  state().stream.wait();
  state().has_stream = false;
  return kOk;
}
int cuStreamSynchronize(void* stream) {
  if (int e = ready(stream)) return e;
  state().stream.wait();
  return kOk;
}
int cuLaunchKernel(void* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared, void* stream, void** parameters, void** extra) {
  if (current != &context) return kInvalidContext;
  if (stream != &state().stream || !state().stream.capturing) return kInvalidHandle;  // nnlc launches nothing by itself
  auto limit = state().shared_limit.find(function);
  if (limit == state().shared_limit.end()) return kInvalidHandle;
  if (!gx || gx > 0x7fffffffu || gy != 1 || gz != 1 || !bx || bx > 1024 || by != 1 || bz != 1 || extra ||
      shared > static_cast<unsigned>(limit->second))
    return kInvalidValue;
  Call call{function, gx, static_cast<int>(bx), shared, {}};
  // The values are read now, not when the graph runs.
  for (int i = 0; i < nnlc::sim::count_arguments(function); ++i)
    call.args.push_back(*static_cast<uint64_t*>(parameters[i]));
  state().stream.captured.push_back(std::move(call));
  return kOk;
}
int cuStreamBeginCapture_v2(void* stream, int mode) {
  if (int e = ready(stream)) return e;
  if (mode < 0 || mode > 2) return kInvalidValue;
  state().stream.capturing = true;
  state().stream.captured.clear();
  return kOk;
}
int cuStreamEndCapture(void* stream, void** graph) {
  if (stream != &state().stream || !state().stream.capturing) return kInvalidHandle;
  state().stream.capturing = false;
  auto* g = new Graph{std::move(state().stream.captured)};
  state().graphs.insert(g);
  *graph = g;
  return kOk;
}
int cuGraphInstantiateWithFlags(void** exec, void* graph, unsigned long long flags) {
  if (!state().graphs.count(graph) || flags) return kInvalidValue;
  auto* e = new std::shared_ptr<Sequence>(state().simulator->record(static_cast<Graph*>(graph)->calls));
  state().execs.insert(e);
  *exec = e;
  return kOk;
}
int cuGraphLaunch(void* exec, void* stream) {
  if (int e = ready(stream)) return e;
  if (!state().execs.count(exec)) return kInvalidHandle;
  state().stream.work.push_back([s = *static_cast<std::shared_ptr<Sequence>*>(exec)] { s->run(); });
  return kOk;
}
int cuGraphExecDestroy(void* exec) {
  if (!state().execs.erase(exec)) return kInvalidHandle;
  if (!state().stream.work.empty())
    std::fprintf(stderr, "simulator: a recording is destroyed while its stream has work\n");
  delete static_cast<std::shared_ptr<Sequence>*>(exec);
  return kOk;
}
int cuGraphDestroy(void* graph) {
  if (!state().graphs.erase(graph)) return kInvalidHandle;
  delete static_cast<Graph*>(graph);
  return kOk;
}
int cuGetErrorString(int error, const char** text) {
  switch (error) {
    case kOutOfMemory:
      *text = "out of memory";
      break;
    case kInvalidContext:
      *text = "invalid device context";
      break;
    case kCaptureUnsupported:
      *text = "operation not permitted when stream is capturing";
      break;
    default:
      *text = "an error of the simulated driver";
  }
  return kOk;
}
}
#pragma GCC visibility pop
