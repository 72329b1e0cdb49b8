// Builtins of lists, tuples and records.
#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include "compiler/exec/impl.h"

namespace nnlc::exec {

namespace {

/// The list of argument 0 to be changed: itself where the result goes to the same register and nobody else holds it.
ListPtr to_change(Call& c) {
  c.list(0);
  ListPtr& held = *c.arg(0).get<ListPtr>();
  if (c.instr.dst == c.instr.args[0] && held.use_count() == 1) return std::move(held);
  return std::make_shared<List>(*held);
}

std::vector<Value> all_args(Call& c) {
  std::vector<Value> items;
  for (size_t i = 0; i < c.size(); ++i) items.push_back(c.arg(i));
  return items;
}

void list_append(Call& c) {
  Value item = c.arg(1);
  ListPtr l = to_change(c);
  l->items.push_back(std::move(item));
  c.result(Value(std::move(l)));
}

void list_set(Call& c) {
  const int64_t at = c.index(c.integer(1), static_cast<int64_t>(c.list(0).items.size()), "a list");
  Value item = c.arg(2);
  ListPtr l = to_change(c);
  l->items[static_cast<size_t>(at)] = std::move(item);
  c.result(Value(std::move(l)));
}

void list_get(Call& c) {
  const List& l = c.list(0);
  Value item = l.items[static_cast<size_t>(
      c.index(c.integer(1), static_cast<int64_t>(l.items.size()), l.tuple ? "a tuple" : "a list"))];
  c.result(std::move(item));
}

void list_slice(Call& c) {
  const List& l = c.list(0);
  const int64_t n = static_cast<int64_t>(l.items.size());
  const int64_t begin = c.integer(1) < 0 ? c.integer(1) + n : c.integer(1),
                end = c.integer(2) < 0 ? c.integer(2) + n : c.integer(2);
  if (begin < 0 || begin > end || end > n)
    c.fail(Code::IndexOutside,
           fmt::format("the slice {}:{} is outside of a list of length {}", c.integer(1), c.integer(2), n));
  c.result(Value::list(std::vector<Value>(l.items.begin() + begin, l.items.begin() + end), l.tuple));
}

void list_concat(Call& c) {
  std::vector<Value> items = c.list(0).items;
  const List& b = c.list(1);
  items.insert(items.end(), b.items.begin(), b.items.end());
  c.result(Value::list(std::move(items), c.list(0).tuple));
}

void list_contains(Call& c) {
  bool found = false;
  for (const Value& v : c.list(0).items) found = found || equal(v, c.arg(1));
  c.result(Value(found));
}

void list_reverse(Call& c) {
  ListPtr l = to_change(c);
  std::reverse(l->items.begin(), l->items.end());
  c.result(Value(std::move(l)));
}

void list_sort(Call& c) {
  auto sortable = [](const Value& v) { return v.get<int64_t>() || v.get<double>() || v.get<Str>(); };
  ListPtr l = to_change(c);
  for (Value& v : l->items) {
    v = read_back(v);
    if (!sortable(v) || (v.get<Str>() != nullptr) != (l->items[0].get<Str>() != nullptr))
      throw std::logic_error("list_sort of a list with " + describe(v));
  }
  std::stable_sort(l->items.begin(), l->items.end(), [](const Value& a, const Value& b) {
    if (auto* s = a.get<Str>()) return **s < **b.get<Str>();
    auto number = [](const Value& v) {
      return v.get<double>() ? *v.get<double>() : static_cast<double>(*v.get<int64_t>());
    };
    if (a.get<int64_t>() && b.get<int64_t>()) return *a.get<int64_t>() < *b.get<int64_t>();
    const double x = number(a), y = number(b);
    return !std::isnan(x) && (std::isnan(y) || x < y);  // NaN last
  });
  c.result(Value(std::move(l)));
}

void list_zip(Call& c) {
  size_t n = c.size() ? c.list(0).items.size() : 0;
  for (size_t i = 1; i < c.size(); ++i) n = std::min(n, c.list(i).items.size());
  std::vector<Value> out;
  for (size_t k = 0; k < n; ++k) {
    std::vector<Value> tuple;
    for (size_t i = 0; i < c.size(); ++i) tuple.push_back(c.list(i).items[k]);
    out.push_back(Value::list(std::move(tuple), /*tuple=*/true));
  }
  c.result(Value::list(std::move(out)));
}

void list_enumerate(Call& c) {
  std::vector<Value> out;
  int64_t k = 0;
  for (const Value& v : c.list(0).items) out.push_back(Value::list({Value(k++), v}, /*tuple=*/true));
  c.result(Value::list(std::move(out)));
}

void range_list(Call& c) {
  const int64_t lo = c.integer(0), hi = c.integer(1);
  std::vector<Value> out;
  for (int64_t k = lo; k < hi; ++k) out.push_back(Value(k));
  c.result(Value::list(std::move(out)));
}

void tuple_get(Call& c) {
  const List& l = c.list(0);
  const int64_t at = c.text_int(0);
  if (at < 0 || at >= static_cast<int64_t>(l.items.size())) throw std::logic_error("tuple_get outside of the tuple");
  Value item = l.items[static_cast<size_t>(at)];
  c.result(std::move(item));
}

void record_new(Call& c) { c.result(Value::record(c.instr.texts, all_args(c))); }

void record_get(Call& c) {
  auto* r = c.arg(0).get<RecordPtr>();
  if (!r) c.wrong_kind(0, "a record");
  for (size_t i = 0; i < (*r)->names.size(); ++i) {
    if ((*r)->names[i] != c.text(0)) continue;
    Value item = (*r)->items[i];
    c.result(std::move(item));
    return;
  }
  throw std::logic_error(fmt::format("the record has no field `{}`", c.text(0)));
}

}  // namespace

const std::vector<BuiltinEntry>& list_builtins() {
  static const std::vector<BuiltinEntry> table = {
      {"list_new", [](Call& c) { c.result(Value::list(all_args(c))); }},
      {"list_append", list_append},
      {"list_get", list_get},
      {"list_set", list_set},
      {"list_len", [](Call& c) { c.result(Value(static_cast<int64_t>(c.list(0).items.size()))); }},
      {"list_concat", list_concat},
      {"list_slice", list_slice},
      {"list_contains", list_contains},
      {"list_reverse", list_reverse},
      {"list_sort", list_sort},
      {"list_zip", list_zip},
      {"list_enumerate", list_enumerate},
      {"range_list", range_list},
      {"tuple_new", [](Call& c) { c.result(Value::list(all_args(c), /*tuple=*/true)); }},
      {"tuple_get", tuple_get},
      {"record_new", record_new},
      {"record_get", record_get},
  };
  return table;
}

}  // namespace nnlc::exec
