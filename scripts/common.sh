# Sourced by the other scripts: what is missing is installed, then nnlc is configured and built. POSIX shell.
# shellcheck shell=sh

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)

say() { printf '%s\n' "$*" >&2; }
die() { say "$*"; exit 3; }

# As root, or through sudo.
as_root() { if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi; }
may_install() {
  [ "$(id -u)" -eq 0 ] || command -v sudo >/dev/null 2>&1 ||
    die "installing them needs root: run this as root or install sudo, or ask an administrator for
    apt-get install$missing
($other_llvm does in place of $llvm)"
}

installed() { dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q '^install ok installed'; }
candidate() { apt-cache policy "$1" 2>/dev/null | grep -q 'Candidate: [^(]'; }

# Debian's packages that building needs.
packages='g++ cmake ninja-build antlr4 libantlr4-runtime-dev libfmt-dev libcli11-dev nlohmann-json3-dev libutf8proc-dev zlib1g-dev'
# And what the Python module and its tests need.
# shellcheck disable=SC2034
python_packages='python3-dev python3-venv python3-pip python3-numpy python3-pytest pybind11-dev'
# LLVM 22; 19 does as well where it is what is installed, or all that can be had.
llvm='llvm-22-dev'
other_llvm='llvm-19-dev'
security_list=/etc/apt/sources.list.d/nnlc-bookworm-security.list

apt_get() { as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq "$@"; }

# Sets $llvm to the package to install, where none is. Debian 12 has LLVM 22 among its security updates only, which a system made by
# debootstrap doesn't ask for.
choose_llvm() {
  candidate "$llvm" && return 0
  if grep -qs '^VERSION_CODENAME=bookworm$' /etc/os-release && [ ! -e "$security_list" ]; then
    say "$llvm isn't in the archives that apt knows: adding Debian's security archive, in $security_list"
    echo 'deb http://deb.debian.org/debian-security bookworm-security main' | as_root tee "$security_list" >/dev/null
    apt_get update && candidate "$llvm" && return 0
    as_root rm -f "$security_list"
  fi
  candidate "$other_llvm" || die "apt has neither $llvm nor $other_llvm for this system"
  say "there is no $llvm for this system: $other_llvm is installed in its place"
  llvm=$other_llvm
}

# Usage: install_packages [further packages…]. Asks apt only when something is missing.
install_packages() {
  command -v dpkg-query >/dev/null 2>&1 || return 0  # not Debian: CMake says what it doesn't find
  packages="$packages $*"
  ! installed "$other_llvm" || installed "$llvm" || llvm=$other_llvm
  missing=''
  for package in $packages $llvm; do installed "$package" || missing="$missing $package"; done
  [ -n "$missing" ] || return 0
  say "nnlc needs packages of Debian that aren't installed:$missing"
  may_install
  say "they are installed now, by apt-get; this takes some minutes"
  apt_get update || die "apt-get update failed"
  case " $missing " in *" $llvm "*)
    missing=${missing%" $llvm"}
    choose_llvm
    missing="$missing $llvm"
    ;;
  esac
  # shellcheck disable=SC2086
  apt_get install -y --no-install-recommends $missing >/dev/null || die "apt-get couldn't install:$missing"
  installed_now=yes
}

# What ccache has compiled in one checkout serves another one.
export CCACHE_BASEDIR="$root" CCACHE_NOHASHDIR=1

jobs() { nproc 2>/dev/null || echo 2; }

# Usage: build FOLDER TARGETS [CMake options…]. Quiet unless something goes wrong or takes long.
build() {
  build_dir=$1
  targets=$2
  shift 2
  # Again if packages have come: they may be what an optional part waited for.
  if [ ! -f "$build_dir/CMakeCache.txt" ] || [ $# -gt 0 ] || [ -n "${installed_now:-}" ]; then
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
  # shellcheck disable=SC2086
  cmake --build "$build_dir" --target $targets -j "$(jobs)" >"$build_dir/build.log" 2>&1 ||
    { grep -E -A12 'error|FAILED' "$build_dir/build.log" >&2 || cat "$build_dir/build.log" >&2; die "building failed; all of it is in $build_dir/build.log"; }
}
