#!/bin/sh
# goldens.sh NNLC FOLDER check|run [--update]: every program FOLDER/x.nnl against its golden, which is all that nnlc prints.
#   check   `nnlc check`, golden x.stderr; the exit status is 1 where a line begins with `error`
#   run     `nnlc test` where the program has `test` blocks, otherwise `nnlc run`; golden x.stdout; a first line `# exit: N` in the
#           program names another exit status than 0
set -u
nnlc=$1 folder=$2 mode=$3 update=${4:-}
case $mode in check) suffix=stderr ;; run) suffix=stdout ;; *) echo "goldens.sh: $mode?"; exit 2 ;; esac
cd "$folder" || exit 1
scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
got=$scratch/got
# The data sets of this machine mustn't show in the messages.
unset NNL_DATA
n=0
wrong=0
for program in *.nnl; do
  n=$((n + 1))
  golden=${program%.nnl}.$suffix
  wanted=$(sed -n '1s/^# exit: \([0-9]\).*/\1/p' "$program")
  if [ "$mode" = check ]; then
    "$nnlc" check --color never "$program" >"$got" 2>&1
  elif grep -q '^test "' "$program"; then
    "$nnlc" test --color never "$program" >"$got" 2>&1
  else
    "$nnlc" run --color never --runs-dir "$scratch/runs" "$program" >"$got" 2>&1
  fi
  status=$?
  if [ "$mode" = check ] && grep -qE '^(error|unsupported)' "$got"; then wanted=1; fi
  if [ $status -ne "${wanted:-0}" ]; then
    echo "$program: exit status $status, should be ${wanted:-0}"
    cat "$got"
    wrong=$((wrong + 1))
  elif [ "$update" = --update ]; then
    cmp -s "$got" "$golden" || { cat "$got" >"$golden"; echo "rewritten: $golden"; }
  elif [ ! -f "$golden" ]; then
    echo "$program: there is no $golden; scripts/update-goldens makes it"
    wrong=$((wrong + 1))
  elif ! diff -u "$golden" "$got"; then
    wrong=$((wrong + 1))
  fi
done
echo "$n programs, $wrong wrong"
[ $wrong -eq 0 ]
