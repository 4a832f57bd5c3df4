#!/usr/bin/env bash
# Installs, builds and runs the whole suite, except what is labelled long. Further arguments go to ctest (e.g. -L unit).
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/install-deps.sh
cmake --preset release -DTUTTI_BUILD_TESTS=ON >/dev/null
cmake --build --preset release
ctest --preset release -LE long "$@"
