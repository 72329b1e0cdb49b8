// How the module calls the library: without the interpreter's lock, so that other threads of Python go on. Everything
// that may wait or work goes through `unlocked`; what Python code is called from there takes the lock itself.
#pragma once
#include <pybind11/pybind11.h>

#include <functional>
#include <memory>
#include <nnlc.hpp>
#include <optional>
#include <string>

namespace nnl_python {

namespace py = pybind11;

/// What a log callback raised on this thread. The library has no way to carry it, so the call that is under way ends
/// first and then raises it.
class LogError {
 public:
  static void keep(py::error_already_set& e);
  /// Raises it, if there is one.
  static void raise();
  /// Moves it out of this thread, for another one to raise.
  static std::exception_ptr take();

 private:
  static thread_local std::exception_ptr kept_;
};

template <class Body>
auto unlocked(const Body& body) -> decltype(body()) {
  if constexpr (std::is_void_v<decltype(body())>) {
    {
      py::gil_scoped_release release;
      body();
    }
    LogError::raise();
  } else {
    auto result = [&] {
      py::gil_scoped_release release;
      return body();
    }();
    LogError::raise();
    return result;
  }
}

/// A callable that any thread may hold and let go of, with or without the lock.
std::shared_ptr<py::object> hold(const py::object& callable);
std::function<void(const std::string&)> log_to(const py::object& callable);

/// Runs the program on a thread of its own, while this one looks for signals and makes the calls of the callbacks: so
/// Ctrl-C, or any exception of a callback or signal handler, ends the run and is raised here.
void run(const nnlc::Program& program, const py::object& print, const py::object& progress, const py::object& record,
         const std::string& runs_directory, const std::optional<nnlc::CancelToken>& cancel);

}  // namespace nnl_python
