"""Keeps the hosts of one test bed alive and ends them, whatever happens to the process that wanted them.

Started by hosts.py as `warden.py FOLDER`. The namespaces have no names: they live as long as the processes in them, and
the first process of each host dies when its standard input ends or when this process dies. So nothing of the system is left
when all of them are killed; the folder with the bed's few files is removed here, or by the next bed.

It also keeps a door (FOLDER/door): a host can't enter its neighbour, since that lives in a pid namespace it doesn't see; it asks here.
"""
import array
import fcntl
import json
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
READY_SECONDS = 30
UNSHARE_HOST = ["unshare", "--net", "--uts", "--ipc", "--pid", "--mount", "--fork", "--kill-child", "--propagation", "private"]
SWITCH_INIT = "ip link set lo up && echo ready && exec >/dev/null && { read -r _ || true; }"


def enter_command(pid, argv, cwd="/"):
    """What runs `argv` in the host whose first process is `pid`, for a process outside of all hosts."""
    return ["nsenter", "--target", str(pid), "--net", "--uts", "--ipc", "--pid", "--mount", f"--wdns={cwd}", "--", *argv]


def only_child(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return int(file.read().split()[0])


class Keeper:
    """The first process of a host, or of the namespace that holds the bridges."""

    def __init__(self, folder, name, is_host):
        self.name = name
        self.folder = os.path.join(folder, name)
        command = ["setpriv", "--pdeathsig", "KILL", "--"]
        command += [*UNSHARE_HOST, "bash", os.path.join(HERE, "host_init.sh"), self.folder, name] if is_host else [
            "unshare", "--net", "bash", "-c", SWITCH_INIT]
        self.is_host = is_host
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def wait_ready(self):
        ready, _, _ = select.select([self.process.stdout], [], [], READY_SECONDS)
        line = self.process.stdout.readline() if ready else b""
        if line != b"ready\n":
            self.process.kill()
            said = self.process.stderr.read().decode(errors="replace").strip()
            raise RuntimeError(f"host {self.name} did not get ready: {said or f'no answer within {READY_SECONDS} s'}")
        pid = only_child(self.process.pid) if self.is_host else self.process.pid
        with open(os.path.join(self.folder, "pid"), "w", encoding="ascii") as file:
            file.write(f"{pid}\n")

    def end(self):
        """Returns when nothing of the host runs any more: a pid namespace's first process ends last."""
        if self.process.poll() is None and self.is_host:
            try:
                os.kill(only_child(self.process.pid), signal.SIGKILL)
            except (OSError, IndexError):
                self.process.kill()
        self.process.stdin.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def receive_request(connection):
    """One request: its length, JSON, and the caller's three standard descriptors."""
    fds = array.array("i")
    head, ancillary, _, _ = connection.recvmsg(4, socket.CMSG_LEN(3 * fds.itemsize))
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[:len(data) - len(data) % fds.itemsize])
    body = b""
    length = struct.unpack("<I", head)[0]
    while len(body) < length:
        more = connection.recv(length - len(body))
        if not more:
            raise EOFError("the caller hung up")
        body += more
    return json.loads(body), list(fds)


def serve(folder, connection):
    """Runs one command in a host on the caller's descriptors and answers with its status."""
    with connection:
        request, fds = receive_request(connection)
        try:
            with open(os.path.join(folder, request["host"], "pid"), encoding="ascii") as file:
                command = enter_command(int(file.read()), request["argv"], request["cwd"])
            process = subprocess.Popen(command, stdin=fds[0], stdout=fds[1], stderr=fds[2], env=request["env"])
        finally:
            for fd in fds:
                os.close(fd)
        while process.poll() is None:
            gone, _, _ = select.select([connection], [], [], 0.005)
            if gone:  # the caller has died: what it ran goes on, as under ssh, until it misses its descriptors
                process.kill()
                process.wait()
                return
        connection.sendall(struct.pack("<i", process.returncode))


def open_door(folder):
    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    door.bind(os.path.join(folder, "door"))
    door.listen(64)

    def answer():
        while True:
            connection, _ = door.accept()
            threading.Thread(target=serve, args=(folder, connection), daemon=True).start()

    threading.Thread(target=answer, daemon=True).start()


def wait_for_the_end(owner_fd):
    """Until the owner closes our input or dies (a process that it forked may hold the input open)."""
    poller = select.poll()
    poller.register(sys.stdin.fileno(), select.POLLHUP | select.POLLIN)
    poller.register(owner_fd, select.POLLIN)
    poller.poll()


def main():
    folder = sys.argv[1]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)  # the owner decides
    owner_fd = os.pidfd_open(os.getppid())
    lock = open(os.path.join(folder, "lock"), "r+", encoding="ascii")  # pylint: disable=consider-using-with
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # who gets this lock knows that we are dead
    print("locked", flush=True)
    with open(os.path.join(folder, "spec.json"), encoding="utf-8") as file:
        spec = json.load(file)
    keepers = []
    try:
        for name in spec["hosts"]:
            keepers.append(Keeper(folder, name, is_host=True))
        keepers.append(Keeper(folder, "switch", is_host=False))
        for keeper in keepers:
            keeper.wait_ready()
        open_door(folder)
        print("ready", flush=True)
        wait_for_the_end(owner_fd)
    except (OSError, RuntimeError, IndexError) as error:
        print(f"error: {error}", flush=True)
    finally:
        for keeper in keepers:
            keeper.end()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
