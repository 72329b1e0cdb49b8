// A bar for loops over batches: on a terminal only, redrawn ten times a second at most, always the last line.
#pragma once
#include <chrono>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace nnl {

class Progress {
 public:
  struct Options {
    int fd = 2;            ///< where the bar is drawn
    bool enabled = false;  ///< see on_terminal
    int columns = 0;       ///< width; 0: the terminal's
    double interval_s = 0.1;
  };
  /// Standard error is a terminal that can move its cursor (TERM is not "dumb").
  static bool on_terminal();

  explicit Progress(Options options);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// A loop of `total` passes starts; within another one, it takes the line until its end.
  void begin(std::string label, int64_t total);
  void advance();
  /// The latest value of a metric, for the innermost loop.
  void metric(const std::string& name, double value);
  /// The innermost loop is over. Its line stays if it had metrics, else it goes.
  void end();
  /// Takes the bar off the screen, before other text is written there; the next advance() draws it again.
  void hide();

 private:
  using Clock = std::chrono::steady_clock;
  struct Loop {
    std::string label;
    int64_t total = 0, done = 0;
    Clock::time_point start;
    std::vector<std::pair<std::string, double>> metrics;
  };
  void draw();
  std::string line(const Loop& loop, int columns) const;
  Options options_;
  std::vector<Loop> loops_;
  Clock::time_point drawn_{};
  bool visible_ = false;
};

}  // namespace nnl
