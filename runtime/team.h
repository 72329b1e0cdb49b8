// The threads that run compiled steps: a fixed set, the caller being thread 0. Workers spin for a while between
// regions, then sleep.
#pragma once
#include <memory>
#include <type_traits>

#include "runtime/abi.h"

namespace nnl {

struct TeamOptions {
  int threads = 0;   ///< 0: as many as the process may use (affinity mask and cgroup quota)
  bool pin = false;  ///< each thread to a CPU of its own; ignored when there are fewer CPUs than threads
  int spin_us = -1;  ///< how long an idle worker spins before it sleeps; -1: 200, or 0 with fewer CPUs than threads
};

/// How many CPUs this process may use: its affinity mask, cut to the cgroup's quota, at least 1.
int usable_cpus();

class Team {
 public:
  explicit Team(const TeamOptions& options = {});
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  int size() const;
  /// What compiled code gets; its barrier is valid within run() only.
  nnl_team* abi();
  /// fn(context, thread) on every thread, 0 on the caller's; returns when all are done. Everything written before is
  /// seen by all, everything they wrote is seen after. Not reentrant; an exception mustn't leave fn.
  void run(void (*fn)(void* context, int thread), void* context);
  template <class F>
  void run(F&& f) {
    run([](void* context, int thread) { (*static_cast<std::remove_reference_t<F>*>(context))(thread); }, &f);
  }

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace nnl
