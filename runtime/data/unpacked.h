// Large gzipped arrays, unpacked once: inflating MNIST takes longer than compiling a small network.
#pragma once
#include "runtime/data/idx.h"

namespace nnl::data {

/// As read_idx. A gzipped file of a megabyte or more is kept unpacked in the user's cache, written there in the
/// background, and from then on mapped instead of read, as long as its path, size, time of change and inode stay the
/// same. NNL_CACHE=off: no such cache. One that can't be written is no error: it is an optimisation.
Result<IdxArray> read_idx_once(const std::string& path);

}  // namespace nnl::data
