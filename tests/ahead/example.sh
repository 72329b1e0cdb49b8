#!/bin/sh
# example.sh NNLC SOURCE: builds the example of docs/ahead-of-time.md outside of the source tree, as its reader would, and compares
# the weights that it trains with those of nnlc, bit for bit. What it links must be libc and libm alone.
set -eu
nnlc=$1 source=$2
cc=${CC:-cc}
command -v "$cc" >/dev/null || { echo "skipped: no C compiler"; exit 77; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cp "$source/examples/embed/aot/digits.nnl" "$source/examples/embed/aot/train.c" "$scratch"
cd "$scratch"
"$nnlc" run digits.nnl --epochs 2 --no-progress
"$nnlc" build digits.nnl --export Classifier --train --batch 1,64 -o out
lines=$(grep -cvE '^ *(/\*.*\*/)?$' train.c)
comment=$(sed -n '/^\/\*/,/\*\/$/p' train.c | sed -n '1,/\*\/$/p' | wc -l)
[ $((lines - comment)) -le 40 ] || { echo "train.c has $((lines - comment)) lines of code"; exit 1; }

# Only names of libc and libm are left open.
"$cc" -shared -o open.so out/classifier.o
for name in $(nm -D --undefined-only out/libclassifier.so | awk '{ print $2 }' | sed 's/@.*//'); do
  case $name in
    __cxa_finalize | __gmon_start__ | _ITM_*) continue ;; # of the C compiler's start files
  esac
  printf 'extern void %s(void); void *p_%s = (void *)%s;\n' "$name" "$name" "$name"
done >names.c
"$cc" -fno-builtin -w -shared -fPIC -Wl,-z,defs names.c -lm -o names.so || { echo "it needs more than libc and libm"; exit 1; }
ldd out/libclassifier.so >needed
if grep -vE 'linux-vdso|libm\.so|libc\.so|ld-linux|ld-musl' needed; then
  echo "it needs more than libc and libm"
  exit 1
fi
for link in out/libclassifier.a "out/libclassifier.so -Wl,-rpath,$scratch/out"; do
  # shellcheck disable=SC2086
  "$cc" -std=c99 -Wall -Wextra -Wpedantic -Werror -O2 -Iout train.c $link -lm -o train
  rm -f trained.safetensors
  ./train 2
  cmp trained.safetensors classifier.safetensors
done
# The header is C++, too.
if command -v c++ >/dev/null; then
  printf '#include "classifier.h"\nint main() { return &classifier_train_64 == nullptr; }\n' >header.cpp
  c++ -std=c++11 -Wall -Wextra -Wno-address -Werror -Iout header.cpp out/libclassifier.a -lm -o header
fi
echo "the same bits"
