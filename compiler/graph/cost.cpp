#include "compiler/graph/cost.h"

#include "compiler/ops/op.h"

namespace nnlc::graph {

Dim flops(const Node& n) {
  if (!is_float(n.type.dtype)) return Dim(0);
  switch (n.op->op_class) {
    case OpClass::contraction: {
      if (n.op->name == "convolution") {
        // For each element of the result a product with the weights of its channel.
        const Shape& w = n.operands[1]->type.shape;
        Dim nest = Dim(2) * element_count(n.type.shape);
        for (size_t i = 1; i < w.size(); ++i) nest = nest * w[i];
        return nest;
      }
      // Every label once: the size of the whole loop nest.
      const std::string& a = n.str_attr("a");
      const std::string& b = n.str_attr("b");
      Dim nest(2);
      for (size_t i = 0; i < a.size(); ++i) nest = nest * n.operands[0]->type.shape[i];
      for (size_t i = 0; i < b.size(); ++i)
        if (a.find(b[i]) == std::string::npos) nest = nest * n.operands[1]->type.shape[i];
      return nest;
    }
    case OpClass::elementwise:
      return element_count(n.type.shape);
    case OpClass::reduction:
      return element_count(n.operands[0]->type.shape);
    default:
      return Dim(0);
  }
}

Dim flops(const Graph& g) {
  Dim total(0);
  for (const Node* n : g.nodes()) total = total + flops(*n);
  return total;
}

}  // namespace nnlc::graph
