// NVRTC compiles what the printer prints, for two generations of GPUs, without a spill: every kernel of the op samples
// and of the examples. Needs NVRTC, but no GPU.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <filesystem>

#include "compiler/codegen/cuda/compiler.h"
#include "compiler/codegen/cuda/device.h"
#include "tests/cuda/cases.h"
#include "tests/cuda/programs.h"

using namespace nnlc;
using codegen::cuda::Compiler;

namespace {

std::unique_ptr<Compiler> open_compiler() {
  try {
    return std::make_unique<Compiler>(codegen::cuda::kNoCache);
  } catch (const codegen::cuda::DeviceError& e) {
    MESSAGE("left out: ", e.what());
    return nullptr;
  }
}

/// Kernels of plans, each once.
struct Kernels {
  std::set<std::string> known;
  std::vector<codegen::cuda::Printed> printed;
  void add(const loop::Plan& plan) {
    for (auto& k : plan.kernels)
      if (std::string text = loop::print(k); known.insert(text).second)
        printed.push_back(codegen::cuda::print_kernel(k, codegen::cuda::kernel_name(text)));
  }
  void compile(Compiler& compiler) const {
    const std::string source = codegen::cuda::print_source(printed);
    for (const char* arch : {"sm_80", "sm_90"}) {
      CAPTURE(arch);
      const auto compiled = compiler.compile(source, arch);
      CHECK(compiled.code.size() > 1000);
      // "0 bytes spill stores, 0 bytes spill loads" for each entry, and for functions that weren't inlined.
      size_t entries = 0, reports = 0;
      for (auto& p : printed) entries += p.entries.size();
      for (size_t at = 0; (at = compiled.log.find(" bytes spill stores", at)) != std::string::npos; ++at, ++reports) {
        const size_t start = compiled.log.rfind(' ', at - 1) + 1;
        CHECK(compiled.log.substr(start, at - start) == "0");
      }
      CHECK(reports >= entries);
    }
  }
};

}  // namespace

TEST_CASE("NVRTC takes the kernels of all ops") {
  auto compiler = open_compiler();
  if (!compiler) return;
  Kernels kernels;
  for (auto& plan : test::plans_of(test::op_cases())) kernels.add(plan);
  REQUIRE(kernels.printed.size() > 50);
  kernels.compile(*compiler);
}

TEST_CASE("NVRTC takes the kernels of all examples") {
  auto compiler = open_compiler();
  if (!compiler) return;
  Kernels kernels;
  for (auto& file : std::filesystem::directory_iterator(std::string(NNLC_REPOSITORY) + "/examples")) {
    if (file.path().extension() != ".nnl") continue;
    const std::string name = file.path().filename().string(), text = test::text_of("examples/" + name);
    const std::string data = name.starts_with("mnist")         ? "mnist"
                             : name.starts_with("names")       ? "names"
                             : name.starts_with("shakespeare") ? "tinyshakespeare"
                                                               : "";
    if (!data.empty() && !test::has_data(data)) continue;
    CAPTURE(name);
    SourceManager sources;
    Diagnostics diags;
    auto program = sema::compile(sources, sources.add(name, text), {}, diags);
    REQUIRE(program);
    for (host::Step& step : program->steps) {
      passes::settle(step.graph);
      kernels.add(loop::lower(step.graph));
    }
  }
  REQUIRE(kernels.printed.size() > 20);
  MESSAGE(kernels.printed.size(), " kernels");
  kernels.compile(*compiler);
}
