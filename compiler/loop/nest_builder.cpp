// Expressions of a kernel, found by walking back from a root: movement ops turn into index maps, padding and
// concatenation into guards, gathers into indices that are themselves values.
#include "compiler/loop/lowering.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "compiler/ops/build.h"

namespace nnlc::loop {

std::vector<int64_t> sizes_of(const Node* n) { return graph::sizes(n->type.shape); }

int64_t count_of(const Node* n) {
  int64_t c = 1;
  for (int64_t s : sizes_of(n)) c *= s;
  return c;
}

static int64_t axis_of(const Node* n, const char* key, size_t rank) {
  int64_t a = n->int_attr(key);
  return a < 0 ? a + int64_t(rank) : a;
}

bool is_movement(const Node* n) {
  static const std::set<std::string_view> names{"reshape", "permute", "broadcast", "slice",  "dynamic_slice",
                                                "pad",     "concat",  "flip",      "window", "stop_gradient"};
  return names.count(n->op->name) > 0;
}

bool unflatten(const Affine& flat, const std::vector<int64_t>& sizes, const std::vector<Axis>& axes,
               const std::vector<Dynamic>& dynamics, Index& out) {
  auto strides = row_major(sizes);
  out.assign(sizes.size(), Affine());
  // What each term can reach; negative coefficients only together with a constant that makes up for them.
  Affine rest = flat;
  if (rest.constant < 0) return false;
  for (size_t d = 0; d < sizes.size(); d++) {
    if (sizes[d] == 1) continue;
    if (strides[d] == 0) return false;  // an empty tensor
    if (strides[d] == 1) {
      // Whatever is left belongs to the last dims.
      out[d] = rest;
      rest = Affine();
      break;
    }
    Affine here, later;
    int64_t lowest = rest.constant % strides[d], highest = lowest;
    here.constant = rest.constant / strides[d];
    later.constant = lowest;
    for (auto& [t, c] : rest.terms) {
      int64_t size = t < kDynamic ? axes[t].size : dynamics[t - kDynamic].size;
      if (c % strides[d] == 0)
        here = here + Affine::axis(t, c / strides[d]);
      else {
        later = later + Affine::axis(t, c);
        (c > 0 ? highest : lowest) += c * (size - 1);
      }
    }
    if (lowest < 0 || highest >= strides[d]) return false;
    out[d] = here;
    rest = later;
  }
  // Each part must stay inside its dim, or the split was a different one.
  for (size_t d = 0; d < sizes.size(); d++) {
    int64_t low = out[d].constant, high = low;
    for (auto& [t, c] : out[d].terms) {
      int64_t size = t < kDynamic ? axes[t].size : dynamics[t - kDynamic].size;
      (c > 0 ? high : low) += c * (size - 1);
    }
    if (low < 0 || high >= sizes[d]) return false;
  }
  return rest == Affine();
}

bool through_movement(const Node* n, const Index& ix, const std::vector<Axis>& axes,
                      const std::vector<Dynamic>& dynamics, Index& to) {
  const Node* x = n->operands[0];
  std::string_view op = n->op->name;
  to.assign(x->type.rank(), Affine());
  if (op == "stop_gradient")
    to = ix;
  else if (op == "permute") {
    auto& perm = n->ints_attr("perm");
    for (size_t i = 0; i < perm.size(); i++) to[perm[i]] = ix[i];
  } else if (op == "broadcast") {
    auto& at = n->ints_attr("axes");
    auto from = sizes_of(x);
    for (size_t i = 0; i < at.size(); i++)
      if (from[i] != 1) to[i] = ix[at[i]];
  } else if (op == "slice") {
    auto starts = graph::sizes(n->shape_attr("starts"));
    auto& strides = n->ints_attr("strides");
    for (size_t i = 0; i < ix.size(); i++) to[i] = ix[i] * strides[i] + Affine(starts[i]);
  } else if (op == "flip") {
    to = ix;
    auto sizes = sizes_of(x);
    for (int64_t a : n->ints_attr("axes")) {
      if (a < 0) a += int64_t(sizes.size());
      to[a] = ix[a] * -1 + Affine(sizes[a] - 1);
    }
  } else if (op == "window") {
    int64_t a = axis_of(n, "axis", x->type.rank());
    for (size_t i = 0; i < to.size(); i++) to[i] = ix[i];
    to[a] = ix[a] * n->int_attr("stride") + ix.back() * n->int_attr("dilation");
  } else if (op == "reshape") {
    auto from = sizes_of(n), sizes = sizes_of(x);
    // Dims of size 1 come and go without any arithmetic.
    std::vector<size_t> a, b;
    for (size_t i = 0; i < from.size(); i++)
      if (from[i] != 1) a.push_back(i);
    for (size_t i = 0; i < sizes.size(); i++)
      if (sizes[i] != 1) b.push_back(i);
    bool same = a.size() == b.size();
    for (size_t i = 0; same && i < a.size(); i++) same = from[a[i]] == sizes[b[i]];
    if (same) {
      for (size_t i = 0; i < a.size(); i++) to[b[i]] = ix[a[i]];
      return true;
    }
    return unflatten(flatten(ix, from), sizes, axes, dynamics, to);
  } else {
    return false;
  }
  return true;
}

int NestBuilder::argument(const Node* n, bool written) {
  auto it = args_.find(n);
  if (it == args_.end()) {
    it = args_.emplace(n, int(k.args.size())).first;
    int64_t count = 1;
    for (int64_t s : sizes_of(n)) count *= s;
    k.args.push_back({n->type.dtype, count, false});
    arguments.push_back(n);
  }
  k.args[it->second].written |= written;
  return it->second;
}

static size_t hash_of(const Expr& e) {
  size_t h = size_t(e.fn) * 31 + size_t(e.type);
  auto mix = [&](size_t v) { h = (h ^ v) * 1099511628211u + (h >> 29); };
  for (int a : e.args) mix(a);
  mix(std::hash<double>()(e.f));
  mix(e.i), mix(e.buffer), mix(e.guard), mix(e.offset.constant), mix(e.key);
  for (auto& [t, c] : e.offset.terms) mix(t), mix(c);
  for (auto& b : e.bounds) mix(b.low), mix(b.high), mix(b.value.constant);
  return h;
}

int NestBuilder::add(Expr e) {
  size_t h = hash_of(e);
  auto [lo, hi] = known_.equal_range(h);
  for (auto it = lo; it != hi; ++it) {
    const Expr& o = k.exprs[it->second];
    // -0.0 == 0.0 and NaN != NaN: compare a constant's bits.
    if (o == e && std::signbit(o.f) == std::signbit(e.f)) return it->second;
  }
  if (e.fn >= Fn::exp && e.fn <= Fn::erf) heavy++;
  if (e.fn == Fn::pow || e.fn == Fn::random) heavy++;
  k.exprs.push_back(std::move(e));
  known_.emplace(h, int(k.exprs.size()) - 1);
  return int(k.exprs.size()) - 1;
}

int NestBuilder::constant(DType t, double v) {
  Expr e;
  e.type = t;
  if (graph::is_float(t))
    e.f = v;
  else
    e.i = int64_t(v);
  return add(std::move(e));
}

int NestBuilder::cast_to(int value, DType t) {
  if (k.exprs[value].type == t) return value;
  Expr e;
  e.fn = Fn::cast;
  e.type = t;
  e.args = {value};
  return add(std::move(e));
}

int NestBuilder::load(const Node* n, const Affine& offset, int guard) {
  Expr e;
  e.fn = Fn::load;
  e.type = n->type.dtype;
  e.buffer = argument(n, false);
  e.offset = offset;
  e.guard = guard;
  return add(std::move(e));
}

int NestBuilder::inside(const std::vector<Bound>& bounds, int guard) {
  Expr e;
  e.fn = Fn::inside;
  e.type = DType::boolean;
  e.bounds = bounds;
  int id = add(std::move(e));
  if (guard < 0) return id;
  Expr both;
  both.fn = Fn::and_;
  both.type = DType::boolean;
  both.args = {guard, id};
  return add(std::move(both));
}

Affine NestBuilder::dynamic(int value, int64_t size) {
  for (size_t i = 0; i < k.dynamics.size(); i++)
    if (k.dynamics[i].value == value && k.dynamics[i].size == size) return Affine::axis(kDynamic + int(i));
  k.dynamics.push_back({value, size});
  return Affine::axis(kDynamic + int(k.dynamics.size()) - 1);
}

int NestBuilder::eval(const Node* n, const Index& ix, int guard) {
  auto root = roots_.find(n);
  if (root != roots_.end()) {
    const Root& r = root->second;
    if (r.group != group_ || group_ < 0) return load(n, flatten(ix, sizes_of(n)), guard);
    hits.push_back(n);
    if (ix != r.canonical) failed = true;
    if (dry) return constant(n->type.dtype, 0);
    if (auto m = members_.find(n); m != members_.end()) return m->second;
  }
  return compute(n, ix, guard);
}

int NestBuilder::random(const Node* n, const Index& ix) {
  Expr e;
  e.fn = Fn::random;
  e.type = n->type.dtype;
  const std::string& kind = n->str_attr("kind");
  e.kind = kind == "normal" ? RandomKind::normal : kind == "bits" ? RandomKind::bits : RandomKind::uniform;
  e.key = uint64_t(n->int_attr("key"));
  e.offset = flatten(ix, sizes_of(n));
  e.args = {cast_to(eval(n->operands[0], {}, -1), DType::i64)};
  return add(std::move(e));
}

int NestBuilder::compute(const Node* n, const Index& ix, int guard) {
  auto key = std::make_tuple(n, ix, guard);
  if (auto it = memo_.find(key); it != memo_.end()) return it->second;
  computed.push_back(n);
  std::string_view op = n->op->name;
  auto done = [&](int id) { return memo_[key] = id; };
  Fn fn;
  if (op == "input") return done(load(n, flatten(ix, sizes_of(n)), guard));
  if (op == "constant") {
    auto& values = n->ints_attr("values");
    bool all_equal =
        !values.empty() && std::all_of(values.begin(), values.end(), [&](int64_t v) { return v == values[0]; });
    if (!all_equal) return done(load(n, flatten(ix, sizes_of(n)), guard));
    Expr e;
    e.type = n->type.dtype;
    if (graph::is_float(e.type))
      e.f = graph::constant_value(*n, 0);
    else
      e.i = graph::constant_int_value(*n, 0);
    return done(add(std::move(e)));
  }
  if (op == "iota") {
    Expr e;
    e.fn = Fn::index;
    e.type = DType::i64;
    e.offset = n->type.rank() ? ix[axis_of(n, "axis", ix.size())] : Affine();
    return done(cast_to(add(std::move(e)), n->type.dtype));
  }
  if (op == "random") return done(random(n, ix));
  if (fn_from_op(op, fn)) {
    Expr e;
    e.fn = fn;
    e.type = n->type.dtype;
    for (const Node* x : n->operands) e.args.push_back(eval(x, ix, guard));
    if (fn == Fn::cast && k.exprs[e.args[0]].type == e.type) return done(e.args[0]);
    return done(add(std::move(e)));
  }
  if (op == "pad") {
    const Node* x = n->operands[0];
    auto low = graph::sizes(n->shape_attr("low"));
    auto sizes = sizes_of(x), outer = sizes_of(n);
    Index to(ix.size());
    std::vector<Bound> bounds;
    for (size_t i = 0; i < ix.size(); i++) {
      to[i] = ix[i] + Affine(-low[i]);
      if (sizes[i] != outer[i] || low[i]) bounds.push_back({to[i], 0, sizes[i]});
    }
    if (bounds.empty()) return done(eval(x, to, guard));
    int inner = inside(bounds, guard);
    int v = eval(x, to, inner);
    Expr e;
    e.fn = Fn::select;
    e.type = n->type.dtype;
    e.args = {inside(bounds, -1), v, constant(n->type.dtype, n->float_attr("value"))};
    return done(add(std::move(e)));
  }
  if (op == "concat") {
    int64_t axis = axis_of(n, "axis", ix.size()), at = 0;
    int value = -1;
    for (const Node* x : n->operands) {
      int64_t size = sizes_of(x)[axis];
      if (size == 0) continue;
      Index to = ix;
      to[axis] = ix[axis] + Affine(-at);
      std::vector<Bound> bounds{{to[axis], 0, size}};
      int v = eval(x, to, inside(bounds, guard));
      if (value < 0)
        value = v;
      else {
        Expr e;
        e.fn = Fn::select;
        e.type = n->type.dtype;
        e.args = {inside(bounds, -1), v, value};
        value = add(std::move(e));
      }
      at += size;
    }
    return done(value < 0 ? constant(n->type.dtype, 0) : value);
  }
  if (op == "gather" || op == "gather_along" || op == "dynamic_slice") {
    const Node *x = n->operands[0], *index = n->operands[1];
    auto sizes = sizes_of(x);
    int64_t axis = axis_of(n, "axis", x->type.rank());
    if (sizes[axis] == 0) return done(constant(n->type.dtype, 0));
    int64_t limit = op == "dynamic_slice" ? sizes[axis] - sizes_of(n)[axis] + 1 : sizes[axis];
    Index at, to(sizes.size());
    size_t w = index->type.rank();
    if (op == "gather")
      at.assign(ix.begin() + axis, ix.begin() + axis + w);
    else if (op == "gather_along")
      at = ix;
    Expr e;
    e.fn = Fn::clamp;
    e.type = DType::i64;
    e.i = limit;
    e.args = {cast_to(eval(index, at, guard), DType::i64)};
    Affine position = dynamic(add(std::move(e)), limit);
    if (op == "gather") {
      for (int64_t i = 0; i < axis; i++) to[i] = ix[i];
      for (size_t i = axis + 1; i < sizes.size(); i++) to[i] = ix[i + w - 1];
      to[axis] = position;
    } else {
      to = ix;
      to[axis] = op == "gather_along" ? position : position + ix[axis];
    }
    return done(eval(x, to, guard));
  }
  if (op == "reshape") {
    const Node* x = n->operands[0];
    while (x->op->name == "reshape" && !roots_.count(x)) x = x->operands[0];
    bool in_memory = x->op->name == "input" || x->op->name == "constant" ||
                     (roots_.count(x) && (roots_.at(x).group != group_ || group_ < 0));
    if (in_memory) return done(load(x, flatten(ix, sizes_of(n)), guard));
    Index to;
    if (x == n->operands[0] && through_movement(n, ix, k.axes, k.dynamics, to)) return done(eval(x, to, guard));
    Affine flat = flatten(ix, sizes_of(n));
    auto sizes = sizes_of(x);
    if (unflatten(flat, sizes, k.axes, k.dynamics, to)) return done(eval(x, to, guard));
    // Not affine: the dims by division and remainder.
    auto strides = row_major(sizes);
    Expr e;
    e.fn = Fn::index;
    e.type = DType::i64;
    e.offset = flat;
    int rest = add(std::move(e));
    to.assign(sizes.size(), Affine());
    auto divide = [&](Fn f, int a, int64_t by) {
      Expr d;
      d.type = DType::i64;
      d.i = by;
      int c = add(d);
      Expr q;
      q.fn = f;
      q.type = DType::i64;
      q.args = {a, c};
      return add(std::move(q));
    };
    for (size_t d = 0; d < sizes.size(); d++) {
      if (sizes[d] == 1) continue;
      to[d] = dynamic(strides[d] == 1 ? rest : divide(Fn::div, rest, strides[d]), sizes[d]);
      if (strides[d] != 1) rest = divide(Fn::rem, rest, strides[d]);
    }
    return done(eval(x, to, guard));
  }
  if (is_movement(n)) {
    Index to;
    through_movement(n, ix, k.axes, k.dynamics, to);
    return done(eval(n->operands[0], to, guard));
  }
  if (op == "contract") {  // nothing is summed
    std::map<char, Affine> at;
    const std::string& out = n->str_attr("out");
    for (size_t i = 0; i < out.size(); i++) at[out[i]] = ix[i];
    Expr e;
    e.fn = Fn::mul;
    e.type = n->type.dtype;
    for (size_t s = 0; s < 2; s++) {
      Index side;
      for (char c : n->str_attr(s ? "b" : "a")) side.push_back(at[c]);
      e.args.push_back(eval(n->operands[s], side, guard));
    }
    return done(add(std::move(e)));
  }
  // A reduction over dims of size 1 is its operand.
  if (op.starts_with("arg")) return done(constant(n->type.dtype, 0));
  if (op.starts_with("reduce_") || op == "cumsum" || op == "sort") {
    const Node* x = n->operands[0];
    Index to = ix;
    if (op.starts_with("reduce_")) {
      auto axes = n->ints_attr("axes");
      for (int64_t& a : axes)
        if (a < 0) a += int64_t(x->type.rank());
      std::sort(axes.begin(), axes.end());
      for (int64_t a : axes) to.insert(to.begin() + a, Affine());
    }
    return done(cast_to(eval(x, to, guard), n->type.dtype));
  }
  failed = true;
  return done(constant(n->type.dtype, 0));
}

// ------------------------------------------------------------------------------------------------ axes

namespace {

void each_affine(Kernel& k, const std::function<void(Affine&)>& f) {
  for (auto& e : k.exprs) {
    f(e.offset);
    for (auto& b : e.bounds) f(b.value);
  }
  for (auto& r : k.reductions) f(r.position);
  for (auto& p : k.phases)
    for (auto& s : p.stores) f(s.offset);
}

}  // namespace

void merge_axes(Kernel& k) {
  // Axes in the order outer, inner; nothing about their order within is changed.
  std::vector<int> order;
  for (bool outer : {true, false})
    for (size_t i = 0; i < k.axes.size(); i++)
      if (k.axes[i].outer == outer) order.push_back(int(i));
  // A pair that stands side by side is one axis where every access steps over it evenly.
  std::vector<std::pair<int, int>> merged;
  for (size_t i = order.size(); i-- > 1;) {
    int a = order[i - 1], b = order[i];
    if (k.axes[a].outer != k.axes[b].outer) continue;
    bool even = true;
    each_affine(k, [&](Affine& f) { even = even && f.coefficient(a) == f.coefficient(b) * k.axes[b].size; });
    if (!even) continue;
    // Both become a, which now steps as b did.
    each_affine(k, [&](Affine& f) {
      if (int64_t c = f.coefficient(b)) f = f + Affine::axis(b, -c) + Affine::axis(a, c - f.coefficient(a));
    });
    k.axes[a].size *= k.axes[b].size;
    order.erase(order.begin() + i);
  }
  std::vector<int> number(k.axes.size(), -1);
  std::vector<Axis> axes;
  for (int a : order) {
    number[a] = int(axes.size());
    axes.push_back(k.axes[a]);
  }
  each_affine(k, [&](Affine& f) {
    Affine r(f.constant);
    for (auto& [t, c] : f.terms) r = r + Affine::axis(t < kDynamic ? number[t] : t, c);
    f = r;
  });
  k.axes = std::move(axes);
}

}  // namespace nnlc::loop
