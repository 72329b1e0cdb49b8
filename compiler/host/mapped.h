// A data set whose records a function of the program has changed: `data.map { r -> {…} }`. The function is traced for
// one record into a step of its own, which is run for each row that is read; a field that the function passes on is
// copied without it.
#pragma once
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "compiler/host/program.h"

namespace nnlc::host {

class MappedDataset : public nnl::data::Dataset {
 public:
  /// Where a field comes from: a field of the base as it is, or an output of the step.
  struct Source {
    int base_field = -1, output = -1;
  };

  MappedDataset(nnl::data::DatasetPtr from, std::vector<nnl::data::Field> fields, std::vector<Source> from_where)
      : base(std::move(from)), sources(std::move(from_where)), fields_(std::move(fields)) {}

  const std::vector<nnl::data::Field>& fields() const override { return fields_; }
  int64_t size() const override { return base->size(); }
  std::string name() const override { return base->name(); }
  void read(const int64_t* rows, int64_t n, void* const* out) const override { reader(rows, n, out); }

  nnl::data::DatasetPtr base;
  std::vector<Source> sources;  ///< per field
  int step = -1;                ///< in Program::steps; -1: every field is passed on
  std::vector<Reg> base_regs;   ///< per field of the base: the step's inputs of that register hold it
  Reg counter = kNoReg;         ///< the input for random draws: another number each time that a row is read
  /// Set by who runs the program: steps are its matter.
  std::function<void(const int64_t* rows, int64_t n, void* const* out)> reader;

 private:
  std::vector<nnl::data::Field> fields_;
};

}  // namespace nnlc::host
