// sweep FILE.nnl --loss METRIC NAME=V1,V2… [NAME=V1,V2…]… [--jobs N]
// Runs a program once for each combination of config values, several at a time, and says which was best: the one whose
// last `record`ed METRIC is smallest. Ctrl-C ends the runs and prints what is there.
#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iostream>
#include <map>
#include <mutex>
#include <nnlc.hpp>
#include <sstream>
#include <thread>

namespace {

struct Run {
  std::map<std::string, std::string> configs;
  double metric = 0;
  std::string trouble = "did not run";
};

std::string words(const Run& r) {
  std::string out;
  for (auto& [name, value] : r.configs) out += (out.empty() ? "" : " ") + name + "=" + value;
  return out;
}

nnlc::CancelToken cancel;
void on_interrupt(int) { cancel.cancel(); }

void run_one(const std::string& path, const std::string& metric, Run& run) {
  try {
    nnlc::CompileOptions options;
    options.configs = run.configs;
    options.threads = 1;  // the runs are what is parallel
    auto program = nnlc::Program::from_file(path, options);
    bool recorded = false;
    nnlc::RunOptions how;
    how.cancel = cancel;
    how.record = [&](int64_t, const nnlc::Scalars& values) {
      for (auto& [name, value] : values)
        if (name == metric) {
          run.metric = value;
          recorded = true;
        }
    };
    program.run(how);
    run.trouble = recorded ? "" : "the program records no `" + metric + "`";
  } catch (const nnlc::Error& e) {
    run.trouble = e.what();
  }
}

std::vector<std::string> split(const std::string& text, char at) {
  std::vector<std::string> out;
  std::istringstream in(text);
  for (std::string one; std::getline(in, one, at);) out.push_back(one);
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  std::string path, metric = "loss";
  size_t jobs = std::max(1u, std::thread::hardware_concurrency());
  std::vector<Run> runs(1);
  for (int i = 1; i < argc; ++i) {
    const std::string a = argv[i];
    const size_t equals = a.find('=');
    if (a == "--loss" && i + 1 < argc) {
      metric = argv[++i];
    } else if (a == "--jobs" && i + 1 < argc) {
      jobs = std::max(1, std::atoi(argv[++i]));
    } else if (equals != std::string::npos) {
      std::vector<Run> more;
      for (const Run& r : runs)
        for (const std::string& value : split(a.substr(equals + 1), ',')) {
          more.push_back(r);
          more.back().configs[a.substr(0, equals)] = value;
        }
      runs = std::move(more);
    } else {
      path = a;
    }
  }
  if (path.empty()) {
    std::cerr << "usage: sweep FILE.nnl [--loss METRIC] [--jobs N] NAME=V1,V2... [NAME=V1,V2...]...\n";
    return 2;
  }
  // One check before anything runs, with the compiler's own words for what is wrong.
  try {
    nnlc::CompileOptions first;
    first.configs = runs[0].configs;
    nnlc::Program::from_file(path, first);
  } catch (const nnlc::Error& e) {
    for (auto& d : e.diagnostics()) std::cerr << d.text << "\n";
    if (e.diagnostics().empty()) std::cerr << e.what() << "\n";
    return 1;
  }
  std::signal(SIGINT, on_interrupt);
  std::atomic<size_t> next{0};
  std::vector<std::thread> workers;
  for (size_t w = 0; w < std::min(jobs, runs.size()); ++w)
    workers.emplace_back([&] {
      for (size_t i = next++; i < runs.size() && !cancel.cancelled(); i = next++) run_one(path, metric, runs[i]);
    });
  for (auto& w : workers) w.join();

  const Run* best = nullptr;
  for (const Run& r : runs) {
    if (r.trouble.empty())
      std::printf("%12.6g  %s\n", r.metric, words(r).c_str());
    else
      std::printf("%12s  %s: %s\n", "-", words(r).c_str(), r.trouble.c_str());
    if (r.trouble.empty() && (!best || r.metric < best->metric)) best = &r;
  }
  if (!best) return 1;
  std::printf("best: %s\n", words(*best).c_str());
  return cancel.cancelled() ? 130 : 0;
}
