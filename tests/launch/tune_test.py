"""`tutti tune` and `tutti plan explain` as users run them: a profile is measured, found, used, explained, and refused when it is wrong."""
import json
import os
import re
import subprocess
import sys
import tempfile

BIN = sys.argv[1]
TUTTI = os.path.join(BIN, "tutti")
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("TUTTI_")}


def run(*arguments, status=0, **variables):
    done = subprocess.run([TUTTI, *arguments], env=dict(CLEAN, **variables), capture_output=True, text=True, timeout=200,
                          stdin=subprocess.DEVNULL, check=False)
    check(f"{arguments}: expected exit status {status}", done.returncode == status, done.returncode, done.stdout, done.stderr)
    return done


def check(what, condition, *details):
    if not condition:
        raise AssertionError("\n".join([what, *map(str, details)]))


def explain(*arguments, **options):
    return json.loads(run("plan", "explain", "--json", *arguments, **options).stdout)


def measured_profile(cache):
    done = run("tune", "--quick", "-n", "2", XDG_CACHE_HOME=cache)
    (name,) = os.listdir(os.path.join(cache, "tutti"))
    check("the name has the machine's key", re.fullmatch(r"profile-[0-9a-f]{16}\.json", name), name)
    path = os.path.join(cache, "tutti", name)
    check("where it is", path in done.stdout, done.stdout)
    check("plain lines where there is no terminal", done.stderr == "2 ranks\n", done.stderr)
    with open(path, encoding="utf-8") as file:
        profile = json.load(file)
    curves = {(c["collective"], c["algorithm"]) for c in profile["curves"]}
    check("every AllReduce", {("all_reduce", a) for a in ("ring", "tree", "one_shot", "two_shot")} <= curves, curves)
    check("one number of ranks", {c["ranks"] for c in profile["curves"]} == {2}, profile)
    return path


def all_reduces():
    """Those that do two ranks, which all AllReduces of one host do."""
    rows = [line.split() for line in run("plan", "list").stdout.splitlines()]
    return {row[1] for row in rows if row[0] == "all_reduce" and not row[1].startswith("two_level")}


def explained(cache, path):
    found = explain("--coll", "all_reduce", "--bytes", "1M", "-n", "2", XDG_CACHE_HOME=cache)
    check("by the profile", found["profile"] == path, found)
    names = [c["algorithm"] for c in found["candidates"]]
    check("all candidates, the chosen one first", set(names) == all_reduces() and names[0] == found["chosen"], found)
    times = [c["predicted_ns"] for c in found["candidates"]]
    check("by predicted time", times == sorted(times), found)
    one_shot = next(c for c in found["candidates"] if c["algorithm"] == "one_shot")
    check("one_shot of 2 ranks sends the vector once", one_shot["sent_bytes"] == 1 << 20 and one_shot["messages"] == 16, one_shot)
    without = explain("--bytes", "8", "--profile", "none", XDG_CACHE_HOME=cache)
    check("the default is the model alone", all(c["predicted_ns"] == c["model_ns"] for c in without["candidates"]), without)
    check("without a profile", without["profile"] == "" and without["candidates"][0]["protocol"] == "inline", without)
    text = run("plan", "explain", "--bytes", "64K", "-n", "3", "--coll", "all_gather", TUTTI_PROFILE="none").stdout
    check("a table and a reason", "predicted" in text and "ring is" in text or "one_shot is" in text, text)
    hosts = explain("--bytes", "64M", "--hosts", "3x2", "--profile", "none", XDG_CACHE_HOME=cache)
    crossing = {c["algorithm"]: c["network_bytes"] for c in hosts["candidates"]}
    check("the least that crosses between 3 hosts is 2 S (h-1)", hosts["least_network_bytes"] == 4 << 26, hosts)
    check("rails send the least, a ring 1.25 times as much", crossing["two_level"] == 4 << 26 and crossing["ring"] == 5 << 26, crossing)
    check("two levels are chosen", hosts["chosen"].startswith("two_level"), hosts["chosen"])
    lone = run("plan", "explain", "--bytes", "64K", "--coll", "all_to_all", TUTTI_PROFILE="none").stdout
    check("nothing to choose from", "nothing else does all_to_all" in lone, lone)


def measured_candidates():
    found = explain("--bytes", "4K", "-n", "3", "--measure", TUTTI_PROFILE="none")
    check("every candidate was measured", all(c["measured_ns"] > 0 for c in found["candidates"]), found)
    text = run("plan", "explain", "--bytes", "8", "--measure", TUTTI_PROFILE="none").stdout
    check("the prediction's error", re.search(r"Measured: \w+ takes [\d.]+ .s, its prediction is off by [+-]\d+ %", text), text)


def ranks_use_it(path):
    """Each algorithm in turn is said to be the best; `stats` of the bandwidth binaries' log says which ran."""
    with open(path, encoding="utf-8") as file:
        profile = json.load(file)
    for best in ("ring", "tree"):
        for curve in profile["curves"]:
            curve["ns"] = [0.001 if curve["algorithm"] == best else 1e9 for _ in curve["ns"]]
        changed = path + ".changed"
        with open(changed, "w", encoding="utf-8") as file:
            json.dump(profile, file)
        done = run("run", "-n", "2", "all_reduce_perf", "-b", "1K", "-e", "1K", TUTTI_PROFILE=changed, TUTTI_LOG="info")
        check("plan in the log", f"plan '{best}'" in done.stderr, done.stderr)
        check("results are right", "# Out of bounds values : 0 OK" in done.stdout, done.stdout)


def wrong_profiles(cache, path):
    with open(path, encoding="utf-8") as file:
        good = file.read()
    for text, reason in ((good[:100], "not JSON"), (good.replace("tutti-profile-1", "tutti-profile-0"), "tutti-profile-1"),
                         (good.replace('"cpu":"', '"cpu":"not '), "another machine")):
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        job = ["run", "-n", "2", "all_reduce_perf", "-b", "8", "-e", "8", "-n", "1"]
        warned = run(*job, XDG_CACHE_HOME=cache)
        check("a warning, once", warned.stderr.count("defaults are used") == 1 and path in warned.stderr, warned.stderr)
        check("the reason and what to do", reason in warned.stderr and "`tutti tune`" in warned.stderr, warned.stderr)
        refused = run(*job, status=1, TUTTI_PROFILE=path)
        check("refused where it is named", reason in refused.stderr, refused.stderr)
        silent = run(*job, XDG_CACHE_HOME=cache, TUTTI_PROFILE="none")
        check("nothing to say where it is turned off", silent.stderr == "", silent.stderr)


def wrong_usage():
    run("tune", "-n", "1", status=2)
    run("tune", "--check", "--out", "x", status=2)
    run("plan", "explain", status=2)
    unknown = run("plan", "explain", "--coll", "all_redcue", "--bytes", "8", status=1, TUTTI_PROFILE="none")
    check("the names", "all_reduce" in unknown.stderr, unknown.stderr)
    odd = run("plan", "explain", "--bytes", "7", "--measure", status=1, TUTTI_PROFILE="none")
    check("what can be measured", "a multiple of 4" in odd.stderr, odd.stderr)
    nowhere = run("tune", "--quick", "-n", "2", "--out", "/proc/profile.json", status=1)
    check("can't be written", "can't write the profile" in nowhere.stderr, nowhere.stderr)
    help_text = run("tune", "--help").stdout
    check("help has examples, and no inner commands", "Examples:" in help_text and "tune-rank" not in run("--help").stdout, help_text)


def main():
    with tempfile.TemporaryDirectory() as cache:
        wrong_usage()
        path = measured_profile(cache)
        explained(cache, path)
        measured_candidates()
        ranks_use_it(path)
        wrong_profiles(cache, path)
    print("ok")


main()
