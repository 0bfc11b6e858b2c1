#!/usr/bin/env bash
# pkg_config.sh COMPILER STANDARD SOURCE PREFIX shared|static: a program in C or C++ built with what octavo.pc says,
# from a prefix that was moved after it was installed.
set -euo pipefail
compiler=$1 standard=$2 source=$3 prefix=$4 kind=$5
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cp -a "$prefix" "$work/moved"
pc=$(find "$work/moved" -name octavo.pc)
export PKG_CONFIG_PATH=${pc%/*}
static=()
[ "$kind" = shared ] || static=(--static)
read -r -a flags < <(pkg-config --cflags --libs "${static[@]}" octavo)
"$compiler" "-std=$standard" -Wall -Werror "$source" -o "$work/consumer" "${flags[@]}"

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
