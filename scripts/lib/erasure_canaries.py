"""Canaries for the test of erasure: texts that stand for everything that an account leaves, put into every field
over HTTP, and looked for in bytes."""

import base64
import os
import re

# Longer than a page of a database, so that it lies in pages of its own.
LONG = 15000


class Canaries:
    """Texts by the field that they were put into."""

    def __init__(self):
        self.mark = "kanari" + os.urandom(3).hex()
        self.texts = {}
        self.plain = re.compile(self.mark.encode() + rb"x(\d+)z", re.IGNORECASE)
        # In base64 it looks different at each of three places; its ends depend on what is around it.
        encoded = (base64.b64encode(b"-" * shift + self.mark.encode()) for shift in range(3))
        self.hidden = re.compile(b"|".join(re.escape(text[4:-4]) for text in encoded))

    def new(self, field, length=0):
        """A text that is nowhere else."""
        text = f"{self.mark}x{len(self.texts)}z"
        self.texts[field] = text
        return (text + ".") * (length // len(text)) or text

    def found(self, content):
        """The fields whose canary is in these bytes, whatever its case, also in base64 and hexadecimal."""
        numbers = set(self.plain.findall(content))
        if self.mark.encode().hex().encode() in content:
            for run in re.findall(rb"(?<=\\x)[0-9a-f]{24,}", content):
                numbers.update(self.plain.findall(bytes.fromhex(run[:len(run) // 2 * 2].decode())))
        if self.hidden.search(content):
            for run in re.findall(rb"[A-Za-z0-9+/]{24,}", content):
                if self.hidden.search(run):
                    for shift in range(4):
                        part = run[shift:]
                        decoded = base64.b64decode(part[:len(part) // 4 * 4])
                        numbers.update(self.plain.findall(decoded))
        fields = list(self.texts)
        return [fields[number] for number in sorted(map(int, numbers))]


class Person:
    """Somebody who leaves a canary wherever the API takes a text."""

    def __init__(self, site, root):
        self.site = site
        self.root = root
        self.canaries = Canaries()
        self.id = None
        self.token = None

    def ask(self, expected, method, path, body=None, **headers):
        """As herself."""
        named = [(name.replace("_", "-"), value) for name, value in headers.items()]
        return self.site.ask(expected, method, path, self.token, body, named)

    def live(self, posts):
        """Registers, logs in, says who she is, and writes so many posts. Gives what proves that it is her."""
        new = self.canaries.new
        email, password = f"{new('e-mail')}@example.org", f"Pw-{new('password')}"
        account = {"email": email, "username": new("first username"), "password": password,
                   "full_name": new("full name"), "age": 33}
        self.id = self.ask(201, "POST", "/api/auth/register", account)["id"]
        who = {"email": email, "password": password}
        self.ask(401, "POST", "/api/auth/login", {**who, "password": new("wrong password")})
        for number in range(2):
            login = self.ask(200, "POST", "/api/auth/login", who, User_Agent=new(f"user agent {number}"))
        self.token = login["access_token"]
        self.ask(200, "PUT", "/api/auth/me", {"username": new("username"), "full_name": new("next full name")})
        names = {"first_name": new("first name"), "last_name": new("last name")}
        self.site.ask(200, "PUT", f"/api/v1/users/{self.id}", self.root, names)
        self.describe()
        self.write(posts)
        return {"password": password}

    def be_opened(self):
        """Has an admin open an account."""
        new = self.canaries.new
        # Without a password she would be mailed a link, whose text development's log shows.
        account = {"email": f"{new('address of another')}@example.org", "username": new("name of another"),
                   "full_name": new("full name of another"), "password": f"Pw-{new('password of another')}"}
        key = [("Idempotency-Key", new("key of an admin"))]
        return self.site.ask(201, "POST", "/api/v1/users", self.root, account, key)["id"]

    def describe(self):
        """A profile, and another one."""
        new = self.canaries.new
        fields = ("first_name", "last_name", "address", "city", "state", "country", "bio")
        for method, status in (("POST", 201), ("PUT", 200)):
            profile = {field: new(f"profile's {field} at {method}") for field in fields}
            preferences = {new(f"preference at {method}"): new(f"preference's value at {method}", LONG)}
            keys = {"Idempotency_Key": new("key of a profile")} if method == "POST" else {}
            self.ask(status, method, "/api/profile", {**profile, "preferences": preferences}, **keys)

    def write(self, posts):
        """Posts, the last ones long; one is changed, one is deleted."""
        new = self.canaries.new
        ids = []
        for number in range(posts):
            long = LONG if number >= posts - 5 else 0
            post = {"title": new(f"title {number}"), "content": new(f"content {number}", long),
                    "tags": [new(f"tag {number}")]}
            key = new(f"key {number}")
            made = self.ask(201, "POST", "/api/posts", post, Idempotency_Key=key)
            ids.append(made["id"])
            self.site.ask(200, "GET", f"/api/posts/{made['id']}")
        changed = {"title": new("next title"), "content": new("next content", LONG)}
        self.ask(200, "PUT", f"/api/posts/{ids[-1]}", changed)
        self.ask(200, "DELETE", f"/api/posts/{ids[-2]}")
