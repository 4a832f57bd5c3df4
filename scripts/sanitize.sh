#!/usr/bin/env bash
# Builds and runs tests under a sanitizer: scripts/sanitize.sh asan|tsan. Address and undefined-behaviour checks take every test that
# does not drive installed programs; the thread sanitizer takes those in which threads meet (ranks as threads over one mapping).
set -euo pipefail
cd "$(dirname "$0")/.."

preset=${1:?asan or tsan}
# The fuzz targets' own program, scripts/fuzz.sh, runs under the sanitizers too.
cmake --preset "$preset" -DTUTTI_BUILD_PERF=OFF -DTUTTI_FUZZ_REPLAYS=OFF >/dev/null
if [[ $preset == tsan ]]; then
  tests=(exec_test base_wait_test base_control_thread_test bootstrap_join_test planner_test device_shared_memory_test
         comm_parts_test api_groups_test api_repeated_test api_repeated_p2p_test api_lifecycle_test transport_conformance_test
         transport_network_test transport_failover_test transport_ucx_test transport_nccl_net_test transport_named_conformance_test)
  cmake --build --preset tsan --target "${tests[@]}" conformance
  pattern=$(IFS='|'; echo "${tests[*]}")
  ctest --preset tsan -R "^($pattern|conformance_sample)\$"
else
  cmake --build --preset asan
  ctest --preset asan -j 2 -LE 'long|project|launch|guard|failure|vm'
  # Samples of what takes long.
  build/asan/tests/failure/mismatch --trials 100 --matching 2000
  build/asan/tests/failure/survive --trials 60
  build/asan/tests/failure/endure --rounds 10
fi
