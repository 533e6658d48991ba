#!/usr/bin/env bash
# SPDX-License-Identifier: AGPL-3.0-or-later
#
# System libraries, installed where we may (Debian and relatives, as root) and named where we may not.

system_packages_for_home_assistant() {
  local wanted=()
  command -v ffmpeg >/dev/null || wanted+=(ffmpeg)
  command -v c++ >/dev/null || wanted+=(build-essential)
  if [ "$(uname -s)" = Linux ]; then
    _has_library libturbojpeg || wanted+=("libturbojpeg0|libturbojpeg")
    _has_library libpcap || wanted+=("libpcap0.8|libpcap0.8t64")
  fi
  _install_system_packages ${wanted[@]+"${wanted[@]}"}
}

system_packages_for_tests() {
  local wanted=()
  _has_one_of chromium chromium-browser google-chrome || wanted+=(chromium)
  _has_one_of curl || wanted+=(curl)
  _has_one_of lftp || wanted+=(lftp)
  _has_one_of ncftpput || wanted+=(ncftp)
  if [ "$(uname -s)" = Linux ]; then
    _has_one_of apparmor_parser || wanted+=(apparmor)
    _has_one_of initdb || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || wanted+=(postgresql)
    _has_one_of redis-server valkey-server || wanted+=("redis-server|valkey-server")
  fi
  _install_system_packages ${wanted[@]+"${wanted[@]}"}
}

_has_one_of() {
  local name
  for name in "$@"; do
    if PATH=$PATH:/sbin:/usr/sbin command -v "$name" >/dev/null; then
      return 0
    fi
  done
  return 1
}

_has_library() {
  grep -q "$1\.so" <<<"$(PATH=$PATH:/sbin:/usr/sbin ldconfig -p 2>/dev/null)"
}

# Each argument is a package, or alternatives "one|other" of which the first known one is taken.
_install_system_packages() {
  [ $# -gt 0 ] || return 0
  if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
    say "Not found: ${*//|/ or }. Install with your package manager if something below misses it."
    return 0
  fi
  say "Installing Debian packages: ${*//|/ or } ..."
  apt-get update -qq >&2 || true
  local choice name names=()
  for choice in "$@"; do
    for name in ${choice//|/ }; do
      if apt-cache show "$name" >/dev/null 2>&1; then
        names+=("$name")
        break
      fi
    done
  done
  [ ${#names[@]} -gt 0 ] || return 0
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${names[@]}" >/dev/null ||
    say "Could not install ${names[*]}: install them by hand."
}
