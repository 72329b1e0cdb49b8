// Graph passes. Each is a free function without state between runs; driver/pipeline.cpp lists them in order.
#pragma once
#include "compiler/graph/graph.h"

namespace nnlc::passes {

/// Reverse-mode differentiation inside one graph: appends to `g` the nodes of d(loss)/d(wrt[i]) and returns them,
/// each of wrt[i]'s type. loss: rank 0, float. An unreached wrt gets null. Works on graphs that already hold gradients
/// (higher orders). A path through an op without gradient is an error in `diags` at that op's span.
std::vector<graph::Node*> differentiate(graph::Graph& g, graph::Node* loss, const std::vector<graph::Node*>& wrt,
                                        Diagnostics& diags);

bool simplify(graph::Graph& g);    ///< algebra, folding of constants, movement ops that undo one another
bool cse(graph::Graph& g);         ///< equal nodes become one
bool dce(graph::Graph& g);         ///< nodes nobody reads
bool merge_sums(graph::Graph& g);  ///< sums of many equal terms become one term over their operands, side by side
/// The four until none finds anything: each makes work for the others, and they settle quickly.
void settle(graph::Graph& g);

}  // namespace nnlc::passes
