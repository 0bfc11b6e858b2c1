#!/usr/bin/env bash
# Whole models with PyTorch's attention and octavo's (bench/models/models.py), then the tables and the chart in
# docs/models.md and README.md: bench_models.sh [MODEL ...] [OPTIONS]. Run it on an idle machine; ModernBERT at 8192
# tokens takes minutes a round.
set -euo pipefail
source "$(dirname "$0")/common.sh"

make_model_venv
.venv/bin/python bench/models/models.py "$@"
"$python" scripts/model_figures.py
