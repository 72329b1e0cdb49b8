#include <doctest/doctest.h>

#include "compiler/ops/build.h"
#include "compiler/ops/evaluate.h"
#include "compiler/passes/passes.h"

using namespace nnlc;
using namespace nnlc::graph;

namespace {
const TensorType kVector{DType::f64, {3}};

RefTensor vector(std::vector<double> values) {
  RefTensor t = make_ref({DType::f64, {static_cast<int64_t>(values.size())}});
  t.f = std::move(values);
  return t;
}
}  // namespace

TEST_CASE("what the loss doesn't reach has no gradient") {
  Graph g;
  Node *x = g.add_input(kVector, "x", {}), *y = g.add_input(kVector, "y", {}), *z = g.add_input(kVector, "z", {});
  Node* loss = reduce(g, "sum", binary(g, "mul", x, stop_gradient(g, y)), {0});
  Diagnostics diags;
  auto d = passes::differentiate(g, loss, {x, y, z}, diags);
  CHECK(d[0]);
  CHECK(!d[1]);
  CHECK(!d[2]);
  CHECK(!diags.has_errors());
}

TEST_CASE("a loss that is an index is an error that names the op") {
  Graph g;
  Node* x = g.add_input({DType::f32, {2, 3}}, "x", {});
  Node* loss = reduce(g, "sum", cast(g, arg_reduce(g, "argmax", x, 1), DType::f32), {0});
  Diagnostics diags;
  auto d = passes::differentiate(g, loss, {x}, diags);
  CHECK(!d[0]);
  REQUIRE(diags.all().size() == 1);
  CHECK(diags.all()[0].message == "no gradient flows through `argmax`: its result is an index");
}

TEST_CASE("gradients where functions have corners are PyTorch's") {
  Graph g;
  Node *x = g.add_input(kVector, "x", {}), *y = g.add_input(kVector, "y", {});
  auto total = [&](Node* n) { return reduce(g, "sum", n, {0}); };
  std::vector<Node*> losses = {reduce(g, "max", x, {0}),  reduce(g, "prod", x, {0}),     total(binary(g, "max", x, y)),
                               total(unary(g, "abs", x)), total(binary(g, "pow", x, y)), total(unary(g, "floor", x))};
  Diagnostics diags;
  for (Node* loss : losses) {
    Node* d = passes::differentiate(g, loss, {x}, diags)[0];
    REQUIRE(d);
    g.outputs.push_back({d, nullptr});
  }
  auto at = [&](std::vector<double> xs, std::vector<double> ys) { return evaluate(g, {vector(xs), vector(ys)}); };
  auto r = at({2, 0, 2}, {0, 0, 3});
  CHECK(r[0].f == std::vector<double>{0.5, 0, 0.5});
  CHECK(r[1].f == std::vector<double>{0, 4, 0});
  CHECK(r[2].f == std::vector<double>{1, 0.5, 0});
  CHECK(r[3].f == std::vector<double>{1, 0, 1});
  CHECK(r[4].f == std::vector<double>{0, 0, 12});
  CHECK(r[5].f == std::vector<double>{0, 0, 0});
  CHECK(at({0, 0, 5}, {1, 1, 1})[1].f == std::vector<double>{0, 0, 0});
}

TEST_CASE("a step with shapes that aren't known yet is differentiated and then given sizes") {
  Graph g;
  Dim n = Dim::symbol("N");
  Node *x = g.add_input({DType::f32, {n, 4}}, "x", {}), *w = g.add_input({DType::f32, {3, 4}}, "w", {}),
       *b = g.add_input({DType::f32, {3}}, "b", {});
  Node* y = unary(g, "tanh", binary(g, "add", contract(g, x, w, "nk", "mk", "nm"), broadcast_to(g, b, {n, 3})));
  Node* loss = reduce(g, "sum", y, {0, 1});
  Diagnostics diags;
  auto d = passes::differentiate(g, loss, {w, b}, diags);
  g.outputs = {{loss, nullptr}, {binary(g, "sub", w, d[0]), w}, {d[1], nullptr}};
  CHECK(verify(g) == "");
  Graph sized = g.clone({{"N", Dim(5)}});
  CHECK(verify(sized) == "");
  CHECK(sized.inputs[0]->type.str() == "f32[5, 4]");
  CHECK(sized.outputs[1].updates == sized.inputs[1]);
  CHECK(is_constant(sized.outputs[0].value->type.shape));
}
