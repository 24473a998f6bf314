"""librdkafka's Python client against the broker at argv[1]."""
import sys
import uuid

from confluent_kafka import Consumer, DeserializingConsumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic

BROKERS = sys.argv[1]
BASE = {"bootstrap.servers": BROKERS}
IN, OUT = "py-in", "py-out"


def done(futures):
    for future in futures.values():
        future.result(20)


def check(what, got, want):
    if got != want:
        sys.exit(f"{what}: {got!r}, want {want!r}")


def read_all(topic, want, isolation="read_committed"):
    """The values of a topic, read with assigned partitions from its start."""
    c = Consumer({**BASE, "group.id": "none-" + uuid.uuid4().hex, "isolation.level": isolation, "enable.partition.eof": True, "auto.offset.reset": "earliest"})
    partitions = c.list_topics(topic, 20).topics[topic].partitions
    c.assign([TopicPartition(topic, p, 0) for p in partitions])
    values, ended = [], set()
    while len(ended) < len(partitions):
        m = c.poll(20)
        if m is None:
            sys.exit(f"{topic}: {len(values)} of {want} records, and no more come")
        if m.error():
            if m.error().code() != KafkaError._PARTITION_EOF:
                raise KafkaException(m.error())
            ended.add(m.partition())
            continue
        values.append(m.value().decode())
    c.close()
    check(topic, len(values), want)
    return values


def produce():
    p = Producer({**BASE, "enable.idempotence": True, "compression.type": "lz4", "linger.ms": 5})
    failed = []
    for i in range(2000):
        p.produce(IN, key=f"k{i % 17}", value=f"v{i}", headers={"n": str(i)}, on_delivery=lambda e, m: e and failed.append(e))
        p.poll(0)
    check("left in the producer", p.flush(30), 0)
    check("failed deliveries", failed, [])


def share(protocol):
    """Two members of a group read everything once."""
    group = "py-" + protocol
    conf = {**BASE, "group.id": group, "auto.offset.reset": "earliest", "partition.assignment.strategy": protocol, "enable.auto.commit": False}
    members = [Consumer(conf), Consumer(conf)]
    for m in members:
        m.subscribe([IN])
    seen, rounds, committed = [], 0, 0
    while committed < 2000 or not all(m.assignment() for m in members):
        rounds += 1
        if rounds > 400:
            sys.exit(f"{protocol}: {len(set(seen))} different records, {committed} committed, assignments {[m.assignment() for m in members]}")
        for m in members:
            for r in m.consume(500, 0.1):
                if r.error():
                    raise KafkaException(r.error())
                seen.append(r.value().decode())
            try:
                if m.assignment() and seen:
                    m.commit(asynchronous=False)
            except KafkaException as e:  # a rebalance is under way: the next round will do
                check(f"{protocol}: commit", e.args[0].code() in (KafkaError._NO_OFFSET, KafkaError.REBALANCE_IN_PROGRESS, KafkaError.ILLEGAL_GENERATION, KafkaError.UNKNOWN_MEMBER_ID), True)
        if len(set(seen)) == 2000:
            # Asked by somebody else: a member's own question may wait for its rebalance.
            other = Consumer(conf)
            committed = sum(max(t.offset, 0) for t in other.committed([TopicPartition(IN, p) for p in range(3)], 20))
            other.close()
    for m in members:
        m.close()


def transactions():
    """Copies records in transactions, of which one is aborted and repeated."""
    c = Consumer({**BASE, "group.id": "py-copy", "auto.offset.reset": "earliest", "enable.auto.commit": False, "isolation.level": "read_committed"})
    p = Producer({**BASE, "transactional.id": "py-copier"})
    p.init_transactions(20)
    c.subscribe([IN])
    copied, aborted = 0, False
    while copied < 2000:
        batch = [m for m in c.consume(300, 5) if not m.error()]
        if not batch:
            continue
        p.begin_transaction()
        for m in batch:
            p.produce(OUT, key=m.key(), value=m.value())
        if not aborted:
            p.flush(20)
            p.abort_transaction(20)
            aborted = True
            firsts = {}
            for m in batch:
                firsts.setdefault(m.partition(), m.offset())
            for partition, offset in firsts.items():
                c.seek(TopicPartition(IN, partition, offset))
            continue
        p.send_offsets_to_transaction(c.position(c.assignment()), c.consumer_group_metadata(), 20)
        p.commit_transaction(20)
        copied += len(batch)
    c.close()
    check("copied once", len(set(read_all(OUT, 2000))), 2000)
    fenced(p)


def fenced(p):
    """A producer that was replaced is told so for good, and stays so."""
    successor = Producer({**BASE, "transactional.id": "py-copier"})
    successor.init_transactions(20)
    p.begin_transaction()
    p.produce(OUT, value="zombie")
    for attempt in range(2):
        try:
            p.commit_transaction(20)
            sys.exit("a producer that was replaced could commit")
        except KafkaException as e:
            check(f"fenced, attempt {attempt}", (e.args[0].code(), e.args[0].fatal(), e.args[0].retriable()), (KafkaError._FENCED, True, False))
    try:
        p.init_transactions(20)
        sys.exit("a producer that was replaced could begin again")
    except KafkaException as e:
        check("begun again", e.args[0].fatal(), True)
    successor.begin_transaction()
    successor.produce(OUT, value="successor")
    successor.commit_transaction(20)
    check("committed after the fence", "zombie" in read_all(OUT, 2001), False)


admin = AdminClient(BASE)
done(admin.create_topics([NewTopic(IN, 2, 1, config={"retention.ms": "-1"}), NewTopic(OUT, 2, 1)]))
done(admin.create_partitions([NewPartitions(IN, 3)]))
resource = ConfigResource(ConfigResource.Type.TOPIC, IN)
check("retention.ms", list(admin.describe_configs([resource]).values())[0].result(20)["retention.ms"].value, "-1")
produce()
check("produced", len(set(read_all(IN, 2000))), 2000)
share("range")
share("cooperative-sticky")
transactions()
check("groups", {g.id for g in admin.list_groups(timeout=20)} >= {"py-range", "py-cooperative-sticky", "py-copy"}, True)
done(admin.delete_topics([OUT]))
print("ok")
