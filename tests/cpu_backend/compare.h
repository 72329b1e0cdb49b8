// Runs one graph on two backends with the same random inputs and compares what comes out.
#pragma once
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "compiler/codegen/backend.h"
#include "compiler/ops/evaluate.h"

namespace nnlc::test {

struct Free {
  void operator()(void* p) const { std::free(p); }
};
using Memory = std::unique_ptr<void, Free>;

struct Inputs {
  double low = -2, high = 2;
  int64_t int_low = 0, int_high = 3;
};

inline int64_t bytes_of(const graph::TensorType& t) {
  int64_t n = int64_t(graph::size_bytes(t.dtype));
  for (int64_t s : graph::sizes(t.shape)) n *= s;
  return n;
}

inline Memory memory_for(const graph::TensorType& t) {
  void* p = std::aligned_alloc(64, size_t((bytes_of(t) + 127) / 64 * 64));
  std::memset(p, 0xcd, size_t((bytes_of(t) + 127) / 64 * 64));
  return Memory(p);
}

inline graph::RefTensor random_tensor(const graph::TensorType& t, const Inputs& how, std::mt19937& r) {
  graph::RefTensor v = graph::make_ref(t);
  for (double& f : v.f) f = std::uniform_real_distribution<double>(how.low, how.high)(r);
  for (int64_t& i : v.i)
    i = t.dtype == graph::DType::boolean
            ? int64_t(r() & 1)
            : std::uniform_int_distribution<int64_t>(
                  t.dtype == graph::DType::u8 ? std::max<int64_t>(0, how.int_low) : how.int_low, how.int_high)(r);
  return v;
}

/// The outputs' bytes.
inline std::vector<std::string> run(codegen::Backend& backend, const graph::Graph& g,
                                    const std::vector<graph::RefTensor>& inputs) {
  auto step = backend.compile(g.clone());
  std::vector<Memory> memory;
  std::vector<void*> pointers;
  for (size_t i = 0; i < g.inputs.size(); i++) {
    memory.push_back(memory_for(g.inputs[i]->type));
    graph::store_ref(inputs[i], memory.back().get());
    pointers.push_back(memory.back().get());
  }
  for (auto& o : g.outputs) {
    if (o.updates) {
      for (size_t i = 0; i < g.inputs.size(); i++)
        if (g.inputs[i] == o.updates) pointers.push_back(pointers[i]);
      continue;
    }
    memory.push_back(memory_for(o.value->type));
    pointers.push_back(memory.back().get());
  }
  step->run(pointers.data());
  std::vector<std::string> out;
  for (size_t i = 0; i < g.outputs.size(); i++)
    out.emplace_back(static_cast<const char*>(pointers[g.inputs.size() + i]),
                     size_t(bytes_of(g.outputs[i].value->type)));
  return out;
}

inline double tolerance(graph::DType t) {
  switch (t) {
    case graph::DType::f64:
      return 1e-12;
    case graph::DType::f32:
      return 2e-6;
    case graph::DType::f16:
      return 4e-3;
    case graph::DType::bf16:
      return 3e-2;
    default:
      return 0;
  }
}

/// Empty if all outputs agree, else the first place where they don't. scale: how much larger than one rounding errors
/// may be.
inline std::string difference(const graph::Graph& g, const std::vector<std::string>& a,
                              const std::vector<std::string>& b, double scale = 4) {
  for (size_t o = 0; o < a.size(); o++) {
    const graph::TensorType& t = g.outputs[o].value->type;
    graph::RefTensor x = graph::load_ref(t, a[o].data()), y = graph::load_ref(t, b[o].data());
    double largest = 1;
    for (double f : y.f)
      if (std::isfinite(f)) largest = std::max(largest, std::fabs(f));
    for (size_t i = 0; i < x.f.size(); i++) {
      if (std::isnan(x.f[i]) && std::isnan(y.f[i])) continue;
      if (x.f[i] == y.f[i]) continue;
      if (!(std::fabs(x.f[i] - y.f[i]) <=
            scale * tolerance(t.dtype) * std::max(std::fabs(y.f[i]), std::min(largest, 1.0))))
        return "output " + std::to_string(o) + " element " + std::to_string(i) + ": " + std::to_string(x.f[i]) +
               ", should be " + std::to_string(y.f[i]);
    }
    for (size_t i = 0; i < x.i.size(); i++)
      if (x.i[i] != y.i[i])
        return "output " + std::to_string(o) + " element " + std::to_string(i) + ": " + std::to_string(x.i[i]) +
               ", should be " + std::to_string(y.i[i]);
  }
  return {};
}

codegen::Backend& cpu(const std::string& features = "", int threads = 2);
codegen::Backend& reference();
/// Compares the CPU backend with the reference on random inputs.
std::string check(const graph::Graph& g, const Inputs& how = {}, unsigned seed = 1, double scale = 4,
                  const std::string& features = "", int threads = 2);

}  // namespace nnlc::test
