// csv: forms of files, kinds of columns, and each way in which a table can be wrong.
#include <doctest/doctest.h>

#include "runtime/data/dataset.h"
#include "tests/runtime/files.h"

using namespace nnl::data;

namespace {

Result<DatasetPtr> table(const std::string& bytes, const CsvOptions& o = {}) {
  Folder dir;
  return csv(dir.write("t.csv", bytes), o);
}
std::string wrong(const std::string& bytes, const CsvOptions& o = {}) {
  auto d = table(bytes, o);
  if (d) return "(no error)";
  const std::string m = d.error().message;
  const size_t name = m.find("t.csv");
  return name == std::string::npos ? m : m.substr(name);
}

std::vector<float> x_of(const Dataset& d) {
  const int64_t k = d.fields()[0].shape[0];
  std::vector<int64_t> rows;
  for (int64_t i = 0; i < d.size(); ++i) rows.push_back(i);
  std::vector<float> x(static_cast<size_t>(k * d.size()));
  void* out[] = {x.data(), nullptr};
  d.read(rows.data(), d.size(), out);
  return x;
}
template <class T>
std::vector<T> y_of(const Dataset& d) {
  std::vector<int64_t> rows;
  for (int64_t i = 0; i < d.size(); ++i) rows.push_back(i);
  std::vector<T> y(rows.size());
  void* out[] = {nullptr, y.data()};
  d.read(rows.data(), d.size(), out);
  return y;
}

CsvOptions target(const std::string& name, std::vector<std::string> features = {}, int64_t classes = 0) {
  CsvOptions o;
  o.target = name;
  o.features = std::move(features);
  o.classes = classes;
  return o;
}

}  // namespace

TEST_CASE("a text target is a class, its texts sorted by code point") {
  auto d = table("1.5,2,zebra\n-3,.5,Apfel\n+4e2,1,zebra\n0,0,äpfel\n0,0,apfel\n");
  REQUIRE(d);
  CHECK((*d)->size() == 5);
  const auto& f = (*d)->fields();
  CHECK(f[0].name == "x");
  CHECK(f[0].shape == std::vector<int64_t>{2});
  CHECK(f[1].name == "y");
  CHECK(f[1].classes == 4);
  CHECK(f[1].class_names == std::vector<std::string>{"Apfel", "apfel", "zebra", "äpfel"});
  CHECK(y_of<int32_t>(**d) == std::vector<int32_t>{2, 0, 2, 3, 1});
  CHECK(x_of(**d) == std::vector<float>{1.5f, 2, -3, .5f, 400, 1, 0, 0, 0, 0});
}

TEST_CASE("an int target is a class, a float target a number") {
  auto ints = table("0.1,2\n0.2,0\n0.3,4\n");
  REQUIRE(ints);
  CHECK((*ints)->fields()[1].classes == 5);
  CHECK(y_of<int32_t>(**ints) == std::vector<int32_t>{2, 0, 4});
  auto floats = table("0.1,2\n0.2,0.5\n");
  REQUIRE(floats);
  CHECK((*floats)->fields()[1].classes == 0);
  CHECK((*floats)->fields()[1].dtype == NNL_F32);
  CHECK(y_of<float>(**floats) == std::vector<float>{2, 0.5f});
  auto more = table("0.1,2\n", target("", {}, 10));
  REQUIRE(more);
  CHECK((*more)->fields()[1].classes == 10);
}

TEST_CASE("headers, quotes, line ends, separators") {
  const std::string text =
      "a,\"b, with \"\"quotes\"\"\",day,kind\r\n1,\"2\",2011-01-01,x\r\n\r\n3, 4 ,2011-01-02,\"two\nlines\"";
  auto d = table(text);
  REQUIRE(d);
  CHECK((*d)->size() == 2);
  CHECK(x_of(**d) == std::vector<float>{1, 2, 3, 4});  // the dates are text and no feature
  CHECK((*d)->fields()[1].class_names == std::vector<std::string>{"two\nlines", "x"});
  auto picked = table(text, target("a", {"b, with \"quotes\""}));
  REQUIRE(picked);
  CHECK(x_of(**picked) == std::vector<float>{2, 4});
  CHECK(y_of<int32_t>(**picked) == std::vector<int32_t>{1, 3});
  auto semicolons = table("\xEF\xBB\xBFp;q\n1;0\n2;1\n");
  REQUIRE(semicolons);
  CHECK(x_of(**semicolons) == std::vector<float>{1, 2});
  auto by_number = table("5,1,9\n6,0,8\n", target("2", {"3"}));
  REQUIRE(by_number);
  CHECK(x_of(**by_number) == std::vector<float>{9, 8});
  // A header over columns of text only is found by the name that is asked for.
  auto named = table("n,kind\n1,a\n2,b\n", target("kind"));
  REQUIRE(named);
  CHECK((*named)->size() == 2);
  CsvOptions o;
  o.header = false;
  CHECK(wrong("n,k\n1,0\n", o) == "t.csv: no column besides the target holds numbers");
}

TEST_CASE("the last line may lack its end, and end in a quote or a carriage return") {
  for (const char* text :
       {"1,a\n2,b", "1,a\r\n2,b\r", "1,\"a\"\r\n2,\"b\"", "1,\"a\" \r\n2,\"b\"\r", "\n1,a\n\n2,b\n\n"}) {
    auto d = table(text);
    REQUIRE(d);
    CHECK((*d)->size() == 2);
    CHECK((*d)->fields()[1].class_names == std::vector<std::string>{"a", "b"});
  }
  auto tiny = table("1e-400,1\n2,0\n");
  REQUIRE(tiny);
  CHECK(x_of(**tiny) == std::vector<float>{0, 2});
}

TEST_CASE("gzipped tables") {
  auto d = table(gzipped("1,a\n2,b\n"));
  REQUIRE(d);
  CHECK((*d)->size() == 2);
}

TEST_CASE("what is wrong with a table is said with row and column") {
  CHECK(wrong("") == "t.csv: is empty");
  CHECK(wrong("a,b\n").find("no column besides the target") != std::string::npos);
  CHECK(wrong("1,2\n3\n") == "t.csv: row 2: has 1 columns, the first row has 2");
  CHECK(wrong("1,2\n3,4,\n") == "t.csv: row 2: has 3 columns, the first row has 2");
  CHECK(wrong("h1,h2\n1,x\n?,y\n") == "t.csv: row 3, column 1 (`h1`): missing value `?`");
  CHECK(wrong("h1,h2\n1,x\n\"\",y\n") == "t.csv: row 3, column 1 (`h1`): missing value");
  CHECK(wrong("1,x\n2,\n") == "t.csv: row 2, column 2: missing value");
  CHECK(wrong("1,x\n2,?\n") == "t.csv: row 2, column 2: missing value `?`");
  CHECK(wrong("1,0\n1o,1\n") == "t.csv: row 2, column 1: \"1o\" is not a number, as the column's first value 1 is");
  CHECK(wrong("1,0\ninf,1\n") == "t.csv: row 2, column 1: \"inf\" is not a number, as the column's first value 1 is");
  CHECK(wrong("1,0\n1e39,1\n") == "t.csv: row 2, column 1: 1e39 is too large for an f32");
  CHECK(wrong("1,0\n1,-1\n") == "t.csv: row 2, column 2: -1 is not a class: classes are whole numbers from 0");
  CHECK(wrong("1,0\n1,7\n", target("", {}, 7)) == "t.csv: row 2, column 2: class 7 is not below 7");
  CHECK(wrong("1,0\n1,0.5\n", target("", {}, 7)) ==
        "t.csv: row 2, column 2: 0.5 is not a class: classes are whole numbers from 0");
  CHECK(wrong("1,0\n1,3000000000\n") == "t.csv: row 2, column 2: 3000000000 is too large for a class");
  CHECK(wrong("1,a\n1,b\n1,c\n", target("", {}, 2)) == "t.csv: column 2 holds 3 different texts, more than 2 classes");
  CHECK(wrong("1,\"a\n2,b\n") == "t.csv: row 1, column 2: a quote is opened and never closed");
  CHECK(wrong("1,2\n3,4,") == "t.csv: row 2: has 3 columns, the first row has 2");
  CHECK(wrong("1,\"a\"\rb\n") == "t.csv: row 1, column 2: text follows the closing quote");
  CHECK(wrong("1,\"a\"b\n") == "t.csv: row 1, column 2: text follows the closing quote");
  CHECK(wrong("1,a\n2,\xC3(\n") == "t.csv: line 2, column 3: is not UTF-8");
  CHECK(wrong(std::string("1,a\n\0,b\n", 8)) == "t.csv: line 2, column 1: holds a zero byte: it is no text file");
  CHECK(wrong("a,a\n1,2\n") == "t.csv: columns 1 and 2 are both called `a`");
  CHECK(wrong("a,b\n1,2\n", target("c")) == "t.csv: target `c`: there is no such column");
  CHECK(wrong("1,2\n", target("c")) == "t.csv: target `c`: the file has no header");
  CHECK(wrong("1,2\n", target("3")) == "t.csv: target 3: the file has 2 columns");
  CHECK(wrong("a,b\nx,2\n", target("b", {"a"})) == "t.csv: row 2, column 1 (`a`): \"x\" is not a number");
  CHECK(wrong(gzipped("1,a\n2,b\n").substr(0, 15)).find("truncated") != std::string::npos);
}

TEST_CASE("classic tables") {
  NNL_DATA_OR_SKIP(root);
  if (!std::filesystem::exists(root + "/tabular")) {
    MESSAGE("skipped: there is no tabular in NNL_DATA");
    return;
  }
  const auto open = [&](const std::string& name, const CsvOptions& o = {}) { return csv(root + "/" + name, o); };
  auto iris = open("tabular/iris.csv");
  REQUIRE(iris);
  CHECK((*iris)->size() == 150);
  CHECK((*iris)->fields()[1].class_names ==
        std::vector<std::string>{"Iris-setosa", "Iris-versicolor", "Iris-virginica"});
  auto abalone = open("tabular/abalone.csv");
  REQUIRE(abalone);
  CHECK((*abalone)->fields()[0].shape[0] == 7);  // M, F, I is text
  auto cancer = open("tabular/breast-cancer-wisconsin.csv");
  REQUIRE(!cancer);
  CHECK(cancer.error().message.find("row 24, column 6: missing value `?`") != std::string::npos);
  auto digits = open("optdigits/optdigits.tra");
  REQUIRE(digits);
  CHECK((*digits)->size() == 3823);
  CHECK((*digits)->fields()[0].shape[0] == 64);
  CHECK((*digits)->fields()[1].classes == 10);
  auto bikes = open("bikeshare/hour.csv", target("temp", {"hum", "hr"}));
  REQUIRE(bikes);
  CHECK((*bikes)->size() == 17379);
  CHECK((*bikes)->fields()[1].classes == 0);
}
