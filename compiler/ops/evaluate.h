// The reference evaluator: graphs run by the ops' references, in double precision, each result rounded to its element
// type.
#pragma once
#include <map>
#include <optional>

#include "compiler/ops/op.h"

namespace nnlc::graph {

/// An array of this constant type, all zeros.
RefTensor make_ref(TensorType type);
/// From dense row-major memory of the type's elements, and back.
RefTensor load_ref(TensorType type, const void* data);
void store_ref(const RefTensor& t, void* data);
/// One node; its type must be constant.
RefTensor evaluate_node(const Node& n, std::span<const RefTensor* const> in);
/// The outputs of a graph with constant shapes; `inputs` in the graph's order. Arrays are freed after their last use.
std::vector<RefTensor> evaluate(const Graph& g, const std::vector<RefTensor>& inputs);

}  // namespace nnlc::graph
