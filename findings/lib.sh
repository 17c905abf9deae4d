# What the findings share: a folder that goes away, pinned packages, a comparison. Sourced, never run.
# shellcheck shell=bash
#
# A finding ends with 0 when all is as found, and with 1 when something differs (and says what). It ends with
# 2 when it could not be tried: a tool is missing or a package could not be had.

work=$(mktemp -d "${TMPDIR:-/tmp}/finding.XXXXXX")
started=()

leave() {
  local code=$? pid
  for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done
  # Java and Traefik write until they are gone.
  for pid in "${started[@]}"; do wait "$pid" 2>/dev/null || true; done
  rm -rf "$work"
  exit "$code"
}
trap leave EXIT
cd "$work" || exit 2

export NO_PROXY=127.0.0.1,localhost no_proxy=127.0.0.1,localhost
export CARGO_TARGET_DIR=$work/target PYTHONWARNINGS=ignore

untried() {
  echo "could not be tried: $*" >&2
  exit 2
}

need() {
  local tool
  for tool; do command -v "$tool" >/dev/null || untried "'$tool' is missing"; done
}

# quietly WHAT COMMAND...: its output is shown only when it fails.
quietly() {
  local what=$1
  shift
  "$@" >install.log 2>&1 && return
  tail -n 20 install.log >&2
  untried "$what"
}

# pip_install PACKAGE==VERSION...: for $python.
pip_install() {
  need python3
  quietly "making a Python environment" python3 -m venv venv
  python=$work/venv/bin/python
  quietly "installing $*" "$python" -m pip install -q --disable-pip-version-check "$@"
}

# npm_install PACKAGE@VERSION...: what node finds in this folder.
npm_install() {
  need node npm
  echo '{"private": true}' >package.json
  quietly "installing $*" npm install --silent --no-audit --no-fund --ignore-scripts "$@"
}

# cargo_build NAME DEPENDENCIES: builds standard input as ./NAME.
cargo_build() {
  need cargo
  mkdir -p "crate-$1/src"
  cat >"crate-$1/src/main.rs"
  printf '[package]\nname = "%s"\nversion = "0.0.0"\nedition = "2024"\n\n[profile.dev]\ndebug = false\n\n[dependencies]\n%s\n' \
    "$1" "$2" >"crate-$1/Cargo.toml"
  quietly "building with $2" cargo build -q --manifest-path "crate-$1/Cargo.toml"
  cp "target/debug/$1" .
}

# go_build NAME MODULE@VERSION...: builds standard input as ./NAME.
go_build() {
  local name=$1
  shift
  need go
  mkdir -p "module-$name"
  cat >"module-$name/main.go"
  (
    cd "module-$name" || exit 2
    quietly "making a Go module" go mod init "$name"
    quietly "getting $*" go get "$@"
    quietly "getting what $* need" go mod tidy
    quietly "building with $*" go build -buildvcs=false -o "../$name" .
  )
}

# in_background COMMAND...: ends with the finding; its output is in ./background.log.
in_background() {
  "$@" >>background.log 2>&1 &
  started+=($!)
}

# wait_until COMMAND...: for half a minute at most.
wait_until() {
  local end=$((SECONDS + 30))
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < end)) || {
      tail -n 20 background.log >&2
      untried "waiting for: $*"
    }
    sleep 0.2
  done
}

listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# compare COMMAND...: what it prints must be what standard input says.
compare() {
  local expected
  expected=$(cat)
  "$@" >found.txt 2>errors.txt || {
    tail -n 20 errors.txt >&2
    echo "differs: $* failed" >&2
    exit 1
  }
  diff -u --label "as found" --label "now" <(echo "$expected") found.txt && return
  echo "differs: $(basename "$0")" >&2
  exit 1
}

as_found() { echo "as found: $(basename "$0" .sh)"; }

# mock_kafka: librdkafka's own mock broker as $broker, topics of four partitions. pip_install confluent-kafka first.
mock_kafka() {
  cat >mock.py <<'PYTHON'
import time
from confluent_kafka import Producer
producer = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 3})
for broker in producer.list_topics(timeout=10).brokers.values():
    print(f"{broker.host}:{broker.port}", file=open("broker.txt", "w"), flush=True)
time.sleep(300)
PYTHON
  in_background "$python" mock.py
  wait_until test -s broker.txt
  # shellcheck disable=SC2034 # for the findings
  broker=$(cat broker.txt)
}
