"""A test bed of several hosts on one machine: network namespaces with their own hostname, boot id, IPC namespace, /dev/shm, /proc and pids.

    with Bed(hosts=3, rails=2) as bed:
        bed.run("node0", ["hostname"])
        bed.shape("node1", 0, "1gbit")      # more of this in faults.py
        bed.link("node2", 1, up=False)

Hosts are called node0, node1, ...; their devices eth0, eth1, ... (one per rail, each rail a network of its own with the addresses
10.77.RAIL.HOST+1 and fd77:0:0:RAIL::HOST+1). Hosts know each other's names: node1 (on eth0), node1-eth1, and with -6 at the end for IPv6.
Nothing has a name in the system but a folder in /run/tutti-hosts, so beds don't meet; a bed ends with the process that made it.
Needs root, iproute2, util-linux and nftables.
"""
import fcntl
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import uuid

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from chaos import ChaosControl  # pylint: disable=wrong-import-position
from faults import Faults  # pylint: disable=wrong-import-position
from warden import enter_command  # pylint: disable=wrong-import-position

ROOT_FOLDER = "/run/tutti-hosts"
SKIPPED = 77  # the status of a program that can't have hosts here
MAX_HOSTS = 200
MAX_RAILS = 8
END_SECONDS = 30


def why_not():
    """Why this machine can't make hosts; None when it can."""
    if os.geteuid() != 0:
        return "making network namespaces needs root"
    for tool in ("ip", "tc", "ss", "nft", "unshare", "nsenter", "setpriv", "bash"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed"
    tried = subprocess.run(["unshare", "--net", "--uts", "--ipc", "--pid", "--mount", "--fork", "true"], capture_output=True, text=True,
                           check=False)
    if tried.returncode != 0:
        return f"the system refuses namespaces: {tried.stderr.strip()}"
    return None


def remove_stale():
    """Folders whose warden is dead. Called with ROOT_FOLDER locked."""
    for name in os.listdir(ROOT_FOLDER):
        folder = os.path.join(ROOT_FOLDER, name)
        if not os.path.isdir(folder):
            continue
        try:
            with open(os.path.join(folder, "lock"), "r+", encoding="ascii") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            pass  # it died before it had a lock
        except BlockingIOError:
            continue
        shutil.rmtree(folder, ignore_errors=True)


def check_run(command, text=None):
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: status {done.returncode}: {done.stderr.strip() or done.stdout.strip()}\n{text or ''}")
    return done.stdout


class Bed(Faults):
    """The hosts. `chaos` is the path of the chaos_switch program: it then carries the frames instead of bridges, and `bed.chaos(rail)` controls it."""

    def __init__(self, hosts=2, rails=1, mtu=1500, chaos=None):
        if not (1 <= hosts <= MAX_HOSTS and 1 <= rails <= MAX_RAILS):
            raise ValueError(f"expected 1 to {MAX_HOSTS} hosts and 1 to {MAX_RAILS} rails, got {hosts} and {rails}")
        reason = why_not()
        if reason:
            raise RuntimeError(f"no hosts here: {reason}")
        self.names = [f"node{i}" for i in range(hosts)]
        self.rails = rails
        self.with_chaos = chaos is not None
        self._switches = []
        self._warden = None
        try:
            self._start({"hosts": self.names, "rails": rails, "mtu": mtu, "chaos": self.with_chaos})
            self._connect(mtu, chaos)
        except BaseException:
            self.close()
            raise

    @classmethod
    def attach(cls, folder=None):
        """The bed that this process was started in (by with_hosts), for faults and commands; it ends without us."""
        bed = cls.__new__(cls)
        bed.folder = folder or os.environ["HOSTBED_DIR"]
        with open(os.path.join(bed.folder, "spec.json"), encoding="utf-8") as file:
            spec = json.load(file)
        bed.names, bed.rails, bed.with_chaos = spec["hosts"], spec["rails"], spec["chaos"]
        bed._switches, bed._warden = [], None
        return bed

    def _start(self, spec):
        os.makedirs(ROOT_FOLDER, mode=0o700, exist_ok=True)
        with open(os.path.join(ROOT_FOLDER, ".lock"), "w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # until the warden has the folder's own
            remove_stale()
            self.folder = tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=ROOT_FOLDER)
            self._write_files(spec)
            self._warden = subprocess.Popen([sys.executable, os.path.join(HERE, "warden.py"), self.folder], stdin=subprocess.PIPE,
                                            stdout=subprocess.PIPE, start_new_session=True)
            self._expect(b"locked")
        self._expect(b"ready")

    def _expect(self, word):
        line = self._warden.stdout.readline().strip()
        if line != word:
            raise RuntimeError(f"the hosts did not start: {line.decode() or 'the warden died'}")

    def _write_files(self, spec):
        def write(path, text):
            with open(os.path.join(self.folder, path), "w", encoding="utf-8") as file:
                file.write(text)

        write("spec.json", json.dumps(spec))
        write("lock", "")
        write("pidns", os.readlink("/proc/self/ns/pid") + "\n")
        for name in [*self.names, "switch"]:
            os.mkdir(os.path.join(self.folder, name))
        lines = ["127.0.0.1 localhost", "::1 localhost"]
        for name in self.names:
            for rail in range(self.rails):
                alias = [name] * (rail == 0) + [f"{name}-eth{rail}"]
                lines.append(" ".join([self.address(name, rail), *alias]))
                lines.append(" ".join([self.address(name, rail, 6), *(a + "-6" for a in alias)]))
        for name in self.names:
            write(f"{name}/boot_id", f"{uuid.uuid4()}\n")
            write(f"{name}/hostname", f"{name}\n")
            write(f"{name}/hosts", "\n".join(lines) + "\n")

    def _connect(self, mtu, chaos):
        """Devices, bridges and addresses; one `ip` for each namespace."""
        if chaos:
            self._switches = [ChaosControl.start(self, rail, chaos) for rail in range(self.rails)]
        batch = "" if chaos else "".join(
            f"link add br{rail} type bridge\nlink set br{rail} mtu {mtu} up\n" for rail in range(self.rails))
        for i, name in enumerate(self.names):
            for rail in range(self.rails):
                port = self.port(name, rail)
                if chaos:
                    batch += f"link set {port} netns {self.pid(name)} name eth{rail}\n"
                else:
                    batch += (f"link add {port} mtu {mtu} type veth peer name eth{rail} mtu {mtu} netns {self.pid(name)}\n"
                              f"link set {port} master br{rail} up\n")
        self.switch_run(["ip", "-batch", "-"], batch)
        for name in self.names:
            batch = ""
            for rail in range(self.rails):
                batch += (f"addr add {self.address(name, rail)}/24 dev eth{rail}\n"
                          f"addr add {self.address(name, rail, 6)}/64 dev eth{rail} nodad\nlink set eth{rail} mtu {mtu} up\n")
            self.net_run(name, ["ip", "-batch", "-"], batch)

    # --- what is where ---
    def pid(self, host):
        """Of the host's first process, as seen from outside. `switch` is the namespace of the bridges."""
        with open(os.path.join(self.folder, host, "pid"), encoding="ascii") as file:
            return int(file.read())

    def address(self, host, rail=0, family=4):
        number = self.names.index(host) + 1
        return f"10.77.{rail}.{number}" if family == 4 else f"fd77:0:0:{rail:x}::{number:x}"

    def port(self, host, rail):
        """The switch's end of the host's cable."""
        return f"n{self.names.index(host)}r{rail}"

    def chaos(self, rail=0):
        """The control of the rail's chaos switch."""
        if not self.with_chaos:
            raise RuntimeError("this bed has bridges; make it with chaos=PATH of chaos_switch")
        return ChaosControl(os.path.join(self.folder, f"chaos{rail}"))

    def environment(self):
        """What a command needs to find the bed."""
        return {"HOSTBED_DIR": self.folder, "HOSTBED_HOSTS": " ".join(self.names), "HOSTBED_RAILS": str(self.rails),
                "HOSTBED_ENTER": os.path.join(HERE, "enter"), "HOSTBED_RSH": os.path.join(HERE, "rsh")}

    # --- running things ---
    def command(self, host, argv):
        return enter_command(self.pid(host), argv, os.getcwd())

    def popen(self, host, argv, **how):
        how["env"] = {**os.environ, **self.environment(), **how.get("env", {})}
        return subprocess.Popen(self.command(host, argv), **how)

    def run(self, host, argv, **how):
        """As subprocess.run; text, captured and within 60 s unless told otherwise. A command that takes longer ends with the bed."""
        how = {"text": True, "capture_output": True, "timeout": 60, "check": False, **how}
        how["env"] = {**os.environ, **self.environment(), **how.get("env", {})}
        return subprocess.run(self.command(host, argv), **how)

    def net_run(self, host, argv, text=None):
        """A tool of the machine in the host's network only. Throws when it fails."""
        return check_run(["nsenter", "--target", str(self.pid(host)), "--net", "--", *argv], text)

    def switch_run(self, argv, text=None):
        return self.net_run("switch", argv, text)

    # --- the end ---
    def close(self):
        """Ends everything that runs in the hosts; returns when it is gone."""
        for switch in self._switches:
            switch.end()
        self._switches = []
        if self._warden is None:
            return
        self._warden.stdin.close()
        try:
            self._warden.wait(timeout=END_SECONDS)
        except subprocess.TimeoutExpired:
            self._warden.send_signal(signal.SIGKILL)
            self._warden.wait()
            shutil.rmtree(self.folder, ignore_errors=True)
        self._warden.stdout.close()
        self._warden = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def wait_until(condition, seconds, what):
    """Polls until `condition()` holds; an error that says `what` when it never does."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds} s: {what}")
        time.sleep(0.01)


def enter_through_door(host, argv):
    """For a process in a host: the bed's warden runs `argv` in another host on our descriptors."""
    request = json.dumps({"host": host, "argv": argv, "cwd": os.getcwd(), "env": dict(os.environ)}).encode()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
        door.connect(os.path.join(os.environ["HOSTBED_DIR"], "door"))
        socket.send_fds(door, [struct.pack("<I", len(request))], [0, 1, 2])
        door.sendall(request)
        answer = door.recv(4, socket.MSG_WAITALL)
    if len(answer) < 4:
        print(f"enter: the command could not be started in {host}", file=sys.stderr)
        return 255
    status = struct.unpack("<i", answer)[0]
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    if len(sys.argv) < 4 or sys.argv[1] != "enter":
        sys.exit("usage: hosts.py enter HOST COMMAND [ARGUMENTS...]")
    sys.exit(enter_through_door(sys.argv[2], sys.argv[3:]))
