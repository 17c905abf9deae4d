"""The front and Traefik, as they are deployed, in front of stand-ins."""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile

from gateway_http import request, send
from gateway_say import eventually, fail
from gateway_standins import Running

PROJECT = pathlib.Path(__file__).resolve().parent.parent.parent


def services():
    """The names of all services."""
    return [line.split()[0] for line in (PROJECT / "deploy/services").read_text().splitlines()]


def free_port():
    """One that nobody listens on right now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Edge:
    """The front and Traefik in front of stand-ins, in a folder that is gone afterwards."""

    def __init__(self, traefik, agent=None, **settings):
        """With the address of a Consul agent services are found there."""
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="rookery-gateway-"))
        self.services = {name: Running(name) for name in services()}
        self.web, self.secure, self.admin = free_port(), free_port(), free_port()
        self.address, self.secure_address = ("127.0.0.1", self.web), ("127.0.0.1", self.secure)
        self.children = []
        front = free_port()
        urls = {name: service.url for name, service in self.services.items()}
        rookery = os.environ.get("ROOKERY", str(PROJECT / "target" / "debug" / "rookery"))
        self.run("front", [
            rookery, "front", "--port", str(front),
            "--service", ",".join(f"{name}={url}" for name, url in urls.items()),
        ])
        subprocess.run(
            ["bash", "-euc", ". scripts/lib/say.sh; . scripts/lib/traefik.sh; traefik_config \"$@\"", "-",
             str(self.folder), str(self.web), str(self.secure), str(self.admin),
             "traefik.consul.yml" if agent else "traefik.yml"],
            cwd=PROJECT, check=True,
        )
        environment = {
            "FRONT_URL": f"http://127.0.0.1:{front}",
            "CONSUL_HTTP_ADDR": agent or "",
            "RATE_LIMIT_AVERAGE": "0",
            "LOGIN_RATE_LIMIT_AVERAGE": "100000",
            "LOGIN_RATE_LIMIT_BURST": "100000",
        }
        # The middlewares ask auth where its address says, whoever registered.
        for name, url in urls.items() if not agent else [("auth", urls["auth"])]:
            environment[name.upper().replace("-", "_") + "_URL"] = url
        environment.update({key.upper(): value for key, value in settings.items()})
        self.run("traefik", [traefik, f"--configFile={self.folder}/traefik.yml"], environment)
        eventually("Traefik has its routers", self.is_up)

    def run(self, name, command, environment=None):
        log = open(self.folder / f"{name}.log", "wb")
        child = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            cwd=self.folder, env={**os.environ, **(environment or {})},
        )
        self.children.append(child)

    def log(self, name):
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def is_up(self):
        for child in self.children:
            if child.poll() is not None:
                fail(f"{child.args[0]} ended: {self.log('traefik')}{self.log('front')}")
        try:
            answer = send(("127.0.0.1", self.admin), request("GET", "/api/http/routers?per_page=1000"))
            front = send(self.address, request("GET", "/no-such-path"))
        except OSError:
            return False
        names = [router["name"] for router in answer.json() or []]
        # A site that is reached by HTTPS only answers with a redirect.
        return any("posts-get" in name for name in names) and front.status in (301, 308, 404)

    def ask(self, method, target, lines=(), token=None, body=b"", host="gateway", tls=False):
        """A request, by plain HTTP unless it is said otherwise."""
        address = self.secure_address if tls else self.address
        return send(address, request(method, target, lines, body, token, host), tls)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for child in reversed(self.children):
            child.send_signal(signal.SIGTERM)
        for child in self.children:
            try:
                child.wait(20)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        for service in self.services.values():
            service.stop()
        shutil.rmtree(self.folder)
