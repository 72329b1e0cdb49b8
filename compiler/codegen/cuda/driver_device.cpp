// A GPU through the driver's API. Everything goes into one stream, in order.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "compiler/codegen/cuda/compiler.h"
#include "compiler/codegen/cuda/driver_device.h"

namespace nnlc::codegen::cuda {

namespace {

constexpr int64_t kSharedWithoutAsking = 48 << 10;

/// The driver, its context and the stream: shared by whatever outlives the device.
struct Context {
  Driver driver;
  int device = 0;
  int major = 0, minor = 0;
  std::string name;
  void* context = nullptr;
  void* stream = nullptr;

  void check(int code, const char* what) const {
    if (code) throw DeviceError(fmt::format("the GPU: {}: {}", what, driver.error_text(code)));
  }
  void enter() const { check(driver.cuCtxSetCurrent(context), "cuCtxSetCurrent"); }
  /// For destructors: whatever runs may use what is going to be destroyed.
  void wait() const {
    driver.cuCtxSetCurrent(context);
    driver.cuStreamSynchronize(stream);
  }
  ~Context() {
    if (!context) return;
    driver.cuCtxSetCurrent(context);
    if (stream) driver.cuStreamDestroy_v2(stream);
    driver.cuDevicePrimaryCtxRelease_v2(device);
  }
};
using ContextPtr = std::shared_ptr<Context>;

ContextPtr open_context(int number) {
  auto c = std::make_shared<Context>();
  if (!c->driver.open()) {
    std::string text = missing(c->driver);
    if (Nvrtc nvrtc; !nvrtc.open()) text += "\n" + missing(nvrtc);
    throw DeviceError(text);
  }
  if (number >= c->driver.devices)
    throw DeviceError(fmt::format("there is no GPU {}: the driver shows {}", number, c->driver.devices));
  c->check(c->driver.cuDeviceGet(&c->device, number), "cuDeviceGet");
  char name[256] = {};
  c->check(c->driver.cuDeviceGetName(name, sizeof name, c->device), "cuDeviceGetName");
  c->name = name;
  c->check(c->driver.cuDeviceGetAttribute(&c->major, kComputeMajor, c->device), "cuDeviceGetAttribute");
  c->check(c->driver.cuDeviceGetAttribute(&c->minor, kComputeMinor, c->device), "cuDeviceGetAttribute");
  c->check(c->driver.cuDevicePrimaryCtxRetain(&c->context, c->device), "cuDevicePrimaryCtxRetain");
  c->enter();
  c->check(c->driver.cuStreamCreate(&c->stream, kNonBlocking), "cuStreamCreate");
  return c;
}

class DriverModule : public Module {
 public:
  DriverModule(ContextPtr c, const std::string& code, const std::vector<Entry>& entries) : c_(std::move(c)) {
    c_->enter();
    c_->check(c_->driver.cuModuleLoadData(&module_, code.data()), "cuModuleLoadData");
    for (auto& e : entries)
      if (e.shared_bytes > kSharedWithoutAsking)
        c_->check(c_->driver.cuFuncSetAttribute(function(e.name), kMaxDynamicShared, static_cast<int>(e.shared_bytes)),
                  "cuFuncSetAttribute");
  }
  ~DriverModule() override {
    c_->wait();
    c_->driver.cuModuleUnload(module_);
  }
  void* function(const std::string& name) override {
    void* f = nullptr;
    c_->check(c_->driver.cuModuleGetFunction(&f, module_, name.c_str()), name.c_str());
    return f;
  }

 private:
  ContextPtr c_;
  void* module_ = nullptr;
};

/// A captured graph: one call of the driver a step.
class DriverSequence : public Sequence {
 public:
  DriverSequence(ContextPtr c, const std::vector<Call>& calls) : c_(std::move(c)) {
    if (calls.empty()) return;
    c_->enter();
    c_->check(c_->driver.cuStreamBeginCapture_v2(c_->stream, kCaptureThreadLocal), "cuStreamBeginCapture");
    int failed = 0;
    for (auto& call : calls) {
      std::vector<Address> values = call.args;
      std::vector<void*> pointers;
      for (auto& v : values) pointers.push_back(&v);
      failed = failed
                   ? failed
                   : c_->driver.cuLaunchKernel(
                         call.function, static_cast<unsigned>(call.blocks), 1, 1, static_cast<unsigned>(call.threads),
                         1, 1, static_cast<unsigned>(call.shared_bytes), c_->stream, pointers.data(), nullptr);
    }
    void* graph = nullptr;
    const int ended = c_->driver.cuStreamEndCapture(c_->stream, &graph);
    c_->check(failed, "cuLaunchKernel");
    c_->check(ended, "cuStreamEndCapture");
    const int made = c_->driver.cuGraphInstantiateWithFlags(&exec_, graph, 0);
    c_->driver.cuGraphDestroy(graph);
    c_->check(made, "cuGraphInstantiate");
  }
  ~DriverSequence() override {
    if (!exec_) return;
    c_->wait();
    c_->driver.cuGraphExecDestroy(exec_);
  }
  void run() override {
    if (!exec_) return;
    c_->enter();
    c_->check(c_->driver.cuGraphLaunch(exec_, c_->stream), "cuGraphLaunch");
  }

 private:
  ContextPtr c_;
  void* exec_ = nullptr;
};

class DriverDevice : public Device {
 public:
  DriverDevice(ContextPtr c, const std::string& cache_dir)
      : c_(std::move(c)), compiler_(cache_dir, c_->driver.version / 1000) {}
  ~DriverDevice() override { c_->wait(); }

  std::string describe() const override {
    return fmt::format("{} (sm_{}{}), driver for CUDA {}.{}, {}", c_->name, c_->major, c_->minor,
                       c_->driver.version / 1000, c_->driver.version % 1000 / 10, compiler_.describe());
  }
  Address allocate(int64_t bytes) override {
    c_->enter();
    Address a = 0;
    const int code = c_->driver.cuMemAlloc_v2(&a, static_cast<size_t>(std::max<int64_t>(bytes, 256)));
    if (code) {
      size_t free = 0, total = 0;
      c_->driver.cuMemGetInfo_v2(&free, &total);
      throw DeviceError(fmt::format("no room on the GPU for {} bytes: {} of its {} are free ({})", bytes, free, total,
                                    c_->driver.error_text(code)));
    }
    return a;
  }
  void release(Address a) override {
    c_->driver.cuCtxSetCurrent(c_->context);
    c_->driver.cuMemFree_v2(a);
  }
  void upload(Address to, const void* from, int64_t bytes) override {
    if (bytes <= 0) return;
    c_->enter();
    c_->check(c_->driver.cuMemcpyHtoDAsync_v2(to, from, static_cast<size_t>(bytes), c_->stream), "cuMemcpyHtoD");
  }
  void download(void* to, Address from, int64_t bytes) override {
    c_->enter();
    if (bytes > 0)
      c_->check(c_->driver.cuMemcpyDtoHAsync_v2(to, from, static_cast<size_t>(bytes), c_->stream), "cuMemcpyDtoH");
    c_->check(c_->driver.cuStreamSynchronize(c_->stream), "cuStreamSynchronize");
  }
  void copy(Address to, Address from, int64_t bytes) override {
    if (bytes <= 0) return;
    c_->enter();
    c_->check(c_->driver.cuMemcpyDtoDAsync_v2(to, from, static_cast<size_t>(bytes), c_->stream), "cuMemcpyDtoD");
  }
  std::shared_ptr<Module> compile(const std::string& source, const std::vector<Entry>& entries) override {
    const std::string arch = fmt::format("sm_{}{}", c_->major, c_->minor);
    return std::make_shared<DriverModule>(c_, compiler_.compile(source, arch).code, entries);
  }
  std::unique_ptr<Sequence> record(std::vector<Call> calls) override {
    return std::make_unique<DriverSequence>(c_, calls);
  }

 private:
  ContextPtr c_;
  Compiler compiler_;
};

}  // namespace

std::shared_ptr<Device> open_driver_device(int number, const std::string& cache_dir) {
  return std::make_shared<DriverDevice>(open_context(number), cache_dir);
}

std::string list_devices() {
  std::string out;
  Driver driver;
  if (!driver.open()) {
    out += fmt::format("no GPU: {}\n", missing(driver));
  } else {
    out += fmt::format("driver: {}, for CUDA {}.{}\n", driver.search.path, driver.version / 1000,
                       driver.version % 1000 / 10);
    for (int i = 0; i < driver.devices; ++i) {
      int device = 0, major = 0, minor = 0;
      size_t memory = 0;
      char name[256] = {};
      driver.cuDeviceGet(&device, i);
      driver.cuDeviceGetName(name, sizeof name, device);
      driver.cuDeviceGetAttribute(&major, kComputeMajor, device);
      driver.cuDeviceGetAttribute(&minor, kComputeMinor, device);
      driver.cuDeviceTotalMem_v2(&memory, device);
      out += fmt::format("cuda:{}: {}, sm_{}{}, {:.1f} GiB\n", i, name, major, minor,
                         static_cast<double>(memory) / (1 << 30));
    }
  }
  Nvrtc nvrtc;
  if (nvrtc.open(driver.version / 1000)) {
    out += fmt::format("NVRTC: {}, {}.{}\n", nvrtc.search.path, nvrtc.major, nvrtc.minor);
  } else {
    out += fmt::format("no NVRTC: {}\n", missing(nvrtc));
  }
  return out;
}

}  // namespace nnlc::codegen::cuda
