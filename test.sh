#!/usr/bin/env bash
# The end-to-end walk: every endpoint as a client meets it, good and bad input, what follows from
# it in the feed and in the inbox. A tick a promise; the first one that does not hold ends it.
#
#   ./test.sh                                  starts a rookery of its own, stops it afterwards
#   BASE_URL=http://localhost:8000 ./test.sh   walks a server that runs; again and again, if wanted
#
# Names are new in every run, so nothing has to be cleaned up. Some steps can't be done over HTTP: making an
# admin, reading a topic. On a server that is not its own, ROOKERY_CLI says how to call the command line for
# them (`scripts/stack rookery`). Without it they are left out. ROOKERY names another executable to start.
set -euo pipefail
cd "$(dirname "$0")"

for tool in curl jq; do
  command -v "$tool" >/dev/null || { echo "'$tool' is missing" >&2; exit 1; }
done

. scripts/lib/walk.sh

# --- the server --------------------------------------------------------------------------------

# The command line beside the server; empty where there is none.
read -ra CLI <<<"${ROOKERY_CLI:-}"
[ -n "${BASE_URL:-}" ] || start_own_server
BASE_URL=${BASE_URL%/}
RUN=$(od -An -N5 -tx1 /dev/urandom | tr -d ' \n')
PASSWORD="a long password, $RUN"
ADA="ada-$RUN" BOB="bob-$RUN" TAG="tag-$RUN"
echo "walking $BASE_URL as $ADA and $BOB"

# ------------------------------------------------------------------------------------------------
chapter "The server says how it is"

end=$((SECONDS + PATIENCE))
until call GET /ready && [ "$STATUS" = 200 ]; do
  ((SECONDS < end)) || fail "ready within ${PATIENCE} s" "status $STATUS"
  sleep 0.1
done
tick "/ready: it can serve"
call GET /health
status 200
holds '.status == "ok" and ([.services[]] | length > 0 and all(. == "ok"))'
tick "/health: alive, and so are $(field '.services | keys | join(", ")')"
for part in db events; do
  call GET "/health/$part"
  status 200
done
tick "/health/db and /health/events"
call GET /
status 200
holds '(.name | length > 0) and (.version | length > 0) and .status == "ok" and (.links.docs | length > 0)'
tick "/: name, version, status, links"
call GET /openapi.json
status 200
holds '.openapi | startswith("3.")'
for path in /api/auth/register /api/profile /api/posts /api/activity-stream /api/notifications; do
  holds '.paths | has($path)' --arg path "$path"
done
holds '[.paths[][] | objects | .operationId // empty] | length == (unique | length)'
tick "/openapi.json: all services in one, every operation with a name of its own"
for page in /docs /redoc; do
  call GET "$page" "" -L
  status 200
  case "$(header content-type)" in text/html*) ;; *) fail "text/html" "$(header content-type)" ;; esac
done
tick "/docs and /redoc"
if [ -n "$OWN_SERVER" ]; then
  call GET /metrics
  status 200
  grep -q '^# TYPE' "$TMP/body" || fail "metrics" "something else"
  tick "/metrics"
fi

# ------------------------------------------------------------------------------------------------
chapter "Accounts"

call POST /api/auth/register "$(json --arg name "$ADA" --arg password "$PASSWORD" \
  '{email: ($name + "@example.org"), username: $name, password: $password, full_name: "Ada Lovelace", age: 36}')"
status 201
holds '(.id | numbers) > 0 and .username == $name and .email == $name + "@example.org" and .role == "user"' --arg name "$ADA"
holds 'has("password") or has("password_hash") | not'
ADA_ID=$(field .id)
register "$BOB"
status 201
BOB_ID=$(field .id)
tick "two register"
register "${ADA^^}"
problem 400 user_exists
call POST /api/auth/register "$(json --arg mail "${ADA^^}@EXAMPLE.org" --arg name "other-$RUN" --arg password "$PASSWORD" \
  '{email: $mail, username: $name, password: $password}')"
problem 400 user_exists
tick "a name or an address is taken, whatever its case"
login email "$ADA@example.org"
ADA_TOKEN=$TOKEN
login username "$BOB"
BOB_TOKEN=$TOKEN
tick "log in by e-mail and by name"
call POST /api/auth/login "$(json --arg name "$ADA" '{username: $name, password: "not her password"}')"
problem 401 bad_credentials
DETAIL=$(field .detail)
call POST /api/auth/login "$(json --arg name "nobody-$RUN" '{username: $name, password: "not her password"}')"
problem 401 bad_credentials
same "$DETAIL" "$(field .detail)"
tick "a wrong password and an unknown account get the same answer"
AS=$ADA_TOKEN call GET /api/auth/me
status 200
holds '.id == $id and .full_name == "Ada Lovelace" and .age == 36' --argjson id "$ADA_ID"
AS=$ADA_TOKEN call PUT /api/auth/me '{"full_name":"Augusta Ada King","age":null}'
status 200
holds '.full_name == "Augusta Ada King" and .age == null and .username == $name' --arg name "$ADA"
tick "me: read, change, clear"

# ------------------------------------------------------------------------------------------------
chapter "Identity"

AS=$ADA_TOKEN call GET /api/auth/validate
status 200
same "$ADA_ID" "$(header x-user-id)"
same "$ADA" "$(header x-user-name)"
same user "$(header x-user-role)"
[ -n "$(header x-identity)" ] || fail "a signed X-Identity" "none"
tick "validate says who it is"
call GET /api/auth/validate
problem 401 unauthenticated
call GET '/api/auth/validate?mode=optional'
status 200
same "" "$(header x-user-id)"
tick "validate without a token: 401 where one is required, nobody where it is optional"
FORGED=(-H "X-User-ID: $BOB_ID" -H "x_user_id: $BOB_ID" -H "X-User-Name: $BOB" -H 'X-User-Role: admin' -H 'X-Identity: forged')
AS=$ADA_TOKEN call GET /api/auth/validate "" "${FORGED[@]}"
status 200
same "$ADA_ID" "$(header x-user-id)"
AS=$ADA_TOKEN call GET /api/auth/me "" "${FORGED[@]}"
status 200
holds '.id == $id' --argjson id "$ADA_ID"
call GET /api/auth/me "" "${FORGED[@]}"
problem 401 unauthenticated
tick "identity headers from outside never arrive"
CLAIMS=$(cut -d. -f2 <<<"$ADA_TOKEN")
SIGNATURE=$(cut -d. -f3 <<<"$ADA_TOKEN")
for bad in "nonsense" "a.b.c" \
  "$(b64 '{"alg":"none","typ":"JWT"}').$CLAIMS." "$(b64 '{"alg":"nOnE","typ":"JWT"}').$CLAIMS." \
  "$(cut -d. -f1 <<<"$ADA_TOKEN").$(b64 "{\"sub\":\"$BOB_ID\"}").$SIGNATURE"; do
  AS=$bad call GET /api/auth/me
  problem 401 invalid_token
  AS=$bad call GET /api/posts # an optional route: no token would be good, a bad one is not
  problem 401 invalid_token
done
tick "malformed, unsigned (alg=none in any case) and tampered tokens are refused"
call GET /.well-known/jwks.json
status 200
holds '.keys | length > 0 and all(.kty == "OKP" and .crv == "Ed25519" and (has("d") | not))'
tick "public keys at /.well-known/jwks.json"
AS=nonsense call POST /api/auth/login "$(json --arg name "$ADA" --arg password "$PASSWORD" '{username: $name, password: $password}')"
status 200
tick "a bad token locks nobody out of logging in"

# ------------------------------------------------------------------------------------------------
chapter "Profiles"

AS=$ADA_TOKEN call GET /api/profile
problem 404 profile_not_found
AS=$ADA_TOKEN call POST /api/profile \
  '{"first_name":"Ada","last_name":"Lovelace","dob":"1815-12-10","city":"London"}'
problem 400 validation_failed dob
AS=$ADA_TOKEN call POST /api/profile \
  '{"first_name":"Ada","last_name":"Lovelace","dob":"1990-12-10","city":"London","phone":"+44 20 7946 0000","bio":"<b>Notes</b> & more","preferences":{"theme":"dark","order":[3,1,2]}}'
status 201
holds '(.id | numbers) > 0 and .user_id == $id and .bio == "<b>Notes</b> & more" and .preferences == {"theme":"dark","order":[3,1,2]}' --argjson id "$ADA_ID"
tick "written, kept as it came"
AS=$ADA_TOKEN call POST /api/profile '{"first_name":"Ada"}'
problem 400 profile_exists
tick "a second one is refused"
AS=$ADA_TOKEN call PUT /api/profile '{"city":"Ockham","phone":null}'
status 200
holds '.city == "Ockham" and .phone == null and .first_name == "Ada" and .dob == "1990-12-10"'
AS=$ADA_TOKEN call GET /api/profile
status 200
holds '.city == "Ockham" and .phone == null and .first_name == "Ada"'
tick "changed in part: null clears, what is not named stays"
AS=$BOB_TOKEN call GET "/api/profile/$ADA_ID"
status 200
holds '.first_name == "Ada" and .city == "Ockham"'
holds '[keys[] | select(IN("dob", "address", "zip_code", "phone", "preferences"))] == []'
tick "others see the public part"
AS=$BOB_TOKEN call POST /api/profile '{"first_name":"Bob"}'
status 201
AS=$BOB_TOKEN call DELETE /api/profile
status 200
holds '.message == "Profile deleted successfully"'
AS=$BOB_TOKEN call GET /api/profile
problem 404 profile_not_found
tick "deleted"
call GET /api/profile
problem 401 unauthenticated
tick "nothing without a token"

# ------------------------------------------------------------------------------------------------
chapter "Posts"

declare -a POST
for number in 1 2 3; do
  AS=$ADA_TOKEN call POST /api/posts "$(json --arg title "Post $number" --arg tag " ${TAG^^} " \
    '{title: $title, content: "<i>as written</i> & kept", tags: [$tag, "walk"]}')"
  status 201
  holds '.title == $title and .content == "<i>as written</i> & kept" and .tags == [$tag, "walk"] and .user_id == $id and .username == $name' \
    --arg title "Post $number" --arg tag "$TAG" --argjson id "$ADA_ID" --arg name "$ADA"
  holds '.created_at | test("^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{3}Z$")'
  POST[number]=$(field .id)
done
tick "three are published, tags normalised, content as written"
for guest in "" "$BOB_TOKEN"; do
  AS=$guest call GET "/api/posts/${POST[1]}"
  status 200
  holds '.id == $id and .title == "Post 1"' --arg id "${POST[1]}"
done
tick "anybody reads one"
call GET "/api/posts?tag=$TAG"
status 200
holds '[.items[].title] == ["Post 3", "Post 2", "Post 1"] and .total == 3 and .limit == 20 and .skip == 0 and .next_cursor == null'
call GET "/api/posts?user_id=$BOB_ID"
status 200
holds '.items == [] and .total == 0'
call GET "/api/posts?user_id=$ADA_ID&tag=walk&limit=2&skip=1"
status 200
holds '[.items[].title] == ["Post 2", "Post 1"] and .total == 3 and .limit == 2 and .skip == 1'
tick "listed newest first, by author, by tag, by pages"
call GET "/api/posts?tag=$TAG&limit=2"
status 200
holds '[.items[].title] == ["Post 3", "Post 2"]'
CURSOR=$(field .next_cursor)
AS=$ADA_TOKEN call POST /api/posts "$(json --arg tag "$TAG" '{title: "Post 4", content: "in between", tags: [$tag]}')"
status 201
POST[4]=$(field .id)
call GET "/api/posts?tag=$TAG&limit=2&cursor=$CURSOR"
status 200
holds '[.items[].title] == ["Post 1"] and .next_cursor == null'
tick "the next page by cursor is true while posts are written"

# ------------------------------------------------------------------------------------------------
chapter "The activity stream"

eventually '[.items[] | select(.user_id == $id) | .title] | .[:4] == ["Post 4", "Post 3", "Post 2", "Post 1"]' \
  GET '/api/activity-stream?limit=100' --argjson id "$ADA_ID"
holds '.items[] | select(.post_id == $post) | .event_type == "post.created" and .username == $name and .content == "in between" and .tags == [$tag] and (.timestamp | endswith("Z"))' \
  --arg post "${POST[4]}" --arg name "$ADA" --arg tag "$TAG"
tick "what was posted is in it, newest first, for guests too"
AS=$ADA_TOKEN eventually '[.items[].title] == ["Post 4", "Post 3", "Post 2", "Post 1"] and .total == 4' \
  GET /api/activity-stream/user
call GET "/api/activity-stream/user/$ADA_ID?limit=3"
status 200
holds '[.items[].title] == ["Post 4", "Post 3", "Post 2"] and .total == 4 and .limit == 3'
CURSOR=$(field .next_cursor)
call GET "/api/activity-stream/user/$ADA_ID?limit=3&cursor=$CURSOR"
status 200
holds '[.items[].title] == ["Post 1"] and .next_cursor == null'
call GET /api/activity-stream/user
problem 401 unauthenticated
AS=$BOB_TOKEN call GET /api/activity-stream/user
status 200
holds '.items == [] and .total == 0'
tick "a user's own, by pages and by cursor"
AS=$ADA_TOKEN call PUT "/api/posts/${POST[1]}" '{"title":"Post 1, second edition"}'
status 200
holds '.title == "Post 1, second edition" and .content == "<i>as written</i> & kept" and .updated_at >= .created_at'
call GET "/api/posts/${POST[1]}"
holds '.title == "Post 1, second edition"'
eventually '[.items[].title] == ["Post 4", "Post 3", "Post 2", "Post 1, second edition"] and .items[3].event_type == "post.updated"' \
  GET "/api/activity-stream/user/$ADA_ID"
tick "an update shows and moves nothing"
AS=$ADA_TOKEN call DELETE "/api/posts/${POST[4]}"
status 200
holds '.message == "Post deleted successfully"'
call GET "/api/posts/${POST[4]}"
problem 404 post_not_found
AS=$ADA_TOKEN call DELETE "/api/posts/${POST[4]}"
problem 404 post_not_found
eventually '[.items[].title] == ["Post 3", "Post 2", "Post 1, second edition"] and .total == 3' \
  GET "/api/activity-stream/user/$ADA_ID"
tick "a deletion takes it out"
AS=$ADA_TOKEN call PUT /api/auth/me "$(json --arg name "countess-$RUN" '{username: $name}')"
status 200
eventually '[.items[].username] == [$name, $name, $name]' \
  GET "/api/activity-stream/user/$ADA_ID" --arg name "countess-$RUN"
eventually '[.items[].username] == [$name, $name, $name]' GET "/api/posts?tag=$TAG" --arg name "countess-$RUN"
tick "a new name shows on what was posted before"
eventually '.redis_connected == true and .kafka_consumer_active == true and .consumer_lag == 0
  and .global_activity_count >= 3 and .user_feed_count >= 1 and .freshness_ms.p50 <= .freshness_ms.p99' \
  GET /api/activity-stream/stats
tick "stats are measured: from post to stream p50 $(field .freshness_ms.p50) ms, p99 $(field .freshness_ms.p99) ms"

# ------------------------------------------------------------------------------------------------
chapter "Whose post it is"

AS=$BOB_TOKEN call PUT "/api/posts/${POST[1]}" '{"title":"mine now"}'
problem 403 forbidden
AS=$BOB_TOKEN call DELETE "/api/posts/${POST[1]}"
problem 403 forbidden
call DELETE "/api/posts/${POST[1]}"
problem 401 unauthenticated
tick "somebody else's can't be changed or deleted"
if [ ${#CLI[@]} -gt 0 ]; then
  LAST="rookery admin create"
  printf '%s\n' "$PASSWORD" | "${CLI[@]}" admin create --email "root-$RUN@example.org" \
    --username "root-$RUN" --password-stdin >"$TMP/body" 2>&1 || fail "an admin" "exit code $?"
  login username "root-$RUN"
  ROOT=$TOKEN
  AS=$ROOT call GET /api/auth/me
  holds '.role == "admin"'
  AS=$ROOT call PUT "/api/posts/${POST[1]}" '{"tags":["edited"]}'
  status 200
  holds '.tags == ["edited"] and .user_id == $id' --argjson id "$ADA_ID"
  tick "an admin (rookery admin create) may edit"
else
  left_out "an admin may edit: left out, it takes the server's command line to make one"
fi

# ------------------------------------------------------------------------------------------------
chapter "Notifications"

for user in "$ADA_TOKEN" "$BOB_TOKEN"; do
  AS=$user eventually '.unread_count == 1' GET /api/notifications/unread-count
done
AS=$ADA_TOKEN call GET /api/notifications
status 200
holds '.total == 1 and [.items[] | [.kind, .read_at]] == [["welcome", null]] and (.items[0].title | length) > 0'
NOTE=$(field '.items[0].id')
tick "one welcome each: $(field '.items[0].title')"
AS=$BOB_TOKEN call POST "/api/notifications/$NOTE/read"
problem 404 notification_not_found
AS=$ADA_TOKEN call POST "/api/notifications/$NOTE/read"
status 200
AS=$ADA_TOKEN call GET /api/notifications/unread-count
holds '.unread_count == 0'
AS=$ADA_TOKEN call GET /api/notifications
holds '.items[0].read_at | strings | endswith("Z")'
AS=$ADA_TOKEN call GET '/api/notifications?unread=true'
holds '.items == [] and .total == 0'
tick "read, by its owner only"
AS=$BOB_TOKEN call POST /api/notifications/read-all
status 200
holds '.marked_read == 1'
AS=$BOB_TOKEN call GET /api/notifications/unread-count
holds '.unread_count == 0'
call GET /api/notifications
problem 401 unauthenticated
tick "read all"

# ------------------------------------------------------------------------------------------------
chapter "Bad input"

bad 400 malformed_json "" POST /api/posts '{"title":'
bad 400 validation_failed body POST /api/posts '[]'
bad 400 validation_failed title POST /api/posts '{"title":1,"content":"c"}'
bad 400 validation_failed content POST /api/posts '{"title":"t"}'
bad 400 validation_failed title POST /api/posts '{"title":null,"content":"c"}'
tick "malformed JSON, wrong types, missing fields, null"
bad 400 validation_failed title POST /api/posts "{\"title\":\"$(long 201)\",\"content\":\"c\"}"
bad 400 validation_failed content POST /api/posts "{\"title\":\"t\",\"content\":\"$(long 20001)\"}"
bad 400 validation_failed 'tags[0]' POST /api/posts "{\"title\":\"t\",\"content\":\"c\",\"tags\":[\"$(long 51)\"]}"
bad 400 validation_failed title POST /api/posts '{"title":"  ","content":"c"}'
bad 400 validation_failed content POST /api/posts '{"title":"t","content":"a\u0000b"}'
bad 400 validation_failed content PUT "/api/posts/${POST[1]}" '{"content":null}'
tick "too long, blank, a NUL, null where there must be something"
bad 400 validation_failed username POST /api/auth/register '{"email":"x@example.org","username":"no spaces","password":"long enough"}'
bad 400 validation_failed email POST /api/auth/register "{\"email\":\"nowhere\",\"username\":\"x-$RUN\",\"password\":\"long enough\"}"
bad 400 validation_failed password POST /api/auth/register "{\"email\":\"x@example.org\",\"username\":\"x-$RUN\",\"password\":\"short\"}"
bad 400 validation_failed email POST /api/auth/login '{"password":"long enough"}'
tick "accounts that break the rules"
bad 404 post_not_found "" GET /api/posts/00000000-0000-7000-8000-000000000000
bad 404 post_not_found "" GET /api/posts/17
bad 404 post_not_found "" PUT /api/posts/nonsense '{"title":"t"}'
bad 404 profile_not_found "" GET /api/profile/999999999
bad 404 session_not_found "" DELETE /api/auth/sessions/nonsense
tick "unknown and malformed ids"
for list in /api/posts /api/activity-stream /api/activity-stream/user /api/notifications /api/auth/sessions; do
  for limit in 0 -1 101 99999999999999999999 many; do
    bad 400 validation_failed limit GET "$list?limit=$limit"
  done
  bad 400 validation_failed skip GET "$list?skip=-1"
  bad 400 validation_failed cursor GET "$list?cursor=nonsense"
done
bad 400 validation_failed user_id GET '/api/posts?user_id=ada'
tick "limits, skips and cursors out of range"
long 1100000 >"$TMP/large"
bad 413 body_too_large "" POST /api/posts "@$TMP/large"
bad 415 unsupported_media_type "" POST /api/posts "" -H 'Content-Type: text/plain' --data-binary '{"title":"t","content":"c"}'
bad 405 method_not_allowed "" PATCH /api/posts
bad 404 not_found "" GET "/api/nothing-$RUN"
tick "a body over the limit, a wrong content type, method, path"
AS=$ADA_TOKEN call GET /api/posts/
status 200
AS=$ADA_TOKEN call GET /api/auth/me "" -H 'X-Correlation-ID: walk-1' -H 'X-Request-ID: walk-2'
status 200
same walk-1 "$(header x-correlation-id)"
[ -n "$(header x-request-id)" ] || fail "an X-Request-ID" "none"
tick "a slash at the end is fine, a correlation id comes back"

# ------------------------------------------------------------------------------------------------
chapter "People"

for user in "$BOB_ID" "email/$BOB@example.org"; do
  AS=$BOB_TOKEN call GET "/api/v1/users/$user"
  status 200
  holds '.id == $id and .is_active' --argjson id "$BOB_ID"
  AS=$ADA_TOKEN call GET "/api/v1/users/$user"
  problem 404 user_not_found
done
AS=$BOB_TOKEN call GET /api/v1/users/
problem 403 forbidden
AS=$BOB_TOKEN call PUT "/api/v1/users/$BOB_ID" '{"role":"admin"}'
problem 403 forbidden
tick "everybody sees the own account alone, and makes nobody an admin"
if [ -n "${ROOT:-}" ]; then
  EVE="eve-$RUN"
  AS=$ROOT call POST /api/v1/users "$(json --arg name "$EVE" --arg password "$PASSWORD" \
    '{email: ($name + "@example.org"), password: $password, first_name: "Eve"}')"
  status 201
  holds '.username == $name and .role == "user" and .is_active' --arg name "$EVE"
  EVE_ID=$(field .id)
  AS=$ROOT call GET "/api/v1/users/?q=EVE-$RUN&sort=-id"
  status 200
  holds '.total == 1 and .items[0].id == $id' --argjson id "$EVE_ID"
  login username "$EVE"
  EVE_TOKEN=$TOKEN
  AS=$ROOT call PUT "/api/v1/users/$EVE_ID" '{"is_active":false}'
  status 200
  AS=$EVE_TOKEN call GET /api/auth/me
  problem 401 invalid_token
  call POST /api/auth/login "$(json --arg name "$EVE" --arg password "$PASSWORD" '{username: $name, password: $password}')"
  problem 403 account_inactive
  AS=$ROOT call PUT "/api/v1/users/$EVE_ID" '{"is_active":true}'
  status 200
  tick "an admin opens, finds and deactivates accounts"
  login username "$EVE"
  EVE_TOKEN=$TOKEN
  AS=$EVE_TOKEN call POST /api/profile '{"bio":"here and gone"}'
  status 201
  AS=$EVE_TOKEN call PUT /api/auth/password '{"current_password":"not hers","new_password":"a new long password"}'
  problem 403 wrong_password
  AS=$EVE_TOKEN call PUT /api/auth/password "$(json --arg password "$PASSWORD" \
    '{current_password: $password, new_password: "password"}')"
  problem 400 password_too_weak
  login username "$EVE"
  AS=$EVE_TOKEN call PUT /api/auth/password "$(json --arg password "$PASSWORD" \
    '{current_password: $password, new_password: ($password + "!")}')"
  status 200
  holds '.ended == 1'
  AS=$TOKEN call GET /api/auth/me
  problem 401 invalid_token
  tick "a new password ends the other sessions; a weak one is refused with advice"
  AS=$EVE_TOKEN call DELETE /api/auth/me '{"password":"not hers"}'
  problem 403 wrong_password
  AS=$EVE_TOKEN call DELETE /api/auth/me "$(json --arg password "$PASSWORD!" '{password: $password}')"
  status 200
  AS=$EVE_TOKEN call GET /api/auth/me
  problem 401 invalid_token
  AS=$ROOT eventually '[.services[].service] | contains(["auth", "notification", "user-profile"])' \
    GET "/api/v1/users/$EVE_ID/erasure"
  AS=$ADA_TOKEN call GET "/api/profile/$EVE_ID"
  problem 404 profile_not_found
  tick "a deleted account is erased, and an admin sees by whom"
else
  left_out "an admin manages accounts: left out, it takes the server's command line to make one"
fi

# ------------------------------------------------------------------------------------------------
chapter "Sessions"

login username "$BOB"
SECOND=$TOKEN
AS=$BOB_TOKEN call GET /api/auth/sessions
status 200
holds '.total == 2 and ([.items[] | select(.current)] | length) == 1'
OTHER=$(field '.items[] | select(.current | not) | .id')
AS=$ADA_TOKEN call DELETE "/api/auth/sessions/$OTHER"
problem 404 session_not_found
AS=$BOB_TOKEN call DELETE "/api/auth/sessions/$OTHER"
status 200
AS=$SECOND call GET /api/auth/me
problem 401 invalid_token
AS=$BOB_TOKEN call GET /api/auth/me
status 200
tick "one's sessions; one that is ended is refused at once"
refresh() { call POST /api/auth/refresh "$(json --arg token "$1" '{refresh_token: $token}')"; }
login username "$BOB"
FIRST=$(field .refresh_token)
refresh "$FIRST"
status 200
holds '(.access_token | length > 0) and .token_type == "bearer" and .refresh_token != $first and .refresh_expires_in > .expires_in' --arg first "$FIRST"
NEXT=$(field .refresh_token)
refresh "$FIRST"
status 200
same "$NEXT" "$(field .refresh_token)"
tick "a refresh token is exchanged for the next; an answer that was lost is given again"
refresh "$NEXT"
status 200
SECOND=$(field .access_token)
AS=$SECOND call GET /api/auth/sessions
status 200
holds '.items[] | select(.current) | (.user_agent | startswith("curl")) and (.last_used_at >= .created_at)'
refresh "$FIRST"
problem 401 invalid_refresh_token
AS=$SECOND call GET /api/auth/me
problem 401 invalid_token
refresh nonsense
problem 401 invalid_refresh_token
tick "shown once more it ends the session, for a thief may have it"
call GET /api/auth/oidc/providers
status 200
holds '.providers | type == "array"'
bad 404 provider_not_found "" GET /api/auth/oidc/nobody/start
bad 404 provider_not_found "" GET '/api/auth/oidc/nobody/callback?state=x&code=x&authuser=0'
bad 404 oidc_code_not_found "" POST /api/auth/oidc/exchange '{"code":"x"}'
bad 400 validation_failed prompt GET '/api/auth/oidc/nobody/start?prompt=maybe'
tick "sign-in by others: who there is, and that nobody comes in without one"
AS=$BOB_TOKEN call POST /api/auth/logout
status 200
AS=$BOB_TOKEN call GET /api/auth/me
problem 401 invalid_token
AS=$BOB_TOKEN call GET /api/auth/validate
problem 401 invalid_token
tick "logged out: the token is refused at once"

# ------------------------------------------------------------------------------------------------
if [ ${#CLI[@]} -gt 0 ]; then
  chapter "What happened"

  LAST="rookery events tail posts-events"
  "${CLI[@]}" events tail posts-events --from-beginning --json >"$TMP/tail" 2>"$TMP/body" ||
    fail "the topic" "exit code $?"
  jq -cs --arg key "${POST[4]}" '[.[] | select(.key == $key) | [.event_type, .sequence]]' \
    "$TMP/tail" >"$TMP/body"
  same '[["post.created",1],["post.deleted",2]]' "$(cat "$TMP/body")"
  tick "events tail shows what happened to a post, in order"
fi
if [ -n "$OWN_SERVER" ]; then
  chapter "The stop"

  LAST="kill -TERM"
  kill -TERM "$OWN_SERVER"
  CODE=0
  wait "$OWN_SERVER" || CODE=$?
  OWN_SERVER=""
  same 0 "$CODE"
  tick "stops when asked to, exit code 0"
fi

printf '\n\033[1mall %s held\033[0m\n' "$STEPS"
