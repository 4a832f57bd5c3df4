"""Gets the peers: Debian packages, wheels in a folder of their own under build/, and the rank programs. Whatever can't be had
is skipped, with the reason."""
import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
RANKS = os.path.join(os.path.dirname(HERE), "ranks")
ROOT = os.path.abspath(os.path.join(HERE, "..", "..", ".."))
HARNESS = ["point.cc", "control.cc", "buffers.cc", "serve.cc"]
FLAGS = ["-std=c++20", "-O2", "-I" + ROOT, "-I" + os.path.join(ROOT, "include"), "-DOMPI_SKIP_MPICXX", "-DMPICH_SKIP_MPICXX"]
DEBIAN = {"openmpi": ["openmpi-bin", "libopenmpi-dev"], "mpich": ["mpich", "libmpich-dev"], "gloo": ["libgloo-dev"]}
WHEELS = {"impi": ["impi-rt", "impi-devel"], "oneccl": ["oneccl", "oneccl-devel", "impi-rt", "impi-devel"]}
NEEDS = {"openmpi": "mpi_openmpi", "mpich": "mpi_mpich", "impi": "mpi_impi", "gloo": "gloo", "oneccl": "oneccl"}
COMMAND_SECONDS = 900


class Missing(Exception):
    """A peer can't be had; the text says why."""


class Paths:
    """Where things are. `build` is the library's build folder, `cache` is that of wheels and peers' programs."""

    def __init__(self, build, cache):
        self.build, self.cache = os.path.abspath(build), os.path.abspath(cache)
        self.venv = os.path.join(self.cache, "venv")
        self.bin = os.path.join(self.cache, "bin")
        self.tutti = os.path.join(self.build, "bin", "tutti")
        self.impi_launcher = os.path.join(self.venv, "bin", "mpiexec.hydra")

    def impi_environment(self):
        """The wheels do not find themselves."""
        old = os.environ.get("LD_LIBRARY_PATH")
        libraries = os.path.join(self.venv, "lib")
        return {"I_MPI_ROOT": self.venv, "LD_LIBRARY_PATH": libraries + (":" + old if old else "")}

    def program(self, name):
        own = {"tutti": "compare_tutti", "limits": "compare_limits"}
        return os.path.join(self.build, "bin", own[name]) if name in own else os.path.join(self.bin, name)


def run(command, what, env=None):
    """Raises Missing with the last line that the command has said."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=COMMAND_SECONDS, env=env, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Missing(f"{what}: {error}") from error
    if done.returncode:
        lines = [line for line in done.stdout.splitlines() if line.strip()]
        telling = [line for line in lines if "rror" in line] or lines or ["it said nothing"]
        raise Missing(f"{what}: {telling[0].strip()[:200]}")
    return done.stdout


def installed(package):
    done = subprocess.run(["dpkg-query", "-W", "-f=${db:Status-Status}", package], capture_output=True, text=True, check=False)
    return done.returncode == 0 and done.stdout == "installed"


def install_debian(packages):
    if shutil.which("dpkg-query") is None:
        raise Missing("no Debian packages on this system; install " + ", ".join(packages))
    missing = [p for p in packages if not installed(p)]
    if not missing:
        return
    root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    run(root + ["apt-get", "update", "-qq"], "apt-get update")
    env = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    run(root + ["apt-get", "install", "-y", "-qq", "--no-install-recommends"] + missing, "apt-get install " + " ".join(missing), env)


def install_wheels(paths, packages):
    """Into one virtual environment; pip's own look at what is there is slow, so a file remembers."""
    done = os.path.join(paths.venv, "installed-" + "-".join(packages))
    if os.path.exists(done):
        return
    if not os.path.exists(os.path.join(paths.venv, "bin", "pip")):
        run([sys.executable, "-m", "venv", paths.venv], "python3 -m venv")
    run([os.path.join(paths.venv, "bin", "pip"), "install", "--quiet"] + packages, "pip install " + " ".join(packages))
    with open(done, "w", encoding="utf-8"):
        pass


def compiler(paths, peer):
    """Compiler and flags of a peer's rank program."""
    lib = os.path.join(paths.venv, "lib")
    include = ["-isystem", os.path.join(paths.venv, "include")]
    libraries = {"impi": ["libmpi.so.12"], "oneccl": ["libccl.so.1", "libmpi.so.12"]}.get(peer, [])
    own = [os.path.join(lib, name) for name in libraries]
    own += [f"-Wl,-rpath,{lib}", f"-Wl,-rpath-link,{lib}", "-Wl,--allow-shlib-undefined"] if own else []
    return {
        "openmpi": ("mpicxx.openmpi", "mpi_rank.cc", [], []),
        "mpich": ("mpicxx.mpich", "mpi_rank.cc", [], []),
        "impi": ("c++", "mpi_rank.cc", include, own),
        "oneccl": ("c++", "oneccl_rank.cc", include, own),
        "gloo": ("c++", "gloo_rank.cc", [], ["-lgloo", "-pthread"]),
    }[peer]


def compile_program(paths, peer):
    command, source, before, after = compiler(paths, peer)
    target = os.path.join(paths.bin, NEEDS[peer])
    sources = [os.path.join(RANKS, name) for name in HARNESS + [source]]
    inputs = sources + [os.path.join(RANKS, n) for n in os.listdir(RANKS) if n.endswith(".h")] + [os.path.abspath(__file__)]
    if os.path.exists(target) and os.path.getmtime(target) >= max(os.path.getmtime(i) for i in inputs):
        return
    os.makedirs(paths.bin, exist_ok=True)
    run([command] + FLAGS + before + sources + ["-o", target + ".new"] + after, f"compiling {source}")
    os.replace(target + ".new", target)


def prepare_peer(paths, peer, allow_install):
    """Raises Missing."""
    if allow_install:
        if peer in DEBIAN:
            install_debian(DEBIAN[peer])
        if peer in WHEELS:
            install_wheels(paths, WHEELS[peer])
    compile_program(paths, peer)


def check_tutti(paths):
    for program in (paths.tutti, paths.program("tutti"), paths.program("limits")):
        if not os.path.exists(program):
            sys.exit(f"compare: {program} is missing. Build first: cmake --preset release && cmake --build --preset release "
                     "(another build folder: --build FOLDER)")


def prepare(paths, peers, allow_install, say):
    """Peers that can be measured, and {peer: reason} of the others."""
    check_tutti(paths)
    ready, skipped = ["tutti"], {}
    for peer in peers:
        if peer == "tutti":
            continue
        say(f"preparing {peer}")
        try:
            prepare_peer(paths, peer, allow_install)
            ready.append(peer)
        except Missing as reason:
            skipped[peer] = str(reason)
    return ready, skipped
