"""The network between the hosts of one guest, as batches for ip(8) and rdma(8), and what a job may rely on.

Host h has on rail r the network device h<h>r<r> with address 10.<1+r>.0.<1+h> and the RDMA device <driver>_h<h>r<r>. A single host has
a dummy device per rail, two hosts have a veth pair per rail, more have a bridge per rail.

soft-RoCE works only in the first network namespace (Linux 6.1). So all hosts live there, and the kernel would short-cut what they send to
each other. Therefore the table of own addresses is asked only for packets that came in by a wire, and what a host sends is routed by its
source address, out of its own device."""
import dataclasses

MTU = 4200  # leaves room for RDMA's path MTU of 4096
SYSCTLS = {
    "net/core/netdev_max_backlog": 100000,
    "net/ipv4/conf/all/rp_filter": 0, "net/ipv4/conf/default/rp_filter": 0,
    "net/ipv4/conf/all/accept_local": 1, "net/ipv4/conf/default/accept_local": 1,
    "net/ipv6/conf/all/accept_dad": 0, "net/ipv6/conf/default/accept_dad": 0,
}


@dataclasses.dataclass(frozen=True)
class End:
    """A host's end of a rail."""
    host: int
    rail: int

    @property
    def device(self):
        return f"h{self.host}r{self.rail}"

    @property
    def address(self):
        return f"10.{1 + self.rail}.0.{1 + self.host}"

    @property
    def mac(self):
        return f"02:00:00:00:{self.rail:02x}:{1 + self.host:02x}"

    @property
    def table(self):
        return 100 + 10 * self.rail + self.host


def _wire(rail, ends):
    """The lines that make the devices of one rail."""
    add = [f"link add {end.device} mtu {MTU} address {end.mac} type " for end in ends]
    if len(ends) == 1:
        return [add[0] + "dummy"]
    if len(ends) == 2:
        return [add[0] + f"veth peer name {ends[1].device} mtu {MTU} address {ends[1].mac}"]
    lines = [f"link add rail{rail} mtu {MTU} type bridge", f"link set rail{rail} up"]
    for end, line in zip(ends, add):
        port = f"port_{end.device}"
        lines += [f"{line}veth peer name {port} mtu {MTU}", f"link set {port} master rail{rail} up"]
    return lines


def _routes(end, ends):
    """The lines for what a host sends on a rail, and for what comes in there."""
    lines = [f"rule add pref 10 iif {end.device} lookup local", f"rule add pref 30 from {end.address} lookup {end.table}",
             f"route add local {end.address} dev {end.device} table {end.table}"]
    for other in ends:
        if other != end:
            lines += [f"route add {other.address} dev {end.device} src {end.address} table {end.table}",
                      f"neigh replace {other.address} lladdr {other.mac} dev {end.device} nud permanent"]
    return lines


def _unbound(end, ends):
    """Who has not chosen a source address yet sends from the first host that is not the destination."""
    via = next(other for other in ends if other != end)
    return f"route add {end.address} dev {via.device} src {via.address}"


def _rails(hosts, rails):
    return [[End(host, rail) for host in range(hosts)] for rail in range(rails)]


def ip_batch(hosts, rails):
    lines = ["link set lo up"]
    for rail, ends in enumerate(_rails(hosts, rails)):
        lines += _wire(rail, ends)
        for end in ends:
            lines += [f"addr add {end.address}/32 dev {end.device}", f"link set {end.device} up"]
        if hosts > 1:
            for end in ends:
                lines += _routes(end, ends) + [_unbound(end, ends)]
    if hosts > 1:
        lines += ["rule add pref 20 to 127.0.0.0/8 lookup local", "rule add pref 40000 lookup local", "rule del pref 0"]
    return lines


def rdma_batch(hosts, rails, driver):
    return [f"link add {driver}_{end.device} type {driver} netdev {end.device}" for ends in _rails(hosts, rails) for end in ends]


def environment(lane, hosts, rails, driver):
    """The variables that a job finds."""
    values = {"TUTTI_VM": lane, "TUTTI_VM_HOSTS": hosts, "TUTTI_VM_RAILS": rails, "TUTTI_VM_DRIVER": driver,
              "TUTTI_VM_OUT": "/run/tutti-vm/out"}
    for host in range(hosts):
        ends = [End(host, rail) for rail in range(rails)]
        values[f"TUTTI_VM_DEVICES_{host}"] = " ".join(f"{driver}_{end.device}" for end in ends)
        values[f"TUTTI_VM_NETDEVS_{host}"] = " ".join(end.device for end in ends)
        values[f"TUTTI_VM_ADDRESSES_{host}"] = " ".join(end.address for end in ends)
    return values
