"""The bandwidth binaries on simulated GPUs: one thread with several, threads with several each, processes; the table of the host's, the devices in the
header, and how the place of the ranks is chosen.

    bandwidth_test.py BIN
"""
import importlib.util
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
# Reads tables as scripts written for nccl-tests do.
spec = importlib.util.spec_from_file_location("bench_test", os.path.join(HERE, "..", "launch", "bench_test.py"))
bench = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bench)
RANK = re.compile(r"^#  Rank\s+(\d+) Group\s+0 Pid\s+\d+ on\s+\S+ device\s+(\d+) \[([^\]]*)\] (.+)$", re.M)
SHORT = ["-n", "2", "-w", "1", "-c", "1"]


def check_devices(output, devices):
    lines = RANK.findall(output)
    bench.check(f"expected ranks on devices {devices}", [int(device) for _, device, _, _ in lines] == devices, output)
    for _, _, bus, name in lines:
        bench.check("a bus and a name", re.fullmatch(r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}", bus) and "NVIDIA" in name, output)


def test_eight_gpus_of_one_thread():
    for name in ("all_reduce", "alltoall", "sendrecv"):
        output = bench.run([bench.path(name + "_perf"), "-g", "8", "-b", "1K", "-e", "64K", "-f", "8", *SHORT])
        bench.check_table(output, 3, 8)
        check_devices(output, list(range(8)))


def test_every_binary():
    for name in bench.BINARIES:
        output = bench.run([bench.path(name + "_perf"), "-t", "2", "-g", "2", "-b", "64", "-e", "16K", "-f", "256", *SHORT])
        bench.check_table(output, 2, 4)
        check_devices(output, [0, 1, 2, 3])


def test_processes():
    output = bench.run([bench.path("tutti"), "run", "-n", "2", bench.path("all_reduce_perf"), "-g", "2", "-b", "1K", "-e", "1K", "-m", "2", "-z", "1", *SHORT])
    bench.check_table(output, 1, 4)
    check_devices(output, [0, 1, 2, 3])


def test_types_and_options():
    output = bench.run([bench.path("all_reduce_perf"), "-g", "2", "-b", "1K", "-e", "1K", "-d", "half", "-o", "all", "-u", "1", "-I", "1", *SHORT])
    bench.check_table(output, 6, 2)


def test_place():
    short = [bench.path("all_reduce_perf"), "-g", "2", "-b", "64", "-e", "64", *SHORT]
    for options, variable, devices in (([], "3", [3, 4]), (["--device", "gpu"], "host", [0, 1])):
        check_devices(bench.run([*short, *options], {"TUTTI_DEVICE": variable}), devices)
    for options, env in ((["--device", "host"], {}), ([], {"TUTTI_DEVICE": "host"}), ([], {"CUDASIM_TOPOLOGY": ""}), (["-g", "9"], {})):
        output = bench.run([*short, *options], env)
        bench.check("ranks of the host", "[host]" in output and "NVIDIA" not in output, output)
    bench.run([*short, "--device", "gpu", "-g", "9"], expect=1)
    bench.run([*short, "-R", "1"], expect=1)


def main():
    for name, test in list(globals().items()):
        if name.startswith("test_"):
            test()
            print(f"ok: {name[5:]}", flush=True)


if __name__ == "__main__":
    main()
