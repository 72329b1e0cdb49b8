// Texts as class indices (language rule 43), and the two ways to cut records out of them.
#include <algorithm>
#include <filesystem>
#include <map>
#include <set>

#include "runtime/data/columns.h"
#include "runtime/data/file.h"

namespace nnl::data {

namespace {

constexpr int64_t kBytes = 256;

std::string unit_at(std::string_view s, size_t at, bool bytes) {
  return std::string(s.substr(at, bytes ? 1 : static_cast<size_t>(std::max(utf8_length(s, at), 1))));
}

/// From a unit to its index. In `lines` mode entry 0 is the end of a line, whatever it is written as.
std::map<std::string, int32_t, std::less<>> index_of(const Text& t) {
  std::map<std::string, int32_t, std::less<>> m;
  for (size_t i = t.lines ? 1 : 0; i < t.vocab.size(); ++i) m.emplace(t.vocab[i], static_cast<int32_t>(i));
  return m;
}

/// The text as file lines: the end of each is "\n" or "\r\n"; the last one may lack it.
std::vector<std::pair<size_t, size_t>> lines_of(const std::string& s) {
  std::vector<std::pair<size_t, size_t>> lines;
  for (size_t from = 0; from < s.size();) {
    const size_t nl = s.find('\n', from);
    const size_t end = nl == std::string::npos ? s.size() : nl;
    lines.push_back({from, end > from && s[end - 1] == '\r' ? end - 1 : end});
    from = end + 1;
  }
  return lines;
}

std::string printable(const std::string& unit) {
  if (unit == "\n") return "\\n";
  if (unit == "\t") return "\\t";
  if (unit == "\r") return "\\r";
  if (utf8_length(unit, 0) == 0 || static_cast<unsigned char>(unit[0]) < 0x20) {
    const auto c = static_cast<unsigned char>(unit[0]);
    return std::string("\\x") + "0123456789abcdef"[c >> 4] + "0123456789abcdef"[c & 15];
  }
  return unit;
}

Field class_field(const char* name, int64_t classes, std::vector<int64_t> shape) {
  Field f;
  f.name = name;
  f.dtype = NNL_I32;
  f.shape = std::move(shape);
  f.classes = classes;
  return f;
}

class WindowDataset : public Dataset {
 public:
  WindowDataset(TextPtr t, int64_t n, int64_t stride) : t_(std::move(t)), n_(n), stride_(stride) {
    const auto v = static_cast<int64_t>(t_->vocab.size()), len = static_cast<int64_t>(t_->ids.size());
    fields_ = {class_field("x", v, {n}), class_field("y", v, {n})};
    rows_ = len > n ? (len - n - 1) / stride + 1 : 0;
  }
  const std::vector<Field>& fields() const override { return fields_; }
  int64_t size() const override { return rows_; }
  std::string name() const override { return std::filesystem::path(t_->path).filename().string(); }
  void read(const int64_t* rows, int64_t n, void* const* out) const override {
    for (int64_t f = 0; f < 2; ++f)
      if (auto* to = static_cast<int32_t*>(out[f]))
        for (int64_t i = 0; i < n; ++i) std::copy_n(t_->ids.data() + rows[i] * stride_ + f, n_, to + i * n_);
  }

 private:
  TextPtr t_;
  int64_t n_, stride_, rows_ = 0;
  std::vector<Field> fields_;
};

class ContextDataset : public Dataset {
 public:
  ContextDataset(TextPtr t, int64_t n) : t_(std::move(t)), n_(n) {
    const auto v = static_cast<int64_t>(t_->vocab.size());
    fields_ = {class_field("x", v, {n}), class_field("y", v, {})};
    // Without lines there is nothing to pad with: records start where a whole context stands before them.
    first_ = t_->lines ? 0 : n;
    rows_ = std::max<int64_t>(static_cast<int64_t>(t_->ids.size()) - first_, 0);
  }
  const std::vector<Field>& fields() const override { return fields_; }
  int64_t size() const override { return rows_; }
  std::string name() const override { return std::filesystem::path(t_->path).filename().string(); }
  void read(const int64_t* rows, int64_t n, void* const* out) const override {
    const int32_t* ids = t_->ids.data();
    auto* x = static_cast<int32_t*>(out[0]);
    auto* y = static_cast<int32_t*>(out[1]);
    for (int64_t i = 0; i < n; ++i) {
      const int64_t at = rows[i] + first_;
      if (y) y[i] = ids[at];
      if (!x) continue;
      int64_t k = n_ - 1, from = at - 1;
      for (; k >= 0 && from >= 0 && !(t_->lines && ids[from] == 0); --k, --from) x[i * n_ + k] = ids[from];
      for (; k >= 0; --k) x[i * n_ + k] = 0;
    }
  }

 private:
  TextPtr t_;
  int64_t n_, first_ = 0, rows_ = 0;
  std::vector<Field> fields_;
};

}  // namespace

Result<TextPtr> text(const std::string& path, bool bytes, bool lines, TextPtr vocab_of) {
  auto content = read_all(path);
  if (!content) return content.error();
  std::string& s = *content;
  if (!bytes && s.starts_with("\xEF\xBB\xBF")) s.erase(0, 3);
  if (vocab_of && (vocab_of->bytes != bytes || vocab_of->lines != lines))
    return Error{path + ": the text whose vocabulary it shares, " + vocab_of->path +
                     ", was read with another unit or without `lines`",
                 ""};

  const auto spans = lines ? lines_of(s) : std::vector<std::pair<size_t, size_t>>{{0, s.size()}};
  auto t = std::make_shared<Text>();
  t->path = path;
  t->bytes = bytes;
  t->lines = lines;
  if (!bytes)
    for (size_t i = 0; i < s.size();) {
      const int n = utf8_length(s, i);
      if (n == 0)
        return Error{path + ": " + place_in_text(s, i) + ": is not UTF-8",
                     "save the file as UTF-8, or read it with unit = \"byte\""};
      i += static_cast<size_t>(n);
    }
  if (s.empty()) return Error{path + ": is empty", ""};

  if (vocab_of) {
    t->vocab = vocab_of->vocab;
  } else {
    if (lines) t->vocab.push_back(".");
    if (bytes) {
      for (int64_t b = 0; b < kBytes; ++b) t->vocab.push_back(std::string(1, static_cast<char>(b)));
    } else {
      std::set<std::string, std::less<>> units;  // bytes of valid UTF-8 sort as code points do
      for (auto [from, end] : spans)
        for (size_t i = from; i < end;) {
          const auto n = static_cast<size_t>(utf8_length(s, i));
          const std::string_view unit = std::string_view(s).substr(i, n);
          if (!units.contains(unit)) units.emplace(unit);
          i += n;
        }
      t->vocab.insert(t->vocab.end(), units.begin(), units.end());
    }
  }
  const auto index = index_of(*t);
  // One table lookup for each ASCII character instead of one search.
  int32_t ascii[128];
  for (int c = 0; c < 128; ++c) {
    const auto it = index.find(std::string(1, static_cast<char>(c)));
    ascii[c] = it == index.end() ? -1 : it->second;
  }
  t->ids.reserve(s.size() + spans.size());
  for (auto [from, end] : spans) {
    for (size_t i = from; i < end;) {
      const auto c = static_cast<unsigned char>(s[i]);
      const size_t n = bytes ? 1 : static_cast<size_t>(utf8_length(s, i));
      int32_t id = -1;
      if (c < 128) {
        id = ascii[c];
      } else if (const auto it = index.find(std::string_view(s).substr(i, n)); it != index.end()) {
        id = it->second;
      }
      if (id < 0)
        return Error{path + ": " + place_in_text(s, i) + ": `" + printable(s.substr(i, n)) +
                         "` is not in the vocabulary of " + vocab_of->path,
                     ""};
      t->ids.push_back(id);
      i += n;
    }
    if (lines) t->ids.push_back(0);
  }
  return TextPtr(t);
}

std::optional<std::vector<int32_t>> Text::encode(const std::string& s) const {
  const auto index = index_of(*this);
  std::vector<int32_t> out;
  for (size_t i = 0; i < s.size();) {
    const std::string unit = unit_at(s, i, bytes);
    if (const auto it = index.find(unit); it != index.end())
      out.push_back(it->second);
    else if (lines && (unit == "." || unit == "\n"))
      out.push_back(0);
    else
      return std::nullopt;
    i += unit.size();
  }
  return out;
}

std::string Text::decode(const int32_t* values, int64_t n) const {
  std::string s;
  for (int64_t i = 0; i < n; ++i)
    if (values[i] >= 0 && static_cast<size_t>(values[i]) < vocab.size()) s += vocab[static_cast<size_t>(values[i])];
  return s;
}

TextPtr text_slice(TextPtr t, int64_t begin, int64_t end) {
  const auto n = static_cast<int64_t>(t->ids.size());
  begin = std::clamp<int64_t>(begin, 0, n);
  end = std::clamp<int64_t>(end, begin, n);
  auto part = std::make_shared<Text>();
  part->path = t->path;
  part->vocab = t->vocab;
  part->bytes = t->bytes;
  part->lines = t->lines;
  part->ids.assign(t->ids.begin() + begin, t->ids.begin() + end);
  return part;
}

DatasetPtr windows(TextPtr t, int64_t n, int64_t stride) {
  return std::make_shared<WindowDataset>(std::move(t), std::max<int64_t>(n, 1), std::max<int64_t>(stride, 1));
}
DatasetPtr contexts(TextPtr t, int64_t n) {
  return std::make_shared<ContextDataset>(std::move(t), std::max<int64_t>(n, 1));
}

}  // namespace nnl::data
