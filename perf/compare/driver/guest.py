"""rdma in a guest kernel (tests/vm) beside ib_write_bw, and UCX's perftest where it is installed; tests/vm/throughput does the work."""
import os
import re
import shutil
import subprocess

from . import install

PACKAGES = {"ib_write_bw": "perftest", "ucx_perftest": "ucx-utils"}
SECONDS = 900


def program(name, allow_install):
    """Its path. Raises install.Missing."""
    if shutil.which(name) is None and allow_install:
        install.install_debian([PACKAGES[name]])
    path = shutil.which(name)
    if path is None:
        raise install.Missing(f"{name} is not installed (Debian: {PACKAGES[name]})")
    return path


def read(output):
    """Of what tests/vm/throughput prints: {name: [MB/s by round]}, {name: ratio of the medians}, and {name: why there is none}."""
    rates = {name: [float(v) for v in values.split()] for name, values in re.findall(r"^rate (\S+): ([\d. ]+) MB/s$", output, re.M)}
    ratios = {name: float(value) for name, value in re.findall(r"^ratio (\S+): ([\d.]+)$", output, re.M)}
    return rates, ratios, dict(re.findall(r"^skipped (\S+): (.*)$", output, re.M))


def measure(lane, paths, allow_install):
    """What the report shows: rates and ratios, or the reason why there are none."""
    out = {"lane": lane, "rates": {}, "ratios": {}, "skipped": {}}
    programs = {}
    for name in PACKAGES:
        try:
            programs[name] = program(name, allow_install)
        except install.Missing as reason:
            out["skipped"][name] = str(reason)
    if "ib_write_bw" not in programs:
        return out
    bed = os.path.join(install.ROOT, "tests", "vm")
    command = [os.path.join(bed, "run"), "--lane", lane, "--timeout", str(SECONDS)] + ([] if allow_install else ["--no-prepare"])
    command += ["--", os.path.join(bed, "throughput"), os.path.join(paths.build, "bin"), programs["ib_write_bw"]]
    command += [programs["ucx_perftest"]] if "ucx_perftest" in programs else []
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    out["rates"], out["ratios"], skipped = read(done.stdout)
    out["skipped"].update(skipped)
    if not out["ratios"]:
        last = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1]
        out["skipped"]["guest"] = f"status {done.returncode}: {last}"
    return out
