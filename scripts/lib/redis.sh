# Redis from Debian's packages, for tests and for the native stack. Sourced; needs say.sh.
# shellcheck shell=bash

# install_redis [WHAT ELSE HELPS]
install_redis() {
  command -v redis-server >/dev/null && return
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    # The package would start a server of its own on 6379, unless a policy forbids it.
    local policy=/usr/sbin/policy-rc.d
    if [ -e "$policy" ]; then
      install_packages redis-server
    else
      # In a shell of its own, which takes the policy back however it ends.
      (
        trap 'rm -f "$policy"' EXIT
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
        install_packages redis-server
      )
    fi
  fi
  command -v redis-server >/dev/null ||
    die "'redis-server' is missing: install your system's package 'redis-server'${1:+, or $1}"
}

# start_redis FOLDER PORT [OPTIONS]: every write is in the file before the next second, unless the
# options say otherwise; returns at once.
start_redis() {
  local folder=$1 port=$2
  shift 2
  mkdir -p "$folder/data"
  start Redis "$folder" redis-server --bind 127.0.0.1 --port "$port" --dir "$folder/data" \
    --appendonly yes --appendfsync everysec --auto-aof-rewrite-min-size 256mb --save "" --daemonize no --protected-mode yes "$@"
}
