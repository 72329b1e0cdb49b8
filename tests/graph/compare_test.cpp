// Where two graphs differ: the nodes that cause it, not those that only read them.
#include <doctest/doctest.h>

#include "compiler/graph/compare.h"
#include "compiler/graph/cost.h"
#include "compiler/ops/build.h"

namespace nnlc::graph {
namespace {

Graph network(const char* activation) {
  Graph g;
  Node* x = g.add_input({DType::f32, {Dim::symbol("N"), 4}}, "x", {});
  Node* w = g.add_input({DType::f32, {3, 4}}, "w", {});
  Node* h = contract(g, x, w, "mk", "nk", "mn");
  g.outputs.push_back({unary(g, "neg", unary(g, activation, h)), nullptr});
  return g;
}

TEST_CASE("equal graphs have no difference") {
  const Graph a = network("tanh"), b = network("tanh");
  const Difference d = compare(a, b);
  CHECK(d.only_a.empty());
  CHECK(d.only_b.empty());
}

TEST_CASE("one op differs: it is named, and what reads it is not") {
  const Graph a = network("tanh"), b = network("exp");
  const Difference d = compare(a, b);
  REQUIRE(d.only_a.size() == 1);
  REQUIRE(d.only_b.size() == 1);
  CHECK(d.only_a[0]->op->name == "tanh");
  CHECK(d.only_b[0]->op->name == "exp");
}

TEST_CASE("flops count every multiplication of a contraction with its addition") {
  // 2 * N * 3 * 4 for the product, N * 3 for each of the two elementwise ops.
  CHECK(flops(network("tanh")) == Dim::symbol("N") * 30);
}

TEST_CASE("a copy knows where its nodes come from") {
  Graph g = network("tanh");
  g.mark = [](Node& n) { n.site = {1, 2, 3}; };
  g.outputs[0].value = unary(g, "abs", g.outputs[0].value);
  const Graph copy = g.clone();
  CHECK(copy.outputs[0].value->site == Span{1, 2, 3});
  CHECK(copy.inputs[0]->site == Span{});
}

}  // namespace
}  // namespace nnlc::graph
