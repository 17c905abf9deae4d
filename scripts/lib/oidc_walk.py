"""Signs in with a real provider as a browser does: forms, redirects, cookies. For scripts/test-oidc."""

import http.cookiejar
import json
import os
import re
import sys
import urllib.error
import urllib.parse
import urllib.request

SITE = os.environ["BASE_URL"]
START = SITE + "/api/auth/oidc/local/start"


class Browser:
    """Follows redirects and keeps cookies."""

    def __init__(self):
        jar = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), jar)

    def open(self, url, form=None):
        """The status, the address at last, and the body."""
        data = None if form is None else urllib.parse.urlencode(form).encode()
        try:
            answer = self.opener.open(url, data, timeout=20)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            return answer.status, answer.url, answer.read().decode()

    def at(self, url, page, form):
        """Sends the form of a page."""
        action = re.search(r'<form[^>]* action="([^"]+)"', page)
        check(action, f"a form at {url}: {page[:500]}")
        return self.open(urllib.parse.urljoin(url, action[1]), form)

    def log_in(self, name, query=""):
        """Until the provider asks for consent."""
        _, url, page = self.open(START + query)
        check("/interaction/" in url and 'name="login"' in page, f"a log-in form at {url}")
        form = {"prompt": "login", "login": name, "password": "any"}
        _, url, page = self.at(url, page, form)
        check('value="consent"' in page, f"a consent form at {url}: {page[:500]}")
        return url, page

    def sign_in(self, name, query=""):
        return self.at(*self.log_in(name, query), {"prompt": "consent"})


def check(holds, what):
    if not holds:
        sys.exit(f"error: expected {what}")


def call(method, path, body=None, token=None):
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(SITE + path, data, headers, method=method)
    try:
        answer = urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        return answer.status, json.load(answer)


def me(answer):
    status, url, body = answer
    check(status == 200, f"a session, not {status} at {url}: {body}")
    status, account = call("GET", "/api/auth/me", token=json.loads(body)["access_token"])
    check(status == 200, f"an account, not {account}")
    return account


def refused(answer, status, code):
    told = json.loads(answer[2])
    check((answer[0], told["error_code"]) == (status, code), f"{status} {code}, not {answer}")


def walk():
    status, listed = call("GET", "/api/auth/oidc/providers")
    check(listed["providers"] == [{"name": "local", "start": "/api/auth/oidc/local/start"}], f"local, not {listed}")

    browser = Browser()
    back = browser.sign_in("ada")
    ada = me(back)
    check((ada["email"], ada["username"]) == ("ada@example.org", "ada"), f"ada, not {ada}")
    check(ada["email_verified"] is True and ada["full_name"] == "ada", f"what the provider says, not {ada}")
    refused(browser.open(back[1]), 400, "oidc_state_invalid")
    check(me(browser.open(START))["id"] == ada["id"], "the same account without a question")
    check(me(Browser().sign_in("ada"))["id"] == ada["id"], "the same account in another browser")
    status, told = call("POST", "/api/auth/login", {"username": "ada", "password": "any"})
    check(told["error_code"] == "bad_credentials", f"no log-in by password, but {told}")

    refused(Browser().open(START + "?prompt=none"), 403, "oidc_interaction_required")
    browser = Browser()
    url, page = browser.log_in("grace")
    abort = re.search(r'href="([^"]+/abort)"', page)
    check(abort, f"a way to refuse: {page[:500]}")
    refused(browser.open(urllib.parse.urljoin(url, abort[1])), 403, "oidc_access_denied")

    call("POST", "/api/auth/register", {"email": "bob@example.org", "username": "bob", "password": "correct horse battery"})
    refused(Browser().sign_in("bob"), 409, "email_taken")
    check(me(Browser().sign_in("mallory"))["email_verified"] is False, "an address that nobody verified")

    status, url, body = Browser().sign_in("grace", "?return_to=/health%3Fpage%3D1")
    query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query))
    check(url.startswith(SITE + "/health?page=1&code="), f"the page, not {url}: {body}")
    code = {"code": query["code"]}
    status, done = call("POST", "/api/auth/oidc/exchange", code)
    check(status == 200, f"a session, not {done}")
    check(call("GET", "/api/auth/me", token=done["access_token"])[1]["username"] == "grace", "grace")
    check(call("POST", "/api/auth/oidc/exchange", code)[1]["error_code"] == "oidc_code_not_found", "a code is used once")
    refused(Browser().open(START + "?return_to=https://evil.example.com"), 400, "validation_failed")


def again():
    """With other keys than those that are known."""
    check(me(Browser().sign_in("ada"))["username"] == "ada", "ada, by the new keys")


{"walk": walk, "again": again}[sys.argv[1]]()
