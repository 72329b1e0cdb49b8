// The tables of builtins, and what else the tensor half of sema offers to the rest of it.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "compiler/sema/value.h"

namespace nnlc::sema {

extern const std::vector<Builtin> kTensorBuiltins;    ///< builtins_tensor*.cpp, builtins_random.cpp
extern const std::vector<Builtin> kHostBuiltins;      ///< print, record, len, zip, str, …
extern const std::vector<Builtin> kDataBuiltins;      ///< mnist, csv, text, …
extern const std::vector<Builtin> kTrainingBuiltins;  ///< freeze, schedules, clip_norm, save, load, …

/// `x.shape` (a list of static ints), `x.ndim`, `x.numel`, `x.dtype` (a static str), `x.T`; nullopt: no such member.
std::optional<Value> tensor_member(Evaluator& ev, const TensorValue& x, const ast::Name& name);

/// How NNL says what another framework calls `name` ("nn.CrossEntropyLoss", "unsqueeze_", "Dense"); for an unknown
/// name.
std::optional<std::string> foreign_name_hint(std::string_view name);
/// The same for a named argument: `dim`, `keepdim`, `units`.
std::optional<std::string> foreign_argument_hint(std::string_view name);

// Values that tensor code doesn't index itself (data sets, run-time lists) have a method named "[]" with the signature
// "self, index".

}  // namespace nnlc::sema
