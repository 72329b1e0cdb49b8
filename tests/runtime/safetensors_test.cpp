// Safetensors: what is written comes back, other people's files are read, and no header is believed.
#include <doctest/doctest.h>
#include <sys/stat.h>

#include "runtime/dtype.h"
#include "runtime/safetensors.h"
#include "tests/runtime/files.h"

using namespace nnl;

namespace {

std::string file(const std::string& header, const std::string& data, uint64_t length = UINT64_MAX) {
  if (length == UINT64_MAX) length = header.size();
  std::string s;
  for (int i = 0; i < 8; ++i) s += static_cast<char>(length >> (8 * i));
  return s + header + data;
}
std::string wrong(const std::string& bytes) {
  Folder dir;
  auto f = SafetensorsFile::open(dir.write("t.safetensors", bytes));
  if (f) return "(no error)";
  return f.error().message.substr(f.error().message.find("t.safetensors"));
}
bool has(const std::string& text, const std::string& part) {
  const bool found = text.find(part) != std::string::npos;
  if (!found) MESSAGE("got: " << text);
  return found;
}

}  // namespace

TEST_CASE("what is written is read back, all types") {
  Folder dir;
  const std::string path = dir / "w.safetensors";
  std::vector<uint8_t> bytes(64);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i % 2);
  std::vector<SafetensorsItem> items;
  for (int t = 0; t < kDtypes; ++t) items.push_back({std::string("net.") + dtype_name(t), t, {2, 3}, bytes.data()});
  items.push_back({"scalar \"ä\"", NNL_F32, {}, bytes.data()});
  items.push_back({"nothing", NNL_F32, {0, 4}, nullptr});
  REQUIRE(!write_safetensors(path, items, {{"format", "pt"}}));
  auto f = SafetensorsFile::open(path);
  REQUIRE(f);
  CHECK((*f)->entries().size() == items.size());
  CHECK((*f)->metadata().at("format") == "pt");
  for (const SafetensorsItem& item : items) {
    const SafetensorsEntry* e = (*f)->find(item.name);
    REQUIRE(e);
    CHECK(e->dtype == item.dtype);
    CHECK(e->shape == item.shape);
    CHECK(e->begin % element_bytes(e->dtype) == 0);
    std::vector<uint8_t> back(static_cast<size_t>(e->end - e->begin) + 1);
    CHECK(!(*f)->read(*e, back.data()));
    CHECK(std::equal(back.begin(), back.end() - 1, bytes.begin()));
  }
  CHECK(!(*f)->find("absent"));
  // The data starts at a multiple of 8, as other readers like it.
  CHECK(static_cast<unsigned char>(slurp(path)[0]) % 8 == 0);
}

TEST_CASE("a failed write leaves the old file and no other") {
  Folder dir;
  const float v = 1;
  const std::string path = dir.write("w.safetensors", "old");
  CHECK(write_safetensors(path, {{"a", NNL_F32, {}, &v}, {"a", NNL_F32, {}, &v}}));
  CHECK(slurp(path) == "old");
  CHECK(write_safetensors(path, {{"a\xFF", NNL_F32, {}, &v}}));
  CHECK(slurp(path) == "old");
  const auto e = write_safetensors(dir / "no/such/w.safetensors", {{"a", NNL_F32, {}, &v}});
  REQUIRE(e);
  CHECK(has(e->message, "can't be written"));
  CHECK(has(e->help, "make the folder"));
  std::filesystem::create_directory(dir / "folder");
  CHECK(write_safetensors(dir / "folder", {{"a", NNL_F32, {}, &v}}));
  CHECK(std::distance(std::filesystem::directory_iterator(dir.path()), {}) == 2);
  // A link is kept, what it points to is new.
  std::filesystem::create_symlink("w.safetensors", dir / "link");
  CHECK(!write_safetensors(dir / "link", {{"a", NNL_F32, {}, &v}}));
  CHECK(std::filesystem::is_symlink(dir / "link"));
  CHECK(SafetensorsFile::open(path));
}

TEST_CASE("headers that lie are refused") {
  const std::string a = R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]})", eight(8, '\0');
  CHECK(wrong(file("{" + a + "}", eight)) == "(no error)");
  CHECK(wrong(file("{" + a + "}   ", eight)) == "(no error)");
  CHECK(has(wrong("abc"), "it has 3 bytes"));
  CHECK(has(wrong(file("{}", "", 1u << 20)), "length is 1048576, the file has 10 bytes"));
  CHECK(has(wrong(file("{}", "", UINT64_MAX - 1)), "is no safetensors file"));
  CHECK(has(wrong(file("[]", "")), "does not start with `{`"));
  CHECK(has(wrong(file("{\"a\":", "")), "is not JSON"));
  CHECK(has(wrong(file("{\"\xFF\":1}", "")), "is not JSON"));
  CHECK(has(wrong(file("{" + std::string(100000, '['), "")), "is not JSON"));
  CHECK(has(wrong(file("{\"a\":7}", "")), "tensor `a`: must have"));
  CHECK(has(wrong(file("{" + a + "," + a + "}", eight)), "two tensors are called `a`"));
  const auto one = [&](const std::string& fields, const std::string& data) {
    return wrong(file("{\"a\":{" + fields + "}}", data));
  };
  CHECK(has(one(R"("dtype":"F33","shape":[2],"data_offsets":[0,8])", eight), "dtype `F33` is unknown"));
  CHECK(has(one(R"("dtype":7,"shape":[2],"data_offsets":[0,8])", eight), "dtype is no string"));
  CHECK(has(one(R"("dtype":"F32","shape":2,"data_offsets":[0,8])", eight), "shape is no list"));
  CHECK(has(one(R"("dtype":"F32","shape":[-2],"data_offsets":[0,8])", eight), "-2, which is no size"));
  CHECK(has(one(R"("dtype":"F32","shape":[2.5],"data_offsets":[0,8])", eight), "2.5, which is no size"));
  CHECK(has(one(R"("dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,8])", eight), "which is no size"));
  CHECK(has(one(R"("dtype":"F32","shape":[4611686018427387904,4611686018427387904],"data_offsets":[0,8])", eight),
            "larger than any file"));
  CHECK(has(one(R"("dtype":"F32","shape":[3],"data_offsets":[0,8])", eight), "needs 12 bytes"));
  CHECK(has(one(R"("dtype":"F32","shape":[4],"data_offsets":[0,16])", eight), "the file has 8 bytes of data"));
  CHECK(has(one(R"("dtype":"F32","shape":[2],"data_offsets":[8,0])", eight), "data_offsets are 8 and 0"));
  CHECK(has(one(R"("dtype":"F32","shape":[2],"data_offsets":[0])", eight), "no pair of sizes"));
  CHECK(has(one(R"("dtype":"F32","shape":[1],"data_offsets":[0,4])", eight), "the last 4 bytes belong to no tensor"));
  CHECK(has(one(R"("dtype":"F32","shape":[1],"data_offsets":[4,8])", eight), "bytes 0 to 4"));
  CHECK(has(wrong(file("{" + a + R"(,"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", eight)), "overlap"));
  CHECK(has(wrong(file(R"({"__metadata__":[]})", "")), "`__metadata__` is no object"));
  CHECK(has(wrong(file(R"({"__metadata__":{"a":1}})", "")), "is no string"));
}

TEST_CASE("a byte that is no bool, and a type that NNL has not") {
  Folder dir;
  auto f = SafetensorsFile::open(dir.write(
      "t",
      file(
          R"({"a":{"dtype":"BOOL","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U16","shape":[1],"data_offsets":[2,4]}})",
          "\x01\x02zz")));
  REQUIRE(f);
  uint8_t out[2];
  auto e = (*f)->read(*(*f)->find("a"), out);
  REQUIRE(e);
  CHECK(has(e->message, "tensor `a`: element 1 is 2, which is no bool"));
  e = (*f)->read(*(*f)->find("b"), out);
  REQUIRE(e);
  CHECK(has(e->message, "its element type U16 is not supported"));
}

TEST_CASE("files that another implementation wrote") {
  NNL_DATA_OR_SKIP(root);
  if (!std::filesystem::exists(root + "/safetensors")) {
    MESSAGE("skipped: there is no safetensors in NNL_DATA");
    return;
  }
  auto all = SafetensorsFile::open(root + "/safetensors/all.safetensors");
  REQUIRE(all);
  CHECK((*all)->entries().size() == 9);
  CHECK((*all)->metadata().at("test") == "a");
  auto f = SafetensorsFile::open(root + "/safetensors/f32.safetensors");
  REQUIRE(f);
  REQUIRE((*f)->entries().size() == 1);
  std::vector<float> v(6);
  REQUIRE((*f)->entries()[0].end - (*f)->entries()[0].begin == 24);
  CHECK(!(*f)->read((*f)->entries()[0], v.data()));
  CHECK(v == std::vector<float>{-3, -2, -1, 0, 1, 2});
}
