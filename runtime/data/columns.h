// Data sets whose fields lie in memory, one dense array a field.
#pragma once
#include <cstring>

#include "runtime/data/dataset.h"
#include "runtime/dtype.h"

namespace nnl::data {

/// Bytes of one record of a field.
inline int64_t record_bytes(const Field& f) {
  int64_t n = element_bytes(f.dtype);
  for (int64_t d : f.shape) n *= d;
  return n;
}

/// Fields as they are, copied out by row.
class ColumnDataset : public Dataset {
 public:
  ColumnDataset(std::string name, int64_t rows, std::vector<Field> fields, std::vector<std::vector<char>> columns)
      : name_(std::move(name)), rows_(rows), fields_(std::move(fields)), columns_(std::move(columns)) {
    for (const Field& f : fields_) bytes_.push_back(record_bytes(f));
  }
  const std::vector<Field>& fields() const override { return fields_; }
  int64_t size() const override { return rows_; }
  std::string name() const override { return name_; }
  void read(const int64_t* rows, int64_t n, void* const* out) const override {
    for (size_t f = 0; f < fields_.size(); ++f) {
      if (!out[f]) continue;
      auto* to = static_cast<char*>(out[f]);
      const char* from = columns_[f].data();
      const auto bytes = static_cast<size_t>(bytes_[f]);
      if (bytes == 0) continue;
      for (int64_t i = 0; i < n; ++i)
        std::memcpy(to + static_cast<size_t>(i) * bytes, from + static_cast<size_t>(rows[i]) * bytes, bytes);
    }
  }

 private:
  std::string name_;
  int64_t rows_;
  std::vector<Field> fields_;
  std::vector<std::vector<char>> columns_;
  std::vector<int64_t> bytes_;
};

/// Byte images, read as f32 in 0..1 (the quotient by 255, correctly rounded), with labels.
class ImageDataset : public Dataset {
 public:
  /// pixels: size of shape * labels.size() bytes, kept alive by the pointer (memory or a mapped file).
  ImageDataset(std::string name, std::vector<int64_t> shape, std::shared_ptr<const uint8_t> pixels,
               std::vector<int32_t> labels, int64_t classes);
  const std::vector<Field>& fields() const override { return fields_; }
  int64_t size() const override { return static_cast<int64_t>(labels_.size()); }
  std::string name() const override { return name_; }
  void read(const int64_t* rows, int64_t n, void* const* out) const override;

 private:
  std::string name_;
  std::vector<Field> fields_;
  int64_t image_size_ = 1;
  std::shared_ptr<const uint8_t> pixels_;
  std::vector<int32_t> labels_;
  float scaled_[256];
};

}  // namespace nnl::data
