// From a compiled program to functions. The forward pass is the layer's own graph; the training step is what stands in
// the program around a `minimize`: the compiled step, the steps and numbers of the same block that it depends on. What
// comes from elsewhere is an argument (a batch) or lives in the struct of the training (optimizer state, counters).
#include "compiler/ahead/model.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "compiler/ahead/slice.h"
#include "runtime/safetensors.h"

namespace nnlc::ahead {

namespace {

using codegen::cpu::AheadBuffer;
using codegen::cpu::AheadFunction;
using codegen::cpu::AheadStep;
using codegen::cpu::AheadVariable;
using codegen::cpu::Scalar;
using codegen::cpu::ScalarType;
using graph::DType;
using graph::TensorType;
using host::Instr;
using host::Op;
using host::Reg;

/// A place where the program trains the layer.
struct Site {
  const host::Block* block = nullptr;
  size_t at = 0;                             ///< of the run_step
  const host::BatchLoop* batches = nullptr;  ///< around it
  int64_t rows = 0;                          ///< of its batch; 0: it stands in no such loop
  const host::Minimize* minimize = nullptr;
};

bool translate(const host::Program& p, const Instr& i, Scalar& out, const std::function<int(Reg)>& variable) {
  auto scalar = [&](Reg r) { return r == host::kNoReg || is_scalar(p, r); };
  if (!scalar(i.dst) || !std::all_of(i.args.begin(), i.args.end(), scalar) || !i.options.empty()) return false;
  auto block = [&](const host::Block& from, std::vector<Scalar>& to) {
    for (auto& n : from)
      if (!translate(p, *n, to.emplace_back(), variable)) return false;
    return true;
  };
  out.dst = i.dst == host::kNoReg ? -1 : variable(i.dst);
  for (Reg r : i.args)
    if (r != host::kNoReg) out.args.push_back(variable(r));
  out.name = i.name;
  out.label = i.label;
  switch (i.op) {
    case Op::constant:
      out.op = Scalar::Op::constant;
      if (auto* v = std::get_if<int64_t>(&i.value))
        out.value = *v;
      else if (auto* d = std::get_if<double>(&i.value))
        out.value = *d;
      else if (auto* b = std::get_if<bool>(&i.value))
        out.value = *b;
      else
        return false;
      return out.dst >= 0;
    case Op::copy:
      out.op = Scalar::Op::copy;
      return true;
    case Op::unary:
      out.op = i.name == "item" ? Scalar::Op::copy : Scalar::Op::unary;  // of what is a number already
      return i.name == "item" || is_scalar_operation(out.op, i.name);
    case Op::binary:
      out.op = Scalar::Op::binary;
      return is_scalar_operation(out.op, i.name);
    case Op::call:
      out.op = Scalar::Op::call;
      return !out.args.empty() && is_scalar_operation(out.op, i.name);
    case Op::if_:
      out.op = Scalar::Op::branch;
      return block(i.then_block, out.then_block) && block(i.else_block, out.else_block);
    case Op::loop_range:
      out.op = Scalar::Op::count_loop;
      return block(i.then_block, out.then_block);
    case Op::loop_while:
      out.op = Scalar::Op::while_loop;
      return block(i.then_block, out.then_block) && block(i.else_block, out.else_block);
    case Op::break_:
      out.op = Scalar::Op::break_;
      return true;
    case Op::continue_:
      out.op = Scalar::Op::continue_;
      return true;
    case Op::scope:
      out.op = Scalar::Op::scope;
      return block(i.then_block, out.then_block);
    case Op::leave:
      out.op = Scalar::Op::leave;
      return true;
    default:
      return false;
  }
}

class Maker {
 public:
  Maker(host::Program& program, sema::LayerExport& layer, const Request& request,
        const std::function<void(graph::Graph&)>& optimize, const SourceManager& sources, Diagnostics& diags)
      : p_(program), layer_(layer), request_(request), optimize_(optimize), sources_(sources), diags_(diags) {}

  std::optional<Model> run() {
    m_.class_name = layer_.class_name;
    m_.prefix = request_.prefix.empty() ? c_prefix(request_.layer) : request_.prefix;
    m_.inside = !request_.beside;
    m_.code.prefix = m_.prefix;
    std::vector<nnl::SafetensorsItem> items;
    for (const host::Persistent& s : p_.persistents) {
      if (s.root != layer_.root) continue;
      m_.parameters.add(s.path, fmt::format("{}: {}", s.path, s.type.str()), s.type, s.reg);
      m_.learned.push_back(s.learned);
      const Field& f = m_.parameters.fields.back();
      m_.code.parameters.push_back({s.path, f.offset, f.bytes});
      items.push_back({s.path, static_cast<int>(s.type.dtype), graph::sizes(s.type.shape), nullptr});
    }
    m_.code.parameter_bytes = m_.parameters.bytes;
    if (!items.empty()) {
      // What `save` in a program writes, so that either reads the other's files.
      auto header = nnl::safetensors_header(items, {{"format", "pt"}});
      if (!header) throw std::logic_error(header.error().message);
      m_.code.file_header = *header;
      for (auto& item : items)
        for (size_t i = 0; i < m_.code.parameters.size(); ++i)
          if (m_.code.parameters[i].name == item.name) m_.code.file_order.push_back(static_cast<int>(i));
    }
    if (request_.train && !training()) return std::nullopt;
    if (!forwards()) return std::nullopt;
    m_.code.training = request_.train;
    return std::move(m_);
  }

 private:
  // ---------------------------------------------------------------- forward

  bool forwards() {
    std::vector<int64_t> batches = request_.batches;
    if (layer_.rows.empty()) batches = {0};
    for (int64_t rows : batches) {
      graph::Graph g = layer_.forward.clone(layer_.rows.empty()
                                                ? std::map<std::string, graph::Dim>{}
                                                : std::map<std::string, graph::Dim>{{layer_.rows, graph::Dim(rows)}});
      if (std::string wrong = graph::verify(g); !wrong.empty()) {
        diags_.error(Code::OpenSizes, layer_.span, fmt::format("{} can't take {} rows", layer_.class_name, rows))
            .note(wrong);
        return false;
      }
      optimize_(g);
      Function f;
      AheadFunction code;
      f.name = rows ? fmt::format("forward_{}", rows) : "forward";
      f.what = fmt::format("The forward pass of {}{}, in inference mode.", layer_.class_name,
                           rows ? fmt::format(" for {} row{}", rows, rows == 1 ? "" : "s") : "");
      f.result = "void";
      Names names;
      start(f, code, names);
      AheadStep step;
      for (size_t i = 0; i < g.inputs.size(); ++i) {
        auto& [reg, name] = layer_.inputs[i];
        AheadBuffer buffer;
        if (reg != host::kNoReg) {
          const Field* field = m_.parameters.find(reg);
          if (!field) throw std::logic_error("the forward graph reads a register that is no parameter");
          buffer.place = {0, field->offset};
        } else {
          buffer.place = {add_argument(f, code, names, Argument::Kind::input, name, g.inputs[i]->type, 0, false), 0};
        }
        step.inputs.push_back(buffer);
      }
      for (size_t o = 0; o < g.outputs.size(); ++o) {
        AheadBuffer buffer;
        buffer.place = {
            add_argument(f, code, names, Argument::Kind::output, layer_.outputs[o], g.outputs[o].value->type, 0, false),
            0};
        step.outputs.push_back(buffer);
      }
      step.graph = std::move(g);
      code.steps.push_back(std::move(step));
      finish(std::move(f), std::move(code));
    }
    return true;
  }

  // ---------------------------------------------------------------- functions

  /// Parameter 0 is the layer's struct, where it has one; then that of the training.
  void start(const Function& f, AheadFunction& code, Names& names) {
    for (const char* taken : {"params", "training", "workspace"}) names.add(taken);
    code.name = m_.prefix + "_" + f.name;
    if (!m_.parameters.fields.empty()) code.parameters.push_back(AheadFunction::Parameter::pointer);
    if (f.trains) code.parameters.push_back(AheadFunction::Parameter::pointer);
  }
  int add_argument(Function& f, AheadFunction& code, Names& names, Argument::Kind kind, const std::string& name,
                   const TensorType& type, int64_t classes, bool optional) {
    Argument a;
    a.kind = kind;
    a.name = names.add(c_identifier(name));
    a.type = type;
    a.classes = classes;
    a.optional = optional;
    f.arguments.push_back(std::move(a));
    code.parameters.push_back(kind != Argument::Kind::number ? AheadFunction::Parameter::pointer
                              : type.dtype == DType::i64     ? AheadFunction::Parameter::integer
                                                             : AheadFunction::Parameter::floating);
    return static_cast<int>(code.parameters.size()) - 1;
  }
  void finish(Function f, AheadFunction code) {
    code.workspace = static_cast<int>(code.parameters.size());
    code.parameters.push_back(AheadFunction::Parameter::pointer);
    m_.functions.push_back(std::move(f));
    m_.code.functions.push_back(std::move(code));
  }

  // ---------------------------------------------------------------- training

  std::string place_of(Span s) const { return sources_.describe(s); }

  void find_sites(const host::Block& block, const host::BatchLoop* batches, int64_t rows,
                  std::vector<Site>& out) const {
    for (size_t at = 0; at < block.size(); ++at) {
      const Instr& i = *block[at];
      if (i.op == Op::run_step && trains(p_.steps[static_cast<size_t>(i.step)])) {
        Site s{&block, at, batches, rows, minimize_of(block, at)};
        out.push_back(s);
      }
      find_sites(i.then_block, batches, rows, out);
      find_sites(i.else_block, batches, rows, out);
      if (i.batches)
        for (auto& v : i.batches->variants) find_sites(v.body, i.batches.get(), v.rows, out);
    }
  }
  bool is_learned(Reg r) const {
    for (size_t i = 0; i < m_.parameters.fields.size(); ++i)
      if (m_.parameters.fields[i].reg == r) return m_.learned[i];
    return false;
  }
  /// Whether the step changes a parameter of the layer. One that only gives it a first value doesn't read it.
  bool trains(const host::Step& s) const {
    return std::any_of(s.outputs.begin(), s.outputs.end(), [&](Reg r) {
      return is_learned(r) && std::find(s.inputs.begin(), s.inputs.end(), r) != s.inputs.end();
    });
  }
  /// The statement that a step was compiled for: by what it gives, or by the check behind it.
  const host::Minimize* minimize_of(const host::Block& block, size_t at) const {
    const host::Step& s = p_.steps[static_cast<size_t>(block[at]->step)];
    auto gives = [&](Reg r) {
      return r != host::kNoReg && std::find(s.outputs.begin(), s.outputs.end(), r) != s.outputs.end();
    };
    for (const host::Minimize& m : p_.minimizes)
      for (auto& [name, reg] : m.results)
        if (gives(reg)) return &m;
    // Nothing reads the loss: the statement that is the only one will be it.
    if (!p_.minimizes.empty() && std::all_of(p_.minimizes.begin(), p_.minimizes.end(), [&](const host::Minimize& m) {
          return m.span.begin == p_.minimizes[0].span.begin;
        }))
      return &p_.minimizes[0];
    return nullptr;
  }

  bool training() {
    std::vector<Site> sites;
    find_sites(p_.body, nullptr, 0, sites);
    if (sites.empty()) {
      diags_
          .error(Code::NoTrainingStep, layer_.span,
                 fmt::format("no `minimize` of the program trains {}", layer_.class_name))
          .help("leave `--train` out for the forward pass alone, or train the layer in the program");
      return false;
    }
    // What stands apart from its gradients, of an `accumulate`, and what the program writes to parameters itself.
    const Span apart = (*sites[0].block)[sites[0].at]->span;
    if (std::erase_if(sites, [](const Site& s) { return !s.minimize || s.minimize->accumulates; }); sites.empty()) {
      diags_
          .unsupported(Code::NotSupportedYet, apart,
                       "`nnlc build --train` of a step with `accumulate`, or of parameters that are assigned to")
          .help("train with `minimize`, or `update`, alone, or build the forward pass only");
      return false;
    }
    std::map<uint32_t, Span> lines;
    for (const Site& s : sites) lines.emplace(line_of(s.minimize->span), s.minimize->span);
    if (request_.line) std::erase_if(sites, [&](const Site& s) { return line_of(s.minimize->span) != *request_.line; });
    if (sites.empty() || (!request_.line && lines.size() > 1)) {
      auto d = diags_.error(Code::NoTrainingStep, lines.begin()->second,
                            sites.empty()
                                ? fmt::format("no `minimize` on line {} trains {}", *request_.line, layer_.class_name)
                                : fmt::format("{} is trained by {} statements", layer_.class_name, lines.size()));
      d.at("one");
      std::vector<std::string> options;
      for (auto& [line, span] : lines) {
        options.push_back(fmt::format("`--step {}`", line));
        if (line != lines.begin()->first) d.label(span, "another");
      }
      d.help(fmt::format("choose one by its line: {}", fmt::join(options, " or ")));
      return false;
    }
    // One function for each number of rows.
    std::set<int64_t> made;
    std::erase_if(sites, [&](const Site& s) { return !made.insert(s.rows).second; });
    training_names();
    for (const Site& s : sites)
      if (!plan_training(s)) return false;
    for (const Site& s : sites) make_training(s);
    return true;
  }
  uint32_t line_of(Span s) const { return sources_.position(s.file, s.begin).line; }

  /// What the registers of the training are called, whichever step they occur in.
  void training_names() {
    m_.training.add(
        "status",
        "0: fine; 1: the loss or a gradient isn't finite; 2: the rate couldn't be computed, nothing was changed",
        {DType::i32, {}}, host::kNoReg);
    for (const host::Optimizer& o : p_.optimizers) {
      const bool alone = p_.optimizers.size() == 1;
      const std::string of = alone ? "" : fmt::format(" of {}", o.name);
      known_[o.updates] = {"updates", "updates already made" + of};
      for (size_t g = 0; g < o.rates.size(); ++g)
        known_[o.rates[g]] = {o.rates.size() == 1 ? std::string("lr") : fmt::format("lr_{}", g),
                              "the rate of the next step" + of};
      for (const auto& s : o.states) {
        const std::string path = s.root == layer_.root ? s.path : s.root + "." + s.path;
        known_[s.reg] = {s.name + "." + path, fmt::format("{} of {}: {}", s.name, path, s.type.str())};
      }
    }
    for (const host::Persistent& s : p_.persistents)
      if (s.root != layer_.root)
        known_[s.reg] = {s.root + "." + s.path, fmt::format("{} of {}: {}", s.path, s.root, s.type.str())};
  }

  struct Slice {
    std::vector<size_t> instrs;  ///< without the step itself
    RegSet from_outside;         ///< read before anything of the slice writes it
    RegSet carried;              ///< numbers that live from one call to the next
  };

  bool takes(const Instr& i) const {
    if (i.op == Op::run_step) return !trains(p_.steps[static_cast<size_t>(i.step)]);
    Scalar ignored;
    return translate(p_, i, ignored, [](Reg) { return 0; });
  }

  Slice slice_of(const Site& s) const {
    const host::Step& step = p_.steps[static_cast<size_t>((*s.block)[s.at]->step)];
    RegSet wanted(step.inputs.begin(), step.inputs.end());
    Slice out;
    for (const host::Optimizer& o : p_.optimizers) {
      bool takes_part = std::any_of(o.rates.begin(), o.rates.end(), [&](Reg r) { return wanted.count(r) != 0; });
      for (auto& state : o.states) takes_part |= wanted.count(state.reg) != 0;
      if (!takes_part) continue;
      out.carried.insert(o.updates);
      out.carried.insert(o.rates.begin(), o.rates.end());
    }
    // What the step keeps (parameters, its own counters) comes from the call before, not from this block.
    for (Reg r : step.outputs)
      if (!is_scalar(p_, r)) wanted.erase(r);
    // A number that is read here and then changed for the next time is carried, too; that change may need more.
    for (size_t before = out.carried.size() + 1; before != out.carried.size();) {
      before = out.carried.size();
      RegSet all = wanted;
      all.insert(out.carried.begin(), out.carried.end());
      slice(s, all, out);
      for (Reg r : out.from_outside)
        if (is_scalar(p_, r))
          for (size_t i = 0; i < s.at; ++i)
            if (writes_of(p_, *(*s.block)[i]).count(r) && takes(*(*s.block)[i])) out.carried.insert(r);
    }
    return out;
  }
  void slice(const Site& s, const RegSet& wanted, Slice& out) const {
    const host::Step& step = p_.steps[static_cast<size_t>((*s.block)[s.at]->step)];
    out.from_outside.clear();
    out.instrs = backward_slice(p_, *s.block, s.at, wanted, [&](const Instr& i) { return takes(i); });
    RegSet defined;
    auto read = [&](const RegSet& regs) {
      for (Reg r : regs)
        if (!defined.count(r)) out.from_outside.insert(r);
    };
    for (size_t i : out.instrs) {
      const Instr& instr = *(*s.block)[i];
      RegSet reads = reads_of(p_, instr);
      const RegSet writes = writes_of(p_, instr);
      // Inside of an if or a scope what is read may have been written there.
      if (!instr.then_block.empty() || !instr.else_block.empty())
        for (Reg r : writes)
          if (first_written_inside(instr, r)) reads.erase(r);
      read(reads);
      defined.insert(writes.begin(), writes.end());
    }
    read(RegSet(step.inputs.begin(), step.inputs.end()));
  }
  /// In a structured instruction: whether no path reads the register before writing it. Sema writes each such register
  /// once, in front of its uses, but for variables, which are read where they are carried.
  bool first_written_inside(const Instr& i, Reg r) const {
    bool read_first = false, written = false;
    std::function<void(const Instr&)> visit = [&](const Instr& n) {
      if (!written && std::find(n.args.begin(), n.args.end(), r) != n.args.end()) read_first = true;
      if (n.dst == r) written = true;
      for (auto& c : n.else_block) visit(*c);
      for (auto& c : n.then_block) visit(*c);
    };
    visit(i);
    return !read_first;
  }

  /// The one constant that a register ever holds.
  const Instr* constant_of(Reg r) const {
    const Instr* found = nullptr;
    int writers = 0;
    std::function<void(const host::Block&)> visit = [&](const host::Block& b) {
      for (auto& i : b) {
        if (i->dst == r) {
          ++writers;
          if (i->op == Op::constant) found = i.get();
        }
        visit(i->then_block);
        visit(i->else_block);
        if (i->batches) {
          auto& l = *i->batches;
          if (l.rows == r || l.index == r || l.passes == r) ++writers;
          for (auto& v : l.variants) visit(v.body);
        }
      }
    };
    visit(p_.body);
    for (const host::Step& s : p_.steps) writers += static_cast<int>(std::count(s.outputs.begin(), s.outputs.end(), r));
    return writers == 1 ? found : nullptr;
  }

  /// Whether a step of the program that reads the layer's parameters gives the tensor: gradients, say.
  bool comes_from_parameters(Reg r) const {
    return !m_.parameters.find(r) && std::any_of(p_.steps.begin(), p_.steps.end(), [&](const host::Step& s) {
      return std::find(s.outputs.begin(), s.outputs.end(), r) != s.outputs.end() &&
             std::any_of(s.inputs.begin(), s.inputs.end(), [&](Reg in) { return is_learned(in); });
    });
  }

  /// Adds to the struct of the training what the site keeps there.
  bool plan_training(const Site& s) {
    const Instr& run = *(*s.block)[s.at];
    const host::Step& step = p_.steps[static_cast<size_t>(run.step)];
    const Slice slice = slice_of(s);
    auto keep = [&](Reg r) {
      if (m_.parameters.find(r) || m_.training.find(r)) return;
      std::string name, note;
      if (auto known = known_.find(r); known != known_.end()) {
        std::tie(name, note) = known->second;
      } else {
        name = name_of(r, is_scalar(p_, r)                                                            ? "count"
                          : p_.registers[static_cast<size_t>(r)].tensor == TensorType{DType::i64, {}} ? "draws"
                                                                                                      : "kept");
        note = name == "draws" ? "how often random numbers were drawn" : "kept from step to step";
      }
      TensorType type =
          is_scalar(p_, r)
              ? TensorType{p_.registers[static_cast<size_t>(r)].kind == host::Type::Kind::floating ? DType::f64
                                                                                                   : DType::i64,
                           {}}
              : p_.registers[static_cast<size_t>(r)].tensor;
      m_.training.add(name, note, std::move(type), r);
    };
    for (Reg r : slice.from_outside)
      if (s.minimize->statement == "update" && !is_scalar(p_, r) && !known_.count(r) && comes_from_parameters(r)) {
        diags_
            .unsupported(Code::NotSupportedYet, s.minimize->span,
                         "`nnlc build --train` of an `update` whose gradients stand outside of its block")
            .help("`grad` in the same block of the program becomes part of the step");
        return false;
      }
    RegSet written(step.outputs.begin(), step.outputs.end());
    for (size_t i : slice.instrs)
      if ((*s.block)[i]->op == Op::run_step) {
        const host::Step& earlier = p_.steps[static_cast<size_t>((*s.block)[i]->step)];
        written.insert(earlier.outputs.begin(), earlier.outputs.end());
      }
    for (Reg r : slice.carried)
      if (!constant_of(r)) keep(r);
    for (Reg r : slice.from_outside) {
      const bool known = known_.count(r) != 0;
      if (is_scalar(p_, r)) {
        if (written.count(r)) {
          diags_.unsupported(Code::NotSupportedYet, s.minimize->span,
                             "`nnlc build --train` of a step that changes a number of the program");
          return false;
        }
        if (known || slice.carried.count(r)) keep(r);
      } else if (known || written.count(r)) {
        keep(r);
      }
    }
    return true;
  }

  std::string name_of(Reg r, const std::string& otherwise) const {
    for (auto& [reg, name] : p_.names)
      if (reg == r) return name;
    return otherwise;
  }

  void make_training(const Site& s) {
    const Slice slice = slice_of(s);
    Function f;
    AheadFunction code;
    f.trains = f.writes = true;
    f.name = s.rows ? fmt::format("train_{}", s.rows) : "train";
    f.what = fmt::format("One step of the `{}` at {}{}: forward, backward and the update of the parameters.",
                         s.minimize->statement, place_of(s.minimize->span),
                         s.rows ? fmt::format(" for {} row{}", s.rows, s.rows == 1 ? "" : "s") : "");
    Names names;
    start(f, code, names);
    const int training = m_.parameters.fields.empty() ? 0 : 1;
    code.status = {training, 0};

    std::map<Reg, int> variables, arguments, temporaries;
    auto field = [&](Reg r) -> std::optional<codegen::cpu::Place> {
      if (const Field* p = m_.parameters.find(r)) return codegen::cpu::Place{0, p->offset};
      if (const Field* t = m_.training.find(r)) return codegen::cpu::Place{training, t->offset};
      return std::nullopt;
    };
    auto variable = [&](Reg r) {
      auto [at, fresh] = variables.emplace(r, static_cast<int>(code.variables.size()));
      if (fresh) {
        using Kind = host::Type::Kind;
        const Kind kind = p_.registers[static_cast<size_t>(r)].kind;
        AheadVariable v;
        v.type = kind == Kind::integer    ? ScalarType::integer
                 : kind == Kind::floating ? ScalarType::floating
                                          : ScalarType::boolean;
        if (auto place = field(r)) {
          v.place = *place;
          v.written = true;
        }
        code.variables.push_back(v);
      }
      return at->second;
    };
    // Arguments: fields of the batch in the data set's order, then other tensors, then numbers.
    std::vector<Reg> outside(slice.from_outside.begin(), slice.from_outside.end());
    auto batch_field = [&](Reg r) -> int {
      if (!s.batches) return -1;
      auto& fields = s.batches->fields;
      auto at = std::find(fields.begin(), fields.end(), r);
      return at == fields.end() ? -1 : static_cast<int>(at - fields.begin());
    };
    constexpr int kTensor = 1 << 30, kNumber = kTensor + 1;
    auto rank = [&](Reg r) {
      const int k = batch_field(r);
      return k >= 0 ? k : is_scalar(p_, r) ? kNumber : kTensor;
    };
    std::stable_sort(outside.begin(), outside.end(), [&](Reg a, Reg b) { return rank(a) < rank(b); });
    for (Reg r : outside) {
      if (field(r)) continue;
      const host::Type& type = p_.registers[static_cast<size_t>(r)];
      if (!is_scalar(p_, r)) {
        const int k = batch_field(r);
        TensorType tensor = type.tensor;
        std::string name = name_of(r, "x");
        int64_t classes = type.classes;
        if (k >= 0) {
          const nnl::data::Field& from = s.batches->dataset->fields()[static_cast<size_t>(k)];
          tensor = {static_cast<DType>(from.dtype), {graph::Dim(s.rows)}};
          for (int64_t d : from.shape) tensor.shape.emplace_back(d);
          name = from.name;
          classes = from.classes;
        }
        arguments[r] = add_argument(f, code, names, Argument::Kind::input, name, tensor, classes, false);
        continue;
      }
      const int v = variable(r);
      if (const Instr* c = constant_of(r)) {
        Scalar& set = code.code.emplace_back();
        translate(p_, *c, set, variable);
      } else if (s.batches && r == s.batches->rows) {
        Scalar& set = code.code.emplace_back();
        set.op = Scalar::Op::constant;
        set.dst = v;
        set.value = s.rows;
      } else {
        const bool floating = code.variables[static_cast<size_t>(v)].type == ScalarType::floating;
        const std::string name = name_of(r, s.batches && r == s.batches->index ? "index" : "number");
        code.variables[static_cast<size_t>(v)].parameter = add_argument(
            f, code, names, Argument::Kind::number, name, {floating ? DType::f64 : DType::i64, {}}, 0, false);
      }
    }
    // The steps: earlier ones of the block, then the one that trains.
    std::vector<const Instr*> runs;
    for (size_t i : slice.instrs) {
      const Instr& instr = *(*s.block)[i];
      if (instr.op == Op::run_step)
        runs.push_back(&instr);
      else
        translate(p_, instr, code.code.emplace_back(), variable);
    }
    runs.push_back((*s.block)[s.at].get());
    for (const Instr* run : runs) {
      host::Step& from = p_.steps[static_cast<size_t>(run->step)];
      AheadStep step;
      RegSet read(from.inputs.begin(), from.inputs.end());
      for (Reg r : from.inputs) {
        AheadBuffer b;
        if (is_scalar(p_, r))
          b.variable = variable(r);
        else if (auto t = temporaries.find(r); t != temporaries.end())
          b.temporary = t->second;
        else if (auto place = field(r))
          b.place = *place;
        else
          b.place = {arguments.at(r), 0};
        step.inputs.push_back(b);
      }
      const bool last = run == runs.back();
      for (size_t o = 0; o < from.outputs.size(); ++o) {
        const Reg r = from.outputs[o];
        AheadBuffer b;
        if (auto place = field(r); place && !is_scalar(p_, r)) {
          b.place = *place;
          b.after = !from.graph.outputs[o].updates;  // the step may still read the old value
        } else if (!last) {
          b.temporary = static_cast<int>(temporaries.size());
          temporaries.emplace(r, b.temporary);
        } else {
          result(s, r, o, from.graph.outputs[o].value->type, f, code, names, b);
        }
        step.outputs.push_back(b);
      }
      graph::Graph g = std::move(from.graph);
      optimize_(g);
      step.graph = std::move(g);
      code.steps.push_back(std::move(step));
    }
    checks(s, code);
    f.result = "void";
    if (code.result >= 0) f.result = result_type_;
    finish(std::move(f), std::move(code));
  }
  /// An output of the training step: the loss is returned, the others of the tuple are stored where the caller says.
  void result(const Site& s, Reg r, size_t output, const TensorType& type, Function& f, AheadFunction& code,
              Names& names, AheadBuffer& b) {
    for (size_t k = 0; k < s.minimize->results.size(); ++k) {
      auto& [name, reg] = s.minimize->results[k];
      if (reg != r) continue;
      if (k == 0) {
        code.result = static_cast<int>(output);
        result_type_ = type.dtype == DType::f64 ? "double" : "float";
      } else {
        b.place = {add_argument(f, code, names, Argument::Kind::output, name, type, 0, true), 0};
        b.optional = true;
      }
      return;
    }
  }
  /// What the program checks to be finite behind the step.
  void checks(const Site& s, AheadFunction& code) const {
    const host::Step& step = p_.steps[static_cast<size_t>((*s.block)[s.at]->step)];
    for (size_t at = s.at + 1; at < s.block->size(); ++at) {
      const Instr& i = *(*s.block)[at];
      if (i.op == Op::run_step) break;
      if (i.op != Op::check_finite) continue;
      for (Reg r : i.args)
        for (size_t o = 0; o < step.outputs.size(); ++o)
          if (step.outputs[o] == r) code.checked.push_back(static_cast<int>(o));
      break;
    }
  }

  host::Program& p_;
  sema::LayerExport& layer_;
  const Request& request_;
  const std::function<void(graph::Graph&)>& optimize_;
  const SourceManager& sources_;
  Diagnostics& diags_;
  Model m_;
  std::map<Reg, std::pair<std::string, std::string>> known_;  ///< name and note
  std::string result_type_ = "float";
};

}  // namespace

std::optional<Model> make_model(host::Program& program, sema::LayerExport& layer, const Request& request,
                                const std::function<void(graph::Graph&)>& optimize, const SourceManager& sources,
                                Diagnostics& diags) {
  return Maker(program, layer, request, optimize, sources, diags).run();
}

}  // namespace nnlc::ahead
