"""librdkafka's Python client with the token argv[3] at the broker argv[1], whose authority is argv[2]."""
import sys
import time

from confluent_kafka import Consumer, Producer, TopicPartition

BASE = {
    "bootstrap.servers": sys.argv[1], "security.protocol": "SASL_SSL", "ssl.ca.location": sys.argv[2],
    "sasl.mechanism": "OAUTHBEARER", "oauth_cb": lambda _: (sys.argv[3], time.time() + 3600),
}

told = []
p = Producer(BASE)
p.produce("orders", b"by confluent", callback=lambda err, msg: told.append((err, msg.offset())))
p.flush(20)
if len(told) != 1 or told[0][0] is not None:
    sys.exit(f"produced: {told}")
c = Consumer({**BASE, "group.id": "orders"})
c.assign([TopicPartition("orders", 0, told[0][1])])
m = c.poll(20)
if m is None or m.error():
    sys.exit(f"consumed: {m and m.error()}")
print(m.value().decode())
c.close()
