// Random small graphs, and their gradients, give the same numbers before and after the passes, and read back from text.
#include <doctest/doctest.h>

#include <cmath>

#include "compiler/ops/build.h"
#include "compiler/ops/evaluate.h"
#include "compiler/passes/passes.h"
#include "tests/ops/random_values.h"

using namespace nnlc;
using namespace nnlc::graph;

namespace {

/// One more node made of nodes of the pool; null if what was drawn doesn't fit.
Node* draw(Graph& g, const std::vector<Node*>& pool, test::Numbers& numbers) {
  auto pick = [&] { return pool[static_cast<size_t>(numbers.integer(0, static_cast<int64_t>(pool.size()) - 1))]; };
  Node* x = pick();
  int64_t rank = static_cast<int64_t>(x->type.rank());
  static const char* const kUnary[] = {"neg", "abs", "tanh", "sin", "exp", "floor"};
  static const char* const kBinary[] = {"add", "sub", "mul", "max", "min"};
  static const double kValues[] = {0, 1, -1, 2, 0.5};
  switch (numbers.integer(0, 12)) {
    case 0:
      return unary(g, kUnary[numbers.integer(0, 5)], x);
    case 1:
      return binary(g, kBinary[numbers.integer(0, 4)], x, constant(g, kValues[numbers.integer(0, 4)], x->type));
    case 2:
      return binary(g, "pow", binary(g, "add", binary(g, "mul", x, x), constant(g, 1, x->type)),
                    constant(g, kValues[numbers.integer(0, 4)], x->type));
    case 3: {
      Node* y = pick();
      return y->type == x->type ? select(g, binary(g, "lt", x, y), y, unary(g, "neg", x)) : nullptr;
    }
    case 4:
      return rank == 2 ? permute(g, x, {1, 0}) : nullptr;
    case 5:
      return rank >= 1 ? reduce(g, "sum", x, {numbers.integer(0, rank - 1)}) : nullptr;
    case 6:
      return rank >= 1 ? reduce(g, "max", x, {numbers.integer(0, rank - 1)}) : nullptr;
    case 7:
      return rank == 0 ? broadcast(g, x, {3}, {}) : rank == 1 ? broadcast(g, x, {2, x->type.shape[0]}, {1}) : nullptr;
    case 8:
      return rank == 2   ? reshape(g, x, {element_count(x->type.shape)})
             : rank == 1 ? reshape(g, x, {x->type.shape[0], 1})
                         : nullptr;
    case 9: {
      Node* y = pick();
      bool fits = rank == 2 && y->type.rank() == 2 && y->type.shape[0] == x->type.shape[1];
      return fits ? contract(g, x, y, "mk", "kn", "mn") : nullptr;
    }
    case 10:
      return rank == 1 ? pad(g, x, {1}, {0}, 0) : nullptr;
    case 11:
      return rank == 1 && x->type.shape[0].value() > 1 ? slice(g, x, {1}, {x->type.shape[0] - Dim(1)}, {1}) : nullptr;
    default: {
      Node* y = pick();
      return y->type == x->type ? binary(g, kBinary[numbers.integer(0, 4)], x, y) : nullptr;
    }
  }
}

bool close(double a, double b) {
  if (std::isnan(a) || std::isnan(b) || std::isinf(a) || std::isinf(b)) return std::isnan(a) ? std::isnan(b) : a == b;
  return std::fabs(a - b) <= 1e-9 * std::max(1.0, std::fabs(a));
}

}  // namespace

TEST_CASE("passes keep the values of random graphs") {
  for (uint64_t seed = 1; seed <= 150; ++seed) {
    test::Numbers numbers(seed);
    Graph g;
    std::vector<Node*> pool;
    for (const Shape& s : {Shape{}, Shape{3}, Shape{2, 3}, Shape{3, 2}})
      pool.push_back(g.add_input({DType::f64, s}, "x" + std::to_string(pool.size()), {}));
    std::vector<Node*> inputs = pool;
    for (int k = 0; k < 30; ++k)
      if (Node* n = draw(g, pool, numbers); n && element_count(n->type.shape).value() <= 64) pool.push_back(n);
    Node* loss = nullptr;
    for (size_t k = pool.size() - 5; k < pool.size(); ++k) {
      g.outputs.push_back({pool[k], nullptr});
      IntList axes;
      for (size_t a = 0; a < pool[k]->type.rank(); ++a) axes.push_back(static_cast<int64_t>(a));
      Node* total = reduce(g, "sum", unary(g, "tanh", pool[k]), axes);
      loss = loss ? binary(g, "add", loss, total) : total;
    }
    Diagnostics diags;
    for (Node* d : passes::differentiate(g, loss, inputs, diags))
      if (d) g.outputs.push_back({d, nullptr});
    REQUIRE(verify(g) == "");
    std::vector<RefTensor> values;
    OpSample range;
    for (Node* i : inputs) values.push_back(test::random_operand(i->type, range, numbers));
    std::vector<RefTensor> before = evaluate(g, values);

    std::string text = print(g);
    SourceManager sources;
    uint32_t file = sources.add("graph.ir", text);
    std::optional<Graph> again = parse(sources, file, diags);
    REQUIRE(again);
    CHECK(print(*again) == text);
    CHECK(structural_hash(*again) == structural_hash(g));

    size_t n_nodes = g.nodes().size();
    for (int round = 0; round < 8; ++round) {
      bool changed = passes::simplify(g);
      changed |= passes::cse(g);
      changed |= passes::dce(g);
      REQUIRE(verify(g) == "");
      if (!changed) break;
      CHECK(round < 7);
    }
    CHECK(g.nodes().size() < n_nodes);
    std::vector<RefTensor> after = evaluate(g, values);
    for (size_t o = 0; o < before.size(); ++o)
      for (size_t k = 0; k < before[o].f.size(); ++k)
        if (!close(before[o].f[k], after[o].f[k])) {
          MESSAGE(text);
          FAIL("seed ", seed, ", output ", o, ": ", before[o].f[k], " became ", after[o].f[k]);
        }
  }
}
