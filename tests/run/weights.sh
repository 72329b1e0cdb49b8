#!/bin/sh
# weights.sh NNLC: what save writes, load reads: shared layers under any of their paths, replaced members, sizes that a later call
# infers, names that begin differently. In a folder of its own, which goes afterwards.
set -eu
nnlc=$(CDPATH='' cd -- "$(dirname -- "$1")" && pwd)/$(basename -- "$1")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
cat >weights.nnl <<'NNL'
# A layer in two places is stored once, and read from either.
let shared = Linear(3, 3)
let twice  = Sequential(shared, ReLU(), shared)
let plain  = Sequential(Linear(3, 3), ReLU(), Linear(3, 3))
save(twice, "twice.safetensors")
let report = load(plain, "twice.safetensors", strict = false)
assert(report.missing.len == 2 and report.left_over.len == 0)
assert_close(plain[0].weight, shared.weight)
save(plain, "plain.safetensors")
load(twice, "plain.safetensors")
assert_close(shared.weight, plain[0].weight)

# A member that was replaced isn't stored.
layer Net() {
  backbone = Linear(4, 8)
  fc       = Linear(8, 3)
  forward(x: [N, 4]) -> [N, _] { x |> backbone |> relu |> fc }
}
let net = Net()
net.fc = Linear(8, 2)
save(net, "net.safetensors")
let other = Net()
let differs = load(other, "net.safetensors", strict = false)
assert(differs.missing.len == 0 and differs.reshaped.len == 2)
assert_close(other.backbone.weight, net.backbone.weight)

# Sizes that are inferred below.
let inferred = Sequential(Flatten(), first = Linear(_, 3), last = Linear(_, 3))
load(inferred, "plain.safetensors", rename = {"0.": "first.", "2.": "last."})
print(inferred(ones([2, 3])).shape)
assert_close(inferred.first.weight, plain[0].weight)

# Tied parameters are stored once.
layer Words(vocab: int = 5) {
  embedding = Embedding(vocab, 4)
  decoder   = Linear(4, vocab, bias = false)
  tie(decoder.weight, embedding.weight)
  forward(x: class(vocab)[N]) -> [N, vocab] { x |> embedding |> decoder }
}
let words = Words()
save(words, "words.safetensors")
let table = Embedding(5, 4)
load(table, "words.safetensors", rename = {"embedding.": ""})
assert_close(table.weight, words.decoder.weight)
save(Sequential(decoder = Linear(4, 5, bias = false)), "decoder.safetensors")
load(words, "decoder.safetensors")
assert(sum(abs(table.weight - words.embedding.weight)) > 0)
NNL
"$nnlc" run --color never weights.nnl >out 2>err || { cat out err; exit 1; }
[ "$(cat out)" = "[2, 3]" ] || { cat out; exit 1; }
grep -q '^load: net.safetensors: 2 of 4 loaded$' err || { cat err; exit 1; }
