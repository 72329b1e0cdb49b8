// Optimizers and gradients as values.
#pragma once
#include "compiler/sema/value.h"

namespace nnlc::sema {

/// One parameter group: its parameters, its hyper-parameters, and the optimizer's state for each parameter.
struct OptimizerGroup {
  std::vector<std::shared_ptr<ParamCell>> params;
  std::vector<std::pair<std::string, Value>> hyper;   ///< by name; a schedule is a function value
  host::Reg lr = host::kNoReg;                        ///< float register: the rate of the next step
  std::vector<std::vector<std::pair<host::Reg, graph::TensorType>>> state;   ///< [param][state of the declaration]
};
struct OptimizerInstance {
  std::shared_ptr<OptimizerClass> klass;
  std::vector<OptimizerGroup> groups;
  host::Reg updates = host::kNoReg;                   ///< int register: updates already made
  Span span;
};
/// What grad(net) gives: one gradient for each parameter, in the order of the parameters.
struct GradientValue {
  std::vector<std::shared_ptr<ParamCell>> params;
  std::vector<TensorValue> gradients;
  std::string prefix;                                 ///< `g.blocks` narrows to the parameters below that path
};

}  // namespace nnlc::sema
