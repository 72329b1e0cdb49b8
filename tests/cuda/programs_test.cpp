// Whole programs on the simulator: the standard library against the reference, the examples against the CPU.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "tests/cuda/programs.h"

using namespace nnlc;

namespace {

void no_faults(sim::Simulator& simulator) {
  for (auto& f : simulator.faults()) CHECK(f == "");
}

/// Runs the `test` blocks of a file, each of their steps also on the reference.
void compare_with_reference(const std::string& path, size_t at_least) {
  auto simulator = sim::make_simulator();
  codegen::cuda::CudaBackend backend(simulator, false);
  auto reference = codegen::make_reference_backend();
  test::Comparing both(backend, *reference);
  test::Run run(path, test::text_of(path));
  auto compile_together = [&](const std::vector<loop::Plan>& plans) {
    std::vector<const loop::Plan*> pointers;
    for (auto& p : plans) pointers.push_back(&p);
    backend.prepare(pointers);
  };
  CHECK_MESSAGE(run.tests_on(both, compile_together), run.wrong);
  CHECK(run.tests >= at_least);
  CHECK(both.compared > 0);
  CHECK(both.worst_f32 <= 1e-5);
  CHECK(both.worst_f64 <= 1e-12);
  CHECK(both.different == "");
  MESSAGE(path, ": ", run.tests, " blocks, ", both.compared, " elements, f32 differs by ", both.worst_f32,
          " at most, f64 by ", both.worst_f64);
  no_faults(*simulator);
}

struct Example {
  std::string name;
  std::map<std::string, std::string> configs = {};
  /// Batches are made smaller where a program doesn't ask for their size.
  std::string from = {}, to = {};
};

std::vector<double> first_losses(const Example& e, codegen::Backend& backend, size_t n) {
  std::string text = test::text_of("examples/" + e.name);
  REQUIRE(!text.empty());
  if (!e.from.empty()) {
    const size_t at = text.find(e.from);
    REQUIRE(at != std::string::npos);
    text.replace(at, e.from.size(), e.to);
  }
  test::Run run(e.name, text, e.configs);
  std::vector<double> losses;
  run.after_batch = [&] {
    losses.push_back(run.loss());
    if (losses.size() == n) run.stop();
  };
  REQUIRE_MESSAGE(run.on(backend), run.wrong);
  return losses;
}

void first_ten_losses_agree(const Example& e) {
  CAPTURE(e.name);
  auto simulator = sim::make_simulator();
  codegen::cuda::CudaBackend cuda(simulator, false);
  codegen::CpuOptions options;
  options.run_passes = options.use_cache = false;
  options.threads = 1;
  auto cpu = codegen::make_cpu_backend(options);
  const auto wanted = first_losses(e, *cpu, 10), got = first_losses(e, cuda, 10);
  REQUIRE(wanted.size() == 10);
  REQUIRE(got.size() == 10);
  double worst = 0;
  for (size_t i = 0; i < 10; ++i) worst = std::max(worst, std::fabs(got[i] - wanted[i]) / std::fabs(wanted[i]));
  CHECK(worst <= 1e-4);
  MESSAGE(e.name, ": losses ", wanted.front(), " to ", wanted.back(), ", differ by ", worst, " at most");
  no_faults(*simulator);
}

}  // namespace

TEST_CASE("activations") { compare_with_reference("tests/torch/activations.nnl", 30); }
TEST_CASE("layers") {
  compare_with_reference("tests/torch/layers.nnl", 5);
  compare_with_reference("tests/cuda/layers.nnl", 5);
}
TEST_CASE("sequences") { compare_with_reference("tests/torch/sequences.nnl", 5); }
TEST_CASE("losses") { compare_with_reference("tests/torch/losses.nnl", 50); }
TEST_CASE("optimizers") { compare_with_reference("tests/torch/optimizers.nnl", 30); }

TEST_CASE("masks of dropout are those of the CPU, bit for bit") {
  const std::string text = R"(
layer Net() {
  drop = Dropout(0.3)
  forward(x) { drop(x) }
}
let net = Net()
let a = net(ones([37, 41]))
let b = net(ones([37, 41]))
let c = dropout(ones([5, 3, 129]), 0.9)
let draws = rand([1001])
print(a, b, c, draws)
)";
  auto simulator = sim::make_simulator();
  codegen::cuda::CudaBackend cuda(simulator, false);
  auto cpu = codegen::make_cpu_backend({});
  test::Comparing both(cuda, *cpu);
  test::Run run("masks.nnl", text);
  REQUIRE_MESSAGE(run.on(both), run.wrong);
  CHECK(both.compared >= 2 * 37 * 41 + 5 * 3 * 129 + 1001);
  CHECK(both.worst_f32 == 0);
  CHECK(both.different == "");
  no_faults(*simulator);
}

TEST_CASE("a run gives the same bits in whatever order blocks, warps and lanes run") {
  const std::string text = R"(
layer Net() {
  table = Embedding(7, 5)
  norm  = LayerNorm(5)
  last  = Linear(5, 3)
  forward(x: class(7)[N]) -> [N, 3] { table(x) |> norm |> last }
}
let net = Net()
let opt = Adam(net, lr = 0.05)
let x   = cast(tensor([3, 1, 4, 1, 5, 3, 2, 6, 5, 3, 5, 1, 1, 1, 3, 3, 3]), class(7))
let y   = cast(tensor([2, 0, 1, 1, 0, 2, 2, 0, 1, 1, 0, 2, 2, 0, 1, 0, 2]), class(3))
for _ in 0..4 {
  let loss = minimize(opt) { cross_entropy(net(x), y) }
  print("{loss:.9g}")
}
print("{sum(net.table.weight ** 3):.9g}")
)";
  std::string first;
  for (uint64_t seed : {0, 1, 2}) {
    auto simulator = sim::make_simulator();
    simulator->shuffle(seed);
    codegen::cuda::CudaBackend cuda(simulator, false);
    test::Run run("order.nnl", text);
    REQUIRE_MESSAGE(run.on(cuda), run.wrong);
    no_faults(*simulator);
    if (seed == 0) first = run.printed;
    CHECK(run.printed == first);
  }
  CHECK(first.size() > 40);
}

TEST_CASE("no example is left out") {
  const std::string here = test::text_of("tests/cuda/programs_test.cpp");
  for (auto& file : std::filesystem::directory_iterator(std::string(NNLC_REPOSITORY) + "/examples"))
    if (const std::string name = file.path().filename().string(); name.ends_with(".nnl"))
      CHECK_MESSAGE(here.find("{\"" + name + "\"") != std::string::npos, name);
}

TEST_CASE("the first ten losses of moons") { first_ten_losses_agree({"moons.nnl"}); }
TEST_CASE("the first ten losses of digits") { first_ten_losses_agree({"digits.nnl", {{"batch_size", "4"}}}); }
TEST_CASE("the first ten losses of the examples with MNIST") {
  if (!test::has_data("mnist")) return;
  first_ten_losses_agree({"mnist.nnl", {{"batch_size", "3"}}});
  first_ten_losses_agree({"mnist_intro.nnl", {}, "batches(64,", "batches(4,"});
  first_ten_losses_agree({"mnist_dropout.nnl", {}, "train.batches(20)", "train.batches(2)"});
}
TEST_CASE("the first ten losses of the convolutional examples") {
  if (!test::has_data("mnist")) return;
  first_ten_losses_agree({"mnist_convnet.nnl", {}, "train.batches(128,", "train.batches(1,"});
  first_ten_losses_agree({"mnist_adadelta.nnl", {}, "train.batches(64, shuffle", "train.batches(1, shuffle"});
  first_ten_losses_agree({"mnist_autoencoder.nnl", {{"kind", "linear"}}, "train.batches(20,", "train.batches(1,"});
  first_ten_losses_agree({"mnist_autoencoder.nnl", {{"kind", "conv"}}, "train.batches(20,", "train.batches(1,"});
}
TEST_CASE("convolutions") { compare_with_reference("tests/torch/convolutions.nnl", 45); }
TEST_CASE("the first ten losses of the examples with Shakespeare") {
  if (!test::has_data("tinyshakespeare")) return;
  first_ten_losses_agree(
      {"shakespeare_gpt.nnl", {{"context", "9"}, {"layers", "2"}, {"heads", "2"}, {"dim", "24"}, {"batch_size", "3"}}});
  first_ten_losses_agree({"shakespeare_lstm.nnl", {{"length", "7"}, {"hidden", "20"}, {"batch_size", "3"}}});
}
TEST_CASE("the first ten losses of the scan of MNIST's rows") {
  if (!test::has_data("mnist")) return;
  first_ten_losses_agree({"mnist_rows.nnl", {{"batch_size", "2"}, {"hidden", "5"}}});
}
TEST_CASE("the first ten losses of the examples with names") {
  if (!test::has_data("names")) return;
  first_ten_losses_agree({"names_mlp.nnl"});
  first_ten_losses_agree({"names_wavenet.nnl", {}, "train.batches(32,", "train.batches(6,"});
  // All names are one batch: here the first few hundred.
  const auto folder = std::filesystem::temp_directory_path() / fmt::format("nnlc-names-{}", getpid());
  std::filesystem::create_directories(folder);
  std::ifstream all(std::filesystem::path(std::getenv("NNL_DATA")) / "names/names.txt");
  std::ofstream few(folder / "names.txt");
  std::string line;
  for (int i = 0; i < 300 && std::getline(all, line); ++i) few << line << '\n';
  few.close();
  first_ten_losses_agree({"names_bigram.nnl", {{"path", (folder / "names.txt").string()}}});
  std::filesystem::remove_all(folder);
}
