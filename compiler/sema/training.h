// Optimizers and gradients as values.
#pragma once
#include <map>

#include "compiler/sema/value.h"

namespace nnlc::sema {

/// One parameter group: its parameters, its hyper-parameters, and the optimizer's state for each parameter.
struct OptimizerGroup {
  std::vector<std::shared_ptr<ParamCell>> params;
  std::vector<std::pair<std::string, Value>> hyper;  ///< by name; a schedule is a function value
  Value schedule = NoneValue{};                      ///< a function of the updates already made, or None
  host::Reg lr = host::kNoReg;                       ///< float register: the rate of the next step
  std::vector<std::vector<std::pair<host::Reg, graph::TensorType>>> state;  ///< [param][state of the declaration]
};
/// The open window of one `minimize(opt, accumulate = k)` statement: weighted sums of gradients, their total weight,
/// executions so far.
struct Accumulation {
  std::vector<std::pair<std::shared_ptr<ParamCell>, host::Reg>> sums;  ///< of the parameters that the loss reaches
  host::Reg weight = host::kNoReg, count = host::kNoReg;
  std::vector<size_t> loops;  ///< depths of open loops whose end closes the window
};
struct OptimizerInstance {
  std::shared_ptr<OptimizerClass> klass;
  std::vector<OptimizerGroup> groups;
  host::Reg updates = host::kNoReg;  ///< int register: updates already made
  /// Parameters that were frozen at some time: their own number of updates, which `step` is counted by.
  std::vector<std::pair<std::shared_ptr<ParamCell>, host::Reg>> own_updates;
  int init_step = -1;                           ///< reserved where the optimizer is made: initial states
  std::map<const void*, Accumulation> windows;  ///< by minimize statement
  host::Instr* init_block = nullptr;            ///< a scope where the optimizer is made: counters start at 0 there
  Span span;
};
/// What grad(net) gives: one gradient for each parameter, in the order of the parameters.
struct GradientValue {
  std::vector<std::shared_ptr<ParamCell>> params;
  std::vector<TensorValue> gradients;
  std::string prefix;  ///< `g.blocks` narrows to the parameters below that path
  /// What the block gave, the loss first.
  std::vector<std::pair<std::string, std::shared_ptr<TensorCell>>> results;
};

/// `g + h`, `g - h`, `g * 0.5`, `-g` (b absent) on gradients; nullopt when neither is one.
std::optional<Value> gradient_arithmetic(Evaluator& ev, ast::BinaryOp op, const Value& a, const Value* b, Span span);

}  // namespace nnlc::sema
