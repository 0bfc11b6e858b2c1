#!/usr/bin/env bash
# The study `model` (scripts/study_model.py) with everything it needs, then its page: study_model.sh [OPTIONS]. Without
# --out it writes into docs/study/results. Half an hour on two cores.
set -euo pipefail
source "$(dirname "$0")/common.sh"

make_model_venv
.venv/bin/python scripts/study_model.py --out docs/study/results "$@"
scripts/study_pages.py --write
