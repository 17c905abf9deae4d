"""Small services behind Traefik that say what arrived: the point of view that real ones don't have."""

import json
import socket
import threading
from http.client import parse_headers
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKENS = {"ada-token": ("1", "ada"), "bob-token": ("2", "bob")}
IDENTITY = ["X-User-Id", "X-User-Name", "X-User-Email", "X-User-Role", "X-Identity"]


class Stand(BaseHTTPRequestHandler):
    """The part that both kinds share."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body, headers=()):
        data = json.dumps(body).encode() if body is not None else b""
        self.send_response(status)
        kind = "application/json" if status < 400 else "application/problem+json"
        for name, value in [("Content-Type", kind), ("Content-Length", str(len(data))), *headers]:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def read_body(self):
        """Bytes that are not read would be taken for the next request."""
        body = b""
        if "chunked" in (self.headers.get("Transfer-Encoding") or ""):
            while length := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(length + 2)[:length]
            # Fields after the body count as those before it: a careless service would believe both.
            for name, value in parse_headers(self.rfile).items():
                self.headers[name] = value
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.bodies.append(body)

    def __getattr__(self, name):
        if name.startswith("do_"):
            return self.any
        raise AttributeError(name)


class Service(Stand):
    """Says what arrived. A few paths do as services do when something goes wrong."""

    def any(self):
        self.server.seen.append((self.command, self.path))
        self.read_body()
        # Python looks at the first of several.
        if "close" in str(self.headers.get_all("Connection")):
            self.close_connection = True
        path = self.path.split("?")[0].rstrip("/")
        if path.endswith("/api/auth/validate"):
            return self.validate()
        if path.endswith("/answer-500") or "answer=500" in self.path:
            return self.answer(500, {"error_code": "internal_error", "detail": "of the service"})
        if "answer=429" in self.path:
            return self.answer(429, {"error_code": "too_many_attempts", "detail": "of the service"},
                               [("Retry-After", "17"), ("X-Of-The-Service", "yes")])
        if path.endswith("/answer-503"):
            return self.answer(503, {"error_code": "store_unavailable", "detail": "of the service"},
                               [("Retry-After", "7")])
        if path.endswith("/answer-404"):
            return self.answer(404, {"error_code": "post_not_found"})
        if path.endswith("/hang-up"):
            self.close_connection = True
            return self.connection.close()
        if path.endswith("/large"):
            return self.answer(200, {"text": "x" * 5000})
        if path.endswith("/stream"):
            return self.stream()
        headers = [[name, value] for name, value in self.headers.items()]
        return self.answer(200, {
            "service": self.server.name, "method": self.command, "path": self.path,
            "id": self.headers.get("X-User-Id"), "headers": headers,
        })

    def stream(self):
        """One event at once, another when the test says that the first one came."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number in range(3):
            event = f"id: {number}\ndata: {number}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
            self.wfile.flush()
            if not self.server.go_on.wait(20):
                break
            self.server.go_on.clear()
        self.wfile.write(b"0\r\n\r\n")

    def validate(self):
        """As auth's: a token, none, or a bad one."""
        self.server.asked.append(dict(self.headers.items()))
        path = (self.headers.get("X-Forwarded-Uri") or "").split("?")[0].lower()
        if any(trick in path for trick in ("//", "/.", "\\", "%2e", "%2f", "%5c", "%00")):
            if not path.startswith("/.well-known/"):
                return self.answer(400, {"error_code": "bad_path"})
        said = self.headers.get_all("Authorization") or []
        if not said and "mode=optional" in self.path:
            return self.answer(200, None)
        token = said[0].removeprefix("Bearer ") if len(said) == 1 else ""
        if token not in TOKENS:
            code = "invalid_token" if said else "unauthenticated"
            return self.answer(401, {"error_code": code}, [("WWW-Authenticate", "Bearer")])
        id_, name = TOKENS[token]
        return self.answer(200, None, [
            ("X-User-ID", id_), ("X-User-Name", name), ("X-User-Email", f"{name}@example.org"),
            ("X-User-Role", "user"), ("X-Identity", f"assertion-of-{name}"),
        ])


class Listener(ThreadingHTTPServer):
    """Knows its connections, so that it can be gone at once."""

    daemon_threads = True

    def __init__(self, port):
        super().__init__(("127.0.0.1", port), Service)
        self.open = []

    def get_request(self):
        connection, peer = super().get_request()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.open.append(connection)
        return connection, peer

    def handle_error(self, request, client_address):
        """Traefik hangs up when it is stopped: nothing to tell."""

    def cut(self):
        """Ends what is open."""
        for connection in self.open:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it ended before


class Running:
    """A stand-in that listens on a free port of its own."""

    def __init__(self, name, port=0):
        self.server = Listener(port)
        self.server.name = name
        self.server.seen, self.server.asked, self.server.bodies = [], [], []
        self.server.go_on = threading.Event()
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def stop(self):
        """Nothing listens on the port any more."""
        self.server.shutdown()
        self.server.server_close()
        self.server.cut()
