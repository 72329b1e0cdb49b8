// The library on a (simulated) GPU: models, trainers and runs give what they give on the CPU. Whoever runs this names
// the libcuda and libnvrtc that simulate one.
#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "nnlc.hpp"
#include "tests/api/programs.h"

using namespace nnlc;

namespace {

Program program(const std::string& device, const std::string& text = programs::kNet) {
  CompileOptions o;
  o.device = device;
  o.cache = false;
  return Program::from_text(text, "net.nnl", o);
}

bool close(double a, double b) { return std::fabs(a - b) <= 1e-5 * std::max(1.0, std::fabs(b)); }

/// All numbers that a small session with a model and a trainer gives.
std::vector<float> session(const std::string& device) {
  std::vector<float> out;
  const Program p = program(device);
  Model m = p.instantiate("Net");
  TrainerOptions o;
  o.loss = "cross_entropy";
  o.optimizer_arguments = {{"lr", 0.05}};
  Trainer t = m.trainer(o);
  auto keep = [&](const Tensor& y) {
    for (int64_t i = 0; i < y.count(); ++i) out.push_back(y.as<float>()[i]);
  };
  Tensor weight = m.parameter("first.weight");
  for (int64_t rows : {8, 5, 8, 8}) {
    std::vector<float> x = programs::numbers(rows * 4);
    std::vector<int64_t> y;
    for (int64_t i = 0; i < rows; ++i) y.push_back(i % 3);
    std::vector<Tensor> batch{Tensor::over(x.data(), DType::f32, {rows, 4}),
                              Tensor::over(y.data(), DType::i64, {rows})};
    out.push_back(static_cast<float>(t.step(batch)));
    keep(weight);  // the view shows what was learned
    keep(m.call({batch[0]})[0]);
    // Written through the view: the next call, and the next step of the other variant, use it.
    weight.as<float>()[0] = 0.5f;
    std::vector<float> mine(static_cast<size_t>(rows) * 3);
    std::vector<Tensor> results{Tensor::over(mine.data(), DType::f32, {rows, 3})};
    m.call_into({batch[0]}, results);
    out.insert(out.end(), mine.begin(), mine.end());
  }
  return out;
}

}  // namespace

TEST_CASE("models and trainers on the device give what they give on the CPU") {
  const std::vector<float> wanted = session("cpu"), got = session("cuda");
  REQUIRE(got.size() == wanted.size());
  for (size_t i = 0; i < got.size(); ++i) {
    CAPTURE(i);
    CHECK(close(got[i], wanted[i]));
  }
}

TEST_CASE("a run on the device prints what it prints on the CPU") {
  std::string text = programs::kNet;
  text +=
      "let net = Net()\nlet opt = SGD(net, lr = 0.1)\n"
      "for i in 0..3 {\n  let loss = minimize(opt) { mean(net(ones([5, 4])) ** 2) }\n  print(\"{loss:.5f}\")\n}\n";
  std::string printed[2];
  for (int device = 0; device < 2; ++device) {
    RunOptions run;
    run.print = [&](const std::string& s) { printed[device] += s; };
    program(device ? "auto" : "cpu", text).run(run);
  }
  CHECK(printed[0].size() > 20);
  CHECK(printed[0] == printed[1]);
}
