# shellcheck shell=bash
# Acceptance of issue B, Bounded failure. Sourced by scripts/accept.sh.

parts=(build kill_matrix mismatches shrink endure trace bootstrap simulation proofs fuzzing_texts fuzzing_messages)

part_build() {
  scripts/install-deps.sh
  cmake --preset release >/dev/null && cmake --build --preset release
}

# 1. Each collective, phase and rank of 4, killed and stopped; nothing is left behind.
part_kill_matrix() { build/release/tests/failure/survive --trials 2000; }

# 2. Mismatches of each field over 2 to 8 ranks, all named; 100,000 matching calls, none flagged.
part_mismatches() {
  build/release/tests/failure/mismatch --trials 5000 --matching 100000
  ctest --preset release -L guard # what noticing costs
}

# 3. The survivors of 4 and of 8 ranks shrink and go on; a job that fails a thousand times in a row grows back each time; a resumed
# rank changes nothing.
part_shrink() {
  build/release/tests/failure/survive --shrink --trials 1000
  ctest --preset release -R '^api_reshape_test$'
}

part_endure() { build/release/tests/failure/endure --rounds 1000; }

# 4. The recorder of a killed job names operation and rank; its trace file follows the schema.
part_trace() { ctest --preset release -R '^trace'; }

# 5. Random bytes, a wrong key, replays and 1,000 half-open connections disturb nothing.
part_bootstrap() { ctest --preset release -R '^bootstrap_failure_test$'; }

# 6. 100,000 seeds within 60 s of each of two cores, 10^6 in the long run, each planted bug within 10,000 seeds.
part_simulation() {
  build/release/tests/sim/sim --seeds 100000 --jobs 2 --limit 60
  build/release/tests/sim/sim_planted --find-planted --seeds 10000 --jobs 2
  build/release/tests/sim/sim --seeds 1000000 --first 1000000 --jobs 2
}

# Mutated plans before two judges; schedules; the same bits in deterministic mode.
part_proofs() { ctest --preset release -R '^(verify|planner|plans_from_files|deterministic)'; }

# 7. Each fuzzer runs ten minutes without a finding; two run at a time, so that each part takes less than an hour.
part_fuzzing_texts() {
  scripts/install-deps.sh
  scripts/fuzz.sh --seconds 600 plan_json msccl_xml topology_json topology_line config launch
}
part_fuzzing_messages() {
  scripts/install-deps.sh
  scripts/fuzz.sh --seconds 600 unique_id bootstrap_wire bootstrap_channel bootstrap_gate shm_hub network_frames tcp_frames transfer_blob recording
}
