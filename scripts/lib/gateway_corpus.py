"""Every way to claim to be somebody else that a proxy was ever fooled by. Whatever answers, each case
must end in one of two ways: 4xx, or the identity of the token that was sent."""

import gateway_h2
from gateway_http import request, send
from gateway_paths import tricks
from gateway_raw import BROKEN, HOSTS, smuggling, whole

# Header lines of one request; {id} is the account that is claimed. All of these are HTTP; gateway_raw.py
# has those that are not quite.
FORGED = [
    ["X-User-ID: {id}"],
    ["x-user-id: {id}"],
    ["X-USER-ID: {id}"],
    ["X_User_ID: {id}"],
    ["x_user_id: {id}"],
    ["X-User_Id: {id}"],
    ["X_User-Id: {id}"],
    ["X.User.ID: {id}"],
    ["X~User~ID: {id}"],
    ["X!User+ID: {id}"],
    ["XUserID: {id}"],
    ["X-UserID: {id}"],
    ["X.User-ID: {id}"],
    ["X-User.ID: {id}"],
    ["XUser_ID: {id}"],
    ["X_UserId: {id}"],
    ["HTTP_X_USER_ID: {id}", "HTTP-X-User-ID: {id}"],
    ["%58-User-ID: {id}"],
    ["X-User-ID: {id}", "X-User-ID: 2"],
    ["X-User-ID: 2", "X-User-ID: {id}"],
    ["X-User-ID: 2, {id}"],
    ["X-User-ID: ", "X-User-ID: {id}"],
    ["X-User-ID: {id}", "x_user_id: {id}", "X_USER_ID: {id}"],
    ["X-User-ID:{id}"],
    ["X-User-ID:\t{id}"],
    ["X-User-ID: \t {id} \t"],
    ["X-User-ID: {id}", "X-User-Name: ada", "X-User-Email: ada@example.org", "X-User-Role: admin"],
    ["X-User-Role: admin"],
    ["X_User_Role: admin"],
    ["X-Identity: eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0."],
    ["x-identity: eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0."],
    ["X_Identity: eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0."],
    ["X.Identity: eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0."],
    ["X-Identity: a", "X-Identity: b", "X_IDENTITY: c"],
    ["X-Identity: {id}"],
    ["X-Identity: ", "X-User-ID: {id}"],
    ["X-Identity: a, b", "XIdentity: c", "xidentity: d"],
    ["Connection: X-User-ID", "X-User-ID: {id}"],
    ["Connection: X-Identity", "X-User-ID: {id}"],
    ["Connection: close, X-User-ID, X-Identity, X-User-Role", "X-User-ID: {id}", "X-Identity: a"],
    ["Connection: X-Forwarded-Uri, X-Forwarded-Method", "X-User-ID: {id}"],
    ["Connection: Authorization", "X-User-ID: {id}"],
    ["Connection: x-user-id", "Connection: x-identity", "X-User-ID: {id}"],
    ["Connection: X_User_ID, X-User_Id", "X_User_ID: {id}"],
    ["Connection: Content-Length, Transfer-Encoding, Host", "X-User-ID: {id}"],
    ["Connection: authorization, x-forwarded-for, cookie", "X-User-ID: {id}"],
    ["Keep-Alive: X-User-ID", "Proxy-Connection: X-User-ID, X-Identity", "X-User-ID: {id}"],
    ["TE: trailers, X-User-ID", "X-User-ID: {id}"],
    ["Trailer: X-User-ID, X-Identity", "X-User-ID: {id}"],
    ["Upgrade: X-User-ID", "Connection: upgrade", "X-User-ID: {id}"],
    ["Connection: Upgrade, X-User-ID", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "X-User-ID: {id}"],
    ["Connection: Upgrade", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA", "X-User-ID: {id}"],
    ["Connection: Upgrade, HTTP2-Settings, X-User-ID", "Upgrade: h2c",
     "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA", "X-User-ID: {id}"],
    ["Connection: Upgrade", "Upgrade: WebSocket", "Sec-WebSocket-Version: 13",
     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol: X-User-ID, {id}", "X-Identity: a"],
    ["X-Forwarded-User: {id}", "X-Remote-User: {id}", "Remote-User: {id}", "X-Auth-Request-User: {id}"],
    ["X-Forwarded-Email: ada@example.org", "X-Forwarded-Preferred-Username: ada", "X-WebAuth-User: ada",
     "X-Forwarded-Groups: admin", "X-Forwarded-Access-Token: {id}", "X-Authenticated-UserId: {id}"],
    ["X-Forwarded-Uri: /api/auth/login", "X-User-ID: {id}"],
    ["X-Forwarded-Uri: /api/posts", "X-Forwarded-Method: GET"],
    ["X_Forwarded_Uri: /api/auth/login", "X_Forwarded_Method: GET"],
    ["X-Forwarded-Method: OPTIONS", "X-User-ID: {id}"],
    ["X-Forwarded-Uri: /api/auth/login", "X-Forwarded-Uri: /api/posts", "X-Forwarded-Method: POST"],
    ["x-forwarded-uri: /.well-known/jwks.json", "x-forwarded-method: get", "X-User-ID: {id}"],
    ["X-Forwarded-Proto: https", "X-Forwarded-Port: 443", "X-Forwarded-Server: auth", "X-User-ID: {id}"],
    ["X-Forwarded-Tls-Client-Cert: a", "X-Forwarded-Tls-Client-Cert-Info: Subject=ada", "X-User-ID: {id}"],
    ["X-Forwarded-For: 127.0.0.1", "X-Real-IP: 127.0.0.1", "X-Forwarded-Host: localhost", "X-User-ID: {id}"],
    ["X-Forwarded-Prefix: /api/auth/login", "X-User-ID: {id}"],
    ["Forwarded: for=127.0.0.1;host=localhost;proto=https", "X-User-ID: {id}"],
    ["X-Original-URL: /api/auth/login", "X-Rewrite-URL: /api/auth/login", "X-User-ID: {id}"],
    ["X-Original-URI: /api/auth/login", "X-Original-Method: POST", "X-Envoy-Original-Path: /api/auth/login",
     "X-Accel-Redirect: /api/auth/login", "X-User-ID: {id}"],
    ["X-HTTP-Method-Override: GET", "X-Method-Override: GET", "X-User-ID: {id}"],
    ["Expect: 100-continue", "X-User-ID: {id}"],
    ["Cookie: X-User-ID={id}; session={id}"],
    ["Authorization: Basic YWRhOmFkYQ==", "X-User-ID: {id}"],
    ["Proxy-Authorization: Bearer x", "X-User-ID: {id}"],
    ["X-Authorization: Bearer x", "Authorization_: Bearer x", "X-User-ID: {id}"],
    ["Origin: https://evil.example", "Access-Control-Request-Method: GET", "X-User-ID: {id}"],
]


def refused(answer):
    """4xx. Two of 5xx say as much of a request that is not HTTP as it is spoken here."""
    return 400 <= answer.status < 500 or answer.status in (501, 505)


def is_fault(answer):
    """True if it is Traefik's answer to a request that breaks off in its middle."""
    return (answer.status, answer.json().get("error_code")) in ((500, "internal_error"), (502, "bad_gateway"))


class Attack:
    """The corpus against one address.

    `who(answer)` tells whose identity an answer of `GET path` shows: an id, or None.
    """

    def __init__(self, address, victim, attacker, token, who, path="/api/auth/me", tls=False):
        self.address, self.victim, self.attacker = address, victim, attacker
        self.token, self.who, self.path, self.tls = token, who, path, tls
        self.failures, self.cases = [], 0

    def judge(self, said, answer, token, broken_body=False):
        """4xx, or whose token it was. Without a token there is nobody to be. A body that is not what was
        said of it Traefik finds out too late for 4xx: an answer of its own, of nobody, is as good."""
        self.cases += 1
        if broken_body and is_fault(answer):
            return
        if answer.status == 429:
            self.failures.append("429: a limit on requests proves nothing, switch it off")
        elif not refused(answer) and not (token is not None and self.is_own(answer)):
            self.failures.append(f"{said!r}\n      → {answer}")

    def is_own(self, answer):
        """The answer for the attacker, in the attacker's own name."""
        return 200 <= answer.status < 300 and self.who(answer) == self.attacker

    def ask(self, said, token, broken_body=False):
        """One case, as bytes."""
        self.judge(said, send(self.address, said, self.tls), token, broken_body)

    def on(self, target, lines, token, host="gateway"):
        """One case, by its parts."""
        lines = [line.replace("{id}", str(self.victim)) for line in lines]
        self.ask(request("GET", target, lines, token=token, host=host), token)

    def run(self):
        """All of it, as a stranger and with the attacker's token."""
        for token in (None, self.token):
            for lines in FORGED + BROKEN:
                for target in (self.path, f"{self.path}/", f"{self.path}?x=1"):
                    self.on(target, lines, token)
            for target in tricks(self.path):
                for lines in ([], ["X-User-ID: {id}"], ["X_Identity: a", "X-User-Id: {id}"]):
                    self.on(target, lines, token)
            for host in HOSTS:
                self.on(self.path, ["X-User-ID: {id}"], token, host)
            for said in whole(self.path, self.victim, token):
                self.ask(said, token)
        # Two tokens are one too many, even when both are good.
        twice = request("GET", self.path, [f"Authorization: Bearer {self.token}"], token=self.token)
        self.ask(twice, None)
        self.smuggle()
        return self.failures

    def run_h2(self):
        """The same by HTTP/2, where there are other ways to say it."""
        for token in (None, self.token):
            for fields, body, trailers in gateway_h2.requests(self.path, self.victim, token):
                answer = gateway_h2.ask(self.address, fields, self.tls, body, trailers)
                self.judge((fields, body, trailers), answer, token, broken_body=bool(body))
        return self.failures

    def smuggle(self):
        """A request in the body of another, for somebody else to stumble over."""
        for token in (None, self.token):
            for said in smuggling(self.path, self.victim, token):
                self.ask(said, token, broken_body=True)
                honest = send(self.address, request("GET", self.path, token=self.token), self.tls)
                if not self.is_own(honest):
                    self.failures.append(f"an honest request after {said!r}\n      → {honest}")
