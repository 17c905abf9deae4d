#!/usr/bin/env bash
# One key, three partitions: the default partitioners of Kafka clients do not agree.
# Expected: producers with default settings put a key where every other client puts it, as the order of
#   a key's events rests on its partition.
# Seen: librdkafka hashes by CRC-32, kafkajs by murmur2 (as Kafka's own client does), its LegacyPartitioner
#   by a third hash. librdkafka also spreads the empty key over all partitions, kafkajs keeps it on one.
# Why it matters: a second producer of a topic, or one rewritten in another language, splits the events
#   of one aggregate over two partitions. Consumers then see them out of order, without any error.
# What we do: our producer sets murmur2_random, and the embedded log hashes alike. Whoever writes to our
#   topics by librdkafka must set it, too.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

pip_install confluent-kafka==2.16.1
npm_install kafkajs@2.2.4
mock_kafka

cat >send.py <<'PYTHON'
import sys
from confluent_kafka import Producer
broker, keys = sys.argv[1], ["1", "2", "42", "user-7", "order-1001"]

def librdkafka(keys, **settings):
    producer, found = Producer({"bootstrap.servers": broker, "log_level": 0, **settings}), {}
    for key in keys:
        note = lambda error, message, key=key: found.setdefault(key, []).append(error or message.partition())
        producer.produce("orders", key=key, value=b"v", on_delivery=note)
    producer.flush(10)
    return found

print("librdkafka:", *(p for key in keys for p in librdkafka([key])[key]))
print("librdkafka, murmur2_random:", *(p for key in keys for p in librdkafka([key], partitioner="murmur2_random")[key]))
partitions = librdkafka([""] * 100)[""]
print("librdkafka, the empty key 100 times:", "one partition" if len(set(partitions)) == 1 else "several partitions")
PYTHON
cat >send.mjs <<'JS'
import kafkajs from 'kafkajs'
const client = new kafkajs.Kafka({ brokers: [process.argv[2]], logLevel: 0 })
const line = async (name, createPartitioner, keys) => {
  const producer = client.producer({ createPartitioner })
  await producer.connect()
  const found = []
  for (const key of keys) {
    const [sent] = await producer.send({ topic: 'orders', messages: [{ key, value: 'v' }] })
    found.push(sent.partition)
  }
  console.log(name, ...found)
  await producer.disconnect()
}
const keys = ['1', '2', '42', 'user-7', 'order-1001']
const { DefaultPartitioner, LegacyPartitioner } = kafkajs.Partitioners
await line('kafkajs:', DefaultPartitioner, keys)
await line('kafkajs, legacy:', LegacyPartitioner, keys)
await line('kafkajs, the empty key 4 times:', DefaultPartitioner, ['', '', '', ''])
JS
both() { "$python" send.py "$broker" && node send.mjs "$broker"; }
compare both <<'TEXT'
librdkafka: 3 1 0 1 1
librdkafka, murmur2_random: 3 0 0 0 2
librdkafka, the empty key 100 times: several partitions
kafkajs: 3 0 0 0 2
kafkajs, legacy: 0 2 2 0 3
kafkajs, the empty key 4 times: 1 1 1 1
TEXT
as_found
