// freeze and unfreeze.
//
// What is frozen decides what is compiled. Outside of run-time code it is known while compiling. Where a program
// freezes in a loop or a branch, the layers that such a call names become a unit with a register that says whether they
// are frozen, and code that depends on it (minimize, grad, updates, calls in training mode) is compiled in a variant
// for each state; a step is compiled when it is first reached, so states that never come cost nothing.
#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <set>

#include "compiler/sema/impl.h"
#include "compiler/sema/training_support.h"

namespace nnlc::sema {

using Layer = std::shared_ptr<LayerInstance>;
using Unit = Evaluator::Impl::FreezeUnit;
using Cell = std::shared_ptr<ParamCell>;

namespace {

constexpr size_t kMostUnits = 6;  // 64 variants

/// The layers and parameters at or below a value.
struct Below {
  std::vector<Layer> layers;
  std::vector<Cell> cells;
  bool wrong = false, failed = false;
};

void collect(Evaluator& ev, const Value& v, Below& out) {
  auto add = [](auto& list, const auto& x) {
    if (std::find(list.begin(), list.end(), x) == list.end()) list.push_back(x);
  };
  if (auto layer = v.ptr<LayerInstance>()) {
    if (!build_layer(ev, layer)) {
      out.failed = true;
      return;
    }
    add(out.layers, layer);
    for (auto& [n, p] : layer->params) add(out.cells, p);
    for (auto& [n, m] : layer->members) collect(ev, m, out);
  } else if (auto s = v.ptr<SequenceValue>()) {
    for (auto& i : s->items) collect(ev, i, out);
  } else if (auto* t = v.get<TensorValue>(); t && t->param) {
    add(out.cells, t->param);
  } else {
    (v.is_poison() ? out.failed : out.wrong) = true;
  }
}

template <class T>
bool holds(const std::vector<T>& list, const T& x) {
  return std::find(list.begin(), list.end(), x) != list.end();
}

/// How much of the unit lies below: none, some, all.
enum class Share { none, some, all };
Share share_of(const Unit& u, const Below& b) {
  size_t n = 0;
  for (auto& l : u.layers) n += holds(b.layers, l);
  for (auto& c : u.cells) n += holds(b.cells, c);
  return n == 0 ? Share::none : n == u.layers.size() + u.cells.size() ? Share::all : Share::some;
}

void set_flags(const std::vector<Layer>& layers, const std::vector<Cell>& cells, bool frozen) {
  for (auto& l : layers) l->frozen = frozen;
  for (auto& c : cells) c->frozen = frozen;
}

host::Type truth() { return host_type(host::Type::Kind::boolean); }

void copy(Evaluator& ev, host::Reg dst, host::Reg from, Span span) {
  host::Instr& i = ev.emit(host::Op::copy, span);
  i.dst = dst;
  i.args = {from};
}

/// Units that lie partly below are divided, so that each lies below as a whole or not at all.
void divide(Evaluator& ev, const Below& b, Span span) {
  auto& units = ev.impl->freeze_units;
  for (size_t i = 0, n = units.size(); i < n; ++i) {
    if (share_of(units[i], b) != Share::some) continue;
    Unit inside{{}, {}, ev.new_reg(truth())};
    Unit& u = units[i];
    auto move = [](auto& from, auto& to, const auto& wanted) {
      for (auto& x : from)
        if (holds(wanted, x)) to.push_back(x);
      std::erase_if(from, [&](auto& x) { return holds(wanted, x); });
    };
    move(u.layers, inside.layers, b.layers);
    move(u.cells, inside.cells, b.cells);
    copy(ev, inside.frozen, u.frozen, span);
    for (auto& opt : ev.impl->optimizers) count_apart(ev, *opt, inside.cells, span);
    units.push_back(std::move(inside));
  }
}

}  // namespace

void count_apart(Evaluator& ev, OptimizerInstance& opt, const std::vector<Cell>& cells, Span span) {
  auto own = [&](const Cell& c) {
    return std::find_if(opt.own_updates.begin(), opt.own_updates.end(), [&](auto& x) { return x.first == c; });
  };
  std::map<host::Reg, std::vector<Cell>> by_counter;
  for (auto& g : opt.groups)
    for (auto& p : g.params)
      if (holds(cells, p)) by_counter[own(p) == opt.own_updates.end() ? opt.updates : own(p)->second].push_back(p);
  for (auto& [counter, members] : by_counter) {
    const auto users =
        std::count_if(opt.own_updates.begin(), opt.own_updates.end(), [c = counter](auto& x) { return x.second == c; });
    if (counter != opt.updates && users == static_cast<std::ptrdiff_t>(members.size())) continue;
    const host::Reg fresh = ev.new_reg(int_type());
    copy(ev, fresh, counter, span);
    for (auto& p : members) {
      if (auto at = own(p); at != opt.own_updates.end())
        at->second = fresh;
      else
        opt.own_updates.emplace_back(p, fresh);
    }
  }
}

bool set_frozen(Evaluator& ev, const Value& v, bool frozen, Span span) {
  auto& im = *ev.impl;
  Below b;
  collect(ev, v, b);
  if (b.failed) return false;
  if (b.wrong) {
    ev.error(Code::ArgumentType, span, fmt::format("layers and parameters are frozen, but this is {}", describe(v)));
    return false;
  }
  const bool known = im.runtime_depth == 0;
  auto in_a_unit = [&](const auto& x) {
    for (auto& u : im.freeze_units) {
      if constexpr (std::is_same_v<std::decay_t<decltype(x)>, Layer>) {
        if (holds(u.layers, x)) return share_of(u, b) == Share::all;
      } else {
        if (holds(u.cells, x)) return share_of(u, b) == Share::all;
      }
    }
    return x->frozen == frozen;  // nothing that happens while the program runs changes it
  };
  if (known) {
    divide(ev, b, span);
    for (auto& opt : im.optimizers) count_apart(ev, *opt, b.cells, span);
  } else if (!std::all_of(b.layers.begin(), b.layers.end(), in_a_unit) ||
             !std::all_of(b.cells.begin(), b.cells.end(), in_a_unit)) {
    ev.unsupported(Code::FrozenInBranch, span,
                   fmt::format("`{}` in a run-time loop or branch must name its layer by a path from outside",
                               frozen ? "freeze" : "unfreeze"))
        .note("what is frozen decides what is compiled, so it is found before the loop or branch is")
        .help("write the path where it is called: `unfreeze(net.backbone)`, `unfreeze(net.blocks[2])`");
    return false;
  }
  for (auto& u : im.freeze_units)
    if (share_of(u, b) == Share::all) copy(ev, u.frozen, ev.reg_of(Value(frozen), span), span);
  if (known) set_flags(b.layers, b.cells, frozen);
  return true;
}

void prepare_freezing(Evaluator& ev, const std::vector<const ast::Expr*>& targets, const std::shared_ptr<Scope>& scope,
                      Span span) {
  auto& im = *ev.impl;
  for (const ast::Expr* e : targets) {
    // What the block itself defines can't be looked up here; set_frozen says so when it comes there.
    const size_t before = ev.diags.all().size();
    Below b;
    collect(ev, ev.eval(*e, scope), b);
    if (b.failed || b.wrong) {
      ev.diags.truncate(before);
      continue;
    }
    divide(ev, b, span);
    Unit fresh[2];
    for (auto& l : b.layers)
      if (std::none_of(im.freeze_units.begin(), im.freeze_units.end(), [&](auto& u) { return holds(u.layers, l); }))
        fresh[l->frozen].layers.push_back(l);
    for (auto& c : b.cells)
      if (std::none_of(im.freeze_units.begin(), im.freeze_units.end(), [&](auto& u) { return holds(u.cells, c); }))
        fresh[c->frozen].cells.push_back(c);
    for (bool frozen : {false, true}) {
      Unit& u = fresh[frozen];
      if (u.layers.empty() && u.cells.empty()) continue;
      if (im.freeze_units.size() == kMostUnits) {
        ev.unsupported(Code::FrozenInBranch, e->span,
                       fmt::format("more than {} parts of a model that are frozen one by one while the program runs",
                                   kMostUnits))
            .help("freeze larger parts together");
        return;
      }
      u.frozen = ev.new_reg(truth());
      copy(ev, u.frozen, ev.reg_of(Value(frozen), span), span);
      for (auto& opt : im.optimizers) count_apart(ev, *opt, u.cells, span);
      im.freeze_units.push_back(std::move(u));
    }
  }
}

namespace {

/// Registers that take the run-time parts of a value in whichever variant runs.
class Merged {
 public:
  explicit Merged(Evaluator& ev, Span span) : ev_(ev), span_(span) {}

  /// At the end of a variant's block. The first value decides what the result looks like.
  void take(const Value& v) {
    next_ = 0;
    Value result = visit(v);
    if (!result_) result_ = std::move(result);
  }
  Value result() const { return result_ ? *result_ : Value(NoneValue{}); }

 private:
  Evaluator& ev_;
  Span span_;
  std::vector<host::Reg> regs_;
  size_t next_ = 0;
  std::optional<Value> result_;

  host::Reg keep(const Value& v) {
    const host::Reg from = ev_.reg_of(v, span_);
    if (next_ == regs_.size()) regs_.push_back(ev_.new_reg(ev_.type_of(v)));
    copy(ev_, regs_[next_], from, span_);
    return regs_[next_++];
  }
  TensorValue keep_tensor(const TensorValue& t) {
    TensorValue out = t;
    out.cell = std::make_shared<TensorCell>();
    out.cell->reg = keep(Value(t, span_));
    out.logits = nullptr;
    return out;
  }
  Value visit(const Value& v) {
    if (auto* t = v.get<TensorValue>()) return Value(keep_tensor(*t), v.span);
    if (auto* r = v.get<RuntimeValue>()) return Value(RuntimeValue{keep(v), r->type}, v.span);
    if (auto s = v.ptr<SequenceValue>()) {
      std::vector<Value> items;
      for (auto& i : s->items) items.push_back(visit(i));
      return sequence_value(std::move(items), s->is_list, v.span);
    }
    if (auto r = v.ptr<RecordValue>()) {
      auto out = std::make_shared<RecordValue>();
      out->names = r->names;
      for (auto& i : r->items) out->items.push_back(visit(i));
      return Value(out, v.span);
    }
    if (auto g = v.ptr<GradientValue>()) {
      auto out = std::make_shared<GradientValue>(*g);
      for (auto& t : out->gradients) t = keep_tensor(t);
      return Value(out, v.span);
    }
    return v;
  }
};

}  // namespace

Value for_each_freezing(Evaluator& ev, Span span, const std::function<Value()>& body) {
  auto& im = *ev.impl;
  if (ev.context.dry || ev.context.tensor_code || im.freezing_known || im.freeze_units.empty()) return body();
  const auto ordinals = im.draw_ordinals;  // all variants draw the same
  const size_t errors = ev.diags.error_count(), n = im.freeze_units.size();
  Merged merged(ev, span);
  std::function<void(size_t)> choose = [&](size_t k) {
    if (k == n) {
      im.draw_ordinals = ordinals;
      im.freezing_known = true;
      Value v = body();
      im.freezing_known = false;
      if (ev.diags.error_count() == errors) merged.take(v);
      return;
    }
    ev.flush();
    host::Instr& branch = ev.emit(host::Op::if_, span);
    branch.args = {im.freeze_units[k].frozen};
    for (bool frozen : {true, false}) {
      if (ev.diags.error_count() != errors) return;  // the same errors again
      ev.begin_block(frozen ? branch.then_block : branch.else_block);
      set_flags(im.freeze_units[k].layers, im.freeze_units[k].cells, frozen);
      choose(k + 1);
      ev.end_block();
    }
  };
  choose(0);
  return ev.diags.error_count() == errors ? merged.result() : Value(Poison{});
}

}  // namespace nnlc::sema
