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
  # The package would start a cluster of its own; ours is in a folder of its own.
  mkdir -p /etc/postgresql-common
  [ -e /etc/postgresql-common/createcluster.conf ] ||
    echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf
  install_packages postgresql
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
