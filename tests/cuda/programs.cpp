#include "tests/cuda/programs.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "compiler/exec/value.h"
#include "compiler/loop/lower.h"
#include "compiler/passes/passes.h"
#include "tests/cpu_backend/compare.h"

namespace nnlc::test {

namespace {

/// What `check_finite` looks at first is a loss.
void find_losses(const host::Block& block, std::vector<host::Reg>& out) {
  for (const auto& i : block) {
    if (i->op == host::Op::check_finite) out.push_back(i->args[0]);
    find_losses(i->then_block, out);
    find_losses(i->else_block, out);
    if (!i->batches) continue;
    for (const auto& v : i->batches->variants) find_losses(v.body, out);
  }
}

}  // namespace

bool has_data(const std::string& folder) {
  const char* data = std::getenv("NNL_DATA");
  if (data && std::filesystem::exists(std::filesystem::path(data) / folder)) return true;
  MESSAGE("left out: there is no ", folder, " in NNL_DATA");
  return false;
}

std::string text_of(const std::string& path) {
  std::ifstream in(std::string(NNLC_REPOSITORY) + "/" + path);
  return {std::istreambuf_iterator<char>(in), {}};
}

Run::Run(const std::string& name, const std::string& text, std::map<std::string, std::string> configs)
    : file_(sources_.add(name, text)) {
  compile_.configs = std::move(configs);
  // Where a path of the repository says that the program is, its files are beside it.
  options.program_dir = (std::filesystem::path(NNLC_REPOSITORY) / name).parent_path().string();
  compile_.program_dir = options.program_dir;
  options.out = [this](std::string_view s) { printed += s; };
  options.report = [](std::string_view) {};
  options.cancel = &cancel_;
  options.optimize = [](graph::Graph& g) { passes::settle(g); };
  options.on_progress = [this](const std::string&, int64_t done, int64_t) {
    if (done > 0 && after_batch) after_batch();
  };
}
Run::~Run() = default;

std::string Run::messages() {
  std::string out;
  for (const Diagnostic& d : diags_.all()) out += render_text(d, sources_, false) + "\n";
  return out;
}

bool Run::compile(bool with_tests) {
  compile_.tests = with_tests;
  program_ = sema::compile(sources_, file_, compile_, diags_);
  if (!diags_.has_errors() && program_) return true;
  wrong = messages();
  return false;
}

bool Run::on(codegen::Backend& backend) {
  if (!compile(false)) return false;
  find_losses(program_->body, losses_);
  machine_ = std::make_unique<exec::Machine>(*program_, backend, options);
  if (machine_->run(diags_) == 0 || cancel_) return true;
  wrong = messages();
  return false;
}

bool Run::tests_on(codegen::Backend& backend, const std::function<void(const std::vector<loop::Plan>&)>& prepare) {
  if (!compile(true)) return false;
  std::vector<loop::Plan> plans;
  for (host::Program::Test& t : program_->tests)
    for (host::Step& step : t.program->steps) {
      graph::Graph g = step.graph.clone();
      options.optimize(g);
      plans.push_back(loop::lower(g));
    }
  prepare(plans);
  for (host::Program::Test& t : program_->tests) {
    ++tests;
    exec::Machine machine(*t.program, backend, options);
    if (machine.run(diags_) != 0) wrong += t.title + ": " + messages();
  }
  return wrong.empty();
}

double Run::loss() {
  for (host::Reg r : losses_) {
    const exec::Value v = exec::read_back(machine_->value(r));
    if (const double* d = v.get<double>()) return *d;
  }
  return NAN;
}

// ---------------------------------------------------------------- two backends

namespace {

class ComparingStep : public codegen::CompiledStep {
 public:
  ComparingStep(Comparing& results, graph::Graph g, std::unique_ptr<codegen::CompiledStep> tested,
                std::unique_ptr<codegen::CompiledStep> judge)
      : results_(results), graph_(std::move(g)), tested_(std::move(tested)), judge_(std::move(judge)) {}

  void run(void* const*) override { throw std::logic_error("steps of programs run on buffers"); }

  void run_on(std::span<nnl::Buffer* const> inputs, std::span<nnl::Buffer* const> outputs) override {
    std::vector<Memory> memory;
    std::vector<void*> pointers;
    for (size_t i = 0; i < inputs.size(); ++i) {
      memory.push_back(memory_for(graph_.inputs[i]->type));
      std::memcpy(memory.back().get(), inputs[i]->read(), static_cast<size_t>(inputs[i]->bytes()));
      pointers.push_back(memory.back().get());
    }
    for (auto& o : graph_.outputs) {
      if (o.updates) {
        for (size_t i = 0; i < inputs.size(); ++i)
          if (graph_.inputs[i] == o.updates) pointers.push_back(pointers[i]);
        continue;
      }
      memory.push_back(memory_for(o.value->type));
      pointers.push_back(memory.back().get());
    }
    judge_->run(pointers.data());
    tested_->run_on(inputs, outputs);
    for (size_t o = 0; o < outputs.size(); ++o) compare(o, outputs[o]->read(), pointers[inputs.size() + o]);
  }

 private:
  void compare(size_t o, const void* got, const void* wanted) {
    const graph::TensorType& type = graph_.outputs[o].value->type;
    const graph::RefTensor x = graph::load_ref(type, got), y = graph::load_ref(type, wanted);
    results_.compared += static_cast<int64_t>(y.f.size() + y.i.size());
    double largest = 0;
    for (double v : y.f)
      if (std::isfinite(v)) largest = std::max(largest, std::fabs(v));
    double& worst = type.dtype == graph::DType::f64 ? results_.worst_f64 : results_.worst_f32;
    bool same = x.i == y.i;
    for (size_t i = 0; i < y.f.size(); ++i) {
      if (x.f[i] == y.f[i] || (std::isnan(x.f[i]) && std::isnan(y.f[i]))) continue;
      if (!std::isfinite(x.f[i]) || !std::isfinite(y.f[i]))
        same = false;
      else
        worst = std::max(worst, std::fabs(x.f[i] - y.f[i]) / largest);
    }
    if (!same && results_.different.empty())
      results_.different = fmt::format("output {} of\n{}", o, graph::print(graph_));
  }

  Comparing& results_;
  graph::Graph graph_;
  std::unique_ptr<codegen::CompiledStep> tested_, judge_;
};

}  // namespace

std::unique_ptr<codegen::CompiledStep> Comparing::compile(graph::Graph graph) {
  graph::Graph kept = graph.clone();
  auto judge = judge_.compile(graph.clone());
  auto tested = tested_.compile(std::move(graph));
  return std::make_unique<ComparingStep>(*this, std::move(kept), std::move(tested), std::move(judge));
}

}  // namespace nnlc::test
