// What an object built ahead of time has beside its steps: weights, their files, and finding them by name.
#pragma once
#include <string>
#include <vector>

#include "compiler/codegen/cpu/ahead.h"
#include "compiler/codegen/cpu/ir_builder.h"

namespace nnlc::codegen::cpu {

/// Emits PREFIX_weights, PREFIX_init, PREFIX_find, PREFIX_load and PREFIX_save; gives the names of the functions.
std::vector<std::string> emit_files(Builder& b, const AheadModel& model);

}  // namespace nnlc::codegen::cpu
