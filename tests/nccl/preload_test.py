"""libnccl.so.2 in a process that was not built with it: by LD_PRELOAD and by LD_LIBRARY_PATH. Argument: the folder of the library."""
import os
import subprocess
import sys
import tempfile

CHILD = """
import ctypes, sys
nccl = ctypes.CDLL(None if sys.argv[1] == 'preloaded' else 'libnccl.so.2')
try:
    ctypes.CDLL(None).tuttiGetVersion
    sys.exit('tuttiGetVersion is visible')
except AttributeError:
    pass
nccl.ncclGetLastError.restype = ctypes.c_char_p
def check(result):
    if result: sys.exit('result %d: %s' % (result, nccl.ncclGetLastError(None)))
class Id(ctypes.Structure):
    _fields_ = [('internal', ctypes.c_char * 128)]
version, identity, comm = ctypes.c_int(), Id(), ctypes.c_void_p()
check(nccl.ncclGetVersion(ctypes.byref(version)))
check(nccl.ncclGetUniqueId(ctypes.byref(identity)))
nccl.ncclCommInitRank.argtypes = [ctypes.c_void_p, ctypes.c_int, Id, ctypes.c_int]
check(nccl.ncclCommInitRank(ctypes.byref(comm), 1, identity, 0))
x, y = (ctypes.c_float * 4)(1, 2, 3, 4), (ctypes.c_float * 4)()
check(nccl.ncclAllReduce(x, y, ctypes.c_size_t(4), 7, 0, comm, None))
check(nccl.ncclCommDestroy(comm))
print(version.value, list(y))
"""


def run(how, **environment):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("NCCL_", "TUTTI_LOG"))}
    return subprocess.run([sys.executable, "-c", CHILD, how], env={**clean, **environment}, capture_output=True, text=True, timeout=100,
                          check=False)


def main():
    folder = sys.argv[1]
    library = os.path.join(folder, "libnccl.so.2")
    problems = []

    def expect(what, condition, result):
        if not condition:
            problems.append(f"{what}: exit {result.returncode}\n{result.stdout}{result.stderr}")

    for how, environment in (("preloaded", {"LD_PRELOAD": library}), ("found", {"LD_LIBRARY_PATH": folder})):
        result = run(how, **environment)
        expect(how, result.returncode == 0 and result.stdout.strip() == "22809 [1.0, 2.0, 3.0, 4.0]" and not result.stderr, result)

    with tempfile.TemporaryDirectory() as scratch:
        result = run("found", LD_LIBRARY_PATH=folder, NCCL_DEBUG="INFO", NCCL_DEBUG_FILE=scratch + "/log.%p", NCCL_NTHREADS="64")
        logs = [open(os.path.join(scratch, name), encoding="utf-8").read() for name in os.listdir(scratch)]
        expect("NCCL_DEBUG_FILE", result.returncode == 0 and len(logs) == 1 and "stands in for NCCL" in logs[0] and
               "NCCL_NTHREADS has no effect" in logs[0], result)

    result = run("found", LD_LIBRARY_PATH=folder, NCCL_ALGO="NVLS")
    expect("NCCL_ALGO", result.returncode == 0 and "NCCL_ALGO='NVLS'" in result.stderr, result)
    result = run("found", LD_LIBRARY_PATH=folder, NCCL_ALGO="NVLS", TUTTI_ALGO="ring")
    expect("TUTTI_ALGO", result.returncode == 0 and not result.stderr, result)
    print("\n".join(problems) or "loaded in every way")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
