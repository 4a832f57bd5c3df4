# shellcheck shell=bash
# Acceptance of issue F, CUDA. Sourced by scripts/accept.sh. Needs nvcc for the static proof, and root for namespace hosts.

parts=(build conformance weak_seeds bugs drop_in topology static without_nvcc nodes failures
       product_0 product_1 product_2 product_3 product_4 product_5 product_6 product_7
       product_8 product_9 product_10 product_11 product_12 product_13 product_14 product_15)

part_build() {
  scripts/install-deps.sh
  cmake --preset release >/dev/null && cmake --build --preset release
}

# 1. Every collective, data type, operation and protocol on simulated devices: pairs of all factors, strict; a sample in weak mode; kernels by
#    themselves. The full product: parts product_0 to product_15.
part_conformance() { ctest --preset release -R '^(conformance_devices|conformance_devices_weak|cuda_.*)$'; }

# 2. Fifty seeds of the weak mode; then each seeded bug.
part_weak_seeds() { ctest --preset release --parallel 2 -R '^conformance_devices_weak_[0-9]+$'; }
part_bugs() { ctest --preset release -R '^cudasim_'; }

# 3. Programs written for NCCL, over host and device memory; the symbols.
part_drop_in() { ctest --preset release -R '^nccl_'; }

# 4. NVML and sysfs of a simulated DGX H100 beside its NCCL XML.
part_topology() { ctest --preset release -R '^(cudasim_machine|topology_.*)$'; }

# 5. Registers, spills and widths of accesses; no libcuda; no nvcc.
part_static() { ctest --preset release --verbose -R '^(cuda_static_proof|device_without_cuda)$'; }
part_without_nvcc() {
  cmake --preset release -B build/without_nvcc -DTUTTI_CUDA=OFF >/dev/null
  cmake --build build/without_nvcc --target tutti all_reduce_perf
  build/without_nvcc/bin/tutti doctor
  build/without_nvcc/bin/tutti run -n 2 build/without_nvcc/bin/all_reduce_perf -b 8 -e 1M -f 4
}

# 6. Two nodes of four devices, tcp between them, also with a rail that breaks. 7. Ranks that die, abort, disagree or never come.
part_nodes() { ctest --preset release -R '^devices_nodes'; }
part_failures() { ctest --preset release -R '^devices_'; }

for part in {0..15}; do
  eval "part_product_$part() { ctest --preset release -R '^conformance_devices_full_$part\$'; }"
done
