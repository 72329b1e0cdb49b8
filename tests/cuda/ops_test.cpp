// Every op of the table on its samples, in every element type that its type rule admits, on the simulator against the reference.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include "compiler/codegen/cuda/backend.h"
#include "compiler/loop/lower.h"
#include "compiler/ops/build.h"
#include "compiler/passes/passes.h"
#include "tests/cpu_backend/compare.h"
#include "tests/cuda/sim/simulator.h"

using namespace nnlc;
using namespace nnlc::graph;

namespace {

struct Case {
  std::string name;
  Graph graph;
  test::Inputs how;
};

std::vector<Case> op_cases() {
  std::vector<Case> cases;
  for (const OpDef* op : all_ops())
    for (size_t s = 0; s < op->samples.size(); ++s)
      for (DType as : {DType::f64, DType::f32, DType::bf16, DType::f16, DType::i64, DType::i32, DType::i16, DType::i8, DType::u8}) {
        const OpSample& sample = op->samples[s];
        Case c{fmt::format("{} {} {}", op->name, s, name(as)), {}, {sample.low, sample.high, sample.int_low, sample.int_high}};
        std::vector<Node*> operands;
        for (TensorType t : sample.in) {
          if (t.dtype == DType::f64 && (is_float(as) || is_int(as))) t.dtype = as;
          if (t.dtype == DType::i64 && is_int(as) && op->op_class == OpClass::elementwise) t.dtype = as;
          operands.push_back(c.graph.add_input(t, "x" + std::to_string(operands.size()), {}));
        }
        std::string error;
        Node* n = try_make(c.graph, op->name, operands, sample.attrs, {}, error);
        if (!n) continue;
        c.graph.outputs.push_back({n, nullptr});
        cases.push_back(std::move(c));
      }
  return cases;
}

std::vector<RefTensor> inputs_of(const Graph& g, const test::Inputs& how) {
  std::mt19937 r(1);
  std::vector<RefTensor> inputs;
  for (const Node* i : g.inputs) {
    inputs.push_back(test::random_tensor(i->type, how, r));
    test::Memory m = test::memory_for(i->type);
    store_ref(inputs.back(), m.get());
    inputs.back() = load_ref(i->type, m.get());
  }
  return inputs;
}

}  // namespace

TEST_CASE("each op on the simulator") {
  auto simulator = sim::make_simulator();
  codegen::cuda::CudaBackend backend(simulator);
  auto reference = codegen::make_reference_backend();
  auto cases = op_cases();
  REQUIRE(cases.size() > 100);
  // All kernels in a few compilations of the host's compiler.
  std::vector<loop::Plan> plans;
  for (auto& c : cases) {
    Graph g = c.graph.clone();
    for (int round = 0; round < 4; ++round)
      if (!(passes::simplify(g) | passes::cse(g) | passes::dce(g))) break;
    plans.push_back(loop::lower(g));
  }
  for (size_t i = 0; i < plans.size(); i += 250) {
    std::vector<const loop::Plan*> some;
    for (size_t j = i; j < std::min(plans.size(), i + 250); ++j) some.push_back(&plans[j]);
    backend.prepare(some);
  }
  for (auto& c : cases) {
    CAPTURE(c.name);
    const auto inputs = inputs_of(c.graph, c.how);
    const auto wanted = test::run(*reference, c.graph, inputs);
    std::vector<std::string> first;
    for (uint64_t seed : {0, 1, 2}) {
      simulator->shuffle(seed);
      const auto got = test::run(backend, c.graph, inputs);
      CHECK(test::difference(c.graph, got, wanted) == "");
      if (seed == 0) first = got;
      CHECK(got == first);
    }
    for (auto& f : simulator->faults()) CHECK(f == "");
    simulator->forget_faults();
  }
}
