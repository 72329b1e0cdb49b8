#include "runtime/team.h"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <thread>
#include <vector>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace nnl {

namespace {

void relax() {
#if defined(__x86_64__)
  _mm_pause();
#else
  std::this_thread::yield();
#endif
}

std::vector<int> allowed_cpus() {
  std::vector<int> cpus;
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0)
    for (int c = 0; c < CPU_SETSIZE; c++)
      if (CPU_ISSET(c, &set)) cpus.push_back(c);
  return cpus;
}

void pin_self(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  pthread_setaffinity_np(pthread_self(), sizeof set, &set);  // a refusal costs speed only
}

// Other threads of this machine may need the CPU, the one that is waited for among them: after this long a waiting
// thread lets them have it.
constexpr auto kSelfish = std::chrono::microseconds(20);

// Spins until `ready`, for at most `spin`; the clock is read once in a while only. False: the time is over.
template <class Ready>
bool spin_until(std::chrono::microseconds spin, Ready ready) {
  if (ready()) return true;
  if (spin.count() <= 0) return false;
  const auto begin = std::chrono::steady_clock::now();
  for (;;) {
    for (int i = 0; i < 64; i++) {
      if (ready()) return true;
      relax();
    }
    const auto waited = std::chrono::steady_clock::now() - begin;
    if (waited >= spin) return false;
    if (waited > kSelfish) std::this_thread::yield();
  }
}

}  // namespace

int usable_cpus() {
  int n = static_cast<int>(allowed_cpus().size());
  if (n == 0) n = std::max(1u, std::thread::hardware_concurrency());
  // cgroup v2 gives "quota period" or "max period"; a container limited to 1.5 CPUs gets 2 threads.
  if (FILE* f = std::fopen("/sys/fs/cgroup/cpu.max", "r")) {
    double quota = 0, period = 0;
    if (std::fscanf(f, "%lf %lf", &quota, &period) == 2 && quota > 0 && period > 0)
      n = std::min(n, std::max(1, static_cast<int>(std::ceil(quota / period))));
    std::fclose(f);
  }
  return n;
}

// A word that threads wait on until it changes: spinning first, then asleep. Waking goes through the mutex only when
// somebody sleeps. (std::atomic::wait would do, but ThreadSanitizer doesn't see the futex behind it.)
class Gate {
 public:
  uint32_t value() const { return word_.load(std::memory_order_acquire); }
  void advance() {
    word_.fetch_add(1, std::memory_order_seq_cst);
    if (sleepers_.load(std::memory_order_seq_cst) == 0) return;
    { std::lock_guard lock(mutex_); }  // a thread between its check and its sleep holds it
    wake_.notify_all();
  }
  void wait_past(uint32_t seen, std::chrono::microseconds spin) {
    if (spin_until(spin, [&] { return value() != seen; })) return;
    std::unique_lock lock(mutex_);
    sleepers_.fetch_add(1, std::memory_order_seq_cst);
    wake_.wait(lock, [&] { return word_.load(std::memory_order_seq_cst) != seen; });
    sleepers_.fetch_sub(1, std::memory_order_relaxed);
  }

 private:
  alignas(64) std::atomic<uint32_t> word_{0};
  alignas(64) std::atomic<uint32_t> sleepers_{0};
  std::mutex mutex_;
  std::condition_variable wake_;
};

struct Team::Impl {
  struct Abi : nnl_team {
    Impl* impl;
  } abi{};
  std::vector<std::thread> workers;
  std::chrono::microseconds spin{0};
  Gate start;  // advances when a region begins
  Gate done;   // advances when the last worker has left it
  Gate meet;   // advances when all have come to a barrier
  alignas(64) std::atomic<int> missing_at_barrier{0};
  alignas(64) std::atomic<int> running{0};
  bool stop = false;  // written before start.advance()
  void (*fn)(void*, int) = nullptr;
  void* context = nullptr;

  void barrier() {
    uint32_t seen = meet.value();  // before counting down: the last one advances it
    if (missing_at_barrier.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      missing_at_barrier.store(abi.size, std::memory_order_relaxed);
      meet.advance();
    } else {
      meet.wait_past(seen, spin);
    }
  }

  void work(int thread, int cpu) {
    if (cpu >= 0) pin_self(cpu);
    for (uint32_t seen = 0;; seen++) {
      start.wait_past(seen, spin);
      if (stop) return;
      fn(context, thread);
      if (running.fetch_sub(1, std::memory_order_acq_rel) == 1) done.advance();
    }
  }
};

Team::Team(const TeamOptions& options) : impl_(std::make_unique<Impl>()) {
  std::vector<int> cpus = allowed_cpus();
  int usable = usable_cpus();
  int n = options.threads > 0 ? options.threads : usable;
  Impl& t = *impl_;
  t.abi.size = n;
  t.abi.impl = &t;
  t.abi.barrier = [](nnl_team* team) { static_cast<Impl::Abi*>(team)->impl->barrier(); };
  t.missing_at_barrier.store(n);
  // With fewer CPUs than threads a spinning thread holds up the one it waits for.
  t.spin = std::chrono::microseconds(options.spin_us >= 0 ? options.spin_us : n > usable ? 0 : 200);
  bool pin = options.pin && n > 1 && static_cast<int>(cpus.size()) >= n;
  for (int i = 1; i < n; i++) t.workers.emplace_back([&t, i, cpu = pin ? cpus[i] : -1] { t.work(i, cpu); });
  if (pin) pin_self(cpus[0]);  // last: threads inherit the mask of their creator
}

Team::~Team() {
  if (impl_->workers.empty()) return;
  impl_->stop = true;
  impl_->start.advance();
  for (auto& w : impl_->workers) w.join();
}

int Team::size() const { return impl_->abi.size; }
nnl_team* Team::abi() { return &impl_->abi; }

void Team::run(void (*fn)(void*, int), void* context) {
  Impl& t = *impl_;
  if (t.workers.empty()) return fn(context, 0);
  t.fn = fn;
  t.context = context;
  t.running.store(t.abi.size - 1, std::memory_order_relaxed);
  uint32_t seen = t.done.value();
  t.start.advance();
  fn(context, 0);
  t.done.wait_past(seen, t.spin);
}

}  // namespace nnl
