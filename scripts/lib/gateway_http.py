"""HTTP written by hand, byte for byte: the tests of the gateway send what a client library would mend on the
way."""

import functools
import json
import socket
import ssl


class Answer:
    """A response as it came."""

    def __init__(self, raw):
        head, _, self.body = raw.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        if head.split(b" ")[1:2] == [b"100"]:  # go on sending; the answer follows
            return self.__init__(self.body)
        words = lines[0].split(" ")
        self.status = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
        self.headers = [tuple(line.split(": ", 1)) for line in lines[1:] if ": " in line]
        if (self.header("transfer-encoding") or "").lower() == "chunked":
            self.body = unchunk(self.body)

    def header(self, name):
        """The first value of a header, or None."""
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        return values[0] if values else None

    def json(self):
        """The body as JSON; an empty object when it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return {}

    def __repr__(self):
        return f"{self.status} {self.headers} {self.body[:400]!r}"


def unchunk(body):
    """The content of a chunked body."""
    whole = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size.split(b";")[0] or b"0", 16)
        if length == 0:
            break
        whole += rest[:length]
        body = rest[length + 2 :]
    return whole


def connect(address, tls=False, protocol=None):
    """A connection to (host, port)."""
    connection = socket.create_connection(address, timeout=15)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if tls:
        connection = trusting(protocol).wrap_socket(connection, server_hostname="localhost")
    return connection


@functools.cache
def trusting(protocol):
    """TLS for whatever certificate there is: it does not matter here who signed it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if protocol:
        context.set_alpn_protocols([protocol])
    return context


def send(address, request, tls=False):
    """Sends bytes, reads until the other side closes."""
    with connect(address, tls) as connection:
        raw = b""
        try:
            connection.sendall(request)
            while chunk := connection.recv(65536):
                raw += chunk
        except (ConnectionError, TimeoutError):
            pass  # what came until then is the answer
        return Answer(raw)


def request(method, target, lines=(), body=b"", token=None, host="gateway"):
    """The bytes of a request whose headers are exactly `lines` and what it can't do without."""
    head = [f"{method} {target} HTTP/1.1", f"Host: {host}", *lines]
    if token is not None:
        head.append(f"Authorization: Bearer {token}")
    if body:
        head += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    elif any(line.startswith("Transfer-Encoding:") for line in lines):
        body = b"0\r\n\r\n"
    head.append("Connection: close")
    return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body
