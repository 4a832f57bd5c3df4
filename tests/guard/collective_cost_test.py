"""What a small call costs: instructions of one rank from the C API and back, counted by callgrind while the peer is always ahead."""
import os
import re
import shutil
import subprocess
import sys
import tempfile

PROGRAM = sys.argv[1]
CALLS = 200
SKIPPED = 77  # what ctest takes for "skipped"

# (call, bytes, most instructions). What they take today and a little more: a change that makes the short way longer is noticed.
BUDGETS = [
    ("AllReduce", 8, 250),
    ("AllReduce", 56, 285),
    ("AllGather", 8, 410),
    ("ReduceScatter", 8, 258),
    ("Broadcast", 8, 315),
    ("Barrier", 0, 360),
    ("AllToAll", 8, 410),
    ("Send", 8, 550),
    ("Recv", 8, 535),
]


def instructions(call, size, folder):
    """Of each call of rank 0. The cheapest one found its messages there: others have polled for them."""
    out = os.path.join(folder, f"{call}.{size}")
    command = [PROGRAM, "0", call, str(size), str(CALLS)]
    counted = subprocess.Popen(["valgrind", "--tool=callgrind", "--toggle-collect=counted_call", "--dump-after=counted_call",
                                f"--callgrind-out-file={out}", *command],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    peer = None
    try:
        peer = subprocess.Popen([PROGRAM, "1", *command[2:], counted.stdout.readline().strip()])
        _, errors = counted.communicate(timeout=120)
        if counted.returncode != 0 or peer.wait(timeout=20) != 0:
            raise AssertionError(f"{call} of {size} bytes failed: {errors}")
    finally:
        for process in (counted, peer):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()
    totals = []
    for number in range(1, CALLS + 1):
        with open(f"{out}.{number}", encoding="ascii") as dump:
            totals.append(int(re.search(r"^(?:totals|summary): (\d+)", dump.read(), re.MULTILINE).group(1)))
    return totals


def main():
    if shutil.which("valgrind") is None:
        print("skipped: valgrind is not installed; scripts/install-deps.sh does it")
        return SKIPPED
    over = []
    with tempfile.TemporaryDirectory() as folder:
        for call, size, most in BUDGETS:
            totals = instructions(call, size, folder)
            found = min(totals)
            print(f"{call} of {size} bytes, 2 ranks: {found} instructions (at most {most}; median with polling "
                  f"{sorted(totals)[CALLS // 2]})", flush=True)
            if not 20 < found <= most:
                over.append(f"{call} of {size} bytes takes {found} instructions, allowed are {most}")
    if over:
        raise AssertionError("; ".join(over))
    return 0


if __name__ == "__main__":
    sys.exit(main())
