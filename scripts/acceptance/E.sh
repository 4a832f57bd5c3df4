# shellcheck shell=bash
# Acceptance of issue E, Networks. Sourced by scripts/accept.sh. Needs root (network namespaces) and builds the guests' kernels.

parts=(build conformance_here conformance_guest collectives_hosts collectives_guest launchers failover failover_guest throughput peers bytes scale)

part_build() {
  scripts/install-deps.sh
  cmake --preset release >/dev/null && cmake --build --preset release
}

# 1. The transport conformance suite over tcp, ucx and nccl_net (v6 to v12), and over rdma (rxe, siw) in the guests.
part_conformance_here() { ctest --preset release -R '^(transport_conformance_test|transport_named_conformance_all|transport_ucx_test|transport_nccl_net_test)$'; }
part_conformance_guest() { ctest --preset release -R '^vm_(prepare|rdma_qemu|rdma_rxe|rdma_siw|rdma_conformance)'; }

# 2. Collectives over 2, 3 and 4 hosts with 1 to 3 ranks each over shm + tcp, shm + ucx, shm + nccl_net; in the guest over rdma.
part_collectives_hosts() { ctest --preset release -R '^hosts_collectives(_ucx|_nccl_net)?_all$'; }
part_collectives_guest() { ctest --preset release -R '^vm_(prepare|rdma_collectives)'; }

# 3. mpirun over 3 hosts, srun by PMIx and PMI-2 with 2 slurmd, Hydra, variables alone.
part_launchers() { ctest --preset release -R '^launcher_'; }

# 4. 500 trials of each fault, total loss; queue pairs, links and a killed peer over rdma.
part_failover() { ctest --preset release -R '^(hosts_failover_all|transport_failover_test)$'; }
part_failover_guest() { ctest --preset release -R '^vm_(prepare|rdma_failover)'; }

# 5. Two unequal rails against their sum, three times; then iperf3, Open MPI and Gloo on hosts, ib_write_bw in the guest.
part_throughput() { for _ in 1 2 3; do python3 tests/hosts/rails_test.py build/release/bin; done; }
part_peers() { perf/compare/compare --network --guest --accept --budget 10 --out acceptance/E/compare; }

# 6. Bytes that cross from host to host, counted while a job runs.
part_bytes() { ctest --preset release -R '^(network_bytes_counted|planner_levels_test)$'; }

# 7. 256 ranks on this machine; the bootstrap of 10^5 ranks.
part_scale() { ctest --preset release -R '^(crowd_of_256|bootstrap_scale_long)$' --verbose; }
