// Inside of the lowering: which values get memory (roots), which of them are computed together (groups), and the
// builder that writes a group's expressions by walking the graph backwards from its roots.
#pragma once
#include <functional>
#include <map>
#include <set>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "compiler/graph/graph.h"
#include "compiler/loop/kernel.h"

namespace nnlc::loop {

using graph::Node;

/// A value that is computed by a kernel of its own or together with others. All other values are recomputed where they
/// are read.
struct Root {
  /// assembled: a concatenation whose parts are computed where they stand in it.
  enum class Kind : uint8_t { elementwise, reduction, contraction, library, assembled } kind = Kind::elementwise;
  bool stored = false;  ///< another group or the caller reads it
  int group = -1;
  Index canonical;       ///< its index on the axes of its group
  bool per_row = false;  ///< canonical uses outer axes only
  int buffer = -1;
};

/// What one launch computes.
struct Group {
  enum class Kind : uint8_t { nest, gemm, library } kind = Kind::nest;
  std::vector<Axis> axes;            ///< dims of the whole domain (those of size 1 left out), in the order of its shape
  std::vector<const Node*> members;  ///< roots, operands first
  std::set<int> needs;               ///< groups whose results it reads
  std::set<const Node*> reads;       ///< inputs and roots it loads
  bool apart = false;                ///< gemm: nothing is computed together with the product
  bool has_inner() const {
    for (auto& a : axes)
      if (!a.outer) return true;
    return false;
  }
};

/// One side of a contraction after its labels were sorted into batch, m or n, and k.
struct ContractLabels {
  std::string batch, m, n, k;
  std::map<char, int64_t> size;
};
ContractLabels sort_labels(const Node& n);
int64_t product(const std::string& labels, const ContractLabels& l);
/// The one stride with which labels, slowest first, are walked; false if there's none.
bool collapse(const std::string& labels, const ContractLabels& l, std::map<char, int64_t>& stride, int64_t& out);
/// How labels, slowest first, are walked where one stride doesn't do: neighbours that go together are one digit.
std::vector<Gemm::Digit> digits(const std::string& labels, const ContractLabels& l,
                                const std::map<char, int64_t>& stride);
/// Whether a movement op's result has memory of its own.
using InMemory = std::function<bool(const Node*)>;
/// The memory behind one side of a contraction and the stride of each label in it.
bool view(const Node* x, const std::string& labels, const ContractLabels& l, const InMemory& in_memory,
          const Node*& base, std::map<char, int64_t>& stride, int64_t& offset);
/// The contraction as a product of matrices over the memory of `base[0]` and `base[1]`; false if it isn't one.
bool gemm_strides(const Node* n, const InMemory& in_memory, Gemm& out, const Node** base);

/// Rewrites the graph for the lowering; `forced` gets movement ops whose result must be copied to memory.
void prepare(graph::Graph& g, std::set<const Node*>& forced);

std::vector<int64_t> sizes_of(const Node* n);
int64_t count_of(const Node* n);
bool is_movement(const Node* n);
/// Index maps of movement ops: the operand's index from the result's. False for ops that need a guard (pad, concat) or
/// a value.
bool through_movement(const Node* n, const Index& index, const std::vector<Axis>& axes,
                      const std::vector<Dynamic>& dynamics, Index& operand);
/// Splits a flat offset over dims; false if the terms don't fall apart along them.
bool unflatten(const Affine& flat, const std::vector<int64_t>& sizes, const std::vector<Axis>& axes,
               const std::vector<Dynamic>& dynamics, Index& out);

using RootMap = std::unordered_map<const Node*, Root>;

/// Writes expressions into a kernel.
class NestBuilder {
 public:
  NestBuilder(Kernel& kernel, const RootMap& roots, int group) : k(kernel), roots_(roots), group_(group) {}

  /// The value of n at `index`, an expression's id. Members of the group are read at their canonical index only;
  /// elsewhere `failed` is set.
  int eval(const Node* n, const Index& index, int guard = -1);
  /// The op of n itself, even if n is a root.
  int compute(const Node* n, const Index& index, int guard);
  /// Element of the value in memory.
  int load(const Node* n, const Affine& offset, int guard);
  int argument(const Node* n, bool written);
  int add(Expr e);
  int constant(DType t, double v);
  int cast_to(int value, DType t);
  /// Where the value of a member that is a reduction or contraction stands.
  void set_member(const Node* n, int expr) { members_[n] = expr; }

  Kernel& k;
  std::vector<const Node*> arguments;  ///< the value behind each of the kernel's args
  std::vector<const Node*> hits;       ///< members of the group that were read
  std::vector<const Node*> computed;   ///< nodes whose op was written as an expression
  bool failed = false;
  bool dry = false;   ///< only finds out what is read
  int64_t heavy = 0;  ///< transcendental functions written

 private:
  int inside(const std::vector<Bound>& bounds, int guard);
  int random(const Node* n, const Index& index);
  Affine dynamic(int value, int64_t size);
  const RootMap& roots_;
  int group_;
  std::map<std::tuple<const Node*, Index, int>, int> memo_;
  std::unordered_multimap<size_t, int> known_;
  std::unordered_map<const Node*, int> members_, args_;
};

/// Merges axes that every access walks together, and puts outer ones first.
void merge_axes(Kernel& k);

}  // namespace nnlc::loop
