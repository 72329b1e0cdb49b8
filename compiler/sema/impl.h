// What the evaluator keeps to itself: the pending step, the blocks being written, loops and functions being inlined.
#pragma once
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "compiler/sema/evaluator.h"

namespace nnlc::sema {

inline host::Type host_type(host::Type::Kind kind) {
  host::Type t;
  t.kind = kind;
  return t;
}

/// How evaluation goes on after a statement. `dead`: the rest of this run-time block can't be reached.
enum class Flow { go, break_, continue_, return_, dead };

/// Where `return` goes: the fn being inlined.
struct ReturnTarget {
  int runtime_depth = 0;
  int label = -1;     ///< of the scope instruction around the body; -1: none was opened
  bool left = false;  ///< a `leave` was emitted
  host::Reg reg = host::kNoReg;
  host::Type type;
  std::optional<Value> value;  ///< of a return that is certain
  /// Returns of tensor code by a run-time condition: what follows them is computed too, and joined with them at the
  /// end of the function.
  struct Choice {
    RuntimeValue condition;
    bool branch;  ///< the one that returns
    Value value;
    std::map<host::Reg, graph::Node*> before, newest;  ///< what is written back: before the branch, and by it
    size_t begin;                                      ///< the graph's nodes from here on are what follows
  };
  std::vector<Choice> left_by_choice;
  int choices = 0;  ///< run-time conditions of tensor code around here
};

/// The innermost loop that `break` and `continue` act on.
struct LoopTarget {
  enum class Kind { run_time, unrolled } kind = Kind::run_time;
  int runtime_depth = 0;                      ///< of the body
  int break_label = -1, continue_label = -1;  ///< unrolled at host level: scopes around the loop and around each pass
  bool left = false;
};

/// One call of a layer while `Impl::calls` is set.
struct LayerCall {
  const LayerInstance* layer = nullptr;
  std::vector<graph::TensorType> types;  ///< of what it gave
  graph::Dim flops;                      ///< of the nodes that it made
};

struct Evaluator::Impl {
  /// A step while code is appended to it.
  struct StepState {
    host::Step* step = nullptr;
    std::map<host::Reg, graph::Node*> inputs;
    std::map<std::pair<host::Reg, graph::DType>, graph::Node*> scalars;
    std::map<host::Reg, graph::Node*> newest;  ///< registers that this step writes back
    std::vector<host::Reg> written;
    std::map<host::Reg, graph::Node*> counters;  ///< of random draws
  };
  std::map<int, StepState> steps;  ///< by id: an index into Program::steps, or kScratch and above
  static constexpr int kScratch = 1 << 30;
  struct PendingCheck {
    TensorValue low, high;  ///< the smallest and the largest element
    RangeCheck check;
    std::vector<std::pair<host::Reg, bool>> when;
  };
  std::vector<PendingCheck> checks;  ///< of steps that have not ended
  /// The run-time conditions of tensor code around here, and which branch it is.
  std::vector<std::pair<host::Reg, bool>> guards;
  int current = -1;       ///< the pending step
  bool reserved = false;  ///< inside in_step: the run_step instruction is placed already
  int scratch_count = 0;
  std::deque<host::Step> scratch;  ///< graphs of dry checks
  std::vector<host::Block*> blocks;
  std::deque<host::Block> scratch_blocks;
  host::Block prologue;  ///< runs first: counters start at 0
  int labels = 0;
  uint64_t effects = 0;        ///< assignments, output, first uses so far: whether a statement did anything
  bool last_of_block = false;  ///< the next statement's value may stay unused

  int runtime_depth = 0;
  Flow flow = Flow::go;
  std::vector<ReturnTarget*> returns;
  std::vector<LoopTarget*> loops;
  Span statement;  ///< the host-level statement being evaluated
  std::map<std::tuple<uint32_t, uint32_t, std::string>, host::Reg> draw_counters;  ///< by statement
  std::map<std::string, int> draw_ordinals;                                        ///< by path
  Span first_draw;
  bool initialising = false;  ///< initial values are drawn once: their counter is 0
  /// The minimize statements of each open loop, and of the loops inside it that have ended: to refuse a second one in
  /// an open window of `accumulate`. Pushed and popped with Evaluator::loop_end_actions.
  struct MinimizeSite {
    const void* optimizer;
    const ast::BlockCallExpr* statement;
    bool accumulates;  ///< and its window is open until this loop ends
    bool conditional;  ///< stands in a branch of the loop's body
  };
  std::vector<std::vector<MinimizeSite>> minimize_sites;
  /// Layers and parameters that run-time code freezes and unfreezes together: whether they are frozen is in a register.
  struct FreezeUnit {
    std::vector<std::shared_ptr<LayerInstance>> layers;
    std::vector<std::shared_ptr<ParamCell>> cells;
    host::Reg frozen;
  };
  std::vector<FreezeUnit> freeze_units;
  bool freezing_known = false;  ///< in the variant of a statement for one state of all units
  std::vector<std::shared_ptr<OptimizerInstance>> optimizers;  ///< all that the program makes
  host::Reg map_counter = host::kNoReg;  ///< inside the function of `data.map`: what random draws count by
  std::vector<const void*> calls;        ///< declarations being inlined, to refuse recursion

  // layers
  int member_depth = 0;  ///< instances made now become members: they are no roots
  int next_root = 0, next_param = 0;
  std::vector<std::shared_ptr<LayerInstance>> instances;
  std::set<std::string> inferable;  ///< hyper-parameters that the signature being matched may determine
  std::set<const ast::LayerStmt*> instantiated;
  std::set<const ast::FnStmt*> called;
  bool open_sizes = false;  ///< unused code is checked: a symbol may be the number that it meets
  std::set<LayerInstance*> reported_unknown;
  bool suggesting = false;                                            ///< inside a trial for a message
  std::map<const LayerInstance*, std::vector<ArgValue>> first_calls;  ///< of roots
  std::vector<LayerCall>* layer_calls = nullptr;                      ///< where calls of layers are noted

  // training
  struct Minimized {
    Span span;
    std::vector<std::pair<std::string, std::shared_ptr<TensorCell>>> results;
    bool accumulates = false;
    const char* statement;  ///< "minimize", or "update" of gradients that `grad` gave
  };
  std::vector<Minimized> minimized;

  // programs and libraries
  std::vector<std::shared_ptr<ast::Program>> asts;
  struct Library {
    std::string name;
    std::string text;
    bool loaded = false;
  };
  std::vector<Library> libraries;
  bool seed_seen = false, precision_seen = false;
  const host::Instr* driver_step = nullptr;    ///< what a driver runs: it stays, though it may come out empty
  std::vector<std::weak_ptr<Scope>> closures;  ///< where functions were declared: they hold their scopes
  std::map<std::string, std::shared_ptr<Scope>> imported;
  std::vector<std::string> importing;
  bool import_failed = false;  ///< a name that nothing declares may be declared there

  StepState& state(Evaluator& ev);
};

/// Keeps what an evaluation changes of where code goes, for checks whose graphs are thrown away.
class DryRun {
 public:
  explicit DryRun(Evaluator& ev);
  ~DryRun();
  DryRun(const DryRun&) = delete;
  DryRun& operator=(const DryRun&) = delete;

 private:
  Evaluator& ev_;
  Context context_;
  int current_;
  bool reserved_;
  int runtime_depth_;
  Flow flow_;
  std::vector<ReturnTarget*> returns_;
  std::vector<LoopTarget*> loops_;
  std::map<std::string, int> ordinals_;
  std::vector<std::map<host::Reg, TensorValue>> leaves_;
  std::vector<LayerCall>* calls_;
};

// ---- shared by the files of the evaluator
Value eval_if(Evaluator& ev, const ast::IfExpr& e, const std::shared_ptr<Scope>& scope, bool want);
/// The value of a function, with those of its returns under run-time conditions.
Value join_returns(Evaluator& ev, ReturnTarget& target, Value v, Span span);
Value eval_block_in(Evaluator& ev, const ast::Block& b, const std::shared_ptr<Scope>& scope, bool want);
Value eval_condition(Evaluator& ev, const ast::Expr& e, const std::shared_ptr<Scope>& scope);
Value eval_call(Evaluator& ev, const ast::CallExpr& e, const std::shared_ptr<Scope>& scope, const ArgValue* piped);
Value eval_pipe(Evaluator& ev, const ast::PipeExpr& e, const std::shared_ptr<Scope>& scope);
Value eval_string(Evaluator& ev, const ast::StringExpr& e, const std::shared_ptr<Scope>& scope);
Value eval_fold(Evaluator& ev, const std::string& fold, const ast::ForExpr& e, const std::shared_ptr<Scope>& scope,
                Span span);
Value eval_comprehension(Evaluator& ev, const ast::ComprehensionExpr& e, const std::shared_ptr<Scope>& scope);
std::vector<ArgValue> eval_args(Evaluator& ev, const std::vector<ast::Arg>& args, const std::shared_ptr<Scope>& scope);
/// A member, or nullopt where there is none (nothing is reported then).
std::optional<Value> find_member(Evaluator& ev, const Value& object, const ast::Name& name);
Value read_entry(Evaluator& ev, Scope::Entry& entry, const std::string& name, Span span);
Scope::Entry* lookup(Evaluator& ev, const std::shared_ptr<Scope>& scope, const std::string& name);
Value unknown_name(Evaluator& ev, const std::string& name, const std::shared_ptr<Scope>& scope, Span span);
/// Calls `body` for each pass of a loop: once per run-time loop or variant, or once per item where it is unrolled.
/// `blocks`: what is syntactically inside, to find the vars it assigns. `body` gets the item and its weight (rows of a
/// batch). False: nothing can be iterated (reported).
bool iterate(Evaluator& ev, const Value& iterable, const std::vector<const ast::Block*>& blocks,
             const std::shared_ptr<Scope>& scope, Span span, const std::function<void(Value item, Value weight)>& body);
Value call_function(Evaluator& ev, const FunctionValue& f, std::vector<ArgValue> args, Span span, Span callee_span);
Value apply_lambda(Evaluator& ev, const LambdaValue& f, std::vector<Value> args, Span span);
Value call_builtin(Evaluator& ev, const Builtin& b, std::vector<ArgValue> args, const LambdaValue* lambda, Span span,
                   Span callee_span);
/// Named and positional arguments in the order of the parameters; nullptr where the default holds. False: reported.
bool order_args(Evaluator& ev, const std::string& what, const std::vector<std::string>& names,
                std::vector<ArgValue>& args, std::vector<ArgValue*>& out, Span span);

// ---- signatures.cpp
/// The name of a size that a signature may bind: it starts with an upper-case letter (language rule 14).
bool is_upper_name(const std::string& name);
/// Whether a type may mean what `name` is in scope: a layer, a function or a tensor of that name is no size, and leaves
/// the name to the signature.
bool names_a_size(Scope& scope, const std::string& name);
/// The dims of a written type in order; the items of a static list that is named in one's place stand for it.
struct WrittenDim {
  const ast::DimExpr* dim;
  std::optional<graph::Dim> size;  ///< of a list's item
};
std::vector<WrittenDim> written_dims(const ast::TypeExpr& t, const std::shared_ptr<Scope>& scope);
/// What an argument of a layer's or function's call is called in messages: `what` of Evaluator::match_type.
std::string argument_name(const std::string& owner, const ast::FnStmt& f, const ast::Param& p, bool is_layer);

// ---- layers.cpp
/// Members and parameters exist afterwards (parameters without a register where a size is still unknown). False:
/// reported.
bool build_layer(Evaluator& ev, const std::shared_ptr<LayerInstance>& layer);
TensorValue read_param(Evaluator& ev, const std::shared_ptr<ParamCell>& p, Span span);
std::optional<Value> layer_member(Evaluator& ev, const std::shared_ptr<LayerInstance>& layer, const ast::Name& name);
Value make_sequential(Evaluator& ev, std::vector<ArgValue> args, Span span);
void adopt(Evaluator& ev, LayerInstance& parent, const std::string& name, const Value& member);
void finish_layers(Evaluator& ev);
/// Fills Program::persistents: for each root, its parameters and states by their paths, those that stand in several
/// places under the first.
void list_persistents(Evaluator& ev);
/// Layers that the program never makes, functions that it never calls (unused_code.cpp).
void check_unused_code(Evaluator& ev, const ast::Program& program);
Value tie_params(Evaluator& ev, const std::vector<ArgValue>& args, Span span);
/// The instance and its path below its root, for save and load.
std::pair<std::string, std::string> root_and_path(const LayerInstance& layer);

/// forward as a graph of its own, from the signature with symbolic sizes, or from the types of the first call. `calls`,
/// if given, receives what the layers in it gave.
std::optional<graph::Graph> forward_graph(Evaluator& ev, const std::shared_ptr<LayerInstance>& layer,
                                          std::vector<LayerCall>* calls = nullptr);
LayerInfo describe_layer(Evaluator& ev, const std::shared_ptr<LayerInstance>& layer, std::string name);

// ---- freezing.cpp
bool set_frozen(Evaluator& ev, const Value& v, bool frozen, Span span);
/// What the calls of freeze and unfreeze in these blocks name gets a register, as a run-time block comes.
void prepare_freezing(Evaluator& ev, const std::vector<const ast::Expr*>& targets, const std::shared_ptr<Scope>& scope,
                      Span span);
/// Evaluates code that depends on what is frozen: once, or in a variant for each state that it may find when it runs.
Value for_each_freezing(Evaluator& ev, Span span, const std::function<Value()>& body);
/// `step` of the parameters that may be frozen is counted for themselves: registers for those that have none.
void count_apart(Evaluator& ev, OptimizerInstance& opt, const std::vector<std::shared_ptr<ParamCell>>& cells,
                 Span span);

// ---- exports.cpp
/// Fills the optimizers, minimizes and names of a finished program.
void describe_training(Evaluator& ev);
/// What was asked for by a variable's or a class' name; null: reported. A class that the program never makes is made
/// here with its defaults.
std::shared_ptr<LayerInstance> find_exported(Evaluator& ev, const std::shared_ptr<Scope>& scope,
                                             const std::string& name);
/// The forward of a layer with its registers; false: reported.
bool export_forward(Evaluator& ev, const std::shared_ptr<LayerInstance>& layer, LayerExport& out);

// ---- sema.cpp
bool load_library(Evaluator& ev, int file);
/// An int input of a driver as the class(C) that is wanted of it.
TensorValue as_labels(Evaluator& ev, const TensorValue& ints, int64_t classes, Span span);
/// A constant as an int without symbols.
std::optional<int64_t> static_int(const Value& v);
Value sequence_value(std::vector<Value> items, bool is_list, Span span);
Value runtime_value(host::Reg reg, host::Type type, Span span);
uint64_t mix(uint64_t h, uint64_t v);
uint64_t hash_text(std::string_view s);
/// A static value as text, in print's form; nullopt: not static.
std::optional<std::string> static_text(const Value& v, const std::string& format);
/// Refuses host effects in tensor code; true: it may go on.
bool host_effect(Evaluator& ev, Span span, std::string_view what);
/// A library call `name` of the host program.
host::Instr& emit_call(Evaluator& ev, std::string name, std::vector<host::Reg> args, host::Reg dst, Span span);
/// The batch iterables wrapped by enumerate.
inline constexpr const char* kEnumerateMark = "(enumerate)";
Value dataset_value(Evaluator& ev, nnl::data::DatasetPtr data, Span span);
Value record_of_row(Evaluator& ev, const DatasetValue& d, host::Reg row, Span span);
int dataset_index(Evaluator& ev, const nnl::data::DatasetPtr& d);

// ---- dataset_map.cpp
/// The data set whose records are what `function` makes of each record.
Value map_dataset(Evaluator& ev, const DatasetValue& from, const Value& function, Span span);

}  // namespace nnlc::sema
