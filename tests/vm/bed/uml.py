"""The fast lane: User-Mode Linux with soft-RoCE and siw. One processor, little translated."""
import os
import shutil
import tempfile

from bed import cache, uml_image


def available():
    """The finished kernel needs nothing of the machine."""


def key():
    return uml_image.key()


def prepare():
    """The folder of the image, made if need be. Raises Unavailable."""
    return uml_image.prepare()


def command(image, job, request):
    """The command line that boots the image for a request, with its folder as bed.job makes it."""
    words = [f"{image}/linux", f"mem={request.memory}", f"initrd={image}/initrd", "rdinit=/init", "con=null", "ssl=null", "quiet",
             "dummy.numdummies=0", f"uml_dir={job}/", "vm_lane=uml", f"vm_job={job}"]
    words += ["con0=fd:0,fd:1"] if request.shell else ["con0=null,fd:1"]
    return namespace() + words


def namespace():
    """The words before the kernel's that give it a process namespace: its helpers and the guest's processes, which are processes of this
    machine too, end with it, however it ends."""
    words = ["unshare", "--pid", "--fork", "--kill-child=KILL"]
    if os.geteuid() != 0:
        words[1:1] = ["--user", "--map-root-user"]
    try:
        cache.call([*words, "true"], 10)
    except cache.Unavailable as refused:
        raise cache.Unavailable(f"User-Mode Linux needs a process namespace, so that nothing of it is left behind: {refused}") from refused
    return [*words, "--"]


def _bytes(memory):
    return int(memory[:-1]) << {"M": 20, "G": 30}[memory[-1]]


def environment(request):
    """The guest's memory is an unlinked file, in shared memory where that has room."""
    folder = "/dev/shm"
    if not os.access(folder, os.W_OK) or shutil.disk_usage(folder).free < _bytes(request.memory):
        folder = tempfile.gettempdir()
    return {"TMPDIR": folder}
