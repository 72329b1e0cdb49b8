#include <doctest/doctest.h>

#include <cmath>

#include "compiler/ops/build.h"

using namespace nnlc;
using namespace nnlc::graph;

namespace {

std::optional<Graph> read(const std::string& text, std::string* message = nullptr) {
  SourceManager sources;
  Diagnostics diags;
  uint32_t file = sources.add("graph.ir", text);
  auto g = parse(sources, file, diags);
  if (message) *message = diags.all().empty() ? "" : diags.all()[0].message;
  CHECK(g.has_value() != diags.has_errors());
  return g;
}
std::string refusal(const std::string& text) {
  std::string message;
  CHECK(!read(text, &message));
  return message;
}

}  // namespace

TEST_CASE("a graph as text, and back") {
  Graph g;
  g.name = "minimize at mnist.nnl:21";
  Dim n = Dim::symbol("N");
  Node* x = g.add_input({DType::f32, {n, Dim(2) * Dim::symbol("H") + Dim(1)}}, "x", {});
  Node* step = g.add_input({DType::i64, {}}, "", {});
  Node* twin = g.add_input({DType::f32, {}}, "x", {});
  g.add_input({DType::boolean, {Dim::floor_div(n - Dim(1), 2)}}, "blocks.0.w \"q\"", {});
  Node* draw = random(g, "uniform", 0xffffffffffffffffu, step, {DType::f32, {4}});
  Node* table = constant_array(g, {0.1, -0.0, INFINITY, 1e-40}, {DType::f64, {4}});
  Node* half = pad(g, draw, {1}, {0}, 0.5);
  g.outputs = {
      {binary(g, "add", twin, constant(g, 2, twin->type)), twin}, {half, nullptr}, {table, nullptr}, {x, nullptr}};
  std::string text = print(g);
  CHECK(text ==
        "graph @\"minimize at mnist.nnl:21\"(%x: f32[N, 2 * H + 1], %input: i64[], %x_2: f32[], "
        "%\"blocks.0.w \\\"q\\\"\": bool[(N + 1) // 2 - 1]) {\n"
        "  %0 = random(%input) {dtype = f32, key = -1, kind = \"uniform\", shape = [4]} : f32[4]\n"
        "  %1 = constant() {dtype = f64, shape = [4], values = [0.1, -0.0, inf, 1e-40]} : f64[4]\n"
        "  %2 = pad(%0) {high = [0], low = [1], value = 0.5} : f32[5]\n"
        "  %3 = constant() {dtype = f32, shape = [], values = [2.0]} : f32[]\n"
        "  %4 = add(%x_2, %3) : f32[]\n"
        "  return %4 -> %x_2, %2, %1, %x\n"
        "}\n");
  auto again = read(text);
  REQUIRE(again);
  CHECK(verify(*again) == "");
  CHECK(print(*again) == text);
  CHECK(structural_hash(*again) == structural_hash(g));
}

TEST_CASE("places are kept where their file is known") {
  SourceManager sources;
  uint32_t program = sources.add("a.nnl", "let é = x\nlet b = -x\n");
  Graph g;
  Node* x = g.add_input({DType::f32, {}}, "x", {});
  g.outputs.push_back({unary(g, "neg", x, {program, 19, 21}), nullptr});
  std::string text = print(g, &sources);
  CHECK(text.find("loc(a.nnl:2:9)") != std::string::npos);
  uint32_t file = sources.add("graph.ir", text);
  Diagnostics diags;
  auto again = parse(sources, file, diags);
  REQUIRE(again);
  CHECK(print(*again, &sources) == text);
}

TEST_CASE("a malformed text is a diagnostic") {
  CHECK(refusal("") == "expected `graph`");
  CHECK(refusal("graph @g(%x: f32[2]) {\n%0 = nag(%x) : f32[2]\nreturn %0\n}") == "there is no op `nag`");
  CHECK(refusal("graph @g(%x: f32[2]) {\n%0 = neg(%y) : f32[2]\nreturn %0\n}") == "this value isn't defined above");
  CHECK(refusal("graph @g(%x: f32[2]) {\n%0 = neg(%x) : f32[3]\nreturn %0\n}") == "`neg` gives f32[2], not f32[3]");
  CHECK(refusal("graph @g(%x: f32[2]) {\n%0 = neg(%x, %x) : f32[2]\nreturn %0\n}") == "`neg`: takes 1 operands, not 2");
  CHECK(refusal("graph @g(%x: f32[2]) {\n%0 = reduce_sum(%x) {axes = [1]} : f32[]\nreturn %0\n}") ==
        "`reduce_sum`: the axes don't fit f32[2]");
  CHECK(refusal("graph @g(%x: f32[2]) {\n%0 = reduce_sum(%x) {axis = 1} : f32[]\nreturn %0\n}") ==
        "`reduce_sum`: attribute axes is missing");
  CHECK(refusal("graph @g(%x: f32[2], %x: f32[2]) {\nreturn %x\n}") == "the name x is given twice");
  CHECK(refusal("graph @g(%x: f32[99999999999999999999]) {\nreturn %x\n}") == "expected a number");
  CHECK(refusal("graph @g(%x: f32[2]) {\nreturn %x") == "expected `,` or `}`");
  CHECK(refusal("graph @g(%x: f32[" + std::string(1000, '(') + "]) {\nreturn %x\n}") == "nested too deeply");
}

TEST_CASE("verify names the node that is wrong") {
  Graph g;
  Node* x = g.add_input({DType::f32, {2}}, "x", {});
  Node *a = unary(g, "neg", x), *b = unary(g, "exp", a);
  g.outputs.push_back({b, nullptr});
  CHECK(verify(g) == "");
  std::swap(g.order()[1], g.order()[2]);
  CHECK(verify(g) == "node 1 (exp): an operand doesn't stand above it");
  std::swap(g.order()[1], g.order()[2]);
  a->type.shape = {3};
  CHECK(verify(g) == "node 1 (neg): its type is f32[3], the rule gives f32[2]");
  a->type.shape = {2};
  a->attrs["axis"] = int64_t{0};
  CHECK(verify(g) == "node 1 (neg): there is no attribute axis");
  a->attrs.clear();
  g.outputs[0].updates = b;
  CHECK(verify(g) == "output 0 updates what is no input");
}

TEST_CASE("the hash sees structure, not names or order") {
  auto make_graph = [](const std::string& name, bool swapped, double c) {
    Graph g;
    Node *x = g.add_input({DType::f32, {2}}, name, {}), *a, *b;
    if (swapped)
      b = constant(g, c, x->type), a = unary(g, "exp", x);
    else
      a = unary(g, "exp", x), b = constant(g, c, x->type);
    g.outputs.push_back({binary(g, "mul", a, b), nullptr});
    return structural_hash(g);
  };
  CHECK(make_graph("x", false, 2) == make_graph("other", true, 2));
  CHECK(make_graph("x", false, 2) != make_graph("x", false, 3));
}
