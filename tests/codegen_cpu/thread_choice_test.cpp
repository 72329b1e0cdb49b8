// Which way of running a step is taken, for machines made up here.
#include <doctest/doctest.h>

#include "runtime/thread_choice.h"

namespace {

/// How many of `runs` were alone, on a machine where runs take `alone` and `together`.
int runs_alone(nnl::ThreadChoice& choice, int runs, double alone, double together, int outlier_every = 0) {
  int count = 0;
  for (int i = 0; i < runs; i++) {
    const bool a = choice.alone();
    count += a;
    double ns = a ? alone : together;
    if (outlier_every && i % outlier_every == 0) ns *= 100;
    choice.took(ns);
  }
  return count;
}

}  // namespace

TEST_CASE("the faster way is kept, the other one tried rarely") {
  nnl::ThreadChoice fast_team;
  CHECK(runs_alone(fast_team, 10000, 1000, 600) < 150);
  nnl::ThreadChoice slow_team;
  CHECK(runs_alone(slow_team, 10000, 1000, 3000) > 9850);
}

TEST_CASE("a machine that gets busy, and idle again") {
  nnl::ThreadChoice choice;
  runs_alone(choice, 5000, 1000, 600);
  CHECK(runs_alone(choice, 10000, 1100, 9000) > 7500);
  CHECK(runs_alone(choice, 10000, 1000, 600) < 2500);
}

TEST_CASE("single slow runs change little") {
  nnl::ThreadChoice choice;
  CHECK(runs_alone(choice, 10000, 1000, 600, 37) < 300);
}
