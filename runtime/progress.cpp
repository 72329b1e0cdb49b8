// The bar on the terminal:
//   mnist.train  [=========>          ]  412/938  loss 0.2214  accuracy 0.934  1520 it/s  0:00:03
#include "runtime/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>

namespace nnl {

namespace {

std::string duration(double s) {
  if (!(s >= 0) || s > 359999) return "?";
  const auto t = static_cast<int64_t>(s + 0.5);
  return t >= 3600 ? fmt::format("{}:{:02}:{:02}", t / 3600, t / 60 % 60, t % 60)
                   : fmt::format("{}:{:02}", t / 60, t % 60);
}

size_t width_of(const std::string& s) {
  return static_cast<size_t>(
      std::count_if(s.begin(), s.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

/// At most n code points.
std::string cut(const std::string& s, size_t n) {
  size_t at = 0, seen = 0;
  for (; at < s.size(); ++at) {
    if ((static_cast<unsigned char>(s[at]) & 0xC0) == 0x80) continue;
    if (seen++ == n) break;
  }
  return s.substr(0, at);
}

void write_out(int fd, const std::string& s) {
  // A terminal that is gone is no reason to stop the run.
  for (size_t at = 0; at < s.size();) {
    const ssize_t n = ::write(fd, s.data() + at, s.size() - at);
    if (n <= 0) return;
    at += static_cast<size_t>(n);
  }
}

}  // namespace

bool Progress::on_terminal() {
  const char* term = std::getenv("TERM");
  return ::isatty(2) == 1 && term && *term && std::strcmp(term, "dumb") != 0;
}

Progress::Progress(Options options) : options_(options) {}
Progress::~Progress() { hide(); }

void Progress::begin(std::string label, int64_t total) {
  if (!options_.enabled) return;
  Loop loop;
  loop.label = std::move(label);
  loop.total = total;
  loop.start = Clock::now();
  loops_.push_back(std::move(loop));
}

void Progress::advance() {
  if (loops_.empty()) return;
  ++loops_.back().done;
  const auto now = Clock::now();
  if (std::chrono::duration<double>(now - drawn_).count() < options_.interval_s) return;
  // A loop that is over at once would only flicker.
  if (std::chrono::duration<double>(now - loops_.back().start).count() < options_.interval_s) return;
  draw();
}

void Progress::metric(const std::string& name, double value) {
  if (loops_.empty()) return;
  for (auto& m : loops_.back().metrics)
    if (m.first == name) return void(m.second = value);
  loops_.back().metrics.emplace_back(name, value);
}

void Progress::end() {
  if (loops_.empty()) return;
  if (!loops_.back().metrics.empty()) {
    draw();
    write_out(options_.fd, "\n");
    visible_ = false;
  } else {
    hide();
  }
  loops_.pop_back();
}

void Progress::hide() {
  if (!visible_) return;
  write_out(options_.fd, "\r\x1b[K");
  visible_ = false;
}

void Progress::draw() {
  int columns = options_.columns;
  if (columns <= 0) {
    winsize size{};
    columns = ::ioctl(options_.fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
  }
  write_out(options_.fd, "\r" + line(loops_.back(), columns) + "\x1b[K");
  drawn_ = Clock::now();
  visible_ = true;
}

std::string Progress::line(const Loop& loop, int columns) const {
  const double elapsed = std::chrono::duration<double>(Clock::now() - loop.start).count();
  const double rate = elapsed > 0 ? static_cast<double>(loop.done) / elapsed : 0;
  const std::string total = std::to_string(loop.total);
  std::string tail = fmt::format("  {:>{}}/{}", loop.done, total.size(), total);
  for (const auto& [name, value] : loop.metrics) tail += fmt::format("  {} {:.4g}", name, value);
  if (rate > 0) {
    tail += rate >= 100 ? fmt::format("  {:.0f} it/s", rate)
            : rate >= 1 ? fmt::format("  {:.1f} it/s", rate)
                        : fmt::format("  {:.1f} s/it", 1 / rate);
    tail += "  " + duration(loop.done < loop.total ? static_cast<double>(loop.total - loop.done) / rate : elapsed);
  }
  // The last column stays free: some terminals wrap there.
  const auto room = static_cast<int64_t>(columns) - 1 - static_cast<int64_t>(width_of(loop.label) + width_of(tail)) - 4;
  std::string bar;
  if (room >= 5 && loop.total > 0) {
    const int64_t cells = std::min<int64_t>(room, 30);
    const int64_t full = std::clamp<int64_t>(cells * loop.done / loop.total, 0, cells);
    bar = "  [" + std::string(static_cast<size_t>(full), '=') +
          (full < cells ? ">" + std::string(static_cast<size_t>(cells - full - 1), ' ') : "") + "]";
  }
  return cut(loop.label + bar + tail, static_cast<size_t>(std::max(columns - 1, 1)));
}

}  // namespace nnl
