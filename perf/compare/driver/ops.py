"""The operations, their points, and how many bytes the machine has to move for each."""
from dataclasses import dataclass

FLOAT = 4
PEER_OPS = ("all_reduce", "all_reduce_in_place", "all_gather", "reduce_scatter", "broadcast", "all_to_all", "ping_pong")
NETWORK_OPS = PEER_OPS + ("send_recv",)  # between hosts
PAIRED_OPS = ("ping_pong", "send_recv")   # ranks 2k and 2k+1
TITLES = {
    "all_reduce": "AllReduce",
    "all_reduce_in_place": "AllReduce in place",
    "all_gather": "AllGather",
    "reduce_scatter": "ReduceScatter",
    "broadcast": "Broadcast, rotating root",
    "all_to_all": "AllToAll",
    "ping_pong": "ping-pong, one way",
    "send_recv": "sendrecv, both ways at once",
}
SIZES = tuple(8 * 4**k for k in range(13))  # 8 B ... 128 MiB
MANY_RANKS_SIZES = (8, 8 << 10, 1 << 20)
RANKS = (2, 4, 8)

# Bytes read and written in all, in units of the size, by 2 ranks whose memory is mapped in both: each input is
# read once and each output written once.
MOVED = {"all_reduce": 4, "all_reduce_in_place": 4, "all_gather": 3, "reduce_scatter": 3, "broadcast": 2, "all_to_all": 4,
         "ping_pong": 2, "send_recv": 4}
SPLIT_OPS = ("all_gather", "reduce_scatter", "all_to_all")  # the size is split between the ranks


@dataclass(frozen=True)
class Point:
    op: str
    size: int
    ranks: int

    @property
    def bytes(self):
        """The size, rounded up so that each rank has at least one whole element."""
        unit = FLOAT * self.ranks if self.op in SPLIT_OPS else FLOAT
        return (self.size + unit - 1) // unit * unit

    @property
    def wire_op(self):
        return "all_reduce" if self.op == "all_reduce_in_place" else self.op

    @property
    def buffer_bytes(self):
        """Of one rank."""
        return self.bytes if self.op in ("broadcast", "all_reduce_in_place") else 2 * self.bytes

    def __str__(self):
        return f"{TITLES[self.op]}, {self.ranks} ranks, {size_text(self.size)}"


def acceptance_points(ops=PEER_OPS, sizes=None, ranks=RANKS):
    """All points of an acceptance run that the filters leave."""
    points = []
    for n in ranks:
        for op in ops:
            for size in sizes or (SIZES if n == 2 else MANY_RANKS_SIZES):
                points.append(Point(op, size, n))
    return points


def size_text(size):
    for unit, name in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} B"


def parse_size(text):
    """8, 32K, 128M; raises ValueError."""
    text = text.strip().upper().removesuffix("IB").removesuffix("B")
    factor = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(text[-1:], 1)
    value = int(text[:-1] if factor > 1 else text) * factor
    if value < 8 or value % FLOAT:
        raise ValueError(f"sizes are multiples of {FLOAT}, from 8 bytes on; got {text}")
    return value
