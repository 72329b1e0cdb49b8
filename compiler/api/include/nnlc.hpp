// nnlc as a library, in C++17: compile programs in NNL, run them, make their layers, call and train these on your own
// memory. docs/embedding.md is the reference, nnlc.h the same in C.
//
// Objects are handles: cheap to copy, copies mean the same thing, the last one frees it. Functions throw nnlc::Error,
// which carries the diagnostics; nothing is ever printed. Different programs and models may be used from different
// threads at once; calls on one model wait for one another.
#ifndef NNLC_HPP
#define NNLC_HPP
#include <atomic>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "nnlc_dlpack.h"

#if defined(__GNUC__)
#define NNLC_API __attribute__((visibility("default")))
#else
#define NNLC_API
#endif
// What is nnlc::Program to users is nnlc::v0::Program in the library's symbols.
#ifndef NNLC_INLINE_NAMESPACE
#define NNLC_INLINE_NAMESPACE inline
#endif
#define NNLC_BEGIN \
  namespace nnlc { \
  NNLC_INLINE_NAMESPACE namespace v0 {
#define NNLC_END \
  }              \
  }

NNLC_BEGIN

NNLC_API std::string version();

// ---------------------------------------------------------------- errors

enum class Status {
  ok = 0,
  invalid_argument = 1,  ///< of a function here: an unknown name, a null handle, a wrong shape of an output
  program_error = 2,     ///< the NNL text, or what was asked of it, is wrong: see the diagnostics
  unsupported = 3,       ///< right, but this version can't do it
  data_error = 4,        ///< a file is missing or malformed
  run_failed = 5,        ///< it stopped while running: a loss that isn't finite, a label out of range, an assertion
  cancelled = 6,
  copy_needed = 7,  ///< a tensor would have to be copied, and that wasn't allowed: the message says why
  out_of_memory = 8,
  internal = 9  ///< a bug of nnlc
};
NNLC_API const char* status_name(Status s);

/// A range of a source text. Lines and columns count from 1, columns in code points; `begin` and `end` are bytes; ends
/// are exclusive. An empty `file`: nowhere.
struct Place {
  std::string file;
  uint32_t line = 0, column = 0, end_line = 0, end_column = 0, begin = 0, end = 0;
};
enum class Severity { error, unsupported, data, internal, warning, note };
struct Label {
  Place place;
  std::string text;
};
struct Fix {
  Place place;  ///< to be replaced
  std::string replacement;
};
struct Diagnostic {
  Severity severity = Severity::error;
  std::string code;     ///< "N0203": `nnlc explain N0203`
  std::string message;  ///< lower case, no full stop
  Place place;
  std::string label;  ///< what is said at the place itself
  std::vector<Label> labels;
  std::vector<std::string> notes, helps;
  std::vector<Fix> fixes;
  std::string text;  ///< all of it as `nnlc check` prints it, without colour
  std::string json;  ///< all of it as `nnlc check --message-format json` prints it
};

class NNLC_API Error : public std::runtime_error {
 public:
  Error(Status status, const std::string& message, std::vector<Diagnostic> diagnostics = {});
  ~Error() override;
  Status status() const { return status_; }
  const std::vector<Diagnostic>& diagnostics() const { return *diagnostics_; }

 private:
  Status status_;
  std::shared_ptr<const std::vector<Diagnostic>> diagnostics_;
};

// ---------------------------------------------------------------- tensors

enum class DType { boolean = 0, u8, i8, i16, i32, i64, f16, bf16, f32, f64 };
NNLC_API const char* dtype_name(DType t);  ///< "f32"
NNLC_API std::optional<DType> dtype_from_name(const std::string& name);
NNLC_API size_t dtype_size(DType t);  ///< bytes of one element

/// Memory seen as a tensor: yours, or the library's. Copying a Tensor copies the view, never the elements. On the CPU.
class NNLC_API Tensor {
 public:
  Tensor();
  /// A new one; its elements are 0.
  Tensor(DType dtype, std::vector<int64_t> shape);
  ~Tensor();
  Tensor(const Tensor&);
  Tensor(Tensor&&) noexcept;
  Tensor& operator=(const Tensor&);
  Tensor& operator=(Tensor&&) noexcept;

  /// Over your memory, which must outlive every use; `owner`, if given, is held as long as a copy of the view lives.
  /// strides: in elements, empty for dense row-major. `device`: "cpu".
  static Tensor over(void* data, DType dtype, std::vector<int64_t> shape, std::vector<int64_t> strides = {},
                     std::shared_ptr<void> owner = nullptr, const std::string& device = "cpu");
  /// The same, but nothing will ever write there: it can't be an output.
  static Tensor over(const void* data, DType dtype, std::vector<int64_t> shape, std::vector<int64_t> strides = {},
                     std::shared_ptr<void> owner = nullptr, const std::string& device = "cpu");
  /// Takes the structure over: calls its deleter when the last copy of the view is gone. Throws where NNL has no such
  /// element type or the memory is on another device.
  static Tensor from_dlpack(DLManagedTensor* managed);
  /// A structure that keeps the memory alive until its deleter is called, by any thread.
  DLManagedTensor* to_dlpack() const;

  bool defined() const { return state_ != nullptr; }
  DType dtype() const;
  const std::vector<int64_t>& shape() const;
  const std::vector<int64_t>& strides() const;  ///< in elements, one for each axis
  size_t rank() const { return shape().size(); }
  int64_t count() const;  ///< of elements
  int64_t bytes() const { return count() * static_cast<int64_t>(dtype_size(dtype())); }
  bool read_only() const;
  /// Null of a read-only one.
  void* data();
  const void* data() const;
  template <class T>
  T* as() {
    return static_cast<T*>(data());
  }
  template <class T>
  const T* as() const {
    return static_cast<const T*>(data());
  }
  /// The number in a tensor of one element.
  double item() const;
  /// Why a call couldn't use this memory as it is: "its strides are [1, 3], dense row-major ones would be [4, 1]".
  /// Empty: it can.
  std::string why_copied() const;
  /// A dense row-major copy of its own.
  Tensor copy() const;

  struct State;

 private:
  friend struct Access;
  std::shared_ptr<State> state_;
};

// ---------------------------------------------------------------- callbacks

/// Set it from any thread: what was given it ends before its next step, with Status::cancelled.
class CancelToken {
 public:
  CancelToken() : flag_(std::make_shared<std::atomic<bool>>(false)) {}
  void cancel() { flag_->store(true); }
  void reset() { flag_->store(false); }
  bool cancelled() const { return flag_->load(); }
  const std::shared_ptr<std::atomic<bool>>& flag() const { return flag_; }

 private:
  std::shared_ptr<std::atomic<bool>> flag_;
};

struct Progress {
  std::string label;  ///< of the loop over batches
  int64_t done = 0, total = 0;
};
using Scalars = std::vector<std::pair<std::string, double>>;

// ---------------------------------------------------------------- programs

/// The value of a hyper-parameter. Expression: NNL text, such as `relu` or `[3, 3]`.
struct Expression {
  std::string text;
};
struct Argument {
  std::string name;  ///< empty: by position
  std::variant<bool, int64_t, double, std::string, Expression> value;
  Argument(std::string n, bool v) : name(std::move(n)), value(v) {}
  Argument(std::string n, int v) : name(std::move(n)), value(int64_t{v}) {}
  Argument(std::string n, int64_t v) : name(std::move(n)), value(v) {}
  Argument(std::string n, double v) : name(std::move(n)), value(v) {}
  Argument(std::string n, const char* v) : name(std::move(n)), value(std::string(v)) {}
  Argument(std::string n, std::string v) : name(std::move(n)), value(std::move(v)) {}
  Argument(std::string n, Expression v) : name(std::move(n)), value(std::move(v)) {}
};
using Arguments = std::vector<Argument>;

struct Parameter {
  std::string name;
  std::string type;           ///< as written: "int", "[N, 784]"; empty: anything
  std::string default_value;  ///< as written; empty: there is none
};
struct Function {
  std::string name;
  std::vector<Parameter> parameters;
  std::string result;  ///< as written, may be empty
  std::string doc;     ///< the ## lines above it
  Place place;
};
struct Layer {
  std::string name;
  std::vector<Parameter> parameters;  ///< its hyper-parameters
  std::vector<Function> methods;      ///< `forward` and the others; empty of `layer A = Sequential(…)`
  std::string doc;
  Place place;
};
struct Optimizer {
  std::string name;
  std::vector<Parameter> parameters;
  std::vector<std::string> states;  ///< what it keeps for each parameter of a model
  std::string doc;
  Place place;
};
struct Config {
  std::string name, type, default_value, doc;
  Place place;
};

struct CompileOptions {
  std::map<std::string, std::string> configs;  ///< instead of their defaults, as text: {"epochs", "3"}
  std::optional<uint64_t> seed;                ///< instead of the program's
  /// The program's declarations are all that is wanted: its other statements aren't looked at (nor the data they read).
  bool declarations_only = false;
  std::string directory;       ///< of a program given as text: where imports and data are looked for
  int threads = 0;             ///< of each model and run; 0: as many as the process may use
  std::string device = "cpu";  ///< "cuda"; or "auto": a GPU if one can be used
  bool cache = true;           ///< compiled kernels are kept in $XDG_CACHE_HOME/nnlc
  std::string cache_directory;
  /// What isn't output of the program: the report of a `load` that left something out. From the thread that called.
  std::function<void(const std::string&)> log;
};

struct RunOptions {
  std::function<void(const std::string&)> print;  ///< output of the program; not set: it is dropped
  std::function<void(const Progress&)> progress;
  std::function<void(int64_t step, const Scalars&)> record;  ///< calls of `record`
  std::string runs_directory;  ///< where `record` also writes logs and a report; empty: nowhere
  std::optional<CancelToken> cancel;
};

class Model;

/// A program that was read and checked. It doesn't change: any thread may use it at any time.
class NNLC_API Program {
 public:
  Program();
  /// name: what diagnostics call the text. Throws Error with what `nnlc check` would say.
  static Program from_text(const std::string& text, const std::string& name = "program.nnl",
                           const CompileOptions& options = {});
  static Program from_file(const std::string& path, const CompileOptions& options = {});
  /// Nothing is thrown for what is wrong with the program: all is in the diagnostics.
  static std::vector<Diagnostic> check(const std::string& text, const std::string& name = "program.nnl",
                                       const CompileOptions& options = {});

  bool defined() const { return state_ != nullptr; }
  const std::vector<Diagnostic>& diagnostics() const;  ///< warnings and notes
  const std::vector<Layer>& layers() const;
  const std::vector<Function>& functions() const;
  const std::vector<Optimizer>& optimizers() const;
  const std::vector<Config>& configs() const;

  /// The whole program, from its first statement to its last, on the calling thread.
  void run(const RunOptions& options = {}) const;

  /// A layer of the program or of the standard library, with new parameters.
  Model instantiate(const std::string& layer, const Arguments& arguments = {}) const;
  /// The same from any expression that gives a layer: "Sequential(Linear(4, 8), ReLU(), Linear(8, 3))".
  Model instantiate(const Expression& layer) const;

  struct State;

 private:
  friend struct Access;
  std::shared_ptr<State> state_;
};

// ---------------------------------------------------------------- layers

struct ParameterInfo {
  std::string name;  ///< "hidden_layer.weight", as in files
  DType dtype = DType::f32;
  std::vector<int64_t> shape;
  bool learned = true;               ///< false: state, such as running statistics
  std::vector<std::string> aliases;  ///< further names of tied parameters
};

enum class Copies {
  refuse,  ///< Status::copy_needed, with the reason
  allow
};

struct CallOptions {
  std::string method = "forward";
  bool training = false;  ///< the mode of the layer: dropout, running statistics
  Copies copies = Copies::refuse;
  std::optional<CancelToken> cancel;
};

struct LoadReport {
  std::vector<std::string> missing, left_over, reshaped;
};

struct TrainerOptions {
  /// Function of the program or the library: loss(model(inputs…), targets…).
  std::string loss;
  Arguments loss_arguments;
  /// Or a function of the program that is given the layer and the tensors, and gives the loss (or a tuple
  /// that begins with it): `fn objective(net, image: [N, 784], label: class(10)[N]) { … }`.
  std::string objective;
  int inputs = 1;  ///< with `loss`: so many of a step's tensors go to the layer, the others to the loss
  std::string optimizer = "Adam";
  Arguments optimizer_arguments;    ///< {"lr", 1e-3}, {"weight_decay", 0.01}
  Arguments step_arguments;         ///< of `minimize`: {"clip_norm", 1.0}, {"accumulate", 4}
  std::vector<std::string> freeze;  ///< layers or parameters by path, such as "backbone" or "blocks.0": not trained
};

class Trainer;

/// One layer with its parameters. Calls wait for one another; so do the steps of its trainers.
class NNLC_API Model {
 public:
  Model();
  bool defined() const { return state_ != nullptr; }

  std::vector<ParameterInfo> parameters() const;
  /// A view of the parameter's own memory, which never moves: it shows every later step, and what is written there is
  /// used by the next call. It may outlive the model. Not while a call or step runs on another thread.
  Tensor parameter(const std::string& name) const;
  /// Copies `value` into it; type and shape must be the parameter's.
  void set_parameter(const std::string& name, const Tensor& value);
  void save(const std::string& path) const;  ///< safetensors
  /// All is read before anything changes. Not strict: what doesn't fit is left alone and reported.
  LoadReport load(const std::string& path, bool strict = true);

  /// forward, or another method, in inference mode. The first call with new shapes compiles them.
  std::vector<Tensor> call(const std::vector<Tensor>& inputs, const CallOptions& options = {}) const;
  /// Results go into your tensors. From the second call on nothing is allocated.
  void call_into(const std::vector<Tensor>& inputs, std::vector<Tensor>& outputs,
                 const CallOptions& options = {}) const;

  Trainer trainer(const TrainerOptions& options) const;
  const Program& program() const;

  struct State;

 private:
  friend struct Access;
  std::shared_ptr<State> state_;
};

struct StepOptions {
  Copies copies = Copies::refuse;
  std::optional<CancelToken> cancel;
};

/// Steps of training on one model: forward, backward and update as one compiled step for each set of shapes.
class NNLC_API Trainer {
 public:
  Trainer();
  bool defined() const { return state_ != nullptr; }

  /// One step; the loss. With an objective that gives more, see results().
  double step(const std::vector<Tensor>& tensors, const StepOptions& options = {});
  /// What the last step gave, the loss first. They keep their values.
  std::vector<Tensor> results() const;
  int64_t updates() const;  ///< made so far
  double learning_rate() const;
  void set_learning_rate(double rate);          ///< throws where a schedule says it
  std::vector<ParameterInfo> state() const;     ///< of the optimizer; empty before the first step
  Tensor state(const std::string& name) const;  ///< "hidden_layer.weight.m": a view like Model::parameter
  /// Parameters, optimizer state and counters: training that goes on from there gives the same bits.
  void save(const std::string& path) const;
  void load(const std::string& path);

  struct State;

 private:
  friend struct Access;
  std::shared_ptr<State> state_;
};

NNLC_END
#undef NNLC_BEGIN
#undef NNLC_END
#endif
