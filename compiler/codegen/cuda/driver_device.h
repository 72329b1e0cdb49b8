// GPUs of this machine.
#pragma once
#include <memory>
#include <string>

#include "compiler/codegen/cuda/compiler.h"
#include "compiler/codegen/cuda/device.h"

namespace nnlc::codegen::cuda {

/// GPU `number`. Throws DeviceError as make_cuda_backend does. cache_dir: as Compiler's.
std::shared_ptr<Device> open_driver_device(int number, const std::string& cache_dir);
/// What `nnlc devices` prints of CUDA: what was found, or what was tried.
std::string list_devices();

}  // namespace nnlc::codegen::cuda
