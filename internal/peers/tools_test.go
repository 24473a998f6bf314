package peers

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const tools = "org.apache.kafka.tools."

// toolbox runs Kafka's own tools, against the server at its address.
type toolbox struct {
	t         *testing.T
	addr      string
	classPath string
}

func newToolbox(t *testing.T, addr string) *toolbox {
	t.Helper()
	pom, err := filepath.Abs("../../bench/kafka/pom.xml")
	if err != nil {
		t.Fatal(err)
	}
	return &toolbox{t: t, addr: addr, classPath: classPath(t, "kafka-4.3.1", pom)}
}

// tool is what a tool prints that must succeed.
func (b *toolbox) tool(stdin, class string, args ...string) string {
	b.t.Helper()
	return run(b.t, b.t.TempDir(), stdin, "java", append([]string{"-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp", b.classPath, class}, args...)...)
}

// wants runs a tool that asks the server, and looks for a text in what it prints.
func (b *toolbox) wants(want, stdin, class string, args ...string) {
	b.t.Helper()
	if out := b.tool(stdin, class, append([]string{"--bootstrap-server", b.addr}, args...)...); !strings.Contains(out, want) {
		b.t.Errorf("%s %s: no %q in\n%s", class, strings.Join(args, " "), want, out)
	}
}

// TestKafkaTools runs Kafka's own tools, and looks at what they print.
func TestKafkaTools(t *testing.T) {
	addr, _ := server(t, "java", "mvn")
	b := newToolbox(t, addr)
	b.wants("Created topic t", "", tools+"TopicCommand", "--create", "--topic", "t", "--partitions", "2")
	b.wants("", "", tools+"TopicCommand", "--alter", "--topic", "t", "--partitions", "3")
	b.wants("PartitionCount: 3", "", tools+"TopicCommand", "--describe", "--topic", "t")
	b.wants("", "one\ntwo\nthree\n", tools+"ConsoleProducer", "--topic", "t")
	b.wants("three", "", tools+"consumer.ConsoleConsumer", "--topic", "t", "--group", "g", "--from-beginning", "--max-messages", "3", "--timeout-ms", "20000")
	b.wants(`"partition":"t-0"`, "", tools+"LogDirsCommand", "--describe")
	b.wants("t:0:", "", tools+"GetOffsetShell", "--topic", "t")
	const groups = tools + "consumer.group.ConsumerGroupCommand"
	b.wants("LOG-END-OFFSET", "", groups, "--describe", "--group", "g")
	b.wants("NEW-OFFSET", "", groups, "--reset-offsets", "--to-earliest", "--topic", "t", "--group", "g", "--execute")
	b.wants("Request succeed", "", groups, "--delete-offsets", "--group", "g", "--topic", "t:0")
	b.wants("Deletion of requested consumer groups ('g') was successful", "", groups, "--delete", "--group", "g")
}

// TestTransactionsCommand asks Kafka's tool about a transaction that is open, and has it
// aborted. What is wanted are the columns that do not tell of the time, as Apache Kafka's.
func TestTransactionsCommand(t *testing.T) {
	addr, _ := server(t, "java", "mvn")
	b := newToolbox(t, addr)
	createTopic(t, addr, "t", nil)
	w := newWriter(t, addr, kgo.TransactionalID("open"))
	w.transaction(true, "t", 2, "v")
	w.transaction(false, "t", 2, "v")
	if err := w.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	w.write("t", 2, "v")
	id, epoch, err := w.ProducerID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	producer := fmt.Sprint(id, " ", epoch)
	for _, c := range []struct {
		args, columns, want string // of the row after the heading
	}{
		{"list", "TransactionalId Coordinator ProducerId TransactionState", fmt.Sprint("open 0 ", id, " Ongoing")},
		{"describe --transactional-id open", "CoordinatorId TransactionalId ProducerId ProducerEpoch TransactionState TransactionTimeoutMs TopicPartitions", "0 open " + producer + " Ongoing 40000 t-0"},
		{"describe-producers --topic t --partition 0", "ProducerId ProducerEpoch LastSequence CurrentTransactionStartOffset", producer + " 1 6"},
		{"find-hanging --broker-id 0 --max-transaction-timeout 0", "Topic Partition", ""},
		{"abort --topic t --partition 0 --start-offset 6", "", ""},
		{"describe-producers --topic t --partition 0", "ProducerId CurrentTransactionStartOffset", fmt.Sprint(id, " None")},
	} {
		args := append([]string{"--bootstrap-server", addr}, strings.Fields(c.args)...)
		if got := row(b.tool("", tools+"TransactionsCommand", args...), strings.Fields(c.columns)); got != c.want {
			t.Errorf("%s: %q, want %q", c.args, got, c.want)
		}
	}
	ends, err := kadm.NewClient(w.Client).ListCommittedOffsets(t.Context(), "t")
	if end, ok := ends.Lookup("t", 0); err != nil || !ok || end.Offset != 9 {
		t.Errorf("after the abort the last stable offset is %+v, %v; want 9", end, err)
	}
}

// row is what a table has in some columns of its only row, "" without one.
func row(table string, columns []string) string {
	var heading, cells, found []string
	for line := range strings.Lines(table) {
		switch fields := strings.Fields(line); {
		case strings.HasPrefix(line, "SLF4J"):
		case heading == nil:
			heading = fields
		case cells == nil:
			cells = fields
		default:
			return "more than one row"
		}
	}
	for _, c := range columns {
		if i := slices.Index(heading, c); i < 0 {
			return "no column " + c
		} else if cells != nil {
			found = append(found, cells[i])
		}
	}
	return strings.Join(found, " ")
}

// TestConfigCommand sets what Kafka's tool can set, and has it say what is set.
func TestConfigCommand(t *testing.T) {
	addr, _ := server(t, "java", "mvn")
	b := newToolbox(t, addr)
	createTopic(t, addr, "t", nil)
	for _, c := range []struct {
		entity string
		set    string
		want   string
	}{
		{"--entity-type topics --entity-name t", "retention.ms=1000000", "  retention.ms=1000000 sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:retention.ms=1000000"},
		{"--entity-type users --entity-name u", "consumer_byte_rate=1000", "Quota configs for user-principal 'u' are consumer_byte_rate=1000.0"},
		{"--entity-type users --entity-name s", "SCRAM-SHA-256=[iterations=4097,password=p]", "SCRAM credential configs for user-principal 's' are SCRAM-SHA-256=iterations=4097"},
		{"--entity-type clients --entity-name c", "producer_byte_rate=2000", "Quota configs for client-id 'c' are producer_byte_rate=2000.0"},
		{"--entity-type users --entity-name u --entity-type clients --entity-default", "request_percentage=50", "Quota configs for user-principal 'u', the default client-id are request_percentage=50.0"},
		{"--entity-type brokers --entity-default", "log.cleaner.backoff.ms=7000", "  log.cleaner.backoff.ms=7000 sensitive=false synonyms={DYNAMIC_DEFAULT_BROKER_CONFIG:log.cleaner.backoff.ms=7000}"},
		{"--entity-type brokers --entity-name 0", "log.cleaner.backoff.ms=8000", "synonyms={DYNAMIC_BROKER_CONFIG:log.cleaner.backoff.ms=8000, DYNAMIC_DEFAULT_BROKER_CONFIG:log.cleaner.backoff.ms=7000, DEFAULT_CONFIG:log.cleaner.backoff.ms=15000}"},
		{"--entity-type groups --entity-name g", "consumer.session.timeout.ms=50000", "synonyms={DYNAMIC_GROUP_CONFIG:consumer.session.timeout.ms=50000, DEFAULT_CONFIG:group.consumer.session.timeout.ms=45000}"},
	} {
		entity, command := strings.Fields(c.entity), "kafka.admin.ConfigCommand"
		name, _, _ := strings.Cut(c.set, "=")
		b.wants("Completed updating", "", command, append(entity, "--alter", "--add-config", c.set)...)
		b.wants(c.want, "", command, append(entity, "--describe")...)
		if strings.Contains(c.want, "Quota") || strings.Contains(c.want, "SCRAM") { // others go as they came
			b.wants("Completed updating", "", command, append(entity, "--alter", "--delete-config", name)...)
			if out := b.tool("", command, append(append([]string{"--bootstrap-server", addr}, entity...), "--describe")...); strings.Contains(out, name) {
				t.Errorf("%s: after %s was deleted: %s", c.entity, name, out)
			}
		}
	}
}
