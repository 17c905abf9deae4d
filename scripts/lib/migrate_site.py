"""A site over HTTP, for the test of `rookery migrate`: a client, and all that can be read."""

import http.client
import json
import time
from urllib.parse import quote, urlsplit

from gateway_say import check


class Site:
    """Where requests go. One connection, made anew when it was closed."""

    def __init__(self, url):
        parts = urlsplit(url)
        self.address = (parts.hostname, parts.port or 80)
        self.connection = None

    def send(self, method, path, token=None, body=None, headers=()):
        """Status, content type and body of the answer."""
        lines = dict(headers)
        if token:
            lines["Authorization"] = f"Bearer {token}"
        data = None
        if body is not None:
            lines["Content-Type"] = "application/json"
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
        for again in (True, False):
            if self.connection is None:
                self.connection = http.client.HTTPConnection(*self.address, timeout=30)
            try:
                self.connection.request(method, path, data, lines)
                answer = self.connection.getresponse()
                return answer.status, answer.headers.get("Content-Type"), answer.read()
            except (ConnectionError, http.client.HTTPException):
                self.connection = None
                if not again:
                    raise
        return None

    def ask(self, expected, method, path, token=None, body=None, headers=()):
        """The JSON of an answer that must have this status."""
        status, _, text = self.send(method, path, token, body, headers)
        check(status == expected, f"{method} {path}: {expected} expected, came {status} {text[:300]!r}")
        return json.loads(text) if text else None


# Measures of a process, not data that it keeps.
MEASURED = ("kafka_consumer_active", "consumer_lag", "freshness_ms", "redis_connected")
LIMIT = 7


def comparable(path, answer):
    """An answer without what each request has for itself."""
    status, kind, text = answer
    if kind and kind.startswith("application/problem+json"):
        problem = json.loads(text)
        problem.pop("trace_id", None)
        if status == 401:
            # Said by auth, which is asked through another endpoint in a fleet.
            problem = {"error_code": problem["error_code"]}
        text = json.dumps(problem, sort_keys=True).encode()
    elif path == "/api/activity-stream/stats" and status == 200:
        stats = json.loads(text)
        for field in MEASURED:
            stats.pop(field, None)
        text = json.dumps(stats, sort_keys=True).encode()
    return status, kind, text


class Reading:
    """Every GET as everybody: the answers by who asked and what."""

    def __init__(self, site, people):
        self.site = site
        self.people = people
        self.answers = {}

    def get(self, who, path):
        """Reads once, and keeps the answer."""
        answer = self.site.send("GET", path, self.people[who])
        self.answers[who, path] = comparable(path, answer)
        return answer

    def list(self, who, path):
        """A list in full: by pages, and once more by cursor."""
        joined = f"{path}{'&' if '?' in path else '?'}limit={LIMIT}"
        status, _, text = self.get(who, joined)
        if status != 200:
            return
        first = json.loads(text)
        for skip in range(LIMIT, first["total"] + 1, LIMIT):
            self.get(who, f"{joined}&skip={skip}")
        cursor = first["next_cursor"]
        while cursor:
            _, _, text = self.get(who, f"{joined}&cursor={cursor}")
            cursor = json.loads(text)["next_cursor"]

    def all(self, users, posts, tags):
        """All that the contract has to read."""
        ids = [*users, 0, 99999]
        for who in self.people:
            for path in ("/api/auth/me", "/api/profile", "/api/activity-stream/stats",
                         "/api/notifications/unread-count", "/.well-known/jwks.json"):
                self.get(who, path)
            for path in ("/api/auth/sessions", "/api/notifications", "/api/notifications?unread=true",
                         "/api/notifications?unread=false", "/api/posts", "/api/activity-stream",
                         "/api/activity-stream/user"):
                self.list(who, path)
            for user in ids:
                self.get(who, f"/api/profile/{user}")
                self.list(who, f"/api/posts?user_id={user}")
                self.list(who, f"/api/activity-stream/user/{user}")
            for tag in [*tags, "no-such-tag"]:
                self.list(who, f"/api/posts?tag={quote(tag)}")
            for path in ("/api/posts?limit=101", "/api/posts/nonsense", "/api/nothing"):
                self.get(who, path)
        for who in list(self.people)[:2]:
            for post in [*posts, "00000000-0000-7000-8000-000000000000"]:
                self.get(who, f"/api/posts/{post}")
        return self.answers


def differences(before, after):
    """The differences between two readings."""
    lines = []
    for key in sorted(set(before) | set(after), key=str):
        if before.get(key) != after.get(key):
            lines.append(f"{key}:\n      before {before.get(key)}\n      after  {after.get(key)}")
    return lines


def eventually(what, condition, seconds=60):
    """Waits for a condition, not for long."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        check(time.monotonic() < end, f"within {seconds} s: {what}")
        time.sleep(0.1)
    return found
