# For test.sh: the server that it starts, how it asks, and what it says of the answers. Sourced from the
# project's folder.
# shellcheck shell=bash

TMP=$(mktemp -d)
OWN_SERVER=""
PATIENCE=15 # seconds until what must follow has followed
STEPS=0

clean_up() {
  if [ -n "$OWN_SERVER" ]; then
    kill -KILL "$OWN_SERVER" 2>/dev/null || true
    wait "$OWN_SERVER" 2>/dev/null || true
  fi
  rm -rf "$TMP"
}
trap clean_up EXIT

# --- saying how it goes ------------------------------------------------------------------------

chapter() { printf '\n\033[1m%s\033[0m\n' "$1"; }
tick() { STEPS=$((STEPS + 1)); printf '  \033[32m✓\033[0m %s\n' "$1"; }
left_out() { printf '  \033[33m–\033[0m %s\n' "$1"; }

fail() { # EXPECTED CAME
  {
    printf '  \033[31m✗\033[0m %s\n' "${LAST:-}"
    printf '    expected  %s\n    came      %s\n' "$1" "$2"
    [ -s "$TMP/body" ] && printf '    body      %s\n' "$(head -c 2000 "$TMP/body")"
    if [ -s "$TMP/log" ]; then
      printf '    the end of the log:\n'
      tail -n 20 "$TMP/log" | sed 's/^/      /'
    fi
  } >&2
  exit 1
}

# --- asking ------------------------------------------------------------------------------------

# call METHOD PATH [JSON] [curl's arguments]; `AS=$TOKEN call …` sends a token. Leaves STATUS, and
# the answer in $TMP/body and $TMP/headers.
call() {
  local method=$1 path=$2 json=${3:-}
  shift $(($# < 3 ? $# : 3))
  local -a with=("$@")
  [ -n "$json" ] && with+=(-H 'Content-Type: application/json' --data-binary "$json")
  [ -n "${AS:-}" ] && with+=(-H "Authorization: Bearer $AS")
  LAST="$method $path"
  : >"$TMP/body"
  STATUS=$(curl -sS -m 30 -X "$method" -o "$TMP/body" -D "$TMP/headers" -w '%{http_code}' \
    "${with[@]}" "$BASE_URL$path" 2>"$TMP/curl") || fail "an answer" "$(cat "$TMP/curl")"
}

status() { [ "$STATUS" = "$1" ] || fail "status $1" "status $STATUS"; }

# A field of the answer as text; the whole answer is `.`.
field() { jq -r "$1" "$TMP/body" 2>/dev/null || fail "JSON with $1" "something else"; }

# holds FILTER [jq's arguments]: the filter says true of the answer.
holds() {
  local filter=$1
  shift
  jq -e "$@" "$filter" "$TMP/body" >/dev/null 2>&1 || fail "$filter" "not so"
}

header() { # NAME: its value, or nothing
  tr -d '\r' <"$TMP/headers" | { grep -i "^$1:" || true; } | head -n 1 | sed 's/^[^:]*: *//'
}

same() { [ "$1" = "$2" ] || fail "$1" "$2"; } # EXPECTED CAME

# problem STATUS ERROR_CODE [FIELD]: the answer is application/problem+json and says so.
problem() {
  status "$1"
  case "$(header content-type)" in
    application/problem+json*) ;;
    *) fail "application/problem+json" "$(header content-type)" ;;
  esac
  holds '.status == $status and .error_code == $code' --argjson status "$1" --arg code "$2"
  holds '[.type, .title, .detail, .instance, .trace_id | strings | select(. != "")] | length == 5'
  [ -z "${3:-}" ] || holds '.errors[$field] | arrays | length > 0' --arg field "$3"
}

# eventually FILTER METHOD PATH [jq's arguments]: the answer comes to it in time.
eventually() {
  local filter=$1 method=$2 path=$3 end=$((SECONDS + PATIENCE))
  shift 3
  while :; do
    call "$method" "$path"
    [ "$STATUS" = 200 ] && jq -e "$@" "$filter" "$TMP/body" >/dev/null 2>&1 && return
    ((SECONDS < end)) || fail "within ${PATIENCE} s: $filter" "not so"
    sleep 0.05
  done
}

json() { jq -cn "$@"; }

# --- a server of its own -----------------------------------------------------------------------

# start_own_server: sets OWN_SERVER, BASE_URL and CLI, how its command line is called.
start_own_server() {
  local end
  if [ -z "${ROOKERY:-}" ]; then
    cargo build --quiet --locked
    ROOKERY="${CARGO_TARGET_DIR:-target}/debug/rookery"
  fi
  export DATA_DIR="$TMP/data"
  HOST=127.0.0.1 PORT=0 "$ROOKERY" serve >"$TMP/log" 2>&1 &
  OWN_SERVER=$!
  LAST="rookery serve"
  end=$((SECONDS + 30))
  until [ -s "$DATA_DIR/rookery.addr" ]; do
    kill -0 "$OWN_SERVER" 2>/dev/null || fail "a server that runs" "it ended"
    ((SECONDS < end)) || fail "a server within 30 s" "none"
    sleep 0.05
  done
  BASE_URL="http://$(cat "$DATA_DIR/rookery.addr")"
  # shellcheck disable=SC2034 # for the walk
  CLI=("$ROOKERY")
}

# --- asking for what comes up again and again --------------------------------------------------

register() { # USERNAME
  call POST /api/auth/register "$(json --arg name "$1" --arg password "$PASSWORD" \
    '{email: ($name + "@example.org"), username: $name, password: $password}')"
}

login() { # FIELD VALUE: leaves the token in TOKEN
  call POST /api/auth/login "$(json --arg field "$1" --arg value "$2" --arg password "$PASSWORD" \
    '{($field): $value, password: $password}')"
  status 200
  holds '.token_type == "bearer" and (.expires_in | numbers) > 0'
  # shellcheck disable=SC2034 # for the walk
  TOKEN=$(field .access_token)
}

# bad STATUS CODE FIELD METHOD PATH [JSON] [curl's arguments], as Ada
bad() {
  local status=$1 code=$2 field=$3
  shift 3
  AS=$ADA_TOKEN call "$@"
  problem "$status" "$code" "$field"
}

long() { head -c "$1" /dev/zero | tr '\0' x; }
b64() { printf '%s' "$1" | base64 -w0 | tr '+/' '-_' | tr -d '='; }
