#!/usr/bin/env bash
# Installs what building and testing needs, from Debian's packages. Does nothing when all of it is there.
#   scripts/install-deps.sh           build and test
#   scripts/install-deps.sh --build   only what quickstart needs
set -euo pipefail

build=(g++ cmake ninja-build ccache pkg-config libhwloc-dev nlohmann-json3-dev libcli11-dev libspdlog-dev libhwy-dev
       libsodium-dev libpugixml-dev liblemon-dev libibnetdisc-dev libibmad-dev libibumad-dev coinor-libclp-dev libibverbs-dev librdmacm-dev
       libucx-dev)
test=(libgtest-dev libgmock-dev libbenchmark-dev libboost-context-dev binutils python3 clang-format clang-tidy clang libclang-rt-14-dev git
      openmpi-bin libopenmpi-dev mpich procps valgrind libsimgrid-dev ibsim-utils opensm
      iproute2 nftables util-linux iperf3 libpmix-dev slurm-wlm slurm-wlm-basic-plugins munge
      qemu-system-x86 libibverbs-dev librdmacm-dev make xz-utils flex bison bc)

packages=("${build[@]}")
[[ "${1:-}" == --build ]] || packages+=("${test[@]}")

missing=()
for package in "${packages[@]}"; do
  [[ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" == installed ]] || missing+=("$package")
done
((${#missing[@]})) || exit 0

echo "installing: ${missing[*]}"
as_root=()
if [[ $EUID -ne 0 ]]; then
  command -v sudo >/dev/null || { echo "install-deps: not root and no sudo; install by hand: ${missing[*]}" >&2; exit 1; }
  as_root=(sudo)
fi
"${as_root[@]}" apt-get update -qq
DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
