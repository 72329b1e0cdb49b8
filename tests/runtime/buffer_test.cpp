// Which copy of a buffer is valid, and what that costs in transfers.
#include "runtime/buffer.h"

#include <doctest/doctest.h>

#include <cstring>
#include <map>
#include <vector>

using namespace nnl;

namespace {

struct FakeMemory : DeviceMemory {
  std::map<DeviceAddress, std::vector<uint8_t>> blocks;
  DeviceAddress next = 256;
  int uploads = 0, downloads = 0, copies = 0;
  DeviceAddress take(int64_t bytes) override {
    blocks[next].resize(static_cast<size_t>(bytes));
    return next++;
  }
  void give(DeviceAddress a, int64_t) noexcept override { blocks.erase(a); }
  void upload(DeviceAddress to, const void* from, int64_t bytes) override {
    ++uploads;
    std::memcpy(blocks.at(to).data(), from, static_cast<size_t>(bytes));
  }
  void download(void* to, DeviceAddress from, int64_t bytes) override {
    ++downloads;
    std::memcpy(to, blocks.at(from).data(), static_cast<size_t>(bytes));
  }
  void copy(DeviceAddress to, DeviceAddress from, int64_t) override {
    ++copies;
    blocks.at(to) = blocks.at(from);
  }
};

}  // namespace

TEST_CASE("a buffer is copied when the other side reads what was written") {
  auto fake = std::make_shared<FakeMemory>();
  const DeviceMemoryPtr memory = fake;
  {
    Buffer b(4);
    std::memcpy(b.write(), "abcd", 4);
    const DeviceAddress a = b.read_on(memory);
    CHECK(b.read_on(memory) == a);
    CHECK(std::memcmp(b.read(), "abcd", 4) == 0);
    CHECK(fake->uploads == 1);
    CHECK(fake->downloads == 0);
    // Written on the host: up again when the device reads.
    b.write()[0] = 'x';
    CHECK(!b.is_on(memory));
    CHECK(b.read_on(memory) == a);
    CHECK(fake->uploads == 2);
    // Written on the device: down once, at the first read.
    fake->blocks[b.write_on(memory)][1] = 'y';
    CHECK(!b.is_on_host());
    CHECK(fake->downloads == 0);
    CHECK(std::memcmp(b.read(), "xycd", 4) == 0);
    CHECK(std::memcmp(b.read(), "xycd", 4) == 0);
    CHECK(fake->downloads == 1);
    CHECK(fake->uploads == 2);
    // Of a copy, only the contents move, and where they are.
    fake->blocks[b.write_on(memory)][2] = 'z';
    auto c = b.copy();
    CHECK(fake->copies == 1);
    CHECK(std::memcmp(c->read(), "xyzd", 4) == 0);
    CHECK(fake->downloads == 2);
    // On another device: by way of the host.
    const DeviceMemoryPtr other = std::make_shared<FakeMemory>();
    CHECK(static_cast<FakeMemory&>(*other).blocks[b.read_on(other)][2] == 'z');
    CHECK(!b.is_on(memory));
  }
  CHECK(fake->blocks.empty());
}

TEST_CASE("a buffer that a device writes whole goes nowhere before") {
  auto fake = std::make_shared<FakeMemory>();
  Buffer b(8);
  fake->blocks[b.write_on(fake)][7] = 1;
  CHECK(fake->uploads == 0);
  CHECK(b.read()[7] == 1);
}

TEST_CASE("a buffer over memory of somebody else") {
  auto fake = std::make_shared<FakeMemory>();
  uint8_t mine[2] = {1, 2}, others[2] = {3, 4};
  auto keep = std::make_shared<int>(0);
  {
    Buffer b(2, mine, keep);
    CHECK(keep.use_count() == 2);
    CHECK(fake->blocks[b.read_on(fake)][1] == 2);
    b.point_to(others);
    CHECK(fake->blocks[b.read_on(fake)][1] == 4);
    fake->blocks[b.write_on(fake)] = {5, 6};
    CHECK(b.read() == others);
    CHECK(others[1] == 6);
  }
  CHECK(keep.use_count() == 1);
}
