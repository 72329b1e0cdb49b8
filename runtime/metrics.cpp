// The log of a run. TensorBoard's files are TFRecords (length, masked CRC-32C of it, bytes, masked CRC-32C of them) of
// Event messages; both are few enough fields to be written by hand. Sources: tensorflow/core/lib/io/record_writer.h,
// tensorflow/core/util/event.proto and framework/summary.proto; the CRC is RFC 3720's.
#include "runtime/metrics.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <ctime>
#include <filesystem>

#include "runtime/format.h"
#include "runtime/report.h"

namespace nnl {

namespace {

constexpr size_t kMostPoints = 2000;  // of a curve in the report: twice what a screen shows
constexpr double kFlushEvery_s = 2, kReportEvery_s = 30;

double wall_clock_s() {
  timespec t{};
  clock_gettime(CLOCK_REALTIME, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

uint32_t crc32c(const void* data, size_t n) {
  static const auto table = [] {
    std::vector<uint32_t> t(256);
    for (uint32_t i = 0; i < 256; ++i) {
      uint32_t c = i;
      for (int k = 0; k < 8; ++k) c = c & 1 ? 0x82F63B78u ^ (c >> 1) : c >> 1;
      t[i] = c;
    }
    return t;
  }();
  uint32_t c = 0xFFFFFFFFu;
  const auto* p = static_cast<const unsigned char*>(data);
  for (size_t i = 0; i < n; ++i) c = table[(c ^ p[i]) & 255] ^ (c >> 8);
  return c ^ 0xFFFFFFFFu;
}

uint32_t masked(uint32_t crc) { return ((crc >> 15) | (crc << 17)) + 0xA282EAD8u; }

template <class T>
void append_little(std::string& out, T v) {
  for (size_t i = 0; i < sizeof v; ++i) out += static_cast<char>(v >> (8 * i));
}

void append_varint(std::string& out, uint64_t v) {
  for (; v >= 128; v >>= 7) out += static_cast<char>(v | 128);
  out += static_cast<char>(v);
}

void append_bytes(std::string& out, int field, const std::string& bytes) {
  append_varint(out, static_cast<uint64_t>(field) << 3 | 2);
  append_varint(out, bytes.size());
  out += bytes;
}

std::string event(double time_s) {
  std::string e(1, static_cast<char>(1 << 3 | 1));  // wall_time: double
  uint64_t bits;
  std::memcpy(&bits, &time_s, sizeof bits);
  append_little(e, bits);
  return e;
}

std::string tf_record(const std::string& bytes) {
  std::string r;
  append_little(r, static_cast<uint64_t>(bytes.size()));
  append_little(r, masked(crc32c(r.data(), 8)));
  r += bytes;
  append_little(r, masked(crc32c(bytes.data(), bytes.size())));
  return r;
}

std::string json_text(const std::string& s) {
  std::string out = "\"";
  for (char c : s) {
    if (c == '"' || c == '\\')
      (out += '\\') += c;
    else if (static_cast<unsigned char>(c) < 0x20)
      out += fmt::format("\\u{:04x}", static_cast<int>(c));
    else
      out += c;
  }
  return out + "\"";
}

/// What a folder may be called: letters, digits and a few marks.
std::string folder_name(const std::string& name) {
  std::string out;
  for (char c : name) {
    const auto u = static_cast<unsigned char>(c);
    out += std::isalnum(u) || c == '-' || c == '_' || u >= 0x80 ? c : '-';
  }
  return out.empty() ? "run" : out.substr(0, 80);
}

}  // namespace

data::Result<std::unique_ptr<RunLog>> RunLog::create(const std::string& runs_dir, const std::string& name) {
  namespace fs = std::filesystem;
  std::error_code ec;
  fs::create_directories(runs_dir, ec);
  if (ec) return data::Error{runs_dir + ": can't be made: " + ec.message(), ""};
  std::unique_ptr<RunLog> log(new RunLog);
  log->name_ = name;
  log->start_s_ = log->flushed_s_ = log->reported_s_ = wall_clock_s();
  const auto seconds = static_cast<std::time_t>(log->start_s_);
  std::tm local{};
  localtime_r(&seconds, &local);
  char stamp[32];
  std::strftime(stamp, sizeof stamp, "%Y%m%d-%H%M%S", &local);
  const std::string base = (fs::path(runs_dir) / (std::string(stamp) + "-" + folder_name(name))).string();
  // Two runs that start in one second get folders of their own.
  for (int i = 1;; ++i) {
    log->dir_ = i == 1 ? base : base + "-" + std::to_string(i);
    if (::mkdir(log->dir_.c_str(), 0777) == 0) break;
    if (errno != EEXIST || i == 1000) return data::Error{log->dir_ + ": can't be made: " + std::strerror(errno), ""};
  }
  char host[256] = "localhost";
  ::gethostname(host, sizeof host - 1);
  const std::string events = fmt::format("{}/events.out.tfevents.{}.{}.{}.0", log->dir_, static_cast<int64_t>(seconds),
                                         folder_name(host), ::getpid());
  log->jsonl_ = std::fopen((log->dir_ + "/metrics.jsonl").c_str(), "we");
  log->events_ = std::fopen(events.c_str(), "wbe");
  if (!log->jsonl_ || !log->events_)
    return data::Error{log->dir_ + ": files can't be made in it: " + std::strerror(errno), ""};
  std::string first = event(log->start_s_);
  append_bytes(first, 3, "brain.Event:2");
  const std::string record = tf_record(first);
  std::fwrite(record.data(), 1, record.size(), log->events_);
  return log;
}

RunLog::~RunLog() {
  finish();
  if (jsonl_) std::fclose(jsonl_);
  if (events_) std::fclose(events_);
}

RunLog::Series& RunLog::series(const std::string& name) {
  const auto [it, fresh] = index_.emplace(name, series_.size());
  if (fresh) {
    series_.emplace_back();
    series_.back().name = name;
  }
  return series_[it->second];
}

void RunLog::log(int64_t step, const std::vector<std::pair<std::string, double>>& values) {
  if (values.empty()) return;
  const double now = wall_clock_s();
  std::string line = fmt::format("{{\"step\": {}, \"time\": {:.3f}", step, now - start_s_);
  std::string e = event(now), summary;
  append_varint(e, 2 << 3 | 0);  // step: int64
  append_varint(e, static_cast<uint64_t>(step));
  for (const auto& [name, value] : values) {
    // JSON has no inf and no nan.
    line += ", " + json_text(name) + ": " + (std::isfinite(value) ? format_float(value) : "null");
    std::string item;
    append_bytes(item, 1, name);
    append_varint(item, 2 << 3 | 5);  // simple_value: float
    const auto single = static_cast<float>(value);
    uint32_t bits;
    std::memcpy(&bits, &single, sizeof bits);
    append_little(item, bits);
    append_bytes(summary, 1, item);

    Series& s = series(name);
    if (std::isfinite(value)) {
      s.min = s.points.empty() ? value : std::min(s.min, value);
      s.max = s.points.empty() ? value : std::max(s.max, value);
      // Memory stays bounded: when the curve is full, every other point goes, and from then on fewer come in.
      if (s.seen++ % s.every == 0) s.points.push_back({step, value});
      if (s.points.size() >= 2 * kMostPoints) {
        for (size_t i = 0; 2 * i < s.points.size(); ++i) s.points[i] = s.points[2 * i];
        s.points.resize((s.points.size() + 1) / 2);
        s.every *= 2;
      }
    }
    s.last = {step, value};
  }
  line += "}\n";
  append_bytes(e, 5, summary);
  const std::string record = tf_record(e);
  failed_ = failed_ || std::fwrite(line.data(), 1, line.size(), jsonl_) != line.size() ||
            std::fwrite(record.data(), 1, record.size(), events_) != record.size();
  finished_ = false;
  if (now - flushed_s_ >= kFlushEvery_s) {
    flush();
    flushed_s_ = now;
    if (now - reported_s_ >= kReportEvery_s) {
      write_report();
      reported_s_ = now;
    }
  }
}

void RunLog::flush() { failed_ = std::fflush(jsonl_) != 0 || std::fflush(events_) != 0 || failed_; }

std::string RunLog::report() const {
  std::vector<ReportCurve> curves;
  for (const Series& s : series_) {
    ReportCurve c;
    c.name = s.name;
    for (const Point& p : s.points) c.points.emplace_back(static_cast<double>(p.step), p.value);
    if (std::isfinite(s.last.value) && (s.points.empty() || s.points.back().step != s.last.step))
      c.points.emplace_back(static_cast<double>(s.last.step), s.last.value);
    c.last = s.last.value;
    c.min = s.min;
    c.max = s.max;
    curves.push_back(std::move(c));
  }
  const auto seconds = static_cast<std::time_t>(start_s_);
  std::tm local{};
  localtime_r(&seconds, &local);
  char stamp[32];
  std::strftime(stamp, sizeof stamp, "%Y-%m-%d %H:%M:%S", &local);
  return html_report(name_, stamp, wall_clock_s() - start_s_, curves);
}

std::optional<data::Error> RunLog::write_report() const {
  const std::string html = report(), path = dir_ + "/report.html", part = path + ".part";
  std::FILE* f = std::fopen(part.c_str(), "we");
  bool ok = f && std::fwrite(html.data(), 1, html.size(), f) == html.size();
  if (f) ok = std::fclose(f) == 0 && ok;
  ok = ok && std::rename(part.c_str(), path.c_str()) == 0;
  if (ok) return std::nullopt;
  const std::string why = std::strerror(errno);
  std::remove(part.c_str());
  return data::Error{path + ": can't be written: " + why, ""};
}

std::optional<data::Error> RunLog::finish() {
  if (!jsonl_ || !events_ || finished_) return std::nullopt;
  finished_ = true;
  flush();
  if (auto error = write_report()) return error;
  if (failed_) return data::Error{dir_ + ": the log could not be written whole", ""};
  return std::nullopt;
}

}  // namespace nnl
