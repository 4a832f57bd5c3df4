"""Traffic for the tests of the test bed.

    pump.py serve PORT                     a sink for TCP, which answers with how much came, and a counter of UDP; says "ready", ends with its input
    pump.py tcp ADDRESS PORT BYTES         seconds to send so much until the answer has come
    pump.py udp ADDRESS PORT N             sends N datagrams 50 µs apart, and prints how many came
    pump.py echo ADDRESS PORT N            sends N numbered datagrams one by one and prints the median round trip in seconds
    pump.py order ADDRESS PORT N           sends N numbered datagrams 100 µs apart; prints how many came, how often more than once, how many late
    pump.py probe ADDRESS PORT SECONDS     "reached" or why not
    pump.py trickle ADDRESS PORT           sends a byte every 10 ms until the connection breaks, says "trickling" and why it broke
"""
import socket
import sys
import threading
import time

BLOCK = bytes(65536)


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def sink(connection):
    total = 0
    with connection:
        try:
            while data := connection.recv(1 << 20):
                total += len(data)
            connection.sendall(str(total).encode())
        except OSError:
            pass


def count_datagrams(port):
    counter = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    counter.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    counter.bind(("::", port))
    count = 0
    while True:
        data, sender = counter.recvfrom(2048)
        if data.startswith(b"echo"):
            counter.sendto(data, sender)
        elif data == b"how many":
            counter.sendto(str(count).encode(), sender)
        elif data == b"reset":
            count = 0
        else:
            count += 1


def accept(listener):
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=sink, args=(connection,), daemon=True).start()


def serve(port):
    listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    threading.Thread(target=count_datagrams, args=(port,), daemon=True).start()
    threading.Thread(target=accept, args=(listener,), daemon=True).start()
    print("ready", flush=True)
    sys.stdin.read()


def tcp(address, port, total):
    start = time.monotonic()
    with socket.create_connection((address, port), timeout=30) as connection:
        left = total
        while left:
            left -= connection.send(BLOCK[:left])
        connection.shutdown(socket.SHUT_WR)
        came = int(connection.recv(100))
    if came != total:
        sys.exit(f"{came} bytes of {total} came")
    print(time.monotonic() - start)


def udp(address, port, n):
    with socket.socket(family_of(address), socket.SOCK_DGRAM) as out:
        out.connect((address, port))
        for _ in range(10):
            out.send(b"reset")
        for _ in range(n):
            out.send(b"x" * 100)
            time.sleep(50e-6)
        out.settimeout(0.2)
        for _ in range(50):
            out.send(b"how many")
            try:
                print(int(out.recv(100)))
                return
            except TimeoutError:
                pass
    sys.exit("no answer")


def echo(address, port, n):
    times = []
    with socket.socket(family_of(address), socket.SOCK_DGRAM) as out:
        out.connect((address, port))
        out.settimeout(5)
        for i in range(n):
            start = time.monotonic()
            out.send(b"echo%d" % i)
            out.recv(100)
            times.append(time.monotonic() - start)
    print(sorted(times)[n // 2])


def order(address, port, n):
    """Numbers go there and come back; only what happens to one direction should be set, or both count."""
    came = []
    with socket.socket(family_of(address), socket.SOCK_DGRAM) as out:
        out.connect((address, port))
        out.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)

        def collect():
            out.settimeout(1)
            try:
                while True:
                    came.append(int(out.recv(100)[4:]))
            except TimeoutError:
                pass

        collector = threading.Thread(target=collect)
        collector.start()
        for i in range(n):
            out.send(b"echo%d" % i)
            time.sleep(100e-6)
        collector.join()
    late = sum(came[i] < max(came[:i], default=-1) for i in range(1, len(came)) if came[i] not in came[:i])
    print(len(set(came)), len(came) - len(set(came)), late)


def probe(address, port, seconds):
    try:
        with socket.create_connection((address, port), timeout=seconds):
            print("reached")
    except OSError as error:
        print(error)


def trickle(address, port):
    with socket.create_connection((address, port), timeout=30) as connection:
        print("trickling", flush=True)
        try:
            while True:
                connection.send(b"x")
                time.sleep(0.01)
        except OSError as error:
            print(error, flush=True)


if __name__ == "__main__":
    kind, words = sys.argv[1], sys.argv[2:]
    {"serve": lambda: serve(int(words[0])), "tcp": lambda: tcp(words[0], int(words[1]), int(words[2])),
     "echo": lambda: echo(words[0], int(words[1]), int(words[2])), "order": lambda: order(words[0], int(words[1]), int(words[2])),
     "udp": lambda: udp(words[0], int(words[1]), int(words[2])), "probe": lambda: probe(words[0], int(words[1]), float(words[2])),
     "trickle": lambda: trickle(words[0], int(words[1]))}[kind]()
