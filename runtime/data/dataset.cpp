// Parts and joins of data sets, and where files are looked for.
#include "runtime/data/dataset.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "runtime/data/columns.h"
#include "runtime/data/file.h"

namespace nnl::data {

ImageDataset::ImageDataset(std::string name, std::vector<int64_t> shape, std::shared_ptr<const uint8_t> pixels,
                           std::vector<int32_t> labels, int64_t classes)
    : name_(std::move(name)), pixels_(std::move(pixels)), labels_(std::move(labels)) {
  for (int64_t d : shape) image_size_ *= d;
  Field image, label;
  image.name = "image";
  image.shape = std::move(shape);
  label.name = "label";
  label.dtype = NNL_I32;
  label.classes = classes;
  fields_ = {std::move(image), std::move(label)};
  for (int i = 0; i < 256; ++i) scaled_[i] = static_cast<float>(i) / 255.0f;
}

void ImageDataset::read(const int64_t* rows, int64_t n, void* const* out) const {
  if (auto* to = static_cast<float*>(out[0]))
    for (int64_t i = 0; i < n; ++i) {
      const uint8_t* from = pixels_.get() + rows[i] * image_size_;
      for (int64_t k = 0; k < image_size_; ++k) *to++ = scaled_[from[k]];
    }
  if (auto* to = static_cast<int32_t*>(out[1]))
    for (int64_t i = 0; i < n; ++i) to[i] = labels_[static_cast<size_t>(rows[i])];
}

namespace {

/// Rows of another data set, seen through a map from row numbers to its row numbers.
template <class Map>
class MappedDataset : public Dataset {
 public:
  MappedDataset(DatasetPtr base, int64_t rows, Map map) : base_(std::move(base)), rows_(rows), map_(std::move(map)) {}
  const std::vector<Field>& fields() const override { return base_->fields(); }
  int64_t size() const override { return rows_; }
  std::string name() const override { return base_->name(); }
  void read(const int64_t* rows, int64_t n, void* const* out) const override {
    std::vector<int64_t> mapped(static_cast<size_t>(n));
    for (int64_t i = 0; i < n; ++i) mapped[static_cast<size_t>(i)] = map_(rows[i]);
    base_->read(mapped.data(), n, out);
  }

 private:
  DatasetPtr base_;
  int64_t rows_;
  Map map_;
};

class ConcatDataset : public Dataset {
 public:
  ConcatDataset(DatasetPtr a, DatasetPtr b) : a_(std::move(a)), b_(std::move(b)), fields_(a_->fields()) {
    for (size_t i = 0; i < fields_.size(); ++i) fields_[i].missing = fields_[i].missing || b_->fields()[i].missing;
  }
  const std::vector<Field>& fields() const override { return fields_; }
  int64_t size() const override { return a_->size() + b_->size(); }
  std::string name() const override { return a_->name() + " + " + b_->name(); }
  void read(const int64_t* rows, int64_t n, void* const* out) const override {
    // Runs of rows from one part are read in one go: unshuffled batches lie in one part almost always.
    const int64_t cut = a_->size();
    std::vector<int64_t> part;
    std::vector<void*> to(fields_.size());
    for (int64_t i = 0; i < n;) {
      const bool second = rows[i] >= cut;
      int64_t j = i;
      part.clear();
      while (j < n && (rows[j] >= cut) == second) part.push_back(rows[j++] - (second ? cut : 0));
      for (size_t f = 0; f < to.size(); ++f)
        to[f] = out[f] ? static_cast<char*>(out[f]) + i * record_bytes(fields_[f]) : nullptr;
      (second ? b_ : a_)->read(part.data(), j - i, to.data());
      i = j;
    }
  }

 private:
  DatasetPtr a_, b_;
  std::vector<Field> fields_;
};

std::string type_text(const Field& f) {
  std::string s = f.classes > 0 ? "class(" + std::to_string(f.classes) + ")" : dtype_name(f.dtype);
  s += "[";
  for (size_t i = 0; i < f.shape.size(); ++i) s += (i ? ", " : "") + std::to_string(f.shape[i]);
  return s + "]";
}

}  // namespace

DatasetPtr take(DatasetPtr base, int64_t begin, int64_t count) {
  begin = std::clamp<int64_t>(begin, 0, base->size());
  count = std::clamp<int64_t>(count, 0, base->size() - begin);
  const auto map = [begin](int64_t row) { return row + begin; };
  return std::make_shared<MappedDataset<decltype(map)>>(std::move(base), count, map);
}

DatasetPtr select_rows(DatasetPtr base, std::vector<int64_t> rows) {
  const auto n = static_cast<int64_t>(rows.size());
  auto map = [rows = std::move(rows)](int64_t row) { return rows[static_cast<size_t>(row)]; };
  return std::make_shared<MappedDataset<decltype(map)>>(std::move(base), n, std::move(map));
}

Result<DatasetPtr> concat(DatasetPtr a, DatasetPtr b) {
  const std::string both = a->name() + " and " + b->name() + ": ";
  const auto &fa = a->fields(), &fb = b->fields();
  if (fa.size() != fb.size())
    return Error{both + "records have " + std::to_string(fa.size()) + " and " + std::to_string(fb.size()) + " fields",
                 ""};
  for (size_t i = 0; i < fa.size(); ++i) {
    if (fa[i].name != fb[i].name)
      return Error{both + "field " + std::to_string(i + 1) + " is `" + fa[i].name + "` in one and `" + fb[i].name +
                       "` in the other",
                   ""};
    if (fa[i].dtype != fb[i].dtype || fa[i].shape != fb[i].shape || fa[i].classes != fb[i].classes)
      return Error{both + "field `" + fa[i].name + "` is " + type_text(fa[i]) + " in one and " + type_text(fb[i]) +
                       " in the other",
                   ""};
    if (fa[i].class_names != fb[i].class_names)
      return Error{both + "the classes of `" + fa[i].name + "` have different names", ""};
  }
  return DatasetPtr(std::make_shared<ConcatDataset>(std::move(a), std::move(b)));
}

Result<std::string> find_file(const std::string& path, const std::string& program_dir) {
  namespace fs = std::filesystem;
  std::error_code ec;
  const fs::path p(path);
  if (fs::exists(p, ec)) return path;
  if (p.is_absolute()) return Error{path + ": not found", ""};
  const fs::path here = fs::current_path(ec);
  std::string looked = "looked in " + here.string();
  if (!program_dir.empty()) {
    if (const fs::path beside = fs::path(program_dir) / p; fs::exists(beside, ec)) return beside.string();
    if (!fs::equivalent(program_dir, here, ec)) looked += ", in " + program_dir;
  }
  const char* root = std::getenv("NNL_DATA");
  if (!root || !*root) return Error{path + ": not found", looked + "; $NNL_DATA is not set"};
  if (const fs::path shared = fs::path(root) / p; fs::exists(shared, ec)) return shared.string();
  return Error{path + ": not found", looked + " and in $NNL_DATA, " + root};
}

}  // namespace nnl::data
