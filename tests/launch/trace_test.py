"""Gets programs into trouble and checks what `tutti trace` says about the recordings that they leave."""
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

BIN, TROUBLE = sys.argv[1:3]
TUTTI = os.path.join(BIN, "tutti")
PROBLEM = 3


def start(mode, folder, ranks=4, **variables):
    env = dict(os.environ, TUTTI_TRACE_DIR=folder, **variables)
    return subprocess.Popen([TUTTI, "run", "-n", str(ranks), TROUBLE, mode], env=env, text=True,
                            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def trace(folder, *arguments):
    return subprocess.run([TUTTI, "trace", folder, *arguments], capture_output=True, text=True, timeout=60, check=False)


def check(what, condition, *details):
    if not condition:
        raise AssertionError("\n".join([what, *map(str, details)]))


def until(condition, what):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within 30 s")


def seen(folder, pattern):
    """What `tutti trace` says about a running job once it says that."""
    def look():
        done = trace(folder)
        return done if re.search(pattern, done.stdout) else None
    return until(look, pattern)


def check_says(done, pattern):
    check(f"expected {pattern}", done.returncode == PROBLEM and re.search(pattern, done.stdout), done.returncode,
          done.stdout, done.stderr)


def check_schema(text, ranks):
    """What Perfetto's importer of the Trace Event Format insists on."""
    data = json.loads(text)
    check("no event list", isinstance(data["traceEvents"], list) and data["traceEvents"], data)
    complete = [e for e in data["traceEvents"] if e["ph"] == "X"]
    for event in data["traceEvents"]:
        check("a field is missing", isinstance(event["pid"], int) and isinstance(event["tid"], int), event)
        check("no name", isinstance(event["name"], str) and event["name"], event)
        check("unknown phase", event["ph"] in ("X", "M"), event)
    for event in complete:
        check("no time", isinstance(event["ts"], (int, float)) and event["ts"] >= 0 and event["dur"] >= 0, event)
    check("not one process per rank", len({e["pid"] for e in complete}) == ranks, complete)
    names = {e["args"]["name"] for e in data["traceEvents"] if e["ph"] == "M"}
    check("communicators are not named", any("comm 'dp'" in n for n in names), names)
    return complete


def test_healthy_job_and_its_trace():
    with tempfile.TemporaryDirectory() as folder:
        job = start("ok", folder)
        check("job failed", job.wait(60) == 0, job.stderr.read())
        out = os.path.join(folder, "..", f"trace-{os.getpid()}.json")
        done = trace(folder, "--out", out)
        check("healthy job has problems", done.returncode == 0, done.stdout, done.stderr)
        with open(out, encoding="utf-8") as file:
            complete = check_schema(file.read(), 4)
        os.unlink(out)
        reduces = [e for e in complete if e["name"] == "AllReduce"]
        check("not 21 operations of 4 ranks", len(reduces) == 84, len(reduces))
        check("bytes", all(e["args"]["bytes"] == 4096 * 4 for e in reduces), reduces[0])
        # The ranks' clocks agree: nobody leaves an AllReduce before everybody has entered it.
        for number in range(21):
            same = [e for e in reduces if e["args"]["number"] == number]
            last_entry = max(e["ts"] for e in same)
            check("clocks are apart", all(e["ts"] + e["dur"] >= last_entry - 5 for e in same), same)


def test_rank_that_never_enters():
    with tempfile.TemporaryDirectory() as folder:
        job = start("hang", folder, TUTTI_TIMEOUT="0")
        done = seen(folder, r"by ranks 0-2; rank 3 never entered")
        check_says(done, r"comm 'dp' \(4 ranks\): AllReduce #20 float x 4096 max was entered by ranks 0-2; rank 3 never "
                         r"entered it \(last: AllReduce #19 float x 4096 max, ended .* (before|after)\); process \d+ runs")
        findings = json.loads(trace(folder, "--json").stdout)["communicators"][0]["findings"]
        check("JSON differs", findings[0]["verdict"] == "never_entered" and findings[0]["ranks"] == [3], findings)
        job.send_signal(signal.SIGTERM)
        job.wait(60)


def test_killed_rank():
    with tempfile.TemporaryDirectory() as folder:
        job = start("kill", folder)
        job.wait(60)
        # The launcher ends the others when one is killed: one of them may not have left #19 by then.
        check_says(trace(folder), r"AllReduce #20 .*was entered by ranks? [0-2,-]+; .*rank 3 never entered it .*process \d+ is gone|"
                                  r"AllReduce #19 .*rank 3 ended it and called nothing after it, process \d+ is gone")


def test_other_call_and_other_count():
    # One that hears of the failure early never enters the call.
    others = r"ranks? [0-2](?:[-,][0-2])* calls? "
    for mode, pattern in (("diverge", others + r"AllReduce #20 .*rank 3 calls Broadcast #20 float x 4096 root 0"),
                          ("count", r"rank 3 calls AllReduce #20 float x 17 max")):
        with tempfile.TemporaryDirectory() as folder:
            start(mode, folder, TUTTI_TIMEOUT="5").wait(60)
            check_says(trace(folder), pattern)


def test_open_receive():
    with tempfile.TemporaryDirectory() as folder:
        job = start("recv", folder, TUTTI_TIMEOUT="0")
        done = seen(folder, r"AllReduce #20 .* was entered by ranks 0-2; rank 3 never entered it \(last: Recv .*it waits for rank 0\)")
        check_says(done, r"rank 3 is in Recv #\d+ float x 4096 from rank 0 for .*s, waiting for rank 0 \(last: AllReduce #20")
        job.send_signal(signal.SIGTERM)
        job.wait(60)


def test_late_rank():
    with tempfile.TemporaryDirectory() as folder:
        check("job failed", start("late", folder).wait(60) == 0)
        done = trace(folder)
        check("straggler not seen", re.search(r"rank 3 entered last in \d+ of 2\d collectives, [\d.]+ ms", done.stdout), done.stdout)


def test_damaged_and_foreign_files():
    with tempfile.TemporaryDirectory() as folder:
        check("job failed", start("ok", folder, ranks=2).wait(60) == 0)
        first = sorted(os.listdir(folder))[0]
        with open(os.path.join(folder, first), "r+b") as file:
            file.truncate(10000)
        with open(os.path.join(folder, "core"), "wb") as file:
            file.write(b"foreign")
        done = trace(folder)
        check("not warned", done.stderr.count("skipped") == 2 and first in done.stderr, done.stderr)
        check("the other file was not used", "no recording of rank" in done.stdout, done.stdout)
    done = trace("/nonexistent-folder")
    check("missing folder", done.returncode == 1 and "/nonexistent-folder" in done.stderr, done.stderr)


def main():
    tests = [(name, test) for name, test in globals().items() if name.startswith("test_")]
    for name, test in tests:
        test()
        print(f"{name}: ok", flush=True)
    print(f"{len(tests)} passed, 0 failed")


if __name__ == "__main__":
    main()
