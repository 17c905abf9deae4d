# PostgreSQL from Debian's packages, for tests and for the native stack. Sourced; needs say.sh.
# shellcheck shell=bash

# shellcheck disable=SC2012 # versions, in order
postgres_binaries() { ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1; }

# PostgreSQL refuses to run as root: its own user does it then.
as_postgres() {
  if [ "$(id -u)" = 0 ]; then
    (cd / && setpriv --reuid=postgres --regid=postgres --init-groups "$@")
  else
    "$@"
  fi
}

# install_postgres HINT: HINT says what helps where it can't be installed.
install_postgres() {
  [ -n "$(postgres_binaries)" ] && return
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    die "PostgreSQL is not installed: install your system's 'postgresql' package, or $1"
  fi
  # The package would start a cluster of its own, unless its settings say otherwise. In a shell of its own,
  # which takes them back however it ends.
  (
    settings=/etc/postgresql-common/createcluster.d
    trap 'rm -f "$settings/rookery.conf"; rmdir --ignore-fail-on-non-empty "$settings"' EXIT
    mkdir -p "$settings"
    echo "create_main_cluster = false" >"$settings/rookery.conf"
    install_packages postgresql
  )
}

# postgres_home FOLDER: where in it the server is, or else elsewhere: its own user must reach it, which
# it can't in the home of another.
postgres_home() {
  local elsewhere
  elsewhere=/var/tmp/rookery-stack-$(cksum <<<"$1" | cut -d' ' -f1)
  if [ "$(id -u)" != 0 ] || { [ ! -d "$elsewhere" ] && as_postgres test -x "$1" 2>/dev/null; }; then
    echo "$1/postgres"
  else
    echo "$elsewhere"
  fi
}

# postgres_pid HOME: its process, when it runs. A number that another program got since does not count.
postgres_pid() {
  local pid comm
  { read -r pid <"$1/data/postmaster.pid" && read -r comm <"/proc/$pid/comm"; } 2>/dev/null || return 0
  [ "$comm" != postgres ] || [ -z "$(started_at "$pid")" ] || echo "$pid"
}

# start_postgres FOLDER PORT [OPTIONS]: makes the cluster the first time; returns when it answers.
start_postgres() {
  local folder=$1 port=$2 options=${3:-} bin socket
  bin=$(postgres_binaries)
  mkdir -p "$folder"
  [ "$(id -u)" = 0 ] && chown postgres:postgres "$folder"
  # One that crashed left it behind.
  [ ! -s "$folder/socket-folder" ] || rm -rf "$(cat "$folder/socket-folder")"
  # The path of a socket has a limit of 107 bytes, which a deep folder would break.
  socket=$(mktemp -d "${TMPDIR:-/tmp}/rookery-pg.XXXXXX")
  [ "$(id -u)" = 0 ] && chown postgres:postgres "$socket"
  echo "$socket" >"$folder/socket-folder"
  if [ ! -s "$folder/data/PG_VERSION" ]; then
    as_postgres "$bin/initdb" -D "$folder/data" -U postgres --auth=trust -E UTF8 --locale=C.UTF-8 >/dev/null
    # Members of this role must show a password: tests give a wrong one.
    sed -i '1i host all +with_password all scram-sha-256' "$folder/data/pg_hba.conf"
  fi
  as_postgres "$bin/pg_ctl" -D "$folder/data" -w -t 60 -l "$folder/log" \
    -o "-p $port -h 127.0.0.1 -k $socket -c max_connections=300 $options" start >/dev/null
}

# stop_postgres FOLDER MODE: fast or immediate.
stop_postgres() {
  local folder=$1 bin
  bin=$(postgres_binaries)
  if [ -n "$bin" ] && [ -e "$folder/data/postmaster.pid" ]; then
    as_postgres "$bin/pg_ctl" -D "$folder/data" -w -m "$2" stop >/dev/null || true
  fi
  if [ -s "$folder/socket-folder" ]; then
    rm -rf "$(cat "$folder/socket-folder")" "$folder/socket-folder"
  fi
}
