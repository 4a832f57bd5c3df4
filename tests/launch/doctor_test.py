"""What `tutti doctor` says of this machine, of what is set wrongly, and of ranks that differ."""
import json
import os
import resource
import subprocess
import sys

BIN = sys.argv[1]
TUTTI = os.path.join(BIN, "tutti")
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("TUTTI_")}


def run(*arguments, **variables):
    return subprocess.run([TUTTI, *arguments], env=dict(CLEAN, **variables), capture_output=True, text=True, timeout=120,
                          check=False)


def check(what, condition, *details):
    if not condition:
        raise AssertionError("\n".join([what, *map(str, details)]))


def doctor(*arguments, status, **variables):
    done = run("doctor", "--json", *arguments, **variables)
    check(f"expected exit status {status}", done.returncode == status, done.returncode, done.stdout, done.stderr)
    return json.loads(done.stdout)


def findings(rank, title):
    sections = [s for s in rank if s["title"].startswith(title)]
    check(f"one section '{title}'", len(sections) == 1, rank)
    return {f["name"]: f for f in sections[0]["findings"]}


def problems(report):
    return {f["name"]: f["remedy"] for rank in report["ranks"] for s in rank for f in s["findings"] if f["remedy"]}


def healthy_alone():
    report = doctor(status=0)
    check("no problem", report["problems"] == 0 and len(report["ranks"]) == 1 and not report["differences"], report)
    rank = report["ranks"][0]
    version = run("--version").stdout.split()[1]
    check("the version", findings(rank, "library")["version"]["value"] == version, rank)
    transports = findings(rank, "transports")
    for name in ("inproc", "shm"):
        check(f"{name} carries messages", transports[name]["value"].startswith("usable"), transports)
    for name in ("memfd, sealed", "pidfd", "membarrier", "huge pages, shared"):
        check(f"{name} is looked at", name in transports, transports)
    limits = findings(rank, "limits")
    open_files = str(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    check("the limit of open files", limits["open files"]["value"] == open_files, limits)
    for name in ("mappings", "locked memory", "memory of the group", "ptrace scope", "seccomp", "/dev/shm"):
        check(f"{name} is looked at", name in limits, limits)
    cores = str(len(os.sched_getaffinity(0)))
    check("the cores", findings(rank, "machine")["cores of this process"]["value"] == cores, rank)
    text = run("doctor")
    check("text ends with healthy", text.returncode == 0 and text.stdout.endswith("\nhealthy\n"), text.stdout)


def wrong_variables():
    report = doctor(status=1, TUTTI_TIMOUT="3", TUTTI_SLOTS="5", TUTTI_KEY="sesame", TUTTI_LOG="warn")
    found = problems(report)
    check("the misspelt one and the invalid one", set(found) == {"TUTTI_TIMOUT", "TUTTI_SLOTS"}, found)
    check("the nearest name", "TUTTI_TIMEOUT" in found["TUTTI_TIMOUT"], found)
    check("what is allowed", "power of two from 1 to 64" in found["TUTTI_SLOTS"], found)
    environment = findings(report["ranks"][0], "environment")
    check("values in force", environment["TUTTI_LOG"]["value"] == "warn", environment)
    check("secrets stay secret", "sesame" not in json.dumps(report), environment)
    text = run("doctor", TUTTI_TIMOUT="3")
    check("text marks it", text.returncode == 1 and "! TUTTI_TIMOUT" in text.stdout and "1 problem," in text.stdout,
          text.stdout)


def cap_below_need():
    found = problems(doctor(status=1, TUTTI_MEMORY_CAP="64K"))
    check("the cap and what is needed", set(found) == {"cap"} and "TUTTI_MEMORY_CAP" in found["cap"], found)


def limits_are_held_against_needs():
    script = f"ulimit -n 70; exec {TUTTI} doctor --json"
    done = subprocess.run(["bash", "-c", script], env=CLEAN, capture_output=True, text=True, timeout=60, check=False)
    found = problems(json.loads(done.stdout))
    check("open files", done.returncode == 1 and "ulimit -n" in found.get("open files", ""), done.stdout)


def launcher_variables_that_contradict():
    found = problems(doctor(status=1, TUTTI_RANK="0"))
    check("the launcher", "launcher" in found, found)


def ranks_form_a_communicator():
    report = doctor("--ranks", "3", status=0)
    check("three ranks", len(report["ranks"]) == 3 and report["problems"] == 0, report)
    for rank in report["ranks"]:
        formed = findings(rank, "communicator")
        check("AllReduce works", formed["AllReduce"]["value"].startswith("works"), formed)
        check("what the start took", "private memory" in formed["start"]["value"], formed)
        check("by shm", formed["by shm"]["value"] == "2 peers", formed)
    check("ranks of one host do not differ", not report["differences"], report["differences"])


def ranks_that_differ():
    script = f'[ "$TUTTI_RANK" = 1 ] && export TUTTI_TIMEOUT=7; exec {TUTTI} doctor --json'
    done = run("run", "--no-bind", "-n", "3", "bash", "-c", script)
    check("healthy: a time-out may differ", done.returncode == 0, done.stdout, done.stderr)
    found = {d["name"]: d["values"] for d in json.loads(done.stdout)["differences"]}
    check("just that", list(found) == ["TUTTI_TIMEOUT"], found)
    ranks = {value["value"]: value["ranks"] for value in found["TUTTI_TIMEOUT"]}
    check("who has what", ranks == {"7": [1], "(not there)": [0, 2]}, ranks)


def problem_of_another_rank():
    script = f'[ "$TUTTI_RANK" = 2 ] && export TUTTI_TIMOUT=7; exec {TUTTI} doctor'
    done = run("run", "--no-bind", "-n", "3", "bash", "-c", script)
    check("rank 2's problem", done.returncode == 1 and "problem of rank 2" in done.stdout and
          "is TUTTI_TIMEOUT meant?" in done.stdout, done.stdout, done.stderr)


def transport_that_can_not_reach():
    report = doctor("--ranks", "2", status=1, TUTTI_TRANSPORT="inproc")
    failed = findings(report["ranks"][0], "communicator")["AllReduce"]
    check("the transport and its reason", "inproc" in failed["value"] and "another process" in failed["value"], failed)


def misspelt_variable_is_warned_of_by_the_library():
    perf = os.path.join(BIN, "all_reduce_perf")
    for log, expected in ((None, 1), ("off", 0)):
        variables = {"TUTTI_TIMOUT": "3"} | ({} if log is None else {"TUTTI_LOG": log})
        done = subprocess.run([perf, "-b", "8", "-e", "8"], env=dict(CLEAN, **variables), capture_output=True, text=True,
                              timeout=60, check=False)
        check("once, with the nearest name", done.returncode == 0 and
              done.stderr.count("is TUTTI_TIMEOUT meant?") == expected, done.stderr)


for test in (healthy_alone, wrong_variables, cap_below_need, limits_are_held_against_needs,
             launcher_variables_that_contradict, ranks_form_a_communicator, ranks_that_differ, problem_of_another_rank,
             transport_that_can_not_reach, misspelt_variable_is_warned_of_by_the_library):
    test()
    print("ok", test.__name__)
