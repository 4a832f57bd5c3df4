# shellcheck shell=bash
# Acceptance of issue C, Host speed. Sourced by scripts/accept.sh. Needs a machine that does nothing else: two idle cores.

parts=(build instructions kernels choice run_1 run_2 run_3 verdict)

part_build() {
  scripts/install-deps.sh
  cmake --preset release >/dev/null && cmake --build --preset release
}

# 3. An 8-byte AllReduce takes at most 250 instructions; the other small calls keep their budgets.
part_instructions() {
  ctest --preset release -L guard --verbose
  ctest --preset release -R '^collective_cost$' --verbose | awk '
    /AllReduce of 8 bytes/ { seen = 1; for (i = 1; i < NF; ++i) if ($(i + 1) == "instructions") taken = $i }
    END { if (!seen || taken > 250) { print "an 8-byte AllReduce takes " taken " instructions, allowed are 250"; exit 1 } }'
}

# 5. Every datatype and operation in cache and in memory, against the streams of the same run or what its instructions allow.
part_kernels() { for _ in 1 2 3; do build/release/bin/kernels_bench --judge; done; }

# 6. On 95 % of points the planner's choice is within 10 % of the fastest candidate.
part_choice() {
  build/release/bin/tutti tune --out build/compare/profile.json
  build/release/bin/tutti tune --check --profile build/compare/profile.json
}

# 1, 2, 3, 4. Three whole runs beside the peers, judged together.
part_run_1() { rm -rf build/compare/acceptance; perf/compare/compare --out build/compare/acceptance; }
part_run_2() { perf/compare/compare --out build/compare/acceptance; }
part_run_3() { perf/compare/compare --out build/compare/acceptance; }
part_verdict() { perf/compare/compare report --accept build/compare/acceptance/run-*.json; }
