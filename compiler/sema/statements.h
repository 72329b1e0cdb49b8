// What the files of the statements share.
#pragma once
#include <optional>
#include <vector>

#include "compiler/sema/impl.h"

namespace nnlc::sema {

// ---- block_contents.cpp
bool contains_jump(const ast::Block& b);  ///< break or continue, at any depth
bool contains_return(const ast::Block& b);
/// The names that these blocks assign, elements of them included.
std::vector<std::string> assigned_names(const std::vector<const ast::Block*>& blocks);
/// The vars that these blocks assign get a register each, as a run-time block comes.
void prepare_slots(Evaluator& ev, const std::vector<const ast::Block*>& blocks, const std::shared_ptr<Scope>& scope,
                   Span span);

// ---- assignment.cpp
/// A register of the one type can take a value of the other.
bool same_type(const host::Type& want, const host::Type& got);
void assign_entry(Evaluator& ev, Scope::Entry& entry, const std::string& name, Value v, Span span);
void exec_assign(Evaluator& ev, const ast::AssignStmt& s, const std::shared_ptr<Scope>& scope);

// ---- loops.cpp
void exec_for(Evaluator& ev, const ast::ForStmt& s, const std::shared_ptr<Scope>& scope);
void exec_while(Evaluator& ev, const ast::WhileStmt& s, const std::shared_ptr<Scope>& scope);
void exec_jump(Evaluator& ev, bool is_break, Span span);
void exec_return(Evaluator& ev, const ast::ReturnStmt& s, const std::shared_ptr<Scope>& scope);
/// The items of what is known when compiling (a range of constants, a list); nullopt: nothing of the kind.
std::optional<std::vector<Value>> static_items(Evaluator& ev, const Value& iterable, Span span);

}  // namespace nnlc::sema
