// Loops: at run time, unrolled, over batches; break, continue and return.
#include <fmt/format.h>

#include "compiler/sema/builtins.h"
#include "compiler/sema/statements.h"
#include "compiler/sema/training.h"

namespace nnlc::sema {

using ast::Stmt;
using host::Op;
using host::Reg;
using Kind = host::Type::Kind;

namespace {

/// A loop whose body is a run-time block: pushes and pops what belongs to it.
class RunTimeLoop {
 public:
  RunTimeLoop(Evaluator& ev, host::Block& body) : ev_(ev) {
    ev.begin_block(body);
    ++ev.impl->runtime_depth;
    target_.kind = LoopTarget::Kind::run_time;
    target_.runtime_depth = ev.impl->runtime_depth;
    ev.impl->loops.push_back(&target_);
  }
  ~RunTimeLoop() {
    ev_.impl->loops.pop_back();
    --ev_.impl->runtime_depth;
    ev_.end_block();
    ev_.impl->flow = Flow::go;
  }
  RunTimeLoop(const RunTimeLoop&) = delete;
  RunTimeLoop& operator=(const RunTimeLoop&) = delete;

 private:
  Evaluator& ev_;
  LoopTarget target_;
};

void open_loop(Evaluator& ev) {
  ev.loop_end_actions.emplace_back();
  ev.impl->minimize_sites.emplace_back();
}
void close_loop(Evaluator& ev) {
  auto sites = std::move(ev.impl->minimize_sites.back());
  ev.impl->minimize_sites.pop_back();
  if (!ev.impl->minimize_sites.empty())
    for (auto& s : sites) {
      s.accumulates = false;
      ev.impl->minimize_sites.back().push_back(s);
    }
  auto actions = std::move(ev.loop_end_actions.back());
  ev.loop_end_actions.pop_back();
  for (auto& a : actions) a();
}

using Body = std::function<void(Value item, Value weight)>;

void unroll(Evaluator& ev, const std::vector<Value>& items, const std::vector<const ast::Block*>& blocks,
            const std::shared_ptr<Scope>& scope, Span span, const Body& body) {
  auto& im = *ev.impl;
  bool jumps = false;
  for (auto* b : blocks) jumps |= contains_jump(*b);
  bool scopes = jumps && !ev.context.tensor_code && !ev.context.dry;
  LoopTarget target;
  target.kind = LoopTarget::Kind::unrolled;
  target.runtime_depth = im.runtime_depth;
  host::Instr* outer = nullptr;
  if (scopes) {
    prepare_slots(ev, blocks, scope, span);
    ev.flush();
    outer = &ev.emit(Op::scope, span);
    outer->label = target.break_label = im.labels++;
    ev.begin_block(outer->then_block);
  }
  im.loops.push_back(&target);
  const bool host_level = !ev.context.tensor_code && !ev.context.dry;
  if (host_level) open_loop(ev);
  for (const Value& item : items) {
    if (scopes) {
      host::Instr& pass = ev.emit(Op::scope, span);
      pass.label = target.continue_label = im.labels++;
      ev.begin_block(pass.then_block);
    }
    body(item, Value(graph::Dim(1)));
    if (scopes) ev.end_block();
    if (im.flow == Flow::continue_ || im.flow == Flow::dead) im.flow = Flow::go;
    if (im.flow == Flow::break_) {
      im.flow = Flow::go;
      break;
    }
    if (im.flow == Flow::return_) break;
  }
  im.loops.pop_back();
  if (scopes) ev.end_block();
  if (host_level) close_loop(ev);
}

Value with_index(bool wanted, Value index, Value item, Span span) {
  if (!wanted) return item;
  return sequence_value({std::move(index), std::move(item)}, false, span);
}

void loop_batches(Evaluator& ev, const BatchesValue& b, bool enumerated, Span span, const Body& body) {
  auto& im = *ev.impl;
  const auto& data = b.data->data;
  int64_t rows = data->size();
  std::vector<int64_t> sizes;
  if (rows >= b.size) sizes.push_back(b.size);
  if (rows % b.size != 0 && !b.drop_last) sizes.push_back(rows % b.size);
  if (sizes.empty()) {
    ev.error(Code::DataArgument, b.span.valid() ? b.span : span,
             rows == 0 ? std::string("the data set is empty")
                       : fmt::format("the data set has {} rows, so there is no batch of {}", rows, b.size))
        .help(rows == 0 ? "check where it comes from" : "take smaller batches, or leave `drop_last` out");
    return;
  }
  ev.flush();
  // The shuffle's step is the number of passes so far: it lives as long as the program.
  Reg passes = host::kNoReg;
  if (b.shuffle || b.replacement) {
    passes = ev.new_reg(host_type(Kind::integer));
    auto zero = std::make_unique<host::Instr>();
    zero->op = Op::constant;
    zero->dst = passes;
    zero->value = int64_t{0};
    im.prologue.push_back(std::move(zero));
  }
  Context saved = ev.context;
  ev.context.random_path = "batches";
  uint64_t key = ev.draw_key(span);
  if (!b.shuffle && !b.replacement) im.first_draw = im.first_draw == ev.user_span(span) ? Span{} : im.first_draw;
  ev.context = saved;

  open_loop(ev);
  host::Instr& loop = ev.emit(Op::loop_batches, span);
  loop.batches = std::make_unique<host::BatchLoop>();
  host::BatchLoop& l = *loop.batches;
  l.dataset = data;
  l.batch_size = b.size;
  l.shuffle = b.shuffle;
  l.drop_last = b.drop_last;
  l.replacement = b.replacement;
  l.key = key;
  l.passes = passes;
  l.label = data->name();
  l.rows = ev.new_reg(host_type(Kind::integer));
  l.index = ev.new_reg(host_type(Kind::integer));
  std::vector<host::Type> types;
  for (const auto& f : data->fields()) {
    host::Type t = host_type(Kind::tensor);
    t.tensor.dtype = static_cast<graph::DType>(f.dtype);
    t.tensor.shape.emplace_back(sizes[0]);
    for (int64_t d : f.shape) t.tensor.shape.emplace_back(d);
    t.classes = f.classes;
    types.push_back(t);
    l.fields.push_back(ev.new_reg(t));
  }
  l.variants.resize(sizes.size());
  auto ordinals = im.draw_ordinals;
  size_t errors = ev.diags.error_count();
  for (size_t v = 0; v < sizes.size(); ++v) {
    if (ev.diags.error_count() != errors) break;  // the same errors again, with another number of rows
    im.draw_ordinals = ordinals;
    l.variants[v].rows = sizes[v];
    RunTimeLoop scope(ev, l.variants[v].body);
    auto record = std::make_shared<RecordValue>();
    for (size_t f = 0; f < types.size(); ++f) {
      TensorValue t;
      t.type = types[f].tensor;
      t.type.shape[0] = graph::Dim(sizes[v]);
      if (types[f].classes > 0) t.classes = graph::Dim(types[f].classes);
      t.may_be_missing = data->fields()[f].missing;
      t.cell = std::make_shared<TensorCell>();
      t.cell->reg = l.fields[f];
      record->names.push_back(data->fields()[f].name);
      record->items.emplace_back(t, span);
    }
    Value index = runtime_value(l.index, host_type(Kind::integer), span);
    body(with_index(enumerated, index, Value(record, span), span), Value(graph::Dim(sizes[v]), span));
  }
  close_loop(ev);
}

}  // namespace

std::optional<std::vector<Value>> static_items(Evaluator& ev, const Value& iterable, Span span) {
  if (auto* r = iterable.get<RangeValue>()) {
    if (!r->is_static || !r->lo.is_constant() || !r->hi.is_constant()) return std::nullopt;
    std::vector<Value> items;
    if (r->hi.value() - r->lo.value() > 100000) return std::nullopt;
    for (int64_t i = r->lo.value(); i < r->hi.value(); ++i) items.emplace_back(graph::Dim(i), span);
    return items;
  }
  if (auto s = iterable.ptr<SequenceValue>()) return s->items;
  if (auto l = iterable.ptr<LayerInstance>(); l && !l->klass) {
    std::vector<Value> items;
    for (auto& [n, v] : l->members) items.push_back(v);
    return items;
  }
  if (auto* t = iterable.get<TensorValue>();
      t && t->type.rank() > 0 && t->type.shape[0].is_constant() && ev.context.tensor_code) {
    if (t->type.shape[0].value() > 100000) return std::nullopt;
    std::vector<Value> items;
    const Builtin* select = find_builtin("select");
    for (int64_t i = 0; select && i < t->type.shape[0].value(); ++i) {
      std::vector<ArgValue> args;
      args.push_back({"", {}, iterable, span});
      args.push_back({"", {}, Value(graph::Dim(0)), span});
      args.push_back({"", {}, Value(graph::Dim(i)), span});
      items.push_back(ev.call(Value(select), std::move(args), nullptr, span, span));
    }
    if (select) return items;
  }
  if (auto* s = iterable.get<std::string>()) {
    std::vector<Value> items;
    for (size_t i = 0; i < s->size();) {
      size_t n = 1;
      while (i + n < s->size() && (static_cast<unsigned char>((*s)[i + n]) & 0xC0) == 0x80) ++n;
      items.emplace_back(s->substr(i, n), span);
      i += n;
    }
    return items;
  }
  return std::nullopt;
}

bool iterate(Evaluator& ev, const Value& given, const std::vector<const ast::Block*>& blocks,
             const std::shared_ptr<Scope>& scope, Span span, const Body& body) {
  if (given.is_poison()) return false;
  bool enumerated = false;
  Value iterable = given;
  if (auto r = given.ptr<RecordValue>(); r && r->names.size() == 1 && r->names[0] == kEnumerateMark) {
    enumerated = true;
    iterable = r->items[0];
  }
  bool run_time_range = iterable.get<RangeValue>() && !ev.context.tensor_code;
  if (!run_time_range)
    if (auto items = static_items(ev, iterable, span)) {
      unroll(ev, *items, blocks, scope, span, body);
      return true;
    }
  if (ev.context.tensor_code) {
    auto* r = iterable.get<RangeValue>();
    auto* t = iterable.get<TensorValue>();
    if (r || t || iterable.get<RuntimeValue>())
      ev.error(Code::NotStatic, span,
               fmt::format("tensor code unrolls its loops, but how often this one runs isn't known when compiling"))
          .help("loop outside of the block, or use `scan` over an axis");
    else
      ev.error(iterable.ptr<BatchesValue>() || iterable.ptr<DatasetValue>() ? Code::HostEffectInTensorCode
                                                                            : Code::NotIterable,
               span, fmt::format("tensor code can't iterate {}", describe(iterable)));
    return false;
  }
  if (!iterable.get<RangeValue>() && !iterable.get<RuntimeValue>() && !iterable.ptr<BatchesValue>() &&
      !iterable.ptr<DatasetValue>() && !(iterable.get<TensorValue>() && iterable.get<TensorValue>()->type.rank() > 0)) {
    auto d = ev.error(Code::NotIterable, span, fmt::format("`for` can't go over {}", describe(iterable)));
    if (static_int(iterable)) d.help("a range is written `0..n`");
    if (auto r = iterable.ptr<RecordValue>(); r && r->find("train"))
      d.help("choose a part, and a batch size: `.train.batches(64)`");
    return false;
  }
  prepare_slots(ev, blocks, scope, span);
  if (auto b = iterable.ptr<BatchesValue>()) {
    loop_batches(ev, *b, enumerated, span, body);
    return true;
  }
  host::Type int_t = host_type(Kind::integer);
  if (auto* r = iterable.get<RangeValue>()) {
    Reg lo = r->is_static ? ev.reg_of(Value(r->lo), span) : r->lo_reg;
    Reg hi = r->is_static ? ev.reg_of(Value(r->hi), span) : r->hi_reg;
    ev.flush();
    open_loop(ev);
    Reg counter = ev.new_reg(int_t);
    host::Instr& loop = ev.emit(Op::loop_range, span);
    loop.dst = counter;
    loop.args = {lo, hi};
    {
      RunTimeLoop scope_of(ev, loop.then_block);
      Value item = runtime_value(counter, int_t, span);
      if (enumerated) {
        Value index = ev.binary(ast::BinaryOp::sub, item, runtime_value(lo, int_t, span), span, span, span);
        item = with_index(true, index, item, span);
      }
      body(item, Value(graph::Dim(1)));
    }
    close_loop(ev);
    return true;
  }
  auto* rv = iterable.get<RuntimeValue>();
  if (rv && rv->type.kind == Kind::list && !enumerated) {
    if (rv->type.items.empty()) return true;  // an empty list that nothing was added to
    ev.flush();
    open_loop(ev);
    Reg item = ev.new_reg(rv->type.items[0]);
    host::Instr& loop = ev.emit(Op::loop_list, span);
    loop.dst = item;
    loop.args = {rv->reg};
    {
      RunTimeLoop scope_of(ev, loop.then_block);
      body(ev.from_reg(item, rv->type.items[0], span), Value(graph::Dim(1)));
    }
    close_loop(ev);
    return true;
  }
  // Rows by number: data sets, tensors, run-time lists with their index.
  auto data = iterable.ptr<DatasetValue>();
  auto* t = iterable.get<TensorValue>();
  Reg source = data ? host::kNoReg : ev.reg_of(iterable, span);
  Reg hi = host::kNoReg;
  if (data) {
    hi = ev.reg_of(Value(graph::Dim(data->data->size())), span);
  } else if (t) {
    hi = ev.reg_of(Value(t->type.shape[0]), span);
  } else if (rv && rv->type.kind == Kind::list) {
    hi = ev.new_reg(int_t);
    emit_call(ev, "list_len", {source}, hi, span);
  } else {
    ev.error(Code::NotIterable, span, fmt::format("`for` can't go over {}", describe(iterable)));
    return false;
  }
  Reg lo = ev.reg_of(Value(graph::Dim(0)), span);
  ev.flush();
  open_loop(ev);
  Reg counter = ev.new_reg(int_t);
  host::Instr& loop = ev.emit(Op::loop_range, span);
  loop.dst = counter;
  loop.args = {lo, hi};
  {
    RunTimeLoop scope_of(ev, loop.then_block);
    Value item;
    if (data) {
      item = record_of_row(ev, *data, counter, span);
    } else {
      host::Type type = t ? ev.type_of(iterable) : rv->type.items.empty() ? int_t : rv->type.items[0];
      if (t) type.tensor.shape.erase(type.tensor.shape.begin());
      Reg row = ev.new_reg(type);
      emit_call(ev, t ? "tensor_get" : "list_get", {source, counter}, row, span);
      item = ev.from_reg(row, type, span);
    }
    body(with_index(enumerated, runtime_value(counter, int_t, span), item, span), Value(graph::Dim(1)));
  }
  close_loop(ev);
  return true;
}

void exec_for(Evaluator& ev, const ast::ForStmt& s, const std::shared_ptr<Scope>& scope) {
  Value iterable = ev.eval(*s.iterable, scope);
  iterate(ev, iterable, {&s.body}, scope, s.iterable->span, [&](Value item, Value) {
    auto inner = std::make_shared<Scope>(scope);
    ev.bind(s.pattern, std::move(item), inner, false);
    eval_block_in(ev, s.body, inner, false);
  });
}

void exec_while(Evaluator& ev, const ast::WhileStmt& s, const std::shared_ptr<Scope>& scope) {
  if (ev.context.tensor_code) {
    ev.error(Code::TensorCondition, s.span,
             "`while` can't stand in tensor code: how often it runs must be known when compiling")
        .help("`for i in 0..n` with a static `n` is unrolled; `scan` goes along an axis");
    return;
  }
  prepare_slots(ev, {&s.body}, scope, s.span);
  ev.flush();
  open_loop(ev);
  host::Instr& loop = ev.emit(Op::loop_while, s.span);
  bool ok = true;
  {
    RunTimeLoop inner(ev, loop.else_block);
    Value c = ev.to_host(eval_condition(ev, *s.condition, scope), s.condition->span);
    auto* r = c.get<RuntimeValue>();
    if (c.is_poison())
      ok = false;
    else if (!c.get<bool>() && !(r && r->type.kind == Kind::boolean)) {
      ev.error(Code::ConditionType, s.condition->span,
               fmt::format("a condition is a bool, but this is {}", describe(c)))
          .help("compare it: `x > 0`");
      ok = false;
    } else {
      loop.args = {ev.reg_of(c, s.condition->span)};
    }
  }
  if (ok) {
    RunTimeLoop inner(ev, loop.then_block);
    eval_block_in(ev, s.body, std::make_shared<Scope>(scope), false);
  }
  close_loop(ev);
}

void exec_jump(Evaluator& ev, bool is_break, Span span) {
  auto& im = *ev.impl;
  if (im.loops.empty()) {
    ev.error(Code::MisplacedStatement, span,
             fmt::format("`{}` stands outside of a loop", is_break ? "break" : "continue"));
    return;
  }
  LoopTarget& t = *im.loops.back();
  if (t.kind == LoopTarget::Kind::unrolled && t.runtime_depth == im.runtime_depth) {
    im.flow = is_break ? Flow::break_ : Flow::continue_;
    return;
  }
  ev.flush();
  if (t.kind == LoopTarget::Kind::run_time) {
    ev.emit(is_break ? Op::break_ : Op::continue_, span);
  } else {
    ev.emit(Op::leave, span).label = is_break ? t.break_label : t.continue_label;
  }
  im.flow = Flow::dead;
}

void exec_return(Evaluator& ev, const ast::ReturnStmt& s, const std::shared_ptr<Scope>& scope) {
  auto& im = *ev.impl;
  Value v = s.value ? ev.eval(*s.value, scope) : Value(NoneValue{}, s.span);
  if (im.returns.empty()) {
    ev.error(Code::MisplacedStatement, s.span, "`return` stands outside of a function");
    return;
  }
  ReturnTarget& t = *im.returns.back();
  if (t.runtime_depth == im.runtime_depth) {
    t.value = std::move(v);
    im.flow = Flow::return_;
    return;
  }
  if (!v.is_poison() && !v.is_none()) {
    host::Type type = ev.type_of(v);
    if (t.reg == host::kNoReg) {
      t.reg = ev.new_reg(type);
      t.type = type;
    } else if (!same_type(t.type, type)) {
      ev.error(
          Code::BranchTypes, s.span,
          fmt::format("this returns {}, but another `return` of the function gives {}", describe(v), t.type.str()));
      return;
    }
    Reg from = ev.reg_of(v, s.span);
    host::Instr& i = ev.emit_pure(Op::copy, s.span);
    i.dst = t.reg;
    i.args = {from};
  }
  ev.flush();
  ev.emit(Op::leave, s.span).label = t.label;
  t.left = true;
  im.flow = Flow::dead;
}

}  // namespace nnlc::sema
