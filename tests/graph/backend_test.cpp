// The reference backend through the interface that all backends have.
#include <doctest/doctest.h>

#include "compiler/codegen/backend.h"
#include "compiler/ops/build.h"

using namespace nnlc;
using namespace nnlc::graph;

TEST_CASE("an output that updates an input is stored after everything is computed") {
  Graph g;
  Node *w = g.add_input({DType::f32, {2}}, "w", {}), *h = g.add_input({DType::f16, {2}}, "h", {});
  Node* next = binary(g, "mul", w, constant(g, 2, w->type));
  g.outputs = {{next, w}, {reduce(g, "sum", w, {0}), nullptr}, {binary(g, "add", h, h), nullptr}};
  auto step = codegen::make_reference_backend()->compile(std::move(g));
  float weights[2] = {1, 3}, sum = 0;
  uint16_t half[2] = {0x3c00, 0x7bff}, doubled[2];  // 1, and the largest finite number
  void* buffers[] = {weights, half, weights, &sum, doubled};
  step->run(buffers);
  CHECK(weights[0] == 2);
  CHECK(weights[1] == 6);
  CHECK(sum == 4);
  CHECK(doubled[0] == 0x4000);
  CHECK(doubled[1] == 0x7c00);  // infinity
  step->run(buffers);
  CHECK(weights[1] == 12);
}
