// Tensors as views of memory, and DLPack both ways.
#include <cstring>

#include "compiler/api/internal.h"

namespace nnlc::v0 {

// The public numbering is the run time's.
static_assert(static_cast<int>(DType::boolean) == NNL_BOOL && static_cast<int>(DType::i64) == NNL_I64 &&
              static_cast<int>(DType::f16) == NNL_F16 && static_cast<int>(DType::f64) == NNL_F64);

const char* dtype_name(DType t) { return nnl::dtype_name(static_cast<int>(t)); }
size_t dtype_size(DType t) { return static_cast<size_t>(nnl::element_bytes(static_cast<int>(t))); }
std::optional<DType> dtype_from_name(const std::string& name) {
  for (int i = 0; i < nnl::kDtypes; ++i)
    if (name == nnl::dtype_name(i)) return static_cast<DType>(i);
  return std::nullopt;
}

std::string type_text(DType dtype, const std::vector<int64_t>& shape) {
  return dtype_name(dtype) + fmt::format("[{}]", fmt::join(shape, ", "));
}

namespace {

std::vector<int64_t> dense_strides(const std::vector<int64_t>& shape) {
  std::vector<int64_t> strides(shape.size(), 1);
  for (size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * std::max<int64_t>(shape[i], 1);
  return strides;
}

std::string find_reason(const Tensor::State& s) {
  if (s.device != "cpu") return fmt::format("it is on {}, and the model on cpu", s.device);
  if (s.count > 0) {
    const std::vector<int64_t> dense = dense_strides(s.shape);
    for (size_t i = 0; i < dense.size(); ++i)
      if (s.shape[i] != 1 && s.strides[i] != dense[i])  // how far an axis of size 1 steps doesn't matter
        return fmt::format("its strides are [{}], and dense row-major ones would be [{}]", fmt::join(s.strides, ", "),
                           fmt::join(dense, ", "));
  }
  if (reinterpret_cast<uintptr_t>(s.data) % dtype_size(s.dtype) != 0)
    return fmt::format("its memory isn't aligned to the {} bytes of an element", dtype_size(s.dtype));
  return {};
}

Tensor make(void* data, DType dtype, std::vector<int64_t> shape, std::vector<int64_t> strides,
            std::shared_ptr<void> owner, const std::string& device, bool read_only) {
  auto s = std::make_shared<Tensor::State>();
  s->dtype = dtype;
  s->shape = std::move(shape);
  s->data = data;
  s->read_only = read_only;
  s->device = device;
  s->owner = std::move(owner);
  if (static_cast<int>(dtype) < 0 || static_cast<int>(dtype) >= nnl::kDtypes)
    fail(Status::invalid_argument, "there is no such element type");
  for (int64_t d : s->shape)
    if (d < 0 || __builtin_mul_overflow(s->count, d, &s->count) || s->count > INT64_MAX / 8)
      fail(Status::invalid_argument, fmt::format("[{}] is no shape", fmt::join(s->shape, ", ")));
  if (!strides.empty() && strides.size() != s->shape.size())
    fail(Status::invalid_argument, fmt::format("{} strides for {} axes", strides.size(), s->shape.size()));
  s->strides = strides.empty() ? dense_strides(s->shape) : std::move(strides);
  if (!data && s->count > 0) fail(Status::invalid_argument, "a tensor over no memory");
  s->why_copied = find_reason(*s);
  return Access::make<Tensor>(std::move(s));
}

}  // namespace

Tensor::Tensor() = default;
Tensor::~Tensor() = default;
Tensor::Tensor(const Tensor&) = default;
Tensor::Tensor(Tensor&&) noexcept = default;
Tensor& Tensor::operator=(const Tensor&) = default;
Tensor& Tensor::operator=(Tensor&&) noexcept = default;

Tensor::Tensor(DType dtype, std::vector<int64_t> shape) {
  *this = guarded([&] { return to_public(nnl::Tensor::zeros(static_cast<int>(dtype), std::move(shape))); });
}

Tensor Tensor::over(void* data, DType dtype, std::vector<int64_t> shape, std::vector<int64_t> strides,
                    std::shared_ptr<void> owner, const std::string& device) {
  return guarded(
      [&] { return make(data, dtype, std::move(shape), std::move(strides), std::move(owner), device, false); });
}

Tensor Tensor::over(const void* data, DType dtype, std::vector<int64_t> shape, std::vector<int64_t> strides,
                    std::shared_ptr<void> owner, const std::string& device) {
  // Read only: `data()` of such a tensor is null, and no call takes it as an output.
  return guarded([&] {
    return make(const_cast<void*>(data), dtype, std::move(shape), std::move(strides), std::move(owner), device, true);
  });
}

DType Tensor::dtype() const { return state_ ? state_->dtype : DType::f32; }
const std::vector<int64_t>& Tensor::shape() const {
  static const std::vector<int64_t> none;
  return state_ ? state_->shape : none;
}
const std::vector<int64_t>& Tensor::strides() const {
  static const std::vector<int64_t> none;
  return state_ ? state_->strides : none;
}
int64_t Tensor::count() const { return state_ ? state_->count : 0; }
bool Tensor::read_only() const { return !state_ || state_->read_only; }
void* Tensor::data() { return read_only() ? nullptr : state_->data; }
const void* Tensor::data() const { return state_ ? state_->data : nullptr; }
std::string Tensor::why_copied() const { return state_ ? state_->why_copied : "there is no tensor"; }

double Tensor::item() const {
  if (count() != 1) fail(Status::invalid_argument, fmt::format("item of {} elements", count()));
  return exec::element(nnl::Tensor::over(static_cast<int>(dtype()), {}, state_->data), 0);
}

Tensor Tensor::copy() const {
  if (!state_) return {};
  return guarded([&] {
    if (state_->device != "cpu") fail(Status::unsupported, "only memory of the CPU can be copied");
    Tensor out(state_->dtype, state_->shape);
    copy_elements(*state_, *out.state_);
    return out;
  });
}

void copy_elements(const Tensor::State& from, Tensor::State& to) {
  const size_t size = dtype_size(from.dtype), rank = from.shape.size();
  if (from.count == 0) return;
  const auto* source = static_cast<const uint8_t*>(from.data);
  auto* target = static_cast<uint8_t*>(to.data);
  if (from.strides == to.strides && from.why_copied.empty() && to.why_copied.empty()) {
    std::memmove(target, source, static_cast<size_t>(from.count) * size);
    return;
  }
  std::vector<int64_t> at(rank, 0);
  for (int64_t n = 0; n < from.count; ++n) {
    int64_t i = 0, o = 0;
    for (size_t k = 0; k < rank; ++k) {
      i += at[k] * from.strides[k];
      o += at[k] * to.strides[k];
    }
    std::memcpy(target + o * static_cast<int64_t>(size), source + i * static_cast<int64_t>(size), size);
    for (size_t k = rank; k-- > 0;) {
      if (++at[k] < from.shape[k]) break;
      at[k] = 0;
    }
  }
}

Tensor to_public(const nnl::Tensor& t) {
  return make(const_cast<void*>(t.data()), static_cast<DType>(t.dtype()), t.shape(), {}, t.buffer(), "cpu", false);
}

// ---------------------------------------------------------------- DLPack

Tensor Tensor::from_dlpack(DLManagedTensor* managed) {
  return guarded([&] {
    if (!managed) fail(Status::invalid_argument, "from_dlpack of nothing");
    const DLTensor& d = managed->dl_tensor;
    std::string device = d.device.device_type == kDLCPU    ? "cpu"
                         : d.device.device_type == kDLCUDA ? fmt::format("cuda:{}", d.device.device_id)
                                                           : fmt::format("device {}", int(d.device.device_type));
    std::optional<DType> dtype;
    switch (d.dtype.lanes == 1 ? d.dtype.code * 100 + d.dtype.bits : -1) {
      case kDLBool * 100 + 8:
        dtype = DType::boolean;
        break;
      case kDLUInt * 100 + 8:
        dtype = DType::u8;
        break;
      case kDLInt * 100 + 8:
        dtype = DType::i8;
        break;
      case kDLInt * 100 + 16:
        dtype = DType::i16;
        break;
      case kDLInt * 100 + 32:
        dtype = DType::i32;
        break;
      case kDLInt * 100 + 64:
        dtype = DType::i64;
        break;
      case kDLFloat * 100 + 16:
        dtype = DType::f16;
        break;
      case kDLBfloat * 100 + 16:
        dtype = DType::bf16;
        break;
      case kDLFloat * 100 + 32:
        dtype = DType::f32;
        break;
      case kDLFloat * 100 + 64:
        dtype = DType::f64;
        break;
      default:
        break;
    }
    if (!dtype)
      fail(Status::unsupported, fmt::format("DLPack: NNL has no element type of code {}, {} bits and {} lanes",
                                            int(d.dtype.code), int(d.dtype.bits), d.dtype.lanes));
    std::vector<int64_t> shape(d.shape, d.shape + d.ndim), strides;
    if (d.strides) strides.assign(d.strides, d.strides + d.ndim);
    // From here on the structure is ours, so that what fails above leaves it with the caller.
    Tensor t = make(static_cast<uint8_t*>(d.data) + d.byte_offset, *dtype, std::move(shape), std::move(strides),
                    nullptr, device, false);
    t.state_->owner = std::shared_ptr<void>(managed, [](void* m) {
      auto* p = static_cast<DLManagedTensor*>(m);
      if (p->deleter) p->deleter(p);
    });
    return t;
  });
}

DLManagedTensor* Tensor::to_dlpack() const {
  return guarded([&]() -> DLManagedTensor* {
    if (!state_) fail(Status::invalid_argument, "to_dlpack of nothing");
    if (state_->read_only)
      fail(Status::invalid_argument, "to_dlpack of a read-only tensor: DLPack can't say that it is one");
    if (state_->device != "cpu") fail(Status::unsupported, "to_dlpack of memory on " + state_->device);
    struct Managed {
      DLManagedTensor tensor;
      std::shared_ptr<State> state;
    };
    auto m = std::make_unique<Managed>();
    m->state = state_;
    DLTensor& d = m->tensor.dl_tensor;
    d.data = state_->data;
    d.device = {kDLCPU, 0};
    d.ndim = static_cast<int32_t>(state_->shape.size());
    d.shape = state_->shape.data();
    d.strides = state_->strides.data();
    d.byte_offset = 0;
    const bool is_float = state_->dtype >= DType::f16;
    const uint8_t code = state_->dtype == DType::boolean ? kDLBool
                         : state_->dtype == DType::u8    ? kDLUInt
                         : state_->dtype == DType::bf16  ? kDLBfloat
                         : is_float                      ? kDLFloat
                                                         : kDLInt;
    d.dtype = {code, static_cast<uint8_t>(dtype_size(state_->dtype) * 8), 1};
    m->tensor.manager_ctx = m.get();
    m->tensor.deleter = [](DLManagedTensor* self) { delete static_cast<Managed*>(self->manager_ctx); };
    return &m.release()->tensor;
  });
}

}  // namespace nnlc::v0
