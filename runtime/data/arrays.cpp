// NumPy's .npy (format versions 1 to 3) and .npz (a zip file of them, stored or deflated), and safetensors.
// Sources: NumPy's numpy/lib/format.py; PKWARE's APPNOTE for zip.
#include "runtime/data/arrays.h"

#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "runtime/data/columns.h"
#include "runtime/data/file.h"
#include "runtime/safetensors.h"

namespace nnl::data {

namespace {

struct Array {
  Field field;  // shape with the rows in front
  std::vector<char> bytes;
};

/// How an element of a NumPy type is held: its own bytes, or a wider signed int for the unsigned ones that NNL lacks.
struct NumpyType {
  const char* code;
  int dtype;
  int64_t bytes;  // in the file
};
constexpr NumpyType kTypes[] = {
    {"b1", NNL_BOOL, 1}, {"u1", NNL_U8, 1},  {"i1", NNL_I8, 1},  {"i2", NNL_I16, 2},
    {"i4", NNL_I32, 4},  {"i8", NNL_I64, 8}, {"f2", NNL_F16, 2}, {"f4", NNL_F32, 4},
    {"f8", NNL_F64, 8},  {"u2", NNL_I32, 2}, {"u4", NNL_I64, 4}, {"u8", NNL_I64, 8},
};

/// The text after `'key':` in the header's dict, up to where a value of its kind ends.
std::string_view value_of(std::string_view header, std::string_view key) {
  size_t at = header.find("'" + std::string(key) + "'");
  if (at == std::string_view::npos) return {};
  at = header.find(':', at);
  if (at == std::string_view::npos) return {};
  std::string_view rest = header.substr(at + 1);
  while (!rest.empty() && rest.front() == ' ') rest.remove_prefix(1);
  if (rest.empty()) return {};
  const char open = rest.front();
  const char close = open == '(' ? ')' : open == '\'' ? '\'' : ',';
  const size_t end = rest.find(close, 1);
  return end == std::string_view::npos ? std::string_view{} : rest.substr(0, end + (close == ',' ? 0 : 1));
}

Result<Array> parse_npy(std::string_view data, const std::string& where) {
  const Error damaged{where + ": is no .npy file, or a damaged one", ""};
  if (data.size() < 10 || data.substr(0, 6) != std::string_view("\x93NUMPY", 6)) return damaged;
  const auto byte = [&](size_t i) { return static_cast<size_t>(static_cast<unsigned char>(data[i])); };
  const size_t major = byte(6);
  if (major < 1 || major > 3) return Error{where + ": is of .npy version " + std::to_string(major), ""};
  const size_t prefix = major == 1 ? 10 : 12;
  if (data.size() < prefix) return damaged;
  size_t length = byte(8) | byte(9) << 8;
  if (major > 1) length |= byte(10) << 16 | byte(11) << 24;
  if (length > data.size() - prefix) return damaged;
  const std::string_view header = data.substr(prefix, length);
  data.remove_prefix(prefix + length);

  const std::string_view descr = value_of(header, "descr"), fortran = value_of(header, "fortran_order");
  std::string_view shape = value_of(header, "shape");
  if (descr.size() < 5 || shape.size() < 2 || shape.front() != '(') return damaged;
  const char order = descr[1];
  const std::string_view code = descr.substr(2, descr.size() - 3);
  const NumpyType* type = std::find_if(std::begin(kTypes), std::end(kTypes), [&](auto& t) { return code == t.code; });
  if (type == std::end(kTypes) || descr.front() != '\'')
    return Error{where + ": holds " + std::string(descr) + ", which NNL hasn't", "save it as a float or int type"};
  if (order == '>' && type->bytes > 1)
    return Error{where + ": is big-endian", "save it with `.astype('<" + std::string(code) + "')`"};
  if (fortran == "True") return Error{where + ": lies in Fortran order", "save it with `np.ascontiguousarray(…)`"};
  Array a;
  a.field.dtype = type->dtype;
  int64_t count = 1;
  for (size_t i = 1; i < shape.size();) {
    if (shape[i] < '0' || shape[i] > '9') {
      ++i;
      continue;
    }
    int64_t d = 0;
    for (; i < shape.size() && shape[i] >= '0' && shape[i] <= '9'; ++i)
      if (__builtin_mul_overflow(d, 10, &d) || __builtin_add_overflow(d, shape[i] - '0', &d)) return damaged;
    a.field.shape.push_back(d);
    if (__builtin_mul_overflow(count, d, &count)) return damaged;
  }
  int64_t bytes = 0;
  if (__builtin_mul_overflow(count, type->bytes, &bytes) || bytes > static_cast<int64_t>(data.size()))
    return Error{where + ": is shorter than its shape says", ""};
  const int64_t wide = element_bytes(type->dtype);
  a.bytes.resize(static_cast<size_t>(count * wide));
  if (wide == type->bytes && code != "u8") {
    std::memcpy(a.bytes.data(), data.data(), a.bytes.size());
    return a;
  }
  for (int64_t i = 0; i < count; ++i) {
    uint64_t v = 0;
    std::memcpy(&v, data.data() + i * type->bytes, static_cast<size_t>(type->bytes));
    if (v > INT64_MAX) return Error{where + ": element " + std::to_string(i) + " is too large for an i64", ""};
    std::memcpy(a.bytes.data() + i * wide, &v, static_cast<size_t>(wide));
  }
  return a;
}

Result<DatasetPtr> as_dataset(const std::string& path, std::vector<Array> arrays) {
  if (arrays.empty()) return Error{path + ": holds no array", ""};
  int64_t rows = -1;
  std::vector<Field> fields;
  std::vector<std::vector<char>> columns;
  for (Array& a : arrays) {
    const std::string name = "`" + a.field.name + "`";
    if (a.field.shape.empty()) return Error{path + ": " + name + " is a single number, which has no rows", ""};
    const int64_t n = a.field.shape.front();
    if (rows < 0) rows = n;
    if (n != rows)
      return Error{path + ": `" + fields.front().name + "` has " + std::to_string(rows) + " rows, " + name + " has " +
                       std::to_string(n),
                   "the arrays of a data set have equal first sizes"};
    a.field.shape.erase(a.field.shape.begin());
    fields.push_back(std::move(a.field));
    columns.push_back(std::move(a.bytes));
  }
  return DatasetPtr(std::make_shared<ColumnDataset>(std::filesystem::path(path).filename().string(), rows,
                                                    std::move(fields), std::move(columns)));
}

// ---------------------------------------------------------------- zip

uint64_t little(std::string_view s, size_t at, size_t n) {
  uint64_t v = 0;
  for (size_t i = 0; i < n; ++i) v |= static_cast<uint64_t>(static_cast<unsigned char>(s[at + i])) << (8 * i);
  return v;
}

struct ZipEntry {
  std::string name;
  uint64_t method, crc, packed, size, offset;
};

Result<std::vector<ZipEntry>> zip_entries(std::string_view zip, const std::string& path) {
  const Error damaged{path + ": is no .npz file, or a damaged one", ""};
  // The record at the end; a comment of up to 64 KiB may follow it.
  size_t end = std::string_view::npos;
  for (size_t back = 22; back <= zip.size() && back <= 22 + 65535; ++back)
    if (little(zip, zip.size() - back, 4) == 0x06054b50) {
      end = zip.size() - back;
      break;
    }
  if (end == std::string_view::npos) return damaged;
  uint64_t count = little(zip, end + 10, 2), at = little(zip, end + 16, 4);
  if ((count == 0xFFFF || at == 0xFFFFFFFF) && end >= 20 && little(zip, end - 20, 4) == 0x07064b50) {
    const uint64_t wide = little(zip, end - 20 + 8, 8);
    if (wide > zip.size() || zip.size() - wide < 56 || little(zip, wide, 4) != 0x06064b50) return damaged;
    count = little(zip, wide + 32, 8);
    at = little(zip, wide + 48, 8);
  }
  std::vector<ZipEntry> out;
  for (uint64_t i = 0; i < count; ++i) {
    if (at > zip.size() || zip.size() - at < 46 || little(zip, at, 4) != 0x02014b50) return damaged;
    const uint64_t name = little(zip, at + 28, 2), extra = little(zip, at + 30, 2), comment = little(zip, at + 32, 2);
    if (zip.size() - at - 46 < name + extra + comment) return damaged;
    ZipEntry e{std::string(zip.substr(at + 46, name)),
               little(zip, at + 10, 2),
               little(zip, at + 16, 4),
               little(zip, at + 20, 4),
               little(zip, at + 24, 4),
               little(zip, at + 42, 4)};
    // Sizes that don't fit 32 bits stand in an extra field, in this order.
    for (uint64_t x = at + 46 + name, last = x + extra; x + 4 <= last;) {
      const uint64_t id = little(zip, x, 2), length = little(zip, x + 2, 2);
      if (length > last - x - 4) break;
      uint64_t from = x + 4;
      for (uint64_t* field : {&e.size, &e.packed, &e.offset})
        if (id == 1 && *field == 0xFFFFFFFF && from + 8 <= x + 4 + length) {
          *field = little(zip, from, 8);
          from += 8;
        }
      x += 4 + length;
    }
    out.push_back(std::move(e));
    at += 46 + name + extra + comment;
  }
  return out;
}

Result<std::string> unzip(std::string_view zip, const ZipEntry& e, const std::string& where) {
  const Error damaged{where + ": is damaged", ""};
  if (e.offset > zip.size() || zip.size() - e.offset < 30 || little(zip, e.offset, 4) != 0x04034b50) return damaged;
  const uint64_t from = e.offset + 30 + little(zip, e.offset + 26, 2) + little(zip, e.offset + 28, 2);
  if (from > zip.size() || e.packed > zip.size() - from) return damaged;
  // Deflate shrinks by 1032 at most, so a size beyond that is a lie; no memory is taken for it.
  if (e.size > (e.packed + 1) * 1032) return damaged;
  const std::string_view packed = zip.substr(from, e.packed);
  std::string out;
  if (e.method == 0) {
    out = std::string(packed);
  } else if (e.method == 8) {
    out.resize(e.size);
    z_stream z{};
    if (inflateInit2(&z, -MAX_WBITS) != Z_OK) return damaged;
    int status = Z_OK;
    size_t in = 0, written = 0;
    constexpr size_t kPiece = size_t{1} << 30;  // zlib counts in 32 bits
    while (status == Z_OK) {
      const size_t give = std::min(packed.size() - in, kPiece), room = std::min(out.size() - written, kPiece);
      z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data() + in));
      z.avail_in = static_cast<uInt>(give);
      z.next_out = reinterpret_cast<Bytef*>(out.data() + written);
      z.avail_out = static_cast<uInt>(room);
      status = inflate(&z, Z_NO_FLUSH);
      in += give - z.avail_in;
      written += room - z.avail_out;
    }
    inflateEnd(&z);
    if (status != Z_STREAM_END || written != out.size()) return damaged;
  } else {
    return Error{where + ": is packed by a method that NNL doesn't know",
                 "np.savez and np.savez_compressed write others"};
  }
  if (out.size() != e.size) return damaged;
  uLong crc = crc32(0, nullptr, 0);
  for (size_t at = 0; at < out.size(); at += size_t{1} << 30)
    crc = crc32(crc, reinterpret_cast<const Bytef*>(out.data() + at),
                static_cast<uInt>(std::min(out.size() - at, size_t{1} << 30)));
  if (crc != e.crc) return Error{where + ": its checksum is wrong", ""};
  return out;
}

}  // namespace

Result<DatasetPtr> npy(const std::string& path) {
  auto content = read_all(path);
  if (!content) return content.error();
  auto a = parse_npy(*content, path);
  if (!a) return a.error();
  a->field.name = "x";
  std::vector<Array> one;
  one.push_back(std::move(*a));
  return as_dataset(path, std::move(one));
}

Result<DatasetPtr> npz(const std::string& path) {
  auto content = read_all(path);
  if (!content) return content.error();
  auto entries = zip_entries(*content, path);
  if (!entries) return entries.error();
  std::vector<Array> arrays;
  for (const ZipEntry& e : *entries) {
    if (!e.name.ends_with(".npy")) continue;
    const std::string name = e.name.substr(0, e.name.size() - 4), where = path + ": `" + name + "`";
    auto data = unzip(*content, e, where);
    if (!data) return data.error();
    auto a = parse_npy(*data, where);
    if (!a) return a.error();
    a->field.name = name;
    arrays.push_back(std::move(*a));
  }
  return as_dataset(path, std::move(arrays));
}

Result<DatasetPtr> safetensors(const std::string& path) {
  auto file = SafetensorsFile::open(path);
  if (!file) return file.error();
  std::vector<Array> arrays;
  for (const SafetensorsEntry& e : (*file)->entries()) {
    Array a;
    a.field.name = e.name;
    a.field.dtype = e.dtype;
    a.field.shape = e.shape;
    a.bytes.resize(static_cast<size_t>(e.end - e.begin));
    if (auto error = (*file)->read(e, a.bytes.data())) return *error;
    arrays.push_back(std::move(a));
  }
  std::sort(arrays.begin(), arrays.end(), [](auto& a, auto& b) { return a.field.name < b.field.name; });
  return as_dataset(path, std::move(arrays));
}

}  // namespace nnl::data
