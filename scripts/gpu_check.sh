#!/usr/bin/env bash
# Finds a Python and starts scripts/gpu_check, which does the work; --help lists its options. PYTHON=... names another
# interpreter: the one that has torch. Uses no program but that one, so that it starts on a bare machine.
set -euo pipefail
folder=${BASH_SOURCE[0]%/*}
[ "$folder" != "${BASH_SOURCE[0]}" ] || folder=.
for python in ${PYTHON:+"$PYTHON"} python3 python3.13 python3.12 python3.11 python; do
  if command -v "$python" >/dev/null; then
    PYTHONPATH=$folder${PYTHONPATH:+:$PYTHONPATH} exec "$python" -m gpu_check "$@"
  fi
done
echo "error: no Python was found on the PATH (PYTHON=... names one)" >&2
exit 2
