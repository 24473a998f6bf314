// @platformatic/kafka against the broker at argv[2].
import { Admin, Consumer, Producer, stringDeserializers, stringSerializers, MessagesStreamModes, ProduceAcks } from '@platformatic/kafka'

const bootstrapBrokers = [process.argv[2]]
const check = (what, got, want) => {
  if (JSON.stringify(got) !== JSON.stringify(want)) throw new Error(`${what}: ${JSON.stringify(got)}, want ${JSON.stringify(want)}`)
}
const admin = new Admin({ clientId: 'peer', bootstrapBrokers })
await admin.createTopics({ topics: ['pf'], partitions: 2, replicas: 1 })
check('topics', (await admin.listTopics()).includes('pf'), true)
const producer = new Producer({ clientId: 'peer', bootstrapBrokers, serializers: stringSerializers, idempotent: true, acks: ProduceAcks.ALL })
for (let i = 0; i < 5; i++) {
  await producer.send({ messages: Array.from({ length: 100 }, (_, j) => ({ topic: 'pf', key: `k${j}`, value: `v${i * 100 + j}`, headers: { h: 'x' } })) })
}
const consumer = new Consumer({ groupId: 'pf-group', clientId: 'peer', bootstrapBrokers, deserializers: stringDeserializers, maxWaitTime: 100 })
const stream = await consumer.consume({ autocommit: true, topics: ['pf'], mode: MessagesStreamModes.EARLIEST, sessionTimeout: 10000, heartbeatInterval: 500 })
const values = new Set()
for await (const message of stream) {
  values.add(message.value)
  if (values.size === 500) break
}
check('records', values.size, 500)
await stream.close()
check('groups', [...(await admin.listGroups()).keys()].includes('pf-group'), true)
await consumer.close(true)
await producer.close()
await admin.close()
console.log('ok')
process.exit(0)
