"""What a run over networks shows: Tutti's ratios to the best peer, the peers as installed and iperf3, as text, data and plots."""
import os
import statistics

from . import ops, stats
from .report import ratio_text, table, time_text
from .svg import Plot
from .verdict import defaults_of, middle, names, peers_of

WIRE, BASE = "limit/iperf3", "tutti/tcp"
RATIO_TICKS = [0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 20]
BIG = 1 << 20
KEYS = ("to_best", "to_default", "to_limit", "to_tcp")


def ours_of(results):
    return names(results, lambda n, d: n.startswith("tutti/"))


def judge_one(runs, ours, peers, defaults):
    """One setting of Tutti's at one point over all runs; None when it was not measured."""
    ns = middle(stats.median_ns(p, ours) for p in runs)
    if ns is None:
        return None
    best = [b for b in (stats.best_setting(p, peers) for p in runs) if b]
    return {"ns": ns, "min_ns": middle(stats.least_ns(p, ours) for p in runs),
            "best": statistics.mode(b[0] for b in best) if best else None, "best_ns": middle(b[1] for b in best),
            "to_best": middle(stats.ratio(p, ours, peers) for p in runs),
            "to_default": middle(stats.ratio(p, ours, defaults) for p in runs),
            "to_tcp": middle(stats.ratio(p, ours, [BASE]) for p in runs),
            "limit_ns": middle(stats.median_ns(p, WIRE) for p in runs), "to_limit": middle(stats.ratio(p, ours, [WIRE]) for p in runs)}


def judge(results):
    """All runs together: {"points": [...], ...}."""
    peers, defaults, ours = peers_of(results), defaults_of(results), ours_of(results)
    by_key = {}
    for result in results:
        for point in result["points"]:
            by_key.setdefault((point["op"], point["ranks"], point["size"]), []).append(point)
    points = []
    for (op, ranks, size), runs in by_key.items():
        judged = {name: judge_one(runs, name, peers, defaults) for name in ours}
        points.append({"op": op, "ranks": ranks, "size": size, "tutti": {k: v for k, v in judged.items() if v},
                       "peers": {s: {"ns": middle(stats.median_ns(p, s) for p in runs), "min_ns": middle(stats.least_ns(p, s) for p in runs)}
                                 for s in peers if any(stats.median_ns(p, s) is not None for p in runs)},
                       "limit_ns": middle(stats.median_ns(p, WIRE) for p in runs),
                       "wrong": sorted({s for p in runs for s in p["wrong"]}),
                       "left_out": {s: why for p in runs for s, why in p["excluded"].items()}})
    return {"runs": len(results), "points": points, "means": means(points, ours),
            "guest": [r["guest"] for r in results if r.get("guest")],
            "skipped": {k: v for r in results for k, v in r["skipped"].items()}}


def means(points, ours):
    """{setting: {operation: {key: geometric mean}}}."""
    out = {}
    for name in ours:
        for op in ops.NETWORK_OPS:
            values = [p["tutti"][name] for p in points if p["op"] == op and name in p["tutti"]]
            row = {key: stats.geometric_mean([v[key] for v in values if v[key] is not None]) for key in KEYS}
            if values:
                out.setdefault(name, {})[op] = row
    return out


def heading(results):
    lines = []
    for number, r in enumerate(results, 1):
        net = r["network"]
        lines.append(f"run {number}: {r['when']}, {r['cpu']}, {r['host_cpus']} CPUs shared by all hosts, {r['seconds']:.0f} s; "
                     f"iperf3 and tcp with {net['streams']} streams; cables " + (f"shaped to {net['rate']}" if net["rate"] else "not shaped"))
        lines += [f"  {peer} {version}" for peer, version in r["versions"].items()]
    return "\n".join(lines)


def our_rows(points):
    rows = []
    for p in points:
        for name, v in p["tutti"].items():
            rows.append([ops.size_text(p["size"]) + ("!" if p["wrong"] else ""), name, time_text(v["ns"]), time_text(v["min_ns"]), v["best"] or "-",
                         time_text(v["best_ns"]), ratio_text(v["to_best"]), ratio_text(v["to_default"]), time_text(v["limit_ns"]),
                         ratio_text(v["to_limit"]), ratio_text(v["to_tcp"])])
    return rows


def peer_rows(points):
    settings = list(dict.fromkeys(s for p in points for s in p["peers"]))
    cells = [[ops.size_text(p["size"])] + [f"{time_text(p['peers'][s]['ns'])} ({time_text(p['peers'][s]['min_ns'])})" if s in p["peers"] else "-"
                                           for s in settings] for p in points]
    return ["size"] + settings, cells


def tables(judged):
    out = []
    for op, ranks in dict.fromkeys((p["op"], p["ranks"]) for p in judged["points"]):
        points = [p for p in judged["points"] if (p["op"], p["ranks"]) == (op, ranks)]
        header = ["size", "Tutti", "median", "least", "best peer", "median", "ratio", "default", "iperf3", "ratio", "tcp"]
        out.append(f"{ops.TITLES[op]}, {ranks} hosts\n" + table(header, our_rows(points)))
        header, rows = peer_rows(points)
        if len(header) > 1:
            out.append(f"{ops.TITLES[op]}, {ranks} hosts: peers, median (least)\n" + table(header, rows))
    out.append("Ratios: Tutti's time over the other's in the same round, median of the rounds; below 1 Tutti is faster. default: over the fastest peer "
               "as installed.\niperf3: the bytes that each rank has to send, at the rate of iperf3 in the same round. tcp: over tutti/tcp. - : not "
               "measured, or too slow to become the best.\n! a wrong result was left out.")
    return "\n\n".join(out)


def mean_table(judged):
    rows = [[name, ops.TITLES[op]] + [ratio_text(row[k]) for k in KEYS]
            for name, by_op in judged["means"].items() for op, row in by_op.items()]
    return table(["geometric means", "operation", "best peer", "default", "iperf3", "tcp"], rows) if rows else "nothing was measured"


def guest_text(judged):
    lines = []
    for one in judged["guest"]:
        lines.append(f"rdma in a guest (soft-RoCE, lane {one['lane']}), 1 MiB both ways, MB/s")
        lines += [f"  {name}: {' '.join(f'{v:.0f}' for v in values)}" for name, values in one["rates"].items()]
        lines += [f"  Tutti's rate over {name}'s: {value:.2f} (above 1 Tutti is faster)" for name, value in one["ratios"].items()]
        lines += [f"  skipped: {name}: {why}" for name, why in one["skipped"].items()]
    return "\n".join(lines)


def problems(judged):
    lines = [f"  {name}: {why}" for name, why in judged["skipped"].items()]
    for p in judged["points"]:
        where = f"{ops.TITLES[p['op']]}, {p['ranks']} hosts, {ops.size_text(p['size'])}"
        lines += [f"  {name} gave a wrong result: {where}" for name in p["wrong"]]
        lines += [f"  {name}: {where}: {why}" for name, why in p["left_out"].items()]
    return "skipped\n" + "\n".join(lines) if lines else "skipped: nothing"


def verdict(judged):
    """[(holds, sentence)] of the acceptance of networks, as far as it is measured here; holds is None where it is not."""
    def line(points, key, most, what):
        values = [v[key] for v in points if v is not None and v[key] is not None]
        if not values:
            return None, f"{what}: not measured"
        return max(values) <= most, f"{what}: {sum(v <= most for v in values)} of {len(values)} points, the worst {max(values):.2f} (at most {most:.2f})"
    tcp = [(p, p["tutti"].get(BASE)) for p in judged["points"] if p["size"] >= BIG]
    reduce = [v for p, v in tcp if p["op"] == "all_reduce" and p["ranks"] == 3]
    pairs = [v for p, v in tcp if p["op"] == "send_recv"]
    out = [line(reduce, "to_best", 1.0, "AllReduce of 1 MiB and more on 3 hosts over tcp, time over the best peer's"),
           line(pairs, "to_limit", 1 / 0.9, "sendrecv of 1 MiB and more over tcp, time over iperf3's")]
    rates = [g["ratios"]["ib_write_bw"] for g in judged["guest"] if "ib_write_bw" in g["ratios"]]
    out.append((None, "rdma at 1 MiB in a guest, rate over ib_write_bw's: not measured") if not rates else
               (middle(rates) >= 0.9, f"rdma at 1 MiB in a guest, rate over ib_write_bw's: {middle(rates):.2f} (at least 0.90)"))
    return out


def text(results, judged):
    verdicts = "\n".join(f"{'----' if ok is None else 'ok  ' if ok else 'FAIL'}  {what}" for ok, what in verdict(judged))
    parts = [heading(results), tables(judged), mean_table(judged), guest_text(judged), problems(judged), verdicts]
    return "\n\n".join(p for p in parts if p)


def curves_of(points):
    """{name: [(size, ns)]}: Tutti's settings, the peers', the limit."""
    curves = {}
    for p in points:
        timed = {**{n: v["ns"] for n, v in p["tutti"].items()}, **{n: v["ns"] for n, v in p["peers"].items()}, "floor": p["limit_ns"]}
        for name, ns in timed.items():
            if ns:
                curves.setdefault(name, []).append((p["size"], ns))
    return curves


def write_plots(judged, folder):
    """The names of the files that were written."""
    plots = {}
    for op, ranks in dict.fromkeys((p["op"], p["ranks"]) for p in judged["points"]):
        points = [p for p in judged["points"] if (p["op"], p["ranks"]) == (op, ranks)]
        curves = curves_of(points)
        if curves:
            plots[f"network-time-{op}-{ranks}"] = Plot(f"{ops.TITLES[op]}, {ranks} hosts (floor: iperf3)", "time", curves, time_text)
    for name, by_op in judged["means"].items():
        curves = {op: [(p["size"], p["tutti"][name]["to_best"]) for p in judged["points"]
                       if p["op"] == op and p["tutti"].get(name, {}).get("to_best")] for op in by_op}
        curves = {op: values for op, values in curves.items() if values}
        if curves:
            plots[f"network-ratio-{name.split('/')[1]}"] = Plot(f"{name} over the best peer", "ratio (below 1: Tutti is faster)", curves,
                                                                lambda v: f"{v:g}", RATIO_TICKS, lines=(1.0,))
    written = []
    for name, plot in plots.items():
        path = os.path.join(folder, name + ".svg")
        with open(path, "w", encoding="utf-8") as stream:
            stream.write(plot.text())
        written.append(path)
    return written
