// kafkajs against the broker at argv[2].
import kafkajs from 'kafkajs'

const { Kafka, logLevel } = kafkajs
const kafka = new Kafka({ clientId: 'peer', brokers: [process.argv[2]], logLevel: logLevel.ERROR })
const check = (what, got, want) => {
  if (JSON.stringify(got) !== JSON.stringify(want)) throw new Error(`${what}: ${JSON.stringify(got)}, want ${JSON.stringify(want)}`)
}

async function readAll(groupId, topic, count, isolation = 1) {
  const consumer = kafka.consumer({ groupId, readUncommitted: isolation === 0, maxWaitTimeInMs: 100 })
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  const values = []
  await new Promise((resolve, reject) => {
    consumer.on('consumer.crash', (e) => reject(e.payload.error))
    consumer.run({ eachMessage: async ({ message }) => { values.push(message.value.toString()); if (values.length === count) resolve() } }).catch(reject)
  })
  await consumer.commitOffsets([])
  await consumer.disconnect()
  return values
}

const admin = kafka.admin()
await admin.connect()
await admin.createTopics({ topics: [{ topic: 'js-in', numPartitions: 2, configEntries: [{ name: 'cleanup.policy', value: 'delete' }] }, { topic: 'js-out', numPartitions: 1 }] })
await admin.createPartitions({ topicPartitions: [{ topic: 'js-in', count: 3 }] })
check('partitions', (await admin.fetchTopicMetadata({ topics: ['js-in'] })).topics[0].partitions.length, 3)

const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1, createPartitioner: kafkajs.Partitioners.DefaultPartitioner })
await producer.connect()
for (let i = 0; i < 10; i++) {
  await producer.send({ topic: 'js-in', compression: kafkajs.CompressionTypes.GZIP, messages: Array.from({ length: 100 }, (_, j) => ({ key: `k${j}`, value: `v${i * 100 + j}`, headers: { h: 'x' } })) })
}
await producer.disconnect()
check('records', new Set(await readAll('js-read', 'js-in', 1000)).size, 1000)
check('end', (await admin.fetchTopicOffsets('js-in')).reduce((n, p) => n + Number(p.high), 0), 1000)
check('group', (await admin.describeGroups(['js-read'])).groups[0].state, 'Empty')

const tx = kafka.producer({ transactionalId: 'js-tx', idempotent: true, maxInFlightRequests: 1, createPartitioner: kafkajs.Partitioners.DefaultPartitioner })
await tx.connect()
for (const [value, commit] of [['aborted', false], ['committed', true]]) {
  const t = await tx.transaction()
  await t.send({ topic: 'js-out', messages: [{ value }] })
  await t.sendOffsets({ consumerGroupId: 'js-tx-group', topics: [{ topic: 'js-in', partitions: [{ partition: 0, offset: commit ? '5' : '3' }] }] })
  await (commit ? t.commit() : t.abort())
}
await tx.disconnect()
check('committed', await readAll('js-out-read', 'js-out', 1), ['committed'])
check('offset', (await admin.fetchOffsets({ groupId: 'js-tx-group', topics: ['js-in'] }))[0].partitions.find((p) => p.partition === 0).offset, '5')
await admin.deleteGroups(['js-read'])
await admin.deleteTopics({ topics: ['js-out'] })
await admin.disconnect()
console.log('ok')
process.exit(0)
