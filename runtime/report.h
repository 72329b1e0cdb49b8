// The page at the end of a run: curves as inline SVG, no script, nothing loaded from elsewhere.
#pragma once
#include <string>
#include <utility>
#include <vector>

namespace nnl {

struct ReportCurve {
  std::string name;
  std::vector<std::pair<double, double>> points;  ///< (step, value), finite, steps growing
  double last = 0, min = 0, max = 0;              ///< last may be inf or nan
};
/// started: as it is to be shown. duration_s: of the run.
std::string html_report(const std::string& title, const std::string& started, double duration_s,
                        const std::vector<ReportCurve>& curves);

}  // namespace nnl
