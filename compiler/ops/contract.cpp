// The product of two tensors summed over shared axes, written as an einsum: each operand and the result give their axes
// labels. Matrix products of all layouts, batched ones and, over `window`s, convolutions and their gradients are this
// one op.
#include <map>

#include "compiler/ops/detail.h"

namespace nnlc::graph {
using namespace detail;

static TypeResult type(Types in, const Attrs& attrs) {
  const std::string &a = std::get<std::string>(attrs.at("a")), &b = std::get<std::string>(attrs.at("b")),
                    &out = std::get<std::string>(attrs.at("out"));
  if (in[0].dtype != in[1].dtype || in[0].dtype == DType::boolean)
    return TypeResult::fail("can't multiply " + in[0].str() + " by " + in[1].str());
  if (a.size() != in[0].rank() || b.size() != in[1].rank())
    return TypeResult::fail("the labels " + a + " and " + b + " don't fit " + in[0].str() + " and " + in[1].str());
  for (const std::string* labels : {&a, &b, &out})
    for (size_t i = 0; i < labels->size(); ++i)
      if (labels->find((*labels)[i], i + 1) != std::string::npos)
        return TypeResult::fail("the labels " + *labels + " hold one of them twice");
  TensorType t{in[0].dtype, {}};
  for (char c : out) {
    size_t i = a.find(c), j = b.find(c);
    if (i == std::string::npos && j == std::string::npos)
      return TypeResult::fail(std::string("no operand has the label ") + c);
    t.shape.push_back(i != std::string::npos ? in[0].shape[i] : in[1].shape[j]);
  }
  for (size_t i = 0; i < a.size(); ++i) {
    size_t j = b.find(a[i]);
    if (j == std::string::npos ? out.find(a[i]) == std::string::npos : false)
      return TypeResult::fail(std::string("the label ") + a[i] + " stands in one operand only");
    if (j != std::string::npos && in[0].shape[i] != in[1].shape[j])
      return TypeResult::fail(std::string("sizes of ") + a[i] + " differ, " + in[0].shape[i].str() + " and " +
                              in[1].shape[j].str());
  }
  for (char c : b)
    if (a.find(c) == std::string::npos && out.find(c) == std::string::npos)
      return TypeResult::fail(std::string("the label ") + c + " stands in one operand only");
  return t;
}

static void reference(const Node& n, Refs in, RefTensor& out) {
  const std::string &a = n.str_attr("a"), &b = n.str_attr("b"), &o = n.str_attr("out");
  std::string summed;
  for (char c : a)
    if (o.find(c) == std::string::npos) summed += c;
  struct Strides {
    std::map<char, int64_t> of;
    Strides(const std::string& labels, const TensorType& t) {
      std::vector<int64_t> s = strides_of(sizes(t.shape));
      for (size_t i = 0; i < labels.size(); ++i) of[labels[i]] = s[i];
    }
  } sa(a, in[0]->type), sb(b, in[1]->type);
  auto steps = [](Strides& s, const std::string& labels) {
    std::vector<int64_t> r;
    for (char c : labels) r.push_back(s.of.count(c) ? s.of[c] : 0);
    return r;
  };
  std::vector<int64_t> a_out = steps(sa, o), b_out = steps(sb, o);
  // The summed axes' places in both operands, in order: where runs along the last of them begin.
  std::vector<int64_t> extent;
  for (char c : summed) extent.push_back(in[0]->type.shape[a.find(c)].value());
  std::vector<int64_t> a_in = steps(sa, summed), b_in = steps(sb, summed);
  int64_t run = 1, a_step = 0, b_step = 0;
  if (!extent.empty()) {
    run = extent.back(), a_step = a_in.back(), b_step = b_in.back();
    extent.pop_back();
  }
  std::vector<std::pair<int64_t, int64_t>> begins;
  for_each_index(extent, [&](auto& index, size_t) {
    int64_t p = 0, q = 0;
    for (size_t i = 0; i < index.size(); ++i) p += index[i] * a_in[i], q += index[i] * b_in[i];
    begins.push_back({p, q});
  });
  for_each_index(sizes(n.type.shape), [&](auto& index, size_t k) {
    int64_t p = 0, q = 0;
    for (size_t i = 0; i < index.size(); ++i) p += index[i] * a_out[i], q += index[i] * b_out[i];
    if (holds_floats(out)) {
      double sums[4] = {0, 0, 0, 0};  // independent, so that additions overlap in time
      for (auto [i, j] : begins) {
        const double *x = in[0]->f.data() + p + i, *y = in[1]->f.data() + q + j;
        int64_t r = 0;
        for (; r + 4 <= run; r += 4)
          for (int64_t u = 0; u < 4; ++u) sums[u] += x[(r + u) * a_step] * y[(r + u) * b_step];
        for (; r < run; ++r) sums[0] += x[r * a_step] * y[r * b_step];
      }
      out.f[k] = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    } else {
      uint64_t sum = 0;
      for (auto [i, j] : begins)
        for (int64_t r = 0; r < run; ++r)
          sum +=
              static_cast<uint64_t>(in[0]->i[p + i + r * a_step]) * static_cast<uint64_t>(in[1]->i[q + j + r * b_step]);
      out.i[k] = static_cast<int64_t>(sum);
    }
  });
}

static void vjp(Vjp& v) {  // da = dy b and db = a dy, summed over what the other has and the operand lacks
  const std::string &a = v.node().str_attr("a"), &b = v.node().str_attr("b"), &out = v.node().str_attr("out");
  if (v.wants(0)) v.grad(0, contract(v.graph(), v.dy(), v.in(1), out, b, a, v.out()->span));
  if (v.wants(1)) v.grad(1, contract(v.graph(), v.in(0), v.dy(), a, out, b, v.out()->span));
}

const OpDef contract_op{.name = "contract",
                        .op_class = OpClass::contraction,
                        .operands = {"a", "b"},
                        .attributes = {"a", "b", "out"},
                        .type = type,
                        .vjp = vjp,
                        .no_gradient = {},
                        .reference = reference,
                        .doc = "the product of two tensors, summed over the labels that both have and the result lacks",
                        .samples = {{{f64({2, 9}), f64({9, 4})}, {{"a", "mk"}, {"b", "kn"}, {"out", "mn"}}},
                                    {{f64({2, 3}), f64({4, 3})}, {{"a", "mk"}, {"b", "nk"}, {"out", "nm"}}},
                                    {{f64({2, 3, 4}), f64({2, 4, 2})}, {{"a", "bmk"}, {"b", "bkn"}, {"out", "bmn"}}},
                                    {{f64({2, 3, 2}), f64({3, 2, 2})}, {{"a", "mjk"}, {"b", "jnk"}, {"out", "mn"}}},
                                    {{f64({3}), f64({3})}, {{"a", "k"}, {"b", "k"}, {"out", ""}}},
                                    {{f64({2}), f64({3})}, {{"a", "m"}, {"b", "n"}, {"out", "mn"}}},
                                    {{i64({2, 3}), i64({3})}, {{"a", "mk"}, {"b", "k"}, {"out", "m"}}, 0, 0, -4, 4}}};

}  // namespace nnlc::graph
