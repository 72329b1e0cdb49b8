// What the files of the API share. The public types are in nnlc::v0, the compiler's own in nnlc: inside v0 an
// unqualified name is the public one.
#pragma once
#include <fmt/format.h>

#include <mutex>
#include <string>
#include <vector>

#include "compiler/api/include/nnlc.hpp"
#include "compiler/codegen/backend.h"
#include "compiler/exec/machine.h"
#include "compiler/exec/value.h"
#include "compiler/sema/sema.h"
#include "compiler/support/diagnostics.h"

namespace nnlc::v0 {

// ---------------------------------------------------------------- errors (errors.cpp)

std::vector<Diagnostic> to_public(const nnlc::Diagnostics& diags, const SourceManager& sources);
Place to_public(Span s, const SourceManager& sources);
/// Throws Error if there are any; `running`: they came up while a program ran.
void throw_errors(nnlc::Diagnostics& diags, const SourceManager& sources, bool running);
[[noreturn]] void fail(Status status, const std::string& message);
/// Runs `body`; whatever else than Error it throws becomes one.
template <class Body>
auto guarded(const Body& body) -> decltype(body()) {
  try {
    return body();
  } catch (const Error&) {
    throw;
  } catch (const std::bad_alloc&) {
    throw Error(Status::out_of_memory, "out of memory");
  } catch (const nnl::DeviceError& e) {
    throw Error(Status::run_failed, e.what());
  } catch (const std::exception& e) {
    throw Error(Status::internal, std::string("a bug of nnlc: ") + e.what());
  }
}

// ---------------------------------------------------------------- tensors (tensor.cpp)

struct Tensor::State {
  DType dtype = DType::f32;
  std::vector<int64_t> shape, strides;
  void* data = nullptr;
  bool read_only = false;
  int64_t count = 1;
  std::string device = "cpu";
  std::shared_ptr<void> owner;
  std::string why_copied;  ///< empty: dense row-major, aligned
};

struct Access {
  static const std::shared_ptr<Tensor::State>& of(const Tensor& t) { return t.state_; }
  static const std::shared_ptr<Program::State>& of(const Program& p) { return p.state_; }
  static const std::shared_ptr<Model::State>& of(const Model& m) { return m.state_; }
  template <class Handle, class State>
  static Handle make(std::shared_ptr<State> s) {
    Handle h;
    h.state_ = std::move(s);
    return h;
  }
};

/// The run time's tensor as a public one that keeps its memory alive.
Tensor to_public(const nnl::Tensor& t);
/// "f32[2, 3]"
std::string type_text(DType dtype, const std::vector<int64_t>& shape);
/// Copies every element; both have the same type and shape.
void copy_elements(const Tensor::State& from, Tensor::State& to);

// ---------------------------------------------------------------- programs (program.cpp)

struct Program::State {
  std::string name, text;
  CompileOptions options;
  sema::CompileOptions compile;
  std::vector<Diagnostic> diagnostics;
  std::vector<Layer> layers;
  std::vector<Function> functions;
  std::vector<Optimizer> optimizers;
  std::vector<Config> configs;
};

/// For options.device. Status::unsupported where "cuda" is asked for and no GPU can be used.
std::unique_ptr<codegen::Backend> make_backend(const CompileOptions& options);
/// Layers, functions, optimizers and configs of the program, from its text.
void list_declarations(Program::State& p);  // declarations.cpp
/// `name = 1, other = "x"`: as the arguments of a call.
std::string to_source(const Arguments& arguments);
void require_path(const std::string& text, const char* what);

}  // namespace nnlc::v0
