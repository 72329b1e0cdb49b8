// Convolution in any number of dimensions, with strides, dilations and groups. Both of its gradients are made of the
// same op and of contractions over windows, so that the lowering meets nothing else.
#include <algorithm>

#include "compiler/ops/detail.h"

namespace nnlc::graph {
using namespace detail;

namespace {

TypeResult type(Types in, const Attrs& attrs) {
  const TensorType &x = in[0], &w = in[1];
  const IntList &strides = ints_of(attrs, "strides"), &dilations = ints_of(attrs, "dilations");
  const int64_t groups = int_of(attrs, "groups");
  if (x.dtype != w.dtype || x.dtype == DType::boolean)
    return TypeResult::fail("can't convolve " + x.str() + " with " + w.str());
  if (x.rank() < 3 || w.rank() != x.rank() || strides.size() != x.rank() - 2 || dilations.size() != x.rank() - 2)
    return TypeResult::fail("the ranks of " + x.str() + " and " + w.str() + " don't go together");
  if (groups < 1) return TypeResult::fail("there must be a group");
  if (x.shape[1] != w.shape[1] * Dim(groups))
    return TypeResult::fail("the input has " + x.shape[1].str() + " channels, but the weight takes " +
                            (w.shape[1] * Dim(groups)).str());
  if (!Dim::exact_div(w.shape[0], Dim(groups)))
    return TypeResult::fail(w.shape[0].str() + " output channels don't divide into " + std::to_string(groups) +
                            " groups");
  TensorType t{x.dtype, {x.shape[0], w.shape[0]}};
  for (size_t i = 2; i < x.rank(); ++i) {
    const int64_t stride = strides[i - 2], dilation = dilations[i - 2];
    if (stride < 1 || dilation < 1) return TypeResult::fail("strides and dilations must be positive");
    const Dim room = x.shape[i] - (w.shape[i] - Dim(1)) * Dim(dilation) - Dim(1);
    if (!w.shape[i].is_constant() || w.shape[i].value() < 1 || negative(room))
      return TypeResult::fail("the window " + w.shape[i].str() + " is longer than axis " + std::to_string(i) + " of " +
                              x.str());
    t.shape.push_back(Dim::floor_div(room, Dim(stride)) + Dim(1));
  }
  return t;
}

void reference(const Node& n, Refs in, RefTensor& out) {
  const std::vector<int64_t> xs = sizes(in[0]->type.shape), ws = sizes(in[1]->type.shape), os = sizes(n.type.shape);
  const std::vector<int64_t> x_strides = strides_of(xs), w_strides = strides_of(ws);
  const IntList &strides = n.ints_attr("strides"), &dilations = n.ints_attr("dilations");
  const int64_t channels = ws[1], group = os[1] / n.int_attr("groups");
  const std::vector<int64_t> taps(ws.begin() + 2, ws.end());
  // Where each tap reads, relative to the window's corner, and its weight.
  std::vector<std::pair<int64_t, int64_t>> reads;
  for_each_index(taps, [&](auto& tap, size_t k) {
    int64_t from = 0;
    for (size_t d = 0; d < tap.size(); ++d) from += tap[d] * dilations[d] * x_strides[d + 2];
    reads.push_back({from, static_cast<int64_t>(k)});
  });
  for_each_index(os, [&](auto& index, size_t k) {
    int64_t corner = index[0] * x_strides[0] + index[1] / std::max<int64_t>(group, 1) * channels * x_strides[1];
    for (size_t d = 2; d < index.size(); ++d) corner += index[d] * strides[d - 2] * x_strides[d];
    const int64_t weight = index[1] * w_strides[0];
    double sum = 0;
    uint64_t whole = 0;
    for (int64_t c = 0; c < channels; ++c)
      for (auto [from, tap] : reads) {
        const size_t p = static_cast<size_t>(corner + c * x_strides[1] + from),
                     q = static_cast<size_t>(weight + c * w_strides[1] + tap);
        if (holds_floats(out))
          sum += in[0]->f[p] * in[1]->f[q];
        else
          whole += static_cast<uint64_t>(in[0]->i[p]) * static_cast<uint64_t>(in[1]->i[q]);
      }
    if (holds_floats(out))
      out.f[k] = sum;
    else
      out.i[k] = static_cast<int64_t>(whole);
  });
}

/// Axis 1 or 0 in `groups` parts: [.., G * C, ..] as [.., G, C, ..].
Node* grouped(Graph& g, Node* x, size_t axis, int64_t groups, Span span) {
  Shape shape = x->type.shape;
  const Dim each = *Dim::exact_div(shape[axis], Dim(groups));
  shape[axis] = each;
  shape.insert(shape.begin() + static_cast<int64_t>(axis), Dim(groups));
  return reshape(g, x, shape, span);
}

/// x as [N, G, C, M.., K..]: what each element of the result is made from.
Node* windows(Graph& g, const Node& n, Node* x) {
  x = grouped(g, x, 1, n.int_attr("groups"), n.span);
  const Shape& w = n.operands[1]->type.shape;
  for (size_t i = 2; i < w.size(); ++i)
    x = window(g, x, static_cast<int64_t>(i) + 1, w[i].value(), n.ints_attr("strides")[i - 2],
               n.ints_attr("dilations")[i - 2], n.span);
  return x;
}

/// Labels of the result's places and of the taps: one letter a dimension.
std::string places(size_t dims) { return std::string("pqrst").substr(0, dims); }
std::string taps(size_t dims) { return std::string("uvwxy").substr(0, dims); }

void vjp(Vjp& v) {
  const Node& n = v.node();
  Graph& g = v.graph();
  const Span at = n.span;
  const size_t dims = n.type.rank() - 2;
  const int64_t groups = n.int_attr("groups");
  const IntList &strides = n.ints_attr("strides"), &dilations = n.ints_attr("dilations");
  const Shape &from = v.in(0)->type.shape, &w = v.in(1)->type.shape;
  if (v.wants(0)) {
    // Each element of x gets dy through the taps read backwards: a convolution of dy, spread out by the strides and
    // padded, with the flipped weight whose channels have changed sides.
    Node* dy = v.dy();
    Shape low(from.size(), Dim(0)), high = low;
    IntList flipped, perm{0, 2, 1};
    for (size_t i = 2; i < from.size(); ++i) {
      dy = dilate(g, dy, i, strides[i - 2], at);
      low[i] = (w[i] - Dim(1)) * Dim(dilations[i - 2]);
      high[i] = from[i] - dy->type.shape[i];
      flipped.push_back(static_cast<int64_t>(i));
      perm.push_back(static_cast<int64_t>(i) + 1);
    }
    dy = pad(g, dy, low, high, 0, at);
    Node* turned = permute(g, grouped(g, flip(g, v.in(1), flipped, at), 0, groups, at), perm, at);
    Shape joined = turned->type.shape;
    joined[1] = joined[0] * joined[1];
    joined.erase(joined.begin());
    v.grad(0, convolution(g, dy, reshape(g, turned, joined, at), IntList(dims, 1), dilations, groups, at));
  }
  if (v.wants(1)) {
    Node* dw = contract(g, grouped(g, v.dy(), 1, groups, at), windows(g, n, v.in(0)), "ngo" + places(dims),
                        "ngc" + places(dims) + taps(dims), "goc" + taps(dims), at);
    v.grad(1, reshape(g, dw, w, at));
  }
}

}  // namespace

Node* convolution(Graph& g, Node* x, Node* weight, IntList strides, IntList dilations, int64_t groups, Span span) {
  return make(g, "convolution", {x, weight},
              {{"strides", std::move(strides)}, {"dilations", std::move(dilations)}, {"groups", groups}}, span);
}

Node* convolution_as_contraction(Graph& g, const Node& n) {
  const size_t dims = n.type.rank() - 2;
  Node* y = contract(g, grouped(g, n.operands[1], 0, n.int_attr("groups"), n.span), windows(g, n, n.operands[0]),
                     "goc" + taps(dims), "ngc" + places(dims) + taps(dims), "ngo" + places(dims), n.span);
  return reshape(g, y, n.type.shape, n.span);
}

const OpDef convolution_op{
    .name = "convolution",
    .op_class = OpClass::contraction,
    .operands = {"x", "weight"},
    .attributes = {"dilations", "groups", "strides"},
    .type = type,
    .vjp = vjp,
    .no_gradient = {},
    .reference = reference,
    .doc = "products of a weight with each window of x, summed over the channels of a group and the window",
    .samples = {{{f64({2, 3, 7}), f64({4, 3, 3})},
                 {{"strides", IntList{1}}, {"dilations", IntList{1}}, {"groups", int64_t{1}}}},
                {{f64({2, 4, 6, 5}), f64({6, 2, 3, 2})},
                 {{"strides", IntList{2, 1}}, {"dilations", IntList{1, 2}}, {"groups", int64_t{2}}}},
                {{f64({1, 2, 8, 8}), f64({8, 2, 3, 3})},
                 {{"strides", IntList{2, 2}}, {"dilations", IntList{1, 1}}, {"groups", int64_t{1}}}},
                {{f64({2, 3, 5, 4}), f64({3, 1, 3, 3})},
                 {{"strides", IntList{1, 1}}, {"dilations", IntList{1, 1}}, {"groups", int64_t{3}}}},
                {{f64({1, 2, 4, 3, 4}), f64({2, 2, 2, 2, 3})},
                 {{"strides", IntList{1, 1, 1}}, {"dilations", IntList{1, 1, 1}}, {"groups", int64_t{1}}}}}};

}  // namespace nnlc::graph
