#include "runtime/buffer.h"

#include <cstdlib>
#include <cstring>
#include <new>

namespace nnl {

Buffer::~Buffer() {
  if (!foreign_) std::free(host_);
  if (memory_) memory_->give(address_, bytes_);
}

void Buffer::bring_to_host() {
  if (!host_) {
    if (bytes_ < 0 || bytes_ > INT64_MAX - static_cast<int64_t>(kAlignment)) throw std::bad_alloc();
    const size_t rounded = (static_cast<size_t>(bytes_ > 0 ? bytes_ : 1) + kAlignment - 1) / kAlignment * kAlignment;
    host_ = static_cast<uint8_t*>(std::aligned_alloc(kAlignment, rounded));
    if (!host_) throw std::bad_alloc();
  }
  if (on_device_) memory_->download(host_, address_, bytes_);
  on_host_ = true;
}

void Buffer::place_on(const DeviceMemoryPtr& memory) {
  if (memory_ == memory) return;
  if (memory_) {
    if (on_device_ && !on_host_) bring_to_host();
    on_device_ = false;
    memory_->give(address_, bytes_);
    memory_ = nullptr;
  }
  address_ = memory->take(bytes_);
  memory_ = memory;
}

DeviceAddress Buffer::read_on(const DeviceMemoryPtr& memory) {
  place_on(memory);
  if (!on_device_) {
    if (on_host_) memory_->upload(address_, host_, bytes_);
    on_device_ = true;
  }
  return address_;
}

DeviceAddress Buffer::write_on(const DeviceMemoryPtr& memory) {
  place_on(memory);
  on_device_ = true;
  on_host_ = false;
  return address_;
}

std::shared_ptr<Buffer> Buffer::copy() {
  auto out = std::make_shared<Buffer>(bytes_);
  if (on_device_)
    memory_->copy(out->write_on(memory_), address_, bytes_);
  else
    std::memcpy(out->write(), read(), static_cast<size_t>(bytes_));
  return out;
}

}  // namespace nnl
