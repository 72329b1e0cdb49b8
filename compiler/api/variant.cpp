#include "compiler/api/variant.h"

#include <algorithm>
#include <chrono>
#include <cstring>

namespace nnlc::v0 {

// ---------------------------------------------------------------- what is kept

nnl::Tensor Store::Cell::tensor() const {
  return nnl::Tensor::over(static_cast<int>(info.dtype), info.shape, memory.get(), memory);
}

int64_t Store::Cell::tensor_bytes() const {
  int64_t n = static_cast<int64_t>(dtype_size(info.dtype));
  for (int64_t d : info.shape) n *= d;
  return n;
}

Store::Cell* Store::find(const std::string& name) const {
  for (auto& c : cells_)
    if (c->name == name) return c.get();
  return nullptr;
}

Store::Cell* Store::adopt(const std::string& name, exec::Value& value) {
  if (Cell* known = find(name)) return known;
  const nnl::Tensor* t = value.tensor();
  if (!t && value.is_none()) return nullptr;
  auto cell = std::make_unique<Cell>();
  cell->name = cell->info.name = name;
  if (t) {
    cell->is_tensor = true;
    cell->info.dtype = static_cast<DType>(t->dtype());
    cell->info.shape = t->shape();
    // The register's own memory, unless somebody else sees it too.
    nnl::Tensor kept = t->unique() ? *t : t->copy();
    cell->memory = std::shared_ptr<uint8_t>(kept.buffer(), kept.as<uint8_t>());
  } else {
    cell->number = value;
  }
  cells_.push_back(std::move(cell));
  Cell* out = cells_.back().get();
  if (auto loaded = pending_.find(name); loaded != pending_.end()) {
    fill(*out, loaded->second);
    pending_.erase(loaded);
  }
  return out;
}

void Store::fill(Cell& cell, const nnl::Tensor& value) {
  if (cell.is_tensor) {
    if (static_cast<int>(cell.info.dtype) != value.dtype() || cell.info.shape != value.shape())
      fail(Status::data_error,
           fmt::format("{} is {}, and the file has {}", cell.name, type_text(cell.info.dtype, cell.info.shape),
                       type_text(static_cast<DType>(value.dtype()), value.shape())));
    std::memcpy(cell.memory.get(), value.data(), static_cast<size_t>(value.bytes()));
  } else if (value.count() == 1) {
    if (cell.number.get<int64_t>())
      cell.number = exec::Value(exec::element_int(value, 0));
    else
      cell.number = exec::Value(exec::element(value, 0));
  }
}

void Store::load(const std::string& name, nnl::Tensor value) {
  if (Cell* cell = find(name))
    fill(*cell, value);
  else
    pending_[name] = std::move(value);
}

// ---------------------------------------------------------------- compiling

Variant::Variant(const Program::State& program, codegen::Backend& backend, const sema::Driver& driver, Store& model,
                 Store& own) {
  nnlc::Diagnostics diags;
  const uint32_t file = sources_.add(program.name, program.text);
  auto compiled = sema::compile_driver(sources_, file, program.compile, driver, diags);
  throw_errors(diags, sources_, false);
  if (!compiled) fail(Status::internal, "a call without errors and without code");
  driver_ = std::move(*compiled);
  for (auto& i : driver.inputs) {
    types_.push_back({static_cast<DType>(i.type.dtype), graph::sizes(i.type.shape)});
    names_.push_back(i.name);
  }
  exec::MachineOptions m;
  m.out = [](std::string_view) {};
  m.report = [log = program.options.log](std::string_view text) {
    if (log) log(std::string(text));
  };
  m.program_dir = program.compile.program_dir;
  m.trace = false;
  m.rewind = [this](std::vector<exec::Value>& regs) { return rewind(regs); };
  for (size_t i = 0; i < driver_.inputs.size(); ++i) m.inputs.emplace_back(driver_.inputs[i], names_[i]);
  machine_ = std::make_unique<exec::Machine>(*driver_.program, backend, std::move(m));
  machine_->run_setup(driver_.step, diags);
  throw_errors(diags, sources_, true);
  for (const host::Persistent& p : driver_.program->persistents) {
    const bool of_model = p.root == driver_.root;
    bind(of_model ? model : own, of_model ? p.path : p.root + "/" + p.path, p.reg);
    if (Store::Cell* cell = of_model ? model.find(p.path) : nullptr) {
      cell->info.learned = p.learned;
      cell->info.aliases = p.aliases;
    }
  }
  for (const auto& s : driver_.state)
    if (s.reg != host::kNoReg) bind(own, s.name, s.reg);
  for (auto& o : driver_.outputs) output_shapes_.push_back(graph::sizes(o.type.shape));
  copies_.resize(types_.size());
  points_outside_.resize(driver_.outputs.size());
}

void Variant::bind(Store& store, const std::string& name, host::Reg reg) {
  exec::Value& value = machine_->value(reg);
  Store::Cell* cell = store.adopt(name, value);
  if (!cell) return;
  if (cell->is_tensor) value = exec::Value(cell->tensor());
  for (const Binding& b : bindings_)
    if (b.reg == reg) return;
  bindings_.push_back({cell, reg});
  if (cell->is_tensor && std::find(tensors_.begin(), tensors_.end(), cell) == tensors_.end()) tensors_.push_back(cell);
}

bool Variant::takes(const std::vector<Tensor>& inputs) const {
  if (inputs.size() != types_.size()) return false;
  for (size_t i = 0; i < inputs.size(); ++i)
    if (inputs[i].dtype() != types_[i].dtype || inputs[i].shape() != types_[i].shape) return false;
  return true;
}

// ---------------------------------------------------------------- what was before a step

void Snapshot::keep(const std::vector<Store::Cell*>& cells, double last_step_s) {
  constexpr double kShare = 0.03, kBytesPerSecond = 4e9;
  constexpr int64_t kMostBytes = int64_t{1} << 28;
  int64_t bytes = 0;
  for (const Store::Cell* c : cells) bytes += c->tensor_bytes();
  const double cost_s = static_cast<double>(bytes) / kBytesPerSecond;
  credit_s_ = std::min(credit_s_ + kShare * last_step_s, cost_s);
  ++age_;
  const bool all = std::all_of(cells.begin(), cells.end(), [&](const Store::Cell* c) { return kept_.count(c) > 0; });
  if (bytes > kMostBytes || (all && credit_s_ < cost_s)) return;
  credit_s_ = 0;
  age_ = 0;
  for (const Store::Cell* c : cells) {
    nnl::Tensor& t = kept_[c];
    if (!t.defined()) t = nnl::Tensor::empty(static_cast<int>(c->info.dtype), c->info.shape);
    std::memcpy(t.data(), c->memory.get(), static_cast<size_t>(t.bytes()));
  }
}

const nnl::Tensor* Snapshot::of(const Store::Cell* cell) const {
  auto it = kept_.find(cell);
  return it == kept_.end() ? nullptr : &it->second;
}

std::string Variant::rewind(std::vector<exec::Value>& regs) const {
  bool all = true;
  for (const Binding& b : bindings_) {
    exec::Value& v = regs[static_cast<size_t>(b.reg)];
    if (!b.cell->is_tensor)
      v = b.cell->number;
    else if (const nnl::Tensor* t = snapshot_ ? snapshot_->of(b.cell) : nullptr)
      v = exec::Value(*t);
    else
      all = false;
  }
  if (!all) return "run again with the parameters as they are after the step: more of them than are kept";
  if (snapshot_->age() == 0) return {};
  return fmt::format("run again with the parameters of {} step{} before", snapshot_->age(),
                     snapshot_->age() == 1 ? "" : "s");
}

// ---------------------------------------------------------------- running

const Tensor& Variant::usable_input(const Tensor& given, size_t i, Copies copies, Tensor& copy) const {
  const std::string& why = Access::of(given)->why_copied;
  if (why.empty()) return given;
  if (copies == Copies::refuse)
    fail(Status::copy_needed, fmt::format("`{}` would have to be copied: {}", names_[i], why));
  copy = given.copy();
  return copy;
}

void Variant::check_labels(const Tensor& t, size_t i) const {
  if (i >= driver_.labels.size() || !driver_.labels[i].classes) return;
  const int64_t classes = *driver_.labels[i].classes, n = t.count();
  const std::optional<int64_t> ignored = driver_.labels[i].ignored;
  auto check = [&](const auto* p) {
    for (int64_t e = 0; e < n; ++e) {
      const auto v = static_cast<int64_t>(p[e]);
      if ((v >= 0 && v < classes) || v == ignored) continue;
      Diagnostic d;
      d.severity = Severity::data;
      d.code = fmt::format("N{:04}", static_cast<int>(Code::ClassOutOfRange));
      d.message = fmt::format("`{}`: {} at element {} isn't a label of class({})", names_[i], v, e, classes);
      d.text = d.json = d.message;
      throw Error(Status::run_failed, d.message, {d});
    }
  };
  switch (t.dtype()) {
    case DType::u8:
      return check(t.as<uint8_t>());
    case DType::i8:
      return check(t.as<int8_t>());
    case DType::i16:
      return check(t.as<int16_t>());
    case DType::i32:
      return check(t.as<int32_t>());
    default:
      return check(t.as<int64_t>());
  }
}

void Variant::point_output(size_t i, const Tensor& target) {
  exec::Value& v = machine_->value(driver_.outputs[i].reg);
  void* data = Access::of(target)->data;
  if (points_outside_[i]) {
    if (nnl::Tensor* t = v.get<nnl::Tensor>(); t && t->unique()) {
      t->point_to(data);
      return;
    }
  }
  v = exec::Value(nnl::Tensor::over(static_cast<int>(target.dtype()), target.shape(), data));
  points_outside_[i] = true;
}

void Variant::run(const std::vector<Tensor>& inputs, std::vector<Tensor>* outputs, Copies copies,
                  const std::optional<CancelToken>& cancel, Snapshot* snapshot) {
  const size_t n_out = driver_.outputs.size();
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Tensor& t = usable_input(inputs[i], i, copies, copies_[i]);
    check_labels(t, i);
    exec::Value& v = machine_->value(driver_.inputs[i]);
    // Nothing that a program does writes to the memory of an input.
    void* data = Access::of(t)->data;
    if (nnl::Tensor* known = v.get<nnl::Tensor>(); known && known->unique())
      known->point_to(data);
    else
      v = exec::Value(nnl::Tensor::over(static_cast<int>(types_[i].dtype), types_[i].shape, data));
  }
  // Outputs that the step can write where the caller wants them.
  for (size_t i = 0; i < n_out; ++i) {
    exec::Value& v = machine_->value(driver_.outputs[i].reg);
    const bool is_input =
        std::find(driver_.inputs.begin(), driver_.inputs.end(), driver_.outputs[i].reg) != driver_.inputs.end();
    if (outputs && (*outputs)[i].defined() && (*outputs)[i].why_copied().empty() && !is_input) {
      point_output(i, (*outputs)[i]);
    } else if (points_outside_[i]) {
      v = exec::Value();
      points_outside_[i] = false;
    }
  }
  for (Binding& b : bindings_) {
    exec::Value& v = machine_->value(b.reg);
    if (!b.cell->is_tensor)
      v = b.cell->number;
    else if (nnl::Tensor* t = v.get<nnl::Tensor>())
      t->data();  // may have been written through a view, or by another variant: what a device has is old
  }

  nnlc::Diagnostics diags;
  machine_->set_cancel(cancel ? cancel->flag().get() : nullptr);
  if (snapshot && machine_->rewinds()) snapshot->keep(tensors_, last_s_);
  snapshot_ = snapshot;
  const auto begun = std::chrono::steady_clock::now();
  machine_->run_step(*driver_.step, diags);
  last_s_ = std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
  snapshot_ = nullptr;

  for (Binding& b : bindings_) {
    exec::Value& v = machine_->value(b.reg);
    if (!b.cell->is_tensor) {
      b.cell->number = v;
      continue;
    }
    const nnl::Tensor* t = v.tensor();
    if (t && t->data() == b.cell->memory.get()) continue;
    if (t) std::memcpy(b.cell->memory.get(), t->data(), static_cast<size_t>(t->bytes()));
    v = exec::Value(b.cell->tensor());
  }
  for (Tensor& t : copies_) t = Tensor();
  throw_errors(diags, sources_, true);
  if (!outputs) return;
  for (size_t i = 0; i < n_out; ++i) hand_out(i, inputs, (*outputs)[i], points_outside_[i]);
}

void Variant::hand_out(size_t i, const std::vector<Tensor>& inputs, Tensor& target, bool direct) {
  exec::Value& v = machine_->value(driver_.outputs[i].reg);
  nnl::Tensor number;
  const nnl::Tensor* t = v.tensor();
  if (!t) {  // a host number
    number = nnl::Tensor::empty(static_cast<int>(driver_.outputs[i].type.dtype), {});
    if (auto* n = v.get<int64_t>())
      exec::set_element_int(number, 0, *n);
    else if (auto* b = v.get<bool>())
      exec::set_element_int(number, 0, *b);
    else if (auto* d = v.get<double>())
      exec::set_element(number, 0, *d);
    t = &number;
  }
  if (target.defined()) {
    if (direct && t->data() == Access::of(target)->data) return;
    copy_elements(*Access::of(to_public(*t)), *Access::of(target));
    return;
  }
  // What is somebody else's memory isn't handed out: an input that comes back, a parameter.
  bool foreign = false;
  for (const Tensor& in : inputs) foreign |= in.defined() && Access::of(in)->data == t->data();
  for (const Binding& b : bindings_) foreign |= b.cell->is_tensor && b.cell->memory.get() == t->data();
  target = foreign ? to_public(t->copy()) : to_public(*t);
}

double Variant::output_number(size_t i) const {
  const exec::Value& v = machine_->value(driver_.outputs[i].reg);
  if (const nnl::Tensor* t = v.tensor()) return exec::element(*t, 0);
  if (auto* n = v.get<int64_t>()) return static_cast<double>(*n);
  auto* d = v.get<double>();
  return d ? *d : 0;
}

Tensor Variant::output(size_t i) {
  const nnl::Tensor* t = machine_->value(driver_.outputs[i].reg).tensor();
  return t ? to_public(*t) : Tensor();
}

}  // namespace nnlc::v0
