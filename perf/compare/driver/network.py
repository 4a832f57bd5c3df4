"""Networks: hosts made of namespaces (tests/hosts), one rank in each, and iperf3 over the same cables as the limit."""
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, replace

from . import guest, install, ops, run, settings

BED_FOLDER = os.path.join(install.ROOT, "tests", "hosts")
sys.path.insert(0, BED_FOLDER)
from hosts import SKIPPED, Bed, why_not  # noqa: E402 (found by the line above)

MIB = 1 << 20
SIZES = (1 * MIB, 4 * MIB, 16 * MIB, 64 * MIB)
OPS = ("all_reduce", "ping_pong", "send_recv")
RAIL = "eth0"
IPERF_SECONDS = 1
LEAST_FOR_RATE = 64 << 10  # smaller messages take the time of a hand-over, not of their bytes
# What the ranks need to know; launchers for several hosts pass nothing on by themselves.
PASSED_ON = ("COMPARE_SOCKET", "COMPARE_JOB", "COMPARE_PLACEMENT", "COMPARE_STORE", "COMPARE_SIZE")
# Bytes that each rank sends at least, in units of the size, by number of ranks.
SENT = {"all_reduce": lambda n: 2 * (n - 1) / n, "all_reduce_in_place": lambda n: 2 * (n - 1) / n, "all_gather": lambda n: (n - 1) / n,
        "reduce_scatter": lambda n: (n - 1) / n, "all_to_all": lambda n: (n - 1) / n, "broadcast": lambda n: 1, "ping_pong": lambda n: 1,
        "send_recv": lambda n: 1}


@dataclass(frozen=True)
class NetworkSetting(settings.Setting):
    """A setting whose ranks are on hosts of the bed."""
    bed: object = None  # once it is there

    def commands(self, n_ranks, cpus, folder):
        hosts = self.bed.names[:n_ranks]
        program, bed = self.paths.program(self.program), self.bed.environment()
        if self.launcher == "none":
            return [(self.bed.command(host, [program]), {**bed, "COMPARE_RANK": str(rank), "COMPARE_ADDRESS": self.bed.address(host)})
                    for rank, host in enumerate(hosts)]
        passed = [word for name in PASSED_ON + tuple(self.env) for word in ("-x", name)]
        if self.launcher == "tutti":
            launcher = [self.paths.tutti, "run", "--rsh", bed["HOSTBED_RSH"], "--hosts", ",".join(f"{h}:1" for h in hosts)]
            return [(launcher + passed + [program], bed)]
        always = {"plm": "rsh", "plm_rsh_agent": bed["HOSTBED_RSH"], "oob_tcp_if_include": RAIL}
        launcher = [bed["HOSTBED_ENTER"], hosts[0], "mpirun.openmpi", "-n", str(n_ranks), "--bind-to", "none", "--host",
                    ",".join(f"{h}:1" for h in hosts)]
        return [(launcher + list(settings.mca(always)) + list(self.arguments) + passed + [program], bed)]


def tutti(name, about, env, **more):
    return NetworkSetting(f"tutti/{name}", about, "tutti", "tutti", env=env, ops=ops.NETWORK_OPS, **more)


def openmpi(name, about, values, env=None, **more):
    plain = settings.openmpi(name, about, values, env, ops=ops.NETWORK_OPS, **more)
    return NetworkSetting(**{key: getattr(plain, key) for key in plain.__dataclass_fields__})


TCP = {"pml": "ob1", "btl": "tcp,self", "btl_tcp_if_include": RAIL}
LINKS = {**TCP, "btl_tcp_links": "2"}
BUFFERS = {"btl_tcp_sndbuf": "0", "btl_tcp_rcvbuf": "0"}  # the kernel chooses
LARGE = {"btl_tcp_eager_limit": "262144", "btl_tcp_rndv_eager_limit": "262144", "btl_tcp_max_send_size": "1048576"}
RING = {"coll_tuned_use_dynamic_rules": "1", "coll_tuned_allreduce_algorithm": "4"}
UCX = {"pml": "ucx", "pml_ucx_tls": "any", "pml_ucx_devices": "any"}

SETTINGS = (
    tutti("tcp", "over tcp", {"TUTTI_TRANSPORT": "tcp"}, default=True),
    tutti("ucx", "over UCX, which finds tcp", {"TUTTI_TRANSPORT": "ucx", "TUTTI_UCX_TLS": "tcp,self"}),
    openmpi("tcp", "btl tcp as it is", TCP, default=True),
    openmpi("tcp-links", "two links per pair", LINKS),
    openmpi("tcp-buffers", "socket buffers are the kernel's choice; large fragments", {**TCP, **BUFFERS, **LARGE}, settings.KEEP_MEMORY),
    openmpi("tcp-links-buffers", "and two links", {**LINKS, **BUFFERS, **LARGE}, settings.KEEP_MEMORY),
    openmpi("tcp-ring", "and AllReduce by a ring", {**LINKS, **BUFFERS, **LARGE, **RING}, settings.KEEP_MEMORY),
    openmpi("ucx", "pml ucx over tcp", UCX, {"UCX_TLS": "tcp,self"}),
    NetworkSetting("gloo/tcp", "functions with options", "gloo", "none", env={"COMPARE_GLOO": "new"}, ops=ops.NETWORK_OPS, default=True),
)
OURS = SETTINGS[0].name


def variant(text):
    return settings.variant(text, SETTINGS[0], SETTINGS)


def points(names, sizes, ranks):
    """Pairs on 2 hosts, everything else on 3, unless told otherwise."""
    chosen = []
    for op in names or OPS:
        for n in ranks or ([2] if op in ops.PAIRED_OPS else [3]):
            if op not in ops.PAIRED_OPS or n % 2 == 0:
                chosen += [ops.Point(op, size, n) for size in sizes or SIZES]
    return sorted(chosen, key=lambda point: point.ranks)


class Cables:
    """What the network itself carries, measured by iperf3 with as many streams as a pair of ranks has sockets: from each host to the next
    all at once for collectives, between two hosts one way or both ways for pairs. Stands where the limits of one machine do."""

    def __init__(self, bed, streams):
        self.bed, self.streams = bed, streams
        self.servers, self.problem = [], None
        if shutil.which("iperf3") is None:
            self.problem = "iperf3 is not installed"
            return
        for host in bed.names:
            self.servers.append(bed.popen(host, ["iperf3", "-s", "-B", bed.address(host)], stdin=subprocess.DEVNULL,
                                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    def line(self):
        return 0.0

    def is_far(self, _ns):
        return False

    def usual_line(self):
        return 0.0

    def client(self, source, sink, both_ways):
        command = ["iperf3", "-J", "-c", self.bed.address(sink), "-B", self.bed.address(source), "-P", str(self.streams), "-t",
                   str(IPERF_SECONDS)] + (["--bidir"] if both_ways else [])
        return self.bed.popen(source, command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def rate(self, op, n):
        """Bytes per ns that a host sends, on average."""
        hosts = self.bed.names[:n]
        pairs = [(hosts[0], hosts[1])] if op in ops.PAIRED_OPS else [(h, hosts[(i + 1) % n]) for i, h in enumerate(hosts)]
        clients = [self.client(source, sink, op == "send_recv") for source, sink in pairs]
        carried = 0.0
        for client in clients:
            output, _ = client.communicate(timeout=30)
            end = json.loads(output)["end"]
            carried += end["sum_received"]["bits_per_second"] + end.get("sum_received_bidir_reverse", {}).get("bits_per_second", 0.0)
        return carried / 8e9 / (len(pairs) * (2 if op == "send_recv" else 1))

    def of_point(self, point, _number, _seconds):
        """{"limit/iperf3": ns} of this point at the cables' rate."""
        if self.problem or point.size < LEAST_FOR_RATE:
            return {}
        try:
            rate = self.rate(point.op, point.ranks)
        except (OSError, ValueError, KeyError, subprocess.TimeoutExpired) as error:
            self.problem = f"iperf3: {error}"
            return {}
        return {"limit/iperf3": point.bytes * SENT[point.op](point.ranks) / rate} if rate > 0 else {}

    def close(self):
        for server in self.servers:
            server.kill()
            server.wait()


class NetworkRun(run.Run):
    """One run over hosts that live as long as it does."""
    across_hosts = True
    file_name = "network"

    def __init__(self, options, ready, progress):
        super().__init__(options, ready, progress)
        self.bed = Bed(hosts=max([p.ranks for p in options.points], default=2))
        try:
            for host in self.bed.names if options.rate else []:
                self.bed.shape(host, 0, options.rate)
            self.settings = [replace(s, bed=self.bed) for s in self.settings]
            self.machine = Cables(self.bed, options.streams)
        except BaseException:
            self.bed.close()
            raise
        self.in_guest = {}

    def placement(self, _ranks):
        return "free"  # libraries have threads of their own here

    def start_machine(self):
        time.sleep(0.2)  # for the servers

    def measure_all(self):
        limits = super().measure_all()
        if self.machine.problem:
            self.skipped["limit/iperf3"] = self.machine.problem
        if self.options.guest:
            self.progress.say("measuring rdma in a guest")
            self.in_guest = guest.measure(self.options.guest, self.paths, not self.options.no_install)
        return limits

    def machine_limits(self):
        return {}

    def close(self):
        super().close()
        if isinstance(self.machine, Cables):
            self.machine.close()
        self.bed.close()

    def result(self, limits):
        return {**super().result(limits), "network": {"streams": self.options.streams, "rate": self.options.rate or "", "rails": 1},
                "guest": self.in_guest}


def with_streams(setting, streams):
    """Tutti has as many sockets as iperf3 has streams, unless a variant says otherwise."""
    return replace(setting, env={"TUTTI_TCP_SOCKETS": str(streams), **setting.env}) if setting.is_tutti else setting


def refusal():
    """Why this machine has no hosts; None when it does."""
    return why_not()
