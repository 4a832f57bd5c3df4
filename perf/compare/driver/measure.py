"""One point: every setting takes its turn in every round, and ratios are taken within rounds."""
import math
import time

from . import ops, stats
from .jobs import JobFailed, Refused

PRUNE = 2.5           # a setting this much slower than the best can't become the best; it sits out the rounds
FAR = 6.0             # how much slower a setting may have seemed because the cores were far apart for a moment
SHARED_BATCH_NS = 50000  # where ranks share cores, so that the most samples last for many turns of the scheduler
BATCH_NS = 3000       # a sample is timed over at least this, so that reading the clock (20 ns) does not matter
CALIBRATION_SECONDS = 30
LEAST_SAMPLES = 5
LEAST_ROUNDS = 5      # of an acceptance; more are measured while there is time
HUGE = 32 << 20       # points from here on take long: fewer samples, and the machine's limits in the first rounds only
MOST_SAMPLES = 2001
SLOW_SHARE = 4        # a slower setting does fewer calls than the best when it would take more than this many times as long


def message(verb, point, options, op=None):
    return (f"{verb} op={op or point.wire_op} bytes={point.bytes} in_place={int(point.op == 'all_reduce_in_place')} "
            f"pages={options.pages} offset={options.offset} seed={options.seed}")


def run_counts(answers, statistic="median_ns"):
    """(median or mean, least, wrong elements) of a job: the slowest rank's times."""
    fields = [dict(w.split("=") for w in a.split()[1:]) for a in answers]
    return (max(float(f[statistic]) for f in fields), max(float(f["min_ns"]) for f in fields),
            sum(int(f["wrong"]) for f in fields))


def batch_of(point, ns, least_ns=BATCH_NS):
    """Calls per sample: long enough for the clock, and for Broadcast every rank is root equally often."""
    roots = point.ranks if point.op == "broadcast" else 1
    return math.ceil(min(64, max(1, least_ns / ns)) / roots) * roots


def order(warmup, samples, batch, limit=1.0):
    """The message for a measurement. `limit` seconds are for ranks that something else keeps from running."""
    return f"measure warmup={warmup} samples={samples} batch={batch} limit_ms={int(limit * 1000)}"


def plan_calls(point, best_ns, own_ns, seconds, batch_ns=BATCH_NS):
    """(warm-up calls, samples, calls per sample, limit in seconds) of one measurement; the same for all settings of a
    point, less for one that would take too long."""
    batch = batch_of(point, best_ns, batch_ns)
    share = min(1.0, SLOW_SHARE * best_ns / own_ns)
    samples = int(seconds * 1e9 / best_ns / batch * share)
    samples = max(3 if point.size >= HUGE else LEAST_SAMPLES, min(MOST_SAMPLES, samples)) | 1  # odd: the median is a sample
    warmup = max(point.ranks if point.op == "broadcast" else 1, min(samples * batch // 4, int(5e6 / own_ns)))
    return warmup, samples, batch, max(0.05, 1.25 * SLOW_SHARE * seconds)


class Machine:
    """The limits of the machine, measured by a job of its own (two ranks)."""

    def __init__(self, job, options):
        self.job, self.options = job, options
        self.lines = []

    def measure(self, op, size, seconds=0.02, in_place=False):
        """Median ns of one call; None when the machine can't do it."""
        point = ops.Point("all_reduce_in_place" if in_place else "all_reduce", size, 2)
        try:
            self.job.ask(message("prepare", point, self.options, op), 60)
            ns, _, wrong = run_counts(self.job.ask(order(1, 3, 1), 60))
            if ns < 5e6:
                calls = plan_calls(point, max(ns, 1.0), max(ns, 1.0), seconds)
                ns, _, wrong = run_counts(self.job.ask(order(*calls), 60))
            self.job.ask("release", 60)
        except (Refused, JobFailed):
            return None
        return ns if wrong == 0 else None

    def line(self):
        """ns that a cache line takes from core to core, now."""
        if self.job is None:
            return 0.0
        try:
            point = ops.Point("all_reduce", 64, 2)
            self.job.ask(message("prepare", point, self.options, "line"), 10)
            ns, _, _ = run_counts(self.job.ask(order(200, 15, 100), 10))
        except (Refused, JobFailed):
            return 0.0
        self.lines.append(ns)
        return ns

    def usual_line(self):
        return stats.percentile(self.lines, 0.05) if self.lines else 0.0

    def is_far(self, ns):
        return bool(self.lines) and stats.is_far(ns, self.usual_line())

    def of_point(self, point, number, seconds):
        """What of the machine is measured in a round of this point: {name: ns}."""
        if self.job is None or self.job.problem or point.ranks != 2:
            return {}
        names = (["ntcopy"] if point.size >= 2 << 20 else []) + ["memcpy"]
        if point.size >= HUGE and number >= 2:
            names = names[:1]
        elif point.op.startswith("all_reduce"):
            names += ["floor_private", "floor_shared"] + (["flag8"] if point.size == 8 else [])
        out = {}
        for name in names:
            ns = self.measure(name, point.bytes, seconds, point.op == "all_reduce_in_place" and name.startswith("floor"))
            if ns is not None:
                out[f"limit/{name}"] = ns
        return out


class PointRun:
    """Measures one point with the jobs that cover it."""

    def __init__(self, point, jobs, machine, options):
        self.point, self.machine, self.options = point, machine, options
        # Ranks that share cores also wait while others run. A median would not see that: some calls are quick, in the
        # moments when the right ranks run, and the rest of the time is gone between them.
        self.oversubscribed = point.ranks > options.cpus
        self.statistic = "mean_ns" if self.oversubscribed else "median_ns"
        self.batch_ns = SHARED_BATCH_NS if self.oversubscribed else BATCH_NS
        self.jobs = [j for j in jobs if j.setting.covers(point) and not j.problem]
        self.defaults = {j.setting.name for j in jobs if j.setting.default and not j.setting.is_tutti}
        self.estimates, self.excluded, self.wrong, self.pruned = {}, {}, {}, {}
        self.deadline = CALIBRATION_SECONDS

    def exclude(self, job, reason):
        self.excluded[job.setting.name] = reason
        self.jobs = [j for j in self.jobs if j is not job]

    def ask(self, job, text):
        """Answers, or None when the job is out of this point."""
        try:
            return job.ask(text, self.deadline)
        except (Refused, JobFailed) as reason:
            self.exclude(job, str(reason))
            return None

    def sample(self, job, counts):
        """(median, least), or None. A wrong result excludes the measurement."""
        answers = self.ask(job, order(*counts))
        if answers is None:
            return None
        ns, least, wrong = run_counts(answers, self.statistic)
        if wrong:
            self.wrong[job.setting.name] = self.wrong.get(job.setting.name, 0) + 1
            return None
        return ns, least

    def calibrate(self, job):
        """A first estimate of the time of one call."""
        roots = self.point.ranks if self.point.op == "broadcast" else 1
        first = self.sample(job, (roots, 3, roots, 1.0))
        if first is None:
            return
        ns = max(first[0] if self.oversubscribed else first[1], 1.0)
        if ns < 1e6:
            again = self.sample(job, plan_calls(self.point, ns, ns, 0.003))
            ns = max(again[0], 1.0) if again else ns
        name = job.setting.name
        self.estimates[name] = min(ns, self.estimates.get(name, ns))

    def best(self, wanted):
        """Least estimate among settings."""
        return min((ns for name, ns in self.estimates.items() if wanted(name)), default=math.inf)

    def is_hopeless(self, job, doubt=1.0):
        """Whether the setting can't be the best peer nor the best default one, even if it is `doubt` times faster than it
        seems."""
        ns = self.estimates.get(job.setting.name, math.inf) / doubt
        if job.setting.is_tutti or ns <= PRUNE * self.best(lambda n: not n.startswith("tutti/")):
            return False
        return not (job.setting.default and ns <= PRUNE * self.best(lambda n: n in self.defaults))

    def prepare(self):
        for job in list(self.jobs):
            if self.ask(job, message("prepare", self.point, self.options)) is not None:
                self.calibrate(job)
        for job in [j for j in self.jobs if self.is_hopeless(j) and not self.is_hopeless(j, FAR)]:
            self.calibrate(job)  # the cores may have been far apart
        for job in [j for j in self.jobs if self.is_hopeless(j)]:
            self.pruned[job.setting.name] = self.estimates.get(job.setting.name)
            self.ask(job, "release")
            self.jobs = [j for j in self.jobs if j is not job]

    def round(self, number, seconds):
        """One round: everyone once, starting with another each time."""
        before = self.machine.line()
        best = self.best(lambda _: True)
        times, least = {}, {}
        turn = number % max(1, len(self.jobs))
        for job in self.jobs[turn:] + self.jobs[:turn]:
            own = self.estimates.get(job.setting.name, best)
            measured = self.sample(job, plan_calls(self.point, best, own, seconds, self.batch_ns))
            if measured is not None:
                times[job.setting.name], least[job.setting.name] = measured
        times.update(self.machine.of_point(self.point, number, seconds / 2))
        line = max(before, self.machine.line())
        return {"line_ns": line, "far": self.machine.is_far(line), "ns": times, "min_ns": least}

    def run(self, rounds, seconds):
        """The point's record. `seconds` is the time of everything together, as far as it can be kept."""
        began = time.monotonic()
        self.prepare()
        left = max(0.0, seconds - (time.monotonic() - began))
        each = min(0.25, max(0.03 if self.oversubscribed else 0.004, 0.5 * left / rounds / max(1, len(self.jobs) + 2)))
        records, enough = [], min(rounds, LEAST_ROUNDS)
        for number in range(2 * rounds):
            records.append(self.round(number, each))
            near = sum(not r["far"] for r in records)
            spent = time.monotonic() - began
            if near >= rounds or (near >= enough and spent > seconds) or (number + 1 >= rounds and spent > 2 * seconds):
                break
        for job in list(self.jobs):
            self.ask(job, "release")
        best = min(max(1.0, self.best(lambda _: True)), 1e12)
        warmup, samples, batch, _ = plan_calls(self.point, best, best, each, self.batch_ns)
        return {"op": self.point.op, "size": self.point.size, "bytes": self.point.bytes, "ranks": self.point.ranks,
                "moved": ops.MOVED[self.point.op],
                "rounds_wanted": enough, "rounds": records, "statistic": self.statistic, "samples": samples, "batch": batch, "warmup": warmup,
                "pruned": self.pruned, "excluded": self.excluded, "wrong": self.wrong,
                "seconds": round(time.monotonic() - began, 2)}
