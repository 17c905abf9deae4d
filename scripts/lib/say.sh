# For the scripts beside this folder: what all of them need. Sourced, never run.
# shellcheck shell=bash

# shellcheck disable=SC2034 # for the files beside this one
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/rookery

say() { echo "$*" >&2; }
die() { echo "error: $*" >&2; exit 1; }

# need COMMAND PACKAGE [WHAT ELSE HELPS]: it is there, or it is installed, or we say what is missing. COMMAND may
# be words for something that is none.
need() {
  command -v "$1" >/dev/null && return
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    die "'$1' is missing: install your system's package '$2'${3:+, or $3}"
  fi
  install_packages "$2"
  [[ $1 == *" "* ]] || command -v "$1" >/dev/null || die "the package '$2' was installed and '$1' is still missing"
}

# install_packages PACKAGE...: as root on Debian.
install_packages() {
  say "installing $*"
  export DEBIAN_FRONTEND=noninteractive
  # One source that is out of reach must not stop the rest.
  apt-get update -qq >&2 || say "not all package sources could be read"
  apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=300 "$@" >&2
}

# listens PORT: something accepts connections there.
listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# alive PIDFILE: the process it names runs. A number that another program got since does not count:
# the file also has the time at which ours was started.
alive() {
  local pid started
  { read -r pid started <"$1"; } 2>/dev/null || return 1
  [ -n "$pid" ] && [ "$(started_at "$pid")" = "$started" ]
}

# started_at PID: when, in ticks since the machine was started; nothing when there is no such process.
started_at() {
  local stat
  { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 0
  # shellcheck disable=SC2086 # into words
  set -- ${stat##*) } # after the name, which may have blanks in it
  [ "$1" = Z ] || echo "${20}"
}

# start NAME FOLDER COMMAND...: in the background, output to FOLDER/log, number to FOLDER/pid.
start() {
  local name=$1 folder=$2 pid
  shift 2
  mkdir -p "$folder"
  # No lock of ours may live on in a server: descriptors above the usual three are closed.
  (
    for fd in /proc/self/fd/*; do
      fd=${fd##*/}
      [ "$fd" -le 2 ] || eval "exec $fd>&-" 2>/dev/null || true
    done
    exec setsid "$@" >>"$folder/log" 2>&1 </dev/null
  ) &
  pid=$!
  disown "$pid"
  echo "$pid $(started_at "$pid")" >"$folder/pid"
}

# wait_for NAME FOLDER SECONDS COMMAND...: until COMMAND succeeds; the end of the log when it does not.
wait_for() {
  local name=$1 folder=$2 end=$((SECONDS + $3))
  shift 3
  until "$@" >/dev/null 2>&1; do
    if ! alive "$folder/pid"; then
      tail -n 20 "$folder/log" >&2
      die "$name did not start; its whole log: $folder/log"
    fi
    if ((SECONDS >= end)); then
      tail -n 20 "$folder/log" >&2
      die "$name does not answer; its whole log: $folder/log"
    fi
    sleep 0.1
  done
}

# stop NAME FOLDER [SECONDS]: SIGTERM, and SIGKILL for one that does not go in time.
stop() {
  local name=$1 folder=$2 end=$((SECONDS + ${3:-15})) pid
  if alive "$folder/pid"; then
    read -r pid _ <"$folder/pid"
    # One that was stopped with SIGSTOP hears nothing else.
    kill -CONT "$pid" 2>/dev/null || true
    kill -TERM "$pid" 2>/dev/null || true
    while alive "$folder/pid"; do
      if ((SECONDS >= end)); then
        say "$name (process $pid) does not stop: killing it"
        kill -KILL "$pid" 2>/dev/null || true
        end=$((SECONDS + 5))
      fi
      sleep 0.05
    done
  fi
  rm -f "$folder/pid"
}

# gone PID...: waits until the system has forgotten them, which a slow init may take a moment for.
gone() {
  local pid end=$((SECONDS + 5))
  for pid; do
    while [ -e "/proc/$pid" ] && ((SECONDS < end)); do sleep 0.05; done
  done
}
