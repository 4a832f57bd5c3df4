#!/usr/bin/env bash
# Installs, builds and runs the whole suite, except what is labelled long, or with --long first all of it. Further arguments go to ctest (e.g. -L unit).
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/install-deps.sh
cmake --preset release -DTUTTI_BUILD_TESTS=ON >/dev/null
cmake --build --preset release
selection=(-LE long)
if [[ "${1:-}" == --long ]]; then
  selection=()
  shift
fi
ctest --preset release --parallel 2 "${selection[@]}" "$@"
