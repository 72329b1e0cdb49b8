#!/bin/sh
# driver.sh NNLC FOLDER: nnlc as it is, with the libcuda and libnvrtc of the folder, which simulate a GPU: its search for the
# two, its use of the driver, the cache of compiled kernels, what it says when the GPU refuses something.
set -u
nnlc=$1
scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
cd "$scratch" || exit 1
unset NNLC_DEVICE NNLC_NO_CACHE
export NNLC_LIBCUDA="$2" NNLC_NVRTC="$2" NNLC_FAKE_LOG="$scratch/log" XDG_CACHE_HOME="$scratch/cache"
wrong=0
fail() {
  echo "$1"
  cat out err
  wrong=1
}
# Usage: run STATUS ARGS…: output in `out`, messages in `err`.
run() {
  status=$1
  shift
  command="nnlc $*"
  "$nnlc" "$@" >out 2>err
  got=$?
  [ $got -eq "$status" ] || fail "$command: exit status $got, wanted $status"
}
says() { for text; do grep -qF -- "$text" out err || fail "$command: no \"$text\" in"; done; }
programs() { if [ -f log ]; then wc -l <log; else echo 0; fi; }
cat >net.nnl <<'END'
layer Net() {
  hidden = Linear(2, 16)
  drop   = Dropout(0.25)
  output = Linear(16, 2)
  forward(x: [N, 2]) -> [N, 2] { x |> hidden |> relu |> drop |> output }
}
let points = moons(90, noise = 0.1)
let net    = Net()
let opt    = Adam(net, lr = linear(0.05, 0.01, total = 9))
for epoch in 1..=3 {
  for batch in points.batches(40, shuffle = true) {
    let loss = minimize(opt, check = false) { cross_entropy(net(batch.x), batch.y) }
    print("{loss:.5f}")
  }
}
print(net.hidden.weight)
END

run 0 devices
says 'cuda:0: Simulated GPU, sm_90, 1.0 GiB' 'for CUDA 13.0' 'NVRTC: '

run 0 run net.nnl
mv out wanted
run 0 run net.nnl --device cuda
diff -u wanted out || fail 'the GPU gives something else'
[ ! -s err ] || fail 'messages:'
first=$(programs)
[ "$first" -gt 2 ] || fail 'NVRTC compiled nothing'

# ---- the second start compiles nothing
run 0 run net.nnl --device auto
diff -u wanted out || fail 'kernels of the cache give something else'
[ ! -s err ] || fail 'messages:'
[ "$(programs)" -eq "$first" ] || fail 'the second start compiled again'
NNLC_NO_CACHE=1 run 0 run net.nnl --device cuda
[ "$(programs)" -gt "$first" ] || fail 'NNLC_NO_CACHE uses the cache'

# ---- no room: what was asked for, what is free
NNLC_FAKE_GPU_BYTES=6000 run 3 run net.nnl --device cuda
says 'error[N0690]: no room on the GPU for ' ' bytes: ' ' of its 6000 are free (out of memory' '--> net.nnl:12:5'
# ---- a driver and no GPU
NNLC_FAKE_GPUS=0 run 3 run net.nnl --device cuda
says "nnlc: --device cuda: NVIDIA's driver is installed, but gives no GPU" 'no GPU is visible' 'nvidia-smi'
NNLC_FAKE_GPUS=0 run 0 run net.nnl --device auto
says "nnlc: --device auto takes the CPU: NVIDIA's driver is installed, but gives no GPU"
diff -u wanted out || fail 'auto gives something else'
# ---- a GPU and no NVRTC
NNLC_NVRTC=nowhere run 3 run net.nnl --device cuda
says "nnlc: --device cuda: NVRTC, CUDA's compiler, isn't installed (NNLC_NVRTC=nowhere" 'pip install nvidia-cuda-nvrtc'
exit $wrong
