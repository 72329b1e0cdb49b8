// The team of threads: every thread runs every region once, barriers hold, sleeping workers wake.
#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "runtime/team.h"

using nnl::Team;
using nnl::TeamOptions;

TEST_CASE("regions and barriers") {
  for (int threads : {1, 2, 4, 7})
    for (int spin : {0, 50}) {
      CAPTURE(threads);
      CAPTURE(spin);
      Team team({.threads = threads, .pin = threads == 2, .spin_us = spin});
      REQUIRE(team.size() == threads);
      // Plain memory, so that a thread sanitizer sees a barrier that doesn't order.
      std::vector<int> slots(threads), sums(threads);
      int wrong = 0;
      for (int round = 0; round < 200; round++) {
        team.run([&](int t) {
          for (int phase = 0; phase < 3; phase++) {
            slots[t] = round * 10 + phase + t;
            if (threads > 1) team.abi()->barrier(team.abi());
            int sum = 0;
            for (int s : slots) sum += s;
            sums[t] = sum;
            if (threads > 1) team.abi()->barrier(team.abi());
          }
        });
        for (int s : sums) wrong += s != threads * (round * 10 + 2) + threads * (threads - 1) / 2;
      }
      CHECK(wrong == 0);
    }
}

TEST_CASE("workers that fell asleep wake, and many regions in a row") {
  Team team({.threads = 3, .spin_us = 20});
  std::atomic<int> count{0};
  for (int i = 0; i < 5; i++) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    team.run([&](int) { count++; });
    CHECK(count == 3 * (i + 1));
  }
  for (int i = 0; i < 2000; i++) team.run([&](int) { count++; });
  CHECK(count == 15 + 6000);
}

TEST_CASE("teams are made and destroyed, used and unused") {
  for (int i = 0; i < 20; i++) {
    Team unused({.threads = 3});
    Team used({.threads = 2});
    int value[2] = {0, 0};
    used.run([&](int t) { value[t] = t + 1; });
    CHECK(value[0] + value[1] == 3);
  }
  CHECK(nnl::usable_cpus() >= 1);
  CHECK(Team().size() == nnl::usable_cpus());
}
