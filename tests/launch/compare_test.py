"""perf/compare: what it computes, with data made for it and ranks that are none; then the command itself."""
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import types
import unittest
import xml.etree.ElementTree

BUILD, SOURCE = sys.argv[1], sys.argv[2]
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(SOURCE, "perf", "compare"))
from driver import guest, measure, network, network_report, ops, report, settings, stats, svg, verdict  # noqa: E402 (found by the line above)
from driver.jobs import JobFailed, Refused  # noqa: E402

COMMAND = os.path.join(SOURCE, "perf", "compare", "compare")
SKIPPED = 77
OPTIONS = types.SimpleNamespace(pages="4k", offset=0, seed=1, cpus=2)


def record(op="all_reduce", size=8, ranks=2, rounds=(), wanted=5, wrong=None):
    return {"op": op, "size": size, "bytes": size, "ranks": ranks, "moved": ops.MOVED[op], "rounds_wanted": wanted,
            "rounds": [{"line_ns": 60.0, "far": far, "ns": ns, "min_ns": ns} for far, ns in rounds], "wrong": wrong or {}}


def result(points):
    named = {s.name: {"default": s.default, "about": ""} for s in settings.SETTINGS}
    return {"settings": named, "points": points, "rounds": 5, "pages": "4k", "seconds": 60.0, "skipped": {}, "when": "now", "cpu": "x",
            "host_cpus": 2, "placement": "auto", "usual_line_ns": 60.0, "limits": {}}


def near(tutti, peer, memalloc=None, times=5, **more):
    ns = {"tutti/malloc": tutti, "openmpi/default": peer, "tutti/memalloc": memalloc or tutti, **more}
    return [(False, ns)] * times


class Statistics(unittest.TestCase):
    def test_ratio_is_taken_within_rounds(self):
        # Medians of each are 20 and 20; within rounds Tutti takes half, half, and three times as long.
        point = record(rounds=[(False, {"t": 10, "p": 20}), (False, {"t": 20, "p": 40}), (False, {"t": 60, "p": 20})], wanted=3)
        self.assertEqual(stats.ratio(point, "t", ["p"]), 0.5)

    def test_ratio_is_to_the_best_of_the_round(self):
        point = record(rounds=[(False, {"t": 10, "p": 20, "q": 5})], wanted=1)
        self.assertEqual(stats.ratio(point, "t", ["p", "q"]), 2.0)
        self.assertIsNone(stats.ratio(point, "t", ["missing"]))

    def test_far_rounds_count_only_when_there_are_too_few_others(self):
        rounds = [(False, {"t": 1, "p": 1})] * 2 + [(True, {"t": 9, "p": 1})] * 3
        self.assertEqual(stats.ratio(record(rounds=rounds, wanted=2), "t", ["p"]), 1)
        self.assertEqual(stats.ratio(record(rounds=rounds, wanted=5), "t", ["p"]), 9)

    def test_geometric_mean(self):
        self.assertAlmostEqual(stats.geometric_mean([0.5, 2.0]), 1.0)
        self.assertIsNone(stats.geometric_mean([]))

    def test_two_of_three_runs_make_a_failure(self):
        self.assertEqual([stats.failing_needed(n) for n in (1, 2, 3, 6)], [1, 2, 2, 4])

    def test_floor_is_bytes_over_copy_rate_and_at_least_a_line(self):
        rounds = [(False, {"limit/memcpy": 400.0, "limit/ntcopy": 800.0})]
        self.assertEqual(stats.copy_floor_ns(record(op="broadcast", rounds=rounds)), 200.0)
        self.assertEqual(stats.copy_floor_ns(record(rounds=[(False, {"limit/memcpy": 4.0})])), 60.0)
        self.assertIsNone(stats.copy_floor_ns(record(rounds=rounds, ranks=4)))

    def test_far(self):
        self.assertFalse(stats.is_far(110, 58))
        self.assertTrue(stats.is_far(280, 58))


class Points(unittest.TestCase):
    def test_sizes_are_the_acceptance(self):
        points = ops.acceptance_points()
        self.assertEqual(len([p for p in points if p.ranks == 2]), 7 * 13)
        self.assertEqual(max(p.size for p in points), 128 << 20)
        self.assertEqual({p.size for p in points if p.ranks == 8}, {8, 8192, 1 << 20})

    def test_every_rank_has_an_element(self):
        self.assertEqual(ops.Point("all_gather", 8, 8).bytes, 32)
        self.assertEqual(ops.Point("all_reduce", 8, 8).bytes, 8)

    def test_sizes_are_parsed(self):
        self.assertEqual([ops.parse_size(t) for t in ("8", "32K", "1MiB")], [8, 32768, 1 << 20])
        for wrong in ("x", "3", "6"):
            self.assertRaises(ValueError, ops.parse_size, wrong)

    def test_every_setting_covers_something_and_every_peer_has_a_default(self):
        points = ops.acceptance_points()
        for setting in settings.SETTINGS:
            self.assertTrue(any(setting.covers(p) for p in points), setting.name)
        for peer in settings.PEERS:
            self.assertEqual(sum(s.default for s in settings.SETTINGS if s.peer == peer), 1, peer)


class Verdicts(unittest.TestCase):
    def full(self, tutti, peer):
        """A run of all points with the same times."""
        extra = {"limit/ntcopy": 100.0, "limit/memcpy": 100.0, "limit/flag8": 60.0}
        return result([record(p.op, p.size, p.ranks, near(tutti, peer, **extra)) for p in ops.acceptance_points()])

    def verdicts(self, results):
        return [a["verdict"] for a in verdict.judge(results)["acceptance"]]

    def test_fast_everywhere_passes(self):
        self.assertEqual(self.verdicts([self.full(40.0, 100.0)] * 3), ["PASS"] * 4)
        self.assertEqual(verdict.judge([self.full(40.0, 100.0)] * 3)["doubts"], [])
        self.assertTrue(verdict.judge([self.full(40.0, 100.0)])["doubts"])

    def test_slow_everywhere_fails(self):
        self.assertEqual(self.verdicts([self.full(400.0, 100.0)]), ["FAIL"] * 4)

    def test_one_slow_point_fails_in_two_runs_of_three_only(self):
        def run(slow):
            data = self.full(40.0, 100.0)
            if slow:
                data["points"][0] = record(rounds=near(104.0, 100.0, 40.0, **{"limit/ntcopy": 100.0, "limit/flag8": 60.0}))
            return data
        self.assertEqual(self.verdicts([run(True), run(False), run(False)])[0], "PASS")
        self.assertEqual(self.verdicts([run(True), run(True), run(False)])[0], "FAIL")

    def test_three_percent_are_tolerated(self):
        data = self.full(40.0, 100.0)
        data["points"][0] = record(rounds=near(103.0, 100.0, 40.0, **{"limit/flag8": 60.0}))
        self.assertEqual(self.verdicts([data])[0], "PASS")

    def test_a_run_on_far_cores_is_doubted(self):
        self.assertIn("far apart", " ".join(verdict.doubts([dict(self.full(40.0, 100.0), usual_line_ns=270.0)] * 3)))

    def test_missing_points_are_partial(self):
        data = self.full(40.0, 100.0)
        data["points"] = data["points"][1:]
        self.assertEqual(self.verdicts([data])[0], "PARTIAL")
        self.assertEqual(self.verdicts([result([])]), ["PARTIAL"] * 4)

    def test_many_ranks_need_a_tenth(self):
        self.assertEqual(self.verdicts([self.full(91.0, 100.0)])[3], "FAIL")

    def test_big_all_reduce_is_held_to_the_copy_bandwidth(self):
        data = self.full(40.0, 100.0)
        for point in data["points"]:
            for one in point["rounds"]:
                one["ns"] = dict(one["ns"], **{"limit/ntcopy": 30.0})
        self.assertEqual(self.verdicts([data])[1], "FAIL")

    def test_report_and_plots_are_made_of_anything(self):
        for data in (self.full(40.0, 100.0), result([]), result([record(rounds=[], wrong={"gloo/default": 2})])):
            judged = verdict.judge([data])
            self.assertIn("acceptance 1", report.text([data], judged))
            with tempfile.TemporaryDirectory() as folder:
                for name in svg.write_all([data], judged, folder):
                    xml.etree.ElementTree.parse(name)


def over_networks(tutti, peer, wire, op="all_reduce", ranks=3, guest_ratio=None):
    """A run with the same times at every size."""
    ns = {"tutti/tcp": tutti, "openmpi/tcp": peer, "gloo/tcp": 3 * peer, "limit/iperf3": wire}
    found = [dict(record(op, size, ranks, [(False, ns)] * 5), excluded={}) for size in network.SIZES]
    return dict(result(found), settings={s.name: {"default": s.default, "about": ""} for s in network.SETTINGS}, versions={},
                network={"streams": 2, "rate": "", "rails": 1},
                guest={"lane": "uml", "rates": {"sendrecv_perf": [90.0]}, "ratios": {"ib_write_bw": guest_ratio}, "skipped": {}} if guest_ratio else {})


class Networks(unittest.TestCase):
    def test_ratios_are_to_the_best_peer_and_to_iperf3(self):
        judged = network_report.judge([over_networks(30.0, 40.0, 25.0)])
        for point in judged["points"]:
            ours = point["tutti"]["tutti/tcp"]
            self.assertEqual((ours["to_best"], ours["to_default"], ours["to_limit"], ours["best"]), (0.75, 0.75, 1.2, "openmpi/tcp"))
        self.assertAlmostEqual(judged["means"]["tutti/tcp"]["all_reduce"]["to_limit"], 1.2)

    def test_verdicts(self):
        def verdicts(*results):
            return [holds for holds, _ in network_report.verdict(network_report.judge(list(results)))]
        pair = over_networks(105.0, 200.0, 100.0, "send_recv", 2)
        self.assertEqual(verdicts(over_networks(30.0, 40.0, 25.0), pair), [True, True, None])
        self.assertEqual(verdicts(over_networks(50.0, 40.0, 25.0, guest_ratio=0.93)), [False, None, True])
        self.assertEqual(verdicts(over_networks(130.0, 200.0, 100.0, "send_recv", 2, guest_ratio=0.8)), [None, False, False])

    def test_report_and_plots(self):
        for data in (over_networks(30.0, 40.0, 25.0, guest_ratio=0.9), dict(over_networks(1, 1, 1), points=[])):
            judged = network_report.judge([data])
            self.assertIn("iperf3", network_report.text([data], judged))
            with tempfile.TemporaryDirectory() as folder:
                for name in network_report.write_plots(judged, folder):
                    xml.etree.ElementTree.parse(name)

    def test_points_fit_their_hosts(self):
        self.assertEqual({(p.op, p.ranks) for p in network.points(None, None, None)}, {("all_reduce", 3), ("ping_pong", 2), ("send_recv", 2)})
        self.assertEqual({(p.op, p.ranks) for p in network.points(["ping_pong", "broadcast"], [8], [2, 3])},
                         {("ping_pong", 2), ("broadcast", 2), ("broadcast", 3)})

    def test_variants_stand_on_tcp(self):
        made = network.with_streams(network.variant("four:TUTTI_TCP_SOCKETS=4"), 2)
        self.assertEqual((made.env["TUTTI_TRANSPORT"], made.env["TUTTI_TCP_SOCKETS"], made.is_tutti), ("tcp", "4", True))
        self.assertEqual(network.with_streams(network.SETTINGS[0], 8).env["TUTTI_TCP_SOCKETS"], "8")
        self.assertRaises(ValueError, network.variant, "tcp:A=1")

    def test_what_the_guest_says_is_read(self):
        rates, ratios, skipped = guest.read("skipped ucx_perftest: an error\nrate ib_write_bw: 100 110 90.5 MB/s\nrate sendrecv_perf: 95 96 97 MB/s\nratio ib_write_bw: 0.96\n")
        self.assertEqual((rates["ib_write_bw"], ratios), ([100.0, 110.0, 90.5], {"ib_write_bw": 0.96}))
        self.assertEqual(skipped, {"ucx_perftest": "an error"})
        self.assertEqual(guest.read("skipped: no guest"), ({}, {}, {}))


class FakeJob:
    """Answers as ranks do."""

    def __init__(self, name, times, wrong=0, log=None):
        self.setting = settings.Setting(name, "", "", "none", default=name.endswith("/default"))
        self.times, self.wrong, self.problem, self.log = list(times), wrong, None, log if log is not None else []

    def ask(self, message, _seconds):
        verb = message.split()[0]
        self.log.append((self.setting.name, verb))
        if verb != "measure":
            return ["ok", "ok"]
        ns = self.times.pop(0) if len(self.times) > 1 else self.times[0]
        if isinstance(ns, Exception):
            raise ns
        return [f"result median_ns={ns} min_ns={ns} mean_ns={ns} samples=5 wrong={self.wrong}"] * 2


class FakeMachine:
    def __init__(self, lines=(60.0,)):
        self.lines = list(lines)

    def line(self):
        return self.lines.pop(0) if len(self.lines) > 1 else self.lines[0]

    def is_far(self, ns):
        return ns > 200

    def of_point(self, _point, _number, _seconds):
        return {}


class Measuring(unittest.TestCase):
    def run_point(self, jobs, machine=None, rounds=3):
        return measure.PointRun(ops.Point("all_reduce", 8, 2), jobs, machine or FakeMachine(), OPTIONS).run(rounds, 1.0)

    def test_everyone_takes_turns(self):
        log = []
        jobs = [FakeJob(n, [100.0], log=log) for n in ("tutti/malloc", "openmpi/default", "mpich/default")]
        got = self.run_point(jobs)
        self.assertEqual([len(r["ns"]) for r in got["rounds"]], [3, 3, 3])
        measured = [name for name, verb in log if verb == "measure"][-9:]
        self.assertEqual([measured[0], measured[3], measured[6]], ["tutti/malloc", "openmpi/default", "mpich/default"])
        self.assertEqual([name for name, verb in log if verb == "release"], [j.setting.name for j in jobs])

    def test_wrong_results_are_left_out_and_told(self):
        got = self.run_point([FakeJob("tutti/malloc", [100.0]), FakeJob("gloo/default", [50.0], wrong=3)])
        self.assertTrue(all("gloo/default" not in r["ns"] for r in got["rounds"]))
        self.assertGreater(got["wrong"]["gloo/default"], 0)

    def test_hopeless_settings_sit_out(self):
        got = self.run_point([FakeJob("tutti/malloc", [900.0]), FakeJob("openmpi/default", [300.0]), FakeJob("mpich/posix", [100.0]),
                              FakeJob("gloo/busy-ring", [300.0])])
        self.assertEqual(set(got["rounds"][0]["ns"]), {"tutti/malloc", "openmpi/default", "mpich/posix"})
        self.assertEqual(got["pruned"], {"gloo/busy-ring": 300.0})

    def test_a_second_look_before_it_sits_out(self):
        got = self.run_point([FakeJob("openmpi/default", [100.0]), FakeJob("mpich/posix", [500.0, 500.0, 110.0])])
        self.assertIn("mpich/posix", got["rounds"][0]["ns"])

    def test_rounds_far_apart_are_repeated(self):
        got = self.run_point([FakeJob("tutti/malloc", [100.0])], FakeMachine([300.0, 60.0, 60.0, 300.0, 60.0]))
        self.assertEqual([r["far"] for r in got["rounds"]], [True, True, False, False, False])

    def test_rounds_are_as_many_as_time_allows_and_five_at_least(self):
        point = ops.Point("all_reduce", 8, 2)
        for seconds, rounds in ((60.0, 9), (0.0, 5)):
            got = measure.PointRun(point, [FakeJob("tutti/malloc", [100.0])], FakeMachine(), OPTIONS).run(9, seconds)
            self.assertEqual(len(got["rounds"]), rounds)

    def test_failures_end_only_their_job(self):
        for failure in (JobFailed("died"), Refused("can't")):
            got = self.run_point([FakeJob("tutti/malloc", [100.0]), FakeJob("gloo/default", [100.0, 100.0, failure])])
            self.assertEqual(got["excluded"], {"gloo/default": str(failure)})
            self.assertTrue(all("tutti/malloc" in r["ns"] for r in got["rounds"]))

    def test_calls_are_the_same_for_all_but_the_slow(self):
        point = ops.Point("all_reduce", 8, 2)
        self.assertEqual(measure.plan_calls(point, 200, 200, 0.01)[1:3], measure.plan_calls(point, 200, 500, 0.01)[1:3])
        self.assertLess(measure.plan_calls(point, 200, 200000, 0.01)[1], measure.plan_calls(point, 200, 200, 0.01)[1] / 10)
        self.assertEqual(measure.batch_of(ops.Point("broadcast", 8 << 20, 8), 1e6), 8)


def leftovers():
    """Folders of runs that were not removed, and rank processes."""
    folders = [n for n in os.listdir("/dev/shm") if n.startswith("compare.")]
    programs = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                if b"COMPARE_TEST=" + MARK in file.read().split(b"\0"):
                    programs.append(pid)
        except OSError:
            pass
    return folders, programs


def alive(folder):
    return os.path.exists(f"/proc/{folder.split('.')[1]}")


MARK = f"{os.getpid()}".encode()


class Command(unittest.TestCase):
    ran_peers = None

    def start(self, folder, *arguments):
        env = dict(os.environ, COMPARE_TEST=MARK.decode())
        return subprocess.Popen([COMMAND, "--build", BUILD, "--cache", os.path.join(BUILD, "compare"), "--no-install", "--out", folder]
                                + list(arguments), env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def gone(self, before):
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            folders, programs = leftovers()
            if not programs and not set(folders) - before:
                return
            time.sleep(0.1)
        self.fail(f"left behind: {leftovers()}")

    def test_smoke(self):
        before = set(leftovers()[0])
        with tempfile.TemporaryDirectory() as folder:
            process = self.start(folder, "--quick", "--peers", "openmpi/default,mpich/default", "--sizes", "8,64K", "--ranks", "2,4",
                                 "--ops", "all_reduce,broadcast", "--budget", "0.1", "--rounds", "1")
            output, _ = process.communicate(timeout=240)
            self.assertEqual(process.returncode, 0, output)
            with open(os.path.join(folder, "run-1.json"), encoding="utf-8") as stream:
                data = json.load(stream)
            self.assertEqual(len(data["points"]), 8, output)
            for point in data["points"]:
                self.assertEqual(point["wrong"], {}, output)
                self.assertTrue(all(r["ns"].get("tutti/malloc", 0) > 0 for r in point["rounds"]), output)
            names = os.listdir(folder)
            self.assertTrue(any(n.endswith(".svg") for n in names), names)
            again = subprocess.run([COMMAND, "report", os.path.join(folder, "run-1.json"), "--out", folder], capture_output=True, text=True,
                                   timeout=60, check=False)
            self.assertEqual(again.returncode, 0, again.stderr)
            self.assertIn("acceptance 1", again.stdout)
            Command.ran_peers = [s for s in data["settings"] if not s.startswith("tutti/")]
            print(f"peers: {Command.ran_peers or data['skipped']}")
        self.gone(before)

    def test_smoke_over_networks(self):
        if network.refusal():
            self.skipTest(network.refusal())
        before = set(leftovers()[0])
        with tempfile.TemporaryDirectory() as folder:
            process = self.start(folder, "--network", "--peers", "openmpi/tcp", "--sizes", "64K", "--ranks", "2", "--ops", "all_reduce,send_recv",
                                 "--budget", "0.1", "--rounds", "1")
            output, _ = process.communicate(timeout=240)
            self.assertEqual(process.returncode, 0, output)
            with open(os.path.join(folder, "network-1.json"), encoding="utf-8") as stream:
                data = json.load(stream)
            self.assertEqual(len(data["points"]), 2, output)
            for point in data["points"]:
                self.assertEqual(point["wrong"], {}, output)
                self.assertTrue(all(r["ns"].get("tutti/tcp", 0) > 0 for r in point["rounds"]), output)
                if "limit/iperf3" not in data["skipped"]:
                    self.assertTrue(all(r["ns"].get("limit/iperf3", 0) > 0 for r in point["rounds"]), output)
            self.assertIn("network-report.txt", os.listdir(folder))
        self.gone(before)

    def interrupted_by(self, number):
        before = set(leftovers()[0])
        with tempfile.TemporaryDirectory() as folder:
            process = self.start(folder, "--peers", "openmpi/default", "--sizes", "8", "--ranks", "2", "--budget", "5")
            deadline = time.monotonic() + 60
            while len(leftovers()[1]) < 6 and time.monotonic() < deadline:
                time.sleep(0.05)
            time.sleep(1)
            os.kill(process.pid, number)
            process.communicate(timeout=60)
        return before

    def test_interrupt_leaves_nothing(self):
        self.gone(self.interrupted_by(signal.SIGTERM))

    def test_ranks_go_when_the_driver_is_killed(self):
        self.interrupted_by(signal.SIGKILL)
        deadline = time.monotonic() + 60
        while leftovers()[1] and time.monotonic() < deadline:
            time.sleep(0.1)
        self.assertEqual(leftovers()[1], [])
        # Nobody was left to remove the folder; the next run does.
        self.gone(self.interrupted_by(signal.SIGINT) - set(leftovers()[0]))
        self.assertEqual([n for n in leftovers()[0] if not alive(n)], [])

    def test_wrong_arguments_are_told(self):
        for arguments in (["--ops", "nand"], ["--sizes", "3"], ["--ranks", "3"], ["--rounds", "0"], ["--peers", "nobody"], ["report"],
                          ["report", "/no/such/file"], ["--guest"], ["--network", "--streams", "0"], ["--ops", "send_recv"]):
            done = subprocess.run([COMMAND] + arguments, capture_output=True, text=True, timeout=60, check=False)
            self.assertNotEqual(done.returncode, 0, arguments)
            self.assertNotIn("Traceback", done.stderr, arguments)

    def test_help_and_list_teach(self):
        for argument, word in (("--help", "examples"), ("list", "btl_vader_single_copy_mechanism")):
            done = subprocess.run([COMMAND, argument], capture_output=True, text=True, timeout=60, check=True)
            self.assertIn(word, done.stdout)


if __name__ == "__main__":
    program = unittest.main(argv=[sys.argv[0]] + sys.argv[3:], exit=False)
    if not program.result.wasSuccessful():
        sys.exit(1)
    if Command.ran_peers == []:
        print("skipped: no peer is installed; scripts/install-deps.sh installs Open MPI")
        sys.exit(SKIPPED)
