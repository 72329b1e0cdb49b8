#include "tests/cuda/sim/simulator.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <link.h>
#include <unistd.h>

#include <algorithm>
#include <boost/context/fiber.hpp>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <numeric>
#include <random>
#include <set>

namespace nnlc::sim {

namespace {

namespace fs = std::filesystem;
namespace context = boost::context;
using codegen::cuda::Address;
using codegen::cuda::Call;
using codegen::cuda::DeviceError;
using codegen::cuda::Entry;

constexpr size_t kStackBytes = 64 << 10;
constexpr int kWarp = 32;
constexpr uint32_t kAny = 0xffffffffu;

struct Uint3 {
  unsigned x, y, z;
};

/// Who used a byte last in this launch.
struct Use {
  uint32_t launch = 0, block = 0, thread = 0, epoch = 0;
};
struct Shadow {
  Use read, write;
};

/// A piece of memory that kernels may use.
struct Region {
  uint8_t* begin = nullptr;
  int64_t bytes = 0;
  std::vector<Shadow> shadow;
};

enum class State : uint8_t { ready, barrier, shuffle, done };

struct Lane {
  context::fiber fiber;
  Uint3 index{};
  State state = State::ready;
  int barrier_value = 0, barrier_result = 0;
  uint64_t bits = 0;
  unsigned mask = 0, from = 0;
  uint8_t* stack = nullptr;
};

/// Stacks are kept from block to block.
class Stacks {
 public:
  ~Stacks() {
    for (uint8_t* s : free_) std::free(s);
  }
  uint8_t* take() {
    if (free_.empty()) return static_cast<uint8_t*>(std::aligned_alloc(64, kStackBytes));
    uint8_t* s = free_.back();
    free_.pop_back();
    return s;
  }
  void give(uint8_t* s) { free_.push_back(s); }

 private:
  std::vector<uint8_t*> free_;
};

struct StackAllocator {
  Lane* lane;
  Stacks* stacks;
  context::stack_context allocate() {
    context::stack_context c;
    lane->stack = stacks->take();
    c.size = kStackBytes;
    c.sp = lane->stack + kStackBytes;
    return c;
  }
  void deallocate(context::stack_context& c) { stacks->give(static_cast<uint8_t*>(c.sp) - kStackBytes); }
};

/// Runs one launch at a time: the state that the functions called by kernels see.
struct Machine {
  Stacks stacks;
  std::map<Address, std::unique_ptr<Region>> regions;
  Region shared;
  Region* last = nullptr;
  std::vector<std::pair<uintptr_t, uintptr_t>> images;  ///< constants of the compiled kernels
  std::vector<std::unique_ptr<Lane>> lanes;
  Lane* running = nullptr;
  context::fiber scheduler;
  Uint3 block{};
  uint32_t launch = 0, epoch = 0;
  std::string kernel;
  std::mt19937_64 random;
  uint64_t seed = 0;
  std::vector<std::string> faults;
  std::set<std::string> known;

  void fault(const std::string& kind, const std::string& text) {
    if (known.insert(kernel + kind).second) faults.push_back(fmt::format("{}: {}: {}", kernel, kind, text));
  }
  void leave() { scheduler = std::move(scheduler).resume(); }

  template <class T>
  void reorder(std::vector<T>& v) {
    if (seed) std::shuffle(v.begin(), v.end(), random);
  }

  void run_block(void (*entry)(void**), void** args, int threads, int64_t shared_bytes);
  bool meet();
  void access(const void* p, int64_t bytes, bool write);
  Region* find(uintptr_t p, int64_t bytes);
};

Machine& machine() {
  static Machine m;
  return m;
}

Region* Machine::find(uintptr_t p, int64_t bytes) {
  auto holds = [&](const Region& r) {
    const uintptr_t b = reinterpret_cast<uintptr_t>(r.begin);
    return p >= b && p + static_cast<uintptr_t>(bytes) <= b + static_cast<uintptr_t>(r.bytes);
  };
  if (last && holds(*last)) return last;
  if (shared.begin && holds(shared)) return last = &shared;
  auto it = regions.upper_bound(p);
  if (it == regions.begin()) return nullptr;
  Region* r = std::prev(it)->second.get();
  return holds(*r) ? last = r : nullptr;
}

void Machine::access(const void* pointer, int64_t bytes, bool write) {
  if (!running) return;
  const uintptr_t p = reinterpret_cast<uintptr_t>(pointer);
  const uintptr_t stack = reinterpret_cast<uintptr_t>(running->stack);
  if (p >= stack && p < stack + kStackBytes) return;
  Region* r = find(p, bytes);
  const uint32_t thread = running->index.x;
  if (!r) {
    for (auto& [lo, hi] : images)
      if (p >= lo && p < hi) return;
    fault("overrun", fmt::format("thread {} of block {} {} {} bytes outside every buffer", thread, block.x,
                                 write ? "writes" : "reads", bytes));
    return;
  }
  const bool local = r == &shared;
  // Without an order between them: in two blocks, or in one between the same barriers.
  auto races = [&](const Use& u) {
    if (u.launch != launch) return false;
    if (!local && u.block != block.x) return true;
    return u.epoch == epoch && u.thread != thread;
  };
  for (int64_t i = 0; i < bytes; ++i) {
    Shadow& s = r->shadow[p - reinterpret_cast<uintptr_t>(r->begin) + static_cast<size_t>(i)];
    if (races(s.write) || (write && races(s.read))) {
      const Use& other = races(s.write) ? s.write : s.read;
      fault("race",
            fmt::format(
                "thread {} of block {} {} what thread {} of block {} {} with no barrier between them, in {} memory",
                thread, block.x, write ? "writes" : "reads",
                static_cast<int64_t>(other.thread == kAny ? -1 : other.thread),
                static_cast<int64_t>(other.block == kAny ? -1 : other.block), &other == &s.write ? "writes" : "reads",
                local ? "shared" : "global"));
      return;
    }
    Use& mine = write ? s.write : s.read;
    if (mine.launch == launch && !write) {
      // Several readers: whoever writes next races with one of them.
      if (!local && mine.block != block.x) mine.block = kAny;
      if (mine.epoch == epoch && mine.thread != thread)
        mine.thread = kAny;
      else if (mine.epoch != epoch)
        mine.epoch = epoch, mine.thread = thread;
    } else {
      mine = {launch, block.x, thread, epoch};
    }
  }
}

/// Whoever waits goes on if all that it waits for have come.
bool Machine::meet() {
  bool progress = false;
  size_t waiting = 0, done = 0;
  for (auto& l : lanes) waiting += l->state == State::barrier, done += l->state == State::done;
  if (waiting && waiting + done == lanes.size()) {
    int any = 0;
    for (auto& l : lanes)
      if (l->state == State::barrier) any |= l->barrier_value != 0;
    for (auto& l : lanes)
      if (l->state == State::barrier) l->barrier_result = any, l->state = State::ready;
    ++epoch;
    progress = true;
  }
  for (size_t w = 0; w < lanes.size(); w += kWarp) {
    const size_t end = std::min(lanes.size(), w + kWarp);
    bool complete = false, all = true;
    for (size_t i = w; i < end; ++i) complete |= lanes[i]->state == State::shuffle;
    if (!complete) continue;
    unsigned mask = 0;
    for (size_t i = w; i < end; ++i)
      if (lanes[i]->state == State::shuffle) mask = lanes[i]->mask;
    for (size_t i = w; i < w + kWarp; ++i)
      if (mask >> (i - w) & 1) all = all && i < end && lanes[i]->state == State::shuffle;
    if (!all) continue;
    std::vector<uint64_t> bits(kWarp);
    for (size_t i = w; i < end; ++i) bits[i - w] = lanes[i]->bits;
    for (size_t i = w; i < end; ++i)
      if (lanes[i]->state == State::shuffle)
        lanes[i]->bits = bits[lanes[i]->from % kWarp], lanes[i]->state = State::ready;
    progress = true;
  }
  return progress;
}

void Machine::run_block(void (*entry)(void**), void** args, int threads, int64_t shared_bytes) {
  epoch = 1;
  shared.bytes = shared_bytes;
  std::vector<uint8_t> memory(static_cast<size_t>(shared_bytes) + 64, 0xff);
  shared.begin =
      shared_bytes ? reinterpret_cast<uint8_t*>((reinterpret_cast<uintptr_t>(memory.data()) + 63) / 64 * 64) : nullptr;
  shared.shadow.assign(static_cast<size_t>(shared_bytes), {});
  last = nullptr;
  lanes.clear();
  std::vector<int> order(static_cast<size_t>(threads));
  std::iota(order.begin(), order.end(), 0);
  for (int t = 0; t < threads; ++t) {
    lanes.push_back(std::make_unique<Lane>());
    Lane* lane = lanes.back().get();
    lane->index = {static_cast<unsigned>(t), 0, 0};
    lane->fiber = context::fiber(std::allocator_arg, StackAllocator{lane, &stacks},
                                 [this, entry, args, lane](context::fiber&& back) {
                                   scheduler = std::move(back);
                                   entry(args);
                                   lane->state = State::done;
                                   return std::move(scheduler);
                                 });
  }
  size_t done = 0;
  while (done < lanes.size()) {
    bool progress = false;
    reorder(order);
    for (int t : order) {
      Lane& lane = *lanes[static_cast<size_t>(t)];
      if (lane.state != State::ready) continue;
      progress = true;
      running = &lane;
      lane.fiber = std::move(lane.fiber).resume();
      running = nullptr;
      done += lane.state == State::done;
    }
    progress |= meet();
    if (!progress && done < lanes.size()) {
      int barrier = 0, shuffle = 0;
      for (auto& l : lanes) barrier += l->state == State::barrier, shuffle += l->state == State::shuffle;
      fault("deadlock", fmt::format("of {} threads of block {}, {} wait at a barrier, {} at a shuffle and {} are done",
                                    lanes.size(), block.x, barrier, shuffle, done));
      break;
    }
  }
  lanes.clear();
  shared.begin = nullptr;
}

class SimModule : public codegen::cuda::Module {
 public:
  explicit SimModule(void* handle) : handle_(handle) {}
  void* function(const std::string& name) override {
    void* f = dlsym(handle_, (name + "_on_host").c_str());
    if (!f) throw DeviceError("the simulator has no kernel " + name);
    kernels()[f] = {name, reinterpret_cast<int (*)()>(dlsym(handle_, (name + "_arguments").c_str()))()};
    return f;
  }
  struct Kernel {
    std::string name;
    int arguments;
  };
  static const Kernel& kernel(void* f) { return kernels().at(f); }

 private:
  static std::map<void*, Kernel>& kernels() {
    static std::map<void*, Kernel> k;
    return k;
  }
  void* handle_;  // never closed: launches recorded earlier may outlive the module
};

void launch(const Call& call) {
  Machine& m = machine();
  ++m.launch;
  m.kernel = SimModule::kernel(call.function).name;
  m.random.seed(m.seed);
  std::vector<int64_t> blocks(static_cast<size_t>(call.blocks));
  std::iota(blocks.begin(), blocks.end(), 0);
  m.reorder(blocks);
  std::vector<void*> args;
  for (Address a : call.args) args.push_back(reinterpret_cast<void*>(a));
  for (int64_t b : blocks) {
    m.block = {static_cast<unsigned>(b), 0, 0};
    m.run_block(reinterpret_cast<void (*)(void**)>(call.function), args.data(), call.threads, call.shared_bytes);
  }
}

/// Compiled files, until the process ends: a loaded file stays loaded, and the loader knows files by their inode, which
/// another file could get after a removal.
struct Folder {
  fs::path path = fs::temp_directory_path() / fmt::format("nnlc-simulator-{}", getpid());
  int files = 0;
  Folder() { fs::create_directories(path); }
  ~Folder() {
    std::error_code error;
    fs::remove_all(path, error);
  }
  std::string next() { return (path / fmt::format("step{}", files++)).string(); }
};

class SimDevice : public Simulator {
 public:
  std::string describe() const override { return "simulated CUDA device"; }

  Address allocate(int64_t bytes) override {
    ++counts_.allocations;
    auto r = std::make_unique<Region>();
    // Exactly as large as asked for, so that an overrun is seen; memory nobody wrote reads as NaN.
    r->begin = static_cast<uint8_t*>(std::aligned_alloc(256, static_cast<size_t>((bytes + 511) / 256 * 256)));
    r->bytes = bytes;
    std::memset(r->begin, 0xff, static_cast<size_t>(bytes));
    r->shadow.resize(static_cast<size_t>(bytes));
    const auto a = reinterpret_cast<Address>(r->begin);
    machine().regions[a] = std::move(r);
    return a;
  }
  void release(Address a) override {
    auto it = machine().regions.find(a);
    if (it == machine().regions.end()) return;
    machine().last = nullptr;
    std::free(it->second->begin);
    machine().regions.erase(it);
  }
  void upload(Address to, const void* from, int64_t bytes) override {
    ++counts_.uploads, counts_.uploaded_bytes += bytes;
    if (bytes > 0) std::memcpy(reinterpret_cast<void*>(to), from, static_cast<size_t>(bytes));
  }
  void download(void* to, Address from, int64_t bytes) override {
    ++counts_.downloads, counts_.downloaded_bytes += bytes;
    if (bytes > 0) std::memcpy(to, reinterpret_cast<void*>(from), static_cast<size_t>(bytes));
  }
  void copy(Address to, Address from, int64_t bytes) override {
    std::memcpy(reinterpret_cast<void*>(to), reinterpret_cast<void*>(from), static_cast<size_t>(bytes));
  }
  std::shared_ptr<codegen::cuda::Module> compile(const std::string& source, const std::vector<Entry>&) override {
    return load_on_host(compile_for_host(source));
  }
  std::unique_ptr<codegen::cuda::Sequence> record(std::vector<Call> calls) override {
    struct Recorded : codegen::cuda::Sequence {
      std::vector<Call> calls;
      Counts* counts;
      void run() override {
        ++counts->runs;
        for (auto& c : calls) {
          ++counts->launches;
          launch(c);
        }
      }
    };
    ++counts_.records;
    auto r = std::make_unique<Recorded>();
    r->calls = std::move(calls), r->counts = &counts_;
    return r;
  }

  void shuffle(uint64_t seed) override { machine().seed = seed; }
  const std::vector<std::string>& faults() const override { return machine().faults; }
  void forget_faults() override { machine().faults.clear(), machine().known.clear(); }
  Counts& counts() override { return counts_; }

 private:
  Counts counts_;
};

}  // namespace

std::string compile_for_host(const std::string& source) {
  static Folder folder;
  const std::string base = folder.next();
  std::ofstream(base + ".cu") << source;
  // Instrumented when compiled, but linked without the sanitizer's own library: its functions are ours.
  const std::string compile =
      fmt::format("{} -std=c++20 -O1 -fPIC -fsanitize=thread -w -ffp-contract=off -include {} -x c++ -c {}.cu -o {}.o",
                  NNLC_SIM_COMPILER, NNLC_SIM_HEADER, base, base);
  const std::string link = fmt::format("{} -shared {}.o -o {}.so", NNLC_SIM_COMPILER, base, base);
  if (std::system((compile + " 2>" + base + ".log").c_str()) != 0 ||
      std::system((link + " 2>>" + base + ".log").c_str()) != 0) {
    std::ifstream log(base + ".log");
    throw DeviceError("the host's compiler refuses the printed source:\n" +
                      std::string(std::istreambuf_iterator<char>(log), {}) + source);
  }
  return base + ".so";
}

std::shared_ptr<codegen::cuda::Module> load_on_host(const std::string& library) {
  void* handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle) throw DeviceError(dlerror());
  auto* map = static_cast<link_map*>(handle);
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* wanted) {
        if (info->dlpi_addr != static_cast<link_map*>(wanted)->l_addr) return 0;
        for (int i = 0; i < info->dlpi_phnum; ++i)
          if (info->dlpi_phdr[i].p_type == PT_LOAD) {
            const uintptr_t lo = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
            machine().images.emplace_back(lo, lo + info->dlpi_phdr[i].p_memsz);
          }
        return 1;
      },
      map);
  return std::make_shared<SimModule>(handle);
}

int count_arguments(void* function) { return SimModule::kernel(function).arguments; }

std::shared_ptr<Simulator> make_simulator() { return std::make_shared<SimDevice>(); }

// ---- what kernels call: the loaded files find these in the executable
#pragma GCC visibility push(default)
extern "C" {
Uint3 nnl_sim_thread() { return machine().running->index; }
Uint3 nnl_sim_block() { return machine().block; }
unsigned char* nnl_sim_shared() { return machine().shared.begin; }
unsigned nnl_sim_lane() { return machine().running->index.x % kWarp; }
int nnl_sim_barrier(int value) {
  Lane* lane = machine().running;
  lane->state = State::barrier;
  lane->barrier_value = value;
  machine().leave();
  return lane->barrier_result;
}
uint64_t nnl_sim_shuffle(unsigned mask, uint64_t bits, unsigned from) {
  Lane* lane = machine().running;
  lane->state = State::shuffle;
  lane->mask = mask, lane->bits = bits, lane->from = from;
  machine().leave();
  return lane->bits;
}

// ---- the instrumentation of -fsanitize=thread
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
#define NNL_SIM_ACCESS(n)                                                   \
  void __tsan_read##n(void* p) { machine().access(p, n, false); }           \
  void __tsan_write##n(void* p) { machine().access(p, n, true); }           \
  void __tsan_unaligned_read##n(void* p) { machine().access(p, n, false); } \
  void __tsan_unaligned_write##n(void* p) { machine().access(p, n, true); }
NNL_SIM_ACCESS(1)
NNL_SIM_ACCESS(2)
NNL_SIM_ACCESS(4)
NNL_SIM_ACCESS(8)
NNL_SIM_ACCESS(16)
void __tsan_read_range(void* p, size_t n) { machine().access(p, static_cast<int64_t>(n), false); }
void __tsan_write_range(void* p, size_t n) { machine().access(p, static_cast<int64_t>(n), true); }
}
#pragma GCC visibility pop

}  // namespace nnlc::sim
