"""Two unequal rails together: sends over both reach 0.95 of what iperf3 carries over each, in the same run.

    rails_test.py FOLDER_OF_THE_BINARIES [--bytes N] [--rates 1gbit,100mbit] [--iterations N] [--seconds S] [--binary sendrecv]
"""
import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from hosts import SKIPPED, Bed, why_not, wait_until  # pylint: disable=wrong-import-position

STREAMS = 2  # TUTTI_TCP_SOCKETS' default
SHARE = 0.95


def iperf(bed, rail, seconds):
    """MB/s of user data each way over one rail, both ways at once, as in a sendrecv."""
    server = bed.popen("node1", ["iperf3", "-s", "-1", "-B", bed.address("node1", rail)], stdout=subprocess.DEVNULL)
    try:
        listening = lambda: bed.net_run("node1", ["ss", "-H", "-t", "-l", "-n", "sport", "=", ":5201"]).strip()
        wait_until(listening, 5, "iperf3 listens")
        done = bed.run("node0", ["iperf3", "-c", bed.address("node1", rail), "-B", bed.address("node0", rail), "-P", str(STREAMS),
                                 "-t", str(seconds), "-O", "1", "-J", "--bidir"])
        end = json.loads(done.stdout)["end"]
        return (end["sum_received"]["bits_per_second"] + end["sum_received_bidir_reverse"]["bits_per_second"]) / 2 / 8e6
    finally:
        server.kill()
        server.wait()


def measure(bed, args):
    """Bus bandwidth in MB/s."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("TUTTI_") or k in ("TUTTI_SLOTS", "TUTTI_SLOT_BYTES", "TUTTI_TCP_SOCKETS",
                                                                                       "TUTTI_CHANNELS")}
    done = subprocess.run([os.path.join(args.bin, "tutti"), "run", "--rsh", os.path.join(HERE, "rsh"), "--hosts", "node0:1,node1:1",
                           os.path.join(args.bin, args.binary + "_perf"), "-b", str(args.bytes), "-e", str(args.bytes), "-n",
                           str(args.iterations), "-w", "2", "-c", "1"],
                          env={**clean, **bed.environment()}, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False)
    found = re.search(r"# Avg bus bandwidth\s*:\s*([\d.]+)", done.stdout)
    if done.returncode != 0 or not found:
        raise AssertionError(f"{args.binary}: {done.stdout}\n{done.stderr}")
    return float(found[1]) * 1e3


def options():
    parser = argparse.ArgumentParser()
    parser.add_argument("bin")
    parser.add_argument("--bytes", type=int, default=64 << 20)
    parser.add_argument("--rates", default="1gbit,100mbit")
    parser.add_argument("--iterations", type=int, default=8)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--binary", default="sendrecv")
    parser.add_argument("--tries", type=int, default=3, help="the best counts: the machine's other work only slows")
    args = parser.parse_args()
    args.bin = os.path.abspath(args.bin)
    return args


def main():
    args = options()
    reason = why_not() or (None if shutil.which("iperf3") else "iperf3 is not installed")
    if reason:
        print(f"skipped: {reason}")
        return SKIPPED
    best = 0
    with Bed(hosts=2, rails=2) as bed:
        for rail, rate in enumerate(args.rates.split(",")):
            bed.shape("node1", rail, rate)
        for _ in range(args.tries):
            alone = [iperf(bed, rail, args.seconds) for rail in range(2)]
            before = [bed.sent_bytes("node0", rail) for rail in range(2)]
            began = time.monotonic()
            both = measure(bed, args)
            sent = [bed.sent_bytes("node0", rail) - was for rail, was in enumerate(before)]
            best = max(best, both / sum(alone))
            print(f"iperf3 {alone[0]:.1f} + {alone[1]:.1f} MB/s, {args.binary} over both {both:.1f} MB/s: {both / sum(alone):.3f}; "
                  f"sent {sent[0] / 1e6:.0f} + {sent[1] / 1e6:.0f} MB in {time.monotonic() - began:.1f} s", flush=True)
            if best >= SHARE:
                return 0
    print(f"FAILED: expected at least {SHARE} of the rails' sum, got {best:.3f}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
