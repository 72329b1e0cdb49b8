// Names of a whole file, also in code that no call reaches: unknown ones, unused ones, hyper-parameters that nothing
// reads.
#pragma once
#include <string>
#include <vector>

#include "compiler/support/diagnostics.h"
#include "compiler/syntax/ast.h"

namespace nnlc::sema {

/// A `let` that nothing reads.
struct UnusedName {
  std::string name;
  Span span;
};
/// `outer`: what the file sees besides its own declarations. `imported`: its own top-level values may stay unused. The
/// unused values are returned: worth a warning only where nothing is wrong.
std::vector<UnusedName> check_names(const ast::Program& program, Diagnostics& diags,
                                    const std::vector<std::string>& outer, bool imported);

}  // namespace nnlc::sema
