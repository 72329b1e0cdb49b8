// nnlc explain FILE: what became of a program's tensor code. For each compilation: the sizes it is for, its kernels in
// words of the source, the copies that it makes, its memory, and with --profile the time of each kernel.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <iostream>
#include <random>

#include "compiler/driver/pipeline.h"
#include "compiler/driver/session.h"
#include "compiler/graph/cost.h"
#include "compiler/report/numbers.h"
#include "compiler/report/steps.h"
#include "runtime/tensor.h"

namespace nnlc::driver {

namespace {

using report::StepInfo;

struct Profile {
  int runs = 0;
  double whole_s = 0;             ///< of a run
  std::vector<double> kernels_s;  ///< of each launch
};

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Runs a compiled step on arrays of its sizes, filled with random numbers (ints and bools with 0). They are small, so
/// that no softmax or gate saturates: vanishing gradients are denormal, and those take some processors many times as
/// long. Otherwise the numbers make no difference.
Profile measure(const graph::Graph& g, codegen::Backend& backend) {
  std::mt19937 random(1);
  std::vector<nnl::Tensor> tensors;
  std::vector<void*> buffers;
  auto make = [&](const graph::TensorType& type) {
    nnl::Tensor t = nnl::Tensor::zeros(static_cast<int>(type.dtype), graph::sizes(type.shape));
    if (type.dtype == graph::DType::f32)
      for (int64_t i = 0; i < t.count(); ++i) t.as<float>()[i] = static_cast<float>(random() >> 8) * 0x1p-30f;
    if (type.dtype == graph::DType::f64)
      for (int64_t i = 0; i < t.count(); ++i) t.as<double>()[i] = static_cast<double>(random() >> 8) * 0x1p-30;
    buffers.push_back(t.data());
    tensors.push_back(std::move(t));
  };
  for (const graph::Node* n : g.inputs) make(n->type);
  for (const graph::Output& o : g.outputs) {
    const auto at = std::find(g.inputs.begin(), g.inputs.end(), o.updates);
    if (o.updates && at != g.inputs.end())
      buffers.push_back(buffers[static_cast<size_t>(at - g.inputs.begin())]);
    else
      make(o.value->type);
  }
  auto step = backend.compile(g.clone());
  Profile p;
  for (int i = 0; i < 3; ++i) step->run(buffers.data());
  constexpr double kBudget_s = 0.4;
  constexpr int kFewest = 5, kMost = 400;
  const auto start = std::chrono::steady_clock::now();
  while (p.runs < kFewest || (p.runs < kMost && seconds_since(start) < kBudget_s)) {
    const auto begin = std::chrono::steady_clock::now();
    step->run(buffers.data());
    p.whole_s += seconds_since(begin);
    if (!step->run_timed(buffers.data(), p.kernels_s)) p.kernels_s.clear();
    ++p.runs;
  }
  p.whole_s /= p.runs;
  for (double& s : p.kernels_s) s /= p.runs;
  return p;
}

std::string time_text(double s) {
  return s < 1e-3 ? fmt::format("{:.1f} us", s * 1e6) : fmt::format("{:.3f} ms", s * 1e3);
}

void explain_step(const StepInfo& s, host::Step& step, codegen::Backend& backend, Session& session, bool whole) {
  graph::Graph& g = step.graph;
  optimize(g, session.options, &session.sources);
  const auto plan = backend.plan(g.clone());
  std::cout << s.title << '\n';
  if (!s.when.empty()) std::cout << "  sizes       " << s.when << '\n';
  if (!s.inputs.empty()) std::cout << fmt::format("  reads       {}\n", fmt::join(s.inputs, ", "));
  if (s.parameters)
    std::cout << fmt::format("  parameters  {} of layers: {}{}\n", report::plural(s.parameters, "element"),
                             report::bytes(s.parameter_bytes),
                             s.state_bytes ? ", and " + report::bytes(s.state_bytes) + " of optimizer state" : "");
  std::cout << fmt::format("  work        {} FLOPs", report::work(graph::flops(g)));
  if (!plan) {
    std::cout << "\n  this backend runs the graph op by op: it has no kernels\n\n";
    return;
  }
  const int64_t barriers =
      std::count_if(plan->launches.begin(), plan->launches.end(), [](auto& l) { return l.barrier; });
  std::cout << fmt::format(" in {}, {}\n", report::plural(static_cast<int64_t>(plan->launches.size()), "kernel"),
                           report::plural(barriers, "barrier"));
  const std::vector<int64_t> live = report::live_bytes(*plan);
  std::cout << fmt::format("  memory      arena of {}", report::bytes(plan->arena_bytes));
  if (const auto peak = std::max_element(live.begin(), live.end()); peak != live.end() && *peak > 0)
    std::cout << fmt::format(", its peak of {} in kernel {}", report::bytes(*peak), peak - live.begin() + 1);
  std::cout << '\n';
  Profile profile;
  if (session.options.profile) {
    profile = measure(g, backend);
    std::cout << fmt::format("  time        {} a run", time_text(profile.whole_s));
    double sum = 0;
    for (double k : profile.kernels_s) sum += k;
    if (!profile.kernels_s.empty()) std::cout << fmt::format("; its kernels one by one {}", time_text(sum));
    std::cout << fmt::format(" (mean of {} runs on random numbers)\n", profile.runs);
  }
  const std::vector<std::string> copies = report::describe_copies(*plan, session.sources);
  if (copies.empty()) std::cout << "  copies      none\n";
  for (size_t i = 0; i < copies.size(); ++i)
    std::cout << (i ? "              " : "  copies      ") << copies[i] << '\n';
  if (!whole) {
    std::cout << '\n';
    return;
  }
  std::cout << "  kernels\n";
  const std::vector<std::string> launches = report::describe_launches(*plan, session.sources);
  double sum = 0;
  for (double k : profile.kernels_s) sum += k;
  for (size_t i = 0; i < launches.size(); ++i) {
    const loop::Launch& l = plan->launches[i];
    std::string time;
    if (i < profile.kernels_s.size())
      time = fmt::format("{:>10} {:>4.1f} %  ", time_text(profile.kernels_s[i]), 100 * profile.kernels_s[i] / sum);
    std::string text = launches[i];
    if (l.single) text.insert(text.find('\n'), ", on one thread");
    // The ops stand below the head.
    std::string indented;
    for (char c : text) {
      indented += c;
      if (c == '\n') indented += "    ";
    }
    indented.resize(indented.size() - 4);
    std::cout << fmt::format("    {:>3}  {}{}", i + 1, time, indented);
  }
  const std::string memory = report::describe_memory(*plan);
  if (!memory.empty()) std::cout << "  arena       offset          size\n" << memory;
  std::cout << '\n';
}

}  // namespace

int explain_program(const Options& options) {
  Session session(options);
  if (auto status = session.prepare(options.files[0])) return *status;
  auto program = session.compile();
  if (int status = session.finish(); status != kDone || !program) return status;
  auto backend = make_backend(options);
  if (!backend) return kFailed;
  const std::vector<StepInfo> steps = report::list_steps(*program, session.sources);
  std::cout << fmt::format("{}: {}, for {}\n\n", options.files[0],
                           report::plural(static_cast<int64_t>(steps.size()), "compilation"), backend->describe());
  std::vector<std::string> seen;
  for (const StepInfo& s : steps) {
    // Of one statement in several sizes the first is shown in full: the others differ in their numbers alone.
    const bool again = std::find(seen.begin(), seen.end(), s.title) != seen.end();
    seen.push_back(s.title);
    const bool whole = options.all || (s.kind != StepInfo::Kind::initial && !again);
    explain_step(s, program->steps[static_cast<size_t>(s.step)], *backend, session, whole);
  }
  return kDone;
}

}  // namespace nnlc::driver
