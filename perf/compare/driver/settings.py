"""Who is measured, and how it is set. A setting is a job of its own; the best peer at a point is the best over all.
What made peers fast was found on a machine of two cores; `compare list` prints this table."""
import sys
from dataclasses import dataclass, field, replace

from . import ops

KIB, MIB = 1 << 10, 1 << 20

# Freed memory stays with the process, in pages that the kernel may join.
KEEP_MEMORY = {"GLIBC_TUNABLES": "glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=4294967296:"
                                 "glibc.malloc.top_pad=67108864:glibc.malloc.hugetlb=1"}
NO_CMA = {"btl_vader_single_copy_mechanism": "none", "btl_vader_eager_limit": "32768"}
BIG_FRAGMENTS = {"btl_vader_max_send_size": "262144", "btl_vader_rndv_eager_limit": "262144"}
SM_COLLECTIVES = {"coll_sm_priority": "90"}
SM_LARGE = {"coll_sm_priority": "90", "coll_sm_fragment_size": "32768", "coll_sm_comm_num_segments": "16"}
CCL_DIRECT = {f"CCL_{op}": "direct" for op in ("ALLREDUCE", "ALLGATHER", "REDUCE_SCATTER", "BCAST", "ALLTOALL")}
REDUCTIONS = ("all_reduce", "all_reduce_in_place", "reduce_scatter")
CCL_OPS = tuple(op for op in ops.PEER_OPS if op != "ping_pong")
SM_OPS = ("all_reduce", "all_reduce_in_place", "broadcast")  # what Open MPI's coll/sm has


@dataclass(frozen=True)
class Setting:
    """`name` is peer/what."""
    name: str
    about: str
    program: str
    launcher: str  # tutti, openmpi, mpich, impi, or none: the ranks are started one by one
    default: bool = False
    env: dict = field(default_factory=dict)
    arguments: tuple = ()
    ops: tuple = ops.PEER_OPS
    least: int = 0
    most: int = 1 << 40
    most_ranks: int = 1 << 10
    stop_when_idle: bool = False
    lacks: str = ""  # why operations are missing
    paths: object = None  # install.Paths, once known

    @property
    def peer(self):
        return self.name.split("/")[0]

    @property
    def is_tutti(self):
        return self.peer == "tutti"

    def covers(self, point):
        return point.op in self.ops and self.least <= point.size <= self.most and point.ranks <= self.most_ranks

    def commands(self, n_ranks, cpus, folder):
        """[(command, environment)] of the processes to start."""
        program = self.paths.program(self.program)
        if self.launcher == "none":
            return [([program], {"COMPARE_RANK": str(r)}) for r in range(n_ranks)]
        if self.launcher == "limits":  # forks its second rank
            return [([program], {})]
        launcher = {
            "tutti": [self.paths.tutti, "run", "-n", str(n_ranks)],
            "openmpi": ["mpirun.openmpi", "-n", str(n_ranks), "--bind-to", "none"]
                       + (["--oversubscribe"] if n_ranks > cpus else [])
                       + ["--mca", "orte_tmpdir_base", folder, "--mca", "btl_vader_backing_directory", folder],
            "mpich": ["mpirun.mpich", "-n", str(n_ranks)],
            "impi": [self.paths.impi_launcher, "-n", str(n_ranks)],
        }[self.launcher]
        return [(launcher + list(self.arguments) + [program], self.paths.impi_environment() if self.launcher == "impi" else {})]


def mca(values):
    return tuple(word for key, value in values.items() for word in ("--mca", key, value))


def openmpi(name, about, values=None, env=None, **more):
    root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    return Setting(f"openmpi/{name}", about, "mpi_openmpi", "openmpi", env={**root, **(env or {})}, arguments=mca(values or {}),
                   **more)


def mpich(name, about, env=None, **more):
    return Setting(f"mpich/{name}", about, "mpi_mpich", "mpich", env=env or {}, **more)


def impi(name, about, env=None, **more):
    return Setting(f"impi/{name}", about, "mpi_impi", "impi", env={"I_MPI_FABRICS": "shm", "I_MPI_PIN": "0", **(env or {})},
                   **more)


def gloo(name, about, how, **more):
    return Setting(f"gloo/{name}", about, "gloo", "none", env={"COMPARE_GLOO": how}, **more)


def oneccl(name, about, env=None, **more):
    always = {"I_MPI_FABRICS": "shm", "I_MPI_PIN": "0", "CCL_ATL_TRANSPORT": "mpi", "CCL_LOG_LEVEL": "error"}
    return Setting(f"oneccl/{name}", about, "oneccl", "impi", env={**always, **(env or {})}, ops=CCL_OPS, stop_when_idle=True,
                   lacks="ping-pong: its send and receive of host memory end in a segmentation fault (2022.1)", **more)


SETTINGS = (
    Setting("tutti/malloc", "ordinary buffers", "tutti", "tutti", default=True),
    Setting("tutti/memalloc", "buffers of tuttiMemAlloc", "tutti", "tutti", env={"COMPARE_BUFFERS": "memalloc"}),

    openmpi("default", "as installed", default=True),
    openmpi("no-cma", "copies through shared memory instead of process_vm_readv; eager up to 32 KiB", NO_CMA),
    openmpi("no-cma-sm", "and coll/sm", {**NO_CMA, **SM_COLLECTIVES}, ops=SM_OPS, most=512 * KIB),
    openmpi("no-cma-sm-large", "and coll/sm with 16 segments of 32 KiB", {**NO_CMA, **SM_LARGE}, ops=SM_OPS, least=2 * KIB,
            most_ranks=2),
    openmpi("no-cma-large", "fragments of 256 KiB; memory is kept", {**NO_CMA, **BIG_FRAGMENTS}, KEEP_MEMORY, least=128 * KIB),
    openmpi("no-cma-untuned", "and coll/tuned off", {**NO_CMA, **BIG_FRAGMENTS, "coll": "^tuned"}, KEEP_MEMORY,
            ops=REDUCTIONS, least=512 * KIB, most_ranks=2),

    mpich("default", "as installed", default=True),
    mpich("posix", "UCX over POSIX shared memory only; memory is kept", {"UCX_TLS": "posix,self", **KEEP_MEMORY}),

    impi("default", "shared memory, as installed", default=True),
    impi("keep-memory", "memory is kept", KEEP_MEMORY, most_ranks=2),
    impi("pt2pt", "collectives over point-to-point; memory is kept", {"I_MPI_COLL_INTRANODE": "pt2pt", **KEEP_MEMORY},
         most_ranks=2),

    gloo("default", "functions with options, over TCP", "new", default=True, most_ranks=4),
    gloo("busy-ring", "AllreduceRing on busy-polling pairs", "ring", ops=REDUCTIONS, most=32 * KIB, most_ranks=2),
    gloo("busy-bcube", "AllreduceBcube on busy-polling pairs", "bcube", ops=REDUCTIONS[:2], most=32 * KIB, most_ranks=2),
    gloo("busy-halving", "AllreduceHalvingDoubling on busy-polling pairs", "halving", ops=REDUCTIONS[:2], most=32 * KIB,
         most_ranks=2),

    oneccl("default", "over Intel MPI, as installed", default=True, most_ranks=2),
    oneccl("caller", "the calling thread makes progress; schedules and memory are kept",
           {"COMPARE_CCL_CACHE": "1", "CCL_WORKER_OFFLOAD": "0", **KEEP_MEMORY}, most_ranks=4),
    oneccl("caller-direct", "and collectives are those of the MPI",
           {"COMPARE_CCL_CACHE": "1", "CCL_WORKER_OFFLOAD": "0", **CCL_DIRECT, **KEEP_MEMORY}, most_ranks=2),
)


def variant(text, base=SETTINGS[0], taken=SETTINGS):
    """Tutti as in `base`, with environment variables of one's own: "name:VAR=VALUE,VAR=VALUE"."""
    name, colon, values = text.partition(":")
    env = dict(pair.partition("=")[::2] for pair in values.split(",") if "=" in pair)
    if not name or not colon or len(env) != len(values.split(",")) or any(s.name == f"tutti/{name}" for s in taken):
        raise ValueError(f"--variant takes NAME:VAR=VALUE,... with a name of its own, got {text}")
    return replace(base, name=f"tutti/{name}", about=values, env={**base.env, **env}, default=False)


LIMITS = Setting("limit/machine", "hand-written loops", "limits", "limits")
PEERS = tuple(dict.fromkeys(s.peer for s in SETTINGS))


def select(peers, among=SETTINGS):
    """Settings of the named peers (`openmpi`) or single ones (`openmpi/default`); Tutti's are always among them."""
    if not peers:
        return list(among)
    known = [s.peer for s in among] + [s.name for s in among]
    unknown = [p for p in peers if p not in known]
    if unknown:
        sys.exit(f"compare: no peer or setting is called {', '.join(unknown)}; `compare list` shows them")
    named = [s for s in among if s.peer in peers or s.name in peers]
    return named if any(s.is_tutti for s in named) else [s for s in among if s.is_tutti] + named


def table(among=SETTINGS):
    lines = []
    for s in among:
        limits = []
        if not set(ops.PEER_OPS) <= set(s.ops):
            missing = [o for o in ops.PEER_OPS if o not in s.ops]
            few = len(s.ops) <= len(missing)
            limits.append(("" if few else "not ") + ", ".join(ops.TITLES[o] for o in (s.ops if few else missing)))
        if s.least or s.most < 1 << 40:
            limits.append(f"{ops.size_text(s.least)} to {ops.size_text(s.most)}" if s.most < 1 << 40 else f"from {ops.size_text(s.least)}")
        if s.most_ranks < 1 << 10:
            limits.append(f"up to {s.most_ranks} ranks")
        lines.append(f"{s.name + (' *' if s.default else ''):26} {s.about}" + (f" [{'; '.join(limits)}]" if limits else ""))
        lines += [f"{'':28} {line}" for line in how(s)]
    return "\n".join(lines)


def how(setting):
    """What a user would have to type."""
    env = [f"{k}={v}" for k, v in setting.env.items() if not k.startswith("OMPI_ALLOW")]
    arguments = [" ".join(setting.arguments[i:i + 3]) for i in range(0, len(setting.arguments), 3)]
    return env + arguments
