"""A kernel call of a small message costs a few dozen instructions (valgrind; dispatch included, the caller's own part left out)."""
import os
import re
import shutil
import subprocess
import sys
import tempfile

PROGRAM = sys.argv[1]
CALLS = (10000, 60000)
SKIPPED = 77  # what ctest takes for "skipped"
INT8, FLOAT16, FLOAT32, BFLOAT16 = 0, 6, 7, 9
# (what, kind, dtype, elements, sources, most instructions)
BUDGETS = [
    ("float32 sum of 2, 8 bytes", "reduce", FLOAT32, 2, 2, 40),
    ("float32 sum of 2, 56 bytes", "reduce", FLOAT32, 14, 2, 40),
    ("int8 sum of 2, 8 bytes", "reduce", INT8, 8, 2, 40),
    ("int8 sum of 2, 56 bytes", "reduce", INT8, 56, 2, 40),
    ("float16 sum of 2, 8 bytes", "reduce", FLOAT16, 4, 2, 80),
    ("bfloat16 sum of 2, 8 bytes", "reduce", BFLOAT16, 4, 2, 100),
    ("copy as a reduction, 8 bytes", "reduce", FLOAT32, 2, 1, 40),
    ("copy, 8 bytes", "copy", INT8, 8, 1, 20),
    ("copy, 56 bytes", "copy", INT8, 56, 1, 25),
]


def instructions(folder, *arguments):
    """Inside of main(): before it, libhwy measures the clock, in more or fewer instructions each time."""
    out = os.path.join(folder, "out")
    done = subprocess.run(["valgrind", "--tool=callgrind", "--toggle-collect=main", f"--callgrind-out-file={out}", PROGRAM,
                           *map(str, arguments)], capture_output=True, text=True, timeout=100, check=True)
    return int(re.search(r"Collected : (\d+)", done.stderr).group(1))


def per_call(folder, *arguments):
    """Start and end of the process cancel out between two numbers of calls."""
    few, many = (instructions(folder, *arguments, calls) for calls in CALLS)
    return (many - few) / (CALLS[1] - CALLS[0])


def main():
    if shutil.which("valgrind") is None:
        print("skipped: valgrind is not installed; scripts/install-deps.sh does it")
        return SKIPPED
    too_many = []
    with tempfile.TemporaryDirectory() as folder:
        caller = per_call(folder, "none", FLOAT32, 2, 2)
        for what, kind, dtype, count, sources, most in BUDGETS:
            cost = per_call(folder, kind, dtype, count, sources) - (caller if kind == "reduce" else 0)
            print(f"{what}: {cost:.1f} instructions, at most {most}")
            if not 2 <= cost <= most:
                too_many.append(what)
    if too_many:
        raise AssertionError(f"out of budget: {', '.join(too_many)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
