// Steps of training on the caller's memory.
#include <cmath>
#include <cstring>

#include "compiler/api/model.h"

namespace nnlc::v0 {

struct Trainer::State {
  std::shared_ptr<Model::State> model;
  TrainerOptions options;
  sema::Driver driver;  ///< without the step and its inputs
  bool scheduled = false;
  Store store;
  std::vector<std::unique_ptr<Variant>> variants;
  Variant* last = nullptr;
  Snapshot snapshot;

  std::string step_text(const std::vector<std::string>& names) const;
};

namespace {

Trainer::State& state_of(const std::shared_ptr<Trainer::State>& s) {
  if (!s) fail(Status::invalid_argument, "an empty Trainer");
  return *s;
}

/// A rate, a counter; nullopt before anything has made it.
double number(const Store& store, const std::string& name) {
  const Store::Cell* c = store.find(name);
  if (!c) fail(Status::internal, fmt::format("the optimizer has no `{}`", name));
  if (auto* i = c->number.get<int64_t>()) return static_cast<double>(*i);
  if (auto* d = c->number.get<double>()) return *d;
  return exec::element(c->tensor(), 0);
}

/// A path of a parameter or layer as NNL reaches it: "blocks.0.fc" is model.blocks[0].fc.
std::string member(const std::string& path) {
  std::string out = "model";
  for (size_t at = 0; at <= path.size();) {
    const size_t end = std::min(path.find('.', at), path.size());
    const std::string part = path.substr(at, end - at);
    if (!part.empty() && part.find_first_not_of("0123456789") == std::string::npos) {
      out += "[" + part + "]";
    } else {
      require_path(part, "layer");
      out += "." + part;
    }
    at = end + 1;
  }
  return out;
}

}  // namespace

Trainer::Trainer() = default;

Trainer Model::trainer(const TrainerOptions& options) const {
  return guarded([&] {
    if (!state_) fail(Status::invalid_argument, "an empty Model");
    if (options.loss.empty() == options.objective.empty())
      fail(Status::invalid_argument, "a trainer needs a loss, or else an objective");
    if (options.inputs < 0) fail(Status::invalid_argument, fmt::format("{} inputs", options.inputs));
    require_path(options.loss.empty() ? options.objective : options.loss, "function");
    require_path(options.optimizer, "optimizer");
    auto t = std::make_shared<Trainer::State>();
    t->model = state_;
    t->options = options;
    t->driver.layer = state_->layer;
    const std::string arguments = to_source(options.optimizer_arguments);
    t->driver.setup =
        fmt::format("let opt = {}(model{}{})", options.optimizer, arguments.empty() ? "" : ", ", arguments);
    for (const std::string& path : options.freeze) t->driver.setup += fmt::format("\nfreeze({})", member(path));
    std::lock_guard lock(state_->mutex);
    // What is wrong with the optimizer shows here, not at the first step.
    Variant made(state_->source(), *state_->backend, t->driver, state_->parameters, t->store);
    t->scheduled = made.driver().scheduled;
    return Access::make<Trainer>(std::move(t));
  });
}

std::string Trainer::State::step_text(const std::vector<std::string>& names) const {
  const std::string more = to_source(options.step_arguments);
  std::string body;
  if (!options.objective.empty()) {
    std::vector<std::string> all{"model"};
    all.insert(all.end(), names.begin(), names.end());
    body = call_text(options.objective, all, 0, all.size());
  } else {
    const size_t inputs = std::min(names.size(), static_cast<size_t>(options.inputs));
    std::vector<std::string> arguments{call_text("model", names, 0, inputs)};
    arguments.insert(arguments.end(), names.begin() + static_cast<std::ptrdiff_t>(inputs), names.end());
    body = call_text(options.loss, arguments, 0, arguments.size(), to_source(options.loss_arguments));
  }
  return fmt::format("minimize(opt{}{}) {{ {} }}", more.empty() ? "" : ", ", more, body);
}

double Trainer::step(const std::vector<Tensor>& tensors, const StepOptions& options) {
  return guarded([&] {
    State& t = state_of(state_);
    std::lock_guard lock(t.model->mutex);
    require_defined(tensors);
    Variant* v = t.last && t.last->takes(tensors) ? t.last : nullptr;
    if (!v) {
      std::vector<std::string> names;
      if (!t.options.objective.empty()) {
        for (const Function& f : t.model->program.functions())
          if (f.name == t.options.objective)
            for (size_t i = 1; i < f.parameters.size() && names.size() < tensors.size(); ++i)
              names.push_back(f.parameters[i].name);
      } else {
        names = t.model->input_names("forward", std::min(tensors.size(), static_cast<size_t>(t.options.inputs)));
      }
      const size_t named = names.size(), targets = tensors.size() - named;
      for (size_t i = named; i < tensors.size(); ++i)
        names.push_back(targets == 1 ? "target" : fmt::format("target_{}", i - named + 1));
      for (std::string& name : names)
        if (name == "model" || name == "opt" || name == "result") name += "_input";
      sema::Driver driver = t.driver;
      driver.step = t.step_text(names);
      v = &variant_for(*t.model, t.variants, std::move(driver), names, tensors, t.store);
    }
    t.last = v;
    v->run(tensors, nullptr, options.copies, options.cancel, &t.snapshot);
    return v->output_number(0);
  });
}

std::vector<Tensor> Trainer::results() const {
  return guarded([&] {
    State& t = state_of(state_);
    std::lock_guard lock(t.model->mutex);
    std::vector<Tensor> out;
    for (size_t i = 0; t.last && i < t.last->driver().outputs.size(); ++i) out.push_back(t.last->output(i));
    return out;
  });
}

int64_t Trainer::updates() const {
  return guarded([&] {
    State& t = state_of(state_);
    std::lock_guard lock(t.model->mutex);
    return static_cast<int64_t>(number(t.store, "updates"));
  });
}

double Trainer::learning_rate() const {
  return guarded([&] {
    State& t = state_of(state_);
    std::lock_guard lock(t.model->mutex);
    return number(t.store, "lr");
  });
}

void Trainer::set_learning_rate(double rate) {
  guarded([&] {
    State& t = state_of(state_);
    std::lock_guard lock(t.model->mutex);
    if (t.scheduled) fail(Status::invalid_argument, "the rate follows a schedule, so it can't be set");
    if (!(rate >= 0) || std::isinf(rate)) fail(Status::invalid_argument, fmt::format("a rate can't be {}", rate));
    if (Store::Cell* c = t.store.find("lr")) c->number = exec::Value(rate);
  });
}

std::vector<ParameterInfo> Trainer::state() const {
  return guarded([&] {
    State& t = state_of(state_);
    std::lock_guard lock(t.model->mutex);
    std::vector<ParameterInfo> out;
    for (auto& c : t.store.cells())
      if (c->is_tensor) out.push_back(c->info);
    return out;
  });
}

Tensor Trainer::state(const std::string& name) const {
  return guarded([&] {
    State& t = state_of(state_);
    std::lock_guard lock(t.model->mutex);
    Store::Cell* c = t.store.find(name);
    if (!c || !c->is_tensor)
      fail(Status::invalid_argument,
           fmt::format("the optimizer has no state `{}`{}", name, t.variants.empty() ? " before its first step" : ""));
    return to_public(c->tensor());
  });
}

// ---------------------------------------------------------------- files

namespace {

constexpr const char kModel[] = "model.", kOptimizer[] = "optimizer.";

}  // namespace

void Trainer::save(const std::string& path) const {
  guarded([&] {
    State& t = state_of(state_);
    std::lock_guard lock(t.model->mutex);
    std::vector<std::pair<std::string, nnl::Tensor>> tensors;
    for (auto& c : t.model->parameters.cells()) tensors.emplace_back(kModel + c->name, c->tensor());
    for (auto& c : t.store.cells()) {
      if (c->is_tensor)
        tensors.emplace_back(kOptimizer + c->name, c->tensor());
      else if (auto* i = c->number.get<int64_t>())
        tensors.emplace_back(kOptimizer + c->name, nnl::Tensor::scalar(NNL_I64, *i));
      else if (auto* d = c->number.get<double>())
        tensors.emplace_back(kOptimizer + c->name, nnl::Tensor::scalar(NNL_F64, *d));
    }
    write_file_of_tensors(path, tensors);
  });
}

void Trainer::load(const std::string& path) {
  guarded([&] {
    State& t = state_of(state_);
    std::lock_guard lock(t.model->mutex);
    auto tensors = read_file_of_tensors(path);
    std::vector<std::pair<Store::Cell*, const nnl::Tensor*>> parameters;
    for (auto& [name, value] : tensors) {
      if (name.rfind(kModel, 0) != 0) {
        if (name.rfind(kOptimizer, 0) != 0)
          fail(Status::data_error,
               fmt::format("{}: `{}` belongs neither to the model nor to its optimizer", path, name));
        continue;
      }
      Store::Cell* c = t.model->parameters.find(name.substr(sizeof kModel - 1));
      if (!c) fail(Status::data_error, fmt::format("{}: the model has no parameter for `{}`", path, name));
      if (value.shape() != c->info.shape || value.dtype() != static_cast<int>(c->info.dtype))
        fail(Status::data_error,
             fmt::format("{}: {} is {}, and the file has {}", path, c->name, type_text(c->info.dtype, c->info.shape),
                         type_text(static_cast<DType>(value.dtype()), value.shape())));
      parameters.emplace_back(c, &value);
    }
    if (parameters.size() != t.model->parameters.cells().size())
      fail(Status::data_error, fmt::format("{} has {} of the model's {} parameters", path, parameters.size(),
                                           t.model->parameters.cells().size()));
    for (auto& [c, value] : parameters)
      std::memcpy(c->memory.get(), value->data(), static_cast<size_t>(value->bytes()));
    for (auto& [name, value] : tensors)
      if (name.rfind(kOptimizer, 0) == 0) t.store.load(name.substr(sizeof kOptimizer - 1), value);
  });
}

}  // namespace nnlc::v0
