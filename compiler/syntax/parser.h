// Text to AST. The only door to the grammar: no ANTLR type passes through it.
#pragma once
#include <memory>
#include <string>

#include "compiler/support/diagnostics.h"
#include "compiler/syntax/ast.h"

namespace nnlc::syntax {

/// Parses file `file` of `sources`. Errors go to `diags`; what could be understood is returned all the same
/// (never null), so that names and shapes of the rest may still be checked.
std::unique_ptr<ast::Program> parse(const SourceManager& sources, uint32_t file, Diagnostics& diags);

/// The `ast` stage of `nnlc emit`: one node a line, indented, with spans.
std::string dump(const ast::Program& program, const SourceManager& sources);

/// The program in canonical layout; comments and blank lines between statements are kept. The file must parse without
/// errors.
std::string format(const SourceManager& sources, uint32_t file);

/// An expression as source text on one line (for diagnostics).
std::string to_source(const ast::Expr& e);
/// A str as a literal: in double quotes, with its escapes, braces doubled.
std::string quoted(const std::string& s);

}  // namespace nnlc::syntax
