// The builtins of host programs: what `Op::call` can name. This list is the one that sema writes to and exec reads.
//
// A call has positional registers (args), named ones (options) and literal strings (texts). dst may be kNoReg. A
// "number" is an int or a float; a rank-0 tensor is accepted wherever a number, int, float or bool is asked for, and
// read back. A "tensor or number" argument takes either. List indices may be negative and are checked: outside is a
// run-time error at the call's span.
//
//   text and output
//     print(a, …)                        joined by a space, then a newline; strings as they are, floats in the shortest
//     form
//                                        that reads back, tensors in PyTorch's layout, lists, tuples and records
//                                        recursively. A rank-0 tensor is given as it is, not through `item`: an f32
//                                        prints as 0.1, not as the double nearest to it
//     format(v0, v1, …) -> str           texts = piece0, spec0, piece1, spec1, … pieceN: each spec is std::format's (or
//     `%`)
//                                        without the colon, empty for print's own form; N = number of args
//     str(v) -> str                      print's form of one value
//     str_concat(a, b) -> str, str_len(s) -> int (code points), str_repeat(s, n) -> str, str_join(separator, list) ->
//     str, str_get(s, i) -> str (one code point), str_slice(s, begin, end) -> str, str_split(s, separator) -> list,
//     str_replace(s, from, to) -> str, str_upper(s), str_lower(s), str_strip(s), str_contains(s, part) -> bool,
//     str_starts_with(s, part), str_ends_with(s, part) -> bool
//     record(; name = number, …)         logs scalars: to the bar, runs/…/metrics.jsonl, event files, the report
//
//   lists, tuples, records: values; the functions that change one give a new value to dst (dst may be args[0]: then in
//   place)
//     list_new(v, …) -> list             list_append(list, v) -> list           list_get(list, i) -> item
//     list_set(list, i, v) -> list       list_len(list) -> int                  list_concat(a, b) -> list
//     list_slice(list, begin, end) -> list                                      list_contains(list, v) -> bool
//     list_reverse(list) -> list         list_sort(list of numbers or str) -> list
//     list_zip(a, b, …) -> list of tuples (the shortest decides)                list_enumerate(a) -> list of (int,
//     item) range_list(lo, hi) -> list of int, hi exclusive tuple_new(v, …) -> tuple           tuple_get(tuple; texts =
//     index) -> item record_new(v, …; texts = names) -> record                                 record_get(record; texts
//     = name) -> item
//
//   numbers: of host numbers; int where every argument is one, for abs, min, max and sign
//     abs floor ceil round (half to even) sign sqrt exp log log2 log10 sin cos tan tanh asin acos atan sigmoid : one
//     argument; floor ceil round give an int. min max: two or more, or one list. pow(a, b), atan2(a, b): float.
//     is_nan(x), is_inf(x) -> bool
//     time() -> float                    seconds of a steady clock
//     fold_sum(list), fold_mean(list, weights list), fold_max(list), fold_min(list): of host numbers
//
//   tensors
//     tensor_from_list(list; texts = dtype name) -> tensor    nested lists of numbers or bools (ragged is an error by
//     row), or
//                                        lists of tensors of one shape, stacked; also a single number
//     tensor_to_list(tensor) -> nested list of host numbers   item(tensor, i, j, …) -> number, indices checked
//     tensor_get(tensor, i) -> tensor    row i of the first axis, copied; checked
//     tensor_slice(tensor, begin, length) -> tensor            rows of the first axis, copied; checked
//     tensor_set(tensor, i, row) -> tensor
//     check_class(tensor; texts = C, "missing" or "") -> tensor: every value in 0..C-1 (or -1), else a run-time error
//     with the
//                                        place of the first that isn't; gives an i32 tensor
//     check_index(i, size) -> int        wraps a negative index, error outside 0..size-1
//     check_range(begin, end, size) -> none                   0 <= begin <= end <= size, else an error
//     assert_close(a, b; rtol, atol)     tensors, numbers; with torch.testing's defaults for the less precise type of
//     the two;
//                                        fails like assert_, saying how many differ, the largest difference and where
//
//   files
//     save(path str; texts = root, prefix)        the persistents of `root` whose path is `prefix`, or starts with it
//     and a dot
//                                        (empty: all), under their paths below the prefix; tied ones once
//     load(path str; strict = bool; texts = root, prefix, from, to, from, to, …) -> record {missing, left_over,
//     reshaped} of
//                                        lists of str. strict (the default): any of these is an error that lists them,
//                                        and nothing is written. Else: what fits is loaded, the rest is reported on
//                                        stderr.
//     save_tensors(path str, tensor, …; texts = names), load_tensor(path str; texts = name) -> tensor
//
//   data (texts = index into Program::datasets or ::text_data)
//     dataset_row(i; texts = index) -> record             dataset_len(; texts = index) -> int
//     text_encode(s; texts = index) -> tensor i32         text_decode(tensor or list or int; texts = index) -> str
//     one_batch(; texts = index, field) -> tensor         a whole field of a data set: [len, …]
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <map>
#include <stdexcept>

#include "compiler/exec/impl.h"
#include "runtime/data/file.h"
#include "runtime/format.h"

namespace nnlc::exec {

// ---------------------------------------------------------------- arguments

Value& Call::arg(size_t i) const {
  if (i >= instr.args.size()) throw std::logic_error(fmt::format("the builtin {} has no argument {}", instr.name, i));
  return machine.reg(instr.args[i]);
}
const Value* Call::option(std::string_view name) const {
  for (const auto& [n, r] : instr.options)
    if (n == name && r != host::kNoReg && !machine.reg(r).is_none()) return &machine.reg(r);
  return nullptr;
}
const std::string& Call::text(size_t i) const {
  if (i >= instr.texts.size()) throw std::logic_error(fmt::format("the builtin {} has no text {}", instr.name, i));
  return instr.texts[i];
}
int64_t Call::text_int(size_t i) const { return std::stoll(text(i)); }

int64_t Call::integer(size_t i) const {
  const Value v = read_back(arg(i));
  if (auto* n = v.get<int64_t>()) return *n;
  wrong_kind(i, "an int");
}
double Call::number(size_t i) const {
  const Value v = read_back(arg(i));
  if (auto* d = v.get<double>()) return *d;
  if (auto* n = v.get<int64_t>()) return static_cast<double>(*n);
  wrong_kind(i, "a number");
}
const std::string& Call::str(size_t i) const {
  if (auto* s = arg(i).get<Str>()) return **s;
  wrong_kind(i, "a str");
}
List& Call::list(size_t i) const {
  if (auto* l = arg(i).get<ListPtr>()) return **l;
  wrong_kind(i, "a list");
}
const Tensor& Call::tensor(size_t i) const {
  if (auto* t = arg(i).tensor()) return *t;
  wrong_kind(i, "a tensor");
}
int64_t Call::index(int64_t i, int64_t size, const char* what) const {
  const int64_t at = i < 0 ? i + size : i;
  if (at < 0 || at >= size)
    fail(Code::IndexOutside, fmt::format("index {} is outside of {} of length {}", i, what, size));
  return at;
}
void Call::fail(Code code, std::string message, std::vector<std::string> notes, std::vector<std::string> helps) const {
  throw Failure{code, instr.span, std::move(message), std::move(notes), std::move(helps)};
}
void Call::wrong_kind(size_t i, const char* wanted) const {
  throw std::logic_error(
      fmt::format("argument {} of the builtin {} is {}, wanted {}", i, instr.name, describe(arg(i)), wanted));
}

// ---------------------------------------------------------------- text and output

namespace {

void print(Call& c) {
  std::string out;
  for (size_t i = 0; i < c.size(); ++i) out += (i ? " " : "") + to_text(c.arg(i));
  c.machine.write(out + "\n");
}

std::string formatted(const Value& value, const std::string& spec) {
  if (spec.empty()) return to_text(value);
  const Value v = read_back(value);
  if (auto* i = v.get<int64_t>()) return nnl::format_value(spec, *i);
  if (auto* d = v.get<double>()) return nnl::format_value(spec, *d);
  if (auto* b = v.get<bool>()) return nnl::format_value(spec, *b);
  return nnl::format_value(spec, std::string_view(to_text(v)));
}

void format(Call& c) {
  if (c.instr.texts.size() != 2 * c.size() + 1)
    throw std::logic_error("the pieces of a format don't match its arguments");
  std::string out = c.text(0);
  for (size_t i = 0; i < c.size(); ++i) {
    const Value v = read_back(c.arg(i));
    const std::string& spec = c.text(2 * i + 1);
    const nnl::SpecKind kind = v.get<int64_t>()  ? nnl::SpecKind::integer
                               : v.get<double>() ? nnl::SpecKind::floating
                               : v.get<bool>()   ? nnl::SpecKind::boolean
                                                 : nnl::SpecKind::text;
    // Known before the program runs for most values; a list's item may be of any type.
    if (auto wrong = nnl::format_spec_error(spec, kind))
      c.fail(Code::BadHostValue, fmt::format("format `{}`: {}", spec, *wrong));
    out += formatted(c.arg(i), spec) + c.text(2 * i + 2);
  }
  c.result(Value::str(std::move(out)));
}

/// Byte offsets of the code points of s, and its length at the end. Bytes that aren't UTF-8 count one each.
std::vector<size_t> code_points(const std::string& s) {
  std::vector<size_t> out;
  for (size_t at = 0; at < s.size();) {
    out.push_back(at);
    at += static_cast<size_t>(std::max(1, nnl::data::utf8_length(s, at)));
  }
  out.push_back(s.size());
  return out;
}

std::string map_ascii(const std::string& s, int (*f)(int)) {
  std::string out = s;
  for (char& ch : out)
    if (static_cast<unsigned char>(ch) < 128) ch = static_cast<char>(f(ch));
  return out;
}

void str_slice(Call& c) {
  const std::string& s = c.str(0);
  const auto at = code_points(s);
  const int64_t n = static_cast<int64_t>(at.size()) - 1;
  const int64_t begin = c.integer(1) < 0 ? c.integer(1) + n : c.integer(1),
                end = c.integer(2) < 0 ? c.integer(2) + n : c.integer(2);
  if (begin < 0 || begin > end || end > n)
    c.fail(Code::IndexOutside,
           fmt::format("the slice {}:{} is outside of a str of length {}", c.integer(1), c.integer(2), n));
  c.result(Value::str(
      s.substr(at[static_cast<size_t>(begin)], at[static_cast<size_t>(end)] - at[static_cast<size_t>(begin)])));
}

void str_split(Call& c) {
  const std::string &s = c.str(0), &separator = c.str(1);
  if (separator.empty()) c.fail(Code::BadHostValue, "split needs a separator that isn't empty");
  std::vector<Value> parts;
  size_t from = 0;
  for (size_t at; (at = s.find(separator, from)) != std::string::npos; from = at + separator.size())
    parts.push_back(Value::str(s.substr(from, at - from)));
  parts.push_back(Value::str(s.substr(from)));
  c.result(Value::list(std::move(parts)));
}

void str_replace(Call& c) {
  const std::string &s = c.str(0), &from = c.str(1), &to = c.str(2);
  if (from.empty()) c.fail(Code::BadHostValue, "replace needs a text to look for that isn't empty");
  std::string out;
  size_t last = 0;
  for (size_t at; (at = s.find(from, last)) != std::string::npos; last = at + from.size())
    out += s.substr(last, at - last) + to;
  c.result(Value::str(out + s.substr(last)));
}

void str_repeat(Call& c) {
  const int64_t n = std::max<int64_t>(c.integer(1), 0);
  if (!c.str(0).empty() && n > (int64_t{1} << 30) / static_cast<int64_t>(c.str(0).size()))
    c.fail(Code::BadHostValue, "the repeated text would be longer than 1 GiB");
  std::string out;
  for (int64_t i = 0; i < n; ++i) out += c.str(0);
  c.result(Value::str(std::move(out)));
}

void record(Call& c) {
  Machine::Impl& m = c.machine;
  std::vector<std::pair<std::string, double>> values;
  for (const auto& [name, r] : c.instr.options) {
    const Value v = read_back(m.reg(r));
    double x = 0;
    if (auto* d = v.get<double>())
      x = *d;
    else if (auto* i = v.get<int64_t>())
      x = static_cast<double>(*i);
    else if (auto* b = v.get<bool>())
      x = *b;
    else
      c.fail(Code::BadHostValue, fmt::format("record takes scalars, `{}` is {}", name, describe(v)));
    values.emplace_back(name, x);
    m.progress.metric(name, x);
  }
  const int64_t step = m.records[{c.instr.span.file, c.instr.span.begin}]++;
  if (m.options.on_record) m.options.on_record(step, values);
  if (m.options.runs_dir.empty()) return;
  if (!m.log) {
    auto created = nnl::RunLog::create(m.options.runs_dir, m.options.title.empty() ? "run" : m.options.title);
    if (!created) {
      std::vector<std::string> helps;
      if (!created.error().help.empty()) helps.push_back(created.error().help);
      c.fail(Code::CantLog, created.error().message, {}, helps);
    }
    m.log = std::move(*created);
  }
  m.log->log(step, values);
}

const std::string& whitespace() {
  static const std::string s = " \t\n\r\f\v";
  return s;
}

}  // namespace

const std::vector<BuiltinEntry>& text_builtins() {
  static const std::vector<BuiltinEntry> table = {
      {"print", print},
      {"format", format},
      {"record", record},
      {"str", [](Call& c) { c.result(Value::str(to_text(c.arg(0)))); }},
      {"str_concat", [](Call& c) { c.result(Value::str(c.str(0) + c.str(1))); }},
      {"str_len", [](Call& c) { c.result(Value(static_cast<int64_t>(code_points(c.str(0)).size()) - 1)); }},
      {"str_repeat", str_repeat},
      {"str_join",
       [](Call& c) {
         std::string out;
         const List& l = c.list(1);
         for (size_t i = 0; i < l.items.size(); ++i) out += (i ? c.str(0) : "") + to_text(l.items[i]);
         c.result(Value::str(std::move(out)));
       }},
      {"str_get",
       [](Call& c) {
         const auto at = code_points(c.str(0));
         const auto i = static_cast<size_t>(c.index(c.integer(1), static_cast<int64_t>(at.size()) - 1, "a str"));
         c.result(Value::str(c.str(0).substr(at[i], at[i + 1] - at[i])));
       }},
      {"str_slice", str_slice},
      {"str_split", str_split},
      {"str_replace", str_replace},
      {"str_upper", [](Call& c) { c.result(Value::str(map_ascii(c.str(0), std::toupper))); }},
      {"str_lower", [](Call& c) { c.result(Value::str(map_ascii(c.str(0), std::tolower))); }},
      {"str_strip",
       [](Call& c) {
         const std::string& s = c.str(0);
         const size_t begin = s.find_first_not_of(whitespace());
         c.result(Value::str(
             begin == std::string::npos ? "" : s.substr(begin, s.find_last_not_of(whitespace()) - begin + 1)));
       }},
      {"str_contains", [](Call& c) { c.result(Value(c.str(0).find(c.str(1)) != std::string::npos)); }},
      {"str_starts_with", [](Call& c) { c.result(Value(c.str(0).starts_with(c.str(1)))); }},
      {"str_ends_with", [](Call& c) { c.result(Value(c.str(0).ends_with(c.str(1)))); }},
  };
  return table;
}

// ---------------------------------------------------------------- the whole table

BuiltinFn find_builtin(const std::string& name) {
  static const std::map<std::string, BuiltinFn, std::less<>> all = [] {
    std::map<std::string, BuiltinFn, std::less<>> m;
    for (auto* table : {&text_builtins(), &list_builtins(), &number_builtins(), &tensor_builtins(), &file_builtins()})
      for (const BuiltinEntry& b : *table) m.emplace(b.name, b.run);
    return m;
  }();
  const auto it = all.find(name);
  return it == all.end() ? nullptr : it->second;
}

void Machine::Impl::call(const host::Instr& i) {
  const BuiltinFn run = find_builtin(i.name);
  if (!run) throw std::logic_error(fmt::format("there is no builtin `{}`", i.name));
  Call c(*this, i);
  run(c);
}

}  // namespace nnlc::exec
