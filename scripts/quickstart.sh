#!/usr/bin/env bash
# One command from a fresh Debian 12 to a running benchmark: installs, builds, shows the machine, runs an AllReduce over its cores
# with every result checked.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/install-deps.sh --build
cmake --preset release -DTUTTI_BUILD_TESTS=OFF >/dev/null
cmake --build --preset release

bin=build/release/bin
ranks=$(nproc)
((ranks >= 2)) || ranks=2
((ranks <= 16)) || ranks=16
echo
"$bin/tutti" topo
echo
echo "AllReduce between $ranks processes:"
"$bin/tutti" run -n "$ranks" all_reduce_perf -b 8 -e 64M -f 4
