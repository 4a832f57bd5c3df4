"""Starts many ranks on this machine under `tutti run` and holds time and memory of the start against their limits.

    crowd_test.py TUTTI CROWD RANKS SECONDS PRIVATE_KIB

Time is from the command's start to the last communicator; memory is what each process holds for itself (smaps_rollup, Private_*) before first use.
"""
import re
import subprocess
import sys
import time

TUTTI, CROWD = sys.argv[1:3]
RANKS, SECONDS, PRIVATE_KIB = int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5])
READY = re.compile(r"ready (\d+) (\d+) before (\d+)")


def main():
    start = time.monotonic_ns()
    done = subprocess.run([TUTTI, "run", "-n", str(RANKS), "--timeout", "200", CROWD], capture_output=True, text=True, timeout=230, check=False)
    end = time.monotonic_ns()
    ready = [tuple(map(int, m.groups())) for m in map(READY.search, done.stdout.splitlines()) if m]
    used = sum("used" in line for line in done.stdout.splitlines())
    if done.returncode != 0 or len(ready) != RANKS or used != RANKS:
        print(done.stdout[-3000:], done.stderr[-3000:])
        sys.exit(f"expected {RANKS} ranks that are ready and use their communicator, got {len(ready)} and {used}, status {done.returncode}")
    seconds = (max(at for at, _, _ in ready) - start) / 1e9
    memory = sorted(kib for _, kib, _ in ready)
    base = sorted(kib for _, _, kib in ready)
    print(f"{RANKS} ranks: all communicators after {seconds:.2f} s (limit {SECONDS:g} s); private memory {memory[len(memory) // 2]} KiB at the "
          f"median, {memory[-1]} KiB at most (limit {PRIVATE_KIB} KiB), {base[len(base) // 2]} KiB of it before the library was called; "
          f"whole job {(end - start) / 1e9:.2f} s")
    if seconds > SECONDS or memory[-1] > PRIVATE_KIB:
        sys.exit("too slow or too much")


if __name__ == "__main__":
    main()
