#!/usr/bin/env bash
# What only a card can tell: conformance on it, the sanitizer on small shapes, what its units do by themselves, speed
# beside other libraries. Needs nvcc, a driver and a Python with torch, numpy and nanobind (PYTHON=...); SageAttention,
# FlashAttention, JAX and Triton take part where they import. Downloads nothing, and is meant to be done in eight
# minutes on 16 cores. Results: bench/results/<card>.json, tables beside it and in README.md. A step that fails or hangs
# is named there and in the last line; the others are done all the same.
set -euo pipefail
source "$(dirname "$0")/common.sh"

has_command nvcc || die "nvcc was not found on the PATH: the kernels cannot be compiled here"
has_command nvidia-smi || die "nvidia-smi was not found: there is no NVIDIA driver on this machine"
card=$(nvidia-smi --query-gpu=name --format=csv,noheader --id=0) || die "nvidia-smi finds no card: $card"
capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader --id=0 | tr -d .)
[ "$capability" -ge 80 ] || die "$card has compute capability $capability; the kernels need 80"
"$python" -c 'import torch, numpy, nanobind, sys; sys.exit(not torch.cuda.is_available())' ||
  die "$python has no torch that sees the card, or no numpy or nanobind (PYTHON=... names another)"
code=$capability
[ "$code" != 90 ] || code=90a
use_ccache

build=build/gpu
say "$card, compute capability $capability: building for it in $build"
cmake -G Ninja -S . -B $build -DCMAKE_BUILD_TYPE=Release -DOCTAVO_CUDA=ON "-DOCTAVO_CUDA_CARDS=$code" \
  -DOCTAVO_GPU_TESTS=ON -DOCTAVO_BUILD_PYTHON=ON -DOCTAVO_BUILD_TOOL=OFF \
  "-DPython_EXECUTABLE=$(command -v "$python")" >/dev/null
cmake --build $build -j "$jobs" --target cuda_gpu_test cuda_word_dump cuda_word_dump_test cuda_first_measurements _core

checks=() failed=()
# note NAME STATUS: the result of a step, for the report and for the last line.
note() {
  local result=passed
  case $2 in
    0) ;;
    124 | 137) result="timed out" ;;
    *) result=failed ;;
  esac
  checks+=("$1=$result")
  [ "$result" = passed ] || failed+=("$1 ($result)")
}
# A wait for an mbarrier that never completes would last for ever.
within() { timeout --kill-after=10 "$@"; }

mkdir -p bench/results
name=$(tr -c 'A-Za-z0-9\n' _ <<<"$card")
report=bench/results/$name.json
# What an earlier run has left is no result of this one.
rm -f $build/{conformance,measurements,words}.json $build/{memcheck,racecheck,synccheck}.log
rm -f "$report" "${report%.json}.md"

say "conformance on the card"
status=0
within 180 $build/tests/cuda_backend/cuda_gpu_test --gtest_brief=1 "--gtest_output=json:$build/conformance.json" ||
  status=$?
note conformance $status

if has_command compute-sanitizer; then
  for tool in memcheck racecheck synccheck; do
    say "compute-sanitizer $tool, small shapes"
    status=0
    within 120 compute-sanitizer --tool $tool --error-exitcode 1 $build/tests/cuda_backend/cuda_gpu_test \
      --gtest_brief=1 --gtest_filter='*NoRows:*IsTheCpus:*/3_*:*/6_*' >$build/$tool.log 2>&1 || status=$?
    [ $status -eq 0 ] || tail -20 $build/$tool.log
    note $tool $status
  done
else
  say "compute-sanitizer was not found beside nvcc: its checks are not part of this run"
  checks+=("compute-sanitizer=absent")
fi

say "what the card's units do by themselves"
status=0
within 180 $build/bench/cuda/cuda_first_measurements >$build/measurements.json || status=$?
note measurements $status

say "speed beside other libraries"
# A package of the sources and of the module that was built here, wherever octavo is installed otherwise.
rm -rf $build/package && mkdir -p $build/package/octavo
cp python/octavo/*.py $build/package/octavo/ && cp $build/python/_core*.so $build/package/octavo/
status=0
PYTHONPATH=$build/package within 420 "$python" bench/gpu/gpu_compare.py --conformance $build/conformance.json \
  --measurements $build/measurements.json --checks "${checks[@]}" --seconds 150 --out "$report" || status=$?
reported=${#checks[@]}
note comparison $status

say "what each word does on this card: the emulation is held to it (tests/cuda_words)"
status=0
within 60 $build/tests/cuda_words/cuda_word_dump >$build/words.json || status=$?
note words $status
if [ $status -eq 0 ]; then
  mkdir -p tests/cuda_words/tables && cp $build/words.json "tests/cuda_words/tables/$name.json"
  # The test is compiled with the names of all tables.
  cmake --build $build -j "$jobs" --target cuda_word_dump_test &&
    within 120 $build/tests/cuda_words/cuda_word_dump_test --gtest_brief=1 || status=$?
  note emulation $status
fi

say "the report"
status=0
"$python" bench/gpu/gpu_report.py "$report" --checks "${checks[@]:$reported}" || status=$?
note report $status
status=0
"$python" scripts/bench_figures.py --write || status=$?
note figures $status
[ ${#failed[@]} -eq 0 ] || die "$(printf ', %s' "${failed[@]}" | cut -c 3-): see above and $report"
