// What the files of training share: gradients clipped, optimizers stepped.
#pragma once
#include "compiler/sema/evaluator.h"
#include "compiler/sema/training.h"

namespace nnlc::sema {

extern const Builtin kUpdate;  ///< the method `opt.update(g)`

std::optional<double> static_number(const Value& v);
bool is_callable(const Value& v);
host::Type int_type();
host::Type float_type();
host::Type tensor_type(graph::TensorType t);

graph::Node* scalar(Evaluator& ev, double v, graph::DType t, Span span);
/// Sum of the squares of all gradients, f32 (or f64 where a gradient is), in the order of the parameters.
graph::Node* square_norm(Evaluator& ev, const std::vector<graph::Node*>& grads, Span span);
graph::Node* times_scalar(Evaluator& ev, graph::Node* x, graph::Node* factor, Span span);
/// factor min(1, limit / (norm + 1e-6)) on every gradient.
void clip_by_norm(Evaluator& ev, std::vector<graph::Node*>& grads, double limit, Span span);
void clip_by_value(Evaluator& ev, std::vector<graph::Node*>& grads, double limit, Span span);

/// The parameters that an update changes: learned and not frozen.
std::vector<std::shared_ptr<ParamCell>> trained_params(const OptimizerInstance& opt);
/// Makes the rate of this update known in `group.lr`: evaluates a schedule with the number of updates already made.
void prepare_rates(Evaluator& ev, OptimizerInstance& opt, Span span);
/// One update of `params` with their gradients (null: the loss doesn't reach it; it is left alone). Counts the update.
void apply_updates(Evaluator& ev, OptimizerInstance& opt, const std::vector<std::shared_ptr<ParamCell>>& params,
                   const std::vector<graph::Node*>& grads, Span span);

}  // namespace nnlc::sema
