// Programs that the tests of the library share.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace programs {

inline const char* const kNet = R"(
seed 7
## Four numbers to three classes.
layer Net(hidden: int = 8, rate: float = 0.25) {
  first  = Linear(4, hidden)
  drop   = Dropout(rate)
  second = Linear(hidden, 3)
  ## Scores of the classes.
  forward(x: [N, 4]) -> [N, 3] { x |> first |> relu |> drop |> second }
  fn hidden_of(x: [N, 4]) -> [N, hidden] { relu(first(x)) }
}
## The mean of both losses.
fn objective(net, x: [N, 4], label: class(3)[N]) {
  let logits = net(x)
  (cross_entropy(logits, label), logits)
}
)";

/// Numbers that are easy to have in NNL as well: k / 8 - 1.
inline std::vector<float> numbers(int64_t n) {
  std::vector<float> out;
  for (int64_t i = 0; i < n; ++i) out.push_back(static_cast<float>((i * 7) % 17) / 8 - 1);
  return out;
}
inline std::vector<int64_t> labels(int64_t n) {
  std::vector<int64_t> out;
  for (int64_t i = 0; i < n; ++i) out.push_back((i * 5) % 3);
  return out;
}

}  // namespace programs
