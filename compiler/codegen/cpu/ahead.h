// Objects built ahead of time: C functions that run compiled steps on the caller's memory and need libc and libm only.
//
// Everything is single-threaded: a step's launches are called one after the other. The kernels are those of the JIT,
// so the results are the same bits.
#pragma once
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "compiler/codegen/cpu/jit.h"
#include "compiler/graph/graph.h"

namespace nnlc::codegen::cpu {

enum class ScalarType : uint8_t { integer, floating, boolean };  ///< i64, f64, i1

/// Code over numbers that runs before a step: counters and rates. The meaning of each operation is the executor's; what
/// would stop a program there (an int that overflows, a division by zero) makes the function give up.
struct Scalar {
  enum class Op : uint8_t {
    constant,
    copy,        ///< an int becomes a float where dst is one
    unary,       ///< neg not float int bool
    binary,      ///< + - * / // % ** == != < <= > >= and or
    call,        ///< functions of libm, and abs sign floor ceil round min max sigmoid is_nan is_inf
    branch,      ///< args[0]: then_block, else_block
    count_loop,  ///< dst from args[0] to args[1], exclusive: then_block
    while_loop,  ///< else_block gives args[0]; then_block
    break_,
    continue_,
    scope,  ///< then_block, to its end or a `leave` of the same label
    leave
  };
  Op op = Op::constant;
  int dst = -1;
  std::vector<int> args;
  std::string name;
  std::variant<int64_t, double, bool> value;
  int label = -1;
  std::vector<Scalar> then_block, else_block;
};
/// Whether `unary`, `binary` or `call` of that name is known.
bool is_scalar_operation(Scalar::Op op, const std::string& name);

/// Memory behind one of a function's pointers.
struct Place {
  int parameter = -1;
  int64_t offset = 0;
  bool given() const { return parameter >= 0; }
};

struct AheadVariable {
  ScalarType type = ScalarType::integer;
  Place place;  ///< read at the start and, with `written`, stored when the scalar code has run
  bool written = false;
  int parameter = -1;  ///< passed by value
};

/// What a graph's input or output is bound to: a place, a scalar, or memory of the workspace. Of an output that updates
/// an input the input's binding counts.
struct AheadBuffer {
  Place place;
  int variable = -1;      ///< input: a scalar, converted to the input's type
  int temporary = -1;     ///< a number that an output of an earlier step has, too
  bool optional = false;  ///< output: the caller's pointer may be null
  bool after = false;     ///< output: copied to its place when the step has run, which still reads the old value there
};

/// The graph as the graph passes left it.
struct AheadStep {
  graph::Graph graph;
  std::vector<AheadBuffer> inputs, outputs;
};

struct AheadFunction {
  enum class Parameter : uint8_t { pointer, integer, floating };
  std::string name;
  std::vector<Parameter> parameters;
  int workspace = 0;  ///< the parameter that points to it
  std::vector<AheadVariable> variables;
  std::vector<Scalar> code;
  std::vector<AheadStep> steps;  ///< one after the other, behind the scalar code
  int result = -1;               ///< the output of the last step that is returned, of rank 0; -1: nothing
  std::vector<int> checked;      ///< outputs of the last step that ought to be finite
  /// int32: 0, or 1 where one of `checked` isn't finite, or 2 where the scalar code gave up and nothing was changed.
  Place status;
};

/// A member of the struct that holds a layer's parameters.
struct AheadParameter {
  std::string name;  ///< as in files of weights
  int64_t offset = 0, bytes = 0;
};

struct AheadModel {
  std::string prefix;
  std::vector<AheadFunction> functions;
  std::vector<AheadParameter> parameters;
  int64_t parameter_bytes = 0;   ///< of the struct
  std::vector<uint8_t> weights;  ///< the struct's contents, exported as PREFIX_weights; empty: not inside
  /// PREFIX_load and PREFIX_save: a safetensors file is this header and the parameters in this order.
  std::string file_header;
  std::vector<int> file_order;
  bool training = false;                ///< PREFIX_init also sets up the struct of the training
  std::vector<uint8_t> training_start;  ///< its contents
};

/// The object file; the graphs of the model are taken. workspace_bytes: per function, what its workspace has to have.
std::string build_object(AheadModel& model, const Target& target, std::vector<int64_t>& workspace_bytes);
/// A static library of one object.
std::string make_archive(const std::string& member, const std::string& object);

}  // namespace nnlc::codegen::cpu
