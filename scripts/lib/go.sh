# Go 1.24 or newer, for what is built from its modules. Sourced; needs say.sh.
# shellcheck shell=bash

GO_TOOLCHAIN=go1.24.4

# need_go [WHAT ELSE HELPS]: puts it into PATH. A distribution's Go may be older (Debian 12 has 1.19): that
# one fetches a newer one as it fetches any module, held against the same sums.
need_go() {
  need go golang-go "${1:-}" >&2
  local found answer folder
  found=$(go env GOVERSION)
  case "$found" in
  go1.2[4-9]* | go1.[3-9][0-9]* | go[2-9]*) return ;;
  esac
  say "fetching $GO_TOOLCHAIN with the ${found:-old} Go that is here"
  # The error stands in the answer, and nowhere else.
  answer=$(GOFLAGS=-modcacherw go mod download -json \
    "golang.org/toolchain@v0.0.1-$GO_TOOLCHAIN.$(go env GOOS)-$(go env GOARCH)") || true
  folder=$(sed -n 's/.*"Dir": "\(.*\)".*/\1/p' <<<"$answer")
  if [ ! -d "$folder" ]; then
    printf '%b\n' "$(sed -n 's/.*"Error": "\(.*\)".*/\1/p' <<<"$answer")" >&2
    die "Go 1.24 or newer is needed, found: ${found:-an older one}${1:+. Install it, or $1}"
  fi
  # A module's files are not executable.
  chmod +x "$folder"/bin/* "$folder"/pkg/tool/*/*
  unset GOROOT
  export PATH=$folder/bin:$PATH GOTOOLCHAIN=local
}
