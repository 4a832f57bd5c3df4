# shellcheck shell=bash
# Acceptance of issue D, Planner. Sourced by scripts/accept.sh.

parts=(build figures bounds time simulator fabric host_ranks fuzzing_topologies fuzzing_plans)

part_build() {
  scripts/install-deps.sh
  cmake --preset release >/dev/null && cmake --build --preset release
}

# 1. Every reference figure, as a rational; all subsets of a cube mesh.
part_figures() { ctest --preset release -R '^planner_(forest|hierarchy|alltoall)_test$'; }

# 2. Every machine, described or synthetic: the bound, forests within it, within the budget, never below rings; the documents' table.
part_bounds() { ctest --preset release -R '^planner_bounds_long$' --verbose; }

# 3. 8, 32, 1,024 and 16,384 GPUs.
part_time() { taskset -c 0 build/release/tests/planner/planning_time --judge; }

# 4. Closed forms, SimGrid, 1,024 GPUs.
part_simulator() { ctest --preset release -R '^(verify_simulator_test|simgrid_agreement)$' --verbose; }

# 5. A fat tree in ibsim, with opensm; a removed link.
part_fabric() { ctest --preset release -R '^(fabric_simulated|topology_fabric_test)$' --verbose; }

# 6. Plans for two DGX H100 on 16 host ranks.
part_host_ranks() { ctest --preset release -R '^plans_on_topologies$' --verbose; }

# 7. Each parser ten minutes; two run at a time.
part_fuzzing_topologies() {
  scripts/install-deps.sh
  scripts/fuzz.sh --seconds 600 nccl_xml ibnetdiscover topology_json topology_line topology_change
}
part_fuzzing_plans() {
  scripts/install-deps.sh
  scripts/fuzz.sh --seconds 600 certificate plan_json msccl_xml mscclpp_json nccl_graph
}
