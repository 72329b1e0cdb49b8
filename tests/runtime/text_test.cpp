// Texts, windows and contexts.
#include <doctest/doctest.h>

#include "runtime/data/dataset.h"
#include "tests/runtime/files.h"

using namespace nnl::data;

namespace {

using Ids = std::vector<int32_t>;

struct Row {
  Ids x, y;
};
Row row(const Dataset& d, int64_t i) {
  Row r;
  const auto& f = d.fields();
  r.x.resize(static_cast<size_t>(f[0].shape[0]));
  r.y.resize(f[1].shape.empty() ? 1 : static_cast<size_t>(f[1].shape[0]));
  void* out[] = {r.x.data(), r.y.data()};
  d.read(&i, 1, out);
  return r;
}

}  // namespace

TEST_CASE("a text: its characters are classes, sorted by code point") {
  Folder dir;
  auto t = text(dir.write("t.txt", "bä\nab😀b"), false, false);
  REQUIRE(t);
  CHECK((*t)->vocab == std::vector<std::string>{"\n", "a", "b", "ä", "😀"});
  CHECK((*t)->ids == Ids{2, 3, 0, 1, 2, 4, 2});
  CHECK((*t)->decode((*t)->ids.data(), 7) == "bä\nab😀b");
  CHECK(*(*t)->encode("ä😀") == Ids{3, 4});
  CHECK(!(*t)->encode("x"));

  const auto w = windows(*t, 3, 2);
  CHECK(w->fields()[0].classes == 5);
  CHECK(w->fields()[1].shape == std::vector<int64_t>{3});
  CHECK(w->size() == 2);
  CHECK(row(*w, 1).x == Ids{0, 1, 2});
  CHECK(row(*w, 1).y == Ids{1, 2, 4});
  CHECK(windows(*t, 6, 1)->size() == 1);
  CHECK(windows(*t, 7, 1)->size() == 0);

  const TextPtr part = text_slice(*t, 1, 4);
  CHECK(part->ids == Ids{3, 0, 1});
  CHECK(part->vocab.size() == 5);
  CHECK(text_slice(*t, 5, 100)->ids.size() == 2);
  const auto c = contexts(*t, 2);
  CHECK(c->size() == 5);
  CHECK(row(*c, 0).x == Ids{2, 3});
  CHECK(row(*c, 0).y == Ids{0});
}

TEST_CASE("lines: each ends in token 0, and contexts don't look over it") {
  Folder dir;
  auto t = text(dir.write("names.txt", "ab\r\nc\n\nba"), false, true);
  REQUIRE(t);
  CHECK((*t)->vocab == std::vector<std::string>{".", "a", "b", "c"});
  CHECK((*t)->ids == Ids{1, 2, 0, 3, 0, 0, 2, 1, 0});
  CHECK((*t)->decode((*t)->ids.data(), 3) == "ab.");
  CHECK(*(*t)->encode("ab.") == Ids{1, 2, 0});
  const auto c = contexts(*t, 3);
  CHECK(c->size() == 9);
  CHECK(row(*c, 0).x == Ids{0, 0, 0});
  CHECK(row(*c, 0).y == Ids{1});
  CHECK(row(*c, 2).x == Ids{0, 1, 2});
  CHECK(row(*c, 2).y == Ids{0});
  CHECK(row(*c, 3).x == Ids{0, 0, 0});
  CHECK(row(*c, 8).x == Ids{0, 2, 1});
  CHECK(text(dir.write("end.txt", "ab\n"), false, true)->get()->ids == Ids{1, 2, 0});

  auto other = text(dir.write("dev.txt", "cab"), false, true, *t);
  REQUIRE(other);
  CHECK((*other)->ids == Ids{3, 1, 2, 0});
  auto outside = text(dir.write("dev.txt", "ca\nxb"), false, true, *t);
  REQUIRE(!outside);
  CHECK(outside.error().message.find("dev.txt: line 2, column 1: `x` is not in the vocabulary of") !=
        std::string::npos);
  CHECK(!text(dir.write("dev.txt", "ca"), false, false, *t));
}

TEST_CASE("a line may hold the dot that the end is written as") {
  Folder dir;
  auto t = text(dir.write("t.txt", "a.b"), false, true);
  REQUIRE(t);
  CHECK((*t)->vocab == std::vector<std::string>{".", ".", "a", "b"});
  CHECK((*t)->ids == Ids{2, 1, 3, 0});
}

TEST_CASE("bytes") {
  Folder dir;
  auto t = text(dir.write("t.bin", "a\xFFz"), true, false);
  REQUIRE(t);
  CHECK((*t)->vocab.size() == 256);
  CHECK((*t)->ids == Ids{97, 255, 122});
  CHECK((*t)->decode((*t)->ids.data(), 3) == "a\xFFz");
}

TEST_CASE("texts that can't be read") {
  Folder dir;
  for (const char* bad :
       {"ok\nab\xFF", "ok\nab\xC0\x80", "ok\nab\xED\xA0\x80", "ok\nab\xF4\x90\x80\x80", "ok\nab\xE2\x82"}) {
    auto t = text(dir.write("t.txt", bad), false, false);
    REQUIRE(!t);
    CHECK(t.error().message.find("t.txt: line 2, column 3: is not UTF-8") != std::string::npos);
  }
  CHECK(!text(dir.write("t.txt", ""), false, false));
  CHECK(!text(dir / "absent", false, false));
}

TEST_CASE("names and Shakespeare") {
  NNL_DATA_OR_SKIP(root);
  if (!std::filesystem::exists(root + "/names")) {
    MESSAGE("skipped: there are no names in NNL_DATA");
    return;
  }
  auto all = text(root + "/names/names.txt", false, true);
  REQUIRE(all);
  CHECK((*all)->vocab.size() == 27);
  CHECK(contexts(*all, 1)->size() == 228146);
  const std::pair<const char*, int64_t> parts[] = {{"train", 182625}, {"dev", 22655}, {"test", 22866}};
  for (auto [name, n] : parts) {
    auto t = text(root + "/names/" + name + ".txt", false, true, *all);
    REQUIRE(t);
    CHECK(contexts(*t, 3)->size() == n);
  }
  auto plays = text(root + "/tinyshakespeare/input.txt", false, false);
  REQUIRE(plays);
  CHECK((*plays)->vocab.size() == 65);
  CHECK((*plays)->ids.size() == 1115394);
}
