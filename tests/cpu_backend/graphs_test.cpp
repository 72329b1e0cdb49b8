// Whole graphs: fused row kernels, updates in place, random graphs, a training step with its gradients; the same bits
// for every number of threads.
#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>

#include "compiler/ops/build.h"
#include "compiler/passes/passes.h"
#include "tests/cpu_backend/compare.h"

using namespace nnlc;
using namespace nnlc::graph;
using test::Inputs;

namespace {

TensorType f32(std::initializer_list<int64_t> s) { return {DType::f32, Shape(s.begin(), s.end())}; }
TensorType typed(DType t, std::initializer_list<int64_t> s) { return {t, Shape(s.begin(), s.end())}; }

Node* rows(Graph& g, Node* v, const Shape& shape) { return broadcast(g, v, shape, {0}); }

Node* softmax(Graph& g, Node* x) {
  Node* e = unary(g, "exp", binary(g, "sub", x, rows(g, reduce(g, "max", x, {1}), x->type.shape)));
  return binary(g, "div", e, rows(g, reduce(g, "sum", e, {1}), x->type.shape));
}

Node* mean_rows(Graph& g, Node* x) {
  Node* s = reduce(g, "sum", x, {1});
  return binary(g, "div", s, constant(g, double(x->type.shape[1].value()), s->type));
}

Node* layer_norm(Graph& g, Node* x) {
  Node* d = binary(g, "sub", x, rows(g, mean_rows(g, x), x->type.shape));
  Node* v = mean_rows(g, binary(g, "mul", d, d));
  Node* r = unary(g, "rsqrt", binary(g, "add", v, constant(g, 1e-5, v->type)));
  return binary(g, "mul", d, rows(g, r, x->type.shape));
}

/// Mean cross-entropy of x against class indices.
Node* cross_entropy(Graph& g, Node* x, Node* label) {
  Node* m = reduce(g, "max", x, {1});
  Node* shifted = binary(g, "sub", x, rows(g, m, x->type.shape));
  Node* lse = unary(g, "log", reduce(g, "sum", unary(g, "exp", shifted), {1}));
  Node* picked = gather_along(g, shifted, reshape(g, label, {label->type.shape[0], 1}), 1);
  Node* loss = binary(g, "sub", lse, reshape(g, picked, {label->type.shape[0]}));
  Node* total = reduce(g, "sum", loss, {0});
  return binary(g, "div", total, constant(g, double(label->type.shape[0].value()), total->type));
}

/// One step of 784-like MLP training with Adam; every parameter and moment is updated in place.
Graph mlp_step(int64_t batch, int64_t in, int64_t hidden, int64_t out) {
  Graph g;
  Node* x = g.add_input(f32({batch, in}), "x", {});
  Node* label = g.add_input(typed(DType::i32, {batch}), "label", {});
  Node* w1 = g.add_input(f32({hidden, in}), "w1", {});
  Node* b1 = g.add_input(f32({hidden}), "b1", {});
  Node* w2 = g.add_input(f32({out, hidden}), "w2", {});
  Node* b2 = g.add_input(f32({out}), "b2", {});
  std::vector<Node*> params{w1, b1, w2, b2}, m, v;
  for (Node* p : params) m.push_back(g.add_input(p->type, "m", {}));
  for (Node* p : params) v.push_back(g.add_input(p->type, "v", {}));
  Node* step = g.add_input(typed(DType::i64, {}), "step", {});
  Node* h = contract(g, x, w1, "mk", "nk", "mn");
  h = binary(g, "add", h, broadcast_to(g, b1, h->type.shape));
  h = binary(g, "max", h, constant(g, 0, h->type));
  Node* keep = binary(g, "lt", random(g, "uniform", 77, step, h->type), constant(g, 0.8, h->type));
  h = select(g, keep, binary(g, "mul", h, constant(g, 1.25, h->type)), constant(g, 0, h->type));
  Node* y = contract(g, h, w2, "mk", "nk", "mn");
  y = binary(g, "add", y, broadcast_to(g, b2, y->type.shape));
  Node* loss = cross_entropy(g, y, label);
  SourceManager sources;
  Diagnostics diags;
  auto grads = passes::differentiate(g, loss, params, diags);
  g.outputs.push_back({loss, nullptr});
  Node* t = cast(g, step, DType::f32);
  for (size_t i = 0; i < params.size(); i++) {
    const TensorType& type = params[i]->type;
    auto k = [&](double c) { return constant(g, c, type); };
    Node* m1 = binary(g, "add", binary(g, "mul", m[i], k(0.9)), binary(g, "mul", grads[i], k(0.1)));
    Node* v1 = binary(g, "add", binary(g, "mul", v[i], k(0.999)),
                      binary(g, "mul", binary(g, "mul", grads[i], grads[i]), k(0.001)));
    auto correction = [&](double beta) {
      Node* p = binary(g, "pow", constant(g, beta, t->type), t);
      return broadcast_to(g, binary(g, "sub", constant(g, 1, t->type), p), type.shape);
    };
    Node* root = unary(g, "sqrt", binary(g, "div", v1, correction(0.999)));
    Node* delta = binary(g, "div", binary(g, "div", m1, correction(0.9)), binary(g, "add", root, k(1e-8)));
    g.outputs.push_back({binary(g, "sub", params[i], binary(g, "mul", delta, k(1e-3))), params[i]});
    g.outputs.push_back({m1, m[i]});
    g.outputs.push_back({v1, v[i]});
  }
  g.outputs.push_back({binary(g, "add", step, constant_int(g, 1, step->type)), step});
  return g;
}

std::vector<RefTensor> inputs_for(const Graph& g, unsigned seed) {
  std::mt19937 r(seed);
  std::vector<RefTensor> out;
  for (const Node* i : g.inputs) {
    Inputs how{-0.5, 0.5, 1, 3};
    if (i->name == "v") how.low = 0;
    test::Memory m = test::memory_for(i->type);
    store_ref(test::random_tensor(i->type, how, r), m.get());
    out.push_back(load_ref(i->type, m.get()));
  }
  return out;
}

}  // namespace

TEST_CASE("row kernels") {
  for (int64_t n : {1, 3, 10, 16, 65, 128, 1000}) {
    for (int64_t m : {1, 5, 64}) {
      CAPTURE(n);
      CAPTURE(m);
      for (int form = 0; form < 3; form++) {
        CAPTURE(form);
        Graph g;
        Node* x = g.add_input(f32({m, n}), "x", {});
        Node* label = g.add_input(typed(DType::i32, {m}), "label", {});
        Node* y = form == 0 ? softmax(g, x) : form == 1 ? layer_norm(g, x) : cross_entropy(g, x, label);
        g.outputs.push_back({y, nullptr});
        if (form == 2) {
          Diagnostics diags;
          g.outputs.push_back({passes::differentiate(g, y, {x}, diags)[0], nullptr});
        }
        CHECK(test::check(g, Inputs{-2, 2, 0, 2}, 1, form == 1 ? 60 : 8) == "");
      }
    }
  }
}

TEST_CASE("sums over each choice of axes") {
  for (auto shape : {Shape{7, 33, 5}, Shape{64, 10, 3}, Shape{2, 1, 100}}) {
    for (auto axes :
         {IntList{0}, IntList{1}, IntList{2}, IntList{0, 1}, IntList{0, 2}, IntList{1, 2}, IntList{0, 1, 2}}) {
      for (const char* op : {"sum", "max", "min", "prod"}) {
        Graph g;
        Node* x = g.add_input({DType::f32, shape}, "x", {});
        Node* y = binary(g, "mul", x, constant(g, 0.5, x->type));
        g.outputs.push_back({reduce(g, op, y, axes), nullptr});
        CAPTURE(str(shape));
        CAPTURE(op);
        CHECK(test::check(g, Inputs{0.5, 3}, 1, 20) == "");
      }
    }
  }
}

TEST_CASE("long sums are cut by shape") {
  Graph g;
  Node* x = g.add_input(f32({50000, 3}), "x", {});
  g.outputs.push_back({reduce(g, "sum", binary(g, "mul", x, x), {0, 1}), nullptr});
  g.outputs.push_back({reduce(g, "sum", x, {0}), nullptr});
  g.outputs.push_back({reduce(g, "max", x, {0, 1}), nullptr});
  CHECK(test::check(g, {}, 1, 50) == "");
}

TEST_CASE("movement reads in place") {
  Graph g;
  Node* x = g.add_input(f32({6, 10, 12}), "x", {});
  Node* y = unary(g, "exp", x);
  Node* p = permute(g, y, {2, 0, 1});
  g.outputs.push_back({p, nullptr});
  g.outputs.push_back({reshape(g, p, {24, 30}), nullptr});
  g.outputs.push_back({flip(g, slice(g, x, {1, 2, 0}, {3, 4, 6}, {2, 2, 2}), {0, 2}), nullptr});
  Node* w = window(g, window(g, pad(g, x, {0, 1, 1}, {0, 1, 1}, -1), 1, 3, 1, 1), 2, 3, 2, 1);
  g.outputs.push_back({reduce(g, "max", w, {3, 4}), nullptr});
  Node* c = concat(g, {y, slice(g, y, {0, 0, 0}, {6, 3, 12}, {1, 1, 1}), x}, 1);
  g.outputs.push_back({c, nullptr});
  g.outputs.push_back({reshape(g, pad(g, c, {0, 2, 0}, {0, 1, 0}, 3), {6, 26 * 12}), nullptr});
  g.outputs.push_back({reduce(g, "sum", reshape(g, permute(g, x, {2, 1, 0}), {24, 30}), {1}), nullptr});
  CHECK(test::check(g, {}, 1, 8) == "");
}

TEST_CASE("products of every layout") {
  struct Case {
    const char *a, *b, *o;
    Shape sa, sb;
  };
  for (auto& c : {Case{"mk", "kn", "mn", {37, 53}, {53, 45}}, Case{"mk", "nk", "mn", {64, 100}, {10, 100}},
                  Case{"km", "kn", "mn", {64, 30}, {64, 50}}, Case{"km", "nk", "nm", {20, 33}, {18, 20}},
                  Case{"bhqd", "bhkd", "bhqk", {2, 3, 20, 16}, {2, 3, 24, 16}},
                  Case{"bqhd", "bkhd", "bhqk", {2, 20, 3, 16}, {2, 24, 3, 16}},
                  Case{"bhqk", "bkhd", "bqhd", {2, 3, 20, 24}, {2, 24, 3, 16}},
                  Case{"nchwij", "ocij", "nohw", {2, 3, 8, 8, 3, 3}, {8, 3, 3, 3}},
                  Case{"abk", "kc", "abc", {4, 5, 32}, {32, 12}}, Case{"k", "kn", "n", {50}, {50, 20}},
                  Case{"mk", "k", "m", {30, 50}, {50}}, Case{"akb", "bck", "ac", {9, 8, 7}, {7, 11, 8}}}) {
    for (DType t : {DType::f32, DType::f64, DType::bf16, DType::f16, DType::i32}) {
      Graph g;
      Node* a = g.add_input({t, c.sa}, "a", {});
      Node* b = g.add_input({t, c.sb}, "b", {});
      g.outputs.push_back({contract(g, a, b, c.a, c.b, c.o), nullptr});
      CAPTURE(std::string(c.a));
      CAPTURE(std::string(c.b));
      CAPTURE(name(t));
      CHECK(test::check(g, Inputs{-1, 1, -3, 3}, 1, 30) == "");
    }
  }
}

TEST_CASE("an outer product beside a sum of it") {
  Graph g;
  Node* a = g.add_input(f32({100, 1}), "a", {});
  Node* b = g.add_input(f32({16, 1}), "b", {});
  Node* y = contract(g, a, b, "mn", "kn", "mk");
  Node* z = binary(g, "max", y, constant(g, 0, y->type));
  g.outputs = {{z, nullptr}, {reduce(g, "sum", z, {0}), nullptr}, {reduce(g, "sum", z, {1}), nullptr}};
  CHECK(test::check(g, {}, 1, 50) == "");
}

TEST_CASE("convolution and its gradients") {
  for (int64_t stride : {1, 2}) {
    Graph g;
    Node* x = g.add_input(f32({3, 4, 9, 9}), "x", {});
    Node* w = g.add_input(f32({8, 4, 3, 3}), "w", {});
    Node* p = pad(g, x, {0, 0, 1, 1}, {0, 0, 1, 1}, 0);
    Node* v = window(g, window(g, p, 2, 3, stride, 1), 3, 3, stride, 1);
    Node* y = contract(g, v, w, "nchwij", "ocij", "nohw");
    Node* loss = reduce(g, "sum", binary(g, "mul", y, y), {0, 1, 2, 3});
    Diagnostics diags;
    auto d = passes::differentiate(g, loss, {x, w}, diags);
    g.outputs = {{y, nullptr}, {loss, nullptr}, {d[0], nullptr}, {d[1], nullptr}};
    CHECK(test::check(g, Inputs{-1, 1}, 1, 200) == "");
  }
}

TEST_CASE("updates in place") {
  Graph g;
  Node* a = g.add_input(f32({300}), "a", {});
  Node* b = g.add_input(f32({300}), "b", {});
  Node* c = g.add_input(f32({20, 15}), "c", {});
  Node* d = g.add_input(f32({30}), "d", {});
  Node* e = g.add_input(f32({30}), "e", {});
  Node* sum = binary(g, "add", a, b);
  g.outputs.push_back({sum, a});
  g.outputs.push_back({binary(g, "sub", a, b), b});                       // reads the old a
  g.outputs.push_back({reshape(g, permute(g, c, {1, 0}), {20, 15}), c});  // reads other places than it writes
  g.outputs.push_back({e, d});                                            // exchanged
  g.outputs.push_back({d, e});
  g.outputs.push_back({reduce(g, "sum", a, {0}), nullptr});
  g.outputs.push_back({a, nullptr});    // the value before
  g.outputs.push_back({sum, nullptr});  // one value twice
  CHECK(test::check(g, {}, 1, 20) == "");
}

TEST_CASE("a training step, for each number of threads and each level of features") {
  Graph g = mlp_step(64, 100, 48, 10);
  CHECK(verify(g) == "");
  auto inputs = inputs_for(g, 3);
  auto wanted = test::run(test::reference(), g, inputs);
  for (const char* level : {"", "avx2", "generic"}) {
    std::vector<std::string> first;
    for (int threads : {1, 2, 4}) {
      auto got = test::run(test::cpu(level, threads), g, inputs);
      CAPTURE(level);
      CAPTURE(threads);
      CHECK(test::difference(g, got, wanted, 200) == "");
      if (first.empty()) first = got;
      CHECK((got == first));
    }
  }
}

TEST_CASE("empty tensors") {
  Graph g;
  Node* x = g.add_input(f32({0, 5}), "x", {});
  Node* y = g.add_input(f32({3, 5}), "y", {});
  Node* index = g.add_input(typed(DType::i64, {0}), "index", {});
  g.outputs.push_back({concat(g, {x, y}, 0), nullptr});
  g.outputs.push_back({reduce(g, "sum", unary(g, "exp", x), {0}), nullptr});
  g.outputs.push_back({reshape(g, unary(g, "exp", permute(g, x, {1, 0})), {0, 5}), nullptr});
  g.outputs.push_back({gather(g, y, index, 0), nullptr});
  g.outputs.push_back({scatter_add(g, index, x, 0, 4), nullptr});
  g.outputs.push_back({sort(g, x, 0, false), nullptr});
  g.outputs.push_back({contract(g, x, y, "mk", "nk", "mn"), nullptr});
  g.outputs.push_back({contract(g, x, x, "km", "kn", "mn"), nullptr});
  CHECK(test::check(g) == "");
}

TEST_CASE("indices that are data, large enough for several threads") {
  for (DType t : {DType::f32, DType::bf16, DType::i32}) {
    Graph g;
    Node* table = g.add_input(typed(t, {50, 40}), "table", {});
    Node* index = g.add_input(typed(DType::i32, {30, 20}), "index", {});
    Node* e = gather(g, table, index, 0);
    g.outputs.push_back({e, nullptr});
    g.outputs.push_back({scatter_add(g, index, e, 0, 50), nullptr});
    g.outputs.push_back({cumsum(g, e, 1), nullptr});
    g.outputs.push_back({sort(g, e, 1, true), nullptr});
    g.outputs.push_back({argsort(g, table, 0, false), nullptr});
    g.outputs.push_back({arg_reduce(g, "argmax", e, 2), nullptr});
    g.outputs.push_back({arg_reduce(g, "argmin", e, 1), nullptr});
    CAPTURE(name(t));
    CHECK(test::check(g, Inputs{-2, 2, -2, 60}, 4, 30) == "");
  }
}

TEST_CASE("attention with its gradients") {
  // x is (batch, time, channel); heads are read in place.
  int64_t b = 2, t = 24, h = 2, d = 16, c = h * d;
  Graph g;
  Node* x = g.add_input(f32({b, t, c}), "x", {});
  std::vector<Node*> w;
  for (int i = 0; i < 3; i++) w.push_back(g.add_input(f32({c, c}), "w", {}));
  auto heads = [&](Node* m) {
    return permute(g, reshape(g, contract(g, x, m, "btc", "dc", "btd"), {b, t, h, d}), {0, 2, 1, 3});
  };
  Node *q = heads(w[0]), *k = heads(w[1]), *v = heads(w[2]);
  Node* s = contract(g, q, k, "bhqd", "bhkd", "bhqk");
  s = binary(g, "mul", s, constant(g, 0.25, s->type));
  Node* past =
      binary(g, "le", iota(g, typed(DType::i64, {b, h, t, t}), 3), iota(g, typed(DType::i64, {b, h, t, t}), 2));
  s = select(g, past, s, constant(g, -1e9, s->type));
  auto spread = [&](Node* r) { return broadcast(g, r, s->type.shape, {0, 1, 2}); };
  Node* e = unary(g, "exp", binary(g, "sub", s, spread(stop_gradient(g, reduce(g, "max", s, {3})))));
  Node* p = binary(g, "div", e, spread(reduce(g, "sum", e, {3})));
  Node* y = reshape(g, permute(g, contract(g, p, v, "bhqk", "bhkd", "bhqd"), {0, 2, 1, 3}), {b, t, c});
  Node* loss = reduce(g, "sum", binary(g, "mul", y, y), {0, 1, 2});
  Diagnostics diags;
  g.outputs = {{y, nullptr}, {loss, nullptr}};
  for (Node* n : passes::differentiate(g, loss, {x, w[0], w[1], w[2]}, diags)) g.outputs.push_back({n, nullptr});
  CHECK(test::check(g, Inputs{-0.7, 0.7}, 1, 300) == "");
}

TEST_CASE("a second start takes its code from the cache") {
  std::string folder =
      (std::filesystem::temp_directory_path() / ("nnlc_cpu_backend_" + std::to_string(getpid()))).string();
  Graph g = mlp_step(16, 40, 24, 10);
  auto inputs = inputs_for(g, 3);
  std::vector<std::string> first;
  for (int i = 0; i < 2; i++) {
    codegen::CpuOptions options;
    options.threads = 1;
    options.cache_dir = folder;
    auto backend = codegen::make_cpu_backend(options);
    auto got = test::run(*backend, g, inputs);
    if (i == 0) first = got;
    CHECK((got == first));
    CHECK(!backend->emit(g.clone(), "loop").empty());
  }
  CHECK(!std::filesystem::is_empty(folder));
  std::filesystem::remove_all(folder);
}

TEST_CASE("what is computed together") {
  auto launches = [](const Graph& g) {
    std::string text = test::cpu().emit(g.clone(), "loop");
    int n = 0;
    for (size_t at = 0; (at = text.find("\n  k", at)) != text.npos; at++) n++;
    return n;
  };
  Graph g;
  Node* x = g.add_input(f32({64, 128}), "x", {});
  g.outputs = {{softmax(g, x), nullptr}};
  CHECK(launches(g) == 1);
  Graph n;
  n.outputs = {{layer_norm(n, n.add_input(f32({64, 128}), "x", {})), nullptr}};
  CHECK(launches(n) == 1);
  Graph p;  // bias and activation in the store of the product
  Node* a = p.add_input(f32({64, 100}), "a", {});
  Node* w = p.add_input(f32({32, 100}), "w", {});
  Node* b = p.add_input(f32({32}), "b", {});
  Node* y = contract(p, a, w, "mk", "nk", "mn");
  y = binary(p, "add", y, broadcast_to(p, b, y->type.shape));
  p.outputs = {{binary(p, "max", y, constant(p, 0, y->type)), nullptr}};
  CHECK(launches(p) == 1);
  // A layer with dropout is one kernel, its mask included; a gradient's norm and the update that it goes into are one.
  std::string step = test::cpu().emit(mlp_step(64, 100, 48, 10), "loop");
  CHECK(step.find("random uniform") == step.rfind("random uniform"));
  const size_t product = step.find("gemm 1x64x48x100");
  CHECK(step.find("random uniform") < step.find("\nk", product));
  Graph u;
  Node* gw = contract(u, u.add_input(f32({64, 40}), "d", {}), u.add_input(f32({64, 30}), "x", {}), "km", "kn", "mn");
  Node* old_w = u.add_input(gw->type, "w", {});
  Node* new_w = binary(u, "sub", old_w, binary(u, "mul", gw, constant(u, 0.1, gw->type)));
  u.outputs = {{reduce(u, "sum", binary(u, "mul", gw, gw), {0, 1}), nullptr}, {new_w, old_w}};
  CHECK(launches(u) == 2);
  CHECK(test::check(u, Inputs{-1, 1}, 1, 10) == "");
  Graph m;  // a convolution's padded windows are copied once, then multiplied
  Node* image = m.add_input(f32({2, 8, 10, 10}), "image", {});
  Node* kernel = m.add_input(f32({16, 8, 3, 3}), "kernel", {});
  Node* v = window(m, window(m, pad(m, image, {0, 0, 1, 1}, {0, 0, 1, 1}, 0), 2, 3, 1, 1), 3, 3, 1, 1);
  m.outputs = {{reduce(m, "sum", contract(m, v, kernel, "nchwij", "ocij", "nohw"), {2, 3}), nullptr}};
  CHECK(launches(m) <= 4);
}

TEST_CASE("the steps of an unrolled loop share their kernels") {
  // h' = tanh(x_t + h w), collected, with the gradients of x and w: a scan.
  auto unrolled = [](int64_t steps, Graph& g) {
    const int64_t n = 16, h = 32;
    Node *raw = g.add_input(f32({steps, n, h}), "x", {}), *w = g.add_input(f32({h, h}), "w", {});
    Node *x = unary(g, "exp", raw), *state = constant(g, 0, f32({n, h}));
    std::vector<Node*> out;
    for (int64_t t = 0; t < steps; ++t) {
      Node* now = reshape(g, slice(g, x, {t, 0, 0}, {1, n, h}, {1, 1, 1}), {n, h});
      state = unary(g, "tanh", binary(g, "add", now, contract(g, state, w, "mk", "kn", "mn")));
      out.push_back(reshape(g, state, {1, n, h}));
    }
    Node* all = concat(g, out, 0);
    Node* loss = reduce(g, "sum", binary(g, "mul", all, all), {0, 1, 2});
    Diagnostics diags;
    g.outputs = {{loss, nullptr}};
    for (Node* d : passes::differentiate(g, loss, {raw, w}, diags)) g.outputs.push_back({d, nullptr});
    passes::settle(g);
  };
  auto kernels = [](const std::string& plan) {
    int n = 0;
    for (size_t at = 0; (at = plan.find(": kernel (", at)) != plan.npos; ++at) ++n;
    return n;
  };
  Graph few, many;
  unrolled(20, few);
  unrolled(40, many);
  const std::string a = test::cpu().emit(few.clone(), "loop"), b = test::cpu().emit(many.clone(), "loop");
  CHECK(kernels(b) == kernels(a));
  // What the steps give is computed where it is collected: no kernel reads all of them, one by one.
  CHECK(b.find("b12: ") == b.npos);
  for (int threads : {1, 3}) CHECK(test::check(many, Inputs{-0.1, 0.1}, 1, 200, "", threads) == "");
}

TEST_CASE("dropout in the store of a product, few rows too") {
  for (int64_t rows : {2, 3, 4, 5, 64})
    for (int64_t columns : {16, 18, 30, 47, 100}) {
      CAPTURE(rows);
      CAPTURE(columns);
      Graph g;
      Node* a = g.add_input(f32({rows, 64}), "a", {});
      Node* w = g.add_input(f32({columns, 64}), "w", {});
      Node* step = g.add_input(typed(DType::i64, {}), "step", {});
      Node* y = contract(g, a, w, "mk", "nk", "mn");
      Node* keep = binary(g, "lt", random(g, "uniform", 5, step, y->type), constant(g, 0.5, y->type));
      g.outputs = {{select(g, keep, y, constant(g, 0, y->type)), nullptr}, {keep, nullptr}};
      for (int threads : {1, 3}) CHECK(test::check(g, Inputs{-1, 1}, 1, 64, "", threads) == "");
    }
}

TEST_CASE("random graphs") {
  for (unsigned seed = 0; seed < 80; seed++) {
    std::mt19937 r(seed);
    auto pick = [&](size_t n) { return size_t(r() % n); };
    Graph g;
    int64_t rows = int64_t(1 + pick(40)), columns = int64_t(1 + pick(70));
    Shape full{rows, columns};
    std::vector<Node*> whole{g.add_input(f32({rows, columns}), "x", {}), g.add_input(f32({rows, columns}), "y", {})};
    std::vector<Node*> per_row{g.add_input(f32({rows}), "r", {})}, per_column{g.add_input(f32({columns}), "c", {})};
    int steps = int(4 + pick(16));
    for (int s = 0; s < steps; s++) {
      Node* a = whole[pick(whole.size())];
      switch (pick(14)) {
        case 0:
          whole.push_back(unary(g, "tanh", a));
          break;
        case 1:
          whole.push_back(binary(g, "add", a, whole[pick(whole.size())]));
          break;
        case 2:
          whole.push_back(binary(g, "mul", a, unary(g, "tanh", whole[pick(whole.size())])));
          break;
        case 3:
          per_row.push_back(unary(g, "tanh", reduce(g, pick(2) ? "sum" : "max", a, {1})));
          break;
        case 4:
          per_column.push_back(unary(g, "tanh", reduce(g, pick(2) ? "sum" : "min", a, {0})));
          break;
        case 5:
          whole.push_back(binary(g, "sub", a, broadcast(g, per_row[pick(per_row.size())], full, {0})));
          break;
        case 6:
          whole.push_back(binary(g, "mul", a, broadcast(g, per_column[pick(per_column.size())], full, {1})));
          break;
        case 7:
          whole.push_back(unary(g, "tanh",
                                contract(g, a, whole[pick(whole.size())], "mk", "nk", "mn")->type.shape == full
                                    ? contract(g, a, a, "mk", "nk", "mn")
                                    : a));
          break;
        case 8:
          whole.push_back(flip(g, a, {int64_t(pick(2))}));
          break;
        case 9:
          whole.push_back(unary(g, "sign", a));
          break;
        case 11: {
          Node *u = reshape(g, per_row[pick(per_row.size())], {rows, 1}),
               *v = reshape(g, per_column[pick(per_column.size())], {columns, 1});
          whole.push_back(unary(g, "tanh", contract(g, u, v, "mk", "nk", "mn")));
          break;
        }
        case 12: {  // back to the full shape through a product
          Node* square = contract(g, a, whole[pick(whole.size())], "mk", "nk", "mn");
          whole.push_back(unary(g, "tanh", contract(g, square, a, "mk", "kn", "mn")));
          break;
        }
        case 10:
          whole.push_back(reshape(g, permute(g, reshape(g, a, {columns, rows}), {1, 0}), full));
          break;
        default:
          whole.push_back(select(g, binary(g, "lt", a, whole[0]), a, unary(g, "neg", a)));
          break;
      }
    }
    g.outputs.push_back({whole.back(), whole[1]});
    for (int i = 0; i < 3; i++) g.outputs.push_back({whole[pick(whole.size())], nullptr});
    g.outputs.push_back({per_row.back(), nullptr});
    g.outputs.push_back({per_column.back(), nullptr});
    CAPTURE(seed);
    CHECK(test::check(g, Inputs{-1, 1}, seed, 100) == "");
  }
}
