// The simulator sees what it is for: faults planted into printed kernels.
#include <doctest/doctest.h>

#include <cmath>

#include "tests/cuda/cases.h"
#include "tests/cuda/sim/simulator.h"

using namespace nnlc;
using namespace nnlc::graph;
using codegen::cuda::Address;
using codegen::cuda::Call;

namespace {

/// Runs the only kernel of a graph after `change` was made to its source, on inputs of ones; gives the first output.
struct Planted {
  std::shared_ptr<sim::Simulator> simulator = sim::make_simulator();
  std::vector<float> out;

  void run(const Graph& graph, const std::function<void(std::string&)>& change, uint64_t seed = 0) {
    Graph g = graph.clone();
    loop::Plan plan = loop::lower(g);
    REQUIRE(plan.kernels.size() == 1);
    auto printed = codegen::cuda::print_kernel(plan.kernels[0], "planted");
    change(printed.text);
    auto module = simulator->compile(codegen::cuda::print_source({printed}), printed.entries);
    std::vector<Call> calls;
    std::vector<Address> args;
    for (size_t i = 0; i < plan.kernels[0].args.size(); ++i) {
      const int64_t n = plan.kernels[0].args[i].elements;
      args.push_back(simulator->allocate(n * 4));
      std::vector<float> ones(static_cast<size_t>(n), 1.0f);
      if (!plan.kernels[0].args[i].written) simulator->upload(args.back(), ones.data(), n * 4);
    }
    const Address workspace = simulator->allocate(printed.workspace_bytes);
    for (auto& e : printed.entries) {
      calls.push_back({module->function(e.name), e.blocks, e.threads, e.shared_bytes, args});
      if (e.workspace) calls.back().args.push_back(workspace);
    }
    simulator->shuffle(seed);
    simulator->forget_faults();
    simulator->record(calls)->run();
    out.resize(static_cast<size_t>(plan.kernels[0].args.back().elements));
    simulator->download(out.data(), args.back(), static_cast<int64_t>(out.size()) * 4);
    simulator->release(workspace);
    for (Address a : args) simulator->release(a);
  }
  bool saw(const std::string& what) const {
    for (auto& f : simulator->faults())
      if (f.find(what) != std::string::npos) return true;
    return false;
  }
};

void replace(std::string& text, const std::string& from, const std::string& to, int which = 0) {
  size_t at = text.find(from);
  for (int i = 0; i < which && at != std::string::npos; ++i) at = text.find(from, at + 1);
  REQUIRE(at != std::string::npos);
  text.replace(at, from.size(), to);
}

Graph column_sums(int64_t rows, int64_t columns) {
  Graph g;
  Node* x = g.add_input({DType::f32, {rows, columns}}, "x", {});
  g.outputs.push_back({reduce(g, "sum", x, {0}), nullptr});
  return g;
}
Graph row_sums(int64_t rows, int64_t columns) {
  Graph g;
  Node* x = g.add_input({DType::f32, {rows, columns}}, "x", {});
  g.outputs.push_back({reduce(g, "sum", x, {1}), nullptr});
  return g;
}
Graph largest(int64_t n) {
  Graph g;
  Node* x = g.add_input({DType::f32, {n}}, "x", {});
  g.outputs.push_back({cast(g, arg_reduce(g, "argmax", x, 0), DType::f32), nullptr});
  return g;
}
Graph product(int64_t m, int64_t n, int64_t k) {
  Graph g;
  Node* a = g.add_input({DType::f32, {m, k}}, "a", {});
  Node* b = g.add_input({DType::f32, {k, n}}, "b", {});
  g.outputs.push_back({contract(g, a, b, "mk", "kn", "mn"), nullptr});
  return g;
}

}  // namespace

TEST_CASE("printed kernels are clean as they are") {
  for (uint64_t seed : {0, 7}) {
    Planted p;
    p.run(
        column_sums(100, 33), [](std::string&) {}, seed);
    CHECK(p.simulator->faults().empty());
    for (float v : p.out) CHECK(v == 100.0f);
    p.run(
        row_sums(70, 3000), [](std::string&) {}, seed);
    CHECK(p.simulator->faults().empty());
    for (float v : p.out) CHECK(v == 3000.0f);
    p.run(
        product(40, 50, 70), [](std::string&) {}, seed);
    CHECK(p.simulator->faults().empty());
    for (float v : p.out) CHECK(v == 70.0f);
    // Several blocks share a row; the largest, whose place is asked for, is the first of equals.
    p.run(
        largest(70000), [](std::string& s) { CHECK(s.find("planted_parts") != std::string::npos); }, seed);
    CHECK(p.simulator->faults().empty());
    CHECK(p.out[0] == 0.0f);
  }
}

TEST_CASE("a missing barrier is a race") {
  Planted p;
  p.run(column_sums(100, 33), [](std::string& s) { replace(s, "__syncthreads();", ""); });
  CHECK(p.saw("race"));
  p.run(column_sums(100, 33), [](std::string& s) { replace(s, "__syncthreads();", "", 1); });
  CHECK(p.saw("race"));
  p.run(row_sums(70, 3000), [](std::string& s) { replace(s, "__syncthreads();", ""); });
  CHECK(p.saw("race"));
  p.run(product(40, 50, 70), [](std::string& s) { replace(s, "__syncthreads();", ""); });
  CHECK(p.saw("race"));
  p.run(product(40, 50, 70), [](std::string& s) { replace(s, "__syncthreads();", "", 1); });
  CHECK(p.saw("race"));
}

TEST_CASE("two blocks that write one place are a race") {
  Planted p;
  p.run(row_sums(500, 8), [](std::string& s) { replace(s, "p1[a0]", "p1[0]"); });
  CHECK(p.saw("race"));
}

TEST_CASE("a place outside its buffer is an overrun") {
  Planted p;
  p.run(row_sums(70, 3000), [](std::string& s) { replace(s, "e < 3000", "e < 3001"); });
  CHECK(p.saw("overrun"));
  p.run(product(40, 50, 70), [](std::string& s) { replace(s, "m < 40", "m < 41"); });
  CHECK(p.saw("overrun"));
}

TEST_CASE("a barrier that some threads pass by is a deadlock") {
  Planted p;
  p.run(row_sums(70, 3000), [](std::string& s) { replace(s, "__syncthreads();", "if (tid < 40) __syncthreads();"); });
  CHECK((p.saw("deadlock") || p.saw("race")));
  p.run(row_sums(70, 3000), [](std::string& s) { replace(s, "= __shfl_xor_sync", "= tid < 4 ? 0 : __shfl_xor_sync"); });
  CHECK(p.saw("deadlock"));
}

TEST_CASE("memory that nobody wrote is NaN") {
  Planted p;
  p.run(product(40, 50, 70), [](std::string& s) { replace(s, "? p0[", "? NNL_INFINITY * 0 * p0["); });
  CHECK(std::isnan(p.out[0]));
  p.run(column_sums(100, 33), [](std::string& s) { replace(s, "s[tid] = best0;", "if (tid) s[tid] = best0;"); });
  CHECK(std::isnan(p.out[0]));
}
