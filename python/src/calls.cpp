#include "calls.h"

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

namespace nnl_python {

thread_local std::exception_ptr LogError::kept_;

void LogError::keep(py::error_already_set& e) {
  if (!kept_) kept_ = std::make_exception_ptr(std::move(e));
}

std::exception_ptr LogError::take() { return std::exchange(kept_, nullptr); }

void LogError::raise() {
  if (auto e = take()) std::rethrow_exception(e);
}

std::shared_ptr<py::object> hold(const py::object& callable) {
  return {new py::object(callable), [](py::object* o) {
            py::gil_scoped_acquire lock;
            delete o;
          }};
}

std::function<void(const std::string&)> log_to(const py::object& callable) {
  if (callable.is_none()) return {};
  return [held = hold(callable)](const std::string& text) {
    py::gil_scoped_acquire lock;
    try {
      (*held)(text);
    } catch (py::error_already_set& e) {
      LogError::keep(e);
    }
  };
}

namespace {

/// What the two threads of a run share. The thread that runs the program puts in one call at a time and waits for it.
class Desk {
 public:
  explicit Desk(nnlc::CancelToken stop) : stop_(std::move(stop)) {}

  /// On the program's thread. After a call that raised, there are no more.
  void ask(std::function<void()> call) {
    std::unique_lock lock(mutex_);
    if (stop_.cancelled()) return;
    call_ = std::move(call);
    changed_.notify_all();
    changed_.wait(lock, [&] { return !call_; });
  }

  void end(std::exception_ptr e) {
    std::lock_guard lock(mutex_);
    error_ = std::move(e);
    ended_ = true;
    changed_.notify_all();
  }

  /// On the caller's thread, which holds the interpreter's lock: until the program has ended.
  void attend(const std::optional<nnlc::CancelToken>& cancel) {
    std::exception_ptr raised;
    auto guarded = [&](const auto& body) {
      try {
        body();
      } catch (...) {
        if (!raised) raised = std::current_exception();
        stop_.cancel();
      }
    };
    for (bool more = true; more;) {
      std::function<void()> call;
      {
        py::gil_scoped_release release;
        std::unique_lock lock(mutex_);
        changed_.wait_for(lock, std::chrono::milliseconds(20), [&] { return ended_ || call_; });
        if (cancel && cancel->cancelled()) stop_.cancel();
        call = call_;
        more = !ended_;
      }
      guarded([] {
        if (PyErr_CheckSignals() != 0) throw py::error_already_set();
      });
      if (!call) continue;
      if (!stop_.cancelled()) guarded(call);
      std::lock_guard lock(mutex_);
      call_ = nullptr;
      changed_.notify_all();
    }
    if (raised) std::rethrow_exception(raised);
    if (error_) std::rethrow_exception(error_);
  }

 private:
  nnlc::CancelToken stop_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::function<void()> call_;
  bool ended_ = false;
  std::exception_ptr error_;
};

}  // namespace

void run(const nnlc::Program& program, const py::object& print, const py::object& progress, const py::object& record,
         const std::string& runs_directory, const std::optional<nnlc::CancelToken>& cancel) {
  nnlc::RunOptions options;
  nnlc::CancelToken stop;
  Desk desk(stop);
  options.cancel = stop;
  options.runs_directory = runs_directory;
  // The callables are used by this thread only; the program's thread gets at them by reference.
  if (!print.is_none()) options.print = [&](const std::string& text) { desk.ask([&] { print(text); }); };
  if (!progress.is_none())
    options.progress = [&](const nnlc::Progress& p) { desk.ask([&] { progress(p.label, p.done, p.total); }); };
  if (!record.is_none())
    options.record = [&](int64_t step, const nnlc::Scalars& values) {
      desk.ask([&] {
        py::dict d;
        for (auto& [name, value] : values) d[py::str(name)] = value;
        record(step, d);
      });
    };
  std::thread worker([&] {
    std::exception_ptr error;
    try {
      program.run(options);
    } catch (...) {
      error = std::current_exception();
    }
    if (auto log = LogError::take()) error = log;
    desk.end(std::move(error));
  });
  struct Join {
    std::thread& t;
    ~Join() {
      py::gil_scoped_release release;
      t.join();
    }
  } join{worker};
  desk.attend(cancel);
}

}  // namespace nnl_python
