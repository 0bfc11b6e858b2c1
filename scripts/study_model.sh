#!/usr/bin/env bash
# The study `model` (scripts/study_model.py) with everything it needs: study_model.sh [OPTIONS]. Without --out it writes
# into docs/study/results. Half an hour on two cores.
set -euo pipefail
source "$(dirname "$0")/common.sh"

mapfile -t for_python < <(python_packages)
need_packages cmake g++ ninja-build "${for_python[@]}"
make_venv
PYTHON=$PWD/.venv/bin/python scripts/wheel.sh
tag=$(.venv/bin/python -c 'import sys; print("cp%d%d" % sys.version_info[:2])')
.venv/bin/python -m pip install --quiet --no-deps --force-reinstall dist/octavo-*-"$tag"-*.whl
.venv/bin/python scripts/study_model.py --out docs/study/results "$@"
