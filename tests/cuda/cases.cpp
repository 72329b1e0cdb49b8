#include "tests/cuda/cases.h"

namespace nnlc::test {

std::vector<Case> op_cases() {
  std::vector<Case> cases;
  for (const OpDef* op : all_ops())
    for (size_t s = 0; s < op->samples.size(); ++s)
      for (DType as : {DType::f64, DType::f32, DType::bf16, DType::f16, DType::i64, DType::i32, DType::i16, DType::i8,
                       DType::u8}) {
        const OpSample& sample = op->samples[s];
        Case c{fmt::format("{} {} {}", op->name, s, name(as)),
               {},
               {sample.low, sample.high, sample.int_low, sample.int_high}};
        std::vector<Node*> operands;
        for (TensorType t : sample.in) {
          if (t.dtype == DType::f64 && (is_float(as) || is_int(as))) t.dtype = as;
          if (t.dtype == DType::i64 && is_int(as) && op->op_class == OpClass::elementwise) t.dtype = as;
          operands.push_back(c.graph.add_input(t, "x" + std::to_string(operands.size()), {}));
        }
        std::string error;
        Node* n = try_make(c.graph, op->name, operands, sample.attrs, {}, error);
        if (!n) continue;
        c.graph.outputs.push_back({n, nullptr});
        cases.push_back(std::move(c));
      }
  return cases;
}

std::vector<RefTensor> inputs_of(const Graph& g, const Inputs& how) {
  std::mt19937 r(1);
  std::vector<RefTensor> inputs;
  for (const Node* i : g.inputs) {
    inputs.push_back(random_tensor(i->type, how, r));
    Memory m = memory_for(i->type);
    store_ref(inputs.back(), m.get());
    inputs.back() = load_ref(i->type, m.get());
  }
  return inputs;
}

std::vector<loop::Plan> plans_of(const std::vector<Case>& cases) {
  std::vector<loop::Plan> plans;
  for (auto& c : cases) {
    Graph g = c.graph.clone();
    passes::settle(g);
    plans.push_back(loop::lower(g));
  }
  return plans;
}

}  // namespace nnlc::test
