"""Plots, as SVG written by hand: times and ratios over sizes, both axes logarithmic."""
import math
import os
from xml.sax.saxutils import escape

from . import ops, report
from .verdict import MALLOC, MEMALLOC

WIDTH, HEIGHT = 860, 500
LEFT, RIGHT, TOP, BOTTOM = 80, 230, 50, 60
COLOURS = {MALLOC: "#c0392b", MEMALLOC: "#e67e22", "openmpi": "#2471a3", "mpich": "#1e8449", "impi": "#7d3c98", "gloo": "#7f8c8d",
           "oneccl": "#b7950b", "floor": "#000000", "all_reduce": "#c0392b", "all_reduce_in_place": "#e67e22", "all_gather": "#2471a3",
           "reduce_scatter": "#1e8449", "broadcast": "#7d3c98", "all_to_all": "#b7950b", "ping_pong": "#34495e"}
DASHES = ("", "7 3", "3 3", "9 3 2 3", "1 3", "12 4")  # of a peer's settings, one after the other


class Axis:
    """A logarithmic axis from pixel `low` to pixel `high`."""

    def __init__(self, least, most, low, high):
        self.least, self.most, self.low, self.high = math.log(least), math.log(most), low, high
        if self.most - self.least < 1e-9:
            self.least, self.most = self.least - 0.5, self.most + 0.5

    def __call__(self, value):
        return self.low + (math.log(value) - self.least) / (self.most - self.least) * (self.high - self.low)


class Plot:
    """Curves {name: [(size, value)]} in one picture."""

    def __init__(self, title, y_title, curves, y_text, y_ticks=None, lines=()):
        self.title, self.y_title, self.curves, self.y_text, self.marked = title, y_title, curves, y_text, lines
        sizes = [x for points in curves.values() for x, _ in points]
        values = [y for points in curves.values() for _, y in points] + list(lines)
        self.x = Axis(min(sizes), max(sizes), LEFT, WIDTH - RIGHT)
        self.y = Axis(min(values) / 1.3, max(values) * 1.3, HEIGHT - BOTTOM, TOP)
        self.x_ticks = sorted(set(sizes))
        self.y_ticks = y_ticks or decades(min(values), max(values))

    def grid(self):
        out = []
        step = max(1, len(self.x_ticks) // 7)
        for number, size in enumerate(self.x_ticks):
            at = self.x(size)
            out.append(f'<line x1="{at:.1f}" y1="{TOP}" x2="{at:.1f}" y2="{HEIGHT - BOTTOM}" class="grid"/>')
            if number % step == 0:
                out.append(f'<text x="{at:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{ops.size_text(size)}</text>')
        for value in self.y_ticks:
            at = self.y(value)
            if TOP <= at <= HEIGHT - BOTTOM:
                out.append(f'<line x1="{LEFT}" y1="{at:.1f}" x2="{WIDTH - RIGHT}" y2="{at:.1f}" class="grid"/>')
                out.append(f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{escape(self.y_text(value))}</text>')
        for value in self.marked:
            at = self.y(value)
            out.append(f'<line x1="{LEFT}" y1="{at:.1f}" x2="{WIDTH - RIGHT}" y2="{at:.1f}" class="mark"/>')
        return out

    def dash(self, name):
        """Tells the settings of a peer apart."""
        if name == "floor":
            return ' stroke-dasharray="2 3"'
        alike = [n for n in self.curves if n.split("/")[0] == name.split("/", maxsplit=1)[0]]
        kind = DASHES[alike.index(name) % len(DASHES)]
        return f' stroke-dasharray="{kind}"' if kind and not name.startswith("tutti") else ""

    def curve(self, number, name, points):
        colour = COLOURS.get(name) or COLOURS.get(name.split("/", maxsplit=1)[0], "#34495e")
        ours = name.startswith("tutti")
        dash = self.dash(name)
        places = [(self.x(x), self.y(y)) for x, y in sorted(points)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        out = [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{2.5 if ours else 1.4}"{dash}/>']
        out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{3 if ours else 2}" fill="{colour}"/>' for x, y in places]
        at = TOP + 10 + 18 * number
        left = WIDTH - RIGHT + 15
        out.append(f'<line x1="{left}" y1="{at}" x2="{left + 28}" y2="{at}" stroke="{colour}" stroke-width="{2.5 if ours else 1.4}"{dash}/>')
        out.append(f'<text x="{left + 34}" y="{at + 4}">{escape(ops.TITLES.get(name, name))}</text>')
        return out

    def text(self):
        out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img">',
               f"<title>{escape(self.title)}</title>",
               "<style>text{font:12px sans-serif;fill:#222}.grid{stroke:#ddd}.mark{stroke:#c0392b;stroke-dasharray:4 4}</style>",
               f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
               f'<text x="{LEFT}" y="28" style="font-size:16px;font-weight:bold">{escape(self.title)}</text>']
        out += self.grid()
        out.append(f'<rect x="{LEFT}" y="{TOP}" width="{WIDTH - RIGHT - LEFT}" height="{HEIGHT - BOTTOM - TOP}" fill="none" stroke="#222"/>')
        for number, (name, points) in enumerate(self.curves.items()):
            out += self.curve(number, name, points)
        middle = (LEFT + WIDTH - RIGHT) / 2
        out.append(f'<text x="{middle:.0f}" y="{HEIGHT - 18}" text-anchor="middle">size</text>')
        out.append(f'<text transform="translate(18 {(TOP + HEIGHT - BOTTOM) / 2:.0f}) rotate(-90)" text-anchor="middle">{self.y_title}</text>')
        return "\n".join(out + ["</svg>"]) + "\n"


def decades(least, most):
    return [10.0**k for k in range(math.floor(math.log10(least)), math.ceil(math.log10(most)) + 1)]


def times(points):
    """{name: [(size, ns)]} of one operation: Tutti's variants, all peers, the floor."""
    curves = {}
    for point in points:
        for name, judgement in point["tutti"].items():
            curves.setdefault(name, []).append((point["size"], judgement["ns"]))
    for name in sorted({n for p in points for n in p["peers"]}, key=lambda n: (n.split("/")[0], not n.endswith("/default"))):
        curves[name] = [(p["size"], p["peers"][name]) for p in points if name in p["peers"]]
    for point in points:
        floor = next((j["floor_ns"] for j in point["tutti"].values() if j["floor_ns"]), None)
        if floor:
            curves.setdefault("floor", []).append((point["size"], floor))
    return curves


def ratios(points, variant):
    """{operation: [(size, ratio to the best peer)]}, by the name in ops."""
    curves = {}
    for point in points:
        value = point["tutti"].get(variant, {}).get("to_best")
        if value is not None:
            curves.setdefault(point["op"], []).append((point["size"], value))
    return curves


def write_all(_results, judged, folder):
    """The names of the files that were written."""
    plots = {}
    for ranks in sorted({p["ranks"] for p in judged["points"]}):
        of_ranks = [p for p in judged["points"] if p["ranks"] == ranks]
        for op in ops.PEER_OPS:
            curves = times([p for p in of_ranks if p["op"] == op])
            if curves:
                plots[f"time-{op}-{ranks}"] = Plot(f"{ops.TITLES[op]}, {ranks} ranks", "time", curves, report.time_text)
        for variant in (MALLOC, MEMALLOC):
            curves = ratios(of_ranks, variant)
            if curves:
                kind = "ordinary buffers" if variant == MALLOC else "tuttiMemAlloc buffers"
                plots[f"ratio-{variant.split('/')[1]}-{ranks}"] = Plot(
                    f"Tutti over the best peer, {ranks} ranks, {kind}", "ratio (below 1: Tutti is faster)", curves,
                    lambda v: f"{v:g}", [0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 20, 50], lines=(1.0,))
    written = []
    for name, plot in plots.items():
        path = os.path.join(folder, name + ".svg")
        with open(path, "w", encoding="utf-8") as stream:
            stream.write(plot.text())
        written.append(path)
    return written
