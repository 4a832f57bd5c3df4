"""Runs the bandwidth binaries the ways users run them, and reads the table as scripts written for nccl-tests do."""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

BIN = sys.argv[1]
NUMBER = r"[-+0-9.e]+"
SIDE = rf"\s+({NUMBER}|N/A)\s+({NUMBER}|N/A)\s+({NUMBER}|N/A)\s+({NUMBER}|N/A)"
ROW = re.compile(rf"^\s*(\d+)\s+(\d+)\s+(\w+)\s+(\w+)\s+(-?\d+){SIDE}{SIDE}\s*$")
BINARIES = ["all_reduce", "all_gather", "reduce_scatter", "broadcast", "reduce", "alltoall", "alltoallv", "gather",
            "scatter", "sendrecv", "hypercube"]


def run(command, env=None, expect=0):
    full = dict(os.environ, **(env or {}))
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, env=full)
    if done.returncode != expect:
        raise AssertionError(f"{' '.join(command)}: exit {done.returncode}, expected {expect}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def check(what, condition, output):
    if not condition:
        raise AssertionError(f"{what}\n{output}")


def check_table(output, rows, ranks):
    lines = output.splitlines()
    found = [m for m in map(ROW.match, lines) if m]
    check(f"expected {rows} rows", len(found) == rows, output)
    check(f"expected {ranks} rank lines", sum(bool(re.match(r"#\s+Rank", x)) for x in lines) == ranks, output)
    check("no footer that says OK", "# Out of bounds values : 0 OK" in output, output)
    check("no average", re.search(r"# Avg bus bandwidth    : [0-9.e+]+", output), output)
    for m in found:
        check("wrong results", m.group(9) == "0" and m.group(13) in ("0", "N/A"), output)
        if m.group(7) != "N/A" and float(m.group(6)) > 100 and m.group(1) != "0":
            # GB/s as printed must be the size over the time as printed, to the digits that are shown.
            gbps = float(m.group(1)) / float(m.group(6)) / 1e3
            check("algbw is not size / time", abs(gbps - float(m.group(7))) <= 0.02 + 0.03 * gbps, output)


def path(name):
    return os.path.join(BIN, name)


def test_every_binary_with_threads():
    for name in BINARIES:
        check_table(run([path(name + "_perf"), "-t", "4", "-b", "64", "-e", "64K", "-f", "32", "-n", "2"]), 3, 4)


def test_several_ranks_per_thread():
    for name in BINARIES:
        check_table(run([path(name + "_perf"), "-t", "2", "-g", "2", "-b", "64", "-e", "64K", "-f", "32", "-n", "2"]), 3, 4)


def test_processes_and_threads():
    output = run([path("tutti"), "run", "-n", "2", path("all_reduce_perf"), "-t", "2", "-b", "8", "-e", "1M", "-f", "8", "-n", "2"])
    check_table(output, 6, 4)


def test_run_threads_flag():
    check_table(run([path("tutti"), "run", "-n", "3", "--threads", path("all_reduce_perf"), "-b", "8", "-e", "8", "-n", "2"]), 1, 3)


def test_mpirun():
    environment = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    for launcher in (["mpirun.openmpi", "--oversubscribe", "-n", "3"], ["mpirun.mpich", "-n", "3"]):
        if shutil.which(launcher[0]) is None:
            raise AssertionError(f"{launcher[0]} is not installed; scripts/install-deps.sh installs it")
        check_table(run(launcher + [path("all_reduce_perf"), "-b", "8", "-e", "32K", "-f", "16", "-n", "2"], environment), 4, 3)


def test_torchrun_environment():
    ranks = []
    for rank in range(2):
        env = dict(os.environ, RANK=str(rank), WORLD_SIZE="2", LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE="2",
                   MASTER_ADDR="127.0.0.1", MASTER_PORT="29517", TORCHELASTIC_RUN_ID=f"test{os.getpid()}")
        ranks.append(subprocess.Popen([path("all_reduce_perf"), "-b", "8", "-e", "8", "-n", "2"], stdout=subprocess.PIPE,
                                      stderr=subprocess.PIPE, text=True, env=env))
    outputs = [r.communicate(timeout=60) for r in ranks]
    check("torchrun ranks failed", all(r.returncode == 0 for r in ranks), str(outputs))
    check_table(outputs[0][0], 1, 2)
    check("rank 1 printed", outputs[1][0] == "", outputs[1][0])


def test_flags():
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "out.json")
        output = run([path("reduce_perf"), "-t", "3", "-b", "16", "-e", "48", "-i", "16", "-n", "2", "-w", "0", "-r", "-1", "-o", "max",
                      "-d", "half", "-a", "3", "-C", "1", "-u", "1", "-m", "2", "-N", "2", "-J", file])
        check_table(output, 3 * 3 * 2, 3)
        with open(file, encoding="utf-8") as stream:
            data = json.load(stream)
        check("JSON has other rows than the table", len(data["results"]) == 18 and data["out_of_bounds"]["okay"], str(data))
    for registration in "12":
        check_table(run([path("all_reduce_perf"), "-t", "2", "-b", "1M", "-e", "1M", "-R", registration, "-n", "2"]), 1, 2)
    output = run([path("all_reduce_perf"), "-t", "2", "-b", "8", "-e", "8", "-o", "all", "-d", "all", "-n", "1"])
    check_table(output, 72, 2)
    # A wrapper's flags come first; as with getopt, the last one holds.
    check_table(run([path("all_reduce_perf"), "-t", "1", "-b", "1M", "-e", "64M", "-t", "2", "-b", "8", "-e", "8", "-n", "1"]), 1, 2)
    output = run([path("all_reduce_perf"), "-t", "2", "-b", "8", "-e", "8", "-S", "1", "-I", "1", "-n", "5"])
    check("no timestamp", re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$", output, re.M), output)
    check("no iteration times", "median" in output, output)


def test_errors():
    for arguments in (["-b", "x"], ["-o", "nand"], ["-d", "int7"], ["-f", "1"], ["-b", "64", "-e", "8"], ["-G", "1"],
                      ["-T", "-1"]):
        done = subprocess.run([path("all_reduce_perf")] + arguments, capture_output=True, text=True, timeout=60)
        check(f"{arguments} accepted", done.returncode != 0 and done.stderr.strip() != "", done.stdout + done.stderr)
        check(f"{arguments}: unreadable message", max(len(line) for line in done.stderr.splitlines()) < 160, done.stderr)
    run([path("hypercube_perf"), "-t", "3", "-b", "64", "-e", "64"], expect=1)
    run([path("reduce_perf"), "-t", "2", "-b", "64", "-e", "64", "-r", "2"], expect=1)
    unwritable = subprocess.run([path("all_reduce_perf"), "-t", "2", "-b", "8", "-e", "8", "-J", "/no/such/folder/x.json"], capture_output=True,
                                text=True, timeout=60)
    check("unwritable -J found after the run", unwritable.returncode == 1 and "/no/such/folder" in unwritable.stderr and
          "Out of bounds" not in unwritable.stdout, unwritable.stdout + unwritable.stderr)
    help_text = run([path("all_reduce_perf"), "--help"])
    check("help lacks an example", "Example" in help_text, help_text)


def main():
    tests = [(name, test) for name, test in globals().items() if name.startswith("test_")]
    for name, test in tests:
        test()
        print(f"{name}: ok", flush=True)
    print(f"{len(tests)} passed, 0 failed")


if __name__ == "__main__":
    main()
