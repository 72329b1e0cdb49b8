// Slices of host programs: what has to run so that some registers have their values.
#pragma once
#include <functional>
#include <optional>
#include <set>
#include <vector>

#include "compiler/host/program.h"

namespace nnlc::ahead {

using RegSet = std::set<host::Reg>;

/// What an instruction reads and writes, with all that is inside of it.
RegSet reads_of(const host::Program& p, const host::Instr& i);
RegSet writes_of(const host::Program& p, const host::Instr& i);
bool is_scalar(const host::Program& p, host::Reg r);  ///< int, float or bool

/// The instructions of `block` in front of `end` that the registers of `wanted` depend on, as indices. An instruction
/// for which `takes` is false isn't taken: what it writes comes from outside then.
std::vector<size_t> backward_slice(const host::Program& p, const host::Block& block, size_t end, RegSet wanted,
                                   const std::function<bool(const host::Instr&)>& takes);

/// Takes out of a program's body what gives `wanted` their first values, as a block of its own. nullopt: a loop or a
/// branch stands between, at `blocked`.
std::optional<host::Block> initial_slice(host::Program& p, const RegSet& wanted, Span& blocked);

}  // namespace nnlc::ahead
