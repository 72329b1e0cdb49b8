// Every op of the table: is it complete, does its graph verify and read back, and is its gradient that of its
// reference?
#include <doctest/doctest.h>

#include <set>

#include "compiler/ops/build.h"
#include "compiler/ops/evaluate.h"
#include "compiler/passes/passes.h"
#include "tests/ops/random_values.h"

using namespace nnlc;
using namespace nnlc::graph;
using namespace nnlc::test;

namespace {

Graph graph_of(const OpDef& op, const OpSample& s) {
  Graph g;
  g.name = std::string(op.name);
  std::vector<Node*> operands;
  for (const TensorType& t : s.in) operands.push_back(g.add_input(t, "x" + std::to_string(operands.size()), {}));
  std::string error;
  Node* n = try_make(g, op.name, operands, s.attrs, {}, error);
  REQUIRE_MESSAGE(n, std::string(op.name) << ": " << error);
  g.outputs.push_back({n, nullptr});
  return g;
}

std::string read_back(const std::string& text) {
  SourceManager sources;
  Diagnostics diags;
  uint32_t file = sources.add("graph.ir", text);
  std::optional<Graph> g = parse(sources, file, diags);
  REQUIRE_MESSAGE(g, (diags.all().empty() ? "" : diags.all()[0].message) << "\n" << text);
  CHECK(verify(*g) == "");
  return print(*g);
}

/// sum(adjoint * f(x)), and its gradients: the outputs of one graph.
void check_gradient(const OpDef& op, const OpSample& s, uint64_t seed) {
  Graph g = graph_of(op, s);
  Node* y = g.outputs[0].value;
  Node* adjoint = g.add_input(y->type, "adjoint", {});
  IntList axes;
  for (size_t i = 0; i < y->type.rank(); ++i) axes.push_back(static_cast<int64_t>(i));
  Node* loss = reduce(g, "sum", binary(g, "mul", y, adjoint), axes);
  std::vector<Node*> wrt;
  std::vector<size_t> which;
  for (size_t i = 0; i < s.in.size(); ++i)
    if (is_float(s.in[i].dtype)) wrt.push_back(g.inputs[i]), which.push_back(i);
  Diagnostics diags;
  std::vector<Node*> gradients = passes::differentiate(g, loss, wrt, diags);
  REQUIRE(!diags.has_errors());
  g.outputs = {{loss, nullptr}};
  for (Node* d : gradients) {
    REQUIRE_MESSAGE(d, std::string(op.name));
    g.outputs.push_back({d, nullptr});
  }
  CHECK(verify(g) == "");
  std::string text = print(g);
  CHECK(read_back(text) == text);

  Numbers numbers(seed);
  std::vector<RefTensor> in;
  for (const TensorType& t : s.in) in.push_back(random_operand(t, s, numbers));
  in.push_back(random_operand(adjoint->type, OpSample{}, numbers));
  std::vector<RefTensor> at = evaluate(g, in);

  Graph forward = graph_of(op, s);
  auto value = [&] {
    std::vector<RefTensor> only(in.begin(), in.end() - 1);
    RefTensor out = evaluate(forward, only)[0];
    double sum = 0;
    for (size_t k = 0; k < out.f.size(); ++k) sum += out.f[k] * in.back().f[k];
    return sum;
  };
  for (size_t j = 0; j < which.size(); ++j) {
    RefTensor& x = in[which[j]];
    CHECK(at[j + 1].type == x.type);
    for (size_t k = 0; k < x.f.size(); ++k) {
      double was = x.f[k], h = 6e-6 * std::max(1.0, std::fabs(was));
      x.f[k] = was + h;
      double up = value();
      x.f[k] = was - h;
      double down = value();
      x.f[k] = was;
      double numeric = (up - down) / (2 * h), exact = at[j + 1].f[k];
      CHECK_MESSAGE(std::fabs(numeric - exact) <= 2e-8 * std::max({1.0, std::fabs(numeric), std::fabs(exact)}),
                    std::string(op.name) << " operand " << which[j] << " element " << k << ": " << exact << " against "
                                         << numeric);
    }
  }
  // The same numbers after the passes.
  Graph simpler = g.clone();
  passes::simplify(simpler);
  passes::cse(simpler);
  passes::dce(simpler);
  CHECK(verify(simpler) == "");
  std::vector<RefTensor> after = evaluate(simpler, in);
  for (size_t j = 0; j < at.size(); ++j)
    for (size_t k = 0; k < at[j].f.size(); ++k)
      CHECK_MESSAGE(std::fabs(at[j].f[k] - after[j].f[k]) <= 1e-12 * std::max(1.0, std::fabs(at[j].f[k])),
                    std::string(op.name) << ": passes changed output " << j);
}

}  // namespace

TEST_CASE("every op is complete") {
  std::set<std::string_view> names;
  for (const OpDef* op : all_ops()) {
    CAPTURE(op->name);
    CHECK(names.insert(op->name).second);
    CHECK(find_op(op->name) == op);
    CHECK((op->type != nullptr));
    CHECK(!op->doc.empty());
    CHECK((op->vjp != nullptr) == op->no_gradient.empty());
    if (op->name == "input") continue;
    CHECK((op->reference != nullptr));
    CHECK(!op->samples.empty());
  }
  CHECK(find_op("no_such_op") == nullptr);
}

TEST_CASE("samples have their types, verify and read back") {
  for (const OpDef* op : all_ops())
    for (const OpSample& s : op->samples) {
      Graph g = graph_of(*op, s);
      CHECK_MESSAGE(verify(g) == "", std::string(op->name));
      std::string text = print(g);
      CHECK(read_back(text) == text);
      Numbers numbers(3);
      std::vector<RefTensor> in;
      for (const TensorType& t : s.in) in.push_back(random_operand(t, s, numbers));
      RefTensor out = evaluate(g, in)[0];
      CHECK(static_cast<int64_t>(out.f.size() + out.i.size()) == element_count(out.type.shape).value());
    }
}

TEST_CASE("gradients agree with central differences") {
  for (const OpDef* op : all_ops()) {
    if (!op->vjp) continue;
    uint64_t seed = 1;
    for (const OpSample& s : op->samples) {
      bool differentiable = false;
      for (const TensorType& t : s.in) differentiable |= t.dtype == DType::f64;
      Graph g = graph_of(*op, s);
      if (!differentiable || !is_float(g.outputs[0].value->type.dtype)) continue;
      check_gradient(*op, s, ++seed);
    }
  }
}

TEST_CASE("second derivatives agree with central differences of the first") {
  // d/dx of sum((d sum(f(x)^2) / dx) * r), for the ops of one float operand.
  for (const OpDef* op : all_ops()) {
    if (!op->vjp || op->samples.empty() || op->name == "stop_gradient") continue;
    const OpSample& s = op->samples[0];
    if (s.in.empty()) continue;
    Graph g = graph_of(*op, s);
    Node* y = g.outputs[0].value;
    if (!is_float(y->type.dtype)) continue;
    size_t operand = 0;
    while (operand < s.in.size() && !is_float(s.in[operand].dtype)) ++operand;
    Node* x = g.inputs[operand];
    auto total = [&](Node* n) {
      IntList axes;
      for (size_t i = 0; i < n->type.rank(); ++i) axes.push_back(static_cast<int64_t>(i));
      return reduce(g, "sum", n, axes);
    };
    Diagnostics diags;
    Node* first = passes::differentiate(g, total(binary(g, "mul", y, y)), {x}, diags)[0];
    REQUIRE(first);
    Node* r = g.add_input(x->type, "r", {});
    Node* scalar = total(binary(g, "mul", first, r));
    Node* second = passes::differentiate(g, scalar, {x}, diags)[0];
    if (!second) continue;  // linear pieces without a path: floor
    g.outputs = {{scalar, nullptr}, {second, nullptr}};
    CHECK(verify(g) == "");
    Numbers numbers(11);
    std::vector<RefTensor> in;
    for (const TensorType& t : s.in) in.push_back(random_operand(t, s, numbers));
    in.push_back(random_operand(x->type, OpSample{}, numbers));
    RefTensor exact = evaluate(g, in)[1];
    for (size_t k = 0; k < in[operand].f.size(); ++k) {
      double& v = in[operand].f[k];
      double was = v, h = 6e-6 * std::max(1.0, std::fabs(was));
      v = was + h;
      double up = evaluate(g, in)[0].f[0];
      v = was - h;
      double down = evaluate(g, in)[0].f[0];
      v = was;
      double numeric = (up - down) / (2 * h);
      CHECK_MESSAGE(
          std::fabs(numeric - exact.f[k]) <= 1e-6 * std::max({1.0, std::fabs(numeric), std::fabs(exact.f[k])}),
          std::string(op->name) << " element " << k << ": " << exact.f[k] << " against " << numeric);
    }
  }
}
