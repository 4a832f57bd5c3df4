"""A network that breaks while collectives run: what is lost goes another way, results are right, nothing hangs; when no way is left, every
rank that waits is told who can't be reached and over what, in time.

    failover_test.py FOLDER_OF_TUTTI FOLDER_OF_ROUNDS [--trials N] [--seed S] [--only KIND] [--hosts N] [--ranks N]
"""
import argparse
import os
import random
import re
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from hosts import SKIPPED, Bed, why_not, wait_until  # pylint: disable=wrong-import-position

PATIENCE = 4.0        # TUTTI_NET_TIMEOUT
SILENCE = 2.0         # of it, until a path is found dead: a path breaks, then the peer's patience runs
IDLE = 4.0            # the same for a path on which this side has nothing under way (keep-alives)
MARGIN = 2.0
HANG = PATIENCE + SILENCE + 20  # no round in this time, with a path that works: it hangs
MAX_BYTES = 1 << 20
NAMED = re.compile(r"rank \d+ (can't be reached|is gone).*tcp", re.S)


class Job:
    """`rounds` on all hosts of the bed."""

    def __init__(self, bed, tutti, rounds, ranks, **env):
        self.size = len(bed.names) * ranks
        self.folder = tempfile.TemporaryDirectory(prefix="tutti-failover-")
        clean = {k: v for k, v in os.environ.items() if not k.startswith("TUTTI_")}
        names = ",".join(f"{name}:{ranks}" for name in bed.names)
        self.log = open(os.path.join(self.folder.name, "log"), "w+", encoding="utf-8")  # a pipe that nobody reads would stop it
        self.process = subprocess.Popen(
            [tutti, "run", "--rsh", os.path.join(HERE, "rsh"), "--hosts", names, rounds, self.folder.name, str(MAX_BYTES)],
            env={**clean, "TUTTI_LOG": os.environ.get("FAILOVER_LOG", "warn"), **bed.environment(), "TUTTI_NET_TIMEOUT": str(PATIENCE), **env}, stdin=subprocess.DEVNULL, stdout=self.log,
            stderr=subprocess.STDOUT)

    def done(self):
        """The rounds that every rank has done."""
        counts = []
        for rank in range(self.size):
            try:
                with open(os.path.join(self.folder.name, str(rank)), encoding="ascii") as file:
                    counts.append(int(file.read() or 0))
            except FileNotFoundError:
                counts.append(0)
        return min(counts)

    def await_rounds(self, n, what):
        """Until n rounds are done that had not begun yet."""
        target = self.done() + n + 2
        try:
            wait_until(lambda: self.process.poll() is not None or self.failures() or self.done() >= target, HANG, f"{what}: {n} rounds")
        finally:
            if self.process.poll() is not None or self.failures():
                raise AssertionError(f"{what}: the job has ended: {self.failures()}")

    def failures(self):
        """By rank: when and how, as far as they have come."""
        told = {}
        for rank in range(self.size):
            path = os.path.join(self.folder.name, f"failed{rank}")
            if os.path.exists(path):
                with open(path, encoding="utf-8") as file:
                    when, _, text = file.read().partition(" ")
                told[rank] = (float(when), text)
        return told

    def stop(self, status=0):
        with open(os.path.join(self.folder.name, "stop"), "w", encoding="ascii"):
            pass
        if self.process.wait(timeout=HANG) != status:
            raise AssertionError(f"expected the job to end with {status}, got {self.process.returncode}")

    def text(self):
        """The last of what it has printed."""
        self.log.seek(0)
        return self.log.read()[-6000:]

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.log.close()
        self.folder.cleanup()


# Each breaks something of one host and rail, lets rounds go on, and takes it back.
def link_down_up(bed, job, rng, host, rail):
    bed.link(host, rail, up=False)
    time.sleep(rng.choice([0.01, 0.1, 0.5, 1.5, SILENCE + 1]))
    bed.link(host, rail, up=True)
    job.await_rounds(3, "link up again")


def socket_killed(bed, job, rng, host, rail):
    address = bed.address(host, rail)
    listed = bed.net_run(host, ["ss", "-H", "-t", "-n", "state", "established", "src", address]).splitlines()
    if listed:
        local = rng.choice(listed).split()[2]
        bed.kill_sockets(host, "src", local)
    job.await_rounds(3, "a socket killed")


def loss(bed, job, rng, host, rail):
    bed.loss(host, rail, 0.02)
    job.await_rounds(rng.randint(2, 8), "2 % loss")
    bed.loss(host, rail, 0)


def blackhole(bed, job, rng, host, rail):
    bed.blackhole(host, rail)
    if rng.random() < 0.5:
        job.await_rounds(3, "a rail in a black hole")  # the other rail does it
    else:
        time.sleep(rng.choice([0.05, 0.5, 1]))
    bed.blackhole(host, rail, on=False)
    job.await_rounds(3, "the black hole is gone")


KINDS = {"link": link_down_up, "socket": socket_killed, "loss": loss, "blackhole": blackhole}


def sockets(bed):
    return "\n".join(f"{name}:\n" + bed.net_run(name, ["ss", "-H", "-t", "-n", "-i", "-o"]) for name in bed.names)


def survive(bed, job, kind, trials, rng):
    """`trials` faults of a kind in a running job."""
    began = time.monotonic()
    slowest = 0
    for trial in range(trials):
        time.sleep(rng.random() * 0.05)  # somewhere in an operation
        host, rail = rng.choice(bed.names), rng.randrange(bed.rails)
        start = time.monotonic()
        try:
            KINDS[kind](bed, job, rng, host, rail)
        except (AssertionError, TimeoutError) as e:
            raise AssertionError(f"{kind}, trial {trial} at {host} eth{rail}: {e}\n{sockets(bed)}\n{job.text()}") from e
        slowest = max(slowest, time.monotonic() - start)
    print(f"{kind}: {trials} trials ok, {time.monotonic() - began:.1f} s, slowest {slowest:.2f} s, {job.done()} rounds", flush=True)


def total_loss(bed, args, rng, down):
    """All rails of one host go; every rank must say who can't be reached within the bound."""
    job = Job(bed, args.tutti, args.rounds, args.ranks)
    host = rng.choice(bed.names)
    try:
        job.await_rounds(3, "before the loss")
        time.sleep(rng.random() * 0.05)
        cut = time.monotonic()
        for rail in range(bed.rails):
            (bed.link(host, rail, up=False) if down else bed.blackhole(host, rail))
        wait_until(lambda: len(job.failures()) == job.size, HANG, f"total loss of {host}: an error on every rank, not {job.failures()}")
        told = job.failures()
        job.stop(status=3)
    finally:
        for rail in range(bed.rails):
            (bed.link(host, rail, up=True) if down else bed.blackhole(host, rail, on=False))
        job.kill()
    bound = PATIENCE + IDLE + MARGIN
    after = {rank: when - cut for rank, (when, _) in told.items()}
    if max(after.values()) > bound or not all(NAMED.search(text) for _, text in told.values()):
        raise AssertionError(f"total loss of {host}: expected errors that name rank and link within {bound} s, got {after}\n{told}")
    return max(after.values())


def options():
    parser = argparse.ArgumentParser()
    parser.add_argument("tutti")
    parser.add_argument("rounds")
    parser.add_argument("--trials", type=int, default=4)
    parser.add_argument("--total", type=int, default=None, help="trials of total loss; default: a tenth")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=[*KINDS, "total"])
    parser.add_argument("--hosts", type=int, default=2)
    parser.add_argument("--ranks", type=int, default=1)
    args = parser.parse_args()
    args.tutti = os.path.join(os.path.abspath(args.tutti), "tutti")
    args.rounds = os.path.join(os.path.abspath(args.rounds), "rounds")
    args.total = max(1, args.trials // 10) if args.total is None else args.total
    return args


def main():
    args = options()
    reason = why_not()
    if reason:
        print(f"skipped: {reason}")
        return SKIPPED
    rng = random.Random(args.seed)
    with Bed(hosts=args.hosts, rails=2) as bed:
        for kind in KINDS:
            if args.only not in (None, kind):
                continue
            job = Job(bed, args.tutti, args.rounds, args.ranks)
            try:
                job.await_rounds(3, "at first")
                survive(bed, job, kind, args.trials, rng)
                job.stop()
            finally:
                job.kill()
                bed.heal()
        if args.only in (None, "total"):
            slowest = max(total_loss(bed, args, rng, down=bool(i % 2)) for i in range(args.total))
            print(f"total loss: {args.total} trials ok, named within {slowest:.2f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
