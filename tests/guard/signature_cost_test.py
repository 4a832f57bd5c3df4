"""Noticing mismatches costs at most 12 instructions per 8-byte exchange of a rank, and no shared cache line (valgrind)."""
import os
import re
import shutil
import subprocess
import sys
import tempfile

PROGRAM = sys.argv[1]
MOST_INSTRUCTIONS = 12
CALLS = (1000, 3000)
LINE_BYTES = 64
SKIPPED = 77  # what ctest takes for "skipped"


def instructions(variant, calls, folder):
    """Instructions of the whole process; start and end cancel out between two numbers of calls."""
    out = os.path.join(folder, f"{variant}.{calls}")
    done = subprocess.run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", PROGRAM, variant, str(calls)],
                          capture_output=True, text=True, timeout=250, check=True)
    return int(re.search(r"Collected : (\d+)", done.stderr).group(1))


def per_rank_and_call(variant, folder):
    few, many = (instructions(variant, calls, folder) for calls in CALLS)
    return (many - few) / (CALLS[1] - CALLS[0]) / 2


def shared_lines(variant):
    """Lines of the FIFOs that 8 calls load, store and modify."""
    done = subprocess.run(["valgrind", "--tool=lackey", "--trace-mem=yes", "--log-fd=2", PROGRAM, variant, "8"],
                          capture_output=True, text=True, timeout=250, check=True)
    base, size = (int(word, 16) for word in done.stdout.split())
    # After the memory has been zeroed, which touches all of it.
    lines = {"L": set(), "S": set(), "M": set()}
    seen_all = set()
    for kind, address in re.findall(r"^ ([LSM]) ([0-9a-f]+),", done.stderr, re.MULTILINE):
        line = (int(address, 16) - base) // LINE_BYTES
        if not 0 <= line < size // LINE_BYTES:
            continue
        if kind == "S" and len(seen_all) < size // LINE_BYTES:
            seen_all.add(line)
            continue
        lines[kind].add(line)
    return {kind: sorted(found) for kind, found in lines.items()}


def main():
    if shutil.which("valgrind") is None:
        print("skipped: valgrind is not installed; scripts/install-deps.sh does it")
        return SKIPPED
    with tempfile.TemporaryDirectory() as folder:
        with_signature = per_rank_and_call("signed", folder)
        without = per_rank_and_call("unsigned", folder)
    extra = with_signature - without
    print(f"8-byte exchange of a rank, one message each way: {with_signature:g} instructions, {without:g} without signature, "
          f"{extra:g} for it (at most {MOST_INSTRUCTIONS})")
    if without < 10 or extra <= 0:
        raise AssertionError("the program does not measure what it should")
    if extra > MOST_INSTRUCTIONS:
        raise AssertionError(f"the signature costs {extra:g} instructions, allowed are {MOST_INSTRUCTIONS}")
    lines = {variant: shared_lines(variant) for variant in ("signed", "unsigned")}
    print(f"shared lines: {lines['signed']}")
    if not lines["signed"]["L"] or not lines["signed"]["S"]:
        raise AssertionError(f"no access to the FIFO was seen: {lines}")
    if lines["signed"] != lines["unsigned"]:
        raise AssertionError(f"the signature touches other shared lines: {lines}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
