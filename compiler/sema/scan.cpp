// `scan(init, over = xs, axis = 0, reverse = false) { state, x -> …; (out, new_state) }`: state carried along an axis.
//
// The block is evaluated once for each step, so a scan is as many copies of its graph; what is equal in them is
// compiled once. Gradients and nesting need nothing more. A check with symbolic sizes evaluates the block for one step:
// the state keeps its types, so the others have the same.
#include <fmt/format.h>

#include "compiler/sema/impl.h"
#include "compiler/sema/tensor_support.h"

namespace nnlc::sema {
namespace {

/// "f32[N, 4]", "(f32[4], f32[4])", "{h: f32[4]}"
std::string structure(const Value& v) {
  std::string out;
  if (auto s = v.ptr<SequenceValue>()) {
    for (const Value& item : s->items) out += (out.empty() ? "" : ", ") + structure(item);
    return (s->is_list ? "[" : "(") + out + (s->is_list ? "]" : ")");
  }
  if (auto r = v.ptr<RecordValue>()) {
    for (size_t i = 0; i < r->items.size(); ++i)
      out += (out.empty() ? "" : ", ") + r->names[i] + ": " + structure(r->items[i]);
    return "{" + out + "}";
  }
  return describe(v);
}

/// A value of v's structure with `leaf(path, part)` in place of each part; Poison as soon as one fails.
using LeafFn = std::function<Value(const std::string& path, const Value& part)>;
Value map_parts(const Value& v, const LeafFn& leaf, const std::string& path = "") {
  if (auto s = v.ptr<SequenceValue>()) {
    std::vector<Value> items;
    for (size_t i = 0; i < s->items.size(); ++i) {
      items.push_back(map_parts(s->items[i], leaf, fmt::format("{}[{}]", path, i)));
      if (items.back().is_poison()) return Poison{};
    }
    return sequence_value(std::move(items), s->is_list, v.span);
  }
  if (auto r = v.ptr<RecordValue>()) {
    auto out = std::make_shared<RecordValue>();
    out->names = r->names;
    for (size_t i = 0; i < r->items.size(); ++i) {
      out->items.push_back(map_parts(r->items[i], leaf, path + "." + r->names[i]));
      if (out->items.back().is_poison()) return Poison{};
    }
    return Value(out, v.span);
  }
  return v.is_poison() ? v : leaf(path, v);
}

/// The tensors of a value, in order; nullopt where a part is something else.
std::optional<std::vector<TensorValue>> tensors_of(const Value& v) {
  std::vector<TensorValue> out;
  bool ok = true;
  map_parts(v, [&](const std::string&, const Value& part) -> Value {
    if (auto* t = part.get<TensorValue>()) {
      out.push_back(*t);
      return part;
    }
    ok = false;
    return Poison{};
  });
  if (!ok) return std::nullopt;
  return out;
}

/// What one call of `scan` knows.
struct Scan {
  BuiltinCall& c;
  Evaluator& ev;
  Value body;
  Value over;
  int64_t axis = 0;
  bool reverse = false;
  Dim length;

  Span body_span() const { return body.span.valid() ? body.span : c.span; }
  Span pair_span(size_t part) const;
  bool read_over();
  bool start(Value& state);
  Value item(int64_t step);
  bool step(const Value& state, const Value& x, Value& out, Value& next);
  bool keeps_type(const Value& before, Value& after);
  Value stacked(const std::vector<Value>& outs);
  Value run();
};

/// Where the block says what to collect (part 0) and the next state (1).
Span Scan::pair_span(size_t part) const {
  auto* l = body.get<LambdaValue>();
  if (!l || l->decl->body.stmts.empty()) return body_span();
  const ast::Stmt& last = *l->decl->body.stmts.back();
  if (auto* value = ast::dyn<ast::ExprStmt>(&last))
    if (auto* tuple = ast::dyn<ast::TupleExpr>(value->value.get()); tuple && tuple->items.size() == 2)
      return tuple->items[part]->span;
  return last.span;
}

/// The tensors that are gone over: all have the axis, and are equally long.
bool Scan::read_over() {
  over = c.arg("over").value;
  const Span at = c.arg("over").span;
  auto xs = tensors_of(over);
  if (!xs || xs->empty()) {
    auto d = ev.error(Code::NotATensor, at, fmt::format("`scan` goes over tensors, but `over` is {}", structure(over)));
    if (over.get<RangeValue>() || over.get<Dim>()) d.help("`over = arange(n)` counts the steps");
    return false;
  }
  auto a = c.integer("axis");
  if (!a) return false;
  bool first = true;
  std::string first_path;
  Value checked = map_parts(over, [&](const std::string& path, const Value& part) -> Value {
    const TensorValue& x = *part.get<TensorValue>();
    const auto rank = static_cast<int64_t>(x.type.rank());
    const std::string name = path.empty() ? "it" : "`over" + path + "`";
    if (*a < -rank || *a >= rank) {
      auto d = ev.error(
          Code::AxisOutOfRange, c.given("axis") ? c.arg("axis").span : at,
          fmt::format("`scan` goes along axis {}, but {} is {}", *a, path.empty() ? "`over`" : name, type_text(x)));
      if (part.span.valid() && !(ev.user_span(part.span) == ev.user_span(at))) d.label(part.span, "made here");
      if (rank == 0) d.note("a tensor of rank 0 has no axis");
      return Poison{};
    }
    const int64_t own = *a < 0 ? *a + rank : *a;
    const Dim& size = x.type.shape[static_cast<size_t>(own)];
    if (first) {
      length = size;
      axis = own;
      first = false;
      first_path = path;
    } else if (!(size == length) && !ev.may_be_equal(size, length)) {
      ev.error(Code::OperandShapes, at,
               fmt::format("`scan` goes over tensors of different lengths: axis {} has size {} in `over{}` and {} in "
                           "`over{}`",
                           *a, length.str(), first_path, size.str(), path))
          .label(at, fmt::format("is {}", structure(over)));
      return Poison{};
    } else if (own != axis) {
      ev.error(
            Code::AxisOutOfRange, c.given("axis") ? c.arg("axis").span : at,
            fmt::format("axis {} isn't the same axis of all that `scan` goes over: `over` is {}", *a, structure(over)))
          .help("count the axis from the front");
      return Poison{};
    }
    return part;
  });
  return !checked.is_poison();
}

/// The state before the first step: tensors. Numbers take the element type that the block gives them.
bool Scan::start(Value& state) {
  const ArgValue& init = c.arg("init");
  bool numbers = false;
  Value bad;
  map_parts(init.value, [&](const std::string&, const Value& part) -> Value {
    if (is_host_number(part)) {
      numbers = true;
    } else if (!part.get<TensorValue>()) {
      bad = part;
      return Poison{};
    }
    return Value(NoneValue{});
  });
  if (!bad.is_poison()) {
    ev.error(Code::NotATensor, init.span,
             fmt::format("the state of `scan` is made of tensors, but this has {} in it", describe(bad)));
    return false;
  }
  std::map<std::string, DType> types;
  if (numbers) {
    const size_t errors = ev.diags.error_count();
    DryRun trial(ev);
    Value out = ev.apply(body, {init.value, item(0)}, c.span);
    if (ev.diags.error_count() > errors || out.is_poison()) return false;
    if (auto pair = out.ptr<SequenceValue>(); pair && pair->items.size() == 2)
      map_parts(pair->items[1], [&](const std::string& path, const Value& part) {
        if (auto* t = part.get<TensorValue>()) types[path] = t->type.dtype;
        return Value(NoneValue{});
      });
  }
  state = map_parts(init.value, [&](const std::string& path, const Value& part) -> Value {
    std::optional<DType> wanted;
    if (auto known = types.find(path); known != types.end()) wanted = known->second;
    auto t = ev.to_tensor(part, part.get<TensorValue>() ? std::nullopt : wanted, init.span);
    if (!t) return Poison{};
    t->is_literal = false;
    t->literal = nullptr;
    t->param = nullptr;
    return Value(*t, part.span.valid() ? part.span : init.span);
  });
  return !state.is_poison();
}

/// What `over` holds at one place of the axis, without the axis.
Value Scan::item(int64_t step) {
  return map_parts(over, [&](const std::string&, const Value& part) -> Value {
    const TensorValue& x = *part.get<TensorValue>();
    const auto at = static_cast<size_t>(axis);
    Shape starts(x.type.rank(), Dim(0)), sizes = x.type.shape;
    starts[at] = Dim(step);
    sizes[at] = Dim(1);
    Node* n = graph::slice(ev.graph(), ev.node(x), starts, sizes, IntList(sizes.size(), 1), c.span);
    sizes.erase(sizes.begin() + axis);
    std::vector<Dim> strides = strides_of(x);
    strides.erase(strides.begin() + axis);
    return Value(view_result(ev, x, graph::reshape(ev.graph(), n, sizes, c.span), std::move(strides), c.span, "scan"),
                 part.span);
  });
}

/// Calls the block once.
bool Scan::step(const Value& state, const Value& x, Value& out, Value& next) {
  Value result = ev.apply(body, {state, x}, c.span);
  if (result.is_poison()) return false;
  auto pair = result.ptr<SequenceValue>();
  if (!pair || pair->is_list || pair->items.size() != 2) {
    ev.error(Code::PatternMismatch, pair_span(0),
             fmt::format("the block of `scan` gives what to collect and the next state, but this gives {}",
                         structure(result)))
        .help("its value is a tuple of two: `(out, new_state)`");
    return false;
  }
  out = pair->items[0];
  next = pair->items[1];
  for (const Value& v : {out, next})
    if (v.is_poison()) return false;
  return keeps_type(state, next);
}

/// The state has the structure and the types that it had. Numbers in it become tensors.
bool Scan::keeps_type(const Value& before, Value& after) {
  bool same = true, known = true;  // known: no part of it is wrong already
  std::function<Value(const Value&, const Value&)> match = [&](const Value& a, const Value& b) -> Value {
    auto items = [&](const std::vector<Value>& p, const std::vector<Value>& q) {
      std::vector<Value> out;
      same &= p.size() == q.size();
      for (size_t i = 0; same && i < p.size(); ++i) out.push_back(match(p[i], q[i]));
      return out;
    };
    if (auto s = a.ptr<SequenceValue>()) {
      auto t = b.ptr<SequenceValue>();
      same &= t && t->is_list == s->is_list;
      return same ? sequence_value(items(s->items, t->items), s->is_list, b.span) : Value();
    }
    if (auto r = a.ptr<RecordValue>()) {
      auto t = b.ptr<RecordValue>();
      same &= t && t->names == r->names;
      if (!same) return {};
      auto out = std::make_shared<RecordValue>();
      out->names = r->names;
      out->items = items(r->items, t->items);
      return Value(out, b.span);
    }
    known &= !b.is_poison();
    same &= known;
    if (!known) return {};
    const TensorValue& was = *a.get<TensorValue>();
    if (is_host_number(b) && was.type.rank() == 0) {
      auto t = ev.to_tensor(b, was.type.dtype, b.span.valid() ? b.span : body_span());
      known &= t.has_value();
      same &= known;
      return t ? Value(*t, b.span) : Value();
    }
    auto* is = b.get<TensorValue>();
    same &= is && is->type.dtype == was.type.dtype && is->type.rank() == was.type.rank() &&
            is->classes.has_value() == was.classes.has_value() && (!is->classes || *is->classes == *was.classes);
    for (size_t i = 0; same && i < was.type.rank(); ++i)
      same &= is->type.shape[i] == was.type.shape[i] || ev.may_be_equal(is->type.shape[i], was.type.shape[i]);
    if (!same) return {};
    TensorValue kept = *is;
    if (kept.kind != was.kind) {
      // One meaning for all steps.
      kept.kind = ValueKind::plain;
      kept.logits = nullptr;
    }
    kept.is_literal = false;
    kept.param = nullptr;
    return Value(kept, b.span);
  };
  Value kept = match(before, after);
  if (same) {
    after = std::move(kept);
    return true;
  }
  if (!known) return false;
  const ArgValue& init = c.arg("init");
  ev.error(Code::ScanState, pair_span(1),
           fmt::format("the state of `scan` keeps its type, but changes from {} to {}", structure(before),
                       structure(after)))
      .label(init.span, fmt::format("starts as {}", structure(before)));
  return false;
}

/// What the steps gave, along the axis.
Value Scan::stacked(const std::vector<Value>& outs) {
  std::vector<std::vector<TensorValue>> parts;  // [step][part]
  size_t next = 0;
  for (const Value& out : outs) {
    std::vector<TensorValue>& mine = parts.emplace_back();
    Value all = map_parts(out, [&](const std::string&, const Value& part) -> Value {
      if (part.is_none()) return part;
      if (!part.get<TensorValue>() && !is_host_number(part)) {
        ev.error(Code::NotATensor, pair_span(0),
                 fmt::format("`scan` collects tensors, but this is {}", describe(part)));
        return Poison{};
      }
      auto t = ev.to_tensor(part, std::nullopt, pair_span(0));
      if (!t) return Poison{};
      if (axis > static_cast<int64_t>(t->type.rank())) {
        ev.error(Code::AxisOutOfRange, pair_span(0),
                 fmt::format("`scan` collects along axis {}, but what it collects is {}", axis, type_text(*t)))
            .label(c.given("axis") ? c.arg("axis").span : c.span, "the axis");
        return Poison{};
      }
      mine.push_back(*t);
      return part;
    });
    if (all.is_poison()) return Poison{};
    if (mine.size() != parts[0].size() ||
        !std::equal(mine.begin(), mine.end(), parts[0].begin(),
                    [](const TensorValue& a, const TensorValue& b) { return a.type == b.type; })) {
      ev.error(Code::OperandShapes, pair_span(0),
               fmt::format("`scan` collects the same type at every step, but the first gives {} and another {}",
                           structure(outs[0]), structure(out)));
      return Poison{};
    }
  }
  return map_parts(outs[0], [&](const std::string&, const Value& part) -> Value {
    if (part.is_none()) return part;
    const size_t k = next++;
    const TensorValue& like = parts[0][k];
    Shape one = like.type.shape, whole = one;
    one.insert(one.begin() + axis, Dim(1));
    whole.insert(whole.begin() + axis, length);
    Node* n = nullptr;
    if (ev.context.dry || !length.is_constant()) {
      n = open_tensor(ev, {like.type.dtype, whole}, c.span);
    } else {
      std::vector<Node*> nodes;
      for (auto& step : parts) nodes.push_back(graph::reshape(ev.graph(), ev.node(step[k]), one, c.span));
      if (reverse) std::reverse(nodes.begin(), nodes.end());
      n = graph::concat(ev.graph(), nodes, axis, c.span);
    }
    TensorValue t = ev.tensor(n, c.span);
    bool one_kind = true, one_class = true;
    for (auto& step : parts) {
      one_kind &= step[k].kind == like.kind;
      one_class &= step[k].classes == like.classes;
      t.may_be_missing |= step[k].may_be_missing;
    }
    if (one_class) t.classes = like.classes;
    if (one_kind && like.kind != ValueKind::probabilities) {
      t.kind = like.kind;
      t.kind_at = like.kind_at;
    }
    return Value(t, part.span);
  });
}

Value Scan::run() {
  if (!read_over()) return {};
  const bool open = !length.is_constant();
  if (open && !ev.context.dry) {
    ev.error(Code::NotStatic, c.arg("over").span,
             fmt::format("the length of a `scan` is known when compiling, but this one's is {}", length.str()));
    return {};
  }
  if (!open && length.value() == 0) {
    ev.error(Code::BadSize, c.arg("over").span,
             fmt::format("`scan` has nothing to go over: this is {}", structure(over)));
    return {};
  }
  // A check needs one step: the state keeps its types.
  const int64_t steps = ev.context.dry ? 1 : length.value();
  const Context saved = ev.context;
  ev.context.tensor_code = true;
  Value state;
  bool ok = start(state);
  std::vector<Value> outs;
  for (int64_t i = 0; ok && i < steps; ++i) {
    Value next;
    ok = step(state, item(reverse && !open ? length.value() - 1 - i : i), outs.emplace_back(), next);
    state = std::move(next);
  }
  Value all = ok ? stacked(outs) : Value();
  ev.context = saved;
  if (!ok || all.is_poison()) return {};
  return sequence_value({std::move(all), std::move(state)}, false, c.span);
}

Value scan(BuiltinCall& c) {
  Value body = c.lambda ? Value(*c.lambda, c.lambda->decl->span) : c.arg("body").value;
  if (body.is_none()) {
    c.ev.error(Code::MissingArgument, c.callee_span, "`scan` needs a block that makes a step")
        .help("`scan(init, over = xs) { state, x -> (out, new_state) }`");
    return {};
  }
  auto reverse = c.boolean("reverse");
  if (!reverse) return {};
  Scan s{c, c.ev, std::move(body), {}, 0, *reverse, Dim(0)};
  return s.run();
}

}  // namespace

std::vector<Builtin> scan_builtins() {
  return {
      {"scan", "init, over, axis = 0, reverse = false, body = None", scan,
       "(outs, last state) of a block that is called for each place of an axis with the state and what stands there"}};
}

}  // namespace nnlc::sema
