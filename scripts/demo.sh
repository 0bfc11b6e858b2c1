#!/usr/bin/env bash
# From a checkout to the demo's table: packages, the command without tests or Python, one run on data/.
set -euo pipefail
source "$(dirname "$0")/common.sh"

need_packages cmake g++ ninja-build libcli11-dev nlohmann-json3-dev
use_ccache
say "building build/release/octavo"
cmake --preset release >/dev/null
cmake --build --preset release -j "$jobs" --target octavo_tool
[ -x build/release/octavo ] || die "build/release/octavo was not built"
say "octavo demo: attention of a small language model, recipe by recipe"
build/release/octavo demo "$@"
