#!/usr/bin/env bash
# SPDX-License-Identifier: AGPL-3.0-or-later
#
# The development environment: uv, Python 3.14, .venv and the system packages Home Assistant uses. Source it, then:
#
#   bootstrap           everything of uv.lock in .venv; quick when nothing changed
#   bootstrap_minimum   the oldest supported Home Assistant in .venv-ha-minimum
#   language_library    llama-cpp-python in .venv: the first time it is compiled, which takes some minutes
#
# Downloads are kept in $HSI_CACHE_DIR, outside the clone by default, so that the next clone finds them.

REPOSITORY=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
HSI_CACHE_DIR=${HSI_CACHE_DIR:-${XDG_CACHE_HOME:-${HOME:-$REPOSITORY}/.cache}/home-security-intelligence}
PRIVATE_PYTHON=$HSI_CACHE_DIR/python-3.14
PYTHON_REQUEST='>=3.14.2,<3.15'

# shellcheck source=scripts/lib/debian-python.sh
. "$REPOSITORY/scripts/lib/debian-python.sh"
# shellcheck source=scripts/lib/system-packages.sh
. "$REPOSITORY/scripts/lib/system-packages.sh"

say() { printf '\033[2m%s\033[0m\n' "$*" >&2; }

fail() {
  printf '%s\n' "$@" >&2
  return 1
}

bootstrap() {
  local stamp=$REPOSITORY/.venv/.bootstrapped state
  state=$(_fingerprint uv.lock pyproject.toml .python-version scripts/lib/bootstrap.sh)
  if ! _is_current "$REPOSITORY/.venv" "$state"; then
    system_packages_for_home_assistant
    _synchronise || return 1
    printf '%s\n' "$state" >"$stamp"
  fi
  _use_private_headers "$REPOSITORY/.venv/bin/python"
}

bootstrap_minimum() {
  local venv=$REPOSITORY/.venv-ha-minimum state uv python
  state=$(_fingerprint requirements/ha-minimum.txt .python-version)
  if _is_current "$venv" "$state"; then
    return 0
  fi
  uv=$(_find_uv) && python=$(_find_python "$uv") || return 1
  _use_private_headers "$python"
  say "Installing the oldest supported Home Assistant into .venv-ha-minimum ..."
  "$uv" venv --quiet --clear --python "$python" "$venv" &&
    "$uv" pip sync --no-config --quiet --require-hashes --python "$venv/bin/python" \
      "$REPOSITORY/requirements/ha-minimum.txt" || return 1
  printf '%s\n' "$state" >"$venv/.bootstrapped"
}

# The package index has its sources only. Compiled for any processor of this kind, the wheel serves every Python.
LANGUAGE_FLAGS="-DGGML_NATIVE=OFF -DGGML_OPENMP=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF \
-DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_SERVER=OFF"

language_library() {
  local folder wheel uv
  "$REPOSITORY/.venv/bin/python" -c 'import llama_cpp' 2>/dev/null && return 0
  folder=$(_language_folder)
  wheel=$(_language_wheel "$folder") || { _build_language_library "$folder" && wheel=$(_language_wheel "$folder"); } ||
    return 1
  uv=$(_find_uv) && "$uv" pip install --quiet --no-deps --python "$REPOSITORY/.venv/bin/python" "$wheel"
}

language_library_is_built() { _language_wheel "$(_language_folder)" >/dev/null; }

_language_folder() {
  echo "$HSI_CACHE_DIR/wheels/llama-cpp-python-$(_language_source | cksum | cut -d ' ' -f 1)"
}

# The requirement with the digest of uv.lock, and the flags: another version or other flags make another wheel.
_language_source() {
  awk '/^name = "llama-cpp-python"/ { found = 1 }
    found && /^version = / { gsub(/"/, "", $3); version = $3 }
    found && /^sdist = / { match($0, /sha256:[0-9a-f]+/); print "llama-cpp-python==" version " --hash=" substr($0, RSTART, RLENGTH); exit }' \
    "$REPOSITORY/uv.lock"
  echo "# $LANGUAGE_FLAGS $(uname -sm)"
}

_language_wheel() {
  local wheel
  for wheel in "$1"/llama_cpp_python-*.whl; do
    [ -r "$wheel" ] && echo "$wheel" && return 0
  done
  return 1
}

_build_language_library() {
  local folder=$1 work
  say "Compiling llama-cpp-python, once (about five minutes) ..."
  mkdir -p "$(dirname "$folder")"
  work=$(mktemp -d "$folder.XXXXXX") || return 1
  _language_source >"$work/requirement.txt"
  if CMAKE_ARGS=$LANGUAGE_FLAGS CMAKE_BUILD_PARALLEL_LEVEL=$(nproc) nice -n 10 "$REPOSITORY/.venv/bin/python" -m pip wheel \
    --quiet --disable-pip-version-check --no-deps --no-cache-dir --require-hashes --requirement "$work/requirement.txt" \
    --wheel-dir "$work/wheel" >"$work/log" 2>&1; then
    mkdir -p "$folder" && mv "$work"/wheel/*.whl "$folder/" && rm -rf "$work"
    return
  fi
  tail -n 30 "$work/log" >&2
  rm -rf "$work"
  fail "llama-cpp-python could not be compiled: see the message above. It needs a C++ compiler" \
    "(Debian: apt-get install build-essential; macOS: xcode-select --install)."
}

_synchronise() {
  local uv python
  mkdir -p "$HSI_CACHE_DIR"
  uv=$(_find_uv) && python=$(_find_python "$uv") || return 1
  say "Installing the packages of uv.lock into .venv ..."
  _use_private_headers "$python"
  (cd "$REPOSITORY" && unset VIRTUAL_ENV UV_PROJECT_ENVIRONMENT && "$uv" sync --quiet --frozen --python "$python" \
    --extra llm --no-install-package llama-cpp-python) ||
    fail "The packages could not be installed: see the message above. Packages that are compiled need a C++ compiler" \
      "(Debian: apt-get install build-essential; macOS: xcode-select --install)."
}

_fingerprint() { (cd "$REPOSITORY" && printf '%s ' "$PWD" && cat "$@" | cksum); }

_is_current() {
  [ -r "$1/.bootstrapped" ] && [ "$(cat "$1/.bootstrapped")" = "$2" ] && "$1/bin/python" -c '' 2>/dev/null
}

_find_uv() {
  local private=$HSI_CACHE_DIR/uv/bin/uv python
  if uv --version >/dev/null 2>&1; then
    command -v uv
    return 0
  fi
  if ! [ -x "$private" ]; then
    say "Installing uv ..."
    for python in python3 /usr/bin/python3; do
      if "$python" -m pip install -qq --disable-pip-version-check --target "$HSI_CACHE_DIR/uv" uv >&2; then
        break
      fi
    done
  fi
  if [ -x "$private" ]; then
    echo "$private"
  else
    fail "uv is missing and could not be installed with pip. Install it (https://docs.astral.sh/uv) and run this again."
  fi
}

_find_python() {
  local uv=$1 private=$PRIVATE_PYTHON/usr/bin/python3.14
  if "$uv" python find --quiet --system --no-python-downloads "$PYTHON_REQUEST" 2>/dev/null; then
    return 0
  fi
  if ! "$private" -c '' 2>/dev/null; then
    say "Installing Python 3.14 ..."
    if UV_HTTP_RETRIES=1 "$uv" python install --quiet 3.14 2>/dev/null &&
      "$uv" python find --quiet --system --no-python-downloads "$PYTHON_REQUEST"; then
      return 0
    fi
    if command -v apt-get >/dev/null && command -v dpkg >/dev/null; then
      say "uv cannot download it here: unpacking Debian's ..."
      debian_python "$PRIVATE_PYTHON" "$uv" >&2
    fi
  fi
  if "$private" -c '' 2>/dev/null; then
    echo "$private"
  else
    fail "Python 3.14.2 or newer is missing and could not be installed. Install it (for example" \
      "'uv python install 3.14', or from python.org) and run this again."
  fi
}

# Packages that are compiled against the private Python look for its headers here.
_use_private_headers() {
  local python include=$PRIVATE_PYTHON/usr/include
  python=$(readlink "$1" || echo "$1")
  if [[ $python == "$PRIVATE_PYTHON"/* && :${CPATH:-}: != *:$include:* ]]; then
    export CPATH=$include${CPATH:+:$CPATH}
  fi
}
