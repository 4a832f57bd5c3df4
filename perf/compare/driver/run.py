"""A run: jobs start, points are measured, and whatever happens everything is gone at the end."""
import json
import os
import signal
import socket
import sys
import time
from dataclasses import replace

from . import install, measure, settings
from .jobs import ControlServer, Job, JobFailed



class Progress:
    """One line that is written over on a terminal; else a line now and then."""

    def __init__(self):
        self.terminal = sys.stderr.isatty()
        self.last, self.began = 0.0, time.monotonic()

    def say(self, text):
        spent = time.monotonic() - self.began
        if self.terminal:
            print(f"\r\033[K{spent:5.0f} s  {text}", end="", file=sys.stderr, flush=True)
        elif spent - self.last > 30 or self.last == 0.0:
            self.last = spent or 0.001
            print(f"{spent:5.0f} s  {text}", file=sys.stderr, flush=True)

    def end(self):
        if self.terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def weight(point):
    return 1 + min(6.0, point.size * 6 / (128 << 20)) + (0.5 if point.ranks > 2 else 0)


class Run:
    """One run of all points."""
    across_hosts = False
    file_name = "run"

    def __init__(self, options, ready, progress):
        self.options, self.progress = options, progress
        self.paths = install.Paths(options.build, options.cache)
        self.settings = [replace(s, paths=self.paths) for s in options.settings if s.peer in ready]
        self.server = ControlServer(shared=self.across_hosts)
        self.cpus = options.cpus = len(os.sched_getaffinity(0))
        self.jobs, self.versions, self.skipped, self.points = [], {}, {}, []
        self.machine = measure.Machine(None, options)
        self.began = time.monotonic()

    def placement(self, ranks):
        if self.options.placement != "auto":
            return self.options.placement
        return "pinned" if ranks <= self.cpus else "free"

    def start_job(self, setting, ranks):
        job = Job(setting, ranks, self.server, self.cpus)
        self.jobs.append(job)
        try:
            job.start(self.placement(ranks))
        except JobFailed as reason:
            self.skipped[job.name] = str(reason)
            return None
        self.versions.setdefault(setting.peer, job.version())
        return job

    def start_machine(self):
        if self.cpus >= 2:
            self.machine.job = self.start_job(replace(settings.LIMITS, paths=self.paths), 2)
        else:
            self.skipped["limit/machine#2"] = "needs two CPUs"
        for _ in range(5):
            self.machine.line()

    def start_ranks(self, ranks, points):
        started = []
        for setting in self.settings:
            if setting.lacks and any(p.op not in setting.ops for p in points):
                self.skipped[f"{setting.peer} in part"] = setting.lacks
            if any(setting.covers(p) for p in points):
                self.progress.say(f"starting {setting.name} with {ranks} ranks")
                job = self.start_job(setting, ranks)
                started += [job] if job else []
        for peer in dict.fromkeys(s.peer for s in self.settings):
            if all(s.most_ranks < ranks for s in self.settings if s.peer == peer):
                self.skipped[f"{peer}#{ranks}"] = "left out: with 4 ranks on 2 cores it was already 100 times slower than others"
        return started

    def end_jobs(self, jobs):
        for job in jobs:
            job.quit()
        self.jobs = [j for j in self.jobs if j not in jobs]

    def measure_all(self):
        """Points by number of ranks: their jobs live only as long."""
        self.start_machine()
        before = self.machine_limits()
        points = self.options.points
        for ranks in dict.fromkeys(p.ranks for p in points):
            own = [p for p in points if p.ranks == ranks]
            jobs = self.start_ranks(ranks, own)
            for point in own:
                self.measure_point(point, jobs)
            for job in jobs:
                if job.problem:
                    self.skipped[job.name] = job.problem
            self.end_jobs(jobs)
        return {"before": before, "after": self.machine_limits()}

    def measure_point(self, point, jobs):
        done = len(self.points)
        left = self.options.budget * 60 - (time.monotonic() - self.began)
        share = weight(point) / sum(weight(p) for p in self.options.points[done:])
        self.progress.say(f"point {done + 1} of {len(self.options.points)}, about {max(0.0, left) / 60:.0f} min left: {point}")
        runner = measure.PointRun(point, jobs, self.machine, self.options)
        self.points.append(runner.run(self.options.rounds, max(0.3, left * share)))

    def machine_limits(self):
        """What the machine can do, at a few sizes: {name: {bytes: ns}}."""
        if self.machine.job is None:
            return {}
        self.progress.say("measuring the machine's limits")
        big = [4 << 20] if self.options.quick else [4 << 20, 64 << 20]
        wanted = [("line", [64]), ("flag8", [64]), ("memcpy1", [128 << 10] + big), ("memcpy", [128 << 10] + big),
                  ("ntcopy1", big), ("ntcopy", big), ("vmread1", [4096] + big), ("vmread", big)]
        return {name: {str(size): self.machine.measure(name, size) for size in sizes} for name, sizes in wanted}

    def close(self):
        """Kills what still lives. A second Ctrl-C waits until that is done."""
        held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
        try:
            for job in self.jobs:
                job.kill()
        finally:
            self.server.close()
            signal.pthread_sigmask(signal.SIG_SETMASK, held)

    def result(self, limits):
        options = self.options
        return {"version": 1, "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "host_cpus": self.cpus,
                "cpu": cpu_name(), "seconds": round(time.monotonic() - self.began, 1), "rounds": options.rounds,
                "pages": options.pages, "offset": options.offset, "placement": options.placement, "limits": limits,
                "usual_line_ns": self.machine.usual_line(), "versions": self.versions, "skipped": self.skipped,
                "settings": {s.name: {"default": s.default, "about": s.about} for s in self.settings}, "points": self.points}


def cpu_name():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as info:
            return next((line.split(":", 1)[1].strip() for line in info if line.startswith("model name")), "?")
    except OSError:
        return "?"


def interrupted(signum, _frame):
    raise KeyboardInterrupt(signal.Signals(signum).name)


def free_name(folder, what):
    """A file name that is not there yet: run-1.json, ..."""
    number = 1
    while os.path.exists(os.path.join(folder, f"{what}-{number}.json")):
        number += 1
    return os.path.join(folder, f"{what}-{number}.json")


def one_run(kind, options, ready, skipped, progress):
    run = kind(options, ready, progress)
    run.skipped.update(skipped)
    limits, interrupt = {}, None
    try:
        limits = run.measure_all()
    except KeyboardInterrupt as error:
        interrupt = error
    finally:
        run.close()
    return run.result(limits), interrupt


def runs(options, kind=Run):
    """The results of all runs of this kind, each written as it ends; an interrupted one with the points that it has."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupted)
    progress = Progress()
    results = []
    os.makedirs(options.out, exist_ok=True)
    try:
        paths = install.Paths(options.build, options.cache)
        peers = dict.fromkeys(s.peer for s in options.settings)
        ready, skipped = install.prepare(paths, peers, not options.no_install, progress.say)
        for _ in range(options.runs):
            result, interrupt = one_run(kind, options, ready, skipped, progress)
            if interrupt and not result["points"]:
                raise interrupt
            results.append(result)
            name = free_name(options.out, kind.file_name)
            with open(name, "w", encoding="utf-8") as stream:
                json.dump(results[-1], stream, indent=1)
            progress.end()
            print(f"wrote {name}")
            if interrupt:
                raise interrupt
    except KeyboardInterrupt:
        progress.end()
        print("compare: interrupted; " + ("what was measured before is reported" if results else "nothing to report"), file=sys.stderr)
    except (OSError, socket.error) as error:
        sys.exit(f"compare: {error}")
    finally:
        progress.end()
    return results
