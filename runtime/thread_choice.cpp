#include "runtime/thread_choice.h"

#include <algorithm>

namespace nnl {

namespace {

constexpr int kTrial = 5;                       ///< runs that are timed when the other way is tried
constexpr int kShortest = 32, kLongest = 2048;  ///< runs between trials: ever more while nothing changes
constexpr double kWeight = 1.0 / 16;            ///< of the newest run in the running mean
constexpr double kOutlier = 4;                  ///< a run that lost its CPU counts as at most this many usual ones
constexpr double kGain = 0.95;                  ///< a change must promise this much, or noise would decide

}  // namespace

void ThreadChoice::took(double ns) {
  if (skip_ > 0) {
    skip_--;
    return;
  }
  runs_++;
  if (probing_) {
    sum_ += ns;
    largest_ = std::max(largest_, ns);
    if (runs_ == kTrial) decide();
    return;
  }
  usual_ = usual_ == 0 ? ns : usual_ + kWeight * (std::min(ns, kOutlier * usual_) - usual_);
  if (runs_ < pause_) return;
  probing_ = true;
  skip_ = 1;
  runs_ = 0;
  sum_ = largest_ = 0;
}

void ThreadChoice::decide() {
  const double other = (sum_ - largest_) / (kTrial - 1);
  probing_ = false;
  runs_ = 0;
  skip_ = 1;
  if (other < kGain * usual_) {
    alone_ = !alone_;
    usual_ = other;
    pause_ = kShortest;
  } else {
    pause_ = std::clamp(2 * pause_, kShortest, kLongest);
  }
}

}  // namespace nnl
