"""MoE layers over hosts of the test bed: moe_perf, which checks every row and sum against a pipeline of AllToAllv, over 2 and 3 hosts.

    moe_test.py FOLDER_OF_THE_BINARIES FOLDER_OF_MET short|long
"""
import json
import os
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from hosts import SKIPPED, Bed, why_not  # pylint: disable=wrong-import-position

BIN = os.path.abspath(sys.argv[1])
MET = os.path.join(os.path.abspath(sys.argv[2]), "met")
SHORT = [(2, 1, []), (2, 2, ["--reduction", "hier"])]
LONG = SHORT + [(3, 1, ["--quant", "none"]), (2, 3, ["--quant", "mxfp8"]), (3, 2, ["--quant", "ue8m0", "--skew", "node-limited"]),
                (2, 2, ["--reduction", "once", "--skew", "zipf"])]
SETTINGS = ["--hidden", "1024", "--experts", "32", "--topk", "4", "--tokens", "0,1,8,300", "-n", "2", "-w", "1"]


def check(what, condition, *details):
    if not condition:
        raise AssertionError("\n".join([what, *map(str, details)]))


def run(bed, hosts, ranks, *command):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("TUTTI_")}
    names = ",".join(f"{name}:{ranks}" for name in bed.names[:hosts])
    return subprocess.run([os.path.join(BIN, "tutti"), "run", "--rsh", os.path.join(HERE, "rsh"), "--hosts", names, "--timeout", "120", *command],
                          env={**clean, **bed.environment()}, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=150, check=False)


def sent(bed, hosts):
    return sum(bed.sent_bytes(host, rail) for host in bed.names[:hosts] for rail in (0, 1))


def measure(bed, hosts, ranks, flags):
    what = f"moe_perf {' '.join(flags)} over {hosts} hosts x {ranks} ranks"
    before, began = sent(bed, hosts), time.monotonic()
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        done = run(bed, hosts, ranks, os.path.join(BIN, "moe_perf"), *SETTINGS, *flags, "-J", file.name)
        check(f"{what}: right results", done.returncode == 0, done.stdout, done.stderr)
        results = json.load(file)["results"]
    check(f"{what}: four rows, none wrong", [row["wrong"] for row in results] == [0] * 4, results)
    largest = results[-1]
    # Heads of rows are 2 % of rows as short as these.
    check(f"{what}: bytes near their bound", largest["wire_over_bound"] < 1.05, largest)
    # A share of the ranks is on the same host.
    remote = largest["wire_bytes"] * (hosts - 1) / hosts / 2
    check(f"{what}: the network carried it", sent(bed, hosts) - before > remote, sent(bed, hosts) - before, remote)
    print(f"{what}: ok, {time.monotonic() - began:.1f} s", flush=True)


def main():
    reason = why_not()
    if reason:
        print(f"skipped: {reason}")
        return SKIPPED
    cases = LONG if sys.argv[3] == "long" else SHORT
    with Bed(hosts=max(hosts for hosts, _, _ in cases), rails=2) as bed:
        met = run(bed, 2, 1, MET)
        check("ranks of two hosts meet", met.returncode == 0, met)
        if "no transport" in met.stdout:
            print("skipped: this build has no transport between hosts (no tcp)")
            return SKIPPED
        for hosts, ranks, flags in cases:
            measure(bed, hosts, ranks, flags)
    return 0


if __name__ == "__main__":
    sys.exit(main())
