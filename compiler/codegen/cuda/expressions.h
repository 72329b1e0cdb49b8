// Expressions of the kernel form as CUDA C++, shared by the printers of nests and contractions.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "compiler/loop/kernel.h"

namespace nnlc::codegen::cuda {

std::string memory_type(graph::DType t);    ///< of an element in a buffer: "u16" for bf16
std::string register_type(graph::DType t);  ///< of a value: "float" for bf16
/// The text of a value in memory's form, and back.
std::string to_memory(graph::DType t, const std::string& value);
std::string from_memory(graph::DType t, const std::string& element);
std::string constant(graph::DType t, double f, int64_t i);

/// Writes statements with an indent.
class Text {
 public:
  void line(const std::string& s) { text += std::string(static_cast<size_t>(indent) * 2, ' ') + s + "\n"; }
  void open(const std::string& s) { line(s), ++indent; }
  void close(const std::string& s = "}") { --indent, line(s); }
  std::string text;
  int indent = 0;
};

/// The head of a kernel: its parameters p0, p1, … are its buffers.
std::string signature(const loop::Kernel& k, const std::string& name, int threads, bool workspace = false);
/// Whether all offsets of a kernel fit an int.
bool small_offsets(const loop::Kernel& k);

/// Prints expressions as constants v0, v1, … where they are first needed. Axes are the variables a0, a1, …
class Expressions {
 public:
  Expressions(const loop::Kernel& kernel, Text& out);

  /// The name of expression `id`, printed now if it isn't yet.
  const std::string& get(int id);
  void set(int id, std::string name) { names_[static_cast<size_t>(id)] = std::move(name); }
  bool known(int id) const { return !names_[static_cast<size_t>(id)].empty(); }
  std::string offset(const loop::Affine& a);
  /// All values first, then the stores: a result may stand where an operand did.
  void store(const std::vector<loop::Store>& stores);

  /// Axes that an expression depends on, as bits.
  uint64_t depends(int id) const { return depends_[static_cast<size_t>(id)]; }
  /// It needs the result of a reduction that isn't known yet.
  bool waits(int id) const;
  /// Prints what stores or reductions of these need, no longer needs to wait, and depends on the open axes only.
  void hoist(const std::vector<int>& needed, uint64_t open_axes);

  /// What the phase's reductions and stores reach, operands first.
  std::vector<int> needed_by(const loop::Phase& p) const;

  /// Names that a block of text declares are forgotten at its end.
  std::vector<std::string> save() const { return names_; }
  void restore(std::vector<std::string> names) { names_ = std::move(names); }

 private:
  std::string print(const loop::Expr& e);
  std::string cast(const std::string& v, graph::DType from, graph::DType to) const;
  void visit(int id, std::vector<bool>& seen, std::vector<int>& out) const;

  const loop::Kernel* k_;
  Text* out_;
  std::vector<std::string> names_;
  std::vector<uint64_t> depends_;
};

}  // namespace nnlc::codegen::cuda
