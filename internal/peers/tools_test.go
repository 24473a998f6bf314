package peers

import (
	"path/filepath"
	"strings"
	"testing"
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
	b.wants("TransactionalId", "", tools+"TransactionsCommand", "list")
	b.wants("Completed updating", "", "kafka.admin.ConfigCommand", "--alter", "--entity-type", "topics", "--entity-name", "t", "--add-config", "retention.ms=1000000")
	b.wants("retention.ms=1000000", "", "kafka.admin.ConfigCommand", "--describe", "--entity-type", "topics", "--entity-name", "t")
	const groups = tools + "consumer.group.ConsumerGroupCommand"
	b.wants("LOG-END-OFFSET", "", groups, "--describe", "--group", "g")
	b.wants("NEW-OFFSET", "", groups, "--reset-offsets", "--to-earliest", "--topic", "t", "--group", "g", "--execute")
}
