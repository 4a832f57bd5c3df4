"""Jobs: the rank processes of one peer at one setting. They live through the whole run and sleep in read() on the
control socket while others measure."""
import os
import selectors
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time

START_SECONDS = 60
QUIT_SECONDS = 5
# What a killed rank may leave in /dev/shm: names that MPI libraries and UCX give.
LEFTOVER_PREFIXES = ("ucx_shm_posix_", "mpich_", "Intel_MPI_", "vader_segment", "psm", "shm-col-space")


class JobFailed(Exception):
    """The job can't go on; it has been killed."""


class Refused(Exception):
    """The back end does not do what it was asked; the job goes on."""


class ControlServer:
    """The listening socket and the folder that all of a run's temporary files are in: in memory, unless hosts of the
    test bed have to see it, whose /dev/shm is their own."""

    def __init__(self, shared=False):
        base = "/dev/shm" if os.access("/dev/shm", os.W_OK) and not shared else None
        remove_orphans(base)
        self.folder = tempfile.mkdtemp(prefix=f"compare.{os.getpid()}.", dir=base)
        self.path = os.path.join(self.folder, "control")
        self.began = time.time()
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.bind(self.path)
        self.socket.listen(128)
        self.socket.settimeout(0.1)

    def accept(self):
        """The next rank that connects, or None after a moment."""
        try:
            connection, _ = self.socket.accept()
        except TimeoutError:
            return None
        return Rank(connection)

    def close(self):
        self.socket.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Rank:
    """The driver's end of one rank's control socket."""

    def __init__(self, connection):
        self.socket = connection
        self.pending = b""
        words = self.read_line(time.monotonic() + 5).split()
        fields = dict(w.split("=", 1) for w in words[1:])
        self.job, self.rank = fields["job"], int(fields["rank"])
        # As this process sees it: the rank may be in a host of the test bed, which numbers its own processes.
        self.pid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        self.version = fields["version"]

    def send(self, line):
        self.socket.sendall(line.encode() + b"\n")

    def read_line(self, deadline):
        """Raises TimeoutError, ConnectionError."""
        while b"\n" not in self.pending:
            self.socket.settimeout(max(0.001, deadline - time.monotonic()))
            data = self.socket.recv(4096)
            if not data:
                raise ConnectionError("the process has ended")
            self.pending += data
        line, self.pending = self.pending.split(b"\n", 1)
        return line.decode()


class Job:
    """One peer at one setting with n ranks."""

    def __init__(self, setting, n_ranks, server, cpus):
        self.setting, self.n_ranks, self.server, self.cpus = setting, n_ranks, server, cpus
        self.name = f"{setting.name}#{n_ranks}"
        self.processes, self.ranks = [], []
        self.log = os.path.join(server.folder, self.name.replace("/", "_") + ".log")
        self.folder = os.path.join(server.folder, self.name.replace("/", "_"))
        self.problem = None

    # ---- start and end ----

    def start(self, placement):
        """Raises JobFailed with the reason when not all ranks have come in time."""
        os.makedirs(self.folder, exist_ok=True)
        env = dict(os.environ, TMPDIR=self.folder, COMPARE_SOCKET=self.server.path, COMPARE_JOB=self.name,
                   COMPARE_PLACEMENT=placement, COMPARE_STORE=self.folder, COMPARE_SIZE=str(self.n_ranks), **self.setting.env)
        with open(self.log, "wb") as log:
            for command, more in self.setting.commands(self.n_ranks, self.cpus, self.folder):
                try:
                    self.processes.append(subprocess.Popen(command, env=dict(env, **more), stdin=subprocess.DEVNULL, stdout=log,
                                                           stderr=log, start_new_session=True))
                except OSError as error:
                    self.fail(f"cannot start {command[0]}: {error}")
        self.wait_for_ranks()

    def wait_for_ranks(self):
        deadline = time.monotonic() + START_SECONDS
        while len(self.ranks) < self.n_ranks:
            rank = self.server.accept()
            if rank is not None and rank.job == self.name:
                self.ranks.append(rank)
            elif any(p.poll() is not None for p in self.processes):
                self.fail(f"ended while starting: {self.last_words()}")
            elif time.monotonic() > deadline:
                self.fail(f"{len(self.ranks)} of {self.n_ranks} ranks came within {START_SECONDS} s: {self.last_words()}")
        self.ranks.sort(key=lambda r: r.rank)
        self.rest()

    def last_words(self):
        """The most telling line that the job has printed."""
        with open(self.log, encoding="utf-8", errors="replace") as log:
            lines = [line.strip() for line in log if line.strip(" \n-*=")]
        errors = [line for line in lines if "rror" in line or "annot" in line or "ailed" in line]
        return (errors or lines or ["it printed nothing"])[-1 if not errors else 0][:200]

    def fail(self, reason):
        self.problem = reason
        self.kill()
        raise JobFailed(reason)

    def quit(self):
        """The friendly end; what has not gone then is killed."""
        if self.problem is None:
            self.wake()
            for rank in self.ranks:
                try:
                    rank.send("quit")
                except OSError:
                    pass
            deadline = time.monotonic() + QUIT_SECONDS
            while any(p.poll() is None for p in self.processes) and time.monotonic() < deadline:
                time.sleep(0.02)
        self.kill()

    def kill(self):
        killed = any(p.poll() is None for p in self.processes)
        for process in self.processes:
            if process.poll() is None:  # not reaped, so the number is still this process's
                try:
                    os.killpg(process.pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        for rank in self.ranks:
            if process_job(rank.pid) == self.name:
                os.kill(rank.pid, signal.SIGKILL)
            rank.socket.close()
        for process in self.processes:
            process.wait()
        self.ranks = []
        if killed:
            remove_leftovers(self.server.began)

    # ---- sleeping ----

    def rest(self):
        """Threads that poll while their library is idle would take the cores from the others."""
        if self.setting.stop_when_idle:
            for rank in self.ranks:
                os.kill(rank.pid, signal.SIGSTOP)

    def wake(self):
        if self.setting.stop_when_idle:
            for rank in self.ranks:
                os.kill(rank.pid, signal.SIGCONT)

    # ---- questions ----

    def ask(self, message, seconds):
        """The answers of all ranks, by rank. Raises JobFailed, Refused."""
        if self.problem is not None:
            raise JobFailed(self.problem)
        self.wake()
        deadline = time.monotonic() + seconds
        try:
            for rank in self.ranks:
                rank.send(f"{message} seconds={int(seconds) + 1}")
            answers = self.collect(deadline)
        except TimeoutError:
            self.fail(f"no answer to '{message.split()[0]}' within {seconds:.0f} s")
        except OSError as error:
            self.fail(f"{error} ({self.last_words()})")
        self.rest()
        self.check(answers)
        return answers

    def collect(self, deadline):
        answers = {}
        with selectors.DefaultSelector() as selector:
            for rank in self.ranks:
                selector.register(rank.socket, selectors.EVENT_READ, rank)
            while len(answers) < len(self.ranks):
                if time.monotonic() > deadline:
                    raise TimeoutError
                for key, _ in selector.select(max(0.0, deadline - time.monotonic())):
                    answers[key.data.rank] = key.data.read_line(deadline)
        return [answers[r.rank] for r in self.ranks]

    def check(self, answers):
        for rank, answer in enumerate(answers):
            verb, _, rest = answer.partition(" ")
            if verb == "unsupported":
                raise Refused(rest)
            if verb == "error":
                self.fail(f"rank {rank}: {rest}")

    def version(self):
        return self.ranks[0].version if self.ranks else ""


def process_job(pid):
    """The job that a living process belongs to, by its environment; None when it has gone."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            words = file.read().split(b"\0")
    except OSError:
        return None
    return next((w.partition(b"=")[2].decode() for w in words if w.startswith(b"COMPARE_JOB=")), None)


def remove_orphans(base):
    """Folders of earlier runs that were killed before they could remove them."""
    base = base or tempfile.gettempdir()
    for name in os.listdir(base):
        words = name.split(".")
        path = os.path.join(base, name)
        if len(words) == 3 and words[0] == "compare" and words[1].isdigit() and not os.path.exists(f"/proc/{words[1]}"):
            try:
                if os.stat(path).st_uid == os.getuid():
                    shutil.rmtree(path, ignore_errors=True)
            except OSError:
                pass


def remove_leftovers(since):
    """Shared memory that a killed job could not unlink: ours, made during this run, mapped by nobody."""
    try:
        names = [n for n in os.listdir("/dev/shm") if n.startswith(LEFTOVER_PREFIXES)]
    except OSError:
        return
    mapped = mapped_shared_files() if names else ""
    for name in names:
        path = os.path.join("/dev/shm", name)
        try:
            info = os.stat(path)
            if info.st_uid == os.getuid() and info.st_ctime >= since and path not in mapped and os.path.isfile(path):
                os.unlink(path)
        except OSError:
            pass


def mapped_shared_files():
    text = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as maps:
                text += [line for line in maps if "/dev/shm/" in line]
        except OSError:
            pass
    return "".join(text)
