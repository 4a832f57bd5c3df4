"""The test bed itself: hosts that the library takes for different ones, faults that are felt, and nothing left behind.

    bed_test.py FOLDER_OF_HOST_ID [TEST...]
"""
import contextlib
import os
import signal
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from hosts import ROOT_FOLDER, SKIPPED, Bed, wait_until, why_not  # pylint: disable=wrong-import-position

HOST_ID = os.path.join(sys.argv[1], "host_id")
PUMP = [sys.executable, os.path.join(HERE, "pump.py")]
PORT = 5000
WITH_HOSTS = os.path.join(HERE, "with_hosts")
ENTER = os.path.join(HERE, "enter")
RSH = os.path.join(HERE, "rsh")


def check(what, condition, *details):
    if not condition:
        raise AssertionError("\n".join([what, *map(str, details)]))


def output(bed, host, argv):
    done = bed.run(host, argv)
    check(f"{argv} in {host}", done.returncode == 0, done.stdout, done.stderr)
    return done.stdout.strip()


@contextlib.contextmanager
def serve(bed, host, port=PORT):
    with bed.popen(host, [*PUMP, "serve", str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        check("the server starts", server.stdout.readline() == "ready\n")
        try:
            yield
        finally:
            server.stdin.close()  # it ends with its input


def seconds(bed, host, address, n_bytes):
    return float(output(bed, host, [*PUMP, "tcp", address, str(PORT), str(n_bytes)]))


def arrived(bed, host, address, n=1000):
    return int(output(bed, host, [*PUMP, "udp", address, str(PORT), str(n)])) / n


def probe(bed, host, address, port=PORT, patience=0.3):
    return output(bed, host, [*PUMP, "probe", address, str(port), str(patience)])


def network_of(pid):
    return os.readlink(f"/proc/{pid}/ns/net")


def users_of(networks):
    """The processes that still live in one of these network namespaces."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if network_of(pid) in networks:
                found.append(pid)
        except OSError:
            pass  # it has just ended
    return found


def networks_of(bed):
    return {network_of(bed.pid(host)) for host in [*bed.names, "switch"]}


# --- hosts ---
def test_identity(bed):
    ids = [output(bed, host, [HOST_ID]) for host in bed.names]
    outside = subprocess.run([HOST_ID], capture_output=True, text=True, check=True).stdout.strip()
    check("hosts have ids of their own", len({*ids, outside}) == len(bed.names) + 1, ids, outside)
    check("a host keeps its id", output(bed, "node0", [HOST_ID]) == ids[0])
    for host in bed.names:
        check("hostname", output(bed, host, ["hostname"]) == host)
        check("boot id", output(bed, host, ["cat", "/proc/sys/kernel/random/boot_id"]) == output(
            bed, host, ["cat", os.path.join(bed.folder, host, "boot_id")]))
        check("devices in /sys", output(bed, host, ["ls", "/sys/class/net"]).split() == ["eth0", "eth1", "lo"])
        check("pids", output(bed, host, ["sh", "-c", "cat /proc/1/cmdline | tr '\\0' ' '"]).endswith(f"{host}"))
    output(bed, "node0", ["sh", "-c", "echo x > /dev/shm/only-here"])
    check("/dev/shm is the host's own", output(bed, "node1", ["ls", "/dev/shm"]) == "")
    check("nor is it the machine's", not os.path.exists("/dev/shm/only-here"))


def test_addresses(bed):
    with serve(bed, "node1"):
        for rail in range(bed.rails):
            for family in (4, 6):
                address = bed.address("node1", rail, family)
                check(f"{address} is reached", probe(bed, "node0", address, patience=5) == "reached")
        for name in ("node1", "node1-eth1", "node1-6", "node1-eth1-6"):
            check(f"{name} is reached", probe(bed, "node2", name, patience=5) == "reached")
        before = [bed.sent_bytes("node0", rail) for rail in range(2)]
        seconds(bed, "node0", bed.address("node1", 1), 1 << 20)
        after = [bed.sent_bytes("node0", rail) for rail in range(2)]
        check("a rail carries its own", after[0] - before[0] < 1 << 16 < 1 << 20 < after[1] - before[1], before, after)


def test_neighbours(bed):
    done = bed.run("node0", [ENTER, "node1", "sh", "-c", "hostname; read x; echo $x; exit 7"], input="through\n")
    check("a host enters its neighbour", (done.stdout, done.returncode) == ("node1\nthrough\n", 7), done)
    done = bed.run("node0", [RSH, "-o", "BatchMode=yes", "root@node1", "echo", "$((1+1))", ";", "pwd; env"], env={"SECRET": "x"})
    check("a shell runs the line at home", done.stdout.startswith(f"2\n{os.environ.get('HOME', '/')}\n"), done)
    check("with an environment of its own", "SECRET" not in done.stdout, done)
    done = bed.run("node0", [ENTER, "node9", "true"])
    check("an unknown host", done.returncode == 255 and "no host 'node9'" in done.stderr, done)


# --- faults ---
def test_shaping(bed):
    megabyte = 1 << 20
    with serve(bed, "node1"):
        address = bed.address("node1", 0)
        unshaped = seconds(bed, "node0", address, 4 * megabyte)
        for kind in ("tbf", "htb"):
            bed.shape("node1", 0, "80mbit", kind=kind)  # 10 MB/s: 4 MiB take 0.42 s less what fits into the burst
            shaped = seconds(bed, "node0", address, 4 * megabyte)
            check(f"{kind} slows down", 0.3 < shaped < 2 and shaped > 2 * unshaped, shaped, unshaped)
            bed.unshape("node1", 0)
        again = seconds(bed, "node0", address, 4 * megabyte)
        check("and lets go", again < shaped / 2, again, shaped)


def test_loss(bed):
    with serve(bed, "node1"):
        for family in (4, 6):
            address = bed.address("node1", 0, family)
            check("nothing is lost by itself", arrived(bed, "node0", address) > 0.99)
            bed.loss("node0", 0, 0.3)  # of what the sender's host sends
            share = arrived(bed, "node0", address)
            check("30 % are lost on the way out", 0.6 < share < 0.8, share)
            bed.loss("node0", 0, 0)
            bed.loss("node1", 0, 0.3)
            share = arrived(bed, "node0", address)
            check("30 % are lost on the way in", 0.6 < share < 0.8, share)
            bed.heal("node1")
        check("and none after", arrived(bed, "node0", address) > 0.99)


def test_link_down(bed):
    carrier = ["cat", "/sys/class/net/eth0/carrier"]
    with serve(bed, "node1"):
        bed.link("node1", 0, up=False)
        check("the host sees it", output(bed, "node1", carrier) == "0")
        check("nothing comes through", probe(bed, "node0", bed.address("node1", 0)) != "reached")
        check("the other rail works", probe(bed, "node0", bed.address("node1", 1), patience=5) == "reached")
        bed.link("node1", 0, up=True)
        wait_until(lambda: output(bed, "node1", carrier) == "1", 5, "the carrier comes back")
        for family in (4, 6):
            check("all is well", probe(bed, "node0", bed.address("node1", 0, family), patience=10) == "reached")


def test_blackhole(bed):
    with serve(bed, "node1"), serve(bed, "node1", PORT + 1):
        bed.blackhole("node0", 0)
        check("nothing comes through", probe(bed, "node0", bed.address("node1", 0)) == "timed out")
        check("the link looks well", output(bed, "node0", ["cat", "/sys/class/net/eth0/carrier"]) == "1")
        check("the other rail works", probe(bed, "node0", bed.address("node1", 1), patience=5) == "reached")
        check("others reach it", probe(bed, "node2", bed.address("node1", 0), patience=5) == "reached")
        bed.blackhole("node0", 0, on=False)
        check("it ends", probe(bed, "node0", bed.address("node1", 0), patience=10) == "reached")
        bed.blackhole_port("node1", PORT)
        for rail in range(2):
            check("the port is gone", probe(bed, "node0", bed.address("node1", rail)) == "timed out")
            check("another is not", probe(bed, "node0", bed.address("node1", rail), PORT + 1, 5) == "reached")
        bed.heal()
        check("it is back", probe(bed, "node0", bed.address("node1", 0), patience=5) == "reached")


def test_killed_socket(bed):
    with serve(bed, "node1"):
        trickle = bed.popen("node0", [*PUMP, "trickle", bed.address("node1", 0), str(PORT)], stdout=subprocess.PIPE, text=True)
        check("the connection is there", trickle.stdout.readline() == "trickling\n")
        check("one is broken", bed.kill_sockets("node0", "dport", "=", f":{PORT}") == 1)
        check("its owner is told", "abort" in trickle.stdout.readline())
        trickle.wait(timeout=10)


def test_attached(bed):
    environment = {**os.environ, **bed.environment()}
    fault = os.path.join(HERE, "fault")
    with serve(bed, "node1"):
        subprocess.run([fault, "blackhole", "node1", "0"], env=environment, check=True, timeout=60)
        check("a fault from the command line", probe(bed, "node0", bed.address("node1", 0)) == "timed out")
        subprocess.run([fault, "heal"], env=environment, check=True, timeout=60)
        check("healed", probe(bed, "node0", bed.address("node1", 0), patience=5) == "reached")
    wrong = subprocess.run([fault, "link", "node1", "0", "sideways"], env=environment, capture_output=True, text=True, check=False)
    check("a wrong word is refused", wrong.returncode == 1 and "sideways" in wrong.stderr, wrong)


# --- the end ---
def test_end_takes_all_along():
    with Bed(hosts=2) as bed:
        networks = networks_of(bed)
        children = [bed.popen(host, ["sh", "-c", "trap '' TERM HUP; setsid sleep 1000 & sleep 1000"]) for host in bed.names]
        folder = bed.folder
        check("the bed is used", len(users_of(networks)) > 4)
    for child in children:
        check("what ran in it was killed", child.wait(timeout=10) != 0)
    check("no process is left", users_of(networks) == [])
    check("no folder is left", not os.path.exists(folder))


def children_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(word) for word in file.read().split()]


def bed_of_another_process():
    """with_hosts, which waits in COMMAND; returns it, its networks and its folder."""
    with tempfile.NamedTemporaryFile("r") as told:
        owner = subprocess.Popen([WITH_HOSTS, "--hosts", "2", "--", "sh", "-c", f"echo $HOSTBED_DIR > {told.name}; exec sleep 1000"])
        wait_until(lambda: os.path.getsize(told.name) > 0, 60, "the bed is there")
        bed = Bed.attach(told.read().strip())
    return owner, networks_of(bed), bed.folder


def test_killed_owner():
    owner, networks, folder = bed_of_another_process()
    command = children_of(owner.pid)
    owner.kill()
    owner.wait()
    wait_until(lambda: users_of(networks) == [] and not os.path.exists(folder), 20, "the hosts end with their owner")
    wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in command), 20, "and the warden and the command")


def test_all_killed():
    owner, networks, folder = bed_of_another_process()
    for pid in [*children_of(owner.pid), owner.pid]:
        os.kill(pid, signal.SIGKILL)  # the warden, the command, the owner
    owner.wait()
    wait_until(lambda: users_of(networks) == [], 20, "the hosts end though nobody is left to end them")
    check("only the folder stays", os.path.isdir(folder))
    with Bed(hosts=1):
        check("and goes with the next start", not os.path.exists(folder), os.listdir(ROOT_FOLDER))


def test_status():
    def status(*command):
        return subprocess.run([WITH_HOSTS, "--hosts", "1", *command], timeout=60, capture_output=True, check=False).returncode

    check("the command's status", status("--", "sh", "-c", "exit 7") == 7)
    check("of a command in a host", status("--in", "node0", "--", "sh", "-c", "test $(hostname) = node0 && exit 9") == 9)
    check("of a killed one", status("--", "sh", "-c", "kill -9 $$") == 137)


def main():
    reason = why_not()
    if reason:
        print(f"skipped: {reason}")
        return SKIPPED
    chosen = [(name, test) for name, test in globals().items() if name.startswith("test_") and name in (sys.argv[2:] or [name])]
    with Bed(hosts=3, rails=2) as bed:
        for name, test in chosen:
            if test.__code__.co_argcount:
                test(bed)
            else:
                test()
            print(f"{name}: ok", flush=True)
    print(f"{len(chosen)} passed, 0 failed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
