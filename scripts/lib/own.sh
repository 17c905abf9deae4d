# A checkout's own servers for tests: each has a folder under target/servers and a port that was free at
# its start. So two checkouts meet nowhere, and neither stops what the other started.
# Sourced from the project's folder; needs say.sh.
# shellcheck shell=bash

# own_server NAME: sets `folder` and `port`. NAME_TEST_DIR gives it another place and NAME_TEST_PORT a
# port; otherwise the port is the one it was started on, and empty before.
own_server() {
  local dir=${1^^}_TEST_DIR
  port_setting=${1^^}_TEST_PORT
  folder=${!dir:-$PWD/target/servers/$1}
  case $folder in /*) ;; *) folder=$PWD/$folder ;; esac
  port=${!port_setting:-}
  [ -z "$port" ] || [[ $port =~ ^[0-9]+$ ]] ||
    die "$port_setting is '$port', expected a port number"
  if [ -z "$port" ] && [ -s "$folder/port" ]; then port=$(cat "$folder/port"); fi
}

# choose_port [HOW MANY IN A ROW]: before a start. Keeps the port it had, unless somebody took it since.
# They lie below those that the system hands out by itself, so a server that is started again finds
# its own free.
choose_port() {
  local count=${1:-1} end=$((SECONDS + 5))
  mkdir -p "$folder"
  # One that was killed a moment ago lets go of its port only when the last of its threads has ended.
  while [ -n "$port" ] && is_taken "$port" "$count" && ((SECONDS < end)); do sleep 0.1; done
  while [ -z "$port" ] || is_taken "$port" "$count"; do
    [ -z "${!port_setting:-}" ] ||
      die "another program listens on $port or just above: set $port_setting to a free one"
    port=$((20000 + RANDOM % 7000))
  done
  echo "$port" >"$folder/port"
}

is_taken() { # FIRST HOW-MANY
  local next
  for ((next = $1; next < $1 + $2; next++)); do
    ! listens "$next" || return 0
  done
  return 1
}

# own_address ADDRESS: prints it, when the server runs.
own_address() {
  alive "$folder/pid" || die "it does not run: $0 up"
  echo "$1"
}
