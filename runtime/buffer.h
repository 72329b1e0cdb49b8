// The memory of a tensor: a copy on the host, a copy on a device, or both. Each is made when it is first asked for;
// what was written last is copied when the other side is read. On the CPU there is never a device copy, and reading
// costs one comparison.
#pragma once
#include <cstdint>
#include <memory>
#include <stdexcept>

namespace nnl {

/// A device, its driver or its compiler refused something; the text says what.
struct DeviceError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

using DeviceAddress = uint64_t;

/// Memory of a device. Copies and whatever computes there happen in the order in which they were asked for.
class DeviceMemory {
 public:
  virtual ~DeviceMemory() = default;
  virtual DeviceAddress take(int64_t bytes) = 0;  ///< contents undefined; throws DeviceError
  virtual void give(DeviceAddress a, int64_t bytes) noexcept = 0;
  virtual void upload(DeviceAddress to, const void* from, int64_t bytes) = 0;  ///< `from` may change afterwards
  virtual void download(void* to, DeviceAddress from, int64_t bytes) = 0;      ///< waits
  virtual void copy(DeviceAddress to, DeviceAddress from, int64_t bytes) = 0;
};
using DeviceMemoryPtr = std::shared_ptr<DeviceMemory>;

/// Contents are undefined until the first write. Used by one thread at a time, except that any number may read what
/// only the host has.
class Buffer {
 public:
  static constexpr size_t kAlignment = 64;

  explicit Buffer(int64_t bytes) : bytes_(bytes) {}
  /// Memory of somebody else, of at least its own alignment; `keep` is held as long as the buffer lives.
  Buffer(int64_t bytes, void* host, std::shared_ptr<void> keep)
      : bytes_(bytes), host_(static_cast<uint8_t*>(host)), keep_(std::move(keep)), foreign_(true), on_host_(true) {}
  ~Buffer();
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  int64_t bytes() const { return bytes_; }
  /// On the host, aligned to kAlignment and readable up to a multiple of it (unless it is somebody else's). The pointer
  /// is valid until a device writes.
  const uint8_t* read() {
    if (!on_host_) bring_to_host();
    return host_;
  }
  /// The same for reading and writing: afterwards only the host's copy is valid.
  uint8_t* write() {
    if (!on_host_) bring_to_host();
    on_device_ = false;
    return host_;
  }
  /// On that device.
  DeviceAddress read_on(const DeviceMemoryPtr& memory);
  /// To be written there: whole, or after read_on. Afterwards only the device's copy is valid.
  DeviceAddress write_on(const DeviceMemoryPtr& memory);
  /// Whether reading there would copy nothing.
  bool is_on(const DeviceMemoryPtr& memory) const { return on_device_ && memory_ == memory; }
  bool is_on_host() const { return on_host_; }
  /// A copy where the contents are.
  std::shared_ptr<Buffer> copy();
  /// Of a buffer over somebody else's memory: the same, over another one.
  void point_to(void* host) {
    host_ = static_cast<uint8_t*>(host);
    on_host_ = true;
    on_device_ = false;
  }

 private:
  int64_t bytes_;
  uint8_t* host_ = nullptr;
  std::shared_ptr<void> keep_;
  bool foreign_ = false;                      ///< host_ isn't ours
  bool on_host_ = false, on_device_ = false;  ///< which copies are valid
  DeviceMemoryPtr memory_;                    ///< where the device's copy is
  DeviceAddress address_ = 0;

  void bring_to_host();
  void place_on(const DeviceMemoryPtr& memory);
};

}  // namespace nnl
