// Every op of the table on its samples, in every element type its type rule admits.
#include <doctest/doctest.h>

#include <map>

#include "compiler/ops/build.h"
#include "tests/cpu_backend/compare.h"

namespace nnlc::test {

using namespace graph;

codegen::Backend& cpu(const std::string& features, int threads) {
  static std::map<std::pair<std::string, int>, std::unique_ptr<codegen::Backend>> made;
  auto& b = made[{features, threads}];
  if (!b) {
    codegen::CpuOptions options;
    options.threads = threads;
    options.features = features;
    options.use_cache = options.adapt_threads = false;
    b = codegen::make_cpu_backend(options);
  }
  return *b;
}

codegen::Backend& reference() {
  static auto b = codegen::make_reference_backend();
  return *b;
}

std::string check(const Graph& g, const Inputs& how, unsigned seed, double scale, const std::string& features,
                  int threads) {
  std::mt19937 r(seed);
  std::vector<RefTensor> inputs;
  for (const Node* i : g.inputs) inputs.push_back(random_tensor(i->type, how, r));
  // Through memory once, so that both backends see what the element type holds.
  for (size_t i = 0; i < inputs.size(); i++) {
    Memory m = memory_for(g.inputs[i]->type);
    store_ref(inputs[i], m.get());
    inputs[i] = load_ref(g.inputs[i]->type, m.get());
  }
  return difference(g, run(cpu(features, threads), g, inputs), run(reference(), g, inputs), scale);
}

}  // namespace nnlc::test

using namespace nnlc;
using namespace nnlc::graph;

namespace {

/// Builds the sample with its floats (or ints) replaced by `as`; false if the op doesn't take that type.
bool build(Graph& g, const OpDef& op, const OpSample& s, DType as) {
  std::vector<Node*> operands;
  for (TensorType t : s.in) {
    if (t.dtype == DType::f64 && is_float(as)) t.dtype = as;
    if (t.dtype == DType::f64 && is_int(as)) t.dtype = as;
    if (t.dtype == DType::i64 && is_int(as) && op.op_class == OpClass::elementwise) t.dtype = as;
    operands.push_back(g.add_input(t, "x" + std::to_string(operands.size()), {}));
  }
  std::string error;
  Node* n = try_make(g, op.name, operands, s.attrs, {}, error);
  if (!n) return false;
  g.outputs.push_back({n, nullptr});
  return true;
}

}  // namespace

TEST_CASE("each op computes what it means") {
  for (const OpDef* op : all_ops()) {
    for (size_t s = 0; s < op->samples.size(); s++) {
      for (DType as : {DType::f64, DType::f32, DType::bf16, DType::f16, DType::i64, DType::i32, DType::i16, DType::i8,
                       DType::u8}) {
        Graph g;
        if (!build(g, *op, op->samples[s], as)) continue;
        CAPTURE(op->name);
        CAPTURE(s);
        CAPTURE(name(as));
        const OpSample& sample = op->samples[s];
        test::Inputs how{sample.low, sample.high, sample.int_low, sample.int_high};
        std::string wrong = test::check(g, how);
        CHECK(wrong == "");
      }
    }
  }
}
