#!/bin/sh
# exit_statuses.sh NNLC: 0 done, 1 the program is wrong, 2 bad usage, 3 it failed while running; and the forms of options.
set -u
nnlc=$1
scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
cd "$scratch" || exit 1
wrong=0
# Usage: expect STATUS TEXT ARGS…: the exit status, and a text that the output holds.
expect() {
  status=$1 text=$2
  shift 2
  "$nnlc" "$@" >out 2>&1
  got=$?
  if [ $got -ne "$status" ] || { [ -n "$text" ] && ! grep -qF -- "$text" out; }; then
    echo "nnlc $*: exit status $got, wanted $status with \"$text\":"
    cat out
    wrong=1
  fi
}
cat >good.nnl <<'END'
## how many
config batch_size: int = 3
config loud: bool = false
print("size {batch_size}, loud {loud}")
test "sums" { assert(1 + 1 == 2) }
END
echo 'print(1 + nothing)' >bad.nnl
printf 'test "fails" { assert(1 == 2, "no") }\n' >fails.nnl
printf 'var n = 1\nfor i in 0..70 { n = n * 2 }\nprint(n)\n' >overflow.nnl
expect 0 'size 3, loud false' run good.nnl
expect 0 'size 5, loud true' run good.nnl --batch-size 5 --loud
expect 0 'size 6, loud false' run good.nnl --batch_size=6 --no-loud
expect 0 'how many; default 3' run good.nnl --help
expect 0 '1 passed, 0 failed' test good.nnl
expect 0 '' check good.nnl
expect 0 'layers' summary --help
expect 0 'LLVM' --version
expect 0 'in_features' doc Linear
expect 0 'N0101' explain N0101
expect 1 'nothing' check bad.nnl
expect 1 '"message"' check bad.nnl --message-format json
expect 1 'nothing' run bad.nnl
expect 2 'batch' run good.nnl --batch-sizes 5
expect 2 'did you mean' rnu good.nnl
expect 2 "can't read" run no_such_file.nnl
expect 2 'not supported yet' lsp
expect 3 'no' test fails.nnl
expect 3 "doesn't fit into 64 bits" run overflow.nnl
expect 3 'not supported yet' run --precision bf16 good.nnl
expect 2 'gpu' run --device gpu good.nnl
exit $wrong
