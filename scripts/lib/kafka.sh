# Apache Kafka (KRaft, one node) from Maven Central, for tests and for the native stack. Sourced from
# the project's folder; needs say.sh.
# shellcheck shell=bash

# fetch_kafka [WHAT ELSE HELPS]: prints the folder of the jars; gets them first (43 MB) when they are
# not there. It is named after what is in it: another version is fetched anew.
fetch_kafka() {
  local pom=scripts/kafka-pom.xml folder work
  folder=$CACHE/kafka-$(cksum <"$pom" | cut -d ' ' -f 1)
  need java openjdk-17-jre-headless "${1:-Java 17 or newer}" >&2
  if [ ! -d "$folder" ]; then
    need mvn maven "${1:-}" >&2
    say "getting Kafka (43 MB)"
    mkdir -p "$CACHE"
    work=$(mktemp -d "$folder.XXXXXX")
    mvn -q -B -Dstyle.color=never -f "$pom" dependency:copy-dependencies \
      -DincludeScope=runtime -DoutputDirectory="$work" >&2
    # Whole or not at all, also when two fetch at once.
    mv -T "$work" "$folder" 2>/dev/null || rm -rf "$work"
  fi
  echo "$folder"
}

# start_kafka FOLDER PORT [WHAT ELSE HELPS [CERTIFICATES]]: a broker with its data in FOLDER; returns at once. The
# controller's port is the next one. With CERTIFICATES (a folder of make_certs) it listens on two more: the
# third wants TLS and a password (rookery, secret), the fourth TLS and a client's certificate. BROKER_PROPERTIES has
# more lines for its settings.
start_kafka() {
  local folder=$1 port=$2 certs=${4:-} jars secure=() listeners protocols
  jars=$(fetch_kafka "${3:-}")
  mkdir -p "$folder"
  listeners=PLAINTEXT://127.0.0.1:$port
  protocols=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
  if [ -n "$certs" ]; then
    listeners+=,PASSWORD://127.0.0.1:$((port + 2)),CERTIFICATE://127.0.0.1:$((port + 3))
    protocols+=,PASSWORD:SASL_SSL,CERTIFICATE:SSL
    for mechanism in SCRAM-SHA-256 SCRAM-SHA-512; do
      secure+=(--add-scram "$mechanism=[name=rookery,password=secret]")
    done
  fi
  cat >"$folder/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$((port + 1))
listeners=$listeners,CONTROLLER://127.0.0.1:$((port + 1))
advertised.listeners=$listeners
listener.security.protocol.map=$protocols
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs=$folder/data
auto.create.topics.enable=false
num.partitions=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
default.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
${BROKER_PROPERTIES:-}
PROPERTIES
  [ -z "$certs" ] || cat >>"$folder/server.properties" <<PROPERTIES
ssl.keystore.type=PEM
ssl.keystore.location=$certs/server-and-key.pem
ssl.truststore.type=PEM
ssl.truststore.location=$certs/ca.pem
listener.name.certificate.ssl.client.auth=required
listener.name.password.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.password.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_rookery="secret";
listener.name.password.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.password.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
PROPERTIES
  if [ ! -e "$folder/data/meta.properties" ]; then
    kafka_java "$jars" -Xmx256m kafka.tools.StorageTool format \
      -t "$(kafka_java "$jars" -Xmx256m kafka.tools.StorageTool random-uuid)" \
      -c "$folder/server.properties" "${secure[@]}" >"$folder/format.log" 2>&1 || {
      cat "$folder/format.log" >&2
      die "Kafka's folder could not be made"
    }
  fi
  start Kafka "$folder" java -Xmx512m -XX:+UseSerialGC -Dorg.slf4j.simpleLogger.showDateTime=true \
    -Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd\'T\'HH:mm:ss.SSS \
    -cp "$jars/*" kafka.Kafka "$folder/server.properties"
}

# kafka_java JARS [JAVA-OPTIONS] CLASS [ARGUMENTS]: one of the tools.
kafka_java() {
  local jars=$1
  shift
  java -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -XX:TieredStopAtLevel=1 -cp "$jars/*" "$@"
}
