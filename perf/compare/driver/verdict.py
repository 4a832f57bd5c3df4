"""Judges runs: what each point's ratios are, and whether the acceptance of host speed holds."""
import statistics

from . import ops, stats
from .measure import LEAST_ROUNDS

MALLOC, MEMALLOC = "tutti/malloc", "tutti/memalloc"
TUTTI = (MALLOC, MEMALLOC)
BIG_ALL_REDUCE = 32 << 20
FAR_LINE_NS = 180  # a cache line takes 30 to 70 ns between near cores, 280 between far ones


def names(results, wanted):
    """Settings over all runs for which wanted(name, description)."""
    found = {}
    for result in results:
        for name, description in result["settings"].items():
            if wanted(name, description):
                found[name] = True
    return list(found)


def peers_of(results):
    return names(results, lambda n, d: not n.startswith("tutti/"))


def defaults_of(results):
    return names(results, lambda n, d: not n.startswith("tutti/") and d["default"])


def middle(values):
    values = [v for v in values if v is not None]
    return statistics.median(values) if values else None


def judge_variant(runs, variant, peers, defaults):
    """One Tutti variant at one point, over that point's records in all runs. None when it was not measured."""
    ns = [stats.median_ns(p, variant) for p in runs]
    if middle(ns) is None:
        return None
    best = [stats.best_setting(p, peers) for p in runs]
    default = [stats.best_setting(p, defaults) for p in runs]
    floors = [stats.copy_floor_ns(p) for p in runs]
    out = {
        "ns": middle(ns), "min_ns": middle(stats.least_ns(p, variant) for p in runs),
        "best": next((b[0] for b in best if b), None), "best_ns": middle(b[1] for b in best if b),
        "best_by_run": [b[0] if b else None for b in best],
        "default": next((d[0] for d in default if d), None), "default_ns": middle(d[1] for d in default if d),
        "to_best_by_run": [stats.ratio(p, variant, peers) for p in runs],
        "to_default_by_run": [stats.ratio(p, variant, defaults) for p in runs],
        "floor_ns": middle(floors),
        "to_floor_by_run": [a / f if a is not None and f else None for a, f in zip(ns, floors)],
        "rounds": [len(stats.round_ratios(p, variant, peers)) for p in runs],
        "far": any(sum(not r["far"] for r in p["rounds"]) < p["rounds_wanted"] for p in runs),
        "to_each": {s: middle(stats.ratio(p, variant, [s]) for p in runs) for s in peers
                    if any(stats.ratio(p, variant, [s]) is not None for p in runs)},
        "to_limit_by_run": {name: [stats.ratio(p, variant, [f"limit/{name}"]) for p in runs]
                            for name in ("floor_private", "floor_shared", "flag8", "ntcopy")},
    }
    for key in ("to_best", "to_default", "to_floor"):
        out[key] = middle(out[key + "_by_run"])
    out["to_limit"] = {name: middle(values) for name, values in out["to_limit_by_run"].items()}
    return out


def judge_points(results):
    peers, defaults = peers_of(results), defaults_of(results)
    by_key = {}
    for result in results:
        for point in result["points"]:
            by_key.setdefault((point["ranks"], point["op"], point["size"]), []).append(point)
    points = []
    for (ranks, op, size), runs in by_key.items():
        variants = {v: judge_variant(runs, v, peers, defaults) for v in TUTTI}
        points.append({"ranks": ranks, "op": op, "size": size, "tutti": {k: v for k, v in variants.items() if v},
                       "peers": {s: middle(stats.median_ns(p, s) for p in runs) for s in peers
                                 if any(stats.median_ns(p, s) is not None for p in runs)},
                       "wrong": sorted({s for p in runs for s in p["wrong"]})})
    return points


def pick(points, variant, ranks, key, op=None):
    """[(point, variant's judgement)] that have `key`."""
    return [(p, p["tutti"][variant]) for p in points
            if p["ranks"] in ranks and (op is None or p["op"] == op) and variant in p["tutti"]
            and p["tutti"][variant].get(key) is not None]


def geomeans(points):
    """{variant: {ranks: {key: {op: mean, "all": mean}}}}."""
    out = {}
    for variant in TUTTI:
        for ranks in sorted({p["ranks"] for p in points}):
            for key in ("to_best", "to_default", "to_floor"):
                table = {op: stats.geometric_mean(v[key] for _, v in pick(points, variant, [ranks], key, op)) for op in ops.PEER_OPS}
                table = {op: mean for op, mean in table.items() if mean is not None}
                if table:
                    table["all"] = stats.geometric_mean(v[key] for _, v in pick(points, variant, [ranks], key))
                    out.setdefault(variant, {}).setdefault(str(ranks), {})[key] = table
    return out


class Acceptance:
    """The lines of one number of the acceptance."""

    def __init__(self, number, title):
        self.number, self.title, self.lines, self.failed, self.partial = number, title, [], False, False

    def line(self, okay, text):
        if okay is None:
            self.partial = True
        elif not okay:
            self.failed = True
        self.lines.append(("----" if okay is None else "ok" if okay else "FAIL") + f"  {text}")

    def points(self, chosen, key, limit, what):
        """Each point's ratios by run against a limit; it fails in 2 of 3 runs."""
        failing, missing = [], 0
        for point, values in chosen:
            measured = [r for r in values if r is not None]
            if not measured:
                missing += 1
            elif sum(r > limit for r in measured) >= stats.failing_needed(len(measured)):
                failing.append(f"{ops.TITLES[point['op']]} {ops.size_text(point['size'])} on {point['ranks']}: "
                               f"{statistics.median(measured):.2f}")
        if not chosen or missing == len(chosen):
            self.line(None, f"{what}: not measured")
            return
        self.line(not failing, f"{what}: {len(chosen) - missing - len(failing)} of {len(chosen) - missing} points")
        self.lines += [f"        {text}" for text in failing]
        if missing:
            self.line(None, f"{what}: {missing} points without a {key}")

    def mean(self, values, limit, what):
        mean = stats.geometric_mean(values)
        self.line(None if mean is None else mean <= limit,
                  f"{what}: " + ("not measured" if mean is None else f"{mean:.3f} (at most {limit})"))

    def complete(self, got, wanted):
        missing = [p for p in wanted if (p.ranks, p.op, p.size) not in got]
        if missing:
            self.line(None, f"{len(missing)} of {len(wanted)} points were not measured")

    def data(self):
        verdict = "FAIL" if self.failed else "PARTIAL" if self.partial else "PASS"
        return {"number": self.number, "title": self.title, "verdict": verdict, "lines": self.lines}


def measured_keys(points, variant):
    return {(p["ranks"], p["op"], p["size"]) for p in points if variant in p["tutti"] and p["tutti"][variant]["to_best"] is not None}


def acceptance_1(points):
    a = Acceptance(1, "2 ranks, ordinary buffers, against peers")
    chosen = pick(points, MALLOC, [2], "to_best")
    a.complete(measured_keys(points, MALLOC), ops.acceptance_points(ranks=[2]))
    a.points([(p, v["to_best_by_run"]) for p, v in chosen], "peer", stats.TOLERANCE, "every point at most the best peer at its best (1.03)")
    a.mean([v["to_best"] for _, v in chosen], 0.75, "geometric mean against the best peer")
    a.mean([v["to_default"] for _, v in pick(points, MALLOC, [2], "to_default")], 0.45, "geometric mean against the best default")
    return a.data()


def acceptance_2(points):
    a = Acceptance(2, "2 ranks, tuttiMemAlloc buffers")
    a.complete(measured_keys(points, MEMALLOC), ops.acceptance_points(ranks=[2]))
    a.mean([v["to_best"] for _, v in pick(points, MEMALLOC, [2], "to_best")], 0.45, "geometric mean against the best peer")
    big = [(p, v) for p, v in pick(points, MEMALLOC, [2], "to_limit_by_run")
           if p["op"].startswith("all_reduce") and p["size"] >= BIG_ALL_REDUCE]
    a.points([(p, v["to_limit_by_run"]["ntcopy"]) for p, v in big], "copy bandwidth", 1.25,
             "AllReduce from 32 MiB on at most 1.25 x 4S / non-temporal copy bandwidth of both cores")
    return a.data()


def acceptance_3(points):
    a = Acceptance(3, "8-byte AllReduce of 2 ranks")
    small = [(p, v) for p, v in pick(points, MALLOC, [2], "to_best", "all_reduce") if p["size"] == 8]
    a.points([(p, v["to_best_by_run"]) for p, v in small], "peer", stats.TOLERANCE, "at most the best peer")
    a.points([(p, v["to_limit_by_run"]["flag8"]) for p, v in small], "ping-pong", 2.0, "at most 2 x half an 8-byte payload-and-flag ping-pong")
    a.lines.append("----  instructions per call are counted by ctest -L guard, not here")
    return a.data()


def acceptance_4(points):
    a = Acceptance(4, "4 and 8 ranks")
    chosen = pick(points, MALLOC, [4, 8], "to_best")
    a.complete(measured_keys(points, MALLOC), ops.acceptance_points(ranks=[4, 8]))
    a.points([(p, v["to_best_by_run"]) for p, v in chosen], "peer", 0.9, "every point at most 0.9 x the best peer")
    a.mean([v["to_best"] for _, v in chosen], 0.6, "geometric mean against the best peer")
    return a.data()


def doubts(results):
    """What makes these runs less than an acceptance."""
    out = []
    if len(results) < 3:
        out.append(f"{len(results)} of at least 3 runs")
    if any(r["rounds"] < LEAST_ROUNDS for r in results):
        out.append(f"fewer than {LEAST_ROUNDS} rounds per point")
    if any(r["pages"] != "4k" for r in results):
        out.append("huge pages")
    if any(r["usual_line_ns"] > FAR_LINE_NS for r in results):
        out.append("the cores were far apart for a whole run")
    if any(r["seconds"] > 25 * 60 for r in results):
        out.append("a run took more than 25 minutes")
    return out


def judge(results):
    points = judge_points(results)
    return {"runs": len(results), "doubts": doubts(results), "points": points, "geometric_means": geomeans(points),
            "acceptance": [f(points) for f in (acceptance_1, acceptance_2, acceptance_3, acceptance_4)],
            "skipped": {k: v for r in results for k, v in r["skipped"].items()}}
