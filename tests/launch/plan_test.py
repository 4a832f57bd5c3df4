"""`tutti plan` as users run it: plans from files, in both forms, on real ranks."""
import json
import os
import re
import subprocess
import sys
import tempfile

BIN = sys.argv[1]
TUTTI = os.path.join(BIN, "tutti")
OWN_SCHEDULES = sys.argv[3]
MSCCLPP = os.path.join(os.path.dirname(OWN_SCHEDULES), "mscclpp")
NCCL_GRAPH = os.path.join(os.path.dirname(OWN_SCHEDULES), "nccl_graph", "two_rails_8.xml")
SCHEDULES = os.path.join(os.environ.get("TUTTI_TEST_TOPOLOGIES", sys.argv[2]), "msccl-xml")
MSCCL = [("all_reduce", "ring"), ("all_reduce", "two_shot"), ("all_gather", "bruck"), ("reduce_scatter", "one_shot"),
         ("broadcast", "binomial"), ("reduce", "chain"), ("all_to_all", "pairwise")]
OWN = [("gather", "direct"), ("scatter", "binomial")]
SMALL = ["-b", "1K", "-e", "256K", "-f", "256", "-n", "1"]


def tutti(arguments, expect=0, text=None, env=None):
    done = subprocess.run([TUTTI, "plan"] + arguments, capture_output=True, text=True, timeout=110, input=text,
                          env=dict(os.environ, **(env or {})))
    if expect is None:  # any failure
        expect = done.returncode or "a failure"
    if done.returncode != expect:
        raise AssertionError(f"{arguments}: exit {done.returncode}, expected {expect}\n{done.stdout}\n{done.stderr}")
    return done.stdout if expect == 0 else done.stdout + done.stderr


def check(what, condition, output):
    if not condition:
        raise AssertionError(f"{what}\n{output}")


def plan_file(folder, collective, algorithm, form, ranks=4, more=()):
    path = os.path.join(folder, f"{collective}_{algorithm}.{form}")
    with open(path, "w", encoding="utf-8") as file:
        file.write(tutti(["export", "--collective", collective, "--algorithm", algorithm, "-n", str(ranks), "--as", form, *more]))
    return path


def check_run(output):
    check("no verdict", re.search(r"^# .*accepted, needs \d+ slots", output), output)
    check("wrong or no results", "# Out of bounds values : 0 OK" in output, output)


def test_run_of_every_collective(folder):
    for collective, algorithm in MSCCL + OWN:
        rooted = ["--root", "1"] if collective in ("broadcast", "reduce", "gather", "scatter") else []
        for form in ("json", "msccl-xml"):
            if form == "msccl-xml" and (collective, algorithm) in OWN:
                continue
            check_run(tutti(["run", "--threads", plan_file(folder, collective, algorithm, form, 4, rooted)] + SMALL))


def test_run_with_processes_and_types(folder):
    path = plan_file(folder, "all_reduce", "tree", "msccl-xml", 3)
    output = tutti(["run", "--timeout", "60", path] + SMALL + ["-o", "all", "-d", "bfloat16"])
    check_run(output)
    check("not as processes", len(set(re.findall(r"Rank +\d+ .* Pid +(\d+)", output))) == 3, output)


def test_public_schedules(_):
    if not os.path.isdir(SCHEDULES):
        return f"skipped: {SCHEDULES} is not there; set TUTTI_TEST_TOPOLOGIES"
    for name in sorted(os.listdir(SCHEDULES)):
        path = os.path.join(SCHEDULES, name)
        check_run(tutti(["run", "--threads", path] + SMALL))
        check("no verdict", "accepted, needs" in tutti(["verify", path]), name)
    return None


def test_own_schedules(_):
    names = sorted(os.listdir(OWN_SCHEDULES))
    check("schedules are missing", len(names) >= 2, OWN_SCHEDULES)
    for name in names:
        check_run(tutti(["run", os.path.join(OWN_SCHEDULES, name)] + SMALL + ["-d", "all", "-o", "all"]))


def test_mscclpp_plans(_):
    names = sorted(os.listdir(MSCCLPP))
    check("plans are missing", len(names) >= 2, MSCCLPP)
    for name in names:
        path = os.path.join(MSCCLPP, name)
        check_run(tutti(["run", path] + SMALL))
        check("no verdict", "accepted, needs" in tutti(["verify", path]), name)


def compared(arguments, expect=0):
    return json.loads(tutti(["compare", *arguments, "--json"], expect))


def check_sides(result, a, b):
    for side, algorithm in (("a", a), ("b", b)):
        check(f"{side} is not {algorithm}", result[side]["algorithm"] == algorithm, result)
        check("not verified", result[side]["verified"], result)
    check("no sizes", result["sizes"], result)
    for size in result["sizes"]:
        times = [size[side]["time_us"] for side in "ab"]
        check("no times", min(times) > 0, size)
        alike = abs(times[0] - times[1]) <= 0.01 * min(times)
        check("wrong winner", size["faster"] == ("alike" if alike else "ab"[times[1] < times[0]].upper()), size)
        for side in "ab":
            limit = result[side]["link_limit_algbw_gbps"]
            check("faster than its links", size[side]["algbw_gbps"] <= limit * 1.000001, result)


def test_compare_nccl_graph_with_the_planner(_):
    topo = ["--topo", "dgx-a100 x2"]
    result = compared([NCCL_GRAPH, "forest", *topo])
    check_sides(result, "nccl_ring", "forest")
    check("not these sizes", [s["bytes"] for s in result["sizes"]] == [8192 * 8**i for i in range(6)] + [1 << 30], result)
    # Two rings over one NIC each: 2 * 25 GB/s over 2 * 15 / 16.
    check("wrong limit", abs(result["a"]["link_limit_algbw_gbps"] - 80 / 3) < 1e-6, result)
    check("B is not nearer to the bound", result["b"]["plan_over_bound"] > result["a"]["plan_over_bound"], result)
    check("no note", any("NVLS" in note for note in result["a"]["notes"]), result)
    check("the links are alike", result["links"][0]["a_ns_per_byte"] != result["links"][0]["b_ns_per_byte"], result)
    check_sides(compared([NCCL_GRAPH + ":ring", NCCL_GRAPH + ":tree", *topo, "--bytes", "64K"]), "nccl_ring", "nccl_tree")
    check_sides(compared(["ring", NCCL_GRAPH, *topo, "--coll", "reduce_scatter", "--bytes", "1M"]), "ring", "nccl_ring")


def test_compare_forms_of_a_plan(folder):
    """One plan as JSON and as MSCCL XML moves the same over the same links."""
    plan = plan_file(folder, "all_gather", "bruck", "json", 4)
    xml = plan_file(folder, "all_gather", "bruck", "msccl-xml", 4)
    topo = ["--topo", "dgx-a100", "--gpus", "0,2,4,6"]
    result = compared([plan, xml, *topo, "--bytes", "1M"])
    check("not for the collective of the files", result["collective"] == "all_gather" and result["ranks"] == 4, result)
    check("links differ", all(abs(w["a_ns_per_byte"] - w["b_ns_per_byte"]) < 1e-9 for w in result["links"]), result)
    check_sides(compared([os.path.join(MSCCLPP, "allgather_ring_4.json"), plan, *topo, "--bytes", "1M"]),
                "allgather_ring", "bruck")
    text = tutti(["compare", plan, "bruck", *topo, "--bytes", "1M"])
    check("not alike", re.search(r"^ +1 MiB .* alike$", text, re.MULTILINE), text)
    check("no links", "every link is busy as long in A as in B" in text, text)


def test_compare_certificate(folder):
    proof = os.path.join(folder, "proof.json")
    topo = ["--topo", "dgx-a100 x2", "--bytes", "1M"]
    tutti(["explain", *topo, "--coll", "all_gather", "--certificate", proof])
    result = compared([proof, "ring", *topo])
    check("not verified", result["a"]["verified"] and not result["a"]["notes"], result)
    check("not near the bound", result["a"]["plan_over_bound"] > 0.7, result)
    moved = compared([proof, "ring", "--topo", "dgx-h100 x2", "--bytes", "1M"])
    check("no note", any("another topology" in note for note in moved["a"]["notes"]), moved)


def test_compare_public_schedules(_):
    if not os.path.isdir(SCHEDULES):
        return f"skipped: {SCHEDULES} is not there; set TUTTI_TEST_TOPOLOGIES"
    for name in sorted(os.listdir(SCHEDULES)):
        path = os.path.join(SCHEDULES, name)
        ranks = len(re.findall(r"<gpu ", open(path, encoding="utf-8").read()))
        topo = {8: "dgx-a100", 16: "dgx-a100 x2"}[ranks]
        other = "pairwise" if "alltoall" in name else "ring"
        result = compared([path, other, "--topo", topo, "--bytes", "1M"])
        check("not verified", result["a"]["verified"] and result["b"]["verified"], result)
        check("no times", result["sizes"][0]["faster"] in ("A", "B", "alike"), result)
    return None


def test_compare_says_what_is_wrong(folder):
    def refused(arguments, *parts, status=1):
        output = tutti(["compare", *arguments], expect=status)
        for part in parts:
            check(f"no '{part}'", part in output, output)

    ring = os.path.join(MSCCLPP, "allgather_ring_4.json")
    box = ["--topo", "dgx-a100"]
    refused([ring, "ring", *box], "allgather_ring_4.json", "8 ranks", "one of 4", "--gpus")
    refused(["ring", "nothing", *box], "nothing: expected a file or one of the algorithms here, forest")
    refused(["binomial", "nothing", *box, "--coll", "broadcast"], "algorithms here, ", "binomial")
    refused([ring, "ring", *box, "--coll", "all_reduce"], "expected a plan for all_reduce, got one for all_gather")
    refused([NCCL_GRAPH + ":tree", "ring", *box, "--coll", "all_gather"], "no tree for all_gather")
    refused([NCCL_GRAPH, "ring", "--topo", "dgx-a100", "--gpus", "0,1,2,3"], "two_rails_8.xml:", "got 8")
    refused([ring + ":tree", "ring", *box], "only NCCL's graph XML")
    refused(["-", "-", *box], "one plan from the standard input")
    refused(["ring", "ring"], "--topo", status=2)
    with open(plan_file(folder, "all_gather", "ring", "json", 8), encoding="utf-8") as file:
        plan = json.load(file)
    plan["ranks"][0]["lanes"][0].pop()  # receives the last message
    wrong = os.path.join(folder, "wrong.json")
    with open(wrong, "w", encoding="utf-8") as file:
        json.dump(plan, file)
    refused([wrong, "ring", *box], "verified", "NO", "A is rejected: ")


def burst(chunks):
    """Two ranks send all their chunks before either receives: as many slots are needed."""
    def lane(rank):
        def step(sink, source, chunk):
            return {"sinks": [sink], "sources": [source], "extent": chunk}
        mine, others = range(rank * chunks, (rank + 1) * chunks), range((1 - rank) * chunks, (2 - rank) * chunks)
        peer = f"peer {1 - rank}"
        return ([step(peer, f"input[{i}]", chunk) for i, chunk in enumerate(mine)] +
                [step(f"output[{chunk}]", f"input[{i}]", chunk) for i, chunk in enumerate(mine)] +
                [step(f"output[{chunk}]", peer, chunk) for chunk in others])
    return json.dumps({"format": "tutti-plan-1", "algorithm": "burst", "collective": "all_gather", "n_ranks": 2, "root": 0,
                       "chunks_per_block": chunks, "channels": 1, "slots": 64, "tiles_in_flight": 2,
                       "ranks": [{"scratch_chunks": 0, "lanes": [lane(rank)]} for rank in range(2)]})


def test_slots_follow_the_plan(folder):
    """The library gives a connection as many slots as the plan needs, but not against the user's word."""
    path = os.path.join(folder, "burst.json")
    with open(path, "w", encoding="utf-8") as file:
        file.write(burst(40))
    run = ["run", "--threads", path] + SMALL
    output = tutti(run)
    check_run(output)
    check("not 40 slots", "accepted, needs 40 slots" in output, output)
    few = tutti(run, expect=None, env={"TUTTI_SLOTS": "32"})
    check("not refused", "needs 40 slots per connection" in few and "TUTTI_SLOTS" in few, few)


def test_fold_order_is_told_and_asked_for(folder):
    chain = os.path.join(OWN_SCHEDULES, "allreduce_chain_3.xml")
    star = os.path.join(OWN_SCHEDULES, "allreduce_star_3.xml")
    two_shot = plan_file(folder, "all_reduce", "two_shot", "json")
    for path, order in ((chain, "rank order"), (star, "any order"), (two_shot, "rank order in one step")):
        for command in ("verify", "show"):
            output = tutti([command, path])
            check(f"not '{order}'", re.search(rf"accepted.*needs 1 of its \d+ slots, folds in {order}$", output, re.MULTILINE),
                  output)
    listed = tutti(["list"])
    check("not listed", re.search(r"^all_reduce +two_shot +no +yes ", listed, re.MULTILINE), listed)
    check("not listed", re.search(r"^all_reduce +ring +no +no ", listed, re.MULTILINE), listed)
    once = {"TUTTI_DETERMINISTIC": "1"}
    check_run(tutti(["run", "--threads", two_shot] + SMALL + ["-d", "bfloat16"], env=once))
    check_run(tutti(["run", "--threads", chain] + SMALL + ["-d", "float"], env=once))
    for path, more in ((star, []), (chain, ["-d", "half"])):
        output = tutti(["run", "--threads", path] + SMALL + more, expect=None, env=once)
        check("not refused", "deterministic mode" in output and "TUTTI_PLAN_FILE" in output, output)


def test_show_and_export(folder):
    path = plan_file(folder, "all_reduce", "ring", "json")
    shown = tutti(["show", path])
    check("not the plan", "reduce(peer" in shown and "hash" in shown, shown)
    with open(path, encoding="utf-8") as file:
        check("JSON is not its own export", tutti(["export", path, "--as", "json"]) == file.read(), path)
    xml = tutti(["export", "-", "--as", "msccl-xml"], text=shown_json(path))
    check("not MSCCL", xml.startswith("<algo ") and 'type="rrcs"' in xml, xml)
    check("a schedule is not read from the standard input", "rank 3 lane" in tutti(["show", "-"], text=xml), xml)


def shown_json(path):
    return tutti(["show", path, "--as", "json"])


def test_errors_name_what_is_wrong(folder):
    def refused(arguments, *parts, text=None, status=1):
        output = tutti(arguments, expect=status, text=text)
        for part in parts:
            check(f"no '{part}'", part in output, output)

    path = plan_file(folder, "all_reduce", "two_shot", "msccl-xml", 3)
    with open(path, encoding="utf-8") as file:
        xml = file.read()
    bad = os.path.join(folder, "bad.xml")
    with open(bad, "w", encoding="utf-8") as file:
        file.write(xml.replace('type="s"', 'type="q"', 1))
    refused(["run", bad], "bad.xml:", "<step> type", "rrcs", '"q"')
    refused(["verify", bad], "REJECTED", "<step> type")
    with open(bad, "w", encoding="utf-8") as file:  # wait for nothing: a race, or data that is not there
        file.write(re.sub(r'depid="\d+" deps="\d+"', 'depid="-1" deps="-1"', xml))
    refused(["run", bad], "bad.xml")
    refused(["run", os.path.join(folder, "none.json")], "none.json", "can't read")
    refused(["run"], "FILE", status=2)
    refused(["run", path, "-t", "2"], "-t", "--threads")
    refused(["run", plan_file(folder, "barrier", "dissemination", "json")], "no bandwidth binary", "barrier")
    refused(["show"], "--collective")
    refused(["show", path, "--collective", "all_reduce"], "both")
    refused(["export", "--collective", "gather", "--algorithm", "direct", "-n", "2", "--as", "msccl-xml"], "gather")
    refused(["verify", "-"], "REJECTED", "-:", text="{}")


def main():
    tests = [(name, test) for name, test in globals().items() if name.startswith("test_")]
    for name, test in tests:
        with tempfile.TemporaryDirectory() as folder:
            print(f"{name}: {test(folder) or 'ok'}", flush=True)
    print(f"{len(tests)} passed, 0 failed")


if __name__ == "__main__":
    main()
