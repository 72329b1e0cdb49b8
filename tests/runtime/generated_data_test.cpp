// Data sets that need no file.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "runtime/data/dataset.h"

using namespace nnl::data;

namespace {
struct Columns {
  std::vector<float> x;
  std::vector<int32_t> y;
  size_t k = 1;
};
Columns all(const Dataset& d) {
  Columns c;
  for (int64_t s : d.fields()[0].shape) c.k *= static_cast<size_t>(s);
  std::vector<int64_t> rows;
  for (int64_t i = 0; i < d.size(); ++i) rows.push_back(i);
  c.x.resize(c.k * rows.size());
  c.y.resize(rows.size());
  void* out[] = {c.x.data(), c.y.data()};
  d.read(rows.data(), d.size(), out);
  return c;
}

/// How many rows of b the nearest row of a names right.
double nearest_neighbour(const Columns& a, const Columns& b) {
  size_t hits = 0;
  for (size_t i = 0; i < b.y.size(); ++i) {
    float best = INFINITY;
    int32_t label = -1;
    for (size_t j = 0; j < a.y.size(); ++j) {
      float sum = 0;
      for (size_t k = 0; k < a.k; ++k) {
        const float d = a.x[j * a.k + k] - b.x[i * a.k + k];
        sum += d * d;
      }
      if (sum < best) best = sum, label = a.y[j];
    }
    hits += label == b.y[i];
  }
  return static_cast<double>(hits) / static_cast<double>(b.y.size());
}
}  // namespace

TEST_CASE("drawn digits: ten classes, told apart by their looks, and no two alike") {
  const TrainTest d = synthetic_digits(2000, 200, 0);
  CHECK(d.train->size() == 2000);
  CHECK(d.test->size() == 200);
  CHECK(d.train->fields()[0].shape == std::vector<int64_t>{1, 28, 28});
  CHECK(d.train->fields()[1].classes == 10);
  const Columns a = all(*d.train), b = all(*d.test);
  std::vector<int> count(10);
  for (int32_t y : a.y) ++count[static_cast<size_t>(y)];
  for (int n : count) CHECK(n > 140);
  double sum = 0;
  CHECK(std::all_of(a.x.begin(), a.x.end(), [](float v) { return v >= 0 && v <= 1; }));
  for (float v : a.x) sum += v;
  CHECK(sum / static_cast<double>(a.x.size()) == doctest::Approx(0.11).epsilon(0.1));
  CHECK(nearest_neighbour(a, b) > 0.9);
  // The same again from the same seed; a row doesn't depend on how many there are.
  CHECK(all(*synthetic_digits(2000, 200, 0).train).x == a.x);
  const Columns fewer = all(*synthetic_digits(10, 0, 0).train);
  CHECK(std::equal(fewer.x.begin(), fewer.x.end(), a.x.begin()));
  CHECK(all(*synthetic_digits(10, 0, 1).train).x != fewer.x);
  CHECK(all(*synthetic_digits(10, 10, 0).test).x != fewer.x);
}

TEST_CASE("moons, spirals, blobs") {
  const Columns m = all(*moons(100, 0.1, 0));
  CHECK(m.k == 2);
  CHECK(std::count(m.y.begin(), m.y.end(), 0) == 50);
  CHECK(nearest_neighbour(m, all(*moons(100, 0.1, 1))) > 0.97);
  const Columns exact = all(*moons(200, 0, 0));
  for (size_t i = 0; i < 200; ++i) {
    const double x = exact.x[2 * i] - (exact.y[i] ? 1 : 0), y = exact.x[2 * i + 1] - (exact.y[i] ? 0.5 : 0);
    CHECK(std::hypot(x, y) == doctest::Approx(1));
  }
  const auto s = spirals(301, 3, 0.05, 0);
  CHECK(s->fields()[1].classes == 3);
  CHECK(nearest_neighbour(all(*s), all(*spirals(100, 3, 0.05, 1))) > 0.95);
  const auto b = blobs(300, 4, 5, 0);
  CHECK(b->fields()[0].shape == std::vector<int64_t>{5});
  CHECK(b->fields()[1].classes == 4);
  CHECK(all(*b).x == all(*blobs(300, 4, 5, 0)).x);
  CHECK(all(*b).x != all(*blobs(300, 4, 5, 1)).x);
  CHECK(moons(0, 0.1, 0)->size() == 0);
  CHECK(all(*moons(1, 0.1, 0)).y.size() == 1);
}
