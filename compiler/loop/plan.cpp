// Order, updates in place, memory and barriers of a step.
#include "compiler/loop/plan.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <map>
#include <queue>
#include <set>

#include "compiler/loop/lowering.h"
#include "compiler/ops/build.h"

namespace nnlc::loop {

namespace {

using graph::Node;

/// Below this many scalar operations meeting the other threads costs more than it saves.
constexpr int64_t kSmallWork = 20000;

struct Step {
  Kernel kernel;
  std::vector<const Node*> args;
  std::vector<int> buffers;  ///< overrides args where >= 0
  std::set<int> after;
  std::vector<Part> parts;
};

/// What the nodes are, each once, in the order in which they were made; without those that only say where a value is.
std::vector<Part> parts_of(std::vector<const Node*> nodes) {
  std::sort(nodes.begin(), nodes.end(), [](const Node* a, const Node* b) { return a->id < b->id; });
  nodes.erase(std::unique(nodes.begin(), nodes.end()), nodes.end());
  std::vector<Part> out;
  for (const Node* n : nodes)
    if (n->op->name != "constant" && n->op->name != "input")
      out.push_back({n->op->name, n->gradient_of ? n->gradient_of->name : std::string_view(), n->span, n->site});
  return out;
}

class Planner {
 public:
  Planner(const graph::Graph& g, std::vector<BuiltGroup> kernels, const std::vector<Assembled>& assembled) : g_(g) {
    for (auto& a : assembled) {
      assembled_[a.whole] = &a;
      int64_t at = 0;
      for (const Node* part : a.parts) {
        within_[part] = {a.whole, at};
        at += count_of(part) * int64_t(graph::size_bytes(part->type.dtype));
      }
    }
    for (auto& k : kernels) {
      steps_.push_back({std::move(k.kernel), std::move(k.args), {}, {}, parts_of(std::move(k.nodes))});
      steps_.back().buffers.assign(steps_.back().args.size(), -1);
    }
  }
  Plan run();

 private:
  int new_buffer(Buffer::Kind kind, int slot, const Node* n, std::string note);
  int buffer_of(const Node* n);
  std::vector<int> writers_of(const Node* n) const;
  void add_copy(const Node* from, int from_buffer, int to_buffer, const std::set<int>& after);
  bool in_place_is_safe(const Step& s, const Node* value, const Node* input) const;
  bool reaches(int from, int to) const;
  void results();
  std::vector<int> sorted() const;
  void place(const std::vector<int>& order);
  void barriers();
  void narrow(Step& s);

  const graph::Graph& g_;
  std::vector<Step> steps_;
  Plan plan_;
  std::map<const Node*, int> buffers_, writer_;
  std::map<const Node*, const Assembled*> assembled_;
  std::map<const Node*, std::pair<const Node*, int64_t>> within_;  ///< of a part: the whole, and bytes into it
  std::map<std::tuple<int, int64_t, int64_t>, int> stretches_;     ///< buffers that are a part of a temporary
  std::map<int, int> alias_;  ///< output buffer to the input buffer that has the same pointer
};

int Planner::new_buffer(Buffer::Kind kind, int slot, const Node* n, std::string note) {
  Buffer b;
  b.kind = kind;
  b.slot = slot;
  b.type = n->type.dtype;
  b.shape = sizes_of(n);
  b.elements = 1;
  for (int64_t s : b.shape) b.elements *= s;
  b.note = std::move(note);
  plan_.buffers.push_back(std::move(b));
  return int(plan_.buffers.size()) - 1;
}

template <class T>
void put(std::vector<uint8_t>& bytes, T v) {
  size_t at = bytes.size();
  bytes.resize(at + sizeof v);
  std::memcpy(bytes.data() + at, &v, sizeof v);
}

uint16_t to_bf16(float f) {
  uint32_t u;
  std::memcpy(&u, &f, 4);
  if (f != f) return uint16_t(u >> 16 | 64);
  return uint16_t((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

std::vector<uint8_t> constant_bytes(const Node* n) {
  std::vector<uint8_t> out;
  size_t count = n->ints_attr("values").size();
  for (size_t i = 0; i < count; i++) {
    double f = graph::is_float(n->type.dtype) ? graph::constant_value(*n, i) : 0;
    int64_t v = graph::is_float(n->type.dtype) ? 0 : graph::constant_int_value(*n, i);
    switch (n->type.dtype) {
      case DType::boolean:
        put(out, uint8_t(v != 0));
        break;
      case DType::u8:
      case DType::i8:
        put(out, uint8_t(v));
        break;
      case DType::i16:
        put(out, uint16_t(v));
        break;
      case DType::i32:
        put(out, uint32_t(v));
        break;
      case DType::i64:
        put(out, v);
        break;
      case DType::f16: {
        _Float16 h = _Float16(f);
        put(out, h);
        break;
      }
      case DType::bf16:
        put(out, to_bf16(float(f)));
        break;
      case DType::f32:
        put(out, float(f));
        break;
      case DType::f64:
        put(out, f);
        break;
    }
  }
  return out;
}

int Planner::buffer_of(const Node* n) {
  if (auto it = buffers_.find(n); it != buffers_.end()) return it->second;
  int b;
  if (n->op->name == "constant") {
    b = new_buffer(Buffer::Kind::constant, int(plan_.constants.size()), n, "");
    plan_.constants.push_back(constant_bytes(n));
  } else {
    b = new_buffer(Buffer::Kind::temp, 0, n, std::string(n->op->name));
  }
  return buffers_[n] = b;
}

/// The steps that compute n.
std::vector<int> Planner::writers_of(const Node* n) const {
  if (auto w = writer_.find(n); w != writer_.end()) return {w->second};
  std::vector<int> out;
  if (auto a = assembled_.find(n); a != assembled_.end())
    for (const Node* part : a->second->parts) out.push_back(writer_.at(part));
  return out;
}

void Planner::add_copy(const Node* from, int from_buffer, int to_buffer, const std::set<int>& after) {
  Step s;
  int64_t count = plan_.buffers[to_buffer].elements;
  Kernel& k = s.kernel;
  k.args = {{from->type.dtype, count, false}, {from->type.dtype, count, true}};
  Affine at;
  if (count != 1) {
    k.axes = {{count, true}};
    at = Affine::axis(0);
  }
  Expr e;
  e.fn = Fn::load;
  e.type = from->type.dtype;
  e.buffer = 0;
  e.offset = at;
  k.exprs.push_back(e);
  Phase p;
  p.stores.push_back({1, at, 0});
  k.phases.push_back(p);
  k.work = count;
  s.args = {from, from};
  s.buffers = {from_buffer, to_buffer};
  s.after = after;
  steps_.push_back(std::move(s));
}

/// Whether a pass loads from an argument.
bool phase_reads(const Kernel& k, const Phase& phase, int argument) {
  std::vector<int> open;
  for (int r : phase.reductions) open.push_back(k.reductions[r].value);
  for (auto& s : phase.stores) open.push_back(s.value);
  std::set<int> seen;
  while (!open.empty()) {
    int at = open.back();
    open.pop_back();
    if (!seen.insert(at).second) continue;
    const Expr& e = k.exprs[at];
    if (e.fn == Fn::load && e.buffer == argument) return true;
    open.insert(open.end(), e.args.begin(), e.args.end());
    if (e.guard >= 0) open.push_back(e.guard);
    auto affine = [&](const Affine& a) {
      for (auto& [t, c] : a.terms)
        if (t >= kDynamic) open.push_back(k.dynamics[t - kDynamic].value);
    };
    affine(e.offset);
    for (auto& b : e.bounds) affine(b.value);
  }
  return false;
}

/// Whether the kernel reads each old element no later than it writes the new one.
bool Planner::in_place_is_safe(const Step& s, const Node* value, const Node* input) const {
  const Kernel& k = s.kernel;
  int in = -1, out = -1;
  for (size_t i = 0; i < s.args.size(); i++) {
    if (s.args[i] == input) in = int(i);
    if (s.args[i] == value) out = int(i);
  }
  if (in < 0) return true;
  if (k.kind == Kernel::Kind::library || k.phases.empty()) return false;
  // The sides of a product are read again and again.
  if (k.kind == Kernel::Kind::gemm && (in < 2 || s.args[0] == input || s.args[1] == input)) return false;
  const Store* store = nullptr;
  size_t at = 0;
  for (size_t p = 0; p < k.phases.size(); p++)
    for (auto& st : k.phases[p].stores)
      if (st.buffer == out) store = &st, at = p;
  if (!store) return false;
  for (size_t p = at + 1; p < k.phases.size(); p++)
    if (phase_reads(k, k.phases[p], in)) return false;
  for (auto& [t, c] : store->offset.terms)
    if (t >= kDynamic) return false;
  for (auto& e : k.exprs)
    if (e.fn == Fn::load && e.buffer == in && e.offset != store->offset) return false;
  // A store that repeats along an axis writes again what was read before.
  for (size_t a = 0; a < k.axes.size(); a++)
    if (k.axes[a].size > 1 && !store->offset.coefficient(int(a)) && k.axes[a].outer) return false;
  return true;
}

bool Planner::reaches(int from, int to) const {
  std::vector<int> stack{from};
  std::set<int> seen;
  while (!stack.empty()) {
    int s = stack.back();
    stack.pop_back();
    if (s == to) return true;
    if (!seen.insert(s).second) continue;
    for (int d : steps_[s].after) stack.push_back(d);
  }
  return false;
}

void Planner::results() {
  std::set<const Node*> placed;
  auto readers_of = [&](const Node* n) {
    std::set<int> r;
    for (size_t s = 0; s < steps_.size(); s++)
      for (size_t a = 0; a < steps_[s].args.size(); a++)
        if (steps_[s].args[a] == n && !steps_[s].kernel.args[a].written) r.insert(int(s));
    return r;
  };
  struct Late {
    const Node* from;
    int to;
    const Node* over;
  };
  std::vector<Late> late;
  for (size_t i = 0; i < g_.outputs.size(); i++) {
    auto& o = g_.outputs[i];
    if (o.value == o.updates) continue;  // keeps its value
    int slot = int(g_.inputs.size() + i);
    int buffer = new_buffer(Buffer::Kind::output, slot, o.value, o.updates ? "updates " + o.updates->name : "");
    if (o.updates) alias_[buffer] = buffers_.at(o.updates);
    bool computed = writer_.count(o.value) && !placed.count(o.value);
    if (computed && !o.updates) {
      placed.insert(o.value);
      buffers_[o.value] = buffer;
      continue;
    }
    if (!o.updates) {
      late.push_back({o.value, buffer, nullptr});
      continue;
    }
    if (computed) {
      int w = writer_.at(o.value);
      bool safe = in_place_is_safe(steps_[w], o.value, o.updates);
      auto readers = readers_of(o.updates);
      for (int r : readers) safe = safe && (r == w || !reaches(r, w));
      // The old value may also be wanted as a result.
      for (auto& other : g_.outputs) safe = safe && other.value != o.updates;
      if (safe) {
        for (int r : readers)
          if (r != w) steps_[w].after.insert(r);
        placed.insert(o.value);
        buffers_[o.value] = buffer;
        continue;
      }
    }
    late.push_back({o.value, buffer, o.updates});
  }
  // Values that are copied at the end. What overwrites an input first waits for all its readers; a value that is itself
  // an overwritten input goes through a temporary.
  std::set<const Node*> overwritten;
  for (auto& l : late)
    if (l.over) overwritten.insert(l.over);
  for (auto& o : g_.outputs)
    if (o.updates && o.value != o.updates) overwritten.insert(o.updates);
  std::vector<std::pair<Late, int>> second;
  for (auto& l : late) {
    std::set<int> after;
    for (int w : writers_of(l.from)) after.insert(w);
    if (l.over && overwritten.count(l.from)) {
      int temp = new_buffer(Buffer::Kind::temp, 0, l.from, "kept");
      add_copy(l.from, buffer_of(l.from), temp, after);
      second.emplace_back(l, temp);
      continue;
    }
    if (!l.over) {
      add_copy(l.from, buffer_of(l.from), l.to, after);
      continue;
    }
    second.emplace_back(l, -1);
  }
  for (auto& [l, temp] : second) {
    std::set<int> after = readers_of(l.over);
    for (int w : writers_of(l.from)) after.insert(w);
    for (size_t s = 0; s < steps_.size(); s++)
      for (int b : steps_[s].buffers)
        if (temp >= 0 && b == temp) after.insert(int(s));
    const Node* from = l.from;
    add_copy(from, temp >= 0 ? temp : buffer_of(from), l.to, after);
  }
}

std::vector<int> Planner::sorted() const {
  std::vector<int> missing(steps_.size()), order;
  std::vector<std::vector<int>> next(steps_.size());
  for (size_t s = 0; s < steps_.size(); s++) {
    missing[s] = int(steps_[s].after.size());
    for (int d : steps_[s].after) next[d].push_back(int(s));
  }
  std::priority_queue<int, std::vector<int>, std::greater<>> ready;
  for (size_t s = 0; s < steps_.size(); s++)
    if (!missing[s]) ready.push(int(s));
  while (!ready.empty()) {
    int s = ready.top();
    ready.pop();
    order.push_back(s);
    for (int t : next[s])
      if (--missing[t] == 0) ready.push(t);
  }
  return order;
}

/// Offsets of temporaries: large ones first, each at the lowest place where nothing alive at the same time is.
void Planner::place(const std::vector<int>& order) {
  std::map<int, std::pair<int, int64_t>> inside;  // of a part's buffer: that of the whole, and bytes into it
  for (auto& [part, where] : within_)
    if (auto b = buffers_.find(part); b != buffers_.end()) inside[b->second] = {buffer_of(where.first), where.second};
  std::map<int, std::pair<int, int>> life;
  for (size_t i = 0; i < order.size(); i++)
    for (int b : steps_[order[i]].buffers)
      if (plan_.buffers[b].kind == Buffer::Kind::temp) {
        auto part = inside.find(b);
        auto it = life.try_emplace(part == inside.end() ? b : part->second.first, int(i), int(i)).first;
        it->second.second = int(i);
      }
  struct Temp {
    int buffer;
    int first, last;  ///< steps
    int64_t bytes, offset = 0;
  };
  std::vector<Temp> temps;
  for (auto& [b, l] : life) {
    const Buffer& buffer = plan_.buffers[b];
    const int64_t size = (buffer.elements * int64_t(graph::size_bytes(buffer.type)) + 127) / 64 * 64;
    temps.push_back({b, l.first, l.second, size});
  }
  std::stable_sort(temps.begin(), temps.end(), [](const Temp& a, const Temp& b) { return a.bytes > b.bytes; });
  std::vector<std::pair<int64_t, int64_t>> taken;
  for (size_t i = 0; i < temps.size(); i++) {
    Temp& t = temps[i];
    taken.clear();
    for (size_t k = 0; k < i; k++)
      if (temps[k].first <= t.last && t.first <= temps[k].last)
        taken.emplace_back(temps[k].offset, temps[k].offset + temps[k].bytes);
    std::sort(taken.begin(), taken.end());
    for (auto& [lo, hi] : taken) {
      if (lo - t.offset >= t.bytes) break;
      t.offset = std::max(t.offset, hi);
    }
    plan_.buffers[t.buffer].offset = t.offset;
    plan_.arena_bytes = std::max(plan_.arena_bytes, t.offset + t.bytes);
  }
  for (auto& [part, where] : inside) plan_.buffers[part].offset = plan_.buffers[where.first].offset + where.second;
}

/// Arguments become the stretch of their buffer that the kernel touches, so that kernels which differ only in where
/// they read and write, as the steps of a `scan`, are one.
void Planner::narrow(Step& s) {
  Kernel& k = s.kernel;
  if (k.kind == Kernel::Kind::library) return;
  struct Range {
    int64_t low = std::numeric_limits<int64_t>::max(), high = -1;
  };
  std::vector<Range> touched(k.args.size());
  auto touch = [&](int argument, int64_t low, int64_t high) {
    touched[argument].low = std::min(touched[argument].low, low);
    touched[argument].high = std::max(touched[argument].high, high);
  };
  auto affine = [&](int argument, const Affine& a) {
    int64_t low = a.constant, high = a.constant;
    for (auto& [t, c] : a.terms) {
      const int64_t last = (t < kDynamic ? k.axes[t].size : k.dynamics[t - kDynamic].size) - 1;
      (c < 0 ? low : high) += c * last;
    }
    touch(argument, low, high);
  };
  for (auto& e : k.exprs)
    if (e.fn == Fn::load) affine(e.buffer, e.offset);
  for (auto& p : k.phases)
    for (auto& st : p.stores) affine(st.buffer, st.offset);
  if (k.kind == Kernel::Kind::gemm) {
    const Gemm& g = k.gemm;
    auto side = [&](int argument, int64_t offset, std::vector<std::pair<int64_t, int64_t>> dims) {
      int64_t low = offset, high = offset;
      for (auto [size, stride] : dims) (stride < 0 ? low : high) += (size - 1) * stride;
      touch(argument, low, high);
    };
    std::vector<std::pair<int64_t, int64_t>> a{{g.batch, g.a_batch}, {g.m, g.a_m}, {g.k, g.a_k}},
        b{{g.batch, g.b_batch}, {g.k, g.b_k}, {g.n, g.b_n}};
    for (auto& o : g.outer) a.emplace_back(o.size, o.a), b.emplace_back(o.size, o.b);
    side(0, g.a_offset, a);
    side(1, g.b_offset, b);
  }
  for (size_t i = 0; i < k.args.size(); i++) {
    const Buffer whole = plan_.buffers[s.buffers[i]];
    if (whole.kind != Buffer::Kind::temp || touched[i].high < 0) continue;
    const int64_t size = int64_t(graph::size_bytes(whole.type)), line = 64 / size;
    // Guarded loads may reach beyond.
    const int64_t low = std::max<int64_t>(touched[i].low, 0) / line * line;
    const int64_t high = std::min(touched[i].high, whole.elements - 1);
    if (low > high || (low == 0 && high == whole.elements - 1)) continue;
    auto [it, fresh] = stretches_.try_emplace({s.buffers[i], low, high}, int(plan_.buffers.size()));
    if (fresh) {
      Buffer part = whole;
      part.offset += low * size;
      part.elements = high - low + 1;
      part.shape = {part.elements};
      plan_.buffers.push_back(std::move(part));
    }
    s.buffers[i] = it->second;
    k.args[i].elements = high - low + 1;
    for (auto& e : k.exprs)
      if (e.fn == Fn::load && e.buffer == int(i)) e.offset.constant -= low;
    for (auto& p : k.phases)
      for (auto& st : p.stores)
        if (st.buffer == int(i)) st.offset.constant -= low;
    if (k.kind == Kernel::Kind::gemm && i == 0) k.gemm.a_offset -= low;
    if (k.kind == Kernel::Kind::gemm && i == 1) k.gemm.b_offset -= low;
  }
}

void Planner::barriers() {
  struct Access {
    bool arena;
    int64_t low, high;
    bool write;
  };
  auto accesses = [&](const Launch& l) {
    std::vector<Access> out;
    const Kernel& k = plan_.kernels[l.kernel];
    for (size_t i = 0; i < l.buffers.size(); i++) {
      int b = l.buffers[i];
      const Buffer& buf = plan_.buffers[b];
      if (buf.kind == Buffer::Kind::constant) continue;
      if (buf.kind == Buffer::Kind::temp)
        out.push_back(
            {true, buf.offset, buf.offset + buf.elements * int64_t(graph::size_bytes(buf.type)), k.args[i].written});
      else {
        int id = alias_.count(b) ? alias_.at(b) : b;
        out.push_back({false, id, id + 1, k.args[i].written});
      }
    }
    return out;
  };
  struct Since {
    std::vector<Access> all;
    bool single, scratch;
  };
  std::vector<Since> since;
  for (auto& l : plan_.launches) {
    const Kernel& k = plan_.kernels[l.kernel];
    l.single = k.work < kSmallWork;
    // Threads divide the step's scratch memory as their kernel needs it: two such kernels never run at the same time.
    bool scratch = k.kind == Kernel::Kind::gemm ||
                   (k.kind == Kernel::Kind::library && (k.routine.op == "sort" || k.routine.op == "argsort"));
    auto mine = accesses(l);
    bool conflict = false;
    for (auto& s : since) {
      if (s.single && l.single) continue;
      conflict |= scratch && s.scratch;
      for (auto& a : s.all)
        for (auto& b : mine) conflict |= (a.write || b.write) && a.arena == b.arena && a.low < b.high && b.low < a.high;
    }
    if (conflict) {
      l.barrier = true;
      since.clear();
    }
    since.push_back({std::move(mine), l.single, scratch});
  }
}

Plan Planner::run() {
  plan_.name = g_.name;
  for (size_t i = 0; i < g_.inputs.size(); i++)
    buffers_[g_.inputs[i]] = new_buffer(Buffer::Kind::input, int(i), g_.inputs[i], g_.inputs[i]->name);
  for (size_t s = 0; s < steps_.size(); s++)
    for (size_t a = 0; a < steps_[s].args.size(); a++)
      if (steps_[s].kernel.args[a].written) writer_[steps_[s].args[a]] = int(s);
  for (size_t s = 0; s < steps_.size(); s++)
    for (size_t a = 0; a < steps_[s].args.size(); a++)
      for (int w : writers_of(steps_[s].args[a]))
        if (w != int(s)) steps_[s].after.insert(w);
  results();
  for (auto& s : steps_)
    for (size_t a = 0; a < s.args.size(); a++)
      if (s.buffers[a] < 0) s.buffers[a] = buffer_of(s.args[a]);
  auto order = sorted();
  place(order);
  std::map<std::string, int> known;
  for (int s : order) {
    Launch l;
    narrow(steps_[s]);
    auto [it, fresh] = known.try_emplace(print(steps_[s].kernel), int(plan_.kernels.size()));
    if (fresh) plan_.kernels.push_back(steps_[s].kernel);
    l.kernel = it->second;
    l.buffers = steps_[s].buffers;
    l.parts = std::move(steps_[s].parts);
    plan_.launches.push_back(std::move(l));
  }
  barriers();
  return std::move(plan_);
}

}  // namespace

Plan make_plan(const graph::Graph& g, std::vector<BuiltGroup> kernels, const std::vector<Assembled>& assembled) {
  return Planner(g, std::move(kernels), assembled).run();
}

}  // namespace nnlc::loop
