// Reading mapped data sets: the base's rows first, all at once, then the step for each of them.
#include <fmt/format.h>

#include <cstring>
#include <memory>

#include "compiler/exec/impl.h"
#include "compiler/host/mapped.h"
#include "runtime/data/columns.h"

namespace nnlc::exec {

namespace {

class MapReader {
 public:
  MapReader(Machine::Impl& machine, host::MappedDataset& data) : machine_(machine), data_(data) {}

  void read(const int64_t* rows, int64_t n, void* const* out) {
    const auto& base_fields = data_.base->fields();
    bool computes = false;
    std::vector<void*> base_out(base_fields.size(), nullptr);
    for (size_t f = 0; f < data_.sources.size(); ++f) {
      if (!out[f]) continue;
      const auto& s = data_.sources[f];
      computes |= s.output >= 0;
      if (s.base_field >= 0 && !base_out[at(s.base_field)]) base_out[at(s.base_field)] = out[f];
    }
    if (computes) prepare();
    // What the step reads of a row comes from a field that is wanted anyway, or from memory of our own.
    std::vector<Tensor> own(base_fields.size());
    for (size_t k = 0; computes && k < field_of_input_.size(); ++k) {
      if (field_of_input_[k] < 0) continue;
      const size_t f = at(field_of_input_[k]);
      if (base_out[f]) continue;
      own[f] = Tensor::empty(NNL_U8, {n * nnl::data::record_bytes(base_fields[f])});
      base_out[f] = own[f].data();
    }
    data_.base->read(rows, n, base_out.data());
    for (size_t f = 0; f < data_.sources.size(); ++f) {
      const int from = data_.sources[f].base_field;
      if (!out[f] || from < 0 || base_out[at(from)] == out[f]) continue;
      std::memcpy(out[f], base_out[at(from)], static_cast<size_t>(n * nnl::data::record_bytes(base_fields[at(from)])));
    }
    if (!computes) return;
    CompiledStep& c = machine_.compiled(data_.step);
    for (int64_t i = 0; i < n; ++i) run(c, rows[i], i, base_out, out);
  }

 private:
  Machine::Impl& machine_;
  host::MappedDataset& data_;
  bool prepared_ = false;
  std::vector<int> field_of_input_;  ///< per input of the step: a field of the base, or -1
  std::vector<Tensor> inputs_, outputs_;
  std::vector<void*> buffers_;
  std::vector<uint32_t> times_read_;  ///< per row, where the function draws random numbers

  static size_t at(int i) { return static_cast<size_t>(i); }

  void prepare() {
    if (prepared_) return;
    prepared_ = true;
    CompiledStep& c = machine_.compiled(data_.step);
    const host::Step& step = machine_.program.steps[at(data_.step)];
    inputs_.resize(c.inputs.size());
    for (size_t k = 0; k < c.inputs.size(); ++k) {
      int field = -1;
      for (size_t f = 0; f < data_.base_regs.size(); ++f)
        if (data_.base_regs[f] == step.inputs[k]) field = static_cast<int>(f);
      field_of_input_.push_back(field);
      if (field >= 0 || step.inputs[k] == data_.counter)
        inputs_[k] = Tensor::empty(c.inputs[k].dtype, c.inputs[k].shape);
      if (step.inputs[k] == data_.counter) times_read_.resize(static_cast<size_t>(data_.size()));
    }
    for (const CompiledStep::Port& p : c.outputs) outputs_.push_back(Tensor::empty(p.dtype, p.shape));
    buffers_.resize(inputs_.size() + outputs_.size());
  }

  /// What the function casts to class(C) is checked here, as labels are where a file is read.
  void check_labels(size_t f, int64_t row, Span span) const {
    const nnl::data::Field& field = data_.fields()[f];
    if (field.classes <= 0) return;
    const Tensor& t = outputs_[at(data_.sources[f].output)];
    for (int64_t i = 0; i < t.count(); ++i) {
      const int64_t k = element_int(t, i);
      if ((k >= 0 && k < field.classes) || (field.missing && k == -1)) continue;
      throw Failure{
          Code::ClassOutOfRange,
          span,
          fmt::format("{}: row {}: `{}` is {}, which is no class({})", data_.name(), row, field.name, k, field.classes),
          {},
          {}};
    }
  }

  void run(CompiledStep& c, int64_t row, int64_t i, const std::vector<void*>& base_out, void* const* out) {
    const host::Step& step = machine_.program.steps[at(data_.step)];
    for (size_t k = 0; k < inputs_.size(); ++k) {
      Tensor& t = inputs_[k];
      if (!t.defined()) {  // a value from outside of the function
        buffers_[k] = const_cast<uint8_t*>(machine_.input_buffer(c, step, k)->read());
        continue;
      }
      if (const int f = field_of_input_[k]; f >= 0)
        std::memcpy(t.data(), static_cast<const char*>(base_out[at(f)]) + i * t.bytes(),
                    static_cast<size_t>(t.bytes()));
      else  // no two readings of rows have the same number
        set_element_int(t, 0, row + data_.size() * int64_t{times_read_[static_cast<size_t>(row)]++});
      buffers_[k] = t.data();
    }
    for (size_t o = 0; o < outputs_.size(); ++o) buffers_[inputs_.size() + o] = outputs_[o].data();
    c.code->run(buffers_.data());
    for (size_t f = 0; f < data_.sources.size(); ++f) {
      if (!out[f] || data_.sources[f].output < 0) continue;
      check_labels(f, row, step.span);
      const Tensor& t = outputs_[at(data_.sources[f].output)];
      std::memcpy(static_cast<char*>(out[f]) + i * t.bytes(), t.data(), static_cast<size_t>(t.bytes()));
    }
  }
};

}  // namespace

void Machine::Impl::bind_maps() {
  for (auto& m : program.mapped) {
    auto reader = std::make_shared<MapReader>(*this, *m);
    m->reader = [reader](const int64_t* rows, int64_t n, void* const* out) { reader->read(rows, n, out); };
  }
}

void Machine::Impl::release_maps() {
  for (auto& m : program.mapped) m->reader = nullptr;
}

}  // namespace nnlc::exec
