// `nnlc build` without a command line: a layer of a program as a header and objects.
#pragma once
#include <functional>
#include <optional>
#include <string>

#include "compiler/ahead/model.h"
#include "compiler/codegen/backend.h"

namespace nnlc::ahead {

struct Output {
  Model model;
  std::string header, object, archive;
  std::string weights;  ///< contents of the file of weights, where they are beside
};

struct Machinery {
  codegen::Backend& backend;                    ///< computes the initial values
  std::function<void(graph::Graph&)> optimize;  ///< the graph passes of the driver
  std::string program_dir;
  codegen::cpu::Target target;
};

/// Null: reported.
std::optional<Output> build(host::Program& program, sema::LayerExport& layer, const Request& request,
                            const Machinery& with, const SourceManager& sources, Diagnostics& diags);

}  // namespace nnlc::ahead
