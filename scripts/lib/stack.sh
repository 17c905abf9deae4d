# The parts of the native stack: where each is, how it is started, asked and stopped. Sourced by
# scripts/stack from the project's folder; needs the other files here.
# shellcheck shell=bash

SERVERS=(postgres redis kafka mongo)
# A line a service: its name, and the server that it keeps its state in.
mapfile -t SERVICES < <(cut -d' ' -f1 deploy/services)

# --- settings --------------------------------------------------------------------------------------

SETTINGS=(
  GATEWAY_PORT=8100 GATEWAY_TLS_PORT=8143 DASHBOARD_PORT=8180
  POSTGRES_PORT=15432 REDIS_PORT=16379 KAFKA_PORT=19092 MONGO_PORT=27117
  FRONT_PORT=8199
)

# user-profile → USER_PROFILE
variable() { tr 'a-z-' 'A-Z_' <<<"$1"; }

# Services from 8101 on, and where they take operators from 8301 on, in the order of the list.
for number in "${!SERVICES[@]}"; do
  SETTINGS+=("$(variable "${SERVICES[number]}")_PORT=$((8101 + number))")
  SETTINGS+=("$(variable "${SERVICES[number]}")_OPERATOR_PORT=$((8301 + number))")
done

# A setting comes from STACK_…, else from the last start of the stack here, else from its default.
load_settings() {
  DIR=${STACK_DIR:-$PWD/target/stack}
  case $DIR in /*) ;; *) DIR=$PWD/$DIR ;; esac
  local setting name from
  for setting in "${SETTINGS[@]}"; do declare -g "$setting"; done
  # shellcheck disable=SC1091 # written by keep_settings
  if [ -s "$DIR/settings" ]; then . "$DIR/settings"; fi
  for setting in "${SETTINGS[@]}"; do
    name=${setting%%=*}
    from=STACK_$name
    if [ -n "${!from:-}" ]; then
      [[ ${!from} =~ ^[0-9]+$ ]] || die "$from is '${!from}', expected a port number"
      declare -g "$name=${!from}"
    fi
  done
  DATABASE_URL=postgres://postgres@127.0.0.1:$POSTGRES_PORT/rookery
  MONGODB_URL=mongodb://127.0.0.1:$MONGO_PORT
  REDIS_URL=redis://127.0.0.1:$REDIS_PORT
  KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:$KAFKA_PORT
}

keep_settings() {
  local setting name
  for setting in "${SETTINGS[@]}"; do
    name=${setting%%=*}
    echo "$name=${!name}"
  done >"$DIR/settings"
}

# --- names -----------------------------------------------------------------------------------------

# Prints the replicas that `scale` added.
replicas() {
  local service folder
  for service in "${SERVICES[@]}"; do
    for folder in "$DIR/$service"-[0-9]*; do
      [ ! -s "$folder/port" ] || basename "$folder"
    done
  done
}

known() {
  local part
  for part in "${SERVERS[@]}" traefik front "${SERVICES[@]}" $(replicas); do
    [ "$part" != "${1:-}" ] || return 0
  done
  die "there is no '${1:-}': ${SERVERS[*]} traefik front ${SERVICES[*]}"
}

# auth-2 → auth
service_of() { echo "${1%-[0-9]*}"; }

port_of() {
  local name
  case $1 in
    traefik) name=GATEWAY_PORT ;;
    *-[0-9]*) cat "$DIR/$1/port"; return ;;
    *) name=$(variable "$1")_PORT ;;
  esac
  echo "${!name}"
}

# Every port that a part takes, each with the setting that changes it; `scale` picks a replica's.
ports_of() {
  case $1 in
    traefik) printf '%s\n' "$GATEWAY_PORT GATEWAY" "$GATEWAY_TLS_PORT GATEWAY_TLS" "$DASHBOARD_PORT DASHBOARD" ;;
    kafka) printf '%s\n' "$KAFKA_PORT KAFKA" "$((KAFKA_PORT + 1)) KAFKA" ;;
    *-[0-9]*) port_of "$1" ;;
    *)
      echo "$(port_of "$1") $(variable "$1")"
      [ "$(operator_port_of "$1")" = 0 ] || echo "$(operator_port_of "$1") $(variable "$1")_OPERATOR"
      ;;
  esac
}

# Replicas take none: any of a service does.
operator_port_of() {
  local name
  name=$(variable "$1")_OPERATOR_PORT
  echo "${!name:-0}"
}

# free_for PART: no other program listens where it is to be.
free_for() {
  local port setting remedy
  while read -r port setting; do
    listens "$port" || continue
    remedy="set STACK_${setting}_PORT to a free one"
    [ "$setting" != KAFKA ] || remedy="set STACK_KAFKA_PORT to one that is free like the one above it"
    [ -n "$setting" ] || remedy="scripts/stack scale $(service_of "$1") 1, and up again, picks another"
    die "another program listens on $port, where $1 is to be: $remedy"
  done < <(ports_of "$1")
}

postgres_folder() { postgres_home "$DIR"; }

folder_of() {
  case $1 in
    postgres) postgres_folder ;;
    *) echo "$DIR/$1" ;;
  esac
}

log_of() { echo "$(folder_of "$1")/log"; }

pid_of() {
  case $1 in
    postgres) postgres_pid "$(postgres_folder)" ;;
    *) ! alive "$DIR/$1/pid" || cut -d' ' -f1 "$DIR/$1/pid" ;;
  esac
}

# --- whether it runs -------------------------------------------------------------------------------

is_running() {
  case $1 in
    postgres) [ -n "$(pid_of postgres)" ] ;;
    *) alive "$DIR/$1/pid" ;;
  esac
}

answers() {
  case $1 in
    postgres) "$(postgres_binaries)/pg_isready" -q -h 127.0.0.1 -p "$POSTGRES_PORT" ;;
    redis) [ "$(redis-cli -h 127.0.0.1 -p "$REDIS_PORT" ping 2>/dev/null)" = PONG ] ;;
    kafka | mongo) listens "$(port_of "$1")" ;;
    # It answers before it has read its routes, with 404 to everybody.
    traefik) curl -fsS -m 2 "http://127.0.0.1:$DASHBOARD_PORT/api/http/routers" | grep '@file"' >/dev/null ;;
    front) curl -fsS -m 5 -o /dev/null "http://127.0.0.1:$FRONT_PORT/health" ;;
    *) curl -fsS -m 5 -o /dev/null "http://127.0.0.1:$(port_of "$1")/ready" ;;
  esac 2>/dev/null
}

wait_part() {
  [ "$1" != postgres ] || return 0 # pg_ctl has waited
  wait_for "$1" "$DIR/$1" 60 answers "$1"
}

# --- starting and stopping -------------------------------------------------------------------------

start_part() {
  local part=$1 folder port
  ! is_running "$part" || return 0
  folder=$(folder_of "$part")
  port=$(port_of "$part")
  free_for "$part"
  say "starting $part"
  case $part in
    postgres)
      start_postgres "$folder" "$port"
      as_postgres "$(postgres_binaries)/psql" -q -h 127.0.0.1 -p "$port" -U postgres -tAc \
        "select 1 from pg_database where datname = 'rookery'" | grep 1 >/dev/null ||
        as_postgres "$(postgres_binaries)/createdb" -h 127.0.0.1 -p "$port" -U postgres rookery
      ;;
    redis) start_redis "$folder" "$port" ;;
    kafka) start_kafka "$folder" "$port" ;;
    mongo) start mongo "$folder" "$(scripts/mongo build)" -listen "127.0.0.1:$port" -data "$folder/data" ;;
    traefik) start_traefik "$folder" ;;
    front)
      start front "$folder" env PORT="$port" HOST=127.0.0.1 LOG_FORMAT="${LOG_FORMAT:-json}" \
        FRONT_SERVICES="$(addresses_of_all port_of)" "$(executable rookery)" front
      ;;
    *) start_service "$part" "$folder" "$port" ;;
  esac
}

start_service() { # PART FOLDER PORT
  local settings=() service server key
  service=$(service_of "$1")
  mkdir -p "$2"
  for server in $(servers_of "$service"); do
    case $server in
      mongo) settings+=(MONGODB_URL="$MONGODB_URL") ;;
      redis) settings+=(REDIS_URL="$REDIS_URL") ;;
      postgres) settings+=(DATABASE_URL="$DATABASE_URL") ;;
      *) die "deploy/services names $server for $service, which is no server" ;;
    esac
  done
  for key in $(keys_of "$service"); do settings+=("$key=$(secret_key "$key")"); done
  start "$1" "$2" env HOST=127.0.0.1 PORT="$3" LOG_FORMAT="${LOG_FORMAT:-json}" DATA_DIR="$2/data" \
    KAFKA_BOOTSTRAP_SERVERS="$KAFKA_BOOTSTRAP_SERVERS" AUTH_URL="http://127.0.0.1:$AUTH_PORT" \
    OPERATOR_PORT="$(operator_port_of "$1")" OPERATOR_KEY="$(secret_key OPERATOR_KEY)" \
    "${settings[@]}" "$(executable "$service")"
}

# The servers that a service uses.
servers_of() { awk -v of="$1" '$1 == of {gsub(",", " ", $2); print $2}' deploy/services; }
# The secrets that a service must have.
keys_of() { awk -v of="$1" '$1 == of {$1 = $2 = ""; print}' deploy/services; }

# Made at the first start.
secret_key() { # SETTING
  local secret=${1%_KEY}
  secret=$DIR/${secret,,}.key
  if [ ! -s "$secret" ]; then
    (umask 077 && od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$secret")
  fi
  cat "$secret"
}

# The command line over this fleet: it asks the services, or with --offline their stores.
command_line() {
  local service key keys=()
  for service in "${SERVICES[@]}"; do
    for key in $(keys_of "$service"); do keys+=("$key=$(secret_key "$key")"); done
  done
  exec env "${keys[@]}" KAFKA_BOOTSTRAP_SERVERS="$KAFKA_BOOTSTRAP_SERVERS" DATABASE_URL="$DATABASE_URL" \
    MONGODB_URL="$MONGODB_URL" REDIS_URL="$REDIS_URL" \
    OPERATOR_KEY="$(secret_key OPERATOR_KEY)" OPERATOR_SERVICES="$(addresses_of_all operator_port_of)" \
    "$(executable rookery)" "$@"
}

# No limits by address: whoever is here has one address, and measures.
start_traefik() { # FOLDER
  local service settings=()
  traefik_config "$1" "$GATEWAY_PORT" "$GATEWAY_TLS_PORT" "$DASHBOARD_PORT"
  for service in "${SERVICES[@]}"; do
    settings+=("$(variable "$service")_URL=$(addresses_of "$service")")
  done
  start traefik "$1" env GOGC=400 "${settings[@]}" FRONT_URL="http://127.0.0.1:$FRONT_PORT" \
    RATE_LIMIT_AVERAGE="${RATE_LIMIT_AVERAGE:-0}" \
    LOGIN_RATE_LIMIT_AVERAGE="${LOGIN_RATE_LIMIT_AVERAGE:-100000}" \
    LOGIN_RATE_LIMIT_BURST="${LOGIN_RATE_LIMIT_BURST:-100000}" \
    "$(fetch_traefik)" --configFile="$1/traefik.yml"
}

stop_part() {
  case $1 in
    postgres) stop_postgres "$(postgres_folder)" fast ;;
    # A broker hands over before it goes; there is nobody to hand over to.
    kafka) stop kafka "$DIR/kafka" 20 ;;
    *) stop "$1" "$DIR/$1" 20 ;;
  esac
}

# --- services --------------------------------------------------------------------------------------

# The addresses of a service and its replicas, with commas.
addresses_of() {
  local all part
  all=http://127.0.0.1:$(port_of "$1")
  for part in $(replicas); do
    [ "$(service_of "$part")" != "$1" ] || all+=,http://127.0.0.1:$(port_of "$part")
  done
  echo "$all"
}

addresses_of_all() { # PORT_OF
  local service all=()
  for service in "${SERVICES[@]}"; do all+=("$service=http://127.0.0.1:$("$1" "$service")"); done
  (IFS=, && echo "${all[*]}")
}

executable() { # NAME
  local path=${BIN_DIR:-${CARGO_TARGET_DIR:-target}/debug}/$1
  [ -x "$path" ] || die "there is no $path: scripts/stack up builds it, or BIN_DIR names where it is"
  realpath "$path"
}

build_services() {
  [ -z "${BIN_DIR:-}" ] || return 0
  need cc gcc
  need g++ g++
  need pkg-config pkg-config
  pkg-config --exists openssl || need "OpenSSL's headers" libssl-dev
  need make make
  say "building the services"
  # shellcheck disable=SC2086
  ${CARGO:-cargo} build --quiet --locked --workspace --bins --features gateway/fleet >&2
}

free_port() {
  need python3 python3 >&2
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# --- looking ---------------------------------------------------------------------------------------

mongo_shell() {
  if command -v mongosh >/dev/null; then
    exec mongosh "$MONGODB_URL/posts" ${1:+--eval "$1"}
  fi
  local library=$CACHE/pymongo
  if [ ! -d "$library" ]; then
    need_pip
    python3 -m pip install -q --root-user-action=ignore --target "$library.$$" pymongo >&2
    mv -T "$library.$$" "$library"
  fi
  export MONGODB_URL PYTHONPATH=$library
  exec python3 scripts/stack.d/mongo/shell.py "$@"
}
