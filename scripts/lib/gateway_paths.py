"""Other ways to write a path that needs a token."""

import posixpath
import re
from urllib.parse import unquote

from gateway_say import check

# For /api/posts/17: {path} is api/posts/17, {below} posts/17, {head} api/posts, {last} 17. Capitals are in
# {LAST} and {PATH}; {encoded} is %317. Something else than slashes is between the parts of {path_back},
# {path_2f} and {path_5c}.
TRICKS = [
    # Slashes that are too many.
    "//{path}",
    "///{path}",
    "/api//{below}",
    "/{head}//{last}",
    "/{path}//",
    "//api//{below}",
    # Dots.
    "/../{path}",
    "/./{path}",
    "/api/../{path}",
    "/api/./{below}",
    "/{head}/./{last}",
    "/{head}/x/../{last}",
    "/api/posts/../{below}",
    "/api/posts/x/../../{below}",
    "/api/auth/login/../../{below}",
    "/.well-known/../{path}",
    "/.well-known/jwks.json/../../{path}",
    "/health/../{path}",
    "/docs/../{path}",
    "/errors/../{path}",
    "/errors/502/../../{path}",
    "/{path}/.",
    "/{path}/..",
    "/{path}/./",
    "/{path}/../{last}",
    "/{path}.",
    "/{path}..",
    "/{path}./",
    "/api./{below}",
    "/.{path}",
    # Parameters of a part, as Java has them.
    "/{path};",
    "/{path};x=1",
    "/api;x=1/{below}",
    "/;/{path}",
    "/{head}/x/..;/{last}",
    "/api/auth/login;/../../{below}",
    "/api/auth/login/..;/..;/{below}",
    # Encoded slashes and dots, once and twice.
    "/{path_2f}",
    "/%2f{path}",
    "/{head}%2f{last}",
    "/{head}%2F{last}",
    "/{path}%2f",
    "/{path}%2f.",
    "/api/posts%2f..%2f{below}",
    "/api/posts/..%2f{below}",
    "/api/posts/%2e%2e/{below}",
    "/api/posts/%2E%2E/{below}",
    "/api/posts/%2e./{below}",
    "/api/posts/.%2e/{below}",
    "/api/posts/%252e%252e/{below}",
    "/api/posts/x/%252e%252e%252f%252e%252e%252f{below}",
    "/api/posts/%c0%ae%c0%ae/{below}",
    "/api/auth/login%2f..%2f..%2f{below}",
    "/docs/..%2f{path}",
    "/%2e/{path}",
    "/{path}/%2e",
    "/{path}/%2e%2e/{last}",
    "/{path}%2e",
    "/{head}%252f{last}",
    # Other characters that end a path for somebody.
    "/{path}%00",
    "/{path}%00.html",
    "/{path}%20",
    "/{path}%09",
    "/{path}%0a",
    "/{path}%0d%0aX-User-ID:%201",
    "/{path}%23",
    "/{path}%3f",
    "/{path}%3b",
    "/{path}?",
    "/{path}??",
    "/{path}?x=/api/auth/login",
    "/{path}?mode=optional",
    "/{path}?X-User-ID=1&x_user_id=1",
    "/{path}#",
    "/{path}#/api/auth/login",
    # Letters.
    "/{head}/{encoded}",
    "/%61pi/{below}",
    "/%2561pi/{below}",
    "/{PATH}",
    "/API/{below}",
    "/{head}/{LAST}",
    # The slash of another system.
    "/{path_back}",
    "\\{path}",
    "/{head}\\{last}",
    "/{path}\\",
    "/{path}\\..",
    "/{path_5c}",
    "/api/posts/..\\{below}",
    "/api/posts/..%5c{below}",
    # In front of the path.
    "http://gateway/{path}",
    "http://gateway//{path}",
    "http://gateway:80/{path}",
    "HTTP://GATEWAY/{path}",
    "https://gateway/{path}",
    "http://user@gateway/{path}",
    "http://evil.example/{path}",
    "http://evil.example/api/auth/login/../../{below}",
    "http:///{path}",
    "{path}",
    "/api/auth/login /{path}",
    "/{path} /{path}",
]


def tricks(path):
    """The ways to write this path. One with a single part below /api has fewer: some fall together."""
    parts = path.strip("/").split("/")
    last = parts[-1]
    words = {
        "path": "/".join(parts), "PATH": "/".join(parts).upper(), "below": "/".join(parts[1:]),
        "head": "/".join(parts[:-1]), "last": last, "LAST": last.upper(),
        "encoded": f"%{ord(last[0]):x}{last[1:]}",
        "path_2f": "%2f".join(parts), "path_5c": "%5c".join(parts), "path_back": "\\".join(parts),
    }
    return list(dict.fromkeys(trick.format(**words) for trick in TRICKS))


def readings(target):
    """All that something lenient may take a target for."""
    found, unread = set(), [target]
    while unread:
        text = unread.pop()
        if text in found:
            continue
        found.add(text)
        unread += [
            text.split(" ")[-1],
            unquote(text.replace("%c0%ae", ".")),
            text.lower(),
            text.replace("\\", "/"),
            re.sub(r"^https?://[^/]*", "", text),
            re.split("[?#\0\r\n]", text)[0],
            re.sub(r";[^/]*", "", text),
            re.sub(r"(?<=[^/.])\.+(?=/|$)", "", text),  # dots at the end of a part
            re.sub(r"^/\.(?=[^/.])", "/", text),  # and at the beginning of the first
            text.rstrip("./ \t\r\n"),
            "/" + posixpath.normpath(text).lstrip("/"),
        ]
    return found


def check_tricks():
    """Checks that each trick is another way to write the path it is for."""
    fewer = len(tricks("/api/profile"))
    for path in ("/api/auth/me", "/api/posts/0190c0de-me", "/api/profile", "/api/notifications", "/api/menu/auth/me"):
        written = tricks(path)
        expected = len(TRICKS) if path.count("/") > 2 else fewer
        check(len(written) == expected > 90, f"{path}: {len(written)} of {len(TRICKS)} ways differ")
        check(path not in written, f"{path} itself is no trick")
        for target in written:
            check(path in readings(target), f"{target!r} is no other way to write {path}")
