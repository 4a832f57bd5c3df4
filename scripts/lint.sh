#!/usr/bin/env bash
# Format and lint; any finding fails. Needs a configured build/release (scripts/test.sh makes it).
set -euo pipefail
cd "$(dirname "$0")/.."

mapfile -t sources < <(git ls-files -- '*.cc' '*.h' '*.hpp')
clang-format --dry-run --Werror "${sources[@]}"

mapfile -t units < <(git ls-files -- 'src/*.cc' 'topology/*.cc' 'transport/*.cc' 'perf/*.cc')
printf '%s\0' "${units[@]}" | xargs -0 -n 4 -P "$(nproc)" clang-tidy --quiet -p build/release
