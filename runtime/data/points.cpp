// Small two-dimensional (and other) classification sets that need no file.
#include <algorithm>

#include "runtime/data/columns.h"
#include "runtime/data/random.h"

namespace nnl::data {

namespace {
enum : uint64_t { kMoons = 1, kSpirals, kBlobs, kBlobCentres };

DatasetPtr make_points(const char* name, int64_t dim, int64_t classes, std::vector<float> xs, std::vector<int32_t> ys) {
  Field x, y;
  x.name = "x";
  x.shape = {dim};
  y.name = "y";
  y.dtype = NNL_I32;
  y.classes = classes;
  const auto n = static_cast<int64_t>(ys.size());
  std::vector<char> xb(xs.size() * sizeof(float)), yb(ys.size() * sizeof(int32_t));
  if (n > 0) {
    std::memcpy(xb.data(), xs.data(), xb.size());
    std::memcpy(yb.data(), ys.data(), yb.size());
  }
  return std::make_shared<ColumnDataset>(name, n, std::vector<Field>{x, y},
                                         std::vector<std::vector<char>>{std::move(xb), std::move(yb)});
}
}  // namespace

// Two half circles of radius 1 that reach into each other, as scikit-learn's make_moons: the upper one around (0, 0),
// the lower one around (1, 0.5). Classes alternate by row.
DatasetPtr moons(int64_t n, double noise, uint64_t seed) {
  n = std::max<int64_t>(n, 0);
  std::vector<float> xs;
  std::vector<int32_t> ys;
  const int64_t of[2] = {n - n / 2, n / 2};
  for (int64_t i = 0; i < n; ++i) {
    const int64_t c = i % 2, k = i / 2;
    const double a = of[c] > 1 ? std::numbers::pi * static_cast<double>(k) / static_cast<double>(of[c] - 1) : 0.0;
    RowRandom random(seed, kMoons, static_cast<uint64_t>(i));
    xs.push_back(static_cast<float>((c == 0 ? std::cos(a) : 1.0 - std::cos(a)) + noise * random.normal()));
    xs.push_back(static_cast<float>((c == 0 ? std::sin(a) : 0.5 - std::sin(a)) + noise * random.normal()));
    ys.push_back(static_cast<int32_t>(c));
  }
  return make_points("moons", 2, 2, std::move(xs), std::move(ys));
}

// Arms of a spiral: radius 0.05 .. 1, two thirds of a turn; noise is in radians along the arm's turn.
DatasetPtr spirals(int64_t n, int64_t classes, double noise, uint64_t seed) {
  n = std::max<int64_t>(n, 0), classes = std::max<int64_t>(classes, 1);
  std::vector<float> xs;
  std::vector<int32_t> ys;
  for (int64_t i = 0; i < n; ++i) {
    const int64_t c = i % classes, k = i / classes, of = (n - c + classes - 1) / classes;
    const double t = of > 1 ? static_cast<double>(k) / static_cast<double>(of - 1) : 0.0;
    RowRandom random(seed, kSpirals, static_cast<uint64_t>(i));
    const double radius = 0.05 + 0.95 * t;
    const double angle = 2.0 * std::numbers::pi * static_cast<double>(c) / static_cast<double>(classes) + 4.0 * t +
                         noise * random.normal();
    xs.push_back(static_cast<float>(radius * std::sin(angle)));
    xs.push_back(static_cast<float>(radius * std::cos(angle)));
    ys.push_back(static_cast<int32_t>(c));
  }
  return make_points("spirals", 2, classes, std::move(xs), std::move(ys));
}

// Normal clouds of deviation 1 around centres drawn from [-10, 10], as scikit-learn's make_blobs.
DatasetPtr blobs(int64_t n, int64_t classes, int64_t dim, uint64_t seed) {
  n = std::max<int64_t>(n, 0), classes = std::max<int64_t>(classes, 1), dim = std::max<int64_t>(dim, 1);
  std::vector<double> centres;
  for (int64_t c = 0; c < classes; ++c) {
    RowRandom random(seed, kBlobCentres, static_cast<uint64_t>(c));
    for (int64_t d = 0; d < dim; ++d) centres.push_back(random.uniform(-10.0, 10.0));
  }
  std::vector<float> xs;
  std::vector<int32_t> ys;
  for (int64_t i = 0; i < n; ++i) {
    const int64_t c = i % classes;
    RowRandom random(seed, kBlobs, static_cast<uint64_t>(i));
    for (int64_t d = 0; d < dim; ++d)
      xs.push_back(static_cast<float>(centres[static_cast<size_t>(c * dim + d)] + random.normal()));
    ys.push_back(static_cast<int32_t>(c));
  }
  return make_points("blobs", dim, classes, std::move(xs), std::move(ys));
}

}  // namespace nnl::data
