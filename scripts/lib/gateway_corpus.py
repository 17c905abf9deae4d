"""Every way to claim to be somebody else that a proxy was ever fooled by. Whatever answers, each case
must end in one of two ways: 4xx, or the identity of the token that was sent."""

from gateway_http import request, send

# Header lines of one request; {id} is the account that is claimed.
FORGED = [
    ["X-User-ID: {id}"],
    ["x-user-id: {id}"],
    ["X-USER-ID: {id}"],
    ["X_User_ID: {id}"],
    ["x_user_id: {id}"],
    ["X-User_Id: {id}"],
    ["X_User-Id: {id}"],
    ["X.User.ID: {id}"],
    ["XUserID: {id}"],
    ["X-UserID: {id}"],
    ["X-User-ID: {id}", "X-User-ID: 2"],
    ["X-User-ID: {id}", "x_user_id: {id}", "X_USER_ID: {id}"],
    ["X-User-ID:{id}"],
    ["X-User-ID:\t{id}"],
    ["X-User-ID : {id}"],
    [" X-User-ID: {id}"],
    ["X-Other: a\r\n X-User-ID: {id}"],
    ["X-User-ID: {id}", "X-User-Name: ada", "X-User-Email: ada@example.org", "X-User-Role: admin"],
    ["X-User-Role: admin"],
    ["X_User_Role: admin"],
    ["X-Identity: eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0."],
    ["x-identity: eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0."],
    ["X_Identity: eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0."],
    ["X.Identity: eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0."],
    ["X-Identity: a", "X-Identity: b", "X_IDENTITY: c"],
    ["Connection: X-User-ID", "X-User-ID: {id}"],
    ["Connection: X-Identity", "X-User-ID: {id}"],
    ["Connection: close, X-User-ID, X-Identity, X-User-Role", "X-User-ID: {id}", "X-Identity: a"],
    ["Connection: X-Forwarded-Uri, X-Forwarded-Method", "X-User-ID: {id}"],
    ["Connection: Authorization", "X-User-ID: {id}"],
    ["Connection: Upgrade, X-User-ID", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "X-User-ID: {id}"],
    ["Connection: Upgrade", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA", "X-User-ID: {id}"],
    ["X-Forwarded-User: {id}", "X-Remote-User: {id}", "Remote-User: {id}", "X-Auth-Request-User: {id}"],
    ["X-Forwarded-Uri: /api/auth/login", "X-User-ID: {id}"],
    ["X-Forwarded-Uri: /api/posts", "X-Forwarded-Method: GET"],
    ["X_Forwarded_Uri: /api/auth/login", "X_Forwarded_Method: GET"],
    ["X-Forwarded-Method: OPTIONS", "X-User-ID: {id}"],
    ["X-Forwarded-For: 127.0.0.1", "X-Real-IP: 127.0.0.1", "X-Forwarded-Host: localhost", "X-User-ID: {id}"],
    ["X-Forwarded-Prefix: /api/auth/login", "X-User-ID: {id}"],
    ["Forwarded: for=127.0.0.1;host=localhost;proto=https", "X-User-ID: {id}"],
    ["X-Original-URL: /api/auth/login", "X-Rewrite-URL: /api/auth/login", "X-User-ID: {id}"],
    ["X-HTTP-Method-Override: GET", "X-Method-Override: GET", "X-User-ID: {id}"],
    ["Transfer-Encoding: chunked", "Content-Length: 4", "X-User-ID: {id}"],
    ["Content-Length: 0", "Content-Length: 5", "X-User-ID: {id}"],
    ["Expect: 100-continue", "X-User-ID: {id}"],
    ["Cookie: X-User-ID={id}; session={id}"],
    ["Authorization: Basic YWRhOmFkYQ==", "X-User-ID: {id}"],
    ["Proxy-Authorization: Bearer x", "X-User-ID: {id}"],
]

# Other ways to write a path that needs a token.
TRICKS = [
    "//api/auth/me",
    "///api/auth/me",
    "/api//auth/me",
    "/api/auth//me",
    "/api/../api/auth/me",
    "/api/./auth/me",
    "/api/auth/./me",
    "/api/auth/login/../me",
    "/api/posts/../auth/me",
    "/api/posts/x/../../auth/me",
    "/api/auth/me/.",
    "/api/auth/me/..",
    "/api/auth/me/../me",
    "/api/auth/me//",
    "/api/auth/me.",
    "/api/auth/me..",
    "/api/auth/me;",
    "/api/auth/me;x=1",
    "/api/auth/login;/../me",
    "/api/auth/..;/me",
    "/api%2fauth%2fme",
    "/api/auth%2fme",
    "/api/auth%2Fme",
    "/api/posts%2f..%2fauth%2fme",
    "/api/posts/..%2fauth%2fme",
    "/api/posts/%2e%2e/auth/me",
    "/api/posts/%2E%2E/auth/me",
    "/api/posts/%252e%252e/auth/me",
    "/api/auth/login%2f..%2fme",
    "/api/auth/me%2f",
    "/api/auth/me%00",
    "/api/auth/me%00.html",
    "/api/auth/me%20",
    "/api/auth/me%09",
    "/api/auth/me%23",
    "/api/auth/me%3f",
    "/api/auth/%6de",
    "/%61pi/auth/me",
    "/API/AUTH/ME",
    "/api/auth/ME",
    "/api\\auth\\me",
    "/api/auth\\me",
    "/api/auth/me\\..",
    "/api%5cauth%5cme",
    "/api/auth/me?",
    "/api/auth/me?x=/api/auth/login",
    "/api/auth/me?mode=optional",
    "/api/auth/me#/api/auth/login",
    "http://gateway/api/auth/me",
    "http://gateway//api/auth/me",
    "http://evil.example/api/auth/me",
    "api/auth/me",
    "/api/auth/login /api/auth/me",
    "/.well-known/../api/auth/me",
    "/.well-known/jwks.json/../../api/auth/me",
    "/health/../api/auth/me",
    "/docs/../api/auth/me",
    "/docs/..%2fapi/auth/me",
    "/errors/../api/auth/me",
]


def tricks(path):
    """The same ways to write another path below /api."""
    first, last = path.removeprefix("/api/").rsplit("/", 1) if path.count("/") > 2 else ("", path[5:])
    for trick in TRICKS:
        if first:
            yield trick.replace("auth", first).replace("me", last)
        else:
            yield trick.replace("auth/me", last).replace("auth%2fme", last).replace("auth\\me", last)


class Attack:
    """The corpus against one address.

    `me(answer)` tells whose identity an answer of `GET /api/auth/me` shows: an id, or None.
    """

    def __init__(self, address, victim, attacker, token, me):
        self.address, self.victim, self.attacker = address, victim, attacker
        self.token, self.me = token, me
        self.failures, self.cases = [], 0

    def judge(self, said, answer, token):
        """4xx, or whose token it was. Without a token there is nobody to be."""
        self.cases += 1
        refused = 400 <= answer.status < 500
        own = token is not None and answer.status < 300 and self.me(answer) == self.attacker
        if not refused and not own:
            self.failures.append(f"{said!r}\n      → {answer}")

    def on(self, method, target, lines, token):
        """One case."""
        lines = [line.replace("{id}", str(self.victim)) for line in lines]
        said = request(method, target, lines, token=token)
        self.judge(said, send(self.address, said), token)

    def run(self):
        """All of it, as a stranger and with the attacker's token."""
        for token in (None, self.token):
            for lines in FORGED:
                for target in ("/api/auth/me", "/api/auth/me/", "/api/auth/me?x=1"):
                    self.on("GET", target, lines, token)
            for target in TRICKS:
                for lines in ([], ["X-User-ID: {id}"], ["X_Identity: a", "X-User-Id: {id}"]):
                    self.on("GET", target, lines, token)
        # Two tokens are one too many, even when both are good.
        twice = request("GET", "/api/auth/me", [f"Authorization: Bearer {self.token}"], token=self.token)
        self.judge(twice, send(self.address, twice), None)
        old = f"GET /api/auth/me HTTP/1.0\r\nX-User-ID: {self.victim}\r\n\r\n".encode()
        self.judge(old, send(self.address, old), None)
        return self.failures
