"""Two hosts of four simulated GPUs each, with two rails between them, of which one is cut while collectives run: all results are right.

    rails_test.py BIN FOLDER_OF_ROUNDS CUDASIM_LIB KERNELS

`rounds` of tests/hosts is run by its failover test, each rank with a GPU: its buffers are host memory, which the calls copy to and from the GPU.
"""
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
FAILOVER = os.path.join(HERE, "..", "hosts", "failover_test.py")
RANKS = 4

# Stands in for rounds, in the host: the launcher passes nothing of the simulator's environment on.
WRAPPER = """#!/bin/bash
export LD_LIBRARY_PATH={lib} CUDASIM_TOPOLOGY="dgx-h100 x2" CUDASIM_MACHINE=$((TUTTI_RANK / {ranks})) CUDASIM_KERNELS={kernels}
export TUTTI_DEVICE=$TUTTI_LOCAL_RANK TUTTI_GPU_THREADS=64
exec {rounds} "$@"
"""


def main():
    folder, rounds, lib, kernels = map(os.path.abspath, sys.argv[1:5])
    with tempfile.TemporaryDirectory(prefix="tutti-gpu-rails-") as place:
        wrapper = os.path.join(place, "rounds")
        with open(wrapper, "w", encoding="ascii") as file:
            file.write(WRAPPER.format(lib=lib, kernels=kernels, ranks=RANKS, rounds=os.path.join(rounds, "rounds")))
        os.chmod(wrapper, 0o755)
        status = 0
        for kind in ("link", "blackhole"):
            done = subprocess.run([sys.executable, FAILOVER, folder, place, "--only", kind, "--trials", "2", "--ranks", str(RANKS)], check=False)
            status = status or done.returncode
        return status


if __name__ == "__main__":
    sys.exit(main())
