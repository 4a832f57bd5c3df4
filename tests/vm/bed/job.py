"""One run of a command in a guest: the folder through which runner and guest talk, and the guest's process."""
import contextlib
import dataclasses
import fcntl
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from bed import cache, lanes, network, processes

POLL_S = 0.01
FAILED, TIMED_OUT = 125, 124  # as timeout(1) has them
STALE_S = 60
PREFIX = "tutti-vm-"
SHELL_NAMES = ("PATH", "PWD", "BASH_ENV", "ENV", "SHELLOPTS", "BASHOPTS")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


@dataclasses.dataclass
class Request:
    """What to run, and in what kind of guest."""
    command: list
    lane: str
    hosts: int
    rails: int
    driver: str
    cpus: int
    memory: str
    timeout: float
    out: str
    shell: bool


def _shared_memory():
    return "/dev/shm" if os.access("/dev/shm", os.W_OK | os.X_OK) else tempfile.gettempdir()


def sweep():
    """Removes the folders of runners that were killed: nobody holds their lock."""
    for folder in pathlib.Path(_shared_memory()).glob(PREFIX + "*"):
        try:
            if time.time() - folder.stat().st_mtime < STALE_S:
                continue
            with open(folder / "lock", "r", encoding="utf-8") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            continue


def same_stream():
    first, second = os.fstat(1), os.fstat(2)
    return (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino)


def command_script(request):
    """The caller's folder and environment (names that a shell can't have are left out), the bed's variables, then the command."""
    path = f"/run/tutti-vm/job/bed/guest/bin:{os.environ.get('PATH', '/usr/bin:/bin')}:/usr/sbin:/sbin"
    values = {name: value for name, value in os.environ.items() if _NAME.match(name) and name not in SHELL_NAMES}
    values.update(network.environment(request.lane, request.hosts, request.rails, request.driver), PATH=path)
    lines = [f"export {name}={shlex.quote(str(value))}" for name, value in values.items()]
    lines += [f"cd {shlex.quote(os.getcwd())} || exit 126", f"exec {shlex.join(request.command or ['bash', '--norc', '-i'])}"]
    return "\n".join(lines) + "\n"


def program(name):
    """The guest runs the machine's own ip(8), rdma(8) and tc(8)."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/bin")
    if found is None:
        raise cache.Unavailable(f"{name} is not installed (Debian: iproute2)")
    return shlex.quote(found)


def fill(folder, request):
    files = {
        "settings": [f"VM_LANE={request.lane}", f"VM_MERGED={int(same_stream())}", f"VM_SHELL={int(request.shell)}",
                     f"VM_HOSTS={request.hosts}", *(f"VM_{name.upper()}={program(name)}" for name in ("ip", "rdma", "tc"))],
        "sysctls": [f"{name} {value}" for name, value in network.SYSCTLS.items()],
        "network.ip": network.ip_batch(request.hosts, request.rails),
        "network.rdma": network.rdma_batch(request.hosts, request.rails, request.driver),
        "stdout": [],
        "stderr": [],
    }
    for name, lines in files.items():
        (folder / name).write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    (folder / "entropy").write_bytes(os.urandom(64))
    (folder / "command").write_text(command_script(request), encoding="utf-8", errors="surrogateescape")
    (folder / "bed").symlink_to(cache.BED)
    if request.out:
        os.makedirs(request.out, exist_ok=True)
        (folder / "out").symlink_to(os.path.abspath(request.out))
    else:
        (folder / "out").mkdir()


@contextlib.contextmanager
def job_folder(request):
    sweep()
    folder = pathlib.Path(tempfile.mkdtemp(prefix=PREFIX, dir=_shared_memory()))
    try:
        with open(folder / "lock", "w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            fill(folder, request)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Follower:
    """Passes on what a growing file gets."""

    def __init__(self, path, sink):
        self._file = open(path, "rb", buffering=0)  # pylint: disable=consider-using-with
        self._sink = sink

    def pass_on(self):
        while True:
            data = self._file.read(1 << 20)
            if not data:
                break
            self._sink.write(data)
            self._sink.flush()

    def close(self):
        self._file.close()


@contextlib.contextmanager
def guest(request, image, folder):
    """The guest's process; when this ends, so has everything in it."""
    lane = lanes.LANES[request.lane]
    words = lane.command(image, folder, request)
    with open(folder / "monitor", "wb") as said:
        streams = {} if request.shell else {"stdin": subprocess.DEVNULL, "stdout": said, "stderr": said}
        process = subprocess.Popen(  # pylint: disable=consider-using-with,subprocess-popen-preexec-fn
            words, **streams, preexec_fn=processes.bound_to_us(), start_new_session=not request.shell,
            env={**os.environ, **lane.environment(request)})
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            if request.shell:
                process.kill()
            else:
                os.killpg(process.pid, signal.SIGKILL)  # it leads its own group, and is not waited for yet
        process.wait()


def last_words(folder, count=25):
    """The end of the guest's console and of what its machine said."""
    lines = []
    for name in ("monitor", "console"):
        path = folder / name
        if path.exists():
            text = path.read_bytes().decode(errors="replace").replace("\r", "").splitlines()
            lines += [f"{name}: {line}" for line in text[-count:] if line.strip()]
    return "\n".join(lines)


def follow(request, folder, process):
    """Waits for the exit code while passing output on. Returns the code and, where the guest failed, what happened."""
    end = time.monotonic() + request.timeout
    followers = [Follower(folder / "stdout", sys.stdout.buffer), Follower(folder / "stderr", sys.stderr.buffer)]
    try:
        while True:
            finished = (folder / "exit").exists()
            ended = process.poll() is not None
            late = time.monotonic() >= end
            for follower in followers:
                follower.pass_on()
            if finished:
                return int((folder / "exit").read_text(encoding="utf-8")), None
            if ended:
                return FAILED, f"the guest ended by itself (exit code {process.returncode}) before the command did"
            if late:
                where = "the command" if (folder / "booted").exists() else "the boot of the guest"
                return TIMED_OUT, f"{where} did not end within {request.timeout:g} s"
            time.sleep(POLL_S)
    finally:
        for follower in followers:
            follower.close()


def run(request, image):
    """Boots the image, runs the command and gives back its exit code."""
    with job_folder(request) as folder:
        with guest(request, image, folder) as process:
            if request.shell:
                process.wait()
                return 0
            code, trouble = follow(request, folder, process)
        if trouble is None and (folder / "trouble").exists():
            trouble = (folder / "trouble").read_text(encoding="utf-8").strip()
        if trouble:
            print(f"tests/vm/run: lane {request.lane}: {trouble}. The guest's last words:\n{last_words(folder)}", file=sys.stderr)
        return code


def end_by_signals():
    """SIGTERM, SIGHUP, and the death of our parent end us as Ctrl-C does: with everything cleaned up."""

    def stop(number, _frame):
        sys.exit(128 + number)

    parent = os.getppid()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, stop)
    processes.die_with(parent, signal.SIGTERM)
