// nnl._nnl: the C++ interface (nnlc.hpp) as Python sees it. The classes of the package nnl stand on it.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "arrays.h"
#include "calls.h"

namespace nnl_python {

namespace {

using nnlc::Model;
using nnlc::Program;
using nnlc::Tensor;
using nnlc::Trainer;
using Cancel = std::optional<nnlc::CancelToken>;

// ---------------------------------------------------------------- values

const char* severity_name(nnlc::Severity s) {
  constexpr const char* names[] = {"error", "unsupported", "data", "internal", "warning", "note"};
  return names[static_cast<int>(s)];
}

/// Python's number, text or list as the value of a hyper-parameter.
nnlc::Argument argument(const std::string& name, const py::handle& value) {
  if (py::isinstance<nnlc::Expression>(value)) return {name, value.cast<nnlc::Expression>()};
  if (PyBool_Check(value.ptr())) return {name, value.cast<bool>()};
  if (PyUnicode_Check(value.ptr())) return {name, value.cast<std::string>()};
  if (PyIndex_Check(value.ptr())) return {name, value.cast<int64_t>()};
  if (PyNumber_Check(value.ptr())) return {name, value.cast<double>()};
  throw py::type_error("the argument " + (name.empty() ? "" : "`" + name + "` ") + "is of type " +
                       Py_TYPE(value.ptr())->tp_name + ": a bool, int, float, str or nnl.Expression can be one");
}

nnlc::Arguments arguments(const py::tuple& positional, const py::dict& named) {
  nnlc::Arguments out;
  for (const py::handle& value : positional) out.push_back(argument("", value));
  for (auto& [name, value] : named) out.push_back(argument(name.cast<std::string>(), value));
  return out;
}

template <class Info>
py::tuple shape_of(const Info& i) {
  return py::tuple(py::cast(i.shape));
}

void bind_values(py::module_& m) {
  py::class_<nnlc::Expression>(m, "Expression", "NNL text as an argument, such as `relu` or `[3, 3]`.")
      .def(py::init([](std::string text) { return nnlc::Expression{std::move(text)}; }), py::arg("text"))
      .def_readonly("text", &nnlc::Expression::text)
      .def("__repr__", [](const nnlc::Expression& e) {
        return "nnl.Expression(" + py::repr(py::str(e.text)).cast<std::string>() + ")";
      });

  py::class_<nnlc::CancelToken>(m, "CancelToken",
                                "Set it from any thread: what was given it ends before its next step and raises\n"
                                "nnl.Cancelled.")
      .def(py::init<>())
      .def("cancel", &nnlc::CancelToken::cancel)
      .def("reset", &nnlc::CancelToken::reset)
      .def_property_readonly("cancelled", &nnlc::CancelToken::cancelled);

  using nnlc::Place;
  py::class_<Place>(m, "Place", "A range of a source text: lines and columns from 1, bytes from 0, ends exclusive.")
      .def_readonly("file", &Place::file)
      .def_readonly("line", &Place::line)
      .def_readonly("column", &Place::column)
      .def_readonly("end_line", &Place::end_line)
      .def_readonly("end_column", &Place::end_column)
      .def_readonly("begin", &Place::begin)
      .def_readonly("end", &Place::end)
      .def("__repr__",
           [](const Place& p) { return p.file + ":" + std::to_string(p.line) + ":" + std::to_string(p.column); });
  py::class_<nnlc::Label>(m, "Label", "A further place that a diagnostic points at, and what it says there.")
      .def_readonly("place", &nnlc::Label::place)
      .def_readonly("text", &nnlc::Label::text);
  py::class_<nnlc::Fix>(m, "Fix", "`replacement` instead of the text at `place` mends it.")
      .def_readonly("place", &nnlc::Fix::place)
      .def_readonly("replacement", &nnlc::Fix::replacement);
  using nnlc::Diagnostic;
  py::class_<Diagnostic>(m, "Diagnostic", "What the compiler says about a place. str() is what `nnlc check` prints.")
      .def_property_readonly("severity", [](const Diagnostic& d) { return severity_name(d.severity); })
      .def_readonly("code", &Diagnostic::code)
      .def_readonly("message", &Diagnostic::message)
      .def_readonly("place", &Diagnostic::place)
      .def_readonly("label", &Diagnostic::label)
      .def_readonly("labels", &Diagnostic::labels)
      .def_readonly("notes", &Diagnostic::notes)
      .def_readonly("helps", &Diagnostic::helps)
      .def_readonly("fixes", &Diagnostic::fixes)
      .def_readonly("json", &Diagnostic::json)
      .def("__str__", [](const Diagnostic& d) { return d.text; })
      .def("__repr__", [](const Diagnostic& d) { return "<" + d.code + ": " + d.message + ">"; });
}

// ---------------------------------------------------------------- declarations

template <class Declaration>
std::string repr_of(const Declaration& d) {
  return "<" + d.name + ">";
}

void bind_declarations(py::module_& m) {
  using nnlc::Config;
  using nnlc::Function;
  using nnlc::Layer;
  using nnlc::Optimizer;
  using nnlc::Parameter;
  using nnlc::ParameterInfo;
  py::class_<Parameter>(m, "Parameter", "A parameter of a declaration: its type and default as they are written.")
      .def_readonly("name", &Parameter::name)
      .def_readonly("type", &Parameter::type)
      .def_readonly("default", &Parameter::default_value)
      .def("__repr__", [](const Parameter& p) {
        return "<" + p.name + (p.type.empty() ? "" : ": " + p.type) +
               (p.default_value.empty() ? "" : " = " + p.default_value) + ">";
      });
  py::class_<Function>(m, "Function", "A function of a program, or a method of one of its layers.")
      .def_readonly("name", &Function::name)
      .def_readonly("parameters", &Function::parameters)
      .def_readonly("result", &Function::result)
      .def_readonly("doc", &Function::doc)
      .def_readonly("place", &Function::place)
      .def("__repr__", &repr_of<Function>);
  py::class_<Layer>(m, "Layer", "A layer of a program: its hyper-parameters and its methods.")
      .def_readonly("name", &Layer::name)
      .def_readonly("parameters", &Layer::parameters)
      .def_readonly("methods", &Layer::methods)
      .def_readonly("doc", &Layer::doc)
      .def_readonly("place", &Layer::place)
      .def("__repr__", &repr_of<Layer>);
  py::class_<Optimizer>(m, "Optimizer", "An optimizer of a program: its parameters, and the names of its state.")
      .def_readonly("name", &Optimizer::name)
      .def_readonly("parameters", &Optimizer::parameters)
      .def_readonly("states", &Optimizer::states)
      .def_readonly("doc", &Optimizer::doc)
      .def_readonly("place", &Optimizer::place)
      .def("__repr__", &repr_of<Optimizer>);
  py::class_<Config>(m, "Config", "A `config` of a program.")
      .def_readonly("name", &Config::name)
      .def_readonly("type", &Config::type)
      .def_readonly("default", &Config::default_value)
      .def_readonly("doc", &Config::doc)
      .def_readonly("place", &Config::place)
      .def("__repr__", &repr_of<Config>);
  py::class_<ParameterInfo>(m, "ParameterInfo", "What a parameter, or a tensor of an optimizer's state, is.")
      .def_readonly("name", &ParameterInfo::name)
      .def_property_readonly("dtype", [](const ParameterInfo& p) { return nnlc::dtype_name(p.dtype); })
      .def_property_readonly("shape", &shape_of<ParameterInfo>)
      .def_readonly("learned", &ParameterInfo::learned)
      .def_readonly("aliases", &ParameterInfo::aliases)
      .def("__repr__", [](const ParameterInfo& p) {
        return "<" + p.name + ": " + nnlc::dtype_name(p.dtype) + py::str(py::cast(p.shape)).cast<std::string>() + ">";
      });
  py::class_<nnlc::LoadReport>(m, "LoadReport", "What a load that isn't strict left alone.")
      .def_readonly("missing", &nnlc::LoadReport::missing)
      .def_readonly("left_over", &nnlc::LoadReport::left_over)
      .def_readonly("reshaped", &nnlc::LoadReport::reshaped);
}

// ---------------------------------------------------------------- programs

nnlc::CompileOptions compile_options(const py::dict& o) {
  nnlc::CompileOptions out;
  out.configs = o["configs"].cast<std::map<std::string, std::string>>();
  out.seed = o["seed"].cast<std::optional<uint64_t>>();
  out.declarations_only = o["declarations_only"].cast<bool>();
  out.directory = o["directory"].cast<std::string>();
  out.threads = o["threads"].cast<int>();
  out.device = o["device"].cast<std::string>();
  out.cache = o["cache"].cast<bool>();
  out.cache_directory = o["cache_directory"].cast<std::string>();
  out.log = log_to(o["log"]);
  return out;
}

void bind_program(py::module_& m) {
  py::class_<Program>(m, "Program")
      .def_static("from_text",
                  [](const std::string& text, const std::string& name, const py::dict& options) {
                    const auto o = compile_options(options);
                    return unlocked([&] { return Program::from_text(text, name, o); });
                  })
      .def_static("from_file",
                  [](const std::string& path, const py::dict& options) {
                    const auto o = compile_options(options);
                    return unlocked([&] { return Program::from_file(path, o); });
                  })
      .def_static("check",
                  [](const std::string& text, const std::string& name, const py::dict& options) {
                    const auto o = compile_options(options);
                    return unlocked([&] { return Program::check(text, name, o); });
                  })
      .def_property_readonly("diagnostics", &Program::diagnostics)
      .def_property_readonly("layers", &Program::layers)
      .def_property_readonly("functions", &Program::functions)
      .def_property_readonly("optimizers", &Program::optimizers)
      .def_property_readonly("configs", &Program::configs)
      .def("run", &run)
      .def("instantiate",
           [](const Program& p, const std::string& layer, const py::tuple& positional, const py::dict& named) {
             const auto a = arguments(positional, named);
             return unlocked([&] { return p.instantiate(layer, a); });
           })
      .def("instantiate", [](const Program& p, const nnlc::Expression& layer) {
        return unlocked([&] { return p.instantiate(layer); });
      });
}

// ---------------------------------------------------------------- layers and training

nnlc::Copies copies(bool allowed) { return allowed ? nnlc::Copies::allow : nnlc::Copies::refuse; }

void add_inputs(Arrays& arrays, const py::tuple& inputs, bool copy) {
  for (size_t i = 0; i < inputs.size(); ++i) arrays.add_input(inputs[i], "input " + std::to_string(i + 1), copy);
}

std::vector<Tensor> call(const Model& model, const py::tuple& inputs, const py::object& outputs,
                         const std::string& method, bool training, bool copy, const Cancel& cancel) {
  Arrays in, out;
  add_inputs(in, inputs, copy);
  nnlc::CallOptions options;
  options.method = method;
  options.training = training;
  options.copies = copies(copy);
  options.cancel = cancel;
  if (outputs.is_none()) return unlocked([&] { return model.call(in.tensors(), options); });
  const auto targets = outputs.cast<py::tuple>();
  for (size_t i = 0; i < targets.size(); ++i) out.add_output(targets[i], "output " + std::to_string(i + 1));
  unlocked([&] { model.call_into(in.tensors(), out.tensors(), options); });
  return {};
}

void bind_model(py::module_& m) {
  py::class_<Model>(m, "Model")
      .def("call", &call)
      .def("parameters", [](const Model& o) { return unlocked([&] { return o.parameters(); }); })
      .def("parameter",
           [](const Model& o, const std::string& name) { return unlocked([&] { return o.parameter(name); }); })
      .def("set_parameter",
           [](Model& o, const std::string& name, const py::object& value) {
             Arrays in;
             in.add_input(value, "the value of `" + name + "`", true);
             unlocked([&] { o.set_parameter(name, in.tensors()[0]); });
           })
      .def("save", [](const Model& o, const std::string& path) { unlocked([&] { o.save(path); }); })
      .def("load", [](Model& o, const std::string& path,
                      bool strict) { return unlocked([&] { return o.load(path, strict); }); })
      .def("trainer", [](const Model& o, const py::dict& how) {
        nnlc::TrainerOptions options;
        options.loss = how["loss"].cast<std::string>();
        options.loss_arguments = arguments(py::tuple(), how["loss_arguments"]);
        options.objective = how["objective"].cast<std::string>();
        options.inputs = how["inputs"].cast<int>();
        options.optimizer = how["optimizer"].cast<std::string>();
        options.optimizer_arguments = arguments(py::tuple(), how["optimizer_arguments"]);
        options.step_arguments = arguments(py::tuple(), how["step_arguments"]);
        options.freeze = how["freeze"].cast<std::vector<std::string>>();
        return unlocked([&] { return o.trainer(options); });
      });
}

void bind_trainer(py::module_& m) {
  py::class_<Trainer>(m, "Trainer")
      .def("step",
           [](Trainer& t, const py::tuple& inputs, bool copy, const Cancel& cancel) {
             Arrays in;
             add_inputs(in, inputs, copy);
             nnlc::StepOptions options{copies(copy), cancel};
             return unlocked([&] { return t.step(in.tensors(), options); });
           })
      .def("results", [](const Trainer& t) { return unlocked([&] { return t.results(); }); })
      .def("updates", [](const Trainer& t) { return unlocked([&] { return t.updates(); }); })
      .def("learning_rate", [](const Trainer& t) { return unlocked([&] { return t.learning_rate(); }); })
      .def("set_learning_rate", [](Trainer& t, double rate) { unlocked([&] { t.set_learning_rate(rate); }); })
      .def("states", [](const Trainer& t) { return unlocked([&] { return t.state(); }); })
      .def("state", [](const Trainer& t, const std::string& name) { return unlocked([&] { return t.state(name); }); })
      .def("save", [](const Trainer& t, const std::string& path) { unlocked([&] { t.save(path); }); })
      .def("load", [](Trainer& t, const std::string& path) { unlocked([&] { t.load(path); }); });
}

/// nnlc::Error as the exception of nnl that goes with its status.
void translate(std::exception_ptr p) {
  try {
    if (p) std::rethrow_exception(p);
  } catch (const nnlc::Error& e) {
    const py::object make = py::module_::import("nnl._errors").attr("make");
    const py::object error = make(nnlc::status_name(e.status()), e.what(), e.diagnostics());
    PyErr_SetObject(py::type::of(error).ptr(), error.ptr());
  }
}

}  // namespace

}  // namespace nnl_python

PYBIND11_MODULE(_nnl, m) {
  using namespace nnl_python;
  pybind11::register_exception_translator(&translate);
  m.def("version", &nnlc::version);
  bind_values(m);
  bind_declarations(m);
  bind_tensor(m);
  bind_program(m);
  bind_model(m);
  bind_trainer(m);
}
