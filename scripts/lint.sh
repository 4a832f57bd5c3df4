#!/usr/bin/env bash
# Format and clang-tidy; any finding fails. Needs a configured build/release (scripts/test.sh makes it).
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/format.sh
mapfile -t units < <(git ls-files -- 'src/*.cc' 'topology/*.cc' 'transport/*.cc' 'perf/*.cc')
printf '%s\0' "${units[@]}" |
  xargs -0 -n 4 -P "$(nproc)" clang-tidy --quiet --extra-arg=-Wno-unknown-warning-option -p build/release
