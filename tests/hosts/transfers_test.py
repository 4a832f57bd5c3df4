"""One-sided transfers between hosts of the test bed: transfer_perf, which gets back what it has put and compares, over two rails; with a rail that goes
in the middle, and with a target's host that vanishes.

    transfers_test.py FOLDER_OF_THE_BINARIES
"""
import os
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from hosts import SKIPPED, Bed, why_not, wait_until  # pylint: disable=wrong-import-position

PERF = os.path.join(os.path.abspath(sys.argv[1]), "transfer_perf")
PATIENCE = 6  # TUTTI_NET_TIMEOUT, seconds


def check(what, condition, *details):
    if not condition:
        raise AssertionError("\n".join([what, *map(str, details)]))


class Target:
    """transfer_perf --serve on node1."""

    def __init__(self, bed, encrypt):
        self.file = os.path.join(bed.folder, "invitation")
        if os.path.exists(self.file):
            os.remove(self.file)
        self.environment = {"TUTTI_NET_TIMEOUT": str(PATIENCE), "TUTTI_ENCRYPT": "1" if encrypt else "0"}
        self.process = bed.popen("node1", [PERF, "--serve", self.file], env=self.environment, stderr=subprocess.PIPE, text=True)
        wait_until(lambda: os.path.exists(self.file) or self.process.poll() is not None, 20, "the target serves")
        check("the target serves", self.process.poll() is None, self.process.stderr)

    def initiator(self, bed, *flags):
        return bed.popen("node0", [PERF, "--with", self.file, *flags], env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stderr.close()


def bytes_on(bed, rail):
    return bed.sent_bytes("node0", rail) + bed.sent_bytes("node1", rail)


def measure(bed, encrypt):
    target = Target(bed, encrypt)
    try:
        before = [bytes_on(bed, rail) for rail in (0, 1)]
        initiator = target.initiator(bed, "-b", "4K,64K,1M", "--batches", "1,16", "-n", "3", "-w", "1", "--best", "0")
        out, err = initiator.communicate(timeout=90)
        check("putv and getv between hosts", initiator.returncode == 0, out, err)
        rows = [line.split() for line in out.splitlines() if not line.startswith("#")]
        check("six rows, none wrong", [row[-1] for row in rows] == ["0"] * 6, out)
        carried = [bytes_on(bed, rail) - before[rail] for rail in (0, 1)]
        # How much is the rails' speeds' affair, which here are the speed of a busy machine.
        check("both rails carried bytes", min(carried) > sum(carried) / 50, carried)
        check("the target ends well", target.process.wait(timeout=20) == 0)
        print(f"{'sealed ' if encrypt else ''}putv and getv over two rails: ok, {carried} bytes", flush=True)
    finally:
        target.end()


def lose_a_rail(bed):
    target = Target(bed, False)
    try:
        began = bytes_on(bed, 0)
        initiator = target.initiator(bed, "-b", "1M", "--batches", "16", "-n", "150", "-w", "1", "--best", "0")
        wait_until(lambda: bytes_on(bed, 0) - began > 64 << 20, 30, "rail 0 carries bytes")
        bed.link("node1", 0, False)
        out, err = initiator.communicate(timeout=120)
        check("a rail that goes costs no transfer", initiator.returncode == 0, out, err)
        print("a rail that goes in the middle: ok", flush=True)
    finally:
        bed.heal()
        target.end()


def lose_the_host(bed):
    target = Target(bed, False)
    try:
        began = bytes_on(bed, 0)
        initiator = target.initiator(bed, "-b", "1M", "--batches", "16", "-n", "100000", "-w", "1", "--best", "0")
        wait_until(lambda: bytes_on(bed, 0) - began > 64 << 20, 30, "rail 0 carries bytes")
        for rail in (0, 1):
            bed.blackhole("node1", rail)
        lost = time.monotonic()
        _, err = initiator.communicate(timeout=60)
        seconds = time.monotonic() - lost
        check("who is lost is named", initiator.returncode == 2 and "agent 'transfer_perf target'" in err, err)
        check("in time", seconds < PATIENCE * 1.5 + 8, seconds)
        print(f"a host that vanishes: told after {seconds:.1f} s", flush=True)
    finally:
        bed.heal()
        target.end()


def main():
    reason = why_not()
    if reason:
        print(f"skipped: {reason}")
        return SKIPPED
    with Bed(hosts=2, rails=2) as bed:
        measure(bed, False)
        measure(bed, True)
        lose_a_rail(bed)
        lose_the_host(bed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
