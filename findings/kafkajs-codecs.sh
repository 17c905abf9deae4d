#!/usr/bin/env bash
# One batch compressed by lz4, zstd or snappy, and a kafkajs consumer stops for good.
# Expected: a consumer reads what any producer may write, or keeps trying and says so.
# Seen: kafkajs has gzip alone. At the first batch of another codec the consumer leaves its group and does not
#   come back (restart is false). run() has long returned, no handler fails, the process lives on.
# Why it matters: compression is the producer's choice, of one line, and takes down readers in another language.
#   Health checks that only ask whether the process lives stay green while nothing is read.
# What we do: our producer does not compress, and gzip is what all clients have. Whoever reads our topics by
#   kafkajs should listen to consumer.crash and end the process.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

pip_install confluent-kafka==2.16.1
npm_install kafkajs@2.2.4
mock_kafka

cat >produce.py <<'PYTHON'
import sys
from confluent_kafka import Producer
for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
    producer = Producer({"bootstrap.servers": sys.argv[1], "compression.type": codec, "linger.ms": 50, "log_level": 0})
    for _ in range(20):
        producer.produce(f"events-{codec}", value="the same again and again " * 20)
    assert producer.flush(10) == 0
PYTHON
cat >consume.mjs <<'JS'
import kafkajs from 'kafkajs'
const client = new kafkajs.Kafka({ brokers: [process.argv[2]], logLevel: 0 })
for (const codec of ['none', 'gzip', 'snappy', 'lz4', 'zstd']) {
  const consumer = client.consumer({ groupId: `readers-${codec}` })
  await consumer.connect()
  await consumer.subscribe({ topic: `events-${codec}`, fromBeginning: true })
  let read = 0
  const end = await new Promise((resolve) => {
    consumer.on('consumer.crash', ({ payload }) =>
      resolve(`stopped, restart is ${payload.restart}: ${payload.error.message}`))
    consumer.run({ eachMessage: async () => { if (++read === 20) resolve('read all 20') } })
    setTimeout(() => resolve(`read ${read}, then nothing for 30 s`), 30_000).unref()
  })
  console.log(`${codec}: ${end}`)
  await consumer.disconnect().catch(() => {})
}
process.exit(0)
JS
quietly "producing" "$python" produce.py "$broker"
compare node consume.mjs "$broker" <<'TEXT'
none: read all 20
gzip: read all 20
snappy: stopped, restart is false: Snappy compression not implemented
lz4: stopped, restart is false: LZ4 compression not implemented
zstd: stopped, restart is false: ZSTD compression not implemented
TEXT
as_found
