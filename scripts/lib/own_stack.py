"""A server and a fleet of the test's own, for tests that are written in Python: see scripts/stack."""

import os
import pathlib
import signal
import socket
import subprocess

from gateway_say import check
from migrate_site import eventually

PROJECT = pathlib.Path(__file__).resolve().parent.parent.parent


def step(text):
    """A heading."""
    print(f"\n\033[1m== {text}\033[0m", flush=True)


def stack(*arguments, **more):
    """Runs scripts/stack."""
    done = subprocess.run([PROJECT / "scripts" / "stack", *arguments], cwd=PROJECT, text=True,
                          stdout=subprocess.PIPE, check=False, **more)
    check(done.returncode == 0, f"scripts/stack {' '.join(arguments)} ended with {done.returncode}")
    return done.stdout


def take_ports():
    """Free ports, whatever the environment names: another stack may run there."""
    names = {line.split()[2] for line in stack("parts").splitlines()} - {"KAFKA"}
    sockets = [socket.socket() for _ in range(len(names) + 40)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    free = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    for name in names:
        os.environ[f"STACK_{name}_PORT"] = str(free.pop())
    # Kafka takes the one above its own as well.
    os.environ["STACK_KAFKA_PORT"] = str(next(p for p in range(20000, 32000) if is_free(p) and is_free(p + 1)))


def is_free(port):
    """True if nobody listens there."""
    with socket.socket() as one:
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class Folder:
    """An embedded folder, and commands on it."""

    def __init__(self, path, rookery):
        self.path = path
        self.rookery = rookery
        self.process = None

    def environment(self, **settings):
        """Nothing of the one who runs the test but what a process needs."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        return {**kept, "DATA_DIR": str(self.path), "LOG_LEVEL": "warn", **settings}

    def serve(self, **settings):
        """Starts the server; answers where it is."""
        with open(self.path.with_suffix(".log"), "ab") as log:
            self.process = subprocess.Popen([self.rookery, "serve", "--port", "0"],
                                            env=self.environment(**settings), stdout=log, stderr=log)
        address = self.path / "rookery.addr"
        eventually("the embedded server listens", address.exists)
        return f"http://{address.read_text().strip()}"

    def stop(self):
        """Stops it as an operator would."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            check(self.process.wait(30) == 0, "the embedded server stops")
            self.process = None

    def run(self, *arguments, given=None, **settings):
        """A command, with its input: how it ended, what it printed, what it said."""
        done = subprocess.run([self.rookery, *arguments], env=self.environment(**settings), text=True,
                              input=given, capture_output=True, timeout=300, check=False)
        return done.returncode, done.stdout, done.stderr
