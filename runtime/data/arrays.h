// Arrays of NumPy and safetensors files as data sets: a field for each array, its first axis the rows.
#pragma once
#include "runtime/data/dataset.h"

namespace nnl::data {

Result<DatasetPtr> npy(const std::string& path);          ///< {x: …}
Result<DatasetPtr> npz(const std::string& path);          ///< a field for each array, in the file's order
Result<DatasetPtr> safetensors(const std::string& path);  ///< a field for each tensor, by name

}  // namespace nnl::data
