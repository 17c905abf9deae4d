# Certificates for servers of tests. Sourced; needs say.sh.
# shellcheck shell=bash

# make_certs FOLDER: an authority (ca.pem), what it signed for servers here (server.pem, server.key) and for a
# client (client.pem, client.key), and an authority that signed nothing (stranger.pem). Valid for ten days.
make_certs() {
  local folder=$1 name
  [ ! -s "$folder/client.pem" ] || return 0
  need openssl openssl >&2
  mkdir -p "$folder"
  for name in ca stranger; do
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 10 -subj "/CN=$name" \
      -keyout "$folder/$name.key" -out "$folder/$name.pem" 2>/dev/null
  done
  for name in server client; do
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$name" \
      -keyout "$folder/$name.key" -out "$folder/$name.csr" 2>/dev/null
    openssl x509 -req -in "$folder/$name.csr" -CA "$folder/ca.pem" -CAkey "$folder/ca.key" -CAcreateserial \
      -days 10 -extfile <(echo "subjectAltName=DNS:localhost,IP:127.0.0.1") -out "$folder/$name.pem" 2>/dev/null
    cat "$folder/$name.pem" "$folder/$name.key" >"$folder/$name-and-key.pem"
  done
}
