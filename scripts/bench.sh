#!/usr/bin/env bash
# Measurements of this machine, to be taken while it does nothing else:
#   bench.sh [peers] [ARGUMENTS]   octavo beside other libraries, interleaved (bench/peers/compare.py); three minutes,
#                                  and with --shapes d128, d64, causal, grouped or single under ten each; --shapes full:
#                                  all
#   bench.sh sweep [ARGUMENTS]     time and memory against lengths to 64k, batch, heads, threads (bench/sweep/sweep.py)
#   bench.sh micro [ARGUMENTS]     every kernel by itself (bench/micro), flags of Google Benchmark
# Peers live in .venv-bench; OCTAVO_IK_LLAMA and OCTAVO_ONEDNN name builds of ik_llama.cpp and oneDNN. Results go to
# bench/results, and what README.md and docs/performance.md show of them is written anew (scripts/bench_figures.py).
set -euo pipefail
source "$(dirname "$0")/common.sh"

part=peers
status=0
case "${1:-}" in
  peers | sweep | micro) part=$1 && shift ;;
esac

mapfile -t for_python < <(python_packages)
need_packages cmake g++ ninja-build libcli11-dev nlohmann-json3-dev libbenchmark-dev "${for_python[@]}"
use_ccache
cmake --preset release -DOCTAVO_BUILD_BENCH=ON >/dev/null
cmake --build --preset release -j "$jobs" --target octavo_tool octavo_micro

case $part in
  micro)
    exec build/release/octavo_micro "$@"
    ;;
  sweep)
    "$python" bench/sweep/sweep.py --octavo build/release/octavo --out bench/results "$@" || status=$?
    ;;
  peers)
    say "the peers in .venv-bench, each by itself"
    [ -x .venv-bench/bin/python ] || "$python" -m venv .venv-bench
    .venv-bench/bin/python bench/peers/install.py .venv-bench/not_installed.json
    .venv-bench/bin/python -m pip install --quiet --no-build-isolation --no-deps --force-reinstall .
    say "measuring"
    .venv-bench/bin/python bench/peers/compare.py --octavo build/release/octavo --out bench/results \
      --not-installed .venv-bench/not_installed.json "$@"
    ;;
esac
"$python" scripts/bench_figures.py --write
exit "$status"
