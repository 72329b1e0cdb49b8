// What a machine remembers of its run so that the last steps can be run again: its registers as they were at some
// moment not long ago, and what it has done since. It is kept while a program runs that checks its losses; when a check
// fails, the step that failed is run again from the same bits (diagnose.cpp). In the steady state it costs a few words
// for each instruction, and now and then one copy of what the steps update.
#pragma once
#include <chrono>
#include <memory>
#include <vector>

#include "compiler/exec/value.h"

namespace nnlc::exec {

struct Trace {
  /// A pass of a loop over batches: which records were read.
  struct Batch {
    const host::Instr* loop;
    std::shared_ptr<const std::vector<int64_t>> order;
    int64_t number = 0;
  };
  /// One thing that was done, in order; loops and branches leave no event, only what they ran does.
  struct Event {
    enum class Kind : uint8_t {
      instr,   ///< an instruction without blocks
      assign,  ///< register `at` got values[index]: counters of loops, results that can't be had again
      batch,   ///< batches[index] was read
    } kind;
    host::Reg at = host::kNoReg;
    size_t index = 0;
    const host::Instr* instr = nullptr;
  };

  bool on = false;
  std::vector<Value> regs;  ///< at the beginning of `events`
  std::vector<Event> events;
  std::vector<Value> values;
  std::vector<Batch> batches;
  std::chrono::steady_clock::time_point begun;
  double interval_s = 0;  ///< how long it may grow before it is begun anew

  /// With more events than this it is begun anew whatever its age.
  static constexpr size_t kMostEvents = 1 << 16;

  void forget() {
    events.clear();
    values.clear();
    batches.clear();
  }
  void did(const host::Instr& i) {
    if (on) events.push_back({Event::Kind::instr, host::kNoReg, 0, &i});
  }
  void assigned(host::Reg r, const Value& v) {
    if (!on || r == host::kNoReg) return;
    events.push_back({Event::Kind::assign, r, values.size(), nullptr});
    values.push_back(v);
  }
  void read(Batch b) {
    if (!on) return;
    events.push_back({Event::Kind::batch, host::kNoReg, batches.size(), nullptr});
    batches.push_back(std::move(b));
  }
};

}  // namespace nnlc::exec
