// The printers of the three kinds of kernels.
#pragma once
#include "compiler/codegen/cuda/print.h"

namespace nnlc::codegen::cuda {

Printed print_nest(const loop::Kernel& k, const std::string& name);
Printed print_gemm(const loop::Kernel& k, const std::string& name);
Printed print_library(const loop::Kernel& k, const std::string& name);

}  // namespace nnlc::codegen::cuda
