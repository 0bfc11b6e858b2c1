#!/usr/bin/env bash
# The documentation site in build/site, by MkDocs; a link or heading that does not exist is an error.
set -euo pipefail
source "$(dirname "$0")/common.sh"

mapfile -t for_python < <(python_packages)
need_packages "${for_python[@]}"
packages=(mkdocs==1.6.1 mkdocs-material==9.8.2 'mkdocstrings[python]==1.0.8' mkdocstrings-python==2.0.11)
venv=build/docs_venv
if [ "$(cat $venv/ready 2>/dev/null)" != "${packages[*]}" ]; then
  "$python" -m venv --clear $venv
  $venv/bin/python -m pip install --disable-pip-version-check --quiet "${packages[@]}"
  echo "${packages[*]}" >$venv/ready
fi
"$python" scripts/docs_source.py build/docs_source
# --quiet would make --strict blind. The variable turns an announcement of the theme off.
NO_MKDOCS_2_WARNING=true $venv/bin/mkdocs build --strict >build/docs.log 2>&1 ||
  { grep -v '^INFO' build/docs.log >&2; exit 1; }
# The parameters of scripts/griffe_signatures.py, not the dictionary in the source.
! grep -q '>arguments<' build/site/docs/reference.html || die "the API reference shows a parameter named arguments"
printf 'build/site: %s pages\n' "$(find build/site -name '*.html' | wc -l)"
