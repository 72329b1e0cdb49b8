#!/bin/sh
# devices.sh NNLC: --device and NNLC_DEVICE where there is no GPU. The search for the driver is told where to look, so
# that machines with a GPU say the same; what needs to find nothing by itself is left out there, and says so.
set -u
nnlc=$1
scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
cd "$scratch" || exit 1
unset NNLC_DEVICE NNLC_LIBCUDA NNLC_NVRTC
wrong=0
# Usage: expect STATUS COMMAND…: the exit status; standard output is compared with `wanted.out`, standard error with `wanted.err`.
expect() {
  status=$1
  shift
  "$@" >got.out 2>got.err
  got=$?
  [ $got -eq "$status" ] || { echo "$*: exit status $got, wanted $status"; wrong=1; }
  diff -u wanted.out got.out || wrong=1
  diff -u wanted.err got.err || wrong=1
}
cat >sums.nnl <<'END'
print(sum(arange(5)))
test "sums" { assert(sum(arange(5)) == 10) }
END
absent="can't be opened: cannot open shared object file: No such file or directory"

# ---- cuda: what is missing, where it was looked for, how to get it
: >wanted.out
cat >wanted.err <<END
nnlc: --device cuda: NVIDIA's driver isn't installed (NNLC_LIBCUDA=nowhere $absent)
  looked in nowhere
  it comes with NVIDIA's packages for the GPU (Debian: \`apt install nvidia-driver\`, of non-free); where it is somewhere else, NNLC_LIBCUDA names its folder
NVRTC, CUDA's compiler, isn't installed (NNLC_NVRTC=nowhere $absent)
  looked in nowhere
  \`pip install nvidia-cuda-nvrtc\` (or nvidia-cuda-nvrtc-cu12, for drivers of CUDA 12) is enough; where it is somewhere else, NNLC_NVRTC names its folder
END
expect 3 env NNLC_LIBCUDA=nowhere NNLC_NVRTC=nowhere "$nnlc" run --device cuda sums.nnl
expect 3 env NNLC_LIBCUDA=nowhere NNLC_NVRTC=nowhere NNLC_DEVICE=cuda "$nnlc" run sums.nnl
expect 3 env NNLC_LIBCUDA=nowhere NNLC_NVRTC=nowhere "$nnlc" test --device cuda sums.nnl

# ---- auto: one line, and the CPU
echo 10 >wanted.out
echo "nnlc: --device auto takes the CPU: NVIDIA's driver isn't installed (NNLC_LIBCUDA=nowhere $absent)" >wanted.err
expect 0 env NNLC_LIBCUDA=nowhere "$nnlc" run --device auto sums.nnl
expect 0 env NNLC_LIBCUDA=nowhere NNLC_DEVICE=auto "$nnlc" run sums.nnl

# ---- cpu, which is the default, looks for nothing; the option wins over the variable
: >wanted.err
expect 0 "$nnlc" run sums.nnl
expect 0 env NNLC_DEVICE=cuda "$nnlc" run --device cpu sums.nnl
: >wanted.out
echo 'nnlc: --backend ref runs on the CPU: leave out --device cuda, or NNLC_DEVICE' >wanted.err
expect 3 "$nnlc" run --backend ref --device cuda sums.nnl
echo 'nnlc: NNLC_DEVICE=gpu: it is one of cpu, cuda, auto' >wanted.err
expect 2 env NNLC_DEVICE=gpu "$nnlc" run sums.nnl
expect 2 env NNLC_DEVICE=gpu "$nnlc" test sums.nnl

# ---- the search on its own
if "$nnlc" devices | grep -q '^driver:\|is installed, but gives'; then
  echo "left out: what is said without a driver, since this machine has one"
else
  "$nnlc" run --device cuda sums.nnl 2>got.err
  for text in 'there is no libcuda.so.1' 'looked in libcuda.so.1 (the loader' 'looked in /usr/lib/x86_64-linux-gnu'; do
    grep -qF -- "$text" got.err || { echo "no \"$text\" in:"; cat got.err; wrong=1; }
  done
fi
exit $wrong
