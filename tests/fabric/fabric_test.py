# SPDX-License-Identifier: Apache-2.0
"""`tutti topo --fabric` on a simulated InfiniBand subnet (ibsim), and what is left when a cable is pulled."""
import ctypes
import glob
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

TUTTI = os.path.abspath(sys.argv[1])
SKIPPED = 77
LEAVES, SPINES, HOSTS_PER_LEAF = 4, 2, 4
DEADLINE_S = 60
HOST_RATE, SPINE_RATE = ("4xEDR", 100_000), ("4xHDR", 200_000)


def check(what, condition, *details):
    if not condition:
        print(what, *details, sep="\n")
        sys.exit(1)


def skip(reason):
    print(f"skipped: {reason}")
    sys.exit(SKIPPED)


def umad2sim():
    found = sorted(glob.glob("/usr/lib/*/umad2sim/libumad2sim.so") + glob.glob("/usr/lib*/umad2sim/libumad2sim.so"))
    if not found:
        skip("libumad2sim.so is not installed (Debian: ibsim-utils)")
    return found[0]


def leaf(number):
    return f"S-0c42a103000100{number:02x}"


def spine(number):
    return f"S-0c42a103000200{number:02x}"


def adapter(number):
    return f"H-0c42a1030003{number:02x}00"


def fat_tree():
    """The subnet as ibnetdiscover prints it, which ibsim takes as its input."""
    text = ["# a fat tree of two levels"]

    def block(kind, guid, ports, name, description, rows):
        text.extend(["", f"{kind}guid=0x{guid}" + (f"({guid})" if kind == "switch" else "")])
        text.append(f'{"Switch" if kind == "switch" else "Ca"}\t{ports} "{name}"\t\t# "{description}"' +
                    (" base port 0 lid 0 lmc 0" if kind == "switch" else ""))
        text.extend(rows)

    for number in range(LEAVES):
        first = number * HOSTS_PER_LEAF
        rows = [f'[{port + 1}]\t"{adapter(first + port)}"[1] \t\t# "node{first + port} mlx5_0" lid 0 {HOST_RATE[0]}'
                for port in range(HOSTS_PER_LEAF)]
        rows += [f'[{HOSTS_PER_LEAF + up + 1}]\t"{spine(up)}"[{number + 1}]\t\t# "spine{up}" lid 0 {SPINE_RATE[0]}'
                 for up in range(SPINES)]
        block("switch", leaf(number)[2:], HOSTS_PER_LEAF + SPINES + 2, leaf(number), f"leaf{number}", rows)
    for number in range(SPINES):
        rows = [f'[{down + 1}]\t"{leaf(down)}"[{HOSTS_PER_LEAF + number + 1}]\t\t# "leaf{down}" lid 0 {SPINE_RATE[0]}'
                for down in range(LEAVES)]
        block("switch", spine(number)[2:], LEAVES + 2, spine(number), f"spine{number}", rows)
    for number in range(LEAVES * HOSTS_PER_LEAF):
        at = number // HOSTS_PER_LEAF
        row = (f'[1] \t"{leaf(at)}"[{number % HOSTS_PER_LEAF + 1}]\t\t# lid 0 lmc 0 "leaf{at}" lid 0 {HOST_RATE[0]}')
        block("ca", adapter(number)[2:], 1, adapter(number), f"node{number} mlx5_0", [row])
    return "\n".join(text) + "\n"


def die_with_parent():
    """Even when this test is killed: ibsim spins when its console is gone."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


class Simulator:
    """ibsim on a socket name of its own; killed at the end, whatever happens."""

    def __init__(self, folder):
        self.folder = folder
        self.preload = umad2sim()
        self.environment = dict(os.environ, IBSIM_SOCKNAME=f"tutti-{os.getpid()}-{time.monotonic_ns()}")
        for name in ("IBSIM_SERVER_NAME", "IBSIM_SERVER_PORT"):  # they would make it listen on the network
            self.environment.pop(name, None)
        self.log_path = os.path.join(folder, "ibsim.log")

    def __enter__(self):
        with open(self.log_path, "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(["ibsim", "-s", os.path.join(self.folder, "net")], stdin=subprocess.PIPE, stdout=log,
                                            stderr=subprocess.STDOUT, env=self.environment, cwd=self.folder, text=True,
                                            preexec_fn=die_with_parent)
        try:
            self.wait_until("Network simulator ready")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait(DEADLINE_S)
        self.process.stdin.close()

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return log.read()

    def wait_until(self, text):
        end = time.monotonic() + DEADLINE_S
        while text not in self.log():
            check(f"ibsim never said: {text}", self.process.poll() is None and time.monotonic() < end, self.log())
            time.sleep(0.01)

    def command(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def run(self, *arguments):
        """A program that takes the simulated subnet for this host's."""
        environment = dict(self.environment, LD_PRELOAD=self.preload, SIM_HOST=adapter(0), OSM_TMP_DIR=self.folder,
                           OSM_CACHE_DIR=self.folder)
        # Under an address sanitizer the preloaded library comes first, and its leaks aren't ours.
        environment["ASAN_OPTIONS"] = environment.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0:detect_leaks=0"
        return subprocess.run(arguments, env=environment, cwd=self.folder, capture_output=True, text=True,
                              timeout=DEADLINE_S, check=False)


def topology(output):
    check("tutti topo failed", output.returncode == 0, output.stdout, output.stderr)
    return json.loads(output.stdout)


def fabric_part(graph):
    """Nodes and links of the fabric, without what is known of this host and without the root."""
    hosts = {node["id"] for node in graph["nodes"] if node["kind"] == "machine" and node.get("host_id")}

    def outside(node_id):
        return not any(node_id == host or node_id.startswith(host + "/") for host in hosts)

    nodes = [{key: value for key, value in node.items() if key != "parent" or node["kind"] == "nic"}
             for node in graph["nodes"] if node["kind"] != "cluster" and outside(node["id"])]
    return nodes, [link for link in graph["links"] if outside(link["from"])]


def check_counts(graph):
    nodes, links = fabric_part(graph)
    hosts = LEAVES * HOSTS_PER_LEAF
    kinds = [node["kind"] for node in nodes]
    counts = {kind: kinds.count(kind) for kind in ("machine", "nic", "net_switch")}
    check("wrong counts", counts == {"machine": hosts, "nic": hosts, "net_switch": LEAVES + SPINES}, counts)
    levels = sorted(node["level"] for node in nodes if node["kind"] == "net_switch")
    check("wrong levels", levels == [1] * LEAVES + [2] * SPINES, levels)
    rates = sorted(link["bandwidth_mbit_s"] for link in links)
    check("wrong links", rates == [HOST_RATE[1]] * hosts + [SPINE_RATE[1]] * LEAVES * SPINES, rates)


def pair(link):
    return {link["from"], link["to"]}


def discover(simulator):
    return topology(simulator.run(TUTTI, "topo", "--fabric", "--as", "json"))


def check_unlink(simulator):
    before = fabric_part(discover(simulator))
    cable = {"switch:" + leaf(1)[2:], "switch:" + spine(1)[2:]}
    check("the cable was never there", any(pair(link) == cable for link in before[1]), before[1])
    simulator.command(f'Unlink "{leaf(1)}"[{HOSTS_PER_LEAF + 2}]')
    end = time.monotonic() + DEADLINE_S
    while True:
        after = fabric_part(discover(simulator))
        if not any(pair(link) == cable for link in after[1]):
            break
        check("a pulled cable is still discovered", time.monotonic() < end, simulator.log())
    check("more than the pulled cable is gone", after[1] == [link for link in before[1] if pair(link) != cable], after[1])
    check("a pulled cable changes the nodes", after[0] == before[0], after[0])


def main():
    for program, package in (("ibsim", "ibsim-utils"), ("opensm", "opensm")):
        if shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin") is None:
            skip(f"{program} is not installed (Debian: {package})")
    os.environ["PATH"] = os.environ.get("PATH", "") + ":/usr/sbin"
    with tempfile.TemporaryDirectory(prefix="tutti-fabric-") as folder:
        with open(os.path.join(folder, "net"), "w", encoding="utf-8") as net:
            net.write(fat_tree())
        read = topology(subprocess.run([TUTTI, "topo", "--as", "json", "--from", "net"], cwd=folder, capture_output=True, text=True,
                                       timeout=DEADLINE_S, check=False))
        check_counts(read)
        with Simulator(folder) as simulator:
            configured = simulator.run("opensm", "-o", "-f", os.path.join(folder, "opensm.log"))
            check("opensm failed", configured.returncode == 0, configured.stdout, configured.stderr)
            live = discover(simulator)
            notes = [note for note in live.get("notes", []) if "without the headers" in note["text"]]
            if notes:
                skip(notes[0]["text"])
            check_counts(live)
            check("the live subnet differs from its description", fabric_part(live) == fabric_part(read),
                  json.dumps(live, indent=1), json.dumps(read, indent=1))
            check_unlink(simulator)
    print("fabric: ok")


if __name__ == "__main__":
    main()
