#!/usr/bin/env python3
"""What can be said of the CUDA kernels without a GPU: registers, spills, shared memory (from ptxas), and how the loops
that move data access memory (from the PTX).

    scripts/cuda_static_proof.py BUILD/cuda [--table]

Fails when a kernel spills, has a stack frame or uses local memory, when a loop that moves data accesses it in less than
16 bytes, when it has fewer loads on their way than it should before it uses the first, or when a loop that should be
there is not. The loops are marked in the source: TUTTI_PROOF_LOOP(kind, a, b) at the head of a loop's body.

    fold OP UNITS    two sources of UNITS vectors each; then further sources, a loop of their own:
    source OP UNITS  UNITS vectors of one more source
    copy 0 UNITS     one source
    sinks UNITS 0    UNITS vectors to one sink
    nvls OP UNITS    UNITS vectors through the switch
    ll128 0 PAIRS    the lanes that carry a line's flag have 8 bytes of data instead of 16
    quantize G UNITS a row of tokens in groups of G: UNITS vectors on their way; scales are 4 bytes or one
    terms 0 UNITS    UNITS vectors of one more row of a weighted sum; `sums` are the loops around it, which store vectors
    ll, edge         less than a vector, or not aligned: any width
    counts           a number per connection, no data: any width
"""
import argparse
import collections
import glob
import os
import re
import sys

OPS = {0: "sum", 1: "prod", 2: "max", 3: "min", 5: "mulsum"}
# Data: accesses without order. Flags, counters and LL lines are volatile, relaxed, acquire or release.
DATA = re.compile(r"\b(ld|st)\.global(?:\.L1::no_allocate)?(\.v[24])?\.[us](8|16|32|64)\b")
NVLS = re.compile(r"\b(multimem\.(?:ld_reduce|st))\S*?(\.v4)?\.(?:f16x2|bf16x2|[fusb]32|[fus]64)\b")
LOCAL = re.compile(r"\b(?:ld|st)\.local\b|\.local\s+\.align")
MARKER = re.compile(r"// tutti-loop: (\S+) (\d+) (\d+)")
LABEL = re.compile(r"^(\$L__\w+):")
BRANCH = re.compile(r"^(@!?%\w+\s+)?bra(?:\.uni)?\s+(\$L__\w+)")
ENDS = re.compile(r"^(?:ret|exit|trap);")
REGISTERS = re.compile(r"%\w+")
BULK = {"fold", "source", "copy", "sinks", "nvls", "ll128", "quantize", "terms", "sums"}

Marker = collections.namedtuple("Marker", "kind a b")


class Block:
    def __init__(self, label):
        self.label = label
        self.lines = []
        self.next = []
        self.markers = []


def blocks_of(lines):
    """Basic blocks of one kernel, in the order of the text."""
    blocks = [Block("entry")]
    falls = True

    def begin(label):
        if falls:
            blocks[-1].next.append(label)
        blocks.append(Block(label))

    for line in lines:
        line = line.strip()
        label = LABEL.match(line)
        if label:
            begin(label.group(1))
            falls = True
            continue
        marker = MARKER.search(line)
        if marker:
            blocks[-1].markers.append(Marker(marker.group(1), int(marker.group(2)), int(marker.group(3))))
        if not line or line.startswith("//") or line.startswith("."):
            if LOCAL.search(line):
                blocks[-1].lines.append(line)
            continue
        if not falls:
            begin(f"after {blocks[-1].label} {len(blocks)}")
            falls = True
        blocks[-1].lines.append(line)
        branch = BRANCH.match(line)
        if branch:
            blocks[-1].next.append(branch.group(2))
            falls = branch.group(1) is not None
            if falls:
                begin(f"after {blocks[-1].label} {len(blocks)}")
        elif ENDS.match(line):
            falls = False
    return blocks


def loops_of(blocks):
    """Natural loops: header -> set of block indices."""
    index = {block.label: i for i, block in enumerate(blocks)}
    after = [[index[name] for name in block.next if name in index] for block in blocks]
    before = [[] for _ in blocks]
    for i, successors in enumerate(after):
        for j in successors:
            before[j].append(i)
    order, seen, stack = [], {0}, [(0, iter(after[0]))]
    while stack:
        node, successors = stack[-1]
        for j in successors:
            if j not in seen:
                seen.add(j)
                stack.append((j, iter(after[j])))
                break
        else:
            order.append(node)
            stack.pop()
    order.reverse()
    place = {node: i for i, node in enumerate(order)}
    dominator = {0: 0}
    changed = True
    while changed:
        changed = False
        for node in order[1:]:
            new = None
            for p in before[node]:
                if p in dominator:
                    new = p if new is None else meet(dominator, place, new, p)
            if dominator.get(node) != new:
                dominator[node] = new
                changed = True
    loops = collections.defaultdict(set)
    for node in order:
        for head in after[node]:
            if dominates(dominator, head, node):
                body, work = {head}, [node]
                while work:
                    n = work.pop()
                    if n not in body:
                        body.add(n)
                        work.extend(p for p in before[n] if p in place)
                loops[head] |= body
    return loops


def meet(dominator, place, a, b):
    while a != b:
        while place[a] > place[b]:
            a = dominator[a]
        while place[b] > place[a]:
            b = dominator[b]
    return a


def dominates(dominator, a, b):
    while b != a and b != 0:
        b = dominator[b]
    return a == b


def in_flight(blocks, body):
    """Most loads of data that are issued before a register of one of them is read."""
    most = 0
    pending, count = set(), 0
    for i in sorted(body):
        for line in blocks[i].lines:
            load = DATA.search(line) if "ld." in line else None
            load = load or ("ld_reduce" in line and NVLS.search(line))
            registers = REGISTERS.findall(line)
            if load:
                target = line[line.index("{"):line.index("}")] if "{" in line else line.split(",")[0]
                pending.update(REGISTERS.findall(target))
                count += 1
                most = max(most, count)
            elif pending.intersection(registers):
                pending, count = set(), 0
    return most


def widths(blocks, body):
    """(loads, stores) of data: bytes -> number."""
    loads, stores = collections.Counter(), collections.Counter()
    for i in sorted(body):
        for line in blocks[i].lines:
            for access in DATA.finditer(line):
                vector = int(access.group(2)[2]) if access.group(2) else 1
                (loads if access.group(1) == "ld" else stores)[vector * int(access.group(3)) // 8] += 1
            for access in NVLS.finditer(line):
                wide = 16 if access.group(2) else 8 if "64 " in line else 4
                (loads if "ld_reduce" in access.group(1) else stores)[wide] += 1
    return loads, stores


def expected_flight(marker):
    return {"fold": 2 * marker.b, "source": marker.b, "copy": marker.b, "nvls": marker.b, "ll128": marker.b, "quantize": marker.b,
            "terms": marker.b}.get(marker.kind, 0)


def check_widths(marker, name, loads, stores, problems):
    used = set(loads) | set(stores)
    allowed = {16}
    if marker.kind == "ll128":
        allowed = {16, 8}
    if marker.kind == "quantize":
        allowed = {16, 4 if marker.a == 128 else 1, 1}
    if marker.kind == "nvls" and not re.search(r"Float(16|32)", name):
        allowed = {16, 8, 4}  # the hardware reduces integers and float64 one at a time
    if used - allowed:
        problems.append(f"{name}: loop {marker.kind} {marker.a} {marker.b} accesses data in {sorted(used - allowed)} bytes")


def check_kernel(name, lines, problems):
    """Returns the marked loops: (marker, loads, stores, in flight)."""
    blocks = blocks_of(lines)
    if any(LOCAL.search(line) for block in blocks for line in block.lines):
        problems.append(f"{name}: uses local memory")
    loops = loops_of(blocks)
    found = []
    marked = {}
    for i, block in enumerate(blocks):
        for marker in block.markers:
            around = [head for head, body in loops.items() if i in body]
            # A loop that is known to run once or less has been dissolved.
            head = min(around, key=lambda h: len(loops[h])) if around else None
            if head is None:
                continue
            if marked.setdefault(head, marker).kind != marker.kind and {marker.kind, marked[head].kind} & BULK:
                problems.append(f"{name}: loops {marker.kind} and {marked[head].kind} are one")
    for head, marker in marked.items():
        inner = set()
        for other, body in loops.items():
            if other != head and other in loops[head] and other in marked:
                inner |= body
        body = loops[head] - inner
        loads, stores = widths(blocks, body)
        flight = in_flight(blocks, body)
        found.append((marker, loads, stores, flight))
        if marker.kind not in BULK:
            continue
        check_widths(marker, name, loads, stores, problems)
        if flight < expected_flight(marker):
            problems.append(f"{name}: loop {marker.kind} {marker.a} {marker.b} has {flight} loads on their way, not "
                            f"{expected_flight(marker)}")
    for head, body in loops.items():
        nested = any(other != head and other in body for other in loops)
        if nested or head in marked or any(head in loops[m] for m in marked):
            continue
        loads, stores = widths(blocks, body)
        if loads and stores:
            problems.append(f"{name}: a loop at {blocks[head].label} moves data and is not marked")
    check_complete(name, [marker for marker, *_ in found], problems)
    return found


def check_complete(name, markers, problems):
    wanted = []
    if name.startswith(("tutti_plan_simple", "tutti_reduce_copy")):
        wanted = [("fold", op) for op in OPS] + [("source", op) for op in OPS] + [("copy", 0), ("sinks", None)]
    elif name.startswith("tutti_plan_inline"):
        wanted = [("ll", 0), ("ll128", 0)]
    elif name.startswith("tutti_nvls"):
        wanted = [("nvls", 0)]
    elif name in ("tutti_symmetric_copy", "tutti_symmetric_all_to_all_v"):
        wanted = [("copy", 0)]
    elif name in ("tutti_moe_stage", "tutti_moe_receive"):
        wanted = [("copy", 0), ("quantize", 128), ("quantize", 32)]
    elif name in ("tutti_moe_sum", "tutti_moe_gather"):
        wanted = [("terms", 0)]
    for kind, a in wanted:
        if not any(m.kind == kind and a in (None, m.a) for m in markers):
            problems.append(f"{name}: no loop {kind} {a} in the PTX")


def kernels_in(text):
    entries = re.split(r"^\.visible \.entry (\w+)\(", text, flags=re.M)
    return dict(zip(entries[1::2], (body.splitlines() for body in entries[2::2])))


def check_ptxas(text, problems):
    """Rows (kernel, arch, registers, shared memory)."""
    rows = []
    for part in re.split(r"Compiling entry function ", text)[1:]:
        name, arch = re.match(r"'(\w+)' for '(\w+)'", part).groups()
        stack, stores, loads = map(int, re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads",
                                                  part).groups())
        if stack or stores or loads:
            problems.append(f"{name} for {arch}: {stack} bytes of stack, {stores} + {loads} bytes of spills")
        shared = re.search(r"(\d+) bytes smem", part)
        rows.append((name, arch, int(re.search(r"Used (\d+) registers", part).group(1)), int(shared.group(1)) if shared else 0,
                     stores + loads))
    return rows


PLANTED = """
{head}.visible .entry tutti_planted(
$L__BB0_1:
\t// tutti-loop: copy 0 2
\tld.global.L1::no_allocate.v4.u32 {{%r1, %r2, %r3, %r4}}, [%rd1];
{middle}
\tst.global.v4.u32 [%rd2], {{%r1, %r2, %r3, %r4}};
\t@%p1 bra $L__BB0_1;
\tret;
"""
SECOND = "\tld.global.L1::no_allocate.v4.u32 {%r5, %r6, %r7, %r8}, [%rd3];"


def self_test():
    """Each rule must catch a planted fault, or a clean run means nothing."""
    def problems_of(middle):
        problems = []
        for name, lines in kernels_in(PLANTED.format(head="", middle=middle)).items():
            check_kernel(name, lines, problems)
        return problems
    assert problems_of(SECOND) == [], problems_of(SECOND)
    assert any("in [4] bytes" in p for p in problems_of(SECOND + "\n\tst.global.u32 [%rd4], %r5;"))
    assert any("1 loads on their way" in p for p in problems_of("\tadd.s32 %r9, %r1, 1;\n" + SECOND))
    assert any("local memory" in p for p in problems_of(SECOND + "\n\tst.local.u32 [%rd4], %r5;"))
    unmarked = problems_of(SECOND + "\n\t@%p2 bra $L__BB0_9;\n$L__BB0_8:\n\tld.global.u8 %rs1, [%rd1];\n\tst.global.u8 [%rd1], %rs1;"
                           "\n\t@%p3 bra $L__BB0_8;\n$L__BB0_9:")
    assert any("in [1] bytes" in p for p in unmarked), unmarked
    spilled = []
    check_ptxas("Compiling entry function 'k' for 'sm_80'\n 8 bytes stack frame, 4 bytes spill stores, 4 bytes spill loads\n"
                "Used 9 registers", spilled)
    assert len(spilled) == 1
    missing = []
    check_complete("tutti_nvls_kFloat16", [], missing)
    assert len(missing) == 1


def print_table(rows, loops):
    print(f"{'kernel':40} {'arch':7} {'registers':>9} {'shared':>7} {'spills':>7}")
    for name, arch, registers, shared, spills in sorted(rows):
        print(f"{name:40} {arch:7} {registers:9} {shared:7} {spills:7}")
    print(f"\n{'kernel':40} {'PTX':12} {'loop':16} {'loads':>12} {'stores':>12} {'in flight':>10}")
    for name, target, marker, loads, stores, flight in sorted(loops, key=lambda row: (row[0], row[1], row[2])):
        if marker.kind not in BULK:
            continue
        op = OPS.get(marker.a, "") if marker.kind in ("fold", "source", "nvls") else ""
        units = marker.a if marker.kind == "sinks" else marker.b
        text = [", ".join(f"{n} x {w} B" for w, n in sorted(found.items(), reverse=True)) for found in (loads, stores)]
        print(f"{name:40} {target:12} {f'{marker.kind} {op} {units}':16} {text[0]:>12} {text[1]:>12} {flight:10}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", help="where the build has put the modules, e.g. build/release/cuda")
    parser.add_argument("--table", action="store_true", help="print every kernel and loop")
    arguments = parser.parse_args()
    self_test()
    problems, rows, loops = [], [], []
    modules = sorted(glob.glob(os.path.join(arguments.directory, "*", "module.fatbin")))
    if not modules:
        print(f"no modules in {arguments.directory}: the library was built without nvcc")
        return 77  # skipped
    for module in modules:
        folder = os.path.dirname(module)
        with open(os.path.join(folder, "nvcc.txt"), encoding="utf-8") as file:
            rows += check_ptxas(file.read(), problems)
        for path in sorted(glob.glob(os.path.join(folder, "*.ptx"))):
            with open(path, encoding="utf-8") as file:
                text = file.read()
            target = re.search(r"^\.target (\w+)", text, flags=re.M).group(1)
            for name, lines in kernels_in(text).items():
                loops += [(name, target, *found) for found in check_kernel(name, lines, problems)]
    if arguments.table:
        print_table(rows, loops)
    for problem in problems:
        print(f"FAILED {problem}")
    print(f"{len(modules)} modules, {len(rows)} kernels, {len(loops)} loops, most registers "
          f"{max(row[2] for row in rows)}: {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
