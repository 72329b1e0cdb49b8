// `data.map { r -> {…} }`: the function is traced once, for one record, into a step that no instruction runs: reading
// the data set runs it for each row (host/mapped.h).
#include <fmt/format.h>

#include "compiler/host/mapped.h"
#include "compiler/sema/impl.h"

namespace nnlc::sema {

using host::Reg;
using Kind = host::Type::Kind;
namespace data = nnl::data;

namespace {

/// Code goes to the step of the function while it lives.
class MapTrace {
 public:
  MapTrace(Evaluator& ev, Span span) : ev_(ev), context_(ev.context), leaves_(std::move(ev.leaves)) {
    auto& im = *ev.impl;
    current_ = im.current;
    reserved_ = im.reserved;
    counter_ = im.map_counter;
    step = static_cast<int>(ev.program->steps.size());
    host::Step& s = ev.program->steps.emplace_back();
    s.title = "map at " + ev.sources.describe(span);
    s.span = span;
    im.steps[step].step = &s;
    im.current = step;
    im.reserved = true;
    im.map_counter = ev.new_reg(host_type(Kind::integer));
    counter = im.map_counter;
    ev.leaves.clear();
    ev.context.tensor_code = true;
    ev.context.training = false;
    ev.context.random_path = "map";
  }
  ~MapTrace() {
    auto& im = *ev_.impl;
    im.current = current_;
    im.reserved = reserved_;
    im.map_counter = counter_;
    ev_.leaves = std::move(leaves_);
    ev_.context = context_;
  }
  MapTrace(const MapTrace&) = delete;
  MapTrace& operator=(const MapTrace&) = delete;

  int step;
  Reg counter;

 private:
  Evaluator& ev_;
  Context context_;
  std::vector<std::map<Reg, TensorValue>> leaves_;
  int current_;
  bool reserved_;
  Reg counter_;
};

}  // namespace

Value map_dataset(Evaluator& ev, const DatasetValue& from, const Value& function, Span span) {
  if (function.is_poison()) return Poison{};
  const auto& base = from.data->fields();
  ev.flush();
  auto record = std::make_shared<RecordValue>();
  std::vector<Reg> base_regs;
  for (const data::Field& f : base) {
    host::Type type = host_type(Kind::tensor);
    type.tensor.dtype = static_cast<graph::DType>(f.dtype);
    for (int64_t d : f.shape) type.tensor.shape.emplace_back(d);
    type.classes = f.classes;
    base_regs.push_back(ev.new_reg(type));
    Value v = ev.from_reg(base_regs.back(), type, span);
    v.get<TensorValue>()->may_be_missing = f.missing;
    record->names.push_back(f.name);
    record->items.push_back(std::move(v));
  }
  std::vector<data::Field> fields;
  std::vector<host::MappedDataset::Source> sources;
  int step = -1;
  Reg counter = host::kNoReg;
  {
    MapTrace trace(ev, span);
    step = trace.step;
    counter = trace.counter;
    Value result = ev.apply(function, {Value(record, span)}, span);
    if (result.is_poison()) return Poison{};
    auto out = result.ptr<RecordValue>();
    if (!out || out->items.empty()) {
      ev.error(Code::DataArgument, result.span.valid() ? ev.user_span(result.span) : span,
               fmt::format("`map` makes a record of each record, but the function gives {}", describe(result)))
          .help("name what it gives: `{ r -> {x: …} }`");
      return Poison{};
    }
    for (size_t i = 0; i < out->items.size(); ++i) {
      if (out->items[i].is_poison()) return Poison{};
      auto t = ev.to_tensor(out->items[i], std::nullopt, out->items[i].span.valid() ? out->items[i].span : span);
      if (!t) return Poison{};
      data::Field field;
      host::MappedDataset::Source source;
      for (size_t b = 0; b < base_regs.size(); ++b)
        if (t->cell && t->cell->reg == base_regs[b]) {
          source.base_field = static_cast<int>(b);
          field = base[b];
        }
      field.name = out->names[i];
      if (source.base_field < 0) {
        if (!graph::is_constant(t->type.shape)) {
          ev.error(Code::NotStatic, span, fmt::format("the size of `{}` isn't one number", field.name));
          return Poison{};
        }
        field.dtype = static_cast<int>(t->type.dtype);
        field.shape = graph::sizes(t->type.shape);
        if (t->classes && t->classes->is_constant()) field.classes = t->classes->value();
        field.missing = t->may_be_missing;
        graph::Node* node = ev.node(*t);
        source.output = static_cast<int>(ev.program->steps[static_cast<size_t>(step)].outputs.size());
        ev.graph().outputs.push_back({node, nullptr});
        ev.program->steps[static_cast<size_t>(step)].outputs.push_back(host::kNoReg);
      }
      fields.push_back(std::move(field));
      sources.push_back(source);
    }
  }
  // Values from outside are what they are now, whatever the program assigns later.
  host::Step& s = ev.program->steps[static_cast<size_t>(step)];
  for (Reg& input : s.inputs) {
    if (input == counter || std::find(base_regs.begin(), base_regs.end(), input) != base_regs.end()) continue;
    const Reg kept = ev.new_reg(ev.program->registers[static_cast<size_t>(input)]);
    host::Instr& copy = ev.emit(host::Op::copy, span);
    copy.dst = kept;
    copy.args = {input};
    input = kept;
  }
  auto mapped = std::make_shared<host::MappedDataset>(from.data, std::move(fields), std::move(sources));
  mapped->step = s.outputs.empty() ? -1 : step;
  mapped->base_regs = std::move(base_regs);
  mapped->counter = counter;
  ev.program->mapped.push_back(mapped);
  return dataset_value(ev, mapped, span);
}

}  // namespace nnlc::sema
