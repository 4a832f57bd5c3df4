"""Children that end with their parent, however that ends."""
import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def die_with(parent, how):
    """Asks the kernel to send us `how` when the parent dies; the parent may be dead already."""
    if _libc.prctl(_PR_SET_PDEATHSIG, how, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        os.kill(os.getpid(), how)


def bound_to_us():
    """A preexec_fn: the child is killed when this process ends. Call it before the fork, use what it returns."""
    parent = os.getpid()
    return lambda: die_with(parent, signal.SIGKILL)
