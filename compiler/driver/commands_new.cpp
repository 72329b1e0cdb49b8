// nnlc new DIR: a program to begin with, that runs as it is.
#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <iostream>

#include "compiler/driver/session.h"

namespace nnlc::driver {

namespace {

struct StarterFile {
  const char* name;
  const char* text;
};

constexpr StarterFile kFiles[] = {
    {"train.nnl", R"nnl(# A classifier of handwritten-like digits that nnlc draws itself: no download.
#
#   nnlc run train.nnl              trains it; --epochs 10, --lr 3e-3 and --help work
#   nnlc test train.nnl             runs the tests below
#   nnlc summary train.nnl          layers, sizes, memory

## How often all training images are seen.
config epochs: int = 3
## Images in one step.
config batch_size: int = 64
## The learning rate of Adam.
config lr: float = 1e-3

layer Classifier(inputs: int = 28 * 28, hidden: int = 128, classes: int = 10) {
  hidden_layer = Linear(inputs, hidden)
  drop         = Dropout(0.2)
  output       = Linear(hidden, classes)

  forward(x: [N, 1, 28, 28]) -> [N, classes] {
    x |> view(N, -1) |> hidden_layer |> relu |> drop |> output
  }
}

let digits = synthetic.digits()
let net    = Classifier()
let opt    = Adam(net, lr = lr)

for epoch in 1..=epochs {
  for batch in digits.train.batches(batch_size, shuffle = true) {
    let loss = minimize(opt) { cross_entropy(net(batch.image), batch.label) }
    record(loss)
  }
  let hits = mean(for b in digits.test.batches(1000) { accuracy(net(b.image), b.label) })
  print("epoch {epoch}: test accuracy {hits:.2%}")
}

save(net, "digits.safetensors")

test "one image gives ten logits" {
  let logits: [1, 10] = Classifier()(zeros([1, 1, 28, 28]))
  assert_close(sum(softmax(logits)), tensor(1.0))
}
)nnl"},
    {".gitignore", "runs/\n*.safetensors\n"},
};

}  // namespace

int new_command(const Options& options) {
  namespace fs = std::filesystem;
  const fs::path folder = options.files[0];
  std::error_code error;
  if (fs::exists(folder, error) && !fs::is_directory(folder, error)) {
    std::cerr << fmt::format("nnlc: {} is there already and is no folder\n", folder.string());
    return kBadUsage;
  }
  for (const StarterFile& file : kFiles) {
    if (!fs::exists(folder / file.name, error)) continue;
    std::cerr << fmt::format("nnlc: {} is there already\n", (folder / file.name).string());
    return kBadUsage;
  }
  fs::create_directories(folder, error);
  for (const StarterFile& file : kFiles) {
    std::ofstream out(folder / file.name, std::ios::binary);
    out << file.text;
    if (out.flush()) continue;
    std::cerr << fmt::format("nnlc: can't write {}\n", (folder / file.name).string());
    return kFailed;
  }
  std::cout << fmt::format("made {}; now: nnlc run {}\n", (folder / kFiles[0].name).string(),
                           (folder / kFiles[0].name).string());
  return kDone;
}

}  // namespace nnlc::driver
