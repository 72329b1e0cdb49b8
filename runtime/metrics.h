// The log of a run: what `record` was given, as metrics.jsonl, as a TensorBoard event file and, at the end, as one HTML
// page.
#pragma once
#include <cstdint>
#include <cstdio>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "runtime/data/dataset.h"

namespace nnl {

class RunLog {
 public:
  /// Makes runs_dir/<date-time>-<name>/ and opens the files in it.
  static data::Result<std::unique_ptr<RunLog>> create(const std::string& runs_dir, const std::string& name);
  ~RunLog();  ///< finish()
  RunLog(const RunLog&) = delete;
  RunLog& operator=(const RunLog&) = delete;

  const std::string& dir() const { return dir_; }
  /// One call of `record`. step: any count that grows; the event file and the curves show values over it.
  void log(int64_t step, const std::vector<std::pair<std::string, double>>& values);
  /// Writes what is buffered, and report.html (which is also renewed twice a minute while the run lasts). Absent: all
  /// of it was written.
  std::optional<data::Error> finish();

 private:
  RunLog() = default;
  struct Point {
    int64_t step;
    double value;
  };
  struct Series {
    std::string name;
    std::vector<Point> points;
    int64_t every = 1, seen = 0;
    Point last{};
    double min = 0, max = 0;
  };
  Series& series(const std::string& name);
  std::string report() const;
  void flush();
  std::optional<data::Error> write_report() const;
  std::string dir_, name_;
  std::FILE* jsonl_ = nullptr;
  std::FILE* events_ = nullptr;
  double start_s_ = 0, flushed_s_ = 0, reported_s_ = 0;
  bool finished_ = false, failed_ = false;
  std::vector<Series> series_;
  std::map<std::string, size_t> index_;
};

}  // namespace nnl
