#!/usr/bin/env bash
# httpx breaks a line of JSON Lines in two where a text in it has a line separator.
# Expected: lines of JSON Lines end at \n alone, as JSON writes a line feed inside a text as two characters.
# Seen (httpx 0.28.1): Response.iter_lines() also ends a line at U+2028, U+2029 and U+0085, which JSON leaves as they
#   are and serde_json writes as they are. requests 2.33.1, whose iter_lines() cuts bytes, and httpx-sse read it well.
# Why it matters: texts pasted from office programs have U+2028 in them. One such post, and a reader of an export or a
#   watch over HTTP fails with a JSON error at that line, days after its tests passed.
# What we do: streams of ours are server-sent events; an export of JSON Lines would have to escape the three.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

pip_install httpx==0.28.1 httpx-sse==0.4.3 requests==2.33.1
cat >lines.py <<'PYTHON'
import http.server, json, threading
import httpx, httpx_sse, requests
DOCUMENT = json.dumps({"title": "one\u2028two"}, ensure_ascii=False)
BODIES = {"/lines": ("application/jsonl", DOCUMENT + "\n"), "/events": ("text/event-stream", f"data: {DOCUMENT}\n\n")}

class Server(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        kind, body = BODIES[self.path]
        self.send_response(200)
        self.send_header("Content-Type", kind + "; charset=utf-8")
        self.end_headers()
        self.wfile.write(body.encode())
    def log_message(self, *_):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
base = f"http://127.0.0.1:{server.server_port}"
client = httpx.Client(trust_env=False)
with client.stream("GET", base + "/lines") as answer:
    print("httpx:", len(list(answer.iter_lines())), "lines")
with httpx_sse.connect_sse(client, "GET", base + "/events") as events:
    print("httpx-sse:", [json.loads(event.data) for event in events.iter_sse()])
print("requests:", [json.loads(line) for line in requests.get(base + "/lines", stream=True).iter_lines()])
PYTHON
compare "$python" lines.py <<'TEXT'
httpx: 2 lines
httpx-sse: [{'title': 'one\u2028two'}]
requests: [{'title': 'one\u2028two'}]
TEXT
as_found
