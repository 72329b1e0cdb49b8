// Layers: made, called, their parameters read and written.
#include "compiler/api/model.h"

#include <algorithm>
#include <cstring>

#include "runtime/safetensors.h"

namespace nnlc::v0 {

// ---------------------------------------------------------------- making

Model Program::instantiate(const std::string& layer, const Arguments& arguments) const {
  return guarded([&] {
    require_path(layer, "layer");
    Model m = instantiate(Expression{fmt::format("{}({})", layer, to_source(arguments))});
    for (const Layer& l : state_->layers)
      if (l.name == layer) Access::of(m)->declaration = &l;
    return m;
  });
}

Model Program::instantiate(const Expression& layer) const {
  return guarded([&] {
    if (!state_) fail(Status::invalid_argument, "an empty Program");
    auto m = std::make_shared<Model::State>();
    m->program = *this;
    m->layer = layer.text;
    // The caller reads and writes parameters where they are, in memory of the CPU: for a GPU they go up and down with
    // every call, so it has to be asked for.
    CompileOptions options = state_->options;
    if (options.device == "auto") options.device = "cpu";
    m->backend = make_backend(options);
    sema::Driver driver;
    driver.layer = m->layer;
    Store none;
    Variant made(*state_, *m->backend, driver, m->parameters, none);
    return Access::make<Model>(std::move(m));
  });
}

namespace {

Model::State& state_of(const std::shared_ptr<Model::State>& s) {
  if (!s) fail(Status::invalid_argument, "an empty Model");
  return *s;
}

}  // namespace

Model::Model() = default;
const Program& Model::program() const { return state_of(state_).program; }

// ---------------------------------------------------------------- calls

std::vector<std::string> Model::State::input_names(const std::string& method, size_t n) const {
  std::vector<std::string> out;
  if (declaration)
    for (const Function& f : declaration->methods)
      if (f.name == method)
        for (size_t i = 0; i < n && i < f.parameters.size(); ++i) out.push_back(f.parameters[i].name);
  for (size_t i = out.size(); i < n; ++i) out.push_back(n == 1 ? "input" : fmt::format("input_{}", i + 1));
  for (std::string& name : out)
    if (name == "model" || name == "opt" || name == "result") name += "_input";
  return out;
}

void require_defined(const std::vector<Tensor>& inputs) {
  for (size_t i = 0; i < inputs.size(); ++i)
    if (!inputs[i].defined()) fail(Status::invalid_argument, fmt::format("tensor {} is empty", i));
}

std::string call_text(const std::string& callee, const std::vector<std::string>& names, size_t from, size_t to,
                      const std::string& more) {
  std::string out = callee + "(";
  for (size_t i = from; i < to; ++i) out += (i > from ? ", " : "") + names[i];
  if (!more.empty()) out += (to > from ? ", " : "") + more;
  return out + ")";
}

Variant& variant_for(Model::State& model, std::vector<std::unique_ptr<Variant>>& variants, sema::Driver driver,
                     const std::vector<std::string>& names, const std::vector<Tensor>& inputs, Store& own) {
  for (auto& v : variants)
    if (v->takes(inputs)) return *v;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const DType t = inputs[i].dtype();
    graph::TensorType type;
    type.dtype = static_cast<graph::DType>(t);
    for (int64_t d : inputs[i].shape()) type.shape.push_back(graph::Dim(d));
    driver.inputs.push_back({names[i], type, t >= DType::u8 && t <= DType::i64, std::nullopt});
  }
  variants.push_back(std::make_unique<Variant>(model.source(), *model.backend, driver, model.parameters, own));
  return *variants.back();
}

namespace {

Variant& variant_of_call(Model::State& m, const std::vector<Tensor>& inputs, const CallOptions& options) {
  require_defined(inputs);
  Model::State::Call* call = nullptr;
  for (auto& c : m.calls)
    if (c->method == options.method && c->training == options.training) call = c.get();
  if (!call) {
    require_path(options.method, "method");
    m.calls.push_back(std::make_unique<Model::State::Call>());
    call = m.calls.back().get();
    call->method = options.method;
    call->training = options.training;
  }
  for (auto& v : call->variants)
    if (v->takes(inputs)) return *v;
  sema::Driver driver;
  driver.layer = m.layer;
  const auto names = m.input_names(options.method, inputs.size());
  driver.step = call_text(options.method == "forward" ? "model" : "model." + options.method, names, 0, names.size(),
                          options.training ? "training = true" : "");
  return variant_for(m, call->variants, std::move(driver), names, inputs, call->state);
}

bool overlap(const Tensor::State& a, const Tensor::State& b) {
  const auto* x = static_cast<const uint8_t*>(a.data);
  const auto* y = static_cast<const uint8_t*>(b.data);
  // Of strided memory only the beginning is looked at: it is copied, so its order doesn't matter.
  const auto end = [](const Tensor::State& s) {
    return s.why_copied.empty() ? s.count * int64_t(dtype_size(s.dtype)) : 1;
  };
  return a.count > 0 && b.count > 0 && x < y + end(b) && y < x + end(a);
}

void check_outputs(const Variant& v, const std::vector<Tensor>& inputs, const std::vector<Tensor>& outputs,
                   Copies copies) {
  const auto& wanted = v.driver().outputs;
  if (outputs.size() != wanted.size())
    fail(Status::invalid_argument, fmt::format("the call gives {} tensor{}, and there are {} for them", wanted.size(),
                                               wanted.size() == 1 ? "" : "s", outputs.size()));
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (!outputs[i].defined()) continue;
    const Tensor::State& t = *Access::of(outputs[i]);
    auto what = [&] { return wanted[i].name.empty() ? "the output" : fmt::format("the output `{}`", wanted[i].name); };
    if (static_cast<int>(t.dtype) != static_cast<int>(wanted[i].type.dtype) || t.shape != v.output_shapes()[i])
      fail(Status::invalid_argument, fmt::format("{} is {}, and the tensor for it {}", what(), wanted[i].type.str(),
                                                 type_text(t.dtype, t.shape)));
    if (t.read_only) fail(Status::invalid_argument, fmt::format("the tensor for {} is read-only", what()));
    if (t.device != "cpu")
      fail(Status::unsupported, fmt::format("the tensor for {} is on {}, and the model on cpu", what(), t.device));
    if (!t.why_copied.empty() && copies == Copies::refuse)
      fail(Status::copy_needed, fmt::format("{} would have to be copied: {}", what(), t.why_copied));
    for (size_t k = 0; k < inputs.size(); ++k)
      if (overlap(t, *Access::of(inputs[k])))
        fail(Status::invalid_argument, fmt::format("the tensor for {} shares memory with input {}", what(), k));
    for (size_t k = 0; k < i; ++k)
      if (outputs[k].defined() && overlap(t, *Access::of(outputs[k])))
        fail(Status::invalid_argument, fmt::format("the tensors for outputs {} and {} share memory", k, i));
  }
}

}  // namespace

std::vector<Tensor> Model::call(const std::vector<Tensor>& inputs, const CallOptions& options) const {
  return guarded([&] {
    State& m = state_of(state_);
    std::lock_guard lock(m.mutex);
    Variant& v = variant_of_call(m, inputs, options);
    std::vector<Tensor> outputs(v.driver().outputs.size());
    v.run(inputs, &outputs, options.copies, options.cancel);
    return outputs;
  });
}

void Model::call_into(const std::vector<Tensor>& inputs, std::vector<Tensor>& outputs,
                      const CallOptions& options) const {
  guarded([&] {
    State& m = state_of(state_);
    std::lock_guard lock(m.mutex);
    Variant& v = variant_of_call(m, inputs, options);
    check_outputs(v, inputs, outputs, options.copies);
    v.run(inputs, &outputs, options.copies, options.cancel);
  });
}

// ---------------------------------------------------------------- parameters

std::vector<ParameterInfo> Model::parameters() const {
  State& m = state_of(state_);
  std::lock_guard lock(m.mutex);
  std::vector<ParameterInfo> out;
  for (auto& c : m.parameters.cells()) out.push_back(c->info);
  return out;
}

namespace {

Store::Cell& parameter_cell(const Store& store, const std::string& name) {
  if (Store::Cell* c = store.find(name)) return *c;
  std::vector<std::string> names;
  for (auto& c : store.cells()) {
    for (auto& alias : c->info.aliases)
      if (alias == name) return *c;
    names.push_back(c->name);
  }
  std::string message = fmt::format("there is no parameter `{}`", name);
  if (auto near = nearest(name, names)) message += fmt::format("; did you mean `{}`?", *near);
  fail(Status::invalid_argument, message);
}

}  // namespace

Tensor Model::parameter(const std::string& name) const {
  return guarded([&] {
    State& m = state_of(state_);
    std::lock_guard lock(m.mutex);
    return to_public(parameter_cell(m.parameters, name).tensor());
  });
}

void Model::set_parameter(const std::string& name, const Tensor& value) {
  guarded([&] {
    State& m = state_of(state_);
    std::lock_guard lock(m.mutex);
    Store::Cell& c = parameter_cell(m.parameters, name);
    if (value.dtype() != c.info.dtype || value.shape() != c.info.shape)
      fail(Status::invalid_argument,
           fmt::format("`{}` is {}, and the value {}", name, type_text(c.info.dtype, c.info.shape),
                       type_text(value.dtype(), value.shape())));
    const Tensor target = to_public(c.tensor());
    copy_elements(*Access::of(value), *Access::of(target));
  });
}

std::vector<std::pair<std::string, nnl::Tensor>> read_file_of_tensors(const std::string& path) {
  auto check = [&](const std::optional<nnl::data::Error>& e) {
    if (e) fail(Status::data_error, e->message);
  };
  auto file = nnl::SafetensorsFile::open(path);
  if (!file) fail(Status::data_error, file.error().message);
  std::vector<std::pair<std::string, nnl::Tensor>> out;
  for (const nnl::SafetensorsEntry& e : (*file)->entries()) {
    if (e.dtype < 0)
      fail(Status::data_error, fmt::format("{}: {} is {}, which NNL hasn't", path, e.name, e.dtype_text));
    nnl::Tensor t = nnl::Tensor::empty(e.dtype, e.shape);
    if (t.bytes() != e.end - e.begin)
      fail(Status::data_error, fmt::format("{}: {}: its size doesn't go with its shape", path, e.name));
    check((*file)->read(e, t.data()));
    out.emplace_back(e.name, std::move(t));
  }
  return out;
}

void write_file_of_tensors(const std::string& path, const std::vector<std::pair<std::string, nnl::Tensor>>& tensors) {
  std::vector<nnl::SafetensorsItem> items;
  for (auto& [name, t] : tensors) items.push_back({name, t.dtype(), t.shape(), t.data()});
  if (auto e = nnl::write_safetensors(path, std::move(items), {{"format", "pt"}})) fail(Status::data_error, e->message);
}

void Model::save(const std::string& path) const {
  guarded([&] {
    State& m = state_of(state_);
    std::lock_guard lock(m.mutex);
    std::vector<std::pair<std::string, nnl::Tensor>> tensors;
    for (auto& c : m.parameters.cells()) tensors.emplace_back(c->name, c->tensor());
    write_file_of_tensors(path, tensors);
  });
}

LoadReport Model::load(const std::string& path, bool strict) {
  return guarded([&] {
    State& m = state_of(state_);
    std::lock_guard lock(m.mutex);
    auto tensors = read_file_of_tensors(path);
    LoadReport report;
    std::vector<std::pair<Store::Cell*, const nnl::Tensor*>> fitting;
    std::vector<std::string> used;
    for (auto& c : m.parameters.cells()) {
      const nnl::Tensor* found = nullptr;
      auto look = [&](const std::string& name) {
        for (auto& [n, t] : tensors)
          if (n == name) {
            used.push_back(n);
            if (!found) found = &t;
          }
      };
      look(c->name);
      for (auto& alias : c->info.aliases) look(alias);
      if (!found)
        report.missing.push_back(c->name);
      else if (found->shape() != c->info.shape || found->dtype() != static_cast<int>(c->info.dtype))
        report.reshaped.push_back(fmt::format("{} (the file has {}, the layer {})", c->name,
                                              type_text(static_cast<DType>(found->dtype()), found->shape()),
                                              type_text(c->info.dtype, c->info.shape)));
      else
        fitting.emplace_back(c.get(), found);
    }
    for (auto& [n, t] : tensors)
      if (std::find(used.begin(), used.end(), n) == used.end()) report.left_over.push_back(n);
    const bool whole = report.missing.empty() && report.left_over.empty() && report.reshaped.empty();
    if (strict && !whole)
      fail(Status::data_error, fmt::format("{} doesn't fit: missing {}; left over {}; of another shape or type {}",
                                           path, fmt::join(report.missing, ", "), fmt::join(report.left_over, ", "),
                                           fmt::join(report.reshaped, ", ")));
    for (auto& [c, t] : fitting) std::memcpy(c->memory.get(), t->data(), static_cast<size_t>(t->bytes()));
    return report;
  });
}

}  // namespace nnlc::v0
