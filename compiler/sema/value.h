// What an expression of NNL can be while it is being compiled. Sema is a partial evaluator: static values are computed,
// host values become registers and instructions, tensors become graph nodes.
#pragma once
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "compiler/graph/graph.h"
#include "compiler/host/program.h"
#include "compiler/syntax/ast.h"

namespace nnlc::sema {

class Evaluator;
class Scope;
struct Value;
struct Builtin;

struct Poison {};  ///< an error was reported: agrees with everything, reports nothing more
struct NoneValue {};
struct Inferred {};  ///< the hyper-parameter `_`
/// A host value known only when the program runs.
struct RuntimeValue {
  host::Reg reg;
  host::Type type;
  std::shared_ptr<const graph::Dim> form = nullptr;  ///< an int: how it follows from others, `$` before their registers
};
/// An int as a polynomial over registers, so that `hi - lo` may be a number though neither is.
graph::Dim form_of(const RuntimeValue& v);
struct RangeValue {
  Value* unused = nullptr;
  graph::Dim lo, hi;
  bool is_static = true;
  host::Reg lo_reg = -1, hi_reg = -1;
};  ///< hi exclusive

/// logits, probabilities, log-probabilities: follows a value through views, slices and layers (language rule 29).
enum class ValueKind { plain, logits, probabilities, log_probabilities };

/// Strides in elements per axis, for the proof that a view doesn't copy. Empty: contiguous.
struct Layout {
  std::vector<graph::Dim> strides;
  Span broken_by;           ///< the operation that made it non-contiguous
  std::string broken_name;  ///< "permute"
};

/// Where a tensor's value is. Shared: the same tensor used twice is one node, one register.
struct TensorCell {
  int step = -1;                 ///< the pending or finished step it is computed in; -1: only in `reg`
  graph::Node* node = nullptr;   ///< in that step's graph
  host::Reg reg = host::kNoReg;  ///< once it is needed outside its step
};
struct TensorValue {
  graph::TensorType type;
  std::optional<graph::Dim> classes;  ///< class(C)
  bool may_be_missing = false;        ///< class with missing = -1
  ValueKind kind = ValueKind::plain;
  Span kind_at;               ///< the call that gave it its kind
  bool from_sigmoid = false;  ///< probabilities of single events, not of classes
  std::shared_ptr<TensorCell> cell;
  std::shared_ptr<const TensorValue> logits;  ///< of probabilities: what softmax was applied to
  Layout layout;
  bool is_literal = false;  ///< a numeric literal's tensor: takes the cast's type (rule 25)
  std::shared_ptr<const std::vector<double>>
      literal;                              ///< the numbers of a `tensor([…])`, before they are rounded to its type
  std::shared_ptr<struct ParamCell> param;  ///< set where the value was read as a parameter or state: `net.fc.weight`
  std::shared_ptr<struct LabelRange>
      adapts;  ///< an int input of a driver that becomes class(C) where one is wanted: what it may hold
};

struct SequenceValue {
  bool is_list = false;
  std::vector<Value> items;
};
struct RecordValue {
  std::vector<std::string> names;
  std::vector<Value> items;
  const Value* find(const std::string& n) const;
};

/// A fn with the scope it was declared in; a method also has its layer.
/// `bound`: leading arguments that `partial` has fixed.
struct FunctionValue {
  const ast::FnStmt* decl;
  std::shared_ptr<Scope> scope;
  std::shared_ptr<struct LayerInstance> self;
  std::shared_ptr<const std::vector<struct ArgValue>> bound = nullptr;
};
/// `{ pattern -> … }`
struct LambdaValue {
  const ast::LambdaExpr* decl;
  std::shared_ptr<Scope> scope;
};
/// A method picked from a value and not called yet: `xs.map`.
struct BoundBuiltin {
  const Builtin* builtin;
  std::shared_ptr<Value> self;
};

/// A parameter or state of one layer instance.
struct ParamCell {
  std::string path;  ///< within its root
  std::string root;
  graph::TensorType type;
  bool learned = true;
  bool frozen = false;
  host::Reg reg = host::kNoReg;  ///< persistent register
  int ordinal = -1;              ///< in the order in which parameters and states got their registers
  bool used_in_loss = false;
  Span span;
};
struct LayerClass {
  const ast::LayerStmt* decl;
  std::shared_ptr<Scope> scope;
};
struct LayerInstance {
  std::shared_ptr<LayerClass> klass;  ///< null for Sequential and lists
  std::string class_name;
  std::string path, root;                                                  ///< path "" for the root itself
  std::shared_ptr<Scope> scope;                                            ///< hyper-parameters, lets, members, params
  std::vector<std::pair<std::string, Value>> hyper;                        ///< by name; Inferred until the first use
  std::map<std::string, const ast::Expr*> given;                           ///< hyper-parameters as they were written
  std::vector<std::pair<std::string, Value>> members;                      ///< sub-layers, lists of layers, in order
  std::vector<std::pair<std::string, std::shared_ptr<ParamCell>>> params;  ///< params and states, in order
  bool built = false;                          ///< hyper-parameters are known and members exist
  bool checked = false, check_failed = false;  ///< forward, with the signature's dims symbolic
  bool frozen = false, used = false;
  int init_step = -1;    ///< the step reserved for its initial values
  bool adopted = false;  ///< it has its place as a member of another layer
  /// Its parameters stand among those of the layer that holds it, with this behind their names.
  std::optional<std::string> spread = std::nullopt;
  bool build_failed = false;
  std::vector<std::string>
      defaulted;  ///< hyper-parameters that nobody gave: their defaults may follow from inferred ones
  std::vector<const ast::LayerItem*> deferred;  ///< items that wait for an inferred hyper-parameter
  Span span;                                    ///< the instantiation
  Span used_at;                                 ///< its first call, or the first optimizer that holds it
};
struct OptimizerClass {
  const ast::OptimizerStmt* decl;
  std::shared_ptr<Scope> scope;
};
struct OptimizerInstance;  // sema/training.h
struct GradientValue;      // sema/training.h: what grad(net) gives: one gradient per parameter, read by path

struct DatasetValue {
  nnl::data::DatasetPtr data;
  std::string name;
};
struct BatchesValue {
  std::shared_ptr<DatasetValue> data;
  int64_t size;
  bool shuffle = false, drop_last = false, replacement = false;
  Span span;
};
struct TextValue {
  nnl::data::TextPtr text;
};
/// `import "b.nnl" as b`
struct NamespaceValue {
  std::shared_ptr<Scope> scope;
};

struct Value {
  using Data =
      std::variant<Poison, NoneValue, Inferred, graph::Dim /* static int, may be symbolic */, double, bool, std::string,
                   RuntimeValue, RangeValue, TensorValue, std::shared_ptr<SequenceValue>, std::shared_ptr<RecordValue>,
                   FunctionValue, LambdaValue, const Builtin*, BoundBuiltin, std::shared_ptr<LayerClass>,
                   std::shared_ptr<LayerInstance>, std::shared_ptr<OptimizerClass>, std::shared_ptr<OptimizerInstance>,
                   std::shared_ptr<GradientValue>, std::shared_ptr<DatasetValue>, std::shared_ptr<BatchesValue>,
                   std::shared_ptr<TextValue>, std::shared_ptr<NamespaceValue>>;
  Data data;
  Span span;  ///< where it was made, for labels

  Value() = default;
  template <class T>
  Value(T d, Span s = {}) : data(std::move(d)), span(s) {}  // NOLINT
  template <class T>
  const T* get() const {
    return std::get_if<T>(&data);
  }
  template <class T>
  T* get() {
    return std::get_if<T>(&data);
  }
  template <class T>
  std::shared_ptr<T> ptr() const {
    auto* p = std::get_if<std::shared_ptr<T>>(&data);
    return p ? *p : nullptr;
  }
  bool is_poison() const { return data.index() == 0; }
  bool is_none() const { return data.index() == 1; }
};

/// For messages: "f32[N, 784]", "an int", "the layer Linear", "a data set".
std::string describe(const Value& v);

/// One argument of a call, evaluated.
struct ArgValue {
  std::string name;
  Span name_span;
  Value value;
  Span span;
  const ast::Expr* expr = nullptr;
};

/// Names to values. Functions, layers, optimizers and configs are visible in the whole file; values below their
/// statement.
class Scope {
 public:
  struct Entry {
    Value value;
    Span span;
    bool is_var = false, used = false;
    host::Reg slot = host::kNoReg;  ///< of a `var` that a run-time block assigns: its value is in this register
    host::Type slot_type;
    bool declared_later = false;       ///< a top-level value whose statement comes further down
    bool tensor_code = false;          ///< a `var` of tensor code: rebound, never in a register
    std::shared_ptr<ParamCell> param;  ///< a parameter or state of the layer whose scope this is
    int library_file = -1;             ///< a declaration of the standard library that isn't parsed yet
  };
  explicit Scope(std::shared_ptr<Scope> parent = nullptr) : parent_(std::move(parent)) {}
  Entry* find(const std::string& name);  ///< here or above
  Entry* find_here(const std::string& name);
  Entry& define(const std::string& name, Value v, Span span);
  std::vector<std::string> visible_names() const;
  const std::shared_ptr<Scope>& parent() const { return parent_; }
  std::vector<std::pair<std::string, std::unique_ptr<Entry>>>& entries() { return entries_; }

 private:
  std::shared_ptr<Scope> parent_;
  std::vector<std::pair<std::string, std::unique_ptr<Entry>>> entries_;
};

/// A function or method built into the language. `signature` is in NNL's own form: "x, axis = None, keep = false";
/// "*xs" takes the rest.
struct BuiltinCall;
struct Builtin {
  std::string_view name;
  std::string_view signature;
  Value (*fn)(BuiltinCall& call);
  std::string_view doc;
};
/// The bound arguments of a builtin's call, with checked accessors: each reports a diagnostic and gives nullopt/poison
/// if wrong.
struct BuiltinCall {
  Evaluator& ev;
  const Builtin& builtin;
  Span span, callee_span;
  std::vector<std::pair<std::string, ArgValue>>
      bound;                   ///< in the order of the signature; defaults have an invalid span
  std::vector<ArgValue> rest;  ///< of a "*xs"
  const LambdaValue* lambda = nullptr;
  const ArgValue& arg(std::string_view name) const;
  bool given(std::string_view name) const;                   ///< written at the call, not defaulted, and not None
  std::optional<TensorValue> tensor(std::string_view name);  ///< host numbers become rank-0 tensors
  std::optional<int64_t> integer(std::string_view name);     ///< static, constant
  std::optional<graph::Dim> dim(std::string_view name);      ///< static, may be symbolic
  std::optional<double> number(std::string_view name);       ///< static int or float
  std::optional<bool> boolean(std::string_view name);
  std::optional<std::string> text(std::string_view name);
  std::optional<int64_t> axis(std::string_view name, size_t rank);         ///< negative counts from the end
  std::optional<graph::IntList> axes(std::string_view name, size_t rank);  ///< an int or a list; all axes where None
  std::optional<graph::Shape> shape(std::string_view name);                ///< a list of dims
};
/// Every builtin, from the tables of the builtins_*.cpp files.
const std::vector<const Builtin*>& all_builtins();
const Builtin* find_builtin(std::string_view name);
/// Methods: looked up by the kind of the value ("dataset.batches", "text.windows", "tensor" falls back to functions).
const Builtin* find_method(const Value& self, std::string_view name);

}  // namespace nnlc::sema
