#!/usr/bin/env bash
# A consumer that read everything and committed everything still has a lag, on a topic with transactions.
# Expected: end of the partition minus the committed offset is 0 once all is read and each message was committed.
# Seen (Apache Kafka 4.1.0, confluent-kafka 2.16.1): commit(message) notes the offset after that message. Markers of
#   transactions and aborted messages take offsets, too, and are never delivered, so three messages of six offsets
#   leave a lag of 3 for ever. The consumer's position does pass them: commit() without a message makes the lag 0.
# Why it matters: an alarm or an autoscaler that waits for lag 0 never sees it, and "lag" counts things that are
#   not messages.
# What we do: our relay writes without transactions. Whoever measures lag takes the consumer's position, not the
#   offset of the last message.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

need java mvn
pip_install confluent-kafka==2.16.1
cat >pom.xml <<'XML'
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>finding</groupId><artifactId>broker</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>4.1.0</version></dependency>
  </dependencies>
</project>
XML
quietly "getting Kafka" mvn -q -B dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory=jars
port=$(free_port) controller=$(free_port)
cat >server.properties <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller
controller.listener.names=CONTROLLER
log.dirs=$work/data
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
PROPERTIES
quietly "making Kafka's folder" java -Xmx256m -cp 'jars/*' kafka.tools.StorageTool format -t AAAAAAAAQACAAAAAAAAAAQ -c server.properties
in_background java -Xmx384m -XX:+UseSerialGC -cp 'jars/*' kafka.Kafka server.properties
wait_until listens "$port"

cat >lag.py <<'PYTHON'
import sys
from confluent_kafka import Consumer, Producer, TopicPartition
servers = {"bootstrap.servers": sys.argv[1], "log_level": 0}
producer = Producer({**servers, "transactional.id": "orders"})
producer.init_transactions(60)
producer.begin_transaction()
for number in range(3):
    producer.produce("orders", f"order {number}", partition=0)
producer.commit_transaction()
producer.begin_transaction()
producer.produce("orders", "taken back", partition=0)
producer.flush()
producer.abort_transaction()

place = TopicPartition("orders", 0)
consumer = Consumer({**servers, "group.id": "g", "enable.auto.commit": False, "auto.offset.reset": "earliest"})
consumer.subscribe(["orders"])
read = 0
while read < 3:
    message = consumer.poll(60)
    assert message is not None and message.error() is None, message
    read += 1
    consumer.commit(message, asynchronous=False)
print("left to read:", consumer.poll(3))

def lag():
    return consumer.get_watermark_offsets(place)[1] - consumer.committed([place])[0].offset

print("messages read:", read)
print("lag after a commit of each message:", lag())
consumer.commit(asynchronous=False)
print("lag after a commit of the position:", lag())
consumer.close()
PYTHON
compare "$python" lag.py "127.0.0.1:$port" <<'TEXT'
left to read: None
messages read: 3
lag after a commit of each message: 3
lag after a commit of the position: 0
TEXT
as_found
