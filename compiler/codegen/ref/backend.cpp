// The reference backend: the judge of the others. Runs the graph as it is, without passes.
#include "compiler/codegen/backend.h"
#include "compiler/ops/evaluate.h"

namespace nnlc::codegen {
namespace {

class ReferenceStep : public CompiledStep {
 public:
  explicit ReferenceStep(graph::Graph g) : graph_(std::move(g)) { graph_.drop_dead(); }

  void run(void* const* buffers) override {
    std::vector<graph::RefTensor> inputs;
    for (const graph::Node* i : graph_.inputs) inputs.push_back(graph::load_ref(i->type, *buffers++));
    // All outputs are computed before the first is stored: one may update an input that another reads.
    for (const graph::RefTensor& out : graph::evaluate(graph_, inputs)) graph::store_ref(out, *buffers++);
  }

 private:
  graph::Graph graph_;
};

class ReferenceBackend : public Backend {
 public:
  std::unique_ptr<CompiledStep> compile(graph::Graph g) override {
    return std::make_unique<ReferenceStep>(std::move(g));
  }
  std::string describe() const override { return "reference evaluator, f64 inside"; }
};

}  // namespace

std::unique_ptr<Backend> make_reference_backend() { return std::make_unique<ReferenceBackend>(); }

}  // namespace nnlc::codegen
