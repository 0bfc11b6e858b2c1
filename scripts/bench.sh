#!/usr/bin/env bash
# octavo beside other libraries on this machine, interleaved in one run (bench/peers/compare.py): sets up an environment
# of its own in .venv-bench, writes bench/results/. Arguments go to compare.py.
set -euo pipefail
source "$(dirname "$0")/common.sh"

mapfile -t for_python < <(python_packages)
need_packages cmake g++ ninja-build libcli11-dev nlohmann-json3-dev "${for_python[@]}"
use_ccache
cmake --preset release >/dev/null
cmake --build --preset release -j "$jobs" --target octavo_tool

say "an environment for the peers in .venv-bench"
peers=(numpy==2.4.6 ml_dtypes nanobind scikit-build-core openvino==2026.4.1 onnxruntime==1.31.1 onnx==1.23.2)
[ -x .venv-bench/bin/python ] || "$python" -m venv .venv-bench
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
.venv-bench/bin/python -m pip install --quiet torch==2.13.0
.venv-bench/bin/python -m pip install --quiet "${peers[@]}"
.venv-bench/bin/python -m pip install --quiet --no-build-isolation --no-deps --force-reinstall .

exec .venv-bench/bin/python bench/peers/compare.py --octavo build/release/octavo --out bench/results "$@"
