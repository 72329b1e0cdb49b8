#include "arrays.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <cstring>
#include <memory>

namespace nnl_python {

namespace {

using nnlc::DType;
using nnlc::Status;
using nnlc::Tensor;

[[noreturn]] void copy_needed(const std::string& what, const std::string& why) {
  throw nnlc::Error(Status::copy_needed, what + " would have to be copied: " + why);
}

/// The element type that a format of Python's struct module names; nullopt: NNL has none like it.
std::optional<DType> dtype_of(const std::string& format, Py_ssize_t size) {
  const char c = format.size() == 1 ? format[0] : ' ';
  switch (c) {
    case '?':
      return DType::boolean;
    case 'B':
      return DType::u8;
    case 'e':
      return DType::f16;
    case 'f':
      return DType::f32;
    case 'd':
      return DType::f64;
    case 'b':
    case 'h':
    case 'i':
    case 'l':
    case 'q':
      return size == 1 ? DType::i8 : size == 2 ? DType::i16 : size == 4 ? DType::i32 : DType::i64;
    default:
      return std::nullopt;
  }
}

const char* format_of(DType t) {
  constexpr const char* formats[] = {"?", "B", "b", "h", "i", "q", "e", nullptr, "f", "d"};
  return formats[static_cast<int>(t)];
}

/// Dense, and in this machine's order of bytes.
Tensor copied(const Py_buffer& b, DType dtype, const std::vector<int64_t>& shape, bool swapped) {
  Tensor out(dtype, shape);
  auto* target = out.as<uint8_t>();
  std::vector<Py_ssize_t> at(shape.size(), 0);
  for (int64_t n = out.count(); n > 0; --n) {
    const auto* source = static_cast<const uint8_t*>(b.buf);
    for (size_t k = 0; k < at.size(); ++k) source += at[k] * b.strides[k];
    std::memcpy(target, source, static_cast<size_t>(b.itemsize));
    if (swapped) std::reverse(target, target + b.itemsize);
    target += b.itemsize;
    for (size_t k = at.size(); k-- > 0;) {
      if (++at[k] < shape[k]) break;
      at[k] = 0;
    }
  }
  return out;
}

}  // namespace

Arrays::~Arrays() {
  tensors_.clear();
  for (Py_buffer* b : buffers_) {
    PyBuffer_Release(b);
    delete b;
  }
}

bool Arrays::add_own(const py::handle& array) {
  if (!py::isinstance<Tensor>(array)) return false;
  tensors_.push_back(array.cast<Tensor>());
  return true;
}

bool Arrays::add_buffer(const py::handle& array, const std::string& what, bool writable, bool copy) {
  if (!PyObject_CheckBuffer(array.ptr())) return false;
  auto b = std::make_unique<Py_buffer>();
  // Never asked for as writable: NumPy's refusal would hide the reason. An array that is none is an input, read only.
  if (PyObject_GetBuffer(array.ptr(), b.get(), PyBUF_RECORDS_RO) != 0) {
    py::error_already_set e;
    if (!e.matches(PyExc_ValueError) && !e.matches(PyExc_BufferError)) throw e;
    throw py::type_error(what + " can't be read as an array of numbers: " + py::str(e.value()).cast<std::string>());
  }
  buffers_.push_back(b.release());
  const Py_buffer& view = *buffers_.back();
  std::string format = view.format ? view.format : "B";
  const bool swapped = (format[0] == '>' || format[0] == '!') && view.itemsize > 1;
  if (format.find_first_of("<>=@!") == 0) format.erase(0, 1);
  const auto dtype = dtype_of(format, view.itemsize);
  if (!dtype) {
    const std::string name = py::hasattr(array, "dtype") ? py::str(array.attr("dtype")).cast<std::string>()
                                                         : "of the format \"" + format + "\"";
    throw py::type_error(what + " is " + name + ", and NNL has no such element type");
  }
  const std::vector<int64_t> shape(view.shape, view.shape + view.ndim);
  std::string why = swapped ? "the bytes of its elements are in the other order" : "";
  std::vector<int64_t> strides;
  for (int k = 0; k < view.ndim; ++k) {
    if (view.strides[k] % view.itemsize != 0 && why.empty() && view.shape[k] > 1)
      why = "its elements lie " + std::to_string(view.strides[k]) + " bytes apart, no multiple of their size";
    strides.push_back(view.strides[k] / view.itemsize);
  }
  if (!why.empty()) {
    if (writable || !copy) copy_needed(what, why);
    tensors_.push_back(copied(view, *dtype, shape, swapped));
  } else if (writable && !view.readonly) {
    tensors_.push_back(Tensor::over(view.buf, *dtype, shape, strides));
  } else {
    tensors_.push_back(Tensor::over(static_cast<const void*>(view.buf), *dtype, shape, strides));
  }
  return true;
}

bool Arrays::add_dlpack(const py::handle& array, const std::string& what) {
  if (!py::hasattr(array, "__dlpack__")) return false;
  if (py::hasattr(array, "__dlpack_device__")) {
    const auto device = py::cast<std::pair<int, int>>(array.attr("__dlpack_device__")());
    // 3 and 11: memory of the CPU that a GPU can reach as well.
    if (device.first != kDLCPU && device.first != 3 && device.first != 11)
      copy_needed(what, (device.first == kDLCUDA ? "it is on cuda:" + std::to_string(device.second)
                                                 : "it is on device " + std::to_string(device.first)) +
                            ", and the model on cpu");
  }
  const py::object capsule = array.attr("__dlpack__")();
  auto* managed = static_cast<DLManagedTensor*>(PyCapsule_GetPointer(capsule.ptr(), "dltensor"));
  if (!managed) throw py::error_already_set();
  managed->dl_tensor.device.device_type = kDLCPU;
  tensors_.push_back(Tensor::from_dlpack(managed));
  PyCapsule_SetName(capsule.ptr(), "used_dltensor");
  return true;
}

void Arrays::add_input(const py::handle& array, const std::string& what, bool copy) {
  if (std::string(Py_TYPE(array.ptr())->tp_name) == "MaskedArray")
    throw py::type_error(what + " is a masked array, and NNL has no masks: its .filled(value) has none");
  if (add_own(array) || add_buffer(array, what, false, copy) || add_dlpack(array, what)) return;
  throw py::type_error(what + " is of type " + Py_TYPE(array.ptr())->tp_name +
                       ", not an array: numpy.asarray(…, dtype = …) makes one");
}

void Arrays::add_output(const py::handle& array, const std::string& what) {
  if (add_own(array) || add_buffer(array, what, true, false) || add_dlpack(array, what)) return;
  throw py::type_error(what + " is of type " + Py_TYPE(array.ptr())->tp_name + ", not an array");
}

// ---------------------------------------------------------------- tensors of the library

namespace {

/// Shape and strides as a Py_buffer points to them.
struct Layout {
  std::vector<Py_ssize_t> shape, strides;
};

/// The buffer protocol. (pybind11's own way lets no refusal through.) The tensors that Python gets hold of are dense
/// and may be written.
int get_buffer(PyObject* self, Py_buffer* view, int flags) {
  auto& t = *py::cast<Tensor*>(py::handle(self));
  const char* format = format_of(t.dtype());
  if (!format) {
    PyErr_SetString(PyExc_BufferError, "the buffer protocol has no format for bf16; DLPack has");
    return -1;
  }
  auto layout = std::make_unique<Layout>();
  const auto size = static_cast<Py_ssize_t>(nnlc::dtype_size(t.dtype()));
  for (int64_t d : t.shape()) layout->shape.push_back(d);
  for (int64_t s : t.strides()) layout->strides.push_back(s * size);
  view->obj = py::handle(self).inc_ref().ptr();
  view->buf = t.data();
  view->len = t.bytes();
  view->itemsize = size;
  view->readonly = 0;
  view->ndim = static_cast<int>(t.rank());
  view->format = flags & PyBUF_FORMAT ? const_cast<char*>(format) : nullptr;
  view->shape = flags & PyBUF_ND ? layout->shape.data() : nullptr;
  view->strides = (flags & PyBUF_STRIDES) == PyBUF_STRIDES ? layout->strides.data() : nullptr;
  view->suboffsets = nullptr;
  view->internal = layout.release();
  return 0;
}

void release_buffer(PyObject*, Py_buffer* view) { delete static_cast<Layout*>(view->internal); }

py::capsule dlpack_of(const Tensor& t) {
  return py::capsule(t.to_dlpack(), "dltensor", [](PyObject* capsule) {
    if (!PyCapsule_IsValid(capsule, "dltensor")) return;  // it was taken over, and so renamed
    auto* m = static_cast<DLManagedTensor*>(PyCapsule_GetPointer(capsule, "dltensor"));
    m->deleter(m);
  });
}

}  // namespace

void bind_tensor(py::module_& m) {
  const auto buffers = [](PyHeapTypeObject* type) {
    type->ht_type.tp_as_buffer = &type->as_buffer;
    type->as_buffer.bf_getbuffer = &get_buffer;
    type->as_buffer.bf_releasebuffer = &release_buffer;
  };
  py::class_<Tensor>(m, "Tensor", py::custom_type_setup(buffers),
                     "Memory of the library, kept alive by this object and whatever is made from it: an array by\n"
                     "numpy.asarray (except of bf16, which NumPy hasn't), a tensor by torch.from_dlpack. No copies.")
      .def_property_readonly("dtype", [](const Tensor& t) { return nnlc::dtype_name(t.dtype()); })
      .def_property_readonly("shape", [](const Tensor& t) { return py::tuple(py::cast(t.shape())); })
      .def("__dlpack__", [](const Tensor& t, const py::kwargs&) { return dlpack_of(t); })
      .def("__dlpack_device__", [](const Tensor&) { return std::make_pair(int{kDLCPU}, 0); })
      .def("__repr__", [](const Tensor& t) {
        return std::string("nnl.Tensor(") + nnlc::dtype_name(t.dtype()) +
               py::str(py::cast(t.shape())).cast<std::string>() + ")";
      });
}

}  // namespace nnl_python
