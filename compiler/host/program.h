// The host program: what sema makes of everything outside tensor code. Structured instructions over registers;
// tensor code stands in graphs that `run_step` instructions call. exec/ runs it.
#pragma once
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "compiler/graph/graph.h"
#include "runtime/data/dataset.h"

namespace nnlc::host {

/// A register holds one value: int (64 bit), float (f64), bool, str, tensor, list, tuple, record, none. Most are
/// written once; `var`s, loop variables, parameters and optimizer state are written again. Tensors are values: an
/// in-place update copies first if another register shares the buffer.
using Reg = int32_t;
inline constexpr Reg kNoReg = -1;

/// The static type of a register, for messages and for the types of loop-carried variables.
struct Type {
  enum class Kind { none, integer, floating, boolean, str, tensor, list, tuple, record } kind = Kind::none;
  graph::TensorType tensor;        ///< tensor
  int64_t classes = 0;             ///< tensor of class(C): C, else 0
  std::vector<Type> items;         ///< list: the one element type; tuple, record: each
  std::vector<std::string> names;  ///< record
  std::string str() const;
  friend bool operator==(const Type&, const Type&) = default;
};

/// One graph to be compiled: all tensor code between two host decisions. Registers bind its inputs and outputs.
struct Step {
  graph::Graph graph;
  std::vector<Reg> inputs;   ///< per graph input; a host number or bool is converted to the input's element type
  std::vector<Reg> outputs;  ///< per graph output; where the output `updates` an input, that input's register
  std::string title;         ///< "minimize at mnist.nnl:21", for `explain` and profiles
  Span span;
};

struct Instr;
using Block = std::vector<std::unique_ptr<Instr>>;

enum class Op {
  constant,  ///< dst = value
  copy,      ///< dst = args[0]
  unary,     ///< dst = name(args[0]): "neg" "not", "float" "int" (truncation), "item" (rank-0 tensor to number), "str"
  binary,    ///< dst = args[0] name args[1]: + - * / // % ** == != < <= > >= and or; ints are checked for overflow
  call,      ///< dst = builtin name(args, options): see exec/builtins.cpp for the list
  run_step,  ///< runs program.steps[step]
  if_,       ///< args[0]: then_block, else_block
  loop_range,    ///< dst = the counter: from args[0] to args[1] (exclusive) by 1; body
  loop_list,     ///< dst = each item of the list args[0]; body
  loop_batches,  ///< each batch of a data set: see BatchLoop; body per number of rows
  loop_while,    ///< cond_block leaves a bool in args[0]; body
  break_,
  continue_,
  scope,  ///< body, until its end or a `leave` with the same label (an inlined function with an early return)
  leave,
  check_finite,  ///< args: rank-0 tensors (loss, gradient norm); not finite: stop with exit status 3, naming the step's
                 ///< span
  assert_,       ///< args[0] bool, args[1] (optional) str: fails the test or stops the program
};

/// `for b in data.batches(n, shuffle, drop_last, replacement)`.
struct BatchLoop {
  std::shared_ptr<nnl::data::Dataset> dataset;
  int64_t batch_size = 1;
  bool shuffle = false, drop_last = false, replacement = false;
  uint64_t key = 0;         ///< for shuffling, with the pass counter
  Reg passes = kNoReg;      ///< int register: how often this loop has run (the shuffle's step); exec increments it
  std::vector<Reg> fields;  ///< one tensor register per field of the data set, [rows, ...]
  Reg rows = kNoReg;        ///< int register: rows of this batch
  Reg index = kNoReg;       ///< int register: number of the batch within the pass
  std::string label;        ///< for the progress bar
  struct Variant {
    int64_t rows;
    Block body;
  };
  std::vector<Variant> variants;  ///< one per distinct number of rows
};

struct Instr {
  Op op;
  Span span;
  Reg dst = kNoReg;
  std::vector<Reg> args;
  std::string name;                                                        ///< unary, binary, call
  std::variant<std::monostate, int64_t, double, bool, std::string> value;  ///< constant
  std::vector<std::pair<std::string, Reg>> options;                        ///< call: named arguments
  std::vector<std::string> texts;  ///< call: literal strings (format pieces, names)
  int step = -1;                   ///< run_step
  int label = -1;                  ///< scope, leave
  Block then_block, else_block;  ///< if_; loops and scope use then_block as body; loop_while: else_block is cond_block
  std::unique_ptr<BatchLoop> batches;  ///< loop_batches
};

/// A parameter or state of a layer, for save, load, summary and checkpoints.
struct Persistent {
  std::string path;  ///< "hidden_layer.weight"; unique within its root
  std::string root;  ///< the instantiation: "Classifier#0"
  Reg reg = kNoReg;
  graph::TensorType type;
  bool learned = true;               ///< param; false: state
  std::vector<std::string> aliases;  ///< further paths of tied parameters
};

/// An optimizer's registers.
struct Optimizer {
  std::string name;        ///< of its declaration: "Adam"
  Reg updates = kNoReg;    ///< int: updates already made
  std::vector<Reg> rates;  ///< float: the rate of each group
  struct State {
    std::string root, path;  ///< of the parameter
    std::string name;        ///< of the state's declaration: "exp_avg"
    Reg reg = kNoReg;
    graph::TensorType type;
  };
  std::vector<State> states;
};

/// A `minimize` that was compiled: once for each statement and each number of rows that reaches it.
struct Minimize {
  Span span;
  /// What the block gives, the loss first. kNoReg: nothing in the program reads it.
  std::vector<std::pair<std::string, Reg>> results;
  bool accumulates = false;
  std::string statement;  ///< "minimize", or "update" of gradients that `grad` gave
};

class MappedDataset;  // mapped.h

struct Program {
  std::vector<Type> registers;
  std::deque<Step> steps;  ///< index = Instr::step; addresses are stable
  Block body;
  std::vector<Persistent> persistents;
  std::vector<Optimizer> optimizers;
  std::vector<Minimize> minimizes;
  std::vector<std::pair<Reg, std::string>> names;                 ///< of the top level's values
  std::vector<std::shared_ptr<nnl::data::Dataset>> datasets;      ///< of `dataset_row` and its like (exec/builtins.cpp)
  std::vector<std::shared_ptr<MappedDataset>> mapped;             ///< data sets that read through a step
  std::vector<std::shared_ptr<const nnl::data::Text>> text_data;  ///< of `text_encode` and `text_decode`
  uint64_t seed = 0;
  struct Test {
    std::string title;
    Span span;
    std::unique_ptr<Program> program;
  };
  std::vector<Test> tests;
};

/// Readable text of a host program with the names of its steps (part of `emit --stage graph`).
std::string print(const Program& p, const SourceManager& sources);

/// A string as a literal of NNL: in double quotes, with its escapes.
std::string quoted(const std::string& s);

}  // namespace nnlc::host
