#!/usr/bin/env bash
# A default in an OpenAPI document is documentation to the server and an order to a generated client.
# Expected: an optional query parameter with a default that the caller does not set is not sent.
# Seen: openapi-python-client 0.29.1 makes the default the argument's default and sends it with every request, so a
#   rule like "not both of these" is broken by each call. openapi-typescript 7.13.0 makes a body's field with a
#   default one that the caller must give.
# Why it matters: {skip: default 0} beside {cursor} makes every page by cursor a 400 for Python users, who never
#   wrote skip. And a default that the server changes later stays as it was, in all clients.
# What we do: allow a default's value wherever absence is allowed, or say it in the description alone.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

pip_install openapi-python-client==0.29.1
npm_install openapi-typescript@7.13.0 typescript@5.9.3
cat >api.json <<'JSON'
{
  "openapi": "3.1.0",
  "info": {"title": "Posts", "version": "1"},
  "paths": {
    "/posts": {
      "get": {
        "operationId": "list_posts",
        "parameters": [
          {"name": "limit", "in": "query", "schema": {"type": "integer", "default": 20}},
          {"name": "skip", "in": "query", "schema": {"type": "integer", "default": 0}},
          {"name": "cursor", "in": "query", "schema": {"type": "string"}}
        ],
        "responses": {"204": {"description": "none"}}
      }
    }
  },
  "components": {"schemas": {"NewPost": {"type": "object", "required": ["title"], "properties": {
    "title": {"type": "string"},
    "draft": {"type": "boolean", "default": false},
    "pinned": {"type": "boolean"}
  }}}}
}
JSON
quietly "generating" "$work/venv/bin/openapi-python-client" generate --path api.json --output-path client --meta none
cat >call.py <<'PYTHON'
import httpx
from client import Client
from client.api.default import list_posts
client = Client("http://posts")
seen = lambda request: print("sent:", request.url.query.decode()) or httpx.Response(204)
client.set_httpx_client(httpx.Client(base_url="http://posts", transport=httpx.MockTransport(seen)))
list_posts.sync_detailed(client=client, cursor="abc")
PYTHON
types() { npx --no-install openapi-typescript api.json 2>/dev/null | grep -E '^ +(title|draft|pinned)\??:' | tr -d ' '; }
both() { "$python" call.py && types; }
compare both <<'TEXT'
sent: limit=20&skip=0&cursor=abc
title:string;
draft:boolean;
pinned?:boolean;
TEXT
as_found
