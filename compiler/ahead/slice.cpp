#include "compiler/ahead/slice.h"

#include <algorithm>

namespace nnlc::ahead {

namespace {

void for_each_instr(const host::Instr& i, const std::function<void(const host::Instr&)>& on) {
  on(i);
  for (auto& n : i.then_block) for_each_instr(*n, on);
  for (auto& n : i.else_block) for_each_instr(*n, on);
  if (i.batches)
    for (auto& v : i.batches->variants)
      for (auto& n : v.body) for_each_instr(*n, on);
}

bool meet(const RegSet& a, const RegSet& b) {
  return std::any_of(a.begin(), a.end(), [&](host::Reg r) { return b.count(r) != 0; });
}

/// The instructions of a block in order; a scope stands for its content.
void flatten(host::Block& block, std::vector<std::unique_ptr<host::Instr>*>& out) {
  for (auto& i : block) {
    if (i->op == host::Op::scope)
      flatten(i->then_block, out);
    else
      out.push_back(&i);
  }
}

}  // namespace

bool is_scalar(const host::Program& p, host::Reg r) {
  using Kind = host::Type::Kind;
  const Kind k = p.registers[static_cast<size_t>(r)].kind;
  return k == Kind::integer || k == Kind::floating || k == Kind::boolean;
}

RegSet reads_of(const host::Program& p, const host::Instr& instr) {
  RegSet out;
  for_each_instr(instr, [&](const host::Instr& i) {
    out.insert(i.args.begin(), i.args.end());
    for (auto& [name, reg] : i.options) out.insert(reg);
    if (i.op == host::Op::run_step) {
      const host::Step& s = p.steps[static_cast<size_t>(i.step)];
      out.insert(s.inputs.begin(), s.inputs.end());
    }
    if (i.batches) out.insert(i.batches->passes);
  });
  out.erase(host::kNoReg);
  return out;
}

RegSet writes_of(const host::Program& p, const host::Instr& instr) {
  RegSet out;
  for_each_instr(instr, [&](const host::Instr& i) {
    out.insert(i.dst);
    if (i.op == host::Op::run_step) {
      const host::Step& s = p.steps[static_cast<size_t>(i.step)];
      out.insert(s.outputs.begin(), s.outputs.end());
    }
    if (i.batches) {
      out.insert(i.batches->fields.begin(), i.batches->fields.end());
      out.insert({i.batches->rows, i.batches->index, i.batches->passes});
    }
  });
  out.erase(host::kNoReg);
  return out;
}

std::vector<size_t> backward_slice(const host::Program& p, const host::Block& block, size_t end, RegSet wanted,
                                   const std::function<bool(const host::Instr&)>& takes) {
  std::vector<size_t> out;
  for (size_t i = end; i-- > 0;) {
    if (!meet(writes_of(p, *block[i]), wanted) || !takes(*block[i])) continue;
    out.push_back(i);
    wanted.merge(reads_of(p, *block[i]));
  }
  std::reverse(out.begin(), out.end());
  return out;
}

std::optional<host::Block> initial_slice(host::Program& p, const RegSet& wanted, Span& blocked) {
  std::vector<std::unique_ptr<host::Instr>*> all;
  flatten(p.body, all);
  std::vector<RegSet> writes;
  for (auto* i : all) writes.push_back(writes_of(p, **i));
  std::set<size_t> taken;
  bool ok = true;
  std::function<void(size_t)> take = [&](size_t at) {
    if (!ok || !taken.insert(at).second) return;
    const host::Instr& i = **all[at];
    using Op = host::Op;
    if (i.op != Op::constant && i.op != Op::copy && i.op != Op::unary && i.op != Op::binary && i.op != Op::call &&
        i.op != Op::run_step) {
      ok = false;
      blocked = i.span;
      return;
    }
    for (host::Reg r : reads_of(p, i))
      for (size_t before = at; before-- > 0;)
        if (writes[before].count(r)) {
          take(before);
          break;
        }
  };
  for (host::Reg r : wanted)
    for (size_t at = 0; at < all.size(); ++at)
      if (writes[at].count(r)) {
        take(at);
        break;
      }
  if (!ok) return std::nullopt;
  host::Block out;
  for (size_t at : taken) out.push_back(std::move(*all[at]));
  return out;
}

}  // namespace nnlc::ahead
