// The samples of the op table in every element type that they admit.
#pragma once
#include <fmt/format.h>

#include <set>

#include "compiler/codegen/cuda/backend.h"
#include "compiler/loop/lower.h"
#include "compiler/ops/build.h"
#include "compiler/passes/passes.h"
#include "tests/cpu_backend/compare.h"

namespace nnlc::test {

using namespace graph;

struct Case {
  std::string name;
  Graph graph;
  test::Inputs how;
};

std::vector<Case> op_cases();
std::vector<loop::Plan> plans_of(const std::vector<Case>& cases);
std::vector<RefTensor> inputs_of(const Graph& g, const Inputs& how);

}  // namespace nnlc::test
