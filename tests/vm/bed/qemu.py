"""The baseline lane: Debian's stock kernel under QEMU's own translator (no KVM)."""
import os
import re
import shutil

from bed import cache, qemu_image

BINARY = "qemu-system-x86_64"


def available():
    if shutil.which(BINARY) is None:
        raise cache.Unavailable(f"{BINARY} is not installed (Debian: qemu-system-x86)")


def key():
    return qemu_image.key()


def prepare():
    """The folder of the image, made if need be. Raises Unavailable."""
    available()
    return qemu_image.prepare()


def clock_hz_option():
    """Where no governor changes the clock, cpuinfo states the rate of the time stamp counter, and the guest need not measure it."""
    if os.path.isdir("/sys/devices/system/cpu/cpu0/cpufreq"):
        return ""
    with open("/proc/cpuinfo", encoding="utf-8") as info:
        match = re.search(r"^cpu MHz\s*:\s*([0-9.]+)", info.read(), re.MULTILINE)
    return f" tsc_early_khz={int(float(match.group(1)) * 1000)}" if match else ""


def command(image, job, request):
    """The command line that boots the image for a request, with its folder as bed.job makes it."""
    kernel_options = ("console=ttyS0 panic=-1 quiet nokaslr mitigations=off audit=0 apparmor=0 nowatchdog cryptomgr.notests "
                      f"rcupdate.rcu_expedited=1 tsc=reliable{clock_hz_option()} vm_lane=qemu")
    words = [BINARY, "-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max,la57=off", "-smp", str(request.cpus),
             "-m", request.memory, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
             "-kernel", f"{image}/vmlinux", "-initrd", f"{image}/initrd", "-append", kernel_options]
    words += ["-serial", "stdio"] if request.shell else ["-serial", f"file:{job}/console"]
    shares = (("root", "/", ",readonly=on,multidevs=remap"), ("job", f"{job}", ""), ("out", f"{job}/out", ""))
    for tag, path, options in shares:
        words += ["-fsdev", f"local,id={tag},path={path},security_model=none{options}",
                  "-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"]
    return words


def environment(_request):
    """What QEMU itself needs to find in its environment."""
    return {}
