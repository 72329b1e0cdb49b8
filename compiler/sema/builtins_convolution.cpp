// Convolution, pooling and resizing over the last one to three axes: compositions of `convolution`, windows, pads and
// contractions. Arguments, their order and defaults are those of torch.nn.functional.
#include <algorithm>
#include <cmath>

#include "compiler/sema/tensor_support.h"

namespace nnlc::sema {
namespace {

Value made(BuiltinCall& c, Node* n) { return Value(c.ev.tensor(n, c.span), c.span); }

/// "conv2d", "max_pool2d": over how many axes.
size_t dims_of(const BuiltinCall& c) {
  for (char d : c.builtin.name)
    if (d >= '1' && d <= '3') return static_cast<size_t>(d - '0');
  return 0;
}

/// One static int for all axes, or a list with one for each, at least `least`.
std::optional<IntList> each_axis(BuiltinCall& c, std::string_view name, int64_t least) {
  const ArgValue& a = c.arg(name);
  const size_t dims = dims_of(c);
  std::vector<Value> items{a.value};
  if (const SequenceValue* s = sequence(a.value)) items = s->items;
  const Span at = a.span.valid() ? a.span : c.span;
  if (items.size() != 1 && items.size() != dims) {
    c.ev.error(Code::BadSize, at,
               std::string(c.builtin.name) + ": `" + std::string(name) + "` has " + std::to_string(items.size()) +
                   " sizes for " + std::to_string(dims) + (dims == 1 ? " axis" : " axes"));
    return std::nullopt;
  }
  IntList out;
  for (const Value& v : items) {
    if (v.is_poison()) return std::nullopt;
    const Dim* d = v.get<Dim>();
    if (!d || !d->is_constant()) {
      c.ev.error(Code::BadSize, at,
                 std::string(c.builtin.name) + ": `" + std::string(name) + "` is a static int or a list of them, not " +
                     describe(v));
      return std::nullopt;
    }
    if (d->value() < least) {
      c.ev.error(Code::BadSize, at,
                 std::string(c.builtin.name) + ": `" + std::string(name) + "` is at least " + std::to_string(least) +
                     ", not " + d->str());
      return std::nullopt;
    }
    out.push_back(d->value());
  }
  out.resize(dims, out[0]);
  return out;
}

/// The input with its leading axes as one: [N, C, L..], and what they were.
struct Batched {
  TensorValue x;
  Node* node = nullptr;
  Shape leading;  ///< before the channels
};
std::optional<Batched> batched(BuiltinCall& c) {
  auto x = c.tensor("input");
  if (!x) return std::nullopt;
  const size_t dims = dims_of(c);
  if (x->type.rank() < dims + 1) {
    c.ev.error(Code::RankMismatch, c.arg("input").span,
               std::string(c.builtin.name) + " takes [N, C, " +
                   std::string(dims == 1   ? "L"
                               : dims == 2 ? "H, W"
                                           : "D, H, W") +
                   "], but this is " + type_text(*x));
    return std::nullopt;
  }
  if (!need_float(c.ev, *x, c.arg("input").span, std::string(c.builtin.name))) return std::nullopt;
  Batched b{*x, c.ev.node(*x), {}};
  const auto split = x->type.shape.end() - static_cast<int64_t>(dims) - 1;
  b.leading.assign(x->type.shape.begin(), split);
  Shape flat(split, x->type.shape.end());
  flat.insert(flat.begin(), graph::element_count(b.leading));
  if (b.leading.size() != 1) b.node = reshape_node(c.ev, b.node, flat, c.span);
  return b;
}
Value unbatched(BuiltinCall& c, const Batched& b, Node* y) {
  if (b.leading.size() == 1) return made(c, y);
  Shape shape = b.leading;
  shape.insert(shape.end(), y->type.shape.begin() + 1, y->type.shape.end());
  return made(c, reshape_node(c.ev, y, shape, c.span));
}

Node* padded(BuiltinCall& c, Node* x, const IntList& low, const IntList& high, double value) {
  auto nothing = [](int64_t n) { return n == 0; };
  if (std::all_of(low.begin(), low.end(), nothing) && std::all_of(high.begin(), high.end(), nothing)) return x;
  Shape before(2, Dim(0)), after = before;
  before.insert(before.end(), low.begin(), low.end());
  after.insert(after.end(), high.begin(), high.end());
  return graph::pad(c.ev.graph(), x, before, after, value, c.span);
}

/// Whether windows of this extent fit into every axis; reports the one where they don't.
bool windows_fit(BuiltinCall& c, const TensorValue& x, const Node* padded, const IntList& kernel,
                 const IntList& dilation) {
  for (size_t i = 0; i < kernel.size(); ++i) {
    const Dim& size = padded->type.shape[i + 2];
    const int64_t extent = (kernel[i] - 1) * dilation[i] + 1;
    if (!size.is_constant() || size.value() >= extent) continue;
    c.ev.error(Code::OperandShapes, c.span,
               std::string(c.builtin.name) + ": a window of " + std::to_string(extent) + " is longer than the axis, " +
                   size.str() + " with its padding")
        .label(c.arg("input").span, "is " + type_text(x));
    return false;
  }
  return true;
}

std::optional<int64_t> groups_of(BuiltinCall& c) {
  auto groups = c.integer("groups");
  if (groups && *groups < 1) {
    c.ev.error(Code::BadSize, c.arg("groups").span, "there is at least one group");
    return std::nullopt;
  }
  return groups;
}

/// `bias` [C] added to y [N, C, L..].
Node* with_bias(BuiltinCall& c, Node* y) {
  if (!c.given("bias")) return y;
  auto bias = c.tensor("bias");
  if (!bias) return nullptr;
  if (bias->type.shape != Shape{y->type.shape[1]} || bias->type.dtype != y->type.dtype) {
    c.ev.error(Code::OperandShapes, c.arg("bias").span,
               std::string(c.builtin.name) + ": the bias is " + type_text(*bias) + ", but there are " +
                   y->type.shape[1].str() + " output channels");
    return nullptr;
  }
  graph::Graph& g = c.ev.graph();
  return graph::binary(g, "add", y, graph::broadcast(g, c.ev.node(*bias), y->type.shape, {1}, c.span), c.span);
}

/// The weight, of the input's type and of rank dims + 2.
std::optional<TensorValue> weight_of(BuiltinCall& c, const Batched& in) {
  auto w = c.tensor("weight");
  if (!w) return std::nullopt;
  if (w->type.rank() != dims_of(c) + 2) {
    c.ev.error(Code::RankMismatch, c.arg("weight").span,
               std::string(c.builtin.name) + ": the weight has " + std::to_string(dims_of(c) + 2) +
                   " axes, but this is " + type_text(*w));
    return std::nullopt;
  }
  if (w->type.dtype != in.node->type.dtype) {
    c.ev.error(Code::DTypeMismatch, c.span,
               std::string(c.builtin.name) + ": element types differ, " + type_text(in.x) + " and " + type_text(*w));
    return std::nullopt;
  }
  return w;
}

/// The channels of the input and those that the weight takes agree.
bool channels_agree(BuiltinCall& c, const Batched& in, const TensorValue& w, const Dim& wanted) {
  const Dim& have = in.node->type.shape[1];
  if (have == wanted || c.ev.may_be_equal(have, wanted)) return true;
  c.ev.error(Code::OperandShapes, c.span,
             std::string(c.builtin.name) + ": the input has " + have.str() + " channels, but the weight takes " +
                 wanted.str())
      .label(c.arg("input").span, "is " + type_text(in.x))
      .label(c.arg("weight").span, "is " + type_text(w));
  return false;
}

Value convolution(BuiltinCall& c) {
  auto in = batched(c);
  if (!in) return {};
  auto w = weight_of(c, *in);
  auto stride = each_axis(c, "stride", 1), dilation = each_axis(c, "dilation", 1);
  auto groups = groups_of(c);
  if (!w || !stride || !dilation || !groups) return {};
  const size_t dims = dims_of(c);
  IntList kernel;
  for (size_t i = 0; i < dims; ++i) {
    const Dim& k = w->type.shape[i + 2];
    if (!k.is_constant()) {
      Shape shape{in->node->type.shape[0], w->type.shape[0]};
      for (size_t a = 0; a < dims; ++a) shape.push_back(Dim::symbol("_" + std::to_string(a)));
      return unbatched(c, *in, open_tensor(c.ev, {w->type.dtype, shape}, c.span));
    }
    kernel.push_back(k.value());
  }
  IntList low(dims, 0), high = low;
  if (const std::string* word = c.arg("padding").value.get<std::string>()) {
    if (*word != "same" && *word != "valid") {
      c.ev.error(Code::ArgumentOutOfRange, c.arg("padding").span,
                 "the padding is a size, \"same\" or \"valid\", not \"" + *word + "\"");
      return {};
    }
    if (*word == "same") {
      for (size_t i = 0; i < dims; ++i) {
        const int64_t total = dilation->at(i) * (kernel[i] - 1);
        low[i] = total / 2, high[i] = total - low[i];
        if (stride->at(i) != 1) {
          c.ev.error(Code::ArgumentOutOfRange, c.arg("padding").span,
                     "padding \"same\" goes with stride 1: the result has the input's size");
          return {};
        }
      }
    }
  } else {
    auto sizes = each_axis(c, "padding", 0);
    if (!sizes) return {};
    low = high = *sizes;
  }
  if (!channels_agree(c, *in, *w, w->type.shape[1] * Dim(*groups))) return {};
  if (!Dim::exact_div(w->type.shape[0], Dim(*groups))) {
    c.ev.error(Code::OperandShapes, c.arg("weight").span,
               w->type.shape[0].str() + " output channels don't divide into " + std::to_string(*groups) + " groups");
    return {};
  }
  Node* x = padded(c, in->node, low, high, 0);
  if (!windows_fit(c, in->x, x, kernel, *dilation)) return {};
  Node* y = graph::convolution(c.ev.graph(), x, c.ev.node(*w), *stride, *dilation, *groups, c.span);
  y = with_bias(c, y);
  return y ? unbatched(c, *in, y) : Value();
}

/// The gradient of a convolution with respect to its input, as a layer: the input spread out by the stride, convolved
/// with the flipped weight whose channels have changed sides.
Value transposed_convolution(BuiltinCall& c) {
  auto in = batched(c);
  if (!in) return {};
  auto w = weight_of(c, *in);
  auto stride = each_axis(c, "stride", 1), padding = each_axis(c, "padding", 0),
       more = each_axis(c, "output_padding", 0), dilation = each_axis(c, "dilation", 1);
  auto groups = groups_of(c);
  if (!w || !stride || !padding || !more || !dilation || !groups) return {};
  const size_t dims = dims_of(c);
  if (!channels_agree(c, *in, *w, w->type.shape[0])) return {};
  const auto per_group = Dim::exact_div(w->type.shape[0], Dim(*groups));
  if (!per_group) {
    c.ev.error(Code::OperandShapes, c.arg("weight").span,
               w->type.shape[0].str() + " input channels don't divide into " + std::to_string(*groups) + " groups");
    return {};
  }
  graph::Graph& g = c.ev.graph();
  Node* x = in->node;
  Shape low(2, Dim(0)), high = low, cut = low;
  IntList flipped, perm{0, 2, 1};
  for (size_t i = 0; i < dims; ++i) {
    if (more->at(i) >= std::max(stride->at(i), dilation->at(i))) {
      c.ev.error(Code::ArgumentOutOfRange, c.arg("output_padding").span,
                 "the output padding is smaller than the stride or the dilation");
      return {};
    }
    x = graph::dilate(g, x, i + 2, stride->at(i), c.span);
    const Dim reach = (w->type.shape[i + 2] - Dim(1)) * Dim(dilation->at(i));
    low.push_back(reach);
    high.push_back(reach + Dim(more->at(i)));
    cut.push_back(Dim(padding->at(i)));
    flipped.push_back(static_cast<int64_t>(i) + 2);
    perm.push_back(static_cast<int64_t>(i) + 3);
  }
  x = graph::pad(g, x, low, high, 0, c.span);
  // weight [G * C, O, K..] as [G * O, C, K..].
  Node* turned = graph::flip(g, c.ev.node(*w), flipped, c.span);
  Shape split = w->type.shape;
  split[0] = *per_group;
  split.insert(split.begin(), Dim(*groups));
  turned = graph::permute(g, graph::reshape(g, turned, split, c.span), perm, c.span);
  Shape joined = turned->type.shape;
  joined[1] = joined[0] * joined[1];
  joined.erase(joined.begin());
  turned = graph::reshape(g, turned, joined, c.span);
  Node* y = graph::convolution(g, x, turned, IntList(dims, 1), *dilation, *groups, c.span);
  Shape sizes = y->type.shape;
  for (size_t i = 0; i < dims; ++i) {
    sizes[i + 2] = sizes[i + 2] - Dim(2 * padding->at(i));
    if (sizes[i + 2].is_constant() && sizes[i + 2].value() < 1) {
      c.ev.error(Code::BadSize, c.span, std::string(c.builtin.name) + ": the padding leaves nothing of the result")
          .label(c.arg("input").span, "is " + type_text(in->x));
      return {};
    }
  }
  if (sizes != y->type.shape) y = graph::slice(g, y, cut, sizes, IntList(sizes.size(), 1), c.span);
  y = with_bias(c, y);
  return y ? unbatched(c, *in, y) : Value();
}

/// Windows for pooling: [N, C, M.., taps], the taps of a window in row-major order.
Node* pooling_windows(BuiltinCall& c, Node* x, const IntList& kernel, const IntList& stride, const IntList& dilation) {
  graph::Graph& g = c.ev.graph();
  const size_t dims = kernel.size();
  bool apart = true;  // side by side: nothing is read twice, and the gradient needs no sums
  for (size_t i = 0; i < dims; ++i) apart &= stride[i] == kernel[i] && dilation[i] == 1;
  Shape merged(x->type.shape.begin(), x->type.shape.begin() + 2);
  int64_t taps = 1;
  if (apart) {
    Shape kept = x->type.shape, split = merged;
    IntList perm{0, 1};
    for (size_t i = 0; i < dims; ++i) {
      const Dim count = Dim::floor_div(x->type.shape[i + 2], Dim(kernel[i]));
      kept[i + 2] = count * Dim(kernel[i]);
      split.insert(split.end(), {count, Dim(kernel[i])});
      merged.push_back(count);
      perm.push_back(static_cast<int64_t>(2 + 2 * i));
      taps *= kernel[i];
    }
    for (size_t i = 0; i < dims; ++i) perm.push_back(static_cast<int64_t>(3 + 2 * i));
    if (kept != x->type.shape)
      x = graph::slice(g, x, Shape(kept.size(), Dim(0)), kept, IntList(kept.size(), 1), c.span);
    x = graph::permute(g, graph::reshape(g, x, split, c.span), perm, c.span);
  } else {
    for (size_t i = 0; i < dims; ++i) {
      x = graph::window(g, x, static_cast<int64_t>(i) + 2, kernel[i], stride[i], dilation[i], c.span);
      taps *= kernel[i];
    }
    merged.assign(x->type.shape.begin(), x->type.shape.begin() + static_cast<int64_t>(dims) + 2);
  }
  merged.push_back(Dim(taps));
  return graph::reshape(g, x, merged, c.span);
}

/// The largest of the last axis; of equal ones the first gets the gradient, as in PyTorch.
Node* first_largest(BuiltinCall& c, Node* taps) {
  graph::Graph& g = c.ev.graph();
  const int64_t axis = static_cast<int64_t>(taps->type.rank()) - 1;
  if (taps->type.shape.back() == Dim(1)) {
    Shape shape(taps->type.shape.begin(), taps->type.shape.end() - 1);
    return graph::reshape(g, taps, shape, c.span);
  }
  Node* place = graph::arg_reduce(g, "argmax", taps, axis, c.span);
  const TensorType places{DType::i64, taps->type.shape};
  IntList kept = all_axes(place->type.rank());
  Node* chosen = graph::binary(g, "eq", graph::iota(g, places, axis, c.span),
                               graph::broadcast(g, place, taps->type.shape, kept, c.span), c.span);
  return graph::reduce(g, "sum", graph::select(g, chosen, taps, like(c.ev, taps, 0), c.span), {axis}, c.span);
}

struct Pool {
  Batched in;
  IntList kernel, stride, padding, dilation;
  IntList high;  ///< behind each axis: more than the padding where the last window hangs over (ceil_mode)
};
std::optional<Pool> pool_arguments(BuiltinCall& c, bool dilates) {
  auto in = batched(c);
  auto kernel = each_axis(c, "kernel_size", 1);
  if (!in || !kernel) return std::nullopt;
  auto stride = c.given("stride") ? each_axis(c, "stride", 1) : kernel;
  auto padding = each_axis(c, "padding", 0);
  auto dilation = dilates ? each_axis(c, "dilation", 1) : std::optional<IntList>(IntList(kernel->size(), 1));
  auto ceil_mode = c.boolean("ceil_mode");
  if (!stride || !padding || !dilation || !ceil_mode) return std::nullopt;
  Pool p{*in, *kernel, *stride, *padding, *dilation, *padding};
  for (size_t i = 0; i < kernel->size(); ++i) {
    if (p.padding[i] * 2 > p.kernel[i]) {
      c.ev.error(Code::ArgumentOutOfRange, c.arg("padding").span,
                 std::string(c.builtin.name) + ": the padding is at most half of the window, " +
                     std::to_string(p.kernel[i] / 2));
      return std::nullopt;
    }
    const Dim& size = in->node->type.shape[i + 2];
    if (!*ceil_mode || !size.is_constant()) continue;
    // One more window where some of it is left, unless it would begin in the padding behind.
    const int64_t room = size.value() + 2 * p.padding[i] - (p.kernel[i] - 1) * p.dilation[i] - 1;
    if (room < 0) continue;
    int64_t count = (room + p.stride[i] - 1) / p.stride[i] + 1;
    if ((count - 1) * p.stride[i] >= size.value() + p.padding[i]) --count;
    p.high[i] += std::max<int64_t>(0, (count - 1) * p.stride[i] - room);
  }
  return p;
}

Value max_pool(BuiltinCall& c) {
  auto p = pool_arguments(c, true);
  if (!p) return {};
  Node* x = padded(c, p->in.node, p->padding, p->high, -std::numeric_limits<double>::infinity());
  if (!windows_fit(c, p->in.x, x, p->kernel, p->dilation)) return {};
  return unbatched(c, p->in, first_largest(c, pooling_windows(c, x, p->kernel, p->stride, p->dilation)));
}

Value avg_pool(BuiltinCall& c) {
  auto p = pool_arguments(c, false);
  auto include = c.boolean("count_include_pad");
  if (!p || !include) return {};
  graph::Graph& g = c.ev.graph();
  Node* x = padded(c, p->in.node, p->padding, p->high, 0);
  if (!windows_fit(c, p->in.x, x, p->kernel, p->dilation)) return {};
  Node* taps = pooling_windows(c, x, p->kernel, p->stride, p->dilation);
  Node* sum = graph::reduce(g, "sum", taps, {static_cast<int64_t>(taps->type.rank()) - 1}, c.span);
  // How many elements a window counts: the same everywhere, unless some of it is not to be counted. What hangs over in
  // ceil_mode never is.
  const bool uneven = p->high != p->padding || (!*include && p->padding != IntList(p->padding.size(), 0));
  if (c.given("divisor_override")) {
    auto by = c.integer("divisor_override");
    if (!by) return {};
    return unbatched(c, p->in, graph::binary(g, "div", sum, like(c.ev, sum, static_cast<double>(*by)), c.span));
  }
  if (!uneven)
    return unbatched(
        c, p->in,
        graph::binary(g, "div", sum, like(c.ev, sum, static_cast<double>(taps->type.shape.back().value())), c.span));
  Node* count = nullptr;
  for (size_t i = 0; i < p->kernel.size(); ++i) {
    const Dim &size = p->in.node->type.shape[i + 2], &windows = sum->type.shape[i + 2];
    if (!size.is_constant()) return unbatched(c, p->in, open_tensor(c.ev, sum->type, c.span));
    std::vector<double> counts;
    const int64_t low = *include ? 0 : p->padding[i],
                  high = *include ? size.value() + 2 * p->padding[i] : size.value() + p->padding[i];
    for (int64_t o = 0; o < windows.value(); ++o)
      counts.push_back(
          static_cast<double>(std::min(o * p->stride[i] + p->kernel[i], high) - std::max(o * p->stride[i], low)));
    Node* along = graph::constant_array(g, counts, {sum->type.dtype, {windows}}, c.span);
    along = graph::broadcast(g, along, sum->type.shape, {static_cast<int64_t>(i) + 2}, c.span);
    count = count ? graph::binary(g, "mul", count, along, c.span) : along;
  }
  return unbatched(c, p->in, graph::binary(g, "div", sum, count, c.span));
}

/// A matrix applied along one axis: y[.., o, ..] = sum over i of rows[o][i] x[.., i, ..].
Node* along_axis(BuiltinCall& c, Node* x, size_t axis, const std::vector<std::vector<double>>& rows) {
  graph::Graph& g = c.ev.graph();
  std::vector<double> flat;
  for (auto& row : rows) flat.insert(flat.end(), row.begin(), row.end());
  Node* matrix = graph::constant_array(
      g, flat, {x->type.dtype, {Dim(static_cast<int64_t>(rows.size())), x->type.shape[axis]}}, c.span);
  std::string labels = std::string("abcdefgh").substr(0, x->type.rank()), out = labels;
  out[axis] = 'o';
  return graph::contract(g, x, matrix, labels, std::string("o") + labels[axis], out, c.span);
}

/// output_size: an int for all axes or a list; None leaves an axis as it is.
std::optional<std::vector<int64_t>> output_sizes(BuiltinCall& c, const Node* x, std::string_view name) {
  const ArgValue& a = c.arg(name);
  const size_t dims = dims_of(c);
  std::vector<Value> items(dims, a.value);
  if (const SequenceValue* s = sequence(a.value)) items = s->items;
  if (items.size() != dims) {
    c.ev.error(Code::BadSize, a.span,
               std::string(c.builtin.name) + ": `" + std::string(name) + "` has " + std::to_string(items.size()) +
                   " sizes for " + std::to_string(dims) + " axes");
    return std::nullopt;
  }
  std::vector<int64_t> out;
  for (size_t i = 0; i < dims; ++i) {
    if (items[i].is_poison()) return std::nullopt;
    const Dim* d = items[i].get<NoneValue>() ? &x->type.shape[i + 2] : items[i].get<Dim>();
    if (!d || !d->is_constant() || d->value() < 1) {
      if (d && !d->is_constant())
        out.push_back(-1);  // as the input, whose size is open
      else {
        c.ev.error(Code::BadSize, a.span,
                   std::string(c.builtin.name) + ": a size is a static int of at least 1, not " + describe(items[i]));
        return std::nullopt;
      }
      continue;
    }
    out.push_back(d->value());
  }
  return out;
}

/// The result where a size of the input is still a symbol.
Value open_result(BuiltinCall& c, const Batched& in, const std::vector<int64_t>& sizes) {
  Shape shape(in.node->type.shape.begin(), in.node->type.shape.begin() + 2);
  for (size_t i = 0; i < sizes.size(); ++i) shape.push_back(sizes[i] < 0 ? in.node->type.shape[i + 2] : Dim(sizes[i]));
  return unbatched(c, in, open_tensor(c.ev, {in.node->type.dtype, shape}, c.span));
}
bool has_open_size(const Node* x) {
  return std::any_of(x->type.shape.begin() + 2, x->type.shape.end(), [](const Dim& d) { return !d.is_constant(); });
}

/// Where window o of n over an axis begins and ends, as in PyTorch.
std::pair<int64_t, int64_t> adaptive_window(int64_t o, int64_t n, int64_t size) {
  return {o * size / n, ((o + 1) * size + n - 1) / n};
}

Value adaptive_pool(BuiltinCall& c) {
  auto in = batched(c);
  if (!in) return {};
  auto sizes = output_sizes(c, in->node, "output_size");
  if (!sizes) return {};
  if (has_open_size(in->node)) return open_result(c, *in, *sizes);
  const bool largest = c.builtin.name.find("max") != std::string_view::npos;
  graph::Graph& g = c.ev.graph();
  IntList kernel;
  bool even = true;
  for (size_t i = 0; i < sizes->size(); ++i) {
    const int64_t size = in->node->type.shape[i + 2].value();
    even &= size % sizes->at(i) == 0;
    kernel.push_back(size / std::max<int64_t>(1, sizes->at(i)));
  }
  if (even) {
    Node* taps = pooling_windows(c, in->node, kernel, kernel, IntList(kernel.size(), 1));
    if (largest) return unbatched(c, *in, first_largest(c, taps));
    Node* sum = graph::reduce(g, "sum", taps, {static_cast<int64_t>(taps->type.rank()) - 1}, c.span);
    return unbatched(
        c, *in,
        graph::binary(g, "div", sum, like(c.ev, sum, static_cast<double>(taps->type.shape.back().value())), c.span));
  }
  Node* x = in->node;
  if (!largest) {
    for (size_t i = 0; i < sizes->size(); ++i) {
      const int64_t size = x->type.shape[i + 2].value();
      if (size == sizes->at(i)) continue;
      std::vector<std::vector<double>> rows;
      for (int64_t o = 0; o < sizes->at(i); ++o) {
        auto [begin, end] = adaptive_window(o, sizes->at(i), size);
        rows.emplace_back(static_cast<size_t>(size), 0.0);
        for (int64_t k = begin; k < end; ++k)
          rows.back()[static_cast<size_t>(k)] = 1.0 / static_cast<double>(end - begin);
      }
      x = along_axis(c, x, i + 2, rows);
    }
    return unbatched(c, *in, x);
  }
  // The largest: window by window along each axis.
  for (size_t i = 0; i < sizes->size(); ++i) {
    const int64_t size = x->type.shape[i + 2].value();
    std::vector<Node*> parts;
    for (int64_t o = 0; o < sizes->at(i); ++o) {
      auto [begin, end] = adaptive_window(o, sizes->at(i), size);
      Shape starts(x->type.rank(), Dim(0)), extent = x->type.shape;
      starts[i + 2] = Dim(begin);
      extent[i + 2] = Dim(end - begin);
      Node* part = graph::slice(g, x, starts, extent, IntList(extent.size(), 1), c.span);
      IntList perm = all_axes(x->type.rank());
      std::rotate(perm.begin() + static_cast<int64_t>(i) + 2, perm.begin() + static_cast<int64_t>(i) + 3, perm.end());
      part = first_largest(c, graph::permute(g, part, perm, c.span));
      Shape one = part->type.shape;
      one.insert(one.begin() + static_cast<int64_t>(i) + 2, Dim(1));
      parts.push_back(graph::reshape(g, part, one, c.span));
    }
    x = graph::concat(g, parts, static_cast<int64_t>(i) + 2, c.span);
  }
  return unbatched(c, *in, x);
}

/// upsample1d..3d: nearest picks, linear weighs the two neighbours along each axis.
Value upsample(BuiltinCall& c) {
  auto in = batched(c);
  auto mode = c.text("mode");
  auto corners = c.boolean("align_corners");
  if (!in || !mode || !corners) return {};
  const size_t dims = dims_of(c);
  const std::string linear = dims == 1 ? "linear" : dims == 2 ? "bilinear" : "trilinear";
  if (*mode != "nearest" && *mode != linear) {
    c.ev.error(Code::ArgumentOutOfRange, c.arg("mode").span,
               "the mode is \"nearest\" or \"" + linear + "\" over " + std::to_string(dims) +
                   (dims == 1 ? " axis" : " axes") + ", not \"" + *mode + "\"");
    return {};
  }
  if (c.given("size") == c.given("scale_factor")) {
    c.ev.error(Code::MissingArgument, c.span, std::string(c.builtin.name) + " takes a size or a scale factor");
    return {};
  }
  std::vector<int64_t> sizes;
  std::vector<double> scales(dims, 0);  // as given; PyTorch walks the source with exactly this step
  if (c.given("size")) {
    auto given = output_sizes(c, in->node, "size");
    if (!given) return {};
    sizes = *given;
  } else {
    const ArgValue& a = c.arg("scale_factor");
    std::vector<Value> items(dims, a.value);
    if (const SequenceValue* s = sequence(a.value)) items = s->items;
    for (size_t i = 0; i < dims; ++i) {
      auto factor = i < items.size() ? static_number(items[i]) : std::nullopt;
      if (!factor || items.size() != dims || *factor <= 0) {
        c.ev.error(Code::ArgumentOutOfRange, a.span, "a scale factor is a positive static number");
        return {};
      }
      scales[i] = *factor;
      const Dim& size = in->node->type.shape[i + 2];
      if (size.is_constant()) {
        sizes.push_back(static_cast<int64_t>(static_cast<double>(size.value()) * *factor));
      } else {
        Shape shape(in->node->type.shape.begin(), in->node->type.shape.begin() + 2);
        for (size_t d = 0; d < dims; ++d) {
          auto f = static_number(items[d]);
          const bool whole = f && *f == std::floor(*f);
          shape.push_back(whole ? in->node->type.shape[d + 2] * Dim(static_cast<int64_t>(*f))
                                : Dim::symbol("_" + std::to_string(d)));
        }
        return unbatched(c, *in, open_tensor(c.ev, {in->node->type.dtype, shape}, c.span));
      }
    }
  }
  if (has_open_size(in->node)) return open_result(c, *in, sizes);
  graph::Graph& g = c.ev.graph();
  Node* x = in->node;
  for (size_t i = 0; i < dims; ++i) {
    const int64_t size = x->type.shape[i + 2].value(), wanted = sizes[i];
    if (wanted < 1) {
      c.ev.error(Code::BadSize, c.span, std::string(c.builtin.name) + ": the result would have no elements");
      return {};
    }
    if (size == wanted) continue;
    if (*mode == "nearest" && wanted % size == 0) {
      Shape split = x->type.shape, joined = split;
      split.insert(split.begin() + static_cast<int64_t>(i) + 3, Dim(wanted / size));
      joined[i + 2] = Dim(wanted);
      IntList axes = all_axes(split.size());
      axes.erase(axes.begin() + static_cast<int64_t>(i) + 3);
      x = graph::reshape(g, graph::broadcast(g, x, split, axes, c.span), joined, c.span);
      continue;
    }
    const double step = scales[i] > 0 ? 1 / scales[i] : static_cast<double>(size) / static_cast<double>(wanted);
    std::vector<std::vector<double>> rows;
    for (int64_t o = 0; o < wanted; ++o) {
      rows.emplace_back(static_cast<size_t>(size), 0.0);
      const double last = static_cast<double>(size - 1);
      if (*mode == "nearest") {
        rows.back()[static_cast<size_t>(std::min(last, std::floor(static_cast<double>(o) * step)))] = 1;
        continue;
      }
      double at = *corners ? (wanted > 1 ? static_cast<double>(o) * last / static_cast<double>(wanted - 1) : 0)
                           : std::max(0.0, (static_cast<double>(o) + 0.5) * step - 0.5);
      const auto below = static_cast<size_t>(std::min(last, std::floor(at)));
      const double part = at - static_cast<double>(below);
      rows.back()[below] += 1 - part;
      rows.back()[std::min(below + 1, static_cast<size_t>(size - 1))] += part;
    }
    x = along_axis(c, x, i + 2, rows);
  }
  return unbatched(c, *in, x);
}

/// x.unfold(axis, size, step): the windows of an axis, their places as the last one.
Value unfold(BuiltinCall& c) {
  auto x = c.tensor("x");
  if (!x) return {};
  auto axis = c.axis("axis", x->type.rank());
  auto size = c.integer("size"), step = c.integer("step");
  if (!axis || !size || !step) return {};
  if (*size < 1 || *step < 1) {
    c.ev.error(Code::BadSize, c.span, "unfold: size and step are at least 1");
    return {};
  }
  const Dim& have = x->type.shape[static_cast<size_t>(*axis)];
  if (have.is_constant() && have.value() < *size) {
    c.ev.error(Code::BadSize, c.span,
               "unfold: a window of " + std::to_string(*size) + " is longer than axis " + std::to_string(*axis) +
                   ", which has size " + have.str())
        .label(c.arg("x").span, "is " + type_text(*x));
    return {};
  }
  Node* n = graph::window(c.ev.graph(), c.ev.node(*x), *axis, *size, *step, 1, c.span);
  std::vector<Dim> strides = strides_of(*x);
  const Dim own = strides[static_cast<size_t>(*axis)];
  strides[static_cast<size_t>(*axis)] = own * Dim(*step);
  strides.push_back(own);
  return Value(view_result(c.ev, *x, n, std::move(strides), c.span, "unfold"), c.span);
}

/// An int for each of `dims` axes, from one int or a list: `kernel_size` of a layer, as its parameter's shape needs it.
Value per_axis(BuiltinCall& c) {
  auto dims = c.integer("dims");
  if (!dims) return {};
  const ArgValue& a = c.arg("value");
  if (a.value.is_poison()) return {};
  if (const SequenceValue* s = sequence(a.value)) {
    if (static_cast<int64_t>(s->items.size()) == *dims) return list_of(s->items, a.span);
    c.ev.error(Code::BadSize, a.span,
               "there are " + std::to_string(s->items.size()) + " sizes for " + std::to_string(*dims) + " axes");
    return {};
  }
  return list_of(std::vector<Value>(static_cast<size_t>(*dims), a.value), a.span);
}

/// The padding of a layer, sizes or a word, as pairs for `pad`: from the last axis on.
Value padding_pairs(BuiltinCall& c) {
  const SequenceValue *kernel = sequence(c.arg("kernel_size").value), *dilation = sequence(c.arg("dilation").value);
  const ArgValue& padding = c.arg("padding");
  if (!kernel || !dilation || padding.value.is_poison()) return {};
  const SequenceValue* sizes = sequence(padding.value);
  const std::string* word = padding.value.get<std::string>();
  std::vector<Value> pairs;
  for (size_t i = kernel->items.size(); i-- > 0;) {
    if (!word) {
      const Value each = !sizes ? padding.value : i < sizes->items.size() ? sizes->items[i] : Value(Poison{});
      pairs.insert(pairs.end(), {each, each});
      continue;
    }
    const Dim *k = kernel->items[i].get<Dim>(), *d = dilation->items[i].get<Dim>();
    if (!k || !d) return {};
    const Dim total = *word == "same" ? *d * (*k - Dim(1)) : Dim(0), before = Dim::floor_div(total, Dim(2));
    pairs.insert(pairs.end(), {Value(before, c.span), Value(total - before, c.span)});
  }
  return list_of(std::move(pairs), c.span);
}

constexpr const char* kConv = "input, weight, bias = None, stride = 1, padding = 0, dilation = 1, groups = 1";
constexpr const char* kTransposed =
    "input, weight, bias = None, stride = 1, padding = 0, output_padding = 0, groups = 1, dilation = 1";
constexpr const char* kMaxPool = "input, kernel_size, stride = None, padding = 0, dilation = 1, ceil_mode = false";
constexpr const char* kAvgPool =
    "input, kernel_size, stride = None, padding = 0, ceil_mode = false, count_include_pad = true, divisor_override = "
    "None";
constexpr const char* kAdaptive = "input, output_size";
constexpr const char* kUpsample = "input, size = None, scale_factor = None, mode = \"nearest\", align_corners = false";

constexpr const char* kConvDoc =
    "input [.., C, L..] with weight [O, C / groups, K..]; padding: sizes, \"same\" or \"valid\"";
constexpr const char* kTransposedDoc =
    "the transpose of a convolution: input [.., C, L..], weight [C, O / groups, K..]";
constexpr const char* kMaxPoolDoc = "the largest of each window; equal ones: the first gets the gradient";
constexpr const char* kAvgPoolDoc = "the mean of each window";
constexpr const char* kAdaptiveAvgDoc =
    "means of windows chosen so that the result has output_size; None keeps an axis";
constexpr const char* kAdaptiveMaxDoc = "the largest of windows chosen so that the result has output_size";
constexpr const char* kUpsampleDoc = "resized by picking the nearest element, or linearly between neighbours";

}  // namespace

std::vector<Builtin> convolution_builtins() {
  return {
      {"conv1d", kConv, convolution, kConvDoc},
      {"conv2d", kConv, convolution, kConvDoc},
      {"conv3d", kConv, convolution, kConvDoc},
      {"conv_transpose1d", kTransposed, transposed_convolution, kTransposedDoc},
      {"conv_transpose2d", kTransposed, transposed_convolution, kTransposedDoc},
      {"conv_transpose3d", kTransposed, transposed_convolution, kTransposedDoc},
      {"max_pool1d", kMaxPool, max_pool, kMaxPoolDoc},
      {"max_pool2d", kMaxPool, max_pool, kMaxPoolDoc},
      {"max_pool3d", kMaxPool, max_pool, kMaxPoolDoc},
      {"avg_pool1d", kAvgPool, avg_pool, kAvgPoolDoc},
      {"avg_pool2d", kAvgPool, avg_pool, kAvgPoolDoc},
      {"avg_pool3d", kAvgPool, avg_pool, kAvgPoolDoc},
      {"adaptive_avg_pool1d", kAdaptive, adaptive_pool, kAdaptiveAvgDoc},
      {"adaptive_avg_pool2d", kAdaptive, adaptive_pool, kAdaptiveAvgDoc},
      {"adaptive_avg_pool3d", kAdaptive, adaptive_pool, kAdaptiveAvgDoc},
      {"adaptive_max_pool1d", kAdaptive, adaptive_pool, kAdaptiveMaxDoc},
      {"adaptive_max_pool2d", kAdaptive, adaptive_pool, kAdaptiveMaxDoc},
      {"adaptive_max_pool3d", kAdaptive, adaptive_pool, kAdaptiveMaxDoc},
      {"upsample1d", kUpsample, upsample, kUpsampleDoc},
      {"upsample2d", kUpsample, upsample, kUpsampleDoc},
      {"upsample3d", kUpsample, upsample, kUpsampleDoc},
      {"unfold", "x, axis, size, step = 1", unfold, "the windows of an axis, a view; their places are the last axis"},
      {"padding_pairs", "padding, kernel_size, dilation", padding_pairs,
       "a convolution's padding as pairs of (before, after) for `pad`"},
      {"per_axis", "value, dims", per_axis, "one int for each of `dims` axes, from an int or a list"},
  };
}

}  // namespace nnlc::sema
