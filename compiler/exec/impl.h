// The inside of a machine, shared by the files of exec/.
#pragma once
#include <cmath>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "compiler/exec/machine.h"
#include "compiler/exec/trace.h"
#include "compiler/exec/value.h"
#include "runtime/metrics.h"
#include "runtime/progress.h"

namespace nnlc::exec {

/// What stops a program while it runs; Machine::run makes a diagnostic of it.
struct Failure {
  Code code;
  Span span;
  std::string message;
  std::vector<std::string> notes, helps;
  std::string label = {};          ///< at `span`
  std::vector<Label> labels = {};  ///< the other places
};

/// A step as it is run: what is known of its graph after the backend took it, and memory that its runs share.
struct CompiledStep {
  struct Port {
    int dtype = NNL_F32;
    std::vector<int64_t> shape;
    std::string name;
  };
  std::unique_ptr<codegen::CompiledStep> code;
  graph::Graph source;  ///< as sema made it, for looking into a run that failed; empty without a trace
  std::vector<Port> inputs, outputs;
  std::vector<int> updates;           ///< per output: the input that it is written over, or -1
  std::vector<bool> read_elsewhere;   ///< per input: it is updated, and its register is another input too
  std::vector<bool> output_is_input;  ///< per output without `updates`: its register is an input as well
  std::vector<Tensor> scalars;        ///< per input: where a host number is converted to
  std::vector<Tensor> spare;          ///< per output: a buffer to write to while the register's own is being read
  std::vector<nnl::Buffer*> buffers;  ///< of the inputs, then of the outputs
};

/// How a block ended.
enum class Flow { normal, break_, continue_, leave };

struct Machine::Impl {
  Impl(host::Program& p, codegen::Backend& b, MachineOptions o);
  ~Impl();
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  host::Program& program;
  codegen::Backend& backend;
  MachineOptions options;
  std::vector<Value> regs;
  std::vector<std::unique_ptr<CompiledStep>> steps;
  nnl::Progress progress;
  std::unique_ptr<nnl::RunLog> log;
  std::unordered_map<const void*, int64_t> counters;  ///< per instruction: passes of loops
  /// Per statement, whose instructions may be several (the body of a loop for each size of its batches):
  std::map<std::pair<uint32_t, uint32_t>, int64_t> checks;   ///< executions that gave finite values
  std::map<std::pair<uint32_t, uint32_t>, int64_t> records;  ///< calls of `record`
  Trace trace;
  struct {
    std::vector<graph::TensorType> types;
    std::unique_ptr<codegen::CompiledStep> code;
    Tensor result;
  } finite_check;                        ///< the last one that was made
  const host::Instr* current = nullptr;  ///< the last that was begun
  bool replaying = false;                ///< what the program does to the world outside was done already
  int leaving = -1;                      ///< the label of the scope that a `leave` is on its way to

  Flow run_block(const host::Block& block);
  Flow run_instr(const host::Instr& i);
  void run_leaf(const host::Instr& i);  ///< an instruction without blocks
  Flow run_batches(const host::Instr& i);
  /// Fills the registers of one pass of a loop over batches; the number of rows.
  int64_t read_batch(const Trace::Batch& batch);
  void run_step(const host::Instr& i);
  /// Finds the buffers that the step reads.
  void bind_inputs(CompiledStep& c, const host::Step& step);
  CompiledStep& compiled(int step);
  /// That of the machine, or what reads records of mapped data sets.
  codegen::Backend& backend_of(int step);
  std::unique_ptr<codegen::Backend> record_backend;
  /// What input k of the step reads: its register's buffer, or a host number converted.
  nnl::Buffer* input_buffer(CompiledStep& c, const host::Step& step, size_t k);
  /// Lets the program's mapped data sets read through their steps; they must not be read any more once `release_maps`
  /// ran.
  void bind_maps();
  void release_maps();
  void call(const host::Instr& i);
  void unary(const host::Instr& i);
  void binary(const host::Instr& i);
  void check_finite(const host::Instr& i);
  /// Begins the trace anew if it is time; `must`: whatever its age.
  void renew_trace(bool must);
  /// Registers as they were before event `end` of the trace.
  void replay(size_t end);
  /// Why a checked value isn't finite: runs the step again with all its values visible, and says which op was the first
  /// to give one that isn't (diagnose.cpp). `checked`: the register that was looked at.
  void explain_not_finite(Failure& f, host::Reg checked);
  void stop_if_cancelled(Span at) const;
  bool all_finite_where_they_are(const std::vector<const Tensor*>& tensors);  // finite.cpp

  Value& reg(host::Reg r) { return regs[static_cast<size_t>(r)]; }
  void set(host::Reg r, Value v) {
    if (r != host::kNoReg) regs[static_cast<size_t>(r)] = std::move(v);
  }
  /// The bool in a register (a rank-0 bool tensor is read back).
  bool truth(host::Reg r) const;
  int64_t integer(host::Reg r) const;
  void write(std::string_view text);  ///< the program's output
  void report(std::string_view text);
};

/// a `op` b of host values, as the instruction `binary` defines it. Throws Failure.
Value binary_op(const std::string& op, const Value& a, const Value& b, Span span);
Value unary_op(const std::string& op, const Value& a, Span span);

/// The rows of pass `pass` over a data set: all in order, shuffled, or drawn with replacement.
std::vector<int64_t> batch_order(int64_t n, bool shuffle, bool replacement, uint64_t key, uint64_t pass);

/// One call of a builtin: its arguments by position with checks. Every check that fails is a bug of sema or a user's
/// error that only shows while running, and names the builtin.
class Call {
 public:
  Call(Machine::Impl& m, const host::Instr& i) : machine(m), instr(i) {}
  Machine::Impl& machine;
  const host::Instr& instr;

  size_t size() const { return instr.args.size(); }
  Value& arg(size_t i) const;
  const Value* option(std::string_view name) const;
  const std::string& text(size_t i) const;
  int64_t text_int(size_t i) const;

  int64_t integer(size_t i) const;
  double number(size_t i) const;  ///< an int, a float or a rank-0 tensor
  const std::string& str(size_t i) const;
  List& list(size_t i) const;
  const Tensor& tensor(size_t i) const;
  /// 0 <= result < size; negative ones count from the end.
  int64_t index(int64_t i, int64_t size, const char* what) const;

  void result(Value v) const { machine.set(instr.dst, std::move(v)); }
  [[noreturn]] void fail(Code code, std::string message, std::vector<std::string> notes = {},
                         std::vector<std::string> helps = {}) const;
  /// An argument of another kind than the builtin is for: sema let it pass.
  [[noreturn]] void wrong_kind(size_t i, const char* wanted) const;
};
using BuiltinFn = void (*)(Call&);
struct BuiltinEntry {
  const char* name;
  BuiltinFn run;
};
// The tables, by subject.
const std::vector<BuiltinEntry>& text_builtins();    // builtins.cpp
const std::vector<BuiltinEntry>& list_builtins();    // builtins_lists.cpp
const std::vector<BuiltinEntry>& number_builtins();  // builtins_numbers.cpp
const std::vector<BuiltinEntry>& tensor_builtins();  // builtins_tensors.cpp
const std::vector<BuiltinEntry>& file_builtins();    // builtins_files.cpp
BuiltinFn find_builtin(const std::string& name);

}  // namespace nnlc::exec
