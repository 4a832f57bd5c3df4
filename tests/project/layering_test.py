"""The rules of the house that a compiler does not check: who may include whom, where the system is reached, licence lines."""
import os
import re
import sys

ROOT = sys.argv[1] if len(sys.argv) > 1 else "."

# Folder -> folders it may include besides itself, src/base and include/tutti.
ALLOWED = {
    "src/base": set(),
    "src/plan": set(),
    "topology": set(),
    "src/kernels": set(),
    "src/device": set(),
    "src/bootstrap": set(),
    "src/verify": {"src/plan", "topology"},
    "src/planner": {"src/plan", "src/verify", "topology"},
    "src/trace": {"src/plan", "src/kernels"},
    "transport": {"src/device"},
    "src/exec": {"src/plan", "src/planner", "src/verify", "src/device", "src/kernels", "transport"},
    "src/comm": {"src/plan", "src/planner", "src/verify", "src/device", "src/kernels", "src/exec", "src/bootstrap",
                 "src/trace", "transport", "topology"},
    "src/moe": {"src/comm", "src/kernels", "src/trace", "src/device", "src/exec", "transport"},
    "src/transfer": {"src/device", "transport"},
    "src/api": {"src/comm", "src/moe", "src/transfer", "src/plan", "src/planner", "src/kernels", "src/device", "src/exec", "src/bootstrap",
                "src/trace", "transport", "topology"},
    "src/api/nccl": {"src/api", "transport"},
}
# A whole folder is allowed above, but only through these headers.
ONLY = {("src/exec", "transport"): {"transport/transport.h", "transport/fifo.h"},
        ("src/exec", "src/planner"): {"src/planner/planner.h"},
        ("src/trace", "src/kernels"): {"src/kernels/dtypes.h", "src/kernels/ops.h"},
        ("transport", "src/device"): {"src/device/device.h"},
        ("src/moe", "src/device"): {"src/device/cuda/driver.h", "src/device/cuda/gpu.h", "src/device/cuda/memory.h",
                                    "src/device/cuda/stream.h"},
        ("src/moe", "src/exec"): {"src/exec/cuda/moe.h", "src/exec/cuda/symmetric.h"},
        ("src/api/nccl", "transport"): {"transport/transport.h"}}
# Parts of a folder that reach further than the rest of it: by all headers that begin so.
FURTHER = {("transport/cuda_p2p", "src/device"): "src/device/cuda/"}

# The system's clock, waiting, sockets and liveness, and the environment: src/base only.
SYSTEM = re.compile(
    r"\b(clock_gettime|clock_nanosleep|nanosleep|usleep|gettimeofday|std::chrono::\w*clock|std::this_thread::sleep\w*|"
    r"SYS_futex\w*|epoll_\w+|eventfd|timerfd_\w+|pidfd_open|SYS_pidfd\w*|getenv|secure_getenv|"
    r"std::condition_variable\w*|getsockname|getpeername|getsockopt|setsockopt|getaddrinfo|freeaddrinfo|getnameinfo|"
    r"gethostbyname\w*|getifaddrs|inet_[a-z]+)\b|"
    r"(?<![\w.>:])::?(poll|ppoll|select|socket|socketpair|connect|bind|listen|accept4?|kill|sleep|send|sendto|sendmsg|"
    r"recv|recvfrom|recvmsg|shutdown)\(|"
    r"(?:^|[=(!;,{]|&&|\|\||\breturn\b)\s*(?:socket|socketpair|connect)\(")
# Headers that only src/base needs for that.
SYSTEM_HEADER = re.compile(r"^\s*#\s*include\s+[<\"](netdb\.h|ifaddrs\.h|arpa/inet\.h|net/if\.h|netinet/\w+\.h|"
                           r"sys/(socket|un|epoll|eventfd|timerfd)\.h|src/base/sockaddr\.h)[>\"]")

# What drives a network technology holds its sockets and descriptors itself: they are what it is for. Clocks, liveness and
# the environment it reaches through src/base like everybody.
DRIVERS = ("transport/tcp/", "transport/rdma/", "transport/ucx/", "transport/nccl_net/", "transport/network/network_thread.cc")
OF_DRIVERS = re.compile(r"epoll|eventfd|sock|bind|connect|listen|accept|msg|shutdown|::poll|condition_variable|getpeername|"
                        r"ifaddrs|net/if\.h|netinet|netdb|addrinfo")

LICENCE = "SPDX-License-Identifier: Apache-2.0"
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"')


def folder_of(path):
    if path.startswith("src/api/nccl/"):
        return "src/api/nccl"
    parts = path.split("/")
    return "/".join(parts[:2]) if parts[0] == "src" else parts[0]


def sources():
    for top in ("include", "src", "transport", "topology"):
        for directory, _, names in os.walk(os.path.join(ROOT, top)):
            for name in sorted(names):
                if name.endswith((".h", ".hpp", ".cc", ".c", ".cu")):
                    yield os.path.relpath(os.path.join(directory, name), ROOT)


def check_includes(path, lines, problems):
    own = folder_of(path)
    for number, line in enumerate(lines, 1):
        match = INCLUDE.match(line)
        if not match or match.group(1).startswith("tutti/"):
            continue
        target = match.group(1)
        other = folder_of(target)
        if other in (own, "src/base"):
            continue
        if own == "include":
            problems.append(f"{path}:{number}: a public header includes {target}")
        elif other not in ALLOWED.get(own, set()):
            problems.append(f"{path}:{number}: {own} may not include {other} ({target})")
        elif target.startswith(FURTHER.get((os.path.dirname(path), other), "\0")):
            continue
        elif (own, other) in ONLY and target not in ONLY[(own, other)]:
            problems.append(f"{path}:{number}: {own} may include {other} only by {sorted(ONLY[(own, other)])}, not {target}")


def strip_comment(line):
    return re.sub(r'"(\\.|[^"\\])*"', '""', line).split("//")[0]


def check_system(path, lines, problems):
    if folder_of(path) == "src/base":
        return
    for number, line in enumerate(lines, 1):
        match = SYSTEM_HEADER.match(line) or SYSTEM.search(strip_comment(line))
        if match and path.startswith(DRIVERS) and OF_DRIVERS.search(match.group(0)):
            continue
        if match:
            problems.append(f"{path}:{number}: {match.group(0)} is reached only through src/base")


def check_head(path, lines, problems):
    if not lines or LICENCE not in lines[0]:
        problems.append(f"{path}:1: the first line is not the licence line ({LICENCE})")
    elif len(lines) < 2 or not re.match(r"\s*(//|/\*)\s*\S+", lines[1]):
        problems.append(f"{path}:2: no sentence that says what the file is for")


def self_test():
    """Each rule must catch a planted fault, or a clean tree means nothing."""
    planted = []
    check_includes("src/plan/x.cc", ['#include "src/exec/task.h"'], planted)
    check_includes("src/exec/x.cc", ['#include "transport/shm/hub.h"'], planted)
    check_system("src/exec/x.cc", ["  clock_gettime(CLOCK_MONOTONIC, &t);"], planted)
    check_system("transport/x.cc", ["  ::poll(&p, 1, 5);"], planted)
    check_system("transport/tcp/x.cc", ["  clock_gettime(CLOCK_MONOTONIC, &t);", "  ::poll(&p, 1, 5);"], planted)
    check_head("src/plan/x.cc", ["#pragma once"], planted)
    check_includes("src/api/x.cc", ['#include "src/api/nccl/forward.h"'], planted)
    check_includes("src/api/nccl/x.cc", ['#include "src/comm/window.h"'], planted)
    check_includes("transport/shm/x.cc", ['#include "src/device/cuda/gpu.h"'], planted)
    check_includes("transport/cuda_p2p/x.cc", ['#include "src/device/cuda/gpu.h"', '#include "src/plan/plan.h"'], planted)
    assert len(planted) == 10, planted
    for fault in ("::getsockname(fd, a, &n)", "getaddrinfo(h, 0, &i, &l);", "gethostbyname(h)", "fd = socket(1, 2, 3);",
                  "if (connect(fd, a, n) != 0)", "(void)::socket(1, 2, 3)", '#include <netdb.h>',
                  '#include "src/base/sockaddr.h"'):
        found = []
        check_system("src/bootstrap/x.cc", [fault], found)
        assert len(found) == 1, (fault, found)
    for fine in ("Socket& socket() noexcept { return socket_; }", "link->socket().send_all(x);",
                 "Socket::connect(to, kind, d);", "std::unique_ptr<SendConnection> connect(const Id& id);",
                 "transport.connect(id);", "// ::socket(1, 2, 3)"):
        found = []
        check_system("src/bootstrap/x.cc", [fine], found)
        assert not found, (fine, found)


def main():
    self_test()
    problems = []
    count = 0
    for path in sources():
        count += 1
        with open(os.path.join(ROOT, path), encoding="utf-8") as file:
            lines = file.read().splitlines()
        check_includes(path, lines, problems)
        check_system(path, lines, problems)
        check_head(path, lines, problems)
    print("\n".join(problems))
    print(f"{count} files, {len(problems)} problems")
    return 1 if problems or count == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
