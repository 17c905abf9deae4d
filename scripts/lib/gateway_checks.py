"""Traefik with this project's configuration, seen from both of its sides."""

import gzip
import json
import shutil
import socket
import ssl
import subprocess
import tempfile

import gateway_h2
from gateway_corpus import FORGED, is_fault, refused
from gateway_edge import Edge
from gateway_http import connect, request, send
from gateway_raw import BROKEN, MARK, whole
from gateway_say import check, eventually, problem, tick
from gateway_standins import IDENTITY, Running


def letters(name):
    """A header's name without the differences of spelling."""
    return "".join(char for char in name.lower() if char.isalnum())


def identity_of(answer):
    """Every header that may be taken for one of identity, as it arrived."""
    known = {letters(name) for name in IDENTITY}
    return sorted([name, value] for name, value in answer.json()["headers"] if letters(name) in known)


def modes(edge):
    """No token, a good one, a bad one, on a route of each mode."""
    cases = [
        ("GET", "/api/auth/me", 401, "1", 401),
        ("PUT", "/api/posts/x", 401, "1", 401),
        ("GET", "/api/posts", 200, "1", 401),
        ("GET", "/api/posts/x/", 200, "1", 401),
        ("HEAD", "/api/posts", 200, None, 401),
        ("POST", "/api/auth/login", 200, None, 200),
        ("GET", "/.well-known/jwks.json", 200, None, 200),
        ("PATCH", "/api/posts", 200, None, 200),
        ("get", "/api/posts", 200, None, 200),
    ]
    for method, path, none, good, bad in cases:
        said = f"{method} {path}"
        answer = edge.ask(method, path)
        check(answer.status == none, f"{said} without a token: {answer}")
        answer = edge.ask(method, path, token="ada-token")
        check(answer.status == 200, f"{said} with a token: {answer}")
        if method != "HEAD":
            check(answer.json()["id"] == good, f"{said} with a token: {answer}")
        answer = edge.ask(method, path, token="nonsense")
        check(answer.status == bad, f"{said} with a bad token: {answer}")
    tick("required, optional and strip treat no token, a good one and a bad one as they must")


OWN = sorted([["X-User-Id", "2"], ["X-User-Name", "bob"], ["X-User-Email", "bob@example.org"],
              ["X-User-Role", "user"], ["X-Identity", "assertion-of-bob"]])


def stripping(edge, tls=False):
    """Checks which headers arrive behind, in which spelling."""
    arrived = 0
    for lines in FORGED + BROKEN:
        lines = [line.replace("{id}", "1") for line in lines]
        for method, path, token, expected in [
            ("GET", "/api/posts", None, []),
            ("GET", "/api/posts", "bob-token", OWN),
            ("GET", "/api/auth/me", "bob-token", OWN),
            ("DELETE", "/api/posts/x", "bob-token", OWN),
            ("POST", "/api/auth/login", "bob-token", []),
            ("PATCH", "/api/posts", "bob-token", []),
        ]:
            answer = edge.ask(method, path, lines, token, tls=tls)
            if answer.status == 200:
                arrived += 1
                # `Connection: Authorization` takes one's own token away: then it is nobody's request.
                nobody = any("authorization" in line.lower() for line in lines) and []
                check(identity_of(answer) in (expected, nobody), f"{method} {path} {lines}: {identity_of(answer)}")
            else:
                check(refused(answer), f"{method} {path} {lines}: {answer}")
    address = edge.secure_address if tls else edge.address
    for token, expected in [(None, []), ("bob-token", OWN)]:
        for said in whole("/api/posts", "1", token):
            answer = send(address, said, tls)
            if answer.status == 200:
                arrived += 1
                check(identity_of(answer) == expected, f"{said}: {identity_of(answer)}")
            else:
                check(refused(answer), f"{said}: {answer}")
    check(arrived > 4 * len(FORGED), "most of them arrive, without what was forged")
    tick(f"{arrived} requests with forged headers arrived{' by TLS' * tls}; not one of these headers did")


def stripping_h2(edge, tls):
    """The same by HTTP/2."""
    address = edge.secure_address if tls else edge.address
    arrived = 0
    for token, expected in [(None, []), ("bob-token", OWN)]:
        for fields, body, trailers in gateway_h2.requests("/api/posts", "1", token):
            answer = gateway_h2.ask(address, fields, tls, body, trailers)
            if answer.status == 200:
                arrived += 1
                check(identity_of(answer) == expected, f"{fields} {trailers}: {identity_of(answer)}")
            elif not (body and is_fault(answer)):
                check(refused(answer), f"{fields}: {answer}")
    check(arrived > 20, "some of them arrive, without what was forged")
    tick(f"{arrived} such requests arrived by HTTP/2{', TLS' * tls}; not one of these headers did")


def smuggled(edge):
    """Checks that no request was found in the body of another: services were asked only what was sent."""
    for name, service in edge.services.items():
        found = [path for _, path in service.server.seen if MARK in path]
        check(not found, f"{name} was asked {found}")
    tick("no service found a request in the body of another")


def judged(edge):
    """Checks what auth is told about a request."""
    asked = edge.services["auth"].server.asked
    asked.clear()
    edge.ask("DELETE", "/api/posts/x?a=b", [
        "X-Forwarded-Method: GET", "X-Forwarded-Uri: /api/auth/login", "X_Forwarded_Method: GET",
        "X-Forwarded-For: 192.0.2.1", "X-User-ID: 1", "Cookie: a=b", "X-Request-ID: r-1",
    ], "bob-token")
    said = {name.lower(): value for name, value in asked[-1].items()}
    check(said["x-forwarded-method"] == "DELETE" and said["x-forwarded-uri"] == "/api/posts/x?a=b", f"{said}")
    check("192.0.2.1" not in str(said) and "cookie" not in said and "x-user-id" not in said, f"{said}")
    check(not any("_" in name for name in said), f"{said}")
    answer = edge.ask("GET", "/api/posts", token="bob-token")
    trace = dict(asked[-1])["Traceparent"].split("-")[1]
    arrived = dict(answer.json()["headers"])["Traceparent"].split("-")[1]
    check(len(trace) == 32 and trace == arrived, f"{trace} {arrived}")
    tick("auth judges the true method and path; one trace goes through both")


def errors(edge):
    """Traefik's own errors and the services'."""
    said = problem(edge.ask("GET", "/nowhere?a=b"), 404, "not_found")
    check(said["instance"] == "/nowhere", f"{said}")
    for path in ("/errors/502", "/errors/429?was=429", "/errors", "/errors/"):
        answer = edge.ask("GET", path)
        problem(answer, 404, "not_found")
    for trick in ("//api/posts", "/docs/../api", "/api%2fposts", "/x/%2e%2e/y"):
        problem(edge.ask("GET", trick), 400, "bad_path")
    tick("404 and 400 as problem+json; the pages of errors are not to be had from outside")

    said = problem(edge.ask("GET", "/api/posts/answer-500?a=b", token="ada-token"), 500, "internal_error")
    check(said["instance"] == "/api/posts/answer-500", f"{said}")
    for status, code, retry in [(503, "store_unavailable", "7"), (404, "post_not_found", None)]:
        answer = edge.ask("GET", f"/api/posts/answer-{status}", token="ada-token")
        said = answer.json().get("error_code"), answer.header("retry-after")
        check(answer.status == status and said == (code, retry), f"{answer}")
    said = edge.ask("POST", "/api/auth/login?answer=500", body=b"{}")
    check(said.status == 500 and said.json()["detail"] == "of the service", f"{said}")
    for path in ("/api/auth/login?answer=429", "/api/auth/register/?answer=429"):
        answer = edge.ask("POST", path, body=b'{"username": "ada"}')
        check(answer.status == 429, f"{answer}")
        check(answer.json() == {"error_code": "too_many_attempts", "detail": "of the service"}, f"{answer}")
        check(answer.header("content-type") == "application/problem+json", f"{answer}")
        headers = answer.header("retry-after"), answer.header("x-of-the-service")
        check(headers == ("17", "yes") and answer.header("x-frame-options") == "DENY", f"{answer}")
    problem(edge.ask("GET", "/api/posts/hang-up"), 502, "bad_gateway")
    tick("errors of services pass as they are; a 500 behind auth keeps its meaning")

    answer = edge.ask("POST", "/api/auth/login", ["X-Correlation-ID: walk-3"], body=b"x" * 3000)
    check(answer.status == 200 and answer.json()["method"] == "POST", f"{answer}")
    check(edge.services["auth"].server.bodies[-1] == b"x" * 3000, "the body arrives behind the door")
    problem(edge.ask("POST", "/api/auth/login", body=b"x" * 70_000), 413, "body_too_large")
    tick("strangers come by the door with what they sent, unless it is too much")

    edge.services["notification"].stop()
    answer = edge.ask("GET", "/api/notifications", ["X-Correlation-ID: walk-1"], token="ada-token")
    said = problem(answer, 502, "bad_gateway")
    check(said["instance"] == "/api/notifications" and answer.header("retry-after") == "1", f"{answer}")
    tick("a service that is away: 502")
    edge.services["auth"].stop()
    answer = edge.ask("GET", "/api/posts/x", token="ada-token")
    problem(answer, 503, "auth_unavailable")
    check(answer.header("retry-after") == "1", f"{answer}")
    problem(edge.ask("GET", "/api/profile"), 503, "auth_unavailable")
    check(edge.ask("PATCH", "/api/posts").status == 200, "what needs no auth goes on")
    tick("auth is away: 503, and nobody passes")


def told(edge):
    """Checks what browsers and operators are told."""
    answer = edge.ask("GET", "/api/posts", ["X-Request-ID: walk-2"])
    for name, value in [
        ("x-content-type-options", "nosniff"), ("x-frame-options", "DENY"), ("referrer-policy", "no-referrer"),
    ]:
        check(answer.header(name) == value, f"{name}: {answer}")
    check(answer.header("server") is None, f"{answer}")
    check(dict(answer.json()["headers"]).get("X-Request-Id") == "walk-2", f"{answer}")
    packed = edge.ask("GET", "/api/posts/large", ["Accept-Encoding: gzip"])
    check(packed.header("content-encoding") == "gzip", f"{packed.headers}")
    check(json.loads(gzip.decompress(packed.body))["text"] == "x" * 5000, "the same, unpacked")
    plain = edge.ask("GET", "/api/posts/large")
    check(plain.header("content-encoding") is None and len(plain.body) > 5000, f"{plain.headers}")
    secure = send(("127.0.0.1", edge.secure), request("GET", "/api/posts"), tls=True)
    check(secure.status == 200 and "max-age" in (secure.header("strict-transport-security") or ""), f"{secure}")
    tick("security headers; gzip for who takes it; TLS on its entry point, with HSTS")

    check(send(("127.0.0.1", edge.admin), request("GET", "/dashboard/")).status == 200, "the dashboard")
    check(send(("127.0.0.1", edge.admin), request("GET", "/ping")).status == 200, "the ping")
    for path in ("/dashboard/", "/api/rawdata", "/ping", "/api/http/routers", "/debug/pprof/", "/metrics"):
        problem(edge.ask("GET", path), 404, "not_found")
    tick("dashboard, ping and metrics are on the operators' entry point only")

    edge.ask("GET", "/api/posts/x", token="ada-token")
    eventually("the access log", lambda: '"RequestPath":"/api/posts/x"' in edge.log("traefik"))
    lines = [json.loads(line) for line in edge.log("traefik").splitlines() if "RequestPath" in line]
    check(all(line["DownstreamStatus"] and line["Duration"] for line in lines), "status and time")
    check(all(len(line.get("trace_id") or line.get("TraceId") or "") == 32 for line in lines), "the trace")
    check("ada-token" not in edge.log("traefik") + edge.log("front"), "no token in any log")
    tick("the access log is JSON, with the trace of each request and without tokens")


def streams(edge):
    """An event stream arrives event by event."""
    stand = edge.services["posts"].server
    with connect(edge.address) as connection:
        connection.sendall(request("GET", "/api/posts/stream", ["Accept-Encoding: gzip"], token="ada-token"))
        came = b""
        for number in range(3):
            while f"data: {number}".encode() not in came:
                chunk = connection.recv(65536)
                check(chunk, f"event {number}, came {came!r}")
                came += chunk
            # The next one is sent only now: nothing on the way waited for more.
            stand.go_on.set()
    tick("event streams arrive event by event, through forward-auth and the errors middleware")


def retries(traefik):
    """Only what reads is sent again."""
    second = Running("posts")
    with Edge(traefik) as first:
        urls = ",".join([first.services["posts"].url, second.url])
        with Edge(traefik, posts_url=urls, auth_url=first.services["auth"].url) as edge:
            eventually("both are asked", lambda: edge.ask("GET", "/api/posts").status == 200
                       and first.services["posts"].server.seen and second.server.seen)
            second.stop()
            for _ in range(20):
                check(edge.ask("GET", "/api/posts").status == 200, "a read finds the one that is there")
            seen = first.services["posts"].server.seen
            before = len([method for method, _ in seen if method == "POST"])
            answers = [edge.ask("POST", "/api/posts", token="ada-token", body=b"{}") for _ in range(6)]
            after = len([method for method, _ in seen if method == "POST"])
            worked = len([answer for answer in answers if answer.status == 200])
            for answer in answers:
                if answer.status != 200:
                    problem(answer, 502, "bad_gateway")
            check(worked == after - before, "a write that failed was sent nowhere else")
    tick("reads are sent again to another replica, writes never")


def limits(traefik):
    """Too many requests from one address."""
    with Edge(traefik, login_rate_limit_average="1", login_rate_limit_burst="5",
              rate_limit_average="2", rate_limit_burst="12") as edge:
        answers = [edge.ask("POST", "/api/auth/login", body=b"{}") for _ in range(8)]
        check(answers[0].status == 200, f"{answers[0]}")
        refused = [answer for answer in answers if answer.status == 429]
        check(refused, "the fifth and later are refused")
        problem(refused[0], 429, "too_many_requests")
        check(refused[0].header("retry-after"), f"{refused[0]}")
        check(refused[0].header("x-frame-options") == "DENY", f"{refused[0]}")
        seen = len([method for method, _ in edge.services["auth"].server.seen if method == "POST"])
        check(seen == len(answers) - len(refused), "who is refused at the door does not reach the service")
        check(edge.ask("GET", "/api/posts").status == 200, "others have a limit of their own")
        answers = [edge.ask("GET", "/api/posts") for _ in range(30)]
        refused = [answer for answer in answers if answer.status == 429]
        check(refused, "at some time everything is refused")
        problem(refused[0], 429, "too_many_requests")
    tick("rate limits by address, a stricter one for who has no token yet")


def cors(traefik):
    """Pages of other origins, where they are named."""
    with Edge(traefik, cors_allow_origins="https://a.example,https://b.example") as edge:
        asks = ["Origin: https://b.example", "Access-Control-Request-Method: POST",
                "Access-Control-Request-Headers: authorization"]
        answer = edge.ask("OPTIONS", "/api/posts", asks)
        check(answer.header("access-control-allow-origin") == "https://b.example", f"{answer}")
        asks[0] = "Origin: https://c.example"
        answer = edge.ask("OPTIONS", "/api/posts", asks)
        check(answer.header("access-control-allow-origin") is None, f"{answer}")
    tick("pages of other origins may call where CORS_ALLOW_ORIGINS names them")


def https(traefik):
    """A certificate of one's own, and HTTP that only points to HTTPS."""
    if not shutil.which("openssl"):
        print("  – a certificate of one's own: left out, openssl is not here to make one")
        return
    with tempfile.TemporaryDirectory() as folder:
        key, certificate = f"{folder}/tls.key", f"{folder}/tls.crt"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
             "-days", "1", "-subj", "/CN=site.example", "-addext", "subjectAltName=DNS:localhost",
             "-keyout", key, "-out", certificate],
            check=True, capture_output=True,
        )
        with Edge(traefik, tls_cert_file=certificate, tls_key_file=key, https_only="true") as edge:
            answer = edge.ask("GET", "/api/posts?a=b", host="site.example")
            said = answer.status, answer.header("location")
            check(said == (301, "https://site.example/api/posts?a=b"), f"{answer}")
            context = ssl.create_default_context(cafile=certificate)
            with socket.create_connection(("127.0.0.1", edge.secure), 10) as connection:
                with context.wrap_socket(connection, server_hostname="localhost") as secure:
                    check(secure.version() in ("TLSv1.2", "TLSv1.3"), f"{secure.version()}")
            for host in ("gateway", f"localhost:{edge.secure}"):
                answer = send(("127.0.0.1", edge.secure), request("GET", "/api/posts", host=host), tls=True)
                check(answer.status == 200, f"{answer}")
    tick("a certificate of one's own is shown; HTTP points to HTTPS where it is asked to")
