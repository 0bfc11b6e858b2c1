#!/usr/bin/env bash
# The wheel in dist as a new user meets it: installed in a fresh environment, with NumPy only, it passes tests/wheel,
# mypy --strict accepts a program that uses every public name, and the package itself, with torch and the other
# frameworks of .venv if make test has made it.
set -euo pipefail
source "$(dirname "$0")/common.sh"

tag=$(python_tag "$python")
mapfile -t wheels < <(ls dist/octavo-*-"$tag"-*.whl 2>/dev/null)
[ ${#wheels[@]} -eq 1 ] || die "dist has ${#wheels[@]} wheels for $tag; make wheel makes one"

mypy=build/mypy_venv
if [ ! -x $mypy/bin/mypy ]; then
  "$python" -m venv --clear $mypy
  $mypy/bin/python -m pip install --disable-pip-version-check --quiet mypy==2.4.1
fi
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
"$python" -m venv "$fresh/venv"
"$fresh/venv/bin/python" -m pip install --disable-pip-version-check --quiet "${wheels[0]}"

# Elsewhere than in the repository, so that only the installed package is found.
"$python" scripts/readme_examples.py python >"$fresh/readme.py"
wheel=$(realpath "${wheels[0]}") tests=$PWD/tests/wheel
(cd "$fresh" && venv/bin/python -I "$tests/smoke.py" "$wheel" readme.py && venv/bin/python -I "$tests/public_api.py")
$mypy/bin/mypy --strict --cache-dir "$fresh/mypy" --python-executable "$fresh/venv/bin/python" tests/wheel/public_api.py
if [ -e .venv/octavo-ready ]; then frameworks=$PWD/.venv/bin/python; else frameworks=$fresh/venv/bin/python; fi
ln -s "$("$fresh/venv/bin/python" -I -c 'import octavo, os; print(os.path.dirname(octavo.__file__))')" "$fresh/octavo"
$mypy/bin/mypy --config-file pyproject.toml --cache-dir "$fresh/mypy" --python-executable "$frameworks" "$fresh/octavo"
