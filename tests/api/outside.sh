#!/bin/sh
# outside.sh BUILD SOURCE FLAGS: the package is installed, and the examples are built and run against it, away from both trees.
set -eu
build=$1 source=$2 flags=${3:-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export XDG_CACHE_HOME="$work/cache"
fail() {
  echo "FAILED: $*" >&2
  exit 1
}
cmake --install "$build" --prefix "$work/prefix" --component library >/dev/null
cp -R "$source/examples/embed" "$work/embed"
for tool in c cpp; do
  cmake --no-warn-unused-cli -S "$work/embed/$tool" -B "$work/build-$tool" -DCMAKE_PREFIX_PATH="$work/prefix" -DCMAKE_BUILD_TYPE=Release \
    -DCMAKE_C_FLAGS="-Wall -Wextra -Werror -pedantic $flags" -DCMAKE_CXX_FLAGS="-Wall -Wextra -Werror -pedantic $flags" >"$work/log" 2>&1 ||
    { cat "$work/log"; fail "configure $tool"; }
  cmake --build "$work/build-$tool" >"$work/log" 2>&1 || { cat "$work/log"; fail "build $tool"; }
done

# ---- C: digits as they stand on a display of seven segments, each pixel of them with noise
awk 'BEGIN {
  srand(3)
  split("1110111 0010010 1011101 1011011 0111010 1101011 1101111 1010010 1111111 1111011", segments, " ")
  print "label,pixels"
  for (row = 0; row < 600; row++) {
    digit = int(rand() * 10); s = segments[digit + 1]
    line = digit
    for (y = 0; y < 7; y++) for (x = 0; x < 5; x++) {
      on = 0
      if (y == 0 && x > 0 && x < 4) on = substr(s, 1, 1)
      if (x == 0 && y > 0 && y < 3) on = substr(s, 2, 1)
      if (x == 4 && y > 0 && y < 3) on = substr(s, 3, 1)
      if (y == 3 && x > 0 && x < 4) on = substr(s, 4, 1)
      if (x == 0 && y > 3 && y < 6) on = substr(s, 5, 1)
      if (x == 4 && y > 3 && y < 6) on = substr(s, 6, 1)
      if (y == 6 && x > 0 && x < 4) on = substr(s, 7, 1)
      line = line "," int(on * 150 + rand() * 100)
    }
    print line
  }
}' >"$work/digits.csv"
head -451 "$work/digits.csv" >"$work/train.csv"
tail -150 "$work/digits.csv" >"$work/test.csv"
digits="$work/build-c/digits"
"$digits" train "$work/train.csv" "$work/w.safetensors" 25 >"$work/out" || fail "digits train"
grep -q '^epoch 25: loss 0\.' "$work/out" || { cat "$work/out"; fail "digits train: what it says"; }
"$digits" read "$work/test.csv" "$work/w.safetensors" >"$work/out" || fail "digits read"
right=$(sed -n 's/^\([0-9]*\) of 150 right$/\1/p' "$work/out")
[ "${right:-0}" -ge 140 ] || fail "digits read: $right of 150 right"
printf '3,1,2\n' >"$work/small.csv"
if "$digits" read "$work/small.csv" "$work/w.safetensors" >"$work/out" 2>"$work/err"; then fail "weights of another size were taken"; fi
grep -q "doesn't fit" "$work/err" || { cat "$work/err"; fail "weights of another size: what it says"; }

# ---- C++
sweep="$work/build-cpp/sweep"
"$sweep" "$work/embed/cpp/spirals.nnl" --jobs 2 lr=0.00001,0.02 hidden=4,16 >"$work/out" 2>"$work/err" ||
  { cat "$work/out" "$work/err"; fail "sweep"; }
[ "$(wc -l <"$work/out")" -eq 5 ] || { cat "$work/out"; fail "sweep: four runs and the best"; }
grep -q '^best: hidden=16 lr=0.02$' "$work/out" || { cat "$work/out"; fail "sweep: the best"; }
[ ! -s "$work/err" ] || { cat "$work/err"; fail "the library wrote to standard error"; }
if "$sweep" "$work/embed/cpp/spirals.nnl" speed=1,2 2>"$work/err"; then fail "sweep over a config that isn't there"; fi
grep -q '^error\[N0114\]: the program has no config `speed`' "$work/err" || { cat "$work/err"; fail "sweep: the message"; }

# ---- pkg-config
if command -v pkg-config >/dev/null; then
  PKG_CONFIG_PATH=$(dirname "$(find "$work/prefix" -name nnlc.pc)")
  export PKG_CONFIG_PATH
  printf '#include <nnlc.h>\n#include <stdio.h>\nint main(void) { puts(nnlc_version()); return nnlc_abi_version() != NNLC_ABI_VERSION; }\n' >"$work/v.c"
  # shellcheck disable=SC2046,SC2086
  cc $flags "$work/v.c" -o "$work/v" $(pkg-config --cflags --libs nnlc) -Wl,-rpath,"$(pkg-config --variable=libdir nnlc)"
  [ "$("$work/v")" = "$(pkg-config --modversion nnlc)" ] || fail "pkg-config and the library have two versions"
else
  echo "pkg-config isn't here: that part is left out"
fi

# ---- only the interface can be seen (and constants of the standard library that are one for the whole process)
library=$(find "$work/prefix" -name 'libnnlc.so')
nm -D --defined-only --demangle "$library" | awk '{ $1 = $2 = ""; sub(/^ +/, ""); print }' >"$work/symbols"
if grep -vE '^(nnlc_[a-z0-9_]+|nnlc::v0::|(typeinfo|typeinfo name|vtable) for nnlc::v0::Error|NNLC_0|std::)' "$work/symbols" >"$work/others"; then
  head "$work/others"
  fail "the library shows what isn't in its headers"
fi
echo "all passed"
