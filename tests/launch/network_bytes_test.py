"""What two-level collectives send from host to host, counted while they run: processes over shared memory whose plans
are made for several hosts (TUTTI_LAYOUT), beside the least. Arguments: the folder of binaries, the counting program."""
import os
import subprocess
import sys

BIN, PROGRAM = sys.argv[1], sys.argv[2]
BYTES = str(720 * 1024)  # divided by every number of ranks, hosts and rails here
LAYOUTS = {"3x2": "0,0,1,1,2,2", "2x4": "0,0,0,0,1,1,1,1", "0,0,0,1,2,2": "0,0,0,1,2,2", "0,1,2,0,1,2": "0,1,2,0,1,2"}


def count(layout, algorithm, expected=0):
    ranks = str(len(LAYOUTS[layout].split(",")))
    environment = {**os.environ, "TUTTI_LAYOUT": layout, "TUTTI_ALGO": algorithm, "TUTTI_PROFILE": "none"}
    done = subprocess.run([os.path.join(BIN, "tutti"), "run", "-n", ranks, PROGRAM, BYTES, LAYOUTS[layout]],
                          env=environment, capture_output=True, text=True, timeout=120, check=False)
    print(f"{layout} {algorithm or 'chosen'}:\n{done.stdout}{done.stderr}", end="", flush=True)
    lines = [line for line in done.stdout.splitlines() if "of the least" in line]
    if len(lines) != 3 or (done.returncode != 0) != (expected != 0) or "WRONG" in done.stdout:
        sys.exit(f"{layout} {algorithm}: expected 3 collectives and status {expected}, got {done.returncode}")
    return lines


for each in LAYOUTS:
    count(each, "two_level")
count("3x2", "two_level_direct")
if not all("1.0000 of the least" in line for line in count("3x2", "two_level")):
    sys.exit("3x2: two_level sends exactly the least")
# The counter counts: a ring sends 1.25 times the least.
if "1.2500 of the least" not in count("3x2", "ring", 1)[0]:
    sys.exit("3x2: a ring's AllReduce sends 2 S (n-1)/n from each host, 1.25 times the least")
