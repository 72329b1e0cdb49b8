// Digits drawn by strokes: what handwriting varies is varied (slant, size, proportions, thickness, the exact place of
// each joint), so that a network has to generalise, and nothing has to be downloaded. A digit is a few strokes through
// control points in a unit box (x to the right, y down); a stroke is a Catmull-Rom spline, which passes through its
// points, or straight lines. Ink is the distance to the nearest stroke, turned into coverage over one pixel.
#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>

#include "runtime/data/columns.h"
#include "runtime/data/random.h"

namespace nnl::data {

namespace {

constexpr int kSide = 28;
constexpr uint64_t kTrain = 11, kTest = 12;

struct Point {
  double x, y;
};
struct Stroke {
  std::vector<Point> points;
  bool smooth = true;
  bool closed = false;
};
using Glyph = std::vector<Stroke>;

/// The ways to write each digit; those listed twice are commoner.
const std::vector<Glyph>& ways(int digit) {
  // clang-format off
  static const std::array<std::vector<Glyph>, 10> all = {{
      // 0
      {{{{{.50, .02}, {.22, .16}, {.12, .50}, {.22, .84}, {.50, .98}, {.78, .84}, {.88, .50}, {.78, .16}}, true, true}},
       {{{{.62, .04}, {.30, .12}, {.14, .48}, {.26, .88}, {.52, .97}, {.80, .80}, {.86, .44}, {.72, .12}, {.50, .06}}, true}}},
      // 1
      {{{{{.52, .02}, {.50, .50}, {.48, .98}}, true}},
       {{{{.30, .20}, {.54, .02}}, false}, {{{.54, .02}, {.52, .50}, {.50, .98}}, true}},
       {{{{.30, .22}, {.52, .02}, {.52, .98}}, false}, {{{.28, .98}, {.76, .98}}, false}}},
      // 2
      {{{{{.16, .24}, {.34, .05}, {.62, .04}, {.80, .22}, {.72, .46}, {.44, .72}, {.14, .97}}, true}, {{{.14, .97}, {.88, .94}}, false}},
       {{{{.16, .26}, {.36, .05}, {.66, .06}, {.78, .28}, {.60, .58}, {.30, .90}, {.14, .90}, {.22, .78}, {.48, .88}, {.88, .94}}, true}}},
      // 3
      {{{{{.16, .14}, {.42, .02}, {.74, .12}, {.74, .34}, {.42, .47}}, true}, {{{.42, .47}, {.78, .58}, {.80, .84}, {.48, .98}, {.14, .86}}, true}},
       {{{{.18, .06}, {.78, .06}, {.46, .40}}, false}, {{{.46, .40}, {.78, .54}, {.80, .82}, {.48, .98}, {.16, .88}}, true}}},
      // 4
      {{{{{.34, .04}, {.18, .56}}, false}, {{{.18, .56}, {.86, .54}}, false}, {{{.70, .20}, {.66, .98}}, false}},
       {{{{.62, .02}, {.10, .66}, {.90, .64}}, false}, {{{.64, .04}, {.64, .98}}, false}},
       {{{{.26, .06}, {.18, .36}, {.32, .54}, {.74, .46}}, true}, {{{.76, .04}, {.74, .50}, {.70, .98}}, true}}},
      // 5
      {{{{{.80, .04}, {.28, .06}, {.24, .44}}, false}, {{{.24, .44}, {.56, .38}, {.82, .56}, {.78, .84}, {.46, .98}, {.16, .88}}, true}},
       {{{{.30, .08}, {.24, .42}}, false}, {{{.24, .42}, {.58, .40}, {.80, .62}, {.68, .92}, {.36, .98}, {.14, .86}}, true}, {{{.30, .08}, {.82, .03}}, false}}},
      // 6
      {{{{{.68, .02}, {.36, .26}, {.18, .62}, {.28, .92}, {.56, .98}, {.80, .78}, {.68, .54}, {.42, .54}, {.22, .74}}, true}},
       {{{{.52, .02}, {.28, .36}, {.20, .70}, {.38, .97}, {.68, .92}, {.76, .66}, {.54, .54}, {.28, .66}, {.22, .80}}, true}}},
      // 7
      {{{{{.14, .06}, {.84, .05}}, false}, {{{.84, .05}, {.60, .40}, {.42, .98}}, true}},
       {{{{.14, .18}, {.18, .06}, {.84, .06}, {.44, .98}}, false}},
       {{{{.14, .06}, {.84, .05}}, false}, {{{.84, .05}, {.60, .42}, {.42, .98}}, true}, {{{.32, .50}, {.78, .48}}, false}}},
      // 8
      {{{{{.74, .14}, {.46, .03}, {.22, .20}, {.38, .42}, {.68, .58}, {.78, .82}, {.50, .98}, {.22, .82}, {.34, .58}, {.66, .40}, {.76, .22}}, true, true}},
       {{{{.50, .03}, {.26, .12}, {.28, .36}, {.50, .46}, {.72, .36}, {.74, .12}}, true, true}, {{{.50, .46}, {.20, .60}, {.22, .88}, {.50, .98}, {.78, .88}, {.80, .60}}, true, true}}},
      // 9
      {{{{{.78, .24}, {.56, .04}, {.26, .10}, {.18, .34}, {.40, .50}, {.68, .42}, {.79, .22}}, true}, {{{.79, .20}, {.74, .60}, {.62, .98}}, true}},
       {{{{.76, .20}, {.48, .03}, {.22, .22}, {.32, .48}, {.62, .46}, {.78, .18}, {.76, .58}, {.58, .92}, {.26, .94}}, true}}},
  }};
  // clang-format on
  return all[static_cast<size_t>(digit)];
}

/// The stroke as short straight pieces.
std::vector<Point> flatten(const Stroke& s, const std::vector<Point>& p) {
  if (!s.smooth || p.size() < 3) return p;
  constexpr int kPieces = 7;
  const auto n = static_cast<int>(p.size());
  const auto at = [&](int i) { return p[static_cast<size_t>(s.closed ? (i + n) % n : std::clamp(i, 0, n - 1))]; };
  std::vector<Point> out{p[0]};
  for (int i = 0; i < (s.closed ? n : n - 1); ++i) {
    const Point a = at(i - 1), b = at(i), c = at(i + 1), d = at(i + 2);
    for (int k = 1; k <= kPieces; ++k) {
      const double t = static_cast<double>(k) / kPieces, t2 = t * t, t3 = t2 * t;
      const auto mix = [&](double u, double v, double w, double z) {
        return 0.5 * (2 * v + (w - u) * t + (2 * u - 5 * v + 4 * w - z) * t2 + (3 * v - u - 3 * w + z) * t3);
      };
      out.push_back({mix(a.x, b.x, c.x, d.x), mix(a.y, b.y, c.y, d.y)});
    }
  }
  return out;
}

void draw(int digit, RowRandom& random, uint8_t* pixels) {
  const auto& choices = ways(digit);
  const Glyph& glyph = choices[random.next() % choices.size()];
  // Height about 20 of 28 pixels, as in MNIST.
  const double height = random.uniform(16.5, 21.5), width = height * random.uniform(0.55, 0.85);
  const double angle = random.uniform(-0.20, 0.20), shear = random.uniform(-0.15, 0.40);
  const double cx = 14.0 + random.uniform(-1.8, 1.8), cy = 14.0 + random.uniform(-1.8, 1.8);
  const double radius = random.uniform(0.75, 1.75), pressure = random.uniform(0.75, 1.0);
  const double bend = random.uniform(-0.06, 0.06);
  const double ca = std::cos(angle), sa = std::sin(angle);
  std::array<double, kSide * kSide> distance;  // squared, in pixels
  distance.fill(1e9);
  for (const Stroke& stroke : glyph) {
    std::vector<Point> points = stroke.points;
    for (Point& p : points) {
      p.x += 0.035 * random.normal();
      p.y += 0.030 * random.normal();
    }
    points = flatten(stroke, points);
    for (Point& p : points) {
      double x = (p.x - 0.5) * width, y = (p.y - 0.5) * height;
      x += -shear * y + bend * height * std::sin(std::numbers::pi * p.y);
      p = {cx + ca * x - sa * y, cy + sa * x + ca * y};
    }
    if (stroke.closed) points.push_back(points.front());
    for (size_t i = 0; i + 1 < points.size(); ++i) {
      const Point a = points[i], b = points[i + 1];
      const double dx = b.x - a.x, dy = b.y - a.y, length2 = dx * dx + dy * dy, reach = radius + 1.0;
      const auto first = [&](double u, double v) { return std::max(0, static_cast<int>(std::min(u, v) - reach)); };
      const auto last = [&](double u, double v) {
        return std::min(kSide - 1, static_cast<int>(std::max(u, v) + reach));
      };
      const int x0 = first(a.x, b.x), x1 = last(a.x, b.x), y1 = last(a.y, b.y);
      const double scale = length2 > 0 ? 1 / length2 : 0;
      for (int y = first(a.y, b.y); y <= y1; ++y)
        for (int x = x0; x <= x1; ++x) {
          const double px = x + 0.5 - a.x, py = y + 0.5 - a.y;
          const double t = std::clamp((px * dx + py * dy) * scale, 0.0, 1.0);
          const double ex = px - t * dx, ey = py - t * dy;
          double& d = distance[static_cast<size_t>(y * kSide + x)];
          d = std::min(d, ex * ex + ey * ey);
        }
    }
  }
  const double outside = (radius + 0.5) * (radius + 0.5);
  for (size_t i = 0; i < distance.size(); ++i) {
    double ink = 0;
    if (distance[i] < outside) {
      // The grain of the paper: the sum of four uniform bytes is near enough to a normal.
      const uint64_t word = random.next();
      const int grain =
          static_cast<int>((word & 255) + (word >> 8 & 255) + (word >> 16 & 255) + (word >> 24 & 255)) - 510;
      ink = std::clamp(radius + 0.5 - std::sqrt(distance[i]), 0.0, 1.0) * pressure;
      ink = std::clamp(ink + 0.04 / 148.0 * grain, 0.0, 1.0);  // 148: the deviation of that sum
    }
    pixels[i] = static_cast<uint8_t>(std::lround(ink * 255.0));
  }
}

/// A digit is drawn when it is first read, and kept: a program starts at once, and threads that read share the work.
class DrawnDigits : public Dataset {
 public:
  DrawnDigits(const char* name, int64_t n, uint64_t seed, uint64_t stream)
      : name_(name), seed_(seed), stream_(stream), rows_(std::max<int64_t>(n, 0)) {
    const auto size = static_cast<size_t>(rows_);
    pixels_.reset(new uint8_t[size * kPixels + 1]);
    state_ = std::vector<std::atomic<uint8_t>>(size);
    for (int64_t row = 0; row < rows_; ++row) {
      RowRandom random = start(row);
      labels_.push_back(static_cast<int32_t>(random.next() % 10));
    }
    Field image, label;
    image.name = "image";
    image.shape = {1, kSide, kSide};
    label.name = "label";
    label.dtype = NNL_I32;
    label.classes = 10;
    fields_ = {std::move(image), std::move(label)};
    for (int i = 0; i < 256; ++i) scaled_[static_cast<size_t>(i)] = static_cast<float>(i) / 255.0f;
  }
  const std::vector<Field>& fields() const override { return fields_; }
  int64_t size() const override { return rows_; }
  std::string name() const override { return name_; }
  void read(const int64_t* rows, int64_t n, void* const* out) const override {
    auto* image = static_cast<float*>(out[0]);
    auto* label = static_cast<int32_t*>(out[1]);
    uint8_t drawn[kPixels];
    for (int64_t i = 0; i < n; ++i) {
      const auto row = static_cast<size_t>(rows[i]);
      if (label) label[i] = labels_[row];
      if (!image) continue;
      const uint8_t* from = pixels_.get() + row * kPixels;
      if (state_[row].load(std::memory_order_acquire) != kKept) {
        // Two threads may draw one digit: they draw the same, and one of them keeps it.
        RowRandom random = start(rows[i]);
        draw(static_cast<int>(random.next() % 10), random, drawn);
        from = drawn;
        uint8_t expected = kEmpty;
        if (state_[row].compare_exchange_strong(expected, kWriting)) {
          std::copy_n(drawn, kPixels, pixels_.get() + row * kPixels);
          state_[row].store(kKept, std::memory_order_release);
        }
      }
      for (size_t k = 0; k < kPixels; ++k) *image++ = scaled_[from[k]];
    }
  }

 private:
  enum : uint8_t { kEmpty, kWriting, kKept };
  static constexpr size_t kPixels = kSide * kSide;
  RowRandom start(int64_t row) const { return RowRandom(seed_, stream_, static_cast<uint64_t>(row)); }

  std::string name_;
  uint64_t seed_, stream_;
  int64_t rows_;
  std::vector<Field> fields_;
  std::vector<int32_t> labels_;
  std::unique_ptr<uint8_t[]> pixels_;
  mutable std::vector<std::atomic<uint8_t>> state_;
  std::array<float, 256> scaled_;
};

}  // namespace

TrainTest synthetic_digits(int64_t train, int64_t test, uint64_t seed) {
  return {std::make_shared<DrawnDigits>("synthetic.train", train, seed, kTrain),
          std::make_shared<DrawnDigits>("synthetic.test", test, seed, kTest)};
}

}  // namespace nnl::data
