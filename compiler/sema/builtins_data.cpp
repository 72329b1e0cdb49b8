// Data sets: opened while compiling, so that field types and sizes are known and every label and cell is checked.
#include <fmt/format.h>

#include "compiler/sema/builtins.h"
#include "compiler/sema/impl.h"
#include "runtime/data/arrays.h"
#include "runtime/data/dataset.h"

namespace nnlc::sema {

using graph::Dim;
using host::Reg;
using Kind = host::Type::Kind;
namespace data = nnl::data;

int dataset_index(Evaluator& ev, const data::DatasetPtr& d) {
  auto& all = ev.program->datasets;
  for (size_t i = 0; i < all.size(); ++i)
    if (all[i] == d) return static_cast<int>(i);
  all.push_back(d);
  return static_cast<int>(all.size()) - 1;
}

Value dataset_value(Evaluator&, data::DatasetPtr d, Span span) {
  auto v = std::make_shared<DatasetValue>();
  v->name = d->name();
  v->data = std::move(d);
  return Value(v, span);
}

Value record_of_row(Evaluator& ev, const DatasetValue& d, Reg row, Span span) {
  host::Type type = host_type(Kind::record);
  for (const auto& f : d.data->fields()) {
    host::Type t = host_type(Kind::tensor);
    t.tensor.dtype = static_cast<graph::DType>(f.dtype);
    for (int64_t s : f.shape) t.tensor.shape.emplace_back(s);
    t.classes = f.classes;
    type.names.push_back(f.name);
    type.items.push_back(t);
  }
  Reg dst = ev.new_reg(type);
  emit_call(ev, "dataset_row", {row}, dst, span).texts = {std::to_string(dataset_index(ev, d.data))};
  Value v = ev.from_reg(dst, type, span);
  auto r = v.ptr<RecordValue>();
  for (size_t i = 0; i < r->items.size(); ++i)
    if (auto* t = r->items[i].get<TensorValue>()) t->may_be_missing = d.data->fields()[i].missing;
  return v;
}

namespace {

Value failed(BuiltinCall& c, const data::Error& e) {
  auto d = c.ev.diags.data(Code::DataFile, c.ev.user_span(c.span), e.message);
  if (!e.help.empty()) d.help(e.help);
  return Poison{};
}

Value one(BuiltinCall& c, data::Result<data::DatasetPtr> r) {
  if (!r) return failed(c, r.error());
  return dataset_value(c.ev, *r, c.span);
}

Value pair_of(BuiltinCall& c, data::DatasetPtr train, data::DatasetPtr test) {
  auto record = std::make_shared<RecordValue>();
  record->names = {"train", "test"};
  record->items = {dataset_value(c.ev, std::move(train), c.span), dataset_value(c.ev, std::move(test), c.span)};
  return Value(record, c.span);
}

std::optional<std::string> path_arg(BuiltinCall& c, std::string_view name) {
  auto p = c.text(name);
  if (!p) return std::nullopt;
  auto found = data::find_file(*p, c.ev.options.program_dir);
  if (found) return *found;
  failed(c, found.error());
  return std::nullopt;
}

/// A static int of at least `least`.
std::optional<int64_t> count_arg(BuiltinCall& c, std::string_view name, int64_t least) {
  auto n = c.integer(name);
  if (!n) return std::nullopt;
  if (*n < least) {
    c.ev.error(Code::DataArgument, c.arg(name).span.valid() ? c.arg(name).span : c.span,
               fmt::format("`{}` must be at least {}, but is {}", name, least, *n));
    return std::nullopt;
  }
  return n;
}

/// `missing = -1`: labels of -1 are let in.
std::optional<bool> missing_arg(BuiltinCall& c) {
  if (!c.given("missing")) return false;
  auto n = c.integer("missing");
  if (n && *n != -1) {
    c.ev.error(Code::DataArgument, c.arg("missing").span, "a missing label is -1: `missing = -1`");
    return std::nullopt;
  }
  return n ? std::optional<bool>(true) : std::nullopt;
}

Value named_set(BuiltinCall& c) {
  std::string dir;
  if (c.given("dir")) {
    auto d = path_arg(c, "dir");
    if (!d) return Poison{};
    dir = *d;
  }
  auto r = c.builtin.name == "mnist" ? data::mnist(dir) : data::fashion_mnist(dir);
  if (!r) return failed(c, r.error());
  return pair_of(c, r->train, r->test);
}

Value idx(BuiltinCall& c) {
  auto images = path_arg(c, "images"), labels = path_arg(c, "labels");
  int64_t classes = 0;
  if (c.given("classes")) {
    auto n = count_arg(c, "classes", 1);
    if (!n) return Poison{};
    classes = *n;
  }
  if (!images || !labels) return Poison{};
  return one(c, data::idx(*images, *labels, classes));
}

Value csv(BuiltinCall& c) {
  auto path = path_arg(c, "path");
  if (!path) return Poison{};
  data::CsvOptions o;
  if (c.given("target")) {
    if (auto n = static_int(c.arg("target").value))
      o.target = std::to_string(*n);
    else if (auto t = c.text("target"))
      o.target = *t;
    else
      return Poison{};
  }
  if (c.given("features")) {
    auto s = c.arg("features").value.ptr<SequenceValue>();
    for (size_t i = 0; s && i < s->items.size(); ++i) {
      if (auto* t = s->items[i].get<std::string>())
        o.features.push_back(*t);
      else if (auto n = static_int(s->items[i]))
        o.features.push_back(std::to_string(*n));
      else
        s = nullptr;
    }
    if (!s) {
      c.ev.error(Code::DataArgument, c.arg("features").span, "`features` is a list of column names");
      return Poison{};
    }
  }
  if (c.given("classes")) {
    auto n = count_arg(c, "classes", 1);
    if (!n) return Poison{};
    o.classes = *n;
  }
  if (c.given("header")) {
    auto b = c.boolean("header");
    if (!b) return Poison{};
    o.header = *b;
  }
  auto missing = missing_arg(c);
  if (!missing) return Poison{};
  o.missing = *missing;
  return one(c, data::csv(*path, o));
}

Value arrays(BuiltinCall& c) {
  auto path = path_arg(c, "path");
  if (!path) return Poison{};
  return one(c, c.builtin.name == "npy"   ? data::npy(*path)
                : c.builtin.name == "npz" ? data::npz(*path)
                                          : data::safetensors(*path));
}

Value text(BuiltinCall& c) {
  auto path = path_arg(c, "path");
  auto unit = c.text("unit");
  auto lines = c.boolean("lines");
  if (!path || !unit || !lines) return Poison{};
  if (*unit != "char" && *unit != "byte") {
    c.ev.error(Code::DataArgument, c.arg("unit").span, "`unit` is \"char\" or \"byte\"");
    return Poison{};
  }
  data::TextPtr vocab;
  if (c.given("vocab_of")) {
    auto t = c.arg("vocab_of").value.ptr<TextValue>();
    if (!t) {
      c.ev.error(Code::DataArgument, c.arg("vocab_of").span,
                 fmt::format("`vocab_of` is a text, but this is {}", describe(c.arg("vocab_of").value)));
      return Poison{};
    }
    vocab = t->text;
  }
  auto r = data::text(*path, *unit == "byte", *lines, vocab);
  if (!r) return failed(c, r.error());
  auto v = std::make_shared<TextValue>();
  v->text = *r;
  return Value(v, c.span);
}

uint64_t data_seed(BuiltinCall& c) {
  if (c.given("seed"))
    if (auto s = c.integer("seed")) return static_cast<uint64_t>(*s);
  return c.ev.program->seed;
}

std::optional<double> noise_arg(BuiltinCall& c) {
  auto n = c.number("noise");
  if (n && !(*n >= 0)) {
    c.ev.error(Code::DataArgument, c.arg("noise").span, "`noise` can't be negative");
    return std::nullopt;
  }
  return n;
}

Value moons(BuiltinCall& c) {
  auto n = count_arg(c, "n", 2);
  auto noise = noise_arg(c);
  if (!n || !noise) return Poison{};
  return dataset_value(c.ev, data::moons(*n, *noise, data_seed(c)), c.span);
}
Value spirals(BuiltinCall& c) {
  auto n = count_arg(c, "n", 1), classes = count_arg(c, "classes", 1);
  auto noise = noise_arg(c);
  if (!n || !classes || !noise) return Poison{};
  return dataset_value(c.ev, data::spirals(*n, *classes, *noise, data_seed(c)), c.span);
}
Value blobs(BuiltinCall& c) {
  auto n = count_arg(c, "n", 1), classes = count_arg(c, "classes", 1), dim = count_arg(c, "dim", 1);
  if (!n || !classes || !dim) return Poison{};
  return dataset_value(c.ev, data::blobs(*n, *classes, *dim, data_seed(c)), c.span);
}
Value digits(BuiltinCall& c) {
  auto train = count_arg(c, "train", 1), test = count_arg(c, "test", 1);
  if (!train || !test) return Poison{};
  auto t = data::synthetic_digits(*train, *test, data_seed(c));
  return pair_of(c, t.train, t.test);
}

// ---------------------------------------------------------------- methods

const data::DatasetPtr& self_data(BuiltinCall& c) { return c.arg("self").value.ptr<DatasetValue>()->data; }

Value batches(BuiltinCall& c) {
  auto n = count_arg(c, "n", 1);
  auto shuffle = c.boolean("shuffle"), drop = c.boolean("drop_last"), replacement = c.boolean("replacement");
  if (!n || !shuffle || !drop || !replacement) return Poison{};
  auto b = std::make_shared<BatchesValue>();
  b->data = c.arg("self").value.ptr<DatasetValue>();
  b->size = *n;
  b->shuffle = *shuffle;
  b->drop_last = *drop;
  b->replacement = *replacement;
  b->span = c.span;
  return Value(b, c.span);
}

/// The rows in a random order that depends on the seed and the place of the call only.
data::DatasetPtr shuffled(BuiltinCall& c, const data::DatasetPtr& d) {
  Context saved = c.ev.context;
  c.ev.context.random_path = "shuffle";
  uint64_t key = c.ev.draw_key(c.span);
  c.ev.context = saved;
  std::vector<int64_t> rows(static_cast<size_t>(d->size()));
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<int64_t>(i);
  for (size_t i = rows.size(); i > 1; --i) std::swap(rows[i - 1], rows[mix(key, i) % i]);
  return data::select_rows(d, std::move(rows));
}

Value split(BuiltinCall& c) {
  auto share = c.number("share");
  auto shuffle = c.boolean("shuffle");
  if (!share || !shuffle) return Poison{};
  if (!(*share > 0 && *share < 1)) {
    c.ev.error(Code::DataArgument, c.arg("share").span,
               fmt::format("the share lies between 0 and 1, but is {}", *share));
    return Poison{};
  }
  data::DatasetPtr d = self_data(c);
  if (*shuffle) d = shuffled(c, d);
  auto first = static_cast<int64_t>(*share * static_cast<double>(d->size()));
  return sequence_value({dataset_value(c.ev, data::take(d, 0, first), c.span),
                         dataset_value(c.ev, data::take(d, first, d->size() - first), c.span)},
                        false, c.span);
}
Value take(BuiltinCall& c) {
  auto n = count_arg(c, "n", 0);
  if (!n) return Poison{};
  const auto& d = self_data(c);
  if (*n > d->size()) {
    c.ev.error(Code::DataArgument, c.arg("n").span,
               fmt::format("the data set has {} rows, so {} can't be taken", d->size(), *n));
    return Poison{};
  }
  return dataset_value(c.ev, data::take(d, 0, *n), c.span);
}
Value shuffle(BuiltinCall& c) { return dataset_value(c.ev, shuffled(c, self_data(c)), c.span); }

Value concat(BuiltinCall& c) {
  auto other = c.arg("other").value.ptr<DatasetValue>();
  if (!other) {
    c.ev.error(Code::DataArgument, c.arg("other").span,
               fmt::format("a data set is joined with another, but this is {}", describe(c.arg("other").value)));
    return Poison{};
  }
  auto r = data::concat(self_data(c), other->data);
  if (!r) {
    auto d = c.ev.error(Code::DataArgument, c.span, r.error().message);
    if (!r.error().help.empty()) d.help(r.error().help);
    return Poison{};
  }
  return dataset_value(c.ev, *r, c.span);
}

Value map(BuiltinCall& c) {
  if (!host_effect(c.ev, c.span, "`map` on a data set")) return Poison{};
  return map_dataset(c.ev, *c.arg("self").value.ptr<DatasetValue>(), c.arg("function").value, c.span);
}

Value row(BuiltinCall& c) {
  auto d = c.arg("self").value.ptr<DatasetValue>();
  const ArgValue& i = c.arg("index");
  if (auto n = static_int(i.value)) {
    int64_t size = d->data->size();
    if (*n < -size || *n >= size) {
      c.ev.error(Code::IndexOutOfRange, i.span,
                 fmt::format("the data set has {} rows, so there is no row {}", size, *n));
      return Poison{};
    }
    return record_of_row(c.ev, *d, c.ev.reg_of(Value(Dim(*n < 0 ? *n + size : *n)), c.span), c.span);
  }
  Value v = c.ev.to_host(i.value, i.span);
  if (v.is_poison()) return v;
  if (c.ev.type_of(v).kind != Kind::integer) {
    c.ev.error(Code::BadIndex, i.span, fmt::format("a data set is indexed by an int, not by {}", describe(v)));
    return Poison{};
  }
  return record_of_row(c.ev, *d, c.ev.reg_of(v, c.span), c.span);
}

const data::TextPtr& self_text(BuiltinCall& c) { return c.arg("self").value.ptr<TextValue>()->text; }

Value windows(BuiltinCall& c) {
  auto n = count_arg(c, "n", 1), stride = count_arg(c, "stride", 1);
  if (!n || !stride) return Poison{};
  const auto& t = self_text(c);
  if (static_cast<int64_t>(t->ids.size()) <= *n) {
    c.ev.error(Code::DataArgument, c.arg("n").span,
               fmt::format("the text has {} characters, too few for windows of {}", t->ids.size(), *n));
    return Poison{};
  }
  return dataset_value(c.ev, data::windows(t, *n, *stride), c.span);
}
Value contexts(BuiltinCall& c) {
  auto n = count_arg(c, "n", 1);
  if (!n) return Poison{};
  if (!self_text(c)->lines) {
    c.ev.error(Code::DataArgument, c.span, "`contexts` is for texts read line by line")
        .help("`text(path, lines = true)`");
    return Poison{};
  }
  return dataset_value(c.ev, data::contexts(self_text(c), *n), c.span);
}
Value text_split(BuiltinCall& c) {
  auto share = c.number("share");
  if (!share) return Poison{};
  if (!(*share > 0 && *share < 1)) {
    c.ev.error(Code::DataArgument, c.arg("share").span,
               fmt::format("the share lies between 0 and 1, but is {}", *share));
    return Poison{};
  }
  const auto& t = self_text(c);
  auto size = static_cast<int64_t>(t->ids.size());
  auto cut = static_cast<int64_t>(*share * static_cast<double>(size));
  auto part = [&](int64_t a, int64_t b) {
    auto v = std::make_shared<TextValue>();
    v->text = data::text_slice(t, a, b);
    return Value(v, c.span);
  };
  return sequence_value({part(0, cut), part(cut, size)}, false, c.span);
}

int text_index(Evaluator& ev, const data::TextPtr& t) {
  auto& all = ev.program->text_data;
  for (size_t i = 0; i < all.size(); ++i)
    if (all[i] == t) return static_cast<int>(i);
  all.push_back(t);
  return static_cast<int>(all.size()) - 1;
}

Value encode(BuiltinCall& c) {
  const auto& t = self_text(c);
  auto* s = c.arg("text").value.get<std::string>();
  if (!s) {
    c.text("text");  // its length decides the shape, so it must be static
    return Poison{};
  }
  auto ids = t->encode(*s);
  if (!ids) {
    c.ev.error(Code::DataArgument, c.arg("text").span, "the text has a character that isn't in the vocabulary");
    return Poison{};
  }
  host::Type type = host_type(Kind::tensor);
  type.tensor = {graph::DType::i32, {Dim(static_cast<int64_t>(ids->size()))}};
  type.classes = static_cast<int64_t>(t->vocab.size());
  Reg from = c.ev.reg_of(c.arg("text").value, c.span);
  Reg dst = c.ev.new_reg(type);
  emit_call(c.ev, "text_encode", {from}, dst, c.span).texts = {std::to_string(text_index(c.ev, t))};
  return c.ev.from_reg(dst, type, c.span);
}
Value decode(BuiltinCall& c) {
  if (!host_effect(c.ev, c.span, "`decode`")) return Poison{};
  Reg from = c.ev.reg_of(c.arg("ids").value, c.span);
  Reg dst = c.ev.new_reg(host_type(Kind::str));
  emit_call(c.ev, "text_decode", {from}, dst, c.span).texts = {std::to_string(text_index(c.ev, self_text(c)))};
  return runtime_value(dst, host_type(Kind::str), c.span);
}

Value not_yet(BuiltinCall& c) {
  c.ev.unsupported(Code::NotSupportedYet, c.callee_span.valid() ? c.callee_span : c.span,
                   fmt::format("`{}` is not supported yet", c.builtin.name));
  return Poison{};
}

}  // namespace

const std::vector<Builtin> kDataBuiltins = {
    {"mnist", "dir = None", named_set,
     "The handwritten digits: {train, test} of {image: [1, 28, 28], label: class(10)}."},
    {"fashion_mnist", "dir = None", named_set, "Pictures of clothes, in the form of MNIST."},
    {"idx", "images, labels, classes = None", idx, "A data set in MNIST's file format."},
    {"csv", "path, target = None, features = None, classes = None, header = None, missing = None", csv,
     "A table: {x: [K], y: class(C) or f32[]}."},
    {"text", "path, unit = \"char\", lines = false, vocab_of = None", text,
     "A text file as indices of its characters."},
    {"synthetic.digits", "train = 10000, test = 2000, seed = None", digits,
     "Digits drawn by strokes, which need no file."},
    {"moons", "n = 100, noise = 0.1, seed = None", moons, "Two half circles: {x: [2], y: class(2)}."},
    {"spirals", "n = 300, classes = 3, noise = 0.1, seed = None", spirals, "Spiral arms: {x: [2], y: class(classes)}."},
    {"blobs", "n = 300, classes = 3, dim = 2, seed = None", blobs, "Round clouds: {x: [dim], y: class(classes)}."},
    {"cifar10", "*args", not_yet, ""},
    {"npy", "path", arrays, "A NumPy array: {x: …}, its first axis the rows."},
    {"npz", "path", arrays, "NumPy arrays with equal first sizes: a field for each."},
    {"safetensors", "path", arrays, "Tensors with equal first sizes: a field for each."},
    {"image_folder", "*args", not_yet, ""},
    {"dataset.batches", "self, n, shuffle = false, drop_last = false, replacement = false", batches,
     "Batches of n rows, for a loop."},
    {"dataset.split", "self, share, shuffle = false", split, "The first rows and the rest."},
    {"dataset.take", "self, n", take, "The first n rows."},
    {"dataset.shuffle", "self", shuffle, "The rows in a random order that the seed decides."},
    {"dataset.concat", "self, other", concat, "The rows of both."},
    {"dataset.map", "self, function", map, "Each record changed by a function."},
    {"dataset.[]", "self, index", row, ""},
    {"text.windows", "self, n, stride = 1", windows, "{x: class(V)[n], y: class(V)[n]}, y one character further."},
    {"text.contexts", "self, n", contexts, "{x: class(V)[n], y: class(V)}: each character with the n before it."},
    {"text.split", "self, share", text_split, "The beginning and the rest."},
    {"text.encode", "self, text", encode, "A string as indices."},
    {"text.decode", "self, ids", decode, "Indices as a string."},
};

}  // namespace nnlc::sema
