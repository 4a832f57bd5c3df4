"""The image of lane qemu: Debian's kernel out of its package, and an initramfs with the modules that soft-RoCE needs."""
import lzma
import pathlib
import re
import shutil
import struct

from bed import cache

# Modules by name; what these depend on is found in the modules themselves, except for what the kernel would ask a modprobe for.
MODULES = ["virtio_pci", "9pnet_virtio", "9p", "overlay", "crc32_generic", "crc32c_generic", "veth", "dummy", "bridge", "sch_netem",
           "sch_tbf", "rdma_rxe", "rdma_ucm"]
OPTIONS = {"dummy": "numdummies=0"}


def key():
    """Changes with whatever decides what is in the image, besides the packages."""
    return cache.key_of(pathlib.Path(__file__), pathlib.Path(cache.__file__), cache.BED / "guest" / "init")


def unpack_kernel(vmlinuz, target):
    """Writes the ELF kernel inside a bzImage, which QEMU enters at once; a guest that unpacks it by itself takes seconds."""
    image = vmlinuz.read_bytes()
    setup_sectors = image[0x1F1]
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (setup_sectors + 1) * 512 + offset
    try:
        kernel = lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(image[start:start + length])
    except lzma.LZMAError:
        kernel = image
    target.write_bytes(kernel if kernel[:4] == b"\x7fELF" else image)


def module_order(tree):
    """Paths of the modules in the order in which they have to be loaded."""
    paths = {path.stem.replace("-", "_"): path for path in tree.rglob("*.ko")}
    order = []

    def add(name, wanted_by):
        if name not in paths:
            raise cache.Unavailable(f"the kernel package has no module {name}, which {wanted_by} needs")
        if paths[name] in order:
            return
        depends = re.search(rb"\0depends=([^\0]*)\0", paths[name].read_bytes())
        for other in filter(None, depends.group(1).decode().split(",") if depends else []):
            add(other.replace("-", "_"), name)
        order.append(paths[name])

    for wanted in MODULES:
        add(wanted, "the test bed")
    return order


def make_image(packages, kernel, work):
    deb = packages.download(kernel, work)
    busybox = cache.unpack_busybox(packages, work)
    cache.call(["dpkg", "-x", deb, work / "kernel"], cache.UNPACK_S)
    vmlinuz = next((work / "kernel" / "boot").glob("vmlinuz-*"))
    unpack_kernel(vmlinuz, work / "image" / "vmlinux")
    tree = work / "tree"
    (tree / "modules").mkdir(parents=True)
    order = module_order(work / "kernel" / "lib" / "modules")
    for path in order:
        shutil.copy(path, tree / "modules" / path.name)
    (tree / "modules" / "order").write_text("".join(f"{path.name} {OPTIONS.get(path.stem, '')}\n" for path in order), encoding="utf-8")
    cache.write_initrd(busybox, tree, work / "image" / "initrd")


def kernel_package(packages):
    for name in packages.depends("linux-image-amd64"):
        if name.startswith("linux-image-"):
            return name
    return None


def prepare():
    """The folder of the image, made if need be. Raises Unavailable."""
    with cache.locked("qemu") as folder:
        found = cache.find("qemu", key())
        if found:
            return found
        packages = cache.Packages()
        kernel = kernel_package(packages)
        if kernel is None:
            packages.refresh()
            kernel = kernel_package(packages)
        if kernel is None:
            raise cache.Unavailable("no package linux-image-amd64 in apt's lists")
        name = f"{kernel}_{packages.candidate(kernel)}-{key()}"
        return cache.build(folder, name, lambda work: make_image(packages, kernel, work))
