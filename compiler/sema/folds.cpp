// Comprehensions and the folds of a loop: mean, sum, max, min, collect.
#include <fmt/format.h>

#include "compiler/sema/builtins.h"
#include "compiler/sema/statements.h"
#include "compiler/sema/training.h"

namespace nnlc::sema {

using ast::Stmt;
using host::Op;
using host::Reg;
using Kind = host::Type::Kind;

Value eval_comprehension(Evaluator& ev, const ast::ComprehensionExpr& e, const std::shared_ptr<Scope>& scope) {
  Value iterable = ev.eval(*e.iterable, scope);
  if (iterable.is_poison()) return iterable;
  if (auto items = static_items(ev, iterable, e.iterable->span)) {
    std::vector<Value> out;
    bool poison = false;
    for (Value& item : *items) {
      auto inner = std::make_shared<Scope>(scope);
      ev.bind(e.pattern, std::move(item), inner, false);
      out.push_back(ev.eval(*e.value, inner));
      poison |= out.back().is_poison();
    }
    if (poison) return Poison{};
    return sequence_value(std::move(out), true, e.span);
  }
  // A list that grows while the program runs.
  if (!host_effect(ev, e.span, "a list over a range that isn't static")) return Poison{};
  host::Type type = host_type(Kind::list);
  Reg list = ev.new_reg(type);
  emit_call(ev, "list_new", {}, list, e.span);
  bool ok = iterate(ev, iterable, {}, scope, e.iterable->span, [&](Value item, Value) {
    auto inner = std::make_shared<Scope>(scope);
    ev.bind(e.pattern, std::move(item), inner, false);
    Value v = ev.eval(*e.value, inner);
    if (v.is_poison()) return;
    if (type.items.empty()) type.items.push_back(ev.type_of(v));
    Reg r = ev.reg_of(v, e.span);
    emit_call(ev, "list_append", {list, r}, list, e.span);
  });
  ev.program->registers[list] = type;
  return ok ? runtime_value(list, type, e.span) : Value(Poison{});
}

namespace {

/// The leaves of a fold's value: a tuple folds each of its parts.
void leaves_of(const Value& v, std::vector<Value>& out) {
  if (auto s = v.ptr<SequenceValue>(); s && !s->is_list) {
    for (auto& i : s->items) leaves_of(i, out);
  } else {
    out.push_back(v);
  }
}
Value rebuild(const Value& like, const std::vector<Value>& leaves, size_t& next) {
  if (auto s = like.ptr<SequenceValue>(); s && !s->is_list) {
    std::vector<Value> items;
    for (auto& i : s->items) items.push_back(rebuild(i, leaves, next));
    return sequence_value(std::move(items), false, like.span);
  }
  return leaves[next++];
}

Value fold_static(Evaluator& ev, const std::string& fold, const std::vector<Value>& values, Span span) {
  if (fold == "collect") return sequence_value(values, true, span);
  if (values.empty()) {
    if (fold == "sum") return Value(graph::Dim(0), span);
    ev.error(Code::ArgumentOutOfRange, span, fmt::format("`{}` over a loop that never runs", fold));
    return Poison{};
  }
  std::vector<std::vector<Value>> columns;
  for (auto& v : values) {
    if (v.is_poison()) return Poison{};
    std::vector<Value> leaves;
    leaves_of(v, leaves);
    columns.resize(leaves.size());
    for (size_t i = 0; i < leaves.size() && i < columns.size(); ++i) columns[i].push_back(leaves[i]);
  }
  std::vector<Value> out;
  for (auto& column : columns) {
    Value acc = column[0];
    for (size_t i = 1; i < column.size(); ++i) {
      if (fold == "sum" || fold == "mean") {
        acc = ev.binary(ast::BinaryOp::add, acc, column[i], span, span, span);
      } else {
        bool tensors = acc.get<TensorValue>() || column[i].get<TensorValue>();
        const Builtin* f = find_builtin(tensors ? (fold == "max" ? "maximum" : "minimum") : fold);
        std::vector<ArgValue> args;
        args.push_back({"", {}, acc, span});
        args.push_back({"", {}, column[i], span});
        acc = ev.call(Value(f), std::move(args), nullptr, span, span);
      }
      if (acc.is_poison()) return acc;
    }
    if (fold == "mean")
      acc = ev.binary(ast::BinaryOp::div, acc, Value(static_cast<double>(column.size())), span, span, span);
    out.push_back(acc);
  }
  size_t next = 0;
  return rebuild(values[0], out, next);
}

}  // namespace

Value eval_fold(Evaluator& ev, const std::string& fold, const ast::ForExpr& e, const std::shared_ptr<Scope>& scope,
                Span span) {
  Value iterable = ev.eval(*e.iterable, scope);
  if (iterable.is_poison()) return iterable;
  auto evaluate = [&](Value item) {
    auto inner = std::make_shared<Scope>(scope);
    ev.bind(e.pattern, std::move(item), inner, false);
    return eval_block_in(ev, e.body, inner, true);
  };
  bool run_time_range = iterable.get<RangeValue>() && !ev.context.tensor_code;
  if (!run_time_range && static_items(ev, iterable, e.iterable->span)) {
    std::vector<Value> values;
    bool ok = iterate(ev, iterable, {&e.body}, scope, e.iterable->span, [&](Value item, Value) {
      Value v = evaluate(std::move(item));
      if (ev.impl->flow == Flow::go) values.push_back(std::move(v));
    });
    return ok ? fold_static(ev, fold, values, span) : Value(Poison{});
  }
  if (ev.context.tensor_code) {
    iterate(ev, iterable, {&e.body}, scope, e.iterable->span, [&](Value, Value) {});
    return Poison{};
  }
  // One list for each part of the value, and one of weights; folded when the loop has ended.
  std::vector<Reg> lists;
  std::vector<host::Type> types;
  std::optional<Value> like;
  bool poison = false;
  host::Type int_list = host_type(Kind::list);
  int_list.items.push_back(host_type(Kind::integer));
  Reg weights = ev.new_reg(int_list);
  emit_call(ev, "list_new", {}, weights, span);
  // How many parts there are is known after the first pass, and their lists must exist before: they are made in a block
  // of their own, which stands before the loop.
  host::Instr& before = ev.emit(Op::scope, span);
  before.label = ev.impl->labels++;
  bool ok = iterate(ev, iterable, {&e.body}, scope, e.iterable->span, [&](Value item, Value weight) {
    Value v = evaluate(std::move(item));
    if (ev.impl->flow != Flow::go) return;
    if (v.is_poison()) {
      poison = true;
      return;
    }
    std::vector<Value> leaves;
    leaves_of(v, leaves);
    if (!like) {
      like = v;
      for (const Value& leaf : leaves) {
        host::Type t = host_type(Kind::list);
        if (fold != "collect") {
          auto* tensor = leaf.get<TensorValue>();
          bool is_float = tensor ? graph::is_float(tensor->type.dtype) : ev.type_of(leaf).kind == Kind::floating;
          t.items.push_back(host_type(is_float ? Kind::floating : Kind::integer));
        } else {
          t.items.push_back(ev.type_of(leaf));
        }
        types.push_back(t);
        lists.push_back(ev.new_reg(t));
        ev.impl->blocks.push_back(&before.then_block);
        emit_call(ev, "list_new", {}, lists.back(), span);
        ev.impl->blocks.pop_back();
      }
    }
    for (size_t i = 0; i < leaves.size() && i < lists.size(); ++i) {
      Value leaf = leaves[i];
      if (fold != "collect") {
        leaf = ev.to_host(leaf, e.body.span);
        if (leaf.is_poison()) {
          poison = true;
          return;
        }
        Kind k = ev.type_of(leaf).kind;
        if (k != Kind::integer && k != Kind::floating && k != Kind::boolean) {
          ev.error(Code::ArgumentType, e.body.span,
                   fmt::format("`{}` folds numbers, but the loop gives {}", fold, describe(leaf)));
          poison = true;
          return;
        }
      }
      Reg r = ev.reg_of(leaf, span);
      emit_call(ev, "list_append", {lists[i], r}, lists[i], span);
    }
    Reg w = ev.reg_of(weight, span);
    emit_call(ev, "list_append", {weights, w}, weights, span);
  });
  if (!ok || poison || !like) return Poison{};
  if (fold == "collect") {
    if (lists.size() == 1 && !like->ptr<SequenceValue>()) return runtime_value(lists[0], types[0], span);
    // A tuple in each pass: a list of tuples.
    host::Type t = host_type(Kind::list);
    host::Type item = host_type(Kind::tuple);
    for (auto& x : types) item.items.push_back(x.items[0]);
    t.items.push_back(item);
    Reg zipped = ev.new_reg(t);
    emit_call(ev, "list_zip", lists, zipped, span);
    return runtime_value(zipped, t, span);
  }
  std::vector<Value> out;
  for (size_t i = 0; i < lists.size(); ++i) {
    host::Type t = fold == "mean" ? host_type(Kind::floating) : types[i].items[0];
    Reg dst = ev.new_reg(t);
    std::vector<Reg> args{lists[i]};
    if (fold == "mean") args.push_back(weights);
    emit_call(ev, "fold_" + fold, std::move(args), dst, span);
    out.push_back(runtime_value(dst, t, span));
  }
  size_t next = 0;
  return rebuild(*like, out, next);
}

}  // namespace nnlc::sema
