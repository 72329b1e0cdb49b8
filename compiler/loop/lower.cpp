// From a graph to kernels: brings contractions into a form that kernels know, decides which values get memory, puts
// those that are computed together into groups, and writes each group as a kernel. What happens to memory and order is
// in plan.cpp.
#include "compiler/loop/lower.h"

#include <algorithm>
#include <functional>

#include "compiler/loop/lowering.h"
#include "compiler/loop/plan.h"
#include "compiler/ops/build.h"

namespace nnlc::loop {

namespace {

/// Kernels with more results than this gain nothing and take long to compile.
constexpr size_t kMostMembers = 40;
/// A concatenation of fewer parts is read through guards.
constexpr size_t kFewestParts = 6;
/// No group: the parts of an assembled value have theirs.
constexpr int kAssembled = -3;

bool is_elementwise(const Node* n) { return n->op->op_class == graph::OpClass::elementwise; }
bool is_reduction(const Node* n) { return n->op->name.starts_with("reduce_") || n->op->name.starts_with("arg"); }
bool is_library(const Node* n) {
  std::string_view o = n->op->name;
  return o == "scatter_add" || o == "scatter_add_along" || o == "sort" || o == "argsort" || o == "cumsum";
}
bool is_heavy(const Node* n) {
  Fn f;
  return n->op->name == "random" ||
         (fn_from_op(n->op->name, f) && ((f >= Fn::exp && f <= Fn::erf && f != Fn::sqrt) || f == Fn::pow));
}
/// Read through without a memory of its own: movement, and casts, which cost next to nothing.
bool is_transparent(const Node* n) { return is_movement(n) || n->op->name == "cast"; }

graph::IntList reduced_axes(const Node* n) {
  if (n->op->name.starts_with("reduce_")) return n->ints_attr("axes");
  return {n->int_attr("axis")};
}

class Lowering {
 public:
  explicit Lowering(graph::Graph& g) : g_(g) {}
  Plan run();

 private:
  // Roots.
  void find_roots();
  void make_root(const Node* n);
  const Node* dense(const Node* n);
  int64_t cost(const Node* n, int depth);
  void assemble(const Node* n);
  // Groups.
  void find_reads();
  bool better_apart(const Node* product) const;
  void form_groups();
  bool join(const Node* n, int group);
  bool move_to_product(const Node* n, int product);
  void open_group(const Node* n);
  bool depends(int from, int on) const;
  void add_needs(const Node* read, std::set<int>& needs) const;
  void set_domain(const Node* n, Root& r, Group& g);
  bool fits(const Node* n, const Group& g, std::vector<Axis>& axes, Root& r) const;
  void read_set(const Node* n, const Root& r, Group& g, bool& ok);
  void build_value(NestBuilder& b, const Node* n, const Root& r, int& value);
  // Kernels.
  BuiltGroup build(int group);
  BuiltGroup build_library(int group);
  BuiltGroup build_gemm(int group);
  InMemory in_memory() const {
    return [this](const Node* n) { return roots_.count(n) > 0; };
  }
  void finish_phases(Kernel& k, const std::vector<Store>& stores);

  graph::Graph& g_;
  RootMap roots_;
  std::vector<const Node*> root_order_;
  std::unordered_map<const Node*, std::set<const Node*>> reads_;  ///< inputs and roots that a root loads by itself
  std::vector<Group> groups_;
  std::unordered_map<const Node*, std::vector<const Node*>> users_;
  std::set<const Node*> results_, forced_;
  std::unordered_map<const Node*, std::vector<const Node*>> readers_;  ///< of an input or root: other roots
  std::vector<Assembled> assembled_;
  std::unordered_map<const Node*, size_t> whole_;  ///< of a part: its place in assembled_
  mutable std::vector<int> seen_;                  ///< per group: the last walk of `depends` that came by
  mutable int walk_ = 0;
};

// ------------------------------------------------------------------------------------------------ roots

void Lowering::make_root(const Node* n) {
  if (roots_.count(n) || n->op->name == "input" || n->op->name == "constant") return;
  Root r;
  if (n->op->name == "contract") {
    // With nothing to sum it is a product of elements.
    auto l = sort_labels(*n);
    if (product(l.k, l) != 1) r.kind = Root::Kind::contraction;
  } else if (is_library(n))
    r.kind = Root::Kind::library;
  else if (is_reduction(n)) {
    auto sizes = sizes_of(n->operands[0]);
    for (int64_t a : reduced_axes(n))
      if (sizes[a] != 1) r.kind = Root::Kind::reduction;
  }
  roots_.emplace(n, r);
}

/// The value whose memory can be read as n's: a reshape of a dense value is that value.
const Node* Lowering::dense(const Node* n) {
  while (n->op->name == "reshape" || n->op->name == "stop_gradient") n = n->operands[0];
  return n;
}

int64_t Lowering::cost(const Node* n, int depth) {
  if (depth > 12 || roots_.count(n)) return n->op->name == "constant" ? 0 : 1;
  if (n->op->name == "input") return 1;
  int64_t c = is_heavy(n) ? 12 : n->op->name == "div" || n->op->name == "sqrt" ? 3 : is_elementwise(n) ? 1 : 0;
  for (const Node* x : n->operands) c += cost(x, depth + 1);
  return c;
}

/// Makes n's parts be computed where they stand in n, if they stand one behind another and have no other place.
void Lowering::assemble(const Node* n) {
  if (n->op->name != "concat" || n->operands.size() < kFewestParts || results_.count(n)) return;
  auto sizes = sizes_of(n);
  for (int64_t i = 0; i < n->int_attr("axis"); i++)
    if (sizes[i] != 1) return;
  std::set<const Node*> mine;
  Assembled a{n, {}};
  for (const Node* x : n->operands) {
    auto has_no_place = [&](const Node* p) {
      return p->op->name != "input" && p->op->name != "constant" && !results_.count(p) && !whole_.count(p) &&
             !mine.count(p) && count_of(p) > 0;
    };
    const Node* part = dense(x);
    // A reshape can be a copy of its own.
    if (!has_no_place(part)) part = x;
    if (!has_no_place(part)) return;
    auto root = roots_.find(part);
    if (root != roots_.end() && root->second.kind == Root::Kind::assembled) return;
    mine.insert(part);
    a.parts.push_back(part);
  }
  for (const Node* part : a.parts) {
    make_root(part);
    whole_[part] = assembled_.size();
  }
  roots_[n].kind = Root::Kind::assembled;
  roots_[n].group = kAssembled;
  whole_[n] = assembled_.size();
  assembled_.push_back(std::move(a));
}

void Lowering::find_roots() {
  for (const Node* n : g_.nodes())
    for (const Node* x : n->operands) users_[x].push_back(n);
  for (auto& o : g_.outputs) results_.insert(o.value);
  // Readers of a value, seen through what has no memory of its own.
  std::unordered_map<const Node*, int64_t> readers;
  std::unordered_map<const Node*, bool> widened;  // some reader is larger: it would be computed again and again
  auto& order = g_.order();
  for (auto it = order.rbegin(); it != order.rend(); ++it) {
    const Node* n = *it;
    int64_t count = results_.count(n) ? 1 : 0;
    bool wide = false;
    std::set<const Node*> seen;
    for (const Node* u : users_[n]) {
      if (!seen.insert(u).second) continue;
      bool open = is_transparent(u) && !results_.count(u);
      count += open ? readers[u] : 1;
      wide |= open && (widened[u] || count_of(u) > count_of(n));
      wide |= u->op->name == "gather" || u->op->name == "gather_along" || u->op->name == "contract";
    }
    readers[n] = count;
    widened[n] = wide;
  }
  for (const Node* n : forced_) make_root(n);
  for (const Node* n : g_.nodes()) {
    if (n->op->name == "input" || n->op->name == "constant") continue;
    if (results_.count(n)) make_root(n);
    if (n->op->name == "contract" || is_library(n) || is_reduction(n)) make_root(n);
    if (is_library(n))
      for (const Node* x : n->operands) make_root(dense(x));
    // Every element of a concatenation looks at each part: those are computed before.
    if (n->op->name == "concat" && n->operands.size() > 2)
      for (const Node* x : n->operands) {
        while (is_movement(x) && !roots_.count(x) && x->op->name != "pad" && x->op->name != "concat")
          x = x->operands[0];
        if (!is_movement(x) && cost(x, 0) > 1) make_root(x);
      }
    if (n->op->name == "contract")
      // What moves data is read in place; what computes is computed once.
      for (const Node* x : n->operands) {
        while (is_movement(x) && !roots_.count(x) && x->op->name != "pad" && x->op->name != "concat" &&
               x->op->name != "dynamic_slice")
          x = x->operands[0];
        make_root(x);
      }
    if (roots_.count(n) || is_transparent(n) || n->op->name == "iota") continue;
    int64_t c = cost(n, 0);
    if (readers[n] > 1 && c > 3)
      make_root(n);
    else if (widened[n] && c > 4)
      make_root(n);
    else if (n->op->name == "gather" && readers[n] > 1)
      make_root(n);
  }
  // A reshape that no index map expresses would divide for every element.
  for (const Node* n : g_.nodes()) {
    if (n->op->name != "reshape" || roots_.count(n)) continue;
    const Node* x = n->operands[0];
    std::vector<Axis> axes;
    Index ix, to;
    for (int64_t s : sizes_of(n)) {
      ix.push_back(s == 1 ? Affine() : Affine::axis(int(axes.size())));
      if (s != 1) axes.push_back({s, true});
    }
    if (!through_movement(n, ix, axes, {}, to) && x->op->name != "reshape") make_root(x);
  }
  for (const Node* n : g_.nodes()) assemble(n);
  for (const Node* n : g_.nodes())
    if (auto r = roots_.find(n); r != roots_.end() && r->second.kind != Root::Kind::assembled) root_order_.push_back(n);
}

// ------------------------------------------------------------------------------------------------ groups

/// The domain of a root: one axis for each dim that isn't 1.
void Lowering::set_domain(const Node* n, Root& r, Group& g) {
  g.axes.clear();
  auto add = [&](int64_t size, bool outer) {
    if (size == 1) return Affine();
    g.axes.push_back({size, outer});
    return Affine::axis(int(g.axes.size()) - 1);
  };
  r.canonical.clear();
  if (r.kind == Root::Kind::reduction) {
    auto sizes = sizes_of(n->operands[0]);
    auto axes = reduced_axes(n);
    for (size_t i = 0; i < sizes.size(); i++) {
      bool reduced = std::find(axes.begin(), axes.end(), int64_t(i)) != axes.end();
      Affine a = add(sizes[i], !reduced);
      if (!reduced) r.canonical.push_back(a);
    }
    r.per_row = true;
  } else {
    for (int64_t s : sizes_of(n)) r.canonical.push_back(add(s, true));
    if (r.kind == Root::Kind::contraction) {
      auto l = sort_labels(*n);
      for (char c : l.k) add(l.size[c], false);
      r.per_row = true;
    }
  }
}

/// Whether n's domain is the group's; axes gets the group's axes as they would then be.
bool Lowering::fits(const Node* n, const Group& g, std::vector<Axis>& axes, Root& r) const {
  axes = g.axes;
  auto match = [&](const std::vector<int64_t>& sizes, bool outer_only, Index& index) {
    size_t at = 0;
    index.clear();
    for (int64_t s : sizes) {
      if (s == 1) {
        index.push_back({});
        continue;
      }
      while (outer_only && at < axes.size() && !axes[at].outer) at++;
      if (at == axes.size() || axes[at].size != s) return false;
      index.push_back(Affine::axis(int(at++)));
    }
    while (outer_only && at < axes.size() && !axes[at].outer) at++;
    return at == axes.size();
  };
  if (r.kind == Root::Kind::reduction) {
    auto sizes = sizes_of(n->operands[0]);
    auto reduced = reduced_axes(n);
    Index full;
    if (!match(sizes, false, full)) return false;
    std::vector<bool> inner(axes.size());
    r.canonical.clear();
    for (size_t i = 0; i < sizes.size(); i++) {
      bool is = std::find(reduced.begin(), reduced.end(), int64_t(i)) != reduced.end();
      if (!is)
        r.canonical.push_back(full[i]);
      else if (!full[i].is_constant())
        inner[full[i].terms[0].first] = true;
    }
    bool open = !g.has_inner();
    for (size_t i = 0; i < axes.size(); i++) {
      if (!open && inner[i] == axes[i].outer) return false;
      axes[i].outer = !inner[i];
    }
    if (open) {
      // Elements that were split over threads now stand in rows: enough rows must be left.
      int64_t rows = 1, all = 1;
      for (auto& a : axes) all *= a.size, rows *= a.outer ? a.size : 1;
      if (all > 65536 && rows < 64) return false;
    }
    r.per_row = true;
    return true;
  }
  if (r.kind != Root::Kind::elementwise) return false;
  if (g.has_inner() && match(sizes_of(n), true, r.canonical)) {
    r.per_row = true;
    return true;
  }
  if (match(sizes_of(n), false, r.canonical)) {
    r.per_row = !g.has_inner();
    return true;
  }
  return false;
}

/// The value of n at its canonical index: for reductions what is reduced.
void Lowering::build_value(NestBuilder& b, const Node* n, const Root& r, int& value) {
  if (r.kind == Root::Kind::contraction) {
    auto l = sort_labels(*n);
    std::map<char, Affine> at;
    std::string labels = n->str_attr("out") + l.k;
    int axis = 0;
    for (char c : labels) at[c] = l.size[c] == 1 ? Affine() : Affine::axis(axis++);
    int side[2];
    for (int s = 0; s < 2; s++) {
      Index ix;
      for (char c : n->str_attr(s ? "b" : "a")) ix.push_back(at[c]);
      side[s] = b.eval(n->operands[s], ix);
      if (n->type.dtype == DType::bf16 || n->type.dtype == DType::f16)
        side[s] = b.cast_to(side[s], DType::f32);
      else
        side[s] = b.cast_to(side[s], n->type.dtype);
    }
    Expr e;
    e.fn = Fn::mul;
    e.type = b.k.exprs[side[0]].type;
    e.args = {side[0], side[1]};
    value = b.add(std::move(e));
    return;
  }
  if (r.kind == Root::Kind::reduction) {
    auto sizes = sizes_of(n->operands[0]);
    auto reduced = reduced_axes(n);
    Index ix;
    int at = 0;
    size_t kept = 0;
    // Reduced dims stand on the inner axes in their order, the others where the result has them.
    std::vector<int> inner;
    for (size_t i = 0; i < b.k.axes.size(); i++)
      if (!b.k.axes[i].outer) inner.push_back(int(i));
    for (size_t i = 0; i < sizes.size(); i++) {
      if (std::find(reduced.begin(), reduced.end(), int64_t(i)) == reduced.end())
        ix.push_back(r.canonical[kept++]);
      else
        ix.push_back(sizes[i] == 1 ? Affine() : Affine::axis(inner[at++]));
    }
    value = b.eval(n->operands[0], ix);
    return;
  }
  value = b.compute(n, r.canonical, -1);
}

bool Lowering::depends(int from, int on) const {
  ++walk_;
  seen_.resize(groups_.size());
  std::vector<int> stack{from};
  while (!stack.empty()) {
    int g = stack.back();
    stack.pop_back();
    if (g == on) return true;
    if (seen_[g] == walk_) continue;
    seen_[g] = walk_;
    for (int d : groups_[g].needs) stack.push_back(d);
  }
  return false;
}

/// The groups that compute what is read.
void Lowering::add_needs(const Node* read, std::set<int>& needs) const {
  auto it = roots_.find(read);
  if (it == roots_.end()) return;
  if (it->second.kind != Root::Kind::assembled) {
    needs.insert(it->second.group);
    return;
  }
  for (const Node* part : assembled_[whole_.at(read)].parts) needs.insert(roots_.at(part).group);
}

/// What computing n in group g reads; ok: every member is read where it stands.
void Lowering::read_set(const Node* n, const Root& r, Group& g, bool& ok) {
  Kernel scratch;
  scratch.axes = g.axes;
  NestBuilder b(scratch, roots_, r.group);
  b.dry = true;
  int value;
  build_value(b, n, r, value);
  ok = !b.failed;
  for (const Node* x : b.arguments) g.reads.insert(x);
}

/// How many labels of size above 1 make up the columns of a product.
static size_t wide_columns(const Node* contraction) {
  auto l = sort_labels(*contraction);
  return static_cast<size_t>(std::count_if(l.n.begin(), l.n.end(), [&](char c) { return l.size.at(c) > 1; }));
}

bool Lowering::join(const Node* n, int gi) {
  Group& g = groups_[gi];
  if (g.members.size() >= kMostMembers || g.kind == Group::Kind::library) return false;
  Root r = roots_.at(n);
  if (g.kind == Group::Kind::gemm) {
    if (g.apart) return false;
    // Elementwise work on the finished tile, where rows are whole vectors of one label.
    auto l = sort_labels(*g.members[0]);
    if (r.kind != Root::Kind::elementwise || wide_columns(g.members[0]) != 1 || product(l.n, l) < 16) return false;
  }
  std::vector<Axis> axes;
  if (!fits(n, g, axes, r)) return false;
  r.group = gi;
  Group trial;
  trial.axes = axes;
  bool ok = true;
  read_set(n, r, trial, ok);
  if (!ok) return false;
  std::set<int> needs;
  for (const Node* x : trial.reads) add_needs(x, needs);
  if (needs.count(gi)) return false;
  for (int d : needs)
    if (depends(d, gi)) return false;
  g.axes = axes;
  g.members.push_back(n);
  g.needs.insert(needs.begin(), needs.end());
  g.reads.insert(trial.reads.begin(), trial.reads.end());
  // Members that stood on all axes may stand on rows now, or the other way round.
  roots_[n] = r;
  for (const Node* m : g.members) {
    Root& mr = roots_[m];
    mr.per_row = true;
    for (auto& a : mr.canonical)
      for (auto& [t, c] : a.terms) mr.per_row &= g.axes[t].outer;
  }
  return true;
}

/// A value that is computed from a product and from what needs no other kernel's result, as a dropout mask: all of it
/// joins the product, though the mask has a group of its own by now.
bool Lowering::move_to_product(const Node* n, int product) {
  std::vector<int> masks;
  for (const Node* x : reads_.at(n)) {
    auto it = roots_.find(x);
    if (it == roots_.end() || it->second.group == product) continue;
    if (it->second.kind == Root::Kind::assembled) return false;
    const Group& g = groups_[it->second.group];
    if (g.kind != Group::Kind::nest || g.members.size() != 1 || !g.needs.empty() ||
        it->second.kind != Root::Kind::elementwise)
      return false;
    masks.push_back(it->second.group);
  }
  for (int m : masks) {
    const Node* mask = groups_[m].members[0];
    const Root before = roots_.at(mask);
    if (!join(mask, product)) {
      roots_.at(mask) = before;
      return false;
    }
    groups_[m].members.clear();
    groups_[m].reads.clear();
  }
  return !masks.empty() && join(n, product);
}

void Lowering::open_group(const Node* n) {
  int gi = int(groups_.size());
  groups_.emplace_back();
  Group& g = groups_.back();
  Root& r = roots_[n];
  r.group = gi;
  g.members.push_back(n);
  if (r.kind == Root::Kind::library) {
    g.kind = Group::Kind::library;
    for (const Node* x : n->operands) g.reads.insert(dense(x));
  } else {
    set_domain(n, r, g);
    bool ok = true;
    read_set(n, r, g, ok);
    Gemm gemm;
    const Node* base[2];
    if (r.kind == Root::Kind::contraction && gemm_strides(n, in_memory(), gemm, base)) {
      g.kind = Group::Kind::gemm;
      g.apart = better_apart(n);
    }
  }
  for (const Node* x : g.reads) add_needs(x, g.needs);
}

void Lowering::find_reads() {
  for (const Node* n : root_order_) {
    Root own = roots_.at(n);
    Group alone;
    if (own.kind == Root::Kind::library) {
      for (const Node* x : n->operands) reads_[n].insert(dense(x));
      continue;
    }
    own.group = -2;
    set_domain(n, own, alone);
    bool ok = true;
    read_set(n, own, alone, ok);
    reads_[n] = std::move(alone.reads);
  }
  for (const Node* n : root_order_)
    for (const Node* x : reads_.at(n)) readers_[x].push_back(n);
}

/// Whether what is computed from a product should be left to a kernel of its own. Tiles are walked against the grain of
/// memory: for an optimizer's state, which comes from far away, a plain walk is so much faster that it is worth writing
/// the product; all the more if that must be written anyway.
bool Lowering::better_apart(const Node* product) const {
  std::set<const Node*> computed{product}, state;
  bool stored = results_.count(product) > 0;
  std::vector<const Node*> open{product};
  while (!open.empty()) {
    const Node* from = open.back();
    open.pop_back();
    auto readers = readers_.find(from);
    if (readers == readers_.end()) continue;
    for (const Node* n : readers->second) {
      const bool elementwise = roots_.at(n).kind == Root::Kind::elementwise;
      if (from == product && !elementwise) stored = true;
      if (!elementwise || count_of(n) != count_of(product) || !computed.insert(n).second) continue;
      open.push_back(n);
      for (const Node* x : reads_.at(n))
        if (x->op->name == "input" && count_of(x) == count_of(product)) state.insert(x);
    }
  }
  return state.size() >= 2 || (stored && !state.empty());
}

void Lowering::form_groups() {
  find_reads();
  for (const Node* n : root_order_) {
    Root& r = roots_[n];
    bool done = false;
    if (r.kind == Root::Kind::elementwise || r.kind == Root::Kind::reduction) {
      // Groups whose results it reads, newest first; then those that read the same memory.
      std::vector<int> candidates;
      std::set<int, std::greater<>> producers;
      for (const Node* x : reads_[n])
        if (auto it = roots_.find(x); it != roots_.end() && it->second.group >= 0) producers.insert(it->second.group);
      candidates.assign(producers.begin(), producers.end());
      for (int gi = int(groups_.size()) - 1, tries = 0; gi >= 0 && tries < 6; gi--) {
        if (groups_[gi].kind != Group::Kind::nest || producers.count(gi)) continue;
        bool shares = false;
        for (const Node* x : reads_[n]) shares |= count_of(x) > 1 && groups_[gi].reads.count(x);
        if (shares) candidates.push_back(gi), tries++;
      }
      for (int gi : producers)
        if (!done && groups_[gi].kind == Group::Kind::gemm && move_to_product(n, gi)) done = true;
      for (int gi : candidates)
        if (!done && join(n, gi)) done = true;
    }
    if (!done) open_group(n);
  }
  // Values that somebody outside reads are stored.
  for (auto& g : groups_)
    for (const Node* x : g.reads)
      if (auto it = roots_.find(x); it != roots_.end()) it->second.stored = true;
  for (auto& a : assembled_)
    for (const Node* part : a.parts) roots_.at(part).stored |= roots_.at(a.whole).stored;
  for (const Node* n : results_)
    if (auto it = roots_.find(n); it != roots_.end()) it->second.stored = true;
}

// ------------------------------------------------------------------------------------------------ kernels

/// Sorts reductions and stores into passes over the inner axes: a value that needs a reduction's result comes in a
/// later one.
void Lowering::finish_phases(Kernel& k, const std::vector<Store>& stores) {
  size_t n = k.exprs.size();
  std::vector<int> phase(n, 0), reduction_phase(k.reductions.size(), 0);
  std::vector<bool> inner(n, false);
  auto affine = [&](const Affine& a, size_t e) {
    for (auto& [t, c] : a.terms) {
      if (t < kDynamic)
        inner[e] = inner[e] || !k.axes[t].outer;
      else {
        int v = k.dynamics[t - kDynamic].value;
        inner[e] = inner[e] || inner[v];
        phase[e] = std::max(phase[e], phase[v]);
      }
    }
  };
  int last = 0;
  for (size_t e = 0; e < n; e++) {
    const Expr& x = k.exprs[e];
    for (int a : x.args) {
      phase[e] = std::max(phase[e], phase[a]);
      inner[e] = inner[e] || inner[a];
    }
    if (x.guard >= 0) {
      phase[e] = std::max(phase[e], phase[x.guard]);
      inner[e] = inner[e] || inner[x.guard];
    }
    affine(x.offset, e);
    for (auto& b : x.bounds) affine(b.value, e);
    if (x.fn == Fn::reduced) {
      const Reduction& r = k.reductions[x.i];
      reduction_phase[x.i] = phase[r.value];
      phase[e] = phase[r.value] + 1;
    }
    last = std::max(last, phase[e]);
  }
  std::vector<Phase> rows(last + 1), loops(last + 1);
  for (auto& l : loops) l.loops = true;
  for (size_t r = 0; r < k.reductions.size(); r++) loops[reduction_phase[r]].reductions.push_back(int(r));
  std::vector<Phase> done;
  for (auto& s : stores) {
    bool in = inner[s.value];
    for (auto& [t, c] : s.offset.terms) in = in || (t < kDynamic && !k.axes[t].outer);
    (in ? loops : rows)[phase[s.value]].stores.push_back(s);
  }
  for (int p = 0; p <= last; p++) {
    if (!rows[p].stores.empty()) done.push_back(rows[p]);
    if (!loops[p].stores.empty() || !loops[p].reductions.empty()) done.push_back(loops[p]);
  }
  k.phases = std::move(done);
}

int add_reduced(NestBuilder& b, ReduceKind kind, int value, DType type, Affine position) {
  Kernel& k = b.k;
  k.reductions.push_back({kind, value, std::move(position), type});
  Expr e;
  e.fn = Fn::reduced;
  e.type = type;
  e.i = int64_t(k.reductions.size()) - 1;
  return b.add(std::move(e));
}

BuiltGroup Lowering::build_library(int gi) {
  const Node* n = groups_[gi].members[0];
  BuiltGroup out;
  Kernel& k = out.kernel;
  k.kind = Kernel::Kind::library;
  NestBuilder b(k, roots_, -1);
  for (const Node* x : n->operands) b.argument(dense(x), false);
  if (n->operands.size() == 2 && dense(n->operands[0]) == dense(n->operands[1])) {
    k.args.push_back(k.args[0]);
    b.arguments.push_back(b.arguments[0]);
  }
  b.argument(n, true);
  Library& l = k.routine;
  l.op = n->op->name;
  l.axis = n->int_attr("axis");
  bool scatter = l.op.starts_with("scatter");
  auto sizes = sizes_of(n);
  for (size_t i = 0; i < sizes.size(); i++)
    (int64_t(i) < l.axis ? l.pre : int64_t(i) == l.axis ? l.size : l.post) *= sizes[i];
  if (scatter) {
    l.index_shape = sizes_of(n->operands[0]);
    l.count = 1;
    if (l.op == "scatter_add")
      for (int64_t s : l.index_shape) l.count *= s;
    else
      l.shape = sizes;
  }
  if (n->attrs.count("descending")) l.descending = n->bool_attr("descending");
  k.work = 0;
  for (auto& a : k.args) k.work += a.elements * (l.op.ends_with("sort") ? 20 : 2);
  out.args = b.arguments;
  out.nodes = {n};
  return out;
}

BuiltGroup Lowering::build_gemm(int gi) {
  const Node* n = groups_[gi].members[0];
  BuiltGroup out;
  Kernel& k = out.kernel;
  k.kind = Kernel::Kind::gemm;
  const Node* base[2];
  gemm_strides(n, in_memory(), k.gemm, base);
  NestBuilder b(k, roots_, -1);
  // Both sides may be one value: an argument each.
  for (const Node* x : base) {
    k.args.push_back({x->type.dtype, count_of(x), false});
    b.arguments.push_back(x);
  }
  if (groups_[gi].members.size() == 1 && n->type.dtype != DType::bf16) {
    b.argument(n, true);
  } else {
    k.axes = groups_[gi].axes;
    NestBuilder e(k, roots_, gi);
    e.arguments = b.arguments;
    Expr acc;
    acc.fn = Fn::accumulator;
    acc.type = n->type.dtype;
    e.set_member(n, e.add(std::move(acc)));
    Phase p;
    for (const Node* m : groups_[gi].members) {
      const Root& r = roots_.at(m);
      int value = m == n ? 0 : e.compute(m, r.canonical, -1);
      e.set_member(m, value);
      if (r.stored) p.stores.push_back({e.argument(m, true), flatten(r.canonical, sizes_of(m)), value});
    }
    k.phases.push_back(std::move(p));
    // The summed axes are the product's own; those of the columns become one, which is walked in vectors.
    while (!k.axes.back().outer) k.axes.pop_back();
    for (size_t i = k.axes.size() - wide_columns(n); i < k.axes.size(); i++) k.axes[i].outer = false;
    merge_axes(k);
    b.arguments = e.arguments;
    out.nodes = std::move(e.computed);
  }
  k.work = 2 * k.gemm.batch * k.gemm.m * k.gemm.n * k.gemm.k;
  for (auto& o : k.gemm.outer) k.work *= o.size;
  out.args = b.arguments;
  out.nodes.insert(out.nodes.end(), groups_[gi].members.begin(), groups_[gi].members.end());
  return out;
}

BuiltGroup Lowering::build(int gi) {
  Group& g = groups_[gi];
  if (g.kind == Group::Kind::library) return build_library(gi);
  if (g.kind == Group::Kind::gemm) return build_gemm(gi);
  BuiltGroup out;
  Kernel& k = out.kernel;
  k.axes = g.axes;
  NestBuilder b(k, roots_, gi);
  std::vector<Store> stores;
  for (const Node* n : g.members) {
    const Root& r = roots_.at(n);
    int value;
    build_value(b, n, r, value);
    if (r.kind == Root::Kind::reduction || r.kind == Root::Kind::contraction) {
      std::string_view op = n->op->name;
      ReduceKind kind = op == "reduce_max"    ? ReduceKind::max
                        : op == "reduce_min"  ? ReduceKind::min
                        : op == "reduce_prod" ? ReduceKind::prod
                        : op == "argmax"      ? ReduceKind::argmax
                        : op == "argmin"      ? ReduceKind::argmin
                                              : ReduceKind::sum;
      Affine position;
      if (kind >= ReduceKind::argmax) {
        for (size_t i = 0; i < k.axes.size(); i++)
          if (!k.axes[i].outer) position = Affine::axis(int(i));
      } else if (kind == ReduceKind::sum || kind == ReduceKind::prod) {
        value =
            b.cast_to(value, n->type.dtype == DType::bf16 || n->type.dtype == DType::f16 ? DType::f32 : n->type.dtype);
      }
      DType t = n->type.dtype;
      bool narrow = kind <= ReduceKind::prod && (t == DType::bf16 || t == DType::f16);
      value = add_reduced(b, kind, value, narrow ? DType::f32 : t, position);
      if (narrow) value = b.cast_to(value, t);
    }
    b.set_member(n, value);
    if (r.stored) stores.push_back({b.argument(n, true), flatten(r.canonical, sizes_of(n)), value});
  }
  int64_t elements = 1;
  for (auto& a : k.axes) elements *= a.size;
  k.work = elements * (int64_t(k.exprs.size()) + 10 * b.heavy);
  finish_phases(k, stores);
  merge_axes(k);
  out.args = b.arguments;
  out.nodes = std::move(b.computed);
  out.nodes.insert(out.nodes.end(), g.members.begin(), g.members.end());
  return out;
}

Plan Lowering::run() {
  prepare(g_, forced_);
  find_roots();
  form_groups();
  std::vector<BuiltGroup> built;
  for (size_t i = 0; i < groups_.size(); i++) {
    bool wanted = false;
    for (const Node* n : groups_[i].members) wanted |= roots_[n].stored;
    if (wanted) built.push_back(build(int(i)));
  }
  // What nobody reads isn't computed, and needs no memory.
  std::erase_if(assembled_, [&](const Assembled& a) { return !roots_.at(a.whole).stored; });
  return make_plan(g_, std::move(built), assembled_);
}

}  // namespace

Plan lower(graph::Graph& g) { return Lowering(g).run(); }

}  // namespace nnlc::loop
