// What stands behind the handles of nnlc.h.
#pragma once
#include <cstring>
#include <mutex>

#include "compiler/api/include/nnlc.h"
#include "compiler/api/internal.h"

namespace api = nnlc::v0;

// The opaque types of lists are the public C++ ones, seen through a pointer.
inline const nnlc_diagnostic* handle(const api::Diagnostic* d) { return reinterpret_cast<const nnlc_diagnostic*>(d); }
inline const api::Diagnostic& of(const nnlc_diagnostic* d) { return *reinterpret_cast<const api::Diagnostic*>(d); }
inline const nnlc_layer* handle(const api::Layer* l) { return reinterpret_cast<const nnlc_layer*>(l); }
inline const api::Layer& of(const nnlc_layer* l) { return *reinterpret_cast<const api::Layer*>(l); }
inline const nnlc_function* handle(const api::Function* f) { return reinterpret_cast<const nnlc_function*>(f); }
inline const api::Function& of(const nnlc_function* f) { return *reinterpret_cast<const api::Function*>(f); }
inline const nnlc_optimizer* handle(const api::Optimizer* o) { return reinterpret_cast<const nnlc_optimizer*>(o); }
inline const api::Optimizer& of(const nnlc_optimizer* o) { return *reinterpret_cast<const api::Optimizer*>(o); }

struct nnlc_error {
  nnlc_status status;
  std::string message;
  std::vector<api::Diagnostic> diagnostics;
};
struct nnlc_tensor {
  api::Tensor tensor;
  std::string why_copied;
};
struct nnlc_cancel {
  api::CancelToken token;
};
struct nnlc_program {
  api::Program program;
};
struct nnlc_model {
  api::Model model;
  std::vector<api::ParameterInfo> parameters;
  // Kept from call to call, so that nothing is allocated; guarded by the mutex.
  std::mutex mutex;
  std::vector<api::Tensor> inputs, outputs;
};
struct nnlc_trainer {
  api::Trainer trainer;
  std::mutex mutex;
  std::vector<api::Tensor> tensors;
  std::vector<api::ParameterInfo> state;
};

/// Stores what went wrong; there may be no memory for that.
nnlc_status report(nnlc_error** error, nnlc_status status, const char* message,
                   const std::vector<api::Diagnostic>* diagnostics = nullptr) noexcept;

/// Runs `body` and turns what it throws into a status.
template <class Body>
nnlc_status protect(nnlc_error** error, const Body& body) noexcept {
  if (error) *error = nullptr;
  try {
    body();
    return NNLC_OK;
  } catch (const api::Error& e) {
    return report(error, static_cast<nnlc_status>(e.status()), e.what(), &e.diagnostics());
  } catch (const std::bad_alloc&) {
    return report(error, NNLC_OUT_OF_MEMORY, "out of memory");
  } catch (const std::exception& e) {
    return report(error, NNLC_INTERNAL, e.what());
  } catch (...) {
    return report(error, NNLC_INTERNAL, "an exception of unknown type");
  }
}

inline void require(bool good, const char* message) {
  if (!good) api::fail(api::Status::invalid_argument, message);
}

/// The caller's structure in today's layout: what an older header didn't have keeps its default.
template <class Options>
Options read_options(const Options* given, Options defaults) {
  if (!given) return defaults;
  require(given->size >= sizeof(size_t), "a structure of options without its size (NNLC_..._INIT sets it)");
  std::memcpy(static_cast<void*>(&defaults), given, std::min(given->size, sizeof(Options)));
  defaults.size = sizeof(Options);
  return defaults;
}

nnlc_tensor* new_tensor(api::Tensor t);
inline nnlc_place to_c(const api::Place& p) {
  return {p.file.c_str(), p.line, p.column, p.end_line, p.end_column, p.begin, p.end};
}
inline std::string text(const char* s) { return s ? s : ""; }
api::Arguments to_arguments(const nnlc_argument* arguments, size_t n);
inline std::optional<api::CancelToken> token(const nnlc_cancel* c) {
  return c ? std::optional(c->token) : std::nullopt;
}
