"""The image of lane uml: a User-Mode Linux kernel built from Debian's source, kept by itself since that takes minutes, and an initramfs."""
import os
import pathlib
import shutil
import subprocess

from bed import cache, processes

BUILD_S = 3000
SOURCE = "linux-source-6.1"
CONFIG = cache.BED / "uml.config"
RECIPE = 2  # to be raised when the kernel is built in another way
# Bytes of a process's floating-point registers. The source has room for AVX-512; AMX takes 11,008, and the host takes back all or nothing.
REGISTERS = ("arch/x86/um/user-offsets.c", "DEFINE_LONGS(HOST_FP_SIZE, 2696);", "DEFINE_LONGS(HOST_FP_SIZE, 12288);")
TOOLS = {"xz": "xz-utils", "gcc": "gcc", "make": "make", "flex": "flex", "bison": "bison", "bc": "bc", "strip": "binutils"}


def wanted_options():
    return [line for line in CONFIG.read_text(encoding="utf-8").splitlines() if line.startswith("CONFIG_")]


def unpack_source(deb, work):
    """The source tree out of the archive in the package."""
    cache.call(["dpkg", "-x", deb, work / "package"], cache.UNPACK_S)
    archive = work / "package" / "usr" / "src" / f"{SOURCE}.tar.xz"
    cache.call(["tar", "-xJf", archive, "-C", work], cache.UNPACK_S)
    return work / SOURCE


def widen_registers(source):
    path, narrow, wide = REGISTERS
    text = (source / path).read_text(encoding="utf-8")
    if narrow not in text:
        raise cache.Unavailable(f"{SOURCE}'s {path} has no line '{narrow}'")
    (source / path).write_text(text.replace(narrow, wide), encoding="utf-8")


def configure(make, build, work):
    """Everything off but what uml.config asks for; refuses a kernel that lacks any of it."""
    wanted = work / "wanted.config"
    wanted.write_text("".join(line + "\n" for line in wanted_options()), encoding="utf-8")
    cache.call([*make, f"KCONFIG_ALLCONFIG={wanted}", "allnoconfig"], cache.UNPACK_S)
    taken = set((build / ".config").read_text(encoding="utf-8").splitlines())
    lost = [line for line in wanted_options() if line not in taken]
    if lost:
        raise cache.Unavailable(f"{SOURCE} does not take from uml.config: {' '.join(lost)}")


def compile_kernel(make, log):
    """Builds with a log file, which for an error is what tells."""
    with open(log, "wb") as out:
        try:
            done = subprocess.run([*map(str, make), f"-j{os.cpu_count()}", "linux"], stdin=subprocess.DEVNULL, stdout=out,
                                  stderr=subprocess.STDOUT, timeout=BUILD_S, check=False, preexec_fn=processes.bound_to_us())
        except subprocess.TimeoutExpired as late:
            raise cache.Unavailable(f"the kernel was not built within {BUILD_S} s") from late
    if done.returncode != 0:
        last = log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:]
        raise cache.Unavailable("building the kernel failed: " + " / ".join(last))


def kernel_key():
    return cache.key_of(RECIPE, *REGISTERS, *wanted_options())


def key():
    """Changes with whatever decides what is in the image, besides the packages."""
    return cache.key_of(pathlib.Path(__file__), pathlib.Path(cache.__file__), kernel_key(), cache.BED / "guest" / "init")


def make_kernel(packages, work):
    for tool, package in TOOLS.items():
        if shutil.which(tool) is None:
            raise cache.Unavailable(f"{tool} is not installed (Debian: {package})")
    source = unpack_source(packages.download(SOURCE, work), work)
    widen_registers(source)
    build = work / "build"
    build.mkdir()
    make = ["make", "-s", "-C", source, "ARCH=um", f"O={build}"]
    configure(make, build, work)
    compile_kernel(make, work / "log")
    cache.call(["strip", "-o", work / "image" / "linux", build / "linux"], 60)


def kernel(packages, version):
    """The folder of the built kernel."""
    with cache.locked("uml-kernel") as folder:
        name = f"{SOURCE}_{version}-{kernel_key()}"
        if (folder / name / "complete").exists():
            return folder / name
        return cache.build(folder, name, lambda work: make_kernel(packages, work))


def make_image(packages, version, work):
    shutil.copy(kernel(packages, version) / "linux", work / "image" / "linux")
    cache.write_initrd(cache.unpack_busybox(packages, work), work / "tree", work / "image" / "initrd")


def prepare():
    """The folder of the image, made if need be. Raises Unavailable."""
    with cache.locked("uml") as folder:
        found = cache.find("uml", key())
        if found:
            return found
        packages = cache.Packages()
        if packages.candidate(SOURCE) is None:
            packages.refresh()
        version = packages.candidate(SOURCE)
        if version is None:
            raise cache.Unavailable(f"no package {SOURCE} in apt's lists")
        return cache.build(folder, f"{SOURCE}_{version}-{key()}", lambda work: make_image(packages, version, work))
