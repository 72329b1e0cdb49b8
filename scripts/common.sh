# Sourced by the other scripts: what is missing is installed, then nnlc is configured and built. POSIX shell.
# shellcheck shell=sh

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)

say() { printf '%s\n' "$*" >&2; }
die() { say "$*"; exit 3; }

# As root, or through sudo.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"
  elif command -v sudo >/dev/null 2>&1; then sudo "$@"
  else die "installing packages needs root: run this as root, or install sudo; the packages are: $missing"
  fi
}

installed() { dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q '^install ok installed'; }
candidate() { apt-cache policy "$1" 2>/dev/null | grep -q 'Candidate: [^(]'; }

# Debian's packages that building needs.
packages='g++ cmake ninja-build antlr4 libantlr4-runtime-dev libfmt-dev libcli11-dev nlohmann-json3-dev libutf8proc-dev zlib1g-dev llvm-22-dev'

list_missing() {
  missing=''
  for package in $packages; do installed "$package" || missing="$missing $package"; done
}

# Usage: install_packages [further packages…]. Asks apt only when something is missing.
install_packages() {
  packages="$packages $*"
  command -v dpkg-query >/dev/null 2>&1 || return 0  # not Debian: CMake says what it doesn't find
  list_missing
  [ -n "$missing" ] || return 0
  say "nnlc needs packages of Debian that aren't installed:$missing"
  say "they are installed now, by apt-get; this takes some minutes"
  export DEBIAN_FRONTEND=noninteractive
  as_root apt-get update -qq || die "apt-get update failed"
  if ! installed llvm-22-dev && ! candidate llvm-22-dev; then
    # Debian 12 has LLVM 22 among its security updates only; a system made by debootstrap doesn't ask for those.
    list=/etc/apt/sources.list.d/nnlc-bookworm-security.list
    say "llvm-22-dev isn't in the archives that apt knows: adding Debian's security archive, in $list"
    printf 'deb http://deb.debian.org/debian-security bookworm-security main\n' | as_root tee "$list" >/dev/null
    as_root apt-get update -qq || die "apt-get update failed"
    candidate llvm-22-dev || die "Debian's security archive has no llvm-22-dev for this system"
  fi
  # shellcheck disable=SC2086
  as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null || die "apt-get couldn't install:$missing"
}

jobs() { nproc 2>/dev/null || echo 2; }

# Usage: build FOLDER TARGET [CMake options…]. Quiet unless something goes wrong or takes long.
build() {
  build_dir=$1
  target=$2
  shift 2
  if [ ! -f "$build_dir/CMakeCache.txt" ] || [ $# -gt 0 ]; then
    generator=''
    if command -v ninja >/dev/null 2>&1 && [ ! -f "$build_dir/CMakeCache.txt" ]; then generator='-GNinja'; fi
    launcher=''
    if command -v ccache >/dev/null 2>&1; then launcher='-DCMAKE_CXX_COMPILER_LAUNCHER=ccache'; fi
    # shellcheck disable=SC2086
    cmake -S "$root" -B "$build_dir" $generator $launcher -DCMAKE_BUILD_TYPE=Release "$@" >"$build_dir.log" 2>&1 ||
      { cat "$build_dir.log" >&2; die "configuring failed"; }
    rm -f "$build_dir.log"
    say "building nnlc in $build_dir"
  fi
  cmake --build "$build_dir" --target "$target" -j "$(jobs)" >"$build_dir/build.log" 2>&1 ||
    { grep -E -A12 'error|FAILED' "$build_dir/build.log" >&2 || cat "$build_dir/build.log" >&2; die "building failed; all of it is in $build_dir/build.log"; }
}
