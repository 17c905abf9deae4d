"""Services that Traefik finds in Consul: its real provider, asking a small agent."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import gateway_checks as checks
from gateway_edge import Edge
from gateway_http import request, send
from gateway_say import check, eventually, problem, tick
from gateway_standins import Running

TOKEN = "of-the-agent"


class Catalog(BaseHTTPRequestHandler):
    """As much of an agent's API as Traefik asks for."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        path = self.path.split("?")[0]
        known = list(self.server.known.values())
        name = path.removeprefix("/v1/health/service/")
        if self.server.lost:
            self.answer(500, "No cluster leader")
        elif self.headers.get("X-Consul-Token") != TOKEN:
            self.answer(403, "Permission denied")
        elif path == "/v1/catalog/services":
            # The tags of all who have the name together.
            self.answer(200, {"consul": []} | {
                one["Name"]: sorted({tag for other in known if other["Name"] == one["Name"] for tag in other["Tags"]})
                for one in known
            })
        elif name != path:
            self.answer(200, [entry(one) for one in known if one["Name"] == name])
        else:
            self.answer(404, f"the double of Consul does not know {path}")

    def answer(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in [("Content-Type", "application/json"), ("Content-Length", str(len(data))),
                            ("X-Consul-Index", "17"), ("X-Consul-KnownLeader", "true"),
                            ("X-Consul-LastContact", "0")]:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


def entry(one):
    """A registration as the health of a service shows it."""
    node = {"ID": "a-node", "Node": "here", "Address": "192.0.2.1", "Datacenter": "dc1"}
    service = {"ID": one["ID"], "Service": one["Name"], "Tags": one["Tags"], "Address": one["Address"],
               "Port": one["Port"]}
    return {"Node": node, "Service": service, "Checks": [{"CheckID": "alive", "Status": one["Status"]}]}


class Agent:
    """Knows who registered."""

    def __init__(self):
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Catalog)
        self.server.known, self.server.lost = {}, False
        self.address = f"127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def register(self, name, port, tags=None, status="passing"):
        """As shared/runtime/src/consul.rs does it, unless other tags are given."""
        usual = ["rookery"]
        self.server.known[f"{name}-127.0.0.1-{port}"] = {
            "ID": f"{name}-127.0.0.1-{port}", "Name": name, "Address": "127.0.0.1", "Port": port,
            "Tags": usual if tags is None else tags, "Status": status,
        }

    def deregister(self, name, port):
        del self.server.known[f"{name}-127.0.0.1-{port}"]

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


def asked(stand):
    """How many requests came to a stand-in since the last time."""
    count = len(stand.server.seen)
    stand.server.seen.clear()
    return count


def found(traefik):
    """Everything about services that come and go."""
    agent = Agent()
    with Edge(traefik, agent=agent.address, consul_http_token=TOKEN) as edge:
        problem(edge.ask("GET", "/api/posts"), 404, "not_found")
        tick("where nobody has registered, paths answer 404")
        for name, stand in edge.services.items():
            agent.register(name, stand.port)
        # The last one that Traefik asks for may be any.
        eventually("all are found", lambda: not missing(edge, edge.services))
        checks.modes(edge)
        checks.stripping(edge)
        for name in edge.services:
            service = described(edge, f"{name}@consulcatalog")
            check("serversTransport" not in service["loadBalancer"], f"{service}")
        tick("services of Consul are reached with the time-outs of all others")
        strangers(edge, agent)
        come_and_go(edge, agent)
    agent.stop()


def missing(edge, names):
    """Which of these Traefik has not found."""
    return [name for name in names if not described(edge, f"{name}@consulcatalog").get("loadBalancer")]


def described(edge, service):
    """Traefik's word on a service; nothing when there is none."""
    return send(("127.0.0.1", edge.admin), request("GET", f"/api/http/services/{service}")).json()


def strangers(edge, agent):
    """Registrations make services known, and no more than that."""
    second, other, impostor, critical = Running("posts"), Running("other"), Running("impostor"), Running("critical")
    agent.register("posts", second.port)
    agent.register("posts", impostor.port, ["another"])
    agent.register("posts", critical.port, status="critical")
    # Of the fleet, but no route leads there.
    agent.register("tagged", other.port)
    # Not of the fleet.
    agent.register("untagged", other.port, ["traefik.enable=true"])
    # Of the fleet by its tag, with routes of its own. Nobody may take what is sent to another.
    for number, tags in enumerate([
        ["traefik.http.routers.a.rule=PathPrefix(`/`)", "traefik.http.routers.a.priority=100000"],
        ["traefik.HTTP.Routers.b.Rule=PathPrefix(`/`)", "traefik.HTTP.Routers.b.Priority=100000"],
        ["traefik.http.middlewares.c.addprefix.prefix=/x"],
        ["traefik.tcp.routers.d.rule=HostSNI(`*`)", "traefik.tcp.routers.d.tls=true"],
        ["traefik.udp.routers.e.entrypoints=web"],
        ["traefik.http.routers[f].rule=PathPrefix(`/`)", "traefik.http.routers[f].priority=100000"],
        # One more of another service.
        ["traefik.http.services.posts.loadbalancer.passhostheader=true"],
        ["traefik.http.services.posts.loadbalancer.server.scheme=http"],
    ]):
        agent.register(f"own-{number}", other.port, ["rookery", *tags])
    eventually("the second one is found", lambda: edge.ask("GET", "/api/posts").status == 200 and asked(second))
    eventually("the one without a route is found", lambda: not missing(edge, ["tagged"]))
    asked(edge.services["posts"])
    for _ in range(20):
        check(edge.ask("GET", "/api/posts").status == 200, "both answer")
    check(asked(second) and asked(edge.services["posts"]), "both are asked")
    check(not asked(impostor), "who has the name without the tag is not asked")
    check(not asked(critical), "nor who is not well")
    tick("replicas share the requests; the tag `rookery` and a good check are needed for that")

    for target in ("/", "/x", "/tagged", "/untagged/", "/own-0", "", "*", "http://gateway", "http://gateway?a=b"):
        for host in ("gateway", "tagged", "untagged", "posts", "localhost"):
            answer = edge.ask("GET", target, token="ada-token", host=host)
            check(answer.json().get("service") is None, f"{host} {target}: {answer}")
    for path in ("/x", "/tagged", "/untagged", "/own-0", "/posts"):
        problem(edge.ask("GET", path), 404, "not_found")
    check(not asked(other), "nobody reaches what has no route")
    check(missing(edge, ["untagged", "own-0"]) == ["untagged", "own-0"], "nor does Traefik know them")
    for kind in ("http/routers", "http/middlewares", "tcp/routers", "udp/routers"):
        listed = send(("127.0.0.1", edge.admin), request("GET", f"/api/{kind}?per_page=1000")).json() or []
        for one in listed:
            own = one["provider"] == "consulcatalog"
            check(not own or "PathRegexp(`^$`)" in one.get("rule", ""), f"{kind} by a registration: {one}")
    tick("a registration opens no path and joins no other service, whatever its tags say")
    for stand in (second, impostor, critical):
        agent.deregister("posts", stand.port)
    eventually("the second one has left",
               lambda: len(described(edge, "posts@consulcatalog")["loadBalancer"]["servers"]) == 1)
    for stand in (second, other, impostor, critical):
        stand.stop()


def come_and_go(edge, agent):
    """A service that leaves, an agent that is away."""
    port = edge.services["posts"].port
    agent.deregister("posts", port)
    eventually("posts has left", lambda: edge.ask("GET", "/api/posts").status != 200)
    for method, path in [("GET", "/api/posts"), ("DELETE", "/api/posts/x"), ("PATCH", "/api/posts")]:
        for token in (None, "ada-token"):
            problem(edge.ask(method, path, token=token), 404, "not_found")
    check(edge.ask("GET", "/api/profile", token="ada-token").status == 200, "others stay")
    agent.register("posts", port)
    eventually("posts is back", lambda: edge.ask("GET", "/api/posts").status == 200)
    check(edge.ask("GET", "/api/posts", token="bob-token").json()["id"] == "2", "with the token's identity")
    tick("a service that leaves Consul answers 404 until it is back")
    agent.server.lost = True
    eventually("Traefik misses the agent", lambda: "No cluster leader" in edge.log("traefik"))
    check(edge.ask("GET", "/api/posts").status == 200, "what was found stays")
    tick("an agent that knows nothing any more changes nothing")
