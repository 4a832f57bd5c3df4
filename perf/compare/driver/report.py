"""Text for people."""
from . import ops, verdict
from .verdict import MALLOC, TUTTI

LIMITS = {
    "line": "cache line, one way", "flag8": "8 bytes and a flag, one way", "memcpy1": "memcpy, one core", "memcpy": "memcpy, both cores",
    "ntcopy1": "non-temporal copy, one core", "ntcopy": "non-temporal copy, both cores", "vmread1": "process_vm_readv, one way",
    "vmread": "process_vm_readv, both ways",
}


def time_text(ns):
    if ns is None:
        return "-"
    for unit, name in ((1e6, "ms"), (1e3, "us")):
        if ns >= unit:
            value = ns / unit
            return f"{value:.0f} {name}" if value >= 100 else f"{value:.1f} {name}" if value >= 10 else f"{value:.2f} {name}"
    return f"{ns:.0f} ns"


def ratio_text(ratio):
    return "-" if ratio is None else f"{ratio:.2f}"


def table(header, rows):
    """Columns as wide as their cells; the first to the left, the others to the right."""
    cells = [header] + rows
    widths = [max(len(r[i]) for r in cells) for i in range(len(header))]
    return "\n".join("  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(r, widths))).rstrip() for r in cells)


def machine(results):
    lines = []
    for number, result in enumerate(results, 1):
        lines.append(f"run {number}: {result['when']}, {result['cpu']}, {result['host_cpus']} CPUs, {result['seconds']:.0f} s, "
                     f"{result['pages']} pages, placement {result['placement']}; a cache line usually takes {result['usual_line_ns']:.0f} ns")
        rows = [[title] + [limit_text(name, result["limits"].get(when, {}).get(name, {})) for when in ("before", "after")]
                for name, title in LIMITS.items()]
        lines.append(table(["  limits of the machine", "before", "after"], [["  " + r[0]] + r[1:] for r in rows]))
    return "\n".join(lines)


def limit_text(name, by_size):
    """Times, or read + written GB/s where bytes are copied (by both cores, where both copy)."""
    out = []
    for size, ns in by_size.items():
        if ns is None:
            out.append("-")
        elif name in ("line", "flag8") or int(size) <= 4096:
            out.append(time_text(ns))
        else:
            ranks = 1 if name.endswith("1") else 2
            moved = (1 if name.startswith("vmread") else 2) * ranks * int(size)
            out.append(f"{moved / ns:.0f} GB/s at {ops.size_text(int(size))}")
    return ", ".join(out) or "-"


def point_row(point, variant):
    v = point["tutti"][variant]
    marks = ("~" if v["far"] else "") + ("!" if point["wrong"] else "")
    limits = v["to_limit"]
    return [ops.size_text(point["size"]) + marks, time_text(v["ns"]), time_text(v["min_ns"]), time_text(v["best_ns"]), v["best"] or "-",
            ratio_text(v["to_best"]), time_text(v["default_ns"]), ratio_text(v["to_default"]), time_text(v["floor_ns"]),
            ratio_text(v["to_floor"]), ratio_text(limits["floor_private"]), ratio_text(limits["floor_shared"])]


def tables(judged):
    out = []
    header = ["size", "Tutti", "least", "best peer", "which", "ratio", "default", "ratio", "floor", "ratio", "private", "shared"]
    for ranks in sorted({p["ranks"] for p in judged["points"]}):
        for op in ops.PEER_OPS:
            for variant in TUTTI:
                rows = [point_row(p, variant) for p in judged["points"] if p["ranks"] == ranks and p["op"] == op and variant in p["tutti"]]
                if rows:
                    kind = "ordinary buffers" if variant == MALLOC else "tuttiMemAlloc buffers"
                    out.append(f"{ops.TITLES[op]}, {ranks} ranks, {kind}\n" + table(header, rows))
    notes = ("Times are medians (means where ranks share cores); `least` is the least of all. Ratios: Tutti over the other, in the same round; below 1 is faster. `private` and "
             "`shared`: over\nhand-written AllReduce loops. ~ the cores were far apart too often; ! a peer's wrong result was left out.")
    return "\n\n".join(out + [notes]) if out else "no point was measured with Tutti and a peer"


def peers_table(judged):
    """All peers' times at the points that were measured."""
    settings = list(dict.fromkeys(s for p in judged["points"] for s in p["peers"]))
    out = []
    for ranks in sorted({p["ranks"] for p in judged["points"]}):
        for op in ops.PEER_OPS:
            chosen = [p for p in judged["points"] if p["ranks"] == ranks and p["op"] == op]
            shown = [s for s in settings if any(s in p["peers"] for p in chosen)]
            if chosen and shown:
                rows = [[ops.size_text(p["size"])] + [time_text(p["peers"].get(s)) for s in shown] for p in chosen]
                out.append(f"{ops.TITLES[op]}, {ranks} ranks: peers\n" + table(["size"] + shown, rows))
    return "\n\n".join(out + ["- : not measured there, or too slow to become the best and left out of the rounds"]) if out else ""


def means(judged):
    rows = []
    for variant, by_ranks in judged["geometric_means"].items():
        for ranks, keys in by_ranks.items():
            for op in list(ops.PEER_OPS) + ["all"]:
                values = [keys.get(k, {}).get(op) for k in ("to_best", "to_default", "to_floor")]
                if any(v is not None for v in values):
                    rows.append([variant, ranks, "all of them" if op == "all" else ops.TITLES[op]] + [ratio_text(v) for v in values])
    return table(["geometric means", "ranks", "operation", "best peer", "default", "floor"], rows) if rows else ""


def problems(judged):
    lines = [f"  {name}: {reason}" for name, reason in judged["skipped"].items()]
    wrong = sorted({s for p in judged["points"] for s in p["wrong"]})
    lines += [f"  {name}: wrong results at " + ", ".join(ops.TITLES[p["op"]] + " " + ops.size_text(p["size"]) for p in judged["points"]
                                                        if name in p["wrong"]) for name in wrong]
    return "skipped\n" + "\n".join(lines) if lines else "skipped: nothing"


def verdicts(judged):
    lines = []
    for a in judged["acceptance"]:
        lines.append(f"acceptance {a['number']}: {a['verdict']}  {a['title']}")
        lines += [f"  {line}" for line in a["lines"]]
    if judged["doubts"]:
        lines.append("not an acceptance as it stands: " + "; ".join(judged["doubts"]))
    return "\n".join(lines)


def text(results, judged):
    parts = [machine(results), peers_table(judged), tables(judged), means(judged), problems(judged), verdicts(judged)]
    return "\n\n".join(p for p in parts if p)


__all__ = ["text", "time_text", "verdict"]
