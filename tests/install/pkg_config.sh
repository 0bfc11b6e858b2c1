#!/usr/bin/env bash
# pkg_config.sh COMPILER PREFIX shared|static: main.cpp built with what octavo.pc says, from a prefix that was moved
# after it was installed.
set -euo pipefail
compiler=$1 prefix=$2 kind=$3
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cp -a "$prefix" "$work/moved"
pc=$(find "$work/moved" -name octavo.pc)
export PKG_CONFIG_PATH=${pc%/*}
static=()
[ "$kind" = shared ] || static=(--static)
read -r -a flags < <(pkg-config --cflags --libs "${static[@]}" octavo)
"$compiler" -std=c++20 "$here/main.cpp" -o "$work/consumer" "${flags[@]}"

libdir=$(pkg-config --variable=libdir octavo)
if [ "$kind" = shared ]; then
  LD_LIBRARY_PATH=$libdir "$work/consumer"
else
  "$work/consumer"
  if ldd "$work/consumer" | grep liboctavo; then
    echo "the static program still wants the shared library" >&2
    exit 1
  fi
fi
