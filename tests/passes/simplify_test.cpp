// Passes over text: the graph before, the graph after.
#include <doctest/doctest.h>

#include "compiler/ops/build.h"
#include "compiler/passes/passes.h"

using namespace nnlc;
using namespace nnlc::graph;

namespace {

std::string simplified(const std::string& body, const std::string& inputs = "%x: f32[2, 3], %y: f32[2, 3]") {
  SourceManager sources;
  Diagnostics diags;
  uint32_t file = sources.add("graph.ir", "graph @g(" + inputs + ") {\n" + body + "}\n");
  auto g = parse(sources, file, diags);
  REQUIRE_MESSAGE(g, (diags.all().empty() ? "" : diags.all()[0].message));
  passes::simplify(*g);
  passes::cse(*g);
  passes::dce(*g);
  CHECK(verify(*g) == "");
  std::string text = print(*g);
  size_t begin = text.find('\n') + 1;
  return text.substr(begin, text.rfind('}') - begin);
}

}  // namespace

TEST_CASE("identities") {
  CHECK(simplified("%0 = neg(%x) : f32[2, 3]\n%1 = neg(%0) : f32[2, 3]\nreturn %1\n") == "  return %x\n");
  CHECK(simplified("%0 = neg(%x) : f32[2, 3]\n%1 = add(%y, %0) : f32[2, 3]\nreturn %1\n") ==
        "  %0 = sub(%y, %x) : f32[2, 3]\n  return %0\n");
  CHECK(simplified("%0 = constant() {dtype = f32, shape = [], values = [1.0]} : f32[]\n"
                   "%1 = broadcast(%0) {axes = [], shape = [2, 3]} : f32[2, 3]\n%2 = mul(%1, %x) : f32[2, 3]\n"
                   "%3 = div(%2, %1) : f32[2, 3]\nreturn %3\n") == "  return %x\n");
}

TEST_CASE("what could hide a NaN stays") {
  std::string product = simplified(
      "%0 = constant() {dtype = f32, shape = [], values = [0.0]} : f32[]\n"
      "%1 = broadcast(%0) {axes = [], shape = [2, 3]} : f32[2, 3]\n"
      "%2 = mul(%1, %x) : f32[2, 3]\nreturn %2\n");
  CHECK(product.find("mul") != std::string::npos);
}

TEST_CASE("constants are folded through broadcasts") {
  CHECK(
      simplified("%0 = constant() {dtype = f32, shape = [], values = [2.0]} : f32[]\n"
                 "%1 = broadcast(%0) {axes = [], shape = [6]} : f32[6]\n%2 = reshape(%1) {shape = [2, 3]} : f32[2, 3]\n"
                 "%3 = mul(%2, %2) : f32[2, 3]\nreturn %3\n") ==
      "  %0 = constant() {dtype = f32, shape = [], values = [4.0]} : f32[]\n"
      "  %1 = broadcast(%0) {axes = [], shape = [2, 3]} : f32[2, 3]\n  return %1\n");
}

TEST_CASE("movement") {
  CHECK(
      simplified(
          "%0 = permute(%x) {perm = [1, 0]} : f32[3, 2]\n%1 = permute(%0) {perm = [1, 0]} : f32[2, 3]\nreturn %1\n") ==
      "  return %x\n");
  CHECK(simplified(
            "%0 = reshape(%x) {shape = [6]} : f32[6]\n%1 = reshape(%0) {shape = [2, 3]} : f32[2, 3]\nreturn %1\n") ==
        "  return %x\n");
  CHECK(simplified("%0 = permute(%y) {perm = [1, 0]} : f32[3, 2]\n"
                   "%1 = contract(%x, %0) {a = \"mk\", b = \"kn\", out = \"mn\"} : f32[2, 2]\nreturn %1\n") ==
        "  %0 = contract(%x, %y) {a = \"mk\", b = \"nk\", out = \"mn\"} : f32[2, 2]\n  return %0\n");
  CHECK(simplified("%0 = slice(%x) {sizes = [2, 2], starts = [0, 1], strides = [1, 1]} : f32[2, 2]\n"
                   "%1 = slice(%0) {sizes = [1, 1], starts = [1, 1], strides = [1, 1]} : f32[1, 1]\nreturn %1\n") ==
        "  %0 = slice(%x) {sizes = [1, 1], starts = [1, 2], strides = [1, 1]} : f32[1, 1]\n  return %0\n");
  CHECK(simplified("%0 = reshape(%v) {shape = [3, 1]} : f32[3, 1]\n"
                   "%1 = broadcast(%0) {axes = [0, 1], shape = [3, 4]} : f32[3, 4]\nreturn %1\n",
                   "%v: f32[3]") == "  %0 = broadcast(%v) {axes = [0], shape = [3, 4]} : f32[3, 4]\n  return %0\n");
}

TEST_CASE("a sum over a broadcast is a product") {
  CHECK(simplified("%0 = broadcast(%v) {axes = [1], shape = [4, 3]} : f32[4, 3]\n"
                   "%1 = reduce_sum(%0) {axes = [0]} : f32[3]\nreturn %1\n",
                   "%v: f32[3]") ==
        "  %0 = constant() {dtype = f32, shape = [], values = [4.0]} : f32[]\n"
        "  %1 = broadcast(%0) {axes = [], shape = [3]} : f32[3]\n  %2 = mul(%v, %1) : f32[3]\n  return %2\n");
}

TEST_CASE("equal nodes become one, different draws don't") {
  std::string draws = simplified(
      "%0 = random(%s) {dtype = f32, key = 1, kind = \"uniform\", shape = [4]} : f32[4]\n"
      "%1 = random(%s) {dtype = f32, key = 2, kind = \"uniform\", shape = [4]} : f32[4]\n"
      "%2 = random(%s) {dtype = f32, key = 1, kind = \"uniform\", shape = [4]} : f32[4]\n"
      "%3 = add(%0, %1) : f32[4]\n%4 = add(%3, %2) : f32[4]\nreturn %4\n",
      "%s: i64[]");
  CHECK(draws.find("key = 2") != std::string::npos);
  CHECK(draws.find("key = 1") == draws.rfind("key = 1"));
}
