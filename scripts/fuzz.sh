#!/usr/bin/env bash
# libFuzzer on the fuzz targets: fuzz.sh [SECONDS [TARGET...]]. Findings are stored in build/fuzz/found; add inputs
# that find a bug to tests/fuzz/corpus, which every test run replays.
set -euo pipefail
source "$(dirname "$0")/common.sh"

seconds=${1:-60}
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- npy safetensors capi implementations
need_packages cmake ninja-build clang-19 libclang-rt-19-dev libgtest-dev -- ccache
use_ccache
cmake --preset fuzz >/dev/null
cmake --build --preset fuzz -j "$jobs" --target "${@/#/fuzz_}"
for target in "$@"; do
  say "$target, $seconds s"
  found=build/fuzz/found/$target
  mkdir -p "$found"
  build/fuzz/tests/fuzz/fuzz_"$target" -max_len=600 -timeout=20 -max_total_time="$seconds" -artifact_prefix="$found/" \
    -verbosity=0 -print_final_stats=1 "$found" "tests/fuzz/corpus/$target" || die "$target: see $found"
done
