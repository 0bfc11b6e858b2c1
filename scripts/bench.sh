#!/usr/bin/env bash
# Benchmarks; run them on an idle machine:
#   bench.sh [baselines] [ARGUMENTS]   octavo and other libraries, interleaved (bench/baselines/compare.py): 3 minutes;
#                                      --shapes d128, d64, causal, grouped or single: under 10 each; --shapes full: all
#   bench.sh sweep [ARGUMENTS]         time and memory against length, batch, heads and threads (bench/sweep/sweep.py)
#   bench.sh micro [ARGUMENTS]         every kernel by itself (bench/micro), with the flags of Google Benchmark
# Baselines are installed in .venv-bench; OCTAVO_IK_LLAMA and OCTAVO_ONEDNN name builds of ik_llama.cpp and oneDNN.
# Results go to bench/results/PROCESSOR; scripts/bench_figures.py updates README.md and docs/performance.md.
set -euo pipefail
source "$(dirname "$0")/common.sh"

part=baselines
status=0
case "${1:-}" in
  baselines | sweep | micro) part=$1 && shift ;;
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
  baselines)
    say "installing the baselines in .venv-bench"
    [ -x .venv-bench/bin/python ] || "$python" -m venv .venv-bench
    .venv-bench/bin/python bench/baselines/install.py .venv-bench/not_installed.json
    .venv-bench/bin/python -m pip install --quiet --no-build-isolation --no-deps --force-reinstall .
    say "measuring"
    .venv-bench/bin/python bench/baselines/compare.py --octavo build/release/octavo --out bench/results \
      --not-installed .venv-bench/not_installed.json "$@"
    ;;
esac
"$python" scripts/bench_figures.py --write
exit "$status"
