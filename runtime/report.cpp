// The page at the end of a run. Each curve is drawn as it is, thin, and smoothed (a mean over a fortieth of its
// points), thick, since the loss of single batches jumps.
#include "runtime/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "runtime/format.h"

namespace nnl {

namespace {

constexpr double kWidth = 640, kHeight = 300, kLeft = 64, kRight = 16, kTop = 14, kBottom = 34;

std::string escape(const std::string& s) {
  std::string out;
  for (char c : s) {
    switch (c) {
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '&':
        out += "&amp;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

/// A step of 1, 2 or 5 times a power of ten that cuts `range` into 3 to 7 parts.
double nice_step(double range) {
  const double raw = range / 5, power = std::pow(10.0, std::floor(std::log10(raw))), m = raw / power;
  return (m < 1.5 ? 1 : m < 3.5 ? 2 : m < 7.5 ? 5 : 10) * power;
}

/// Rounds of a tick, without the noise of adding up steps.
std::string tick_text(double v, double step) {
  if (std::fabs(v) < step * 1e-9) return "0";
  const double a = std::fabs(v);
  if (a >= 1e6 || a < 1e-4) return fmt::format("{:.3g}", v);
  const int decimals = std::max(0, static_cast<int>(-std::floor(std::log10(step) + 1e-9)));
  return fmt::format("{:.{}f}", v, decimals);
}

std::string polyline(const std::vector<std::pair<double, double>>& screen, const char* klass) {
  std::string s = fmt::format("<polyline class=\"{}\" points=\"", klass);
  for (const auto& [x, y] : screen) s += fmt::format("{:.1f},{:.1f} ", x, y);
  return s + "\"/>\n";
}

std::string plot(const ReportCurve& c) {
  double x0 = c.points.front().first, x1 = c.points.back().first, y0 = c.min, y1 = c.max;
  if (x1 <= x0) x0 -= 1, x1 += 1;
  if (!(y1 - y0 > 1e-12 * std::max(std::fabs(y0), std::fabs(y1)))) {
    const double half = y0 == 0 ? 1 : std::fabs(y0) * 0.1;
    y0 -= half, y1 += half;
  }
  const double margin = 0.04 * (y1 - y0);
  y0 -= margin, y1 += margin;
  const auto sx = [&](double x) { return kLeft + (x - x0) / (x1 - x0) * (kWidth - kLeft - kRight); };
  const auto sy = [&](double y) { return kHeight - kBottom - (y - y0) / (y1 - y0) * (kHeight - kTop - kBottom); };

  std::string s = fmt::format("<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{} over steps\">\n", kWidth,
                              kHeight, escape(c.name));
  const double ystep = nice_step(y1 - y0), xstep = std::max(1.0, nice_step(x1 - x0));
  for (double v = std::ceil(y0 / ystep) * ystep; v <= y1; v += ystep)
    s += fmt::format(
        "<line class=\"grid\" x1=\"{}\" x2=\"{}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/><text x=\"{}\" y=\"{:.1f}\" "
        "class=\"y\">{}</text>\n",
        kLeft, kWidth - kRight, sy(v), sy(v), kLeft - 8, sy(v) + 4, tick_text(v, ystep));
  for (double v = std::ceil(x0 / xstep) * xstep; v <= x1; v += xstep)
    s += fmt::format(
        "<line class=\"grid\" x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"{}\" y2=\"{}\"/><text x=\"{:.1f}\" y=\"{}\" "
        "class=\"x\">{}</text>\n",
        sx(v), sx(v), kTop, kHeight - kBottom, sx(v), kHeight - kBottom + 18, tick_text(v, xstep));

  std::vector<std::pair<double, double>> raw, smooth;
  for (const auto& [x, y] : c.points) raw.emplace_back(sx(x), sy(y));
  const bool dense = c.points.size() >= 60;
  if (dense) {
    // Centred, so that the smooth line lies in the jagged one and not behind it; narrower at both ends.
    const size_t n = c.points.size(), reach = std::max<size_t>(n / 80, 2);
    std::vector<double> sums(n + 1, 0);
    for (size_t i = 0; i < n; ++i) sums[i + 1] = sums[i] + c.points[i].second;
    for (size_t i = 0; i < n; ++i) {
      const size_t r = std::min({reach, i, n - 1 - i});
      smooth.emplace_back(raw[i].first, sy((sums[i + r + 1] - sums[i - r]) / static_cast<double>(2 * r + 1)));
    }
    s += polyline(raw, "raw") + polyline(smooth, "line");
  } else {
    s += polyline(raw, "line");
    for (const auto& [x, y] : raw) s += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"2.5\"/>", x, y);
  }
  return s + "</svg>\n";
}

}  // namespace

std::string html_report(const std::string& title, const std::string& started, double duration_s,
                        const std::vector<ReportCurve>& curves) {
  std::string s =
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
      "content=\"width=device-width\">\n<title>" +
      escape(title) + "</title>\n";
  s += R"(<style>
:root { color-scheme: light dark; --ink: #1d2126; --soft: #66707a; --grid: #e3e7eb; --line: #1f6feb; --back: #ffffff; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ec; --soft: #98a2ac; --grid: #2c333a; --line: #6cb0ff; --back: #14181c; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--back); margin: 2rem auto; max-width: 1360px; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin: 0; } h2 { font-size: 1rem; margin: 0 0 .3rem; } p { color: var(--soft); margin: .2rem 0 1.2rem; }
.curves { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 480px), 1fr)); gap: 1.6rem; }
table { border-collapse: collapse; margin: 0 0 1.8rem; } td, th { padding: .2rem 1.2rem .2rem 0; text-align: right; font-variant-numeric: tabular-nums; }
td:first-child, th:first-child { text-align: left; } th { color: var(--soft); font-weight: normal; border-bottom: 1px solid var(--grid); }
svg { width: 100%; height: auto; } svg text { font-size: 11px; fill: var(--soft); } .y { text-anchor: end; } .x { text-anchor: middle; }
.grid { stroke: var(--grid); } .line { fill: none; stroke: var(--line); stroke-width: 2; } .raw { fill: none; stroke: var(--line); opacity: .28; } circle { fill: var(--line); }
</style></head><body>
)";
  s += "<h1>" + escape(title) + "</h1>\n<p>started " + escape(started) + ", " + fmt::format("{:.1f} s", duration_s) +
       "</p>\n";
  if (curves.empty()) return s + "<p>nothing was recorded</p>\n</body></html>\n";
  s += "<table><tr><th>metric</th><th>last</th><th>least</th><th>largest</th></tr>\n";
  for (const ReportCurve& c : curves) {
    const auto cell = [&](double v, bool known) {
      return "<td>" + (known ? fmt::format("{:.6g}", v) : std::string("–")) + "</td>";
    };
    s += "<tr><td>" + escape(c.name) + "</td>" + cell(c.last, true) + cell(c.min, !c.points.empty()) +
         cell(c.max, !c.points.empty()) + "</tr>\n";
  }
  s += "</table>\n<div class=\"curves\">\n";
  for (const ReportCurve& c : curves)
    if (!c.points.empty()) s += "<section><h2>" + escape(c.name) + "</h2>\n" + plot(c) + "</section>\n";
  return s + "</div>\n</body></html>\n";
}

}  // namespace nnl
