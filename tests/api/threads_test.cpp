// Several programs in one process and on several threads.
#include <doctest/doctest.h>

#include <nnlc.hpp>
#include <thread>

#include "programs.h"

using namespace nnlc;

namespace {

/// Reads, makes, calls and trains, all of it on the calling thread; gives the last loss.
double whole_life(int hidden, int threads) {
  CompileOptions options;
  options.threads = threads;
  Program p = Program::from_text(programs::kNet, "net.nnl", options);
  Model m = p.instantiate("Net", {{"hidden", hidden}});
  TrainerOptions o;
  o.loss = "cross_entropy";
  Trainer t = m.trainer(o);
  std::vector<float> x = programs::numbers(8 * 4);
  std::vector<int64_t> y = programs::labels(8);
  double loss = 0;
  for (int64_t n : {8, 8, 3, 8})
    loss = t.step({Tensor::over(x.data(), DType::f32, {n, 4}), Tensor::over(y.data(), DType::i64, {n})});
  m.call({Tensor::over(x.data(), DType::f32, {8, 4})});
  // What is wrong on one thread says nothing on another.
  try {
    m.call({Tensor::over(x.data(), DType::f32, {4, 8})});
  } catch (const Error& e) {
    if (e.diagnostics().size() != 1) return -1;
  }
  return loss;
}

}  // namespace

TEST_CASE("programs on several threads don't know of one another") {
  constexpr int kThreads = 4;
  double expected[kThreads], got[kThreads] = {};
  for (int i = 0; i < kThreads; ++i) expected[i] = whole_life(3 + i, 1);
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) threads.emplace_back([&, i] { got[i] = whole_life(3 + i, 1 + i % 2); });
  for (auto& t : threads) t.join();
  for (int i = 0; i < kThreads; ++i) CHECK(got[i] == expected[i]);
}

TEST_CASE("one model is called from several threads, one after the other") {
  Program p = Program::from_text(programs::kNet);
  Model m = p.instantiate("Net");
  std::vector<float> x = programs::numbers(8 * 4);
  const Tensor all = m.call({Tensor::over(x.data(), DType::f32, {8, 4})})[0];
  std::vector<std::thread> threads;
  std::vector<int> good(3, 0);
  for (int k = 0; k < 3; ++k)
    threads.emplace_back([&, k] {
      std::vector<float> mine = x;
      for (int i = 0; i < 20; ++i) {
        const int64_t rows = 1 + (i + k) % 8;
        const Tensor y = m.call({Tensor::over(mine.data(), DType::f32, {rows, 4})})[0];
        bool same = true;
        for (int64_t e = 0; e < rows * 3; ++e)
          same &= std::abs(y.as<float>()[e] - all.as<float>()[e]) <= 1e-6f * (1 + std::abs(all.as<float>()[e]));
        good[static_cast<size_t>(k)] += same;
      }
    });
  for (auto& t : threads) t.join();
  for (int g : good) CHECK(g == 20);
}

TEST_CASE("a run is cancelled from another thread") {
  Program p = Program::from_text("var n = 0\nwhile n >= 0 { n = n + 1 }\nprint(n)\n");
  RunOptions run;
  run.cancel.emplace();
  CancelToken token = *run.cancel;
  std::thread other([token]() mutable {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    token.cancel();
  });
  Status status = Status::ok;
  try {
    p.run(run);
  } catch (const Error& e) {
    status = e.status();
  }
  other.join();
  CHECK(status == Status::cancelled);
}
