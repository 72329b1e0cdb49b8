// IDX files: a magic number (two zero bytes, element type, rank), big-endian 32-bit dims, dense data.
// Source: the format's description on the MNIST page, "the IDX file format".
#include "runtime/data/idx.h"

#include <algorithm>
#include <filesystem>
#include <new>

#include "runtime/data/columns.h"
#include "runtime/data/file.h"
#include "runtime/data/unpacked.h"

namespace nnl::data {

namespace {
constexpr int64_t kMaxRank = 8;

std::string hex_byte(unsigned b) { return std::string("0x") + "0123456789abcdef"[b >> 4] + "0123456789abcdef"[b & 15]; }

std::string dims_text(const std::vector<int64_t>& dims) {
  std::string s = "[";
  for (size_t i = 0; i < dims.size(); ++i) s += (i ? ", " : "") + std::to_string(dims[i]);
  return s + "]";
}
}  // namespace

Result<IdxArray> read_idx(const std::string& path) {
  auto opened = Reader::open(path);
  if (!opened) return opened.error();
  Reader& in = **opened;
  unsigned char head[4 + 4 * kMaxRank];
  auto got = in.read(head, 4);
  if (!got) return got.error();
  if (*got < 4) return Error{path + ": is no IDX file: it has " + std::to_string(*got) + " bytes", ""};
  if (head[0] != 0 || head[1] != 0)
    return Error{path + ": is no IDX file: it starts with " + hex_byte(head[0]) + " " + hex_byte(head[1]) +
                     ", not with two zero bytes",
                 ""};
  if (head[2] != 0x08) {
    static const std::pair<unsigned, const char*> kinds[] = {
        {0x09, "i8"}, {0x0B, "i16"}, {0x0C, "i32"}, {0x0D, "f32"}, {0x0E, "f64"}};
    for (auto [code, type] : kinds)
      if (head[2] == code)
        return Error{path + ": holds " + type + " elements: IDX files other than unsigned bytes are not supported yet",
                     ""};
    return Error{path + ": is no IDX file: its element type is " + hex_byte(head[2]), ""};
  }
  const int64_t rank = head[3];
  if (rank < 1 || rank > kMaxRank)
    return Error{path + ": its rank is " + std::to_string(rank) + ", which is not in 1..8", ""};
  got = in.read(head + 4, 4 * rank);
  if (!got) return got.error();
  if (*got < 4 * rank) return Error{path + ": ends within its header", "get the file again"};
  IdxArray a;
  a.size = 1;
  for (int64_t i = 0; i < rank; ++i) {
    const unsigned char* p = head + 4 + 4 * i;
    const int64_t d = int64_t{p[0]} << 24 | int64_t{p[1]} << 16 | int64_t{p[2]} << 8 | p[3];
    a.dims.push_back(d);
    if (d != 0 && a.size > INT64_MAX / d)
      return Error{path + ": its dims " + dims_text(a.dims) + " are larger than any file", ""};
    a.size *= d;
  }
  if (a.size > in.max_bytes())
    return Error{path + ": the header says " + std::to_string(a.size) + " bytes of data for dims " + dims_text(a.dims) +
                     ", more than the file can hold",
                 "get the file again"};
  std::shared_ptr<uint8_t> bytes(new (std::nothrow) uint8_t[static_cast<size_t>(std::max<int64_t>(a.size, 1))],
                                 std::default_delete<uint8_t[]>());
  if (!bytes) return Error{path + ": there is no memory for its " + std::to_string(a.size) + " bytes", ""};
  got = in.read(bytes.get(), a.size);
  if (!got) return got.error();
  if (*got < a.size)
    return Error{path + ": has " + std::to_string(*got) + " bytes of data, its dims " + dims_text(a.dims) + " need " +
                     std::to_string(a.size),
                 "get the file again"};
  char more;
  got = in.read(&more, 1);  // also makes zlib check the checksum at the end
  if (!got) return got.error();
  if (*got > 0)
    return Error{
        path + ": goes on after the " + std::to_string(a.size) + " bytes that its dims " + dims_text(a.dims) + " need",
        ""};
  a.bytes = std::move(bytes);
  return a;
}

Result<DatasetPtr> join_idx(const std::string& name, const std::string& images_path, IdxArray images,
                            const std::string& labels_path, const IdxArray& labels, int64_t classes) {
  if (images.dims.size() != 3 && images.dims.size() != 4)
    return Error{
        images_path + ": its dims are " + dims_text(images.dims) + "; images have 3, [N, H, W], or 4, [N, C, H, W]",
        labels.dims.size() == 3 ? "the first file is the images, the second the labels" : ""};
  if (labels.dims.size() != 1)
    return Error{labels_path + ": its dims are " + dims_text(labels.dims) + "; labels have 1", ""};
  if (images.dims[0] != labels.dims[0])
    return Error{images_path + ": has " + std::to_string(images.dims[0]) + " images, " + labels_path + " has " +
                     std::to_string(labels.dims[0]) + " labels",
                 ""};
  std::vector<int32_t> values(static_cast<size_t>(labels.size));
  int64_t largest = -1;
  for (int64_t i = 0; i < labels.size; ++i) {
    const int64_t v = labels.bytes.get()[i];
    if (classes > 0 && v >= classes)
      return Error{labels_path + ": row " + std::to_string(i) + ": class " + std::to_string(v) + " is not below " +
                       std::to_string(classes),
                   ""};
    largest = std::max(largest, v);
    values[static_cast<size_t>(i)] = static_cast<int32_t>(v);
  }
  if (classes <= 0) classes = std::max<int64_t>(largest + 1, 1);
  std::vector<int64_t> shape(images.dims.begin() + 1, images.dims.end());
  if (shape.size() == 2) shape.insert(shape.begin(), 1);
  return DatasetPtr(
      std::make_shared<ImageDataset>(name, std::move(shape), std::move(images.bytes), std::move(values), classes));
}

Result<DatasetPtr> idx(const std::string& images, const std::string& labels, int64_t classes) {
  auto b = read_idx(labels);
  if (!b) return b.error();
  auto a = read_idx_once(images);
  if (!a) return a.error();
  std::filesystem::path p(images);
  std::string name = p.filename().string();
  return join_idx(name, images, std::move(*a), labels, *b, classes);
}

}  // namespace nnl::data
