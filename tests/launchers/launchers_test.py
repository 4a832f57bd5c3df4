"""Starts `meet` by the launchers that people use, on several hosts without anything set by hand, and reads what each rank says.

    launchers_test.py KIND MEET CROWD HOSTS_FOLDER      KIND: openmpi, slurm, hydra, plain

`meet` goes as far as the bootstrap; `crowd` makes a communicator and checks an AllReduce over it.
Hosts are network namespaces (tests/hosts) for openmpi and hydra; Slurm has two slurmd of its own on this host. Whatever is started here ends
here. Status 77 with a reason when something is missing.
"""
import contextlib
import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

KIND, HOSTS_FOLDER = sys.argv[1], sys.argv[4]
MEET, CROWD = map(os.path.abspath, sys.argv[2:4])
SKIPPED = 77
LINE = re.compile(r"met: (\w+) rank (\d+) of (\d+), local (\d+) of (\d+), hosts (\d+)")
# What a launcher around this test says is not for the jobs that it starts.
FOREIGN = ("TUTTI_", "PMI", "OMPI_", "SLURM_", "MPI_", "MASTER_", "RANK", "WORLD_SIZE", "LOCAL_RANK", "JOB_COMPLETION", "KUBERNETES_")


def skip(reason):
    print(f"{KIND}: skipped: {reason}")
    sys.exit(SKIPPED)


def environment(**more):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(FOREIGN)}
    return dict(clean, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", **more)


def require_programs(*names):
    missing = [name for name in names if shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin") is None]
    if missing:
        skip(f"{', '.join(missing)} not found; scripts/install-deps.sh installs it")


def end_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def run(command, env=None, seconds=50):
    """Output and status; the whole session is killed when it takes too long."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env or environment(),
                          start_new_session=True, preexec_fn=end_with_parent) as child:
        try:
            output, _ = child.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            output, _ = child.communicate()
            raise AssertionError(f"{' '.join(command)}: not done in {seconds} s\n{output}") from None
    return output, child.returncode


def check_met(output, status, launcher, size, hosts):
    """Every rank met every other one, and knows its place on its host."""
    lines = [LINE.search(line) for line in output.splitlines()]
    found = {int(m.group(2)): m for m in lines if m}
    good = status == 0 and sorted(found) == list(range(size))
    for m in found.values():
        good = good and m.group(1) == launcher and int(m.group(3)) == size and (hosts is None or int(m.group(6)) == hosts)
        good = good and int(m.group(4)) < int(m.group(5)) <= size
    if not good:
        raise AssertionError(f"expected {size} ranks of {launcher} on {hosts} hosts, status {status}:\n{output}")


def check_used(output, status, size):
    """Every rank had a communicator, and the right sum."""
    if status != 0 or sum(line.strip() == "used" for line in output.splitlines()) != size:
        raise AssertionError(f"expected {size} ranks that say 'used', status {status}:\n{output}")


def check_failed(output, status, words):
    if status == 0 or not all(word in output for word in words) or "met:" in output:
        raise AssertionError(f"expected a failure that says {words}, status {status}:\n{output}")


@contextlib.contextmanager
def bed(hosts):
    sys.path.insert(0, HOSTS_FOLDER)
    try:
        import hosts as module  # pylint: disable=import-outside-toplevel
    except ImportError:
        skip(f"no {HOSTS_FOLDER}/hosts.py")
    reason = module.why_not()
    if reason:
        skip(reason)
    with module.Bed(hosts=hosts) as made:
        yield made


# ---- Open MPI

def mpirun(made, arguments):
    names = ",".join(f"{name}:2" for name in made.names)
    env = environment(**{k: v for k, v in made.environment().items() if k.startswith("HOSTBED_")})
    rsh = os.path.join(HOSTS_FOLDER, "rsh")
    return run([made_enter(made), made.names[0], "mpirun.openmpi", "--mca", "plm", "rsh", "--mca", "plm_rsh_agent", rsh, "--mca",
                "oob_tcp_if_include", "eth0", "--host", names] + arguments, env)


def made_enter(made):
    return made.environment()["HOSTBED_ENTER"]


def test_openmpi():
    require_programs("mpirun.openmpi")
    with bed(3) as made:
        output, status = mpirun(made, ["-n", "6", MEET])
        check_met(output, status, "openmpi", 6, 3)
        print("openmpi: 6 ranks on 3 hosts: ok")
        check_used(*mpirun(made, ["-n", "6", CROWD]), 6)
        print("openmpi: an AllReduce of 6 ranks on 3 hosts: ok")
        strip = ["env"] + [word for name in ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE") for word in ("-u", f"OMPI_COMM_WORLD_{name}")]
        output, status = mpirun(made, ["-n", "6"] + strip + [MEET])
        check_met(output, status, "pmix", 6, 3)
        print("openmpi: by PMIx alone: ok")
        # A rank that never comes is a named failure of the others, within their deadline, and no hang.
        output, status = mpirun(made, ["-n", "5", "-x", "TUTTI_INIT_TIMEOUT=3", MEET, ":", "-n", "1", "sleep", "20"])
        check_failed(output, status, ["(openmpi)", "PMIx", "a rank has not come"])
        print("openmpi: a rank that does not come is named: ok")
    output, status = run([MEET], environment(PMIX_NAMESPACE="gone", PMIX_RANK="0", PMIX_SERVER_URI41="gone.0;tcp4://127.0.0.1:1"))
    if status != 3 or "no launcher" not in output:
        raise AssertionError(f"a PMIx client without a server should fall back to no launcher: {status}\n{output}")
    print("openmpi: a client without its server is alone: ok")


# ---- MPICH's Hydra

def test_hydra():
    require_programs("mpiexec.hydra")
    with bed(3) as made:
        env = environment(**{k: v for k, v in made.environment().items() if k.startswith("HOSTBED_")})
        rsh = os.path.join(HOSTS_FOLDER, "rsh")
        launcher = [made_enter(made), made.names[0], "mpiexec.hydra", "-launcher", "ssh", "-launcher-exec", rsh, "-hosts",
                    ",".join(f"{name}:2" for name in made.names), "-iface", "eth0"]
        output, status = run(launcher + ["-n", "6", MEET], env)
        check_met(output, status, "pmi", 6, 3)
        print("hydra: 6 ranks on 3 hosts: ok")
        check_used(*run(launcher + ["-n", "6", CROWD], env), 6)
        print("hydra: an AllReduce of 6 ranks on 3 hosts: ok")
        output, status = run(launcher + ["-genv", "TUTTI_INIT_TIMEOUT", "3", "-n", "5", MEET, ":", "-n", "1", "sleep", "20"], env)
        check_failed(output, status, ["(pmi)", "PMI request barrier_in failed", "TUTTI_KEY"])
        print("hydra: a rank that does not come is named: ok")
    output, status = run(["mpiexec.hydra", "-n", "3", MEET])
    check_met(output, status, "pmi", 3, 1)
    print("hydra: one host: ok")


# ---- Slurm

SLURM_CONF = """
ClusterName=tutti
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
CryptoType=crypto/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
ReturnToService=2
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
TmpFS={folder}/tmp.%n
NodeName=n0 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=8
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=8
PartitionName=p Nodes=n0,n1 Default=YES MaxTime=INFINITE State=UP
"""


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def wait_for(condition, seconds, what):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds} s")
        time.sleep(0.05)


def go_inside():
    """Goes on in a pid and a mount namespace: with the first process of it ends everything that Slurm has started, and its files, also when
    this test is killed."""
    if os.geteuid() != 0:
        skip("slurmd needs root")
    require_programs("srun", "slurmctld", "slurmd", "munged", "sinfo", "unshare")
    namespaces = ["unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "--propagation", "private"]
    if subprocess.run(namespaces + ["true"], capture_output=True, check=False).returncode != 0:
        skip("this machine makes no namespaces for slurmd")
    os.environ["LAUNCHERS_TEST_INSIDE"] = "1"
    os.execvp(namespaces[0], namespaces + [sys.executable] + sys.argv)


@contextlib.contextmanager
def cluster():
    """munged, slurmctld and two slurmd, as children of this test."""
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/srv"], check=True)
    path = environment(PATH=os.environ["PATH"] + ":/usr/sbin")
    daemons = []

    def start(name, command):
        log = open(os.path.join(folder, name + ".log"), "w", encoding="utf-8")  # pylint: disable=consider-using-with
        daemons.append(subprocess.Popen(command, stdout=log, stderr=log, env=path, preexec_fn=end_with_parent))  # pylint: disable=consider-using-with
        log.close()

    with tempfile.TemporaryDirectory(dir="/srv", ignore_cleanup_errors=True) as folder:
        for name in ("state", "spool.n0", "spool.n1", "tmp.n0", "tmp.n1"):
            os.mkdir(os.path.join(folder, name))
        key = os.path.join(folder, "munge.key")
        with open(key, "wb", opener=lambda p, flags: os.open(p, flags, 0o400)) as file:
            file.write(os.urandom(1024))
        path["SLURM_CONF"] = os.path.join(folder, "slurm.conf")
        with open(path["SLURM_CONF"], "w", encoding="utf-8") as file:
            file.write(SLURM_CONF.format(host=socket.gethostname().split(".")[0], folder=folder, ports=free_ports(3)))
        try:
            sock = os.path.join(folder, "munge.sock")
            start("munged", ["munged", "--foreground", "--force", f"--key-file={key}", f"--socket={sock}", f"--pid-file={folder}/munged.pid",
                             f"--log-file={folder}/munged.log", f"--seed-file={folder}/munged.seed"])
            wait_for(lambda: os.path.exists(sock), 10, "munged's socket")
            start("slurmctld", ["slurmctld", "-D", "-c"])
            for node in ("n0", "n1"):
                start(node, ["slurmd", "-D", "-N", node, "-c"])
            wait_for(lambda: run(["sinfo", "-h", "-t", "idle", "-o", "%D"], path)[0].strip() == "2", 30, "two idle nodes")
            yield path
        except AssertionError:
            for name in ("munged", "slurmctld", "n0", "n1"):
                with contextlib.suppress(OSError), open(os.path.join(folder, name + ".log"), encoding="utf-8") as file:
                    print(f"--- {name}\n{file.read()[-3000:]}")
            raise
        finally:
            for daemon in reversed(daemons):
                daemon.terminate()
            for daemon in reversed(daemons):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    daemon.wait(10)
                daemon.kill()
                daemon.wait()


def test_slurm():
    if "LAUNCHERS_TEST_INSIDE" not in os.environ:
        go_inside()
    with cluster() as env:
        for kind in ("pmix", "pmi2"):
            output, status = run(["srun", "-N2", "-n4", f"--mpi={kind}", MEET], env)
            check_met(output, status, "slurm", 4, None)
            check_used(*run(["srun", "-N2", "-n4", f"--mpi={kind}", CROWD], env), 4)
            print(f"slurm: 4 ranks on 2 slurmd with --mpi={kind}: ok")
        output, status = run(["srun", "-N2", "-n4", "--mpi=none", MEET], env)
        check_failed(output, status, ["(slurm)", "PMIX_RANK are not set", "PMI_FD is not set", "TUTTI_KEY"])
        print("slurm: without a key-value space the way out is told: ok")
        output, status = run(["srun", "-N2", "-n4", "--mpi=none", MEET],
                             dict(env, TUTTI_KEY="0123456789abcdef", MASTER_ADDR="127.0.0.1", TUTTI_PORT=str(free_ports(1)[0])))
        check_met(output, status, "slurm", 4, None)
        print("slurm: with a secret: ok")


# ---- Variables only

def run_ranks(rank_environments, in_host=None, program=MEET):
    """One process per environment; outputs put together, and the worst status."""
    children = []
    for rank, more in enumerate(rank_environments):
        command = [program] if in_host is None else in_host(rank) + [program]
        children.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,  # pylint: disable=consider-using-with
                                         env=environment(**more), preexec_fn=end_with_parent))
    output, status = "", 0
    try:
        for child in children:
            text, _ = child.communicate(timeout=50)
            output, status = output + text, max(status, abs(child.returncode))
    finally:
        for child in children:
            child.kill()
            child.wait()
    return output, status


def test_plain():
    port = str(free_ports(1)[0])
    with tempfile.NamedTemporaryFile("w", suffix=".secret") as secret:
        secret.write("  a mounted secret of the job\n")
        secret.flush()
        plain = [dict(TUTTI_RANK=str(r), TUTTI_SIZE="3", TUTTI_LOCAL_RANK="0", TUTTI_LOCAL_SIZE="1", TUTTI_KEY="0123456789abcdef",
                      MASTER_ADDR="127.0.0.1", TUTTI_PORT=port) for r in range(3)]
        check_met(*run_ranks(plain), "tutti", 3, 1)
        print("plain: TUTTI_RANK and TUTTI_KEY: ok")
        with bed(3) as made:
            def in_host(rank):
                return [made_enter(made), made.names[rank]]

            door = {k: v for k, v in made.environment().items() if k.startswith("HOSTBED_")}
            pod = dict(door, KUBERNETES_SERVICE_HOST="10.0.0.1", TUTTI_KEY_FILE=secret.name)
            torch = [dict(pod, RANK=str(r), WORLD_SIZE="3", MASTER_ADDR="localhost" if r == 0 else "node0", MASTER_PORT="23456")
                     for r in range(3)]
            check_met(*run_ranks(torch, in_host), "torchrun", 3, 3)
            print("plain: a PyTorchJob's variables on 3 hosts: ok")
            job = [dict(pod, JOB_COMPLETION_INDEX=str(r), TUTTI_SIZE="3", MASTER_ADDR="node0") for r in range(3)]
            check_met(*run_ranks(job, in_host), "kubernetes", 3, 3)
            check_used(*run_ranks(job, in_host, CROWD), 3)
            print("plain: an indexed Job on 3 hosts, with an AllReduce: ok")
            late = [dict(pod, JOB_COMPLETION_INDEX=str(r), TUTTI_SIZE="3", MASTER_ADDR="no-such-pod", TUTTI_INIT_TIMEOUT="2") for r in range(3)]
            check_failed(*run_ranks(late, in_host), ["MASTER_ADDR='no-such-pod' can't be resolved"])
            print("plain: a pod whose name never comes is named: ok")


def main():
    tests = {"openmpi": test_openmpi, "hydra": test_hydra, "slurm": test_slurm, "plain": test_plain}
    tests[KIND]()


if __name__ == "__main__":
    main()
