#!/usr/bin/env bash
# The CloudEvents SDK for JavaScript and kafkajs: each takes Kafka messages, but not the other's.
# Expected: what Kafka.binary() makes can be sent by kafkajs, and what kafkajs received is read by Kafka.toEvent().
# Seen: Kafka.binary() leaves the value an object and absent attributes as undefined headers; send() refuses both.
#   kafkajs hands over headers, key and value as Buffers: toEvent() fails on a content-type that is one. Without
#   that header it answers an event whose id and data are Buffers. Text headers alone make it whole, but the key.
# Why it matters: CloudEvents on Kafka is how peers read our topics. An id that is a Buffer is equal to no other, so a
#   reader that drops repeats by id drops none.
# What we do: docs that show a JavaScript reader must show the headers made text, and an event without
#   content-type needs a JSON.parse of the reader's own.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

pip_install confluent-kafka==2.16.1
npm_install cloudevents@10.0.0 kafkajs@2.2.4
mock_kafka

cat >meet.mjs <<'JS'
import kafkajs from 'kafkajs'
import { CloudEvent, Kafka } from 'cloudevents'
const client = new kafkajs.Kafka({ brokers: [process.argv[2]], logLevel: 0, retry: { retries: 0 } })
const producer = client.producer()
await producer.connect()
const send = (what, message) => producer.send({ topic: 'posts', messages: [message] })
  .then(() => console.log(`send ${what}: sent`), (error) => console.log(`send ${what}: ${error.message}`))

const of = { id: '1', type: 'post.created', source: '/posts', partitionkey: '42', data: { title: 'a' } }
const made = Kafka.binary(new CloudEvent({ ...of, datacontenttype: 'application/json' }))
const value = JSON.stringify(made.value)
const headers = Object.fromEntries(Object.entries(made.headers).filter(([, text]) => text !== undefined))
await send('as made', made)
await send('with the value as text', { ...made, value })
await send('without absent headers, too', { ...made, value, headers })

const consumer = client.consumer({ groupId: 'readers' })
await consumer.connect()
await consumer.subscribe({ topic: 'posts', fromBeginning: true })
const got = await new Promise((resolve) => consumer.run({ eachMessage: async ({ message }) => resolve(message) }))
const read = (what, message) => {
  try {
    const { id, data, partitionkey } = Kafka.toEvent(message)
    console.log(`read ${what}: id ${id?.constructor.name}, data ${data?.constructor.name}, key ${partitionkey?.constructor.name}`)
  } catch (error) {
    console.log(`read ${what}: ${error.name}`)
  }
}
const text = Object.fromEntries(Object.entries(got.headers).map(([name, bytes]) => [name, String(bytes)]))
const { 'content-type': type, ...others } = got.headers
read('as received', got)
read('without content-type', { ...got, headers: others })
read('with headers as text', { ...got, headers: text })
process.exit(0)
JS
compare node meet.mjs "$broker" <<'TEXT'
send as made: The "string" argument must be of type string or an instance of Buffer or ArrayBuffer. Received an instance of Object
send with the value as text: The "string" argument must be of type string or an instance of Buffer or ArrayBuffer. Received undefined
send without absent headers, too: sent
read as received: TypeError
read without content-type: id Buffer, data Buffer, key Buffer
read with headers as text: id String, data Object, key Buffer
TEXT
as_found
