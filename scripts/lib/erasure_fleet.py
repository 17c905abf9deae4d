"""A fleet for the test of erasure, and what a client can read of its servers."""

import os
import re
import subprocess

from gateway_say import check
from own_stack import PROJECT, stack, take_ports

SERVICES = ("auth", "user-profile", "posts", "feed-generator", "notification")
# The broker looks for what is too old once in five minutes, unless it is told otherwise.
KAFKA = "log.retention.check.interval.ms=500\nlog.cleaner.backoff.ms=500\nlog.segment.delete.delay.ms=500"
DELETED = "retention.ms=100"
COMPACTED = "segment.ms=500,min.compaction.lag.ms=0,min.cleanable.dirty.ratio=0.01"
READ = {"string": "get {}", "list": "lrange {} 0 -1", "hash": "hgetall {}", "zset": "zrange {} 0 -1",
        "set": "smembers {}"}


class Fleet:
    """Servers and services in a folder."""

    def __init__(self, folder, binaries):
        self.folder = folder
        self.binaries = binaries
        self.settings = {}
        self.address = None

    def start(self):
        """Starts all of it."""
        take_ports()
        os.environ.update(STACK_DIR=str(self.folder), BIN_DIR=str(self.binaries), BROKER_PROPERTIES=KAFKA)
        stack("up", "--no-build")
        self.settings = dict(re.findall(r"^(\w+)=(\S*)$", stack("env"), re.M))
        self.address = self.settings["GATEWAY_URL"]

    def run(self, *command, **more):
        """A command of scripts/stack."""
        return stack(*command, **more)

    def restart(self, settings):
        """Restarts the services with more settings, which only they see."""
        own = self.folder / "bin"
        own.mkdir()
        for name in (*SERVICES, "rookery"):
            lines = " ".join(f"'{name}={value}'" for name, value in settings.items())
            (own / name).write_text(f"#!/bin/sh\nexec env {lines} '{self.binaries / name}' \"$@\"\n")
            (own / name).chmod(0o755)
        os.environ["BIN_DIR"] = str(own)
        stack("restart", *SERVICES)

    def end(self):
        """Stops it, and removes its data."""
        if os.environ.get("KEEP"):
            stack("down")
        else:
            stack("wipe")

    def everything(self):
        """What a client reads: a name, and bytes."""
        yield from self.postgres()
        yield "MongoDB", stack("mongo", "{c: list(db[c].find()) for c in db.list_collection_names()}").encode()
        yield "Redis", self.redis()
        yield "Kafka", self.kafka_tool("org.apache.kafka.tools.consumer.ConsoleConsumer", "--include", ".*",
                                       "--from-beginning", "--timeout-ms", "4000", "--property", "print.key=true",
                                       "--property", "print.headers=true")
        for log in sorted(self.folder.glob("*/log")):
            yield str(log.relative_to(self.folder)), log.read_bytes()

    def postgres(self):
        """The rows of each table. Its files keep dead rows until they are vacuumed."""
        dump = subprocess.run(["pg_dump", "--data-only", self.settings["DATABASE_URL"]], capture_output=True, check=True)
        for table, rows in re.findall(rb"^COPY (\S+) [^\n]*\n(.*?)^\\\.$", dump.stdout, re.M | re.S):
            yield table.decode(), rows

    def redis(self):
        """The keys, and what is under each."""
        keys = stack("redis-cli", "--scan").splitlines()
        kinds = stack("redis-cli", input="".join(f'type "{key}"\n' for key in keys)).splitlines()
        reads = (READ[kind].format(f'"{key}"') + "\n" for key, kind in zip(keys, kinds, strict=True))
        return ("\n".join(keys) + stack("redis-cli", input="".join(reads))).encode()

    def rewrite(self):
        """Has Redis write its file anew."""
        stack("redis-cli", "config", "set", "aof-use-rdb-preamble", "no")
        stack("redis-cli", "bgrewriteaof")
        while "aof_rewrite_in_progress:1" in (said := stack("redis-cli", "info", "persistence")):
            pass
        check("aof_last_bgrewrite_status:ok" in said, f"Redis rewrote its file: {said}")

    def files(self, part):
        """The bytes of a server's files."""
        return [file.read_bytes() for file in (self.folder / part / "data").rglob("*") if file.is_file()]

    def kafka_tool(self, tool, *arguments):
        """What one of Kafka's tools prints."""
        servers = self.settings["KAFKA_BOOTSTRAP_SERVERS"]
        return subprocess.run(["scripts/kafka", "tool", tool, "--bootstrap-server", servers, *arguments],
                              cwd=PROJECT, capture_output=True, check=False).stdout

    def forget_topics(self, site):
        """Lets topics keep nothing that is older than a moment. Compaction leaves the end of a partition alone, so
        somebody else writes into each."""
        topics = [line.split()[0] for line in stack("rookery", "events", "topics").splitlines()[1:] if line]
        for topic in topics:
            keeps = COMPACTED if topic == "posts-events" else DELETED
            self.kafka_tool("kafka.admin.ConfigCommand", "--alter", "--entity-type", "topics", "--entity-name", topic,
                            "--add-config", keeps)
        other = {"email": "bob@example.org", "username": "bob", "password": "battery staple 17"}
        site.ask(201, "POST", "/api/auth/register", body=other)
        del other["username"]
        token = site.ask(200, "POST", "/api/auth/login", body=other)["access_token"]
        for number in range(60):
            site.ask(201, "POST", "/api/posts", token, {"title": f"other {number}", "content": "other"})
