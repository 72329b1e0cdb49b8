// What goes over the bus while a program trains: in the steady state the batch goes up, what is read comes down, and
// the step is one launch of a recording.
#include <doctest/doctest.h>

#include "tests/cuda/programs.h"

using namespace nnlc;

namespace {

/// Batches of 20 rows: x f32[20, 2], y i32[20].
constexpr int64_t kBatchBytes = 20 * 2 * 4 + 20 * 4;
/// The loss and the norm of the gradients, which are checked.
constexpr int64_t kReadBytes = 2 * 4;

std::string program(const std::string& optimizer, const std::string& more = "") {
  return R"(
layer Net() {
  hidden = Linear(2, 8)
  drop   = Dropout(0.5)
  output = Linear(8, 2)
  forward(x: [N, 2]) -> [N, 2] { x |> hidden |> relu |> drop |> output }
}
let points = moons(100, noise = 0.1)
let net    = Net()
let opt    = )" +
         optimizer + R"(
for epoch in 0..3 {
  for batch in points.batches(20, shuffle = true) {
    let loss = minimize(opt) { cross_entropy(net(batch.x), batch.y) }
    )" + more +
         R"(
  }
}
)";
}

/// Counts of each batch.
std::vector<sim::Counts> counts_of(const std::string& text, bool trace = false) {
  auto simulator = sim::make_simulator();
  codegen::cuda::CudaBackend backend(simulator, false);
  test::Run run("transfers.nnl", text);
  run.options.trace = trace;
  run.options.record_backend = [] {
    codegen::CpuOptions options;
    options.run_passes = options.use_cache = false;
    return codegen::make_cpu_backend(options);
  };
  std::vector<sim::Counts> out;
  sim::Counts before;
  run.after_batch = [&] {
    const sim::Counts now = simulator->counts();
    sim::Counts d = now;
    d.uploads -= before.uploads, d.uploaded_bytes -= before.uploaded_bytes;
    d.downloads -= before.downloads, d.downloaded_bytes -= before.downloaded_bytes;
    d.allocations -= before.allocations, d.records -= before.records, d.runs -= before.runs;
    out.push_back(d);
    before = now;
  };
  REQUIRE_MESSAGE(run.on(backend), run.wrong);
  for (auto& f : simulator->faults()) CHECK(f == "");
  REQUIRE(out.size() == 15);
  out.erase(out.begin(), out.begin() + 3);
  return out;
}

}  // namespace

TEST_CASE("the batch goes up, the loss comes down") {
  for (auto& c : counts_of(program("SGD(net, lr = 0.1, momentum = 0.9)"))) {
    CHECK(c.uploads == 2);
    CHECK(c.uploaded_bytes == kBatchBytes);
    CHECK(c.downloads == 2);
    CHECK(c.downloaded_bytes == kReadBytes);
    CHECK(c.runs == 1);
    CHECK(c.allocations == 0);
    CHECK(c.records == 0);
  }
}

TEST_CASE("rates and counters of an optimizer go up in one block") {
  for (auto& c : counts_of(program("Adam(net, lr = linear(0.1, 0.01, total = 20))", "record(loss)"))) {
    CHECK(c.uploads == 3);
    CHECK(c.uploaded_bytes <= kBatchBytes + 256);
    CHECK(c.downloads == 2);
    CHECK(c.downloaded_bytes == kReadBytes);
    CHECK(c.runs == 1);
    CHECK(c.allocations == 0);
    CHECK(c.records == 0);
  }
}

TEST_CASE("what is printed comes down, once") {
  for (auto& c :
       counts_of(program("SGD(net, lr = 0.1)", "print(net.hidden.weight)\n    print(sum(net.hidden.weight))"))) {
    CHECK(c.downloaded_bytes == kReadBytes + 2 * 8 * 4 + 4);
    CHECK(c.uploads == 2);
  }
}

TEST_CASE("records of a mapped data set are made on the host, and a batch of them goes up as any other") {
  std::string text = program("SGD(net, lr = 0.1)");
  const std::string all = "moons(100, noise = 0.1)";
  text.replace(text.find(all), all.size(), all + ".map { r -> {x: r.x * 2 + 0.1 * randn([2]), y: r.y} }");
  for (auto& c : counts_of(text)) {
    CHECK(c.uploads == 2);
    CHECK(c.uploaded_bytes == kBatchBytes);
    CHECK(c.downloaded_bytes == kReadBytes);
    CHECK(c.runs == 1);
  }
}

TEST_CASE("keeping what is needed to explain a loss that isn't finite brings one number down") {
  for (auto& c : counts_of(program("SGD(net, lr = 0.1)"), true)) {
    CHECK(c.uploads == 2);
    CHECK(c.downloaded_bytes <= kReadBytes + 4);
  }
}
