// nnlc.h over nnlc.hpp: programs, models, trainers.
#include <algorithm>

#include "compiler/api/c_handles.h"

api::Arguments to_arguments(const nnlc_argument* arguments, size_t n) {
  api::Arguments out;
  require(arguments || n == 0, "arguments are NULL");
  for (size_t i = 0; i < n; ++i) {
    const nnlc_argument& a = arguments[i];
    const std::string name = text(a.name);
    switch (a.kind) {
      case NNLC_ARGUMENT_INT:
        out.emplace_back(name, a.integer);
        break;
      case NNLC_ARGUMENT_FLOAT:
        out.emplace_back(name, a.number);
        break;
      case NNLC_ARGUMENT_BOOL:
        out.emplace_back(name, a.integer != 0);
        break;
      case NNLC_ARGUMENT_TEXT:
        out.emplace_back(name, text(a.text));
        break;
      case NNLC_ARGUMENT_EXPRESSION:
        out.emplace_back(name, api::Expression{text(a.text)});
        break;
      default:
        require(false, "an argument of unknown kind");
    }
  }
  return out;
}

static api::CompileOptions compile_options(const nnlc_compile_options* given) {
  const nnlc_compile_options o = read_options(given, nnlc_compile_options NNLC_COMPILE_OPTIONS_INIT);
  api::CompileOptions out;
  require(o.n_configs == 0 || (o.config_names && o.config_values), "names or values of configs are NULL");
  for (size_t i = 0; i < o.n_configs; ++i) out.configs[text(o.config_names[i])] = text(o.config_values[i]);
  if (o.has_seed) out.seed = o.seed;
  out.declarations_only = o.declarations_only != 0;
  out.directory = text(o.directory);
  out.threads = o.threads;
  if (o.device) out.device = o.device;
  out.cache = o.no_cache == 0;
  out.cache_directory = text(o.cache_directory);
  if (o.log) out.log = [log = o.log, user = o.log_user](const std::string& s) { log(user, s.c_str()); };
  return out;
}

static nnlc_parameter to_c(const api::Parameter& p) {
  return {p.name.c_str(), p.type.c_str(), p.default_value.c_str(), ""};
}
static nnlc_tensor_info to_c(const api::ParameterInfo& p) {
  return {p.name.c_str(), static_cast<nnlc_dtype>(p.dtype), p.shape.size(), p.shape.data(), p.learned ? 1 : 0};
}

static void take(const nnlc_tensor* const* from, size_t n, std::vector<api::Tensor>& to) {
  require(from || n == 0, "tensors are NULL");
  to.resize(n);
  for (size_t i = 0; i < n; ++i) {
    require(from[i], "a tensor is NULL");
    to[i] = from[i]->tensor;
  }
}

/// Gives the views back when a call is over: their memory is the caller's.
struct Drop {
  std::vector<api::Tensor>& tensors;
  ~Drop() {
    for (api::Tensor& t : tensors) t = api::Tensor();
  }
};

extern "C" {

// ---------------------------------------------------------------- programs

nnlc_status nnlc_program_from_text(const char* source, const char* name, const nnlc_compile_options* options,
                                   nnlc_program** out, nnlc_error** error) {
  return protect(error, [&] {
    require(source && out, "the text and `out` are wanted");
    *out = nullptr;
    *out = new nnlc_program{api::Program::from_text(source, name ? name : "program.nnl", compile_options(options))};
  });
}
nnlc_status nnlc_program_from_file(const char* path, const nnlc_compile_options* options, nnlc_program** out,
                                   nnlc_error** error) {
  return protect(error, [&] {
    require(path && out, "the path and `out` are wanted");
    *out = nullptr;
    *out = new nnlc_program{api::Program::from_file(path, compile_options(options))};
  });
}
void nnlc_program_free(nnlc_program* p) { delete p; }
size_t nnlc_program_diagnostic_count(const nnlc_program* p) { return p->program.diagnostics().size(); }
const nnlc_diagnostic* nnlc_program_diagnostic(const nnlc_program* p, size_t i) {
  return i < p->program.diagnostics().size() ? handle(&p->program.diagnostics()[i]) : nullptr;
}

nnlc_status nnlc_program_run(const nnlc_program* p, const nnlc_run_options* options, nnlc_error** error) {
  return protect(error, [&] {
    require(p, "the program is NULL");
    const nnlc_run_options o = read_options(options, nnlc_run_options NNLC_RUN_OPTIONS_INIT);
    api::RunOptions run;
    if (o.print) run.print = [&](const std::string& s) { o.print(o.user, s.c_str()); };
    if (o.progress)
      run.progress = [&](const api::Progress& s) { o.progress(o.user, s.label.c_str(), s.done, s.total); };
    if (o.record)
      run.record = [&](int64_t step, const api::Scalars& values) {
        std::vector<nnlc_scalar> scalars;
        for (auto& [name, value] : values) scalars.push_back({name.c_str(), value});
        o.record(o.user, step, scalars.data(), scalars.size());
      };
    run.runs_directory = text(o.runs_directory);
    run.cancel = token(o.cancel);
    p->program.run(run);
  });
}

size_t nnlc_program_layer_count(const nnlc_program* p) { return p->program.layers().size(); }
const nnlc_layer* nnlc_program_layer(const nnlc_program* p, size_t i) {
  return i < p->program.layers().size() ? handle(&p->program.layers()[i]) : nullptr;
}
const char* nnlc_layer_name(const nnlc_layer* l) { return of(l).name.c_str(); }
const char* nnlc_layer_doc(const nnlc_layer* l) { return of(l).doc.c_str(); }
nnlc_place nnlc_layer_place(const nnlc_layer* l) { return to_c(of(l).place); }
size_t nnlc_layer_parameter_count(const nnlc_layer* l) { return of(l).parameters.size(); }
nnlc_parameter nnlc_layer_parameter(const nnlc_layer* l, size_t i) { return to_c(of(l).parameters[i]); }
size_t nnlc_layer_method_count(const nnlc_layer* l) { return of(l).methods.size(); }
const nnlc_function* nnlc_layer_method(const nnlc_layer* l, size_t i) {
  return i < of(l).methods.size() ? handle(&of(l).methods[i]) : nullptr;
}
size_t nnlc_program_function_count(const nnlc_program* p) { return p->program.functions().size(); }
const nnlc_function* nnlc_program_function(const nnlc_program* p, size_t i) {
  return i < p->program.functions().size() ? handle(&p->program.functions()[i]) : nullptr;
}
const char* nnlc_function_name(const nnlc_function* f) { return of(f).name.c_str(); }
const char* nnlc_function_doc(const nnlc_function* f) { return of(f).doc.c_str(); }
const char* nnlc_function_result(const nnlc_function* f) { return of(f).result.c_str(); }
nnlc_place nnlc_function_place(const nnlc_function* f) { return to_c(of(f).place); }
size_t nnlc_function_parameter_count(const nnlc_function* f) { return of(f).parameters.size(); }
nnlc_parameter nnlc_function_parameter(const nnlc_function* f, size_t i) { return to_c(of(f).parameters[i]); }
size_t nnlc_program_optimizer_count(const nnlc_program* p) { return p->program.optimizers().size(); }
const nnlc_optimizer* nnlc_program_optimizer(const nnlc_program* p, size_t i) {
  return i < p->program.optimizers().size() ? handle(&p->program.optimizers()[i]) : nullptr;
}
const char* nnlc_optimizer_name(const nnlc_optimizer* o) { return of(o).name.c_str(); }
const char* nnlc_optimizer_doc(const nnlc_optimizer* o) { return of(o).doc.c_str(); }
nnlc_place nnlc_optimizer_place(const nnlc_optimizer* o) { return to_c(of(o).place); }
size_t nnlc_optimizer_parameter_count(const nnlc_optimizer* o) { return of(o).parameters.size(); }
nnlc_parameter nnlc_optimizer_parameter(const nnlc_optimizer* o, size_t i) { return to_c(of(o).parameters[i]); }
size_t nnlc_optimizer_state_count(const nnlc_optimizer* o) { return of(o).states.size(); }
const char* nnlc_optimizer_state(const nnlc_optimizer* o, size_t i) {
  return i < of(o).states.size() ? of(o).states[i].c_str() : nullptr;
}
size_t nnlc_program_config_count(const nnlc_program* p) { return p->program.configs().size(); }
nnlc_parameter nnlc_program_config(const nnlc_program* p, size_t i) {
  const api::Config& c = p->program.configs()[i];
  return {c.name.c_str(), c.type.c_str(), c.default_value.c_str(), c.doc.c_str()};
}

// ---------------------------------------------------------------- layers

static nnlc_model* new_model(api::Model model) {
  auto m = std::make_unique<nnlc_model>();
  m->parameters = model.parameters();
  m->model = std::move(model);
  return m.release();
}

nnlc_status nnlc_model_new(const nnlc_program* p, const char* layer, const nnlc_argument* arguments, size_t n_arguments,
                           nnlc_model** out, nnlc_error** error) {
  return protect(error, [&] {
    require(p && layer && out, "a program, the name of a layer and `out` are wanted");
    *out = nullptr;
    *out = new_model(p->program.instantiate(layer, to_arguments(arguments, n_arguments)));
  });
}
nnlc_status nnlc_model_from_expression(const nnlc_program* p, const char* expression, nnlc_model** out,
                                       nnlc_error** error) {
  return protect(error, [&] {
    require(p && expression && out, "a program, an expression and `out` are wanted");
    *out = nullptr;
    *out = new_model(p->program.instantiate(api::Expression{expression}));
  });
}
void nnlc_model_free(nnlc_model* m) { delete m; }
size_t nnlc_model_parameter_count(const nnlc_model* m) { return m->parameters.size(); }
nnlc_tensor_info nnlc_model_parameter_info(const nnlc_model* m, size_t i) { return to_c(m->parameters[i]); }
nnlc_status nnlc_model_parameter(const nnlc_model* m, const char* name, nnlc_tensor** out, nnlc_error** error) {
  return protect(error, [&] {
    require(m && name && out, "a model, a name and `out` are wanted");
    *out = new_tensor(m->model.parameter(name));
  });
}
nnlc_status nnlc_model_set_parameter(nnlc_model* m, const char* name, const nnlc_tensor* value, nnlc_error** error) {
  return protect(error, [&] {
    require(m && name && value, "a model, a name and a tensor are wanted");
    m->model.set_parameter(name, value->tensor);
  });
}
nnlc_status nnlc_model_save(const nnlc_model* m, const char* path, nnlc_error** error) {
  return protect(error, [&] {
    require(m && path, "a model and a path are wanted");
    m->model.save(path);
  });
}
nnlc_status nnlc_model_load(nnlc_model* m, const char* path, int32_t strict, nnlc_error** error) {
  return protect(error, [&] {
    require(m && path, "a model and a path are wanted");
    m->model.load(path, strict != 0);
  });
}

nnlc_status nnlc_model_call(nnlc_model* m, const nnlc_call_options* options, const nnlc_tensor* const* inputs,
                            size_t n_inputs, nnlc_tensor** outputs, size_t n_outputs, nnlc_error** error) {
  return protect(error, [&] {
    require(m && (outputs || n_outputs == 0), "a model and room for the outputs are wanted");
    const nnlc_call_options o = read_options(options, nnlc_call_options NNLC_CALL_OPTIONS_INIT);
    api::CallOptions call;
    if (o.method) call.method = o.method;
    call.training = o.training != 0;
    call.copies = o.allow_copies ? api::Copies::allow : api::Copies::refuse;
    call.cancel = token(o.cancel);
    std::lock_guard lock(m->mutex);
    const Drop drop_inputs{m->inputs}, drop_outputs{m->outputs};
    take(inputs, n_inputs, m->inputs);
    m->outputs.resize(n_outputs);
    for (size_t i = 0; i < n_outputs; ++i) m->outputs[i] = outputs[i] ? outputs[i]->tensor : api::Tensor();
    m->model.call_into(m->inputs, m->outputs, call);
    for (size_t i = 0; i < n_outputs; ++i)
      if (!outputs[i]) outputs[i] = new_tensor(m->outputs[i]);
  });
}

// ---------------------------------------------------------------- training

nnlc_status nnlc_trainer_new(nnlc_model* m, const nnlc_trainer_options* options, nnlc_trainer** out,
                             nnlc_error** error) {
  return protect(error, [&] {
    require(m && out, "a model and `out` are wanted");
    *out = nullptr;
    const nnlc_trainer_options o = read_options(options, nnlc_trainer_options NNLC_TRAINER_OPTIONS_INIT);
    api::TrainerOptions t;
    t.loss = text(o.loss);
    t.loss_arguments = to_arguments(o.loss_arguments, o.n_loss_arguments);
    t.objective = text(o.objective);
    t.inputs = static_cast<int>(std::min<size_t>(o.n_inputs, 1000));
    if (o.optimizer) t.optimizer = o.optimizer;
    t.optimizer_arguments = to_arguments(o.optimizer_arguments, o.n_optimizer_arguments);
    t.step_arguments = to_arguments(o.step_arguments, o.n_step_arguments);
    require(o.freeze || o.n_freeze == 0, "`freeze` is NULL");
    for (size_t i = 0; i < o.n_freeze; ++i) t.freeze.push_back(text(o.freeze[i]));
    auto made = std::make_unique<nnlc_trainer>();
    made->trainer = m->model.trainer(t);
    *out = made.release();
  });
}
void nnlc_trainer_free(nnlc_trainer* t) { delete t; }

nnlc_status nnlc_trainer_step(nnlc_trainer* t, const nnlc_step_options* options, const nnlc_tensor* const* tensors,
                              size_t n_tensors, double* loss, nnlc_error** error) {
  return protect(error, [&] {
    require(t, "the trainer is NULL");
    const nnlc_step_options o = read_options(options, nnlc_step_options NNLC_STEP_OPTIONS_INIT);
    std::lock_guard lock(t->mutex);
    const Drop drop{t->tensors};
    take(tensors, n_tensors, t->tensors);
    const double value =
        t->trainer.step(t->tensors, {o.allow_copies ? api::Copies::allow : api::Copies::refuse, token(o.cancel)});
    if (loss) *loss = value;
  });
}

size_t nnlc_trainer_result_count(const nnlc_trainer* t) {
  size_t n = 0;
  protect(nullptr, [&] { n = t->trainer.results().size(); });
  return n;
}
nnlc_status nnlc_trainer_result(const nnlc_trainer* t, size_t i, nnlc_tensor** out, nnlc_error** error) {
  return protect(error, [&] {
    require(t && out, "a trainer and `out` are wanted");
    auto all = t->trainer.results();
    require(i < all.size(), "the last step gave fewer results");
    *out = new_tensor(all[i]);
  });
}
int64_t nnlc_trainer_updates(const nnlc_trainer* t) {
  int64_t n = 0;
  protect(nullptr, [&] { n = t->trainer.updates(); });
  return n;
}
double nnlc_trainer_learning_rate(const nnlc_trainer* t) {
  double rate = 0;
  protect(nullptr, [&] { rate = t->trainer.learning_rate(); });
  return rate;
}
nnlc_status nnlc_trainer_set_learning_rate(nnlc_trainer* t, double rate, nnlc_error** error) {
  return protect(error, [&] {
    require(t, "the trainer is NULL");
    t->trainer.set_learning_rate(rate);
  });
}
size_t nnlc_trainer_state_count(nnlc_trainer* t) {
  protect(nullptr, [&] { t->state = t->trainer.state(); });
  return t->state.size();
}
nnlc_tensor_info nnlc_trainer_state_info(const nnlc_trainer* t, size_t i) { return to_c(t->state[i]); }
nnlc_status nnlc_trainer_state(const nnlc_trainer* t, const char* name, nnlc_tensor** out, nnlc_error** error) {
  return protect(error, [&] {
    require(t && name && out, "a trainer, a name and `out` are wanted");
    *out = new_tensor(t->trainer.state(name));
  });
}
nnlc_status nnlc_trainer_save(const nnlc_trainer* t, const char* path, nnlc_error** error) {
  return protect(error, [&] {
    require(t && path, "a trainer and a path are wanted");
    t->trainer.save(path);
  });
}
nnlc_status nnlc_trainer_load(nnlc_trainer* t, const char* path, nnlc_error** error) {
  return protect(error, [&] {
    require(t && path, "a trainer and a path are wanted");
    t->trainer.load(path);
  });
}

}  // extern "C"
