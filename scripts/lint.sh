#!/usr/bin/env bash
# Format and clang-tidy; any finding fails.
#   scripts/lint.sh            every unit
#   scripts/lint.sh --recent   units that changed, or that include a header that changed, in the last five hours, and a third of the others,
#                              another one for each commit; where there is no history, every unit
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/format.sh
# clang does not read g++'s precompiled headers.
cmake --preset release -B build/lint -DTUTTI_PCH=OFF >/dev/null
# The peers' programs of perf/compare need the peers' headers, which only that command installs.
peers=(':!perf/compare/ranks/mpi_rank.cc' ':!perf/compare/ranks/gloo_rank.cc' ':!perf/compare/ranks/oneccl_rank.cc')
mapfile -t units < <(git ls-files -- 'src/*.cc' 'topology/*.cc' 'transport/*.cc' 'perf/*.cc' "${peers[@]}")
if [[ "${1:-}" == --recent ]]; then
  mapfile -t units < <(printf '%s\n' "${units[@]}" | python3 scripts/recent_units.py)
fi
echo "clang-tidy: ${#units[@]} units"
printf '%s\0' "${units[@]}" |
  xargs -0 -n 4 -P "$(nproc)" clang-tidy --quiet --extra-arg=-Wno-unknown-warning-option -p build/lint
