// Builtins that read and write files, and those of data sets.
#include <fmt/format.h>

#include <cstring>
#include <numeric>
#include <optional>
#include <set>
#include <stdexcept>

#include "compiler/exec/impl.h"
#include "runtime/safetensors.h"

namespace nnlc::exec {

namespace {

/// A persistent below a prefix, and its name there.
struct Member {
  const host::Persistent* persistent;
  std::string name;
  std::vector<std::string> aliases;
};

/// "a.b.weight" below "a": "b.weight". A path that is the prefix itself keeps its last part. nullopt: it isn't below.
std::optional<std::string> below(const std::string& path, const std::string& prefix) {
  if (prefix.empty()) return path;
  if (path == prefix) return path.substr(path.rfind('.') == std::string::npos ? 0 : path.rfind('.') + 1);
  if (path.starts_with(prefix) && path[prefix.size()] == '.') return path.substr(prefix.size() + 1);
  return std::nullopt;
}

std::vector<Member> members(Call& c) {
  std::vector<Member> out;
  for (const host::Persistent& p : c.machine.program.persistents) {
    if (p.root != c.text(0)) continue;
    Member m{&p, {}, {}};
    const auto own = below(p.path, c.text(1));
    for (const std::string& alias : p.aliases)
      if (auto name = below(alias, c.text(1))) m.aliases.push_back(*name);
    if (own) {
      m.name = *own;
    } else if (!m.aliases.empty()) {  // tied to a parameter outside of what is saved
      m.name = m.aliases.front();
      m.aliases.erase(m.aliases.begin());
    } else {
      continue;
    }
    out.push_back(std::move(m));
  }
  return out;
}

std::vector<std::string> help_of(const nnl::data::Error& e) {
  return e.help.empty() ? std::vector<std::string>{} : std::vector<std::string>{e.help};
}

void save(Call& c) {
  std::vector<nnl::SafetensorsItem> items;
  for (const Member& m : members(c)) {
    const Tensor* t = c.machine.reg(m.persistent->reg).tensor();
    if (!t || !t->defined()) throw std::logic_error(fmt::format("save before {} has a value", m.persistent->path));
    items.push_back({m.name, t->dtype(), t->shape(), t->data()});
  }
  // What other readers of these files look for.
  if (auto error = nnl::write_safetensors(c.str(0), std::move(items), {{"format", "pt"}}))
    c.fail(Code::CantSave, error->message, {}, help_of(*error));
}

void save_tensors(Call& c) {
  std::vector<nnl::SafetensorsItem> items;
  for (size_t i = 1; i < c.size(); ++i) {
    const Tensor& t = c.tensor(i);
    items.push_back({c.text(i - 1), t.dtype(), t.shape(), t.data()});
  }
  if (auto error = nnl::write_safetensors(c.str(0), std::move(items), {{"format", "pt"}}))
    c.fail(Code::CantSave, error->message, {}, help_of(*error));
}

std::shared_ptr<nnl::SafetensorsFile> open(Call& c) {
  auto found = nnl::data::find_file(c.str(0), c.machine.options.program_dir);
  if (!found) c.fail(Code::CantLoad, found.error().message, {}, help_of(found.error()));
  auto file = nnl::SafetensorsFile::open(*found);
  if (!file) c.fail(Code::CantLoad, file.error().message, {}, help_of(file.error()));
  return *file;
}

Tensor read(Call& c, const nnl::SafetensorsFile& file, const nnl::SafetensorsEntry& e, int dtype) {
  Tensor stored = Tensor::empty(e.dtype, e.shape);
  if (stored.bytes() != e.end - e.begin)
    c.fail(Code::CantLoad, fmt::format("{}: {}: its size doesn't go with its shape", file.path(), e.name));
  if (auto error = file.read(e, stored.data())) c.fail(Code::CantLoad, error->message, {}, help_of(*error));
  if (e.dtype == dtype) return stored;
  Tensor out = Tensor::empty(dtype, e.shape);
  for (int64_t i = 0; i < out.count(); ++i) {
    if (is_float(dtype)) {
      set_element(out, i, element(stored, i));
    } else {
      const int64_t v = element_int(stored, i);
      if (!holds(dtype, v))
        c.fail(Code::CantLoad,
               fmt::format("{}: {}: {} doesn't fit {}", file.path(), e.name, v, nnl::dtype_name(dtype)));
      set_element_int(out, i, v);
    }
  }
  return out;
}

/// At most eight names; the rest is a number.
std::string listed(const std::vector<std::string>& names) {
  constexpr size_t kShown = 8;
  std::string out = fmt::format(
      "{}",
      fmt::join(names.begin(), names.begin() + static_cast<std::ptrdiff_t>(std::min(names.size(), kShown)), ", "));
  if (names.size() > kShown) out += fmt::format(" and {} more", names.size() - kShown);
  return out;
}

Value texts(const std::vector<std::string>& names) {
  std::vector<Value> items;
  for (const std::string& n : names) items.push_back(Value::str(n));
  return Value::list(std::move(items));
}

void load(Call& c) {
  bool strict = true;
  if (const Value* v = c.option("strict"))
    if (auto* b = v->get<bool>()) strict = *b;
  auto file = open(c);

  // Names in the file after renaming, to entries. Two that become one are left over both, but the first.
  std::vector<std::pair<std::string, const nnl::SafetensorsEntry*>> entries;
  for (const nnl::SafetensorsEntry& e : file->entries()) {
    std::string name = e.name;
    for (size_t r = 2; r + 1 < c.instr.texts.size(); r += 2) {
      if (!name.starts_with(c.text(r))) continue;
      name = c.text(r + 1) + name.substr(c.text(r).size());
      break;
    }
    entries.emplace_back(std::move(name), &e);
  }
  std::set<const nnl::SafetensorsEntry*> used;
  auto find = [&](const std::string& name) -> const nnl::SafetensorsEntry* {
    for (const auto& [n, e] : entries)
      if (n == name) return e;
    return nullptr;
  };

  std::vector<std::string> missing, left_over, reshaped;
  std::vector<std::pair<const Member*, const nnl::SafetensorsEntry*>> fitting;
  const std::vector<Member> all = members(c);
  for (const Member& m : all) {
    const nnl::SafetensorsEntry* e = find(m.name);
    if (e) used.insert(e);
    for (const std::string& alias : m.aliases) {
      const nnl::SafetensorsEntry* other = find(alias);
      if (other) used.insert(other);
      if (!e) e = other;
    }
    if (!e) {
      missing.push_back(m.name);
      continue;
    }
    const int dtype = static_cast<int>(m.persistent->type.dtype);
    const std::vector<int64_t> shape = graph::sizes(m.persistent->type.shape);
    const bool kinds_agree =
        e->dtype >= 0 && is_float(e->dtype) == is_float(dtype) && (e->dtype == NNL_BOOL) == (dtype == NNL_BOOL);
    if (e->shape != shape || !kinds_agree)
      reshaped.push_back(fmt::format("{} (the file has {}{}, the layer {}{})", m.name,
                                     e->dtype < 0 ? e->dtype_text : nnl::dtype_name(e->dtype), shape_text(e->shape),
                                     nnl::dtype_name(dtype), shape_text(shape)));
    else
      fitting.emplace_back(&m, e);
  }
  for (const auto& [name, e] : entries)
    if (!used.count(e)) left_over.push_back(name == e->name ? name : fmt::format("{} (in the file {})", name, e->name));

  std::vector<std::string> notes;
  if (!missing.empty()) notes.push_back(fmt::format("missing in the file: {}", listed(missing)));
  if (!left_over.empty()) notes.push_back(fmt::format("left over in the file: {}", listed(left_over)));
  if (!reshaped.empty()) notes.push_back(fmt::format("of another shape or type: {}", listed(reshaped)));
  if (strict && !notes.empty())
    c.fail(Code::LoadMismatch,
           fmt::format("{} doesn't fit: {} missing, {} left over, {} of another shape or type", file->path(),
                       missing.size(), left_over.size(), reshaped.size()),
           notes,
           {"`strict = false` loads what fits, `rename = {\"old.\": \"new.\"}` changes how names in the file begin"});
  // All is read before the first parameter changes.
  std::vector<Tensor> values;
  for (const auto& [m, e] : fitting) values.push_back(read(c, *file, *e, static_cast<int>(m->persistent->type.dtype)));
  for (size_t i = 0; i < fitting.size(); ++i)
    c.machine.set(fitting[i].first->persistent->reg, Value(std::move(values[i])));
  if (!notes.empty()) {
    std::string report = fmt::format("load: {}: {} of {} loaded\n", file->path(), fitting.size(), all.size());
    for (const std::string& n : notes) report += "  " + n + "\n";
    c.machine.report(report);
  }
  c.result(Value::record({"missing", "left_over", "reshaped"}, {texts(missing), texts(left_over), texts(reshaped)}));
}

void load_tensor(Call& c) {
  auto file = open(c);
  const nnl::SafetensorsEntry* e = file->find(c.text(0));
  if (!e) c.fail(Code::CantLoad, fmt::format("{} has no tensor `{}`", file->path(), c.text(0)));
  if (e->dtype < 0)
    c.fail(Code::CantLoad, fmt::format("{}: `{}` is {}, which NNL hasn't", file->path(), c.text(0), e->dtype_text));
  c.result(Value(read(c, *file, *e, e->dtype)));
}

// ---------------------------------------------------------------- data

const nnl::data::Dataset& dataset(Call& c) {
  return *c.machine.program.datasets.at(static_cast<size_t>(c.text_int(0)));
}
const nnl::data::Text& text_data(Call& c) {
  return *c.machine.program.text_data.at(static_cast<size_t>(c.text_int(0)));
}

void dataset_row(Call& c) {
  const nnl::data::Dataset& data = dataset(c);
  const int64_t row = c.index(c.integer(0), data.size(), "a data set");
  std::vector<std::string> names;
  std::vector<Value> items;
  std::vector<void*> out;
  for (const nnl::data::Field& f : data.fields()) {
    Tensor t = Tensor::empty(f.dtype, f.shape);
    out.push_back(t.data());
    names.push_back(f.name);
    items.push_back(Value(std::move(t)));
  }
  data.read(&row, 1, out.data());
  c.result(Value::record(std::move(names), std::move(items)));
}

void one_batch(Call& c) {
  const nnl::data::Dataset& data = dataset(c);
  std::vector<void*> out(data.fields().size(), nullptr);
  Tensor t;
  for (size_t f = 0; f < out.size(); ++f) {
    const nnl::data::Field& field = data.fields()[f];
    if (field.name != c.text(1)) continue;
    std::vector<int64_t> shape{data.size()};
    shape.insert(shape.end(), field.shape.begin(), field.shape.end());
    t = Tensor::empty(field.dtype, std::move(shape));
    out[f] = t.data();
  }
  if (!t.defined()) throw std::logic_error(fmt::format("the data set {} has no field `{}`", data.name(), c.text(1)));
  std::vector<int64_t> rows(static_cast<size_t>(data.size()));
  std::iota(rows.begin(), rows.end(), 0);
  data.read(rows.data(), data.size(), out.data());
  c.result(Value(std::move(t)));
}

void text_encode(Call& c) {
  const auto ids = text_data(c).encode(c.str(0));
  if (!ids)
    c.fail(Code::TextOutsideVocab, fmt::format("{} has a character that isn't in the vocabulary of {}",
                                               to_text(c.arg(0), true), text_data(c).path));
  c.result(Value(Tensor::copy_of(NNL_I32, {static_cast<int64_t>(ids->size())}, ids->data())));
}

void text_decode(Call& c) {
  const nnl::data::Text& text = text_data(c);
  std::vector<int32_t> ids;
  auto add = [&](int64_t id) {
    if (id < 0 || id >= static_cast<int64_t>(text.vocab.size()))
      c.fail(Code::ClassOutOfRange,
             fmt::format("{} isn't an index of the vocabulary of {}, which has {}", id, text.path, text.vocab.size()));
    ids.push_back(static_cast<int32_t>(id));
  };
  if (auto* t = c.arg(0).tensor()) {
    for (int64_t i = 0; i < t->count(); ++i) add(element_int(*t, i));
  } else if (c.arg(0).get<ListPtr>()) {
    for (const Value& item : c.list(0).items) {
      const Value v = read_back(item);
      if (auto* i = v.get<int64_t>())
        add(*i);
      else
        c.wrong_kind(0, "a list of ints");
    }
  } else {
    add(c.integer(0));
  }
  c.result(Value::str(text.decode(ids.data(), static_cast<int64_t>(ids.size()))));
}

}  // namespace

const std::vector<BuiltinEntry>& file_builtins() {
  static const std::vector<BuiltinEntry> table = {
      {"save", save},
      {"load", load},
      {"save_tensors", save_tensors},
      {"load_tensor", load_tensor},
      {"dataset_row", dataset_row},
      {"dataset_len", [](Call& c) { c.result(Value(dataset(c).size())); }},
      {"one_batch", one_batch},
      {"text_encode", text_encode},
      {"text_decode", text_decode},
  };
  return table;
}

}  // namespace nnlc::exec
