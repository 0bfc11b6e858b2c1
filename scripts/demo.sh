#!/usr/bin/env bash
# Installs packages, builds the command-line tool without tests or Python, and runs the demo on data/.
set -euo pipefail
source "$(dirname "$0")/common.sh"

need_packages cmake g++ ninja-build libcli11-dev nlohmann-json3-dev
use_ccache
say "building build/release/octavo"
cmake --preset release >/dev/null
cmake --build --preset release -j "$jobs" --target octavo_tool
[ -x build/release/octavo ] || die "build/release/octavo was not built"
say "octavo demo: attention of a small language model with every recipe"
build/release/octavo demo "$@"
