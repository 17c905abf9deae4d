"""A varied community in an embedded folder, for the test of `rookery migrate`: written over HTTP, and
what no client can do written into the log as another release would."""

import json
import os
import random
import sqlite3
import time
import uuid

from gateway_say import check
from migrate_site import eventually

PASSWORD = "a long password for everybody"
TAGS = ["rust", "birds", "ünïcode", "a-b"]
PREFERENCES = [
    b'{"preferences": {"b": 1.0, "a": [1e2, -0, 12345678901234567890], "b": 2}}',
    b'{"preferences": "\\u0001 and \\ud83d\\udc26 and \\\\", "bio": "line\\nline \\"quoted\\""}',
    b'{"preferences": [null, true, {}, [], ""], "dob": "1990-05-17", "city": "Z\xc3\xbcrich"}',
    b'{"preferences": null, "first_name": "Bo"}',
]


class Community:
    """The people of a community, and what they did."""

    def __init__(self, site, run):
        self.site = site
        self.run = run
        self.users = {}  # name → id
        self.people = {"guest": None}  # who asks → token
        self.posts = []  # ids, deleted ones too
        self.keyed = None  # a create that is sent again: token, headers, body, answer
        self.random = random.Random(7)

    def join(self, name):
        """Opens an account and logs in."""
        new = {"email": f"{name}@Example.org", "username": name, "password": PASSWORD, "age": 30}
        self.users[name] = self.site.ask(201, "POST", "/api/auth/register", body=new)["id"]
        self.people[name] = self.log_in(name)

    def log_in(self, name):
        """A token."""
        body = {"username": name, "password": PASSWORD}
        return self.site.ask(200, "POST", "/api/auth/login", body=body)["access_token"]

    def write(self, name, title, **more):
        """A post's id."""
        body = {"title": title, "content": f"{title}: text \u00fc \\ \"q\"", **more}
        post = self.site.ask(201, "POST", "/api/posts", self.people[name], body)
        self.posts.append(post["id"])
        return post["id"]

    def settled(self):
        """Waits until the feed has what there is."""
        def is_settled():
            stats = self.site.ask(200, "GET", "/api/activity-stream/stats")
            return stats["consumer_lag"] == 0
        eventually("the feed has caught up", is_settled)

    def begin(self):
        """All that clients can do."""
        for name in ("ada", "bob", "cyd", "dee", "eve", "fay"):
            self.join(name)
        # Sessions: one ended by its owner, one from another, one with a name of its own.
        self.people["ada, elsewhere"] = self.log_in("ada")
        self.people["ada, logged out"] = self.log_in("ada")
        self.site.ask(200, "POST", "/api/auth/logout", self.people["ada, logged out"])
        self.people["dee, ended"] = self.log_in("dee")
        ended = self.site.ask(200, "GET", "/api/auth/sessions", self.people["dee, ended"])
        ended = next(s["id"] for s in ended["items"] if s["current"])
        self.site.ask(200, "DELETE", f"/api/auth/sessions/{ended}", self.people["dee"])
        self.people["nobody"] = "not.a.token"
        for name, text in zip(("ada", "bob", "cyd", "dee"), PREFERENCES):
            self.site.ask(201, "POST", "/api/profile", self.people[name], text)
        self.site.ask(200, "PUT", "/api/profile", self.people["ada"], {"bio": "changed", "city": None})
        self.site.ask(200, "DELETE", "/api/profile", self.people["dee"])
        # The last profile is gone, and its number is not given again.
        self.site.ask(201, "POST", "/api/profile", self.people["eve"], {})
        self.site.ask(200, "DELETE", "/api/profile", self.people["eve"])
        for number in range(230):
            name = self.random.choice(("ada", "ada", "ada", "bob", "cyd", "fay"))
            tags = self.random.sample(TAGS, self.random.randint(0, 3))
            self.write(name, f"post {number}", tags=tags)
        own = {name: self.own(name) for name in ("ada", "bob", "cyd")}
        for name, posts in own.items():
            for post in posts[::5]:
                change = {"title": f"edited by {name}", "tags": ["edited", TAGS[0]]}
                self.site.ask(200, "PUT", f"/api/posts/{post}", self.people[name], change)
            for post in posts[::9]:
                self.site.ask(200, "DELETE", f"/api/posts/{post}", self.people[name])
        self.site.ask(200, "PUT", "/api/auth/me", self.people["bob"], {"username": "bob.the.2nd"})
        body = {"title": "once", "content": "and only once", "tags": ["rust"]}
        headers = {"Idempotency-Key": f"once-{self.run}"}
        first = self.site.ask(201, "POST", "/api/posts", self.people["cyd"], body, headers)
        self.posts.append(first["id"])
        # The post has changed since the first answer.
        self.site.ask(200, "PUT", f"/api/posts/{first['id']}", self.people["cyd"], {"title": "twice"})
        self.keyed = (headers, body, first)
        self.settled()
        inbox = self.site.ask(200, "GET", "/api/notifications", self.people["ada"])["items"]
        self.site.ask(200, "POST", f"/api/notifications/{inbox[0]['id']}/read", self.people["ada"])
        self.site.ask(200, "POST", "/api/notifications/read-all", self.people["bob"])

    def own(self, name):
        """The posts of somebody, oldest first."""
        user = self.users[name]
        found = self.site.ask(200, "GET", f"/api/posts?user_id={user}&limit=100", self.people[name])
        return [post["id"] for post in reversed(found["items"])]


def version_of(folder, group_file, topic, key):
    """The last version of a key that a group applied."""
    with sqlite3.connect(f"file:{folder}/{group_file}.db?mode=ro", uri=True) as db:
        found = db.execute(
            "select max(version) from consumer_versions where topic = ? and key = ?", (topic, key)
        ).fetchone()
    return found[0]


def append(folder, topic, like, key, version, event_type, data, schema="1"):
    """An event on the log of a stopped folder, in the partition where `like` of this key lies."""
    now = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
    with sqlite3.connect(f"{folder}/log.db") as db:
        place, headers = db.execute(
            "select r.place, r.headers from records r join partitions p on p.id = r.place >> 40"
            " where p.topic = ? and r.key = ? order by r.place desc limit 1", (topic, like)
        ).fetchone()
        partition = place >> 40
        last, = db.execute(
            "select max(place) from records where place >> 40 = ?", (partition,)
        ).fetchone()
        compacted, = db.execute("select compacted from records where place = ?", (place,)).fetchone()
        said = {
            "ce_id": str(uuid.UUID(int=(int(time.time() * 1000) << 80) | 0x7 << 76 | 0x2 << 62
                                   | int.from_bytes(os.urandom(7), "big"))),
            "ce_type": event_type, "ce_time": now, "ce_subject": key, "ce_sequence": str(version),
            "ce_dataschema": schema,
        }
        headers = [[name, said.get(name, value)] for name, value in json.loads(headers)]
        value = json.dumps({"event_type": event_type, "timestamp": now, "data": data})
        db.execute(
            "insert into records (place, time_ms, compacted, key, version, headers, value)"
            " values (?, ?, ?, ?, ?, ?, ?)",
            (last + 1, int(time.time() * 1000), compacted, key, version, json.dumps(headers),
             value.encode()),
        )
    db.close()


def trouble(folder, community):
    """Things that no client of this release can do: an account is closed, and events come that nobody can
    read."""
    def next_version(topic, key):
        found = version_of(folder, "feed-generator", topic, str(key))
        check(found, f"{topic} has versions of {key}")
        return found + 1

    fay, eve = community.users["fay"], community.users["eve"]
    append(folder, "user.events", str(fay), str(fay), next_version("user.events", fay),
           "user.deleted", {"user_id": fay})
    append(folder, "user.events", str(eve), str(eve), next_version("user.events", eve),
           "user.deleted", {"user_id": "not a number"})
    post = community.posts[1]
    append(folder, "posts-events", post, post, next_version("posts-events", post),
           "post.updated", {"post_id": post})
