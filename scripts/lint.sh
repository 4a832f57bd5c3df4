#!/usr/bin/env bash
# Format and clang-tidy; any finding fails.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/format.sh
# clang does not read g++'s precompiled headers.
cmake --preset release -B build/lint -DTUTTI_PCH=OFF >/dev/null
# The peers' programs of perf/compare need the peers' headers, which only that command installs.
peers=(':!perf/compare/ranks/mpi_rank.cc' ':!perf/compare/ranks/gloo_rank.cc' ':!perf/compare/ranks/oneccl_rank.cc')
mapfile -t units < <(git ls-files -- 'src/*.cc' 'topology/*.cc' 'transport/*.cc' 'perf/*.cc' "${peers[@]}")
printf '%s\0' "${units[@]}" |
  xargs -0 -n 4 -P "$(nproc)" clang-tidy --quiet --extra-arg=-Wno-unknown-warning-option -p build/lint
