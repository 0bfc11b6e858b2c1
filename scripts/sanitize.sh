#!/usr/bin/env bash
# The C++ and command-line tests under AddressSanitizer with UndefinedBehaviorSanitizer, then under
# ThreadSanitizer. Arguments choose: address, thread.
set -euo pipefail
source "$(dirname "$0")/common.sh"

need_packages cmake g++ ninja-build pkg-config libcli11-dev nlohmann-json3-dev libgtest-dev -- ccache
use_ccache
[ $# -gt 0 ] || set -- address thread
export UBSAN_OPTIONS=print_stacktrace=1
export ASAN_OPTIONS=allocator_may_return_null=1  # as the allocator of everybody else does
export TSAN_OPTIONS=allocator_may_return_null=1
export OCTAVO_TEST_PATIENCE=20  # times as long as tests wait elsewhere
failed=()
for preset in "$@"; do
  say "$preset: build/$preset"
  cmake --preset "$preset" >/dev/null
  cmake --build --preset "$preset" -j "$jobs"
  # The preset excludes the installation tests: nested builds under a sanitizer take hours.
  ctest --preset "$preset" -j "$jobs" || failed+=("$preset")
done
[ ${#failed[@]} -eq 0 ] || die "tests failed under: ${failed[*]}"
say "all tests passed under: $*"
