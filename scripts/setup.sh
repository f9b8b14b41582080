# Sourced by scripts/{demo,test,check,fixtures}: finds Python, a C++ compiler and the OpenMP runtime, each with its cure when it is
# missing, and keeps .venv with an editable install of this checkout. Needs bash and nothing else.
#   set_up EXTRA...     afterwards $venv/bin holds what pyproject.toml's extras name

set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv
cd "$root"

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

# install_line APT DNF PACMAN BREW: the cure for a missing package, in the words of the system this runs on.
install_line() {
  local root_runs=
  [ "$(id -u)" = 0 ] || root_runs="sudo "
  if command -v apt-get >/dev/null; then echo "run: ${root_runs}apt-get install -y $1"
  elif command -v dnf >/dev/null; then echo "run: ${root_runs}dnf install -y $2"
  elif command -v pacman >/dev/null; then echo "run: ${root_runs}pacman -S --needed $3"
  elif [ "$(uname)" = Darwin ]; then echo "run: $4"
  else echo "install with your system's package manager: $1 (Debian), $2 (Fedora) or $3 (Arch)"
  fi
}

find_python() {
  local name
  for name in "${PYTHON:-}" python3 python3.14 python3.13 python3.12 python3.11 python; do
    [ -n "$name" ] && command -v "$name" >/dev/null || continue
    "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
    python=$(command -v "$name")
    return
  done
  fail "no Python 3.11 or newer; found: $(python3 --version 2>/dev/null || echo none);" \
    "$(install_line "python3 python3-venv" python3 python "brew install python")"
}

need_venv_module() {
  "$python" -c 'import venv, ensurepip' 2>/dev/null && return
  fail "$python cannot make virtual environments; its module venv or ensurepip is missing;" \
    "$(install_line python3-venv python3-pip python "brew install python")"
}

find_compiler() {
  local name
  for name in "${CXX:-}" c++ g++ clang++; do
    [ -n "$name" ] && command -v "${name%% *}" >/dev/null || continue
    compiler=$name
    return
  done
  fail "no C++ compiler; looked for \$CXX, c++, g++ and clang++;" \
    "$(install_line g++ "gcc-c++ libstdc++-static" gcc "xcode-select --install")"
}

# A library of the kind we build: C++17, threads, and on Linux the static C++ runtime that some systems pack apart.
need_working_compiler() {
  local folder static=-static-libstdc++
  [ "$(uname)" = Linux ] || static=
  folder=$(mktemp -d)
  printf '#include <thread>\n#include <optional>\nint f() { std::thread([] {}).join(); return *std::optional<int>(1); }\n' \
    >"$folder/probe.cpp"
  # shellcheck disable=SC2086
  if ! $compiler -std=c++17 -fPIC -shared -pthread $static -o "$folder/probe.so" "$folder/probe.cpp" 2>"$folder/log"; then
    cat "$folder/log" >&2
    rm -r "$folder"
    fail "$compiler cannot build a C++17 shared library; its own message stands above;" \
      "$(install_line g++ "gcc-c++ libstdc++-static" gcc "xcode-select --install")"
  fi
  rm -r "$folder"
}

need_openmp() {
  [ "$(uname)" = Linux ] || return 0
  "$python" -c 'import ctypes; ctypes.CDLL("libgomp.so.1")' 2>/dev/null && return
  fail "the OpenMP runtime is missing; the llama.cpp wheel needs libgomp.so.1;" \
    "$(install_line libgomp1 libgomp gcc-libs "")"
}

fingerprint() {
  { cat pyproject.toml CMakeLists.txt
    find native -type f -print0 2>/dev/null | LC_ALL=C sort -z | xargs -0 cat
    find sixgig -name __init__.py | LC_ALL=C sort  # the import hook knows the packages of the time it was made
    echo "$root"
  } | cksum | tr ' ' -
}

# The stamp's first word is the fingerprint of what was built, the others are the extras that are in.
installed() {
  local extra stamp
  "$venv/bin/python" -c 'import sixgig' 2>/dev/null || return 1
  ls "$root"/sixgig/pager/libsixgig_pager.* >/dev/null 2>&1 || return 1
  stamp=" $(cat "$venv/stamp" 2>/dev/null) "
  [[ $stamp == " $(fingerprint) "* ]] || return 1
  for extra in "$@"; do [[ $stamp == *" $extra "* ]] || return 1; done
}

install_all() {
  local extras
  "$venv/bin/python" -m pip --version >/dev/null 2>&1 || "$python" -m venv --clear "$venv"
  extras=$(printf '%s\n' "$@" $(cut -s -d' ' -f2- "$venv/stamp" 2>/dev/null) | sed '/^$/d' | LC_ALL=C sort -u | paste -sd ' ' -)
  say "installing into .venv${extras:+ with $extras} (the first time takes a minute or two)"
  rm -f "$venv/stamp"
  "$venv/bin/python" -m pip install -qq --disable-pip-version-check --constraint scripts/constraints.txt \
    --editable ".${extras:+[${extras// /,}]}" >&2 ||
    fail "pip could not install sixgig; its own message stands above; mend that and run this again"
  printf '%s %s\n' "$(fingerprint)" "$extras" >"$venv/stamp"
}

set_up() {
  if command -v flock >/dev/null; then exec 9>"$root/.venv.lock" && flock 9; fi
  if ! installed "$@"; then
    find_python
    need_venv_module
    find_compiler
    need_working_compiler
    need_openmp
    install_all "$@"
  fi
  exec 9>&-
}
