// The interpreter of host programs. It is a plain walk over the instructions: what costs time is in the steps.
#include "compiler/exec/machine.h"

#include <fmt/format.h>

#include <cstdio>
#include <stdexcept>

#include "compiler/exec/impl.h"
#include "runtime/philox.h"

namespace nnlc::exec {

using host::Instr;
using host::Op;

namespace {

bool checks_finite(const host::Block& block) {
  for (const auto& i : block) {
    if (i->op == Op::check_finite || checks_finite(i->then_block) || checks_finite(i->else_block)) return true;
    if (i->batches)
      for (const auto& v : i->batches->variants)
        if (checks_finite(v.body)) return true;
  }
  return false;
}

/// Calls that act on the world outside: not done again when a step is.
bool acts_outside(const Instr& i) {
  for (const char* name : {"print", "record", "save", "save_tensors"})
    if (i.name == name) return true;
  return false;
}
/// Calls whose result may be another one the next time.
bool reads_outside(const host::Program& p, const Instr& i) {
  if (i.name == "time" || i.name == "load_tensor") return true;
  // A mapped data set may draw anew each time that it is read.
  return !p.mapped.empty() && (i.name == "dataset_row" || i.name == "one_batch");
}

}  // namespace

Machine::Impl::Impl(host::Program& p, codegen::Backend& b, MachineOptions o)
    : program(p),
      backend(b),
      options(std::move(o)),
      regs(p.registers.size()),
      steps(p.steps.size()),
      progress(
          {.fd = 2, .enabled = options.progress && nnl::Progress::on_terminal(), .columns = 0, .interval_s = 0.1}) {
  trace.on = (options.trace || options.rewind) && checks_finite(program.body);
  renew_trace(true);
  bind_maps();
}

Machine::Impl::~Impl() { release_maps(); }

Machine::Machine(host::Program& program, codegen::Backend& backend, MachineOptions options)
    : impl_(std::make_unique<Impl>(program, backend, std::move(options))) {}
Machine::~Machine() = default;

int Machine::guarded(Diagnostics& diags, const std::function<void()>& body) {
  Impl& m = *impl_;
  try {
    body();
  } catch (const nnl::DeviceError& e) {
    m.progress.hide();
    const std::string text = e.what();
    auto built = diags.data(Code::DeviceFailed, m.current ? m.current->span : Span{}, text.substr(0, text.find('\n')));
    if (const size_t rest = text.find('\n'); rest != std::string::npos) built.note(text.substr(rest + 1));
    return 3;
  } catch (const Failure& f) {
    m.progress.hide();
    Diagnostic d;
    d.severity = Severity::data;
    d.code = f.code;
    d.message = f.message;
    d.span = f.span;
    d.notes = f.notes;
    d.helps = f.helps;
    d.label = f.label;
    d.labels = f.labels;
    diags.add(std::move(d));
    return 3;
  }
  return 0;
}

int Machine::run(Diagnostics& diags) {
  Impl& m = *impl_;
  int status = guarded(diags, [&] { m.run_block(m.program.body); });
  m.progress.hide();
  if (m.log) {
    if (auto error = m.log->finish()) {
      auto built = diags.data(Code::CantLog, {}, error->message);
      if (!error->help.empty()) built.help(error->help);
      status = 3;
    }
  }
  return status;
}

int Machine::run_setup(const host::Instr* left_out, Diagnostics& diags) {
  return guarded(diags, [&] {
    for (const auto& i : impl_->program.body)
      if (i.get() != left_out) impl_->run_instr(*i);
  });
}

bool Machine::rewinds() const { return impl_->trace.on && impl_->options.rewind; }

int Machine::run_step(const host::Instr& scope, Diagnostics& diags) {
  if (rewinds()) impl_->trace.forget();
  return guarded(diags, [&] { impl_->run_instr(scope); });
}

Value& Machine::value(host::Reg reg) { return impl_->reg(reg); }
void Machine::set_cancel(const std::atomic<bool>* cancel) { impl_->options.cancel = cancel; }

void Machine::Impl::stop_if_cancelled(Span at) const {
  if (options.cancel && options.cancel->load(std::memory_order_relaxed))
    throw Failure{Code::Cancelled, at, "the run was cancelled", {}, {}};
}

void Machine::Impl::write(std::string_view text) {
  if (replaying) return;
  progress.hide();
  if (options.out) {
    options.out(text);
    return;
  }
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

void Machine::Impl::report(std::string_view text) {
  if (replaying) return;
  progress.hide();
  if (options.report) {
    options.report(text);
    return;
  }
  std::fflush(stdout);
  std::fwrite(text.data(), 1, text.size(), stderr);
}

bool Machine::Impl::truth(host::Reg r) const {
  const Value v = read_back(regs[static_cast<size_t>(r)]);
  if (auto* b = v.get<bool>()) return *b;
  throw std::logic_error("a condition is " + describe(v));
}

int64_t Machine::Impl::integer(host::Reg r) const {
  const Value v = read_back(regs[static_cast<size_t>(r)]);
  if (auto* i = v.get<int64_t>()) return *i;
  throw std::logic_error("an int is wanted, there is " + describe(v));
}

Flow Machine::Impl::run_block(const host::Block& block) {
  for (const auto& i : block)
    if (Flow f = run_instr(*i); f != Flow::normal) return f;
  return Flow::normal;
}

namespace {

Value constant_value(const Instr& i) {
  struct Visitor {
    Value operator()(std::monostate) const { return {}; }
    Value operator()(int64_t v) const { return Value(v); }
    Value operator()(double v) const { return Value(v); }
    Value operator()(bool v) const { return Value(v); }
    Value operator()(const std::string& v) const { return Value::str(v); }
  };
  return std::visit(Visitor{}, i.value);
}

/// What the end of a loop's body means for the loop: true to go on, false to leave it; `out` is what the loop itself
/// gives.
bool goes_on(Flow body, Flow& out) {
  if (body == Flow::normal || body == Flow::continue_) return true;
  out = body == Flow::break_ ? Flow::normal : body;
  return false;
}

}  // namespace

void Machine::Impl::run_leaf(const Instr& i) {
  switch (i.op) {
    case Op::constant:
      set(i.dst, constant_value(i));
      break;
    case Op::copy:
      set(i.dst, reg(i.args[0]));
      break;
    case Op::unary:
      unary(i);
      break;
    case Op::binary:
      binary(i);
      break;
    case Op::call:
      call(i);
      break;
    case Op::run_step:
      stop_if_cancelled(i.span);
      run_step(i);
      break;
    default:
      throw std::logic_error("an instruction with blocks");
  }
}

Flow Machine::Impl::run_instr(const Instr& i) {
  Flow out = Flow::normal;
  current = &i;
  switch (i.op) {
    case Op::call:
      if (!reads_outside(program, i)) trace.did(i);
      run_leaf(i);
      if (reads_outside(program, i)) trace.assigned(i.dst, i.dst == host::kNoReg ? Value() : reg(i.dst));
      // Files may be others by the time a step is run again.
      if (i.name == "load" || trace.events.size() > Trace::kMostEvents) renew_trace(true);
      break;
    case Op::constant:
    case Op::copy:
    case Op::unary:
    case Op::binary:
    case Op::run_step:
      trace.did(i);
      run_leaf(i);
      if (trace.events.size() > Trace::kMostEvents) renew_trace(true);
      break;
    case Op::if_:
      return run_block(truth(i.args[0]) ? i.then_block : i.else_block);
    case Op::loop_range: {
      const int64_t lo = integer(i.args[0]), hi = integer(i.args[1]);
      for (int64_t k = lo; k < hi; ++k) {
        stop_if_cancelled(i.span);
        set(i.dst, Value(k));
        trace.assigned(i.dst, Value(k));
        if (!goes_on(run_block(i.then_block), out)) return out;
      }
      break;
    }
    case Op::loop_list: {
      // A list, or the rows of a tensor are made into one by sema. The list is held: the body may rebind its register.
      auto* list = reg(i.args[0]).get<ListPtr>();
      if (!list) throw std::logic_error("a loop over " + describe(reg(i.args[0])));
      const ListPtr items = *list;
      for (size_t k = 0; k < items->items.size(); ++k) {
        stop_if_cancelled(i.span);
        set(i.dst, items->items[k]);
        trace.assigned(i.dst, items->items[k]);
        if (!goes_on(run_block(i.then_block), out)) return out;
      }
      break;
    }
    case Op::loop_batches:
      return run_batches(i);
    case Op::loop_while:
      for (;;) {
        if (Flow f = run_block(i.else_block); f != Flow::normal) return f;
        if (!truth(i.args[0])) break;
        stop_if_cancelled(i.span);
        if (!goes_on(run_block(i.then_block), out)) return out;
      }
      break;
    case Op::break_:
      return Flow::break_;
    case Op::continue_:
      return Flow::continue_;
    case Op::scope: {
      const Flow f = run_block(i.then_block);
      if (f == Flow::leave && leaving == i.label) return Flow::normal;
      return f;
    }
    case Op::leave:
      leaving = i.label;
      return Flow::leave;
    case Op::check_finite:
      check_finite(i);
      break;
    case Op::assert_:
      if (!truth(i.args[0])) {
        std::string message = "assertion failed";
        if (i.args.size() > 1 && i.args[1] != host::kNoReg) message += ": " + to_text(reg(i.args[1]));
        throw Failure{Code::AssertionFailed, i.span, message, {}, {}};
      }
      break;
  }
  return out;
}

void Machine::Impl::unary(const Instr& i) { set(i.dst, unary_op(i.name, reg(i.args[0]), i.span)); }

void Machine::Impl::binary(const Instr& i) {
  // The common case without a copy of either side.
  set(i.dst, binary_op(i.name, reg(i.args[0]), reg(i.args[1]), i.span));
}

void Machine::Impl::check_finite(const Instr& i) {
  for (size_t k = 0; k < i.args.size(); ++k) {
    const Value v = read_back(reg(i.args[k]));
    const double* d = v.get<double>();
    if (!d || std::isfinite(*d)) continue;
    const char* what = k == 0 ? "the loss" : "the norm of the gradients";
    Failure f{Code::NotFinite,
              i.span,
              fmt::format("{} is {}", what,
                          std::isnan(*d) ? "NaN"
                          : *d > 0       ? "infinite"
                                         : "minus infinity"),
              {},
              {}};
    const int64_t runs = checks[{i.span.file, i.span.begin}];
    f.labels.push_back({i.span, runs == 0 ? std::string("in the first execution of this statement")
                                          : fmt::format("in execution {} of this statement", runs + 1)});
    progress.hide();
    explain_not_finite(f, i.args[k]);
    if (runs > 0 && f.helps.empty())
      f.helps.push_back("where values grew over many steps, `clip_norm = 1.0` or a smaller learning rate bounds them");
    throw f;
  }
  // The same statement may stand in several loops' bodies, one for each size of a batch.
  ++checks[{i.span.file, i.span.begin}];
  renew_trace(false);
}

std::vector<int64_t> batch_order(int64_t n, bool shuffle, bool replacement, uint64_t key, uint64_t pass) {
  std::vector<int64_t> rows(static_cast<size_t>(n));
  // Element e of the draw: 64 bits, two of the four words of a block; the high half of a product with m is below m.
  auto below = [&](uint64_t e, int64_t m) {
    const nnl::PhiloxWords w = nnl::random_block(key, pass, e / 2);
    const uint64_t bits = e % 2 ? (uint64_t{w[3]} << 32 | w[2]) : (uint64_t{w[1]} << 32 | w[0]);
    return static_cast<int64_t>(static_cast<unsigned __int128>(bits) * static_cast<uint64_t>(m) >> 64);
  };
  if (replacement) {
    for (int64_t i = 0; i < n; ++i) rows[static_cast<size_t>(i)] = below(static_cast<uint64_t>(i), n);
    return rows;
  }
  for (int64_t i = 0; i < n; ++i) rows[static_cast<size_t>(i)] = i;
  if (!shuffle) return rows;
  for (int64_t i = n - 1; i > 0; --i)
    std::swap(rows[static_cast<size_t>(i)], rows[static_cast<size_t>(below(static_cast<uint64_t>(i), i + 1))]);
  return rows;
}

int64_t Machine::Impl::read_batch(const Trace::Batch& batch) {
  const host::BatchLoop& loop = *batch.loop->batches;
  const nnl::data::Dataset& data = *loop.dataset;
  const int64_t begin = batch.number * loop.batch_size, rows = std::min(loop.batch_size, data.size() - begin);
  std::vector<void*> out(data.fields().size(), nullptr);
  for (size_t f = 0; f < out.size(); ++f) {
    out[f] = nullptr;
    if (f >= loop.fields.size() || loop.fields[f] == host::kNoReg) continue;
    const nnl::data::Field& field = data.fields()[f];
    Value& v = reg(loop.fields[f]);
    Tensor* t = v.get<Tensor>();
    const bool reuse = t && t->defined() && t->unique() && t->dtype() == field.dtype &&
                       t->shape().size() == field.shape.size() + 1 && t->shape()[0] == rows &&
                       std::equal(field.shape.begin(), field.shape.end(), t->shape().begin() + 1);
    if (!reuse) {
      std::vector<int64_t> shape{rows};
      shape.insert(shape.end(), field.shape.begin(), field.shape.end());
      v = Value(Tensor::empty(field.dtype, std::move(shape)));
      t = v.get<Tensor>();
    }
    out[f] = t->data();
  }
  data.read(batch.order->data() + begin, rows, out.data());
  if (loop.rows != host::kNoReg) set(loop.rows, Value(rows));
  if (loop.index != host::kNoReg) set(loop.index, Value(batch.number));
  return rows;
}

void Machine::Impl::renew_trace(bool must) {
  if (!trace.on || replaying || options.rewind) return;
  const auto now = std::chrono::steady_clock::now();
  if (!must && std::chrono::duration<double>(now - trace.begun).count() < trace.interval_s) return;
  // What the steps update is copied once after this, since the trace holds it too: that may take a hundredth of the
  // time.
  int64_t bytes = 0;
  std::vector<const Tensor*> updated;
  for (size_t s = 0; s < steps.size(); ++s) {
    if (!steps[s]) continue;
    for (int u : steps[s]->updates) {
      if (u < 0) continue;
      const Tensor* t = reg(program.steps[s].inputs[static_cast<size_t>(u)]).tensor();
      if (!t) continue;
      bytes += t->bytes();
      updated.push_back(t);
    }
  }
  // A parameter that stopped being finite will fail a check soon: what made it so must stay in the trace.
  if (!must && !all_finite_where_they_are(updated)) return;
  trace.interval_s = std::max(0.1, 100 * static_cast<double>(bytes) / 2e9);
  trace.begun = now;
  trace.regs = regs;
  trace.forget();
}

void Machine::Impl::replay(size_t end) {
  replaying = true;
  regs = trace.regs;
  for (size_t e = 0; e < end; ++e) {
    const Trace::Event& event = trace.events[e];
    switch (event.kind) {
      case Trace::Event::Kind::instr:
        if (event.instr->op != Op::call || !acts_outside(*event.instr)) run_leaf(*event.instr);
        break;
      case Trace::Event::Kind::assign:
        set(event.at, trace.values[event.index]);
        break;
      case Trace::Event::Kind::batch:
        if (program.mapped.empty()) {
          read_batch(trace.batches[event.index]);
        } else if (const Trace::Batch& batch = trace.batches[event.index]; true) {
          // The fields' values follow.
          const host::BatchLoop& loop = *batch.loop->batches;
          set(loop.index, Value(batch.number));
          set(loop.rows, Value(std::min(loop.batch_size, loop.dataset->size() - batch.number * loop.batch_size)));
        }
        break;
    }
  }
}

Flow Machine::Impl::run_batches(const Instr& i) {
  const host::BatchLoop& loop = *i.batches;
  const nnl::data::Dataset& data = *loop.dataset;
  int64_t pass = 0;
  if (loop.passes != host::kNoReg) {
    if (auto* p = reg(loop.passes).get<int64_t>()) pass = *p;
    set(loop.passes, Value(pass + 1));
    trace.assigned(loop.passes, Value(pass + 1));
  } else {
    pass = counters[&i]++;
  }
  const int64_t n = data.size();
  const int64_t batches = loop.drop_last ? n / loop.batch_size : (n + loop.batch_size - 1) / loop.batch_size;
  Trace::Batch batch{&i,
                     std::make_shared<const std::vector<int64_t>>(
                         batch_order(n, loop.shuffle, loop.replacement, loop.key, static_cast<uint64_t>(pass))),
                     0};

  struct Bar {
    nnl::Progress& progress;
    ~Bar() { progress.end(); }
  };
  progress.begin(loop.label, batches);
  if (options.on_progress) options.on_progress(loop.label, 0, batches);
  const Bar bar{progress};
  for (; batch.number < batches; ++batch.number) {
    stop_if_cancelled(i.span);
    const int64_t rows = read_batch(batch);
    trace.read(batch);
    if (!program.mapped.empty())
      for (host::Reg r : loop.fields)
        if (r != host::kNoReg) trace.assigned(r, reg(r));
    const host::BatchLoop::Variant* variant = nullptr;
    for (const auto& v : loop.variants)
      if (v.rows == rows) variant = &v;
    if (!variant) throw std::logic_error(fmt::format("no body for batches of {} rows", rows));
    Flow result = Flow::normal;
    if (!goes_on(run_block(variant->body), result)) return result;
    progress.advance();
    if (options.on_progress) options.on_progress(loop.label, batch.number + 1, batches);
  }
  return Flow::normal;
}

}  // namespace nnlc::exec
