"""The chaos switch: what it is told to do to frames is what happens to them, and only to those.

    chaos_test.py CHAOS_SWITCH [TEST...]
"""
import contextlib
import os
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from hosts import SKIPPED, Bed, why_not  # pylint: disable=wrong-import-position

PUMP = [sys.executable, os.path.join(os.path.dirname(os.path.abspath(__file__)), "pump.py")]
PORT = 5000
MEGABYTE = 1 << 20


def check(what, condition, *details):
    if not condition:
        raise AssertionError("\n".join([what, *map(str, details)]))


def pump(bed, kind, *words, source="node0", target="node1"):
    done = bed.run(source, [*PUMP, kind, bed.address(target), str(PORT), *map(str, words)])
    check(f"{kind} {words}", done.returncode == 0, done.stdout, done.stderr, bed.chaos()("show"))
    return done.stdout.split()


def round_trip(bed, **where):
    return float(pump(bed, "echo", 11, **where)[0])


@contextlib.contextmanager
def fault(bed, *words):
    bed.chaos()("set", *words)
    try:
        yield
    finally:
        bed.chaos()("clear")


def counters(bed, direction):
    for entry in bed.chaos()("show").split(";"):
        words = entry.split()
        if words and words[0] == direction:
            return {name: float(value) for name, value in (word.split("=") for word in words[1:]) if value.replace(".", "").isdigit()}
    raise AssertionError(f"show does not have {direction}: {bed.chaos()('show')}")


def test_plain(bed):
    for family in (4, 6):
        done = bed.run("node0", [*PUMP, "tcp", bed.address("node1", 0, family), str(PORT), str(MEGABYTE)])
        check("a megabyte goes through", done.returncode == 0, done)
    came, twice, late = map(int, pump(bed, "order", 500))
    check("nothing happens unasked", came >= 499 and twice == 0 and late == 0, came, twice, late)
    check("frames go only where they belong", counters(bed, "n2r0.in")["bytes"] < 50000 < counters(bed, "n1r0.in")["bytes"],
          bed.chaos()("show"))


def test_delay(bed):
    before = round_trip(bed)
    with fault(bed, "n1r0.in", "delay=30ms"):
        one_way = round_trip(bed)
        check("one direction", 0.03 <= one_way < 0.03 + 10 * before + 0.03, one_way, before)
        check("others are not delayed", round_trip(bed, target="node2") < 0.03)
    with fault(bed, "n1r0", "delay=30ms", "jitter=5ms"):
        both = round_trip(bed)
        check("both directions", 0.05 <= both < 0.13, both)
        _, _, late = map(int, pump(bed, "order", 300))
        check("jitter keeps the order", late == 0, late)


def test_loss(bed):
    with fault(bed, "n1r0.in", "loss=20%"):
        came = int(pump(bed, "udp", 1000)[0])
        check("a fifth is lost", 740 < came < 860, came)
        done = bed.run("node0", [*PUMP, "tcp", bed.address("node1"), str(PORT), "100000"])
        check("TCP copes", done.returncode == 0, done)
    lost = counters(bed, "n1r0.in")["lost"]
    check("and it is counted", lost >= 140, lost)


def test_duplicates_and_order(bed):
    with fault(bed, "n1r0.in", "duplicate=30%"):
        came, twice, late = map(int, pump(bed, "order", 500))
        check("30 % come twice", came >= 499 and 100 < twice < 200 and late == 0, came, twice, late)
    with fault(bed, "n1r0.in", "reorder=10%", "hold=5ms"):
        came, twice, late = map(int, pump(bed, "order", 500))
        check("10 % are overtaken", came >= 499 and twice == 0 and 20 < late < 100, came, twice, late)


def test_rate(bed):
    with fault(bed, "n1r0.in", "rate=40mbit"):  # 5 MB/s
        seconds = float(pump(bed, "tcp", 2 * MEGABYTE)[0])
        check("2 MiB take 0.4 s", 0.35 < seconds < 1.5, seconds)
    with fault(bed, "n1r0.in", "rate=100kbit", "limit=4k"):
        came = int(pump(bed, "udp", 500)[0])
        check("a short queue overflows", came < 300 and counters(bed, "n1r0.in")["overflowed"] > 100, came)


def test_hole(bed):
    with fault(bed, "n1r0.out", "hole=1"):
        done = bed.run("node0", [*PUMP, "probe", bed.address("node1"), str(PORT), "0.3"])
        check("answers vanish", done.stdout.strip() == "timed out", done)
        check("others live", bed.run("node0", [*PUMP, "probe", bed.address("node2"), str(PORT), "5"]).stdout.strip() == "reached")
    check("it is over", bed.run("node0", [*PUMP, "probe", bed.address("node1"), str(PORT), "10"]).stdout.strip() == "reached")


def test_bed_faults(bed):
    bed.blackhole("node0", 0)
    check("nft's blackhole", bed.run("node0", [*PUMP, "probe", bed.address("node1"), str(PORT), "0.3"]).stdout.strip() == "timed out")
    bed.heal()
    bed.link("node1", 0, up=False)
    check("a device that is down", bed.run("node0", [*PUMP, "probe", bed.address("node1"), str(PORT), "0.3"]).stdout.strip() != "reached")
    bed.link("node1", 0, up=True)
    for family in (4, 6):
        done = bed.run("node0", [*PUMP, "probe", bed.address("node1", 0, family), str(PORT), "10"])
        check("and up again", done.stdout.strip() == "reached", done)


def test_wrong_words(bed):
    for words, complaint in ((("set", "n9r0", "loss=1"), "no port 'n9r0'"), (("set", "n1r0", "loss=2"), "out of range"),
                             (("set", "n1r0", "speed=2"), "no setting 'speed'"), (("set", "n1r0", "delay=5"), "no number with a unit"),
                             (("set", "n1r0.up", "loss=0"), "expected in or out"), (("set", "n1r0"), "expected a port and settings"),
                             (("go",), "expected set, show, clear or seed"), (("seed", "x"), "expected a number")):
        try:
            bed.chaos()(*words)
        except RuntimeError as error:
            check(f"{words} is explained", complaint in str(error), error)
        else:
            check(f"{words} is refused", False)


def test_many_commands_at_once(bed):
    script = "import sys; sys.path.insert(0, sys.argv[1]); from hosts import Bed; b = Bed.attach(); [b.chaos()('show') for _ in range(50)]"
    clients = [subprocess.Popen([sys.executable, "-c", script, os.path.dirname(os.path.abspath(__file__))],
                                env={**os.environ, **bed.environment()}) for _ in range(4)]
    check("each gets its answers", [client.wait(timeout=60) for client in clients] == [0] * 4)


def main():
    reason = why_not() or (None if os.path.exists("/dev/net/tun") else "there is no /dev/net/tun")
    if reason:
        print(f"skipped: {reason}")
        return SKIPPED
    chosen = [(name, test) for name, test in globals().items() if name.startswith("test_") and name in (sys.argv[2:] or [name])]
    with Bed(hosts=3, rails=1, chaos=os.path.abspath(sys.argv[1])) as bed:
        servers = [bed.popen(host, [*PUMP, "serve", str(PORT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
                   for host in ("node1", "node2")]
        for server in servers:
            check("the server starts", server.stdout.readline() == "ready\n")
        for name, test in chosen:
            test(bed)
            print(f"{name}: ok", flush=True)
    print(f"{len(chosen)} passed, 0 failed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
