"""`tutti plan explain --topo` and `tutti plan certify` as users run them."""
import json
import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

BIN = sys.argv[1]
TUTTI = os.path.join(BIN, "tutti")
TWO_H100 = "dgx-h100 x2"


def tutti(arguments, expect=0, text=None, cache=""):
    more = ["--no-cache"] if arguments[0] == "explain" and not cache else []
    done = subprocess.run([TUTTI, "plan"] + arguments + more, capture_output=True, text=True, timeout=250, input=text, check=False,
                          env=dict(os.environ, XDG_CACHE_HOME=cache))
    if done.returncode != expect:
        raise AssertionError(f"{arguments}: exit {done.returncode}, expected {expect}\n{done.stdout}\n{done.stderr}")
    return done.stdout if expect == 0 else done.stdout + done.stderr


def explain(topology, collective="allgather", size="64M", more=()):
    return json.loads(tutti(["explain", "--topo", topology, "--coll", collective, "--bytes", size, "--json", *more]))


def check(what, condition, output):
    if not condition:
        raise AssertionError(f"{what}\n{output}")


def test_json_has_what_is_promised(_):
    result = explain("dgx-a100 x2")
    for key in ("algorithm", "time_us", "algbw_gbps", "busbw_gbps", "bound_inverse_x", "bound_algbw_gbps", "plan_over_bound", "cut",
                "channels", "lanes", "plan_ms"):
        check(f"no {key}", key in result, result)
    check("another bound", result["bound_inverse_x"] == "3/65", result)
    check("another bandwidth", abs(result["bound_algbw_gbps"] - 346.667) < 0.001, result)
    check("faster than the bound", result["algbw_gbps"] <= result["bound_algbw_gbps"] * 1.0001, result)
    times = [row["time_us"] for row in result["candidates"]]
    check("the fastest does not come first", times == sorted(times), times)
    check("busbw", abs(result["busbw_gbps"] / result["algbw_gbps"] - 15 / 16) < 1e-9, result)


def test_subsets_and_what_if(_):
    whole, part = explain("dgx-1v"), explain("dgx-1v", more=["--gpus", "0,1,3"])
    check("not 3 ranks", part["ranks"] == 3 and whole["ranks"] == 8, part)
    broken = explain("dgx-1v", more=["--what-if", "down gpu0 gpu3"])
    check("nothing is lost", broken["speed_lost"] > 0.05, broken)
    check("the bound does not fall", broken["bound_algbw_gbps"] < broken["without_change"]["bound_algbw_gbps"], broken)
    text = tutti(["explain", "--topo", "dgx-1v", "--bytes", "1M", "--what-if", "down gpu0 gpu3"])
    check("the loss is not told", re.search(r"with it \d+\.\d % of the speed is lost", text), text)


def test_all_to_all_relays_past_a_narrow_spine(_):
    result = explain("dgx-h100 x4 fabric=rail-spine oversubscription=2", "alltoall", "1M")
    check("not relayed", result["algorithm"] == "relayed" and result["plan_over_bound"] == 1, result)
    check("another bound", result["bound_inverse_x"] == "3/200" and result["cut_inverse_x"] == "3/200", result)
    check("bandwidth is not counted as alltoall_perf does", abs(result["bound_algbw_gbps"] - 200 / 3) < 0.001, result)
    direct = [row for row in result["candidates"] if row["algorithm"] == "direct"]
    check("the direct way is not slower", abs(direct[0]["plan_over_bound"] - 4 / 7) < 1e-9, direct)


def test_switches_add_and_copy(folder):
    plan, path = os.path.join(folder, "plan.json"), os.path.join(folder, "proof.json")
    for topology, algorithm, share in (("dgx-h100", "switch", 8 / 9), (TWO_H100, "switch_rails", 1), ("dgx-h100 x4 sharp=1", "switch_fabric", None)):
        result = explain(topology, "all_reduce", "256M", ["--plan", plan, "--certificate", path, "--svg", os.path.join(folder, "plan.svg")])
        check(f"{algorithm} is not chosen", result["algorithm"] == algorithm, result)
        check("another share of the bound", share is None or abs(result["plan_over_bound"] - share) < 1e-9, result)
        check("faster than its links", result["algbw_gbps"] <= result["link_limit_algbw_gbps"] * 1.0001, result)
        check("the certificate", "accepted" in tutti(["certify", path]), result)
        check("the verdict does not tell", "where switches serve it" in tutti(["verify", plan]), result)
        with open(path, encoding="utf-8") as file:
            proof = json.load(file)
        loops = [route for route in proof["routes"] if route[0] == route[1]]
        check("no loops", len(loops) == len(proof["plan"]["switch_channels"]) and all(route[3] for route in loops), loops)
        loops[0][3] = []
        check("an owner's part that does not travel", "expected the rank's own way" in tutti(["certify", "-"], 1, json.dumps(proof)), "")
    times = {row["algorithm"]: row["time_us"] for row in explain("gb200-nvl72", "all_reduce", "4K")["candidates"]}
    check("small messages take more than twice up and down", 2.4 < times["switch"] < 2.5 and times["switch"] < times["tree"] / 5, times)


def test_certificates(folder):
    path = os.path.join(folder, "proof.json")
    for topology, collective in (("dgx-1v", "reduce_scatter"), ("dgx-a100 x2", "all_reduce"), ("mi250", "all_to_all"),
                                 ("dgx-h100 x32", "all_gather")):
        explain(topology, collective, more=["--certificate", path])
        output = tutti(["certify", path])
        check("not accepted", "accepted" in output and "plan / bound" in output, output)
    with open(path, encoding="utf-8") as file:
        proof = json.load(file)
    proof["levels"][0]["trees"][3].pop()
    check("a tree that misses a member", "does not reach member" in tutti(["certify", "-"], 1, json.dumps(proof)), "")
    explain("dgx-1v", "all_to_all", more=["--certificate", path])
    with open(path, encoding="utf-8") as file:
        proof = json.load(file)
    proof["lengths"][0][0] = -1
    check("a negative length", "/lengths/0/0" in tutti(["certify", "-"], 1, json.dumps(proof)), "")
    explain("dgx-a100", more=["--certificate", path])
    with open(path, encoding="utf-8") as file:
        proof = json.load(file)
    for where, value, reason in ((["parts", 0], ["gpu0", "gpu1", "nowhere"], "nowhere"), (["routes", 0, 3], ["+1"], "the way has come to"),
                                 (["plan", "ranks", 0, "lanes"], [], "REFUSED"), (["parts"], [["gpu0"], ["gpu1"]], "expected one, the cut")):
        bad = json.loads(json.dumps(proof))
        at = bad
        for key in where[:-1]:
            at = at[key]
        at[where[-1]] = value
        output = tutti(["certify", "-"], 1, json.dumps(bad))
        check(f"{where} is believed", reason in output, output)


def test_plans_run_on_host_ranks(folder):
    path = os.path.join(folder, "plan.json")
    for collective in ("all_reduce", "all_gather", "reduce_scatter", "all_to_all"):
        explain(TWO_H100, collective, "1M", ["--plan", path])
        output = tutti(["run", "--threads", path, "-b", "1K", "-e", "1M", "-f", "32", "-n", "1", "-w", "0"])
        check("wrong results", "# Out of bounds values : 0 OK" in output and output.count("Rank") >= 16, output)
    # Hosts have no switch that adds: their ranks add and copy themselves.
    result = explain(TWO_H100, "all_reduce", "256M", ["--plan", path])
    check("no plan by switches", result["algorithm"] == "switch_rails", result)
    output = tutti(["run", "--threads", path, "-b", "1K", "-e", "4M", "-f", "32", "-n", "1", "-w", "0"])
    check("wrong results", "# Out of bounds values : 0 OK" in output and output.count("Rank") >= 16, output)


def test_pictures(folder):
    path = os.path.join(folder, "plan.svg")
    for topology, collective in (("dgx-1v", "all_reduce"), ("dgx-h100 x2", "all_gather"), ("dgx-h100 x32", "all_reduce")):
        explain(topology, collective, more=["--svg", path])
        root = xml.etree.ElementTree.parse(path).getroot()
        text = "".join(root.itertext())
        check("no caption", root.tag.endswith("svg") and f"{collective} by" in text and "of the bound" in text, text)
        check("no loads, cut or bottlenecks", all(word in text for word in ("inside the cut", "bottleneck", "load, idle to full")), text)


def test_plans_are_kept_by_topology(folder):
    arguments = ["explain", "--topo", "dgx-a100 x2", "--coll", "all_gather", "--bytes", "64M", "--json"]
    first = json.loads(tutti(arguments, cache=folder))
    (name,) = os.listdir(os.path.join(folder, "tutti"))
    check("not by version, topology and budget", re.fullmatch(r"plans-2-[0-9a-f]{16}-all_gather-32-64\.json", name), name)
    path = os.path.join(folder, "tutti", name)
    written = os.stat(path).st_mtime_ns

    def same(other):
        return all(first[key] == other[key] for key in first if key not in ("plan_ms", "simulation_ms"))

    check("other plans from the file", same(json.loads(tutti(arguments, cache=folder))), first)
    check("written again", os.stat(path).st_mtime_ns == written, path)
    with open(path, encoding="utf-8") as file:
        text = file.read()
    for spoiled in (text[:1000], text.replace("output[3]", "output[4]", 1), "", "[]"):
        with open(path, "w", encoding="utf-8") as file:
            file.write(spoiled)
        check("a spoiled file is believed", same(json.loads(tutti(arguments, cache=folder))), spoiled[:200])
        with open(path, encoding="utf-8") as file:
            check("a spoiled file is not replaced", file.read() == text, spoiled[:200])
    tutti(arguments + ["--max-lanes", "8"], cache=folder)
    check("one file for two budgets", len(os.listdir(os.path.join(folder, "tutti"))) == 2, os.listdir(folder))


def test_errors(_):
    for arguments, parts in ((["--topo", "dgx-z100"], ("is no file", "unknown model")), (["--topo", "dgx-1v", "--coll", "reduce"], ("all_gather",)),
                             (["--topo", "dgx-1v", "--gpus", "0,9"], ("9",)), (["--topo", "host cores=4"], ("numa0 alone",)),
                             (["--topo", "dgx-1v", "--what-if", "up nic3"], ("up",)),
                             (["--topo", "dgx-1v", "--gpus", "0,5"], ("no way leads from gpu",))):
        output = tutti(["explain", "--bytes", "1M", *arguments], 1)
        for part in parts:
            check(f"{arguments}: no '{part}'", part in output, output)


def main():
    tests = [(name, test) for name, test in globals().items() if name.startswith("test_")]
    for name, test in tests:
        with tempfile.TemporaryDirectory() as folder:
            print(f"{name}: {test(folder) or 'ok'}", flush=True)
    print(f"{len(tests)} passed, 0 failed")


if __name__ == "__main__":
    main()
