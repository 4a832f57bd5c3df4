"""The collective suite over hosts of the test bed: every bandwidth binary, which checks its results, over 2 to 4 hosts with 1 to 3 ranks each.

    collectives_test.py FOLDER_OF_THE_BINARIES FOLDER_OF_MET short|long [ucx|nccl_net [PLUGIN]]

A transport named between the hosts takes tcp's place; then a killed rank must be noticed, too.
"""
import os
import re
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from hosts import SKIPPED, Bed, why_not  # pylint: disable=wrong-import-position

BIN = os.path.abspath(sys.argv[1])
MET = os.path.join(os.path.abspath(sys.argv[2]), "met")
BINARIES = ["all_reduce", "all_gather", "reduce_scatter", "broadcast", "reduce", "alltoall", "alltoallv", "gather", "scatter", "sendrecv",
            "hypercube"]
LAYOUTS = [(hosts, ranks) for hosts in (2, 3, 4) for ranks in (1, 2, 3)]
SAMPLE = {(2, 1): ["all_reduce"], (3, 2): ["all_reduce", "alltoall", "sendrecv"], (2, 3): ["broadcast"]}
LARGEST = 1 << 20
NETWORK = sys.argv[4] if len(sys.argv) > 4 else "tcp"
SETTINGS = {
    "tcp": {},
    "ucx": {"TUTTI_TRANSPORT": "shm,ucx"},
    # The test plugin listens on one interface; real ones find their devices.
    "nccl_net": {"TUTTI_TRANSPORT": "shm,nccl_net", "TUTTI_NET_PLUGIN": sys.argv[5] if len(sys.argv) > 5 else "",
                 "TUTTI_TEST_NET_INTERFACE": "eth0"},
}[NETWORK]
NAMED_LAYOUTS = [(hosts, ranks) for hosts in (2, 3) for ranks in (1, 2)]
NAMED_SAMPLE = {(2, 2): ["all_reduce"], (3, 1): ["alltoall"]}
NOTICED_SECONDS = 15  # the patience of TUTTI_NET_TIMEOUT, and the launcher's own
RULE = re.compile(r"^# Out of bounds values : 0 OK$", re.M)


def check(what, condition, *details):
    if not condition:
        raise AssertionError("\n".join([what, *map(str, details)]))


def run(bed, hosts, ranks, *command):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("TUTTI_")}
    names = ",".join(f"{name}:{ranks}" for name in bed.names[:hosts])
    return subprocess.run([os.path.join(BIN, "tutti"), "run", "--rsh", os.path.join(HERE, "rsh"), "--hosts", names, "--timeout", "120", *command],
                          env={**clean, **SETTINGS, **bed.environment()}, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=150, check=False)


def has_transport(bed):
    done = run(bed, 2, 1, MET)
    check("ranks of two hosts meet", done.returncode == 0, done)
    return "no transport" not in done.stdout


def why_not_network(bed):
    if NETWORK == "tcp":
        return None if has_transport(bed) else "this build has no transport between hosts (no tcp)"
    done = run(bed, 2, 1, MET)
    unusable = re.search(r"^.*(libucp|built without UCX).*$", done.stdout + done.stderr, re.M)
    return unusable.group(0) if unusable else None


def notice_kill(bed):
    """A rank on another host is killed amid collectives: the survivor says in time that it failed, and names the rank."""
    binary = os.path.join(BIN, "all_reduce_perf")
    endless = f"{binary} -b 64K -e 64K -n 1000000000 -w 1"
    # The shells stay, so that the launcher does not end the survivor.
    victim = f"{endless} & sleep 4; kill -9 $!; echo killed at $(date +%s.%N); sleep 60"
    survivor = f"{endless}; echo status $? at $(date +%s.%N); exit 1"
    done = run(bed, 2, 1, "sh", "-c", f"if test $TUTTI_RANK = 1; then {victim}; else {survivor}; fi")
    killed = re.search(r"killed at ([0-9.]+)", done.stdout)
    failed = re.search(r"status ([0-9]+) at ([0-9.]+)", done.stdout)
    check("the survivor's program ends", killed and failed and failed.group(1) != "0", done.stdout, done.stderr)
    seconds = float(failed.group(2)) - float(killed.group(1))
    check("after the other was killed, in time", 0 < seconds < NOTICED_SECONDS, seconds, done.stdout, done.stderr)
    named = re.search(r"^.*error.*\brank 1\b.*$", done.stderr, re.M | re.I)
    check("the error names the rank", named, done.stdout, done.stderr)
    print(f"a killed rank was noticed after {seconds:.2f} s: {named.group(0)}", flush=True)


def measure(bed, hosts, ranks, name):
    before = [bed.sent_bytes(host, 0) + bed.sent_bytes(host, 1) for host in bed.names[:hosts]]
    began = time.monotonic()
    # Sizes that are inline, staged in one slot, and in many.
    done = run(bed, hosts, ranks, os.path.join(BIN, name + "_perf"), "-b", "64", "-e", str(LARGEST), "-f", "128", "-c", "1", "-n", "2", "-w", "1")
    what = f"{name} over {hosts} hosts x {ranks} ranks"
    check(f"{what}: right results", done.returncode == 0 and RULE.search(done.stdout), done.stdout, done.stderr)
    after = [bed.sent_bytes(host, 0) + bed.sent_bytes(host, 1) for host in bed.names[:hosts]]
    sent = [b - a for a, b in zip(before, after)]
    check(f"{what}: the network carried it", sum(sent) > LARGEST // 2, sent)
    print(f"{what}: ok, {time.monotonic() - began:.1f} s, {sum(sent) / 1e6:.1f} MB sent", flush=True)


def main():
    reason = why_not()
    if reason:
        print(f"skipped: {reason}")
        return SKIPPED
    long = sys.argv[3] == "long"
    layouts, sample = (LAYOUTS, SAMPLE) if NETWORK == "tcp" else (NAMED_LAYOUTS, NAMED_SAMPLE)
    cases = {layout: BINARIES for layout in layouts} if long else sample
    with Bed(hosts=max(hosts for hosts, _ in cases), rails=2) as bed:
        reason = why_not_network(bed)
        if reason:
            print(f"skipped: {reason}")
            return SKIPPED
        for (hosts, ranks), names in cases.items():
            for name in names:
                if name == "hypercube" and (hosts * ranks) & (hosts * ranks - 1):
                    continue  # it takes powers of two only
                measure(bed, hosts, ranks, name)
        if NETWORK != "tcp":
            notice_kill(bed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
