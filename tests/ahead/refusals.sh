#!/bin/sh
# refusals.sh NNLC SOURCE: what `nnlc build` refuses, with the exit status and a word of the message.
set -eu
nnlc=$1
scratch=$(mktemp -d)
trap 'chmod -R u+w "$scratch"; rm -rf "$scratch"' EXIT
cd "$scratch"
failed=0
# Usage: refused STATUS TEXT ARGUMENTS…
refused() {
  status=$1 text=$2
  shift 2
  "$nnlc" build "$@" >said 2>&1 && got=0 || got=$?
  if [ "$got" != "$status" ] || ! grep -qF -- "$text" said; then
    echo "FAILED: nnlc build $*: status $got, wanted $status and \"$text\":"
    cat said
    failed=1
  fi
}
cat >net.nnl <<'END'
config width: int = 4
layer Net(width: int) {
  a = Linear(width, 2)
  forward(x: [N, width]) -> [N, 2] { a(x) }
}
layer Open() {
  param w: [3] = 1.0
  forward(x: [N, T, 3]) -> [N, T, 3] { x * w }
}
layer Fixed() {
  param w: [3] = 1.0
  forward(x: [N, 3]) -> [N, 3] { x * w }
}
let net = Net(width)
let other = Net(width)
let open = Open()
let fixed = Fixed()
let x = randn([8, width])
let opt = SGD(net, lr = 0.1)
for i in 0..2 { minimize(opt) { mean(square(net(x))) } }
for i in 0..2 { minimize(opt) { mean(abs(net(x))) } }
let many = SGD(other, lr = 0.1)
for i in 0..4 { minimize(many, accumulate = 2) { mean(square(other(x))) } }
END
cat >apart.nnl <<'END'
let net = Linear(4, 2)
let x = randn([8, 4])
let opt = SGD(net, lr = 0.1)
for i in 0..4 {
  let (loss, g) = grad(net) { mean(square(net(x))) }
  if loss > 0.01 { opt.update(g) }
}
END
refused 2 "--export is required" net.nnl -o out
refused 2 "can't read missing.nnl" missing.nnl --export net -o out
refused 1 'did you mean `net`?' net.nnl --export nett -o out
refused 1 "makes 2 layers of the class Net" net.nnl --export Net -o out
refused 1 "is open: Open takes f32[N, N2, 3]" net.nnl --export open -o out
refused 1 "no \`minimize\` of the program trains Fixed" net.nnl --export Fixed --train -o out
refused 1 "is trained by 2 statements" net.nnl --export net --train -o out
refused 1 'choose one by its line: `--step 20` or `--step 21`' net.nnl --export net --train -o out
refused 1 "no \`minimize\` on line 7 trains Net" net.nnl --export net --train --step 7 -o out
refused 1 "of a step with \`accumulate\`" net.nnl --export other --train -o out
refused 1 "whose gradients stand outside of its block" apart.nnl --export net --train -o out
refused 2 "batch" net.nnl --export net --batch 0 -o out
refused 2 "not a name in C" net.nnl --export net --prefix 'a b' -o out
refused 2 "no config \`widht\`: did you mean \`--width\`" net.nnl --export net --widht 3 -o out
refused 3 "missing.safetensors" net.nnl --export net --weights missing.safetensors -o out
[ ! -e out ] || { echo "FAILED: something was written"; failed=1; }

# Files of others stay; those of an earlier build don't.
mkdir others
echo "mine" >others/net.h
refused 3 "others/net.h is there already" net.nnl --export net -o others
[ "$(cat others/net.h)" = mine ] || { echo "FAILED: a file was replaced"; failed=1; }
"$nnlc" build net.nnl --export net -o others --force >said
"$nnlc" build net.nnl --export net -o others --width 5 >said
grep -q "net_params" others/net.h && grep -q "f32\[2, 5\]" others/net.h || { echo "FAILED: not built again"; failed=1; }
echo "in the way" >file
refused 3 "can't make the folder file" net.nnl --export net -o file
refused 3 "can't make the folder file/out" net.nnl --export net -o file/out
if [ "$(id -u)" != 0 ]; then
  mkdir closed
  chmod a-w closed
  refused 3 "can't write closed/" net.nnl --export net -o closed
fi
# Without a C compiler there is everything but the shared library.
CC=no-such-compiler "$nnlc" build net.nnl --export net -o plain >said 2>&1 || { echo "FAILED: status without a C compiler"; failed=1; }
grep -q "needs a C compiler" said && [ -e plain/libnet.a ] && [ -e plain/net.h ] && [ ! -e plain/libnet.so ] ||
  { echo "FAILED: without a C compiler"; cat said; failed=1; }
# Weights of a file; beside the library.
cat >save.nnl <<'END'
seed 7
let net = Linear(4, 2)
save(net, "w.safetensors")
END
"$nnlc" run save.nnl
cat >linear.nnl <<'END'
let net = Linear(4, 2)
print(net(zeros([1, 4])))
END
"$nnlc" build linear.nnl --export net --weights w.safetensors --weights-beside -o beside >said
cmp w.safetensors beside/net.safetensors || failed=1
grep -q net_weights beside/net.h && { echo "FAILED: weights inside"; failed=1; }
exit $failed
