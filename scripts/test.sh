#!/usr/bin/env bash
# All tests: C++, command-line tool, installation, the wheel and its tests, the README's examples. JUnit files go to
# build/test for report_tests.py.
set -euo pipefail
source "$(dirname "$0")/common.sh"

mapfile -t for_python < <(python_packages)
need_packages cmake g++ ninja-build pkg-config libcli11-dev nlohmann-json3-dev libgtest-dev "${for_python[@]}" \
  -- clang-format-19 ccache
use_ccache
mkdir -p build/test
rm -f build/test/ctest.xml build/test/pytest.xml

say "a Python environment in .venv (meanwhile), build/test"
make_venv >build/test/venv.log 2>&1 &
venv=$!
trap 'kill "$venv" 2>/dev/null || true' EXIT
cmake --preset test >/dev/null
cmake --build --preset test -j "$jobs"

failed=0
say "ctest"
# The output of failed tests goes to the JUnit file; report_tests.py prints the relevant part.
ctest --test-dir build/test --no-tests=error -j "$jobs" --test-output-size-passed 16384 \
  --test-output-size-failed 65536 --output-junit "$PWD/build/test/ctest.xml" || failed=1

say "the wheel"
wait "$venv" || { cat build/test/venv.log >&2 && die "the Python environment could not be made"; }
trap - EXIT
install_wheel

say "pytest"
export OCTAVO_REQUIRE_TORCH=1 OCTAVO_REQUIRE_ONNX=1 # both are in .venv: their tests may not be skipped
# A file's tests share its models, so a process takes whole files.
.venv/bin/python -m pytest -q -rs --tb=short -n "$jobs" --dist loadfile --junitxml=build/test/pytest.xml || failed=1

say "results"
"$python" scripts/report_tests.py build/test/ctest.xml build/test/pytest.xml || failed=1
exit "$failed"
