"""`tutti topo` on hosts: the rails of each, why an interface is none, and the path that each pair of ranks takes, also when a rail is gone.

    topo_test.py FOLDER_OF_THE_BINARIES
"""
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from hosts import SKIPPED, Bed, why_not  # pylint: disable=wrong-import-position

BIN = os.path.abspath(sys.argv[1])
TUTTI = os.path.join(BIN, "tutti")


def check(what, condition, done):
    if not condition:
        raise AssertionError(f"{what}\n{done.stdout}\n{done.stderr}")


def topo(bed, hosts, **settings):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("TUTTI_")}
    done = subprocess.run([TUTTI, "run", "--rsh", os.path.join(HERE, "rsh"), "--hosts", hosts, "--timeout", "60", TUTTI, "topo"],
                          env={**clean, **settings, **bed.environment()}, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=90,
                          check=False)
    check(f"tutti topo on {hosts} with {settings} fails", done.returncode == 0, done)
    return done


def table(done):
    """{(from, to): way}, of a job of few ranks."""
    lines = done.stdout.split("paths from rank to rank:\n", 1)[1].splitlines()
    columns = re.split(r"\s{2,}", lines[0].strip())[1:]
    rows = [re.split(r"\s{2,}", line.strip()) for line in lines[1:1 + len(columns)]]
    return {(row[0].split()[0], column.split()[0]): way for row in rows for column, way in zip(columns, row[1:])}


def two_rails(bed):
    done = topo(bed, "node0:2,node1:1")
    for host, number in (("node0", 1), ("node1", 2)):
        rails = done.stdout.split(f"rails of {host}, ", 1)[1]
        for rail in range(2):
            check(f"{host} has a rail eth{rail}", re.search(rf"^  tcp +eth{rail} 10\.77\.{rail}\.{number}, network of 24 bits, 10 Gb/s$", rails, re.M), done)
    ways = table(done)
    check("inside a host it is shm", ways[("0", "1")] == ways[("1", "0")] == "shm", done)
    check("between hosts it is tcp over both rails", {ways[p] for p in (("0", "2"), ("1", "2"), ("2", "0"), ("2", "1"))} == {"tcp eth0+eth1"}, done)
    check("nothing is missing", "!" not in done.stdout, done)
    check("ways are counted", "tcp eth0+eth1: 4 of 6 directed pairs" in done.stdout and "shm: 2 of 6 directed pairs" in done.stdout, done)


def left_out(bed):
    done = topo(bed, "node0:1,node1:1", TUTTI_SOCKET_IFNAME="eth1")
    check("eth0 is left out, with the reason", re.search(r"^  tcp +not used: eth0: .*TUTTI_SOCKET_IFNAME", done.stdout, re.M), done)
    check("eth1 alone is used", table(done)[("0", "1")] == "tcp eth1", done)


def many_ranks(bed):
    done = topo(bed, "node0:4,node1:4")
    check("letters stand for ways", re.search(r"^  0 node0 +- +b +b +b +a +a +a +a$", done.stdout, re.M), done)
    check("and are explained", "  a tcp eth0+eth1: 32 of 56" in done.stdout and "  b shm: 24 of 56" in done.stdout, done)


def other_network(bed):
    done = topo(bed, "node0:1,node1:1", TUTTI_TRANSPORT="ucx")
    if "paths between ranks are not known" in done.stdout:
        print(f"ucx: skipped: {done.stdout.splitlines()[-1]}")
        return
    check("UCX is used", table(done)[("0", "1")] == "ucx", done)


def broken_rail(bed):
    bed.blackhole("node1", 1)
    done = topo(bed, "node0:1,node1:1")
    check("only eth0 is open", table(done) == {("0", "0"): "-", ("0", "1"): "tcp eth0", ("1", "0"): "tcp eth0", ("1", "1"): "-"}, done)
    check("what is missing is said", re.search(r"^! rank 0 to rank 1: 2 of 4 paths by tcp are open .*tcp eth0 10\.77\.0\.1", done.stdout, re.M), done)
    bed.heal()
    check("healed", table(topo(bed, "node0:1,node1:1"))[("0", "1")] == "tcp eth0+eth1", done)


def alone(bed):
    done = bed.run("node0", [TUTTI, "topo"])
    check("alone it shows its rails", re.search(r"^  tcp +eth1 10\.77\.1\.1", done.stdout, re.M) and "paths from" not in done.stdout, done)
    other = bed.run("node0", [TUTTI, "topo", "--synthetic", "dgx-1v"])
    check("a described machine has none of our rails", other.returncode == 0 and "rails of" not in other.stdout, other)


def main():
    if why_not():
        print(f"skipped: {why_not()}")
        return SKIPPED
    with Bed(hosts=2, rails=2) as bed:
        for test in (two_rails, left_out, many_ranks, other_network, broken_rail, alone):
            test(bed)
            print(f"{test.__name__}: ok", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
