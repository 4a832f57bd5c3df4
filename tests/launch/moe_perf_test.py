"""moe_perf as users run it: threads, processes, routings from a file, JSON, and what it says of wrong arguments.

    moe_perf_test.py FOLDER_OF_THE_BINARIES
"""
import json
import os
import re
import subprocess
import sys
import tempfile

BIN = sys.argv[1]
SMALL = ["--hidden", "256", "--experts", "16", "--topk", "4", "-n", "3", "-w", "1"]
ROW = re.compile(r"^\s*(\d+)\s+(\S+)\s+([\d.]+)\s+\d+ \|.*\|.*\|\s+([\d.]+)\s+([\d.]+)\s+([\d.]+)\s+(\d+)$")


def path(name):
    return os.path.join(BIN, name)


def run(command, expect=0):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("TUTTI_")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, env=clean, check=False)
    if done.returncode != expect:
        raise AssertionError(f"{' '.join(command)}: exit {done.returncode}, expected {expect}\n{done.stdout}\n{done.stderr}")
    return done.stdout + done.stderr


def rows(output):
    found = [m for m in map(ROW.match, output.splitlines()) if m]
    for m in found:
        assert m.group(7) == "0", output
        # Each token's rows are short here, so heads count.
        assert 1 <= float(m.group(5)) < 1.3 and float(m.group(6)) <= 1.1, output
    return found


def test_threads_and_every_skew():
    output = run([path("moe_perf"), "-t", "3", "--tokens", "0,1,50", "--skew", "uniform,node-limited,zipf", *SMALL])
    found = rows(output)
    assert [m.group(1) for m in found] == ["0", "1", "50"] * 3, output
    limited = [float(m.group(3)) for m in found if m.group(2) == "node-limited" and m.group(1) == "50"]
    uniform = [float(m.group(3)) for m in found if m.group(2) == "uniform" and m.group(1) == "50"]
    assert limited[0] < uniform[0], output


def test_processes_in_every_form():
    for flags in (["--quant", "none"], ["--quant", "none", "-R", "1", "--hidden", "2048"], ["--quant", "ue8m0"], ["--quant", "mxfp8", "--reduction", "once"],
                  ["--lean", "1", "--reduction", "hier"]):
        output = run([path("tutti"), "run", "-n", "2", path("moe_perf"), "--tokens", "1,20", *SMALL, *flags])
        assert len(rows(output)) == 2, output
    output = run([path("tutti"), "run", "-n", "2", path("moe_perf"), "--tokens", "20", "--layout", "rank-major", *SMALL])
    assert re.search(r"^\s+20 uniform", output, re.M), output


def test_routing_from_a_file():
    with tempfile.TemporaryDirectory() as folder:
        trace, results = os.path.join(folder, "trace.txt"), os.path.join(folder, "out.json")
        with open(trace, "w", encoding="utf-8") as file:
            file.write("# two tokens\n0, 1, 2 3\n\n4 5  # and two experts less\n")
        output = run([path("moe_perf"), "-t", "2", "--tokens", "6", "--routing", trace, "-J", results, *SMALL])
        assert [m.group(2) for m in rows(output)] == ["file"], output
        with open(results, encoding="utf-8") as file:
            result = json.load(file)
        assert result["ranks"] == 2 and result["results"][0]["tokens"] == 6, result
        # Experts 0 to 7 are rank 0's: every token of rank 1 goes there.
        assert result["results"][0]["wire_bytes"] > 0, result
        for text, reason in (("0 16\n", "expert 16"), ("1 2 3 4 5\n", "more than --topk"), ("a\n", "'a' is no expert"), ("#\n", "no token")):
            with open(trace, "w", encoding="utf-8") as file:
                file.write(text)
            output = run([path("moe_perf"), "--routing", trace, *SMALL], expect=2)
            assert reason in output, output
    output = run([path("moe_perf"), "--routing", "/nowhere", *SMALL], expect=2)
    assert "/nowhere can't be read" in output, output


def test_wrong_arguments():
    assert "known are uniform" in run([path("moe_perf"), "--skew", "even"], expect=2)
    assert "--topk is more than --experts" in run([path("moe_perf"), "--topk", "9", "--experts", "8"], expect=2)


if __name__ == "__main__":
    for name, test in list(globals().items()):
        if name.startswith("test_"):
            test()
            print(f"{name}: ok", flush=True)
