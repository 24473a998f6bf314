package main

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestTransactionCommands: a transaction that hangs is found, and aborted.
func TestTransactionCommands(t *testing.T) {
	transactionCommands(t, startServer(t, t.TempDir(), "127.0.0.1:0").address)
}

func TestTransactionCommandsOfApacheKafka(t *testing.T) {
	transactionCommands(t, kafkaAddress(t, false))
}

func transactionCommands(t *testing.T, address string) {
	id := fmt.Sprintf("hangs-%d", time.Now().UnixNano())
	topic := id
	show := func(want string, args ...string) {
		t.Helper()
		seen(t, want, append(args, "-b", address)...)
	}
	mustLevada(t, "", "topic", "create", topic, "-p", "2", "-b", address)
	show(topic, "topic", "describe", topic)
	client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.TransactionalID(id), kgo.DefaultProduceTopic(topic), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	write := func(value string, partition int32) {
		t.Helper()
		if err := client.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := client.ProduceSync(t.Context(), &kgo.Record{Value: []byte(value), Partition: partition}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	end := func(how kgo.TransactionEndTry) {
		t.Helper()
		if err := client.EndTransaction(t.Context(), how); err != nil {
			t.Fatal(err)
		}
	}
	write("first", 0) // no marker was written before
	pid, _, err := client.ProducerID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	abort := func(partition string) {
		t.Helper()
		args := []string{"txn", "abort", topic, "--producer", fmt.Sprint(pid), "-b", address, "--partition", partition}
		if out, want := mustLevada(t, "", args...), fmt.Sprintf("{\"aborted\":%d}\n", pid); out != want {
			t.Errorf("printed %q, want %q", out, want)
		}
		if out := levada(t, "", args...); out.code != exitInput || !strings.Contains(out.stderr, "has no open transaction in "+topic+"-"+partition) {
			t.Errorf("aborted twice: exit %d\n%s%s", out.code, out.stdout, out.stderr)
		}
	}
	listed := func(state string) {
		t.Helper()
		show(fmt.Sprintf(`"transactional_id":%q,"producer_id":%d,"state":%q`, id, pid, state), "txn", "list")
		show(fmt.Sprintf("^%s %d %s$", id, pid, state), "txn", "list", "-o", "table")
	}
	listed("Ongoing")
	show(`^0 \d+ \d+ 0 offset 0$`, "txn", "producers", topic, "-o", "table")
	abort("0")
	show(`^0 \d+ \d+ -?\d+ -$`, "txn", "producers", topic, "-o", "table")
	end(kgo.TryAbort)
	listed("CompleteAbort")
	write("kept", 1)
	end(kgo.TryCommit)
	listed("CompleteCommit")
	write("hangs", 1) // after the record, and its marker
	show(`"transaction_open_since":2\b`, "txn", "producers", topic)
	show(`^1 \d+ \d+ 0 2 3$`, "topic", "describe", topic, "-o", "table")
	show("kept\nhangs\n", "topic", "consume", topic, "-p", "1", "-f", `%v\n`, "--read-uncommitted")
	abort("1")
	show(`^1 \d+ \d+ 0 4 4$`, "topic", "describe", topic, "-o", "table")
	if out := mustLevada(t, "", "topic", "consume", topic, "-f", `%v\n`, "-b", address); out != "kept\n" {
		t.Errorf("read %q after the transactions were aborted", out)
	}
	end(kgo.TryAbort)
}

// seen runs a command until what it prints, with columns as narrow as can be, matches:
// another broker than Levada shows late what was done.
func seen(t *testing.T, want string, args ...string) {
	t.Helper()
	matches := regexp.MustCompile("(?m)" + want)
	for deadline := time.Now().Add(10 * time.Second); ; {
		out := mustLevada(t, "", args...)
		if matches.MatchString(columns.ReplaceAllString(out, " ")) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("levada %s: no %q in\n%s", strings.Join(args, " "), want, out)
		}
	}
}

var columns = regexp.MustCompile(` {2,}`)
