// Arrays of Python as tensors of the library, without a copy: anything with the buffer protocol (NumPy arrays,
// memoryviews, array.array) or with DLPack (PyTorch tensors); and tensors as objects that have both.
#pragma once
#include <pybind11/pybind11.h>

#include <nnlc.hpp>
#include <string>
#include <vector>

namespace nnl_python {

namespace py = pybind11;

/// The arrays of one call, kept as they are until it has ended. Made and destroyed with the interpreter's lock held.
class Arrays {
 public:
  Arrays() = default;
  Arrays(const Arrays&) = delete;
  Arrays& operator=(const Arrays&) = delete;
  ~Arrays();

  /// `what`: as messages call it. `copy`: where the memory can't even be described to the library (swapped bytes,
  /// strides between elements), a copy may stand in for it.
  void add_input(const py::handle& array, const std::string& what, bool copy);
  void add_output(const py::handle& array, const std::string& what);
  std::vector<nnlc::Tensor>& tensors() { return tensors_; }

 private:
  bool add_own(const py::handle& array);
  bool add_buffer(const py::handle& array, const std::string& what, bool writable, bool copy);
  bool add_dlpack(const py::handle& array, const std::string& what);

  std::vector<nnlc::Tensor> tensors_;
  std::vector<Py_buffer*> buffers_;
};

void bind_tensor(py::module_& m);

}  // namespace nnl_python
