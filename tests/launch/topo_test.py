# SPDX-License-Identifier: Apache-2.0
"""`tutti topo`: what it prints can be read back, and what can't be read is refused by name."""
import json
import os
import subprocess
import sys

TUTTI = sys.argv[1]
MACHINES = os.environ.get("TUTTI_TEST_TOPOLOGIES", sys.argv[2])
IMAGES = sys.argv[3]
# What the documentation shows.
PICTURES = {"dgx-1v.svg": "dgx-1v", "dgx-a100-x2.svg": "dgx-a100 x2"}
# Two GPUs with two NVLinks, which both name.
NCCL = """<?xml version="1.0"?>
<!-- made by hand -->
<system version="1">
  <cpu numaid="0" affinity="f" arch="x86_64" vendor="GenuineIntel" familyid="6" modelid="143">
    <pci busid="0000:01:00.0" class="0x030200" link_speed="32.0 GT/s PCIe" link_width="16">
      <gpu dev="0" sm="90" rank="0" gdr="1"><nvlink target="0000:02:00.0" count="2" tclass="0x030200"/></gpu>
    </pci>
    <pci busid="0000:02:00.0" class="0x030200" link_speed="32.0 GT/s PCIe" link_width="16">
      <gpu dev="1" sm="90" rank="1" gdr="1"><nvlink target="0000:01:00.0" count="2" tclass="0x030200"/></gpu>
    </pci>
  </cpu>
</system>
"""


def topo(*arguments, text=None):
    return subprocess.run([TUTTI, "topo", *arguments], input=text, capture_output=True, text=True, timeout=60, check=False)


def check(what, condition, output):
    if not condition:
        print(f"{what}\n{output.stdout}\n{output.stderr}")
        sys.exit(1)


def round_trip(*machine):
    written = topo("--as", "json", *machine)
    check(f"{machine} has no JSON", written.returncode == 0 and written.stdout.startswith("{"), written)
    again = topo("--as", "json", "--from", "-", text=written.stdout)
    check(f"JSON of {machine} does not survive", again.stdout == written.stdout, again)
    if not machine:
        return  # memory and speeds of a live machine differ between looks
    tree = topo("--from", "-", text=written.stdout)
    check(f"tree of {machine} differs from that of its JSON", tree.stdout == topo(*machine).stdout, tree)


def nccl_xml():
    tree = topo("--from", "-", text=NCCL)
    check("no two NVLinks", "nvlink 20.6 GB/s: gpu:0000:01:00.0 ↔ gpu:0000:02:00.0 ×2\n" in tree.stdout, tree)
    written = topo("--from", "-", "--as", "nccl-xml", text=NCCL)
    check("NCCL XML is not written", written.stdout.startswith('<system version="1">\n'), written)
    again = topo("--from", "-", text=written.stdout)
    check("NCCL XML does not survive", again.stdout == tree.stdout, again)
    own = topo("--as", "nccl-xml")
    check("this machine has no NCCL XML", "<cpu " in own.stdout and topo("--from", "-", text=own.stdout).returncode == 0, own)


def machines_of_a_job():
    """Three ranks of one host see it once, and rank 0 alone prints."""
    run = subprocess.run([TUTTI, "run", "-n", "3", TUTTI, "topo", "--as", "json"], capture_output=True, text=True, timeout=120, check=False)
    check("no topology of the job", run.returncode == 0 and run.stdout.startswith("{"), run)
    kinds = [node["kind"] for node in json.loads(run.stdout)["nodes"]]
    check("not one machine in a cluster", kinds[0] == "cluster" and kinds.count("machine") == 1, run)
    run = subprocess.run([TUTTI, "run", "-n", "2", TUTTI, "topo", "--fabric"], capture_output=True, text=True, timeout=120, check=False)
    check("--fabric in a job", run.returncode != 0 and "without a launcher" in run.stderr, run)


def public_machine():
    path = os.path.join(MACHINES, "rccl", "topo_16p1h.xml")
    if not os.path.exists(path):
        return f"without public machines: {path} is not there; set TUTTI_TEST_TOPOLOGIES"
    tree = topo("--from", path)
    check("no xGMI links", "xgmi 36 GB/s" in tree.stdout and " ×4," in tree.stdout, tree)
    return "with public machines"


def pictures():
    own = topo("--as", "svg")
    check("this machine has no picture", own.returncode == 0 and own.stdout.startswith("<svg xmlns="), own)
    for name, machine in PICTURES.items():
        path = os.path.join(IMAGES, name)
        with open(path, encoding="utf-8") as file:
            shown = file.read()
        drawn = topo("--synthetic", machine, "--as", "svg")
        check(f'{path} is not what the command draws; renew it: tutti topo --synthetic "{machine}" --as svg > {path}', drawn.stdout == shown, drawn)


def refused(word, *arguments, text=None):
    output = topo(*arguments, text=text)
    check(f"{arguments} accepted", output.returncode in (1, 2) and output.stdout == "" and word in output.stderr, output)


BACK_TO_BACK = """Ca 1 "H-0000000000000001"  # "a mlx5_0"
[1](2) "H-0000000000000003"[1](4)  # lid 1 lmc 0 "b mlx5_0" lid 2 4xNDR
Ca 1 "H-0000000000000003"  # "b mlx5_0"
[1](4) "H-0000000000000001"[1](2)  # lid 2 lmc 0 "a mlx5_0" lid 1 4xNDR
"""


def fabric():
    output = topo("--from", "-", text=BACK_TO_BACK)
    check("ibnetdiscover's output is not read", output.returncode == 0 and "a/nic:mlx5_0:1 \u2194 b/nic:mlx5_0:1" in output.stdout, output)
    # With a fabric or without one, which is then said.
    output = topo("--fabric")
    found = "net_switch" in output.stdout or "network" in output.stdout
    check("--fabric says nothing of a fabric", output.returncode == 0 and (found or "fabric: " in output.stdout), output)
    refused("--fabric", "--fabric", "--synthetic", "host")


def what_if():
    boxes = ("--synthetic", "dgx-a100 x2")
    tree = topo(*boxes, "--gpus", "0,3,8", "--change", "down box0/nic0; lanes box0/nic3=8/16, slow box1/gpu0 box1/nvswitch=150")
    for line in ("network down: box0/nic0 ↔ rail0", "pcie 12.5 GB/s: box0/gpu3 ↔ box0/nic3", "nvlink 150 GB/s: box1/gpu0 ↔ box1/nvswitch"):
        check(f"no {line}", f"  {line}\n" in tree.stdout, tree)
    check("more than 3 GPUs", "gpu1 " not in tree.stdout, tree)
    # By the same numbers and names after a round trip.
    again = topo("--from", "-", "--gpus", "0", "--change", "slow nic0=1", text=topo("--as", "json", "--synthetic", "dgx-a100").stdout)
    check("a file can't be changed", "pcie 1 GB/s: gpu0 ↔ nic0" in again.stdout, again)
    refused("box0/nic3, box1/nic3", *boxes, "--change", "down nic3")
    refused("from 0 to 15, got 16", *boxes, "--gpus", "0,16")
    refused("--gpus", *boxes, "--gpus", "0,a")
    refused("empty", *boxes, "--change", "")


def main():
    round_trip()
    fabric()
    for machine in ("host", "host cores=8 numa=2 nics=2", "dgx-1v", "dgx-a100", "dgx-h100 x4 fabric=rail", "host x3 cores=4 nics=1 fabric=flat",
                    "gb200-nvl72", "mi250 x2 fabric=rail-spine spines=2 sharp=1", "pcie nics=2 x2 fabric=fat-tree"):
        round_trip("--synthetic", machine)
    what_if()
    pictures()
    machines_of_a_job()
    # A script's empty variable must not show this machine instead.
    refused("empty", "--synthetic", "")
    refused("empty", "--from", "")
    refused("dgx-a100", "--synthetic", "dgx-b200")
    refused("cores=0", "--synthetic", "host cores=0")
    refused("nope.json", "--from", "nope.json")
    nccl_xml()
    machines = public_machine()
    refused("tutti_topology", "--from", "-", text="{}")
    refused("NCCL XML (begins with <system>)", "--from", "-", text="<graphs/>")
    refused("standard input:2: <cpu> numaid", "--from", "-", text='<system version="1">\n<cpu/></system>')
    refused("NVSwitch", "--synthetic", "dgx-a100 x2", "--as", "nccl-xml")
    refused("line 1", "--from", "-", text='{"a":')
    refused("line 2", "--from", "-", text="# a comment\n[1]")
    print(f"topo: ok, {machines}")


if __name__ == "__main__":
    main()
