#!/usr/bin/env bash
# What only a card can tell: conformance on it, the sanitizer on small shapes, what its units do by themselves, speed beside
# other libraries. Needs nvcc, a driver and a Python with torch, numpy, nanobind and ml_dtypes (PYTHON=...); SageAttention,
# FlashAttention, JAX and Triton take part where they import. Downloads nothing, and is done in eight minutes on 16 cores.
# Results: bench/results/<card>.json, tables beside it and in README.md.
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
cmake --build $build -j "$jobs" --target cuda_gpu_test cuda_word_dump cuda_first_measurements _core

mkdir -p bench/results
name=$(tr -c 'A-Za-z0-9\n' _ <<<"$card")
failed=0
say "conformance on the card"
$build/tests/cuda_backend/cuda_gpu_test --gtest_brief=1 "--gtest_output=json:$build/conformance.json" || failed=1

sanitizers=()
if has_command compute-sanitizer; then
  for tool in memcheck racecheck synccheck; do
    say "compute-sanitizer $tool, small shapes"
    status=passed
    compute-sanitizer --tool $tool --error-exitcode 1 $build/tests/cuda_backend/cuda_gpu_test --gtest_brief=1 \
      --gtest_filter='*NoRows:*IsTheCpus:*/3_*:*/6_*' >$build/$tool.log 2>&1 || status=failed
    [ $status = passed ] || { failed=1 && tail -20 $build/$tool.log; }
    sanitizers+=("$tool=$status")
  done
else
  say "compute-sanitizer was not found beside nvcc: its checks are not part of this run"
  sanitizers+=("compute-sanitizer=absent")
fi

say "what each word does on this card: the emulation is held to it (tests/cuda_words)"
if $build/tests/cuda_words/cuda_word_dump >$build/words.json; then
  mkdir -p tests/cuda_words/tables && cp $build/words.json "tests/cuda_words/tables/$name.json"
else
  failed=1
fi

say "what the card's units do by themselves"
measured=()
if $build/bench/cuda/cuda_first_measurements >$build/measurements.json; then
  measured=(--measurements $build/measurements.json)
else
  failed=1
fi

say "speed beside other libraries"
# A package of the sources and of the module that was built here, wherever octavo is installed otherwise.
rm -rf $build/package && mkdir -p $build/package/octavo
cp python/octavo/*.py $build/package/octavo/ && cp $build/python/_core*.so $build/package/octavo/
PYTHONPATH=$build/package "$python" bench/gpu/gpu_compare.py --conformance $build/conformance.json "${measured[@]}" \
  --checks "${sanitizers[@]}" --seconds 150 --out "bench/results/$name.json" || failed=1
"$python" scripts/bench_figures.py --write || failed=1
exit "$failed"
