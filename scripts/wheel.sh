#!/usr/bin/env bash
# dist/octavo-*.whl for this machine's Python, with the library, and the command-line tool if its dependencies exist.
set -euo pipefail
source "$(dirname "$0")/common.sh"

mapfile -t for_python < <(python_packages)
need_packages cmake g++ ninja-build "${for_python[@]}" -- libcli11-dev nlohmann-json3-dev ccache
use_ccache
[ -x .venv/bin/python ] || "$python" -m venv .venv
.venv/bin/python -m pip wheel --disable-pip-version-check --quiet --no-deps --wheel-dir dist .
ls -l dist/octavo-*.whl
