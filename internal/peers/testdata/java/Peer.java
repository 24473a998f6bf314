import java.nio.file.Files;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.ProducerFencedException;
import org.apache.kafka.common.errors.InvalidProducerEpochException;
import org.apache.kafka.common.serialization.*;
import org.apache.kafka.streams.*;
import org.apache.kafka.streams.kstream.*;

/** The Java clients and Kafka Streams against the broker at the first argument; with a second only a producer that is replaced. */
public class Peer {
  static String brokers;

  public static void main(String[] args) throws Exception {
    brokers = args[0];
    try (Admin admin = Admin.create(Map.of("bootstrap.servers", brokers))) {
      fenced(admin);
      if (args.length > 1) { // only this
        System.out.println("ok");
        System.exit(0);
      }
      admin(admin);
      produce();
      for (String protocol : List.of("classic", "consumer")) consume(admin, protocol);
      transactions(admin);
      streams(admin);
    }
    System.out.println("ok");
    System.exit(0);
  }

  static void check(String what, Object got, Object want) {
    if (!Objects.equals(got, want)) throw new IllegalStateException(what + ": " + got + ", want " + want);
  }

  static void admin(Admin admin) throws Exception {
    admin.createTopics(List.of(new NewTopic("java", 2, (short) 1).configs(Map.of("retention.ms", "-1")))).all().get();
    admin.createPartitions(Map.of("java", NewPartitions.increaseTo(4))).all().get();
    check("partitions", admin.describeTopics(List.of("java")).allTopicNames().get().get("java").partitions().size(), 4);
    ConfigResource topic = new ConfigResource(ConfigResource.Type.TOPIC, "java");
    admin.incrementalAlterConfigs(Map.of(topic, List.of(new AlterConfigOp(new ConfigEntry("max.message.bytes", "2000000"), AlterConfigOp.OpType.SET)))).all().get();
    check("config", admin.describeConfigs(List.of(topic)).all().get().get(topic).get("max.message.bytes").value(), "2000000");
    check("nodes", admin.describeCluster().nodes().get().size(), 1);
    check("quorum", admin.describeMetadataQuorum().quorumInfo().get().voters().size(), 1);
    check("features", admin.describeFeatures().featureMetadata().get().finalizedFeatures().containsKey("transaction.version"), true);
    check("log dirs", admin.describeLogDirs(List.of(0)).allDescriptions().get().size(), 1);
    check("quotas", admin.describeClientQuotas(org.apache.kafka.common.quota.ClientQuotaFilter.all()).entities().get().size(), 0);
  }

  static Properties client(Object... more) {
    Properties p = new Properties();
    p.put("bootstrap.servers", brokers);
    for (int i = 0; i < more.length; i += 2) p.put((String) more[i], more[i + 1]);
    return p;
  }

  static void produce() throws Exception {
    for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
      try (Producer<String, String> p = new KafkaProducer<>(client("compression.type", codec, "linger.ms", 5), new StringSerializer(), new StringSerializer())) {
        for (int i = 0; i < 400; i++) p.send(new ProducerRecord<>("java", "k" + i, codec + i));
      }
    }
  }

  static void consume(Admin admin, String protocol) throws Exception {
    String group = "java-" + protocol;
    Properties conf = client("group.id", group, "group.protocol", protocol, "auto.offset.reset", "earliest", "enable.auto.commit", false);
    List<Consumer<String, String>> members = new ArrayList<>();
    for (int i = 0; i < 2; i++) members.add(new KafkaConsumer<>(conf, new StringDeserializer(), new StringDeserializer()));
    for (Consumer<String, String> c : members) c.subscribe(List.of("java"));
    Set<String> seen = new HashSet<>();
    long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(40);
    while ((seen.size() < 2000 || members.stream().anyMatch(c -> c.assignment().size() != 2)) && System.nanoTime() < deadline)
      for (Consumer<String, String> c : members) {
        for (ConsumerRecord<String, String> r : c.poll(Duration.ofMillis(200))) seen.add(r.value());
        c.commitSync();
      }
    check(protocol + ": records", seen.size(), 2000);
    for (Consumer<String, String> c : members) check(protocol + ": assignment", c.assignment().size(), 2);
    check(protocol + ": members", admin.describeConsumerGroups(List.of(group)).all().get().get(group).members().size(), 2);
    for (Consumer<String, String> c : members) c.close();
    long sum = admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().values().stream().mapToLong(OffsetAndMetadata::offset).sum();
    check(protocol + ": committed", sum, 2000L);
  }

  static void transactions(Admin admin) throws Exception {
    admin.createTopics(List.of(new NewTopic("java-tx", 1, (short) 1))).all().get();
    Properties conf = client("transactional.id", "java-tx");
    Producer<String, String> p = new KafkaProducer<>(conf, new StringSerializer(), new StringSerializer());
    p.initTransactions();
    for (String value : List.of("aborted", "committed")) {
      p.beginTransaction();
      p.send(new ProducerRecord<>("java-tx", value));
      p.sendOffsetsToTransaction(Map.of(new TopicPartition("java", 0), new OffsetAndMetadata(value.length())), new ConsumerGroupMetadata("java-tx-group"));
      if (value.equals("aborted")) p.abortTransaction(); else p.commitTransaction();
    }
    p.close();
    check("committed offset", admin.listConsumerGroupOffsets("java-tx-group").partitionsToOffsetAndMetadata().get().get(new TopicPartition("java", 0)).offset(), (long) "committed".length());
    check("transaction", admin.describeTransactions(List.of("java-tx")).all().get().get("java-tx").state() != TransactionState.ONGOING, true);
    check("committed records", read("java-tx", new StringDeserializer(), 1), Map.of("", "committed"));
  }

  /** What a producer that was replaced is told, by the request that tells it. */
  static void fenced(Admin admin) throws Exception {
    admin.createTopics(List.of(new NewTopic("java-fenced", 1, (short) 1))).all().get();
    TopicPartition partition = new TopicPartition("java-fenced", 0);
    for (String by : List.of("send", "offsets", "abort")) {
      Properties conf = client("transactional.id", "java-fenced-" + by);
      Producer<String, String> p = new KafkaProducer<>(conf, new StringSerializer(), new StringSerializer());
      p.initTransactions();
      p.beginTransaction();
      p.send(new ProducerRecord<>("java-fenced", "before"));
      p.commitTransaction();
      Producer<String, String> next = new KafkaProducer<>(conf, new StringSerializer(), new StringSerializer());
      next.initTransactions();
      p.beginTransaction();
      // Produce answers INVALID_PRODUCER_EPOCH, which a client may abort after; then it is told.
      Class<?> first = by.equals("send") ? InvalidProducerEpochException.class : ProducerFencedException.class;
      check(by, thrown(() -> {
        if (by.equals("offsets")) p.sendOffsetsToTransaction(Map.of(partition, new OffsetAndMetadata(1)), new ConsumerGroupMetadata("java-fenced"));
        else p.send(new ProducerRecord<>("java-fenced", "zombie"));
        if (by.equals("abort")) p.abortTransaction(); else p.commitTransaction();
      }), first);
      check(by + ", then abort", thrown(p::abortTransaction), ProducerFencedException.class);
      check(by + ", then begin", thrown(p::beginTransaction), ProducerFencedException.class);
      p.close(Duration.ZERO);
      next.beginTransaction();
      next.send(new ProducerRecord<>("java-fenced", by, "after"));
      next.commitTransaction();
      next.close();
    }
    check("records", read("java-fenced", new StringDeserializer(), 4), Map.of("", "before", "send", "after", "offsets", "after", "abort", "after"));
  }

  static Class<?> thrown(Runnable what) {
    try {
      what.run();
      return null;
    } catch (RuntimeException e) {
      return e.getClass();
    }
  }

  /** The last value of each key of a topic, once there have been so many. */
  static <V> Map<String, V> read(String topic, Deserializer<V> values, int want) {
    Map<String, V> last = new TreeMap<>();
    try (Consumer<String, V> c = new KafkaConsumer<>(client("isolation.level", "read_committed"), new StringDeserializer(), values)) {
      List<TopicPartition> all = c.partitionsFor(topic).stream().map(i -> new TopicPartition(topic, i.partition())).toList();
      c.assign(all);
      c.seekToBeginning(all);
      long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(40);
      Map<TopicPartition, Long> ends = c.endOffsets(all);
      while (System.nanoTime() < deadline && (last.size() < want || all.stream().anyMatch(p -> c.position(p) < ends.get(p))))
        for (ConsumerRecord<String, V> r : c.poll(Duration.ofMillis(200))) last.put(r.key() == null ? "" : r.key(), r.value());
    }
    return last;
  }

  static void streams(Admin admin) throws Exception {
    admin.createTopics(List.of(new NewTopic("lines", 2, (short) 1), new NewTopic("counts", 2, (short) 1))).all().get();
    Map<String, Long> want = new TreeMap<>();
    try (Producer<String, String> p = new KafkaProducer<>(client(), new StringSerializer(), new StringSerializer())) {
      Random random = new Random(1);
      for (int i = 0; i < 3000; i++) {
        String line = "w" + random.nextInt(50) + " w" + random.nextInt(50);
        for (String word : line.split(" ")) want.merge(word, 1L, Long::sum);
        p.send(new ProducerRecord<>("lines", "k" + i, line));
      }
    }
    StreamsBuilder b = new StreamsBuilder();
    b.stream("lines", Consumed.with(Serdes.String(), Serdes.String()))
        .flatMapValues(line -> List.of(line.split(" ")))
        .groupBy((k, word) -> word, Grouped.with(Serdes.String(), Serdes.String()))
        .count()
        .toStream()
        .to("counts", Produced.with(Serdes.String(), Serdes.Long()));
    Properties conf = client("application.id", "java-streams", "processing.guarantee", "exactly_once_v2", "auto.offset.reset", "earliest",
        "state.dir", Files.createTempDirectory("levada-streams").toString(), "commit.interval.ms", 100, "replication.factor", 1);
    long half = want.values().stream().mapToLong(Long::longValue).sum();
    for (int run = 0; run < 2; run++) { // the second goes on where the first stopped
      try (KafkaStreams streams = new KafkaStreams(b.build(), conf)) {
        streams.start();
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
        Map<String, Long> got = Map.of();
        while (System.nanoTime() < deadline && !got.equals(want)) got = read("counts", new LongDeserializer(), 50);
        check("counts of run " + run, got, want);
      }
    }
    check("words", half, 6000L);
  }
}
