// Initial values of parameters: PyTorch's nn.init by name, without the underscore.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "compiler/sema/evaluator.h"

namespace nnlc::sema {

/// kaiming_uniform kaiming_normal xavier_uniform xavier_normal uniform normal trunc_normal zeros ones constant eye
/// orthogonal sparse dirac.
bool is_initializer(const std::string& name);
const std::vector<std::string>& initializer_names();
/// The initial value of a parameter of `type` in the pending graph; nullopt: reported.
std::optional<TensorValue> make_initial(Evaluator& ev, const std::string& name, const graph::TensorType& type,
                                        const std::vector<ArgValue>& args, Span span);
/// Inputs and outputs of one unit of a weight of this shape, as PyTorch counts them; nullopt below rank 2.
std::optional<std::pair<graph::Dim, graph::Dim>> fans(const graph::Shape& shape);

/// nn.init.calculate_gain; nullopt: there is no such nonlinearity.
std::optional<double> gain_of(const std::string& nonlinearity, std::optional<double> param);

}  // namespace nnlc::sema
