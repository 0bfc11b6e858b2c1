#!/usr/bin/env bash
# What this machine's instructions can do, then what attention makes of them, recipe by recipe. Arguments go to
# `octavo bench attention`.
set -euo pipefail
source "$(dirname "$0")/common.sh"

need_packages cmake g++ ninja-build libcli11-dev nlohmann-json3-dev
use_ccache
cmake --preset release >/dev/null
cmake --build --preset release -j "$jobs" --target octavo_tool
build/release/octavo bench peak
for recipe in exact int8 int4 int_flash int_flash_half; do
  build/release/octavo bench attention --recipe "$recipe" "$@"
done
