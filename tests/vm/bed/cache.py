"""Where prepared guests are kept, and how Debian packages get there without being installed."""
import contextlib
import fcntl
import hashlib
import os
import pathlib
import platform
import re
import shutil
import subprocess
import tempfile
import time

from bed import processes

BED = pathlib.Path(__file__).resolve().parent.parent
DOWNLOAD_S = 150
UNPACK_S = 120
LOCK_S = 3600
KEPT_PER_LANE = 4


class Unavailable(Exception):
    """The guest can't be had on this machine; the text says why and what would help."""


def root():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return pathlib.Path(base) / "tutti" / "vm"


def call(command, timeout, **options):
    """Runs a command, which is killed with the deadline or with us, and gives back its output."""
    try:
        done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=timeout, check=False, text=True, errors="replace",
                              preexec_fn=processes.bound_to_us(), **options)
    except FileNotFoundError as missing:
        raise Unavailable(f"{command[0]} is not installed") from missing
    except subprocess.TimeoutExpired as late:
        raise Unavailable(f"{command[0]} did not end within {timeout} s: {' '.join(map(str, command))}") from late
    if done.returncode != 0:
        told = (done.stderr.strip() or done.stdout.strip()).splitlines()[-3:]
        raise Unavailable(f"{' '.join(map(str, command))}: exit code {done.returncode}: {' / '.join(told)}")
    return done.stdout


class Packages:
    """apt, with the machine's lists or, where these are empty or stale, with lists of our own."""

    def __init__(self):
        if platform.machine() != "x86_64":
            raise Unavailable(f"the guests are made for x86_64, this machine is {platform.machine()}")
        self._options = []

    def refresh(self):
        state = root() / "apt"
        for folder in ("state/lists/partial", "cache/archives/partial"):
            (state / folder).mkdir(parents=True, exist_ok=True)
        self._options = ["-o", f"Dir::State={state}/state", "-o", f"Dir::Cache={state}/cache", "-o", "APT::Sandbox::User="]
        call(["apt-get", *self._options, "-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=20", "update"], DOWNLOAD_S)

    def candidate(self, package):
        """The version that would be downloaded, or None."""
        match = re.search(r"^\s*Candidate:\s*(\S+)", call(["apt-cache", *self._options, "policy", package], 60), re.MULTILINE)
        return match.group(1) if match and match.group(1) != "(none)" else None

    def depends(self, package):
        return re.findall(r"^\s*Depends:\s*(\S+)", call(["apt-cache", *self._options, "depends", package], 60), re.MULTILINE)

    def download(self, package, folder):
        """The package's file in the folder; tries again with fresh lists when the mirror no longer has what the lists name."""
        command = ["-o", "APT::Sandbox::User=", "-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=20", "download", package]
        try:
            call(["apt-get", *self._options, *command], DOWNLOAD_S, cwd=folder)
        except Unavailable as first:
            try:
                self.refresh()
                call(["apt-get", *self._options, *command], DOWNLOAD_S, cwd=folder)
            except Unavailable:
                raise first from None
        found = sorted(pathlib.Path(folder).glob(f"{package}_*.deb"))
        if not found:
            raise Unavailable(f"apt-get download {package} left no file")
        return found[-1]


def key_of(*parts):
    """A short name for content: texts, and files by what is in them."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.read_bytes() if isinstance(part, pathlib.Path) else str(part).encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()[:12]


def find(lane, key):
    """The newest finished image of a lane with this key, whatever kernel it has."""
    images = [path for path in (root() / lane).glob(f"*-{key}") if (path / "complete").exists()]
    return max(images, key=lambda path: path.stat().st_mtime, default=None)


def _try_lock(file):
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False


@contextlib.contextmanager
def locked(lane):
    """One preparation of a lane at a time; the kernel lets go of the lock when its holder dies."""
    folder = root() / lane
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w", encoding="utf-8") as lock:
        end = time.monotonic() + LOCK_S
        while not _try_lock(lock):
            if time.monotonic() >= end:
                raise Unavailable(f"another process prepares lane {lane} and has not finished within {LOCK_S} s ({folder}/lock)")
            time.sleep(0.1)
        for left in folder.glob("partial-*"):
            shutil.rmtree(left, ignore_errors=True)
        yield folder


def build(folder, name, make):
    """Runs make(work folder) and gives what it left in work/image the name, at once or not at all."""
    work = pathlib.Path(tempfile.mkdtemp(prefix="partial-", dir=folder))
    try:
        image = work / "image"
        image.mkdir()
        make(work)
        (image / "complete").touch()
        final = folder / name
        shutil.rmtree(final, ignore_errors=True)
        os.rename(image, final)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    finished = sorted((path for path in folder.iterdir() if (path / "complete").exists()), key=lambda path: path.stat().st_mtime)
    for old in finished[:-KEPT_PER_LANE]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def unpack_busybox(packages, work):
    """A static busybox, which is all the user land that a guest's first seconds need."""
    folder = work / "busybox"
    call(["dpkg", "-x", packages.download("busybox-static", work), folder], UNPACK_S)
    return folder / "bin" / "busybox"


def write_initrd(busybox, tree, target):
    """Packs a tree with busybox and our init into an initramfs. It is small, so it is not compressed: unpacking costs a guest more."""
    for folder in ("bin", "proc", "sys", "dev"):
        (tree / folder).mkdir(parents=True, exist_ok=True)
    shutil.copy(busybox, tree / "bin" / "busybox")
    shutil.copy(BED / "guest" / "init", tree / "init")
    os.chmod(tree / "init", 0o755)
    os.chmod(tree, 0o755)
    names = "\n".join(sorted(str(path.relative_to(tree)) for path in tree.rglob("*"))) + "\n"
    with open(target, "wb") as out:
        done = subprocess.run([str(busybox), "cpio", "-o", "-H", "newc"], cwd=tree, input=names.encode(), stdout=out,
                              stderr=subprocess.PIPE, timeout=60, check=False)
    if done.returncode != 0:
        raise Unavailable(f"packing the initramfs: {done.stderr.decode(errors='replace').strip()}")
