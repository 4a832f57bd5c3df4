"""Plans for every machine that we know, against the bound: the table of docs/design/planner.md, and what it has to show.

    bounds_table.py TUTTI TOPOLOGIES [--long] [--markdown | --check FILE]

Without --long a seeded sample of the machines is planned. TOPOLOGIES is the folder with public machine files; where it is absent, those
rows are left out. --markdown prints the table, --check fails when FILE does not hold it.
"""
import argparse
import glob
import json
import os
import random
import subprocess
import sys
from fractions import Fraction

SYNTHETIC = ["dgx-1v", "dgx-1v nics=4", "dgx-1v nics=4 x2", "dgx-2", "dgx-2 x2", "dgx-a100", "dgx-a100 x2", "dgx-a100 x4", "dgx-h100",
             "dgx-h100 x2", "dgx-h100 x4", "hgx-b200", "hgx-b200 x2", "gb200-nvl72", "mi250", "mi250 x2", "mi300x", "mi300x x2",
             "pcie gpus=8", "dgx-h100 x4 sharp=1", "dgx-a100 x4 sharp=1", "dgx-a100 x4 fabric=fat-tree leaf=16 oversubscription=2", "dgx-h100 x128", "dgx-h100 x2048"]
# RCCL's models with unit links: AllGather's 1/x* (the other machines' figures are in tests/unit/planner_forest_test.cc).
UNIT = {"topo_16p1h": "7/3", "topo_8p1h": "6/5", "topo_8p_90a": "7/3", "topo_8p6l": "7/6", "topo_8p_940": "1", "topo_4p1h": "3/2",
        "topo_4p3l": "1"}
GIGABYTES = {"dgx-a100": "7/300", "dgx-a100 x2": "3/65", "dgx-a100 x4": "3/25", "mi250": "7/150", "dgx-1v": "7/150", "dgx-h100": "7/450",
             "dgx-h100 x2": "3/100"}
# AllReduce of the fastest plan by its links, where switches reduce and multicast.
SWITCHED = {"dgx-h100": "1/50", "dgx-h100 x2": "1/25", "dgx-h100 x4": "3/25", "hgx-b200": "1/100", "hgx-b200 x2": "1/25", "gb200-nvl72": "73/900",
            "dgx-h100 x4 sharp=1": "1/10"}
COLLECTIVES = ["all_gather", "reduce_scatter", "all_reduce"]
FLAT = 128  # ranks; larger machines are planned level by level
# GPUs that links of known bandwidth don't join, or an hwloc version that we refuse.
NOT_PLANNED = {"ncv4-topo.xml": "no way leads from", "nvidiaDGX2.xml": "version", "power8gpudistances.xml": "version"}


def explain(tutti, topology, collective, more=()):
    done = subprocess.run([tutti, "plan", "explain", "--topo", topology, "--coll", collective, "--bytes", "64M", "--json", "--no-cache", *more],
                          capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return json.loads(done.stdout)


def check(condition, what):
    if not condition:
        raise AssertionError(what)


def within_budget(row):
    return row["channels"] <= 32 and row["lanes"] <= 64


def judge(name, collective, result):
    """What the best forest reaches, unconstrained and within the budget; asserts what every machine has to reach."""
    reach = Fraction(result["forest_bound_inverse_x"])
    large = result["ranks"] > FLAT
    rows = result["candidates"]
    shares = {row["algorithm"]: float(reach / Fraction(row["inverse_x"])) for row in rows}
    best = max(shares.values())
    budget = max((share for row in rows for share in [shares[row["algorithm"]]] if large or within_budget(row)), default=0)
    what = f"{name}, {collective}: "
    check(best >= 0.999, what + f"the best plan reaches {best:.4f} of what forests can")
    check(budget >= 0.95, what + f"within 32 channels and 64 lanes a plan reaches {budget:.4f}")
    check(max(Fraction(result["bound_inverse_x"]) / Fraction(row["inverse_x"]) for row in rows) <= 1, what + "a plan is faster than the bound")
    if collective == "all_reduce" and name in SWITCHED:
        fastest = min(Fraction(row["inverse_x"]) for row in rows)
        check(fastest == Fraction(SWITCHED[name]), what + f"the fastest plan takes {fastest}, not {SWITCHED[name]}")
    check(best >= shares.get("ring", 0), what + "rings are faster than the plan")
    if collective != "all_reduce":
        check(result["bound_inverse_x"] == result["forest_bound_inverse_x"], what + "the bound is not the forests'")
    return best, budget, shares.get("ring")


def line(name, collective, result):
    best, budget, ring = judge(name, collective, result)
    of_bound = max(float(Fraction(result["bound_inverse_x"]) / Fraction(row["inverse_x"])) for row in result["candidates"])
    gap = float(Fraction(result["bound_inverse_x"]) / Fraction(result["forest_bound_inverse_x"]))
    return "| {} | {} | {} | {} | {:.2f} | {:.4f} | {:.4f} | {} | {} | {:.4f} |".format(
        name, result["ranks"], collective, result["bound_inverse_x"], result["bound_algbw_gbps"], best, budget,
        "none" if ring is None else f"{ring:.3f}", "1" if gap == 1 else f"{gap:.3f}", of_bound)


HEAD = ["| Machine | GPUs | Collective | 1/x* | bound, GB/s | best ÷ forests | within 32 channels, 64 lanes | rings ÷ forests | bound ÷ forests | best ÷ bound |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"]


def public_files(folder):
    return sorted(path for kind in ("rccl", "azure", "aws", "oci", "hwloc") for path in glob.glob(os.path.join(folder, kind, "*.xml")))


def plan_public(tutti, path):
    name = os.path.basename(path)
    stem = name.removesuffix(".xml")
    if stem in UNIT:
        unit = ["--links", "gpu", "--capacity", "unit"]
        result = explain(tutti, path, "all_gather", unit)
        check(result["bound_inverse_x"] == UNIT[stem], f"{name}, unit links: 1/x* is {result['bound_inverse_x']}, not {UNIT[stem]}")
        judge(name + ", unit links", "all_gather", result)
    if name in NOT_PLANNED:
        try:
            explain(tutti, path, "all_gather")
        except RuntimeError as error:
            check(NOT_PLANNED[name] in str(error), f"{name}: {error}")
            return []
        raise AssertionError(f"{name}: was planned")
    return [line(stem, collective, explain(tutti, path, collective)) for collective in COLLECTIVES]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tutti")
    parser.add_argument("topologies")
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--check")
    options = parser.parse_args()
    folder = os.environ.get("TUTTI_TEST_TOPOLOGIES", options.topologies)
    jobs = [("synthetic", machine) for machine in SYNTHETIC] + [("public", path) for path in public_files(folder)]
    if not os.path.isdir(folder):
        print(f"note: {folder} is not there; set TUTTI_TEST_TOPOLOGIES for public machines", file=sys.stderr)
    if not options.long:
        jobs = random.Random(7).sample(jobs, min(12, len(jobs)))
    lines = []
    for kind, what in jobs:
        if kind == "public":
            lines += plan_public(options.tutti, what)
        else:
            for collective in COLLECTIVES:
                result = explain(options.tutti, what, collective)
                if collective == "all_gather" and what in GIGABYTES:
                    check(result["bound_inverse_x"] == GIGABYTES[what], f"{what}: 1/x* is {result['bound_inverse_x']}")
                lines.append(line(what, collective, result))
        if not options.markdown:
            print(f"{os.path.basename(what)}: ok", flush=True)
    if options.markdown:
        print("\n".join(HEAD + lines))
    if options.check:
        with open(options.check, encoding="utf-8") as file:
            text = file.read()
        for row in lines:
            check(row in text, f"{options.check} does not hold: {row}; generate it anew with --long --markdown")
    if not options.markdown:
        print(f"{len(lines)} rows, all as they have to be")


if __name__ == "__main__":
    main()
