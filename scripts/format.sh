#!/usr/bin/env bash
# clang-format-19 on all C, C++ and CUDA sources, including untracked ones. With --check, changes nothing and fails if a
# file would change, or if another text file has lines beyond column 120.
set -euo pipefail
source "$(dirname "$0")/common.sh"

need_packages clang-format-19
mapfile -d '' -t files < <(git ls-files -z --cached --others --exclude-standard \
  '*.c' '*.cpp' '*.hpp' '*.h' '*.inc' '*.cu' '*.cuh')
mode=(-i)
[ "${1:-}" != --check ] || mode=(--dry-run --Werror)
printf '%s\0' "${files[@]}" | xargs -0 -n 16 -P "$jobs" clang-format-19 --style=file "${mode[@]}"
[ "${1:-}" != --check ] || "$python" scripts/check_width.py
