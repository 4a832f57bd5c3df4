"""The command line."""
import argparse
import json
import os
import sys

from . import install, network, network_report, ops, report, run, settings, svg, verdict

EPILOG = """
examples
  compare                                a whole run: every operation, size and number of ranks (25 minutes)
  compare --quick                        does it work? (less than a minute)
  compare --ops all_reduce --sizes 8,32K,8M --ranks 2 --peers openmpi,mpich
  compare --peers tutti --ops ping_pong --variant small:TUTTI_SLOT_BYTES=16384 --variant pull:TUTTI_PULL_MIN_BYTES=1M
  compare --runs 3 --out results         three runs, judged together as the acceptance asks
  compare report results/*.json          judge and draw again what has been measured
  compare list                           the peers and their settings
  compare --network                      over networks: 2 and 3 hosts made of namespaces, against Open MPI, Gloo and iperf3 (needs root)
  compare --network --guest              and rdma in a guest kernel, against ib_write_bw

reading the tables
  best peer     Tutti's time over that of the fastest peer at its fastest setting in the same round; median of the rounds
  default       the same over the fastest peer as installed
  floor         the same over what the machine can do: bytes that must move, at the rate at which both cores copy
  less than 1 is faster. docs/howto/compare-with-peers.md says more.
"""


def parser():
    p = argparse.ArgumentParser(prog="compare", formatter_class=argparse.RawDescriptionHelpFormatter, epilog=EPILOG,
                                description="Measures Tutti against other communication libraries and against this machine's limits, "
                                            "in turns within one run, checks every result, and judges.")
    p.add_argument("what", nargs="?", choices=("run", "list", "report"), default="run",
                   help="run (the default); list: show peers and settings; report: read earlier results")
    p.add_argument("files", nargs="*", help="with report: JSON files of runs, judged together")
    choose = p.add_argument_group("what to measure")
    choose.add_argument("--network", action="store_true", help="over networks, one rank on each of 2 and 3 hosts, instead of on one host")
    choose.add_argument("--guest", nargs="?", const="uml", choices=("uml", "qemu"), metavar="LANE",
                        help="with --network: rdma in a guest kernel too (tests/vm), lane uml (the default) or qemu")
    choose.add_argument("--ops", help=f"comma-separated: {', '.join(ops.NETWORK_OPS)} (the last between hosts only)")
    choose.add_argument("--sizes", help="comma-separated bytes, as nccl-tests counts them: 8,32K,128M (default: 8 to 128M by x4)")
    choose.add_argument("--ranks", help="comma-separated (default: 2,4,8; more than 2 only at 8, 8K and 1M unless --sizes is given; "
                                        "with --network the number of hosts)")
    choose.add_argument("--peers", help=f"comma-separated peers or settings: {', '.join(settings.PEERS)}, openmpi/default, ...")
    choose.add_argument("--variant", action="append", default=[], metavar="NAME:VAR=VALUE,...",
                        help="measure Tutti with these environment variables too, as tutti/NAME; may be repeated")
    how = p.add_argument_group("how")
    how.add_argument("--budget", type=float, default=23, metavar="MINUTES", help="time of one run; scales iterations (default: 23)")
    how.add_argument("--rounds", type=int, default=7, help="rounds per point (default: 7, and down to 5 when time is short); an acceptance needs 5")
    how.add_argument("--runs", type=int, default=1, help="whole runs one after the other, judged together (default: 1)")
    how.add_argument("--quick", action="store_true", help="few sizes, 2 rounds, 2 ranks: a smoke test")
    how.add_argument("--pages", choices=("4k", "huge"), default="4k", help="pages of all peers' ordinary user buffers (default: 4k)")
    how.add_argument("--offset", type=int, default=0, metavar="BYTES", help="of every user buffer from a page's start (default: 0)")
    how.add_argument("--placement", choices=("auto", "pinned", "free"), default="auto",
                     help="auto: rank r on CPU r while there are enough CPUs, else left to the system; for all peers alike")
    how.add_argument("--streams", type=int, default=2, metavar="N", help="with --network: of iperf3, and TUTTI_TCP_SOCKETS (default: 2)")
    how.add_argument("--rate", metavar="RATE", help="with --network: shape every cable, such as 1gbit")
    how.add_argument("--seed", type=int, default=1, help="of the values in the buffers")
    how.add_argument("--accept", action="store_true",
                     help="end with 1 unless everything that the acceptance asks for was measured and holds")
    files = p.add_argument_group("files")
    files.add_argument("--out", default=None, metavar="FOLDER", help="where results go (default: build/compare/results)")
    files.add_argument("--build", default=os.path.join(install.ROOT, "build", "release"), metavar="FOLDER", help="build folder of Tutti")
    files.add_argument("--cache", default=os.path.join(install.ROOT, "build", "compare"), metavar="FOLDER",
                       help="where wheels and the peers' programs are kept")
    files.add_argument("--no-install", action="store_true", help="use what is there; install nothing")
    return p


def parse(arguments):
    p = parser()
    options = p.parse_args(arguments)
    if options.files and options.what != "report":
        p.error(f"unexpected {options.files[0]}")
    known = ops.NETWORK_OPS if options.network else ops.PEER_OPS
    names = options.ops.split(",") if options.ops else []
    for name in names:
        if name not in known:
            p.error(f"no operation is called {name}; there are {', '.join(known)}")
    try:
        sizes = [ops.parse_size(s) for s in options.sizes.split(",")] if options.sizes else None
        ranks = [int(r) for r in options.ranks.split(",")] if options.ranks else None
    except ValueError as error:
        p.error(f"a number was expected: {error}")
    if any(r < 2 or (r % 2 and not options.network) for r in ranks or []):
        p.error("--ranks takes even numbers (ping-pong is between pairs)")
    if (options.guest or options.rate) and not options.network:
        p.error("--guest and --rate belong to --network")
    if options.rounds < 1 or options.runs < 1 or options.budget <= 0 or options.offset % 4 or options.offset < 0:
        p.error("--rounds, --runs and --budget are positive, --offset is a multiple of 4")
    if not 1 <= options.streams <= 16:
        p.error("--streams takes 1 to 16")
    if options.quick:
        if options.network:
            sizes, ranks = sizes or [1 << 20], ranks or [2]
        sizes, ranks = sizes or [8, 32 << 10, 1 << 20], ranks or [2]
        options.rounds, options.budget = 2, 0.5
    choose_settings(p, options)
    options.points = network.points(names, sizes, ranks) if options.network else \
        ops.acceptance_points(names or ops.PEER_OPS, sizes, ranks or ops.RANKS)
    options.out = options.out or os.path.join(options.cache, "results")
    return options


def choose_settings(p, options):
    """Whose jobs are started."""
    peers = options.peers.split(",") if options.peers else None
    among, variant = (network.SETTINGS, network.variant) if options.network else (settings.SETTINGS, settings.variant)
    try:
        options.settings = settings.select(peers, among) + [variant(text) for text in options.variant]
    except ValueError as error:
        p.error(str(error))
    if options.network:
        options.settings = [network.with_streams(s, options.streams) for s in options.settings]


def load(files):
    results = []
    for name in files:
        try:
            with open(name, encoding="utf-8") as stream:
                results.append(json.load(stream))
        except (OSError, ValueError) as error:
            sys.exit(f"compare: cannot read {name}: {error}")
        if "points" not in results[-1]:
            sys.exit(f"compare: {name} is not a result of this command")
    return results


def conclude(results, folder, accept):
    """Prints the report of all runs together and writes it and the plots; returns the exit code."""
    if any("network" in r for r in results):
        return conclude_network(results, folder, accept)
    judged = verdict.judge(results)
    write_report("report", report.text(results, judged), judged, folder)
    for name in svg.write_all(results, judged, folder):
        print(f"wrote {name}")
    passed = not judged["doubts"] and all(a["verdict"] == "PASS" for a in judged["acceptance"])
    return 1 if accept and not passed else 0


def write_report(name, text, judged, folder):
    """Prints it, and writes it as text and as data."""
    print(text)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name + ".txt"), "w", encoding="utf-8") as stream:
        stream.write(text + "\n")
    with open(os.path.join(folder, name + ".json"), "w", encoding="utf-8") as stream:
        json.dump(judged, stream, indent=1)


def conclude_network(results, folder, accept):
    """The same for runs over networks."""
    if not all("network" in r for r in results):
        sys.exit("compare: these are runs of two kinds, on one host and with --network; report them one kind at a time")
    judged = network_report.judge(results)
    write_report("network-report", network_report.text(results, judged), judged, folder)
    for name in network_report.write_plots(judged, folder):
        print(f"wrote {name}")
    passed = all(holds for holds, _ in network_report.verdict(judged))
    return 1 if accept and not passed else 0


def main(arguments):
    options = parse(arguments)
    if options.what == "list":
        print(settings.table())
        print("\nwith --network\n" + settings.table(network.SETTINGS))
        print("\n* the peer's default setting")
        return 0
    if options.what == "report":
        if not options.files:
            sys.exit("compare: which results? e.g. compare report build/compare/results/run-*.json")
        return conclude(load(options.files), options.out, options.accept)
    if options.network and network.refusal():
        print(f"compare: skipped: {network.refusal()}")
        return network.SKIPPED
    results = run.runs(options, network.NetworkRun if options.network else run.Run)
    return conclude(results, options.out, options.accept) if results else 130
