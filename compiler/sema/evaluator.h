// The partial evaluator: walks the AST once, in program order, and makes the host program. One class, its members
// spread over files by subject: evaluator.cpp (expressions), statements.cpp (host control flow), calls.cpp (binding of
// arguments and signatures), operators.cpp (tensor operators, broadcasting), indexing.cpp, strings.cpp, layers.cpp,
// training.cpp, builtins_*.cpp.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "compiler/ops/build.h"
#include "compiler/sema/sema.h"
#include "compiler/sema/value.h"

namespace nnlc::sema {

/// Where code is being evaluated.
struct Context {
  bool tensor_code = false;  ///< inside forward, minimize, grad, or a fn called from there: loops unroll, `var` is a
                             ///< plain rebinding, no host effects
  bool training = false;     ///< the mode of calls made here
  bool dry = false;          ///< checking only, with symbolic dims: graphs are thrown away, no instruction is emitted
  std::shared_ptr<LayerInstance> self;    ///< the layer whose forward or method runs
  std::shared_ptr<LayerInstance> caller;  ///< the layer whose code called it
  std::string random_path;                ///< root and path of the layer, for keys of random draws
};

/// A call on the stack, so that an error inside the standard library is reported at the user's line.
struct Frame {
  std::string name;
  Span call_span;
};

class Evaluator {
 public:
  Evaluator(SourceManager& sources, Diagnostics& diags, const CompileOptions& options);

  SourceManager& sources;
  Diagnostics& diags;
  const CompileOptions& options;
  Context context;
  std::vector<Frame> frames;
  std::unique_ptr<host::Program> program;
  std::shared_ptr<Scope> std_scope;  ///< declarations of runtime/std
  std::shared_ptr<Scope> global_scope;

  // ---- diagnostics: `error` moves a span inside the library to the user's innermost line
  DiagnosticBuilder error(Code code, Span span, std::string message);
  DiagnosticBuilder unsupported(Code code, Span span, std::string message);
  DiagnosticBuilder warning(Code code, Span span, std::string message);
  Span user_span(Span s) const;

  // ---- expressions (evaluator.cpp)
  Value eval(const ast::Expr& e, const std::shared_ptr<Scope>& scope);
  /// The value of a block: its last expression, or None.
  Value eval_block(const ast::Block& b, const std::shared_ptr<Scope>& scope);
  void exec(const ast::Stmt& s, const std::shared_ptr<Scope>& scope);
  bool bind(const ast::Pattern& p, Value v, const std::shared_ptr<Scope>& scope, bool is_var);

  // ---- calls (calls.cpp)
  Value call(const Value& callee, std::vector<ArgValue> args, const LambdaValue* lambda, Span span, Span callee_span);
  /// Calls a lambda or function value from C++ (map, folds, schedules).
  Value apply(const Value& fn, std::vector<Value> args, Span span);
  Value call_layer(const std::shared_ptr<LayerInstance>& layer, std::vector<ArgValue> args, Span span);
  Value run_layer(const std::shared_ptr<LayerInstance>& layer, std::vector<ArgValue> args, Span span);  ///< its body
  /// Dims bound so far in one signature: name -> size.
  using DimBindings = std::map<std::string, graph::Dim>;
  /// Checks `v` against the written type, binding upper-case names; reports and returns false when they disagree.
  bool match_type(const ast::TypeExpr& t, Value& v, DimBindings& dims, const std::shared_ptr<Scope>& scope, Span at,
                  const std::string& what);

  // ---- layers (layers.cpp)
  Value instantiate(const std::shared_ptr<LayerClass>& klass, std::vector<ArgValue> args, Span span);
  /// All params (not states unless asked) at or below a layer, a list of layers, or one parameter's value.
  std::vector<std::shared_ptr<ParamCell>> params_of(const Value& v, bool with_states = false);

  // ---- training (training.cpp)
  Value eval_minimize(const ast::BlockCallExpr& e, const std::shared_ptr<Scope>& scope);
  Value eval_grad(const ast::BlockCallExpr& e, const std::shared_ptr<Scope>& scope);
  Value make_optimizer(const std::shared_ptr<OptimizerClass>& klass, std::vector<ArgValue> args, Span span);
  /// `opt.lr`, `opt.update(g)`, `g.weight`, `g.blocks[0].weight`; nullopt: no such member.
  std::optional<Value> training_member(const Value& object, const ast::Name& name);
  bool training_assign(const Value& object, const ast::Name& member, Value v, Span span);

  // ---- tensors (operators.cpp, indexing.cpp)
  Value binary(ast::BinaryOp op, const Value& a, const Value& b, Span span, Span a_span, Span b_span);
  Value unary(ast::UnaryOp op, const Value& a, Span span);
  Value index(const Value& object, const ast::IndexExpr& e, const std::shared_ptr<Scope>& scope);
  /// The common shape of operands under the language's broadcasting rule; nullopt with a diagnostic.
  std::optional<graph::Shape> broadcast_shape(const std::vector<const TensorValue*>& xs, const std::vector<Span>& spans,
                                              Span span, const std::string& what);
  /// A tensor of dtype `like` from a host number or bool (static or run-time), rank 0; reports what doesn't fit.
  std::optional<TensorValue> to_tensor(const Value& v, std::optional<graph::DType> like, Span span);
  /// Sizes that differ as they are written, but may be equal: a symbol of unused code, and a number.
  bool may_be_equal(const graph::Dim& a, const graph::Dim& b) const;
  /// Makes a TensorValue of a node in the pending graph.
  TensorValue tensor(graph::Node* node, Span span = {});

  // ---- the pending step and host code (emit.cpp)
  /// The graph that tensor code is appended to now.
  graph::Graph& graph();
  /// The value as a node of the pending graph (adds an input for a value that lives elsewhere).
  graph::Node* node(const TensorValue& t);
  /// A host number as a rank-0 node of the pending graph.
  graph::Node* scalar_node(const RuntimeValue& v, graph::DType dtype);
  /// A rank-0 i64 node: how often the statement at `site` has run (for random draws outside of training steps: its own
  /// counter).
  graph::Node* draw_counter(Span site);
  /// The key of a random draw: hash of seed, path and the ordinal of the draw in the present call.
  uint64_t draw_key(Span site);
  /// A number, known when the program runs, that has to lie in [low, high]: else the program stops with what
  /// exec/checks.cpp says of `what` ("index", "slice", "label") and `details`.
  struct RangeCheck {
    std::string what;
    int64_t low = 0, high = 0;
    std::vector<std::string> details;
    Span span;
  };
  void check_when_run(const RuntimeValue& number, const RangeCheck& check);
  /// The same for all elements of an int tensor, after the step that computes it.
  void check_when_run(const TensorValue& ints, const RangeCheck& check);
  /// Ends the pending step: a run_step instruction is placed here; later uses of its values become outputs.
  void flush();
  host::Reg new_reg(host::Type type);
  /// Places a run_step instruction here whose graph is filled later, by `in_step` (initial values whose sizes follow
  /// from a later use).
  int reserve_step(std::string title, Span span);
  /// Runs `body` with that step's graph as the pending one; write_back and read_persistent then refer to it.
  void in_step(int step, const std::function<void()>& body);
  host::Instr& emit(host::Op op, Span span);  ///< appends to the current block (never in dry or tensor code)
  /// Appends an instruction that computes host values even in tensor code (schedules, counters): placed before the
  /// pending step.
  host::Instr& emit_pure(host::Op op, Span span);
  /// Any value as a register (constants are materialised, tensors flushed).
  host::Reg reg_of(const Value& v, Span span);
  Value from_reg(host::Reg reg, const host::Type& type,
                 Span span);  ///< RuntimeValue, or a TensorValue for tensor types
  host::Type type_of(const Value& v);
  /// Reads a rank-0 tensor back as a host value; other values are returned as they are.
  Value to_host(const Value& v, Span span);
  void begin_block(host::Block& b);  ///< instructions now go there; flushes first
  void end_block();                  ///< flushes, then back to the block around it
  /// Writes a node to a persistent register when the pending step runs (parameters, state, optimizer state); later
  /// reads in the same step see `value`.
  void write_back(host::Reg reg, const TensorValue& value);
  /// A persistent register as a tensor (its newest value, also within the pending step).
  /// Consults `leaves` first, innermost block last.
  TensorValue read_persistent(host::Reg reg, const graph::TensorType& type, Span span);
  /// Inside minimize and grad: the parameters that are differentiated, as leaves of their own, so that what was
  /// computed from them before the block stays a constant. One map for each open block.
  std::vector<std::map<host::Reg, TensorValue>> leaves;
  /// What has to be emitted where the innermost run-time loop ends (an open `accumulate` window is closed there); one
  /// list for each open loop. statements.cpp pushes and pops, and runs the functions after the loop's instruction.
  std::vector<std::vector<std::function<void()>>> loop_end_actions;

  /// Places the checks of a step that has just ended.
  void emit_checks(int step);

  struct Impl;
  std::unique_ptr<Impl> impl;
  ~Evaluator();
};

}  // namespace nnlc::sema
