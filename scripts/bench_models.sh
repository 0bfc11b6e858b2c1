#!/usr/bin/env bash
# Whole models with PyTorch's attention and octavo's (bench/models/models.py), then docs/models.md's table and chart:
# bench_models.sh [MODEL ...] [OPTIONS]. Run it on an idle machine; ModernBERT at 8192 tokens takes minutes a round.
set -euo pipefail
source "$(dirname "$0")/common.sh"

mapfile -t for_python < <(python_packages)
need_packages cmake g++ ninja-build "${for_python[@]}"
make_venv
PYTHON=$PWD/.venv/bin/python scripts/wheel.sh
tag=$(.venv/bin/python -c 'import sys; print("cp%d%d" % sys.version_info[:2])')
.venv/bin/python -m pip install --quiet --no-deps --force-reinstall dist/octavo-*-"$tag"-*.whl
.venv/bin/python bench/models/models.py "$@"
"$python" scripts/model_figures.py
