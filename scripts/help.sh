#!/usr/bin/env bash
# Lists the targets of `make`.
cat <<'TEXT'
make demo          build the command-line tool, run every recipe on real Q, K and V, print one table
make test          build everything, run all tests (C++, command line, Python, installation, the README's examples)
make bench         octavo and other libraries in one run, about three minutes; ARGS=sweep, ARGS=micro: scripts/bench.sh
make bench-models  whole models with PyTorch's attention and octavo's; docs/models.md
make study-model   the recipes in a language model and in training; docs/study/model.md
make wheel         dist/octavo-*.whl
make docs          the documentation site, in build/site
make sanitize      the tests under the address, undefined-behaviour and thread sanitizers
make gpu-check     on a machine with an NVIDIA GPU: primitives, conformance, measurements, baselines (docs/cuda.md)
make format        clang-format-19 over the C, C++ and CUDA sources
TEXT
