#!/bin/sh
# run.sh NNLC [--update]: `nnlc check` of every program here against its golden output.
set -u
nnlc=$1
update=${2:-}
cd "$(dirname -- "$0")" || exit 1
got=$(mktemp) || exit 1
trap 'rm -f "$got"' EXIT
n=0
wrong=0
# The data sets of this machine mustn't show in the messages.
unset NNL_DATA
for program in *.nnl; do
  n=$((n + 1))
  golden=${program%.nnl}.stderr
  "$nnlc" check --color never "$program" >"$got" 2>&1
  status=$?
  if [ $status -gt 3 ]; then
    echo "$program: exit status $status"
    cat "$got"
    wrong=$((wrong + 1))
  elif [ "$update" = --update ]; then
    cmp -s "$got" "$golden" || { cp "$got" "$golden"; echo "rewritten: $golden"; }
  elif [ ! -f "$golden" ]; then
    echo "$program: there is no $golden; scripts/update-goldens makes it"
    wrong=$((wrong + 1))
  elif ! diff -u "$golden" "$got"; then
    wrong=$((wrong + 1))
  fi
done
echo "$n programs, $wrong wrong"
[ $wrong -eq 0 ]
