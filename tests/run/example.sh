#!/bin/sh
# example.sh NNLC DATA FILE PATTERN ge|le NUMBER [ARGS…]: runs a program in an empty folder; the first number behind the last line's
# PATTERN must be at least, or at most, NUMBER. Skipped (status 77) where $NNL_DATA has no folder DATA.
set -eu
nnlc=$1 data=$2 file=$3 pattern=$4 relation=$5 bound=$6
shift 6
if [ -n "$data" ] && [ ! -d "${NNL_DATA:-/nonexistent}/$data" ]; then
  echo "skipped: NNL_DATA has no $data"
  exit 77
fi
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
"$nnlc" run "$file" "$@" >out 2>err || { status=$?; cat out err; echo "exit status $status"; exit 1; }
cat out
awk -v pattern="$pattern" -v relation="$relation" -v bound="$bound" '
  at = index($0, pattern) { rest = substr($0, at + length(pattern)); if (match(rest, /-?[0-9]+(\.[0-9]+)?(e[-+]?[0-9]+)?/)) { value = substr(rest, RSTART, RLENGTH); found = 1 } }
  END {
    if (!found) { print "no line has \"" pattern "\" and a number"; exit 1 }
    good = relation == "ge" ? value + 0 >= bound + 0 : value + 0 <= bound + 0
    print pattern ": " value ", wanted " relation " " bound
    exit !good
  }' out
