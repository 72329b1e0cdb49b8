// Running tensor steps: which buffers a compiled step reads and writes. In the steady state of a loop nothing is
// allocated: an output takes the buffer that its register held before, unless somebody else still sees it.
#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include "compiler/exec/impl.h"
#include "compiler/host/mapped.h"

namespace nnlc::exec {

namespace {

CompiledStep::Port port(const graph::TensorType& t) { return {static_cast<int>(t.dtype), graph::sizes(t.shape), {}}; }

bool fits(const Tensor* t, const CompiledStep::Port& p) {
  return t && t->defined() && t->dtype() == p.dtype && t->shape() == p.shape;
}

/// Stores a host number in a rank-0 buffer. An int that the element type can't hold is the user's error.
void convert(const Value& v, Tensor& to, const host::Step& step, size_t input) {
  auto bad = [&]() -> std::logic_error {
    return std::logic_error(fmt::format("input {} of the step \"{}\" is {}, wanted {}{}", input, step.title,
                                        describe(v), nnl::dtype_name(to.dtype()), shape_text(to.shape())));
  };
  if (!to.shape().empty()) throw bad();
  if (auto* i = v.get<int64_t>()) {
    if (!holds(to.dtype(), *i))
      throw Failure{
          Code::IntOverflow, step.span, fmt::format("{} doesn't fit {}", *i, nnl::dtype_name(to.dtype())), {}, {}};
    if (is_float(to.dtype()))
      set_element(to, 0, static_cast<double>(*i));
    else
      set_element_int(to, 0, *i);
  } else if (auto* d = v.get<double>()) {
    set_element(to, 0, *d);
  } else if (auto* b = v.get<bool>()) {
    set_element_int(to, 0, *b);
  } else {
    throw bad();
  }
}

}  // namespace

codegen::Backend& Machine::Impl::backend_of(int step) {
  const bool of_records =
      std::any_of(program.mapped.begin(), program.mapped.end(), [&](const auto& m) { return m->step == step; });
  if (!of_records || !options.record_backend) return backend;
  if (!record_backend) record_backend = options.record_backend();
  return *record_backend;
}

CompiledStep& Machine::Impl::compiled(int index) {
  auto& slot = steps[static_cast<size_t>(index)];
  if (slot) return *slot;
  host::Step& step = program.steps[static_cast<size_t>(index)];
  auto c = std::make_unique<CompiledStep>();
  // What must be known of the ports, before the backend takes the graph.
  for (const graph::Node* n : step.graph.inputs) {
    c->inputs.push_back(port(n->type));
    c->inputs.back().name = n->name;
  }
  for (const graph::Output& o : step.graph.outputs) {
    c->outputs.push_back(port(o.value->type));
    int updates = -1;
    for (size_t k = 0; o.updates && k < step.graph.inputs.size(); ++k)
      if (step.graph.inputs[k] == o.updates) updates = static_cast<int>(k);
    c->updates.push_back(updates);
  }
  const size_t n_in = c->inputs.size(), n_out = c->outputs.size();
  if (step.inputs.size() != n_in || step.outputs.size() != n_out)
    throw std::logic_error(fmt::format("the step \"{}\" binds {} inputs and {} outputs, its graph has {} and {}",
                                       step.title, step.inputs.size(), step.outputs.size(), n_in, n_out));
  c->read_elsewhere.assign(n_in, false);
  for (size_t o = 0; o < n_out; ++o) {
    const int k = c->updates[o];
    if (k < 0) continue;
    for (size_t j = 0; j < n_in; ++j)
      if (static_cast<int>(j) != k && step.inputs[j] == step.inputs[static_cast<size_t>(k)])
        c->read_elsewhere[static_cast<size_t>(k)] = true;
  }
  for (size_t o = 0; o < n_out; ++o) {
    bool also_input = false;
    for (size_t j = 0; j < n_in; ++j) also_input |= step.inputs[j] == step.outputs[o];
    c->output_is_input.push_back(c->updates[o] < 0 && also_input);
  }
  c->scalars.resize(n_in);
  c->spare.resize(n_out);
  c->buffers.resize(n_in + n_out);
  if (trace.on) c->source = step.graph.clone();
  if (options.optimize) options.optimize(step.graph);
  c->code = backend_of(index).compile(std::move(step.graph));
  slot = std::move(c);
  return *slot;
}

nnl::Buffer* Machine::Impl::input_buffer(CompiledStep& c, const host::Step& step, size_t k) {
  const Value& v = reg(step.inputs[k]);
  const Tensor* t = v.tensor();
  // Written only through the outputs, which own what they write.
  if (fits(t, c.inputs[k])) return t->buffer().get();
  if (v.is_none()) {
    // Of a branch that isn't taken: the step computes it with anything, and chooses the other.
    if (!c.scalars[k].defined()) c.scalars[k] = Tensor::zeros(c.inputs[k].dtype, c.inputs[k].shape);
    return c.scalars[k].buffer().get();
  }
  if (t && !(t->shape().empty() && c.inputs[k].shape.empty()))
    throw std::logic_error(fmt::format("input {} of the step \"{}\" is {}, wanted {}{}", k, step.title, describe(v),
                                       nnl::dtype_name(c.inputs[k].dtype), shape_text(c.inputs[k].shape)));
  if (!c.scalars[k].defined()) c.scalars[k] = Tensor::empty(c.inputs[k].dtype, c.inputs[k].shape);
  convert(t ? read_back(v) : v, c.scalars[k], step, k);
  return c.scalars[k].buffer().get();
}

void Machine::Impl::bind_inputs(CompiledStep& c, const host::Step& step) {
  for (size_t k = 0; k < c.inputs.size(); ++k) c.buffers[k] = input_buffer(c, step, k);
}

void Machine::Impl::run_step(const host::Instr& i) {
  CompiledStep& c = compiled(i.step);
  const host::Step& step = program.steps[static_cast<size_t>(i.step)];
  const size_t n_in = c.inputs.size(), n_out = c.outputs.size();

  bind_inputs(c, step);
  for (size_t o = 0; o < n_out; ++o) {
    nnl::Buffer*& buffer = c.buffers[n_in + o];
    const CompiledStep::Port& p = c.outputs[o];
    if (const int u = c.updates[o]; u >= 0) {
      const size_t k = static_cast<size_t>(u);
      Tensor* t = reg(step.inputs[k]).get<Tensor>();
      if (fits(t, p) && (!t->unique() || c.read_elsewhere[k])) {
        // Somebody else sees this buffer: tensors are values, so they keep what they have. The other input of the same
        // register goes on reading the old buffer, which its own pointer keeps meaning.
        Tensor old = *t;
        *t = old.copy();
        if (c.read_elsewhere[k]) c.spare[o] = std::move(old);
        c.buffers[k] = t->buffer().get();
      }
      buffer = c.buffers[k];
      continue;
    }
    Tensor* t = step.outputs[o] == host::kNoReg ? &c.spare[o] : reg(step.outputs[o]).get<Tensor>();
    if (c.output_is_input[o]) {
      if (!fits(&c.spare[o], p) || !c.spare[o].unique()) c.spare[o] = Tensor::empty(p.dtype, p.shape);
      buffer = c.spare[o].buffer().get();
    } else if (fits(t, p) && t->unique()) {
      buffer = t->buffer().get();
    } else {
      Tensor fresh = Tensor::empty(p.dtype, p.shape);
      buffer = fresh.buffer().get();
      if (step.outputs[o] == host::kNoReg)
        c.spare[o] = std::move(fresh);
      else
        set(step.outputs[o], Value(std::move(fresh)));
    }
  }

  const std::span<nnl::Buffer* const> buffers(c.buffers);
  c.code->run_on(buffers.first(n_in), buffers.subspan(n_in));

  for (size_t o = 0; o < n_out; ++o) {
    const host::Reg r = step.outputs[o];
    if (r == host::kNoReg) continue;
    if (c.output_is_input[o]) {
      // The two buffers change places; the old one is written the next time, if nobody else holds it by then.
      Value next(c.spare[o]);
      Tensor* old = reg(r).get<Tensor>();
      c.spare[o] = old ? *old : Tensor();
      set(r, std::move(next));
    }
    if (const int u = c.updates[o]; u >= 0 && !fits(reg(r).get<Tensor>(), c.outputs[o])) {
      // A host number that the step advances, a counter for example.
      set(r, read_back(Value(c.scalars[static_cast<size_t>(u)])));
      continue;
    }
    const host::Type& type = program.registers[static_cast<size_t>(r)];
    if (c.outputs[o].shape.empty() &&
        (type.kind == host::Type::Kind::integer || type.kind == host::Type::Kind::floating ||
         type.kind == host::Type::Kind::boolean))
      set(r, read_back(reg(r)));
  }
}

}  // namespace nnlc::exec
