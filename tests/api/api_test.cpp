// The C++ interface: what a program declares, its layers called and trained on the test's own memory.
#include <doctest/doctest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <nnlc.hpp>
#include <sstream>

#include "allocations.h"
#include "programs.h"

using namespace nnlc;
using programs::labels;
using programs::numbers;

namespace {

CompileOptions one_thread() {
  CompileOptions o;
  o.threads = 1;
  return o;
}
Program net_program() { return Program::from_text(programs::kNet, "net.nnl", one_thread()); }

template <class T>
Tensor over(std::vector<T>& v, DType t, std::vector<int64_t> shape) {
  return Tensor::over(v.data(), t, std::move(shape));
}

template <class Body>
Error error_of(const Body& body) {
  try {
    body();
  } catch (const Error& e) {
    return e;
  }
  FAIL("nothing was thrown");
  return Error(Status::ok, "");
}

TrainerOptions cross_entropy() {
  TrainerOptions o;
  o.loss = "cross_entropy";
  o.optimizer_arguments = {{"lr", 0.01}};
  return o;
}

}  // namespace

TEST_CASE("declarations are listed with their types") {
  Program p = Program::from_text("## Passes over the data.\nconfig epochs: int = 2 + 3\n" + std::string(programs::kNet),
                                 "net.nnl", one_thread());
  REQUIRE(p.configs().size() == 1);
  CHECK(p.configs()[0].name == "epochs");
  CHECK(p.configs()[0].type == "int");
  CHECK(p.configs()[0].default_value == "2 + 3");
  CHECK(p.configs()[0].doc == "Passes over the data.");
  REQUIRE(p.layers().size() == 1);
  const Layer& l = p.layers()[0];
  CHECK(l.name == "Net");
  CHECK(l.doc == "Four numbers to three classes.");
  REQUIRE(l.parameters.size() == 2);
  CHECK(l.parameters[1].name == "rate");
  CHECK(l.parameters[1].type == "float");
  CHECK(l.parameters[1].default_value == "0.25");
  REQUIRE(l.methods.size() == 2);
  CHECK(l.methods[0].name == "forward");
  CHECK(l.methods[0].result == "[N, 3]");
  CHECK(l.methods[0].doc == "Scores of the classes.");
  CHECK(l.methods[1].parameters[0].type == "[N, 4]");
  REQUIRE(p.functions().size() == 1);
  CHECK(p.functions()[0].parameters[2].type == "class(3)[N]");
  CHECK(p.functions()[0].place.line == 15);
  CHECK(p.optimizers().empty());

  p = Program::from_text(R"(
## Heavy.
optimizer Ball(lr: float = 0.1, mass: float = 0.9) {
  state velocity = zeros_like(param)
  update(param, grad) {
    velocity = mass * velocity + grad
    param = param - lr * velocity
  }
})");
  REQUIRE(p.optimizers().size() == 1);
  const Optimizer& o = p.optimizers()[0];
  CHECK(o.name == "Ball");
  CHECK(o.doc == "Heavy.");
  CHECK(o.place.line == 3);
  REQUIRE(o.parameters.size() == 2);
  CHECK(o.parameters[1].name == "mass");
  CHECK(o.parameters[1].default_value == "0.9");
  CHECK(o.states == std::vector<std::string>{"velocity"});
}

TEST_CASE("devices: a GPU that can't be used is an error, or the CPU takes its place") {
  setenv("NNLC_LIBCUDA", "/no/such/folder", 1);  // so that none can, whatever this machine has
  CompileOptions options;
  options.device = "gpu";
  CHECK(error_of([&] { Program::from_text("", "a.nnl", options); }).status() == Status::invalid_argument);
  options.device = "cuda";
  const Program p = Program::from_text("print(1 + 1)\n", "a.nnl", options);
  const Error e = error_of([&] { p.run({}); });
  CHECK(e.status() == Status::unsupported);
  CHECK(error_of([&] { p.instantiate("Linear", {{"", 2}, {"", 3}}); }).status() == Status::unsupported);
  CHECK(std::string(e.what()).find(
            "the device \"cuda\": NVIDIA's driver isn't installed (NNLC_LIBCUDA=/no/such/folder") != std::string::npos);
  std::string log, out;
  options.device = "auto";
  options.log = [&](const std::string& text) { log += text; };
  RunOptions run;
  run.print = [&](const std::string& text) { out += text; };
  const Program q = Program::from_text("print(sum(tensor([1.0, 2.0]) * 2))\n", "a.nnl", options);
  q.run(run);
  CHECK(out == "6.0\n");
  CHECK(q.instantiate("Linear", {{"", 2}, {"", 3}}).parameters().size() == 2);
  CHECK(log.find("the device \"auto\" is the CPU: NVIDIA's driver isn't installed") != std::string::npos);
  CHECK(std::count(log.begin(), log.end(), '\n') == 1);
  unsetenv("NNLC_LIBCUDA");
}

TEST_CASE("what is wrong with a program is data") {
  const std::string text = "let x = zeros([2, 3])\nlet y = ones([4])\nprint(x + y)\n";
  Error e = error_of([&] { Program::from_text(text, "wrong.nnl"); });
  CHECK(e.status() == Status::program_error);
  REQUIRE(e.diagnostics().size() == 1);
  const Diagnostic& d = e.diagnostics()[0];
  CHECK(d.severity == Severity::error);
  CHECK(d.code.size() == 5);
  CHECK(d.place.file == "wrong.nnl");
  CHECK(d.place.line == 3);
  CHECK(text.substr(d.place.begin, d.place.end - d.place.begin).find('+') != std::string::npos);
  CHECK(d.labels.size() >= 1);
  CHECK(d.text.find("error[" + d.code + "]: " + d.message) == 0);
  CHECK(d.text.find("--> wrong.nnl:3:") != std::string::npos);
  CHECK(d.json.find("\"code\":\"" + d.code + "\"") != std::string::npos);
  CHECK(Program::check(text, "wrong.nnl").size() == 1);
  CHECK(Program::check(programs::kNet).empty());
  CHECK(error_of([] { Program::from_file("/no/such/file.nnl"); }).status() == Status::data_error);
  CompileOptions abacus;
  abacus.device = "abacus";
  CHECK(error_of([&] { Program::from_text("", "a.nnl", abacus); }).status() == Status::invalid_argument);
  CompileOptions config;
  config.configs["epoch"] = "1";
  e = error_of([&] { Program::from_text("config epochs: int = 1\n", "a.nnl", config); });
  CHECK(e.status() == Status::program_error);
  CHECK(std::string(e.what()).find("no config `epoch`") != std::string::npos);
}

TEST_CASE("a program runs, its output goes to a callback") {
  CompileOptions options = one_thread();
  options.configs["n"] = "3";
  Program p = Program::from_text(R"(
config n: int = 1
var total = 0.0
for i in 0..n {
  total = total + 0.5
  record(total, twice = 2 * total)
}
print("total {total}")
let data = blobs(n = 10)
let rows = sum(for b in data.batches(4) { 1.0 })
print(rows)
)",
                                 "run.nnl", options);
  std::string printed;
  std::vector<double> recorded;
  std::vector<int64_t> done;
  RunOptions run;
  run.print = [&](const std::string& s) { printed += s; };
  run.record = [&](int64_t step, const Scalars& values) {
    CHECK(step == static_cast<int64_t>(recorded.size()));
    REQUIRE(values.size() == 2);
    CHECK(values[1].first == "twice");
    recorded.push_back(values[1].second);
  };
  run.progress = [&](const Progress& s) {
    CHECK(s.total == 3);
    done.push_back(s.done);
  };
  p.run(run);
  CHECK(printed == "total 1.5\n3.0\n");
  CHECK(recorded == std::vector<double>{1, 2, 3});
  CHECK(done == std::vector<int64_t>{0, 1, 2, 3});
  p.run();  // a second time, into nothing

  // Batches of two sizes have a body each, and one count.
  std::vector<int64_t> steps;
  run = {};
  run.record = [&](int64_t step, const Scalars&) { steps.push_back(step); };
  Program::from_text("for i in 0..2 { for b in blobs(n = 10).batches(4) { record(sum = sum(b.x)) } }", "b.nnl",
                     one_thread())
      .run(run);
  CHECK(steps == std::vector<int64_t>{0, 1, 2, 3, 4, 5});

  Program failing = Program::from_text("let x = tensor([1.0, 2.0])\nassert(x[0] > x[1], \"no\")\n", "a.nnl");
  Error e = error_of([&] { failing.run(); });
  CHECK(e.status() == Status::run_failed);
  CHECK(e.diagnostics()[0].place.line == 2);
}

TEST_CASE("a run ends where it is cancelled") {
  Program p = Program::from_text("var n = 0\nwhile n < 1000000000 { n = n + 1 }\nprint(n)\n");
  RunOptions run;
  run.cancel.emplace();
  run.cancel->cancel();
  Error e = error_of([&] { p.run(run); });
  CHECK(e.status() == Status::cancelled);
}

TEST_CASE("a layer is called on the caller's memory") {
  Program p = net_program();
  Model m = p.instantiate("Net", {{"hidden", 5}});
  auto info = m.parameters();
  REQUIRE(info.size() == 4);
  CHECK(info[0].name == "first.weight");
  CHECK(info[0].shape == std::vector<int64_t>{5, 4});
  CHECK(info[0].learned);

  std::vector<float> x = numbers(6 * 4);
  std::vector<Tensor> in{over(x, DType::f32, {6, 4})};
  Tensor y = m.call(in)[0];
  CHECK(y.shape() == std::vector<int64_t>{6, 3});
  // Against plain loops.
  const Tensor w1 = m.parameter("first.weight"), b1 = m.parameter("first.bias"), w2 = m.parameter("second.weight"),
               b2 = m.parameter("second.bias");
  auto check = [&](const float* got) {
    for (int n = 0; n < 6; ++n)
      for (int c = 0; c < 3; ++c) {
        double sum = b2.as<float>()[c];
        for (int h = 0; h < 5; ++h) {
          double s = b1.as<float>()[h];
          for (int k = 0; k < 4; ++k) s += double(w1.as<float>()[h * 4 + k]) * x[n * 4 + k];
          sum += std::max(s, 0.0) * w2.as<float>()[c * 5 + h];
        }
        CHECK(got[n * 3 + c] == doctest::Approx(sum).epsilon(1e-5));
      }
  };
  check(y.as<float>());

  // Into the caller's memory; what changes there shows in the next call.
  std::vector<float> out(18, -1);
  std::vector<Tensor> outs{over(out, DType::f32, {6, 3})};
  x[0] = 5;
  m.call_into(in, outs);
  check(out.data());
  CHECK(y.as<float>()[0] != out[0]);  // the earlier result is whole
  x[1] = -3;
  const int64_t before = allocations();
  m.call_into(in, outs);
  CHECK(allocations() == before);
  check(out.data());

  // Other shapes, other methods.
  Tensor h =
      m.call({over(x, DType::f32, {3, 4})}, {.method = "hidden_of", .training = false, .copies = {}, .cancel = {}})[0];
  CHECK(h.shape() == std::vector<int64_t>{3, 5});
  CHECK(m.call({over(x, DType::f32, {2, 4})})[0].shape() == std::vector<int64_t>{2, 3});
  m.call_into(in, outs);
  check(out.data());

  // In training mode dropout acts, with new draws each time.
  CallOptions training;
  training.training = true;
  Tensor a = m.call(in, training)[0], b = m.call(in, training)[0];
  bool differ = false;
  for (int i = 0; i < 18; ++i) differ |= a.as<float>()[i] != b.as<float>()[i];
  CHECK(differ);
}

TEST_CASE("layers of the library, expressions, functions of the program") {
  Program p = net_program();
  Model linear = p.instantiate("Linear", {{"", 4}, {"", 2}, {"bias", false}});
  CHECK(linear.parameters().size() == 1);
  Model m = p.instantiate(Expression{"Sequential(Linear(4, 2), ReLU(), Net())"});
  (void)m;
  Model s = p.instantiate(Expression{"Sequential(Linear(4, 4), Net())"});
  std::vector<float> x = numbers(8);
  CHECK(s.call({over(x, DType::f32, {2, 4})})[0].shape() == std::vector<int64_t>{2, 3});
  CHECK(s.parameters()[2].name == "1.first.weight");
  Error e = error_of([&] { p.instantiate("Nett"); });
  CHECK(e.status() == Status::program_error);
  CHECK(e.diagnostics()[0].text.find("Net") != std::string::npos);
  CHECK(error_of([&] { p.instantiate("Net", {{"hiden", 3}}); }).status() == Status::program_error);
  CHECK(error_of([&] { p.instantiate("Net(); print"); }).status() == Status::invalid_argument);
  CHECK(error_of([&] { p.instantiate("relu"); }).status() == Status::program_error);
  CHECK(error_of([&] { p.instantiate("Linear", {{"", Expression{"_"}}, {"", 2}}); }).status() == Status::program_error);
}

TEST_CASE("wrong tensors are refused, with the words of nnlc check") {
  Program p = net_program();
  Model m = p.instantiate("Net");
  std::vector<float> x = numbers(30);
  Error e = error_of([&] { m.call({over(x, DType::f32, {6, 5})}); });
  CHECK(e.status() == Status::program_error);
  REQUIRE(e.diagnostics().size() == 1);
  const std::string check =
      error_of([&] {
        Program::from_text(programs::kNet + std::string("let model = Net()\nlet x = zeros([6, 5])\nprint(model(x))\n"));
      })
          .diagnostics()[0]
          .message;
  CHECK(e.diagnostics()[0].message == check);
  CHECK(e.diagnostics()[0].place.file == "<step>");
  std::vector<double> d(24);
  CHECK(error_of([&] { m.call({over(d, DType::f64, {6, 4})}); }).status() == Status::program_error);
  CHECK(error_of([&] { m.call({}); }).status() == Status::program_error);
  CHECK(error_of([&] { m.call({Tensor()}); }).status() == Status::invalid_argument);
  CHECK(error_of([&] {
          m.call({over(x, DType::f32, {6, 4})}, {.method = "backward", .training = false, .copies = {}, .cancel = {}});
        }).status() == Status::program_error);
  // The model is as good as before.
  CHECK(m.call({over(x, DType::f32, {6, 4})}).size() == 1);

  std::vector<Tensor> in{over(x, DType::f32, {6, 4})};
  std::vector<float> y(18);
  std::vector<Tensor> out{over(y, DType::f32, {3, 6})};
  e = error_of([&] { m.call_into(in, out); });
  CHECK(std::string(e.what()) == "the output is f32[6, 3], and the tensor for it f32[3, 6]");
  out = {over(x, DType::f32, {6, 3})};
  CHECK(std::string(error_of([&] { m.call_into(in, out); }).what()).find("shares memory") != std::string::npos);
  out = {Tensor::over(static_cast<const float*>(y.data()), DType::f32, {6, 3})};
  CHECK(std::string(error_of([&] { m.call_into(in, out); }).what()).find("read-only") != std::string::npos);
  out = {};
  CHECK(error_of([&] { m.call_into(in, out); }).status() == Status::invalid_argument);
}

TEST_CASE("a copy is made only where it is allowed, and the reason is said") {
  Program p = net_program();
  Model m = p.instantiate("Net");
  std::vector<float> x = numbers(24), t(24);
  for (int i = 0; i < 6; ++i)
    for (int k = 0; k < 4; ++k) t[k * 6 + i] = x[i * 4 + k];
  Tensor dense = over(x, DType::f32, {6, 4});
  Tensor turned = Tensor::over(t.data(), DType::f32, {6, 4}, {1, 6});
  CHECK(turned.why_copied() == "its strides are [1, 6], and dense row-major ones would be [4, 1]");
  Error e = error_of([&] { m.call({turned}); });
  CHECK(e.status() == Status::copy_needed);
  CHECK(std::string(e.what()) ==
        "`x` would have to be copied: its strides are [1, 6], and dense row-major ones would be [4, 1]");
  CallOptions allow;
  allow.copies = Copies::allow;
  const Tensor a = m.call({dense})[0], b = m.call({turned}, allow)[0];
  std::vector<float> columns(18);
  std::vector<Tensor> out{Tensor::over(columns.data(), DType::f32, {6, 3}, {1, 6})};
  CHECK(error_of([&] { m.call_into({dense}, out); }).status() == Status::copy_needed);
  m.call_into({dense}, out, allow);
  for (int i = 0; i < 6; ++i)
    for (int c = 0; c < 3; ++c) {
      CHECK(a.as<float>()[i * 3 + c] == b.as<float>()[i * 3 + c]);
      CHECK(a.as<float>()[i * 3 + c] == columns[c * 6 + i]);
    }
  // Rows of any distance are no matter where there is one row only.
  CHECK(Tensor::over(x.data(), DType::f32, {1, 4}, {99, 1}).why_copied().empty());
  std::vector<char> bytes(100);
  char* odd = bytes.data() + (reinterpret_cast<uintptr_t>(bytes.data()) % 4 == 0 ? 1 : 0);
  CHECK(Tensor::over(odd, DType::f32, {6, 4}).why_copied().find("aligned") != std::string::npos);
  Tensor far = Tensor::over(x.data(), DType::f32, {6, 4}, {}, nullptr, "cuda:0");
  CHECK(error_of([&] { m.call({far}); }).status() == Status::copy_needed);
}

TEST_CASE("DLPack, both ways") {
  std::vector<float> x = numbers(24);
  static int deleted = 0;
  struct Foreign {
    DLManagedTensor managed;
    int64_t shape[2] = {6, 4};
  };
  auto make = [&] {
    auto* f = new Foreign;
    f->managed = {{x.data(), {kDLCPU, 0}, 2, {kDLFloat, 32, 1}, f->shape, nullptr, 0}, f, [](DLManagedTensor* m) {
                    ++deleted;
                    delete static_cast<Foreign*>(m->manager_ctx);
                  }};
    return &f->managed;
  };
  {
    Tensor t = Tensor::from_dlpack(make());
    CHECK(t.data() == x.data());
    CHECK(t.dtype() == DType::f32);
    Tensor copy = t;
    CHECK(deleted == 0);
  }
  CHECK(deleted == 1);
  DLManagedTensor* wrong = make();
  wrong->dl_tensor.dtype = {kDLComplex, 64, 1};
  CHECK(error_of([&] { Tensor::from_dlpack(wrong); }).status() == Status::unsupported);
  CHECK(deleted == 1);  // it stays with the caller
  wrong->deleter(wrong);

  DLManagedTensor* out = nullptr;
  {
    Model m = net_program().instantiate("Net");
    Tensor y = m.call({over(x, DType::f32, {6, 4})})[0];
    out = y.to_dlpack();
  }
  CHECK(out->dl_tensor.ndim == 2);
  CHECK(out->dl_tensor.shape[1] == 3);
  CHECK(out->dl_tensor.strides[0] == 3);
  CHECK(out->dl_tensor.dtype.code == kDLFloat);
  CHECK(static_cast<float*>(out->dl_tensor.data)[17] == static_cast<float*>(out->dl_tensor.data)[17]);
  out->deleter(out);
  CHECK(error_of([&] { Tensor::over(static_cast<const void*>(x.data()), DType::f32, {24}).to_dlpack(); }).status() ==
        Status::invalid_argument);
}

TEST_CASE("training on the caller's memory gives the bits of nnlc run") {
  std::vector<float> x = numbers(8 * 4);
  std::vector<int64_t> y = labels(8);
  std::ostringstream text;
  text << programs::kNet << "let x = reshape(tensor([";
  for (float v : x) text << v << (v == static_cast<int>(v) ? ".0, " : ", ");
  text << "]), 8, 4)\nlet y = cast(tensor([";
  for (int64_t v : y) text << v << ", ";
  text
      << "]), class(3))\nlet net = Net()\nlet opt = Adam(net, lr = 0.01)\n"
      << "for i in 0..6 {\n  let loss = minimize(opt, clip_norm = 1.0) { cross_entropy(net(x), y) }\n  print(loss)\n}\n"
      << "print(sum(net.first.weight))\n";
  std::string printed;
  RunOptions run;
  run.print = [&](const std::string& s) { printed += s; };
  Program::from_text(text.str(), "whole.nnl", one_thread()).run(run);

  Model m = net_program().instantiate("Net");
  TrainerOptions options = cross_entropy();
  options.step_arguments = {{"clip_norm", 1.0}};
  Trainer t = m.trainer(options);
  CHECK(t.learning_rate() == 0.01);
  CHECK(t.updates() == 0);
  const Tensor weight = m.parameter("first.weight");
  const float* memory = weight.as<float>();
  const float first = memory[0];
  std::istringstream lines(printed);
  std::vector<Tensor> batch{over(x, DType::f32, {8, 4}), over(y, DType::i64, {8})};
  for (int i = 0; i < 6; ++i) {
    std::string line;
    std::getline(lines, line);
    const int64_t before = allocations();
    const float loss = static_cast<float>(t.step(batch));
    if (i > 1) CHECK(allocations() == before);
    CHECK(loss == std::strtof(line.c_str(), nullptr));
  }
  CHECK(t.updates() == 6);
  CHECK(m.parameter("first.weight").as<float>() == memory);  // it never moves
  CHECK(memory[0] != first);                                 // and shows what was learned
  CHECK(t.results().size() == 1);
  bool has_moment = false;
  for (auto& s : t.state()) has_moment |= s.name == "first.weight.exp_avg";
  CHECK(has_moment);
  CHECK(t.state("first.weight.exp_avg").shape() == std::vector<int64_t>{8, 4});
}

TEST_CASE("training goes on from a file with the same bits, also with other shapes") {
  const auto path = (std::filesystem::temp_directory_path() / "nnlc_api_test.safetensors").string();
  std::vector<float> x = numbers(8 * 4);
  std::vector<int64_t> y = labels(8);
  auto batch = [&](int64_t n) { return std::vector<Tensor>{over(x, DType::f32, {n, 4}), over(y, DType::i64, {n})}; };
  Program p = net_program();
  Model a = p.instantiate("Net"), b = p.instantiate("Net", {{"hidden", 8}});
  Trainer ta = a.trainer(cross_entropy()), tb = b.trainer(cross_entropy());
  ta.step(batch(8));
  ta.step(batch(5));  // a smaller last batch
  ta.step(batch(8));
  ta.save(path);
  tb.load(path);
  CHECK(tb.updates() == 3);
  for (int64_t n : {5, 8, 8}) CHECK(ta.step(batch(n)) == tb.step(batch(n)));
  CHECK(a.parameter("second.bias").as<float>()[1] == b.parameter("second.bias").as<float>()[1]);
  a.save(path);
  Model c = p.instantiate("Net");
  c.load(path);
  CHECK(c.parameter("second.bias").as<float>()[1] == a.parameter("second.bias").as<float>()[1]);
  Model other = p.instantiate("Net", {{"hidden", 3}});
  CHECK(error_of([&] { other.load(path); }).status() == Status::data_error);
  LoadReport report = other.load(path, false);
  CHECK(report.reshaped.size() == 3);
  std::filesystem::remove(path);
  CHECK(error_of([&] { c.load(path); }).status() == Status::data_error);
  ta.set_learning_rate(0.5);
  CHECK(ta.learning_rate() == 0.5);
  const float before = a.parameter("second.bias").as<float>()[1];
  ta.set_learning_rate(0);
  ta.step(batch(8));
  CHECK(a.parameter("second.bias").as<float>()[1] == before);
}

TEST_CASE("parameters are read and written by name") {
  Model m = net_program().instantiate("Net");
  std::vector<float> x = numbers(4);
  std::vector<Tensor> in{over(x, DType::f32, {1, 4})};
  Tensor w = m.parameter("second.weight");
  for (int64_t i = 0; i < w.count(); ++i) w.as<float>()[i] = 0;
  std::vector<float> bias{1, 2, 3};
  m.set_parameter("second.bias", over(bias, DType::f32, {3}));
  const Tensor y = m.call(in)[0];
  for (int i = 0; i < 3; ++i) CHECK(y.as<float>()[i] == bias[i]);
  Error e = error_of([&] { m.parameter("second.weigth"); });
  CHECK(std::string(e.what()) == "there is no parameter `second.weigth`; did you mean `second.weight`?");
  CHECK(error_of([&] {
          m.set_parameter("second.bias", over(bias, DType::f32, {1, 3}));
        }).status() == Status::invalid_argument);
}

TEST_CASE("an objective of the program; labels are checked") {
  Program p = net_program();
  Model m = p.instantiate("Net");
  TrainerOptions o;
  o.objective = "objective";
  o.optimizer = "SGD";
  o.optimizer_arguments = {{"lr", 0.1}, {"momentum", 0.9}};
  Trainer t = m.trainer(o);
  std::vector<float> x = numbers(32);
  for (DType type : {DType::i64, DType::i32, DType::u8}) {
    std::vector<int64_t> wide = labels(8);
    std::vector<int32_t> y32(wide.begin(), wide.end());
    std::vector<uint8_t> y8(wide.begin(), wide.end());
    void* data = type == DType::i64   ? static_cast<void*>(wide.data())
                 : type == DType::i32 ? static_cast<void*>(y32.data())
                                      : y8.data();
    CHECK(t.step({over(x, DType::f32, {8, 4}), Tensor::over(data, type, {8})}) > 0);
  }
  REQUIRE(t.results().size() == 2);
  CHECK(t.results()[1].shape() == std::vector<int64_t>{8, 3});
  std::vector<int64_t> y = labels(8);
  y[5] = 3;
  Error e = error_of([&] { t.step({over(x, DType::f32, {8, 4}), over(y, DType::i64, {8})}); });
  CHECK(e.status() == Status::run_failed);
  CHECK(std::string(e.what()) == "`label`: 3 at element 5 isn't a label of class(3)");
  y[5] = 0;
  x[0] = NAN;
  e = error_of([&] { t.step({over(x, DType::f32, {8, 4}), over(y, DType::i64, {8})}); });
  CHECK(e.status() == Status::run_failed);

  CHECK(error_of([&] { m.trainer({}); }).status() == Status::invalid_argument);
  o.optimizer = "Adams";
  CHECK(error_of([&] { m.trainer(o); }).status() == Status::program_error);
  StepOptions cancelled;
  cancelled.cancel.emplace();
  cancelled.cancel->cancel();
  x[0] = 0;
  CHECK(error_of([&] {
          t.step({over(x, DType::f32, {8, 4}), over(y, DType::i64, {8})}, cancelled);
        }).status() == Status::cancelled);
}

TEST_CASE("a loss that isn't finite is traced to its op") {
  Program p = Program::from_text(R"(
layer Net() {
  line = Linear(3, 1)
  forward(x: [N, 3]) -> [N, 1] { line(x) }
}
fn objective(net, x: [N, 3], y: [N, 1]) {
  mean((net(log(x)) - y) ** 2)
}
)",
                                 "finite.nnl", one_thread());
  Model net = p.instantiate("Net");
  TrainerOptions how;
  how.objective = "objective";
  how.optimizer = "SGD";
  Trainer trainer = net.trainer(how);
  std::vector<float> x(12, 0.5f), y(4, 1.0f);
  const std::vector<Tensor> batch{Tensor::over(x.data(), DType::f32, {4, 3}),
                                  Tensor::over(y.data(), DType::f32, {4, 1})};
  auto failing = [&] {
    try {
      trainer.step(batch);
    } catch (const Error& e) {
      CHECK(e.status() == Status::run_failed);
      REQUIRE(e.diagnostics().size() == 1);
      return e.diagnostics()[0];
    }
    FAIL("the step gave a finite loss");
    return Diagnostic{};
  };
  for (int i = 0; i < 3; ++i) trainer.step(batch);
  x[7] = 0;
  Diagnostic d = failing();
  CHECK(d.code == "N0750");
  CHECK(d.message == "the loss is infinite: `log` is the first op to give a value that isn't finite");
  CHECK(d.place.file == "finite.nnl");
  CHECK(d.place.line == 7);
  CHECK(d.label == "gives -inf");
  auto noted = [&](const std::string& text) {
    return std::any_of(d.notes.begin(), d.notes.end(), [&](auto& n) { return n.find(text) != std::string::npos; });
  };
  CHECK(noted("its result isn't finite in 1 of 12 elements, the first at [2, 1]"));
  CHECK(noted("holds 0 to 0.5"));
  // The step itself was made, as ever.
  CHECK(trainer.updates() == 4);
  CHECK(!std::isfinite(net.parameter("line.weight").as<float>()[1]));

  // What the caller brings is called by its name; what an earlier step spoiled is a parameter.
  Model other = p.instantiate("Net");
  trainer = other.trainer(how);
  x[7] = NAN;
  d = failing();
  CHECK(d.message == "the loss is NaN: the input `x` isn't finite");
  CHECK(noted("the input `x` isn't finite in 1 of 12 elements, the first at [2, 1]"));
  x[7] = 0.5f;
  d = failing();
  CHECK(d.message == "the loss is NaN: the parameter `line.weight` isn't finite");
  CHECK(trainer.updates() == 2);
}

TEST_CASE("nothing behind the caller's memory is touched") {
  // Each tensor ends where a page ends that can't be read.
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  struct Fenced {
    size_t page, pages;
    char* base;
    Fenced(size_t page, size_t bytes) : page(page), pages(bytes / page + 1) {
      base = static_cast<char*>(
          mmap(nullptr, (pages + 1) * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
      REQUIRE(base != MAP_FAILED);
      mprotect(base + pages * page, page, PROT_NONE);
    }
    ~Fenced() { munmap(base, (pages + 1) * page); }
    float* end(size_t bytes) { return reinterpret_cast<float*>(base + pages * page - bytes); }
  };
  Program p = Program::from_text("", "empty.nnl", one_thread());
  struct Case {
    const char* layer;
    std::vector<int64_t> in, out;
  } cases[] = {{"Linear(37, 5)", {7, 37}, {7, 5}},
               {"Linear(3, 130)", {65, 3}, {65, 130}},
               {"Linear(64, 16)", {13, 64}, {13, 16}},
               {"LayerNorm(13)", {5, 13}, {5, 13}},
               {"Softmax(-1)", {3, 11}, {3, 11}}};
  for (const Case& c : cases) {
    CAPTURE(c.layer);
    Model m = p.instantiate(Expression{c.layer});
    size_t n_in = 4, n_out = 4;
    for (int64_t d : c.in) n_in *= static_cast<size_t>(d);
    for (int64_t d : c.out) n_out *= static_cast<size_t>(d);
    Fenced a(page, n_in), b(page, n_out);
    float* x = a.end(n_in);
    for (size_t i = 0; i < n_in / 4; ++i) x[i] = static_cast<float>(i % 13) / 8;
    const Tensor in = Tensor::over(static_cast<const float*>(x), DType::f32, c.in);
    std::vector<Tensor> out{Tensor::over(b.end(n_out), DType::f32, c.out)};
    m.call_into({in}, out);
    // The same from memory that is aligned to more than an element, bit for bit.
    const Tensor again = m.call({in.copy()})[0];
    CHECK(std::memcmp(again.data(), out[0].data(), n_out) == 0);
  }
}

TEST_CASE("frozen layers stay, gradients are accumulated, rates follow schedules") {
  Program p = net_program();
  Model m = p.instantiate("Net", {{"rate", 0.0}});
  TrainerOptions o = cross_entropy();
  o.freeze = {"first"};
  o.optimizer = "SGD";
  o.optimizer_arguments = {{"lr", Expression{"step_lr(0.5, 1, gamma = 0.5)"}}};
  o.step_arguments = {{"accumulate", 2}};
  Trainer t = m.trainer(o);
  std::vector<float> x = numbers(32);
  std::vector<int64_t> y = labels(8);
  std::vector<Tensor> batch{over(x, DType::f32, {8, 4}), over(y, DType::i64, {8})};
  const Tensor frozen = m.parameter("first.weight").copy();
  Tensor before = m.parameter("second.weight").copy();
  auto same = [&](const char* name, const Tensor& old) {
    const Tensor now = m.parameter(name);
    return std::memcmp(now.data(), old.data(), static_cast<size_t>(old.bytes())) == 0;
  };
  t.step(batch);
  CHECK(t.updates() == 0);
  CHECK(same("second.weight", before));
  t.step({over(x, DType::f32, {4, 4}), over(y, DType::i64, {4})});  // of another size, in the same window
  CHECK(t.updates() == 1);
  CHECK(!same("second.weight", before));
  CHECK(same("first.weight", frozen));
  CHECK(t.learning_rate() == 0.5);
  before = m.parameter("second.weight").copy();
  t.step(batch);
  CHECK(same("second.weight", before));
  t.step(batch);
  CHECK(t.updates() == 2);
  CHECK(t.learning_rate() == 0.25);
  CHECK(error_of([&] { t.set_learning_rate(1); }).status() == Status::invalid_argument);
  o.freeze = {"third"};
  CHECK(error_of([&] { m.trainer(o); }).status() == Status::program_error);
}

TEST_CASE("the seed decides the parameters") {
  auto bias = [](std::optional<uint64_t> seed) {
    CompileOptions o = one_thread();
    o.seed = seed;
    return Program::from_text(programs::kNet, "net.nnl", o).instantiate("Net").parameter("first.weight").as<float>()[0];
  };
  CHECK(bias({}) == bias(7));
  CHECK(bias(8) != bias(7));
}
