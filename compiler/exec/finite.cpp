// Whether tensors are finite, found out where they are: a parameter on a device doesn't come down for it.
#include <limits>
#include <numeric>

#include "compiler/exec/impl.h"
#include "compiler/ops/build.h"

namespace nnlc::exec {

namespace {

/// 1.0 if all elements of all inputs are finite, else 0.0.
graph::Graph finite_graph(const std::vector<graph::TensorType>& types) {
  graph::Graph g;
  graph::Node* all = nullptr;
  for (const graph::TensorType& type : types) {
    graph::Node* x = g.add_input(type, "x" + std::to_string(g.inputs.size()), {});
    graph::Node* infinity = graph::constant(g, std::numeric_limits<double>::infinity(), type);
    graph::Node* finite =
        graph::cast(g, graph::binary(g, "lt", graph::unary(g, "abs", x), infinity), graph::DType::f32);
    graph::IntList axes(type.shape.size());
    std::iota(axes.begin(), axes.end(), 0);
    if (!axes.empty()) finite = graph::reduce(g, "min", finite, axes);
    all = all ? graph::binary(g, "min", all, finite) : finite;
  }
  g.outputs.push_back({all, nullptr});
  return g;
}

}  // namespace

bool Machine::Impl::all_finite_where_they_are(const std::vector<const Tensor*>& tensors) {
  std::vector<graph::TensorType> types;
  std::vector<nnl::Buffer*> inputs;
  for (const Tensor* t : tensors) {
    if (!is_float(t->dtype()) || t->count() == 0) continue;
    if (t->buffer()->is_on_host()) {
      if (!all_finite(*t)) return false;
      continue;
    }
    graph::TensorType type{static_cast<graph::DType>(t->dtype()), {}};
    for (int64_t n : t->shape()) type.shape.push_back(graph::Dim(n));
    types.push_back(std::move(type));
    inputs.push_back(t->buffer().get());
  }
  if (inputs.empty()) return true;
  if (!finite_check.code || finite_check.types != types) {
    finite_check.types = types;
    graph::Graph g = finite_graph(types);
    if (options.optimize) options.optimize(g);
    finite_check.code = backend.compile(std::move(g));
    finite_check.result = Tensor::empty(NNL_F32, {});
  }
  nnl::Buffer* const output = finite_check.result.buffer().get();
  finite_check.code->run_on(inputs, {&output, 1});
  return element(finite_check.result, 0) != 0;
}

}  // namespace nnlc::exec
