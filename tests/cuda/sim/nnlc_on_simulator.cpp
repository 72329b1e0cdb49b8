// nnlc with a simulated GPU: `run` and `test`, whose --device cuda opens the simulator. What it found wrong (races,
// overruns, deadlocks) goes to standard error at the end, and makes the exit status 5.
#include <cstdio>
#include <exception>
#include <iostream>

#include "compiler/codegen/cuda/backend.h"
#include "compiler/driver/session.h"
#include "tests/cuda/sim/simulator.h"

int main(int argc, char** argv) {
  using namespace nnlc;
  int status = -1;
  driver::Options options = driver::parse_options(argc, argv, status);
  if (status >= 0) return status;
  auto simulator = sim::make_simulator();
  options.open_gpu = [&](const codegen::CudaOptions& cuda) {
    return std::make_unique<codegen::cuda::CudaBackend>(simulator, cuda.run_passes);
  };
  try {
    if (options.command == "run")
      status = driver::run_command(options);
    else if (options.command == "test")
      status = driver::test_command(options);
    else
      std::cerr << "only run and test are here\n";
  } catch (const std::exception& e) {
    std::cerr << e.what() << '\n';
    return driver::kInternal;
  }
  std::cout.flush();
  for (auto& f : simulator->faults()) std::cerr << "simulator: " << f << '\n';
  return simulator->faults().empty() ? status : 5;
}
