// Run logs and the progress bar.
#include <doctest/doctest.h>
#include <fcntl.h>

#include <cmath>
#include <cstring>
#include <thread>

#include "runtime/metrics.h"
#include "runtime/progress.h"
#include "tests/runtime/files.h"

using namespace nnl;

namespace {
size_t count(const std::string& text, const std::string& part) {
  size_t n = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}
}  // namespace

TEST_CASE("a run's log: JSON lines, event file, report") {
  Folder dir;
  std::string folder;
  {
    auto log = RunLog::create(dir / "runs", "net/a b");
    REQUIRE(log);
    folder = (*log)->dir();
    CHECK(folder.find("-net-a-b") != std::string::npos);
    for (int i = 0; i < 100; ++i) (*log)->log(i, {{"loss", 1.0 / (i + 1)}, {"acc <\"x\">", i == 5 ? NAN : 0.01 * i}});
    CHECK(!(*log)->finish());
  }
  const std::string lines = slurp(folder + "/metrics.jsonl");
  CHECK(count(lines, "\n") == 100);
  CHECK(lines.find("\"loss\": 0.25, \"acc <\\\"x\\\">\": 0.03}\n") != std::string::npos);
  CHECK(count(lines, "null") == 1);

  std::string events;
  for (const auto& e : std::filesystem::directory_iterator(folder))
    if (e.path().filename().string().starts_with("events.out.tfevents.")) events = slurp(e.path());
  // The first record of every event file: 24 bytes, the masked CRC-32C of that length, a time, "brain.Event:2".
  REQUIRE(events.size() > 40);
  CHECK(std::memcmp(events.data(), "\x18\0\0\0\0\0\0\0\xa3\x7f\x4b\x22\x09", 13) == 0);
  CHECK(events.substr(21, 15) ==
        "\x1a\x0d"
        "brain.Event:2");
  size_t at = 0, records = 0;
  while (at < events.size()) {
    uint64_t n;
    std::memcpy(&n, events.data() + at, 8);
    at += 8 + 4 + n + 4;
    ++records;
  }
  CHECK(at == events.size());
  CHECK(records == 101);
  // Step 1: field 2 is 1; one summary with two values.
  const std::string value = std::string("\x0a\x04loss\x15", 7) + std::string("\0\0\0\x3f", 4);
  CHECK(events.find(value) != std::string::npos);

  const std::string html = slurp(folder + "/report.html");
  CHECK(count(html, "<svg") == 2);
  CHECK(html.find("acc &lt;&quot;x&quot;&gt;") != std::string::npos);
  CHECK(html.find("nan") == std::string::npos);
  CHECK(count(html, "http") == 0);
}

TEST_CASE("two runs at once have folders of their own; a log of many steps stays small") {
  Folder dir;
  auto a = RunLog::create(dir.path(), "r"), b = RunLog::create(dir.path(), "r");
  REQUIRE(a);
  REQUIRE(b);
  CHECK((*a)->dir() != (*b)->dir());
  for (int i = 0; i < 50000; ++i) (*a)->log(i, {{"loss", i % 7}});
  (*a)->finish();
  CHECK(slurp((*a)->dir() + "/report.html").size() < 200000);
  CHECK(!RunLog::create(dir.write("file", "x"), "r"));
}

TEST_CASE("the bar: rate-limited, cut to the width, gone when hidden, silent when not enabled") {
  Folder dir;
  const std::string path = dir / "terminal";
  const int fd = ::open(path.c_str(), O_CREAT | O_RDWR, 0600);
  {
    Progress bar({fd, true, 60, 0.02});
    bar.begin("mnist.train", 200);
    for (int i = 0; i < 200; ++i) {
      std::this_thread::sleep_for(std::chrono::microseconds(500));
      bar.metric("loss", 0.25);
      bar.advance();
      if (i == 150) bar.hide();
    }
    bar.end();
  }
  const std::string text = slurp(path);
  CHECK(count(text, "\r") >= 2);
  CHECK(count(text, "\r") < 40);
  CHECK(text.find("mnist.train  [") != std::string::npos);
  CHECK(text.find("loss 0.25") != std::string::npos);
  CHECK(text.find("200/200") != std::string::npos);
  CHECK(text.back() == '\n');
  size_t from = 0;
  for (size_t at = text.find('\r'); at != std::string::npos; from = at + 1, at = text.find('\r', at + 1))
    CHECK(at - from < 65);
  ftruncate(fd, 0);
  Progress off({fd, false, 60, 0.0});
  off.begin("x", 10);
  off.advance();
  off.metric("loss", 1);
  off.end();
  CHECK(slurp(path).empty());
  ::close(fd);
}
