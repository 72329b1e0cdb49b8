// IDX files, MNIST by name, parts and joins of data sets.
#include <doctest/doctest.h>

#include <cmath>

#include "runtime/data/dataset.h"
#include "runtime/data/file.h"
#include "runtime/data/unpacked.h"
#include "tests/runtime/files.h"

using namespace nnl::data;

namespace {

std::string pixels(int n) {
  std::string s;
  for (int i = 0; i < n; ++i) s += static_cast<char>(i * 37);
  return s;
}

/// The message, or "" when it worked.
template <class T>
std::string message(Result<T> r) {
  return r ? "" : r.error().message;
}

bool has(const std::string& text, const std::string& part) {
  const bool found = text.find(part) != std::string::npos;
  if (!found) MESSAGE("got: " << text);
  return found;
}

struct Record {
  std::vector<float> image;
  int32_t label = -1;
};
Record record(const Dataset& d, int64_t row) {
  Record r;
  int64_t n = 1;
  for (int64_t s : d.fields()[0].shape) n *= s;
  r.image.resize(static_cast<size_t>(n));
  void* out[] = {r.image.data(), &r.label};
  d.read(&row, 1, out);
  return r;
}

std::vector<int32_t> labels(const Dataset& d) {
  std::vector<int64_t> rows;
  for (int64_t i = 0; i < d.size(); ++i) rows.push_back(i);
  std::vector<int32_t> y(rows.size());
  void* out[] = {nullptr, y.data()};
  d.read(rows.data(), d.size(), out);
  return y;
}

}  // namespace

TEST_CASE("idx reads images and labels, plain or gzipped") {
  Folder dir;
  const std::string images = idx_bytes(8, {3, 2, 2}, pixels(12)),
                    labels_file = idx_bytes(8, {3}, std::string("\x01\x00\x02", 3));
  for (bool zipped : {false, true}) {
    auto d = idx(dir.write("images", zipped ? gzipped(images) : images),
                 dir.write("labels", zipped ? gzipped(labels_file) : labels_file), 0);
    REQUIRE(d);
    CHECK((*d)->size() == 3);
    const auto& f = (*d)->fields();
    CHECK(f[0].name == "image");
    CHECK(f[0].shape == std::vector<int64_t>{1, 2, 2});
    CHECK(f[0].dtype == NNL_F32);
    CHECK(f[1].name == "label");
    CHECK(f[1].classes == 3);
    CHECK(f[1].dtype == NNL_I32);
    const Record r = record(**d, 1);
    CHECK(r.label == 0);
    for (int i = 0; i < 4; ++i)
      CHECK(r.image[static_cast<size_t>(i)] == static_cast<float>(static_cast<uint8_t>((4 + i) * 37)) / 255.0f);
  }
  SUBCASE("four dims are [N, C, H, W]") {
    auto d = idx(dir.write("i", idx_bytes(8, {2, 3, 1, 2}, pixels(12))),
                 dir.write("l", idx_bytes(8, {2}, std::string(2, '\0'))), 5);
    REQUIRE(d);
    CHECK((*d)->fields()[0].shape == std::vector<int64_t>{3, 1, 2});
    CHECK((*d)->fields()[1].classes == 5);
  }
}

TEST_CASE("idx: what is wrong with a file is said, with the file's name") {
  Folder dir;
  const std::string l = dir.write("labels", idx_bytes(8, {3}, std::string("\x01\x00\x0c", 3)));
  const auto images = [&](const std::string& bytes) { return message(idx(dir.write("images", bytes), l, 0)); };
  const std::string good = idx_bytes(8, {3, 2, 2}, pixels(12));
  CHECK(has(images(""), "images: is no IDX file: it has 0 bytes"));
  CHECK(has(images("PK\x03\x04 zip"), "starts with 0x50 0x4b"));
  CHECK(has(images(idx_bytes(0x0D, {3, 2, 2}, pixels(48))), "not supported yet"));
  CHECK(has(images(idx_bytes(0x77, {3}, "abc")), "element type is 0x77"));
  CHECK(has(images(good.substr(0, 9)), "ends within its header"));
  CHECK(has(images(good.substr(0, good.size() - 1)), "has 11 bytes of data, its dims [3, 2, 2] need 12"));
  CHECK(has(images(good + "x"), "goes on after the 12 bytes"));
  CHECK(has(images(gzipped(good + "x")), "goes on after the 12 bytes"));
  CHECK(has(images(gzipped(good.substr(0, good.size() - 2))), "has 10 bytes of data"));
  CHECK(has(images(idx_bytes(8, {0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF}, "")), "larger than any file"));
  CHECK(has(images(idx_bytes(8, {60000, 2800, 2800}, "abc")), "more than the file can hold"));
  CHECK(has(images(gzipped(idx_bytes(8, {60000, 2800, 2800}, "abc"))), "more than the file can hold"));
  CHECK(has(images(idx_bytes(8, {12}, pixels(12))), "images have 3, [N, H, W]"));
  CHECK(has(images(idx_bytes(8, {2, 2, 2}, pixels(8))), "has 2 images"));
  const std::string big = gzipped(idx_bytes(8, {3, 40, 40}, pixels(4800)));
  CHECK(has(images(big.substr(0, big.size() / 2)), "truncated"));
  std::string damaged = big;
  damaged[damaged.size() / 2] = static_cast<char>(damaged[damaged.size() / 2] ^ 0x55);
  CHECK(has(images(damaged), "damaged"));
  CHECK(has(message(idx(dir / "absent", l, 0)), "absent: can't be opened"));
  CHECK(has(message(idx(dir.path(), l, 0)), "is not a file"));
  CHECK(has(message(idx(dir.write("images", good), l, 10)), "labels: row 2: class 12 is not below 10"));
}

TEST_CASE("mnist: the given folder, NNL_DATA, a mirror with checksums, and what is said where none has it") {
  Folder dir;
  const std::string images = idx_bytes(8, {2, 28, 28}, pixels(2 * 784)),
                    labels_file = idx_bytes(8, {2}, std::string("\x07\x03", 2));
  const auto fill = [&](const std::string& folder) {
    for (const char* part : {"train", "t10k"}) {
      dir.write(folder + "/" + part + "-images-idx3-ubyte.gz", gzipped(images));
      dir.write(folder + "/" + part + "-labels-idx1-ubyte", labels_file);
    }
  };
  fill("given");
  auto d = mnist(dir / "given");
  REQUIRE(d);
  CHECK(d->train->name() == "mnist.train");
  CHECK(d->test->name() == "mnist.test");
  CHECK(d->train->fields()[1].classes == 10);
  CHECK(labels(*d->train) == std::vector<int32_t>{7, 3});
  CHECK(has(message(mnist(dir / "nowhere")), "train-images-idx3-ubyte.gz is not there"));

  const std::string cache = dir / "cache", mirror = "file://" + (dir / "mirror");
  Env no_cache("XDG_CACHE_HOME", cache.c_str());
  Env url("NNL_MIRROR", mirror.c_str());
  {
    fill("data/mnist");
    const std::string root = dir / "data";
    Env data("NNL_DATA", root.c_str());
    CHECK(mnist(""));
    const std::string m = message(fashion_mnist(""));
    CHECK(has(m, "fashion_mnist: not found"));
    CHECK(has(m, "downloading failed"));
  }
  Env no_data("NNL_DATA", nullptr);
  fill("mirror/mnist");  // not the real files: the checksum must refuse them
  const auto r = mnist("");
  REQUIRE(!r);
  CHECK(has(r.error().message, "$NNL_DATA is not set"));
  CHECK((has(r.error().message, "SHA-256") || has(r.error().message, "curl")));
  CHECK(has(r.error().help, "mnist(\"folder\")"));
  CHECK(!file_exists(cache + "/nnl/mnist/train-images-idx3-ubyte.gz"));
}

TEST_CASE("sha256 of known texts") {
  Folder dir;
  CHECK(sha256_of_file(dir.write("a", "")) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(sha256_of_file(dir.write("a", "abc")) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(sha256_of_file(dir.write("a", "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")) ==
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  CHECK(sha256_of_file(dir.write("a", std::string(1000000, 'a'))) ==
        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST_CASE("MNIST itself") {
  NNL_DATA_OR_SKIP(root);
  if (!std::filesystem::exists(root + "/mnist")) {
    MESSAGE("skipped: there is no mnist in NNL_DATA");
    return;
  }
  Env no_cache("NNL_CACHE", "off");
  auto d = mnist("");
  REQUIRE(d);
  CHECK(d->train->size() == 60000);
  CHECK(d->test->size() == 10000);
  double sum = 0, squares = 0;
  for (int64_t i = 0; i < 60000; i += 20)
    for (float v : record(*d->train, i).image) sum += v, squares += static_cast<double>(v) * v;
  const double n = 3000.0 * 784, mean = sum / n;
  CHECK(mean == doctest::Approx(0.1307).epsilon(0.01));
  CHECK(std::sqrt(squares / n - mean * mean) == doctest::Approx(0.3081).epsilon(0.01));
  const auto y = labels(*d->train);
  CHECK(std::vector<int32_t>(y.begin(), y.begin() + 8) == std::vector<int32_t>{5, 0, 4, 1, 9, 2, 1, 3});
}

TEST_CASE("a large gzipped file is unpacked once, and nothing that is wrong with the copy shows") {
  Folder dir;
  const std::string cache = dir / "cache", unpacked = cache + "/nnl/unpacked";
  Env home("XDG_CACHE_HOME", cache.c_str());
  std::string data(1500000, '\0');
  uint32_t state = 1;
  for (char& c : data) c = static_cast<char>((state = state * 1664525 + 1013904223) >> 24);
  const std::string path = dir.write("big.gz", gzipped(idx_bytes(8, {1500, 1000}, data)));
  const auto same = [&](const std::string& expected) {
    auto a = read_idx_once(path);
    return a && a->dims == std::vector<int64_t>{1500, 1000} &&
           std::equal(expected.begin(), expected.end(), reinterpret_cast<const char*>(a->bytes.get()));
  };
  const auto copies = [&] {
    std::vector<std::string> paths;
    std::error_code ec;
    for (const auto& e : std::filesystem::directory_iterator(unpacked, ec)) paths.push_back(e.path());
    return paths;
  };
  {
    Env off("NNL_CACHE", "off");
    CHECK(same(data));
    CHECK(copies().empty());
  }
  CHECK(same(data));
  REQUIRE(copies().size() == 1);
  const std::string copy = copies()[0], good = slurp(copy);
  CHECK(good.size() > data.size());
  // That it is used: other bytes in it show. Anything else that is changed makes it useless.
  std::string other = good;
  other.back() = static_cast<char>(other.back() + 1);
  std::ofstream(copy, std::ios::binary) << other;
  CHECK(!same(data));
  for (const std::string& bad :
       {good.substr(0, good.size() - 1), good + "x", good.substr(0, 30), std::string(), "X" + good.substr(1),
        std::string(good.size(), '\0'), std::string(good.size(), '\xFF')}) {
    std::ofstream(copy, std::ios::binary | std::ios::trunc) << bad;
    CHECK(same(data));
    CHECK(slurp(copy) == good);  // and it is made again
  }
  data[0] = static_cast<char>(data[0] + 1);
  dir.write("big.gz", gzipped(idx_bytes(8, {1500, 1000}, data)));
  CHECK(same(data));
}

TEST_CASE("take, select_rows and concat") {
  Folder dir;
  auto d = idx(dir.write("i", idx_bytes(8, {5, 1, 1}, pixels(5))),
               dir.write("l", idx_bytes(8, {5}, std::string("\x00\x01\x02\x03\x04", 5))), 0);
  REQUIRE(d);
  CHECK(labels(*take(*d, 1, 3)) == std::vector<int32_t>{1, 2, 3});
  CHECK(take(*d, 4, 10)->size() == 1);
  CHECK(take(*d, 9, 10)->size() == 0);
  CHECK(labels(*select_rows(*d, {4, 0, 4})) == std::vector<int32_t>{4, 0, 4});
  CHECK(labels(*take(select_rows(*d, {3, 2, 1}), 1, 2)) == std::vector<int32_t>{2, 1});
  auto both = concat(take(*d, 0, 2), select_rows(*d, {4}));
  REQUIRE(both);
  CHECK(labels(**both) == std::vector<int32_t>{0, 1, 4});
  // Rows in any order over both parts, the images too.
  const std::vector<int64_t> rows{2, 0, 2, 1};
  std::vector<int32_t> y(4);
  std::vector<float> x(4);
  void* out[] = {x.data(), y.data()};
  (*both)->read(rows.data(), 4, out);
  CHECK(y == std::vector<int32_t>{4, 0, 4, 1});
  CHECK(x[3] == 37.0f / 255.0f);
  CHECK(x[0] == x[2]);
  CHECK(has(message(concat(*d, moons(10, 0.1, 0))), "field 1 is `image` in one and `x` in the other"));
  CHECK(
      has(message(concat(moons(10, 0.1, 0), spirals(10, 3, 0.1, 0))), "class(2)[] in one and class(3)[] in the other"));
}

TEST_CASE("find_file: the working directory, then the program's folder") {
  Folder dir;
  const std::string f = dir.write("sub/data.csv", "1,2\n");
  auto beside = find_file("data.csv", dir / "sub");
  REQUIRE(beside);
  CHECK(*beside == f);
  auto absolute = find_file(f, "/elsewhere");
  REQUIRE(absolute);
  CHECK(*absolute == f);
  auto absent = find_file("absent.csv", dir / "sub");
  REQUIRE(!absent);
  CHECK(absent.error().message == "absent.csv: not found");
  CHECK(has(absent.error().help, "in " + (dir / "sub")));
}
