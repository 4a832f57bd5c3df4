"""Statistics of a run. Pure functions of the data that a run writes, so that runs can be judged later and together."""
import math
import statistics

TOLERANCE = 1.03  # a point is slower than its peer only beyond this


def median(values):
    return statistics.median(values)


def geometric_mean(values):
    values = list(values)
    if not values:
        return None
    return math.exp(sum(math.log(v) for v in values) / len(values))


def used_rounds(point):
    """Rounds to judge by: those in which the cores were near each other, or all when too few were."""
    near = [r for r in point["rounds"] if not r["far"]]
    return near if len(near) >= min(point["rounds_wanted"], len(point["rounds"])) else point["rounds"]


def median_ns(point, setting):
    values = [r["ns"][setting] for r in used_rounds(point) if setting in r["ns"]]
    return median(values) if values else None


def least_ns(point, setting):
    values = [r["min_ns"][setting] for r in used_rounds(point) if setting in r["min_ns"]]
    return min(values) if values else None


def round_ratios(point, ours, theirs):
    """Per round: our time over the least of theirs; rounds that lack either are left out."""
    ratios = []
    for one in used_rounds(point):
        others = [one["ns"][s] for s in theirs if s in one["ns"]]
        if ours in one["ns"] and others:
            ratios.append(one["ns"][ours] / min(others))
    return ratios


def ratio(point, ours, theirs):
    """Median of the per-round ratios, or None."""
    ratios = round_ratios(point, ours, theirs)
    return median(ratios) if ratios else None


def best_setting(point, settings):
    """(name, median ns) of the fastest by its median, or None."""
    timed = [(median_ns(point, s), s) for s in settings]
    timed = [(ns, s) for ns, s in timed if ns is not None]
    if not timed:
        return None
    ns, name = min(timed)
    return name, ns


def copy_floor_ns(point):
    """The least time for the bytes of this point: moved at the rate of both cores copying as much, and no less than
    a cache line takes from core to core. 2 ranks only."""
    copies = [median_ns(point, f"limit/{name}") for name in ("memcpy", "ntcopy")]
    copies = [c for c in copies if c is not None]
    if not copies or point["ranks"] != 2:
        return None
    # Both cores copying `bytes` read and write 4 * bytes.
    line = median([r["line_ns"] for r in used_rounds(point)]) if point["rounds"] else 0
    return max(min(copies) * point["moved"] / 4, line)


def failing_needed(n_runs):
    """In how many of the runs a point has to fail to count as failing: 2 of 3."""
    return math.ceil(2 * n_runs / 3)


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def is_far(line_ns, usual_ns):
    """Whether the cores were far apart: a line took much longer than is usual in this run."""
    return line_ns > max(2.0 * usual_ns, usual_ns + 60)
