"""Starts and controls the chaos switch (chaos_switch.cc) of a rail of the test bed."""
import os
import socket
import subprocess

ANSWER_SECONDS = 10


class ChaosControl:
    """Talks to the switch's control socket, one line to ask and one to answer; see `chaos_switch --help` for the words."""

    def __init__(self, path, process=None):
        self.path = path
        self._process = process  # only where the bed is owned

    @classmethod
    def start(cls, bed, rail, program):
        path = os.path.join(bed.folder, f"chaos{rail}")
        ports = [bed.port(host, rail) for host in bed.names]
        process = subprocess.Popen(["nsenter", "--target", str(bed.pid("switch")), "--net", "--", program, "--control", path, *ports],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        line = process.stdout.readline()
        if line != b"ready\n":
            process.kill()
            process.wait()
            raise RuntimeError(f"{program} did not start: {line.decode(errors='replace').strip() or 'see its error above'}")
        return cls(path, process)

    def __call__(self, *words):
        """Sends one command and returns the answer; throws what the switch complains about."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as control:
            control.settimeout(ANSWER_SECONDS)
            control.connect(self.path)
            control.sendall((" ".join(str(word) for word in words) + "\n").encode())
            answer = b""
            while not answer.endswith(b"\n"):
                more = control.recv(65536)
                if not more:
                    raise RuntimeError(f"the chaos switch hung up on {words}")
                answer += more
        text = answer.decode().strip()
        if text.startswith("error"):
            raise RuntimeError(f"chaos switch: {text} (asked: {' '.join(str(word) for word in words)})")
        return text.removeprefix("ok").strip()

    def end(self):
        self._process.stdin.close()  # it ends with its input
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
