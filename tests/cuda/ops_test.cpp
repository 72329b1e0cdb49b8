// Every op of the table on its samples, on the simulator against the reference: in order and shuffled, all with the
// same bits.
#include <doctest/doctest.h>

#include "tests/cuda/cases.h"
#include "tests/cuda/sim/simulator.h"

using namespace nnlc;

TEST_CASE("each op on the simulator") {
  auto simulator = sim::make_simulator();
  codegen::cuda::CudaBackend backend(simulator);
  auto reference = codegen::make_reference_backend();
  auto cases = test::op_cases();
  REQUIRE(cases.size() > 100);
  // All kernels in a few compilations of the host's compiler.
  const auto plans = test::plans_of(cases);
  for (size_t i = 0; i < plans.size(); i += 250) {
    std::vector<const loop::Plan*> some;
    for (size_t j = i; j < std::min(plans.size(), i + 250); ++j) some.push_back(&plans[j]);
    backend.prepare(some);
  }
  for (auto& c : cases) {
    CAPTURE(c.name);
    const auto inputs = test::inputs_of(c.graph, c.how);
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
