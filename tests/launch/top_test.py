"""Watches real jobs: `tutti top`, `tutti metrics`, the file of TUTTI_METRICS_FILE and the log."""
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time

BIN, TROUBLE = sys.argv[1:3]
TUTTI = os.path.join(BIN, "tutti")
PROBLEM = 3
RANKS = 4


def start(mode, **variables):
    env = {k: v for k, v in os.environ.items() if not k.startswith("TUTTI_")}
    env.update(variables)
    return subprocess.Popen([TUTTI, "run", "-n", str(RANKS), TROUBLE, mode], env=env, text=True,
                            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def tutti(*arguments, **how):
    return subprocess.run([TUTTI, *arguments], capture_output=True, text=True, timeout=60, check=False, **how)


def check(what, condition, *details):
    if not condition:
        raise AssertionError("\n".join([what, *map(str, details)]))


def until(condition, what):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within 60 s")


def children(pid):
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                if int(file.read().rsplit(")", 1)[1].split()[1]) == pid:
                    found.append(int(name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


class Busy:
    """A job that reduces until it is ended; `pids` by rank."""

    def __enter__(self):
        self.job = start("busy", TUTTI_TIMEOUT="0")
        def ranks():
            pids = [str(p) for p in children(self.job.pid)]
            if len(pids) < RANKS:
                return None
            done = tutti("top", "--once", "--json", "--interval", "0.1", *pids)
            comms = json.loads(done.stdout)["communicators"] if done.returncode == 0 and done.stdout else []
            found = comms[0]["ranks"] if comms else []
            return all("pid" in r and r["operations_per_second"] for r in found) and found
        self.pids = [r["pid"] for r in until(ranks, "a job that moves")]
        return self

    def __exit__(self, *_):
        for pid in self.pids:
            os.kill(pid, signal.SIGCONT)
        self.job.send_signal(signal.SIGTERM)
        self.job.wait(60)
        self.job.stderr.close()

    def arguments(self):
        return [str(p) for p in self.pids]


def check_exposition(text):
    """The text format of Prometheus, version 0.0.4, strictly. Returns {(name, labels): value}."""
    name = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
    label = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\\\|\\"|\\n)*"'
    sample = re.compile(rf"({name})(?:\{{({label}(?:,{label})*)\}})? (-?\d+(?:\.\d+)?(?:e[+-]?\d+)?|NaN|[+-]Inf)$")
    samples, finished, family, helped = {}, set(), None, None
    check("no line feed at the end", text.endswith("\n"))
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            helped = re.fullmatch(rf"# HELP ({name}) \S.*", line)
            check("bad HELP", helped and helped[1] not in finished and helped[1] != family, line)
            finished.add(family)
            family = None
        elif line.startswith("# TYPE "):
            typed = re.fullmatch(rf"# TYPE ({name}) (counter|gauge)", line)
            check("bad TYPE", typed and helped and helped[1] == typed[1] and family is None, line)
            family = typed[1]
            check("a counter without _total", (typed[2] == "counter") == family.endswith("_total"), line)
        else:
            match = sample.match(line)
            check("bad sample", match and match[1] == family, line)
            labels = re.findall(r'([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"', match[2] or "")
            check("a label twice", len(dict(labels)) == len(labels), line)
            key = (family, tuple(sorted(labels)))
            check("a sample twice", key not in samples, line)
            samples[key] = float(match[3])
            check("negative", samples[key] >= 0, line)
    return samples


def values(samples, family, **labels):
    return {tuple(sorted(dict(l).items())): v for (name, l), v in samples.items()
            if name == family and labels.items() <= dict(l).items()}


def check_sent_is_received(samples):
    for family in ("tutti_messages_total", "tutti_message_bytes_total"):
        sent = values(samples, family, direction="sent")
        check("nothing was sent", sent, samples)
        for labels, value in sent.items():
            mirrored = dict(labels, direction="received", rank=dict(labels)["peer"], peer=dict(labels)["rank"])
            check("sent is not received", samples.get((family, tuple(sorted(mirrored.items())))) == value, labels, value)


def test_job_that_moves():
    with Busy() as busy:
        done = tutti("top", "--once", "--interval", "0.5", *busy.arguments())
        check("status", done.returncode == 0, done.stdout, done.stderr)
        check("header", re.search(r"^comm 'dp' \(4 ranks\): trouble on \S+, job \S+$", done.stdout, re.M), done.stdout)
        rows = re.findall(r"^ +(\d) +(\d+) [RS] .*AllReduce #\d+ float x 4096 max .* ([\d.]+) +([\d.]+)", done.stdout, re.M)
        check("not 4 rows", [int(r[1]) for r in rows] == busy.pids, done.stdout)
        check("no rate", all(float(r[2]) > 0 and float(r[3]) > 0 for r in rows), done.stdout)
        job = json.loads(tutti("top", "--once", "--json", "--interval", "0.1", *busy.arguments()).stdout)["communicators"][0]["job"]
        done = tutti("top", "--once", "--interval", "0.1", "--job", job)
        check("job by its name", str(busy.pids[0]) in done.stdout, done.stdout, done.stderr)
        done = tutti("top", "--once", "--job", job + "x")
        check("unknown job", done.returncode == 1 and f"did you mean '{job}'" in done.stderr, done.stderr)


def test_stopped_rank():
    with Busy() as busy:
        os.kill(busy.pids[3], signal.SIGSTOP)
        def verdict():
            done = tutti("top", "--once", "--interval", "0.2", *busy.arguments())
            return done if "ranks 0-2 wait for rank 3" in done.stdout else None
        done = until(verdict, "the verdict")
        check("status", done.returncode == PROBLEM, done.stdout, done.stderr)
        check("verdict", "  => ranks 0-2 wait for rank 3, which is stopped (T: signal or debugger)\n" in done.stdout, done.stdout)
        check("state", re.search(rf"^ +3 +{busy.pids[3]} T ", done.stdout, re.M), done.stdout)
        check("who waits for whom", len(re.findall(r"rank 3$", done.stdout, re.M)) >= 1, done.stdout)
        comm = json.loads(tutti("top", "--once", "--json", "--interval", "0.2", *busy.arguments()).stdout)["communicators"][0]
        check("JSON", comm["waits"][0]["causes"] == [3] and comm["waits"][0]["waiting"] == [0, 1, 2] and comm["waits"][0]["stuck"], comm)
        check("nothing moves", all(r["operations_per_second"] == 0 for r in comm["ranks"]), comm)
        waits = values(check_exposition(tutti("metrics", *busy.arguments()).stdout), "tutti_wait_seconds_total", rank="0")
        check("waiting is not counted", sum(waits.values()) > 0.1, waits)
        alone = tutti("top", "--once", "--interval", "0.1", str(busy.pids[0]))
        check("ranks that were not asked for", len(re.findall(r"^ +\d +- +- +no recording here", alone.stdout, re.M)) == 3, alone.stdout)


def test_recordings_of_a_killed_job():
    with tempfile.TemporaryDirectory() as folder:
        start("kill", TUTTI_TRACE_DIR=folder).wait(60)
        done = tutti("top", "--once", "--interval", "0.1", "--dir", folder)
        check("status", done.returncode == PROBLEM, done.stdout, done.stderr)
        check("failure", re.search(r"=> rank(s .*3 are| 3 is) gone without|=> rank \d has failed: .*rank 3", done.stdout), done.stdout)


def test_recordings_of_a_failed_job():
    with tempfile.TemporaryDirectory() as folder:
        start("count", TUTTI_TRACE_DIR=folder).wait(60)
        done = tutti("top", "--once", "--interval", "0.1", "--dir", folder)
        check("status", done.returncode == PROBLEM, done.stdout, done.stderr)
        check("failure", re.search(r"=> rank \d has failed: AllReduce #(19|20) .*rank 3", done.stdout), done.stdout)
        samples = check_exposition(tutti("metrics", "--dir", folder).stdout)
        failed = sum(values(samples, "tutti_communicator_failed").values())
        check("failed", 1 <= failed <= RANKS, samples)
        # A rank that had already returned is told at its next call.
        check("failures", 1 <= sum(values(samples, "tutti_operation_failures_total").values()) <= failed, samples)


def test_metrics_of_a_complete_job():
    with tempfile.TemporaryDirectory() as folder:
        traces = os.path.join(folder, "traces")
        os.mkdir(traces)
        job = start("ok", TUTTI_TRACE_DIR=traces, TUTTI_METRICS_FILE=f"{folder}/m.%r.prom")
        check("job failed", job.wait(60) == 0, job.stderr.read())
        samples = check_exposition(tutti("metrics", "--dir", traces).stdout)
        calls = values(samples, "tutti_operations_total", collective="AllReduce")
        check("not 21 operations of 4 ranks", list(calls.values()) == [21] * RANKS, calls)
        size = values(samples, "tutti_operation_bytes_total", collective="AllReduce")
        check("bytes", list(size.values()) == [21 * 4096 * 4] * RANKS, size)
        check_sent_is_received(samples)
        merged = {}
        for rank in range(RANKS):
            with open(f"{folder}/m.{rank}.prom", encoding="utf-8") as file:
                own = check_exposition(file.read())
            check("other ranks in the file", all(dict(labels)["rank"] == str(rank) for _, labels in own), own)
            merged.update(own)
        memory = ("tutti_memory_bytes", "tutti_memory_peak_bytes")
        differ = {k for k in set(merged) ^ set(samples) if k[0] not in memory} | \
                 {k for k in set(merged) & set(samples) if merged[k] != samples[k] and k[0] not in memory}
        check("the files differ from the recordings", not differ, differ)
        check("drafts are left", sorted(os.listdir(folder)) == [f"m.{r}.prom" for r in range(RANKS)] + ["traces"], os.listdir(folder))


def test_fallbacks_and_the_log():
    with tempfile.TemporaryDirectory() as folder:
        job = start("ok", TUTTI_TRACE_DIR=folder, TUTTI_DIRECT_MIN_BYTES="64", TUTTI_ALGO="ring", TUTTI_LOG="info")
        _, log = job.communicate(timeout=60)
        check("job failed", job.returncode == 0, log)
        samples = check_exposition(tutti("metrics", "--dir", folder).stdout)
        fallbacks = sum(values(samples, "tutti_direct_fallbacks_total").values())
        staged = sum(values(samples, "tutti_messages_total", protocol="staged", direction="sent").values())
        check("fallbacks", 0 < fallbacks <= staged, fallbacks, staged)
        for rank in range(RANKS):
            for subsystem, text in (("comm", "transport shm is used; large messages: "),
                                    ("comm", "first call of AllReduce: plan 'ring"),
                                    ("exec", "messages to rank %d are copied" % ((rank + 1) % RANKS))):
                check("log", re.search(rf"\[tutti\] \[info\] \[\d+\] \[{subsystem}\] \[rank {rank}\] {text}", log), text, log)
    for level, expected in ((None, r"^$"), ("off", r"^$"), ("error,comm=debug", r"\[debug\].*a connection to rank \d by shm, channel \d")):
        job = start("ok", **({} if level is None else {"TUTTI_LOG": level}))
        _, log = job.communicate(timeout=60)
        check("log", re.search(expected, log), level, log)
    job = start("ok", TUTTI_LOG="warn,smh=debug")
    _, log = job.communicate(timeout=60)
    check("misspelt subsystem", job.returncode != 0 and "did you mean 'shm'?" in log, log)


def test_failures_are_logged():
    _, log = start("count", TUTTI_LOG="error").communicate(timeout=60)
    check("reason", re.search(r"\[error\] \[\d+\] \[comm\] \[rank \d\] AllReduce #20 \(rank \d of 4 of 'dp'\): .*rank 3", log), log)


def test_what_cant_be_read():
    for arguments, status, text in ((["top", "--once", "999999999"], 1, "there is no process 999999999 here"),
                                    (["metrics", str(os.getpid())], 1, f"process {os.getpid()} has no communicator open"),
                                    (["metrics", "--dir", "/nonexistent"], 1, "/nonexistent"),
                                    (["top", "--once", "--interval", "0"], 2, "--interval")):
        done = tutti(*arguments)
        check("refusal", done.returncode == status and text in done.stderr, arguments, done.returncode, done.stderr)
    if os.geteuid() != 0:
        return
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        copy = os.path.join(folder, "tutti")
        subprocess.run(["cp", TUTTI, copy], check=True)
        done = subprocess.run([copy, "top", "--once", "1"], capture_output=True, text=True, check=False, user=65534)
        check("another user's process", "process 1 can't be looked into: it belongs to user 0, this is user 65534" in done.stderr, done.stderr)


def read_terminal(fd, condition):
    deadline, text = time.monotonic() + 60, ""
    while time.monotonic() < deadline:
        if select.select([fd], [], [], 0.1)[0]:
            try:
                data = os.read(fd, 65536)
            except OSError:  # the other end is closed
                data = b""
            if not data:
                return text
            text += data.decode()
        if condition(text):
            return text
    raise AssertionError("the terminal does not show it within 60 s: " + repr(text))


def on_terminal(busy, columns, rows):
    """`tutti top` on a terminal of that size; the descriptor is our end of it."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    top = subprocess.Popen([TUTTI, "top", "--interval", "0.1", *busy.arguments()], stdout=theirs, stdin=theirs)
    os.close(theirs)
    return top, ours


def test_terminal_is_redrawn_and_restored():
    columns, rows = 60, 6
    with Busy() as busy:
        for number, status in ((signal.SIGINT, 0), (signal.SIGTERM, 128 + signal.SIGTERM)):
            top, terminal = on_terminal(busy, columns, rows)
            try:
                text = read_terminal(terminal, lambda t: t.count("\x1b[H") >= 3 and "more lines" in t)
                check("alternate screen", text.startswith("\x1b[?1049h\x1b[?25l"), repr(text))
                for frame in text.split("\x1b[H")[1:-1]:
                    lines = [re.sub(r"\x1b\[\w", "", line) for line in re.split("\r+\n", frame)]
                    check("does not fit", len(lines) <= rows and all(len(line) <= columns for line in lines), lines)
                top.send_signal(number)
                text = read_terminal(terminal, lambda t: "\x1b[?1049l" in t)
                check("status", top.wait(60) == status, top.returncode)
                check("not restored", text.endswith("\x1b[?25h\x1b[?1049l"), repr(text))
            finally:
                top.kill()
                top.wait()
                os.close(terminal)


def test_terminal_that_nobody_reads():
    with Busy() as busy:
        top, terminal = on_terminal(busy, 200, 50)
        try:
            def filled():
                """Bytes wait for us, and after a second still as many."""
                waiting = [struct.unpack("i", fcntl.ioctl(terminal, termios.FIONREAD, b"\0" * 4))[0]]
                time.sleep(1)
                waiting.append(struct.unpack("i", fcntl.ioctl(terminal, termios.FIONREAD, b"\0" * 4))[0])
                return waiting[0] == waiting[1] > 0
            until(filled, "a full terminal")
            top.send_signal(signal.SIGTERM)
            check("does not end", top.wait(60) == 128 + signal.SIGTERM, top.returncode)
        finally:
            top.kill()
            top.wait()
            os.close(terminal)


def test_plain_output_ends_with_the_job():
    with Busy() as busy:
        pids = busy.arguments()
        with subprocess.Popen([TUTTI, "top", "--interval", "0.1", *pids], stdout=subprocess.PIPE, text=True,
                              stderr=subprocess.PIPE) as top:
            for _ in range(12):
                check("ends early", top.stdout.readline() != "")
            busy.job.send_signal(signal.SIGTERM)
            rest, _ = top.communicate(timeout=60)
            check("escape sequences in a file", "\x1b" not in rest, rest)
        busy.pids = []


def main():
    tests = [(name, test) for name, test in globals().items() if name.startswith("test_") and name in (sys.argv[3:] or [name])]
    for name, test in tests:
        test()
        print(f"{name}: ok", flush=True)
    print(f"{len(tests)} passed, 0 failed")


if __name__ == "__main__":
    main()
