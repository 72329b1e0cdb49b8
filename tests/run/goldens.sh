#!/bin/sh
# goldens.sh NNLC [--update]: runs every x.nnl here that has an x.stdout (with --update: every one) and compares the output, both
# streams; then the `test` blocks of the programs that have some. A first line `# exit: N` names another exit status than 0.
set -u
nnlc=$1
update=${2:-}
cd "$(dirname -- "$0")" || exit 1
scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
n=0
wrong=0
for program in *.nnl; do
  [ -f "$program" ] || continue
  n=$((n + 1))
  golden=${program%.nnl}.stdout
  expected=$(sed -n '1s/^# exit: \([0-9]\).*/\1/p' "$program")
  if grep -q '^test "' "$program"; then
    "$nnlc" test --color never "$program" >"$scratch/got" 2>&1
  else
    "$nnlc" run --color never --runs-dir "$scratch/runs" "$program" >"$scratch/got" 2>&1
  fi
  status=$?
  if [ $status -ne "${expected:-0}" ]; then
    echo "$program: exit status $status"
    cat "$scratch/got"
    wrong=$((wrong + 1))
  elif [ "$update" = --update ]; then
    cmp -s "$scratch/got" "$golden" || { cp "$scratch/got" "$golden"; echo "rewritten: $golden"; }
  elif [ ! -f "$golden" ]; then
    echo "$program: there is no $golden; scripts/update-goldens makes it"
    wrong=$((wrong + 1))
  elif ! diff -u "$golden" "$scratch/got"; then
    wrong=$((wrong + 1))
  fi
done
echo "$n programs, $wrong wrong"
[ $wrong -eq 0 ]
