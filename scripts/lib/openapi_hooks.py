"""Facts that scripts/test-openapi must know and no schema can say."""

import datetime
import itertools
import json
import os
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
    headers = {"Content-Type": "application/json"}
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


def login(name):
    return call("POST", "/api/auth/login", {"username": name, "password": PASSWORD})["access_token"]


def register(name):
    account = {"email": f"{name}@example.org", "username": name, "password": PASSWORD}
    call("POST", "/api/auth/register", account)
    return login(name)


# One account that stays logged in, and one that logs in and out.
TOKEN = register("tester")
register("guest")
# A profile that stays.
call("POST", "/api/profile", {"city": "Ulm"}, register("resident"))
RESIDENT = call("GET", "/api/profile", token=login("resident"))["user_id"]
for number in range(3):
    call("POST", "/api/posts", {"title": f"Post {number}", "content": "Text"}, TOKEN)


@schemathesis.auth(refresh_interval=None)
class Bearer:
    def get(self, case, context):
        ends = case.operation.path.startswith(("/api/auth/logout", "/api/auth/sessions"))
        return login("guest") if ends else TOKEN

    def set(self, case, data, context):
        case.headers["Authorization"] = f"Bearer {data}"


@schemathesis.hook
def before_call(context, case, kwargs):
    """Makes room for a good request: what it meets is a state that no schema knows of."""
    if not case.meta or not case.meta.generation.mode.is_positive:
        return
    operation = case.operation.label
    if operation == "POST /api/auth/login" and isinstance(case.body, dict):
        # Of an account that there is.
        who = "email" if "email" in case.body else "username"
        case.body = {who: GUEST[who], "password": PASSWORD}
    elif operation == "POST /api/profile":
        # There may be one.
        call("DELETE", "/api/profile", token=TOKEN)
    elif operation == "POST /api/auth/register" and isinstance(case.body, dict):
        # Names and addresses are given away once.
        case.body["username"] = f"user{next(COUNTER)}"
        case.body["email"] = f"user{next(COUNTER)}@example.org"
    elif operation == "PUT /api/auth/me" and isinstance(case.body, dict) and "username" in case.body:
        case.body["username"] = "tester"
    elif operation == "GET /api/profile/{user_id}":
        case.path_parameters["user_id"] = RESIDENT
    if case.headers and "Idempotency-Key" in case.headers:
        # A key stands for one request.
        case.headers["Idempotency-Key"] += f"-{next(COUNTER)}"[-255:]
    if case.query and "cursor" in case.query:
        # A cursor is one that the list gave, and leads further alone.
        page = call("GET", case.formatted_path + "?limit=1", token=TOKEN)
        case.query.pop("skip", None)
        case.query["cursor"] = page["next_cursor"] if page else None
        if case.query["cursor"] is None:
            del case.query["cursor"]
