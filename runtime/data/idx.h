// IDX files: the format of MNIST.
#pragma once
#include "runtime/data/dataset.h"

namespace nnl::data {

/// One file of unsigned bytes; gzipped or not.
struct IdxArray {
  std::vector<int64_t> dims;
  std::shared_ptr<const uint8_t> bytes;
  int64_t size = 0;  ///< product of dims
};
Result<IdxArray> read_idx(const std::string& path);
/// Images (rank 3: [N, H, W], or 4: [N, C, H, W]) and labels (rank 1) that belong together. classes 0: largest label
/// + 1.
Result<DatasetPtr> join_idx(const std::string& name, const std::string& images_path, IdxArray images,
                            const std::string& labels_path, const IdxArray& labels, int64_t classes);

}  // namespace nnl::data
