"""Facts that scripts/test-openapi must know and no schema can say."""

import datetime
import itertools
import json
import os
import pathlib
import re
import subprocess
import time
import urllib.request

import schemathesis
from hypothesis import strategies as st

PASSWORD = "correct horse battery"
GUEST = {"email": " Guest@Example.org ", "username": "guest"}
COUNTER = itertools.count(1)

# `dob` is not in the future.
schemathesis.openapi.format(
    "date",
    st.dates(datetime.date(1900, 1, 1), datetime.date(2020, 1, 1)).map(str),
)


def call(method, path, body=None, token=None):
    # Each as from another client, of which none may ask for many mails.
    headers = {"Content-Type": "application/json", "X-Forwarded-For": f"198.51.100.{next(COUNTER) % 256}"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(os.environ["BASE_URL"] + path, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise


def login(name, token="access_token"):
    return call("POST", "/api/auth/login", {"username": name, "password": PASSWORD})[token]


def register(name):
    account = {"email": f"{name}@example.org", "username": name, "password": PASSWORD}
    call("POST", "/api/auth/register", account)
    return login(name)


def stranger():
    """The id and the token of an account that nothing else is done with."""
    token = register(f"stranger{next(COUNTER)}")
    return call("GET", "/api/auth/me", token=token)["id"], token


def mailed(path, body=None, token=None):
    """The token in the mail that a request causes: without a way to send mails they are in the server's log."""
    log = pathlib.Path(os.environ["SERVER_LOG"])
    links = lambda: re.findall(r"http\S+#([0-9a-f]{64})", log.read_text())
    before = len(links())
    call("POST", path, body, token)
    for _ in range(100):
        if len(links()) > before:
            return links()[-1]
        time.sleep(0.1)
    raise TimeoutError(path)


def token_for(path):
    return ADMIN if path.startswith(("/users", "/api/v1/users")) else TOKEN


# One account that stays logged in, one that logs in and out, and an admin.
TOKEN = register("tester")
subprocess.run(
    [os.environ["ROOKERY"], "admin", "create", "--email", "root@example.org", "--username", "root",
     "--password-stdin"], input=PASSWORD, text=True, check=True, capture_output=True)
ADMIN = login("root")
CLOSED = stranger()[0]
call("DELETE", f"/api/v1/users/{CLOSED}", token=ADMIN)
register("guest")
# A profile that stays.
call("POST", "/api/profile", {"city": "Ulm"}, register("resident"))
RESIDENT = call("GET", "/api/profile", token=login("resident"))["user_id"]
for number in range(3):
    call("POST", "/api/posts", {"title": f"Post {number}", "content": "Text"}, TOKEN)


@schemathesis.auth(refresh_interval=None)
class Bearer:
    def get(self, case, context):
        if case.operation.label in ("DELETE /api/auth/me", "POST /api/auth/email/resend"):
            return stranger()[1]
        ends = case.operation.path.startswith(("/api/auth/logout", "/api/auth/sessions"))
        return login("guest") if ends else token_for(case.operation.path)

    def set(self, case, data, context):
        case.headers["Authorization"] = f"Bearer {data}"


@schemathesis.hook
def before_call(context, case, kwargs):
    """Makes room for a good request: what it meets is a state that no schema knows of."""
    if not case.meta or not case.meta.generation.mode.is_positive:
        return
    operation = case.operation.label
    body = case.body if isinstance(case.body, dict) else {}
    for password in ("password", "current_password", "new_password"):
        # The account's own, and one that is not weak.
        if isinstance(body.get(password), str):
            body[password] = PASSWORD
    if operation in ("POST /api/auth/login", "POST /users/login"):
        # Of an account that there is.
        who = "email" if "email" in body else "username"
        case.body = {who: GUEST[who], "password": PASSWORD}
    elif operation == "POST /api/auth/refresh":
        # It holds once.
        case.body = {"refresh_token": login("guest", "refresh_token")}
    elif operation == "POST /api/auth/password/forgot":
        # From one client only some are taken.
        case.headers["X-Forwarded-For"] = f"203.0.113.{next(COUNTER) % 256}"
    elif operation == "POST /api/auth/password/reset":
        email = call("GET", "/api/auth/me", token=stranger()[1])["email"]
        body["token"] = mailed("/api/auth/password/forgot", {"email": email})
    elif operation == "POST /api/auth/email/verify":
        body["token"] = mailed("/api/auth/email/resend", token=stranger()[1])
    elif operation == "POST /api/profile":
        # There may be one.
        call("DELETE", "/api/profile", token=TOKEN)
    elif operation in ("POST /api/auth/register", "POST /users", "POST /api/v1/users", "PUT /users/{id}",
                       "PUT /api/v1/users/{id}"):
        # Names and addresses are given away once.
        for field, end in (("username", ""), ("email", "@example.org")):
            if isinstance(body.get(field), str):
                body[field] = f"user{next(COUNTER)}{end}"
    elif operation == "PUT /api/auth/me":
        for field, own in (("username", "tester"), ("email", "tester@example.org")):
            if field in body:
                body[field] = own
        # These are for admins.
        body.pop("role", None)
        body.pop("is_active", None)
    elif operation == "GET /api/profile/{user_id}":
        case.path_parameters["user_id"] = RESIDENT
    elif operation == "GET /api/v1/users/{id}/erasure":
        case.path_parameters["id"] = CLOSED
    if operation in ("PUT /users/{id}", "PUT /api/v1/users/{id}", "DELETE /users/{id}",
                     "DELETE /api/v1/users/{id}"):
        case.path_parameters["id"] = stranger()[0]
    if case.headers and "Idempotency-Key" in case.headers:
        # A key stands for one request.
        case.headers["Idempotency-Key"] += f"-{next(COUNTER)}"[-255:]
    if case.query and "cursor" in case.query:
        # A cursor is one that the list gave, and leads further alone.
        order = f"&sort={case.query['sort']}" if "sort" in case.query else ""
        page = call("GET", f"{case.formatted_path}?limit=1{order}", token=token_for(case.operation.path))
        case.query.pop("skip", None)
        case.query["cursor"] = page["next_cursor"] if page else None
        if case.query["cursor"] is None:
            del case.query["cursor"]
