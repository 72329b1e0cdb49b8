// NVRTC compiles what the printer prints, for two generations of GPUs, without a spill. Needs NVRTC, but no GPU.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include "compiler/codegen/cuda/compiler.h"
#include "compiler/codegen/cuda/device.h"
#include "tests/cuda/cases.h"

using namespace nnlc;
using codegen::cuda::Compiler;

TEST_CASE("NVRTC takes all printed kernels") {
  std::unique_ptr<Compiler> compiler;
  try {
    compiler = std::make_unique<Compiler>(codegen::cuda::kNoCache);
  } catch (const codegen::cuda::DeviceError& e) {
    MESSAGE("skipped: ", e.what());
    return;
  }
  std::vector<codegen::cuda::Printed> printed;
  std::set<std::string> known;
  for (auto& plan : test::plans_of(test::op_cases()))
    for (auto& k : plan.kernels)
      if (std::string text = loop::print(k); known.insert(text).second)
        printed.push_back(codegen::cuda::print_kernel(k, codegen::cuda::kernel_name(text)));
  REQUIRE(printed.size() > 50);
  const std::string source = codegen::cuda::print_source(printed);
  for (const char* arch : {"sm_80", "sm_90"}) {
    CAPTURE(arch);
    const auto compiled = compiler->compile(source, arch);
    CHECK(compiled.code.size() > 1000);
    CHECK(compiled.log.find("bytes spill stores") != std::string::npos);
    // "0 bytes spill stores, 0 bytes spill loads" for each kernel.
    for (size_t at = 0; (at = compiled.log.find(" bytes spill stores", at)) != std::string::npos; ++at) {
      const size_t start = compiled.log.rfind(' ', at - 1) + 1;
      CHECK(compiled.log.substr(start, at - start) == "0");
    }
  }
}
