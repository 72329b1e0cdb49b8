// A driver compiled for one set of input types, and the state that the variants of a model share.
#pragma once
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "compiler/api/internal.h"

namespace nnlc::v0 {

/// Tensors and numbers that live from step to step, by name. The memory of a tensor never moves.
class Store {
 public:
  struct Cell {
    std::string name;
    bool is_tensor = false;
    std::shared_ptr<uint8_t> memory;
    exec::Value number;  ///< where it isn't a tensor
    ParameterInfo info;

    nnl::Tensor tensor() const;  ///< another one over the same memory
    int64_t tensor_bytes() const;
  };

  Cell* find(const std::string& name) const;
  const std::vector<std::unique_ptr<Cell>>& cells() const { return cells_; }
  /// The cell for what a register holds after a variant's setup; it is made if there is none, and starts with that
  /// value, or with what was loaded for it. Null: the register holds nothing that can be kept.
  Cell* adopt(const std::string& name, exec::Value& value);
  /// A value for a cell that may not exist yet.
  void load(const std::string& name, nnl::Tensor value);

 private:
  void fill(Cell& cell, const nnl::Tensor& value);
  std::vector<std::unique_ptr<Cell>> cells_;
  std::map<std::string, nnl::Tensor> pending_;
};

/// The tensors of a model and its optimizer as they were before a step of training that isn't long ago, for what wants
/// to know why a loss isn't finite. What keeping them costs stays small beside the steps themselves.
class Snapshot {
 public:
  /// Before a step; last_step_s: how long the one before took.
  void keep(const std::vector<Store::Cell*>& cells, double last_step_s);
  /// Null: nothing is kept of that cell.
  const nnl::Tensor* of(const Store::Cell* cell) const;
  int64_t age() const { return age_; }  ///< in steps

 private:
  std::map<const Store::Cell*, nnl::Tensor> kept_;
  double credit_s_ = 0;
  int64_t age_ = -1;
};

/// One input as the cache of variants knows it.
struct InputType {
  DType dtype;
  std::vector<int64_t> shape;
};

class Variant {
 public:
  /// Compiles and runs the setup. `model`: the layer's parameters and states; `own`: everything else that is kept.
  Variant(const Program::State& program, codegen::Backend& backend, const sema::Driver& driver, Store& model,
          Store& own);

  const sema::DriverProgram& driver() const { return driver_; }
  const std::vector<std::vector<int64_t>>& output_shapes() const { return output_shapes_; }
  bool takes(const std::vector<Tensor>& inputs) const;
  /// Runs the step on the caller's memory. outputs: empty, or one tensor for each output (an undefined one gets new
  /// memory), which are written.
  /// `snapshot`: of a trainer.
  void run(const std::vector<Tensor>& inputs, std::vector<Tensor>* outputs, Copies copies,
           const std::optional<CancelToken>& cancel, Snapshot* snapshot = nullptr);
  double output_number(size_t i) const;
  /// An output where it is; as long as it is held, the next run writes elsewhere.
  Tensor output(size_t i);

 private:
  struct Binding {
    Store::Cell* cell;
    host::Reg reg;
  };
  void bind(Store& store, const std::string& name, host::Reg reg);
  const Tensor& usable_input(const Tensor& given, size_t i, Copies copies, Tensor& copy) const;
  void check_labels(const Tensor& t, size_t i) const;
  void point_output(size_t i, const Tensor& target);
  std::string rewind(std::vector<exec::Value>& regs) const;
  void hand_out(size_t i, const std::vector<Tensor>& inputs, Tensor& target, bool direct);

  SourceManager sources_;
  sema::DriverProgram driver_;
  std::vector<InputType> types_;
  std::vector<std::string> names_;  ///< of the inputs
  std::vector<std::vector<int64_t>> output_shapes_;
  std::unique_ptr<exec::Machine> machine_;
  std::vector<Binding> bindings_;
  std::vector<Tensor> copies_;          ///< per input: what a copy was made into, while the step runs
  const Snapshot* snapshot_ = nullptr;  ///< while a step runs
  std::vector<Store::Cell*> tensors_;   ///< of the bindings
  double last_s_ = 0;                   ///< how long the last run took
  std::vector<bool> points_outside_;    ///< per output: its register is over a caller's memory
};

}  // namespace nnlc::v0
