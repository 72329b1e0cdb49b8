// One thread or all of them? Results don't depend on it, so a step chooses run by run. Which is faster can't be known
// beforehand: on a machine that others load, a team waits for whichever of its threads has no CPU, and a step of a few
// microseconds then takes milliseconds.
#pragma once

namespace nnl {

/// Learns from how long the runs took: the way that was faster is kept, and the other one tried again now and then.
class ThreadChoice {
 public:
  /// Whether the next run should be on the caller's thread alone.
  bool alone() const { return probing_ != alone_; }
  /// How long the run took that alone() was asked for.
  void took(double nanoseconds);

 private:
  void decide();

  bool alone_ = false;            ///< the way that is kept
  bool probing_ = false;          ///< the other way is being tried
  int skip_ = 2;                  ///< runs that don't count: caches are cold, threads asleep
  int runs_ = 0;                  ///< counted ones since the last change or trial
  int pause_ = 8;                 ///< runs until the next trial
  double usual_ = 0;              ///< running mean of the way that is kept
  double sum_ = 0, largest_ = 0;  ///< of the trial
};

}  // namespace nnl
