# shellcheck shell=bash disable=SC2034,SC2317
# The acceptance of issue G (MoE and one-sided transfers), read by scripts/accept.sh.
parts=(build conformance devices sanitizers hosts killed bytes speed_2 speed_4 speed_8 transfers)

part_build() {
  cmake --preset release -DTUTTI_BUILD_PERF=ON
  cmake --build build/release
}

# 1. The conformance list over threads and processes, and a sample of everything else; what the C API refuses; 10,000 layers.
part_conformance() {
  build/release/tests/moe/moe_conformance --named --sample 4000 --seed 2
  ctest --preset release -R '^(kernels_token_rows_test|api_moe_test|api_moe_howto.*|moe_perf|fuzz_moe_routes)$' --output-on-failure
}

# The same list on simulated GPUs, in weak mode too; ranks that are killed; what can be said of the kernels without a GPU.
part_devices() {
  ctest --preset release -R '^(moe_devices.*|cuda_static_proof)$' --output-on-failure
}

part_sanitizers() {
  local preset
  for preset in asan tsan; do
    cmake --preset "$preset" -DTUTTI_CUDA=OFF
    cmake --build "build/$preset" --target moe_conformance
    TSAN_OPTIONS=atexit_sleep_ms=0 "build/$preset/tests/moe/moe_conformance" --sample 300 --most-ranks 5 --filter threads
  done
}

# Over the network, on hosts made of namespaces.
part_hosts() { ctest --preset release -R '^hosts_moe(_all)?$' --output-on-failure; }

# 4. A rank killed in each phase: named in time, masked, survivors right, a new process in its place.
part_killed() { build/release/tests/moe/moe_survive --trials 300; }

run_moe() { build/release/bin/tutti run -n "$1" moe_perf "${@:2}"; }
export -f run_moe

# 2. Bytes on the wire at most 1.02 of their bound, bytes in memory at most 1.10 of their formula.
part_bytes() {
  local n
  for n in 2 4 8; do
    run_moe "$n" --tokens 512 --skew uniform,node-limited,zipf --naive 0 -n 3 -J "/tmp/moe_bytes.$$.json"
    python3 - "/tmp/moe_bytes.$$.json" <<'PY'
import json, sys
for row in json.load(open(sys.argv[1], encoding="utf-8"))["results"]:
    assert row["wire_over_bound"] <= 1.02 and row["copies_over_formula"] <= 1.10, row
PY
  done
  rm -f "/tmp/moe_bytes.$$.json"
}

# 3. Beside the pipeline of AllToAllv: at least 1.4 times as fast at 4,096 tokens, twice at 8 and fewer, nowhere slower. 16,384 tokens
# where memory allows: 2 ranks.
compare() {
  local n=$1 tokens=$2
  run_moe "$n" --tokens "$tokens" --skew uniform,node-limited,zipf -J "/tmp/moe_speed.$$.json"
  python3 - "/tmp/moe_speed.$$.json" <<'PY'
import json, sys
missed = []
for row in json.load(open(sys.argv[1], encoding="utf-8"))["results"]:
    wanted = 2.0 if row["tokens"] <= 8 else 1.4 if row["tokens"] == 4096 else 1.0
    if row["wrong"] != 0 or row["ratio"] < wanted:
        missed.append((row["skew"], row["tokens"], round(row["ratio"], 2), wanted))
print("missed:", missed)
sys.exit(bool(missed))
PY
  rm -f "/tmp/moe_speed.$$.json"
}
export -f compare
part_speed_2() { compare 2 1,2,4,8,16,64,256,1024,4096,16384; }
part_speed_4() { compare 4 1,2,4,8,16,64,256,1024,4096; }
part_speed_8() { compare 8 1,2,4,8,16,64,256,1024,4096; }

# One-sided transfers: by memory and by sockets, processes that are killed and stopped, rails that go, under the thread sanitizer; putv and getv
# reach 0.9 of their transport's best with blocks of 1 MiB, 0.8 with blocks of 64 KiB. Best of three runs: other work on the machine only slows.
fast_enough() {
  local i
  for i in 1 2 3; do
    if build/release/bin/transfer_perf --ways "$1" -b 64K,1M --expect "$2"; then return 0; fi
  done
  return 1
}
export -f fast_enough
part_transfers() {
  ctest --preset release -R '^(transfer_.*_test|api_transfer_.*|fuzz_transfer_blob|hosts_transfers)$' --output-on-failure
  cmake --preset tsan -DTUTTI_CUDA=OFF
  cmake --build build/tsan --target transfer_parts_test transfer_agent_test
  build/tsan/tests/unit/transfer_parts_test
  build/tsan/tests/unit/transfer_agent_test
  local way missed=()
  for way in mapped tcp plain; do
    fast_enough "$way" 64K:0.8,1M:0.9 || missed+=("$way")
  done
  echo "missed: ${missed[*]:-none}"
  ((${#missed[@]} == 0))
}
