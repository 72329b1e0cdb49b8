#!/bin/sh
# commands.sh NNLC_ON_SIMULATOR TESTS: some programs of tests/run by `nnlc run` and `nnlc test` with NNLC_DEVICE=cuda, which
# opens the simulator: they print what they print on the CPU.
set -u
nnlc=$1 tests=$2
scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
for name in training freezing indices_when_run nan_log_of_zero nan_update_overflows; do
  cp "$tests/run/$name".* "$scratch" || exit 1
done
NNLC_DEVICE=cuda "$tests/goldens.sh" "$nnlc" "$scratch" run
