#!/bin/sh
# commands.sh NNLC REPOSITORY: what each command prints and exits with.
set -u
nnlc=$1 repository=$2
here=$repository/tests/cli
scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
cd "$scratch" || exit 1
cp "$here"/*.nnl .
wrong=0
fail() {
  echo "$1"
  [ -f out ] && cat out
  wrong=1
}
# Usage: run STATUS ARGS…: runs nnlc; its output is in `out`.
run() {
  status=$1
  shift
  command="nnlc $*"
  "$nnlc" "$@" >out 2>&1
  got=$?
  [ $got -eq "$status" ] || fail "$command: exit status $got, wanted $status"
}
# Usage: says TEXT…: each is in the last output.
says() {
  for text; do grep -qF -- "$text" out || fail "$command: no \"$text\" in"; done
}
# Usage: silent TEXT: it isn't.
silent() { if grep -qF -- "$1" out; then fail "$command: \"$1\" in"; fi; }

# ---- summary: by hand, 784 * 392 + 392 + 392 * 10 + 10 = 311,650 parameters; forward of one row is 2 * 784 * 392 + 392 for the
# first layer, 392 for relu, 2 * 392 * 10 + 10 for the second.
run 0 summary network.nnl
says 'f32[N, 392]' 'f32[N, 10]' '311,650 parameters' '307,720' '3,930' 'hidden_layer: Linear(784, 392)' 'drop: Dropout(0.2)' \
  '615,048 * N' '7,850 * N' 'optimizer state 2.38 MiB' 'batches of 64 rows' 'batches of 32 rows' 'arena '
run 0 summary network.nnl output
says '3,930 parameters'
silent 'hidden_layer'
run 0 summary network.nnl net.hidden_layer
says '307,720 parameters'
run 2 summary network.nnl outpt
says 'did you mean `output`'

# ---- explain
run 0 explain network.nnl
says 'compilations' 'training step at network.nnl' 'batches of 64 rows: 1 of each pass over' 'batches of 32 rows' 'image f32[64, 1, 28, 28]' \
  'matrix product [64, 784] @ [784, 392]' 'gradient of network.nnl' 'copies' 'arena of' 'its peak of' '`hidden_layer`'
run 0 explain network.nnl --profile
says 'a run; its kernels one by one' 'mean of'
run 0 explain network.nnl --batch-size 32
silent 'batches of 64 rows'
run 0 explain N0203
says 'N0203'
run 2 explain N9999
run 0 explain copies.nnl
says 'copies 96 bytes' '`reshape` at copies.nnl:3'

# ---- hash: three forms of one model
run 0 hash three_forms.nnl
[ "$(cut -d' ' -f1 out | sort -u | wc -l)" -eq 1 ] || fail 'three forms of one model have different hashes:'
[ "$(wc -l <out)" -eq 3 ] || fail 'three layers are wanted:'
# Nothing calls them: what they take follows from the signature of the layer, or of a sequence's first typed member.
cat >uncalled.nnl <<'END'
layer Members() {
  first  = Linear(784, 392)
  second = Linear(392, 10)
  forward(x: [N, 784]) -> [N, 10] { x |> first |> relu |> second }
}
layer Listed = Sequential(Flatten(), first = Linear(784, 392), ReLU(), second = Linear(392, 10))
layer OfAnyRank() {
  all = Listed()
  forward(x: [.., 784]) -> [.., 10] { all(x) }
}
let a = Members()
let b = Listed()
let c = OfAnyRank()
END
run 0 hash uncalled.nnl
[ "$(cut -d' ' -f1 out | sort -u | wc -l)" -eq 1 ] || fail 'uncalled forms of one model have different hashes:'
[ "$(wc -l <out)" -eq 3 ] || fail 'three layers are wanted:'

# ---- summary: the published numbers of parameters
cat >vision.nnl <<'END'
let a = resnet18()
let b = resnet34()
let c = resnet50()
let d = mobilenet_v2()
let e = vgg11()
let f = resnet18()
freeze(f)
f.fc = Linear(512, 2)
print(f(zeros([1, 3, 32, 32])).shape)
END
run 0 summary vision.nnl
says '11,689,512 parameters' '21,797,672 parameters' '25,557,032 parameters' '3,504,872 parameters' '132,863,336 parameters' \
  '1,026 trained, 11,176,512 frozen'

# ---- diff
run 0 diff network.nnl network.nnl
says 'the same graph, the same parameters' 'all compilations compute the same'
sed 's/relu/tanh/' network.nnl >other.nnl
run 1 diff network.nnl other.nnl
says 'layer net: another graph' '+ tanh f32[N, 392]' 'other.nnl:11'
sed 's/inputs \/ 2/100/' network.nnl >smaller.nnl
run 1 diff network.nnl smaller.nnl
says 'hidden_layer.weight: f32[392, 784] against f32[100, 784]'
cat >weights.nnl <<'END'
config bump: float = 0.0
config path: str = "a.safetensors"
config extra: bool = false
layer Net() {
  param weight: [2, 3] = ones
  param shift: [3] = bump
  if extra { param more: [1] = zeros }
  forward(x: [2, 3]) -> [2, 3] { if extra { x * weight + shift + more } else { x * weight + shift } }
}
let net = Net()
print(net(zeros([2, 3])))
save(net, path)
END
run 0 run weights.nnl
run 0 run weights.nnl --bump 0.5 --extra --path b.safetensors
run 0 diff a.safetensors a.safetensors
says '2 tensors the same'
run 1 diff a.safetensors b.safetensors
says 'only in b.safetensors: more F32[1]' 'shift F32[3]: 3 of 3 elements differ, by up to 0.5' '1 tensor the same, 2 not'
run 2 diff a.safetensors network.nnl
run 3 diff a.safetensors missing.safetensors

# ---- emit: every stage of a program with several steps; stages name the steps
for stage in graph loop llvm asm; do
  run 0 emit network.nnl --stage $stage
  says 'network.nnl:20'
done
run 0 emit network.nnl --stage loop
says '# step 2: training step at network.nnl:20:3, batches of 64 rows' 'batches of 32 rows' 'gemm'
run 0 emit network.nnl --stage ast
says 'Classifier'
run 0 emit network.nnl --stage cuda
says '// step 2: training step at network.nnl:20:3, batches of 64 rows' 'extern "C" __global__ void' 'nnl_philox'
# Where CUDA's compiler isn't found, it is said where to look for it; the search is told to find nothing.
NNLC_NVRTC=$scratch/nowhere run 3 emit network.nnl --stage ptx
says "NVRTC, CUDA's compiler, isn't installed" 'nowhere'
NNLC_NVRTC=$scratch/nowhere NNLC_LIBCUDA=$scratch/nowhere run 0 devices
says 'cpu: LLVM' 'no GPU' 'no NVRTC' 'pip install nvidia-cuda-nvrtc'
run 0 emit network.nnl --stage graph --print-ir-after simplify
says '# after simplify, round 1'
run 2 emit network.nnl --print-ir-after simplfy

# ---- passes can be left out, and run on the text of a graph
cat >twice.nnl <<'END'
let x = rand([4])
print(-(-x) + 0.0)
END
"$nnlc" emit twice.nnl --stage graph --disable-pass simplify >with 2>&1
grep -q 'neg' with || fail 'simplify acts though it is disabled'
"$nnlc" emit twice.nnl --stage loop --disable-pass simplify >with 2>&1
grep -q 'neg' with || fail 'simplify acts in the backend though it is disabled'
"$nnlc" emit twice.nnl --stage loop >without 2>&1
if grep -q 'neg' without; then fail 'simplify leaves - - x'; fi
cat >graph.txt <<'END'
graph @g(%x: f32[4]) {
  %0 = neg(%x) : f32[4]
  %1 = neg(%0) : f32[4]
  return %1
}
END
run 0 opt graph.txt
cp out first.txt
run 0 opt first.txt
cmp -s out first.txt || fail 'the text of a graph changes when it is read and printed again:'
run 0 opt graph.txt --passes simplify,dce
silent neg
run 2 opt graph.txt --passes simplfy
says 'did you mean `simplify`'
echo 'graph @g( {' >broken.txt
run 1 opt broken.txt

# ---- doc, new
run 0 doc Linear
says 'layer Linear(in_features: int, out_features: int'
run 0 doc batches
says 'batches('
run 2 doc Linaer
says 'did you mean `Linear`'
run 0 new fresh
run 0 check fresh/train.nnl
run 0 fmt --check fresh/train.nnl
run 0 test fresh/train.nnl
run 0 run fresh/train.nnl --epochs 1 --runs-dir fresh/runs
says 'test accuracy'
run 2 new fresh

# ---- fmt: all programs that ship are formatted, and a formatted one stays as it is
run 0 fmt --check "$repository"/examples/*.nnl "$repository"/runtime/std/*.nnl
printf 'let   x=1 # one\n\n\n\n# two\nprint( x )\n' >ugly.nnl
run 1 fmt --check ugly.nnl
run 0 fmt ugly.nnl
run 0 fmt --check ugly.nnl
mkdir copies
for program in "$repository"/examples/*.nnl "$repository"/runtime/std/*.nnl "$repository"/tests/run/*.nnl "$repository"/tests/cli/*.nnl; do
  name=copies/$(basename "$program")
  cp "$program" "$name"
  run 0 emit "$name" --stage ast
  cp out before.txt
  run 0 fmt "$name"
  run 0 fmt --check "$name"
  run 0 emit "$name" --stage ast
  cmp -s before.txt out || fail "nnlc fmt changes what $program means"
  [ "$(grep -c '#' "$program")" -eq "$(grep -c '#' "$name")" ] || fail "nnlc fmt loses comments of $program"
done
grep -q '# one' ugly.nnl && grep -q '# two' ugly.nnl || fail 'fmt lost a comment'

# ---- configs and options
printf 'config threads: int = 2\nprint(threads)\n' >taken.nnl
run 1 check taken.nnl
says '--threads is an option of nnlc itself' 'taken.nnl:1:8'
printf 'config print_ir_after: str = "x"\nprint(print_ir_after)\n' >taken.nnl
run 1 run taken.nnl
says '--print-ir-after is an option of nnlc itself'
run 2 run network.nnl --batch-sise 3
says 'did you mean `--batch-size`'
run 2 run network.nnl --treads 3
says 'did you mean `--threads`'
run 0 run network.nnl --help
says '--batch-size int' 'Images in one step; default 64' '--lr float' 'default 0.001'

# ---- help
run 0 --help
for name in run check test fmt summary explain emit hash diff doc new; do
  says "  $name "
  "$nnlc" $name --help >out 2>&1 || fail "nnlc $name --help fails"
  command="nnlc $name --help"
  says '--color' '--message-format'
  run 0 --help
done
run 0 --version
says 'LLVM'

# ---- a bug of nnlc: status 4, and a file with what is needed to report it
printf 'var n = 0\nwhile true { n = n + 1 }\n' >endless.nnl
"$nnlc" run endless.nnl >out 2>&1 &
pid=$!
sleep 1
kill -SEGV $pid
wait $pid
got=$?
command='nnlc run endless.nnl, killed'
# A sanitizer takes the signal itself.
if grep -q 'internal error' out; then
  [ $got -eq 4 ] || fail "$command: exit status $got"
  says 'this is a bug of nnlc' "nnlc-crash-$pid.txt"
  grep -q "command: $nnlc run endless.nnl" "nnlc-crash-$pid.txt" || fail 'the report has no command line'
else
  [ $got -ne 0 ] || fail "$command: exit status 0"
fi

# ---- JSON and colours
printf 'print(1 + nothing)\n' >bad.nnl
for name in run check test emit summary hash explain fmt diff; do
  second=
  [ $name = diff ] && second=bad.nnl
  [ $name = fmt ] && printf 'print(1 +\n' >bad.nnl
  "$nnlc" $name bad.nnl $second --message-format json >out 2>err
  [ -s err ] && { cat err; fail "nnlc $name --message-format json writes to standard error"; }
  grep -q '^{.*"message".*}$' out || fail "nnlc $name --message-format json prints no JSON:"
  printf 'print(1 + nothing)\n' >bad.nnl
done
run 1 check bad.nnl
esc=$(printf '\033')
silent "$esc"
run 1 check bad.nnl --color always
says "$esc"
if command -v script >/dev/null; then
  # On a terminal there are colours, unless NO_COLOR is set.
  script -qec "$nnlc check bad.nnl" /dev/null >out </dev/null
  command='nnlc check on a terminal'
  says "$esc"
  NO_COLOR=1 script -qec "$nnlc check bad.nnl" /dev/null >out </dev/null
  silent "$esc"
fi
exit $wrong
