// The state behind Model and Trainer.
#pragma once
#include "compiler/api/variant.h"

namespace nnlc::v0 {

struct Model::State {
  Program program;
  std::string layer;                   ///< the expression that makes it
  const Layer* declaration = nullptr;  ///< where the layer is one of the program's
  std::mutex mutex;                    ///< held while anything compiles or runs
  std::unique_ptr<codegen::Backend> backend;
  Store parameters;
  /// One way to call the layer: a method in a mode, for each set of input types met so far.
  struct Call {
    std::string method;
    bool training;
    Store state;
    std::vector<std::unique_ptr<Variant>> variants;
  };
  std::vector<std::unique_ptr<Call>> calls;

  const Program::State& source() const { return *Access::of(program); }
  /// The names that inputs of a method have in its signature, where it is known.
  std::vector<std::string> input_names(const std::string& method, size_t n) const;
};

/// The variants of a driver that differ in the types of the inputs only: the one that takes these, compiled if need be.
Variant& variant_for(Model::State& model, std::vector<std::unique_ptr<Variant>>& variants, sema::Driver driver,
                     const std::vector<std::string>& names, const std::vector<Tensor>& inputs, Store& own);
void require_defined(const std::vector<Tensor>& inputs);
/// "model(a, b)"
std::string call_text(const std::string& callee, const std::vector<std::string>& names, size_t from, size_t to,
                      const std::string& more = {});
/// The files of weights.
std::vector<std::pair<std::string, nnl::Tensor>> read_file_of_tensors(const std::string& path);
void write_file_of_tensors(const std::string& path, const std::vector<std::pair<std::string, nnl::Tensor>>& tensors);

}  // namespace nnlc::v0
