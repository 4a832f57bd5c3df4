"""The ways to boot a guest. Each module has prepare(), key(), command() and environment()."""
from bed import qemu, uml

LANES = {"qemu": qemu, "uml": uml}
