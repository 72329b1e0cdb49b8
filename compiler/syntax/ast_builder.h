// ANTLR's tree to the AST. Internal to compiler/syntax.
#pragma once
#include "NNLParser.h"
#include "compiler/support/diagnostics.h"
#include "compiler/syntax/ast.h"
#include "compiler/syntax/tokens.h"

namespace nnlc::syntax {

/// Parses the tokens of `list` as a program or, for the inside of a string, as one expression. `deep` counts the levels
/// of nesting around an interpolation.
std::unique_ptr<ast::Program> parse_program(const SourceManager& sources, uint32_t file, const TokenList& list,
                                            Diagnostics& diags);
ast::ExprPtr parse_interpolation(const SourceManager& sources, uint32_t file, uint32_t begin, uint32_t end,
                                 Diagnostics& diags);

/// The AST of a tree without holes: lines with a syntax error are left out.
std::unique_ptr<ast::Program> build_program(generated::NNLParser::ProgramContext* tree, const SourceManager& sources,
                                            uint32_t file, const TokenList& list, Diagnostics& diags);
ast::ExprPtr build_interpolation(generated::NNLParser::InterpolationContext* tree, const SourceManager& sources,
                                 uint32_t file, const TokenList& list, Diagnostics& diags);

}  // namespace nnlc::syntax
