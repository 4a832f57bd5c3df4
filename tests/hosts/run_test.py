"""`tutti run --hosts` over hosts of the test bed: what ranks find, what is forwarded, and how everything ends.

    run_test.py TUTTI FOLDER_OF_MET short|long|TEST...
"""
import hashlib
import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from hosts import SKIPPED, Bed, wait_until, why_not  # pylint: disable=wrong-import-position

TUTTI = os.path.abspath(sys.argv[1])
MET = os.path.join(os.path.abspath(sys.argv[2]), "met")
RSH = os.path.join(HERE, "rsh")
LOST, TIMED_OUT, NO_PROGRAM = 125, 124, 127
TWO = "node0:2,node1:2"
bed = None  # pylint: disable=invalid-name
baseline = set()


def check(what, condition, *details):
    if not condition:
        raise AssertionError("\n".join([what, *map(str, details)]))


def environment(more=None):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("TUTTI_")}
    return {**clean, **bed.environment(), "TUTTI_RSH": RSH, **(more or {})}


def command(*arguments, hosts=TWO):
    return [TUTTI, "run", "--hosts", hosts, *arguments]


def run(*arguments, hosts=TWO, env=None, status=0, **how):
    how = {"capture_output": True, "text": True, "timeout": 60, "check": False, "stdin": subprocess.DEVNULL, **how}
    if "input" in how:
        del how["stdin"]
    done = subprocess.run(command(*arguments, hosts=hosts), env=environment(env), **how)
    check(f"{arguments}: status {status}", done.returncode == status, done)
    nothing_left(arguments)
    return done


def start(*arguments, hosts=TWO, **how):
    return subprocess.Popen(command(*arguments, hosts=hosts), env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, **how)


def shell(script):
    return ["sh", "-c", script]


def processes_in_hosts():
    networks = {os.readlink(f"/proc/{bed.pid(host)}/ns/net"): host for host in bed.names}
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            network = os.readlink(f"/proc/{pid}/ns/net")
            with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
                line = file.read().replace("\0", " ")
        except OSError:
            continue  # it has just ended
        if network in networks and pid not in baseline:
            found[int(pid)] = (networks[network], line)
    return found


def nothing_left(what, seconds=5):
    wait_until(lambda: not processes_in_hosts(), seconds, f"{what}: everything has ended; left: {processes_in_hosts()}")


def ended(process, status, seconds=15):
    out, err = process.communicate(timeout=seconds)
    check(f"status {status}", process.returncode == status, process.returncode, out, err)
    nothing_left(err)
    return out, err


def wait_for_ranks(word, n):
    def ranks():
        found = [pid for pid, (_, line) in processes_in_hosts().items() if line.startswith(word)]
        return found if len(found) == n else None

    return wait_until(ranks, 30, f"{n} ranks run {word}")


# --- what ranks find ---
def test_places():
    done = run("--prefix-all", *shell("echo $TUTTI_RANK $TUTTI_SIZE $TUTTI_LOCAL_RANK $TUTTI_LOCAL_SIZE $(hostname) $PWD $TUTTI_PORT"),
               hosts="node0:2,node1:1,node2")
    lines = sorted(done.stdout.split("\n"))[1:]
    places = [line.rsplit(" ", 2) for line in lines]
    check("ranks, sizes, hosts", [p[0] for p in places] == ["[0] 0 4 0 2 node0", "[1] 1 4 1 2 node0", "[2] 2 4 0 1 node1", "[3] 3 4 0 1 node2"],
          done.stdout)
    check("the folder, one port", {p[1] for p in places} == {os.getcwd()} and len({p[2] for p in places}) == 1, done.stdout)
    done = run("-n", "3", *shell("echo $TUTTI_SIZE $(hostname)"), hosts="node0:2,node1:2,node2:2")
    check("fewer ranks than slots", sorted(done.stdout.split("\n")) == ["", "3 node0", "[1] 3 node0", "[2] 3 node1"], done.stdout)
    done = run(*shell("echo ${TUTTI_PORT-none} ${MASTER_ADDR-none} $TUTTI_LOCAL_SIZE"), hosts="node1:2")
    check("one host needs no network", set(done.stdout.split("\n")) == {"none none 2", "[1] none none 2", ""}, done.stdout)


def test_secret():
    job = start("--no-prefix", *shell("echo $TUTTI_KEY; exec sleep 1000"))
    keys = {job.stdout.readline().strip() for _ in range(4)}
    check("one secret for all", len(keys) == 1 and len(min(keys)) == 64, keys)
    shown = subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, text=True, check=True).stdout
    check("no command line shows it", min(keys) not in shown)
    job.terminate()
    ended(job, 128 + signal.SIGTERM)
    again = run("--no-prefix", *shell("echo $TUTTI_KEY")).stdout.split()
    check("the next job has another", min(keys) not in again, again)


def test_environment():
    script = 'printf "%s|" "$TUTTI_LOG" "$ONE" "$TWO" "$OTHER" "$TUTTI_RSH"; printf "%s|" "$@"'
    done = run("-n", "1", "-x", "ONE", "-x", "TWO=a b'c\"$d", "sh", "-c", script, "sh", "a b", "*", "", "q'\"", "two\nlines",
               env={"TUTTI_LOG": "warn", "ONE": "1\n2", "OTHER": "x"})
    check("variables and arguments arrive as they are", done.stdout == "warn|1\n2|a b'c\"$d|||a b|*||q'\"|two\nlines|", done.stdout)
    done = run("-x", "MISSING_HERE", "true", status=1)
    check("an unknown variable", "-x MISSING_HERE: no such variable" in done.stderr, done.stderr)


def test_output():
    done = run(*shell("echo out; echo err >&2; printf end"))
    check("rank 0 passes", sorted(done.stdout.split("\n")) == sorted(["out", "end[1] out", "[1] end", "[2] out", "[2] end", "[3] out", "[3] end", ""])
          or done.stdout.count("out") == 4, done.stdout)
    check("errors are marked", sorted(done.stderr.split()) == sorted(f"[{r}] err".split()[i] for r in range(4) for i in range(2)), done.stderr)
    done = run(*shell("seq 100000"), hosts="node0:1,node1:1")
    lines = done.stdout.split("\n")
    check("much output comes whole", [x for x in lines if not x.startswith("[")][:-1] == [str(i) for i in range(1, 100001)])
    check("of the other too", [x for x in lines if x.startswith("[1] ")] == [f"[1] {i}" for i in range(1, 100001)])


def test_input():
    data = os.urandom(1 << 20)
    done = run(*shell("test $TUTTI_RANK = 0 && exec md5sum; wc -c"), input=data, text=False)
    check("rank 0 gets it, others nothing", hashlib.md5(data).hexdigest().encode() in done.stdout and done.stdout.count(b"] 0\n") == 3, done.stdout)
    run("true", input=data, text=False)  # nobody reads it


# --- how jobs end ---
def test_failing_rank():
    began = time.monotonic()
    done = run(*shell("test $TUTTI_RANK = 2 && exit 3; exec sleep 1000"), status=3)
    check("it is named with its host", re.search(r"^tutti run: rank 2 \(pid \d+ on node1\) exited with status 3; the other 3 ranks were stopped$",
                                               done.stderr, re.M), done.stderr)
    done = run(*shell("test $TUTTI_RANK = 3 && kill -9 $$; trap '' TERM; while :; do sleep 1; done"), status=137)
    check("a killed one", "rank 3 (pid" in done.stderr and "on node1) was killed by signal 9 (SIGKILL); the other 3" in done.stderr, done.stderr)
    check("stubborn ranks end soon", time.monotonic() - began < 25)


def test_timeout():
    done = run("--timeout", "0.5", "sleep", "1000", status=TIMED_OUT)
    check("it is said", "did not end within 0.5 s" in done.stderr, done.stderr)


def test_signals():
    job = start(*shell("trap 'echo user; exit 5' USR1; while :; do sleep 0.05; done"))
    wait_for_ranks("sh -c trap", 4)
    time.sleep(0.2)
    job.send_signal(signal.SIGUSR1)
    out, _ = ended(job, 5)
    check("ranks got it", "user" in out, out)
    job = start("sleep", "1000")
    wait_for_ranks("sleep 1000", 4)
    job.send_signal(signal.SIGINT)
    _, err = ended(job, 128 + signal.SIGINT)
    check("Ctrl-C", "after signal 2 (SIGINT) had been passed on" in err, err)
    job = start(*shell("trap '' INT TERM; while :; do sleep 0.05; done"))
    wait_for_ranks("sh -c trap", 4)
    time.sleep(0.2)
    for _ in range(2):
        job.send_signal(signal.SIGINT)
        time.sleep(0.1)
    ended(job, 128 + signal.SIGKILL)


def test_stopped_and_continued():
    job = start(*shell("while :; do sleep 0.05; done"))
    ranks = wait_for_ranks("sh -c while", 4)

    def states():
        return {open(f"/proc/{pid}/stat", encoding="ascii").read().rsplit(") ", 1)[1][0] for pid in ranks}

    job.send_signal(signal.SIGTSTP)
    wait_until(lambda: states() == {"T"}, 10, "all ranks are stopped")
    job.send_signal(signal.SIGCONT)
    wait_until(lambda: "T" not in states(), 10, "all ranks go on")
    job.terminate()
    ended(job, 128 + signal.SIGTERM)


def test_killed_launcher():
    job = start("sleep", "1000")
    wait_for_ranks("sleep 1000", 4)
    job.kill()
    job.communicate()
    nothing_left("tutti run was killed", 10)


def test_killed_agent():
    job = start("sleep", "1000")
    wait_for_ranks("sleep 1000", 4)
    agents = [pid for pid, (host, line) in processes_in_hosts().items() if host == "node1" and line.startswith(TUTTI)]
    check("one agent per host", len(agents) == 1, processes_in_hosts())
    os.kill(agents[0], signal.SIGKILL)
    _, err = ended(job, LOST)
    check("the host is named", "host node1 (ranks 2-3) was lost" in err and "2 ranks were stopped" in err, err)


def test_silent_host():
    job = start("sleep", "1000")
    wait_for_ranks("sleep 1000", 4)
    agents = [pid for pid, (host, line) in processes_in_hosts().items() if host == "node1" and line.startswith(TUTTI)]
    os.kill(agents[0], signal.SIGSTOP)
    _, err = ended(job, LOST, 40)
    check("it is named", "host node1 (ranks 2-3) was lost: it has said nothing for 15 s" in err, err)


# --- jobs that can't start ---
def script(folder, text):
    path = os.path.join(folder, "rsh")
    with open(path, "w", encoding="utf-8") as file:
        file.write("#!/bin/sh\n" + text)
    os.chmod(path, stat.S_IRWXU)
    return path


def test_unreachable():
    done = run("true", hosts="node0:2,node9:2", status=LOST)
    check("the host and why", re.search(r"host node9 \(ranks 2-3\) could not be reached: \S*rsh exited with status 255: .*no host 'node9'", done.stderr),
          done.stderr)
    done = run("--rsh", "no-such-shell", "true", status=1)
    check("no remote shell", 'can\'t find "no-such-shell", the remote shell' in done.stderr, done.stderr)
    with tempfile.TemporaryDirectory() as folder:
        done = run("--rsh", script(folder, "exec sleep 1000"), "--start-timeout", "0.5", "true", status=LOST)
        check("one that hangs", "did not start within 0.5 s" in done.stderr and "node0 (ranks 0-1, not reached), node1" in done.stderr, done.stderr)
        done = run("--rsh", script(folder, "test $1 = node1 && kill -9 $$\nexec " + RSH + ' "$@"'), "true", status=LOST)
        check("one that dies", "host node1 (ranks 2-3) could not be reached" in done.stderr and "killed by signal 9" in done.stderr, done.stderr)
        done = run("--rsh", script(folder, "echo Welcome\necho notice >&2\nexec " + RSH + ' "$@"'), "--no-prefix", "echo", "fine")
        check("a talkative login", done.stdout == "fine\n" * 4 and done.stderr == "", done)
        done = run("--rsh", script(folder, "echo 'tutti agent ready'; yes"), "true", status=LOST)
        check("one that talks nonsense", "something else writes to the connection" in done.stderr, done.stderr)
        done = run("--rsh", script(folder, "exit 0"), "true", status=LOST)
        check("one that does nothing", "could not be reached" in done.stderr and "status 0" in done.stderr, done.stderr)


def test_wrong_place():
    done = run("no-such-program", status=NO_PROGRAM)
    check("the program", "can't find a program \"no-such-program\"" in done.stderr and "host node" in done.stderr, done.stderr)
    done = run("--wdir", "/no/such/folder", "true", status=1)
    check("the folder", "can't go to the folder /no/such/folder" in done.stderr and "--wdir" in done.stderr, done.stderr)
    check("another folder", run("--wdir", "/usr", "--no-prefix", "pwd").stdout == "/usr\n" * 4)
    done = run("--tutti", "/no/such/tutti", "true", status=LOST)
    check("tutti itself", "/no/such/tutti" in done.stderr and "could not be reached" in done.stderr, done.stderr)


def test_wrong_words():
    for arguments, complaint in ((["-n", "9", "--hosts", TWO], "-n 9: --hosts node0:2,node1:2 has 4 slots"), (["--hosts", "a:x"], "'x' is no number of ranks"),
                                 (["--hosts", "a:0"], "'0' is no number of ranks"), (["--hosts", "a,,b"], "an empty entry"),
                                 (["--hosts=-oProxyCommand=x"], "no name of a host"), (["--hosts", "fd00::1"], "more than one colon"),
                                 (["--hosts", "a", "--threads"], "excludes"), (["-n", "2", "--rsh", "x"], "requires --hosts"),
                                 (["--hosts", "a", "--port", "70000"], "--port")):
        done = subprocess.run([TUTTI, "run", *arguments, "true"], env=environment(), capture_output=True, text=True, timeout=60, check=False)
        check(f"{arguments}", done.returncode != 0 and complaint in done.stderr, done)


# --- meeting ---
def master(*arguments):
    return set(run("--no-prefix", *arguments, *shell("echo $MASTER_ADDR")).stdout.split())


def test_meeting_place():
    check("the first address", master() == {bed.address("node0")})
    check("another interface", master("--interface", "eth1") == {bed.address("node0", 1)})
    port = run("--no-prefix", "--port", "23456", *shell("echo $TUTTI_PORT")).stdout.split()
    check("a port of one's own", set(port) == {"23456"}, port)
    bed.blackhole("node1", 0)
    check("an address that all reach", master() == {bed.address("node0", 1)})
    bed.blackhole("node1", 1)
    done = run("--interface", "eth", "--start-timeout", "60", "true", status=LOST)
    check("none", "can't meet at node0" in done.stderr and f"{bed.address('node0')} from node1" in done.stderr, done.stderr)
    bed.heal()


def test_bootstrap():
    done = run(MET, hosts="node0:2,node1:1,node2:2")
    lines = sorted(re.sub(r"^\[\d\] ", "", line) for line in done.stdout.strip().split("\n"))
    results = {line.rsplit(": ", 1)[1] for line in lines}
    check("all ranks have met", len(lines) == 5 and results in ({"no transport"}, {"sum 15"}), done)
    check("each in its place", lines[2].startswith("rank 2 of 5, local 0 of 1, on node1"), lines)


def test_launched_from_a_host():
    """A host in the list that is this one is not gone through a remote shell; the others are reached from there."""
    done = bed.run("node0", command("--no-prefix", "hostname", hosts="node0:2,node1:1"), env=environment())
    check("hosts", done.returncode == 0 and sorted(done.stdout.split()) == ["node0", "node0", "node1"], done)
    done = bed.run("node0", command("--no-prefix", "--rsh", "/no/such/shell", "hostname", hosts="localhost:2"), env=environment())
    check("this one alone", done.returncode == 0 and done.stdout.split() == ["node0", "node0"], done)


LONG = {"test_silent_host", "test_meeting_place", "test_stopped_and_continued", "test_output"}


def main():
    reason = why_not()
    if reason:
        print(f"skipped: {reason}")
        return SKIPPED
    tests = {name: test for name, test in globals().items() if name.startswith("test_")}
    which = sys.argv[3:]
    chosen = {"short": [n for n in tests if n not in LONG], "long": [n for n in tests if n in LONG]}.get(" ".join(which), which)
    global bed  # pylint: disable=global-statement
    with Bed(hosts=3, rails=2) as bed:
        baseline.update(map(str, processes_in_hosts()))
        for name in chosen:
            began = time.monotonic()
            tests[name]()
            print(f"{name}: ok ({time.monotonic() - began:.1f} s)", flush=True)
    print(f"{len(chosen)} passed, 0 failed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
