// Indexing: tensors by ints, slices, `...`, None and index tensors; lists, tuples, strings and records by static
// values.
#include <algorithm>

#include "compiler/sema/tensor_support.h"
#include "compiler/sema/training.h"

namespace nnlc::sema {
namespace {

using ast::Subscript;
using K = host::Type::Kind;

const RuntimeValue* run_time_int(const Value& v) {
  const auto* r = v.get<RuntimeValue>();
  return r && r->type.kind == K::integer ? r : nullptr;
}

/// An int expression as a polynomial in which registers are symbols, so that the length of `x[i * k:(i + 1) * k]` can
/// be seen.
std::optional<Dim> as_polynomial(Evaluator& ev, const ast::Expr& e, const std::shared_ptr<Scope>& scope) {
  if (const auto* b = ast::dyn<ast::BinaryExpr>(&e)) {
    if (b->op == ast::BinaryOp::add || b->op == ast::BinaryOp::sub || b->op == ast::BinaryOp::mul) {
      auto l = as_polynomial(ev, *b->lhs, scope), r = as_polynomial(ev, *b->rhs, scope);
      if (!l || !r) return std::nullopt;
      return b->op == ast::BinaryOp::add ? *l + *r : b->op == ast::BinaryOp::sub ? *l - *r : *l * *r;
    }
  }
  if (const auto* n = ast::dyn<ast::NameExpr>(&e)) {
    // Each read of a var gives a register of its own: the name stands for it within one subscript.
    const Value v = ev.eval(e, scope);
    if (const Dim* d = v.get<Dim>()) return *d;
    if (const auto* r = run_time_int(v)) {
      const Scope::Entry* entry = scope->find(n->name);
      return entry && entry->slot != host::kNoReg ? Dim::symbol("$" + n->name) : form_of(*r);
    }
    return std::nullopt;
  }
  if (e.kind == ast::Expr::Kind::call) {
    // Equal text of a pure expression: one symbol.
    return Dim::symbol("$" + std::string(ev.sources.text(e.span)));
  }
  const Value v = ev.eval(e, scope);
  if (const Dim* d = v.get<Dim>()) return *d;
  if (const auto* r = run_time_int(v)) return form_of(*r);
  return std::nullopt;
}

struct TensorIndex {
  Evaluator& ev;
  const TensorValue& x;
  const ast::IndexExpr& e;
  const std::shared_ptr<Scope>& scope;

  // The static part: one slice over all axes, then axes dropped and added.
  Shape starts{}, sizes{};
  IntList steps{};
  struct OutAxis {
    bool is_new = false;
    int64_t axis = 0;  ///< of x
  };
  std::vector<OutAxis> out{};
  // What follows at run time.
  struct Dynamic {
    int64_t axis;
    Node* start;
    Dim size;
  };
  std::vector<Dynamic> dynamic{};
  std::optional<TensorValue> gather_index{};
  int64_t gather_axis = -1;
  Span gather_span{};

  Value run() {
    size_t used = 0, ellipses = 0;
    for (const Subscript& s : e.subscripts) {
      if (s.kind == Subscript::Kind::ellipsis)
        ++ellipses;
      else if (s.kind != Subscript::Kind::new_axis && !is_none_literal(s))
        ++used;
    }
    const size_t rank = x.type.rank();
    if (ellipses > 1) return bad(e.span, "an index has at most one `...`");
    if (used > rank) {
      ev.error(Code::BadIndex, e.span, std::to_string(used) + " indices for " + type_text(x))
          .label(e.object->span, "is " + type_text(x));
      return {};
    }
    starts = Shape(rank, Dim(0));
    sizes = x.type.shape;
    steps = IntList(rank, 1);
    int64_t axis = 0;
    for (const Subscript& s : e.subscripts) {
      if (s.kind == Subscript::Kind::ellipsis) {
        for (size_t i = used; i < rank; ++i) out.push_back({false, axis++});
        continue;
      }
      if (s.kind == Subscript::Kind::new_axis || is_none_literal(s)) {
        out.push_back({true, 0});
        continue;
      }
      if (!(s.kind == Subscript::Kind::slice ? slice(s, axis) : single(s, axis))) return {};
      ++axis;
    }
    while (axis < static_cast<int64_t>(rank)) out.push_back({false, axis++});
    return build();
  }

  static bool is_none_literal(const Subscript& s) {
    return s.kind == Subscript::Kind::expr && s.expr && s.expr->kind == ast::Expr::Kind::none;
  }

  Value bad(Span at, const std::string& what, const std::string& help = "") {
    DiagnosticBuilder b = ev.error(Code::BadIndex, at, what);
    if (!help.empty()) b.help(help);
    return {};
  }

  const Dim& size_of(int64_t axis) const { return x.type.shape[static_cast<size_t>(axis)]; }

  bool out_of_range(Span at, const std::string& index, int64_t axis) {
    ev.error(
          Code::IndexOutOfRange, at,
          "index " + index + " is outside of axis " + std::to_string(axis) + ", which has size " + size_of(axis).str())
        .label(e.object->span, "is " + type_text(x));
    return false;
  }

  bool single(const Subscript& s, int64_t axis) {
    const Value v = ev.eval(*s.expr, scope);
    const size_t at = static_cast<size_t>(axis);
    if (v.is_poison()) return false;
    if (const Dim* d = v.get<Dim>()) {
      Dim start = *d;
      const Dim& size = size_of(axis);
      if (d->is_constant() && d->value() < 0) start = size + *d;
      if ((start.is_constant() && start.value() < 0) || (size - start).is_constant()) {
        if ((start.is_constant() && start.value() < 0) || (size - start).value() < 1)
          return out_of_range(s.span, d->str(), axis);
      }
      starts[at] = start;
      sizes[at] = Dim(1);
      return true;
    }
    if (const auto* r = run_time_int(v)) {
      Node* place = ev.scalar_node(*r, DType::i64);
      if (const Dim& size = size_of(axis); size.is_constant()) {
        ev.check_when_run(*r, {"index", -size.value(), size.value() - 1, {std::to_string(axis)}, s.span});
        place = from_the_end(place, size.value(), s.span);
      }
      dynamic.push_back({axis, place, Dim(1)});
      sizes[at] = Dim(1);
      return true;
    }
    if (v.get<bool>() || (v.get<RuntimeValue>() && v.get<RuntimeValue>()->type.kind == K::boolean)) {
      bad(s.span, "a bool can't be an index");
      return false;
    }
    std::optional<TensorValue> index;
    if (const auto* t = v.get<TensorValue>()) {
      index = *t;
    } else if (sequence(v)) {
      const Value made = ev.call(Value(find_builtin("tensor")), {ArgValue{"", {}, v, s.span}}, nullptr, s.span, s.span);
      if (!made.get<TensorValue>()) return false;
      index = *made.get<TensorValue>();
    } else if (const auto* range = v.get<RangeValue>(); range && range->is_static) {
      return fixed_slice(range->lo, range->hi, 1, axis, s.span);
    } else {
      bad(s.span, describe(v) + " can't be an index", v.get<double>() ? "`int(x)` truncates" : "");
      return false;
    }
    if (index->type.dtype == DType::boolean) {
      bad(s.span, "a bool tensor can't be an index: the result's shape would depend on the data",
          "`where(mask, x, 0.0)` keeps the shape; `sum(where(mask, x, 0.0))` counts only what is chosen");
      return false;
    }
    if (!graph::is_int(index->type.dtype)) {
      bad(s.span, "an index tensor holds ints, but this is " + type_text(*index),
          "`i64(" + source_text(ev, s.span, "x") + ")`");
      return false;
    }
    if (gather_index) {
      ev.error(Code::BadIndex, s.span, "only one index can be a tensor")
          .label(gather_span, "is one already")
          .help("`gather(x, axis, index)` picks one element for each index");
      return false;
    }
    const Dim& size = size_of(axis);
    if (index->classes && index->classes->is_constant() && size.is_constant() &&
        index->classes->value() > size.value()) {
      ev.error(Code::ClassMismatch, s.span,
               type_text(*index) + " reaches beyond axis " + std::to_string(axis) + ", which has size " + size.str())
          .label(e.object->span, "is " + type_text(x));
      return false;
    }
    if (size.is_constant() && !checked_index(*index, size.value(), axis, s.span)) return false;
    gather_index = std::move(index);
    gather_axis = axis;
    gather_span = s.span;
    out.push_back({false, axis});
    return true;
  }

  /// Places below 0 count from the end.
  Node* from_the_end(Node* place, int64_t size, Span at) {
    graph::Graph& g = ev.graph();
    Node* below = graph::binary(g, "lt", place, like(ev, place, 0), at);
    return graph::select(g, below, graph::binary(g, "add", place, like(ev, place, static_cast<double>(size)), at),
                         place, at);
  }

  /// Indices that are written down are checked here, others when they are known; labels are checked already.
  bool checked_index(TensorValue& index, int64_t size, int64_t axis, Span at) {
    if (index.classes && !index.may_be_missing) return true;
    const int64_t low = index.classes ? 0 : -size;
    bool below = false;
    if (index.literal) {
      for (double v : *index.literal) {
        if (v < static_cast<double>(low) || v >= static_cast<double>(size))
          return out_of_range(at, std::to_string(static_cast<int64_t>(v)), axis);
        below |= v < 0;
      }
    } else {
      ev.check_when_run(index, {"index", low, size - 1, {std::to_string(axis)}, at});
      below = !index.classes && index.type.dtype != DType::u8;
    }
    if (below) {
      TensorValue wide = index;
      if (wide.type.dtype != DType::i64) wide = ev.tensor(graph::cast(ev.graph(), ev.node(wide), DType::i64, at), at);
      index = ev.tensor(from_the_end(ev.node(wide), size, at), at);
    }
    return true;
  }

  bool fixed_slice(Dim lo, Dim hi, int64_t step, int64_t axis, Span at) {
    const Dim& size = size_of(axis);
    auto outside = [&](const Dim& d) {
      const Dim room = size - d;
      return (d.is_constant() && d.value() < 0) || (room.is_constant() && room.value() < 0);
    };
    if (outside(lo) || outside(hi)) {
      ev.error(Code::IndexOutOfRange, at,
               "the slice " + lo.str() + ":" + hi.str() + " is outside of axis " + std::to_string(axis) +
                   ", which has size " + size.str())
          .label(e.object->span, "is " + type_text(x));
      return false;
    }
    const Dim length = hi - lo;
    if (length.is_constant() && length.value() < 0) {
      ev.error(Code::BadIndex, at, "the slice " + lo.str() + ":" + hi.str() + " ends before it starts")
          .help("`flip(x, axis)` reverses");
      return false;
    }
    starts[static_cast<size_t>(axis)] = lo;
    sizes[static_cast<size_t>(axis)] = step == 1 ? length : Dim::floor_div(length + Dim(step - 1), Dim(step));
    steps[static_cast<size_t>(axis)] = step;
    out.push_back({false, axis});
    return true;
  }

  bool slice(const Subscript& s, int64_t axis) {
    const Dim& size = size_of(axis);
    int64_t step = 1;
    if (s.step) {
      const Value v = ev.eval(*s.step, scope);
      const Dim* d = v.get<Dim>();
      if (v.is_poison()) return false;
      if (!d || !d->is_constant()) {
        bad(s.step->span, "a step is a static int, not " + describe(v));
        return false;
      }
      if (d->value() < 1) {
        bad(s.step->span, d->value() == 0 ? "a step can't be 0" : "negative steps aren't possible",
            d->value() == 0 ? "" : "`flip(x, axis)` reverses");
        return false;
      }
      step = d->value();
    }
    auto bound = [&](const ast::ExprPtr& p, const Dim& otherwise, Value& v) {
      if (!p) {
        v = Value(otherwise);
        return true;
      }
      v = ev.eval(*p, scope);
      if (v.is_none()) v = Value(otherwise);
      if (v.is_poison()) return false;
      if (Dim* d = v.get<Dim>()) {
        if (d->is_constant() && d->value() < 0) *d = size + *d;
        return true;
      }
      if (run_time_int(v)) return true;
      bad(p->span, "a bound of a slice is an int, not " + describe(v));
      return false;
    };
    Value lo, hi;
    if (!bound(s.lo, Dim(0), lo) || !bound(s.hi, size, hi)) return false;
    const Dim *l = lo.get<Dim>(), *h = hi.get<Dim>();
    if (l && h) return fixed_slice(*l, *h, step, axis, s.span);
    // The length must be static, though the bounds aren't.
    std::optional<Dim> pl = s.lo ? as_polynomial(ev, *s.lo, scope) : std::optional(Dim(0));
    std::optional<Dim> ph = s.hi ? as_polynomial(ev, *s.hi, scope) : std::optional(size);
    std::optional<Dim> length;
    if (pl && ph) length = *ph - *pl;
    bool is_static = length.has_value();
    if (length)
      for (const std::string& name : length->symbols()) is_static &= name[0] != '$';
    if (!is_static) {
      ev.error(Code::BadIndex, s.span, "the length of this slice isn't known when compiling")
          .help("bounds that are known when it runs need a static distance: `x[i:i + 2]`");
      return false;
    }
    if (step != 1) {
      bad(s.span, "a slice with run-time bounds has no step", "slice again: `x[i:i + 4][::2]`");
      return false;
    }
    if (length->is_constant() && (length->value() < 0 || (size.is_constant() && length->value() > size.value()))) {
      ev.error(Code::IndexOutOfRange, s.span,
               "a slice of length " + length->str() + " doesn't fit into axis " + std::to_string(axis) +
                   ", which has size " + size.str());
      return false;
    }
    const auto* r = run_time_int(lo);
    if (!r) {
      bad(s.span, "the length of this slice isn't known when compiling");
      return false;
    }
    if (size.is_constant() && length->is_constant())
      ev.check_when_run(
          *r, {"slice", 0, size.value() - length->value(), {std::to_string(axis), length->str(), size.str()}, s.span});
    dynamic.push_back({axis, ev.scalar_node(*r, DType::i64), *length});
    sizes[static_cast<size_t>(axis)] = *length;
    out.push_back({false, axis});
    return true;
  }

  Value build() {
    TensorValue r = windowed(x);
    // Probabilities that were cut along their classes are no softmax of the cut logits: those are forgotten.
    if (x.logits && !gather_index && x.type.rank() > 0 && sizes.back() == x.type.shape.back() &&
        x.logits->type.shape == x.type.shape)
      r.logits = std::make_shared<const TensorValue>(windowed(*x.logits));
    return Value(std::move(r), e.span);
  }

  TensorValue windowed(const TensorValue& from) {
    graph::Graph& g = ev.graph();
    Node* n = ev.node(from);
    const size_t rank = from.type.rank();
    std::vector<Dim> strides = strides_of(from);
    for (const Dynamic& d : dynamic) n = graph::dynamic_slice(g, n, d.start, d.axis, d.size, e.span);
    bool is_cut = false;
    for (size_t i = 0; i < rank; ++i) {
      is_cut |= !(sizes[i] == n->type.shape[i]) || steps[i] != 1;
      strides[i] = strides[i] * Dim(steps[i]);
    }
    if (is_cut) n = graph::slice(g, n, starts, sizes, steps, e.span);
    Shape shape;
    std::vector<Dim> out_strides;
    int64_t gathered = -1;
    for (const OutAxis& o : out) {
      if (!o.is_new && gather_index && o.axis == gather_axis) gathered = static_cast<int64_t>(shape.size());
      shape.push_back(o.is_new ? Dim(1) : sizes[static_cast<size_t>(o.axis)]);
      out_strides.push_back(o.is_new ? Dim(1) : strides[static_cast<size_t>(o.axis)]);
    }
    n = reshape_node(ev, n, shape, e.span);
    if (gather_index) return carry(ev, from, graph::gather(g, n, ev.node(*gather_index), gathered, e.span), e.span);
    return view_result(ev, from, n, std::move(out_strides), e.span, "slicing");
  }
};

Value index_sequence(Evaluator& ev, const Value& object, const ast::IndexExpr& e, const std::shared_ptr<Scope>& scope,
                     const std::vector<Value>& items, bool is_list) {
  if (e.subscripts.size() != 1 || e.subscripts[0].kind == Subscript::Kind::ellipsis ||
      e.subscripts[0].kind == Subscript::Kind::new_axis) {
    ev.error(Code::BadIndex, e.span, describe(object) + " takes one index");
    return {};
  }
  const Subscript& s = e.subscripts[0];
  const auto n = static_cast<int64_t>(items.size());
  auto constant = [&](const ast::Expr& x) -> std::optional<int64_t> {
    const Value v = ev.eval(x, scope);
    if (const Dim* d = v.get<Dim>(); d && d->is_constant()) return d->value();
    if (!v.is_poison()) {
      DiagnosticBuilder b =
          ev.error(Code::BadIndex, x.span, describe(object) + " takes a static int, not " + describe(v));
      if (run_time_int(v))
        b.help("a tensor can be indexed by a number that is known when the program runs: `tensor([…])[i]`");
    }
    return std::nullopt;
  };
  auto outside = [&](int64_t i) {
    ev.error(Code::IndexOutOfRange, s.span,
             "index " + std::to_string(i) + " is outside of " + describe(object) + ", which has " + std::to_string(n) +
                 (n == 1 ? " item" : " items"));
    return Value();
  };
  if (s.kind == Subscript::Kind::expr) {
    auto i = constant(*s.expr);
    if (!i) return {};
    const int64_t at = *i < 0 ? *i + n : *i;
    if (at < 0 || at >= n) return outside(*i);
    return items[static_cast<size_t>(at)];
  }
  int64_t lo = 0, hi = n, step = 1;
  for (auto [expr, target] : {std::pair{s.lo.get(), &lo}, std::pair{s.hi.get(), &hi}, std::pair{s.step.get(), &step}})
    if (expr) {
      auto v = constant(*expr);
      if (!v) return {};
      *target = *v < 0 && target != &step ? *v + n : *v;
    }
  if (step < 1) {
    ev.error(Code::BadIndex, s.span, "a step is at least 1");
    return {};
  }
  if (lo < 0 || lo > n) return outside(lo);
  if (hi < 0 || hi > n) return outside(hi);
  std::vector<Value> part;
  for (int64_t i = lo; i < hi; i += step) part.push_back(items[static_cast<size_t>(i)]);
  return list_of(std::move(part), e.span, is_list);
}

}  // namespace

Value Evaluator::index(const Value& object, const ast::IndexExpr& e, const std::shared_ptr<Scope>& scope) {
  if (object.is_poison()) {
    for (const Subscript& s : e.subscripts)
      for (const ast::Expr* x : {s.expr.get(), s.lo.get(), s.hi.get(), s.step.get()})
        if (x) eval(*x, scope);
    return {};
  }
  if (const auto* t = object.get<TensorValue>()) return TensorIndex{*this, *t, e, scope}.run();
  if (const SequenceValue* s = sequence(object)) return index_sequence(*this, object, e, scope, s->items, s->is_list);
  const bool one = e.subscripts.size() == 1 && e.subscripts[0].kind == Subscript::Kind::expr;
  if (const auto* text = object.get<std::string>()) {
    std::vector<Value> characters;  // by code point
    for (size_t i = 0; i < text->size();) {
      size_t n = 1;
      while (i + n < text->size() && (static_cast<unsigned char>((*text)[i + n]) & 0xC0) == 0x80) ++n;
      characters.push_back(Value(text->substr(i, n), e.span));
      i += n;
    }
    const Value r = index_sequence(*this, object, e, scope, characters, true);
    const SequenceValue* part = sequence(r);
    if (!part) return r;
    std::string joined;
    for (const Value& c : part->items) joined += *c.get<std::string>();
    return Value(joined, e.span);
  }
  if (auto layer = object.ptr<LayerInstance>(); layer && !layer->klass) {
    std::vector<Value> members;
    for (auto& [name, m] : layer->members) members.push_back(m);
    return index_sequence(*this, object, e, scope, members, true);
  }
  if (one) {
    const Value i = eval(*e.subscripts[0].expr, scope);
    if (i.is_poison()) return {};
    if (const auto* r = object.get<std::shared_ptr<RecordValue>>()) {
      if (const auto* name = i.get<std::string>()) {
        if (const Value* v = (*r)->find(*name)) return *v;
        DiagnosticBuilder b =
            error(Code::BadIndex, e.subscripts[0].span, "there is no field \"" + *name + "\" in " + describe(object));
        if (auto near = nearest(*name, (*r)->names)) b.help("did you mean \"" + *near + "\"?");
        return {};
      }
      error(Code::BadIndex, e.subscripts[0].span, "a record is indexed by the name of a field, not by " + describe(i))
          .help("`r.name`");
      return {};
    }
    if (object.ptr<GradientValue>() || object.ptr<OptimizerInstance>()) {
      if (const Dim* d = i.get<Dim>(); d && d->is_constant())
        if (auto v = training_member(object, ast::Name{d->str(), e.subscripts[0].span})) return *v;
    } else if (const Builtin* b = find_method(object, "[]")) {
      auto self = std::make_shared<Value>(object);
      return call(Value(BoundBuiltin{b, self}, e.span),
                  {ArgValue{"", {}, i, e.subscripts[0].span, e.subscripts[0].expr.get()}}, nullptr, e.span, e.span);
    }
  }
  error(Code::BadIndex, e.span, describe(object) + " can't be indexed here");
  return {};
}

}  // namespace nnlc::sema
