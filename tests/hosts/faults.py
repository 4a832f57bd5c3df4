"""What can be done to the network of a test bed while it runs. Each takes a host and a rail; heal() takes everything back.

Loss and blackholes are nft rules where frames enter: at the host's device for what comes to it, at the switch's port for what it sends, so that
no sender is told. Over a chaos switch there is no port: what the host sends is dropped as it leaves.
"""

INGRESS, EGRESS = "ingress", "egress"


class Faults:
    """Mixed into hosts.Bed."""

    # --- shaping ---
    def shape(self, host, rail, rate, burst="256k", latency="50ms", kind="tbf"):
        """Both directions of the host's cable get `rate` ("1gbit", "100mbit"). `kind` is tbf, or htb where a queue's length should not count in time."""
        for run, device in self._ends(host, rail):
            if kind == "tbf":
                run(["tc", "qdisc", "replace", "dev", device, "root", "tbf", "rate", rate, "burst", burst, "latency", latency])
            elif kind == "htb":
                run(["tc", "-batch", "-"],
                    f"qdisc replace dev {device} root handle 1: htb default 1\n"
                    f"class replace dev {device} parent 1: classid 1:1 htb rate {rate} burst {burst} cburst {burst}\n")
            else:
                raise ValueError(f"kind={kind!r}: expected tbf or htb")

    def unshape(self, host, rail):
        for run, device in self._ends(host, rail):
            if any(word in run(["tc", "qdisc", "show", "dev", device, "root"]) for word in ("tbf", "htb")):
                run(["tc", "qdisc", "del", "dev", device, "root"])

    # --- loss ---
    def loss(self, host, rail, fraction):
        """Drops this fraction of the TCP, UDP and ICMP packets in both directions, at random; 0 ends it."""
        per_10000 = round(fraction * 10000)
        if not 0 <= per_10000 <= 10000:
            raise ValueError(f"fraction={fraction}: expected 0 to 1")
        rule = f"meta l4proto {{ tcp, udp, icmp, ipv6-icmp }} numgen random mod 10000 < {per_10000} counter drop"
        self._rules("loss", host, rail, rule if per_10000 else None)

    # --- failures ---
    def link(self, host, rail, up):
        """Pulls or plugs the cable at the switch: the host sees its carrier go. Over a chaos switch the host's own device goes down."""
        state = "up" if up else "down"
        if self.with_chaos:
            self.net_run(host, ["ip", "link", "set", f"eth{rail}", state])
            if up:  # a device that goes down forgets its IPv6 addresses
                self.net_run(host, ["ip", "addr", "replace", f"{self.address(host, rail, 6)}/64", "dev", f"eth{rail}", "nodad"])
        else:
            self.switch_run(["ip", "link", "set", self.port(host, rail), state])

    def blackhole(self, host, rail, on=True):
        """Everything on this cable vanishes, while the link looks well."""
        self._rules("hole", host, rail, "counter drop" if on else None)

    def blackhole_port(self, host, port, on=True):
        """TCP and UDP from and to this port of the host vanish, on all rails."""
        rule = f"meta l4proto {{ tcp, udp }} th sport {port} counter drop; meta l4proto {{ tcp, udp }} th dport {port} counter drop"
        for rail in range(self.rails):
            self._rules(f"port{port}", host, rail, rule if on else None)

    def kill_sockets(self, host, *which):
        """Breaks TCP connections of the host at once; `which` in the words of ss: "dport", "=", ":5000". Returns how many."""
        lines = self.net_run(host, ["ss", "-K", "-H", "-t", "-n", "state", "established", *which]).splitlines()
        return len(lines)

    def heal(self, host=None):
        """Takes back what the above has done, to one host or to all."""
        for name in [host] if host else self.names:
            for rail in range(self.rails):
                self.unshape(name, rail)
                self.link(name, rail, up=True)
            for run, listed in ((lambda argv, n=name: self.net_run(n, argv), "tutti_"),
                                (self.switch_run, f"tutti_{name}_")):
                for line in run(["nft", "list", "tables"]).splitlines():
                    table = line.split()[-1]
                    if table.startswith(listed):
                        run(["nft", "delete", "table", "netdev", table])

    # --- what has happened ---
    def sent_bytes(self, host, rail):
        """What the host has sent on this rail since the start, with Ethernet's headers."""
        return self._statistic(host, rail, "tx_bytes")

    def received_bytes(self, host, rail):
        return self._statistic(host, rail, "rx_bytes")

    def _statistic(self, host, rail, name):
        with open(f"/proc/{self.pid(host)}/net/dev", encoding="ascii") as file:
            for line in file:
                device, _, numbers = line.strip().partition(":")
                if device == f"eth{rail}":
                    return int(numbers.split()[{"rx_bytes": 0, "tx_bytes": 8}[name]])
        raise RuntimeError(f"{host} has no eth{rail}")

    def _ends(self, host, rail):
        """Both ends of a cable, as (what runs a tool there, device)."""
        yield lambda argv, text=None: self.net_run(host, argv, text), f"eth{rail}"
        if not self.with_chaos:
            yield self.switch_run, self.port(host, rail)

    def _rules(self, kind, host, rail, rule):
        """Replaces the fault `kind` of the cable by `rule`; None takes it away."""
        name = f"tutti_{host}_{kind}_{rail}"
        for i, (run, device) in enumerate(self._ends(host, rail)):
            hooks = [INGRESS, EGRESS] if self.with_chaos and i == 0 else [INGRESS]
            text = f"add table netdev {name}\ndelete table netdev {name}\n"
            if rule is not None:
                chains = "".join(f"  chain {hook} {{ type filter hook {hook} device \"{device}\" priority 0; policy accept; {rule}; }}\n"
                                 for hook in hooks)
                text += f"table netdev {name} {{\n{chains}}}\n"
            run(["nft", "-f", "-"], text)
