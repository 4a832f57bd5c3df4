# SPDX-License-Identifier: Apache-2.0
"""What tests/vm/run promises: runner_test.py LANE. A command's streams, exit code, files and identity, from one boot; and that a
runner that is interrupted, killed, orphaned or late leaves neither a process nor a folder behind."""
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

LANE = sys.argv[1]
BED = pathlib.Path(__file__).resolve().parent
RUN = [sys.executable, str(BED / "run"), "--no-prepare", "--lane", LANE]
SKIPPED = 77
DEADLINE_S = 60
MARK = "TUTTI_VM_RUNNER_TEST"

JOB = r"""
set -e
echo to-output
echo to-errors >&2
echo result >"$TUTTI_VM_OUT/file"
printf 'a\0b' >"$TUTTI_VM_OUT/bytes"
test "$TUTTI_VM_DEVICES_1" = rxe_h1r0
test -c /dev/infiniband/uverbs0
# The machine's files are there, can be changed, and don't change.
test "$(cat "$PROBE")" = before && echo after >"$PROBE" && test "$(cat "$PROBE")" = after
# Where the library lives: memfd, Unix sockets, pidfd, shared memory.
python3 - <<'P'
import os, select, socket
os.write(os.memfd_create("x"), b"x")
server = socket.socket(socket.AF_UNIX); server.bind("/tmp/vm-runner-test"); server.listen()
socket.socket(socket.AF_UNIX).connect("/tmp/vm-runner-test")
child = os.fork()
if child == 0:
    os._exit(0)
assert select.select([os.pidfd_open(child)], [], [], 10)[0]
open("/dev/shm/x", "w").close()
P
# Hosts are different machines, and what runs on one of them is on the same.
vm-host 0 sh -c 'echo "$(hostname) $(cat /proc/sys/kernel/random/boot_id) $TUTTI_VM_DEVICES"; touch /dev/shm/zero' >"$TUTTI_VM_OUT/host0"
vm-host 1 sh -c 'echo "$(hostname) $(cat /proc/sys/kernel/random/boot_id) $TUTTI_VM_DEVICES"; ls /dev/shm' >"$TUTTI_VM_OUT/host1"
vm-host 0 test -e /dev/shm/zero
sleep 1000 &
exit 7
"""


def check(what, condition, *details):
    if not condition:
        print(what, *details, sep="\n")
        sys.exit(1)


def marked(value):
    """Processes that carry our mark in their environment: runners, and the guests that they start."""
    found = []
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={value}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append((int(folder.name), (folder / "cmdline").read_bytes().split(b"\0")[0].decode()))
        except (OSError, ValueError):
            continue
    return found


def folders(value):
    """Where runners with our mark keep their jobs."""
    found = []
    for top in {"/dev/shm", tempfile.gettempdir()}:
        for command in pathlib.Path(top).glob("tutti-vm-*/command"):
            try:
                if f"{MARK}={value}\n" in command.read_text(encoding="utf-8", errors="replace"):
                    found.append(command.parent)
            except OSError:
                continue
    return found


def until(what, condition):
    end = time.monotonic() + DEADLINE_S
    while not condition():
        check(what, time.monotonic() < end)
        time.sleep(0.02)


def check_job():
    with tempfile.TemporaryDirectory(prefix="tutti-runner-test-") as folder:
        probe = pathlib.Path(folder) / "probe"
        probe.write_text("before", encoding="utf-8")
        out = pathlib.Path(folder) / "out"
        done = subprocess.run([*RUN, "--timeout", "150", "--out", str(out), "--", "bash", "-c", JOB], capture_output=True, text=True,
                              timeout=180, check=False, env={**os.environ, "PROBE": str(probe)})
        if done.returncode == SKIPPED:
            print(done.stderr.strip())
            sys.exit(SKIPPED)
        check("exit code of the command", done.returncode == 7, done.returncode, done.stdout, done.stderr)
        check("standard output", done.stdout == "to-output\n", done.stdout)
        check("standard error", done.stderr == "to-errors\n", done.stderr)
        check("a file brought out", (out / "file").read_text(encoding="utf-8") == "result\n")
        check("bytes brought out", (out / "bytes").read_bytes() == b"a\0b")
        check("the machine's file has changed", probe.read_text(encoding="utf-8") == "before")
        hosts = [(out / f"host{number}").read_text(encoding="utf-8").split() for number in (0, 1)]
        check("names of hosts", [host[0] for host in hosts] == ["host0", "host1"], hosts)
        check("boot ids of hosts", hosts[0][1] != hosts[1][1], hosts)
        check("devices of hosts, and no file of the other", [host[2:] for host in hosts] == [["rxe_h0r0"], ["rxe_h1r0"]], hosts)


def start(value, *options, through=()):
    """A runner whose guest runs; `through` is a command that starts it as its child."""
    runner = subprocess.Popen([*through, *RUN, *options, "--", "sleep", "1000"],  # pylint: disable=consider-using-with
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env={**os.environ, MARK: value})
    guest = "qemu" if LANE == "qemu" else "linux"
    until(f"{value}: no guest was started", lambda: any(guest in name for _, name in marked(value)))
    return runner


def check_gone(value):
    until(f"{value}: processes are left: {marked(value)}", lambda: not marked(value))
    until(f"{value}: folders are left: {folders(value)}", lambda: not folders(value))


def check_ending(value, send, expected, through=()):
    """Ends a runner in one way; nothing of it must be left."""
    runner = start(value, through=through)
    send(runner)
    _, told = runner.communicate(timeout=DEADLINE_S)
    check(f"{value}: exit code", runner.returncode == expected, runner.returncode, told)
    check_gone(value)


def check_timeout():
    runner = start("late", "--timeout", "1")
    _, told = runner.communicate(timeout=DEADLINE_S)
    check("late: exit code", runner.returncode == 124, runner.returncode, told)
    check("late: no reason", "did not end within 1 s" in told, told)
    check_gone("late")


def check_killed():
    """Nobody is left to remove the folder; the next runner does, once it has been without an owner for a while."""
    runner = start("killed")
    runner.kill()
    runner.communicate(timeout=DEADLINE_S)
    until(f"killed: processes are left: {marked('killed')}", lambda: not marked("killed"))
    left = folders("killed")
    check("killed: the folder was expected to stay", len(left) == 1, left)
    os.utime(left[0], (0, 0))
    start("next", "--timeout", "1").communicate(timeout=DEADLINE_S)
    check_gone("killed")


def main():
    check_job()
    check_timeout()
    check_ending("interrupted", lambda runner: runner.send_signal(signal.SIGINT), 130)
    check_ending("terminated", lambda runner: runner.send_signal(signal.SIGTERM), 143)
    check_ending("orphaned", lambda shell: shell.kill(), -signal.SIGKILL, through=("sh", "-c", '"$@"; exit $?', "sh"))
    check_killed()
    print("runner: ok")


if __name__ == "__main__":
    main()
