"""How the tests of the gateway say what held and what did not."""

import sys
import time

held = 0


def tick(text):
    """Says that something held."""
    global held
    held += 1
    print(f"  ✓ {text}")


def fail(text):
    """Ends the test."""
    print(f"  ✗ {text}", file=sys.stderr)
    raise SystemExit(1)


def check(condition, text):
    """Ends the test where it does not hold."""
    if not condition:
        fail(text)


def eventually(what, condition, seconds=20):
    """Waits for a condition, not for long."""
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        check(time.monotonic() < end, f"within {seconds} s: {what}")
        time.sleep(0.05)


def problem(answer, status, code):
    """application/problem+json that says so."""
    said = answer.json()
    kind = answer.header("content-type") or ""
    check(
        answer.status == status and kind.startswith("application/problem+json")
        and said.get("error_code") == code and said.get("status") == status
        and all(said.get(field) for field in ("type", "title", "detail", "instance", "trace_id")),
        f"problem {status} {code}, came {answer}",
    )
    return said


def forge(attack, with_h2=True):
    """Runs the corpus and says what got through."""
    failures = attack.run()
    if with_h2:
        attack.run_h2()
    for failure in failures[:10]:
        print(f"  ✗ {failure}", file=sys.stderr)
    check(not failures, f"{len(failures)} of {attack.cases} cases got through")
    tick(f"{attack.cases} forged requests to {attack.path}{' by TLS' * attack.tls}: 4xx, or the identity of the token")


def summary():
    """The last line."""
    print(f"all {held} held")
