#!/bin/sh
# outside.sh installed PYTHON SOURCE BUILD: the package as the build tree installs it
# outside.sh wheel     PYTHON SOURCE BUILD: the package as `pip install .` makes it of what the build tree has compiled
# outside.sh pip       PYTHON SOURCE:       the same, all of it compiled from a clean copy of the source, without a network
# and then the example and a first look, away from both trees.
set -eu
kind=$1 python=$2 source=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export XDG_CACHE_HOME="$work/cache" PYTHONDONTWRITEBYTECODE=1
fail() {
  echo "FAILED: $*" >&2
  exit 1
}
"$python" -c 'import numpy' 2>/dev/null || { echo "skipped: $python has no NumPy"; exit 77; }

case $kind in
  installed)
    cmake --install "$4" --prefix "$work/site" --component python >"$work/log" || { cat "$work/log"; fail "cmake --install"; }
    export PYTHONPATH="$work/site"
    ;;
  wheel | pip)
    unset PYTHONPATH LD_PRELOAD
    "$python" -m venv --system-site-packages "$work/venv" >"$work/log" 2>&1 || { cat "$work/log"; echo "skipped: no python3-venv"; exit 77; }
    python="$work/venv/bin/python"
    from=$source
    if [ "$kind" = wheel ]; then
      export NNL_BUILD_FOLDER="$4"
    else
      from="$work/clone"
      mkdir "$from"
      (cd "$source" && git ls-files -z --cached --others --exclude-standard 2>/dev/null | tar -c --null -T - -f -) | tar -x -C "$from" -f -
      [ -f "$from/pyproject.toml" ] || { echo "skipped: the source isn't a clone of git"; exit 77; }
    fi
    (cd "$from" && "$python" -m pip install --no-index --no-deps . >"$work/log" 2>&1) || { tail -60 "$work/log"; fail "pip install"; }
    rm -rf "$work/clone"
    "$python" -m pip show -f nnl >"$work/log" 2>&1
    grep -q 'nnl/py.typed' "$work/log" && grep -q 'nnl/libnnlc.so.0' "$work/log" || { cat "$work/log"; fail "what was installed"; }
    ;;
esac

cd "$work"
cp -R "$source/examples/embed/python" example
"$python" - <<'EOF' >table.csv
import numpy as np
rng = np.random.default_rng(0)
x = rng.uniform(-2, 2, (300, 4))
y = np.sin(2 * x[:, 0]) + x[:, 1] ** 2 / 2 + 0.5 * x[:, 2]
print("angle,size,slope,nothing,result")
for row in np.c_[x, y]:
    print(",".join(f"{v:.4f}" for v in row))
EOF
"$python" example/fit.py table.csv --epochs 100 --save w.safetensors >out 2>err || { cat out err; fail "fit.py"; }
[ ! -s err ] || { cat err; fail "something wrote to standard error"; }
explained=$(sed -n 's/^result: a straight line explains [0-9.]*%, the network \([0-9]*\).*/\1/p' out)
[ "${explained:-0}" -ge 90 ] || { cat out; fail "fit.py explains ${explained:-nothing}%"; }
[ -s w.safetensors ] || fail "no weights were saved"
"$python" example/fit.py table.csv angle --epochs 3 >out || { cat out; fail "fit.py with another target"; }
grep -q '^angle: ' out || { cat out; fail "fit.py with another target: what it says"; }

"$python" - <<'EOF' || fail "a first look"
import pathlib, nnl
assert nnl.__version__ and "DataError" in nnl.__all__ and nnl.compile.__doc__ and nnl.Trainer.step.__doc__
folder = pathlib.Path(nnl.__file__).parent
assert (folder / "py.typed").exists() and (folder / "_nnl.pyi").exists()
assert list(nnl.compile("").layer("Linear", 3, 2).params) == ["weight", "bias"]  # the standard library is there
EOF
echo "all passed"
