// Sums of many equal terms: one product, one sum, one concatenation in their place, and the same numbers.
#include <doctest/doctest.h>

#include <algorithm>

#include "compiler/graph/compare.h"
#include "compiler/ops/build.h"
#include "compiler/ops/evaluate.h"
#include "compiler/passes/passes.h"

using namespace nnlc;
using namespace nnlc::graph;

namespace {

constexpr int kTerms = 7;

int count(const Graph& g, std::string_view op) {
  return static_cast<int>(
      std::count_if(g.nodes().begin(), g.nodes().end(), [&](auto* n) { return n->op->name == op; }));
}

RefTensor numbers(const TensorType& type, int from) {
  RefTensor t = make_ref(type);
  for (size_t i = 0; i < t.f.size(); ++i)
    t.f[i] = 0.25 * static_cast<double>((i * 7 + static_cast<size_t>(from) * 5) % 11) - 1;
  return t;
}

/// Values before and after the pass; it has to change the graph.
void check_merged(Graph& g) {
  std::vector<RefTensor> in;
  for (size_t i = 0; i < g.inputs.size(); ++i) in.push_back(numbers(g.inputs[i]->type, static_cast<int>(i)));
  const auto before = evaluate(g, in);
  CHECK(passes::merge_sums(g));
  passes::settle(g);
  CHECK(verify(g).empty());
  const auto after = evaluate(g, in);
  REQUIRE(before.size() == after.size());
  for (size_t o = 0; o < before.size(); ++o)
    for (size_t i = 0; i < before[o].f.size(); ++i) CHECK(after[o].f[i] == doctest::Approx(before[o].f[i]));
  CHECK(!passes::merge_sums(g));
}

}  // namespace

TEST_CASE("products that are added up become one, with what else is added") {
  Graph g;
  Node *sum = g.add_input({DType::f64, {3, 4}}, "start", {}), *other = nullptr;
  for (int i = 0; i < kTerms; ++i) {
    Node *a = g.add_input({DType::f64, {2, 3}}, "a", {}), *b = g.add_input({DType::f64, {2, 4}}, "b", {});
    sum = binary(g, "add", sum, contract(g, a, b, "km", "kn", "mn"));
    if (i == 3) {
      other = unary(g, "exp", g.add_input({DType::f64, {3, 4}}, "c", {}));
      sum = binary(g, "add", sum, other);
    }
  }
  g.outputs.push_back({sum, nullptr});
  check_merged(g);
  CHECK(count(g, "contract") == 1);
  CHECK(count(g, "add") == 2);
}

TEST_CASE("sums over axes become one sum over one axis more") {
  Graph g;
  Node* sum = nullptr;
  for (int i = 0; i < kTerms; ++i) {
    Node* part = reduce(g, "sum", unary(g, "exp", g.add_input({DType::f64, {2, 5}}, "x", {})), {0});
    sum = sum ? binary(g, "add", sum, part) : part;
  }
  g.outputs.push_back({sum, nullptr});
  check_merged(g);
  CHECK(count(g, "reduce_sum") == 1);
}

TEST_CASE("pads side by side become a concatenation, with zeros in the gaps") {
  Graph g;
  Node* sum = nullptr;
  for (int i = kTerms - 1; i >= 0; --i) {
    if (i == 4) continue;
    Node* x = g.add_input({DType::f64, {1, 3}}, "x", {});
    Node* part = pad(g, x, {Dim(i), Dim(0)}, {Dim(kTerms - 1 - i), Dim(0)}, 0);
    sum = sum ? binary(g, "add", sum, part) : part;
  }
  g.outputs.push_back({sum, nullptr});
  check_merged(g);
  CHECK(count(g, "pad") == 0);
  CHECK(count(g, "concat") == 1);
}

TEST_CASE("pads that overlap, few terms, and terms with other readers stay") {
  Graph g;
  Node *overlap = nullptr, *few = nullptr, *shared = nullptr;
  for (int i = 0; i < kTerms; ++i) {
    Node* x = g.add_input({DType::f64, {2, 3}}, "x", {});
    Node* part = pad(g, x, {Dim(i), Dim(0)}, {Dim(kTerms - 1 - i), Dim(0)}, 0);
    overlap = overlap ? binary(g, "add", overlap, part) : part;
    Node* square = contract(g, x, x, "km", "kn", "mn");
    if (i < 3) few = few ? binary(g, "add", few, square) : square;
    Node* twice = contract(g, x, x, "mk", "nk", "mn");
    g.outputs.push_back({twice, nullptr});
    shared = shared ? binary(g, "add", shared, twice) : twice;
  }
  for (Node* n : {overlap, few, shared}) g.outputs.push_back({n, nullptr});
  CHECK(!passes::merge_sums(g));
}

TEST_CASE("a concatenation of what another one holds is a slice of it") {
  Graph g;
  std::vector<Node*> parts;
  for (int i = 0; i <= kTerms; ++i) parts.push_back(unary(g, "exp", g.add_input({DType::f64, {1, 3}}, "x", {})));
  Node* whole = concat(g, parts, 0);
  std::vector<Node*> later{g.add_input({DType::f64, {1, 3}}, "y", {})};
  later.insert(later.end(), parts.begin(), parts.end() - 1);
  g.outputs.push_back({whole, nullptr});
  g.outputs.push_back({concat(g, later, 0), nullptr});
  check_merged(g);
  CHECK(count(g, "slice") == 1);
}
